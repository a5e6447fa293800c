"""Several dates of many places at once, as `geosr/models/fusion.py` fuses those of one block: for training on a card.

Along an axis everything is a matrix, so that a batch is a few products. `tests/test_multiframe.py` holds it to the
pixels of `fusion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geosr.models import fusion
from geosr.models.filters import gaussian
from geosr.models.networks.band import LOW_PASS_RADIUS, LOW_PASS_SIGMA
from geosr.response import Response, kernel
from geosr.training import chain

PHASES = 64
"""Of a fine pixel, in which frames are placed."""
_WIDEST = 7
"""Coarse pixels on either side that a response reaches to at most."""


class Table:
    """What coarse pixels of given responses see of fine ones, by axis and by phase."""

    def __init__(self, responses: Sequence[Response], scale: int, device: str) -> None:
        """`responses` are relative to the result."""
        self.scale, self.rim = scale, _WIDEST * scale + 1
        within = np.arange(PHASES)[:, None] / PHASES
        away = np.arange(-self.rim, self.rim + 1) + 0.5 - within
        taps, radii = [], []
        for response in responses:
            half = len(response.taps(scale)[0]) // (2 * scale)
            there = np.abs(away) <= max(1, half) * scale
            both = np.stack(kernel(response, away / scale)) * there
            taps.append(both / both.sum(2, keepdims=True))
            radii.append(half + 2)
        self.taps = torch.tensor(np.stack(taps), dtype=torch.float32, device=device)  # (responses, axes, phases, taps)
        self.rims = torch.tensor(radii, device=device)
        # Those of products, whose sensor's own grid is another one.
        kinds = torch.tensor([chain.KINDS.index(response.interpolation) for response in responses])
        ways = chain.Chain(tuple(responses), kinds, torch.zeros(2, 1), torch.zeros(2, 1))
        self.spread = [each.to(device) for each in ways.spreads(scale)]
        self.kinds, self.kernels = kinds.to(device), chain.kernels().to(device)
        self.told = torch.tensor([response.told for response in responses], dtype=torch.float32, device=device)

    def seen(self, which: Tensor, axis: int, shift: Tensor, side: int) -> Tensor:
        """(n, side, side * scale): what own pixels of a frame see; `shift` (n,), fine pixels in `PHASES`.

        Own pixel m has its centre at m + shift / scale of the reference's pixel centres.
        """
        phases = (shift * PHASES).round().long() + (self.scale * PHASES) // 2
        whole, phase = phases.div(PHASES, rounding_mode="floor"), phases % PHASES
        centres = whole[:, None] + self.scale * torch.arange(side, device=shift.device)
        index = torch.arange(side * self.scale, device=shift.device) - centres[:, :, None] + self.rim
        taps = self.taps[which, axis, phase]
        there = (index >= 0) & (index < taps.shape[1])
        return taps[:, None].expand(-1, side, -1).gather(2, index.clamp(0, taps.shape[1] - 1)) * there

    def through(
        self, which: Tensor, axis: int, shift: Tensor, side: int, phase: Tensor, pitch: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What samples of a sensor see of fine pixels (n, samples, side * scale), and what own pixels take of samples
        (n, side, samples), where an interpolation brought them onto the map's grid, as `training/chain.py` has it.

        The sensor's grid lies by `phase` off the map's, and its samples are `pitch` pixels apart; (n,) both.
        """
        count, device = side + 12, shift.device
        steps = (torch.arange(count, device=device) - (count - 1) / 2) * pitch[:, None]
        places = steps + (side - 1) / 2 + phase[:, None]
        fine = (torch.arange(side * self.scale, device=device) + 0.5) / self.scale - 0.5
        see = chain.looked_up(self.spread[axis][which], (places + shift[:, None] / self.scale)[:, :, None] - fine)
        away = (torch.arange(float(side), device=device)[:, None] - places[:, None]) / pitch[:, None, None]
        put = chain.looked_up(self.kernels[self.kinds[which]], away)
        return see / see.sum(2, keepdim=True).clamp_min(1e-6), put / put.sum(2, keepdim=True).clamp_min(1e-6)

    def inside(self, which: Tensor, shift: Tensor, side: int) -> Tensor:
        """(n, side): which own pixels see nothing beyond the block."""
        place = torch.arange(side, device=shift.device) + (shift / self.scale)[:, None]
        rim = self.rims[which][:, None]
        return (place >= rim) & (place + 1 <= side - rim)


def interpolating(shift: Tensor, side: int, scale: int) -> tuple[Tensor, Tensor]:
    """Linear interpolation of own pixels at fine ones (n, side * scale, side), and how near one lies to each."""
    place = (torch.arange(side * scale, device=shift.device) + 0.5 - shift[:, None]) / scale - 0.5
    share = place - place.floor()
    hat = (1.0 - (place[:, :, None] - torch.arange(side, device=shift.device)).abs()).clamp_min(0.0)
    return hat, share**2 + (1.0 - share) ** 2


def low_passing(side: int, sigma: float, device: torch.device) -> Tensor:
    """(side, side) Gaussian that ends where those of `fusion` do, 0 beyond the block."""
    radius = int(fusion._CUT * sigma + 0.5)
    away = torch.arange(side, device=device)[:, None] - torch.arange(side, device=device)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=device) / sigma) ** 2)
    return torch.exp(-0.5 * (away / sigma) ** 2) * (away.abs() <= radius) / taps.sum()


def both_ways(left: Tensor, image: Tensor, right: Tensor) -> Tensor:
    """An image with a matrix along either axis."""
    return left @ image @ right.mT


