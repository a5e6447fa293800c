"""SwinIR (Liang et al. 2021, arXiv:2108.10257) with the attention of Swin V2 (Liu et al. 2022, arXiv:2111.09883)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.errors import InputError
from geosr.models.networks.band import BandNetwork, BlurGains, conv, with_noise

WINDOW = 8
"""Side of an attention window, source pixels."""
HEAD = 12
"""Channels of an attention head; half as many heads take half the time, and heads of six channels see little."""
SMALLEST = 1e-30
"""Keeps a direction finite where all features are 0."""


class Swin(BandNetwork):
    """Transformer layers whose pixels attend to those of their window of 8 x 8, every other layer shifted by 4.

    Groups of `DEPTH` layers end with a convolution, as in SwinIR. Attention is by cosine (Swin V2), which knows
    directions and not sizes, there is no layer normalisation and the perceptrons have ReLU without bias, so that a
    gain passes. Sides of the input are to be multiples of 8; a pixel's place in its window matters, so that windows lie
    on a grid of 8 pixels from the scene's corner.
    """

    multiple = WINDOW
    DEPTH = 4

    def __init__(self, scale: int, channels: int = 60, blocks: int = 4) -> None:
        super().__init__(scale)
        self.alive = 42 * channels
        if channels % HEAD:
            raise InputError(f"a transformer's channels are a multiple of {HEAD}, found {channels}")
        self.head = conv(2, channels)
        self.groups = nn.ModuleList(Group(channels, self.DEPTH) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1)
        self.trunk = conv(channels, channels, shrink=0.2)
        self.tail = conv(channels, scale * scale, shrink=0.0)

    def residual(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """See `BandNetwork.residual`. Raises `ValueError` where a side is no multiple of the window."""
        if any(side % WINDOW for side in high.shape[2:]):
            raise ValueError(f"sides must be multiples of {WINDOW}, found {tuple(high.shape[2:])}")
        gains = self.gains(told.to(high.dtype))
        start = self.head(with_noise(high, spread))
        features = start
        for index, group in enumerate(self.groups):
            features = group(features * gains[:, index])
        return F.pixel_shuffle(self.tail((self.trunk(features) + start) * gains[:, -1]), self.scale)


class Group(nn.Module):
    """Some layers, every other one shifted, then a convolution; added to what came in."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(channels, WINDOW // 2 if i % 2 else 0) for i in range(depth))
        self.last = conv(channels, channels, shrink=0.2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w)."""
        features = x
        for layer in self.layers:
            features = layer(features)
        result: Tensor = x + self.last(features)
        return result


class Layer(nn.Module):
    """Attention within windows, then a perceptron a pixel; each added to what came in.

    A shifted layer's windows wrap around the input's border, which the halo that is cut off has to cover.
    """

    def __init__(self, channels: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.attention = Attention(channels)
        self.widen = nn.Linear(channels, 2 * channels, bias=False)
        self.narrow = nn.Linear(2 * channels, channels, bias=False)
        with torch.no_grad():
            self.narrow.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w)."""
        tokens = torch.roll(x, (-self.shift, -self.shift), (2, 3)).permute(0, 2, 3, 1)
        tokens = tokens + _joined(self.attention(_windows(tokens)), tokens.shape)
        tokens = tokens + self.narrow(F.relu(self.widen(tokens)))
        return torch.roll(tokens.permute(0, 3, 1, 2), (self.shift, self.shift), (2, 3))


class Attention(nn.Module):
    """Cosine attention with a learnt temperature a head and a learnt bias a pair of places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)
        self.temperature = nn.Parameter(torch.full((channels // HEAD, 1, 1), 2.0))
        self.places = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, channels // HEAD))
        self.register_buffer("pairs", _pairs(), persistent=False)
        with torch.no_grad():
            self.out.weight.mul_(0.2)

    def forward(self, windows: Tensor) -> Tensor:
        """(windows, pixels, channels)."""
        count, pixels, channels = windows.shape
        mixed = self.mix(windows).view(count, pixels, 3, channels // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        query, key, value = _direction(mixed[0]) * torch.exp(self.temperature), _direction(mixed[1]), mixed[2]
        bias = self.places[self.get_buffer("pairs")].permute(2, 0, 1)
        weights = torch.softmax(query @ key.transpose(-2, -1) + bias, -1)
        result: Tensor = self.out((weights @ value).transpose(1, 2).reshape(count, pixels, channels))
        return result


def _direction(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) + SMALLEST)


def _windows(tokens: Tensor) -> Tensor:
    """(n, h, w, c) to (windows, pixels, c)."""
    n, height, width, channels = tokens.shape
    cut = tokens.reshape(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return cut.transpose(2, 3).reshape(-1, WINDOW * WINDOW, channels)


def _joined(windows: Tensor, shape: torch.Size) -> Tensor:
    """The opposite of `_windows`, for tokens of `shape`."""
    n, height, width, channels = shape
    cut = windows.view(n, height // WINDOW, width // WINDOW, WINDOW, WINDOW, channels)
    return cut.transpose(2, 3).reshape(shape)


def _pairs() -> Tensor:
    """For each pair of pixels in a window, which row of the table of biases holds for their distance."""
    side = torch.arange(WINDOW, device="cpu")  # as `band` has it
    rows, cols = torch.meshgrid(side, side, indexing="ij")
    down = rows.flatten()[:, None] - rows.flatten()[None] + WINDOW - 1
    across = cols.flatten()[:, None] - cols.flatten()[None] + WINDOW - 1
    return down * (2 * WINDOW - 1) + across
