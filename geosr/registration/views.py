"""Bands of two dates side by side, in middle frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geosr.registration.values import MARGIN, Doubles, Patch, Registration

RIM = 3
"""Pixels from a gap that it has an influence on."""
_FINE, _COARSE = 1.0, 4.0
"""Standard deviations, pixels, of the Gaussians between which middle frequencies lie."""
_PART = 40
"""Side of a part, pixels, whose whole-pixel shift is looked for; larger ones are halves dark, halves bright."""
_BLOCK = 16
"""Side of a block, pixels, that tells by itself."""


class View:
    """A band of a patch in middle frequencies, and where both have data."""

    def __init__(self, reference: Doubles, frame: Doubles, row: int, col: int) -> None:
        from scipy import ndimage

        self.reference, self.there = _middle(reference)
        frame_middle, self.frame_there = _middle(frame)
        self.place = row, col
        usual = math.sqrt(float(np.mean(self.reference[self.there] ** 2))) if self.there.any() else 0.0
        self.tells = usual > 1e-9 * float(np.nanmax(np.abs(reference), initial=0.0))
        unit = usual if self.tells else 1.0
        self.reference = self.reference / unit
        self.frame = frame_middle / unit
        self.rows, self.cols = np.mgrid[: reference.shape[0], : reference.shape[1]].astype(np.float64)
        self.slopes = [np.gradient(self.reference, axis=axis) for axis in (0, 1)]
        self.blocks = [
            np.s_[row : row + _BLOCK, col : col + _BLOCK]
            for row in range(0, reference.shape[0], _BLOCK)
            for col in range(0, reference.shape[1], _BLOCK)
        ]
        # what an interpolation makes of the frame first, which is the same at any place
        self._splines = ndimage.spline_filter(self.frame, 3, mode="mirror")
        self._frame_seen = self.frame_there.astype(np.float64)

    def moved(self, at: Registration) -> tuple[Doubles, NDArray[np.bool_]]:
        """The frame brought onto the reference, and where both are seen."""
        from scipy import ndimage

        down, right = self._shifts(at)
        where = self.rows + down + MARGIN, self.cols + right + MARGIN
        image = ndimage.map_coordinates(self._splines, where, order=3, mode="mirror", prefilter=False)
        seen = ndimage.map_coordinates(self._frame_seen, where, order=1, mode="constant")
        return image, (seen > 0.999) & self.there

    def _shifts(self, at: Registration) -> tuple[Doubles, Doubles]:
        a, b, c, d = at.turn
        rows, cols = self.rows + self.place[0], self.cols + self.place[1]
        return at.down + a * rows + b * cols, at.right + c * rows + d * cols


def views_of(patch: Patch, band: int) -> list[View]:
    """A band of a patch, where both have data."""
    view = View(patch.reference[band], patch.frame[band], patch.row, patch.col)
    return [view] if view.there.any() and view.frame_there.any() else []


def _middle(image: Doubles) -> tuple[Doubles, NDArray[np.bool_]]:
    """Middle frequencies of an image (h, w), 0 at gaps; and where no gap is near."""
    from scipy import ndimage

    there = np.isfinite(image)
    filled = np.where(there, image, np.mean(image[there]) if there.any() else 0.0)
    if not there.all() and there.any():
        nearest = ndimage.distance_transform_edt(~there, return_distances=False, return_indices=True)
        filled = filled[tuple(nearest)]
    low, lower = (ndimage.gaussian_filter(filled, sigma, mode="mirror") for sigma in (_FINE, _COARSE))
    near = ndimage.binary_dilation(~there, iterations=RIM) if not there.all() else ~there
    return np.where(near, 0.0, low - lower), ~near


def whole_shift(views: Sequence[View]) -> tuple[float, float]:
    """Whole pixels (down, right) at which all parts together agree best, each with its own sign."""
    total = np.zeros((2 * MARGIN + 1, 2 * MARGIN + 1))
    for view in views:
        reference = np.where(view.there, view.reference, 0.0)
        for rows in _parts(reference.shape[0]):
            for cols in _parts(reference.shape[1]):
                around = (slice(rows.start, rows.stop + 2 * MARGIN), slice(cols.start, cols.stop + 2 * MARGIN))
                total += np.abs(_correlated(reference[rows, cols], view.frame[around])) * view.there[rows, cols].sum()
    row, col = np.unravel_index(int(np.argmax(total)), total.shape)
    return float(row - MARGIN), float(col - MARGIN)


def _parts(length: int) -> list[slice]:
    count = max(1, length // _PART)
    return [slice(length * i // count, length * (i + 1) // count) for i in range(count)]


def _correlated(reference: Doubles, frame: Doubles) -> Doubles:
    """Phase correlation of a part with what lies around it, (2 MARGIN + 1, 2 MARGIN + 1), by shift from -MARGIN."""
    cross = np.fft.rfft2(frame) * np.conj(np.fft.rfft2(np.pad(reference, MARGIN)))
    cross /= np.abs(cross) + 1e-3 * np.abs(cross).max() + 1e-300
    surface = np.fft.irfft2(cross, s=frame.shape)
    near: Doubles = np.roll(surface, (MARGIN, MARGIN), (0, 1))[: 2 * MARGIN + 1, : 2 * MARGIN + 1]
    return near
