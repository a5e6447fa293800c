"""Coarse bands on a finer raster's grid, whose detail is injected where it says something of theirs.

Regression GLP (generalized Laplacian pyramid: Aiazzi, Alparone, Baronti, Garzelli 2002; its regression with the
sensor's response: Vivone, Restaino, Chanussot 2018). A guide is degraded as the coarse band's sensor would, so that
both can be compared on the coarse grid. How much of a band's detail there goes with how much of each guide's is learnt
once for the scene, and once more around each pixel, where the scene's answer counts as much as the neighbourhood's. As
much of the detail that the guides have on the fine grid is injected. The result is then degraded itself, and what it
lacks of the coarse band is interpolated and added: one step of back-projection (Irani and Peleg 1991). In simulation
more steps are a little better; beside what the same satellite saw with finer pixels, they cost half a decibel, since
coarse bands have noise and are never degraded quite as is believed.

Detail is what is left of a coarse image when the mean over each pixel's neighbours is taken off: that is what is
nearest to the detail that is missing. Sums have a fixed order and weights come from absolute positions: a pixel has
the same bits in any block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.models.regrid import REACH, Line, degraded, interpolated, lines, needed, retraced
from geosr.placement import Placement
from geosr.response import Response
from geosr.window import Window, hull

Floating = NDArray[np.floating]
Doubles = NDArray[np.float64]
Both = tuple[Line, Line]
A = TypeVar("A", bound=np.generic)

AROUND = 1
"""Coarse pixels on either side whose mean is taken off to see detail."""
NEAR = 2
"""Coarse pixels on either side that make a neighbourhood."""


@dataclass(frozen=True, slots=True)
class Guide:
    """One band of the guide: its numbers less `level`, times `scale`, have detail of variance 1 on the coarse grid."""

    level: float
    scale: float
    """0 for a band without detail."""


@dataclass(frozen=True, slots=True)
class Injected:
    """The way of detail into one coarse band."""

    level: float
    """A usual number of the band: what is computed is the difference from it."""
    gains: tuple[float, ...]
    """Of each band of the guide, for its scaled numbers, over the whole scene."""
    trust: float
    """Share of the band's detail that these explain: the less, the less a neighbourhood is believed."""
    scale: float = 0.0
    """What makes the band's own detail of variance 1; 0 for a band without detail."""


