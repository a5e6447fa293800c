"""What is told of each band of an array follows the band, whichever bands are taken, in whichever order and bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

from geosr.xarray.cf import band_names, by_band
from tests import scenes


def differing(folder: Path) -> xr.DataArray:
    """An array as rioxarray reads it, whose bands have scales, offsets, units and names of their own."""
    path = scenes.make_plain(folder, dtype="int16")
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.01, 0.0001, 1.0), (-273.15, 0.0, 5.0)
        file.units, file.descriptions = ("K", "1", "m"), ("heat", "red", "height")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rioxarray's, that they differ
        return rioxarray.open_rasterio(path)  # type: ignore[return-value]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [2, 0], [1]])
def test_scales_units_and_names_follow_bands_that_are_selected_or_reordered(order: list[int], tmp_path: Path) -> None:
    array = differing(tmp_path).isel(band=order)
    path = array.geosr.upscale("bicubic", 2).geosr.to_geotiff(tmp_path / "fine.tif")
    with rasterio.open(path) as file:
        assert file.scales == tuple((0.01, 0.0001, 1.0)[band] for band in order)
        assert file.offsets == tuple((-273.15, 0.0, 5.0)[band] for band in order)
        assert file.units == tuple("K1m"[band] for band in order)
        assert file.descriptions == tuple(("heat", "red", "height")[band] for band in order)


def test_a_single_band_keeps_what_was_told_of_it(tmp_path: Path) -> None:
    array = differing(tmp_path).isel(band=1, drop=False)
    assert band_names(array) == ("red",)
    assert by_band(array, "scale_factor", 1.0) == [0.0001]
    assert by_band(array, "units", "") == ["1"]


def test_wavelengths_of_bands_are_tags_of_theirs(tmp_path: Path) -> None:
    cube = xr.DataArray(
        scenes.pixels((3, 40, 50)), dims=("wavelength", "y", "x"), coords={"wavelength": [450.5, 560.0, 665.0]}
    ).assign_coords(fwhm=("wavelength", [10.0, np.nan, 12.0]))
    cube.wavelength.attrs["units"] = "nm"
    path = cube[[2, 1]].geosr.upscale("bicubic", 2).geosr.to_geotiff(tmp_path / "cube.tif")
    with scenes.quiet(), rasterio.open(path) as file:
        assert file.tags(1) == {"wavelength": "665.0", "wavelength_units": "nm", "fwhm": "12.0"}
        assert file.tags(2) == {"wavelength": "560.0", "wavelength_units": "nm"}


@pytest.mark.parametrize("dtype", [">f4", ">u2", ">i2", ">f8"])
def test_the_order_of_bytes_changes_no_pixel(dtype: str) -> None:
    native = xr.DataArray(scenes.pixels((1, 40, 50), np.dtype(dtype).name)[0], dims=("y", "x"), attrs={"nodata": 100})
    expected = native.geosr.upscale("bicubic", 2)
    for swapped in (native.astype(dtype), native.astype(dtype).chunk(x=30)):
        fine = swapped.geosr.upscale("bicubic", 2)
        assert fine.dtype == expected.dtype
        assert np.array_equal(fine, expected)
