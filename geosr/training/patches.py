"""Training samples: patches cut at random out of bands that are held in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import InputError

Floats = NDArray[np.float32]
Place = tuple[str, tuple[int, int], tuple[int, ...]]
"""A file, the row and column where a part of it begins, and its shape."""
Cut = Callable[[NDArray[Any]], Floats]
"""Takes the same square out of any band of a shape."""

_Sample = tuple[Floats, float, float, float]
"""A patch in units of its band's contrast, the standard deviation of noise, the step of its numbers, the contrast."""

SNR = (35.0, 250.0)
"""Signal-to-noise ratio of reflectance-like bands, mean over standard deviation, log-uniform."""
NOISE_OVER_CONTRAST = (0.02, 1.0)
"""Noise of the other bands over their contrast, log-uniform: about what SNR makes of Sentinel-2."""
ATTEMPTS = 20
"""Crops that are tried in one band before another is drawn..."""
PATIENCE = 500
"""...and bands that are drawn before it is given up."""
MIXED = 0.3
"""Share of the samples that are two bands of one scene, averaged: a band that no sensor has, and a plausible one."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One band of one scene."""

    values: NDArray[Any]
    """(height, width), any real dtype; NaN where invalid."""
    group: str
    """The group of the data list that it belongs to."""
    file: str
    """The file that it is a band of."""
    weight: float
    """The group's share of the samples."""
    snr: bool
    """Whether its noise is drawn relative to its mean; otherwise relative to its contrast."""
    contrast: float
    """Size of the detail: root mean square of the difference of pixels four apart, over the square root of two."""
    step: float
    """Step of the stored numbers: 1 for integers, 0 for floats."""
    noise: float | None = None
    """Standard deviation that the noise of coarse images is to have, where that is known; else it is drawn."""
    corner: tuple[int, int] = (0, 0)
    """Row and column of the file where it begins."""

    @property
    def place(self) -> Place:
        """The same for bands of the same pixels: file, corner and shape."""
        return self.file, self.corner, self.values.shape


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches, each divided by its band's contrast; the mean is kept."""

    hr: Tensor
    """(n, 1, h, w) float32."""
    noise: Tensor
    """(n,) standard deviation that noise would have."""
    step: Tensor
    """(n,) step of the stored numbers; 0 for floats."""
    contrast: Tensor
    """(n,) what the bands were divided by."""


