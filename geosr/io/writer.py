"""One process writes the file: encoded tiles are appended as they come, and directories are written at the end.

While a run goes on, two files stand beside the destination: `.NAME.partial` with the blocks in the order in which they
came, and `.NAME.journal` that says which tiles they are. A run that was killed leaves both; the next one with the same
fingerprint goes on from there. A GTiff is the partial file with directories behind its blocks; a COG is one copy of it
in the order that a COG asks. Either takes its name when it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from rasterio.io import DatasetWriter

from geosr.errors import DamageError, InputError
from geosr.io.assemble import Blocks, write_cog, write_gtiff
from geosr.io.categories import Categories
from geosr.io.codec import crc32
from geosr.io.encoder import CODED_BLOCK, EncodedTile, Encoder, encode_image, unpack_image
from geosr.io.files import BEHIND, let_go, lock, open_data, read_at, sync, unlock, write_at
from geosr.io.fingerprint import differs, fingerprint_of
from geosr.io.journal import Journal, Record
from geosr.io.layout import Layout
from geosr.io.overviews import Image, build
from geosr.io.place import check_destination, place_errors, put_in_place
from geosr.io.template import Template
from geosr.tiling import Tile

_TILE, _SYNCED = 1, 2
_ENTRY = struct.Struct("<QIIQQIII")
"""Tile, its row and column among tiles, where its data lies, bytes of data, their CRC, blocks, bytes of rest."""
_DATA_START = 16
_SYNC_BYTES = 256 * 2**20
"""So often the disk is waited for: a power cut costs at most this much, a killed process nothing."""


class TiffSink:
    """A `pipeline.Sink` that writes a GeoTIFF or a COG.

    Use it as a context manager; `finish()` gives the result its name. Left without `finish()`, it keeps what is done
    for the next run, or removes its files where nothing is done yet or the input turned out to be damaged.

    Parameters
    ----------
    path
        The result. Must not exist, unless `overwrite`; then it is replaced when the new one is whole.
    profile
        What else GDAL is told on creation: `crs`, `transform`, `nodata` and such.
    template
        Writes all other metadata to a small dataset of the same bands and dtype that is given to it.
    categories
        What the classes of each band are called; they go into a file beside it, as GDAL has it.
    fingerprint
        JSON object that says what determines the pixels: input, model, options. A run is only resumed with the same.
    overwrite
        Also start afresh where an unfinished run with another fingerprint is in the way.

    Raises `InputError` where the result exists or another run is unfinished, `PlaceError` where the place can't be
    written or a second run holds it.
    """

    def __init__(
        self,
        path: str | Path,
        layout: Layout,
        *,
        profile: Mapping[str, Any],
        template: Callable[[DatasetWriter], None],
        categories: Sequence[Categories | None] = (),
        fingerprint: str,
        overwrite: bool = False,
    ) -> None:
        self.path = check_destination(path, overwrite)
        self.layout = layout
        self.started: Literal["fresh", "resumed", "restarted"] = "fresh"
        """How it began: with nothing, with tiles of an earlier run, or instead of one that had other settings."""
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._whole = self.path.with_name(f".{self.path.name}.whole")
        self._template = Template.make(layout, profile, template, categories)
        self._blocks = Blocks.none(layout)
        self._done: dict[int, tuple[int, int]] = {}
        self._rests: dict[tuple[int, int], tuple[int, int]] = {}
        self._end = self._synced = _DATA_START
        self._files = ExitStack()
        with place_errors(self.path, 0):
            self._lock = lock(self.path)
        self._open = True
        try:
            with place_errors(self.path, 0):
                self._begin(fingerprint_of(fingerprint, layout), overwrite)
        except BaseException:
            self._leave()
            raise

    @property
    def encoder(self) -> Encoder:
        """The encoder that workers call; pickles small."""
        return Encoder(self.layout)

    def done(self) -> frozenset[int]:
        """Indices of the tiles that are kept, by this run or an earlier one."""
        return frozenset(self._done)

    def append(self, tile: Tile, encoded: EncodedTile) -> None:
        """Keep a tile: from now on it survives a killed process. Raises `PlaceError`; those before it are kept."""
        with place_errors(self.path, len(self._done)):
            write_at(self._data, encoded.data, self._end)
            sizes = len(encoded.blocks), len(encoded.rest)
            head = _ENTRY.pack(tile.index, *encoded.place, self._end, len(encoded.data), encoded.crc, *sizes)
            start = self._journal.add(_TILE, head + encoded.blocks.tobytes() + encoded.rest)
            self._remember(head, encoded.blocks, start)
            let_go(self._data, self._end - BEHIND, self._end)
            if self._end - self._synced > _SYNC_BYTES:
                self._sync()

    def finish(self) -> Path:
        """Make the overviews that are missing, write the directories, and give the result its name, which comes back.

        Tiles that were never appended read as nodata, or 0. Raises `PlaceError`; all tiles are kept then.
        """
        with place_errors(self.path, len(self._done)):
            whole = self._assemble()
            self._files.close()  # not every system renames or removes what is open
            put_in_place(whole, self.path, self._template.sidecar)
            self._remove()
        self._leave()
        return self.path

    def close(self, keep: bool = True) -> None:
        """Give files and lock back; what is done stays for the next run, unless `keep` is False."""
        if not self._open:
            return
        self._files.close()
        if not (self._done and keep):
            self._remove()
        self._leave()

    def __enter__(self) -> TiffSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keep=not isinstance(error, DamageError))

    def _begin(self, header: str, overwrite: bool) -> None:
        with ExitStack() as opened:
            self._journal = opened.enter_context(closing(Journal(self.path.with_name(f".{self.path.name}.journal"))))
            earlier = self._journal.header()
            fresh = earlier != header
            if earlier is not None and fresh:
                if not overwrite:
                    raise InputError(differs(self.path.name, earlier, header))
                self.started = "restarted"
            self._whole.unlink(missing_ok=True)
            self._data = opened.enter_context(open_data(self._partial))
            if fresh:
                self._data.truncate(0)
                self._journal.begin(header)
            else:
                self._replay()
            self._files = opened.pop_all()

    def _replay(self) -> None:
        begin = self._journal.end
        trusted = max((record.start for record in self._journal.records() if record.kind == _SYNCED), default=-1)
        self._journal.end = begin
        size = self._partial.stat().st_size
        for record in self._journal.records():
            if record.kind == _TILE and not self._is_whole(record, size, check=record.start > trusted):
                break
            if record.kind == _TILE:
                self._recall(record)
        self._journal.trim()
        self._data.truncate(self._end)
        if self._done:
            self.started = "resumed"

    def _is_whole(self, record: Record, size: int, check: bool) -> bool:
        _, _, _, start, length, crc, _, _ = _ENTRY.unpack_from(record.payload)
        if start + length > size:
            return False
        return not check or crc32(read_at(self._data, length, start)) == crc

    def _recall(self, record: Record) -> None:
        head = record.payload[: _ENTRY.size]
        count = _ENTRY.unpack(head)[6]
        self._remember(head, np.frombuffer(record.payload, CODED_BLOCK, count, _ENTRY.size), record.start)

    def _remember(self, head: bytes, blocks: np.ndarray[Any, Any], record: int) -> None:
        index, row, col, start, length, _, count, rest = _ENTRY.unpack(head)
        self._blocks.put(blocks, start)
        self._end = start + length
        self._done[index] = (row, col)
        if rest:
            self._rests[row, col] = (record + _ENTRY.size + count * CODED_BLOCK.itemsize, rest)

    def _sync(self) -> None:
        sync(self._data)
        self._journal.add(_SYNCED, b"")
        self._journal.sync()
        self._synced = self._end

    def _assemble(self) -> Path:
        self._build_overviews()
        directories = self._template.directories(self.layout)
        if self.layout.format == "COG":
            write_cog(self._whole, self._data, self._blocks, directories, self.layout)
            return self._whole
        write_gtiff(self._data, self._end, self._blocks, directories, self.layout)
        return self._partial

    def _build_overviews(self) -> None:
        """Levels that no tile fills a block of, put behind the tiles; made again if the run dies before the end."""
        first = self.layout.tile_levels + 1
        end = self._end

        def keep(level: int, row: int, col: int, image: Image) -> None:
            nonlocal end
            for slot, index, data in encode_image(self.layout, level, row, col, image):
                write_at(self._data, data, end)
                self._blocks.put(np.array([(slot, index, len(data))], CODED_BLOCK), end)
                end += len(data)

        if first <= self.layout.levels:
            build(self.layout, first, self._rest, keep)
        self._end = end

    def _rest(self, row: int, col: int) -> Image | None:
        if (row, col) not in self._rests:
            return None
        start, size = self._rests[row, col]
        shape = self.layout.tile_share(row, col, self.layout.tile_levels + 1)
        return unpack_image(self._journal.read(start, size), (self.layout.count, *shape), self.layout.dtype)

    def _remove(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._journal.path.unlink(missing_ok=True)

    def _leave(self) -> None:
        self._open = False
        unlock(self._lock)
