"""Workers write the store: each tile's chunks and, behind them, a note that the tile is done.

A run of several results has an array of each in one store, and a tile is done when it is in all of them.

There is no file between them and no writer in the middle: a tile fills its chunks, and those of the overviews that it
can fill, alone. What it leaves for coarser overviews lies in its note; they are made at the end, then the documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import DamageError, GeosrError, InputError, PlaceError
from geosr.io.encoder import only_wanted, pack_image, unpack_image
from geosr.io.fingerprint import differs, fingerprint_of
from geosr.io.geozarr import Contents, Variable
from geosr.io.layout import Layout
from geosr.io.output import Output
from geosr.io.overviews import Image, blank, build, halve
from geosr.io.pyramid import Pyramid
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
class WrittenTile:
    """A tile whose chunks are in the store: what the worker sends back."""

    index: int


@dataclass(frozen=True, slots=True)
class ZarrEncoder:
    """Writes a tile's chunks, overviews included, and then the note that it is done. Pickles small."""

    pyramids: tuple[Pyramid, ...]
    """Of each result, the image first."""
    store: Store | None
    """None where nothing is kept."""
    run: str = ""
    """Fingerprint of the run, which the store should know."""

    @property
    def pyramid(self) -> Pyramid:
        """That of the image."""
        return self.pyramids[0]

    def __call__(self, tile: Tile, *results: Pixels) -> WrittenTile:
        """Write the pixels of `tile.write`; the tile counts as done when this returns.

        Raises `PlaceError`, also where another run has the place by now: a worker that was left to itself when its run
        was stopped must not write into the next one.
        """
        if not self._is_current():
            raise PlaceError("this run was stopped, and its place is another's; nothing of it is written any more")
        scene, index = divmod(tile.index, self.pyramid.tiles)
        for pyramid, pixels in zip(reversed(self.pyramids), reversed(results), strict=True):
            rest = self.write(pyramid, scene, index, only_wanted(pixels, pyramid.layout))
            if self.store:
                self.store.put(self.note(pyramid, tile.index), rest)
        return WrittenTile(tile.index)

    def note(self, pyramid: Pyramid, index: int) -> str:
        """The key of a tile's note; that of the image comes last and says that the tile is done."""
        return f"{_TILES}/{index}" if pyramid is self.pyramid else f"{_TILES}/{index}.{pyramid.name}"

    def write(self, pyramid: Pyramid, scene: int, index: int, image: Image) -> bytes:
        """Write the chunks that a tile fills; what it leaves for coarser overviews comes back."""
        layout = pyramid.layout
        row, col = divmod(index, layout.grid[1])
        for level in range(layout.tile_levels + 1):
            image = halve(image, layout) if level else image
            times = layout.tile // layout.block >> level
            self.put(pyramid, scene, level, row * times, col * times, image)
        return b"" if layout.tile_levels == layout.levels else pack_image(halve(image, layout))

    def put(self, pyramid: Pyramid, scene: int, level: int, row: int, col: int, image: Image) -> None:
        """Write the chunks of an image."""
        for key, data in pyramid.chunks(scene, level, row, col, image):
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
        """True where the store is that of this run."""
        return self.store is None or self.store.get(_RUN) == self.run.encode()


