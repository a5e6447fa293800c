"""What `glp` learns of a scene from a few windows of it: where the rasters lie, and what goes with what.

Windows may have gaps (NaN): whatever coarse pixel sees one is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geosr.models.glp import AROUND, Both, Guide, Injected, Injection, detail_of, typical_of
from geosr.models.regrid import Line, degraded, lines
from geosr.placement import Placement
from geosr.response import Response
from geosr.window import Window

Doubles = NDArray[np.float64]

MOST = 0.3
"""Guide pixels between what grids say and what the scene shows up to which nothing is moved: what products promise."""
SURE = 0.05
"""Standard error in guide pixels up to which the scene shows a shift."""
_ITERATIONS = 10
_SETTLED = 0.01
"""Guide pixels; some parts of one."""
_PARTS = 256
"""Of a guide pixel, in which a shift is corrected."""
_RIDGE = 1e-4
"""Of detail of variance 1, beside which guides that are all but the same can be told apart."""
_ROUNDING = 1e-9
"""Detail of a guide as a share of its numbers that is none."""
_LEAST = 4
"""Coarse pixels a side below which a piece is of no use."""
_SIDE = 16
"""Coarse pixels a side of a part of the scene that tells the shift by itself."""
_VOTES = 8
"""Parts that are enough to let their median decide."""
_VAGUE = 0.25
"""Standard error, guide pixels, of a part that has no vote."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A sample of a scene: windows of both rasters that show about the same ground, NaN where there is no data."""

    coarse: NDArray[np.floating]
    """(bands, at.height, at.width)."""
    at: Window
    guide: NDArray[np.floating]
    """(guide's bands, block.height, block.width)."""
    block: Window


@dataclass(frozen=True, slots=True)
class Shift:
    """Guide pixels by which the coarse bands lie off what the grids say."""

    down: float = 0.0
    right: float = 0.0
    error: float = math.inf
    """Standard error along the worse axis; infinite where the scene doesn't show any."""

    @property
    def known(self) -> bool:
        """True where the scene shows it."""
        return self.error <= SURE

    @property
    def matters(self) -> bool:
        """True where it is to be corrected."""
        return self.known and math.hypot(self.down, self.right) > MOST + 2.0 * self.error

    def __str__(self) -> str:
        if not self.known:
            return "the scene does not show how the guide lies to the bands: their grids are believed"
        what = f"corrected, being over {MOST}" if self.matters else f"left as it is, being under {MOST}"
        lies = f"{-self.down:+.2f} px down and {-self.right:+.2f} px right of the bands"
        return f"the guide lies {lies}; {what} guide pixels"


def learn(
    pieces: Iterable[Piece], placement: Placement, responses: Sequence[Response], names: Sequence[str]
) -> tuple[Injection, tuple[str, ...]]:
    """The injection for a scene, and what to say of it in lines.

    Parameters
    ----------
    pieces
        Samples of the scene, at least one. Where they hold too little to compare, no detail is injected.
    placement
        Of the coarse raster on the guide's grid, as both grids say.
    responses
        Of each coarse band, absolute.
    names
        Of the coarse bands.
    """
    samples = list(pieces)
    shift = _found(samples, placement, responses)
    if shift.matters:
        placement = _moved(placement, shift.down, shift.right)
    injection = _fitted(samples, placement, tuple(responses), shift)
    shares = ", ".join(f"{name} {band.trust:.0%}" for name, band in zip(names, injection.bands, strict=True))
    return injection, (str(shift), f"the guide explains of the bands' detail: {shares}")


@dataclass(frozen=True, slots=True, eq=False)
class _Detail:
    """Detail of the coarse pixels of all samples that see nothing beyond a guide's window; NaN where they see a gap."""

    bands: Doubles
    """(bands, pixels)."""
    guides: Doubles
    """(guide's bands, pixels), scaled to variance 1."""
    scales: Doubles
    """What the guides were multiplied by for it; 0 for one without detail."""
    slopes: Doubles
    """(2, guide's bands, pixels), of the guides when the coarse raster moves down or right, per guide pixel."""
    parts: NDArray[np.intp]
    """(pixels), the part of the scene that each lies in, numbered from 0."""

    def there(self, band: int) -> NDArray[np.bool_]:
        """Where neither a band nor the guides, here or a little off, see a gap."""
        there: NDArray[np.bool_] = (
            np.isfinite(self.bands[band]) & np.isfinite(self.guides).all(0) & np.isfinite(self.slopes).all((0, 1))
        )
        return there

    def of(self, band: int) -> tuple[Doubles, Doubles]:
        """One band's and the guides' pixels without gaps."""
        there = self.there(band)
        return self.bands[band, there], self.guides[:, there]


