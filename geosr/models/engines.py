"""The models as the runtime runs them: one band in, the same band on the finer grid out.

Every engine gives a pixel the same bits whatever the block around it: sums of shifted arrays are rounded operation
by operation in a fixed order, and convolutions go to the one kernel that was found not to depend on the block's shape,
or on a card are given blocks of one shape (`graphics`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.backprojection import backproject_into
from geosr.models.backprojection import reach as backprojection_reach
from geosr.models.devices import device_errors, exact_convolutions
from geosr.models.graphics import Pieces, queue_of
from geosr.models.model import Engine
from geosr.models.projection import UNSURE, project_into
from geosr.models.projection import reach as projection_reach
from geosr.models.scale_head import Spread
from geosr.models.threads import Once
from geosr.response import Response
from geosr.sensors import Observation


class OnDevice(Engine):
    """An engine of tensors on a device, as one of arrays. Raises `MemoryError` where torch has no memory.

    A card that was too small for a block isn't asked again for one as large.
    """

    def __init__(self, engine: Engine, device: str) -> None:
        self.engine = engine
        self.device = device
        self.multiple = engine.multiple
        self.alive = engine.alive
        self._pieces = Pieces(engine, device)
        self._too_large = math.inf
        """Numbers of the smallest block that a card had no memory for."""
        self._was_full = False

    def reach(self, response: Response) -> int:
        """The engine's own."""
        return self.engine.reach(response)

    def __call__(self, block: NDArray[np.floating], bands: Observation, out: NDArray[np.floating]) -> None:
        """See `Engine`."""
        target = torch.from_numpy(out)
        with torch.inference_mode(), exact_convolutions(self.device), device_errors():
            if self.device == "cpu":
                self.engine(torch.from_numpy(block), bands, target)
                return
            self._on_card(block, bands, target)

    def room(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """See `Engine`."""
        if self.device == "cpu":
            return super().room(shape, dtype)
        with device_errors():
            return queue_of(self.device).room(shape, dtype)

    def _on_card(self, block: NDArray[np.floating], bands: Observation, target: Tensor) -> None:
        queue = queue_of(self.device)
        given = queue.room(block.shape, block.dtype)
        np.copyto(given, block)
        with queue.turn():
            self._make_room(block.size)
            try:
                with device_errors(self.device if self._pieces.is_one(block.shape, bands) else ""):
                    result = target.new_empty(target.shape, device=self.device)
                    self._pieces(queue.brought(torch.from_numpy(given)), bands, result)
                    finished = queue.mark()
            except MemoryError:
                self._too_large, self._was_full = block.size, True
                raise
        queue.fetch(result, target, finished)

    def _make_room(self, numbers: int) -> None:
        if numbers >= self._too_large:
            raise MemoryError(f"{self.device} had no memory for a block as large")
        if self._was_full:
            torch.cuda.empty_cache()  # now that the failure is dealt with, and holds no tensors any more
            self._was_full = False


class BackProjection(Engine):
    """Bicubic and ten steps of back-projection."""

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def reach(self, response: Response) -> int:
        """Ten times that of blur and interpolation together, and more for a stronger blur."""
        return backprojection_reach(response, self.scale)

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`."""
        for image, band, target in zip(block, bands, out, strict=True):
            backproject_into(target, image, band.response, self.scale)


class Around(Engine):
    """An engine with something done around it, on the device: nothing is copied between both.

    An engine of arrays computes on the processor.
    """

    def __init__(self, engine: Engine) -> None:
        self.of_arrays = not isinstance(engine, OnDevice)
        self.engine = engine.engine if isinstance(engine, OnDevice) else engine
        self.multiple, self.alive = engine.multiple, engine.alive
        self.of_one_shape = self.engine.of_one_shape

    def run(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """Write what the engine gives into `out`."""
        if self.of_arrays:
            self.engine(block.numpy(), bands, out.numpy())
        else:
            self.engine(block, bands, out)


class Beside(Around):
    """An engine whose image has the spread beside it that the scale head on another engine sees.

    Where there is room, the other engine's image follows.
    """

    def __init__(self, engine: Engine, scale: Engine) -> None:
        super().__init__(engine)
        self.scale = scale

    def reach(self, response: Response) -> int:
        """That of whichever sees farther."""
        return max(self.engine.reach(response), self.scale.reach(response))

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`."""
        count = len(block)
        self.run(block, bands, out[:count])
        both = torch.empty_like(out[: 2 * count])
        self.scale(block, bands, both)
        out[count : 2 * count] = both[count:]
        if len(out) > 2 * count:
            out[2 * count :] = both[:count]


def with_spread(engine: Engine, trunk: Engine | None, spread: Spread) -> Engine:
    """An engine with the spread that a scale head sees on the features of `trunk`; None for its own."""
    inner = (trunk or engine).engine  # type: ignore[attr-defined]
    inner.spread = spread
    return engine if trunk is None else OnDevice(Beside(engine, inner), engine.device)


class Projected(Around):
    """An engine whose image is corrected so that degrading it gives the block back, by half if the MTF is a default."""

    def __init__(self, engine: Engine, scale: int) -> None:
        super().__init__(engine)
        self.scale = scale

    def reach(self, response: Response) -> int:
        """The engine's own, and that of the correction."""
        return self.engine.reach(response) + projection_reach(response, self.scale)

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`; of several results the image is projected."""
        self.run(block, bands, out)
        for image, band, target in zip(block, bands, out[: len(block)], strict=True):
            project_into(target, image, band.response, band.noise, UNSURE if band.assumed else 1.0)


@Once
def projected(engine: Engine, scale: int) -> Engine:
    """An engine of arrays with the projection of what it gives."""
    return OnDevice(Projected(engine, scale), engine.device)
