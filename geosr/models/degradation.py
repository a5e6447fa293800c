"""What a sensor of a known response sees of a finer image: blur and decimation, on torch tensors.

A pixel of the result is centred on its `scale` x `scale` pixels of the finer grid, so for an even scale the point
spread function is sampled at half-integer offsets. This is the exact mirror of the up-sampling, where output pixel i
lies at (i + .5) / scale - .5 of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.response import Response

BICUBIC = Response((0.0, 0.0), interpolation="cubic").towards_result
"""The response of antialiased bicubic reductions: the transform of their kernel."""


def bicubic_kernel(scale: int) -> Tensor:
    """Taps of the antialiased bicubic reduction (Keys 1981, a = -1/2, widened by `scale`), float32, with sum 1."""
    half = 0.5 if scale % 2 == 0 else 0.0
    count = math.floor(2.0 * scale - half) + half
    offsets = torch.arange(-count, count + 0.5, 1.0, dtype=torch.float64) / scale
    taps = _keys(offsets.abs())
    return (taps / taps.sum()).float()


def degrade(hr: Tensor, response: Response | Sequence[Response], scale: int) -> Tensor:
    """The image that a sensor of the given response sees of `hr`: (n, c, H / scale, W / scale), in the same unit.

    Differentiable; a constant stays constant. Beyond the border the edge pixel is repeated. H and W are to be
    multiples of `scale`; what is left over is not seen.

    Parameters
    ----------
    hr
        (n, c, H, W) float.
    response
        That of the result over `hr`, one for all or one a sample.
    """
    each = [response] * len(hr) if isinstance(response, Response) else response
    taps = [one.taps(scale) for one in each]
    longest = max(len(down) for down, _ in taps)
    rows = (torch.tensor([_widened(one[axis], longest) for one in taps]) for axis in (0, 1))
    down, across = (each.to(hr, non_blocking=True) for each in rows)
    return reduce(hr, down, across, scale)


def bicubic_down(hr: Tensor, scale: int) -> Tensor:
    """`hr` reduced by antialiased bicubic interpolation, (n, c, H / scale, W / scale), as PIL's resize does it.

    Equal to PIL away from the border, where PIL cuts the kernel and this repeats the edge pixel.
    """
    taps = bicubic_kernel(scale).to(hr).expand(hr.shape[0], -1)
    return reduce(hr, taps, taps, scale)


def reduce(hr: Tensor, vertical: Tensor, horizontal: Tensor, scale: int) -> Tensor:
    """`hr` (n, c, H, W) filtered with one row of taps a sample, (n, k), and decimated by `scale`, block centred."""
    n, c, height, width = hr.shape
    height, width = height // scale, width // scale
    pad_v, pad_h = ((taps.shape[1] - scale) // 2 for taps in (vertical, horizontal))
    padded = F.pad(hr[:, :, : height * scale, : width * scale], (pad_h, pad_h, pad_v, pad_v), mode="replicate")
    groups = n * c
    flat = padded.reshape(1, groups, *padded.shape[2:])
    down = vertical.repeat_interleave(c, 0).view(groups, 1, -1, 1)
    across = horizontal.repeat_interleave(c, 0).view(groups, 1, 1, -1)
    flat = F.conv2d(flat, down, stride=(scale, 1), groups=groups)
    flat = F.conv2d(flat, across, stride=(1, scale), groups=groups)
    return flat.view(n, c, height, width)


def observe(bands: NDArray[np.float32], response: Response | None, scale: int) -> NDArray[np.float32]:
    """`degrade`, or `bicubic_down` where there is none, of (bands, H, W): (bands, H / scale, W / scale) float32."""
    hr = torch.from_numpy(np.ascontiguousarray(bands, np.float32))[None]
    lr = bicubic_down(hr, scale) if response is None else degrade(hr, response, scale)
    return lr[0].numpy()


def seen(bands: NDArray[np.float64], responses: Sequence[Response], scale: int) -> NDArray[np.float64]:
    """`degrade` of (bands, H, W), a response a band: (bands, H / scale, W / scale) float64."""
    images = torch.from_numpy(np.ascontiguousarray(bands, np.float64))[:, None]
    return np.asarray(degrade(images, responses, scale)[:, 0].numpy())


def _widened(taps: tuple[float, ...], length: int) -> tuple[float, ...]:
    rim = (0.0,) * ((length - len(taps)) // 2)
    return rim + taps + rim


def _keys(d: Tensor) -> Tensor:
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return torch.where(d < 1.0, near, torch.where(d < 2.0, far, torch.zeros_like(d)))
