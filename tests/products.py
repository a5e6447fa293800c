"""Bands as products have them, made from a finer image: blurred, sampled, noisy, moved onto the map's grid, rounded.

It is independent of how geosr degrades images in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]


def _bilinear(t: Floats) -> Floats:
    return np.maximum(1 - np.abs(t), 0)


def _cubic(t: Floats) -> Floats:
    """Keys, a = -.5."""
    t = np.abs(t)
    near, far = 1 - 2.5 * t**2 + 1.5 * t**3, 2 - 4 * t + 2.5 * t**2 - 0.5 * t**3
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def _spline(t: Floats) -> Floats:
    """The cubic B-spline."""
    t = np.abs(t)
    near, far = (4 - 6 * t**2 + 3 * t**3) / 6, np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far)


KERNELS: dict[str, Callable[[Floats], Floats]] = {"bilinear": _bilinear, "cubic": _cubic, "spline": _spline}
INTERPOLATIONS = ("none", *KERNELS)
_RIM = 8


@dataclass(frozen=True)
class Product:
    """A band, and what is known of its noise."""

    pixels: Floats
    clean: Floats
    constant: float
    slope: float

    def sigma(self, level: float) -> float:
        """The standard deviation of a pixel's noise where the clean band has this level, rounding included."""
        return float(np.sqrt(self.constant + self.slope * level))


def product(
    fine: Floats,
    *,
    constant: float,
    slope: float = 0.0,
    interpolation: str = "none",
    step: int = 3,
    gaussian: float = 0.5,
    seed: int = 0,
) -> Product:
    """A band with pixels `step` times larger, from a sharp image; variance on the sensor's grid = constant + slope x.

    `gaussian` is the modulation transfer of optics and motion at its Nyquist frequency, that of the detector's box
    comes on top. The map's grid lies at a random phase of the sensor's, which drifts slowly over the scene.
    """
    rng = np.random.default_rng(seed)
    sharp = ndimage.uniform_filter(np.asarray(fine, np.float64), step, mode="mirror")
    blurred = ndimage.gaussian_filter(sharp, step * np.sqrt(-2 * np.log(gaussian)) / np.pi, mode="mirror")
    row, col = rng.integers(0, step, 2)
    seen = blurred[row::step, col::step]
    white = rng.standard_normal(seen.shape)
    noisy = seen + np.sqrt(np.maximum(constant + slope * seen, 0)) * white
    moved = _onto_map(interpolation, seen.shape, rng)
    kept = float(np.var(moved(white)))
    return Product(np.round(moved(noisy)), moved(seen), kept * constant + 1 / 12, kept * slope)


def _onto_map(name: str, shape: tuple[int, int], rng: np.random.Generator) -> Callable[[Floats], Floats]:
    rows, cols = np.mgrid[_RIM : shape[0] - _RIM, _RIM : shape[1] - _RIM].astype(np.float64)
    if name == "none":
        return lambda image: image[_RIM:-_RIM, _RIM:-_RIM]
    drift = rng.uniform(-1, 1, (2, 2)) / 250
    rows += rng.random() + drift[0, 0] * rows + drift[0, 1] * cols
    cols += rng.random() + drift[1, 0] * rows + drift[1, 1] * cols
    kernel = KERNELS[name]

    def moved(image: Floats) -> Floats:
        grid = ndimage.spline_filter(image, 3, mode="mirror") if name == "spline" else image
        top, left = np.floor(rows).astype(int), np.floor(cols).astype(int)
        result = np.zeros(rows.shape)
        for i in range(-1, 3):
            for j in range(-1, 3):
                weight = kernel(rows - top - i) * kernel(cols - left - j)
                y, x = np.clip(top + i, 0, shape[0] - 1), np.clip(left + j, 0, shape[1] - 1)
                result += weight * grid[y, x]
        return result

    return moved