def variance(noise: Tensor, level: Tensor) -> Tensor:
    """The noise's variance, never quite 0; `noise` is (n, 2): constant and slope."""
    constant, slope = (each.view(-1, *[1] * (level.ndim - 1)) for each in noise.unbind(1))
    return (constant + slope * level).clamp_min(0.0) + 1e-10 * level * level + 1e-20


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a stage of `MultiFrame` is given of a batch, see there."""

    images: Tensor
    maps: Tensor
    voices: Tensor
    places: Tensor


class Dates:
    """Dates of many places."""

    def __init__(
        self, start: Tensor, values: Tensor, there: Tensor, shifts: Tensor, which: Tensor, noise: Tensor, table: Table
    ) -> None:
        """Lays them out.

        Parameters
        ----------
        start
            (n, H, W), the single-frame result.
        values, there
            (n, dates, h, w), of a side.
        shifts
            (n, dates, 2), fine pixels, see `Table.seen`.
        which
            (n,) response.
        noise
            (n, 2) of all dates.
        """
        n, dates, side, _ = values.shape
        scale, device = table.scale, start.device
        flat, own = shifts.flatten(0, 1), which.repeat_interleave(dates)
        self.start, self.noise, self.scale = start, noise, scale
        self.see = [table.seen(own, axis, flat[:, axis], side).view(n, dates, side, -1) for axis in (0, 1)]
        inside = [table.inside(own, flat[:, axis], side).view(n, dates, side) for axis in (0, 1)]
        hats, nears = zip(*(interpolating(flat[:, axis], side, scale) for axis in (0, 1)), strict=True)
        self.hats = [hat.view(n, dates, -1, side) for hat in hats]
        self.near = (nears[0][:, :, None] * nears[1][:, None]).view(n, dates, side * scale, -1)
        self.there = there * inside[0][..., None] * inside[1][..., None, :]
        self.values = values * self.there
        self.around = low_passing(side, fusion._AROUND, device)
        self.share = both_ways(self.around, self.there, self.around).clamp_min(1e-6)
        fine = [low_passing(side * scale, sigma * scale, device) for sigma in (fusion._FINEST, fusion._POOLED)]
        detail = start - both_ways(fine[0], start, fine[0])
        self.missing = both_ways(fine[1], detail * detail, fine[1])
        self.spread = variance(noise, start)
        self.prior = fusion._PRIOR * self.spread / (self.missing + 1e-3 * self.spread)
        self.expected = self.degraded(start)
        self.seen_missing = self._around(self.there * self.degraded(self.missing)) / self.share
        self.high = start - wide_low(start, scale)

    def degraded(self, image: Tensor) -> Tensor:
        """(n, dates, h, w): an image (n, H, W) as each date sees it."""
        return both_ways(self.see[0], image[:, None], self.see[1])

    def up(self, image: Tensor) -> Tensor:
        """(n, dates, H, W)."""
        return both_ways(self.hats[0], image, self.hats[1])

    def _around(self, image: Tensor) -> Tensor:
        return both_ways(self.around, image, self.around)

    def weighed(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Values without what neighbourhoods are brighter by, and weights, as `fusion` settles them."""
        noise, there = variance(self.noise, expected), self.there
        usual = fusion._NOISE * noise + fusion._MISSING * self.seen_missing
        level = self._around(there * (self.values - expected)) / self.share
        square = level * level
        values = self.values - level * (square / (square + usual / fusion._SHRUNK))
        error = there * (values - expected)
        differs = self._around(error * error) / self.share
        strange = differs / usual
        return values, there / (1 + strange * strange) * (noise / torch.maximum(differs, noise))

    def back_projected(self, steps: int = fusion.STEPS) -> Tensor:
        """(n, H, W)."""
        values, weight = self.weighed(self.expected)
        total = self.up(weight).sum(1)
        result = ahead = self.start
        for step in range(steps):
            pull = self.up(weight * (values - self.degraded(ahead))).sum(1)
            new = ahead + (pull - self.prior * (ahead - self.start)) / (total + self.prior)
            ahead = new + (new - result) * (step / (step + 3))
            result = new
        return result

    def evidence(self, estimate: Tensor) -> Evidence:
        """What dates say of an estimate (n, H, W); gradients pass through what they differ by."""
        seen = self.degraded(estimate)
        with torch.no_grad():
            values, weight = self.weighed(seen)
            weights = self.up(weight)
            total = weights.sum(1)
            doubt = self.up(weight * (values - seen).square()).sum(1)
            near = (self.near * weights).sum(1)
            maps = (
                total / (1 + total),
                total / (total + self.prior),
                self.spread / (self.spread + self.missing),
                doubt / (doubt + self.spread * total + 1e-20),
                near / (4 + near),
            )
            before = self.up(weight * (values - self.expected))
        says = self.up(weight * (values - seen))
        pull = says.sum(1) / (total + self.prior)
        images = torch.stack((self.high, estimate - self.start, pull), 1)
        places = torch.stack((self.near, weights / (1 + weights)), 2)
        return Evidence(images, torch.stack(maps, 1), torch.stack((says, before), 2), places)


def wide_low(image: Tensor, scale: int) -> Tensor:
    """The low-pass that is taken off an image before a network sees it; beyond the block it is as at its edge."""
    radius = LOW_PASS_RADIUS * scale
    taps = gaussian(LOW_PASS_SIGMA * scale, radius)
    line = torch.tensor(taps, device=image.device, dtype=image.dtype).view(1, 1, 1, -1)
    wide = torch.nn.functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    once = torch.nn.functional.conv2d(wide, line)
    return torch.nn.functional.conv2d(once, line.mT)[:, 0]
