"""Where the pixels of arrays lie, in the words of the libraries that make them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import geosr.xarray
from geosr.errors import InputError
from geosr.xarray.axis import line_of
from tests import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rioxarray

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""Of odc-geo and rioxarray, with a newer affine."""

TEN = Affine(10, 0, 500_000, 0, -10, 5_000_000)
UTM = "EPSG:32631"
WKT = pyproj.CRS(UTM).to_wkt()
HEIGHT = 35_786_023.0
GEOS = {
    "grid_mapping_name": "geostationary", "perspective_point_height": HEIGHT, "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.31414, "latitude_of_projection_origin": 0.0, "longitude_of_projection_origin": -75.0,
    "sweep_angle_axis": "x",
}  # fmt: skip


def array_of(transform: Affine = TEN, shape: tuple[int, int] = (20, 30), **options: Any) -> xr.DataArray:
    """Pixels with the centres of a north-up transform for coordinates."""
    rows, cols = (np.arange(side) + 0.5 for side in shape)
    coords = {"y": transform.f + transform.e * rows, "x": transform.c + transform.a * cols}
    pixels = np.arange(shape[0] * shape[1], dtype="uint16").reshape(shape)
    return xr.DataArray(pixels, dims=("y", "x"), coords=coords, **options)


def with_mapping(array: xr.DataArray, attrs: dict[str, Any], told: str = "crs", name: str = "crs") -> xr.DataArray:
    array = array.assign_coords({name: ((), 0, attrs)})
    array.encoding["grid_mapping"] = told
    return array


