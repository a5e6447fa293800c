"""Trying out a network of somebody else's: the shape of what it gives, and how far around a pixel it looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from geosr.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Run = Callable[["Tensor"], "Tensor"]
"""(bands, h * scale, w * scale) for (bands, h, w), float32."""


class Sizes(Protocol):
    """Facts by which blocks are cut for a network: `TorchNetwork` and `Foreign` say them of themselves."""

    @property
    def scale(self) -> int:
        """Output pixels per source pixel, each way."""

    @property
    def halo(self) -> int:
        """Source pixels that an output pixel depends on, on each side."""

    @property
    def bands(self) -> int:
        """Bands that it is given together."""

    @property
    def multiple(self) -> int:
        """Sides of blocks, and their place in the scene, are multiples of this."""


def try_out(name: str, run: Run, sizes: Sizes, *, device: str, ends: tuple[float, float] = (0.0, 3000.0)) -> None:
    """Raise `ModelError` where a result has another shape, or more than the halo around it matters.

    A block alone is compared with the same one cut from a larger one, of numbers between `ends`.
    """
    import torch

    bands, scale, halo = sizes.bands, sizes.scale, sizes.halo
    side, rim = up(2 * halo + 8, sizes.multiple), up(16, sizes.multiple)
    random = torch.Generator().manual_seed(0)
    low, high = ends
    around = (low + (high - low) * torch.rand(bands, side + 2 * rim, side + 2 * rim, generator=random)).to(device)
    block = around[:, rim:-rim, rim:-rim]
    with torch.inference_mode():
        alone, within = run(block), run(around)
    if alone.device != block.device:
        raise ModelError(
            f"{name} computes on {alone.device}, and {block.device} was asked for; choose that as the device"
        )
    if not (alone.isfinite().all() and within.isfinite().all()):
        raise ModelError(f"{name} gives NaN or infinity for numbers of {low:g} to {high:g}")
    wanted = (bands, side * scale, side * scale)
    if tuple(alone.shape) != wanted:
        raise ModelError(f"{name} gives {tuple(alone.shape)} for {tuple(block.shape)}, expected {wanted}")
    cut, edge = rim * scale, halo * scale
    core = np.s_[:, edge : wanted[1] - edge, edge : wanted[2] - edge]
    one, other = alone[core], within[:, cut:-cut, cut:-cut][core]
    apart = float((one - other).abs().max())
    if not apart <= 1e-4 * max(1.0 if high > 1.0 else 0.0, float(other.abs().max())):
        raise ModelError(
            f"{name} sees farther than its halo of {halo} pixels, or looks at whole blocks "
            f"(results are up to {apart:.3g} apart), so that tiles would show; give it a larger halo"
        )


def up(size: int, multiple: int) -> int:
    """The first multiple that isn't smaller."""
    return -(-size // multiple) * multiple
