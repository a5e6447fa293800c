"""Pixels of a raster file, window by window."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from geosr.errors import DamageError, GeosrError, InputError, PlaceError
from geosr.io.aoi import Area
from geosr.io.decoded import Cells, Decoded, Piece, apart
from geosr.io.environment import (
    CACHE_BYTES_TOGETHER,
    Complaints,
    GdalError,
    Options,
    hold_a_row,
    is_remote,
    open_dataset,
    reading,
    reason,
)
from geosr.io.nodata import to_common
from geosr.io.safety import local_file
from geosr.pipeline import cores
from geosr.radiometry import Pixels
from geosr.tiling import Tile
from geosr.window import Window

MaskKind = Literal["none", "alpha", "dataset", "numbers", "bands"]
"""Where validity comes from beside nodata: nowhere, an alpha band, a mask of the dataset, numbers that stand for 'no
data' together (NODATA_VALUES), a mask of each band."""

_OPEN_AT_ONCE = 32
"""Datasets a thread keeps open: a product has a file for each of its bands."""


_STRIP = 512
"""Rows of a file that are brought to a coarser grid at a time."""


@dataclass(frozen=True, slots=True)
class _View:
    """A window of a file, and the coarser grid that it is brought to, if any."""

    window: RasterioWindow
    shape: tuple[int, int] | None
    nearest: bool

    def of(self, *bands: int) -> dict[str, Any]:
        """rasterio's arguments for reading one band, or so many."""
        if self.shape is None:
            return {"window": self.window}
        resampling = Resampling.nearest if self.nearest else Resampling.average
        return {"window": self.window, "out_shape": (*bands, *self.shape), "resampling": resampling}


