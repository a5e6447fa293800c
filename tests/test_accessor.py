"""`da.geosr` and `ds.geosr` as an analyst uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import geosr
from geosr.errors import InputError
from tests import scenes


def test_an_upscaled_array_is_written_as_a_cog_with_the_same_pixels_and_metadata(tmp_path: Path) -> None:
    src = scenes.make_rich(tmp_path)
    fine = geosr.open_raster(src, chunks=16).geosr.upscale("bicubic", 2, tile=16)
    seen: list[int] = []
    path = fine.geosr.to_geotiff(tmp_path / "out.tif", progress=lambda done, total: seen.append(done))
    with rasterio.open(path) as file, rasterio.open(src) as before:
        assert np.array_equal(file.read(), fine.values)
        assert (file.crs, file.nodata) == (before.crs, before.nodata)
        assert file.bounds == before.bounds
        assert (file.descriptions, file.scales, file.offsets) == (before.descriptions, before.scales, before.offsets)
        assert file.tags()["GEOSR_MODEL"] == "bicubic"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert seen == list(range(1, len(seen) + 1))


def test_dimensions_in_another_order_are_written_as_bands(tmp_path: Path) -> None:
    stored = scenes.pixels((2, 30, 40))
    array = xr.DataArray(stored, dims=("band", "y", "x")).transpose("y", "band", "x")
    path = array.chunk(13).geosr.to_geotiff(tmp_path / "out.tif", cog=False, co={"COMPRESS": "NONE"})
    with scenes.quiet(), rasterio.open(path) as file:
        assert np.array_equal(file.read(), stored)


def _calibrated(path: Path) -> Path:
    scenes.make_plain(path.parent, path.name)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03", "B04")
        file.scales, file.offsets, file.units = (1e-4, 2e-4, 4e-4), (-0.1, 0.0, 0.2), ("a", "", "c")
    return path


@pytest.mark.parametrize("order", [[2, 1, 0], [0, 2], [1]])
def test_calibration_follows_the_bands_that_are_chosen(tmp_path: Path, order: list[int]) -> None:
    array = geosr.open_raster(_calibrated(tmp_path / "a.tif")).isel(band=order)
    for number, each in enumerate((array, array.squeeze("band") if len(order) == 1 else array)):
        path = each.geosr.upscale("nearest", 2).geosr.to_geotiff(tmp_path / f"{number}.tif")
        with rasterio.open(path) as file, rasterio.open(tmp_path / "a.tif") as source:
            for name in ("descriptions", "scales", "offsets", "units"):
                assert getattr(file, name) == tuple(getattr(source, name)[band] for band in order)


def test_colours_of_bands_come_through(tmp_path: Path) -> None:
    path = scenes.make_photo(tmp_path)
    array = geosr.open_raster(path).isel(band=[0, 1, 2])
    path = array.geosr.upscale("nearest", 2).geosr.to_geotiff(tmp_path / "rgb.tif")
    with scenes.quiet(), rasterio.open(path) as file:
        assert [color.name for color in file.colorinterp] == ["red", "green", "blue"]


@pytest.mark.parametrize("crs", ['LOCAL_CS["site grid",UNIT["metre",1]]', "EPSG:4978"])
def test_grids_that_are_neither_projected_nor_geographic_are_carried(tmp_path: Path, crs: str) -> None:
    path = scenes.make_plain(tmp_path, crs=crs)
    fine = geosr.open_raster(path).geosr.upscale("nearest", 2)
    assert fine.y.attrs["units"] == "metre"
    with rasterio.open(fine.geosr.to_geotiff(tmp_path / "fine.tif")) as file, rasterio.open(path) as source:
        assert file.crs == source.crs
        assert file.bounds == source.bounds


def test_calibration_of_other_bands_is_refused(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_plain(tmp_path)).isel(band=[0, 1])
    array.attrs["scale_factor"] = (1e-4, 2e-4, 4e-4)
    with pytest.raises(InputError, match="scale_factor has 3 values for 2 bands"):
        array.geosr.to_geotiff(tmp_path / "b.tif")


def test_a_nodata_that_pixels_can_not_hold_is_refused() -> None:
    array = xr.DataArray(scenes.pixels(), dims=("band", "y", "x"))
    with pytest.raises(InputError, match="nodata -1 can't occur in uint16"):
        array.geosr.upscale("nearest", 2, nodata=-1)


@pytest.mark.parametrize("chunks", ["auto", None])
def test_a_nodata_that_is_given_is_what_the_result_declares(tmp_path: Path, chunks: str | None) -> None:
    path = scenes.make_plain(tmp_path)
    array = geosr.open_raster(path, chunks=chunks).assign_attrs(_FillValue=np.uint16(0))
    fine = array.geosr.upscale("nearest", 2, nodata=65535)
    assert fine.attrs["_FillValue"] == 65535
    with rasterio.open(fine.geosr.to_geotiff(tmp_path / "b.tif")) as file:
        assert file.nodata == 65535
    assert "_FillValue" not in geosr.open_raster(path).geosr.upscale("nearest", 2).attrs


def test_a_cube_over_time_is_not_a_geotiff(tmp_path: Path) -> None:
    cube = xr.DataArray(scenes.pixels((2, 30, 40)), dims=("time", "y", "x"))
    with pytest.raises(InputError, match="along time"):
        cube.geosr.to_geotiff(tmp_path / "out.tif")
    cube[0].geosr.to_geotiff(tmp_path / "out.tif")
    with pytest.raises(InputError, match="overwrite"):
        cube[0].geosr.to_geotiff(tmp_path / "out.tif")


def test_a_dataset_is_upscaled_variable_by_variable(tmp_path: Path) -> None:
    dims, stored = ("time", "y", "x"), scenes.pixels((2, 30, 40))
    dataset = xr.Dataset(
        {"B04": (dims, stored), "scl": (dims, stored % 11, {"flag_meanings": "a b"}), "angle": ("time", [1.0, 2.0])},
        coords={"y": 100 - np.arange(30.0), "x": np.arange(40.0)},
        attrs={"title": "cube"},
    )  # fmt: skip
    fine = dataset.chunk(x=16).geosr.upscale("bicubic", 2)
    assert list(fine.data_vars) == ["B04", "scl", "angle"]
    assert dict(fine.sizes) == {"time": 2, "y": 60, "x": 80}
    assert fine.attrs == {"title": "cube"}
    assert np.array_equal(fine.scl.values, dataset.scl.values.repeat(2, 1).repeat(2, 2))
    assert np.array_equal(fine.B04.values, dataset.B04.geosr.upscale("bicubic", 2).values)
    assert fine.geosr.geobox.resolution.x == 0.5
    with pytest.raises(InputError, match="no variable"):
        dataset[["angle"]].geosr.upscale("bicubic", 2)


def test_a_grid_mapping_that_was_read_as_a_variable_is_understood() -> None:
    coords = {"y": 100 - np.arange(30.0), "x": np.arange(40.0)}
    dataset = xr.Dataset({"red": (("y", "x"), scenes.pixels((1, 30, 40))[0])}, coords=coords)
    dataset["crs"] = ((), 0, {"spatial_ref": "EPSG:32631"})
    dataset.red.attrs["grid_mapping"] = "crs"
    fine = dataset.geosr.upscale("nearest", 2)
    assert fine.geosr.geobox.crs.epsg == 32631
    assert "crs" in fine.coords
    assert fine.red.attrs["grid_mapping"] == "crs"


@pytest.mark.slow
def test_the_plan_is_that_of_the_result(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_plain(tmp_path))
    plan = array.geosr.plan("fast", 2, tile=32)
    assert (plan.shape, plan.scale) == ((2, 2), 2)
    assert plan.halo > 4


def test_before_and_after_are_drawn_over_the_same_ground_with_the_same_stretch(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_plain(tmp_path))
    figure = array.geosr.compare(array.geosr.upscale("nearest", 2))
    figure.savefig(tmp_path / "compare.png")
    before, after = (axes.images[0] for axes in figure.axes)
    assert before.get_extent() == after.get_extent()
    assert np.array_equal(before.get_array().repeat(2, 0).repeat(2, 1), after.get_array())
    assert (tmp_path / "compare.png").stat().st_size > 1000


@pytest.mark.slow
def test_importing_geosr_stays_light_and_open_raster_brings_the_accessor() -> None:
    code = (
        "import sys, geosr; assert not {'xarray', 'dask', 'torch'} & set(sys.modules); geosr.open_raster; "
        "import xarray; assert hasattr(xarray.DataArray, 'geosr'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", ["int64", "float16", "complex64"])
def test_a_type_that_no_result_has_is_refused_with_the_way_out(tmp_path: Path, dtype: str) -> None:
    array = xr.DataArray(np.ones((8, 9), dtype), dims=("y", "x"))
    for write, name in ((array.geosr.to_geotiff, "a.tif"), (array.geosr.to_zarr, "a.zarr")):
        with pytest.raises(InputError, match=rf"pixels of type {dtype} can't be written; .*\.astype\(\)"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_figure_shows_none_of_the_numbers_that_stand_for_no_data_in_each_band(tmp_path: Path) -> None:
    stored = np.stack([np.arange(300)] * 2).reshape(2, 15, 20).astype("uint16")
    array = geosr.open_raster(scenes.write(tmp_path / "two.tif", stored)).assign_attrs(nodatavals=(50, 100))
    (shown,) = array.geosr.compare(array, bands=[1]).axes[0].images
    assert shown.get_array().ravel()[[50, 100, 101]].tolist() == pytest.approx([0.15, 1.0, 0.33], abs=0.01)


def test_the_order_of_bytes_is_no_other_type(tmp_path: Path) -> None:
    array = xr.DataArray(scenes.pixels().astype(">u2"), dims=("band", "y", "x"))
    with scenes.quiet(), rasterio.open(array.geosr.to_geotiff(tmp_path / "a.tif")) as file:
        assert np.array_equal(file.read(), array.values)


def test_numbers_of_numpy_are_tags_and_statistics_of_old_pixels_are_none(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_plain(tmp_path)).assign_attrs(
        gain=np.float32(0.1), orbit=np.int64(7), ascending=np.bool_(True), STATISTICS_MEAN=12.5, GEOSR_MODEL="mine"
    )
    with rasterio.open(array.geosr.to_geotiff(tmp_path / "a.tif")) as file:
        tags = file.tags()
    stored = xr.open_zarr(array.geosr.to_zarr(tmp_path / "a.zarr"))["data"].attrs
    for told in (tags, stored):
        assert (str(told["orbit"]), str(told["ascending"]), told["GEOSR_MODEL"]) == ("7", "True", "mine")
        assert np.float32(told["gain"]) == np.float32(0.1)
        assert "STATISTICS_MEAN" not in told
