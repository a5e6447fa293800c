"""The path from the pixels of a tile to the pixels of its result: pure, and the same for every front end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.radiometry import Head, Passes, Pixels, Radiometry, encode_other, fill
from geosr.tiling import Tile, TilePlan
from geosr.window import Window

T = TypeVar("T", bound=np.generic)


class Network(Protocol):
    """Something that makes a block of values sharper. Pickles small: weights load on first use, once a process."""

    @property
    def scale(self) -> int:
        """Output pixels per source pixel, each way."""

    @property
    def halo(self) -> int:
        """Source pixels of context that an output pixel may depend on, on each side."""

    @property
    def multiple(self) -> int:
        """Blocks have sides that are multiples of this."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The results that it gives for a block, the image first."""

    def groups(self, bands: Sequence[int]) -> Sequence[tuple[int, ...]]:
        """Which of these bands it is to be given together."""

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        """Values (len(bands), height * scale, width * scale), same dtype, for a block (len(bands), height, width).

        Of several heads all bands of the first come first, then all of the next. `bands` says which bands of the scene
        these are, counted from 0. The result may be overwritten by the caller. Raises `MemoryError` where the block is
        too large for the device.
        """


def plan_tiles(
    shape: tuple[int, int], core: int, network: Network, *, gaps: bool, around: Window | None = None
) -> TilePlan:
    """Tiles with the halo of a network, for a scene (height, width) that may have gaps, perhaps cut from `around`."""
    halo = network.halo
    reach = filling(halo) + network.multiple if gaps else halo
    return TilePlan(*shape, core, network.scale, halo, reach, network.multiple, around)


def filling(halo: int) -> int:
    """Pixels around a core that are read, so that gaps within its halo are filled alike in all tilings.

    A gap's nearest valid neighbour may lie as far from it as it lies from the core, diagonally (`radiometry.fill`).
    """
    return halo + math.ceil(math.sqrt(2) * halo)


@dataclass(frozen=True, slots=True)
class Upscaler:
    """Pixels of a tile's read window in, pixels of its write window out."""

    network: Network
    radiometry: Radiometry
    categorical: tuple[bool, ...]
    """Per band: repeat stored numbers instead (classes, palettes, alpha)."""

    def __call__(self, pixels: Pixels, tile: Tile) -> tuple[Pixels, ...]:
        """The results of a tile, one for each head: `stored` (bands, core height * scale, core width * scale).

        What was not valid keeps its stored number in the image, and has no data in the others, which have `Head.start`
        where stored numbers are repeated; mask and area of interest are repeated exactly.
        """
        core = tile.core.within(tile.read)
        scale = self.network.scale
        valid = self.radiometry.valid(pixels)
        known = None if valid is None else valid[:, *core.slices]
        gaps = None if known is None or known.all() else repeated(~known, scale)
        outs = [self._start(head, pixels.stored[:, *core.slices], gaps) for head in self.network.heads]
        if known is None or known.any():
            self._enhance(outs, gaps, pixels.stored, valid, tile)
        mask, wanted = core_of(pixels.mask, core, scale), core_of(pixels.wanted, core, scale)
        return tuple(Pixels(out, mask, wanted) for out in outs)

    def has_data(self, pixels: Pixels) -> bool:
        """True where some pixel of a tile has to be computed."""
        valid = self.radiometry.valid(pixels)
        return valid is None or bool(valid.any())

    def _start(self, head: Head, stored: NDArray[np.generic], gaps: NDArray[np.bool_] | None) -> NDArray[Any]:
        """The repeated stored numbers, of which `_enhance` leaves what isn't valid; any numbers where all are new.

        Of another head `Head.start`, and no data for what isn't valid.
        """
        bands, height, width = stored.shape
        scale = self.network.scale
        shape = bands, height * scale, width * scale
        if head.passes is not Passes.VALUE:
            out = np.full(shape, head.start, head.dtype)
            if gaps is not None:
                out[gaps] = head.nodata
            return out
        if gaps is None and not any(self.categorical):
            return np.empty(shape, self.radiometry.out_dtype)
        return repeated(stored, scale).astype(self.radiometry.out_dtype, copy=False)

    def _enhance(
        self,
        outs: Sequence[NDArray[Any]],
        gaps: NDArray[np.bool_] | None,
        stored: NDArray[np.generic],
        valid: NDArray[np.bool_] | None,
        tile: Tile,
    ) -> None:
        for bands in self.network.groups([band for band, same in enumerate(self.categorical) if not same]):
            values = stored[list(bands)].astype(self.radiometry.working)
            if valid is not None:
                values = fill(values, valid[list(bands)])
            sharp = self.network(block_of(values, tile), bands)[:, *tile.crop.slices]
            heads = zip(self.network.heads, outs, strict=True)
            rows = [(head, band, out[band]) for head, out in heads for band in bands]
            for (head, band, target), estimate in zip(rows, sharp, strict=True):
                encode = partial(self.radiometry.encode, band=band) if head.passes is Passes.VALUE else encode_other
                encode_valid(encode, estimate, target, None if gaps is None else gaps[band])


def encode_valid(
    encode: Callable[[NDArray[np.floating], NDArray[Any]], None],
    estimate: NDArray[np.floating],
    out: NDArray[Any],
    gaps: NDArray[np.bool_] | None,
) -> None:
    """Write an estimate (height, width) into `out` as `encode` does it, but where there are gaps."""
    if gaps is None or not gaps.any():
        encode(estimate, out)
    elif not gaps.all():
        encoded = np.empty_like(out)
        encode(estimate, encoded)
        np.copyto(out, encoded, where=~gaps)


def block_of(values: NDArray[T], tile: Tile) -> NDArray[T]:
    """The network's block cut from the values of the read window, mirrored where it reaches beyond the scene."""
    block = tile.block.within(tile.read)
    inside = block.clip(Window(0, 0, *values.shape[1:]))
    before = inside.row - block.row, inside.col - block.col
    after = block.stop[0] - inside.stop[0], block.stop[1] - inside.stop[1]
    cut = values[:, *inside.slices]
    if not any(before + after):
        return np.ascontiguousarray(cut)
    return np.pad(cut, ((0, 0), (before[0], after[0]), (before[1], after[1])), mode="symmetric")


def repeated(array: NDArray[T], scale: int) -> NDArray[T]:
    """(..., h * scale, w * scale), each pixel as a block of its own number."""
    return array.repeat(scale, axis=-2).repeat(scale, axis=-1)


def core_of(mask: NDArray[np.bool_] | None, core: Window, scale: int) -> NDArray[np.bool_] | None:
    """A mask of the read window cut to a core and repeated; None stays."""
    return None if mask is None else repeated(mask[core.slices], scale)
