"""The standard deviation of a network's errors, from the features that it makes its detail of."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.errors import ModelError
from geosr.models.calibration import Calibration
from geosr.models.checkpoint import read_tensors
from geosr.models.networks.band import Conv
from geosr.sensors import Band

_TINY = 1e-20
"""Keeps a ratio finite where there is neither a gradient nor noise."""
_KEPT = 6
"""Bits of a standard deviation's fraction that are kept: more say nothing, and take room and time in a file."""


class ScaleHead(nn.Module):
    """Two convolutions of features on the source grid, in units of the local gradient and the noise.

    Nothing but the ratio of features to these enters what is not linear, so that `f(a x + b) = a f(x)` for a > 0. All
    of it but the convolutions is arithmetic whose result IEEE 754 fixes, so that bits don't depend on the block.
    """

    rim = 1
    """Source pixels around a pixel that are looked at."""

    def __init__(self, scale: int, channels: int = 32, hidden: int = 16) -> None:
        super().__init__()
        self.first = Conv(channels, hidden, 3, bias=False)
        self.noise = nn.Parameter(torch.zeros(hidden, 1, 1))
        self.level = nn.Parameter(torch.zeros(hidden, 1, 1))
        self.second = Conv(hidden, scale * scale, 1, bias=False)
        self.shift = nn.Parameter(torch.full((scale * scale, 1, 1), -2.0))

    def forward(self, made: Tensor, high: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers (n, scale**2, h, w) that are `positive` scales of errors in a unit, the unit, and `contrast`.

        Both are (n, 1, h, w).

        Parameters
        ----------
        made
            (n, hidden, h, w) what `first` makes of the features.
        high
            (n, 1, h + 2, w + 2) the band without its low-pass.
        spread
            (n, 1, h, w) the standard deviation of its noise.
        """
        square, noise = gradient(high), spread * spread
        unit = (square + noise + _TINY).sqrt()
        hidden = F.relu(made / unit + self.noise * (spread / unit) + self.level)
        return self.second(hidden) + self.shift, unit, square / (noise + square * 1e-6 + _TINY)


def positive(given: Tensor) -> Tensor:
    """Numbers above 0: twice what is given where that is large, and half of one over it where that is far below 0."""
    root: Tensor = (given * given + 1.0).sqrt()
    return root.add_(given) if not given.requires_grad else root + given


def gradient(image: Tensor) -> Tensor:
    """Mean square of the differences of neighbours within 3 x 3 pixels: (..., h - 2, w - 2) of (..., h, w)."""
    down, across = image.diff(dim=-2).square(), image.diff(dim=-1).square()
    down = down[..., :-1, :] + down[..., 1:, :]
    across = across[..., :-1] + across[..., 1:]
    down = down[..., :-2] + down[..., 1:-1] + down[..., 2:]
    across = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]
    return (down + across) / 12.0


class Spread:
    """A scale head with its calibration: standard deviations of what is wrong with an image."""

    rim = ScaleHead.rim

    def __init__(self, head: ScaleHead, calibration: Calibration) -> None:
        self.head, self.calibration = head, calibration

    @property
    def first(self) -> Tensor:
        """The weights of the convolution that sees the features."""
        return self.head.first.weight

    def __call__(self, made: Tensor, high: Tensor, noise: Tensor, band: Band) -> Tensor:
        """(1, scale**2, h, w) of `made` (1, hidden, h, w), see `ScaleHead`, `high` (h + 2, w + 2), `noise` (h, w)."""
        dtype = made.dtype
        given, unit, contrast = self.head(made, high.to(dtype)[None, None], noise.to(dtype)[None, None])
        first, *others = self.calibration.factors(band)
        factor = torch.full_like(contrast, first)
        for start, stop, slope in others:
            factor += (contrast.clamp(start, stop) - start) * slope
        return shortened(positive(given).mul_(unit * factor).float())


def shortened(values: Tensor) -> Tensor:
    """float32 numbers whose fraction is rounded to a few bits, in place."""
    lost = 23 - _KEPT
    values.view(torch.int32).add_(1 << (lost - 1)).bitwise_and_(-(1 << lost))
    return values


def load_spread(path: Path, scale: int, calibration: Calibration, device: str) -> Spread:
    """The scale head in a file. Raises `ModelError` where it holds something else."""
    tensors = read_tensors(path)
    head = ScaleHead(scale)
    try:
        head.load_state_dict(tensors)
    except RuntimeError:
        raise ModelError(f"{path} holds no scale head for x{scale}") from None
    return Spread(head.eval().requires_grad_(False).to(device), calibration)