def _compared(
    samples: Sequence[Piece], placement: Placement, responses: Sequence[Response], *, slopes: bool
) -> _Detail:
    """The detail of all samples as both rasters show it."""
    near = [(0.0, 0.0)] + [(0.25, 0.0), (-0.25, 0.0), (0.0, 0.25), (0.0, -0.25)] * slopes
    typical = [typical_of([lines(_moved(placement, *move), response) for response in responses]) for move in near]
    bands: list[Doubles] = []
    guides: list[Doubles] = []
    parts: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    for sample in samples:
        part = _comparable(sample, typical[0])
        if min(part.height, part.width) < _LEAST:
            continue
        rows, cols = part.within(sample.at).slices
        coarse: list[Doubles] = [image[rows, cols].astype(np.float64) for image in sample.coarse]
        bands.append(_pixels(coarse))
        fine = sample.guide.astype(np.float64)
        guides += [_pixels([degraded(image, sample.block, part, both) for image in fine]) for both in typical]
        parts.append(_parts(part.grow(-AROUND)) + len(np.unique(np.concatenate(parts))))
    if not bands:
        bands, guides = [np.empty((len(responses), 0))], [np.empty((len(samples[0].guide), 0))] * len(near)
    every = np.stack([np.concatenate(guides[i :: len(near)], 1) for i in range(len(near))])
    scales = _scales(every[0], samples)
    every *= scales[:, None]
    steep = (every[1::2] - every[2::2]) / 0.5
    return _Detail(np.concatenate(bands, 1), every[0], scales, steep, np.concatenate(parts))


def _pixels(images: Sequence[Doubles]) -> Doubles:
    """The detail of images (h, w) as (images, pixels)."""
    return np.stack([detail_of(image).ravel() for image in images])


