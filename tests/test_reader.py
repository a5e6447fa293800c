"""Files as lazy arrays: the same pixels, place and metadata as rasterio and rioxarray see."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import geosr
from geosr.errors import InputError
from geosr.xarray.cf import grid_of
from geosr.xarray.scenes import sensor_of
from tests import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rioxarray

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
"""Of odc-geo and rioxarray, with a newer affine."""


@pytest.mark.parametrize(
    "make",
    [scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_rich],
)  # fmt: skip
def test_a_file_lies_where_rioxarray_sees_it_with_the_same_numbers(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path)
    ours = geosr.open_raster(path, chunks=16)
    with rioxarray.open_rasterio(path) as theirs:
        assert np.array_equal(ours.values, theirs.values)
        assert ours.rio.crs == theirs.rio.crs
        assert np.allclose(tuple(ours.rio.transform())[:6], tuple(theirs.rio.transform())[:6], rtol=1e-12)
        assert ours.geosr.geobox == theirs.geosr.geobox
        assert ours.rio.nodata == theirs.rio.nodata
        for key in ("scale_factor", "add_offset", "_FillValue", "long_name"):
            assert np.array_equal(ours.attrs.get(key), theirs.attrs.get(key))


def test_chunks_follow_blocks_and_wishes(tmp_path: Path) -> None:
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 32, "interleave": "band"}
    path = scenes.make_plain(tmp_path, shape=(3, 300, 200), **tiled)
    assert geosr.open_raster(path).chunks == ((1, 1, 1), (300,), (200,))
    assert geosr.open_raster(path, chunks=128).chunks == ((1, 1, 1), (128, 128, 44), (128, 72))
    assert geosr.open_raster(path, chunks={"band": 3, "y": 100}).chunks[:2] == ((3,), (100, 100, 100))
    assert geosr.open_raster(path, chunks=None).chunks is None
    with pytest.raises(InputError, match="rows"):
        geosr.open_raster(path, chunks={"rows": 3})


@pytest.mark.parametrize("chunks", ["auto", 16])
@pytest.mark.parametrize(
    "index",
    [0, -1, (slice(None), 5), (1, slice(3, 30), 7), (slice(None), slice(None, None, 4), slice(1, None, 3)),
     (slice(None, None, -1), slice(None), slice(40, 3, -2)), ([2, 0], slice(None), [1, 5]), (0, slice(9, 9))],
)  # fmt: skip
def test_any_part_of_a_lazy_array_is_what_the_whole_has_there(index: Any, chunks: Any, tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    lazy, whole = geosr.open_raster(path, chunks=chunks), geosr.open_raster(path, chunks=None)
    assert np.array_equal(lazy[index].values, whole[index].values)


def test_every_fourth_pixel_is_upscaled_like_the_same_array_in_memory(tmp_path: Path) -> None:
    thin = geosr.open_raster(scenes.make_plain(tmp_path), chunks=16)[:, ::4, ::4]
    fine = thin.geosr.upscale("bicubic", 2)
    assert np.array_equal(fine.values, thin.compute().geosr.upscale("bicubic", 2).values)


def test_bands_are_chosen_by_number_or_name_and_keep_theirs(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03", "SCL")
    array = geosr.open_raster(path, bands=["SCL", "B02"], chunks=16)
    assert array.band_name.values.tolist() == ["SCL", "B02"]
    assert array.band_categorical.values.tolist() == [True, False]
    with rasterio.open(path) as file:
        assert np.array_equal(array.values, file.read([3, 1]))


def test_a_mask_is_warned_of_or_becomes_nan(tmp_path: Path) -> None:
    path = scenes.make_masked(tmp_path)
    with pytest.warns(UserWarning, match="masked=True"):
        geosr.open_raster(path)
    array = geosr.open_raster(path, masked=True)
    with rasterio.open(path) as file:
        assert np.array_equal(np.isnan(array.values).any(axis=0), file.dataset_mask() == 0)
        assert np.array_equal(np.nan_to_num(array.values), np.where(file.dataset_mask() > 0, file.read(), 0))


def test_rpcs_are_warned_of(tmp_path: Path) -> None:
    path = scenes.make_rpcs(tmp_path)
    with pytest.warns(UserWarning, match="RPCs, which a DataArray has no place for") as told:
        array = geosr.open_raster(path)
    assert len(told) == 1
    with scenes.quiet(), rasterio.open(path) as file:
        assert np.array_equal(array.values, file.read())


def test_control_points_come_through_arrays_as_they_do_through_files(tmp_path: Path) -> None:
    path = scenes.make_gcps(tmp_path)
    geosr.upscale(path, tmp_path / "file.tif", model="nearest", scale=2)
    with scenes.quiet(), rasterio.open(tmp_path / "file.tif") as file:
        expected, crs = file.gcps
    with rioxarray.open_rasterio(path) as theirs:
        for number, array in enumerate((geosr.open_raster(path), theirs)):
            fine = array.geosr.upscale("nearest", 2)
            assert [(each.row, each.col) for each in fine.rio.get_gcps()] == [(each.row, each.col) for each in expected]
            written = fine.geosr.to_geotiff(tmp_path / f"{number}.tif")
            with scenes.quiet(), rasterio.open(written) as file:
                assert file.gcps[1] == crs
                assert file.transform.is_identity
                for one, other in zip(file.gcps[0], expected, strict=True):
                    assert (one.row, one.col, one.x, one.y, one.z) == (other.row, other.col, other.x, other.y, other.z)


def test_grids_that_differ_by_a_millionth_of_a_pixel_are_one(tmp_path: Path) -> None:
    step, left = 10 / 3, 500_000.0
    paths = []
    for number, (shift, size) in enumerate(((0, step), (1e-6, step * (1 + 1e-9)), (0.01, step))):
        transform = Affine(size, 0, left + shift * step, 0, -size, 5_000_000)
        paths.append(scenes.make_plain(tmp_path, f"S_2020010{number + 1}.tif", transform=transform))
    assert geosr.open_raster(paths[:2]).geosr.geobox == geosr.open_raster(paths[0]).geosr.geobox
    with pytest.raises(InputError, match="not on one grid"):
        geosr.open_raster(paths[::2])


def test_nodata_of_a_masked_array_goes_to_the_encoding(tmp_path: Path) -> None:
    path = scenes.make_nodata(tmp_path)
    array = geosr.open_raster(path, masked=True, chunks=16)
    with rasterio.open(path) as file:
        assert array.encoding["_FillValue"] == array.rio.encoded_nodata == file.nodata
        assert np.array_equal(np.isnan(array.values), file.read() == file.nodata)


def test_files_of_one_grid_become_a_time_axis_in_order(tmp_path: Path) -> None:
    paths = [
        scenes.make_plain(tmp_path, f"S_{day}.tif", seed=index) for index, day in enumerate(("20240309", "20240102"))
    ]
    cube = geosr.open_raster(paths, chunks=32)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.time.values.astype("M8[D]").astype(str).tolist() == ["2024-01-02", "2024-03-09"]
    assert np.array_equal(cube[0].values, geosr.open_raster(paths[1]).values)
    assert cube.geosr.geobox == geosr.open_raster(paths[0]).geosr.geobox
    other = scenes.make_plain(tmp_path, "other.tif", shape=(3, 20, 20))
    with pytest.raises(InputError, match="one grid"):
        geosr.open_raster([*paths, other])


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("LC08_L2SP_224078_20200518_20200820_02_T1_B4.tif", "2020-05-18T00:00:00"),
        ("L8_20200518_20200820.tif", "2020-05-18T00:00:00"),
        ("S2A_MSIL1C_20240309T093041_N0510.tif", "2024-03-09T09:30:41"),
        ("s_20240101_999999.tif", "2024-01-01T00:00:00"),
        ("s_20230231.tif", None),
        ("2240780_plain.tif", None),
    ],
)
def test_a_time_is_read_from_a_name(name: str, time: str | None, tmp_path: Path) -> None:
    cube = geosr.open_raster([scenes.make_plain(tmp_path, name)])
    assert ("time" in cube.coords) == (time is not None)
    assert time is None or cube.time.values[0] == np.datetime64(time)


def test_an_open_raster_pickles_small_and_reads_only_a_crop(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_plain(tmp_path, shape=(3, 400, 400)), chunks=100)
    assert len(pickle.dumps(array.data)) < 20_000
    crop = array[:, 150:160, 20:30]
    assert np.array_equal(pickle.loads(pickle.dumps(crop)).values, array.values[:, 150:160, 20:30])


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_text("hello")
    with pytest.raises(InputError, match="not a raster"):
        geosr.open_raster(bad)


def test_one_file_in_two_chunkings_is_two_arrays_that_can_be_added(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    small, large = (geosr.open_raster(path, chunks=side) for side in (16, 32))
    assert small.data.name == geosr.open_raster(path, chunks=16).data.name != large.data.name
    assert np.array_equal((small - large).values, np.zeros(small.shape))


def test_a_mask_of_one_band_is_a_gap_in_all_however_bands_are_chunked(tmp_path: Path) -> None:
    path = _make_masked_bands(tmp_path)
    expected = np.zeros((2, 20, 30), bool)
    expected[:, :5] = expected[:, -3:] = True
    for band in (1, 2):
        array = geosr.open_raster(path, chunks={"band": band}, masked=True)
        assert np.array_equal(np.isnan(array.values), expected)
        assert np.array_equal(np.isnan(array[1].values), expected[1])
    alone = geosr.open_raster(path, bands=[1], masked=True)
    assert np.isnan(alone.values).sum() == 5 * 30


def _make_masked_bands(folder: Path) -> Path:
    """Two bands with masks of their own: the first rows of one, the last of the other."""
    names = []
    for band, gap in ((1, np.s_[:5]), (2, np.s_[-3:])):
        path = scenes.make_plain(folder, f"{band}.tif", shape=(1, 20, 30), seed=band)
        mask = np.full((20, 30), 255, "uint8")
        mask[gap] = 0
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
        names.append(path.name)
    source = '<SourceFilename relativeToVRT="1">{}</SourceFilename><SourceBand>{}</SourceBand>'
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}"><SimpleSource>{source.format(name, 1)}</SimpleSource>'
        f'<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>{source.format(name, "mask,1")}</SimpleSource>'
        "</VRTRasterBand></MaskBand></VRTRasterBand>"
        for band, name in enumerate(names, start=1)
    )
    vrt = folder / "masks.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="30" rasterYSize="20">{bands}</VRTDataset>')
    return vrt


def _make_dates(folder: Path, **told: tuple[Any, Any]) -> list[Path]:
    """Two dates of one place, of which a file's properties and tags tell one thing and another."""
    paths = [scenes.make_plain(folder, f"S_{year}0101.tif", seed=year) for year in (2023, 2020)]
    for number, path in enumerate(paths):
        with rasterio.open(path, "r+") as file:
            for key, values in told.items():
                if key.isupper():
                    file.update_tags(**{key: values[number]})
                else:
                    setattr(file, key, values[number])
    return paths


