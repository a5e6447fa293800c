"""The path of a tile of coarse bands that are brought onto a finer raster, their guide.

The guide's grid is the scene's: tiles are cut of it, and the result lies exactly on it. What a tile takes of the coarse
bands follows from where it lies (`Placement`). Outside their own footprint they hold no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.placement import Placement
from geosr.radiometry import Pixels, Radiometry, as_stored, fill
from geosr.tiling import Tile
from geosr.upscaler import block_of, core_of, encode_valid
from geosr.window import Window

if TYPE_CHECKING:
    from affine import Affine

Indices = NDArray[np.intp]
T = TypeVar("T", bound=np.generic)


class Sharpener(Protocol):
    """Something that brings coarse bands onto the grid of a guide. Pickles small."""

    @property
    def halo(self) -> int:
        """Pixels of the guide around a core that its result depends on."""

    def coarse(self, core: Window) -> Window:
        """The pixels of the coarse bands that the result of a core depends on."""

    def sharpen(
        self,
        coarse: NDArray[np.floating],
        at: Window,
        guide: NDArray[np.floating],
        block: Window,
        core: Window,
        holes: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.floating]:
        """Values (bands, core.height, core.width) for coarse bands over `at` and the guide over `block`.

        `holes` says where the guide has no data. Raises `MemoryError` where there is none.
        """


@dataclass(frozen=True, slots=True)
class GuidedPixels:
    """Pixels of both rasters that a tile takes, as stored."""

    coarse: Pixels
    at: Window
    """Where those lie, in pixels of the coarse raster."""
    guide: Pixels
    """Of the tile's read window."""


@dataclass(frozen=True, slots=True)
class GuidedUpscaler:
    """`GuidedPixels` of a tile in, pixels of its write window out."""

    network: Sharpener | None
    """None where all bands are repeated."""
    placement: Placement
    """Of the coarse bands on the guide's grid, as their files say it: classes and gaps follow it."""
    radiometry: Radiometry
    """Of the coarse bands, which is the result's."""
    guide: Radiometry
    categorical: tuple[bool, ...]
    """Per coarse band: repeat stored numbers instead."""

    def __call__(self, pixels: GuidedPixels, tile: Tile) -> tuple[Pixels]:
        """The one result of a tile: `stored` (bands, core height, core width), valid where the coarse pixel is.

        What was not valid keeps its stored number; beyond the coarse footprint it is the number for no data.
        """
        stored, at = pixels.coarse.stored, pixels.at
        place, inside = _holding(self.placement, tile.core, at)
        valid = self.radiometry.valid(pixels.coarse)
        out = self._start(stored, place, inside)
        gaps = ~np.broadcast_to(inside, out.shape) if valid is None else ~_taken(valid, place) | ~inside
        if not gaps.all():
            self._enhance(out, gaps, pixels, valid, tile)
        mask = None if pixels.coarse.mask is None else _taken(pixels.coarse.mask, place)
        if not inside.all():
            mask = inside if mask is None else mask & inside
        return (Pixels(out, mask, core_of(pixels.guide.wanted, tile.core.within(tile.read), 1)),)

    def has_data(self, pixels: GuidedPixels) -> bool:
        """True where some pixel of a tile has to be computed."""
        valid = self.radiometry.valid(pixels.coarse)
        return pixels.at.size > 0 and (valid is None or bool(valid.any()))

    def _start(
        self, stored: NDArray[np.generic], place: tuple[Indices, Indices], inside: NDArray[np.bool_]
    ) -> NDArray[np.generic]:
        """Stored numbers of the coarse pixels repeated, and the number for no data beyond them."""
        dtype = self.radiometry.out_dtype
        out = _taken(stored, place).astype(dtype)
        if not inside.all():
            for band, numbers in zip(out, self.radiometry.nodata, strict=True):
                band[~inside] = as_stored(numbers[0], dtype) if numbers else _nothing(np.dtype(dtype))
        return out

    def _enhance(
        self,
        out: NDArray[np.generic],
        gaps: NDArray[np.bool_],
        pixels: GuidedPixels,
        valid: NDArray[np.bool_] | None,
        tile: Tile,
    ) -> None:
        bands = [band for band, same in enumerate(self.categorical) if not same]
        if not bands or self.network is None:
            return
        need = self.network.coarse(tile.core)
        working = np.result_type(self.radiometry.working, self.guide.working)
        coarse = pixels.coarse.stored[bands].astype(working)
        if valid is not None:
            coarse = fill(coarse, valid[bands])
        guide, holes = self._guide(pixels.guide, tile, working)
        sharp = self.network.sharpen(_spread(coarse, pixels.at, need), need, guide, tile.block, tile.core, holes)
        for band, estimate in zip(bands, sharp, strict=True):
            encode_valid(partial(self.radiometry.encode, band=band), estimate, out[band], gaps[band])

    def _guide(
        self, pixels: Pixels, tile: Tile, working: np.dtype[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.bool_] | None]:
        """The guide's block, and where it has no data."""
        values, valid = pixels.stored.astype(working), self.guide.valid(pixels)
        if valid is None:
            return block_of(values, tile), None
        holes = np.logical_not(valid.all(axis=0, keepdims=True))
        return block_of(fill(values, valid), tile), block_of(holes, tile)[0]


