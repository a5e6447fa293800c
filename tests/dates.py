"""Dates of one place with a known ground: waves whose places, blur and truth are exact at any shift."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.response import Response

Doubles = NDArray[np.float64]
MTF = 0.3
LEVEL, SPREAD = 2000.0, 250.0


@dataclass(frozen=True)
class Ground:
    """A ground of waves, among them some that are finer than two coarse pixels."""

    waves: Doubles
    """(n, 4): cycles per coarse pixel down and right, amplitude, phase."""

    @classmethod
    def of(cls, seed: int, count: int = 300) -> Ground:
        rng = np.random.default_rng(seed)
        radius, angle = 0.75 * rng.uniform(0.02, 1.0, count), rng.uniform(0, np.pi, count)
        size = radius**-0.6
        size *= SPREAD / np.sqrt((size**2).sum() / 2)
        return cls(np.stack([radius * np.cos(angle), radius * np.sin(angle), size, rng.uniform(0, 6.3, count)], 1))

    def seen(self, rows: Doubles, cols: Doubles, response: Response | None = None, *, turn: float = 0.0) -> Doubles:
        """(h, w): the ground at centres of pixels, rows (h,) by columns (w,), coarse ones, turned by radians, as a
        sensor of a response sees it."""
        down, right, size, phase = self.waves.T
        if response is not None:
            size = size * [response.at(abs(y))[0] * response.at(abs(x))[1] for y, x in zip(down, right, strict=True)]
        along = np.exp(2j * np.pi * np.outer(rows, down + turn * right)) * (size * np.exp(1j * phase))
        return LEVEL + (along @ np.exp(2j * np.pi * np.outer(right - turn * down, cols))).real

    def date(
        self,
        shape: tuple[int, int],
        shift: tuple[float, float] = (0, 0),
        *,
        scale: int = 2,
        snr: float = 100,
        seed: int = 0,
        turn: float = 0.0,
        corner: tuple[int, int] = (0, 0),
        mtf: float = MTF,
    ) -> Doubles:
        """(h, w): what lies at a pixel of the reference is seen `shift` (down, right) of it, turned by radians."""
        rows, cols = (np.arange(length) + start - by for length, start, by in zip(shape, corner, shift, strict=True))
        image = self.seen(rows, cols, Response.gaussian(mtf).relative(scale), turn=turn)
        return image + np.random.default_rng(seed).standard_normal(shape) * (LEVEL / snr)

    def truth(self, shape: tuple[int, int], scale: int = 2) -> Doubles:
        """(h * scale, w * scale)."""
        return self.seen(*((np.arange(length * scale) + 0.5) / scale - 0.5 for length in shape))


def written(
    path: Path,
    bands: Doubles,
    *,
    nodata: float | None = None,
    size: float = 20.0,
    crs: str | None = "EPSG:32633",
    corner: tuple[float, float] = (5e6, 5e5),
) -> Path:
    """A GeoTIFF of (h, w) or (bands, h, w), whole numbers; NaN becomes nodata."""
    stack = np.atleast_3d(bands.T).T
    numbers = np.where(np.isfinite(stack), stack.round(), 0 if nodata is None else nodata).clip(0, 65535)
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": "uint16", "crs": crs, "nodata": nodata, "count": len(stack),
        "height": stack.shape[1], "width": stack.shape[2],
        "transform": Affine(size, 0, corner[1], 0, -size, corner[0]),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(numbers.astype("uint16"))
    return path


def decibels(estimate: Doubles, truth: Doubles, rim: int = 12) -> float:
    """PSNR inside a border of fine pixels."""
    error = (np.asarray(estimate, np.float64) - truth)[rim:-rim, rim:-rim]
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean(error**2)))


SHIFTS = (
    (0, 0),
    (0.31, -0.42),
    (-0.22, 0.17),
    (0.44, 0.35),
    (-0.48, -0.11),
    (0.12, 0.49),
    (-0.05, -0.33),
    (0.26, 0.08),
)
