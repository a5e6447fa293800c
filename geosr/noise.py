"""How noisy a scene is, told from a few windows of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SHARP = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
_SOFT = np.array([1.0, 2.0, 1.0]) / np.sqrt(6.0)
_MARGIN = 2
_BLOCK = 12
_FEWEST_BLOCKS = 12
_CLIPPED = 0.1
"""Share of pixels at the band's smallest or largest number beyond which a block is left out."""
_STEEPEST = 0.6
"""Detail has at most this share of its power along the axes in the corner as well: where there is more, it is noise."""
_CAUTION = 2.0
"""Standard errors by which the estimate is lowered."""


def estimate_noise(patches: Iterable[NDArray[np.floating]]) -> float:
    """Standard deviation of the noise of a band, in stored numbers, from windows (height, width) of it; 0 if unsure.

    White noise has the same power at every frequency, detail behind a sensor's blur has little at the highest, in the
    corner of the spectrum. In every block of 12 pixels both are measured, the power there and that along the axes;
    the line of one over the other, drawn through all blocks, meets no detail at the power of the noise. The estimate
    lies two standard errors below, but not below what detail can't account for: noise that is overstated blurs, so
    that what can't be told apart from detail counts as detail. It goes with the gain of the band and not with its
    offset. NaN, constant and clipped blocks are left out; rounding to whole numbers counts as the noise that it is.
    """
    windows = [np.asarray(patch, np.float64) for patch in patches]
    windows = [window for window in windows if min(window.shape) >= _BLOCK + 2 * _MARGIN]
    finite = [window[np.isfinite(window)] for window in windows]
    if not any(values.size for values in finite):
        return 0.0
    ends = min(v.min() for v in finite if v.size), max(v.max() for v in finite if v.size)
    corner, axes = (np.concatenate(powers) for powers in zip(*(_powers(w, ends) for w in windows), strict=True))
    return float(np.sqrt(_power_without_detail(corner, axes)))


def _powers(window: Floats, ends: tuple[float, float]) -> tuple[Floats, Floats]:
    """Per usable block, the power in the corner of the spectrum and along its axes; both 1 for noise of power 1."""
    corner = _filtered(window, _SHARP, _SHARP) ** 2
    axes = (_filtered(window, _SHARP, _SOFT) ** 2 + _filtered(window, _SOFT, _SHARP) ** 2) / 2
    clipped = _blocks(((window == ends[0]) | (window == ends[1])).astype(np.float64))
    first, second = _blocks(corner), _blocks(axes)
    usable = np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0) & (clipped <= _CLIPPED)
    return first[usable], second[usable]


def _filtered(window: Floats, vertical: Floats, horizontal: Floats) -> Floats:
    from scipy import ndimage  # slow to import, and most models don't ask for the noise

    down = ndimage.convolve1d(window, vertical, axis=0)
    result: Floats = ndimage.convolve1d(down, horizontal, axis=1)
    return result


def _blocks(values: Floats) -> Floats:
    """Means of whole blocks, flat; a margin that the filters' borders touch is cut off."""
    inner = values[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    rows, cols = (side // _BLOCK for side in inner.shape)
    cut = inner[: rows * _BLOCK, : cols * _BLOCK].reshape(rows, _BLOCK, cols, _BLOCK)
    means: Floats = cut.mean((1, 3)).ravel()
    return means


def _power_without_detail(corner: Floats, axes: Floats) -> float:
    """Power of the noise s, from `corner = s + r (axes - s)`, less `_CAUTION` standard errors; never below 0.

    Powers scatter in proportion to their mean (a gamma law), so the line is fitted with weights that follow the fit.
    """
    if len(corner) < _FEWEST_BLOCKS:
        return 0.0
    unit = float(np.median(corner))
    corner, terms = corner / unit, np.stack([np.ones_like(axes), axes / unit], 1)
    line = np.array([np.quantile(corner, 0.1) / 2, np.median(corner / terms[:, 1])])
    for _ in range(12):
        fitted = np.maximum(terms @ line, 1e-9)
        covariance = np.linalg.pinv((terms.T / fitted**2) @ terms)
        line = np.maximum(covariance @ (terms.T @ (corner / fitted**2)), 0.0)
    fitted = np.maximum(terms @ line, 1e-9)
    scatter = float((((corner - fitted) / fitted) ** 2).sum()) / (len(corner) - 2)
    lowered = max(float(line[0] - _CAUTION * np.sqrt(scatter * covariance[0, 0])), 0.0)
    by_line = lowered / (1.0 - min(float(line[1]), 0.9))
    at_least = (float(np.median(corner)) - _STEEPEST * float(np.median(terms[:, 1]))) / (1.0 - _STEEPEST)
    return unit * max(by_line, at_least)
