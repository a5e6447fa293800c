"""EDSR (Lim et al. 2017, Enhanced Deep Residual Networks for Single Image Super-Resolution, arXiv:1707.02921)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import BandNetwork, BlurGains, conv, with_noise


class Edsr(BandNetwork):
    """Residual blocks without normalisation on the source grid, then one convolution and a pixel shuffle.

    Unlike the paper's, the blocks have no bias, the blur multiplies their features, and what is made is the difference
    from the bicubic estimate. `fast` is 8 blocks of 32 channels, `edsr` the paper's 16 of 64.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 16) -> None:
        super().__init__(scale)
        self.head = conv(2, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1)
        self.tail = conv(channels, scale * scale, shrink=0.0)

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`."""
        return F.pixel_shuffle(self.tail(self.features(high, told, spread)), self.scale)

    def features(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """Features (n, channels, h, w) that the last convolution makes the detail of."""
        gains = self.gains(told.to(high.dtype))
        start = self.head(with_noise(high, spread))
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
        result: Tensor = (features + start) * gains[:, -1]
        return result


class Block(nn.Module):
    """Convolution, ReLU, gains, convolution; added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels, shrink=0.2)

    def forward(self, x: Tensor, gains: Tensor) -> Tensor:
        """`x` plus what the block adds; `gains` is (n, channels, 1, 1)."""
        result: Tensor = x + self.second(F.relu(self.first(x)) * gains)
        return result
