"""What windows of a band are cut into where its noise, its blur or its likeness are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 8
"""Side of a block whose power is measured, pixels: small, since fields are."""
_CLIPPED = 0.1
"""Share of pixels at the band's smallest or largest number beyond which a block is left out."""


def blocks_of(patches: Iterable[NDArray[np.floating]], side: int) -> Iterator[Floats]:
    """Blocks (n, side, side) of each window (height, width) of a band, overlapping by half; without those that have
    NaN, are constant or clipped. The side is even."""
    windows = [np.asarray(patch, np.float64) for patch in patches]
    windows = [window for window in windows if min(window.shape) >= side and np.isfinite(window).any()]
    low = min((np.nanmin(window) for window in windows), default=0.0)
    high = max((np.nanmax(window) for window in windows), default=0.0)
    for window in windows:
        cut = np.lib.stride_tricks.sliding_window_view(window, (side, side))[:: side // 2, :: side // 2]
        yield cut[_usable(window, side // 2, low, high)]


def _usable(window: Floats, half: int, low: float, high: float) -> NDArray[np.bool_]:
    """True for each block of a window, overlapping by half, that is of use."""
    clipped = _by_blocks(np.add, ((window == low) | (window == high)).astype(np.int16), half)
    least, most = _by_blocks(np.minimum, window, half), _by_blocks(np.maximum, window, half)
    finite = np.isfinite(least) & np.isfinite(most)  # NaN passes through both
    usable: NDArray[np.bool_] = finite & (most > least) & (clipped / (2 * half) ** 2 <= _CLIPPED)
    return usable


def _by_blocks(together: np.ufunc, pixels: NDArray[Any], half: int) -> NDArray[Any]:
    """The pixels of each block taken together: rows of cells first, then cells, each of which lies in four blocks."""
    rows, cols = (length // half for length in pixels.shape)
    cells = together.reduce(pixels[: rows * half].reshape(rows, half, -1), axis=1)
    cells = together(cells[1:], cells[:-1])[:, : cols * half].reshape(rows - 1, cols, half)
    cells = together.reduce(cells, axis=2)
    return np.asarray(together(cells[:, 1:], cells[:, :-1]))


@dataclass(frozen=True, slots=True)
class Measures:
    """Orthonormal functions on a block, (count, pixels), that its power is measured with."""

    smooth: Floats
    """Quadratic surfaces."""
    waves: Floats
    """Cosines less what they share with those."""
    even: NDArray[np.bool_]
    """Which of the waves are on the white fields of a chessboard of frequencies."""
    bends: Floats
    """The quadratic surfaces without level and tilt."""


@cache
def measures_of_blocks() -> Measures:
    """The measures of blocks of `SIDE` pixels."""
    i = np.arange(SIDE)
    cosines = np.cos(np.pi * i[:, None] * (2 * i + 1) / (2 * SIDE))
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    powers = np.linalg.qr(np.vander(np.linspace(-1, 1, SIDE), 3, increasing=True))[0].T
    smooth = np.einsum("ai,bj->abij", powers, powers).reshape(9, -1)
    waves = np.einsum("ai,bj->abij", cosines, cosines).reshape(SIDE**2, -1)
    waves = waves - waves @ smooth.T @ smooth
    left = (waves**2).sum(1)
    used = left > 0.5
    even = (np.add.outer(i, i) % 2 == 0).ravel()[used]
    return Measures(smooth, waves[used] / np.sqrt(left[used, None]), even, smooth[[2, 6, 4, 5, 7, 8]])
