"""What a worker does with the pixels of a tile: every block of the file that the tile fills, encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.io.codec import crc32, encode_block, encode_mask
from geosr.io.layout import Layout
from geosr.io.overviews import Image, halve
from geosr.radiometry import Pixels
from geosr.tiling import Tile

CODED_BLOCK = np.dtype([("slot", "u1"), ("index", "<u4"), ("size", "<u4")])


@dataclass(frozen=True, slots=True)
class EncodedTile:
    """A tile as the file will hold it. What the worker sends back, and what the journal keeps."""

    place: tuple[int, int]
    """Row and column among the tiles."""
    blocks: NDArray[np.void]
    """Of each block: `slot` among the layout's parts, `index` within that part, `size` in bytes (0: left out)."""
    data: bytes
    """The blocks, one after the other."""
    crc: int
    """CRC-32 of `data`."""
    rest: bytes
    """The tile at the first overview that it can't fill a block of, see `pack_image`; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns a tile's pixels into the blocks of its files, overviews and masks included. Pure, pickles small."""

    layouts: tuple[Layout, ...]

    def __call__(self, tile: Tile, *results: Pixels) -> tuple[EncodedTile, ...]:
        """The encoded tile of each file for pixels of `tile.write`."""
        pairs = zip(self.layouts, results, strict=True)
        return tuple(encode_tile(layout, tile, pixels) for layout, pixels in pairs)


def encode_tile(layout: Layout, tile: Tile, pixels: Pixels) -> EncodedTile:
    """The encoded tile for pixels of `tile.write`; where not wanted nodata, or 0 without, and masked."""
    row, col = layout.place(tile.write)
    image = only_wanted(pixels, layout)
    coded: list[tuple[int, int, bytes]] = []
    for level in range(layout.tile_levels + 1):
        image = halve(image, layout) if level else image
        times = layout.tile // layout.block >> level
        coded += encode_image(layout, level, row * times, col * times, image)
    last = layout.tile_levels == layout.levels
    rest = b"" if last else pack_image(halve(image, layout))
    return _encoded((row, col), coded, rest)


def encode_image(layout: Layout, level: int, row: int, col: int, image: Image) -> Iterator[tuple[int, int, bytes]]:
    """The blocks of an image whose upper left block stands at `row`, `col` of its level: (slot, index, bytes)."""
    part = layout.part(level)
    height, width = image.stored.shape[1:]
    for top in range(0, height, layout.block):
        for left in range(0, width, layout.block):
            there = np.s_[top : top + layout.block, left : left + layout.block]
            index = (row + top // layout.block) * part.cols + col + left // layout.block
            for plane in range(part.planes):
                samples = image.stored[plane * layout.samples : (plane + 1) * layout.samples, *there]
                yield layout.slot(level, False), plane * part.rows * part.cols + index, encode_block(samples, layout)
            if layout.masked:
                mask = np.ones((height, width), bool)[there] if image.mask is None else image.mask[there]
                yield layout.slot(level, True), index, encode_mask(mask, layout.block)


def pack_image(image: Image) -> bytes:
    """An image as bytes, for `unpack_image`."""
    mask = b"" if image.mask is None else np.packbits(image.mask).tobytes()
    return np.ascontiguousarray(image.stored).tobytes() + mask


def unpack_image(data: bytes, shape: tuple[int, int, int], dtype: str) -> Image:
    """The image (bands, height, width) of these bytes."""
    count = shape[0] * shape[1] * shape[2]
    stored = np.frombuffer(data, dtype, count).reshape(shape)
    packed = np.frombuffer(data, np.uint8, offset=stored.nbytes)
    if not packed.size:
        return Image(stored, None)
    return Image(stored, np.unpackbits(packed, count=shape[1] * shape[2]).reshape(shape[1:]).astype(bool))


def only_wanted(pixels: Pixels, layout: Layout) -> Image:
    """The image of a tile, with nodata (0 where there is none) where pixels are not wanted."""
    if pixels.wanted is None or pixels.wanted.all():
        return Image(pixels.stored, pixels.mask)
    stored = pixels.stored.copy()
    stored[:, ~pixels.wanted] = layout.missing or 0
    return Image(stored, pixels.wanted if pixels.mask is None else pixels.mask & pixels.wanted)


def _encoded(place: tuple[int, int], coded: list[tuple[int, int, bytes]], rest: bytes) -> EncodedTile:
    blocks = np.array([(slot, index, len(data)) for slot, index, data in coded], CODED_BLOCK)
    data = b"".join(data for _, _, data in coded)
    return EncodedTile(place, blocks, data, crc32(data), rest)
