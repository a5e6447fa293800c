"""Samples of a scene, and the detail of coarse bands and guides in them, side by side on the coarse grid.

Windows may have gaps (NaN): whatever coarse pixel sees one is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geosr.models.glp import AROUND, Both, detail_of, typical_of
from geosr.models.regrid import Line, degraded, lines
from geosr.placement import Placement
from geosr.response import Response
from geosr.window import Window

Doubles = NDArray[np.float64]

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


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A sample of a scene: windows of both rasters that show about the same ground, NaN where there is no data."""

    coarse: NDArray[np.floating]
    """(bands, at.height, at.width)."""
    at: Window
    guide: NDArray[np.floating]
    """(guide's bands, block.height, block.width)."""
    block: Window


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
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


def compared(samples: Sequence[Piece], placement: Placement, responses: Sequence[Response], *, slopes: bool) -> Detail:
    """The detail of all samples as both rasters show it."""
    near = [(0.0, 0.0)] + [(0.25, 0.0), (-0.25, 0.0), (0.0, 0.25), (0.0, -0.25)] * slopes
    typical = [typical_of([lines(moved(placement, *move), response) for response in responses]) for move in near]
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
        parts.append(_parts(part.grow(-AROUND)) + parts[-1].max(initial=-1) + 1)
    if not bands:
        bands, guides = [np.empty((len(responses), 0))], [np.empty((len(samples[0].guide), 0))] * len(near)
    every = np.stack([np.concatenate(guides[i :: len(near)], 1) for i in range(len(near))])
    scales = scales_of(every[0], [sample.guide for sample in samples])
    every *= scales[:, None]
    steep = (every[1::2] - every[2::2]) / 0.5
    return Detail(np.concatenate(bands, 1), every[0], scales, steep, np.concatenate(parts))


def _pixels(images: Sequence[Doubles]) -> Doubles:
    """The detail of images (h, w) as (images, pixels)."""
    return np.stack([detail_of(image).ravel() for image in images])


def _parts(window: Window) -> NDArray[np.intp]:
    """The part, numbered from 0, that each pixel of a window lies in, row by row."""
    rows, cols = (np.arange(side) // _SIDE for side in (window.height, window.width))
    parts: NDArray[np.intp] = (rows[:, None] * (cols[-1] + 1) + cols).ravel()
    return parts


def scales_of(images: Doubles, windows: Sequence[NDArray[np.floating]]) -> Doubles:
    """Factors that make the detail (bands, pixels) of bands, seen in windows (bands, h, w), of variance 1; or 0."""
    scales = []
    for band, detail in enumerate(images):
        there = detail[np.isfinite(detail)]
        spread = math.sqrt(float(there @ there) / there.size) if there.size else 0.0
        most = max(float(np.max(np.abs(each[band]), where=np.isfinite(each[band]), initial=0.0)) for each in windows)
        scales.append(1.0 / spread if spread > _ROUNDING * most else 0.0)
    return np.array(scales)


def _comparable(sample: Piece, typical: Both) -> Window:
    """The coarse pixels whose neighbours see nothing beyond the guide's window."""
    row, bottom = _inside(typical[0], sample.at.row, sample.at.stop[0], sample.block.row, sample.block.stop[0])
    col, right = _inside(typical[1], sample.at.col, sample.at.stop[1], sample.block.col, sample.block.stop[1])
    return Window(row, col, bottom - row, right - col)


def _inside(line: Line, start: int, stop: int, low: int, high: int) -> tuple[int, int]:
    """Coarse pixels of an axis that see nothing beyond fine ones, and would not if they moved by a fine one."""
    while start < stop and line.seen.at(start)[0] <= low:
        start += 1
    while start < stop and _end(*line.seen.at(stop - 1)) >= high:
        stop -= 1
    return start, stop


def _end(first: int, weights: Sequence[float]) -> int:
    return first + len(weights)


def likeness(guides: Doubles) -> Doubles:
    """Correlation of the guides' detail, and a little of any."""
    alike: Doubles = guides @ guides.T / guides.shape[1] + _RIDGE * np.eye(len(guides))
    return alike


def moved(placement: Placement, down: float, right: float) -> Placement:
    """A raster moved by guide pixels, to the nearest of some parts of one."""
    rows, cols = (Fraction(round(each * _PARTS), _PARTS) for each in (down, right))
    return placement.moved(rows, cols)
