"""Symmetric filters as sums of shifted arrays, the same bits wherever a pixel lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", NDArray[np.floating], "Tensor")


def smooth(image: Tensor, taps: Sequence[float], axis: int) -> Tensor:
    """`image` (h, w) filtered along an axis by an odd number of symmetric taps that sum to 1.

    It gets shorter by `len(taps) - 1`. A constant stays the same to the last bit: the sum over neighbours is taken as
    the pixel plus weighted differences of the steps on either side of it, each operation rounded on its own.
    """
    reach = len(taps) // 2
    length = image.shape[axis] - 2 * reach
    steps = image.diff(dim=axis)
    out = image.narrow(axis, reach, length).clone()
    for away in range(reach):
        weight = math.fsum(taps[reach + away + 1 :])
        bend = steps.narrow(axis, reach + away, length) - steps.narrow(axis, reach - 1 - away, length)
        out.add_(bend.mul_(weight))
    return out


def smooth_both(image: Tensor, down: Sequence[float], across: Sequence[float] | None = None) -> Tensor:
    """`smooth` along both axes, along x by the same taps where it has none of its own."""
    return smooth(smooth(image, down, 0), down if across is None else across, 1)


def gaussian(sigma: float, radius: int) -> tuple[float, ...]:
    """Taps of a Gaussian with sum 1, `radius` on each side of its centre."""
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return tuple(weight / math.fsum(weights) for weight in weights)


def cut(image: A, rim: int) -> A:
    """`image` without `rim` pixels on each of its four sides."""
    return image[..., rim : image.shape[-2] - rim, rim : image.shape[-1] - rim]


def mirror(image: A, rim: int) -> A:
    """`image` (..., h, w) continued by `rim` pixels on each side, mirrored with the edge pixel repeated."""
    if isinstance(image, np.ndarray) or image.device.type == "cpu" or rim > min(image.shape[-2:]):
        rows, cols = (mirrored(side, rim) for side in image.shape[-2:])
        return image[..., rows, :][..., cols]
    return _mirror_there(image, rim)


def _mirror_there(image: Tensor, rim: int) -> Tensor:
    """`mirror` without indices, which would have to be copied to a card, and waited for."""
    import torch

    for axis in (-2, -1):
        before, after = image.narrow(axis, 0, rim).flip(axis), image.narrow(axis, image.shape[axis] - rim, rim)
        image = torch.cat((before, image, after.flip(axis)), axis)
    return image


def mirrored(side: int, rim: int) -> NDArray[np.intp]:
    """Indices -rim .. side + rim - 1 of an axis, mirrored into it as often as needed."""
    index = np.arange(-rim, side + rim) % (2 * side)
    return np.minimum(index, 2 * side - 1 - index)
