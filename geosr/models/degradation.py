"""What a sensor does to a sharper scene: blur, decimation and noise, on torch tensors.

A pixel of the result is centred on its `scale` x `scale` pixels of the sharper grid, so for an even scale the point
spread function is sampled at half-integer offsets. This is the exact mirror of the up-sampling, where output pixel i
lies at (i + .5) / scale - .5 of the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BICUBIC_MTF = 0.50
"""What is told of antialiased bicubic reductions: about what their kernel's transform is at the Nyquist frequency."""
REACH = 4.0
"""Taps are kept up to this many standard deviations from the centre."""


def gaussian_sigma(mtf: float) -> float:
    """Standard deviation, in source (coarse) pixels, of the Gaussian whose MTF at the Nyquist frequency is `mtf`.

    The Fourier transform of a Gaussian is exp(-2 (pi sigma f)^2), and f = 1/2 per pixel at Nyquist.
    """
    return math.sqrt(-2.0 * math.log(mtf)) / math.pi


def psf_kernel(mtf: float, scale: int) -> Tensor:
    """Taps of the point spread function along one axis of the sharper grid, float32, with sum 1.

    Their number has the parity of `scale`: they are symmetric about the centre of a block of `scale` pixels.
    """
    sigma = gaussian_sigma(mtf) * scale
    return _gaussian_taps(torch.tensor([sigma], dtype=torch.float64), scale)[0]


def bicubic_kernel(scale: int) -> Tensor:
    """Taps of the antialiased bicubic reduction (Keys 1981, a = -1/2, widened by `scale`), float32, with sum 1."""
    offsets = _offsets(2.0 * scale, scale) / scale
    return _normalised(_keys(offsets.abs())[None])[0]


def degrade(hr: Tensor, mtf: float | Tensor, scale: int) -> Tensor:
    """What a sensor of the given blur sees of `hr`: (n, c, H / scale, W / scale), in the same unit.

    Differentiable; a constant stays constant. Beyond the border the edge pixel is repeated. H and W are to be
    multiples of `scale`; what is left over is not seen.

    Parameters
    ----------
    hr
        (n, c, H, W) float.
    mtf
        MTF at the Nyquist frequency of the result, one for all or (n,), one a sample.
    """
    values = torch.as_tensor(mtf, dtype=torch.float64).cpu().reshape(-1).expand(hr.shape[0])
    sigmas = torch.sqrt(-2.0 * torch.log(values)) / math.pi * scale
    taps = _gaussian_taps(sigmas, scale).to(hr)
    return reduce(hr, taps, taps, scale)


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


def observe(bands: NDArray[np.float32], mtf: float | None, scale: int) -> NDArray[np.float32]:
    """`degrade`, or `bicubic_down` where `mtf` is None, of (bands, H, W): (bands, H / scale, W / scale) float32."""
    hr = torch.from_numpy(np.ascontiguousarray(bands, np.float32))[None]
    lr = bicubic_down(hr, scale) if mtf is None else degrade(hr, mtf, scale)
    return lr[0].numpy()


