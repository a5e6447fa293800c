"""The path from the pixels of a tile to the pixels of its result: pure, and the same for every front end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.radiometry import Pixels, Radiometry, fill
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

    def groups(self, bands: Sequence[int]) -> Sequence[tuple[int, ...]]:
        """Which of these bands it is to be given together."""

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        """Values (len(bands), height * scale, width * scale), same dtype, for a block (len(bands), height, width).

        `bands` says which bands of the scene these are, counted from 0. The result may be overwritten by the caller.
        Raises `MemoryError` where the block is too large for the device.
        """


def plan_tiles(
    shape: tuple[int, int], core: int, network: Network, *, gaps: bool, around: Window | None = None
) -> TilePlan:
    """Tiles with the halo of a network, for a scene (height, width) that may have gaps, perhaps cut from `around`."""
    # A gap's nearest valid neighbour may lie as far from it as it lies from the core, diagonally (radiometry.fill).
    halo = network.halo
    reach = halo + math.ceil(math.sqrt(2) * halo) + network.multiple if gaps else halo
    return TilePlan(*shape, core, network.scale, halo, reach, network.multiple, around)


@dataclass(frozen=True, slots=True)
class Upscaler:
    """Pixels of a tile's read window in, pixels of its write window out."""

    network: Network
    radiometry: Radiometry
    categorical: tuple[bool, ...]
    """Per band: repeat stored numbers instead (classes, palettes, alpha)."""

    def __call__(self, pixels: Pixels, tile: Tile) -> Pixels:
        """The result of a tile: `stored` (bands, core height * scale, core width * scale).

        What was not valid keeps its stored number; mask and area of interest are repeated exactly.
        """
        core = tile.core.within(tile.read)
        scale = self.network.scale
        valid = self.radiometry.valid(pixels)
        known = None if valid is None else valid[:, *core.slices]
        gaps = None if known is None or known.all() else _repeat(~known, scale)
        out = self._start(pixels.stored[:, *core.slices], all_new=gaps is None and not any(self.categorical))
        if known is None or known.any():
            self._enhance(out, gaps, pixels.stored, valid, tile)
        return Pixels(out, _core(pixels.mask, core, scale), _core(pixels.wanted, core, scale))

    def _start(self, stored: NDArray[np.generic], all_new: bool) -> NDArray[np.generic]:
        """The repeated stored numbers, of which `_enhance` leaves what isn't valid; any numbers where all are new."""
        if all_new:
            bands, height, width = stored.shape
            scale = self.network.scale
            return np.empty((bands, height * scale, width * scale), self.radiometry.out_dtype)
        return _repeat(stored, self.network.scale).astype(self.radiometry.out_dtype, copy=False)

    def _enhance(
        self,
        out: NDArray[np.generic],
        gaps: NDArray[np.bool_] | None,
        stored: NDArray[np.generic],
        valid: NDArray[np.bool_] | None,
        tile: Tile,
    ) -> None:
        for bands in self.network.groups([band for band, same in enumerate(self.categorical) if not same]):
            values = stored[list(bands)].astype(self.radiometry.working)
            if valid is not None:
                values = fill(values, valid[list(bands)])
            sharp = self.network(_block(values, tile), bands)[:, *tile.crop.slices]
            for band, estimate in zip(bands, sharp, strict=True):
                if gaps is None or not gaps[band].any():
                    self.radiometry.encode(estimate, out[band], band)
                elif not gaps[band].all():
                    encoded = np.empty_like(out[band])
                    self.radiometry.encode(estimate, encoded, band)
                    np.copyto(out[band], encoded, where=~gaps[band])


def _block(values: NDArray[np.floating], tile: Tile) -> NDArray[np.floating]:
    """The network's block cut from the values of the read window, mirrored where it reaches beyond the scene."""
    block = tile.block.within(tile.read)
    inside = block.clip(Window(0, 0, *values.shape[1:]))
    before = inside.row - block.row, inside.col - block.col
    after = block.stop[0] - inside.stop[0], block.stop[1] - inside.stop[1]
    cut = values[:, *inside.slices]
    if not any(before + after):
        return np.ascontiguousarray(cut)
    return np.pad(cut, ((0, 0), (before[0], after[0]), (before[1], after[1])), mode="symmetric")


def _repeat(array: NDArray[T], scale: int) -> NDArray[T]:
    return array.repeat(scale, axis=-2).repeat(scale, axis=-1)


def _core(mask: NDArray[np.bool_] | None, core: Window, scale: int) -> NDArray[np.bool_] | None:
    return None if mask is None else _repeat(mask[core.slices], scale)
