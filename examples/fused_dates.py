"""Dates of Sentinel-2, told by their STAC items, as a cube: each fused with its neighbours, and NDVI before and after.

    python examples/fused_dates.py 20230601.json 20230606.json 20230611.json

`geosr upscale 20230601.json 20230606.json --fuse --bands B04,B08 --scale 2 -o fused.tif` makes the first of them alone.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import geosr.xarray

BANDS = ("B04", "B08")


def cube(items: list[str]) -> xr.DataArray:
    """(time, band, y, x), lazy, in the numbers that are stored, whose offset is that of one processing baseline."""
    trees = [geosr.xarray.open_product(item, bands=BANDS) for item in items]
    names = xr.DataArray(list(BANDS), dims="band", name="band")
    dates = [xr.concat([tree["10m"][band].drop_attrs() for band in BANDS], names) for tree in trees]
    days = np.array([tree.attrs["datetime"].rstrip("Z") for tree in trees], "M8[ns]")
    told = {key: trees[0]["10m/B04"].attrs[key] for key in ("platform", "_FillValue", "scale_factor", "add_offset")}
    whole = xr.concat(dates, xr.DataArray(days, dims="time", name="time"))
    return whole.assign_attrs(told).sortby("time").rename("numbers")


def ndvi(array: xr.DataArray) -> xr.DataArray:
    """The index, NaN where there is no data."""
    values = array.where(array != array.attrs["_FillValue"]) * array.attrs["scale_factor"] + array.attrs["add_offset"]
    red, near = values.sel(band="B04"), values.sel(band="B08")
    return (near - red) / (near + red)


def main(items: list[str]) -> tuple[xr.DataArray, xr.DataArray]:
    """NDVI (time, y, x) before and after."""
    coarse = cube(items)
    fine = coarse.geosr.upscale(scale=2, fuse=True, reference="each")
    before, after = ndvi(coarse).compute(), ndvi(fine["numbers"]).compute()
    for day, *means in zip(before.time.values, before.mean(("y", "x")), after.mean(("y", "x")), strict=True):
        print(np.datetime_as_string(day, "D"), *(f"{float(mean):.4f}" for mean in means))
    return before, after


if __name__ == "__main__":
    main(sys.argv[1:])
