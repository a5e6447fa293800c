"""Projection: a result that, degraded as the sensor does it, gives the input back, whichever model made it.

What is missing, `e = lr - degrade(sr)`, is made up for by `sr + upsample(w * e)`. Degrading what was upsampled is a
small separable filter t on the input's own grid (`backprojection.round_trip`), so that w is its inverse, designed once
for a blur by least squares: what many steps of back-projection converge to, in one step and a known reach.

Noise is not to be fitted. The correction is taken apart into three parts, means over a neighbourhood, what a cautious
inverse adds to them, and what the full one adds to that, and each pixel of each is shrunk by the share of its
neighbourhood's power that noise accounts for (Wiener's factor with the power measured on the spot, as in Lee 1980,
"Digital image enhancement and noise filtering by use of local statistics"). Noise makes up little of the means, so that
a bias of more than a fifth of its standard deviation is taken off.

Every number is a sum of shifted arrays in a fixed order: a pixel has the same bits in any block, and a constant scene
stays the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.backprojection import KERNEL, round_trip
from geosr.models.classical import REACH, step_weights
from geosr.models.filters import cut, smooth_both
from geosr.noise import SILENT, Noise
from geosr.response import Response

A = TypeVar("A", Tensor, NDArray[np.float64])
Taps = tuple[tuple[float, ...], tuple[float, ...]]

SURPLUS = 3.0, 1.5, 5.0
"""Times the power that noise is expected to have in each of the parts, up to which nothing is taken for anything else:
powers scatter, the more the fewer frequencies they are of."""
WINDOW = 3
"""Pixels on either side over which power is measured."""
MEANS = 4
"""Pixels on either side over which means are taken."""

UNSURE = 0.5
"""Share of a correction that is made where the MTF is a default: one that is right still brings three quarters of its
gain, and one must be four times too large to do harm, and not twice."""

_REST = 2e-3
"""What of an error of the model may be left at any frequency, as a share of its amplitude on the ground."""
_WIDEST = 8
_PENALTIES = 1e-2, 1e-6
"""What the square of the inverse's gain costs against the square of what is left: cautious, and in full."""
_LEAST = 1e-30
"""Stands for no power, where none is to be divided by."""


def project_into(out: Tensor, image: Tensor, response: Response, noise: Noise, trust: float = 1.0) -> None:
    """Correct an estimate of `image` (h, w) in place, `out` (h * scale, w * scale), by a share `trust` of what is due.

    What lies within `reach` of the border is left as it is.
    """
    scale = out.shape[0] // image.shape[0]
    rim = reach(response, scale)
    if min(image.shape) > 2 * rim:
        cut(out, rim * scale).add_(correction(out, image, response, scale, noise, trust))


def reach(response: Response, scale: int) -> int:
    """Source pixels from an output pixel's own to the farthest that its correction depends on."""
    return seen_from(response, scale) + max(_inverse(response, scale).radius, MEANS) + WINDOW + REACH[KERNEL]


