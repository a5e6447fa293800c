"""SRCNN (Dong et al. 2016, Image Super-Resolution Using Deep Convolutional Networks, arXiv:1501.00092)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from geosr.models.networks.band import BandNetwork, BlurGains, conv, upsampled, with_noise


class Srcnn(BandNetwork):
    """The paper's three convolutions, 9-1-5 with `channels` and half as many features, on the upsampled band.

    Unlike the paper's, it makes the difference from the bicubic estimate, is told the noise and the blur, and has no
    bias.
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 1) -> None:
        super().__init__(scale)
        self.alive = 4 * channels * scale**2
        self.extract = conv(2, channels, 9)
        self.map = conv(channels, channels // 2, 1)
        self.gains = BlurGains(channels, 1)
        self.rebuild = conv(channels // 2, 1, 5, shrink=0.0)

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`."""
        fine = with_noise(upsampled(high, self.scale), upsampled(spread, self.scale))
        patches = F.relu(self.extract(fine)) * self.gains(told.to(high.dtype))[:, 0]
        result: Tensor = self.rebuild(F.relu(self.map(patches)))
        return result
