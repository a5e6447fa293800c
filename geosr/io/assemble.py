"""Encoded blocks and directories put together to a GTiff or a COG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io import tiff
from geosr.io.files import BEHIND, let_go, open_data, read_into, sync, write_at
from geosr.io.layout import CLASSIC_LIMIT, Layout
from geosr.pipeline import in_order

_SAFE_LIMIT = 2**31
_SHARE = 4 * 2**20
"""Bytes that a thread copies at a time."""

_GHOST = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST_MASK = "MASK_INTERLEAVED_WITH_IMAGERY=YES\n"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where the blocks of each part lie, and how many bytes they have; 0 and 0 where there is none."""

    offsets: list[NDArray[np.uint64]]
    counts: list[NDArray[np.uint64]]

    @staticmethod
    def none(layout: Layout) -> Blocks:
        """No block yet."""
        sizes = [part.blocks for part in layout.parts]
        return Blocks([np.zeros(size, np.uint64) for size in sizes], [np.zeros(size, np.uint64) for size in sizes])

    def put(self, blocks: NDArray[Any], start: int) -> None:
        """Blocks (slot, index, size) that lie one after the other from `start`."""
        at = start
        for slot, index, size in blocks.tolist():
            self.offsets[slot][index] = at if size else 0
            self.counts[slot][index] = size
            at += size


def write_gtiff(file: FileIO, end: int, blocks: Blocks, directories: Sequence[tiff.Directory], layout: Layout) -> None:
    """Make an open file whose blocks end at `end` a GTiff: directories behind them, then the header."""
    at = end + end % 2
    big = _is_big(layout, at + tiff.directories_size(_chain(directories, blocks, False), False))
    file.truncate(at)
    write_at(file, tiff.pack(_chain(directories, blocks, big), at, big), at)
    sync(file)
    write_at(file, tiff.header(big, at), 0)
    sync(file)


def write_cog(path: Path, file: FileIO, blocks: Blocks, directories: Sequence[tiff.Directory], layout: Layout) -> None:
    """Copy the blocks of an open file to a COG: directories, then blocks in their order, smallest overview first.

    The same blocks make the same bytes, whatever the order in which they came.
    """
    ghost = _ghost(layout)
    data = sum(int(counts.sum()) + 8 * int(np.count_nonzero(counts)) for counts in blocks.counts)
    big = _is_big(layout, _cog_start(directories, blocks, ghost, False) + data)
    moved = _moved(blocks, _cog_order(layout, blocks), _cog_start(directories, blocks, ghost, big))
    first = tiff.even(tiff.header_size(big) + len(ghost))
    head = (tiff.header(big, first) + ghost).ljust(first, b"\0") + tiff.pack(
        _chain(directories, moved, big), first, big
    )
    try:
        path.unlink(missing_ok=True)
        with closing(open_data(path)) as out:
            write_at(out, head, 0)
            at, shares = len(head), _shares(blocks, _cog_order(layout, blocks))
            for share in in_order(partial(_copied, Path(file.name)), shares):  # a file takes one writer at a time
                write_at(out, share, at)
                at += len(share)
                let_go(out, at - len(share) - BEHIND, at)
            sync(out)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _shares(blocks: Blocks, order: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """All blocks in an order, as offset and size, in shares that a thread reads at a time."""
    share: list[tuple[int, int]] = []
    for slot, index in order:
        share.append((int(blocks.offsets[slot][index]), int(blocks.counts[slot][index])))
        if sum(size for _, size in share) >= _SHARE:
            yield share
            share = []
    if share:
        yield share


def _copied(source: Path, share: list[tuple[int, int]]) -> memoryview:
    """Blocks as a COG has them, each with its size before it and its last four bytes again behind it."""
    at, view = 0, memoryview(bytearray(sum(size + 8 for _, size in share)))
    with FileIO(source) as file:
        for start, size in share:
            view[at : at + 4] = size.to_bytes(4, "little")
            data = view[at + 4 : at + 4 + size]
            if lacking := size - read_into(file, data, start):
                raise EOFError(f"{lacking} bytes are missing at offset {start + size - lacking}")
            view[at + 4 + size : at + 8 + size] = data[-4:]
            let_go(file, start, start + size)
            at += size + 8
    return view


def _cog_order(layout: Layout, blocks: Blocks) -> Iterator[tuple[int, int]]:
    """Slot and index of each block that is there, in the order of a COG."""
    for level in range(layout.levels, -1, -1):
        image = layout.slot(level, False)
        masks = [layout.slot(level, True)] if layout.masked else []
        groups = [[image, *masks]] if _masks_follow_blocks(layout) else [[image], *([slot] for slot in masks)]
        for group in groups:
            for index in range(blocks.counts[group[0]].size):
                yield from ((slot, index) for slot in group if blocks.counts[slot][index])


def _moved(blocks: Blocks, order: Iterator[tuple[int, int]], start: int) -> Blocks:
    """The same blocks in another place: in this order from `start`, each with its four bytes before and after."""
    offsets = [np.zeros_like(array) for array in blocks.offsets]
    at = start
    for slot, index in order:
        offsets[slot][index] = at + 4
        at += int(blocks.counts[slot][index]) + 8
    return Blocks(offsets, blocks.counts)


def _cog_start(directories: Sequence[tiff.Directory], blocks: Blocks, ghost: bytes, big: bool) -> int:
    head = tiff.even(tiff.header_size(big) + len(ghost))
    return head + tiff.directories_size(_chain(directories, blocks, big), big)


def _chain(directories: Sequence[tiff.Directory], blocks: Blocks, big: bool) -> list[dict[int, tiff.Tag]]:
    return [
        tiff.with_arrays(directory, offsets, counts, big)
        for directory, offsets, counts in zip(directories, blocks.offsets, blocks.counts, strict=True)
    ]


def _ghost(layout: Layout) -> bytes:
    """GDAL's description of the structure, as its COG driver writes it behind the header."""
    text = _GHOST + (_GHOST_MASK if layout.masked and _masks_follow_blocks(layout) else "")
    return f"GDAL_STRUCTURAL_METADATA_SIZE={len(text):06d} bytes\n{text}".encode()


def _masks_follow_blocks(layout: Layout) -> bool:
    return layout.interleave == "pixel"


def _is_big(layout: Layout, size: int) -> bool:
    wish = layout.options.bigtiff
    if wish == "NO" and size > CLASSIC_LIMIT:
        raise InputError("BIGTIFF=NO can't hold this result (4 GB at most); leave it out")
    safer = wish == "IF_SAFER" and layout.raw_size > _SAFE_LIMIT
    return wish == "YES" or safer or size > CLASSIC_LIMIT