@dataclass(frozen=True, slots=True)
class Injection:
    """All that is decided once for a scene; a pure function of coarse and fine pixels."""

    placement: Placement
    """Of the coarse raster on the guide's grid, corrected."""
    responses: tuple[Response, ...]
    """Of each coarse band."""
    guides: tuple[Guide, ...]
    bands: tuple[Injected, ...]
    likeness: tuple[tuple[float, ...], ...]
    """Correlation of the guide's bands' detail on the coarse grid."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Guide pixels (down, right) by which the bands were found to lie off what the grids say."""
    corrected: bool = False
    """Whether `placement` takes it into account."""

    @property
    def halo(self) -> int:
        """Guide pixels around a core that it depends on."""
        radius = max(line.radius for response in self.responses for line in lines(self.placement, response))
        coarse = REACH["cubic"] + radius + REACH["linear"] + NEAR + AROUND + radius
        return math.ceil(coarse * max(self.placement.step)) + 2

    def coarse(self, core: Window) -> Window:
        """The coarse pixels that a core in guide pixels depends on."""
        return _Frame(self, core).low

    def __call__(
        self,
        coarse: Floating,
        at: Window,
        guide: Floating,
        block: Window,
        core: Window,
        holes: NDArray[np.bool_] | None = None,
    ) -> Floating:
        """The bands on the guide's grid, (bands, core.height, core.width), of the dtype of `coarse`.

        Windows count pixels of their own rasters and may reach beyond them. Gaps are filled, and what lies beyond a
        raster is continued, by whoever calls.

        Parameters
        ----------
        coarse
            (bands, at.height, at.width), any unit; `at` holds `self.coarse(core)`.
        guide
            (guide's bands, block.height, block.width); `block` holds the core and `halo` pixels around it.
        holes
            (block.height, block.width), where the guide has no data, and no detail to give.
        """
        frame = _Frame(self, core)
        fine = [_cut(image, block, frame.guide) for image in guide]
        fine = [
            (image - each.level) * image.dtype.type(each.scale) for image, each in zip(fine, self.guides, strict=True)
        ]
        low = [degraded(image, frame.guide, frame.low, frame.typical) for image in fine]
        detail = [
            _cut(image, frame.guide, frame.fine) - interpolated(each, frame.low, frame.fine, frame.typical)
            for image, each in zip(fine, low, strict=True)
        ]
        seen = None
        if holes is not None:
            there = ~_cut(holes, block, frame.guide)
            detail = [image * _cut(there, frame.guide, frame.fine) for image in detail]
            seen = np.abs(degraded(there.astype(np.float64), frame.guide, frame.low, frame.typical) - 1.0) < 1e-6
        around = _Neighbourhoods([each.astype(np.float64) for each in low], self.likeness, seen)
        out = np.empty((len(coarse), core.height, core.width), coarse.dtype)
        for index, (image, band) in enumerate(zip(coarse, self.bands, strict=True)):
            values = _cut(image, at, frame.low).astype(np.float64) - band.level
            gains = around.gains(values, band)
            self._inject(out[index], values, gains, detail, frame, lines(self.placement, self.responses[index]))
            out[index] += out.dtype.type(band.level)
        return out

    def _inject(
        self, out: Floating, values: Doubles, gains: list[Doubles], detail: list[Floating], frame: _Frame, both: Both
    ) -> None:
        """Write one band's detail, and what else it takes to give its `values` when degraded."""
        injected = np.zeros((frame.fine.height, frame.fine.width), detail[0].dtype)
        for gain, image in zip(gains, detail, strict=True):
            weight = interpolated(gain.astype(image.dtype), frame.gains, frame.fine, both, "linear")
            weight *= image
            injected += weight
        here = _cut(values, frame.low, frame.error)
        lacking = here - retraced(values, frame.low, frame.error, both)
        lacking -= degraded(injected, frame.fine, frame.error, both)
        lacking += here
        np.add(
            _cut(injected, frame.fine, frame.core),
            interpolated(lacking.astype(out.dtype), frame.error, frame.core, both),
            out=out,
            casting="same_kind",
        )


class _Frame:
    """The pixels that a core depends on, from its own backwards."""

    def __init__(self, injection: Injection, core: Window) -> None:
        every = [lines(injection.placement, response) for response in injection.responses]
        typical = typical_of(every)
        self.typical, self.core = typical, core
        self.error = needed(core, (typical[0].cubic, typical[1].cubic))
        """What is interpolated."""
        self.fine = hull(core, *(needed(self.error, (down.seen, across.seen)) for down, across in every))
        """Where detail is injected."""
        self.gains = needed(self.fine, (typical[0].linear, typical[1].linear))
        self.low = hull(
            self.gains.grow(NEAR + AROUND), needed(self.fine, (typical[0].cubic, typical[1].cubic)), self.error
        )
        """Where coarse bands and guides are compared."""
        self.gains = self.low.grow(-NEAR - AROUND)
        self.guide = hull(needed(self.low, (typical[0].seen, typical[1].seen)), self.fine)


