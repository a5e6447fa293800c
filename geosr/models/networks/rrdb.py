"""RRDB, the generator of ESRGAN (Wang et al. 2018, arXiv:1809.00219)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import BandNetwork, BlurGains, conv, with_noise

SLOPE = 0.2
"""Of the activation, for what is negative."""
SHARE = 0.2
"""Of what a block makes, that is added to what came in."""


class Rrdb(BandNetwork):
    """Residual blocks in residual dense blocks on the source grid, then one convolution and a pixel shuffle.

    Each dense convolution makes half as many channels as the trunk has, as in the paper. Unlike the paper's, it has
    no bias, is told the noise and the blur, and makes the difference from the bicubic estimate on the source grid.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 10) -> None:
        super().__init__(scale)
        self.alive = 18 * channels
        self.head = conv(2, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1)
        self.trunk = conv(channels, channels)
        self.tail = conv(channels, scale * scale, shrink=0.0)

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`."""
        gains = self.gains(told.to(high.dtype))
        start = self.head(with_noise(high, spread))
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features * gains[:, index])
        features = F.leaky_relu(self.trunk(features) + start, SLOPE)
        return F.pixel_shuffle(self.tail(features * gains[:, -1]), self.scale)


class Block(nn.Module):
    """Three dense blocks and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(Dense(channels, channels // 2) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w)."""
        result: Tensor = x + SHARE * self.dense(x)
        return result


class Dense(nn.Module):
    """Five convolutions, each of which sees what came in and what all before it made."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels]
        self.layers = nn.ModuleList(conv(channels + i * growth, width, shrink=0.1) for i, width in enumerate(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w)."""
        seen = [x]
        for layer in self.layers[:-1]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), SLOPE))
        result: Tensor = x + SHARE * self.layers[-1](torch.cat(seen, 1))
        return result
