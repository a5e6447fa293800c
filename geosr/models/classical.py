"""Nearest, bilinear, bicubic and Lanczos interpolation at a whole scale, on torch tensors.

Output pixel i lies at (i + .5) / scale - .5 of the input, so that the outer edges of the grid stay where they are.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from geosr.models.filters import mirror

REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos": 3}
"""The kernels, and how many source pixels each looks at on either side of the one that an output pixel lies in."""

_STRIP = 64
"""Source rows worked on at a time, so that all passes over an output row find it in the processor's cache."""


def upsample(x: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """`x` on a grid `scale` times as fine each way: (n, 1, h * scale, w * scale), same dtype and unit.

    A constant comes out as exactly the same number. Beyond the edge `x` is mirrored, the edge pixel repeated
    (symmetric). Every output pixel takes the same sums in the same order whatever its position and the shape of `x`,
    and multiplications and additions are rounded one by one, so that blocks cut differently agree to the last bit.

    Parameters
    ----------
    x
        (n, 1, h, w) float32 or float64, any unit.
    scale
        Output pixels per input pixel each way, 1 or more.
    kernel
        "nearest", "bilinear", "bicubic" (Keys 1981, "Cubic convolution interpolation for digital image processing",
        with a = -1/2) or "lanczos" (Duchon 1979, three lobes, the taps of each phase made to sum to 1).
    """
    out = x.new_empty(x.shape[0], 1, x.shape[2] * scale, x.shape[3] * scale)
    for image, target in zip(x[:, 0], out[:, 0], strict=True):
        upsample_into(target, image, scale, kernel)
    return out


def upsample_into(out: Tensor, image: Tensor, scale: int, kernel: str = "bicubic") -> None:
    """Write `image` (h, w), upsampled as `upsample` does it, into `out` (h * scale, w * scale) of the same dtype."""
    height, width = image.shape
    if kernel == "nearest" or scale == 1:
        out.view(height, scale, width, scale).copy_(image[:, None, :, None])
        return
    reach = REACH[kernel]
    padded = mirror(image, reach)
    for start in range(0, height, _STRIP):
        across = _interpolate_columns(padded[start : start + _STRIP + 2 * reach], scale, kernel)
        _interpolate_rows(across, out[start * scale : (start + _STRIP) * scale], scale, kernel)


@lru_cache
def step_weights(scale: int, kernel: str) -> tuple[tuple[tuple[int, float], ...], ...]:
    """For each phase of an output pixel, how it is its source pixel plus weighted steps between neighbours.

    Phase p of source pixel m is `x[m] + sum(weight * (x[m + j + 1] - x[m + j]))` over the pairs (j, weight), which is
    the usual weighted sum of neighbours, rearranged so that a constant is kept to the last bit.
    """
    return tuple(_steps(taps, REACH[kernel]) for taps in phase_taps(scale, kernel))


@lru_cache
def phase_taps(scale: int, kernel: str) -> tuple[tuple[float, ...], ...]:
    """For each phase of an output pixel, the weights of its source pixel's neighbours -reach .. reach, with sum 1."""
    return tuple(_taps(phase, scale, kernel) for phase in range(scale))


def _steps(taps: tuple[float, ...], reach: int) -> tuple[tuple[int, float], ...]:
    above = [(j, math.fsum(taps[j + 1 + reach :])) for j in range(reach)]
    below = [(j, -math.fsum(taps[: j + 1 + reach])) for j in range(-reach, 0)]
    return tuple((j, weight) for j, weight in below + above if weight != 0.0)


def _taps(phase: int, scale: int, kernel: str) -> tuple[float, ...]:
    reach = REACH[kernel]
    offset = (phase + 0.5) / scale - 0.5
    taps = [_KERNELS[kernel](abs(tap - offset)) for tap in range(-reach, reach + 1)]
    total = math.fsum(taps)
    return tuple(tap / total for tap in taps)


def _linear(d: float) -> float:
    return max(0.0, 1.0 - d)


def _keys(d: float) -> float:
    if d >= 2.0:
        return 0.0
    return (1.5 * d - 2.5) * d * d + 1.0 if d < 1.0 else ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0


def _lanczos(d: float) -> float:
    if d >= 3.0 or (d != 0.0 and d == int(d)):
        return 0.0
    return 1.0 if d == 0.0 else 3.0 * math.sin(math.pi * d) * math.sin(math.pi * d / 3.0) / (math.pi * d) ** 2


_KERNELS = {"bilinear": _linear, "bicubic": _keys, "lanczos": _lanczos}


def _interpolate_columns(strip: Tensor, scale: int, kernel: str) -> Tensor:
    """(rows, w + 2 * reach) to (rows, w * scale)."""
    reach = REACH[kernel]
    width = strip.shape[1] - 2 * reach
    centre = strip[:, reach : reach + width]
    steps = strip[:, 1:] - strip[:, :-1]
    out = strip.new_empty(strip.shape[0], width, scale)
    total, term = torch.empty_like(centre), torch.empty_like(centre)
    for phase, weights in enumerate(step_weights(scale, kernel)):
        total.copy_(centre)
        for j, weight in weights:
            torch.mul(steps[:, reach + j : reach + j + width], weight, out=term)
            total.add_(term)
        out[:, :, phase] = total
    return out.view(strip.shape[0], -1)


def _interpolate_rows(across: Tensor, out: Tensor, scale: int, kernel: str) -> None:
    """(h + 2 * reach, w) into `out` (h * scale, w)."""
    reach = REACH[kernel]
    height = across.shape[0] - 2 * reach
    centre = across[reach : reach + height]
    steps = across[1:] - across[:-1]
    phases = out.view(height, scale, -1)
    term = torch.empty_like(centre)
    for phase, weights in enumerate(step_weights(scale, kernel)):
        target, total = phases[:, phase], centre
        for j, weight in weights:
            torch.mul(steps[reach + j : reach + j + height], weight, out=term)
            torch.add(total, term, out=target)
            total = target
        if not weights:
            target.copy_(centre)
