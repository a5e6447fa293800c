"""NDVI of a scene before and after, lazily: nothing is read until the crop is computed.

python examples/ndvi_before_and_after.py examples/scene.tif
"""

from __future__ import annotations

import sys

import xarray as xr

import geosr.xarray  # gives every DataArray the accessor `geosr`


def ndvi(array: xr.DataArray, red: int, nir: int) -> xr.DataArray:
    """The index, NaN where both bands are 0."""
    low, high = (array.isel(band=band).astype("float32") for band in (red, nir))
    return ((high - low) / (high + low).where(high + low != 0)).rename("ndvi")


def main(path: str = "examples/scene.tif") -> tuple[float, float]:
    """Means before and after, of a crop."""
    scene = geosr.xarray.open_raster(path, chunks=512).isel(y=slice(0, 128), x=slice(0, 128))
    fine = scene.geosr.upscale("fast", scale=2)
    before, after = ndvi(scene, 0, -1).compute(), ndvi(fine, 0, -1).compute()
    print(f"{before.shape} pixels, mean {float(before.mean()):.4f}; {after.shape}, mean {float(after.mean()):.4f}")
    return float(before.mean()), float(after.mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
