"""The chains that make products of images, as matrices along either axis; see `sensing`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.degradation import BICUBIC
from geosr.response import NYQUIST, Interpolation, Response, transfer

KINDS: tuple[Interpolation, ...] = ("none", "linear", "cubic", "spline")
WIDTH = 4
"""Pixels on either side that a point spread function or an interpolation reaches to."""
_FINE = 32
"""Steps of a pixel at which kernels are tabled."""
_HIGHEST, _PER_CYCLE = 3.0, 24


@dataclass(frozen=True, slots=True)
class Chain:
    """The chains that were drawn for a batch."""

    responses: tuple[Response, ...]
    puts: Tensor
    """(n,) index of the interpolation in `KINDS`."""
    drift: Tensor
    """(2, n)."""
    phase: Tensor
    """(2, n), pixels."""

    def count(self, axis: int, side: int) -> int:
        """Samples of the sensor along an axis of `side` pixels of the map."""
        missing = side / min(1.0, float((1.0 + self.drift[axis]).min())) - side
        return side + 2 * (WIDTH + math.ceil(missing / 2))

    def matrices(self, sides: Sequence[int], scale: int) -> list[tuple[Tensor, Tensor]]:
        """Along each axis of `side` pixels: (n, samples, `(side + 4 * WIDTH) * scale`), what samples see of the finer
        pixels, and (n, side, samples), what the map's pixels take of samples."""
        return [
            self._along(axis, *each, scale) for axis, each in enumerate(zip(self.spreads(scale), sides, strict=True))
        ]

    def _along(self, axis: int, spread: Tensor, side: int, scale: int) -> tuple[Tensor, Tensor]:
        pitch = 1.0 + self.drift[axis][:, None]
        count = self.count(axis, side)
        middle = (side - 1) / 2
        places = (torch.arange(count) - (count - 1) / 2)[None] * pitch + middle + self.phase[axis][:, None]
        fine = (torch.arange((side + 4 * WIDTH) * scale) + 0.5) / scale - 0.5 - 2 * WIDTH
        see = _matrix(spread, places, fine[None], torch.ones(1, 1), scale)
        put = _matrix(kernels()[self.puts], torch.arange(float(side))[None], places, pitch, 1)
        # Where the grid is drawn out, samples lie so far beyond the map that they see nothing and are taken nowhere.
        return see / see.sum(2, keepdim=True).clamp_min(1e-6), put / put.sum(2, keepdim=True)

    def spreads(self, scale: int) -> list[Tensor]:
        """Along each axis, (n, steps): the kernel of each sample's response without its interpolation.

        It fades out about the finer pixels' own Nyquist frequency, beyond which they show nothing.
        """
        f, waves = _waves()
        rows = []
        for response, put in zip(self.responses, self.puts.tolist(), strict=True):
            still, over, fade = _fixed(replace(response, variance=(0.0, 0.0)), scale)
            both = [still * each / over if put else still * each for each in response.moved(f)]
            rows.append(both if response is BICUBIC else [fade * each for each in both])
        return [torch.from_numpy((np.stack(each) @ waves).astype(np.float32)) for each in zip(*rows, strict=True)]


@lru_cache(maxsize=64)
def _fixed(response: Response, scale: int) -> tuple[NDArray[np.float64], ...]:
    """Factors that responses of a kind share at the frequencies of `_waves`: all but the Gaussian, what interpolation
    left of that, and how the finer pixels fade."""
    f, _ = _waves()
    fade = np.cos(np.pi / 2 * np.clip((f - 0.4 * scale) / (0.2 * scale), 0.0, 1.0)) ** 2
    return response.still(f), np.maximum(transfer(response.interpolation, f), 1e-3), fade


@lru_cache(maxsize=1)
def _waves() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies, and what each is at the steps of a kernel's table, weighted for the inverse transform."""
    f = np.arange(0.0, _HIGHEST, 1.0 / _PER_CYCLE)
    steps = np.arange(WIDTH * _FINE + 2) / _FINE
    weight = np.where(f == 0, 1.0, 2.0) / _PER_CYCLE
    return f, weight[:, None] * np.cos(2.0 * np.pi * f[:, None] * steps)


@lru_cache(maxsize=1)
def kernels() -> Tensor:
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


def left(see: Tensor, put: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The share that a chain along an axis leaves of waves of half the Nyquist frequency and of that itself, (n,) both.

    It is measured, since a grid that is drawn out or a response that is sharper than the truth's pixels changes it.
    """
    side = put.shape[1]
    fine = (torch.arange(see.shape[2]) + 0.5) / scale - 0.5 - 2 * WIDTH
    waves, back = _both(fine), _both(torch.arange(float(side)))
    shown = ((put @ (see @ waves)) * back)[:, WIDTH:-WIDTH]
    half, full = (each.sum(2).mean(1).clamp_min(0.0) for each in (shown[..., :2], shown[..., 2:]))
    return half, full


def _both(places: Tensor) -> Tensor:
    """(places, 4): waves of half the Nyquist frequency, cosine and sine, and of that itself."""
    angles = [2.0 * torch.pi * f * places for f in (NYQUIST / 2, NYQUIST)]
    return torch.stack([wave for angle in angles for wave in (angle.cos(), angle.sin())], 1)


def _matrix(tables: Tensor, rows: Tensor, columns: Tensor, unit: Tensor, density: int) -> Tensor:
    """(n, rows, columns): values of symmetric kernels (n, steps) at the distances of places, in units (n, 1).

    Columns (n, c) are a regular grid, `density` of them a unit, few of which are near a row: only those are looked up.
    """
    first = ((rows - columns[:, :1]) / unit * density).floor().long() - WIDTH * density - 1
    width = min(2 * WIDTH * density + 4, columns.shape[1])
    at = first.clamp(0, columns.shape[1] - width)[:, :, None] + torch.arange(width)
    at = at.expand(len(tables), -1, -1)
    near = columns[:, None].expand(*at.shape[:2], -1).gather(2, at)
    values = looked_up(tables, (rows[:, :, None] - near) / unit[:, :, None])
    return torch.zeros(*at.shape[:2], columns.shape[1]).scatter_(2, at, values)


def looked_up(tables: Tensor, offsets: Tensor) -> Tensor:
    """Values of symmetric kernels (n, steps) at offsets (n, ...), linear between steps and 0 beyond `WIDTH`."""
    at = (offsets.abs() * _FINE).clamp(max=WIDTH * _FINE).flatten(1)
    low = at.long()
    before, after = tables.gather(1, low), tables.gather(1, low + 1)
    value = torch.lerp(before, after, at - low)
    return torch.where(at < WIDTH * _FINE, value, 0.0).view(offsets.shape)
