"""Zarr stores: the pixels of the GeoTIFF, written by the workers, read by everyone else's libraries."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import odc.geo.xr  # noqa: F401  (the accessor that is asked)
import pytest
import rasterio
import rioxarray  # noqa: F401  (the accessor that is asked)
import xarray as xr
import zarr

import geosr
from geosr.errors import InputError, PlaceError, TileError
from geosr.io.zarr import Array, objects
from tests import scenes
from tests.test_endurance import started

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 48}
SMALL = {"BLOCKSIZE": "32"}


def opened(path: Path, group: str | None = None) -> xr.Dataset:
    return xr.open_zarr(path, group=group, mask_and_scale=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two bands with a gap, of odd sizes."""
    stored = scenes.pixels((2, 151, 170))
    stored[:, 40:60, 70:110] = 0
    return scenes.write(tmp_path / "scene.tif", stored, nodata=0)


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> dict[str, str]:
    """The creation option that asks for a version of the layout."""
    return {"ZARR_FORMAT": str(request.param)}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: scenes.make_plain(folder, shape=(1, 130, 141), dtype="uint8"),
        lambda folder: scenes.make_plain(folder, shape=(5, 130, 141), dtype="int16", nodata=-32768),
        lambda folder: scenes.write(
            folder / "f.tif", _with_nan(scenes.pixels((2, 130, 141), "float32")), nodata=np.nan
        ),
        lambda folder: scenes.make_plain(folder, shape=(3, 130, 141), dtype="float64"),
    ],
    ids=["uint8", "int16", "float32 with NaN", "float64"],
)
def test_pixels_and_overviews_are_those_of_the_cog(
    make: Callable[[Path], Path], version: dict[str, str], tmp_path: Path
) -> None:
    src = make(tmp_path)
    geosr.upscale(src, tmp_path / "o.tif", co=SMALL, **OPTIONS)
    geosr.upscale(src, tmp_path / "o.zarr", co=SMALL | version, **OPTIONS)
    with rasterio.open(tmp_path / "o.tif") as cog:
        count = len(cog.overviews(1))
        expected = [cog.read()]
    assert count >= 2
    for level in range(count):
        with rasterio.open(tmp_path / "o.tif", overview_level=level) as cog:
            expected.append(cog.read())
    for level, pixels in enumerate(expected):
        found = opened(tmp_path / "o.zarr", str(level) if level else None)["data"]
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found.values, pixels)
    assert zarr.open_group(tmp_path / "o.zarr", mode="r").metadata.zarr_format == int(version["ZARR_FORMAT"])


def _with_nan(stored: Any) -> Any:
    stored[:, 20:40, 50:90] = np.nan
    return stored


@pytest.mark.parametrize(
    "make",
    [
        scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_dateline,
        scenes.make_custom_crs,
    ],
)  # fmt: skip
def test_rioxarray_and_odc_see_the_grid_of_the_geotiff_at_every_level(
    make: Callable[[Path], Path], version: dict[str, str], tmp_path: Path
) -> None:
    src = make(tmp_path)
    geosr.upscale(src, tmp_path / "o.tif", **OPTIONS)
    geosr.upscale(src, tmp_path / "o.zarr", co={"BLOCKSIZE": "16"} | version, **OPTIONS)
    with rasterio.open(tmp_path / "o.tif") as dataset:
        crs, transform = dataset.crs, dataset.transform
    for level in (0, 1, 2):
        data = opened(tmp_path / "o.zarr", str(level) if level else None)["data"]
        coarse = [value * 2**level if i not in (2, 5) else value for i, value in enumerate(transform[:6])]
        assert data.rio.crs == crs
        assert data.rio.transform()[:6] == pytest.approx(coarse, rel=1e-12)
        assert data.odc.geobox.crs == crs
        assert data.odc.geobox.affine[:6] == pytest.approx(coarse, rel=1e-9)
        assert data.odc.geobox.shape == data.shape[-2:]


def test_scenes_without_crs_and_with_control_points_are_carried(tmp_path: Path) -> None:
    geosr.upscale(scenes.make_no_crs(tmp_path), tmp_path / "none.zarr", **OPTIONS)
    data = opened(tmp_path / "none.zarr")["data"]
    assert data.rio.crs is None
    assert data.odc.geobox is None  # no transform is made up
    src = scenes.make_gcps(tmp_path)
    geosr.upscale(src, tmp_path / "points.zarr", **OPTIONS)
    geosr.upscale(src, tmp_path / "points.tif", **OPTIONS)
    with rasterio.open(tmp_path / "points.tif") as dataset:
        expected = [(point.row, point.col, point.x, point.y, point.z) for point in dataset.gcps[0]]
    found = opened(tmp_path / "points.zarr")["data"].rio.get_gcps()
    assert [(point.row, point.col, point.x, point.y, point.z) for point in found] == expected