@dataclass(frozen=True, slots=True)
class FileSource:
    """Pixels of a raster file. Pickles small: the file is opened on first use, once a process and thread."""

    path: str
    """What GDAL calls it."""
    bands: tuple[int, ...]
    """Bands of the file, counted from 1, in the order wanted."""
    dtype: str
    """Of the pixels that come back; wider than a band's own where bands differ."""
    window: Window
    """The part of the file that is the scene; tiles count from its corner."""
    mask: MaskKind = "none"
    alpha: int = 0
    """The alpha band, counted from 1, where `mask` is "alpha"."""
    nodata: tuple[tuple[float, ...], ...] = ()
    """Per band, the numbers for 'no data' that have to be brought to `common`; empty where there is one for all."""
    common: float | None = None
    """The one number that stands for 'no data' in what comes back, where the file has several."""
    mask_bands: tuple[int, ...] = ()
    """Bands whose masks are read, where they are others than `bands`."""
    area: Area | None = None
    """Area of interest, in pixels of the scene."""
    options: Options = field(default=(), repr=False)
    """GDAL's, of who opened the scene; they may hold credentials."""
    stamp: str = ""
    """What tells the file from another of its name: who holds that one open opens this."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`. Raises `GeosrError` that names file, window and reason in one line."""
        return self.pixels(tile.read)

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene, as stored. Raises as `read`."""
        stored, mask = self._shared(window) or self._read(window, None, nearest=True)
        return Pixels(stored, mask, self.area.inside(window) if self.area else None)

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """A window on a coarser grid of (height, width), to be looked at: averages, or `nearest` pixels.

        The file's overviews serve it. It is read in strips, so that GDAL's cache holds the blocks for all of its bands.
        Raises as `read`.
        """
        parts = [Pixels(*self._read(strip, (rows, shape[1]), nearest)) for strip, rows in _strips(window, shape[0])]
        masks = [part.mask for part in parts if part.mask is not None]
        return Pixels(np.concatenate([part.stored for part in parts], 1), np.concatenate(masks) if masks else None)

    def _shared(self, window: Window) -> Piece | None:
        """The pixels of a window, of cells of the file that all threads share.

        None where blocks are too large for that or one is damaged: then the window is read by itself, and names itself.
        """
        try:
            with self._errors(window):
                known, cells = _cut(replace(self, area=None))
            if cells is None:
                return None
            there = window.shift(self.window.row, self.window.col)
            return cells.joined(there, lambda cell: _decoded.get((known, cell), partial(self._cell, cell)))
        except _StalledError:
            raise
        except GeosrError:
            return None

    def _cell(self, cell: Window) -> Piece:
        """The pixels of a window of the file."""
        return apart(self._read(cell.shift(-self.window.row, -self.window.col), None, nearest=True))

    def _read(self, window: Window, shape: tuple[int, int] | None, nearest: bool) -> Piece:
        try:
            return self._attempt(window, shape, nearest)
        except GeosrError as error:
            if not is_remote(self.path) or isinstance(error, _StalledError):
                raise
            close(self.path)
            return self._attempt(window, shape, nearest)

    def _attempt(self, window: Window, shape: tuple[int, int] | None, nearest: bool) -> Piece:
        with self._errors(window) as complaints:
            dataset, view = _opened(self), _View(self._there(window), shape, nearest)
            if shape is not None or _cut(replace(self, area=None))[1] is None:
                hold_a_row(dataset)
            stored = self._stored(dataset, view)
            mask = self._mask(dataset, view)
            if complaints.serious:
                raise OSError(complaints.serious)
        return stored, mask

    def _stored(self, dataset: DatasetReader, view: _View) -> NDArray[np.generic]:
        kinds = {dataset.dtypes[band - 1] for band in self.bands}
        if kinds == {self.dtype}:
            stored = dataset.read(list(self.bands), **view.of(len(self.bands)))
        else:
            stored = np.stack([dataset.read(band, **view.of()).astype(self.dtype) for band in self.bands])
        for band, numbers in zip(stored, self.nodata, strict=False):
            to_common(band, numbers, self.common)
        return stored  # type: ignore[no-any-return]

    def _mask(self, dataset: DatasetReader, view: _View) -> NDArray[np.bool_] | None:
        if self.mask == "none":
            return None
        if self.mask == "alpha":
            return dataset.read(self.alpha, **view.of()) > 0  # type: ignore[no-any-return]
        bands = list(self.mask_bands or self.bands)
        if self.mask in ("dataset", "numbers"):
            return dataset.read_masks(bands[0], **view.of()) > 0  # type: ignore[no-any-return]
        return np.asarray((dataset.read_masks(bands, **view.of(len(bands))) > 0).all(axis=0))

    def _there(self, window: Window) -> RasterioWindow:
        return RasterioWindow(window.col + self.window.col, window.row + self.window.row, window.width, window.height)

    def _kind(self, complaints: Complaints) -> type[GeosrError]:
        if is_remote(self.path):
            return _StalledError if complaints.stalled else PlaceError
        return InputError if _is_gone(self.path) else DamageError

    @contextmanager
    def _errors(self, window: Window) -> Iterator[Complaints]:
        with reading(self.path, self.options) as complaints:
            try:
                yield complaints
            except GdalError as error:
                rows = f"rows {window.row + self.window.row}-{window.stop[0] + self.window.row - 1}"
                columns = f"columns {window.col + self.window.col}-{window.stop[1] + self.window.col - 1}"
                why = reason(error, complaints)
                name = self.path.removeprefix("/vsicurl/")
                raise self._kind(complaints)(f"{name}: {rows}, {columns} can't be read: {why}") from error


_LARGEST = 32 * 2**20
"""Bytes of a cell beyond which tiles don't share them."""
_A_CORE = 16 * 2**20
_decoded = Decoded[Piece](lambda piece: sum(each.nbytes for each in piece if each is not None), _A_CORE)


@lru_cache(maxsize=256)
def _cut(source: FileSource) -> tuple[FileSource, Cells | None]:
    """A source as all know it that cut scenes from its file, and its cells if it has any. Raises as GDAL does."""
    dataset = _opened(source)
    cells = Cells.of(dataset.shape, dataset.block_shapes[source.bands[0] - 1])
    if _size(source, cells) > _LARGEST:
        return source, None
    known = replace(source, window=cells.file)
    _decoded.allow(min(_kept(source, cells), CACHE_BYTES_TOGETHER))
    return known, cells


def _size(source: FileSource, cells: Cells) -> int:
    """Bytes of a cell."""
    return cells.rows * cells.cols * len(source.bands) * np.dtype(source.dtype).itemsize