class Patches:
    """An endless source of batches: a group by its weight, a band of the group by its size, a place at random."""

    def __init__(self, planes: list[Plane], size: int, seed: int, together: int = 1) -> None:
        """`size` is the side of a patch in pixels; smaller bands are mirrored up to it.

        With `together` above 1 so many patches in a row are bands of one place, which are never mixed. Raises
        `InputError` where no raster has so many bands.
        """
        self.size, self.together = size, together
        self.random = np.random.default_rng(seed)
        self.planes = planes
        groups = {plane.group: plane.weight for plane in planes}
        areas = np.array([float(plane.values.size) for plane in planes])
        share = np.zeros(len(planes))
        for group, weight in groups.items():
            members = np.array([plane.group == group for plane in planes])
            share[members] = weight * areas[members] / areas[members].sum()
        self.edges = np.cumsum(share / share.sum())
        self.scenes: dict[Place, list[Plane]] = {}
        for plane in planes:
            self.scenes.setdefault(plane.place, []).append(plane)
        if max(map(len, self.scenes.values()), default=0) < together:
            raise InputError(
                f"no raster to train on has {together} bands, which the loss spectral compares; leave it out"
            )

    def get_state(self) -> bytes:
        """Where the random numbers stand."""
        return json.dumps(self.random.bit_generator.state).encode()

    def set_state(self, state: bytes) -> None:
        """Goes on with the random numbers from where `get_state` was called."""
        self.random.bit_generator.state = json.loads(state)

    def batch(self, n: int) -> Batch:
        """The next `n` patches, a multiple of `together`, flipped and turned at random."""
        drawn = [sample for _ in range(n // self.together) for sample in self._draw()]
        hr = np.stack([patch for patch, *_ in drawn])
        noise, step, contrast = (torch.tensor([sample[i] for sample in drawn], dtype=torch.float32) for i in (1, 2, 3))
        return Batch(torch.from_numpy(hr)[:, None], noise, step, contrast)

    def _draw(self) -> list[_Sample]:
        for _ in range(PATIENCE):
            place = int(np.searchsorted(self.edges, self.random.random(), side="right"))
            planes = self._bands(self.planes[min(place, len(self.planes) - 1)])
            for _ in range(ATTEMPTS if planes else 0):
                cut = self._place(planes[0].values.shape)
                patches = [cut(plane.values) for plane in planes]
                if all(map(_is_useful, patches, planes)):
                    return self._turned([self._sample(*each, cut) for each in zip(patches, planes, strict=True)])
        raise InputError(
            f"no square of {self.size} x {self.size} pixels was found that is valid throughout and has detail; take a "
            "smaller patch, or imagery with fewer gaps"
        )

    def _bands(self, plane: Plane) -> list[Plane]:
        """A band, and at random as many others of its scene as go together; none where it has too few."""
        if self.together == 1:
            return [plane]
        others = [other for other in self.scenes[plane.place] if other is not plane]
        if len(others) < self.together - 1:
            return []
        chosen = self.random.permutation(len(others))[: self.together - 1]
        return [plane, *(others[int(index)] for index in chosen)]

    def _place(self, shape: tuple[int, ...]) -> Cut:
        """A square at random, to be cut from bands of this shape. A band smaller than it is mirrored, by a random
        number of pixels on either side: else it would meet the sensor's grid in one position only."""
        starts = [int(self.random.integers(0, max(side - self.size, 0) + 1)) for side in shape]
        gaps = [max(self.size - side, 0) for side in shape]
        before = [int(self.random.integers(0, gap + 1)) for gap in gaps]
        rows, cols = (slice(start, start + self.size) for start in starts)
        rims = [(first, gap - first) for first, gap in zip(before, gaps, strict=True)]

        def cut(values: NDArray[Any]) -> Floats:
            """The patch of a plane, mirrored where it ends."""
            inside = values[rows, cols].astype(np.float32)
            return np.pad(inside, rims, mode="symmetric") if max(gaps) > 0 else inside

        return cut

    def _sample(self, patch: Floats, plane: Plane, cut: Cut) -> _Sample:
        scaled, step = self._mixed(patch / np.float32(plane.contrast), cut, plane)
        low, high = np.log(SNR if plane.snr else NOISE_OVER_CONTRAST)
        level = float(np.exp(self.random.uniform(low, high)))
        noise = float(np.abs(scaled.mean())) / level if plane.snr else level
        if plane.noise is not None:
            noise = plane.noise / plane.contrast
        return scaled, noise, step, plane.contrast

    def _turned(self, samples: list[_Sample]) -> list[_Sample]:
        """All of them turned and flipped alike."""
        turns, flip = int(self.random.integers(4)), self.random.random() < 0.5
        turned = [np.rot90(patch, turns) for patch, *_ in samples]
        flipped = [np.ascontiguousarray(patch[::-1] if flip else patch) for patch in turned]
        return [(patch, *rest) for patch, (_, *rest) in zip(flipped, samples, strict=True)]  # type: ignore[misc]

    def _mixed(self, scaled: Floats, cut: Cut, plane: Plane) -> tuple[Floats, float]:
        """`scaled`, at times averaged with the same place in another band of the scene; and the step of its numbers."""
        step = plane.step / plane.contrast
        others = [other for other in self.scenes[plane.place] if other is not plane]
        if self.together > 1 or not others or self.random.random() >= MIXED:
            return scaled, step
        other = others[int(self.random.integers(len(others)))]
        patch = cut(other.values)
        if not _is_useful(patch, other):
            return scaled, step
        share = np.float32(self.random.uniform(0.2, 0.8))
        return scaled * (1 - share) + patch * (share / np.float32(other.contrast)), step


def step_of(values: NDArray[Any]) -> float:
    """The step of stored numbers: 1 where all are whole, else 0."""
    whole = np.issubdtype(values.dtype, np.integer) or bool(np.all(values[np.isfinite(values)] % 1 == 0))
    return 1.0 if whole else 0.0


def contrast_of(values: NDArray[Any]) -> float:
    """Root mean square of the difference of pixels four apart, over the square root of two; 0 where none is valid."""
    numbers = values.astype(np.float32)
    squares = [(numbers[4:] - numbers[:-4]) ** 2, (numbers[:, 4:] - numbers[:, :-4]) ** 2]
    valid = np.concatenate([square[np.isfinite(square)] for square in squares])
    return float(np.sqrt(valid.mean(dtype=np.float64) / 2)) if valid.size else 0.0


def _is_useful(patch: Floats, plane: Plane) -> bool:
    """True where a patch is wholly valid, not flat and not saturated."""
    if not np.isfinite(patch).all():
        return False
    top = patch.max()
    flat = float(patch.std()) < 0.05 * plane.contrast
    return not flat and int(np.count_nonzero(patch == top)) / patch.size < 0.05
