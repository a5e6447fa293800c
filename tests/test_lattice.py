"""No network draws its own grid: power at the periods of a pixel shuffle is that beside them, on real scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

import geosr
from geosr.evaluation.metrics import lattice

SIDE, MOST = 96, 1.2
BANDS = (2, 4, 8)
"""Blue, red and infrared."""


@pytest.mark.parametrize(("model", "scale"), [("fast", 2), ("fast", 4), ("esrgan", 2), ("esrgan", 4)])
def test_no_lattice_lies_over_real_scenes(shared_data: Path, tmp_path: Path, model: str, scale: int) -> None:
    found: dict[int, list[float]] = {2: [], 4: []}
    for scene in sorted((shared_data / "sentinel2" / "terramind").glob("*.tif")):
        with rasterio.open(scene) as source:
            middle = [(side - SIDE) // 2 for side in source.shape]
            window = Window(middle[1], middle[0], SIDE, SIDE)
            bands = source.read(BANDS, window=window)
            profile = source.profile | {"width": SIDE, "height": SIDE, "count": len(BANDS)}
        with rasterio.open(tmp_path / scene.name, "w", **profile) as part:
            part.write(bands)
        result = tmp_path / f"sharp_{scene.name}"
        geosr.upscale(tmp_path / scene.name, result, model=model, scale=scale, workers=1)
        with rasterio.open(result) as sharp:
            for band in sharp.read():
                for period, ratios in found.items():
                    ratios.append(lattice(band, period))
    assert all(len(ratios) == 9 for ratios in found.values())
    for period, ratios in found.items():
        assert float(np.median(ratios)) <= MOST, f"period {period}: {np.round(ratios, 2)}"
