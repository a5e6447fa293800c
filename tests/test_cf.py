"""Where the pixels of a DataArray lie: held against rioxarray and odc-geo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import geosr.xarray  # noqa: F401  (registers the accessor)
from geosr.errors import InputError
from geosr.xarray.cf import Grid, band_names, grid_of
from geosr.xarray.scenes import nodata_of
from tests import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rioxarray

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""Of odc-geo and rioxarray, with a newer affine."""


def on(geobox: GeoBox, dims: tuple[str, str] = ("y", "x"), **options: Any) -> xr.DataArray:
    height, width = geobox.shape
    pixels = np.arange(height * width, dtype="uint16").reshape(height, width)
    return xr.DataArray(pixels, dims=dims, coords=xr_coords(geobox, dims=dims, **options))


UTM = GeoBox((20, 30), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32631")
TURNED = GeoBox((20, 30), Affine(8, 6, 500_000, 6, -8, 5_000_000), "EPSG:32631")


@pytest.mark.parametrize(
    "make",
    [scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_custom_crs],
)
def test_the_result_lies_where_rioxarray_and_odc_say_that_the_source_lies(make: Any, tmp_path: Path) -> None:
    with rioxarray.open_rasterio(make(tmp_path)) as source:
        result = source.geosr.upscale("nearest", 2)
        old, new = source.rio.transform(), result.rio.transform()
        assert np.allclose(tuple(new)[:6], [old.a / 2, old.b / 2, old.c, old.d / 2, old.e / 2, old.f], rtol=1e-12)
        assert result.rio.crs == source.rio.crs
        assert result.odc.geobox.crs == source.odc.geobox.crs
        assert np.allclose(tuple(result.odc.geobox.transform)[:6], tuple(new)[:6], rtol=1e-12)
        assert np.allclose(tuple(result.geosr.geobox.transform)[:6], tuple(new)[:6], rtol=1e-12)
        assert result.rio.nodata == source.rio.nodata


@pytest.mark.parametrize("dims", [("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("northing", "easting")])
@pytest.mark.parametrize("up", [False, True])
def test_names_of_dimensions_and_the_way_y_runs_make_no_difference(dims: tuple[str, str], up: bool) -> None:
    array = on(UTM, dims)
    array = array[::-1] if up else array
    result = array.geosr.upscale("nearest", 3)
    assert result.dims == dims
    assert np.array_equal(result.values, array.values.repeat(3, 0).repeat(3, 1))
    assert result[dims[0]].values[[0, -1]].tolist() == pytest.approx(
        array[dims[0]].values[[0, -1]] + np.array([1, -1]) * (-10 / 3 if up else 10 / 3)
    )


def test_a_rotated_grid_keeps_its_transform_and_counts_pixels_as_odc_does() -> None:
    result = on(TURNED).geosr.upscale("nearest", 2)
    assert result.odc.geobox == TURNED.zoom_out(0.5)
    cut = on(TURNED)[4:, 6:]
    assert cut.geosr.geobox == TURNED[4:, 6:]


@given(row=st.integers(0, 9), col=st.integers(0, 9), height=st.integers(1, 10), width=st.integers(1, 10))
def test_a_cut_array_lies_exactly_where_the_cut_of_the_grid_lies(row: int, col: int, height: int, width: int) -> None:
    there = np.s_[row : row + height, col : col + width]
    assert grid_of(on(UTM)[there]).geobox == UTM[there]


@given(
    origin=st.floats(-1e7, 1e7), size=st.floats(1e-3, 1e4), scale=st.integers(2, 8), height=st.integers(1, 40),
)  # fmt: skip
def test_outer_edges_stay_and_coordinates_round_trip(origin: float, size: float, scale: int, height: int) -> None:
    grid = Grid(("y", "x"), (height, 7), Affine(size, 0, origin, 0, -size, origin), None, "spatial_ref")
    fine = grid.zoom(scale)
    assert fine.transform is not None
    assert (fine.transform.c, fine.transform.f) == (origin, origin)
    assert fine.transform.a * fine.shape[1] == pytest.approx(size * 7)
    array = xr.DataArray(np.zeros(fine.shape), dims=("y", "x"), coords=fine.coordinates())
    array.coords["spatial_ref"] = fine.spatial_ref()
    assert grid_of(array).transform == fine.transform


def test_attributes_encoding_and_other_coordinates_stay_and_old_pixels_are_warned_of() -> None:
    array = on(UTM).expand_dims(time=np.array(["2024-05-01"], "M8[ns]")).rename("red")
    array.attrs = {"long_name": "red", "units": "1", "_FillValue": np.uint16(7)}
    array.encoding = {"scale_factor": 1e-4, "chunksizes": (1, 4, 4), "dtype": "uint16"}
    array = array.assign_coords(orbit=5, slope=(("y", "x"), np.zeros(UTM.shape)))
    with pytest.warns(UserWarning, match="slope"):
        result = array.geosr.upscale("nearest", 2)
    assert result.name == "red"
    assert result.attrs.items() >= array.attrs.items()
    assert result.encoding == {"scale_factor": 1e-4, "dtype": "uint16", "grid_mapping": "spatial_ref"}
    assert result.orbit == 5
    assert result.time.equals(array.time)
    assert "slope" not in result.coords


def test_plain_arrays_without_any_place_are_upscaled_and_get_none() -> None:
    result = xr.DataArray(np.ones((4, 6), "uint8")).geosr.upscale("nearest", 2)
    assert result.shape == (8, 12)
    assert not result.coords


def test_stackstac_names_its_crs_by_number() -> None:
    array = xr.DataArray(np.ones((4, 5)), dims=("y", "x"), coords={"y": 50 - np.arange(4.0), "x": np.arange(5.0)})
    array = array.assign_coords(epsg=32631)
    result = array.geosr.upscale("nearest", 2)
    assert result.rio.crs.to_epsg() == result.odc.crs.epsg == 32631


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (xr.DataArray(np.ones((2, 3, 4)), dims=("a", "b", "c")), "a, b, c"),
        (xr.DataArray(np.ones((3, 4)), dims=("y", "x"), coords={"y": [0.0, 1, 5], "x": np.arange(4.0)}), "evenly"),
        (xr.DataArray(np.ones((1, 4)), dims=("y", "x"), coords={"y": [0.0], "x": np.arange(4.0)}), "one pixel"),
        (xr.DataArray(np.ones((0, 4)), dims=("y", "x")), "nothing"),
        (xr.DataArray(np.ones((3, 4), "complex64"), dims=("y", "x")), "complex64"),
    ],
    ids=["dims", "uneven", "one", "empty", "complex"],
)
def test_what_has_no_grid_is_refused_in_one_line(array: xr.DataArray, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        array.geosr.upscale("nearest", 2)
    assert "\n" not in str(caught.value)


def test_bands_are_named_by_coordinates_attributes_or_the_variable() -> None:
    array = xr.DataArray(np.ones((2, 3, 4)), dims=("band", "y", "x"))
    assert band_names(array) == ("", "")
    assert band_names(array.assign_coords(band=["B04", "B08"])) == ("B04", "B08")
    assert band_names(array.assign_attrs(long_name=("red", "nir"))) == ("red", "nir")
    assert band_names(array[0].rename("B04")) == ("B04",)


@pytest.mark.parametrize(
    "coords",
    [{"proj:epsg": None, "epsg": 32631}, {"proj:epsg": 32631.0}, {"epsg": np.nan, "proj:epsg": "32631"},
     {"proj:epsg": None, "proj:code": "EPSG:32631"}],
)  # fmt: skip
def test_stac_may_leave_one_name_of_the_crs_empty(coords: dict[str, Any]) -> None:
    array = xr.DataArray(np.ones((4, 5)), dims=("y", "x"), coords={"y": 50 - np.arange(4.0), "x": np.arange(5.0)})
    assert array.assign_coords(coords).geosr.geobox.crs.epsg == 32631
    assert array.assign_coords(dict.fromkeys(coords)).geosr.geobox.crs is None


@pytest.mark.parametrize("nothing", ["none", "", None, []])
def test_a_nodata_that_is_no_number_is_none(nothing: Any) -> None:
    array = xr.DataArray(np.ones((4, 5), "int16"), dims=("y", "x"), attrs={"_FillValue": nothing})
    assert nodata_of(array) is None
    assert nodata_of(array.assign_attrs(nodata="7")) == 7
    assert array.geosr.upscale("nearest", 2).shape == (8, 10)
