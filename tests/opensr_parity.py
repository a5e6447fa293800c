"""Writes tests/opensr_parity.npz: small arrays made by ourselves, and what opensr-test says of them.

    python -m tests.opensr_parity

needs the package opensr-test. torchvision may be missing: only its aligner by a network asks for that, which no figure
by default does.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from scipy import ndimage

from geosr.evaluation.opensr import FIGURES
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.response import Response

PARITY = Path(__file__).with_suffix(".npz")
_SCENE = Path(__file__).parents[1] / "examples" / "scene.tif"


def scene() -> NDArray[np.float64]:
    """Three bands (3, 96, 96) of Landsat 8, in 256 steps."""
    with rasterio.open(_SCENE) as file:
        bands = file.read([1, 2, 3])[:, 40:136, 60:156].astype(np.float64)
    low, high = bands.min(), bands.max()
    return np.asarray(np.round(255 * (bands - low) / (high - low)))


def cases() -> Iterator[tuple[str, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Name, input, result and reference of each case, stored numbers 0 to 255; a reflectance is a 255th of one."""
    hr, random = scene(), np.random.default_rng(0)
    for scale in (2, 4):
        response = Response.gaussian(0.3).relative(scale)
        seen = degrade(torch.from_numpy(hr)[:, None], response, scale)
        lr, soft = seen[:, 0].numpy(), upsample(seen, scale)[:, 0].numpy()
        sharp = hr + 0.5 * (ndimage.gaussian_filter(hr, (0, 1, 1)) - hr) + random.normal(0, 3, hr.shape)
        moved = ndimage.shift(sharp, (0, 0.7, -0.4), mode="nearest") * 1.02
        for name, sr in (("soft", soft), ("sharp", sharp), ("moved", moved)):
            yield f"{name} x{scale}", lr, sr, hr


def theirs(lr: NDArray[Any], sr: NDArray[Any], hr: NDArray[Any]) -> list[float]:
    """The package's figures, in the order of `FIGURES`."""
    for name in ("torchvision", "torchvision.models", "torchvision.models.resnet", "torchvision.ops"):
        sys.modules.setdefault(name, MagicMock())
    import opensr_test

    tensors = (torch.from_numpy(values_of(each).astype(np.float32)) for each in (lr, sr, hr))
    told = opensr_test.Metrics().compute(*tensors)
    return [float(told[name] if name in told else told[f"{name[:2]}_metric"]) for name in FIGURES]


def values_of(stored: NDArray[Any]) -> NDArray[np.float64]:
    """Reflectances of stored numbers."""
    return (stored.astype(np.float32) / np.float32(255)).astype(np.float64)


def main() -> None:
    """Writes the file."""
    kept: dict[str, Any] = {"version": np.array(importlib.metadata.version("opensr-test"))}
    for name, *arrays in cases():
        lr, sr, hr = (np.clip(np.round(each), 0, 255).astype(np.uint8) for each in arrays)
        kept |= {f"{name} lr": lr, f"{name} sr": sr, f"{name} figures": np.array(theirs(lr, sr, hr))} | {"hr": hr}
        print(name, dict(zip(FIGURES, np.round(kept[f"{name} figures"], 4).tolist(), strict=True)))
    np.savez_compressed(PARITY, **kept)


if __name__ == "__main__":
    main()
