"""SPAN (Wan et al. 2024, Swift Parameter-free Attention Network for Efficient Super-Resolution, arXiv:2311.12770)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import BandNetwork, BlurGains, conv, with_noise

SLOPE = 0.1
"""Of the activation, for what is negative."""
SMALLEST = 1e-30
"""Keeps the attention finite where all features are 0."""


class Span(BandNetwork):
    """Blocks of three convolutions whose output is weighted by an odd function of itself.

    The paper's attention is `sigmoid(x) - 1/2` and its activation SiLU, neither of which lets a gain pass; here the
    features are divided by their root mean square over channels before they are squashed, and the activation is a leaky
    ReLU. The first, fifth and last block are gathered as in the paper. Made as the difference from the bicubic
    estimate, without biases, told the noise and the blur.
    """

    def __init__(self, scale: int, channels: int = 48, blocks: int = 6) -> None:
        super().__init__(scale)
        self.alive = 27 * channels
        self.head = conv(2, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1)
        self.last = conv(channels, channels)
        self.gather = conv(4 * channels, channels, 1)
        self.tail = conv(channels, scale * scale, shrink=0.0)

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`."""
        gains = self.gains(told.to(high.dtype))
        start = self.head(with_noise(high, spread))
        features, outputs = start, []
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
            outputs.append(features)
        gathered = self.gather(torch.cat((start, self.last(features), outputs[0], *outputs[-2:][:1]), 1))
        return F.pixel_shuffle(self.tail(gathered * gains[:, -1]), self.scale)


class Block(nn.Module):
    """Three convolutions, added to what came in, weighted by the attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)
        self.third = conv(channels, channels)

    def forward(self, x: Tensor, gains: Tensor) -> Tensor:
        """(n, channels, h, w); `gains` is (n, channels, 1, 1)."""
        inner = F.leaky_relu(self.first(x), SLOPE) * gains
        made = self.third(F.leaky_relu(self.second(inner), SLOPE))
        size = torch.sqrt((made * made).mean(1, keepdim=True) + SMALLEST)
        result: Tensor = (made + x) * torch.tanh(made / size)
        return result