def _parts(window: Window) -> NDArray[np.intp]:
    """The part, numbered from 0, that each pixel of a window lies in, row by row."""
    rows, cols = (np.arange(side) // _SIDE for side in (window.height, window.width))
    parts: NDArray[np.intp] = (rows[:, None] * (cols[-1] + 1) + cols).ravel()
    return parts


def _scales(guides: Doubles, samples: Sequence[Piece]) -> Doubles:
    """What makes the guides' detail (guide's bands, pixels) of variance 1."""
    scales = []
    for band, detail in enumerate(guides):
        there = detail[np.isfinite(detail)]
        spread = math.sqrt(float(there @ there) / there.size) if there.size else 0.0
        most = max(
            float(np.max(np.abs(each.guide[band]), where=np.isfinite(each.guide[band]), initial=0.0))
            for each in samples
        )
        scales.append(1.0 / spread if spread > _ROUNDING * most else 0.0)
    return np.array(scales)


def _comparable(sample: Piece, typical: Both) -> Window:
    """The coarse pixels whose neighbours see nothing beyond the guide's window."""
    row, bottom = _inside(typical[0], sample.at.row, sample.at.stop[0], sample.block.row, sample.block.stop[0])
    col, right = _inside(typical[1], sample.at.col, sample.at.stop[1], sample.block.col, sample.block.stop[1])
    return Window(row, col, bottom - row, right - col)


def _inside(line: Line, start: int, stop: int, low: int, high: int) -> tuple[int, int]:
    """Coarse pixels of an axis that see nothing beyond fine ones, and would not if they moved by a fine one."""
    spans = {index: line.seen.at(index) for index in range(start, stop)}
    inside = [index for index, (first, taps) in spans.items() if first > low and first + len(taps) < high]
    return (inside[0], inside[-1] + 1) if inside else (start, start)


def _found(samples: Sequence[Piece], placement: Placement, responses: Sequence[Response]) -> Shift:
    """The shift by Gauss-Newton: what the guides explain of all bands is largest there."""
    shift = Shift()
    for _ in range(_ITERATIONS):
        detail = _compared(samples, _moved(placement, shift.down, shift.right), responses, slopes=True)
        step, error = _step(detail, len(responses))
        if not math.isfinite(error):
            return Shift()
        step *= min(1.0, 0.5 * float(min(placement.step)) / max(1e-9, float(np.hypot(*step))))
        shift = Shift(shift.down + float(step[0]), shift.right + float(step[1]), error)
        if math.hypot(shift.down, shift.right) > 2.0 * float(max(placement.step)):
            return Shift()
        if np.hypot(*step) < _SETTLED:
            return shift
    return Shift()


def _step(detail: _Detail, bands: int) -> tuple[Doubles, float]:
    """The shift that is left (down, right), and its standard error along the worse axis.

    Where enough parts of the scene tell it, it is the median of what they tell, and the error comes from how they
    differ: clouds, which stand elsewhere for each band, are outvoted by the ground.
    """
    count = int(detail.parts.max(initial=-1)) + 1
    information, pull = np.zeros((count, 2, 2)), np.zeros((count, 2))
    for band in range(bands):
        _add_pull(information, pull, detail, band)
    told = [(each, force) for each, force in zip(information, pull, strict=True) if _error(each, bands) < _VAGUE]
    if len(told) >= _VOTES:
        steps = np.stack([np.linalg.solve(*each) for each in told])
        middle = np.median(steps, 0)
        scatter = 1.4826 * np.median(np.abs(steps - middle), 0).max()
        return middle, 1.25 * float(scatter) / math.sqrt(len(told))
    error = _error(information.sum(0), bands)
    return np.linalg.solve(information.sum(0), pull.sum(0)) if math.isfinite(error) else np.zeros(2), error


def _error(information: Doubles, bands: int) -> float:
    """The standard error along the worse axis, as if all bands had the same error."""
    if not np.linalg.det(information) > 1e-12 * np.trace(information) ** 2:
        return math.inf
    return math.sqrt(bands * float(np.linalg.inv(information).diagonal().max()))


def _add_pull(information: Doubles, pull: Doubles, detail: _Detail, band: int) -> None:
    """Add how precisely one band tells a shift in each part, and that times the shift that it tells."""
    (values, guides), there = detail.of(band), detail.there(band)
    if values.size <= 2 * len(guides) + 2:
        return
    known = _likeness(guides)
    gains = np.linalg.solve(known, guides @ values / values.size)
    left = values - gains @ guides
    moved = np.einsum("g,agn->an", gains, detail.slopes[..., there])
    moved -= np.linalg.solve(known, guides @ moved.T / values.size).T @ guides
    variance = max(float(left @ left) / (values.size - len(guides)), 1e-30)
    for i in (0, 1):
        np.add.at(pull[:, i], detail.parts[there], moved[i] * left / variance)
        for j in (0, 1):
            np.add.at(information[:, i, j], detail.parts[there], moved[i] * moved[j] / variance)


def _likeness(guides: Doubles) -> Doubles:
    """Correlation of the guides' detail, and a little of any."""
    likeness: Doubles = guides @ guides.T / guides.shape[1] + _RIDGE * np.eye(len(guides))
    return likeness


def _fitted(samples: Sequence[Piece], placement: Placement, responses: tuple[Response, ...], shift: Shift) -> Injection:
    detail = _compared(samples, placement, responses, slopes=False)
    there = detail.guides[:, np.isfinite(detail.guides).all(0)]
    likeness = _likeness(there) if there.size else np.eye(len(detail.guides))
    guides = tuple(
        Guide(_level(each.guide[i] for each in samples), float(scale)) for i, scale in enumerate(detail.scales)
    )
    bands = tuple(
        Injected(_level(each.coarse[i] for each in samples), *_regressed(*detail.of(i))) for i in range(len(responses))
    )
    rows = tuple(tuple(float(each) for each in row) for row in likeness)
    return Injection(placement, responses, guides, bands, rows, (shift.down, shift.right), shift.matters)


def _regressed(band: Doubles, guides: Doubles) -> tuple[tuple[float, ...], float]:
    """Gains, and the share of the band's detail that they explain, less what chance would (Stein 1956)."""
    count, given = band.size, len(guides)
    power = float(band @ band)
    if count <= 2 * given + 2 or power == 0.0:
        return (0.0,) * given, 0.0
    gains = np.linalg.solve(_likeness(guides), guides @ band / count)
    left = band - gains @ guides
    chance = given * float(left @ left) / (count - given)
    explained = power - float(left @ left)
    sure = max(0.0, 1.0 - _DOUBT * chance / explained) if explained > 0.0 else 0.0
    return tuple(float(each) * sure for each in gains), max(0.0, sure * explained / power)


_DOUBT = 2.0
"""Times as much as chance explains that is not believed."""


def _level(images: Iterable[NDArray[np.floating]]) -> float:
    """The mean of what is there."""
    there = [image[np.isfinite(image)].astype(np.float64) for image in images]
    count = sum(each.size for each in there)
    return sum(float(each.sum()) for each in there) / count if count else 0.0


def _moved(placement: Placement, down: float, right: float) -> Placement:
    rows, cols = (Fraction(round(each * _PARTS), _PARTS) for each in (down, right))
    return placement.moved(rows, cols)
