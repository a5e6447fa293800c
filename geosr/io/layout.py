"""How a result lies in its file: sizes, blocks, tiles, overviews, codec; all decided before the first pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from geosr.errors import InputError
from geosr.radiometry import as_stored
from geosr.window import Window

Interleave = Literal["pixel", "band"]
Format = Literal["GTiff", "COG", "Zarr"]
BigTiff = Literal["YES", "NO", "IF_NEEDED", "IF_SAFER"]

_LEVELS = {"deflate": 9, "zstd": 22, "none": 1}
"""Highest level of each codec; the lowest, and the default, is 1."""
_ZARR_LEVELS = {"zstd": 9, "lz4": 9, "deflate": 9, "none": 1}
"""In a Zarr store, where Blosc counts them."""

CLASSIC_LIMIT = 2**32 - 2**16
_PIXEL_INTERLEAVED = 4
"""More bands than this are stored one after the other unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Options:
    """Creation options, as `--co KEY=VALUE` gives them; None where the choice is left to geosr."""

    compress: str = "deflate"
    level: int = 1
    predictor: bool = True
    block: int | None = None
    interleave: Interleave | None = None
    bigtiff: BigTiff = "IF_NEEDED"
    overviews: bool | None = None
    """None: for a COG and Zarr yes, for a GTiff no."""
    resampling: Literal["average", "nearest", "rms"] = "average"
    """Of overviews; "rms", root mean squares, is for standard deviations and no user's choice."""
    zarr_format: Literal[2, 3] = 2
    """Version of the Zarr layout."""

    @staticmethod
    def parse(pairs: Sequence[str], format: Format = "COG") -> Options:
        """The options in texts such as "COMPRESS=ZSTD"; keys and values in any case.

        COMPRESS (DEFLATE, ZSTD, NONE), LEVEL, PREDICTOR (YES, NO), BLOCKSIZE, INTERLEAVE (PIXEL, BAND), BIGTIFF (YES,
        NO, IF_NEEDED, IF_SAFER), OVERVIEWS (AUTO, NONE), RESAMPLING (AVERAGE, NEAREST). A Zarr store takes no BIGTIFF,
        but ZARR_FORMAT (2, 3); its COMPRESS is ZSTD, LZ4, DEFLATE or NONE, its PREDICTOR shuffles bytes, its BLOCKSIZE
        is the side of a chunk. Raises `InputError` for another key or value.
        """
        zarr = format == "Zarr"
        levels = _ZARR_LEVELS if zarr else _LEVELS
        choices = {**_CHOICES, "COMPRESS": {name.upper(): name for name in levels}}
        del choices["BIGTIFF" if zarr else "ZARR_FORMAT"]
        found: dict[str, object] = {"compress": "zstd"} if zarr else {}
        given: dict[str, str] = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"creation option {pair!r} has no value; write it as KEY=VALUE")
            key, value = key.strip().upper(), value.strip().upper()
            if key not in choices:
                raise InputError(f"unknown creation option {key}; geosr knows {', '.join(choices)}")
            if given.setdefault(key, value) != value:
                raise InputError(f"creation option {key} is given twice, as {given[key]} and {value}")
            name = "block" if key == "BLOCKSIZE" else key.lower()
            found[name] = _chosen(key, value, choices[key])
        options = Options(**found)  # type: ignore[arg-type]
        if not 1 <= options.level <= (high := levels[options.compress]):
            raise InputError(f"creation option LEVEL={options.level} is outside 1 to {high} for {options.compress}")
        if options.block is not None:
            _check_block(options.block)
        return options


