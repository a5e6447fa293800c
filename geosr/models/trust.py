"""What follows from an image and its uncertainty: a mask of pixels to trust, and how far the input determines detail.

Both are made of the image as it will be stored, projected or not, and of standard deviations of its errors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geosr.models.classical import upsample_into
from geosr.models.engines import Around, OnDevice
from geosr.models.filters import cut, smooth_both
from geosr.models.model import Engine
from geosr.models.threads import Once
from geosr.radiometry import SIGMA, SUPPORT, TRUST, Head
from geosr.response import Response
from geosr.sensors import Observation

REACH = 2
"""Source pixels on either side over which detail is looked at; bicubic, which it is added to, sees as far."""
_TINY = 1e-37


class Completed(Around):
    """An engine of an image and its spread, with other heads that follow from both.

    Support needs the estimate that the spread was learnt of, too: where that is another engine's, `beside` says so, and
    the engine writes its image behind the spread.
    """

    def __init__(self, engine: Engine, scale: int, heads: tuple[Head, ...], sigmas: float, beside: bool) -> None:
        super().__init__(engine)
        self.scale, self.sigmas = scale, sigmas
        self.heads = heads[heads.index(SIGMA) + 1 :]
        self.beside = beside and SUPPORT in heads

    def reach(self, response: Response) -> int:
        """The engine's own, and that of a neighbourhood."""
        return self.engine.reach(response) + REACH

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`."""
        count = len(block)
        made = out.new_empty((3 * count, *out.shape[1:])) if self.beside else out[: 2 * count]
        self.run(block, bands, made)
        if self.beside:
            out[: 2 * count] = made[: 2 * count]
        planes, found = (each.view(-1, count, *out.shape[1:]) for each in (made, out))
        means = planes[2] if self.beside else planes[0]
        for head, targets in zip(self.heads, found[2:], strict=True):
            for image, band, fine, sigma, mean, target in zip(block, bands, *planes[:2], means, targets, strict=True):
                if head == TRUST:
                    target.copy_(sigma * self.sigmas <= (band.limit or 0.0))
                else:
                    target.copy_(supported(image, fine, mean, sigma, self.scale))


def supported(image: Tensor, fine: Tensor, mean: Tensor, sigma: Tensor, scale: int) -> Tensor:
    """The percentage of what `fine` (h * scale, w * scale) adds to bicubic that its input (h, w) determines, rounded.

    That is the square of the correlation that it is to have with the ground's detail, in a neighbourhood of two source
    pixels. Of that, the input tells a mean, what `mean` adds, and leaves the variance of its errors (the law of total
    variance). 0 where nothing is added, and within `2 * REACH` of the border.
    """
    base = torch.empty_like(fine)
    upsample_into(base, image, scale)
    taps = tuple((2 * scale - abs(at)) / (2 * scale) ** 2 for at in range(1 - 2 * scale, 2 * scale))
    out = torch.zeros_like(fine)
    if min(image.shape) > 4 * REACH:
        added, told, error = (cut(each, REACH * scale) for each in (fine - base, mean - base, sigma))
        products = added * told, added * added, told * told + error * error
        common, own, ground = (cut(smooth_both(each, taps), 1).clamp_min_(0.0) for each in products)
        share = common * (common / (own * ground).clamp_min_(_TINY))
        cut(out, 2 * REACH * scale).copy_((100.0 * share.clamp_max_(1.0)).round_())
    return out


@Once
def completed(engine: Engine, scale: int, heads: tuple[Head, ...], sigmas: float, beside: bool) -> Engine:
    """An engine of arrays with the heads that follow from its first two, see `Completed`."""
    return OnDevice(Completed(engine, scale, heads, sigmas, beside), engine.device)
