"""`da.geosr.to_zarr`: arrays of any dimensions into a store that xarray gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (the accessor that is asked)
import pandas as pd
import pytest
import rioxarray  # noqa: F401  (the accessor that is asked)
import xarray as xr
from distributed import Client, LocalCluster

import geosr
import geosr.xarray  # the accessor
from geosr.errors import InputError
from tests import scenes
from tests.test_zarr import contents

pytestmark = pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::UserWarning:distributed",
    "ignore:The codec `vlen-utf8` is currently not part:UserWarning",
)


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"ZARR_FORMAT": str(request.param), "BLOCKSIZE": "32"}


def test_an_upscaled_array_is_the_store_of_the_file_path(tmp_path: Path, version: dict[str, str]) -> None:
    src = scenes.make_plain(tmp_path, shape=(2, 90, 101), nodata=0)
    geosr.upscale(src, tmp_path / "file.zarr", model="bicubic", scale=2, co=version)
    lazy = geosr.open_raster(src, chunks=64).geosr.upscale("bicubic", 2, tile=48)
    seen: list[int] = []
    path = lazy.geosr.to_zarr(
        tmp_path / "array.zarr", co=version, progress=lambda done, total: seen.append(total - done)
    )
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0
    for group in (None, "1", "2"):
        one = xr.open_zarr(path, group=group, mask_and_scale=False)["data"]
        two = xr.open_zarr(tmp_path / "file.zarr", group=group, mask_and_scale=False)["data"]
        np.testing.assert_array_equal(one.values, two.values)
        assert (one.rio.crs, one.rio.transform(), one.dims) == (two.rio.crs, two.rio.transform(), two.dims)
        assert one.attrs["_FillValue"] == two.attrs["_FillValue"] == 0
        assert one.attrs["GEOSR_MODEL"] == "bicubic"


def cube() -> xr.DataArray:
    """Three days of two bands, dimensions in an odd order."""
    stored = np.stack([scenes.pixels((2, 70, 85), seed=day) for day in range(3)])
    coords = {
        "time": pd.date_range("2026-05-01", periods=3),
        "band": ["red", "nir"],
        "y": 5_000_000 - 10 * (np.arange(70) + 0.5),
        "x": 500_000 + 10 * (np.arange(85) + 0.5),
        "cloud": ("time", [0.1, 0.5, 0.9]),
        "platform": "one",
    }
    array = xr.DataArray(stored, dims=("time", "band", "y", "x"), coords=coords, name="reflectance")
    array.attrs = {"instrument": "MSI", "levels": np.array([1, 2]), "odd": float("nan")}
    return array.rio.write_crs(scenes.UTM).transpose("y", "time", "x", "band")


@pytest.mark.parametrize("chunked", [True, False])
def test_a_cube_keeps_its_days_bands_and_coordinates(tmp_path: Path, version: dict[str, str], chunked: bool) -> None:
    array = cube().chunk({"y": 33, "x": 40, "time": 1}) if chunked else cube()
    path = array.geosr.to_zarr(tmp_path / "cube.zarr", co=version)
    found = xr.open_zarr(path)["reflectance"]
    assert found.dims == ("time", "band", "y", "x")
    expected = array.compute().transpose(*found.dims)
    np.testing.assert_array_equal(found.values, expected.values)
    for name in ("time", "band", "y", "x", "cloud", "platform"):
        np.testing.assert_array_equal(
            found.coords[name].values.astype(expected.coords[name].dtype), expected.coords[name]
        )
    assert found.rio.crs == scenes.UTM
    assert found.odc.geobox == array.odc.geobox
    assert (found.attrs["instrument"], found.attrs["levels"], found.attrs["odd"]) == ("MSI", [1, 2], "nan")
    half = xr.open_zarr(path, group="1")["reflectance"]
    day = expected.isel(time=1).geosr.to_zarr(tmp_path / "day.zarr", co=version)
    np.testing.assert_array_equal(half.isel(time=1), xr.open_zarr(day, group="1")["reflectance"])


def test_a_plane_of_two_dimensions_stays_one(tmp_path: Path, version: dict[str, str]) -> None:
    array = cube().isel(time=0, band=0, drop=True).astype("float32")
    found = xr.open_zarr(array.geosr.to_zarr(tmp_path / "plane.zarr", co=version))["reflectance"]
    assert found.dims == ("y", "x")
    np.testing.assert_array_equal(found, array)


def test_inside_a_client_its_workers_write_the_same_store(tmp_path: Path) -> None:
    lazy = cube().chunk({"y": 40, "x": 40, "time": 1}).geosr.upscale("bicubic", 2)
    co = {"BLOCKSIZE": "64"}
    here = lazy.geosr.to_zarr(tmp_path / "here.zarr", co=co)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        there = lazy.geosr.to_zarr(tmp_path / "there.zarr", co=co)
    assert contents(Path(here)) == contents(Path(there))


def test_a_call_that_was_stopped_goes_on(tmp_path: Path) -> None:
    class EnoughError(Exception):
        """Stops a call."""

    counts: list[int] = []

    def stop(done: int, total: int) -> None:
        counts.append(done)
        if len(counts) == 2:
            raise EnoughError

    array = cube()
    with pytest.raises(EnoughError):
        array.geosr.to_zarr(tmp_path / "o.zarr", co={"BLOCKSIZE": "16"}, workers=1, progress=stop)
    assert not (tmp_path / "o.zarr").exists()
    array.geosr.to_zarr(tmp_path / "o.zarr", co={"BLOCKSIZE": "16"}, workers=1, progress=stop)
    assert len(counts) <= 3  # one that was in flight counts too
    found = xr.open_zarr(tmp_path / "o.zarr")["reflectance"]
    np.testing.assert_array_equal(found, array.transpose(*found.dims))


def test_a_name_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends in"):
        cube().geosr.to_zarr(tmp_path / "o.tif")


def test_what_is_told_of_each_day_is_in_the_store(tmp_path: Path, version: dict[str, str]) -> None:
    days = ("time", "band")
    array = cube().assign_coords(
        band_scale=(days, [[1e-4] * 2] * 3),
        band_offset=(days, [[0.0] * 2, [-0.1] * 2, [-0.1] * 2]),
        band_name=(days, [["red", "nir"]] * 3),
    )
    found = xr.open_zarr(array.geosr.to_zarr(tmp_path / "o.zarr", co=version))["reflectance"]
    assert found.dtype == "uint16"
    for name in ("band_scale", "band_offset", "band_name"):
        np.testing.assert_array_equal(found[name].values.astype(array[name].dtype), array[name].values)
