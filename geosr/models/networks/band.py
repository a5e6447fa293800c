"""What the networks for one band at a time share: they add detail to the bicubic estimate, and have no bias."""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.classical import upsample

LOW_PASS_SIGMA = 2.0
"""Standard deviation of the low-pass that is taken off the input, source pixels."""
LOW_PASS_RADIUS = 6
"""Taps on each side of the low-pass's centre, source pixels."""
TOLD_RANGE = (0.03, 0.85)
"""What the conditioning tells apart of a response; numbers outside are moved to the nearer end."""
IN_ONE_SUM = 64
"""Inputs that oneDNN sums in one piece under a 1 x 1 kernel, whatever the size of the block; of 96 it doesn't."""


class BandNetwork(nn.Module):
    """The bicubic estimate plus detail that a network makes of the band minus its low-pass.

    Every network has no bias, and nothing in it but what doubles when its input doubles, so that
    `f(a x + b) = a f(x) + b` for every a > 0 and b, within float error, where the noise is that of a x + b. Its
    standard deviation enters as a second channel in the unit of the band (as in FFDNet, Zhang et al. 2018), a map that
    follows the low-passed band, and takes the place of thresholds; the response multiplies features (`BlurGains`).
    """

    multiple = 1
    """Sides of the input, and its place in the scene, are to be multiples of this many pixels."""

    alive = 0
    """Numbers a pixel of the input that stand in memory at once, as measured of a block of some 300 pixels; 0: few."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("low_pass", _gaussian(), persistent=False)

    def forward(self, x: Tensor, told: Tensor, noise: Tensor) -> Tensor:
        """The complete estimate, (n, 1, h * scale, w * scale) float32, in the unit of `x`.

        Parameters
        ----------
        x
            (n, 1, h, w) float32, any unit; no value may be NaN. Within the receptive field of the border the result
            depends on the padding: give a halo and cut it off.
        told
            (n, 4) the response of `x` relative to the result, as `geosr.response.Response.told` has it.
        noise
            (n, 2): the variance of the noise in `x` is the first plus the second times the stored number, as
            `geosr.noise.Noise` has it; zeros for none.
        """
        high, spread = self.parts(x, noise)
        return self.base(x) + self.residual(high, told, spread)

    def parts(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`x` minus its Gaussian low-pass, and the standard deviation of the noise at that low-pass, the shape of `x`.

        To be taken in float32, before any shorter float.
        """
        taps: Tensor = self.get_buffer("low_pass")
        radius = LOW_PASS_RADIUS
        padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
        low = F.conv2d(F.conv2d(padded, taps), taps.transpose(2, 3))
        constant, slope = (each.view(-1, 1, 1, 1) for each in noise.unbind(1))
        return x - low, (constant + slope * low).clamp_min(0.0).sqrt()

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """The detail that is added to the bicubic estimate, (n, 1, h * scale, w * scale), from what `parts` gives."""
        raise NotImplementedError

    def base(self, x: Tensor) -> Tensor:
        """The bicubic estimate that the detail is added to, (n, 1, h * scale, w * scale); no gradient passes."""
        return upsample(x.detach(), self.scale)


class BlurGains(nn.Module):
    """Gains that the response multiplies features with: (n, places, channels, 1, 1), one before training.

    Its biases never meet the band's values, so that they leave the gain and the offset of the input alone.
    """

    def __init__(self, channels: int, places: int, hidden: int = 32, told: int = 4) -> None:
        super().__init__()
        self.shape = (places, channels, 1, 1)
        self.first = nn.Linear(told, hidden)
        self.second = nn.Linear(hidden, places * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, told: Tensor) -> Tensor:
        """Gains for responses, (n, 4) or as many numbers as it was made for."""
        centred = (told.clamp(*TOLD_RANGE) - 0.25) * 8.0
        gains: Tensor = 1.0 + self.second(F.relu(self.first(centred)))
        return gains.view(-1, *self.shape)


class Conv(nn.Conv2d):
    """A convolution whose result at a pixel has the same bits whatever the size of the block, where none is trained.

    torch takes another kernel, which rounds differently, for small inputs; oneDNN is therefore asked for by name. The
    size of a block decides where it cuts the sum of a 1 x 1 kernel over many inputs, which is therefore cut here.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, outputs, h, w) of (n, inputs, h, w)."""
        if torch.is_grad_enabled() or not is_exact(x):
            return super().forward(x)
        size = IN_ONE_SUM if self.kernel_size == (1, 1) else self.in_channels
        parts = zip(x.split(size, 1), self.weight.split(size, 1), strict=True)  # type: ignore[no-untyped-call]
        placed = self.padding, self.stride, self.dilation, 1
        made: Tensor = reduce(add, (torch.mkldnn_convolution(part, weight, None, *placed) for part, weight in parts))  # type: ignore[arg-type]
        return made if self.bias is None else made.add_(self.bias.view(-1, 1, 1))


def is_exact(x: Tensor) -> bool:
    """True where oneDNN has a kernel for `x` that doesn't depend on its size."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def conv(inputs: int, outputs: int, size: int = 3, *, shrink: float = 1.0) -> Conv:
    """A convolution without bias that keeps the size; its first weights are multiplied by `shrink`."""
    layer = Conv(inputs, outputs, size, padding=size // 2, bias=False)
    with torch.no_grad():
        layer.weight.mul_(shrink)
    return layer


def upsampled(high: Tensor, scale: int) -> Tensor:
    """`upsample` in float32, whatever the convolutions compute in."""
    return upsample(high.float(), scale).to(high.dtype)


def with_noise(high: Tensor, spread: Tensor) -> Tensor:
    """(n, 2, h, w): the band and the standard deviation of its noise."""
    return torch.cat((high, spread.to(high.dtype)), 1)


def _gaussian() -> Tensor:
    # On the processor even where a network is made without memory: else torch would load all of its decompositions.
    offsets = torch.arange(-LOW_PASS_RADIUS, LOW_PASS_RADIUS + 1, dtype=torch.float64, device="cpu")
    taps = torch.exp(-0.5 * (offsets / LOW_PASS_SIGMA) ** 2)
    return (taps / taps.sum()).float().view(1, 1, 1, -1)
