"""Datasets: pixels are upscaled, what stands beside them follows or stays, and nothing is aligned away."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (registers the accessor)
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import geosr.xarray  # noqa: F401  (registers the accessor)
from geosr.errors import InputError
from tests import scenes

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""Of odc-geo, with a newer affine."""

DAYS = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
GRIDMET = {
    "grid_mapping_name": "latitude_longitude", "longitude_of_prime_meridian": 0.0, "semi_major_axis": 6378137.0,
    "long_name": "WGS 84", "inverse_flattening": 298.257223563, "GeoTransform": "11.0 0.01 0 46.0 -0.01",
    "spatial_ref": 'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]',
}  # fmt: skip
"""gridMET's variable `crs`: of one element along a dimension of its own, with a transform of five numbers."""


def edges(centres: NDArray[Any], step: float) -> NDArray[Any]:
    return np.stack([centres - step / 2, centres + step / 2], -1)


def climate(ascending_cells: bool = False) -> xr.Dataset:
    """Temperatures of two days on 50 x 60 cells of a hundredth of a degree, with CF bounds."""
    lat, lon = 46 - 0.01 * (np.arange(50) + 0.5), 11 + 0.01 * (np.arange(60) + 0.5)
    tas = scenes.pixels((2, 50, 60), "float32")
    return xr.Dataset(
        {
            "tas": (("time", "lat", "lon"), tas),
            "lat_bnds": (("lat", "bnds"), edges(lat, 0.01 if ascending_cells else -0.01)),
            "lon_bnds": (("lon", "bnds"), edges(lon, 0.01)),
            "time_bnds": (("time", "bnds"), np.stack([DAYS, DAYS + np.timedelta64(1, "D")], -1)),
            "srf": (("band", "wavelength"), np.ones((3, 10))),
            "gauge": (("time", "station"), np.arange(6.0).reshape(2, 3)),
        },
        coords={
            "lat": ("lat", lat, {"bounds": "lat_bnds", "units": "degrees_north"}),
            "lon": ("lon", lon, {"bounds": "lon_bnds", "units": "degrees_east"}),
            "time": ("time", DAYS, {"bounds": "time_bnds"}),
            "station": ["a", "b", "c"],
        },
    )


@pytest.mark.parametrize("ascending_cells", [False, True])
@pytest.mark.parametrize("as_coordinates", [False, True])
def test_bounds_are_cut_and_everything_beside_the_grid_stays(ascending_cells: bool, as_coordinates: bool) -> None:
    dataset = climate(ascending_cells)
    bounds = ["lat_bnds", "lon_bnds", "time_bnds"]
    dataset = dataset.set_coords(bounds) if as_coordinates else dataset
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = dataset.geosr.upscale("bicubic", 4)
    sizes = {"time": 2, "lat": 200, "lon": 240, "bnds": 2, "band": 3, "wavelength": 10, "station": 3}
    assert dict(fine.sizes) == sizes
    assert list(fine.data_vars) == list(dataset.data_vars)
    assert set(fine.coords) == set(dataset.coords)
    assert np.array_equal(fine.tas, dataset.tas.geosr.upscale("bicubic", 4))
    for name in ("time_bnds", "srf", "gauge", "time", "station"):
        assert fine[name].identical(dataset[name])
    for dim, first in (("lat", 46.0), ("lon", 11.0)):
        cells = fine[f"{dim}_bnds"].values
        assert np.allclose(cells.mean(axis=1), fine[dim], rtol=0, atol=1e-12)
        assert np.allclose(np.abs(np.diff(cells)), 0.0025, rtol=0, atol=1e-12)
        assert first in cells[0]
        assert np.sign(np.diff(cells)[0]) == np.sign(np.diff(dataset[f"{dim}_bnds"])[0])


def test_a_table_that_comes_first_is_not_the_grid() -> None:
    dataset = xr.Dataset({"table": (("k", "w"), np.ones((4, 3))), "tas": climate().tas})
    assert dataset.geosr.geobox.shape == (50, 60)
    assert dataset.geosr.upscale("nearest", 2).table.identical(dataset.table)


def test_the_only_two_dimensions_are_rows_and_columns() -> None:
    dataset = xr.Dataset({"dem": (("a", "b"), np.ones((4, 3), "f4"))})
    assert dict(dataset.geosr.upscale("nearest", 2).sizes) == {"a": 8, "b": 6}


