"""TIFF directories as bytes: read from a template that GDAL made, written around blocks that are encoded already.

TIFF 6.0 and BigTIFF, little endian. GDAL writes all metadata (georeference, tags, descriptions, colours) into a
template of one block; here its directory is taken over, with the sizes and block arrays of the real file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.io.layout import Layout, Part

OFFSETS, COUNTS = 324, 325
"""Tags of the arrays that say where blocks lie and how many bytes they have; 0 and 0 for a block that was left out."""

NODATA = 42113
"""Tag of GDAL's nodata, as text."""

_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}

_SUBFILE, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 254, 256, 257, 322, 323
_SHARED_WITH_OVERVIEWS = (258, 259, 262, 277, 284, 317, 320, 338, 339, NODATA)
"""Bits, compression, colours, samples, planes, predictor, colour map, extra samples, sample format, nodata."""

_REDUCED, _MASK = 1, 4


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory."""

    kind: int
    """TIFF's number for the type of its values."""
    data: bytes
    """The values, little endian."""

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.data) // _SIZES[self.kind]


Directory = Mapping[int, Tag]
"""Tags by their number."""


def read_directory(data: bytes | memoryview) -> dict[int, Tag]:
    """The first directory of a classic little-endian TIFF, such as GDAL writes with BIGTIFF=NO."""
    order, version, start = struct.unpack_from("<2sHI", data)
    if (order, version) != (b"II", 42):
        raise ValueError("not a classic little-endian TIFF")
    tags = {}
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        number, kind, count = struct.unpack_from("<HHI", data, at)
        size = count * _SIZES[kind]
        where = at + 8 if size <= 4 else struct.unpack_from("<I", data, at + 8)[0]
        tags[number] = Tag(kind, bytes(data[where : where + size]))
    return tags


def directories(template: Directory, layout: Layout) -> list[dict[int, Tag]]:
    """One directory for each of `layout.parts`, all but the arrays of blocks."""
    return [_directory(template, part, layout.block) for part in layout.parts]


def with_arrays(
    directory: Directory, offsets: NDArray[np.uint64], counts: NDArray[np.uint64], big: bool
) -> dict[int, Tag]:
    """A directory that knows where its blocks are."""
    kind, dtype = (_LONG8, "<u8") if big else (_LONG, "<u4")
    arrays = {OFFSETS: Tag(kind, offsets.astype(dtype).tobytes()), COUNTS: Tag(_LONG, counts.astype("<u4").tobytes())}
    return {**directory, **arrays}


def header(big: bool, first: int) -> bytes:
    """The start of a file whose first directory lies at `first`."""
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)


def header_size(big: bool) -> int:
    """Bytes of `header`."""
    return 16 if big else 8


def directories_size(chain: Sequence[Directory], big: bool) -> int:
    """Bytes that `pack` will give."""
    return sum(_size(directory, big) for directory in chain)


def pack(chain: Sequence[Directory], at: int, big: bool) -> bytes:
    """Directories, each followed by its long values, as they stand in a file from the even offset `at`."""
    packed = bytearray()
    for position, directory in enumerate(chain):
        here = at + len(packed)
        follows = here + _size(directory, big) if position + 1 < len(chain) else 0
        packed += _pack_one(directory, here, follows, big)
    return bytes(packed)


def _directory(template: Directory, part: Part, block: int) -> dict[int, Tag]:
    if part.mask:
        tags = {258: _short(1), 259: _short(8), 262: _short(4), 277: _short(1), 284: _short(1), 339: _short(1)}
    elif part.level:
        tags = {number: tag for number, tag in template.items() if number in _SHARED_WITH_OVERVIEWS}
    else:
        tags = {number: tag for number, tag in template.items() if number not in (OFFSETS, COUNTS)}
    if kind := (_REDUCED if part.level else 0) | (_MASK if part.mask else 0):
        tags[_SUBFILE] = _long(kind)
    sides = {_WIDTH: part.width, _HEIGHT: part.height, _TILE_WIDTH: block, _TILE_HEIGHT: block}
    return tags | {number: _long(side) for number, side in sides.items()}


def _short(value: int) -> Tag:
    return Tag(_SHORT, struct.pack("<H", value))


def _long(value: int) -> Tag:
    return Tag(_LONG, struct.pack("<I", value))


def _size(directory: Directory, big: bool) -> int:
    count, entry, inline = (8, 20, 8) if big else (2, 12, 4)
    fixed = count + entry * len(directory) + inline
    return even(fixed) + sum(even(len(tag.data)) for tag in directory.values() if len(tag.data) > inline)


def _pack_one(directory: Directory, at: int, follows: int, big: bool) -> bytes:
    inline = 8 if big else 4
    word = "Q" if big else "I"
    entries = bytearray(struct.pack("<Q" if big else "<H", len(directory)))
    values = bytearray()
    start = at + even(len(entries) + (20 if big else 12) * len(directory) + inline)
    for number, tag in sorted(directory.items()):
        entries += struct.pack("<HH" + word, number, tag.kind, tag.count)
        if len(tag.data) <= inline:
            entries += tag.data.ljust(inline, b"\0")
            continue
        entries += struct.pack("<" + word, start + len(values))
        values += tag.data.ljust(even(len(tag.data)), b"\0")
    entries += struct.pack("<" + word, follows)
    return bytes(entries.ljust(even(len(entries)), b"\0") + values)


def even(size: int) -> int:
    """The next even number of bytes: values in a TIFF begin at one."""
    return size + size % 2