def test_nodata_scale_names_tags_and_provenance_are_there(version: dict[str, str], tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(3, 60, 70), nodata=7)
    with rasterio.open(src, "r+") as file:
        file.scales, file.offsets, file.units = (1e-4,) * 3, (-0.1,) * 3, ("m",) * 3
        file.descriptions = ("red", "green", "near infrared")
        file.update_tags(PLACE="here", scale_factor="a tag of that name")
        file.update_tags(2, WAVELENGTH="560")
    geosr.upscale(src, tmp_path / "o.zarr", co=version, **OPTIONS)
    raw, decoded = opened(tmp_path / "o.zarr"), xr.open_zarr(tmp_path / "o.zarr")
    data = raw["data"]
    assert (data.attrs["_FillValue"], data.attrs["scale_factor"], data.attrs["add_offset"]) == (7, 1e-4, -0.1)
    assert [str(name) for name in data.coords["band_name"].values] == ["red", "green", "near infrared"]
    assert list(data.coords["band"]) == [1, 2, 3]
    assert data.attrs["long_name"] == ["red", "green", "near infrared"]
    assert data.attrs["units"] == "m"
    assert (data.attrs["PLACE"], data.attrs["GEOSR_MODEL"], data.attrs["GEOSR_SCALE"]) == ("here", "bicubic", "2")
    assert raw.attrs["band_tags"][1][""] == {"WAVELENGTH": "560"}
    np.testing.assert_allclose(decoded["data"].values, data.values * 1e-4 - 0.1)
    assert decoded["data"].rio.encoded_nodata == 7


def test_integers_without_nodata_stay_integers_to_readers(version: dict[str, str], tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((1, 60, 70), low=0, high=3, dtype="uint8"))
    geosr.upscale(src, tmp_path / "o.zarr", co=version, **OPTIONS)
    assert xr.open_zarr(tmp_path / "o.zarr")["data"].dtype == "uint8"


def test_the_levels_are_listed_as_the_conventions_say(scene: Path) -> None:
    dst = scene.with_name("o.zarr")
    geosr.upscale(scene, dst, co=SMALL, **OPTIONS)
    attributes = dict(zarr.open_group(dst, mode="r").attrs)
    assert {each["name"] for each in attributes["zarr_conventions"]} == {"multiscales", "spatial", "proj"}
    assert attributes["proj:code"] == scenes.UTM
    levels = attributes["multiscales"]["layout"]
    assert [level["asset"] for level in levels[:3]] == ["data", "1/data", "2/data"]
    assert levels[2]["derived_from"] == "1/data"
    group = zarr.open_group(dst, mode="r")
    for level in levels:
        assert list(group[level["asset"]].shape[-2:]) == level["spatial:shape"]
        data = opened(dst, level["asset"].rpartition("/")[0] or None)["data"]
        assert list(data.rio.transform()[:6]) == level["spatial:transform"]


def test_gdal_reads_the_store(scene: Path) -> None:
    geosr.upscale(scene, scene.with_name("o.zarr"), **OPTIONS)
    geosr.upscale(scene, scene.with_name("o.tif"), **OPTIONS)
    with (
        rasterio.open(f'ZARR:"{scene.with_name("o.zarr")}":/data') as one,
        rasterio.open(scene.with_name("o.tif")) as two,
    ):
        assert (one.crs, one.transform, one.nodata) == (two.crs, two.transform, two.nodata)
        np.testing.assert_array_equal(one.read(), two.read())


