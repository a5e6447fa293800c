"""Numbers that stand for 'no data', under whichever name and in whichever digits they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray

import geosr
import geosr.xarray
from geosr.errors import InputError
from geosr.io.nodata import possible_nodata, told_numbers
from geosr.io.scene import open_scene
from geosr.radiometry import Pixels, Radiometry
from geosr.xarray.scenes import all_nodata, nodata_of
from tests import scenes

LEAST = np.finfo("float32").min


def array(dtype: str = "int16", bands: int = 2, **attributes: Any) -> xr.DataArray:
    stored = scenes.pixels((bands, 40, 50), dtype, low=100, high=900)
    stored[:, :9, :7], stored[:, 20:25, 30:40] = -999, -888
    return xr.DataArray(stored, dims=("band", "y", "x"), attrs=attributes)


def gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a number stands that no interpolation of 100 to 900 gives."""
    return values < 0


@pytest.mark.parametrize("told", [-3.4028235e38, -3.40282346638529e38, float(LEAST)])
def test_what_rounds_to_the_least_number_of_a_type_is_that(told: float, tmp_path: Path) -> None:
    assert possible_nodata(told, "float32") == float(LEAST)
    stored = scenes.pixels((1, 40, 50), "float32")
    stored[:, :9, :7] = LEAST
    path = scenes.write(tmp_path / "least.tif", stored)
    report = geosr.upscale(path, tmp_path / "fine.tif", model="bicubic", scale=2, nodata=told)
    with rasterio.open(report["path"]) as file:
        assert file.nodata == float(LEAST)
        assert (file.read_masks(1) == 0).sum() == 4 * 9 * 7
    fine = xr.DataArray(stored[0], dims=("y", "x"), attrs={"nodata": told}).geosr.upscale("bicubic", 2)
    assert (fine == LEAST).sum() == 4 * 9 * 7


def test_what_no_pixel_can_hold_is_no_number_for_no_data() -> None:
    assert possible_nodata(-1e39, "float32") is None
    assert possible_nodata(-1, "uint8") is None
    assert told_numbers(["{-999,-888}", "none", None, (1, "2"), "", np.int16(5)], "int16") == [-999, -888, 1, 2, 5]


@pytest.mark.parametrize(
    "told",
    [{"nodatavals": (-999, -999)}, {"fill_value": -999}, {"nodata": [-999]}, {"missing_value": np.array([-999.0])},
     {"_FillValue": "-999"}],
)  # fmt: skip
def test_a_number_for_no_data_has_many_names(told: dict[str, Any]) -> None:
    fine = array(**told).geosr.upscale("bicubic", 2).values
    assert nodata_of(array(**told)) == -999
    assert np.array_equal(fine == -999, np.pad(np.ones((2, 18, 14), bool), ((0, 0), (0, 62), (0, 86))))


@pytest.mark.parametrize(
    "told", [{"missing_value": [-999, -888]}, {"_FillValue": -999, "missing_value": -888}, {"nodata": (-999, -888, -1)}]
)
def test_every_number_that_is_told_counts_and_stays(told: dict[str, Any]) -> None:
    source = array(bands=2, **told)
    fine = source.geosr.upscale("bicubic", 2).values
    assert np.array_equal(np.where(fine < 0, fine, 0), np.where(source < 0, source, 0).repeat(2, 1).repeat(2, 2))
    assert fine[fine >= 0].min() > 50


def test_a_list_of_one_for_each_band_is_of_the_bands_also_reordered() -> None:
    source = array(nodatavals=(-999, -888)).assign_coords(band=[1, 2])
    assert all_nodata(source) == ((-999,), (-888,))
    assert all_nodata(source[::-1]) == ((-888,), (-999,))
    assert all_nodata(source.sel(band=2)) == ((-888,),)


def test_numbers_of_stored_pixels_mean_nothing_once_they_are_decoded() -> None:
    source = array("float32", fill_value=0, nodatavals=(0, 0))
    assert nodata_of(source) == 0
    source.encoding = {"dtype": "int16", "_FillValue": 0}
    assert nodata_of(source) is None


def test_a_geotiff_of_an_array_has_one_number_for_all_of_them(tmp_path: Path) -> None:
    source = array(bands=2, missing_value=[-999, -888])
    for each in (source, source.chunk(y=20)):
        path = each.geosr.to_geotiff(tmp_path / "one.tif", overwrite=True)
        with scenes.quiet(), rasterio.open(path) as file:
            assert file.nodata == -999
            assert np.array_equal(file.read(), np.where(source == -888, -999, source))


def test_a_file_with_several_numbers_becomes_one_with_one_and_says_so(tmp_path: Path) -> None:
    stored = np.array(array(bands=1).values[0])
    side = {"units": "degrees_north"}, {"units": "degrees_east"}
    xr.Dataset(
        {"depth": (("lat", "lon"), stored, {"_FillValue": np.int16(-999), "missing_value": np.int16([-999, -888])})},
        {"lat": ("lat", 46 - 0.003 * np.arange(40), side[0]), "lon": ("lon", 11 + 0.003 * np.arange(50), side[1])},
    ).to_netcdf(tmp_path / "depth.nc", engine="scipy")
    report = geosr.upscale(f"NETCDF:{tmp_path / 'depth.nc'}:depth", tmp_path / "fine.tif", model="bicubic", scale=2)
    assert any("-999, -888" in line for line in report["warnings"])
    with rasterio.open(report["path"]) as file:
        assert file.nodata == -999
        assert np.array_equal(file.read(1) == -999, (stored < 0).repeat(2, 0).repeat(2, 1))
        assert file.read(1)[file.read(1) != -999].min() > 50


def test_a_result_steps_over_all_numbers_for_no_data() -> None:
    radiometry = Radiometry("uint8", "uint8", ((5, 6, 254, 255),))
    out = np.zeros((1, 4), "uint8")
    radiometry.encode(np.array([[4.0, 5.0, 6.0, 255.0]]), out, 0)
    assert out.tolist() == [[4, 7, 7, 253]]
    stored = np.array([[[4, 5, 6, 255]]], "uint8")
    valid = radiometry.valid(Pixels(stored))
    assert valid is not None
    assert valid.tolist() == [[[True, False, False, False]]]


def test_bands_are_found_by_what_stands_before_a_comma(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B4, central wavelength 665 nm", "B3, central wavelength 560 nm", "B2, odd, name")
    for wanted in (["B3", "B4"], ["b03", "B04"], ["B3", "central wavelength 560 nm", "B4,central wavelength 665 nm"]):
        assert open_scene(path, bands=wanted).bands == (2, 1)
    assert open_scene(path, bands=["B2", "odd", "name", "B4"]).bands == (3, 1)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B4, left", "B4, right", "B2")
    with pytest.raises(InputError, match="there is no band 'B4'"):
        open_scene(path, bands=["B4"])
