"""What the protocol compares: bicubic, back-projection with the true blur, and any model that the runtime runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.protocol import Floats, Method, Observation
from geosr.models.backprojection import KERNEL, STEPS, corrections, round_trip
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.models.filters import mirror
from geosr.models.registry import card
from geosr.models.runtime import network_for
from geosr.models.trial import up
from geosr.response import Response
from geosr.sensors import UNKNOWN, Band


def bicubic(seen: Observation) -> Floats:
    """Cubic convolution with a = -1/2."""
    return _on_tensors(seen, lambda x: upsample(x, seen.scale))


def back_projection(seen: Observation) -> Floats:
    """Bicubic and ten steps of back-projection (Irani and Peleg 1991) with the true response."""
    return _on_tensors(seen, lambda x: backproject(x, upsample(x, seen.scale), seen.truth, seen.scale))


def backproject(lr: Tensor, sr: Tensor, response: Response, scale: int, steps: int = STEPS) -> Tensor:
    """`sr` after `steps` steps of `sr += upsample(lr - degrade(sr))`, (n, 1, h * scale, w * scale).

    Parameters
    ----------
    lr
        (n, 1, h, w) float32 or float64, what the sensor saw.
    sr
        (n, 1, h * scale, w * scale), an estimate of what it looked at, same unit.
    response
        Of `lr`, relative to the result.
    """
    rim = (steps - 1) * (len(round_trip(response, scale)[0]) // 2)
    error = mirror(lr - degrade(sr, response, scale), rim)
    totals = torch.stack([corrections(image[0], response, scale, steps) for image in error])
    return sr + upsample(totals[:, None], scale, KERNEL)


def of_model(model: str, scale: int, device: str = "auto") -> Method:
    """A model by name or path, with a mirrored halo: the scene's edge is treated as in use.

    A generative model is projected, as it always is; the others are judged for what they know by themselves. Raises
    `ModelError` for an unknown model, a scale that it can't do or weights that don't fit.
    """
    project = card(model, scale).generative
    network_for(model, scale, (Band(UNKNOWN),), device=device)  # loads it, once

    def run(seen: Observation) -> Floats:
        told = tuple(Band(seen.response, noise) for noise in seen.noise)
        network = network_for(model, scale, told, device=device, project=project)
        step = network.multiple
        halo = up(network.halo, step)
        height, width = seen.bands.shape[1:]
        after = [halo + up(side, step) - side for side in (height, width)]
        block = np.pad(seen.bands, ((0, 0), (halo, after[0]), (halo, after[1])), mode="symmetric")
        rim = halo * scale
        return network(block, tuple(range(len(block))))[:, rim : rim + height * scale, rim : rim + width * scale]

    return run


def _on_tensors(seen: Observation, run: Callable[[Tensor], Tensor]) -> Floats:
    with torch.inference_mode():
        return run(torch.from_numpy(seen.bands)[:, None])[:, 0].numpy()
