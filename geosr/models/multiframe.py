"""The network `multiframe` on a device, and what it is given of a block: a pixel has the same bits in any block.

A stage of it compares the frames with the estimate so far. Each frame goes through a small network of its own, by its
weight; their sum, with what is known of all, through a larger one, whose detail is added where frames count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.models.devices import device_errors, exact_convolutions
from geosr.models.filters import cut, gaussian, smooth_both
from geosr.models.fusion import Block, radius_of, reach, weighing
from geosr.models.graphics import queue_of, unpadded
from geosr.models.networks.band import LOW_PASS_RADIUS, LOW_PASS_SIGMA
from geosr.models.networks.edsr import Block as Residual
from geosr.models.networks.multiframe import STEPS, MultiFrame, Stage
from geosr.models.regrid import REACH
from geosr.models.trained import convolved
from geosr.response import Response

Floating = NDArray[np.floating]


class Merger:
    """A `MultiFrame` on a device."""

    def __init__(self, module: MultiFrame, device: str, dtype: torch.dtype) -> None:
        self.module = module.eval().requires_grad_(False).to(device, dtype)
        self.device, self.dtype, self.scale = device, dtype, module.scale
        self.stages = [stage for stage in module.stages if isinstance(stage, Stage)]
        self.rim = 4 + 2 * len(self.stages[0].blocks)
        """Source pixels on each side of one that a stage sees."""
        self.around = self.rim + LOW_PASS_RADIUS
        """Source pixels on each side of what frames show that a stage looks at."""
        self.low_pass = gaussian(LOW_PASS_SIGMA * self.scale, LOW_PASS_RADIUS * self.scale)

    @property
    def alive(self) -> int:
        """Numbers a source pixel of a block that stand in memory at once, about."""
        stage = self.stages[0]
        return (len(stage.blocks) + 5) * stage.channels + 24 * self.scale**2

    def reach(self, responses: Sequence[Response]) -> int:
        """Source pixels around one of which the single-frame result and the frames are taken."""
        seen = max(weighing(responses, self.scale) + radius_of(responses, self.scale), LOW_PASS_RADIUS)
        stage = self.rim + seen + REACH["linear"] + 1
        return reach(responses, self.scale, STEPS) + len(self.stages) * stage

    def __call__(self, block: Block, told: tuple[float, ...]) -> tuple[Floating, Floating]:
        """The single-frame result of a band (h, w) with what frames add, and how many frames it drew on.

        `told` is of the reference's response, see `Response.told`.
        """
        believed = block.believed(block.start)
        result, count = block.projected(believed, STEPS), block.counted(believed)
        if block.views:
            expected = [view.degraded(block.start) for view in block.views]
            with torch.inference_mode(), exact_convolutions(self.device), device_errors():
                for stage in self.stages:
                    self._better(result, stage, block, expected, torch.tensor([told]))
        return result, count

    def _better(
        self, estimate: Floating, stage: Stage, block: Block, expected: Sequence[Floating], told: Tensor
    ) -> None:
        """Add the detail of a stage to an estimate, less its rim. `expected` is the start as each frame sees it."""
        total, doubt, near, pull = (np.zeros_like(estimate) for _ in range(4))
        together: Any = 0
        for view, before in zip(block.views, expected, strict=True):
            seen = view.degraded(estimate)
            each = view.believed(seen, view.degraded(block.missing), block.own)
            left, weight, lies = each.values - seen, view.up(each.weight), view.nearness()
            says = view.up(each.weight * left)
            total += weight
            doubt += view.up(each.weight * left * left)
            near += lies * weight
            pull += says
            voices = says, view.up(each.weight * (each.values - before))
            with self._turn():
                together = together + self._heard(stage, voices, (lies, weight / (1 + weight)))
        maps = (
            total / (1 + total),
            total / (total + block.prior),
            block.noise / (block.noise + block.missing),
            doubt / (doubt + block.noise * total + 1e-20),
            near / (4 + near),
        )
        images = self._high(block.start), estimate - block.start, pull / (total + block.prior)
        with self._turn():
            detail = self._detail(stage, images, maps, told.to(self.device), together)
        cut(estimate, self.rim * self.scale)[...] += detail * cut(maps[0], self.rim * self.scale)

    def _high(self, start: Floating) -> Floating:
        """The single-frame result less its low-pass; 0 where that reaches the border."""
        high, rim = np.zeros_like(start), LOW_PASS_RADIUS * self.scale
        low = smooth_both(torch.from_numpy(start), self.low_pass).numpy()
        high[rim:-rim, rim:-rim] = start[rim:-rim, rim:-rim] - low
        return high

    def _turn(self) -> AbstractContextManager[None]:
        """See `Queue.turn`; taken only while a card is asked: the comparing of frames is a processor's."""
        return nullcontext() if self.device == "cpu" else queue_of(self.device).turn()

    def _made(self, run: Callable[..., Tensor], rim: int, planes: Sequence[Tensor], scale: int = 1) -> Tensor:
        """The result of planes (1, n, h, w) that `run` makes, less `rim` a side; on a card in pieces of one shape."""
        if self.device == "cpu":
            return run(*planes)
        counts = [plane.shape[1] for plane in planes]

        def on_card(piece: Tensor) -> Tensor:
            """The result of all planes of a piece."""
            parts = torch.split(piece[None], counts, 1)
            return run(*(part.contiguous(memory_format=torch.channels_last) for part in parts))[0]

        return unpadded(torch.cat(tuple(planes), 1)[0], rim, on_card, scale)[None]

    def _squares(self, images: Sequence[Floating]) -> Tensor:
        """(1, images * scale**2, h / scale, w / scale) on the device."""
        stack = torch.from_numpy(np.stack(images).astype(np.float32, copy=False)).to(self.device, self.dtype)
        squares = F.pixel_unshuffle(stack[None], self.scale)
        return squares.contiguous(memory_format=torch.channels_last)

    def _heard(self, stage: Stage, voices: Sequence[Floating], places: Sequence[Floating]) -> Tensor:
        """Features of a frame by its weight, less two source pixels a side."""

        def run(voices: Tensor, places: Tensor) -> Tensor:
            """The features, of squares."""
            first = convolved(voices, stage.first.weight).relu_()
            placed: Tensor = stage.placed(cut(places, 1))
            return convolved(first.mul_(placed), stage.second.weight)

        return self._made(run, 2, (self._squares(voices), self._squares(places)))

    def _detail(
        self, stage: Stage, images: Sequence[Floating], maps: Sequence[Floating], told: Tensor, together: Tensor
    ) -> Floating:
        """(h * scale, w * scale) that is added, less the rim."""

        def run(images: Tensor, shares: Tensor, together: Tensor) -> Tensor:
            """The detail of squares, and of the sum of frames."""
            start = convolved(torch.cat((images, together * stage.share(shares)), 1), stage.head.weight)
            gains = stage.gains(cut(shares, 1), told)
            features = start
            for index, block in enumerate(stage.blocks):
                assert isinstance(block, Residual)
                inner = convolved(features, block.first.weight).relu_().mul_(cut(gains[:, index], 2 * index + 1))
                features = convolved(inner, block.second.weight).add_(cut(features, 2))
            features = features.add_(cut(start, 2 * len(stage.blocks))).mul_(cut(gains[:, -1], 2 * len(stage.blocks)))
            return F.pixel_shuffle(convolved(features, stage.tail.weight), self.scale)

        planes = *(cut(self._squares(each), 2) for each in (images, maps)), together
        return self._made(run, self.rim - 2, planes, self.scale)[0, 0].float().cpu().numpy()


def build(card: Card, scale: int, tensors: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> Merger:
    """The network of a card. Raises `ModelError` where the weights don't fit it."""
    module = MultiFrame(scale, card.channels, card.blocks, len({name.split(".")[1] for name in tensors}))
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights of {card.name} don't fit its card: {line}") from None
    return Merger(module, device, dtype)
