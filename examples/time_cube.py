"""A cube as odc-stac gives it (variables over time, y and x): upscaled lazily, kept as Zarr, written by the workers.

python examples/time_cube.py cube.zarr
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros

import geosr.xarray  # noqa: F401  (gives every Dataset the accessor `geosr`)


def cube(side: int = 96) -> xr.Dataset:
    """Two bands and a class map on two days; `odc.stac.load(items, chunks={...})` gives the same kind of thing."""
    geobox = GeoBox((side, side), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32631")
    plane = xr_zeros(geobox, "uint16", chunks=(48, 48))
    waves = 1000 + 300 * np.sin(plane.x / 60) + 200 * np.cos(plane.y / 45)
    days = xr.DataArray(np.array(["2024-05-01", "2024-05-11"], "M8[ns]"), dims="time", name="time")
    red = (plane + waves.transpose("y", "x").astype("uint16")).expand_dims(time=days)
    classes = (red % 5).astype("uint8").assign_attrs(flag_meanings="none soil crop water cloud")
    return xr.Dataset({"red": red, "nir": red * 2, "scl": classes})


def main(path: str) -> xr.Dataset:
    """The cube as it is read back."""
    fine = cube().geosr.upscale("fast", scale=2)  # classes are repeated, bands are sharpened
    fine.to_zarr(path, mode="w", zarr_format=2, consolidated=True)
    kept = xr.open_zarr(path, decode_coords="all")
    print(kept.odc.geobox)
    return kept


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cube.zarr")