def test_each_date_keeps_its_own_scale_and_offset(tmp_path: Path) -> None:
    paths = _make_dates(tmp_path, scales=((1e-4,) * 3,) * 2, offsets=((-0.1,) * 3, (0.0,) * 3), units=(("1",) * 3,) * 2)
    cube = geosr.open_raster(paths)
    assert cube.band_offset.values.tolist() == [[0.0] * 3, [-0.1] * 3]
    assert cube.band_scale.values.tolist() == [[1e-4] * 3] * 2
    assert not {"scale_factor", "add_offset"} & set(cube.attrs)
    assert cube.attrs["units"] == "1"
    for number, path in enumerate(reversed(paths)):
        for pick in (number, [number]):
            written = (
                cube.isel(time=pick).geosr.upscale("nearest", 2).geosr.to_geotiff(tmp_path / "o.tif", overwrite=True)
            )
            with rasterio.open(written) as file, rasterio.open(path) as source:
                assert (file.scales, file.offsets, file.units) == (source.scales, source.offsets, source.units)


def test_of_tags_a_stack_has_those_that_agree_and_of_names_both(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04")
    tags = {"CLOUDS": ("10", "80"), "LEVEL": ("2A", "2A")}
    same = geosr.open_raster(_make_dates(tmp_path, descriptions=(names, names), **tags))
    assert same.attrs["LEVEL"] == "2A"
    assert "CLOUDS" not in same.attrs
    assert same.attrs["long_name"] == names
    assert same.band_name.dims == ("band",)
    with pytest.warns(UserWarning, match="differ in sensor, in bands"):
        turned = geosr.open_raster(_make_dates(tmp_path, descriptions=(names, names[::-1])))
    assert turned.band_name.values.tolist() == [list(names[::-1]), list(names)]
    assert "long_name" not in turned.attrs


def test_a_stack_of_two_sensors_is_none_of_them(tmp_path: Path) -> None:
    paths = _make_dates(tmp_path, PLATFORM=("Sentinel-2A", "Landsat-8"))
    with pytest.warns(UserWarning, match="differ in sensor"):
        cube = geosr.open_raster(paths)
    assert sensor_of(cube, grid_of(cube)).sensor is None


def test_files_that_differ_in_kind_are_no_stack(tmp_path: Path) -> None:
    paths = _make_dates(tmp_path, descriptions=(("SCL", "B03", "B04"), ("B02", "B03", "B04")))
    with pytest.raises(InputError, match="differ in which bands hold classes: "):
        geosr.open_raster(paths)
