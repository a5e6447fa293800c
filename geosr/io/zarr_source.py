"""Pixels of an array in a Zarr store, and the scene that it makes: GDAL's own driver isn't let near such stores."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import DamageError, GeosrError, InputError, PlaceError, one_line
from geosr.io.aoi import Area
from geosr.io.arrays import metadata_of
from geosr.io.decoded import Decoded
from geosr.io.environment import CACHE_BYTES_TOGETHER, is_remote
from geosr.io.grid import geobox_of
from geosr.io.identity import short_name
from geosr.io.nodata import possible_nodata
from geosr.io.safety import common_dtype
from geosr.io.scene import Scene, with_options
from geosr.io.source import MaskKind
from geosr.radiometry import Pixels
from geosr.sensors import SensorGuess
from geosr.tiling import Tile
from geosr.window import Window

_BETWEEN = "::"
"""Text between a store and the array that is meant in it."""


def array_path(store: str, key: str) -> str:
    """The name of an array in a store (a folder, a zip or an address), which `open_array` takes."""
    return f"{store}{_BETWEEN}{key}"


def is_array(path: str) -> bool:
    """True for a name of `array_path`."""
    return _BETWEEN in path


def open_group(store: str, inner: str = "") -> Any:
    """A group of a store, its root by default, to be read. Raises `GeosrError` in one line where it can't be."""
    with _told(store):
        import zarr
        from zarr.storage import FsspecStore, LocalStore, ZipStore

        if is_remote(store):
            place: Any = FsspecStore.from_url(store, read_only=True)
        else:
            place = ZipStore(store, mode="r") if store.endswith(".zip") else LocalStore(store, read_only=True)
        return zarr.open_group(place, path=inner, mode="r")


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Pixels of an array of rows and columns. Pickles small: the store is opened on first use, once a process."""

    path: str
    """See `array_path`."""
    dtype: str
    window: Window
    """The part of the array that is the scene; tiles count from its corner."""
    mask: MaskKind = "none"
    """No store has any: pixels without data have a number of their own."""
    alpha: int = 0
    area: Area | None = None
    """Area of interest, in pixels of the scene."""
    stamp: str = ""
    """What tells the array from another of its name: who holds that one open opens this."""

    def read(self, tile: Tile) -> Pixels:
        """The pixels of `tile.read`. Raises `GeosrError` that names array, window and reason in one line."""
        return self.pixels(tile.read)

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the scene, as stored. Raises as `read`."""
        return Pixels(self._stored(window), None, self.area.inside(window) if self.area else None)

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """A window on a coarser grid of (height, width), to be looked at: always of the nearest pixels."""
        return Pixels(self._stored(window, shape))

    def _stored(self, window: Window, shape: tuple[int, int] | None = None) -> NDArray[np.generic]:
        """(1, height, width) of a window, or of pixels of it that are spread evenly."""
        there = window.shift(self.window.row, self.window.col).slices
        rows, cols = map(_spread, there, shape or (window.height, window.width))
        stored = np.empty((1, len(rows), len(cols)), self.dtype)
        (top, bottom), (left, right) = ((each.start, each.stop - 1) for each in there)
        with _told(f"{self.path}: rows {top}-{bottom}, columns {left}-{right}", damage=True):
            array = _opened(self.path, self.stamp, os.getpid())
            height, width = array.chunks
            for row in np.unique(rows // height):
                for col in np.unique(cols // width):
                    chunk = _chunk(array, (self.path, self.stamp, int(row), int(col)))
                    down, across = rows // height == row, cols // width == col
                    inside = chunk[np.ix_(rows[down] - row * height, cols[across] - col * width)]
                    stored[0][np.ix_(down, across)] = inside
        return stored


def _spread(piece: slice, count: int) -> NDArray[np.int64]:
    """So many places of a piece, each in the middle of its share."""
    return np.asarray(piece.start + (2 * np.arange(count) + 1) * (piece.stop - piece.start) // (2 * count))


@lru_cache(maxsize=64)
def _opened(path: str, stamp: str, process: int) -> Any:
    store, _, key = path.rpartition(_BETWEEN)
    return _array(store, key)


_decoded = Decoded[NDArray[np.generic]](lambda chunk: chunk.nbytes, CACHE_BYTES_TOGETHER)
"""Chunks that tiles have met: products have some that hold hundreds of tiles."""


def _chunk(array: Any, key: tuple[str, str, int, int]) -> NDArray[np.generic]:
    """A chunk of an array, decoded once for as long as the cache holds it."""
    return _decoded.get(key, lambda: np.asarray(array.get_block_selection(key[2:])))


def _array(store: str, key: str) -> Any:
    group, _, name = key.rpartition("/")
    return open_group(store, group)[name]


def open_array(
    path: str, *, nodata: float | str | None = None, scale_offset: tuple[float, float] | None = None
) -> Scene:
    """The whole of an array of a store as a scene of one band, without a place: its product tells that.

    Raises `InputError` where it has not rows and columns alone, or pixels of a type that can't be upscaled.
    """
    store, _, key = path.rpartition(_BETWEEN)
    name = f"{short_name(store)} {key.rpartition('/')[2]}"
    with _told(path):
        array = _array(store, key)
    if array.ndim != 2:
        raise InputError(f"{name}: an array of rows and columns was expected, and it has {array.ndim} dimensions")
    dtype = common_dtype([array.dtype.newbyteorder("=").name], name)
    window, stamp = Window(0, 0, *array.shape), _stamp(store, key, array)
    fill = None if array.fill_value is None else possible_nodata(float(array.fill_value), dtype)
    metadata = metadata_of(
        1, wkt=None, transform=None, nodata=fill, names=[""], units=[""], scales=[1.0], offsets=[0.0], tags={}
    )
    source: Any = ArraySource(path, dtype, window, stamp=stamp)
    scene = Scene(
        path=path,
        name=name,
        driver="Zarr",
        window=window,
        full=array.shape,
        geobox=geobox_of(metadata, window),
        dtype=dtype,
        bands=(1,),
        mask="none",
        block=array.chunks,
        interleave="band",
        metadata=metadata,
        source=source,
        identity={"path": path, "shape": f"1 x {array.shape[0]} x {array.shape[1]}", "digest": stamp},
        sensor=SensorGuess(),
        files=() if is_remote(store) else (str(Path(store).absolute()),),
        warnings=() if is_remote(store) else _without_chunks(array, name),
    )
    return with_options(scene, nodata, scale_offset)


def _without_chunks(array: Any, name: str) -> tuple[str, ...]:
    """A line on chunks that are not there: stores leave out those that are empty, and half downloads any."""
    missing = array.nchunks - array.nchunks_initialized
    return (f"{missing} of {array.nchunks} chunks of {name} are not there, and hold no data",) if missing else ()


def _stamp(store: str, key: str, array: Any) -> str:
    """A digest of what the store says of an array, and of sizes and times of change of its local files."""
    told: list[Any] = [list(array.shape), list(array.chunks), str(array.dtype), dict(array.attrs)]
    place = Path(store)
    files = [place] if place.is_file() else sorted(place.joinpath(key).rglob("*")) if place.is_dir() else []
    told += [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()


@contextmanager
def _told(what: str, damage: bool = False) -> Iterator[None]:
    """The words of zarr and the place, as one line."""
    try:
        yield
    except (GeosrError, MemoryError):
        raise
    except ImportError as error:
        raise InputError(
            f"{what}: {one_line(error)}; geosr[zarr] brings what reads Zarr, geosr[s3] object stores"
        ) from error
    except Exception as error:  # stores and codecs raise errors of their own
        kind: type[GeosrError] = PlaceError if is_remote(what) else DamageError if damage else InputError
        raise kind(f"{what}: can't be read: {one_line(error)}") from error