def placed(own: Affine, reference: Affine, coarse: Window, guide: Window, names: tuple[str, str]) -> Placement:
    """The placement of a coarse raster's grid on its guide's; both windows are all of them.

    Raises `InputError` where the guide's pixels are not finer, and where the rasters don't meet.
    """
    placement = Placement.between(own, reference)
    if max(placement.step) == 1:
        raise InputError(f"{names[1]} has pixels as large as those of {names[0]}; a guide's are finer")
    if not placement.cover(guide).clip(coarse).size:
        raise InputError(f"{names[0]} and {names[1]}, its guide, don't cover any ground together")
    return placement


def in_words(placement: Placement) -> str:
    """The number of the guide's pixels that measure a coarse one, such as 2."""
    return f"{float(max(placement.step)):g}"


def coarse_window(placement: Placement, tile: Tile, reach: int, footprint: Window) -> Window:
    """The coarse pixels that a tile reads: those that hold its core, and `reach` around them, of what there is."""
    return placement.cover(tile.core).grow(reach).clip(footprint)


def _holding(placement: Placement, core: Window, at: Window) -> tuple[tuple[Indices, Indices], NDArray[np.bool_]]:
    """Rows and columns, counted from `at`, of the coarse pixels that the centres of a core lie in; where there are any.

    Those of pixels beyond `at` are the nearest in it.
    """
    rows = _cells(core.row, core.height, placement.corner[0], placement.step[0]) - at.row
    cols = _cells(core.col, core.width, placement.corner[1], placement.step[1]) - at.col
    inside = ((rows >= 0) & (rows < at.height))[:, None] & ((cols >= 0) & (cols < at.width))
    return (rows.clip(0, max(0, at.height - 1)), cols.clip(0, max(0, at.width - 1))), inside


def _cells(start: int, count: int, corner: Fraction, step: Fraction) -> Indices:
    """The own pixel that each of `count` reference pixels from `start` has its centre in; in whole numbers."""
    # floor((start + i + 1/2 - corner) / step), over a denominator that both have
    first = (Fraction(2 * start + 1, 2) - corner) / step
    each = 1 / step
    common = math.lcm(first.denominator, each.denominator)
    places = int(first * common) + int(each * common) * np.arange(count, dtype=np.int64)
    return np.asarray(places // common, np.intp)


def _taken(array: NDArray[T], place: tuple[Indices, Indices]) -> NDArray[T]:
    """(..., rows, columns) of these rows and columns; zeros where there is nothing to take of."""
    rows, cols = place
    if 0 in array.shape[-2:]:
        return np.zeros((*array.shape[:-2], len(rows), len(cols)), array.dtype)
    return array[..., rows[:, None], cols]


def _spread(values: NDArray[np.floating], at: Window, need: Window) -> NDArray[np.floating]:
    """Values over `need` of those over `at`; beyond them the nearest."""
    rows = np.clip(np.arange(need.row, need.stop[0]) - at.row, 0, at.height - 1)
    cols = np.clip(np.arange(need.col, need.stop[1]) - at.col, 0, at.width - 1)
    return np.ascontiguousarray(values[:, rows[:, None], cols])


def _nothing(dtype: np.dtype[np.generic]) -> float:
    """The number that is stored where there is no pixel and no number for that: the mask tells of it."""
    return math.nan if dtype.kind == "f" else 0