def typical_of(every: Sequence[Both]) -> Both:
    """The axes of the response that is in the midst of those of several bands, with which guides are degraded."""
    return sorted(every, key=lambda both: both[0].response.mtf)[len(every) // 2]


class _Neighbourhoods:
    """Regression of a band's detail on that of the guides around each coarse pixel."""

    def __init__(self, low: list[Doubles], likeness: Sequence[Sequence[float]], seen: NDArray[np.bool_] | None) -> None:
        self.seen = None if seen is None else _whole(seen)
        self.detail = [self._masked(detail_of(image)) for image in low]
        self.likeness = likeness
        count = len(low)
        self.powers = [[_summed(self.detail[i] * self.detail[j], NEAR) for j in range(i + 1)] for i in range(count)]

    def gains(self, values: Doubles, band: Injected) -> list[Doubles]:
        """Of each guide for a coarse band, less `NEAR + AROUND` pixels a side."""
        left = self._masked(detail_of(values))
        for gain, image in zip(band.gains, self.detail, strict=True):
            left = left - gain * image
        wanted = [_summed(image * left, NEAR) for image in self.detail]
        if band.trust <= 0.0:
            return [np.full_like(each, gain) for each, gain in zip(wanted, band.gains, strict=True)]
        weight = (2 * NEAR + 1) ** 2 * _PRIOR / band.trust
        known = [
            [power + weight * self.likeness[i][j] for j, power in enumerate(row)] for i, row in enumerate(self.powers)
        ]
        return [gain + more for gain, more in zip(band.gains, _solved(known, wanted), strict=True)]

    def _masked(self, image: Doubles) -> Doubles:
        return image if self.seen is None else image * self.seen


_PRIOR = 1.0
"""How much a usual neighbourhood's worth of the scene's gains counts beside a neighbourhood's own, where they explain
all detail."""


def detail_of(image: Doubles) -> Doubles:
    """`image` (h, w) less the mean around each pixel, and less `AROUND` pixels a side."""
    rim = AROUND
    return image[rim:-rim, rim:-rim] - _summed(image, rim) / (2 * rim + 1) ** 2


def _summed(image: Doubles, rim: int) -> Doubles:
    """Sums over squares, (h - 2 * rim, w - 2 * rim), each in the same order."""
    for axis in (0, 1):
        length = image.shape[axis] - 2 * rim
        parts = [image[i : i + length] if axis == 0 else image[:, i : i + length] for i in range(2 * rim + 1)]
        total = parts[0] + parts[1]
        for part in parts[2:]:
            total += part
        image = total
    return image


def _whole(seen: NDArray[np.bool_]) -> Doubles:
    """1 where all pixels are seen whose mean is taken off, else 0; less `AROUND` pixels a side."""
    whole: NDArray[np.bool_] = _summed(seen.astype(np.float64), AROUND) == (2 * AROUND + 1) ** 2
    return whole.astype(np.float64)


def _solved(known: list[list[Doubles]], wanted: list[Doubles]) -> list[Doubles]:
    """Solutions of symmetric positive definite systems, one a pixel, of which `known` is the lower triangle (LDL')."""
    count = len(wanted)
    lower: list[list[Doubles]] = []
    pivots: list[Doubles] = []
    for i in range(count):
        row: list[Doubles] = []
        scaled: list[Doubles] = []
        for j in range(i):
            total = known[i][j]
            for k in range(j):
                total = total - scaled[k] * lower[j][k]
            scaled.append(total)
            row.append(total / pivots[j])
        pivot = known[i][i]
        for one, other in zip(scaled, row, strict=True):
            pivot = pivot - one * other
        lower.append(row)
        pivots.append(pivot)
    found: list[Doubles] = []
    for i in range(count):
        value = wanted[i]
        for j in range(i):
            value = value - lower[i][j] * found[j]
        found.append(value)
    found = [value / pivot for value, pivot in zip(found, pivots, strict=True)]
    for i in reversed(range(count)):
        for j in range(i + 1, count):
            found[i] = found[i] - lower[j][i] * found[j]
    return found


def _cut(image: NDArray[A], at: Window, part: Window) -> NDArray[A]:
    """The pixels `part` of an image (h, w) at `at`."""
    return image[part.within(at).slices]
