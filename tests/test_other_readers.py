"""Arrays as other libraries open them: the pixels of the file path, in the right place, lazily."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import geosr
from geosr.xarray import open_raster
from tests import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rioxarray

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""Of odc-geo and rioxarray, with a newer affine."""

OPTIONS: dict[str, Any] = {"model": "fast", "scale": 2, "tile": 32}
FINE = Affine(5, 0, 500_000, 0, -5, 5_000_000)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bands of 60 x 70 pixels of 10 m."""
    folder = tmp_path_factory.mktemp("readers")
    return scenes.make_plain(folder, shape=(2, 60, 70), nodata=0)


@pytest.fixture(scope="module")
def stored(scene: Path) -> NDArray[np.uint16]:
    with rasterio.open(scene) as file:
        return file.read()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def expected(scene: Path) -> NDArray[np.uint16]:
    geosr.upscale(scene, scene.with_name("fine.tif"), workers=1, snr=50, mtf=0.3, **OPTIONS)
    with rasterio.open(scene.with_name("fine.tif")) as file:
        return file.read()  # type: ignore[no-any-return]


def upscale(array: xr.DataArray) -> xr.DataArray:
    """Lazily: nothing may be computed before it is asked for."""

    def nothing(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=nothing):
        return array.geosr.upscale(OPTIONS["model"], OPTIONS["scale"], tile=OPTIONS["tile"], snr=50, mtf=0.3)  # type: ignore[no-any-return]


def test_rioxarray(scene: Path, expected: NDArray[np.uint16]) -> None:
    with rioxarray.open_rasterio(scene, chunks=25) as array:
        fine = upscale(array)
        assert np.array_equal(fine.values, expected)
    assert fine.rio.transform() == FINE
    assert fine.rio.crs == "EPSG:32631"
    assert fine.rio.nodata == 0


def test_odc_stac_gives_variables_over_time(stored: NDArray[np.uint16], expected: NDArray[np.uint16]) -> None:
    geobox = GeoBox((60, 70), FINE @ Affine.scale(2), "EPSG:32631")
    days = np.array(["2024-05-01", "2024-05-11"], "M8[ns]")
    coords = {"time": ("time", days), **xr_coords(geobox)}
    layers = {
        name: (("time", "y", "x"), da.from_array(np.stack([band, band[::-1]]), chunks=(1, 25, 70)), {"nodata": 0})
        for name, band in zip(("red", "nir"), stored, strict=True)
    }
    cube = xr.Dataset(layers, coords=coords)
    for name, band in zip(("red", "nir"), expected, strict=True):
        cube[name].encoding["grid_mapping"] = "spatial_ref"
        fine = upscale(cube[name])
        assert np.array_equal(fine[0].values, band)
        assert fine.dims == ("time", "y", "x")
        assert fine.attrs["nodata"] == 0
        assert fine.odc.geobox == geobox.zoom_to(resolution=5)
    assert np.array_equal(cube.geosr.upscale("nearest", 2).time.values, days)


def test_stackstac_gives_floats_with_corners_for_coordinates(
    stored: NDArray[np.uint16], expected: NDArray[np.uint16]
) -> None:
    """(time, band, y, x) in float64 with NaN; coordinates of the upper left corners; the CRS as a number, `epsg`."""
    values = np.where(stored == 0, np.nan, stored.astype(float))[None]
    spec = {"epsg": 32631, "bounds": (500_000, 4_999_400, 500_700, 5_000_000), "resolutions_xy": (10.0, 10.0)}
    array = xr.DataArray(
        da.from_array(values, chunks=(1, 1, 30, 30)),
        dims=("time", "band", "y", "x"),
        coords={
            "time": np.array(["2024-05-01"], "M8[ns]"),
            "band": ["red", "nir"],
            "y": 5_000_000 - 10.0 * np.arange(60),
            "x": 500_000 + 10.0 * np.arange(70),
            "epsg": 32631,
            "proj:transform": ("time", [None]),
        },
        attrs={"spec": spec, "crs": "epsg:32631", "transform": FINE @ Affine.scale(2), "resolution": 10.0},
    )  # fmt: skip
    fine = upscale(array)
    assert fine.dims == array.dims
    assert np.abs(fine.values[0] - expected).max() <= 0.5 + 1e-3
    assert fine.band.values.tolist() == ["red", "nir"]
    assert fine.geosr.geobox == GeoBox((120, 140), FINE, "EPSG:32631")
    assert fine.x.values[0] == 500_002.5
    assert fine.attrs["resolution"] == 5.0
    assert array[..., 10:, 20:].geosr.geobox.transform == FINE @ Affine.scale(2) @ Affine.translation(20, 10)
    centred = array.assign_coords(x=array.x + 5, y=array.y - 5)
    assert centred[..., 10:, 20:].geosr.geobox == array[..., 10:, 20:].geosr.geobox


def test_open_zarr(tmp_path: Path, scene: Path, stored: NDArray[np.uint16], expected: NDArray[np.uint16]) -> None:
    pytest.importorskip("zarr")
    open_raster(scene, chunks=30).rename("sr").to_zarr(tmp_path / "scene.zarr", zarr_format=2, consolidated=True)
    kept = xr.open_zarr(tmp_path / "scene.zarr", decode_coords="all", mask_and_scale=False)
    fine = upscale(kept.sr)
    assert np.array_equal(fine.values, expected)
    assert fine.geosr.geobox == GeoBox((120, 140), FINE, "EPSG:32631")
    floats = upscale(xr.open_zarr(tmp_path / "scene.zarr", decode_coords="all").sr)
    assert floats.dtype.kind == "f"
    assert np.nanmax(np.abs(floats.values - expected)) <= 0.5 + 1e-3


def test_plain_numpy_with_coordinates(stored: NDArray[np.uint16], expected: NDArray[np.uint16]) -> None:
    coords = {"y": 5_000_000 - 5 - 10.0 * np.arange(60), "x": 500_005 + 10.0 * np.arange(70)}
    array = xr.DataArray(stored, dims=("band", "y", "x"), coords=coords, attrs={"_FillValue": 0})
    fine = upscale(array)
    assert isinstance(fine.data, np.ndarray)
    assert np.array_equal(fine.values, expected)
    assert fine.geosr.geobox.transform == FINE
    assert np.array_equal(upscale(array.transpose("x", "band", "y")).transpose("band", "y", "x").values, expected)