class Area:
    """What geosr asks of pyresample's AreaDefinition, in whose words satpy tells places."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height, self.shape = width, height, (height, width)
        self.crs = pyproj.CRS(UTM)
        self.area_extent = (500_000.0, 4_999_800.0, 500_300.0, 5_000_000.0)

    def copy(self, *, width: int, height: int) -> Area:
        return Area(width, height)


BARE = array_of().drop_vars(["x", "y"])
TOLD = {
    "rioxarray, in the array": array_of(attrs={"crs": UTM}),
    "rasterio once": array_of(attrs={"crs": "+init=epsg:32631", "transform": tuple(TEN)[:6], "res": (10.0, 10.0)}),
    "CF's long form": with_mapping(array_of(), {"crs_wkt": WKT}, "crs: x y"),
    "CF's long form for two": with_mapping(
        with_mapping(array_of(), {"spatial_ref": "EPSG:4326"}, name="geo"), {"crs_wkt": WKT}, "geo: lat lon crs: x y"
    ),
    "satpy's coordinate": array_of().assign_coords(crs=((), np.array(pyproj.CRS(UTM), object))),
    "satpy's area": BARE.assign_attrs(area=Area(30, 20)),
    "GDAL's Zarr": array_of(attrs={"_CRS": {"wkt": WKT, "url": "http://www.opengis.net/def/crs/EPSG/0/32631"}}),
    "GDAL's Zarr by address": array_of(attrs={"_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/32631"}}),
    "geowombat": array_of(attrs={"crs": 32631, "transform": tuple(TEN)[:6], "res": (10.0, 10.0)}),
    "pyproj's object": array_of(attrs={"crs": pyproj.CRS(UTM)}),
    "EOPF": BARE.assign_attrs({"proj:epsg": 32631, "proj:transform": [*TEN], "proj:shape": [20, 30]}),
    "STAC": array_of(attrs={"proj:code": UTM}),
    "STAC in WKT": array_of(attrs={"proj:wkt2": WKT}),
    "STAC in JSON": array_of(attrs={"proj:projjson": pyproj.CRS(UTM).to_json_dict()}),
    "GeoZarr": BARE.assign_attrs({"proj:code": UTM, "spatial:transform": list(TEN)[:6], "spatial:shape": [20, 30]}),
    "SNAP": with_mapping(array_of(), {"wkt": WKT}),
}  # fmt: skip


@pytest.mark.parametrize("array", TOLD.values(), ids=TOLD.keys())
def test_a_place_is_found_wherever_a_library_puts_it(array: xr.DataArray, tmp_path: Path) -> None:
    assert array.geosr.geobox == GeoBox((20, 30), TEN, UTM)
    fine = array.geosr.upscale("nearest", 2)
    assert fine.geosr.geobox == GeoBox((40, 60), TEN @ Affine.scale(0.5), UTM)
    assert fine.rio.transform() == TEN @ Affine.scale(0.5)
    assert fine.odc.geobox == fine.geosr.geobox
    with rasterio.open(fine.geosr.to_geotiff(tmp_path / "fine.tif")) as file:
        assert (file.crs, file.transform) == (rasterio.CRS.from_epsg(32631), TEN @ Affine.scale(0.5))


@pytest.mark.parametrize("array", TOLD.values(), ids=TOLD.keys())
def test_words_that_describe_the_grid_are_those_of_the_new_one(array: xr.DataArray) -> None:
    fine = array.geosr.upscale("nearest", 2)
    told = fine.attrs
    for key in ("transform", "proj:transform", "spatial:transform"):
        if key in array.attrs:
            assert list(told[key])[:6] == [5, 0, 500_000, 0, -5, 5_000_000]
            assert type(told[key]) is type(array.attrs[key])
            assert len(told[key]) == len(array.attrs[key])
    for key in ("proj:shape", "spatial:shape"):
        assert told.get(key, [40, 60]) == [40, 60]
    assert told.get("res", (5.0, 5.0)) == (5.0, 5.0)
    assert getattr(told.get("area"), "shape", (40, 60)) == (40, 60)
    assert fine.encoding["grid_mapping"] in fine.coords


def test_a_shape_that_is_not_the_arrays_makes_a_transform_no_place() -> None:
    cut = TOLD["EOPF"][4:, 6:]
    assert cut.geosr.geobox.transform.is_identity
    cube = array_of(attrs=TOLD["EOPF"].attrs)[4:, 6:]
    assert cube.geosr.geobox == GeoBox((20, 30), TEN, UTM)[4:, 6:]


def test_what_told_of_the_old_grid_is_gone_and_the_rest_stays() -> None:
    attrs = {
        "multiscales": [{}], "tile_matrix_set": "x", "spatial_resolution": "300m", "GRIB_Nx": 30, "STATISTICS_MEAN": 3,
        "spatial:bbox": [1, 2, 3, 4], "proj:bbox": [1, 2, 3, 4], "nodatavals": (0,), "resolution": "10 m",
        "area": "Tyrol", "geospatial_lat_resolution": 0.5, "time_resolution": "P1D", "transform": "log10",
        "zarr_conventions": [{"name": "multiscales"}, {"name": "spatial"}],
    }  # fmt: skip
    array = array_of(attrs=attrs).assign_coords({"proj:transform": 1, "proj:shape": 2, "gsd": 10})
    fine = array.geosr.upscale("nearest", 2)
    told = {key: value for key, value in fine.attrs.items() if not key.startswith("GEOSR_")}
    assert told == {
        "spatial:bbox": [1, 2, 3, 4], "proj:bbox": [1, 2, 3, 4], "nodatavals": (0,), "resolution": "5 m",
        "area": "Tyrol", "geospatial_lat_resolution": 0.25, "time_resolution": "P1D", "transform": "log10",
        "zarr_conventions": [{"name": "spatial"}],
    }  # fmt: skip
    assert not {"proj:transform", "proj:shape"} & set(fine.coords)
    assert fine.gsd == 10


def test_coordinates_tell_their_new_range_and_step() -> None:
    array = array_of()
    array.x.attrs = {"actual_range": [500_005.0, 500_295.0], "valid_min": 500_005.0, "valid_max": 1e6, "step": 10.0}
    geobox = GeoBox((20, 30), TEN, UTM)
    fine = array.geosr.upscale("nearest", 2)
    assert fine.x.attrs == {
        "actual_range": [500_002.5, 500_297.5],
        "valid_min": 500_002.5,
        "valid_max": 1e6,
        "step": 5.0,
    }
    odc = xr.DataArray(array.values, dims=("y", "x"), coords=xr_coords(geobox)).geosr.upscale("nearest", 2)
    assert (odc.x.attrs["resolution"], odc.y.attrs["resolution"]) == (5.0, -5.0)


def test_what_a_row_or_a_column_has_is_repeated_and_positions_lie_in_between() -> None:
    array = BARE.rename(y="row", x="col").assign_coords(
        when=("row", np.arange(20).astype("M8[s]")), line=("row", np.arange(20)),
        lon=("col", 11 + 0.1 * (np.arange(30) + 0.5), {"standard_name": "longitude"}),
        tile=(("row", "col"), np.full((20, 30), "T31")),
    )  # fmt: skip
    fine = array.geosr.upscale("nearest", 3)
    assert np.array_equal(fine.when, np.repeat(array.when, 3))
    assert np.array_equal(fine.line, np.repeat(array.line, 3))
    assert np.allclose(fine.lon, 11 + 0.1 / 3 * (np.arange(90) + 0.5), rtol=0, atol=1e-13)
    assert fine.tile.shape == (60, 90)


@pytest.mark.parametrize("declared", [True, False])
def test_coordinates_in_kilometres_lie_where_the_same_in_metres_do(declared: bool, tmp_path: Path) -> None:
    array = array_of(Affine(1, 0, 500, 0, -1, 5000), attrs={"crs": UTM})
    for name in "xy":
        array[name].attrs["units"] = "km"
    if declared:
        array = array.rio.write_crs(UTM).rio.write_transform()
    assert array.geosr.geobox == GeoBox((20, 30), Affine(1000, 0, 5e5, 0, -1000, 5e6), UTM)
    fine = array.geosr.upscale("nearest", 2)
    assert fine.geosr.geobox == GeoBox((40, 60), Affine(500, 0, 5e5, 0, -500, 5e6), UTM)
    assert fine.geosr.upscale("nearest", 2).geosr.geobox.transform.a == 250
    assert fine.x.values[0] == 500.25
    assert fine.x.attrs["units"] == "km"
    with rasterio.open(fine.geosr.to_geotiff(tmp_path / "fine.tif")) as file:
        assert file.transform == Affine(500, 0, 5e5, 0, -500, 5e6)


@pytest.mark.parametrize(
    ("unit", "size"), [("rad", 1.0), ("radians", 1.0), ("microradian", 1e-6), ("degrees", np.pi / 180)]
)
def test_scanning_angles_are_multiplied_by_the_height_of_the_satellite(unit: str, size: float, tmp_path: Path) -> None:
    array = with_mapping(array_of(Affine(5.6e-5 / size, 0, -0.05 / size, 0, -5.6e-5 / size, 0.09 / size)), GEOS)
    for name in "xy":
        array[name].attrs["units"] = unit
    fine = array.geosr.upscale("nearest", 2)
    with rasterio.open(fine.geosr.to_geotiff(tmp_path / "fine.tif")) as file:
        expected = [2.8e-5 * HEIGHT, 0, -0.05 * HEIGHT, 0, -2.8e-5 * HEIGHT, 0.09 * HEIGHT]
        assert np.allclose(tuple(file.transform)[:6], expected, rtol=1e-12)
        assert file.crs.to_dict()["proj"] == "geos"
    assert np.allclose(fine.x.values[0], (-0.05 + 1.4e-5) / size)


def test_degrees_of_a_geographic_crs_stay_degrees() -> None:
    array = array_of(Affine(0.01, 0, 11, 0, -0.01, 46), attrs={"crs": "EPSG:4326"})
    array.x.attrs["units"], array.y.attrs["units"] = "degrees_east", "degrees_north"
    assert array.geosr.geobox.transform == Affine(0.01, 0, 11, 0, -0.01, 46)


GRIDS = [
    (150.123456, 9e-5),
    (11.123456, 1e-4),
    (-180.0, 1 / 120),
    (-180.125, 0.25),
    (500_000.0, 10.0),
    (-0.151872, 5.6e-5),
]


@pytest.mark.parametrize(("left", "step"), GRIDS)
@pytest.mark.parametrize("stored", ["f4", "f4 in f8", "f8"])
def test_the_grid_that_coordinates_were_rounded_from_is_found_exactly(left: float, step: float, stored: str) -> None:
    centres = left + step * (np.arange(2000) + 0.5)
    values: NDArray[Any] = centres if stored == "f8" else centres.astype("f4")
    assert line_of(values.astype("f8") if stored == "f4 in f8" else values) == (left, step)


@given(left=st.floats(-1e6, 1e6), step=st.floats(1e-4, 1e3), size=st.integers(2, 300))
def test_coordinates_of_any_line_lie_on_what_is_found(left: float, step: float, size: int) -> None:
    for dtype in ("f4", "f8"):
        values: NDArray[Any] = (left + step * (np.arange(size) + 0.5)).astype(dtype)
        edge, found = line_of(values)
        off = np.abs(edge + found * (np.arange(size) + 0.5) - values.astype(float)).max()
        assert off <= 5 * np.spacing(np.abs(values).max())


@pytest.mark.parametrize("left", [150.12345612345678, 11.0])
def test_a_transform_beside_coordinates_in_float32_is_the_grid(left: float) -> None:
    transform = Affine(9e-5, 0, left, 0, -9e-5, -33.765432187654321)
    array = array_of(transform, (2000, 2000)).rio.write_crs(4326).rio.write_transform(transform)
    array = array.assign_coords(x=array.x.astype("f4"), y=array.y.astype("f4"))
    assert array.geosr.geobox.transform == transform
    assert array[7:, 5:].geosr.geobox.transform == transform @ Affine.translation(5, 7)
    other = array.rio.write_transform(transform @ Affine.translation(0.5, 0))
    assert other.geosr.geobox.transform.c == pytest.approx(left, abs=1e-6)


def test_the_identity_is_no_place(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, transform=None)
    with scenes.quiet(), rioxarray.open_rasterio(path) as array:
        for each in (array, array[:, 5:, 7:], geosr.open_raster(path)):
            fine = each.geosr.upscale("nearest", 2)
            assert fine.geosr.geobox.transform.is_identity
            written = fine.geosr.to_geotiff(tmp_path / "fine.tif", overwrite=True)
            with rasterio.open(written) as file:
                assert file.transform.is_identity
                assert file.crs == array.rio.crs
    degrees = {"units": "degrees"}
    lies = array_of(Affine(1, 0, 0, 0, 1, 0)).assign_coords(x=("x", np.arange(30) + 0.5, degrees))
    assert lies.geosr.upscale("nearest", 2).geosr.geobox.transform.a == 0.5


def test_longitudes_that_start_again_are_told_where() -> None:
    east = np.r_[355:360, 0:5].astype(float)
    array = xr.DataArray(
        np.ones((5, 10)), dims=("lat", "lon"), coords={"lat": np.arange(50.0, 45, -1), "lon": east}, name="t"
    )
    with pytest.raises(InputError, match=r"^t: coordinate lon is not evenly spaced: it jumps from 359 to 0; add 360"):
        array.geosr.upscale("nearest", 2)
    turned = array.assign_coords(lon=xr.where(array.lon < 180, array.lon + 360, array.lon))
    assert turned.geosr.geobox.transform.c == 354.5