def test_rows_columns_texts_and_times_are_repeated() -> None:
    dataset = climate().assign(
        scanned=("lat", np.arange(50).astype("M8[s]").astype("M8[ns]")),
        gain=(("lon", "band"), np.arange(180.0).reshape(60, 3)),
        tile=(("lat", "lon"), np.arange(3000).astype(str).reshape(50, 60)),
        seen=(("lat", "lon"), np.arange(3000).astype("M8[s]").astype("M8[ns]").reshape(50, 60)),
    )
    fine = dataset.geosr.upscale("nearest", 2)
    assert np.array_equal(fine.scanned, dataset.scanned.values.repeat(2))
    assert np.array_equal(fine.gain, dataset.gain.values.repeat(2, 0))
    for name in ("tile", "seen"):
        assert fine[name].dtype == dataset[name].dtype
        assert np.array_equal(fine[name], dataset[name].values.repeat(2, 0).repeat(2, 1))


def test_what_only_old_pixels_have_is_left_out_and_told() -> None:
    dataset = climate().assign(
        cell=(("lat", "lon"), np.ones((50, 60)), {"standard_name": "cell_area"}),
        corners=(("lat", "lon", "vertex"), np.ones((50, 60, 4))),
        longitude2=(("lat", "lon"), np.ones((50, 60)), {"units": "degrees_east", "bounds": "corners"}),
    )
    dataset = dataset.assign_coords(height=(("lat", "lon"), np.ones((50, 60))))
    dataset.tas.encoding = {"coordinates": "height station_name", "chunksizes": (1, 5, 5)}
    with pytest.warns(UserWarning, match="value for each old pixel or cell: cell, corners, height, longitude2") as told:
        fine = dataset.geosr.upscale("nearest", 2)
    assert len(told) == 1
    assert not {"cell", "corners", "height", "longitude2"} & set(fine.variables)
    assert fine.tas.encoding == {"coordinates": "station_name"}


def test_the_place_of_a_gridmet_file_is_found_and_renewed() -> None:
    dataset = climate()[["tas"]].assign_coords(crs=("crs", np.array([3], "u2"), GRIDMET))
    dataset.tas.attrs["grid_mapping"] = "crs"
    expected = GeoBox((50, 60), Affine(0.01, 0, 11, 0, -0.01, 46), "EPSG:4326")
    for each in (dataset, dataset.reset_index("crs").reset_coords("crs")):
        assert each.geosr.geobox == expected
        fine = each.geosr.upscale("nearest", 2)
        assert fine.geosr.geobox == expected.zoom_out(0.5)
        assert fine.crs.sizes == {"crs": 1}
        assert fine.crs.attrs["GeoTransform"] == "11.0 0.005 0.0 46.0 0.0 -0.005"