@dataclass(frozen=True, slots=True)
class Part:
    """One image of the file: the result, an overview of it, or the mask of one of them. Each has its own directory."""

    level: int
    """0 for the result; each further level has half the side, rounded up."""
    mask: bool
    height: int
    width: int
    rows: int
    """Rows of blocks."""
    cols: int
    planes: int
    """How many times the grid of blocks is repeated: the number of bands where bands are stored apart."""

    @property
    def blocks(self) -> int:
        """The number of its blocks."""
        return self.planes * self.rows * self.cols


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a result in its file. Small, pickles, and says all that a worker needs to encode a tile."""

    height: int
    """Rows of the result."""
    width: int
    count: int
    """Bands."""
    dtype: str
    """The stored type, one of `radiometry.DTYPES`."""
    block: int
    """Side of a TIFF block, a multiple of 16."""
    tile: int
    """Side of a full tile in the result: `block` times a power of two."""
    nodata: float | None
    """The number that stands for 'no data' in all bands: a GeoTIFF holds one."""
    masked: bool = False
    """Whether the file has a mask; `Pixels.mask` goes there."""
    nearest: tuple[bool, ...] = ()
    """Per band: overviews take a pixel, not an average (classes, palettes, alpha); empty for none."""
    format: Format = "COG"
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if len(self.nearest) not in (0, self.count):
            raise ValueError("nearest has one entry per band")
        times = self.tile // self.block
        if self.block % 16 or self.tile % self.block or times & (times - 1):
            raise ValueError(f"a tile of {self.tile} is not {self.block} times a power of two, or that not of 16")
        if self.part(0).blocks >= 2**32:
            raise InputError(f"a result of {self.width} x {self.height} pixels has more blocks than a file can count")
        if self.options.bigtiff == "NO" and self.raw_size * 4 // 3 > CLASSIC_LIMIT:
            raise InputError("BIGTIFF=NO can't hold a result this large (4 GB at most); leave it out")

    @property
    def interleave(self) -> Interleave:
        """The word "pixel" where a block holds all bands, "band" where it holds one."""
        return self.options.interleave or ("pixel" if self.count <= _PIXEL_INTERLEAVED else "band")

    @property
    def samples(self) -> int:
        """Bands in one block."""
        return self.count if self.interleave == "pixel" else 1

    @property
    def raw_size(self) -> int:
        """Bytes of the pixels before compression, without overviews and mask."""
        return self.height * self.width * self.count * np.dtype(self.dtype).itemsize

    @property
    def missing(self) -> np.generic | None:
        """Nodata as pixels hold it; None where there is none, or the dtype can't hold it."""
        return as_stored(self.nodata, self.dtype)  # type: ignore[no-any-return]

    @property
    def absent(self) -> np.generic | None:
        """The number that pixels of a block read as that was left out; None where that can't be relied on."""
        return as_stored(0, self.dtype) if self.nodata is None else self.missing

    @property
    def levels(self) -> int:
        """Number of overviews: until the longer side fits in a block."""
        wanted = self.options.overviews
        if not (self.format != "GTiff" if wanted is None else wanted):
            return 0
        return (-(-max(self.height, self.width) // self.block) - 1).bit_length()

    @property
    def tile_levels(self) -> int:
        """The last overview whose blocks a full tile fills."""
        return min(self.levels, (self.tile // self.block).bit_length() - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    def part(self, level: int, mask: bool = False) -> Part:
        """An image of the file."""
        height, width = _halved(self.height, level), _halved(self.width, level)
        planes = 1 if mask else self.count // self.samples
        return Part(level, mask, height, width, -(-height // self.block), -(-width // self.block), planes)

    @property
    def parts(self) -> list[Part]:
        """All images of the file, in the order of their directories: each with its mask behind it, largest first."""
        masks = (False, True) if self.masked else (False,)
        return [self.part(level, mask) for level in range(self.levels + 1) for mask in masks]

    def slot(self, level: int, mask: bool) -> int:
        """Where `part(level, mask)` stands among `parts`."""
        return level * 2 + mask if self.masked else level

    def takes_nearest(self, band: int) -> bool:
        """True where overviews of a band take a pixel rather than an average."""
        return self.options.resampling == "nearest" or bool(self.nearest and self.nearest[band])

    def tile_share(self, row: int, col: int, level: int) -> tuple[int, int]:
        """Rows and columns of a tile at a level."""
        height, width = self.height - row * self.tile, self.width - col * self.tile
        return _halved(min(self.tile, height), level), _halved(min(self.tile, width), level)

    def place(self, write: Window) -> tuple[int, int]:
        """Row and column, among the tiles, of the tile that is written at `write`."""
        if write.row % self.tile or write.col % self.tile:
            raise ValueError(f"{write} is not where a tile of {self.tile} begins")
        return write.row // self.tile, write.col // self.tile


def choose_core(
    scale: int, bands: int, itemsize: int, halo: int = 0, tile: int | None = None, block: int | None = None
) -> tuple[int, int]:
    """Side of a tile's core in source pixels and of a TIFF block: `core * scale` is `block` times a power of two.

    A core has about 256 pixels, or 512 where the scale is 1 or 2 or the halo is wide, and fewer where the bands of a
    tile would take more than 100 MB; a block has 512 at most. `tile` and `block` are a user's wishes: a tile is rounded
    up to what fits, a block is kept exactly or refused with `InputError`.
    """
    wish = _default_core(scale, bands, itemsize, halo) if tile is None else tile
    if block is not None:
        return _core_for_block(scale, wish, block), block
    core = max(16, -(-wish // 16) * 16)
    side = core * scale
    while side > _LARGEST_BLOCK and side % 32 == 0:
        side //= 2
    if side <= _LARGEST_BLOCK:
        return core, side
    return choose_core(scale, bands, itemsize, halo, 1 << (core - 1).bit_length())


def estimate_size(layout: Layout, ratio: float = 0.55) -> int:
    """Bytes that the file will about take; `ratio` is what the codec leaves of the pixels (1 where none is used)."""
    left = 1.0 if layout.options.compress == "none" else ratio
    pixels = sum(part.blocks for part in layout.parts if not part.mask)
    block = layout.block**2 * layout.samples * np.dtype(layout.dtype).itemsize
    padded = pixels * block if left == 1.0 else layout.raw_size * sum(0.25**level for level in range(layout.levels + 1))
    return int(padded * left) + 12 * sum(part.blocks for part in layout.parts) + 4096


CARDS = 128
"""What a tile for a graphics card counts as its halo: a card takes as long for a small one."""
_LARGEST_BLOCK = 512
_TILE_BYTES = 100 * 2**20


def _default_core(scale: int, bands: int, itemsize: int, halo: int) -> int:
    core = 512 if scale <= 2 or halo > 32 else 256
    per_pixel = bands * itemsize * 1.5 + 8  # one band at a time is floating point
    while core > 32 and (core * scale) ** 2 * per_pixel > _TILE_BYTES:
        core //= 2
    return core


def _core_for_block(scale: int, wish: int, block: int) -> int:
    _check_block(block)
    times = 1
    while times * block % scale and times <= scale:
        times *= 2
    if times * block % scale:
        odd = scale // (scale & -scale) * 16
        raise InputError(f"blocks of {block} don't divide by the scale {scale}; take a multiple of {odd}")
    while times * block // scale < wish:
        times *= 2
    return times * block // scale


def _check_block(block: int) -> None:
    if block < 16 or block % 16 or block > 4096:
        raise InputError(f"BLOCKSIZE={block} is not a multiple of 16 from 16 to 4096; 256 and 512 are usual")


def _halved(side: int, times: int) -> int:
    return -(-side // (1 << times))


_CHOICES: Mapping[str, Mapping[str, object]] = {
    "COMPRESS": {},
    "LEVEL": {},
    "PREDICTOR": {"YES": True, "NO": False},
    "BLOCKSIZE": {},
    "INTERLEAVE": {"PIXEL": "pixel", "BAND": "band"},
    "BIGTIFF": {name: name for name in get_args(BigTiff)},
    "OVERVIEWS": {"AUTO": True, "NONE": False},
    "RESAMPLING": {"AVERAGE": "average", "NEAREST": "nearest"},
    "ZARR_FORMAT": {"2": 2, "3": 3},
}
"""Creation options and their values; whole numbers where there are none, and codecs by the format."""


def _chosen(key: str, value: str, choices: Mapping[str, object]) -> object:
    if choices and value not in choices:
        raise InputError(f"creation option {key}={value} is not one of {', '.join(choices)}")
    if not choices and not value.isdecimal():
        raise InputError(f"creation option {key}={value} is not a whole number")
    return choices[value] if choices else int(value)
