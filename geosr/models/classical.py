"""Nearest, bilinear, bicubic and Lanczos interpolation at a whole scale, on numpy arrays and torch tensors.

Output pixel i lies at (i + .5) / scale - .5 of the input, so that the outer edges of the grid stay where they are.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from geosr.models.filters import mirror
from geosr.models.model import Engine

if TYPE_CHECKING:
    from torch import Tensor

    from geosr.response import Response
    from geosr.sensors import Observation

REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos": 3}
"""The kernels, and how many source pixels each looks at on either side of the one that an output pixel lies in."""

_STRIP = 2**17
"""Pixels that a processor works on at a time, so that all passes over them find them in its cache, and are few."""


class Interpolation(Engine):
    """One of the kernels as an `Engine`, on arrays and tensors; torch is not needed for arrays."""

    def __init__(self, kernel: str, scale: int) -> None:
        self.kernel = kernel
        self.scale = scale

    def reach(self, response: Response) -> int:
        """The kernel's."""
        return REACH[self.kernel]

    def __call__(self, block: Any, bands: Observation, out: Any) -> None:
        """See `Engine`."""
        for band, target in zip(block, out, strict=True):
            upsample_into(target, band, self.scale, self.kernel)


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
    if _exporting():
        return sys.modules["torch"].nn.functional.pixel_shuffle(bicubic_phases(x, scale), scale)  # type: ignore[no-any-return]
    out = x.new_empty(x.shape[0], 1, x.shape[2] * scale, x.shape[3] * scale)
    step = max(1, (_STRIP if x.device.type == "cpu" else out.numel()) // max(1, out.shape[2] * out.shape[3]))
    for start in range(0, len(x), step):
        upsample_into(out[start : start + step, 0], x[start : start + step, 0], scale, kernel)
    return out


def bicubic_phases(x: Tensor, scale: int) -> Tensor:
    """`upsample` before its pixel shuffle, (n, scale**2, h, w) for (n, 1, h, w), as one convolution.

    For export into other formats; the same within float error, but for two pixels at the edge, which is repeated.
    """
    functional = sys.modules["torch"].nn.functional
    reach = REACH["bicubic"]
    taps = x.new_tensor(phase_taps(scale, "bicubic"))
    weight = (taps[:, None, :, None] * taps[None, :, None, :]).reshape(scale * scale, 1, 2 * reach + 1, 2 * reach + 1)
    padded = functional.pad(x, (reach, reach, reach, reach), mode="replicate")
    phases: Tensor = functional.conv2d(padded, weight)
    return phases


def _exporting() -> bool:
    """True where `torch.export` follows what is computed: it knows neither numpy nor work in place."""
    return bool(sys.modules["torch"].compiler.is_compiling())


def upsample_into(out: Any, image: Any, scale: int, kernel: str = "bicubic") -> None:
    """Write `image` (..., h, w), upsampled as `upsample` does it, into `out` (..., h * scale, w * scale) of its dtype.

    Both are numpy arrays or both torch tensors, on any device; the numbers are the same.
    """
    if not isinstance(image, np.ndarray) and image.device.type == "cpu":
        image, out = image.numpy(), out.numpy()  # the same memory; numpy's start is cheaper for small strips
    reach, height = REACH[kernel], image.shape[-2]
    padded = mirror(image, reach)
    across = _new(image, (*padded.shape[:-1], out.shape[-1]))
    # Elsewhere every strip would be launches of its own, which take longer than its pixels.
    strip = _STRIP if isinstance(image, np.ndarray) else out.shape[-2] * out.shape[-1]
    step = max(1, strip // image.shape[-1])
    for start in range(0, height + 2 * reach, step):
        rows = slice(start, start + step)
        _interpolate(padded[..., rows, :].swapaxes(0, -1), across[..., rows, :].swapaxes(0, -1), scale, kernel)
    step = max(1, strip // out.shape[-1])
    for start in range(0, height, step):
        lines = across[..., start : start + step + 2 * reach, :]
        target = out[..., start * scale : (start + step) * scale, :]
        _interpolate(lines.swapaxes(0, -2), target.swapaxes(0, -2), scale, kernel)


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


_KERNELS = {"nearest": lambda d: 1.0, "bilinear": _linear, "bicubic": _keys, "lanczos": _lanczos}


def _interpolate(lines: Any, out: Any, scale: int, kernel: str) -> None:
    """(h + 2 * reach, ...) into `out` (h * scale, ...): between rows, or columns where both have these in front."""
    library, reach = _library(lines), REACH[kernel]
    height = len(lines) - 2 * reach
    centre = lines[reach : reach + height]
    steps = lines[1:] - lines[:-1]
    term, partial = library.empty_like(centre), library.empty_like(centre)
    for phase, weights in enumerate(step_weights(scale, kernel)):
        target, total = out[phase::scale], centre
        for left, (j, weight) in enumerate(weights, 1 - len(weights)):
            library.multiply(steps[reach + j : reach + j + height], weight, out=term)
            total = library.add(total, term, out=partial if left else target)
        if not weights:
            target[...] = centre


def _library(array: Any) -> Any:
    """numpy or torch, whichever the array is of: what is used here has one name and one meaning in both."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def _new(like: Any, shape: tuple[int, ...]) -> Any:
    """Room for a shape of the same dtype in the same place."""
    return np.empty(shape, like.dtype) if isinstance(like, np.ndarray) else like.new_empty(shape)
