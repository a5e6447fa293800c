"""A network that brings coarse bands onto the grid of a guide, from what simpler ways make of them there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.models.networks.band import BlurGains, conv
from geosr.models.networks.edsr import Block


class Guided(nn.Module):
    """Residual blocks (Lim et al. 2017) on squares of 2 x 2 fine pixels, for all coarse bands together.

    Every band and every guide has a place of its own, which is zero where there is none. Without bias, all that is made
    doubles when its input does. What is made starts as a mixture of the other estimates.
    """

    def __init__(self, bands: int, guides: int, estimates: int = 3, channels: int = 64, blocks: int = 8) -> None:
        """`estimates` is the number of images of a coarse band: bicubic less its low-pass, and by how much others
        differ from bicubic."""
        super().__init__()
        self.bands = bands
        self.head = conv(4 * (estimates * bands + guides), channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.gains = BlurGains(channels, blocks + 1, told=4 * bands)
        self.tail = conv(channels, 4 * bands, shrink=0.0)
        self.mixed = nn.Parameter(torch.full((estimates - 1, bands, 1, 1), 1.0 / (estimates - 1)))

    def forward(self, estimates: Tensor, guides: Tensor, told: Tensor) -> Tensor:
        """Detail that is added to bicubic, (n, bands, h, w).

        Parameters
        ----------
        estimates
            (n, estimates * bands, h, w), all bands of the first, then of the next; h and w are even.
        guides
            (n, guides, h, w) less their low-pass.
        told
            (n, 4 * bands), see `geosr.response.Response.told`.
        """
        gains = self.gains(told.to(estimates.dtype))
        start = self.head(F.pixel_unshuffle(torch.cat((estimates, guides), 1), 2))
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
        detail = F.pixel_shuffle(self.tail((features + start) * gains[:, -1]), 2)
        for weight, other in zip(self.mixed, torch.split(estimates, self.bands, 1)[1:], strict=True):
            detail = detail + weight * other
        return detail
