"""A scene without the pixels that rasters of classes beside it mark, such as those of clouds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io.scene import Scene
from geosr.io.source import Raster, read_together
from geosr.placement import Placement
from geosr.radiometry import Pixels
from geosr.tiling import Tile
from geosr.window import Window

Edges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Along an axis, for each pixel of another grid, the first pixel that it meets and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A raster of classes, and the numbers in it that mark pixels of another raster."""

    raster: Raster
    footprint: Window
    """All that can be read of it."""
    placement: Placement
    """Of it on the grid of the pixels that it marks; its own pixels may be the finer ones."""
    values: tuple[int, ...] = ()
    bits: int = 0

    def marked(self, window: Window) -> NDArray[np.bool_]:
        """Where a window of the other raster's grid meets a pixel that is marked."""
        rows, cols = self._meets(window)
        there = self._around(rows, cols)
        if not there.size:
            return np.zeros((window.height, window.width), bool)
        sums = np.pad(self._hits(self.raster.pixels(there)).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        top, bottom = (np.clip(edges - there.row, 0, there.height) for edges in rows)
        left, right = (np.clip(edges - there.col, 0, there.width) for edges in cols)
        found = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        return np.asarray(found > 0)

    def seen(self, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The same on a coarser grid of this shape, to be looked at: of the nearest of its own pixels."""
        there = self._around(*self._meets(window))
        if not there.size:
            return np.zeros(shape, bool)
        return self._hits(self.raster.reduced(there, shape, nearest=True))

    def _hits(self, pixels: Pixels) -> NDArray[np.bool_]:
        (stored,) = pixels.stored
        hits = np.isin(stored, self.values)
        return hits | (stored & self.bits > 0) if self.bits else hits

    def _around(self, rows: Edges, cols: Edges) -> Window:
        """The own pixels that are met, of those that can be read."""
        height, width = (int(last[-1] - first[0]) for first, last in (rows, cols))
        return Window(int(rows[0][0]), int(cols[0][0]), height, width).clip(self.footprint)

    def _meets(self, window: Window) -> list[Edges]:
        """Own pixels that the pixels of a window meet, along either axis."""
        found = []
        for axis, (start, length) in enumerate(((window.row, window.height), (window.col, window.width))):
            step, corner = self.placement.step[axis], self.placement.corner[axis]
            places = np.arange(start, start + length + 1, dtype=np.int64)
            edges = (places * corner.denominator - corner.numerator) * step.denominator
            whole = corner.denominator * step.numerator
            found.append((edges[:-1] // whole, -(-edges[1:] // whole)))
        return found


@dataclass(frozen=True, slots=True)
class MarkedSource:
    """Pixels of a raster that hold no data where masks mark them; bands of classes stay as they are."""

    raster: Raster
    masks: tuple[Mask, ...]
    window: Window
    """The part of the raster's whole grid that the scene is; masks lie on the whole grid."""
    measured: tuple[int, ...]
    """Bands that are marked, counted from 0."""
    nodata: float
    alpha: int = 0
    """See `StackSource`."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`."""
        return self.pixels(tile.read)

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene. Raises as the rasters do."""
        there = window.shift(self.window.row, self.window.col)
        pixels = self._without(self.raster.pixels(window), [mask.marked(there) for mask in self.masks])
        read_together((self.raster, *(mask.raster for mask in self.masks)))
        return pixels

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """See `FileSource`."""
        there = window.shift(self.window.row, self.window.col)
        pixels = self.raster.reduced(window, shape, nearest=nearest)
        return self._without(pixels, [mask.seen(there, shape) for mask in self.masks])

    def _without(self, pixels: Pixels, marked: Sequence[NDArray[np.bool_]]) -> Pixels:
        for band in self.measured:
            pixels.stored[band][np.logical_or.reduce(marked)] = self.nodata
        return pixels


def without_marked(scene: Scene, masks: Sequence[tuple[Scene, tuple[int, ...], int]], words: str) -> Scene:
    """The scene with no data where the numbers or bits of rasters on grids of the same place mark it.

    `words` say what is marked. Raises `InputError` where no number stands for no data, or a grid is turned.
    """
    if scene.nodata is None:
        raise InputError(f"{scene.name} has no number for no data to put on what is masked; name one with --nodata")
    whole = scene.metadata.cut(Window(-scene.window.row, -scene.window.col, *scene.full)).transform
    made = tuple(
        Mask(mask.source, Window(0, 0, *mask.full), _placement(mask.transform, whole), values, bits)
        for mask, values, bits in masks
    )
    measured = tuple(band for band, same in enumerate(scene.categorical) if not same)
    return replace(
        scene,
        source=MarkedSource(scene.source, made, scene.window, measured, scene.nodata),
        marked=words,
        files=tuple(dict.fromkeys((*scene.files, *(file for mask, *_ in masks for file in mask.files)))),
    )


def _placement(own: Any, reference: Any) -> Placement:
    """Of a grid on another, whichever is the finer one."""
    if abs(own.determinant) >= abs(reference.determinant):
        return Placement.between(own, reference)
    there = Placement.between(reference, own)
    (down, across), (row, col) = there.step, there.corner
    return Placement((Fraction(1) / down, Fraction(1) / across), (-row / down, -col / across))
