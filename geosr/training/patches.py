"""Training samples: patches cut at random out of bands that are held in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

SNR = (50.0, 200.0)
"""Signal-to-noise ratio of reflectance-like bands, mean over standard deviation, log-uniform."""
NOISE_OVER_CONTRAST = (0.02, 1.0)
"""Noise of the other bands over their contrast, log-uniform: about what SNR makes of Sentinel-2."""
ATTEMPTS = 20
"""Crops that are tried in one band before another is drawn."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One band of one scene."""

    values: NDArray[Any]
    """(height, width), any real dtype; NaN where invalid."""
    group: str
    """The group of the data list that it belongs to."""
    weight: float
    """The group's share of the samples."""
    snr: bool
    """Whether its noise is drawn relative to its mean; otherwise relative to its contrast."""
    contrast: float
    """Size of the detail: root mean square of the difference of pixels four apart, over the square root of two."""
    step: float
    """Step of the stored numbers: 1 for integers, 0 for floats."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches, each divided by its band's contrast; the mean is kept."""

    hr: Tensor
    """(n, 1, h, w) float32."""
    noise: Tensor
    """(n,) standard deviation that noise would have."""
    step: Tensor
    """(n,) step of the stored numbers; 0 for floats."""


def load_planes(path: str | Path) -> list[Plane]:
    """The bands of an archive that `scripts/prepare_planes.py` wrote; bands without any detail are left out."""
    with np.load(path) as archive:
        index = json.loads(str(archive["index"]))
        planes = [_plane(archive[str(number)], about) for number, about in enumerate(index)]
    return [plane for plane in planes if plane.contrast > 0]


class Patches:
    """An endless source of batches: a group by its weight, a band of the group by its size, a place at random."""

    def __init__(self, planes: list[Plane], size: int, seed: int) -> None:
        """`size` is the side of a patch in pixels; smaller bands are mirrored up to it."""
        self.size = size
        self.random = np.random.default_rng(seed)
        self.planes = planes
        groups = {plane.group: plane.weight for plane in planes}
        areas = np.array([float(plane.values.size) for plane in planes])
        share = np.zeros(len(planes))
        for group, weight in groups.items():
            members = np.array([plane.group == group for plane in planes])
            share[members] = weight * areas[members] / areas[members].sum()
        self.edges = np.cumsum(share / share.sum())

    def reseed(self, seed: int) -> None:
        """Starts the random numbers anew."""
        self.random = np.random.default_rng(seed)

    def batch(self, n: int) -> Batch:
        """The next `n` patches, flipped and turned at random."""
        drawn = [self._draw() for _ in range(n)]
        hr = np.stack([patch for patch, _, _ in drawn])
        noise, step = (torch.tensor([sample[i] for sample in drawn], dtype=torch.float32) for i in (1, 2))
        return Batch(torch.from_numpy(hr)[:, None], noise, step)

    def _draw(self) -> tuple[Floats, float, float]:
        while True:
            place = int(np.searchsorted(self.edges, self.random.random(), side="right"))
            plane = self.planes[min(place, len(self.planes) - 1)]
            for _ in range(ATTEMPTS):
                patch = self._crop(plane.values)
                if _is_useful(patch, plane):
                    return self._sample(patch, plane)

    def _crop(self, values: NDArray[Any]) -> Floats:
        height, width = values.shape
        row, col = (int(self.random.integers(0, max(side - self.size, 0) + 1)) for side in (height, width))
        cut = values[row : row + self.size, col : col + self.size].astype(np.float32)
        missing = [self.size - side for side in cut.shape]
        if max(missing) > 0:
            cut = np.pad(cut, [(gap // 2, gap - gap // 2) for gap in missing], mode="symmetric")
        return cut

    def _sample(self, patch: Floats, plane: Plane) -> tuple[Floats, float, float]:
        low, high = np.log(SNR if plane.snr else NOISE_OVER_CONTRAST)
        level = float(np.exp(self.random.uniform(low, high)))
        noise = float(np.abs(patch.mean())) / level if plane.snr else plane.contrast * level
        turned = np.rot90(patch, int(self.random.integers(4)))
        flipped = turned[::-1] if self.random.random() < 0.5 else turned
        scaled = np.ascontiguousarray(flipped) / np.float32(plane.contrast)
        return scaled, noise / plane.contrast, plane.step / plane.contrast


def _plane(values: NDArray[Any], about: dict[str, Any]) -> Plane:
    whole = np.issubdtype(values.dtype, np.integer) or bool(np.all(values[np.isfinite(values)] % 1 == 0))
    step = 1.0 if whole else 0.0
    weight, snr = float(about["weight"]), bool(about["snr"])
    return Plane(values, str(about["group"]), weight, snr, contrast_of(values), step)


def contrast_of(values: NDArray[Any]) -> float:
    """Root mean square of the difference of pixels four apart, over the square root of two; 0 where none is valid."""
    numbers = values.astype(np.float32)
    squares = [(numbers[4:] - numbers[:-4]) ** 2, (numbers[:, 4:] - numbers[:, :-4]) ** 2]
    valid = np.concatenate([square[np.isfinite(square)] for square in squares])
    return float(np.sqrt(valid.mean(dtype=np.float64) / 2)) if valid.size else 0.0


def _is_useful(patch: Floats, plane: Plane) -> bool:
    """Whether a patch is wholly valid, not flat and not saturated."""
    if not np.isfinite(patch).all():
        return False
    top = patch.max()
    flat = float(patch.std()) < 0.05 * plane.contrast
    return not flat and float((patch == top).mean()) < 0.05
