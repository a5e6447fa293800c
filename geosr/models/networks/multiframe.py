"""A network for several dates: it betters what back-projection makes by what each date still says against that."""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import TOLD_RANGE, Conv, conv
from geosr.models.networks.edsr import Block

IMAGES, MAPS, VOICES, PLACES = 3, 5, 2, 2
"""Images and maps of the scene; images that each date has, and maps of how it lies."""
STEPS = 2
"""Of back-projection before the first stage."""


class Gains(nn.Module):
    """Gains for features, pixel by pixel, of numbers without a unit; one before training.

    Its biases never meet the band's values.
    """

    def __init__(self, maps: int, outputs: int, hidden: int = 32) -> None:
        super().__init__()
        self.first, self.second = Conv(maps, hidden, 1), Conv(hidden, outputs, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """(n, outputs, h, w) of (n, maps, h, w)."""
        gains: Tensor = 1.0 + self.second(F.relu(self.first(maps)))
        return gains


class MultiFrame(nn.Module):
    """Stages, one after the other; before each the dates are compared anew with what the last one made."""

    def __init__(self, scale: int, channels: int = 64, blocks: int = 5, stages: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.stages = nn.ModuleList(Stage(scale, channels, blocks) for _ in range(stages))


class Stage(nn.Module):
    """Dates go through one small network each, are summed by weight, and go with what is known of all through residual
    blocks (Lim et al. 2017), on squares of `scale` x `scale` fine pixels.

    What has the band's unit meets no bias, and what has no unit multiplies features: all that is made doubles when the
    band does.
    """

    def __init__(self, scale: int, channels: int, blocks: int, voice: int = 32) -> None:
        super().__init__()
        self.scale, self.channels, square = scale, channels, scale * scale
        self.first, self.second = conv(VOICES * square, voice), conv(voice, voice)
        self.placed = Gains(PLACES * square, voice)
        self.head = conv(IMAGES * square + voice, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.known = Gains(MAPS * square + 4, (blocks + 1) * channels)
        self.tail = conv(channels, square, shrink=0.0)

    def forward(self, images: Tensor, maps: Tensor, told: Tensor, voices: Tensor, places: Tensor) -> Tensor:
        """Detail that is added to the estimate so far, (n, 1, h, w); sides are multiples of `scale`.

        Parameters
        ----------
        images
            (n, IMAGES, h, w): the single-frame result less its low-pass; by how much the estimate differs from it; and
            where the dates together still pull that.
        maps
            (n, MAPS, h, w), without a unit; the first is the weight of all dates, w / (1 + w).
        told
            (n, 4), see `geosr.response.Response.told`.
        voices
            (n, dates, VOICES, h, w): by how much a date differs from the estimate and from the single-frame result,
            times its weight.
        places
            (n, dates, PLACES, h, w): how near its samples lie, and its weight, w / (1 + w).
        """
        n, dates, *_ = voices.shape
        each = F.relu(self.first(self.squares(voices.flatten(0, 1))))
        each = self.second(each * self.placed(self.squares(places.flatten(0, 1))))
        together = each.view(n, dates, *each.shape[1:]).sum(1)
        shares = self.squares(maps)
        start = self.head(torch.cat((self.squares(images), together * self.share(shares)), 1))
        gains = self.gains(shares, told)
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
        detail = F.pixel_shuffle(self.tail((features + start) * gains[:, -1]), self.scale)
        return detail * maps[:, :1]

    def squares(self, images: Tensor) -> Tensor:
        """(n, images * scale**2, h / scale, w / scale)."""
        return F.pixel_unshuffle(images, self.scale).contiguous(memory_format=torch.channels_last)

    def share(self, shares: Tensor) -> Tensor:
        """(n, 1, h, w), 1 / (1 + w) where w is the weight of all dates, of `squares` of maps."""
        some = [1.0 - shares[:, place : place + 1] for place in range(self.scale**2)]
        return reduce(add, some) / self.scale**2

    def gains(self, shares: Tensor, told: Tensor) -> Tensor:
        """(n, places, channels, h, w), of `squares` of maps."""
        told = (told.to(shares.dtype).clamp(*TOLD_RANGE) - 0.25) * 8.0
        known = torch.cat((shares, told[:, :, None, None].expand(-1, -1, *shares.shape[2:])), 1)
        gains: Tensor = self.known(known)
        return gains.view(len(gains), len(self.blocks) + 1, self.channels, *gains.shape[2:])
