"""The models as the runtime runs them: one band in, the same band on the finer grid out.

Every engine gives a pixel the same bits whatever the block around it: sums of shifted arrays are rounded operation
by operation in a fixed order, and convolutions go to the one kernel that was found not to depend on the block's shape.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.backprojection import backproject_into
from geosr.models.backprojection import reach as backprojection_reach
from geosr.models.devices import device_errors, exact_convolutions
from geosr.models.model import Engine
from geosr.models.projection import project_into
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Observation

_one_on_the_card: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""By device. A second block on it would take memory and save no time, however many threads prepare blocks for it."""


class OnDevice(Engine):
    """An engine of tensors on a device, as one of arrays. Raises `MemoryError` where torch has no memory.

    A card that was too small for a block isn't asked again for one as large.
    """

    def __init__(self, engine: Engine, device: str) -> None:
        self.engine = engine
        self.device = device
        self.multiple = engine.multiple
        self.alive = engine.alive
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
            with _one_on_the_card[self.device]:
                self._on_card(block, bands, target)

    def _on_card(self, block: NDArray[np.floating], bands: Observation, target: Tensor) -> None:
        if block.size >= self._too_large:
            raise MemoryError(f"{self.device} had no memory for a block as large")
        if self._was_full:
            torch.cuda.empty_cache()  # now that the failure is dealt with, and holds no tensors any more
            self._was_full = False
        try:
            with device_errors():
                result = target.new_empty(target.shape, device=self.device)
                self.engine(torch.from_numpy(block).to(self.device), bands, result)
                target.copy_(result)
        except MemoryError:
            self._too_large, self._was_full = block.size, True
            raise


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


def project_on(
    device: str,
    out: NDArray[np.floating],
    image: NDArray[np.floating],
    response: Response,
    noise: Noise,
    trust: float,
) -> None:
    """`projection.project_into` on a device. Raises `MemoryError` where torch has no memory."""
    target, source = torch.from_numpy(out), torch.from_numpy(image)
    with torch.inference_mode(), exact_convolutions(device), device_errors():
        if device == "cpu":
            project_into(target, source, response, noise, trust)
            return
        with _one_on_the_card[device]:
            result = target.to(device)
            project_into(result, source.to(device), response, noise, trust)
            target.copy_(result)
