"""Coarse images as products have them: blur, the sensor's own grid, noise, interpolation, compression, rounding.

    sensor's samples = S_y image S_x' + noise;   product = B_y samples B_x'

with S the point spread function at the places of the samples, and B the interpolation onto the map's grid. The
sensor's grid is not the map's: its phase runs on over a patch, as it does in a scene that was turned. What the network
is told is the response of the whole chain relative to the truth, and the noise as it is left in the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.degradation import BICUBIC
from geosr.response import NYQUIST, Interpolation, Response, transfer

KINDS: tuple[Interpolation, ...] = ("none", "linear", "cubic", "spline")
SHARES = 0.20, 0.15, 0.25, 0.40
"""Of the products, by interpolation."""
WIDTH = 4
"""Pixels on either side that a point spread function or an interpolation reaches to."""
_FINE = 32
"""Steps of a pixel at which kernels are tabled."""
_HIGHEST, _PER_CYCLE = 3.0, 24


@dataclass(frozen=True, slots=True)
class Seen:
    """The images of a batch of truths, and what a network is told of them."""

    lr: Tensor
    """(n, 1, h, w)."""
    told: Tensor
    """(n, 4), see `Response.told`."""
    noise: Tensor
    """(n, 2): the noise's variance is the first plus the second times the local mean, in the unit of `lr`."""
    responses: tuple[Response, ...]
    """The true ones, relative to the truth."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """The responses and noises that a network meets in training."""

    gaussian: float = 0.40
    """Share of samples with a Gaussian response, sampled where the map's pixels are..."""
    bicubic: float = 0.15
    """...and of those reduced by antialiased bicubic; the others are products."""
    mtf: tuple[float, float] = (0.08, 0.55)
    """Of Gaussian responses relative to the truth, at Nyquist, uniform."""
    variance: tuple[float, float] = (-0.02, 0.24)
    """Of the Gaussian of a product's optics and motion, beside the detector's box; pixels squared, uniform."""
    anisotropy: float = 0.05
    """Largest difference of a product's variance along either axis from the mean of both; as a share of the width of
    a Gaussian twice that."""
    drift: float = 0.12
    """Largest share by which the sensor's samples lie closer or farther apart than the map's pixels."""
    jitter: float = 0.02
    """Standard deviation of the error of the response that the network is told."""
    noisy: float = 0.65
    """Share of samples with noise."""
    noise_jitter: float = 0.10
    """Standard deviation of the logarithm of the told over the true noise."""
    shot: float = 1.0
    """Largest share of the noise's power that grows with the signal, as the noise of photons does; uniform from 0."""
    plain: float = 0.25
    """Share of samples that are told one number for their noise, that at their mean."""
    compressed: float = 0.05
    """Share of samples that went through a lossy compression in blocks."""
    given: tuple[Response, ...] = ()
    """Responses relative to the truth, one of which each sample has instead, sampled where the map's pixels are."""

    def __call__(self, hr: Tensor, noise: Tensor, step: Tensor, scale: int, generator: torch.Generator) -> Seen:
        """A coarse image of each truth (n, 1, H, W), H and W multiples of `scale`.

        Parameters
        ----------
        noise
            (n,) standard deviation, at a sample's mean, that the sensor's noise has where a sample is drawn to be
            noisy, in the unit of `hr`.
        step
            (n,) the step of stored numbers in the unit of `hr`: half the samples are rounded to it; 0 leaves it.
        """
        n = len(hr)
        chain = self._chain(n, scale, generator)
        maps = [side // scale for side in hr.shape[2:]]
        rim = 2 * WIDTH * scale
        wide = F.pad(hr, (rim, rim, rim, rim), mode="replicate")[:, 0]
        (see_y, put_y), (see_x, put_x) = (chain.along(axis, side, scale) for axis, side in enumerate(maps))
        samples = see_y @ wide @ see_x.mT
        constant, slope = self._noise(samples, noise, generator)
        spread = (constant.view(-1, 1, 1) + slope.view(-1, 1, 1) * samples).clamp_min(0.0).sqrt()
        samples = samples + spread * torch.randn(samples.shape, generator=generator)
        lr = (put_y @ samples @ put_x.mT)[:, None]
        kept = (put_y**2).sum(2).mean(1) * (put_x**2).sum(2).mean(1)
        lr = self._compressed(lr, generator)
        lr = _rounded(lr, step * (torch.rand(n, generator=generator) < 0.5))
        effective = [_left(see, put, scale) for see, put in ((see_y, put_y), (see_x, put_x))]
        told = torch.stack([each[i] ** power for i, power in ((0, 4), (1, 1)) for each in effective], 1)
        told = told + self.jitter * torch.randn(n, 1, generator=generator)
        known = torch.stack((constant, slope), 1) * kept[:, None]
        known = known * torch.exp(2.0 * self.noise_jitter * torch.randn(n, 1, generator=generator))
        mean = lr.mean((1, 2, 3))
        plain = torch.stack((known[:, 0] + known[:, 1] * mean, torch.zeros(n)), 1)
        is_plain = torch.rand(n, 1, generator=generator) < self.plain
        return Seen(lr, told.clamp(*TOLD), torch.where(is_plain, plain, known), chain.responses)

    def _chain(self, n: int, scale: int, generator: torch.Generator) -> _Chain:
        kind, blur, lean, shift, pitch = torch.rand(5, n, generator=generator).tolist()
        phase = torch.rand(2, n, generator=generator)
        which = torch.multinomial(torch.tensor(SHARES), n, replacement=True, generator=generator).tolist()
        responses, puts, drifts = [], [], []
        for i in range(n):
            if self.given:
                responses.append(self.given[int(blur[i] * len(self.given))])
                puts.append(0)
            elif kind[i] < self.gaussian:
                mtf = self.mtf[0] + (self.mtf[1] - self.mtf[0]) * blur[i]
                mean = Response.gaussian(mtf).variance[0]
                off = 2.0 * self.anisotropy * (2.0 * lean[i] - 1.0)
                responses.append(Response((mean * (1.0 + off) ** 2, mean * (1.0 - off) ** 2)))
                puts.append(0)
            elif kind[i] < self.gaussian + self.bicubic:
                responses.append(BICUBIC)
                puts.append(0)
            else:
                mean = self.variance[0] + (self.variance[1] - self.variance[0]) * blur[i]
                off = self.anisotropy * (2.0 * lean[i] - 1.0)
                mean = mean if KINDS[which[i]] in ("cubic", "spline") else max(mean, 0.08)
                absolute = Response((mean + off, mean - off), True, KINDS[which[i]])
                responses.append(absolute.relative(scale))
                puts.append(which[i])
            drift = self.drift * (puts[-1] != 0)
            drifts.append((drift * (2.0 * shift[i] - 1.0), drift * (2.0 * pitch[i] - 1.0)))
        moves = torch.tensor(puts)[None] != 0
        return _Chain(tuple(responses), torch.tensor(puts), torch.tensor(drifts).T, torch.where(moves, phase, 0.0))

    def _noise(self, samples: Tensor, noise: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coefficients of each sample's variance, (n,) both. Its power grows with the signal (Poisson's law) in a share
        drawn for each; not where values spread around zero, as those of an index do: they count no photons."""
        n = len(samples)
        power = (noise * (torch.rand(n, generator=generator) < self.noisy)) ** 2
        mean, spread = samples.mean((1, 2)), samples.std((1, 2))
        counts = mean > spread
        share = self.shot * torch.rand(n, generator=generator) * counts
        return power * (1.0 - share), power * share / torch.where(counts, mean, 1.0)

    def _compressed(self, lr: Tensor, generator: torch.Generator) -> Tensor:
        """Some samples with the coefficients of their 8 x 8 cosine blocks rounded, as JPEG does."""
        chosen = torch.rand(len(lr), generator=generator) < self.compressed
        quality = torch.rand(len(lr), generator=generator)
        if not bool(chosen.any()):
            return lr
        height, width = lr.shape[2:]
        some = F.pad(lr[chosen], (0, -width % 8, 0, -height % 8), mode="replicate")
        n, _, rows, cols = some.shape
        blocks = some.view(n, rows // 8, 8, cols // 8, 8).permute(0, 1, 3, 2, 4)
        waves = _cosines()
        coarser = 1.0 + (torch.arange(8.0) + torch.arange(8.0)[:, None]) / 4
        steps = (0.1 + 0.5 * quality[chosen]).view(-1, 1, 1, 1, 1) * coarser
        rounded = torch.round(waves @ blocks @ waves.T / steps) * steps
        whole = (waves.T @ rounded @ waves).permute(0, 1, 3, 2, 4).reshape(n, 1, rows, cols)
        result = lr.clone()
        result[chosen] = whole[..., :height, :width]
        return result


TOLD = (0.03, 0.85)
"""What the numbers that a network is told are kept within."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """The chains that were drawn for a batch."""

    responses: tuple[Response, ...]
    puts: Tensor
    """(n,) index of the interpolation in `KINDS`."""
    drift: Tensor
    """(2, n)."""
    phase: Tensor
    """(2, n), pixels."""

    def along(self, axis: int, side: int, scale: int) -> tuple[Tensor, Tensor]:
        """Along an axis of `side` pixels: (n, samples, `(side + 4 * WIDTH) * scale`), what samples see of the finer
        pixels, and (n, side, samples), what the map's pixels take of samples."""
        pitch = 1.0 + self.drift[axis][:, None]
        missing = side / min(1.0, float(pitch.min())) - side
        count = side + 2 * (WIDTH + math.ceil(missing / 2))
        middle = (side - 1) / 2
        places = (torch.arange(count) - (count - 1) / 2)[None] * pitch + middle + self.phase[axis][:, None]
        fine = (torch.arange((side + 4 * WIDTH) * scale) + 0.5) / scale - 0.5 - 2 * WIDTH
        see = _looked_up(self._point_spread(axis, scale), places[:, :, None] - fine)
        away = (torch.arange(float(side))[:, None] - places[:, None, :]) / pitch[:, :, None]
        put = _looked_up(_kernels()[self.puts], away)
        # Where the grid is drawn out, samples lie so far beyond the map that they see nothing and are taken nowhere.
        return see / see.sum(2, keepdim=True).clamp_min(1e-6), put / put.sum(2, keepdim=True)

    def _point_spread(self, axis: int, scale: int) -> Tensor:
        """(n, steps): the kernel of each sample's response without its interpolation.

        It fades out about the finer pixels' own Nyquist frequency, beyond which they show nothing.
        """
        f, waves = _waves()
        fade = np.cos(np.pi / 2 * np.clip((f - 0.4 * scale) / (0.2 * scale), 0.0, 1.0)) ** 2
        rows = []
        for response, put in zip(self.responses, self.puts.tolist(), strict=True):
            whole = response.at(f)[axis]
            if put:
                whole = whole / np.maximum(transfer(response.interpolation, f), 1e-3)
            rows.append(whole if response is BICUBIC else fade * whole)
        return torch.from_numpy((np.stack(rows) @ waves).astype(np.float32))


@lru_cache(maxsize=1)
def _waves() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies, and what each is at the steps of a kernel's table, weighted for the inverse transform."""
    f = np.arange(0.0, _HIGHEST, 1.0 / _PER_CYCLE)
    steps = np.arange(WIDTH * _FINE + 2) / _FINE
    weight = np.where(f == 0, 1.0, 2.0) / _PER_CYCLE
    return f, weight[:, None] * np.cos(2.0 * np.pi * f[:, None] * steps)


@lru_cache(maxsize=1)
def _kernels() -> Tensor:
    """(interpolations, steps): their kernels. Where none is needed samples lie on pixels, and linear is exact."""
    steps = np.arange(WIDTH * _FINE + 2) / _FINE
    near = np.where(steps < 1, (1.5 * steps - 2.5) * steps**2 + 1, ((-0.5 * steps + 2.5) * steps - 4) * steps + 2)
    linear = np.clip(1.0 - steps, 0.0, None)
    # The cardinal spline: a sum of B-splines with the weights of the inverse of (1, 4, 1) / 6 (Unser 1999).
    root = np.sqrt(3.0) - 2.0
    weights = -6.0 * root / (1.0 - root**2) * root ** np.abs(np.arange(-24, 25))
    spline = (weights[:, None] * _b_spline(np.abs(steps - np.arange(-24, 25)[:, None]))).sum(0)
    rows = np.stack([linear, linear, np.where(steps < 2, near, 0.0), spline])
    return torch.from_numpy(rows.astype(np.float32))


def _b_spline(d: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - np.minimum(d, 2)) ** 3 / 6, 0.0))


