"""Windows of a scene that its statistics are taken from: the same ones every time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from geosr.window import Window

if TYPE_CHECKING:
    from geosr.io.scene import Scene


_SAMPLES = 8 * 2**20
"""Numbers that statistics of a scene are taken from, over all bands."""


def sample_windows(scene: Scene, count: int = 16, size: int = 256) -> list[Window]:
    """Up to `count` windows spread evenly over a scene, for statistics of the whole; the same ones every time.

    They are squares of at most `size` pixels a side, smaller for many bands so that all of them together stay small,
    and don't overlap. Those off the area of interest are left out.
    """
    windows = spread_windows(scene.shape, len(scene.bands), count, size)
    return [window for window in windows if scene.touches(window)]


def spread_windows(shape: tuple[int, int], bands: int, count: int = 16, size: int = 256) -> list[Window]:
    """The windows of `sample_windows` for a scene of this shape and number of bands."""
    side = max(16, min(size, math.isqrt(_SAMPLES // (count * bands))))
    rows, cols = (_spread(length, side, math.isqrt(count)) for length in shape)
    return [Window(row, col, height, width) for row, height in rows for col, width in cols]


def _spread(length: int, side: int, count: int) -> list[tuple[int, int]]:
    """Starts and lengths of up to `count` pieces, evenly spread, that don't overlap."""
    count = max(1, min(count, length // side))
    side = min(side, length)
    return [((length - side) * (2 * i + 1) // (2 * count), side) for i in range(count)]
