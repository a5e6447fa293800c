"""Scenes on one grid of pixels, side by side and overlapping, as one: where several have data the first is taken."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io.aoi import Area
from geosr.io.grid import geobox_of, same_grid
from geosr.io.metadata import placed
from geosr.io.nodata import beside
from geosr.io.safety import common_dtype
from geosr.io.scene import Scene
from geosr.io.source import MaskKind, Raster
from geosr.io.stack import shared
from geosr.radiometry import Pixels, Radiometry
from geosr.tiling import Tile
from geosr.window import Window

_NEAR = 1e-3
"""Pixels by which grids may be off each other, and stored numbers by which offsets may."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A scene of one band in a mosaic."""

    raster: Raster
    place: Window
    """Where it lies on the grid of the mosaic."""
    radiometry: Radiometry
    """Of its stored numbers, which tells where they are data."""
    added: int = 0
    """To its numbers, so that scale and offset are those of the others."""

    def read(self, found: Pixels, nodata: float | None) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Numbers of some of its pixels in the mosaic, and where they are data."""
        valid = self.radiometry.valid(found)
        (stored,) = found.stored
        if self.added:
            info = np.iinfo(stored.dtype.name)
            stored = np.clip(stored.astype(np.int64) + self.added, info.min, info.max).astype(stored.dtype)
            if nodata is not None:
                stored[stored == nodata] = beside(nodata, stored.dtype)
        return stored, np.ones(stored.shape, bool) if valid is None else valid[0]


@dataclass(frozen=True, slots=True)
class MosaicSource:
    """Pixels of a mosaic: at each the first piece that has data there."""

    pieces: tuple[Piece, ...]
    dtype: str
    window: Window
    """The part of the mosaic that is the scene."""
    nodata: float | None
    """The number that stands for no data; None where a mask says it."""
    mask: MaskKind = "none"
    alpha: int = 0
    """See `StackSource`."""
    area: Area | None = None
    """Area of interest, in pixels of the scene."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`."""
        return self.pixels(tile.read)

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene, as stored. Raises as the pieces do."""
        there = window.shift(self.window.row, self.window.col)
        result = _Canvas((there.height, there.width), self.dtype, self.nodata)
        for piece in self.pieces:
            meets = there.clip(piece.place)
            at = meets.within(there).slices
            if meets.size and not result.filled[at].all():
                result.add(at, *piece.read(piece.raster.pixels(meets.within(piece.place)), self.nodata))
        return result.pixels(self.area.inside(window) if self.area else None)

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """See `FileSource`; pieces meet to the nearest pixel of the coarser grid."""
        there = window.shift(self.window.row, self.window.col)
        result = _Canvas(shape, self.dtype, self.nodata)
        for piece in self.pieces:
            meets = there.clip(piece.place).within(there)
            ends = zip((meets.row, meets.col), meets.stop, (there.height, there.width), shape, strict=True)
            down, across = (
                slice(*(round(each * count / side) for each in (start, stop))) for start, stop, side, count in ends
            )
            size = down.stop - down.start, across.stop - across.start
            if min(size) > 0:
                inside = meets.shift(there.row, there.col).within(piece.place)
                found = piece.raster.reduced(inside, size, nearest=nearest or bool(piece.added))
                result.add((down, across), *piece.read(found, self.nodata))
        return result.pixels(None)


class _Canvas:
    """Pixels that pieces fill, each where none before it has data."""

    def __init__(self, shape: tuple[int, int], dtype: str, nodata: float | None) -> None:
        self.stored = np.full(shape, nodata or 0, dtype)
        self.filled = np.zeros(shape, bool)
        self.masked = nodata is None

    def add(self, at: tuple[slice, slice], stored: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
        """Fill what is empty, where a piece has data."""
        take = valid & ~self.filled[at]
        self.stored[at][take] = stored[take]
        self.filled[at] |= take

    def pixels(self, wanted: NDArray[np.bool_] | None) -> Pixels:
        """All of them; a mask says where there are none, unless a number does."""
        return Pixels(self.stored[None], self.filled if self.masked else None, wanted)


def mosaic(scenes: Sequence[Scene]) -> Scene:
    """Whole scenes of one band as one over all of their ground, with the numbers of the one that can hold all.

    That is the first, or the one with the lowest offset where offsets differ: numbers of the others are raised by what
    theirs lack. Raises `InputError` where pixels don't fall together, or numbers can't be made those of another.
    """
    first = min(scenes, key=lambda scene: scene.offsets[0])  # the first of those that are alike
    for scene in scenes:
        _check(first, scene)
    added = [_added(first, scene) for scene in scenes]
    corners = [_corner(first, scene) for scene in scenes]
    top, left = (min(corner[axis] for corner in corners) for axis in (0, 1))
    places = [Window(row - top, col - left, *scene.full) for (row, col), scene in zip(corners, scenes, strict=True)]
    whole = Window(0, 0, max(each.stop[0] for each in places), max(each.stop[1] for each in places))
    nodata = first.nodata
    pieces = tuple(
        Piece(scene.source, place, scene.radiometry, more)
        for scene, place, more in zip(scenes, places, added, strict=True)
    )
    mask: MaskKind = "none" if nodata is not None else "dataset"
    source: Any = MosaicSource(pieces, first.dtype, whole, nodata, mask)
    tags = shared([scene.metadata.tags or {} for scene in scenes])
    metadata = replace(first.metadata, transform=_moved(first.transform, top, left), tags=tags)
    digest = hashlib.sha256(" ".join(str(scene.identity["digest"]) for scene in scenes).encode()).hexdigest()
    return replace(
        first,
        window=whole,
        full=(whole.height, whole.width),
        geobox=geobox_of(metadata, whole),
        mask=mask,
        metadata=metadata,
        source=source,
        identity={"path": first.path, "shape": f"1 x {whole.height} x {whole.width}", "digest": digest},
        files=tuple(dict.fromkeys(file for scene in scenes for file in scene.files)),
        warnings=tuple(
            dict.fromkeys((*(line for scene in scenes for line in scene.warnings), *_raised(scenes, added)))
        ),
    )


def _check(first: Scene, other: Scene) -> None:
    if first.crs != other.crs:
        crs = f"{first.name} is in {first.crs or 'no CRS'} and {other.name} in {other.crs or 'none'}"
        raise InputError(f"{crs}: one result has one; warp the one, with gdalwarp, or upscale each alone")
    row, col = _corner(first, other)
    if not same_grid(_moved(first.transform, row, col), other.transform, other.full):
        raise InputError(f"pixels of {first.name} and {other.name} don't fall together; upscale each alone")
    if first.dtype != common_dtype([first.dtype, other.dtype], other.name) or first.dtype != other.dtype:
        raise InputError(f"{first.name} holds {first.dtype} and {other.name} {other.dtype}; upscale each alone")


def _corner(first: Scene, other: Scene) -> tuple[int, int]:
    """Row and column of a scene's corner on the grid of the first, whole."""
    col, row = placed(~first.transform, other.transform.c, other.transform.f)
    return round(row), round(col)


def _moved(transform: Affine, row: int, col: int) -> Affine:
    x, y = placed(transform, col, row)
    return Affine(transform.a, transform.b, x, transform.d, transform.e, y)


def _added(first: Scene, other: Scene) -> int:
    """To stored numbers of a scene, so that they mean what the first's do. Raises `InputError` where none can."""
    (scale,), (offset,) = first.scales, first.offsets
    more = (other.offsets[0] - offset) / scale
    whole = round(more)
    alike = abs(other.scales[0] / scale - 1) < 1e-9 and abs(more - whole) < _NEAR
    if not alike or (whole and (first.dtype.startswith("float") or any(first.categorical))):
        raise InputError(
            f"values of {first.name} are stored number x {scale:g} {offset:+g} and those of {other.name} x "
            f"{other.scales[0]:g} {other.offsets[0]:+g}, which no whole number makes alike; upscale each alone"
        )
    return whole


def _raised(scenes: Sequence[Scene], added: Sequence[int]) -> list[str]:
    """Lines on scenes whose numbers are others in the mosaic."""
    return [
        f"numbers of {scene.name} are raised by {more}, so that scale and offset are the same everywhere"
        for scene, more in zip(scenes, added, strict=True)
        if more
    ]