def _kept(source: FileSource, cells: Cells) -> int:
    """Bytes of the cells that tiles meet again: of three rows of them those side by side at work, all if there is room.

    A core more brings room for so many bytes.
    """
    cell = _size(source, cells)
    across = -(-cells.file.width // cells.cols)
    return max(3 * min(cores() + 2, across) * cell, min(3 * across * cell, cores() * _A_CORE))


def _strips(window: Window, rows: int) -> Iterator[tuple[Window, int]]:
    """Parts of a window from top to bottom, and how many of the `rows` that it is reduced to each becomes."""
    step = max(1, rows * _STRIP // window.height)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        top, end = (window.height * row // rows for row in (start, stop))
        yield Window(window.row + top, window.col, end - top, window.width), stop - start


class Raster(Protocol):
    """Pixels of a scene by window, of a file or of several."""

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene, as stored. Raises `GeosrError` in one line."""

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """A window on a coarser grid of (height, width), to be looked at: averages, or `nearest` pixels."""


class SceneSource(Raster, Protocol):
    """Pixels of a scene that tiles read."""

    @property
    def alpha(self) -> int:
        """The alpha band, counted from 1; 0 where there is none."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`. Raises as `pixels`."""


@dataclass(frozen=True, slots=True)
class StackSource:
    """Pixels of several rasters on one grid, band after band; valid where the masks of all of them say so."""

    rasters: tuple[Raster, ...]
    dtype: str
    """Of the pixels that come back."""
    order: tuple[int, ...]
    """Which of their bands come back, counted from 0 through all of them."""
    nodata: tuple[tuple[float, ...], ...] = ()
    """See `FileSource`; of the bands that come back."""
    common: float | None = None
    alpha: int = 0
    """No band of it is one: those of the rasters count as masks."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`."""
        return self.pixels(tile.read)

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene, as stored. Raises as the rasters do."""
        parts = [raster.pixels(window) for raster in self.rasters]
        read_together(self.rasters)
        return self._joined(parts)

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """See `FileSource`."""
        return self._joined([raster.reduced(window, shape, nearest=nearest) for raster in self.rasters])

    def _joined(self, parts: Sequence[Pixels]) -> Pixels:
        masks = [part.mask for part in parts if part.mask is not None]
        bands = [band for part in parts for band in part.stored]
        stored = np.stack([bands[place] for place in self.order], dtype=self.dtype)
        for band, numbers in zip(stored, self.nodata, strict=False):
            to_common(band, numbers, self.common)
        return Pixels(stored, np.logical_and.reduce(masks) if masks else None, parts[0].wanted)


class _StalledError(PlaceError):
    """A server left GDAL waiting; asking again would only wait as long."""


def _is_gone(path: str) -> bool:
    """True where a local file can't be read at all, as where a disk was taken away: what it holds is not at fault."""
    file = local_file(path)
    return bool(file) and not os.access(file, os.R_OK)


def read_together(rasters: Iterable[Raster]) -> None:
    """Have cells of all of these kept, which a tile reads side by side."""
    files = [each for raster in rasters for each in getattr(raster, "rasters", (raster,))]
    cut = [_cut(replace(each, area=None)) for each in files if isinstance(each, FileSource)]
    _decoded.allow(min(sum(_kept(each, cells) for each, cells in cut if cells), CACHE_BYTES_TOGETHER))


def close(path: str | None = None) -> None:
    """Close what this thread holds open, one file or all of them, and forget what any has decoded of it."""
    held = _held()
    _decoded.clear(lambda key: path in (None, key[0].path))
    for name in [name for name in held if path in (None, name)]:
        held.pop(name)[1].close()


_local = threading.local()


def _held() -> OrderedDict[str, tuple[str, DatasetReader]]:
    """This thread's open datasets and their stamps; a forked child has none, since GDAL's don't survive a fork."""
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.held = os.getpid(), OrderedDict()
    held: OrderedDict[str, tuple[str, DatasetReader]] = _local.held
    return held


def _opened(source: FileSource) -> DatasetReader:
    held, path = _held(), source.path
    if path in held and held[path][0] != source.stamp:
        close(path)
    if path not in held:
        held[path] = source.stamp, open_dataset(path)
        while len(held) > _OPEN_AT_ONCE:
            held.popitem(last=False)[1][1].close()
    held.move_to_end(path)
    return held[path][1]
