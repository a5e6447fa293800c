"""The network `fast`: a small residual network for one band at a time, without any bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.classical import upsample

LOW_PASS_SIGMA = 2.0
"""Standard deviation of the low-pass that is taken off the input, source pixels."""
LOW_PASS_RADIUS = 6
"""Taps on each side of the low-pass's centre, source pixels."""
MTF_RANGE = (0.05, 0.60)
"""MTF at Nyquist that the conditioning tells apart; values outside are moved to the nearer end."""


class Fast(nn.Module):
    """Eight residual blocks of 32 channels that add detail to the bicubic estimate.

    The network sees the band minus its low-pass and has no bias, no normalisation and only ReLU, so that
    `f(a x + b, mtf, a noise) = a f(x, mtf, noise) + b` for every a > 0 and b, within float error. The noise enters
    as a second, constant channel in the unit of the band (as in FFDNet, Zhang et al. 2018) and so takes the place of
    thresholds; the blur multiplies the features of every block. The blocks are those of EDSR (Lim et al. 2017).
    """

    def __init__(self, scale: int, channels: int = 32, blocks: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.head = _conv(2, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks)
        self.tail = _conv(channels, scale * scale)
        nn.init.zeros_(self.tail.weight)
        self.register_buffer("low_pass", _gaussian(), persistent=False)

    def forward(self, x: Tensor, mtf: Tensor, noise: Tensor) -> Tensor:
        """The complete estimate, (n, 1, h * scale, w * scale) float32, in the unit of `x`.

        Parameters
        ----------
        x
            (n, 1, h, w) float32, any unit; no value may be NaN. Within the receptive field of the border the result
            depends on the padding: give a halo and cut it off.
        mtf
            (n,) the sensor's MTF at the Nyquist frequency of `x`, about .05 to .60.
        noise
            (n,) standard deviation of the noise in `x`, in the unit of `x`; 0 for none.
        """
        return self.base(x) + self.residual(self.high_pass(x), mtf, noise)

    def high_pass(self, x: Tensor) -> Tensor:
        """`x` minus its Gaussian low-pass, the same shape; to be taken in float32, before any shorter float."""
        taps: Tensor = self.get_buffer("low_pass")
        radius = LOW_PASS_RADIUS
        padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
        return x - F.conv2d(F.conv2d(padded, taps), taps.transpose(2, 3))

    def residual(self, high: Tensor, mtf: Tensor, noise: Tensor) -> Tensor:
        """The detail that is added to the bicubic estimate, (n, 1, h * scale, w * scale), from `high_pass(x)`."""
        level = noise.to(high.dtype).view(-1, 1, 1, 1).expand_as(high)
        gains = self.gains(mtf.to(high.dtype))
        start = self.head(torch.cat((high, level), 1))
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
        return F.pixel_shuffle(self.tail((features + start) * gains[:, -1]), self.scale)

    def base(self, x: Tensor) -> Tensor:
        """The bicubic estimate that the detail is added to, (n, 1, h * scale, w * scale); no gradient passes."""
        return upsample(x.detach(), self.scale)


class Block(nn.Module):
    """Convolution, ReLU, gains, convolution; added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor, gains: Tensor) -> Tensor:
        """`x` plus what the block adds; `gains` is (n, channels, 1, 1)."""
        result: Tensor = x + self.second(F.relu(self.first(x)) * gains)
        return result


class BlurGains(nn.Module):
    """What the blur multiplies the features with: (n, blocks + 1, channels, 1, 1), one before training.

    Its biases never meet the band's values, so that they leave the gain and the offset of the input alone.
    """

    def __init__(self, channels: int, blocks: int, hidden: int = 32) -> None:
        super().__init__()
        self.shape = (blocks + 1, channels, 1, 1)
        self.first = nn.Linear(1, hidden)
        self.second = nn.Linear(hidden, (blocks + 1) * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, mtf: Tensor) -> Tensor:
        """Gains for the MTF at Nyquist `mtf`, (n,)."""
        centred = (mtf.clamp(*MTF_RANGE).view(-1, 1) - 0.25) * 8.0
        gains: Tensor = 1.0 + self.second(F.relu(self.first(centred)))
        return gains.view(-1, *self.shape)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _gaussian() -> Tensor:
    offsets = torch.arange(-LOW_PASS_RADIUS, LOW_PASS_RADIUS + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / LOW_PASS_SIGMA) ** 2)
    return (taps / taps.sum()).float().view(1, 1, 1, -1)