class ZarrSink:
    """A `pipeline.Sink` into a Zarr store that its workers write; in a folder or an object store.

    Use it as a context manager; `finish()` makes the result whole. Left without, it keeps what is done for the next
    run, or removes everything where nothing is done yet. Parameters and errors are those of `TiffSink`; `contents` is
    what the store holds beside pixels.
    """

    def __init__(
        self,
        path: str | Path,
        layout: Layout,
        *,
        contents: Contents,
        fingerprint: str,
        overwrite: bool = False,
        others: Sequence[Output] = (),
    ) -> None:
        self._place = Place(path)
        self._contents = _contents_of(contents, others)
        self.layout = layout
        self.started: Literal["fresh", "resumed", "restarted"] = "fresh"
        run = fingerprint_of(fingerprint, layout, [output.head.name for output in others])
        self.encoder = ZarrEncoder(_pyramids(layout, contents, others), self._place.store, run)
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
        for pyramid in self.encoder.pyramids:
            for scene in range(pyramid.scenes):
                self._fill_gaps(pyramid, scene)
                self._build_overviews(pyramid, scene)
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

    def _fill_gaps(self, pyramid: Pyramid, scene: int) -> None:
        """Tiles that were not wanted are written as nothing where an absent chunk would have no meaning."""
        if pyramid.layout.missing is not None:
            return
        layout = pyramid.layout
        for index in range(pyramid.tiles):
            if scene * pyramid.tiles + index not in self._done:
                shape = layout.tile_share(*divmod(index, layout.grid[1]), 0)
                self.encoder.write(pyramid, scene, index, Image(blank(layout, shape), np.zeros(shape, bool)))

    def _build_overviews(self, pyramid: Pyramid, scene: int) -> None:
        first = pyramid.layout.tile_levels + 1

        def read(row: int, col: int) -> Image | None:
            """The remainder that a tile left, if it did."""
            return self._rest(pyramid, scene, row, col)

        def put(level: int, row: int, col: int, image: Image) -> None:
            """Writes an image's chunks."""
            self.encoder.put(pyramid, scene, level, row, col, image)

        if first <= pyramid.layout.levels:
            build(pyramid.layout, first, read, put, lambda _: None)

    def _rest(self, pyramid: Pyramid, scene: int, row: int, col: int) -> Image | None:
        layout = pyramid.layout
        if row >= layout.grid[0] or col >= layout.grid[1]:
            return None
        shape = layout.tile_share(row, col, layout.tile_levels + 1)
        index = scene * pyramid.tiles + row * layout.grid[1] + col
        data = self._place.store.get(self.encoder.note(pyramid, index)) if index in self._done else None
        if data:
            return unpack_image(data, (layout.count, *shape), layout.dtype)
        empty = None if layout.missing is not None else np.zeros(shape, bool)
        return None if empty is None else Image(blank(layout, shape), empty)

    def _write_documents(self) -> None:
        levels = range(self.layout.levels, -1, -1)
        arrays = [array for level in levels for array in self._arrays(level)]
        attributes = self._contents[0].group_attributes(self.layout)
        for key, data in objects(attributes, arrays, self.layout.options.zarr_format):
            self._place.store.put(key, data)

    def _arrays(self, level: int) -> Iterator[tuple[Array, Mapping[str, Any], NDArray[Any] | None]]:
        """The arrays of a level with their attributes, and the values of those that no worker has written."""
        pyramid, part = self.encoder.pyramid, self.layout.part(level)
        for each, contents in zip(self.encoder.pyramids, self._contents, strict=True):
            yield each.array(level), contents.pixel_attributes(each.layout), None
        if self.layout.masked:
            yield pyramid.array(level, mask=True), self._contents[0].mask_attributes(), None
        for variable in self._contents[0].variables(level, (part.height, part.width)):
            yield _array_of(variable, level, self.layout), variable.attributes, variable.values


def tags_of_store(store: Store, name: str = "data") -> dict[str, Any]:
    """The attributes of a store's array; none where there is none."""
    for key in (f"{name}/.zattrs", f"{name}/zarr.json"):
        document = json.loads(store.get(key) or b"{}")
        if attributes := document.get("attributes", document):
            return dict(attributes)
    return {}


def idle_encoder(layout: Layout, contents: Contents, others: Sequence[Output] = ()) -> ZarrEncoder:
    """An encoder that does all the work of a tile and keeps nothing."""
    return ZarrEncoder(_pyramids(layout, contents, others), None)


def _pyramids(layout: Layout, contents: Contents, others: Sequence[Output]) -> tuple[Pyramid, ...]:
    arrays = (layout, contents.name), *((output.layout, output.head.name) for output in others)
    return tuple(Pyramid(each, name, contents.dims, contents.shape) for each, name in arrays)


def _contents_of(contents: Contents, others: Sequence[Output]) -> list[Contents]:
    """The documents beside each array of pixels of the store; coordinates are the image's."""
    image = replace(contents, ancillary=tuple(output.head.name for output in others))
    return [image, *(replace(contents, name=each.head.name, metadata=each.metadata) for each in others)]


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
