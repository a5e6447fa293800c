"""Trained guided networks on a device: each pixel has the same bits in any block.

Convolutions are not padded, and squares of 2 x 2 pixels lie on the guide's grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.models.devices import device_errors, exact_convolutions
from geosr.models.filters import cut
from geosr.models.graphics import queue_of, unpadded
from geosr.models.networks.edsr import Block
from geosr.models.networks.guided import Guided
from geosr.models.trained import convolved

Floats = NDArray[np.float32]


class Refiner:
    """A `Guided` network on a device; see there for what it takes."""

    def __init__(self, module: Guided, device: str, dtype: torch.dtype) -> None:
        self.module = module.eval().requires_grad_(False).to(device)
        self.device, self.dtype = device, dtype
        self.rim = 2 * (2 + 2 * len(module.blocks))
        """Fine pixels on each side of a square of 2 x 2 that it sees."""

    def __call__(self, estimates: Floats, guides: Floats, told: Floats) -> Floats:
        """(bands, h, w) that is added to bicubic, less `rim` pixels a side."""
        given = tuple(map(torch.from_numpy, (estimates, guides, told)))
        with torch.inference_mode(), exact_convolutions(self.device), device_errors():
            if self.device == "cpu":
                return self._run(*given).numpy()
            with queue_of(self.device).turn():
                return self._on_card(*(each.to(self.device) for each in given)).cpu().numpy()

    def _on_card(self, estimates: Tensor, guides: Tensor, told: Tensor) -> Tensor:
        """As `_run`, in pieces of one shape: see `graphics`."""
        count = len(estimates)
        both = torch.cat((estimates, guides))
        return unpadded(both, self.rim, lambda piece: self._run(piece[:count], piece[count:], told))

    def _run(self, estimates: Tensor, guides: Tensor, told: Tensor) -> Tensor:
        module, dtype = self.module, self.dtype
        gains = module.gains(told[None])[0].to(dtype)
        squares = F.pixel_unshuffle(torch.cat((estimates, guides))[None], 2).to(dtype)
        features = start = convolved(squares, module.head.weight.to(dtype))
        for block, gain in zip(module.blocks, gains, strict=False):  # one more gain than blocks, for the tail
            assert isinstance(block, Block)
            inner = convolved(features, block.first.weight.to(dtype)).relu_().mul_(gain)
            features = convolved(inner, block.second.weight.to(dtype)).add_(cut(features, 2))
        features = features.add_(cut(start, 2 * len(module.blocks))).mul_(gains[-1])
        detail = F.pixel_shuffle(convolved(features, module.tail.weight.to(dtype)), 2)[0].float()
        for weight, other in zip(module.mixed, torch.split(estimates, module.bands)[1:], strict=True):
            detail = detail + weight * cut(other, self.rim)
        return detail


def build(card: Card, tensors: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> Refiner:
    """The network of a card. Raises `ModelError` where the weights don't fit it."""
    module = Guided(len(card.slots), len(card.guides), 3 if card.start else 2, card.channels, card.blocks)
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights of {card.name} don't fit its card: {line}") from None
    return Refiner(module, device, dtype)