def _left(see: Tensor, put: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The share that a chain along an axis leaves of waves of half the Nyquist frequency and of that itself, (n,) both.

    It is measured, since a grid that is drawn out or a response that is sharper than the truth's pixels changes it.
    """
    side, inner = put.shape[1], slice(WIDTH, -WIDTH)
    fine = (torch.arange(see.shape[2]) + 0.5) / scale - 0.5 - 2 * WIDTH
    left = []
    for f in (NYQUIST / 2, NYQUIST):
        angle, own = 2.0 * torch.pi * f * fine, 2.0 * torch.pi * f * torch.arange(float(side))
        waves, back = torch.stack((angle.cos(), angle.sin()), 1), torch.stack((own.cos(), own.sin()), 1)
        left.append(((put @ (see @ waves)) * back)[:, inner].sum(2).mean(1).clamp_min(0.0))
    return left[0], left[1]


def _looked_up(tables: Tensor, offsets: Tensor) -> Tensor:
    """Values of symmetric kernels (n, steps) at offsets (n, ...), linear between steps and 0 beyond `WIDTH`."""
    at = (offsets.abs() * _FINE).clamp(max=WIDTH * _FINE).flatten(1)
    low = at.long()
    before, after = tables.gather(1, low), tables.gather(1, low + 1)
    value = torch.lerp(before, after, at - low)
    return torch.where(at < WIDTH * _FINE, value, 0.0).view(offsets.shape)


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """(8, 8), the orthonormal cosine transform."""
    k, x = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    rows = torch.cos(torch.pi * (x + 0.5) * k / 8) * 0.5
    rows[0] /= 2**0.5
    return rows


def _rounded(lr: Tensor, step: Tensor) -> Tensor:
    step = step.view(-1, 1, 1, 1)
    return torch.where(step > 0, torch.round(lr / step.clamp_min(1e-12)) * step, lr)
