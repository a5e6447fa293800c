"""Workers write the store: each tile's chunks and, behind them, a note that the tile is done.

There is no file between them and no writer in the middle: a tile fills its chunks, and those of the overviews that it
can fill, alone. What it leaves for coarser overviews lies in its note; they are made at the end, then the documents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import DamageError, GeosrError, InputError, PlaceError
from geosr.io.encoder import only_wanted, pack_image, unpack_image
from geosr.io.fingerprint import differs, fingerprint_of
from geosr.io.geozarr import MASK, Contents, Variable
from geosr.io.layout import Layout
from geosr.io.overviews import Image, blank, build, halve
from geosr.io.store import NOTES, Store
from geosr.io.zarr import Array, check_installed, objects
from geosr.io.zarr_place import Place
from geosr.radiometry import Pixels
from geosr.tiling import Tile

_RUN = f"{NOTES}/run"
"""The fingerprint of the run that the store grows by."""
_TILES = f"{NOTES}/tiles"
"""A note for each tile that is done: the image that it leaves for the overviews that it can't fill."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The arrays of pixels of a store, and what goes into which chunk of them. Pickles small."""

    layout: Layout
    name: str
    dims: tuple[str, ...]
    """The last two are rows and columns."""
    shape: tuple[int, ...]
    """But for rows and columns. The layout's bands are its last number, or 1 where there is none for them."""

    def array(self, level: int, mask: bool = False) -> Array:
        """The array of a level."""
        layout, part, options = self.layout, self.layout.part(level), self.layout.options
        shape, dims, lead = ((), self.dims[-2:], ()) if mask else (self.shape, self.dims, self._lead(layout.samples))
        return Array(
            path=f"{level}/{MASK if mask else self.name}".removeprefix("0/"),
            dims=dims,
            shape=(*shape, part.height, part.width),
            chunks=(*lead, layout.block, layout.block),
            dtype="|u1" if mask else np.dtype(layout.dtype).newbyteorder("<").str,
            fill=None if mask else self.layout.missing,
            compress=options.compress,
            level=options.level,
            shuffle=options.predictor,
            version=options.zarr_format,
        )

    @property
    def scenes(self) -> int:
        """The number of scenes that lie one behind the other, such as those of a time axis."""
        return math.prod(self.shape) // self.layout.count

    @property
    def tiles(self) -> int:
        """Tiles of one scene."""
        return math.prod(self.layout.grid)

    def chunks(self, scene: int, level: int, row: int, col: int, image: Image) -> Iterator[tuple[str, bytes | None]]:
        """Keys and bytes for an image whose upper left chunk stands at `row`, `col` of its level."""
        side, array = self.layout.block, self.array(level)
        height, width = image.stored.shape[1:]
        for top in range(0, height, side):
            for left in range(0, width, side):
                there = np.s_[top : top + side, left : left + side]
                index = row + top // side, col + left // side
                for plane in range(0, self.layout.count, self.layout.samples):
                    piece = image.stored[plane : plane + self.layout.samples, *there]
                    key = array.key((*self._index(scene, plane), *index))
                    yield key, array.encode(piece.reshape(*self._lead(piece.shape[0]), *piece.shape[1:]))
                if self.layout.masked:
                    yield self._mask(level, index, image.mask, image.stored.shape[1:], there)

    def _mask(
        self, level: int, index: tuple[int, int], mask: NDArray[np.bool_] | None, shape: tuple[int, ...], there: Any
    ) -> tuple[str, bytes | None]:
        array = self.array(level, mask=True)
        valid = np.ones(shape, bool) if mask is None else mask
        return array.key(index), array.encode(valid[there].astype(np.uint8))

    @property
    def _banded(self) -> int:
        return int(bool(self.shape) and self.shape[-1] == self.layout.count)

    def _lead(self, samples: int) -> tuple[int, ...]:
        return (1,) * (len(self.shape) - self._banded) + (samples,) * self._banded

    def _index(self, scene: int, plane: int) -> tuple[int, ...]:
        """Which chunk along all dimensions but rows and columns."""
        lead = self.shape[: len(self.shape) - self._banded]
        at = tuple(int(each) for each in np.unravel_index(scene, lead)) if lead else ()
        return (*at, *(plane // self.layout.samples,) * self._banded)


@dataclass(frozen=True, slots=True)
class WrittenTile:
    """A tile whose chunks are in the store: what the worker sends back."""

    index: int


@dataclass(frozen=True, slots=True)
class ZarrEncoder:
    """Writes a tile's chunks, overviews included, and then the note that it is done. Pickles small."""

    pyramid: Pyramid
    store: Store | None
    """None where nothing is kept."""
    run: str = ""
    """Fingerprint of the run, which the store should know."""

    def __call__(self, tile: Tile, pixels: Pixels) -> WrittenTile:
        """Write the pixels of `tile.write`; the tile counts as done when this returns.

        Raises `PlaceError`, also where another run has the place by now: a worker that was left to itself when its run
        was stopped must not write into the next one.
        """
        if not self._is_current():
            raise PlaceError("this run was stopped, and its place is another's; nothing of it is written any more")
        layout = self.pyramid.layout
        scene, index = divmod(tile.index, self.pyramid.tiles)
        rest = self.write(scene, index, only_wanted(pixels, layout))
        if self.store:
            self.store.put(f"{_TILES}/{tile.index}", rest)
        return WrittenTile(tile.index)

    def write(self, scene: int, index: int, image: Image) -> bytes:
        """Write the chunks that a tile fills; what it leaves for coarser overviews comes back."""
        layout = self.pyramid.layout
        row, col = divmod(index, layout.grid[1])
        for level in range(layout.tile_levels + 1):
            image = halve(image, layout) if level else image
            times = layout.tile // layout.block >> level
            self.put(scene, level, row * times, col * times, image)
        return b"" if layout.tile_levels == layout.levels else pack_image(halve(image, layout))

    def put(self, scene: int, level: int, row: int, col: int, image: Image) -> None:
        """Write the chunks of an image."""
        for key, data in self.pyramid.chunks(scene, level, row, col, image):
            if self.store and data is not None:
                self.store.put(key, data)

    def check(self) -> str | None:
        """The line that says why this process can't write; None where it can."""
        try:
            check_installed()
            current = self._is_current()
        except GeosrError as error:
            return f"it can't write the result: {error}"
        if not current:
            return "it does not see the result that the others write; give it a place that all of them share"
        return None

    def _is_current(self) -> bool:
        """Whether the store is that of this run."""
        return self.store is None or self.store.get(_RUN) == self.run.encode()


class ZarrSink:
    """A `pipeline.Sink` into a Zarr store that its workers write; in a folder or an object store.

    Use it as a context manager; `finish()` makes the result whole. Left without, it keeps what is done for the next
    run, or removes everything where nothing is done yet. Parameters and errors are those of `TiffSink`; `contents` is
    what the store holds beside pixels.
    """

    def __init__(
        self, path: str | Path, layout: Layout, *, contents: Contents, fingerprint: str, overwrite: bool = False
    ) -> None:
        self._place = Place(path)
        self._contents = contents
        self.layout = layout
        self.started: Literal["fresh", "resumed", "restarted"] = "fresh"
        run = fingerprint_of(fingerprint, layout)
        pyramid = Pyramid(layout, contents.name, contents.dims, contents.shape)
        self.encoder = ZarrEncoder(pyramid, self._place.store, run)
        """What workers call; pickles small."""
        self._done: set[int] = set()
        self._whole = False
        self._place.enter()
        try:
            self._begin(run, overwrite)
        except BaseException:
            self._place.leave()
            raise

    def done(self) -> frozenset[int]:
        """Indices of the tiles that are kept, by this run or an earlier one."""
        return frozenset(self._done)

    def append(self, tile: Tile, encoded: WrittenTile) -> None:
        """Count a tile as done: its worker has written it."""
        self._done.add(encoded.index)

    def finish(self) -> Path | str:
        """Make the coarse overviews and the documents, and give the result its name, which comes back.

        Tiles that were never written read as nodata, or 0. Raises `PlaceError`; all tiles are kept then.
        """
        for scene in range(self.encoder.pyramid.scenes):
            self._fill_gaps(scene)
            self._build_overviews(scene)
        self._write_documents()
        self._whole = True
        return self._place.finish()

    def close(self, keep: bool = True) -> None:
        """Give the place back; what is done stays for the next run, unless `keep` is False."""
        if not (self._whole or (self._done and keep)):
            with suppress(PlaceError):
                self._place.store.clear()
        self._place.leave()

    def __enter__(self) -> ZarrSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keep=not isinstance(error, DamageError))

    def _begin(self, run: str, overwrite: bool) -> None:
        store = self._place.store
        earlier = store.get(_RUN)
        if earlier is not None and earlier.decode() != run:
            if not overwrite:
                raise InputError(differs(self._place.name, earlier.decode(), run))
            self.started = "restarted"
        if earlier is None or earlier.decode() != run:
            store.clear()
            store.put(_RUN, run.encode())
            return
        self._done = {int(name) for name in store.names(_TILES) if name.isdigit()}
        if self._done:
            self.started = "resumed"

    def _fill_gaps(self, scene: int) -> None:
        """Tiles that were not wanted are written as nothing where an absent chunk would have no meaning."""
        if self.layout.missing is not None:
            return
        count = self.encoder.pyramid.tiles
        for index in range(count):
            if scene * count + index not in self._done:
                shape = self.layout.tile_share(*divmod(index, self.layout.grid[1]), 0)
                self.encoder.write(scene, index, Image(blank(self.layout, shape), np.zeros(shape, bool)))

    def _build_overviews(self, scene: int) -> None:
        first = self.layout.tile_levels + 1

        def read(row: int, col: int) -> Image | None:
            return self._rest(scene, row, col)

        def keep(level: int, row: int, col: int, image: Image) -> None:
            self.encoder.put(scene, level, row, col, image)

        if first <= self.layout.levels:
            build(self.layout, first, read, keep)

    def _rest(self, scene: int, row: int, col: int) -> Image | None:
        if row >= self.layout.grid[0] or col >= self.layout.grid[1]:
            return None
        shape = self.layout.tile_share(row, col, self.layout.tile_levels + 1)
        index = scene * self.encoder.pyramid.tiles + row * self.layout.grid[1] + col
        data = self._place.store.get(f"{_TILES}/{index}") if index in self._done else None
        if data:
            return unpack_image(data, (self.layout.count, *shape), self.layout.dtype)
        empty = None if self.layout.missing is not None else np.zeros(shape, bool)
        return None if empty is None else Image(blank(self.layout, shape), empty)

    def _write_documents(self) -> None:
        levels = range(self.layout.levels, -1, -1)
        arrays = [array for level in levels for array in self._arrays(level)]
        attributes = self._contents.group_attributes(self.layout)
        for key, data in objects(attributes, arrays, self.layout.options.zarr_format):
            self._place.store.put(key, data)

    def _arrays(self, level: int) -> Iterator[tuple[Array, Mapping[str, Any], NDArray[Any] | None]]:
        """The arrays of a level with their attributes, and the values of those that no worker has written."""
        pyramid, part = self.encoder.pyramid, self.layout.part(level)
        yield pyramid.array(level), self._contents.pixel_attributes(self.layout), None
        if self.layout.masked:
            yield pyramid.array(level, mask=True), self._contents.mask_attributes(), None
        for variable in self._contents.variables(level, (part.height, part.width)):
            yield _array_of(variable, level, self.layout), variable.attributes, variable.values


def tags_of_store(store: Store, name: str = "data") -> dict[str, Any]:
    """The attributes of a store's array; none where there is none."""
    for key in (f"{name}/.zattrs", f"{name}/zarr.json"):
        document = json.loads(store.get(key) or b"{}")
        if attributes := document.get("attributes", document):
            return dict(attributes)
    return {}


def idle_encoder(layout: Layout, contents: Contents) -> ZarrEncoder:
    """An encoder that does all the work of a tile and keeps nothing."""
    return ZarrEncoder(Pyramid(layout, contents.name, contents.dims, contents.shape), None)


def _array_of(variable: Variable, level: int, layout: Layout) -> Array:
    values, version = variable.values, layout.options.zarr_format
    dtype = "string" if values.dtype.kind == "U" and version == 3 else values.dtype.newbyteorder("<").str
    return Array(
        path=f"{level}/{variable.name}".removeprefix("0/"),
        dims=variable.dims,
        shape=values.shape,
        chunks=values.shape,
        dtype=dtype,
        version=version,
    )