def seen_from(response: Response, scale: int) -> int:
    """Whole source pixels on either side that light in a pixel comes from."""
    return -(-((len(response.taps(scale)[0]) - scale) // 2) // scale)


def correction(sr: Tensor, lr: Tensor, response: Response, scale: int, noise: Noise, trust: float) -> Tensor:
    """The image to be added to `sr`, less `reach` source pixels a side; differentiable by `sr` and `lr`."""
    rim = seen_from(response, scale)
    error = cut(lr, rim) - _degraded(sr, response, scale)
    inverse = _inverse(response, scale)
    if noise == SILENT:
        return _upsampled(trust * _inverted(error, inverse), scale)
    level = cut(smooth_both(lr, inverse.means), rim + max(inverse.radius, MEANS) - MEANS + WINDOW)
    return _upsampled(trust * _shrunk(error, inverse, noise.variance(level)), scale)


def _inverted(error: Tensor, inverse: Inverse) -> Tensor:
    """The whole correction on the input's grid, less the inverse's radius and the window a side."""
    return cut(smooth_both(error, *inverse.full), max(0, MEANS - inverse.radius) + WINDOW)


def _shrunk(error: Tensor, inverse: Inverse, variance: Tensor) -> Tensor:
    """The correction as far as noise of this variance does not account for it; its shape is that of `_inverted`."""
    rim = max(inverse.radius, MEANS)
    filters = (inverse.means, inverse.means), inverse.cautious, inverse.full
    stages = [cut(smooth_both(error, *taps), rim - len(taps[0]) // 2) for taps in filters]
    means, cautious, full = (
        cut(part, WINDOW) * _share(part, variance * (surplus * gain))
        for part, gain, surplus in zip(_differences(stages), inverse.gains, SURPLUS, strict=True)
    )
    return means + cautious + full


def _differences(stages: Sequence[A]) -> Iterator[A]:
    """The first, and what each adds to the one before."""
    yield stages[0]
    for before, after in pairwise(stages):
        yield after - before


def _share(part: Tensor, expected: Tensor) -> Tensor:
    """The share of each pixel that is more than noise of the expected power, in [0, 1]; less `WINDOW` pixels a side."""
    power = smooth_both(part * part, (1.0 / (2 * WINDOW + 1),) * (2 * WINDOW + 1))
    return 1.0 - expected / torch.maximum(power, expected.clamp_min(_LEAST))


@dataclass(frozen=True, slots=True)
class Inverse:
    """The filter that undoes the degradation of an upsampled image, as taps along y and x that sum to 1."""

    means: tuple[float, ...]
    """Along either axis."""
    cautious: Taps
    full: Taps
    gains: tuple[float, ...]
    """Power that white noise of power 1 has in `means`, in what `cautious` adds to them, and `full` to that."""

    @property
    def radius(self) -> int:
        """Of `cautious` and `full`."""
        return len(self.full[0]) // 2


@lru_cache
def _inverse(response: Response, scale: int) -> Inverse:
    axes = list(zip(round_trip(response, scale), response.at(_FREQUENCIES), strict=True))

    def taps(radius: int, penalty: float) -> list[NDArray[np.float64]]:
        """The filter's taps along each axis."""
        return [_taps(*axis, radius, penalty) for axis in axes]

    def rest(radius: int) -> float:
        """The most that a filter of this radius leaves, of both axes."""
        return max(_left(*axis, one) for axis, one in zip(axes, taps(radius, _PENALTIES[1]), strict=True))

    radius = next((r for r in range(2, _WIDEST) if rest(r) <= _REST), _WIDEST)
    cautious, full = (taps(radius, penalty) for penalty in _PENALTIES)
    means = np.full(2 * MEANS + 1, 1.0 / (2 * MEANS + 1))
    planes = [_plane(*each) for each in ((means, means), cautious, full)]
    gains = tuple(float((part**2).sum()) for part in _differences(planes))
    return Inverse(_listed(means), _both(cautious), _both(full), gains)


_FREQUENCIES = np.linspace(0.0, 0.5, 257)
"""Cycles per source pixel."""


def _taps(trip: tuple[float, ...], blur: NDArray[np.float64], radius: int, penalty: float) -> NDArray[np.float64]:
    """The inverse w of t: least squares of `s (1 - t w)` and `sqrt(penalty) w` over frequencies, with sum 1.

    s is the spectrum that errors of a model have on the input's grid, that of the blur; and a little of any frequency.
    """
    weight = np.sqrt(blur**2 + 1e-3)[:, None]
    base = 2.0 * np.cos(2.0 * np.pi * _FREQUENCIES[:, None] * np.arange(1, radius + 1)) - 2.0
    through = _transfer(trip)[:, None]
    left = np.concatenate([weight * through * base, math.sqrt(penalty) * base])
    right = np.concatenate([weight * (1.0 - through), np.full_like(through, -math.sqrt(penalty))])
    half = np.linalg.lstsq(left, right[:, 0], rcond=None)[0]
    return np.concatenate([half[::-1], [1.0 - 2.0 * half.sum()], half])


def _left(trip: tuple[float, ...], blur: NDArray[np.float64], taps: NDArray[np.float64]) -> float:
    """The largest share that is left of an error on the ground at any frequency."""
    return float(np.abs((1.0 - _transfer(trip) * _transfer(taps)) * blur).max())


def _transfer(taps: tuple[float, ...] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The transform of symmetric taps."""
    places = np.arange(len(taps)) - len(taps) // 2
    values: NDArray[np.float64] = np.cos(2.0 * np.pi * _FREQUENCIES[:, None] * places) @ np.asarray(taps)
    return values


def _listed(taps: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(taps.tolist())


def _both(axes: Sequence[NDArray[np.float64]]) -> Taps:
    down, across = map(_listed, axes)
    return down, across


def _plane(down: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Taps along both axes, amid as many zeros as make all of one size."""
    rim = _WIDEST - len(down) // 2
    return np.outer(np.pad(down, rim), np.pad(across, rim))


def _degraded(sr: Tensor, response: Response, scale: int) -> Tensor:
    """`degradation.degrade` of (h * scale, w * scale) to (h, w), less `seen_from` source pixels a side."""
    down, across = response.taps(scale)
    start = seen_from(response, scale) * scale - (len(down) - scale) // 2
    return _decimated(_decimated(sr, down, scale, start, 0), across, scale, start, 1)


def _decimated(image: Tensor, taps: tuple[float, ...], scale: int, start: int, axis: int) -> Tensor:
    """`image` (h, w) filtered along an axis by symmetric taps and decimated; the first tap lies on pixel `start`.

    Pairs of pixels are weighted by how they differ from the innermost, so that a constant is kept to the last bit.
    """
    count = image.shape[axis] // scale - 2 * (-(-((len(taps) - scale) // 2) // scale))

    def every(tap: int) -> Tensor:
        """The pixels that a tap meets."""
        first = start + tap
        span = slice(first, first + (count - 1) * scale + 1, scale)
        return image[span] if axis == 0 else image[:, span]

    last = len(taps) - 1
    inner = last // 2
    innermost = every(inner) + every(last - inner)
    total = innermost * 0.5
    for tap in range(inner):
        total.add_((every(tap) + every(last - tap)).sub_(innermost).mul_(taps[tap] / math.fsum(taps)))
    return total


def _upsampled(image: Tensor, scale: int) -> Tensor:
    """`classical.upsample` of (h, w), differentiable, and less the kernel's reach a side."""
    return _phases(_phases(image, scale, 0), scale, 1)


def _phases(image: Tensor, scale: int, axis: int) -> Tensor:
    rim = REACH[KERNEL]
    length = image.shape[axis] - 2 * rim
    steps = image.diff(dim=axis)
    phases = []
    for weights in step_weights(scale, KERNEL):
        total = image.narrow(axis, rim, length).clone()
        for j, weight in weights:
            total.add_(steps.narrow(axis, rim + j, length) * weight)
        phases.append(total)
    return torch.stack(phases, axis + 1).flatten(axis, axis + 1)
