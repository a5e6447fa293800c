"""From file to file: whatever the scene, the result lies in the same place and keeps what the scene had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.api import upscale
from geosr.errors import InputError
from geosr.io.categorical import names_classes
from geosr.io.destination import default_name
from geosr.io.metadata import placed
from tests import scenes

MAKERS = [
    scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_dateline,
    scenes.make_local_crs, scenes.make_custom_crs, scenes.make_no_crs, scenes.make_gcps, scenes.make_rpcs,
    scenes.make_nodata, scenes.make_nan, scenes.make_nodata_per_band, scenes.make_masked, scenes.make_alpha,
    scenes.make_palette, scenes.make_rich, scenes.make_photo,
]  # fmt: skip
WITH_GAPS = (
    scenes.make_nodata, scenes.make_nan, scenes.make_nodata_per_band, scenes.make_masked, scenes.make_alpha,
)  # fmt: skip


@pytest.mark.parametrize("format", ["COG", "GTiff"])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("make_"))
def test_place_type_metadata_and_validity_are_kept(tmp_path: Path, make: Callable[[Path], Path], format: str) -> None:
    path = make(tmp_path)
    result = upscale(path, tmp_path / "result.tif", model="bicubic", scale=3, format=format, workers=1)
    with scenes.quiet(), rasterio.open(path) as src, rasterio.open(result["path"]) as dst:
        assert dst.shape == (3 * src.shape[0], 3 * src.shape[1])
        assert dst.crs == src.crs or (src.crs is None and not dst.crs)
        assert dst.dtypes == src.dtypes
        assert (dst.descriptions, dst.scales, dst.offsets, dst.units) == (
            src.descriptions, src.scales, src.offsets, src.units,
        )  # fmt: skip
        assert (len(dst.gcps[0]), dst.rpcs is None) == (len(src.gcps[0]), src.rpcs is None)
        assert set(src.tag_namespaces()) <= set(dst.tag_namespaces()) | {"xml:VRT"}
        assert dst.transform.is_identity == src.transform.is_identity
        if not src.transform.is_identity:
            for col, row in ((0, 0), (src.width, 0), (0, src.height), (src.width, src.height)):
                old, new = placed(src.transform, col, row), placed(dst.transform, 3 * col, 3 * row)
                assert new == pytest.approx(old, rel=1e-14)
        before, after = valid(src), valid(dst)
    assert before.all() == (make not in WITH_GAPS)
    assert np.array_equal(after, before.repeat(3, axis=1).repeat(3, axis=2))


def valid(file: rasterio.DatasetReader) -> NDArray[np.bool_]:
    """Where each band has a value, (bands, height, width)."""
    return np.asarray((file.read_masks() > 0) & ~np.isnan(file.read()))


def upscaled(path: Path, model: str = "nearest", **options: Any) -> tuple[NDArray[Any], float | None]:
    """Pixels and nodata of a result at twice the size."""
    result = upscale(path, path.parent / "result.tif", model=model, scale=2, workers=1, overwrite=True, **options)
    with scenes.quiet(), rasterio.open(result["path"]) as dst:
        return dst.read(), dst.nodata


def test_classes_keep_their_numbers_where_bands_differ_in_nodata(tmp_path: Path) -> None:
    stored = scenes.pixels((2, 40, 50), "uint8", low=0, high=11)
    scenes.write(tmp_path / "two.tif", stored)
    path = scenes.make_vrt(
        tmp_path, ["two.tif"] * 2, dtype="Byte", nodata=[0, None], bands=[1, 2], descriptions=["B04", "SCL"]
    )
    assert (stored[1] == 0).any()
    result, nodata = upscaled(path)
    assert nodata == 0
    assert np.array_equal(result[1], stored[1].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    "name", ["LC08_224078_QA_PIXEL.TIF", "T31UFS_SCL_20m.tif", "bqa.tif", "MSK_CLASSI_B00.tif", "land cover.tif"]
)
def test_a_file_that_is_called_as_classes_are_is_repeated(tmp_path: Path, name: str) -> None:
    stored = scenes.pixels((1, 40, 50)) // 900
    result, _ = upscaled(scenes.write(tmp_path / name, stored), "bicubic")
    assert np.array_equal(result, stored.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("name", "classes"),
    [("QA60", True), ("QA_PIXEL", True), ("BQA", True), ("qa", True), ("SCL_20m", True), ("cloud_mask", True),
     ("B04", False), ("qatar_2020", False), ("sclera", False), ("glass", False)],
)  # fmt: skip
def test_names_tell_classes_from_measurements(name: str, classes: bool) -> None:
    assert names_classes(name) == classes


def test_pixels_without_a_place_have_none_after_a_cut(tmp_path: Path) -> None:
    path = scenes.make_no_crs(tmp_path)
    upscaled(path, bounds=(5, 5, 20, 20))
    with scenes.quiet(), rasterio.open(tmp_path / "result.tif") as file:
        assert file.transform.is_identity
        assert file.shape == (30, 30)


def test_a_file_whose_zero_is_white_keeps_its_numbers_and_says_so(tmp_path: Path) -> None:
    stored = scenes.pixels((1, 40, 50), "uint8")
    path = scenes.write(tmp_path / "white.tif", stored, photometric="MINISWHITE")
    result = upscale(path, tmp_path / "result.tif", model="nearest", scale=2)
    assert [line for line in result["warnings"] if "MINISWHITE" in line]
    with rasterio.open(tmp_path / "result.tif") as file:
        assert np.array_equal(file.read(), stored.repeat(2, 1).repeat(2, 2))
        assert file.colorinterp[0] != ColorInterp.palette


@pytest.mark.parametrize("model", ["nearest", "bicubic"])
def test_fill_in_float32_stays_fill_beside_a_band_of_float64(model: str, tmp_path: Path) -> None:
    narrow = scenes.pixels((1, 40, 50), "float32")
    narrow[:, :9, :7] = -9999.9
    scenes.write(tmp_path / "narrow.tif", narrow)
    scenes.make_plain(tmp_path, "wide.tif", shape=(1, 40, 50), dtype="float64")
    path = scenes.make_vrt(tmp_path, ["narrow.tif", "wide.tif"], dtype=["Float32", "Float64"], nodata=[-9999.9, None])
    result, nodata = upscaled(path, model)
    gap = result[0] == nodata
    assert gap.sum() == 4 * 9 * 7
    assert result[0][~gap].min() > 90


def test_fill_in_float32_reads_as_nodata_in_a_result_of_float64(tmp_path: Path) -> None:
    path = scenes.make_nodata(tmp_path, nodata=-9999.9, dtype="float32")
    with rasterio.open(path) as src:
        gaps = (src.read_masks() == 0).sum()
    for nodata in (None, -9999.9):
        result, told = upscaled(path, dtype="float64", nodata=nodata)
        assert (result == told).sum() == 4 * gaps > 0


def test_nan_as_nodata_is_brought_to_the_number_of_the_other_bands(tmp_path: Path) -> None:
    stored = scenes.pixels((2, 40, 50), "float32")
    stored[0, :5, :5] = np.nan
    stored[1, 8:, 8:] = -1
    scenes.write(tmp_path / "two.tif", stored)
    path = scenes.make_vrt(tmp_path, ["two.tif"] * 2, dtype="Float32", nodata=["nan", -1], bands=[1, 2])
    result, nodata = upscaled(path, "bicubic")
    assert nodata == -1
    assert ((result == -1).sum(axis=(1, 2)) == [100, 4 * 32 * 42]).all()


def test_a_colour_that_stands_for_no_data_is_not_taken_apart(tmp_path: Path) -> None:
    stored = scenes.pixels((3, 40, 50), "uint8", low=0, high=255)
    stored[:, :6, :6] = np.array([0, 255, 0], "uint8")[:, None, None]
    path = scenes.write(tmp_path / "green.tif", stored)
    with rasterio.open(path, "r+") as file:
        file.update_tags(NODATA_VALUES="0 255 0")
    with rasterio.open(path) as file:
        void = file.read_masks(1) == 0
    assert void.sum() == 36
    assert (stored[1][~void] == 255).any()
    result, _ = upscaled(path)
    assert np.array_equal(result, stored.repeat(2, 1).repeat(2, 2))
    with rasterio.open(tmp_path / "result.tif") as file:
        assert np.array_equal(file.read_masks(1) == 0, void.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("nodata", "void"), [("none", None), (7, 7)])
def test_a_number_for_no_data_takes_the_place_of_a_colour(tmp_path: Path, nodata: str | int, void: int | None) -> None:
    stored = scenes.pixels((3, 40, 50), "uint8", low=8, high=255)
    stored[:, :6, :6] = np.array([0, 255, 0], "uint8")[:, None, None]
    stored[:, 30:, 30:] = 7
    path = scenes.write(tmp_path / "green.tif", stored)
    with rasterio.open(path, "r+") as file:
        file.update_tags(NODATA_VALUES="0 255 0")
    upscale(path, tmp_path / "result.tif", model="nearest", scale=2, nodata=nodata)
    with rasterio.open(tmp_path / "result.tif") as file:
        expected = np.full((40, 50), True) if void is None else (stored != void).all(axis=0)
        assert np.array_equal(file.read_masks(1) > 0, expected.repeat(2, 0).repeat(2, 1))


def test_a_mask_of_the_file_goes_before_its_alpha_band(tmp_path: Path) -> None:
    path = scenes.make_alpha(tmp_path)
    with rasterio.open(path) as file:
        stored = file.read()
    void = np.zeros(stored.shape[1:], bool)
    void[-7:, -9:] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(~void)
    upscale(path, tmp_path / "result.tif", model="nearest", scale=2)
    with rasterio.open(tmp_path / "result.tif") as file:
        assert np.array_equal(file.read(4), stored[3].repeat(2, 0).repeat(2, 1))
        assert np.array_equal(file.read_masks(1) == 0, void.repeat(2, 0).repeat(2, 1))


def test_a_number_beyond_the_type_is_no_nodata(tmp_path: Path) -> None:
    path = scenes.make_dtype(tmp_path, "float32")
    with pytest.raises(InputError, match="can't occur in float32"):
        upscale(path, tmp_path / "result.tif", nodata=-1.7976931348623157e308)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_every_type_goes_in_and_out(tmp_path: Path, dtype: str) -> None:
    path = scenes.make_dtype(tmp_path, dtype)
    result = upscale(path, tmp_path / "result.tif", model="nearest", scale=2, workers=1)
    with rasterio.open(path) as src, rasterio.open(result["path"]) as dst:
        assert dst.dtypes == src.dtypes
        assert np.array_equal(dst.read(), src.read().repeat(2, axis=1).repeat(2, axis=2))


def test_another_type_does_not_change_what_an_alpha_band_means(tmp_path: Path) -> None:
    path = scenes.make_alpha(tmp_path)
    with pytest.raises(InputError, match="has an alpha band in uint8"):
        upscale(path, tmp_path / "result.tif", model="nearest", dtype="float32")
    upscale(path, tmp_path / "result.tif", model="nearest", dtype="float32", bands=[1])


def test_three_hundred_bands_work(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, shape=(300, 4, 5))
    result = upscale(path, tmp_path / "result.tif", model="bicubic", scale=2, workers=1)
    with rasterio.open(result["path"]) as dst:
        assert (dst.count, dst.height, dst.width) == (300, 8, 10)


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("NETCDF:{}:red", "cube_red_x2.tif"),
        ('NETCDF:"{}":band 4', "cube_band_4_x2.tif"),
        ("SENTINEL2_L2A:{}:10m:EPSG_32632", "cube_10m_EPSG_32632_x2.tif"),
        ("GTIFF_DIR:2:{}", "cube_x2.tif"),
        ("{}", "cube_x2.tif"),
    ],
)
def test_each_raster_in_a_file_has_a_result_of_its_own(tmp_path: Path, inside: str, name: str) -> None:
    (tmp_path / "cube.nc").touch()
    assert default_name(inside.format(tmp_path / "cube.nc"), "x2") == tmp_path / name
