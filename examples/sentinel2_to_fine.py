"""A Sentinel-2 product as it was downloaded, all of its bands at 2.5 m, with NDVI, NDWI and NBR before and after.

python examples/sentinel2_to_fine.py S2B_MSIL2A_20240802T102559_N0511_R108_T32TMT_20240802T134201.SAFE all_2m5.tif
"""

from __future__ import annotations

import sys

import numpy as np
import rasterio
from numpy.typing import NDArray

import geosr

INDICES = {"NDVI": ("B08", "B04"), "NDWI": ("B03", "B08"), "NBR": ("B08", "B12")}


def reflectance(path: str, band: str) -> NDArray[np.float64]:
    """A band of a result, with NaN for no data: stored numbers times scale, plus offset, as the file tells them."""
    with rasterio.open(path) as file:
        number = file.descriptions.index(band) + 1
        stored = file.read(number, masked=True).astype(np.float64)
        return (stored * file.scales[number - 1] + file.offsets[number - 1]).filled(np.nan)


def index(path: str, one: str, other: str) -> float:
    """The mean of the normalised difference of two bands, where they are not dark."""
    a, b = reflectance(path, one), reflectance(path, other)
    bright = a + b > 0.02
    return float(((a - b)[bright] / (a + b)[bright]).mean())


def main(product: str, fine: str, ten: str = "all_10m.tif") -> dict[str, tuple[float, float]]:
    """Means of each index at 10 m and at 2.5 m."""
    # What is in it: the values that its metadata tell, and the model that would bring each band to 10 m.
    for part in geosr.open_product(product).children.values():
        print(part.name, dict(part.sizes), list(part.data_vars))
    # 20 and 60 m bands onto the 10 m grid, guided by the 10 m bands; all of them on from there.
    geosr.upscale(product, ten, to="10m", overwrite=True)
    report = geosr.upscale(product, fine, to="10m", scale=4, overwrite=True)
    print(report["bands"], report["grid_out"])
    found = {name: (index(ten, *bands), index(fine, *bands)) for name, bands in INDICES.items()}
    for name, (before, after) in found.items():
        print(f"{name}: mean {before:.4f} at 10 m, {after:.4f} at 2.5 m")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
