"""Coarse images as products have them: blur, the sensor's own grid, noise, interpolation, compression, rounding.

    sensor's samples = S_y image S_x' + noise;   product = B_y samples B_x'

with S the point spread function at the places of the samples, and B the interpolation onto the map's grid. The
sensor's grid is not the map's: its phase runs on over a patch, as it does in a scene that was turned. What the network
is told is the response of the whole chain relative to the truth, and the noise as it is left in the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from geosr.models.degradation import BICUBIC
from geosr.response import Response
from geosr.training.chain import KINDS, WIDTH, Chain, left

SHARES = 0.20, 0.15, 0.25, 0.40
"""Of the products, by interpolation."""


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
        return self.drawn(len(hr), (hr.shape[2], hr.shape[3]), scale, generator)(hr, noise, step)

    def drawn(self, n: int, sides: tuple[int, int], scale: int, generator: torch.Generator) -> Sensing:
        """All that is random in the images of `n` truths of these sides."""
        chain = self._chain(n, scale, generator)
        counts = [chain.count(axis, side // scale) for axis, side in enumerate(sides)]
        noisy = torch.rand(n, generator=generator) < self.noisy
        shot = self.shot * torch.rand(n, generator=generator)
        grain = torch.randn(n, *counts, generator=generator)
        compressed = torch.rand(n, generator=generator) < self.compressed
        quality = torch.rand(n, generator=generator)
        rounded = torch.rand(n, generator=generator) < 0.5
        off = self.jitter * torch.randn(n, 1, generator=generator)
        louder = torch.exp(2.0 * self.noise_jitter * torch.randn(n, 1, generator=generator))
        plain = torch.rand(n, 1, generator=generator) < self.plain
        return Sensing(scale, chain, noisy, shot, grain, compressed, quality, rounded, off, louder, plain)

    def _chain(self, n: int, scale: int, generator: torch.Generator) -> Chain:
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
        return Chain(tuple(responses), torch.tensor(puts), torch.tensor(drifts).T, torch.where(moves, phase, 0.0))


TOLD = (0.03, 0.85)
"""What the numbers that a network is told are kept within."""


@dataclass(frozen=True, slots=True)
class Sensing:
    """A coarse image of each of `n` truths, all of whose random numbers are drawn; see `Degradation`."""

    scale: int
    chain: Chain
    noisy: Tensor
    """(n,) bool."""
    shot: Tensor
    """(n,) share of the noise's power that grows with the signal."""
    grain: Tensor
    """(n, rows, cols) the noise of the sensor's samples, over its standard deviation."""
    compressed: Tensor
    """(n,) bool..."""
    quality: Tensor
    """...and how coarsely, from 0 to 1."""
    rounded: Tensor
    """(n,) bool."""
    off: Tensor
    """(n, 1) error of the told response..."""
    louder: Tensor
    """...and the told noise's power over the true one's."""
    plain: Tensor
    """(n, 1) bool: the noise is told by one number."""

    def __call__(self, hr: Tensor, noise: Tensor, step: Tensor) -> Seen:
        """See `Degradation`."""
        maps = [side // self.scale for side in hr.shape[2:]]
        rim = 2 * WIDTH * self.scale
        wide = F.pad(hr, (rim, rim, rim, rim), mode="replicate")[:, 0]
        (see_y, put_y), (see_x, put_x) = self.chain.matrices(maps, self.scale)
        samples = see_y @ wide @ see_x.mT
        constant, slope = self._noise(samples, noise)
        spread = (constant.view(-1, 1, 1) + slope.view(-1, 1, 1) * samples).clamp_min(0.0).sqrt()
        samples = samples + spread * self.grain
        lr = self._compressed((put_y @ samples @ put_x.mT)[:, None])
        lr = _rounded(lr, step * self.rounded)
        effective = [left(see, put, self.scale) for see, put in ((see_y, put_y), (see_x, put_x))]
        told = torch.stack([each[i] ** power for i, power in ((0, 4), (1, 1)) for each in effective], 1)
        kept = (put_y**2).sum(2).mean(1) * (put_x**2).sum(2).mean(1)
        known = torch.stack((constant, slope), 1) * kept[:, None] * self.louder
        plain = torch.stack((known[:, 0] + known[:, 1] * lr.mean((1, 2, 3)), torch.zeros(len(hr))), 1)
        known = torch.where(self.plain, plain, known)
        return Seen(lr, (told + self.off).clamp(*TOLD), known, self.chain.responses)

    def _noise(self, samples: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of each sample's variance, (n,) both. Its power grows with the signal (Poisson's law) in a share
        drawn for each; not where values spread around zero, as those of an index do: they count no photons."""
        power = (noise * self.noisy) ** 2
        mean, spread = samples.mean((1, 2)), samples.std((1, 2))
        counts = mean > spread
        share = self.shot * counts
        return power * (1.0 - share), power * share / torch.where(counts, mean, 1.0)

    def _compressed(self, lr: Tensor) -> Tensor:
        """Some samples with the coefficients of their 8 x 8 cosine blocks rounded, as JPEG does."""
        chosen = self.compressed
        if not bool(chosen.any()):
            return lr
        height, width = lr.shape[2:]
        some = F.pad(lr[chosen], (0, -width % 8, 0, -height % 8), mode="replicate")
        n, _, rows, cols = some.shape
        blocks = some.view(n, rows // 8, 8, cols // 8, 8).permute(0, 1, 3, 2, 4)
        waves = _cosines()
        coarser = 1.0 + (torch.arange(8.0) + torch.arange(8.0)[:, None]) / 4
        steps = (0.1 + 0.5 * self.quality[chosen]).view(-1, 1, 1, 1, 1) * coarser
        rounded = torch.round(waves @ blocks @ waves.T / steps) * steps
        whole = (waves.T @ rounded @ waves).permute(0, 1, 3, 2, 4).reshape(n, 1, rows, cols)
        result = lr.clone()
        result[chosen] = whole[..., :height, :width]
        return result


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