def test_a_mask_is_an_array_of_its_own_and_outside_an_area_all_is_written(
    version: dict[str, str], tmp_path: Path
) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 200, 220))
    with rasterio.open(src) as dataset:
        left, bottom, right, top = dataset.bounds
    area = scenes.make_geojson(tmp_path, [[(left, top), (right, top), (left, bottom)]], crs=scenes.UTM)
    for name in ("o.tif", "o.zarr"):
        co = SMALL | (version if name == "o.zarr" else {})
        geosr.upscale(src, tmp_path / name, aoi=area, co=co, **OPTIONS)
    found = xr.open_zarr(tmp_path / "o.zarr")
    with rasterio.open(tmp_path / "o.tif") as dataset:
        np.testing.assert_array_equal(found["data"].values, dataset.read())
        np.testing.assert_array_equal(found["mask"].values * 255, dataset.dataset_mask())
    keys = {name for name in contents(tmp_path / "o.zarr") if "mask" in name and name[-1].isdigit() and name[0] == "m"}
    assert len(keys) == -(-400 // 32) * -(-440 // 32)


@pytest.mark.parametrize("options", [{"workers": 3}, {"tile": 16}, {"scheduler": "processes", "workers": 1}], ids=str)
def test_how_it_is_computed_changes_no_byte_of_the_store(scene: Path, options: dict[str, Any]) -> None:
    one, two = scene.with_name("one.zarr"), scene.with_name("two.zarr")
    geosr.upscale(scene, one, co=SMALL, workers=1, **OPTIONS)
    geosr.upscale(scene, two, co=SMALL, **OPTIONS | options)
    assert contents(one) == contents(two)
    assert sorted(path.name for path in scene.parent.iterdir()) == ["one.zarr", "scene.tif", "two.zarr"]


@pytest.mark.lowest
@pytest.mark.parametrize("compress", ["NONE", "LZ4", "DEFLATE", "ZSTD"])
def test_every_codec_is_read_back(scene: Path, version: dict[str, str], compress: str) -> None:
    geosr.upscale(scene, scene.with_name("o.tif"), **OPTIONS)
    geosr.upscale(
        scene, scene.with_name("o.zarr"), co=version | {"COMPRESS": compress, "INTERLEAVE": "BAND"}, **OPTIONS
    )
    with rasterio.open(scene.with_name("o.tif")) as dataset:
        np.testing.assert_array_equal(opened(scene.with_name("o.zarr"))["data"].values, dataset.read())


def test_a_killed_run_goes_on_to_the_same_store(scene: Path) -> None:
    whole, dst = scene.with_name("whole.zarr"), scene.with_name("killed.zarr")
    options: dict[str, Any] = {"model": "bicubic", "tile": 32}
    geosr.upscale(scene, whole, **options)
    notes = dst.with_name(".killed.zarr.partial") / ".geosr" / "tiles"
    for _ in range(2):
        process = started(scene, dst, "--workers", "2")
        before = len(list(notes.iterdir())) if notes.is_dir() else 0
        until(lambda before=before: notes.is_dir() and len(list(notes.iterdir())) > before + 1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not dst.exists()
    with pytest.raises(InputError, match=r"other settings \(model was bicubic and is lanczos\); .*overwrite"):
        geosr.upscale(scene, dst, **options | {"model": "lanczos"})
    report = geosr.upscale(scene, dst, **options)
    assert 0 < report["tiles_from_an_earlier_run"] < report["tiles"]
    assert contents(dst) == contents(whole)
    assert sorted(path.name for path in scene.parent.iterdir()) == ["killed.zarr", "scene.tif", "whole.zarr"]


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_run_on_the_same_store_is_refused(scene: Path) -> None:
    dst = scene.with_name("o.zarr")

    def again(done: int, total: int, pixels: int) -> None:
        if done == 1:
            with pytest.raises(PlaceError, match="another run"):
                geosr.upscale(scene, dst, **OPTIONS)

    geosr.upscale(scene, dst, progress=again, **OPTIONS)
    assert dst.exists()


def test_a_worker_of_a_stopped_run_writes_nothing_into_the_next_one(scene: Path) -> None:
    dst = scene.with_name("o.zarr")
    stopped = geosr.prepare(scene, dst, **OPTIONS | {"model": "nearest"})
    with stopped.open_sink() as sink:
        late = stopped.job(sink.encoder)

        def meanwhile(done: int, total: int, pixels: int) -> None:
            with pytest.raises(TileError, match="another's"):
                late(stopped.plan[0])

    geosr.upscale(scene, dst, progress=meanwhile, **OPTIONS)
    with pytest.raises(TileError, match="another's"):
        late(stopped.plan[0])
    geosr.upscale(scene, scene.with_name("alone.zarr"), **OPTIONS)
    assert contents(dst) == contents(scene.with_name("alone.zarr"))
    assert sorted(path.name for path in scene.parent.glob("*.zarr*")) == ["alone.zarr", "o.zarr"]


def test_a_store_is_replaced_only_when_told_and_nothing_else_ever_is(scene: Path) -> None:
    dst = scene.with_name("o.zarr")
    geosr.upscale(scene, dst, **OPTIONS)
    before = contents(dst)
    with pytest.raises(InputError, match="exists"):
        geosr.upscale(scene, dst, **OPTIONS)
    assert contents(dst) == before
    geosr.upscale(scene, dst, overwrite=True, **OPTIONS | {"model": "nearest"})
    assert opened(dst)["data"].attrs["GEOSR_MODEL"] == "nearest"
    letters = scene.with_name("letters.zarr")
    letters.mkdir()
    (letters / "love.txt").write_text("keep me")
    with pytest.raises(InputError, match="something else"):
        geosr.upscale(scene, letters, overwrite=True, **OPTIONS)
    assert (letters / "love.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("o.tif", {"format": "Zarr"}, "ends in .zarr"),
        ("o.zarr", {"format": "COG"}, "GeoTIFF"),
        ("o.zarr", {"co": {"BIGTIFF": "YES"}}, "BIGTIFF"),
        ("o.zarr", {"co": {"COMPRESS": "LZW"}}, "LZ4"),
        ("o.tif", {"co": {"ZARR_FORMAT": "3"}}, "ZARR_FORMAT"),
        ("nowhere/o.zarr", {}, "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(scene: Path, name: str, options: dict[str, Any], word: str) -> None:
    with pytest.raises((InputError, PlaceError), match=word) as caught:
        geosr.upscale(scene, scene.parent / name, **OPTIONS | options)
    assert "\n" not in str(caught.value)
    assert list(scene.parent.iterdir()) == [scene]


def test_what_a_store_cannot_hold_is_said(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with rasterio.open(src, "r+") as file:
        file.scales = (0.1, 0.2, 0.3)
    report = geosr.upscale(src, tmp_path / "o.zarr", **OPTIONS)
    assert any("bands differ in scale" in line for line in report["warnings"])
    assert opened(tmp_path / "o.zarr")["data"].attrs["scale_factors"] == [0.1, 0.2, 0.3]


def test_the_documents_are_strict_json(tmp_path: Path, version: dict[str, str]) -> None:
    src = scenes.write(tmp_path / "f.tif", _with_nan(scenes.pixels((1, 60, 120), "float32")), nodata=np.nan)
    geosr.upscale(src, tmp_path / "o.zarr", co=version, **OPTIONS)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    names = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")
    documents = [data for key, data in contents(tmp_path / "o.zarr").items() if Path(key).name in names]
    assert any(b"NaN" in data for data in documents)
    for data in documents:
        json.loads(data, parse_constant=refuse)


@pytest.mark.parametrize("format", [2, 3])
def test_the_document_that_makes_a_store_of_the_objects_is_the_last(format: Literal[2, 3]) -> None:
    arrays = [
        Array(f"{level}/data".removeprefix("0/"), ("y", "x"), (8 >> level, 8), (4, 4), "<u2", version=format)
        for level in (1, 0)
    ]
    made = list(objects({"key": 1}, [(array, {"unit": "m"}, None) for array in arrays], format))
    assert made[-1][0] == {2: ".zgroup", 3: "zarr.json"}[format]
    group = zarr.open_group({key: zarr.core.buffer.cpu.Buffer.from_bytes(data) for key, data in made}, mode="r")
    assert (group.attrs["key"], group["1/data"].shape, dict(group["data"].attrs)["unit"]) == (1, (4, 8), "m")


def test_without_the_library_a_store_is_refused_in_one_line(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geosr.io.zarr.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs zarr-python 3; pip install 'geosr\[zarr\]'"):
        geosr.upscale(scene, scene.with_name("o.zarr"), **OPTIONS)
    assert list(scene.parent.iterdir()) == [scene]


@pytest.fixture
def bucket() -> Iterator[str]:
    """A prefix of an object store that lies in memory."""
    memory = pytest.importorskip("fsspec", reason="object stores need fsspec").filesystem("memory")
    memory.store.clear()
    yield "memory://bucket/o.zarr"
    memory.store.clear()


def test_in_an_object_store_nothing_is_a_store_before_it_is_whole(scene: Path, bucket: str) -> None:
    class EnoughError(Exception):
        """Stops a run."""

    def stop(done: int, total: int, pixels: int) -> None:
        if done == 6:
            raise EnoughError

    with pytest.raises(EnoughError):
        geosr.upscale(scene, bucket, progress=stop, **OPTIONS)
    with pytest.raises(FileNotFoundError):
        zarr.open_group(bucket, mode="r")
    with pytest.raises(InputError, match="other settings"):
        geosr.upscale(scene, bucket, **OPTIONS | {"model": "nearest"})
    report = geosr.upscale(scene, bucket, **OPTIONS)
    assert report["tiles_from_an_earlier_run"] >= 6
    assert report["bytes"] > 0
    geosr.upscale(scene, scene.with_name("o.tif"), **OPTIONS)
    with rasterio.open(scene.with_name("o.tif")) as dataset:
        np.testing.assert_array_equal(xr.open_zarr(bucket, mask_and_scale=False)["data"].values, dataset.read())
    with pytest.raises(InputError, match="exists"):
        geosr.upscale(scene, bucket, **OPTIONS)
    geosr.upscale(scene, bucket, overwrite=True, **OPTIONS | {"model": "nearest"})
    assert xr.open_zarr(bucket)["data"].attrs["GEOSR_MODEL"] == "nearest"


def test_an_address_of_an_unknown_kind_is_one_line(scene: Path) -> None:
    with pytest.raises(InputError, match="abc") as caught:
        geosr.upscale(scene, "abc://bucket/o.zarr", **OPTIONS)
    assert "\n" not in str(caught.value)