@pytest.mark.parametrize(
    "attrs",
    [{"proj:code": "EPSG:32631", "spatial:transform": [10, 0, 500_000, 0, -10, 5_000_000], "spatial:shape": [50, 60]},
     {"crs": "EPSG:32631", "transform": (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)}],
    ids=["GeoZarr", "rasterio"],
)  # fmt: skip
def test_a_place_that_the_dataset_tells_is_that_of_its_variables(attrs: dict[str, Any], tmp_path: Path) -> None:
    dataset = xr.Dataset(
        {"red": (("y", "x"), np.ones((50, 60), "u2"))}, attrs=attrs | {"multiscales": [], "title": "t"}
    )
    grid = GeoBox((50, 60), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32631")
    assert dataset.geosr.geobox == grid
    fine = dataset.geosr.upscale("nearest", 2)
    assert fine.geosr.geobox == fine.red.geosr.geobox == fine.red.odc.geobox == grid.zoom_out(0.5)
    assert fine.attrs["title"] == "t"
    assert "multiscales" not in fine.attrs
    told = fine.attrs.get("spatial:transform", fine.attrs.get("transform"))
    assert list(told) == [5, 0, 500_000, 0, -5, 5_000_000]
    with rasterio.open(fine.red.geosr.to_geotiff(tmp_path / "a.tif")) as file:
        assert (file.crs.to_epsg(), file.transform.a) == (32631, 5)


def test_a_result_in_netcdf_lies_where_gdal_sees_its_source(tmp_path: Path) -> None:
    dataset = climate()[["tas", "lat_bnds", "lon_bnds"]].isel(time=0, drop=True)
    dataset = dataset.assign_coords(
        crs=((), 0, {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0})
    )
    dataset.tas.attrs["grid_mapping"] = "crs"
    dataset.lat.attrs |= {"actual_range": [45.505, 45.995], "standard_name": "latitude"}
    dataset.lon.attrs |= {"actual_range": [11.005, 11.595], "standard_name": "longitude"}
    found = []
    for name, each in (("a.nc", dataset), ("b.nc", dataset.geosr.upscale("nearest", 2))):
        each.to_netcdf(tmp_path / name)
        with rasterio.open(f"netcdf:{tmp_path / name}:tas") as file:
            found.append((file.bounds, file.res, file.shape))
    assert np.allclose(found[1][0], found[0][0], rtol=0, atol=1e-9)
    assert np.allclose(found[1][1], (0.005, 0.005), rtol=0, atol=1e-9)
    assert found[1][2] == (100, 120)


def test_errors_name_the_variable() -> None:
    with pytest.raises(InputError, match=r"^label: pixels of type int64"):
        climate().assign(label=(("lat", "lon"), np.ones((50, 60), "i8"))).geosr.upscale("nearest", 2)
    with pytest.raises(InputError, match="sst has dimensions time, ny, nx; geosr looks for"):
        xr.Dataset({"sst": (("time", "ny", "nx"), np.ones((1, 4, 5)))}).geosr.upscale("nearest", 2)
    with pytest.raises(InputError, match=r"^tas: coordinate lat is not evenly spaced; regrid it first"):
        climate().isel(lat=[0, 1, 5]).geosr.upscale("nearest", 2)


def test_variables_that_were_joined_are_bands(tmp_path: Path) -> None:
    dims, stored = ("y", "x"), scenes.pixels((2, 30, 40))
    joined = xr.Dataset({"B04": (dims, stored[0]), "scl": (dims, stored[1] % 11)}).to_array()
    fine = joined.geosr.upscale("bicubic", 2)
    assert np.array_equal(fine[1], (stored[1] % 11).repeat(2, 0).repeat(2, 1))
    with scenes.quiet(), rasterio.open(fine.geosr.to_geotiff(tmp_path / "a.tif")) as file:
        assert file.descriptions == ("B04", "scl")
        assert np.array_equal(file.read(), fine.values)


def test_a_lazy_dataset_stays_lazy() -> None:
    dataset = climate().assign(gain=("lat", np.arange(50.0))).chunk(lat=16)
    fine = dataset.geosr.upscale("bicubic", 2)
    assert fine.tas.chunks is not None
    assert np.array_equal(fine.tas, climate().tas.geosr.upscale("bicubic", 2))
    assert np.array_equal(fine.gain, dataset.gain.values.repeat(2))


def test_a_stackstac_cube_lies_in_one_place_as_an_array_and_as_a_dataset() -> None:
    """Its coordinates are those of the corners, and the transform is an attribute of the whole."""
    transform = Affine(10, 0, 600_000, 0, -10, 5_100_000)
    coords = {"band": ["red", "nir"], "x": 600_000 + 10.0 * np.arange(60), "y": 5_100_000 - 10.0 * np.arange(50)}
    stac = {
        "epsg": 32632,
        "proj:shape": ("band", [1, 2]),
        "proj:transform": ("band", [1, 2]),
        "gsd": ("band", [10, 10]),
    }
    attrs = {"crs": "epsg:32632", "transform": transform, "resolution": 10.0}
    cube = xr.DataArray(scenes.pixels((2, 50, 60)), dims=("band", "y", "x"), coords=coords | stac, attrs=attrs)
    fine, split = cube.geosr.upscale("nearest", 2), cube.to_dataset("band").geosr.upscale("nearest", 2)
    expected = GeoBox((100, 120), Affine(5, 0, 600_000, 0, -5, 5_100_000), "EPSG:32632")
    assert fine.geosr.geobox == split.geosr.geobox == split.red.odc.geobox == expected
    assert np.array_equal(split.x, fine.x)
    assert split.attrs["transform"] == expected.transform
    assert split.attrs["resolution"] == 5
    for each in (fine, split):
        assert not {"proj:shape", "proj:transform"} & set(each.coords)
        assert each.gsd.values.tolist() == [10, 10]
