"""Iterative back-projection (Irani and Peleg 1991): the result, degraded as the sensor does it, gives the input back.

A step adds `upsample(lr - degrade(sr))`. Degrading what was upsampled is a small filter on the input's own grid, so
that all steps are taken there and what they add up to is upsampled once; only rounding tells the two apart.
"""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from geosr.models.classical import REACH, phase_taps, upsample_into
from geosr.models.filters import cut, smooth_both
from geosr.response import Response

STEPS = 10
"""Enough to come within a few hundredths of a decibel of where it settles; more amplifies noise."""

KERNEL = "bicubic"
"""How corrections are upsampled, and the estimate that they start from."""


def backproject_into(out: Tensor, image: Tensor, response: Response, scale: int, steps: int = STEPS) -> None:
    """Write the bicubic estimate of `image` (h, w), back-projected, into `out` (h * scale, w * scale).

    What lies within `reach` of the border is less far back-projected, or not at all.
    """
    radius = _radius(response, scale)
    rim = steps * radius
    estimate = image
    if min(image.shape) > 2 * rim:
        error = cut(image, radius) - smooth_both(image, *round_trip(response, scale))
        estimate = image.clone()
        cut(estimate, rim).add_(corrections(error, response, scale, steps))
    upsample_into(out, estimate, scale, KERNEL)


def reach(response: Response, scale: int, steps: int = STEPS) -> int:
    """Source pixels from an output pixel's own to the farthest that its back-projected estimate depends on."""
    return steps * _radius(response, scale) + REACH[KERNEL]


def corrections(error: Tensor, response: Response, scale: int, steps: int) -> Tensor:
    """The sum of all steps' errors on the input's grid, from the first; (h, w) less (steps - 1) radii a side."""
    taps, radius = round_trip(response, scale), _radius(response, scale)
    total = error
    for _ in range(steps - 1):
        error = cut(error, radius) - smooth_both(error, *taps)
        total = cut(total, radius) + error
    return total


def _radius(response: Response, scale: int) -> int:
    return len(round_trip(response, scale)[0]) // 2


@lru_cache
def round_trip(response: Response, scale: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Taps of upsampling and then degrading, along y and x of the input's grid: as many each, symmetric, with sum 1."""
    down, across = (_round_trip(taps, scale) for taps in response.taps(scale))
    while down[0] == across[0] == 0.0:
        down, across = down[1:-1], across[1:-1]
    return down, across


def _round_trip(psf: tuple[float, ...], scale: int) -> tuple[float, ...]:
    phases = phase_taps(scale, KERNEL)
    first = (scale - len(psf)) // 2
    radius = -(first // scale) + REACH[KERNEL]
    taps = [0.0] * (2 * radius + 1)
    for index, weight in enumerate(psf, first):
        cell, phase = divmod(index, scale)
        for tap, value in enumerate(phases[phase], cell - REACH[KERNEL]):
            taps[radius + tap] += weight * value
    both = [(a + b) / 2 for a, b in zip(taps, reversed(taps), strict=True)]
    return tuple(tap / sum(both) for tap in both)