@dataclass(frozen=True, slots=True)
class Degradation:
    """The blurs and noises that a network meets in training."""

    mtf: tuple[float, float] = (0.08, 0.42)
    """Range of the MTF at Nyquist, uniform."""
    anisotropy: float = 0.10
    """Largest relative difference of the blur's width along either axis from the nominal one."""
    bicubic: float = 0.20
    """Share of samples that are reduced by antialiased bicubic instead of the blur."""
    bicubic_told: tuple[float, float] = (0.44, 0.52)
    """What is told of such a sample's MTF: about .50, which its kernel has, and down to a guess that is safe."""
    jitter: float = 0.02
    """Standard deviation of the error of the MTF that the network is told."""
    noisy: float = 0.5
    """Share of samples with noise."""
    noise_jitter: float = 0.10
    """Standard deviation of the logarithm of the told over the true noise."""
    shot: float = 0.5
    """Largest share of the noise's power that grows with the signal, as the noise of photons does; uniform from 0."""
    shift: float = 0.0
    """Largest displacement of the coarse grid along either axis, coarse pixels, uniform. Off unless truth and input are
    known to be displaced: a shift that the network is not told of can't be undone, only averaged over, which is a blur;
    and a result is promised to lie where its input does. The phase of detail within a pixel varies without it, since
    patches start anywhere."""

    def __call__(
        self, hr: Tensor, noise: Tensor, step: Tensor, scale: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A coarse image of each sample and what the network is told: (n, 1, h, w), MTF (n,), noise (n,).

        Parameters
        ----------
        hr
            (n, 1, H, W) float32 in any unit.
        noise
            (n,) standard deviation that the noise has where a sample is drawn to be noisy, in the unit of `hr`. Where
            it depends on the signal, this is the level at the sample's mean, and so is what is told.
        step
            (n,) the step of stored numbers in the unit of `hr`: half the samples are rounded to it; 0 leaves it.
        """
        n = hr.shape[0]
        is_bicubic = torch.rand(n, generator=generator) < self.bicubic
        mtf = _uniform(n, self.mtf, generator)
        lr = reduce(hr, *self._taps(mtf, is_bicubic, scale, generator), scale)
        noise = noise * (torch.rand(n, generator=generator) < self.noisy)
        lr = lr + noise.view(-1, 1, 1, 1) * self._grain(lr, generator)
        lr = _rounded(lr, step * (torch.rand(n, generator=generator) < 0.5))
        told = mtf + self.jitter * torch.randn(n, generator=generator)
        told = torch.where(is_bicubic, _uniform(n, self.bicubic_told, generator), told).clamp(0.05, 0.60)
        return lr, told, noise * torch.exp(self.noise_jitter * torch.randn(n, generator=generator))

    def _grain(self, lr: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of power 1 at a sample's mean. Its power goes linearly with the signal (Poisson's law) in a share drawn
        for each sample; not where values spread around zero, as those of an index do: they count no photons."""
        mean, spread = lr.mean((1, 2, 3), keepdim=True), lr.std((1, 2, 3), keepdim=True)
        white = torch.randn(lr.shape, generator=generator)
        if self.shot == 0:
            return white
        share = self.shot * torch.rand(len(lr), 1, 1, 1, generator=generator) * (mean > spread)
        signal = (lr / torch.where(mean > spread, mean, 1.0)).clamp_min(0.0)
        return white * (1.0 + share * (signal - 1.0)).sqrt()

    def _taps(self, mtf: Tensor, is_bicubic: Tensor, scale: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        sigma = torch.sqrt(-2.0 * torch.log(mtf.double())) / math.pi * scale
        stretch = 1.0 + self.anisotropy * (2.0 * torch.rand(2, len(mtf), generator=generator) - 1.0)
        shift = torch.zeros(2, len(mtf))
        if self.shift > 0:
            shift = self.shift * scale * (2.0 * torch.rand(2, len(mtf), generator=generator) - 1.0)
        radius = (1.1 * REACH * gaussian_sigma(self.mtf[0]) + self.shift) * scale
        offsets = _offsets(radius, scale) - shift[:, :, None]
        chosen = is_bicubic[:, None]
        vertical, horizontal = (
            torch.where(chosen, _normalised(_keys(axis.abs() / scale)), _gaussian(axis, sigma * wider))
            for axis, wider in zip(offsets, stretch, strict=True)
        )
        return vertical, horizontal


def _uniform(n: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(n, generator=generator)


def _rounded(lr: Tensor, step: Tensor) -> Tensor:
    step = step.view(-1, 1, 1, 1)
    return torch.where(step > 0, torch.round(lr / step.clamp_min(1e-12)) * step, lr)


def _offsets(radius: float, scale: int) -> Tensor:
    """Offsets of the sharper pixels within `radius` from a block's centre; whole or half pixels as `scale` is odd or
    even, and never fewer than the block's own."""
    half = 0.5 if scale % 2 == 0 else 0.0
    count = max(math.floor(radius - half), math.ceil(scale / 2 - half - 0.5)) + half
    return torch.arange(-count, count + 0.5, 1.0, dtype=torch.float64)


def _gaussian_taps(sigmas: Tensor, scale: int) -> Tensor:
    return _gaussian(_offsets(REACH * float(sigmas.max()), scale)[None], sigmas)


def _gaussian(offsets: Tensor, sigmas: Tensor) -> Tensor:
    return _normalised(torch.exp(-0.5 * (offsets / sigmas[:, None].double()) ** 2))


def _normalised(taps: Tensor) -> Tensor:
    return (taps / taps.sum(1, keepdim=True)).float()


def _keys(d: Tensor) -> Tensor:
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return torch.where(d < 1.0, near, torch.where(d < 2.0, far, torch.zeros_like(d)))
