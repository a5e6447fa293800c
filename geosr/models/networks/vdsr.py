"""VDSR (Kim et al. 2016, Accurate Image Super-Resolution Using Very Deep Convolutional Networks, arXiv:1511.04587)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import BandNetwork, BlurGains, conv, upsampled, with_noise


class Vdsr(BandNetwork):
    """A deep stack of 3 x 3 convolutions on the upsampled band, which makes its difference from the truth.

    The paper's has 20 layers of 64 channels (`blocks` is 18, those between the first and the last). Here it has no
    bias, and is told the noise and the blur.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 18) -> None:
        super().__init__(scale)
        self.alive = 6 * channels * scale**2
        self.head = conv(2, channels)
        self.layers = nn.ModuleList(conv(channels, channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1)
        self.tail = conv(channels, 1, shrink=0.0)
        for layer in (self.head, *self.layers):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`."""
        gains = self.gains(told.to(high.dtype))
        features = (
            F.relu(self.head(with_noise(upsampled(high, self.scale), upsampled(spread, self.scale)))) * gains[:, 0]
        )
        for index, layer in enumerate(self.layers, 1):
            features = F.relu(layer(features)) * gains[:, index]
        result: Tensor = self.tail(features)
        return result
