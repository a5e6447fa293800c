"""A TIFF that grows: encoded blocks in the order in which they came, until they are put together."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import numpy as np

from geosr.io.assemble import Blocks, write_cog, write_gtiff
from geosr.io.codec import crc32
from geosr.io.encoder import CODED_BLOCK, EncodedTile, encode_image, unpack_image
from geosr.io.files import BEHIND, let_go, open_data, read_at, sync, write_at
from geosr.io.journal import Journal
from geosr.io.layout import Layout
from geosr.io.overviews import Image, build
from geosr.io.place import hidden, put_in_place
from geosr.io.template import Template

_ENTRY = struct.Struct("<QIIQQIII")
"""Tile, its row and column among tiles, where its data lies, bytes of data, their CRC, blocks, bytes of rest."""
_DATA_START = 16


class Growing:
    """One file of a run: `.NAME.partial`, of which the journal says which blocks of which tiles it holds.

    An *entry* is what the journal keeps of a tile here; a record has one of each file of the run, one after the other.
    """

    def __init__(self, path: Path, layout: Layout, template: Template) -> None:
        self.path = path
        self.layout = layout
        self.end = self._synced = _DATA_START
        """Where the next tile's blocks are written."""
        self.whole = whole_of(path, layout.format)
        """What takes the name when it is put together."""
        self._partial = hidden(path, "partial")
        self._template = template
        self._blocks = Blocks.none(layout)
        self._rests: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def unsynced(self) -> int:
        """Bytes that the disk was not waited for."""
        return self.end - self._synced

    def open(self, opened: ExitStack, fresh: bool) -> None:
        """Open the file, to be closed with what was opened before; `fresh` forgets what an earlier run left in it."""
        hidden(self.path, "whole").unlink(missing_ok=True)
        self._data = opened.enter_context(open_data(self._partial))
        if fresh:
            self._data.truncate(0)

    def cut(self) -> None:
        """Forget what lies behind the last tile."""
        self._data.truncate(self.end)

    def write(self, index: int, encoded: EncodedTile) -> bytes:
        """Write the blocks of a tile; its entry comes back. `remember` makes it count."""
        write_at(self._data, encoded.data, self.end)
        sizes = len(encoded.blocks), len(encoded.rest)
        head = _ENTRY.pack(index, *encoded.place, self.end, len(encoded.data), encoded.crc, *sizes)
        return head + encoded.blocks.tobytes() + encoded.rest

    def holds(self, payload: bytes, at: int, check: bool) -> bool:
        """True where the blocks of the entry `at` bytes behind a record's start are there; read to `check` them."""
        _, _, _, start, length, crc, _, _ = _ENTRY.unpack_from(payload, at)
        if start + length > self._partial.stat().st_size:
            return False
        return not check or crc32(read_at(self._data, length, start)) == crc

    def remember(self, payload: bytes, at: int, record: int) -> None:
        """Count the tile of an entry as kept; `record` is where its record's payload begins in the journal."""
        _, row, col, start, length, _, count, rest = _ENTRY.unpack_from(payload, at)
        self._blocks.put(np.frombuffer(payload, CODED_BLOCK, count, at + _ENTRY.size), start)
        self.end = start + length
        if rest:
            self._rests[row, col] = (record + at + _ENTRY.size + count * CODED_BLOCK.itemsize, rest)

    def let_go(self) -> None:
        """Have the system forget what was written just now."""
        let_go(self._data, self.end - BEHIND, self.end)

    def sync(self) -> None:
        """Have the disk keep it."""
        sync(self._data)
        self._synced = self.end

    def put_together(self, journal: Journal) -> None:
        """Make `whole`: the overviews that are missing, then directories. Tiles stay, to be put together again."""
        end = self._build_overviews(journal)
        directories = self._template.directories(self.layout)
        if self.layout.format == "COG":
            write_cog(self.whole, self._data, self._blocks, directories, self.layout)
        else:
            write_gtiff(self._data, end, self._blocks, directories, self.layout)

    def take_name(self) -> None:
        """Give `whole` the name of the result, with its sidecar or none."""
        put_in_place(self.whole, self.path, self._template.sidecar)

    def remove(self) -> None:
        """Remove what is left when it has its name, or is given up."""
        for path in (self._partial, self.whole):
            path.unlink(missing_ok=True)

    def _build_overviews(self, journal: Journal) -> int:
        """Levels that no tile fills a block of, put behind the tiles; where they end comes back."""
        first = self.layout.tile_levels + 1
        end, one = self.end, Lock()

        def make(level: int, row: int, col: int, image: Image) -> list[tuple[int, int, bytes]]:
            """A block as it is kept."""
            return list(encode_image(self.layout, level, row, col, image))

        def keep(blocks: list[tuple[int, int, bytes]]) -> None:
            """Writes encoded blocks behind all others."""
            nonlocal end
            for slot, index, data in blocks:
                write_at(self._data, data, end)
                self._blocks.put(np.array([(slot, index, len(data))], CODED_BLOCK), end)
                end += len(data)

        def rest(row: int, col: int) -> Image | None:
            """The remainder that a tile left, if it did."""
            if (row, col) not in self._rests:
                return None
            shape = self.layout.tile_share(row, col, first)
            with one:  # the journal has one position
                data = journal.read(*self._rests[row, col])
            return unpack_image(data, (self.layout.count, *shape), self.layout.dtype)

        if first <= self.layout.levels:
            build(self.layout, first, rest, make, keep)
        return end


def whole_of(path: Path, format: str) -> Path:
    """The path at which a file of a run is put together."""
    return hidden(path, "whole" if format == "COG" else "partial")


def index_of(payload: bytes) -> int:
    """The tile that a record speaks of."""
    return int(_ENTRY.unpack_from(payload)[0])


def length_of(payload: bytes, at: int) -> int:
    """Bytes of the entry `at` bytes behind a record's start."""
    *_, count, rest = _ENTRY.unpack_from(payload, at)
    return int(_ENTRY.size + count * CODED_BLOCK.itemsize + rest)
