"""Scenes are opened and read as they are stored, whatever they are stored in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosr.errors import DamageError, GeosrError, InputError, PlaceError
from geosr.io.describe import describe
from geosr.io.environment import CACHE_BYTES, CACHE_BYTES_MOST, gdal_path, is_remote
from geosr.io.samples import sample_windows
from geosr.io.scene import Scene, open_scene
from geosr.io.source import FileSource, close
from geosr.io.stack import stacked
from geosr.radiometry import DTYPES
from geosr.tiling import TilePlan
from geosr.window import Window
from tests import scenes
from tests.servers import Server, serving


def whole(scene: Scene) -> np.ndarray:
    return scene.source.pixels(Window(0, 0, *scene.shape)).stored


def in_file(path: Path) -> np.ndarray:
    with scenes.quiet(), rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_stored_type_is_read_as_it_is(tmp_path: Path, dtype: str) -> None:
    path = scenes.make_dtype(tmp_path, dtype)
    scene = open_scene(path)
    assert scene.dtype == dtype
    assert whole(scene).dtype == dtype
    assert np.array_equal(whole(scene), in_file(path))


@pytest.mark.parametrize(
    "layout",
    [
        {"tiled": True, "blockxsize": 16, "blockysize": 32}, {"interleave": "pixel"}, {"interleave": "band"},
        {"blockysize": 7}, {"BIGTIFF": "YES"}, {"compress": "zstd", "predictor": 2}, {"compress": "lzw"},
        {"driver": "COG", "compress": "deflate"}, {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"},
    ],
)  # fmt: skip
def test_tiles_put_together_are_the_file_whatever_its_layout(tmp_path: Path, layout: dict[str, object]) -> None:
    path = scenes.make_plain(tmp_path, **layout)
    scene = open_scene(path)
    plan = TilePlan(*scene.shape, core=16, scale=2, halo=3)
    out = np.zeros((3, *scene.shape), scene.dtype)
    for tile in plan:
        pixels = scene.source.read(tile).stored
        assert pixels.shape == (3, tile.read.height, tile.read.width)
        out[:, *tile.core.slices] = pixels[:, *tile.core.within(tile.read).slices]
    assert np.array_equal(out, in_file(path))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 500), (1, 500, 1), (300, 6, 5)])
def test_odd_shapes_and_many_bands_are_read(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    path = scenes.make_plain(tmp_path, shape=shape)
    assert np.array_equal(whole(open_scene(path)), in_file(path))
    assert sample_windows(open_scene(path))


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
def test_pictures_without_georeference_are_read_with_a_word_about_it(tmp_path: Path, driver: str) -> None:
    path = scenes.make_photo(tmp_path, driver)
    scene = open_scene(path)
    assert np.array_equal(whole(scene), in_file(path))
    assert scene.crs is None
    assert "no CRS" in " ".join(scene.warnings)


def test_bands_are_chosen_by_number_and_name_in_the_order_given(tmp_path: Path) -> None:
    path = scenes.make_rich(tmp_path)
    for wanted in ([4, 1], ["B08", "B04"], ["b8", "B4"], ["4", "b04"]):
        scene = open_scene(path, bands=wanted)
        assert scene.bands == (4, 1)
        assert scene.names == ("B08", "B04")
        assert np.array_equal(whole(scene), in_file(path)[[3, 0]])


@pytest.mark.parametrize("wanted", [[0], [5], ["B09"], [1, 1], ["B04", 1], [], ["-1"]])
def test_bands_that_are_not_there_are_refused(tmp_path: Path, wanted: list[int | str]) -> None:
    with pytest.raises(InputError, match=r"rich\.tif"):
        open_scene(scenes.make_rich(tmp_path), bands=wanted)


def test_bands_of_different_types_are_widened_and_said(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "bytes.tif", shape=(1, 40, 50), dtype="uint8")
    scenes.make_plain(tmp_path, "shorts.tif", shape=(1, 40, 50), dtype="int16", low=-300)
    scene = open_scene(scenes.make_vrt(tmp_path, ["bytes.tif", "shorts.tif"], dtype=["Byte", "Int16"]))
    assert scene.dtype == "int16"
    assert "widened to int16" in " ".join(scene.warnings)
    assert np.array_equal(whole(scene)[1], in_file(tmp_path / "shorts.tif")[0])


def test_different_nodata_becomes_one_and_no_valid_pixel_becomes_nodata(tmp_path: Path) -> None:
    path = scenes.make_nodata_per_band(tmp_path)
    before = in_file(path)
    scene = open_scene(path)
    after = whole(scene)
    assert scene.nodata == 0
    assert scene.metadata.nodata == 0
    assert "0, 255, none" in " ".join(scene.warnings)
    assert np.array_equal(after[0], before[0])
    assert np.array_equal(after[1] == 0, before[1] == 255)
    assert not (after[2] == 0).any()
    moved = after[1:].astype(int) - before[1:]
    assert set(np.unique(moved[before[1:] != 255])) <= {0, 1}


@pytest.mark.parametrize("nodata", [255.5, -9999, float("nan"), 1e300])
def test_nodata_that_no_pixel_can_hold_is_left_out_and_said(tmp_path: Path, nodata: float) -> None:
    scenes.make_plain(tmp_path, "bytes.tif", dtype="uint8", shape=(1, 40, 50))
    scene = open_scene(scenes.make_vrt(tmp_path, ["bytes.tif"], dtype="Byte", nodata=[nodata]))
    assert scene.nodata in (None, 255)
    with pytest.raises(InputError, match="--nodata"):
        open_scene(scenes.make_plain(tmp_path, dtype="uint8"), nodata=nodata)


def test_options_take_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    path = scenes.make_rich(tmp_path)
    scene = open_scene(path, nodata=7, scale_offset=(0.5, 3))
    assert scene.nodata == 7
    assert scene.metadata.nodata == 7
    assert (scene.scales, scene.offsets) == ((0.5,) * 4, (3.0,) * 4)
    assert open_scene(path, nodata="none").nodata is None
    with pytest.raises(InputError, match="--nodata"):
        open_scene(path, nodata="zero")
    with pytest.raises(InputError, match="--scale-offset"):
        open_scene(path, scale_offset=(0, 1))


@pytest.mark.parametrize("internal", [True, False])
def test_masks_in_the_file_and_beside_it_are_read(tmp_path: Path, internal: bool) -> None:
    scene = open_scene(scenes.make_masked(tmp_path, internal))
    assert scene.mask == "dataset"
    assert scene.writes_mask
    mask = scene.source.pixels(Window(0, 0, 20, 20)).mask
    assert mask is not None
    assert not mask[:8, :9].any()
    assert mask.sum() == 400 - 72
    assert scene.source.pixels(Window(20, 20, 20, 20)).mask.all()  # type: ignore[union-attr]


def test_alpha_is_a_mask_and_a_band_that_is_never_mixed(tmp_path: Path) -> None:
    path = scenes.make_alpha(tmp_path)
    scene = open_scene(path)
    assert scene.mask == "alpha"
    assert scene.categorical == (False, False, False, True)
    assert not scene.writes_mask
    without = open_scene(path, bands=[1, 2, 3])
    assert without.writes_mask
    mask = without.source.pixels(Window(0, 0, 10, 10)).mask
    assert mask is not None
    assert mask.sum() == 100 - 72


def test_palettes_and_bands_of_classes_are_never_mixed(tmp_path: Path) -> None:
    assert open_scene(scenes.make_palette(tmp_path)).categorical == (True,)
    path = scenes.make_plain(tmp_path)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = ("B04", "SCL", "QA_PIXEL")
    scene = open_scene(path)
    assert scene.categorical == (False, True, True)
    assert "SCL, QA_PIXEL" in " ".join(scene.warnings)
    assert open_scene(scenes.make_plain(tmp_path, "bits.tif", dtype="uint8", low=0, high=1, NBITS=1)).categorical[0]


@pytest.mark.parametrize(
    "make", [scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_dateline,
             scenes.make_custom_crs, scenes.make_local_crs],
)  # fmt: skip
def test_the_grid_and_the_crs_are_the_files_own(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path)
    with rasterio.open(path) as dataset:
        scene = pickle.loads(pickle.dumps(open_scene(path)))
        assert scene.crs == dataset.crs
        assert scene.transform == dataset.transform
        assert tuple(scene.geobox.affine) == tuple(dataset.transform)
        assert scene.geobox.shape == dataset.shape


@pytest.mark.slow
def test_a_source_is_small_when_it_travels_and_works_in_threads_and_processes(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, shape=(3, 200, 200))
    source = open_scene(path).source
    assert len(pickle.dumps(source)) < 1000
    windows = [Window(row, col, 50, 50) for row in range(0, 200, 50) for col in range(0, 200, 50)]
    expected = in_file(path)
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(1, get_context("spawn")) as processes:
        for pool in (threads, processes):
            for window, pixels in zip(windows, pool.map(source.pixels, windows), strict=True):
                assert np.array_equal(pixels.stored, expected[:, *window.slices])


def test_a_file_is_opened_once_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geosr.io import source as module

    opened = []
    real = module.open_dataset
    monkeypatch.setattr(module, "open_dataset", lambda path: opened.append(path) or real(path))
    source = open_scene(scenes.make_plain(tmp_path)).source
    for _ in range(5):
        source.pixels(Window(0, 0, 4, 4))
    assert len(opened) == 1
    close(source.path)
    source.pixels(Window(0, 0, 4, 4))
    assert len(opened) == 2


def _replace(path: Path, seed: int) -> None:
    """Put another file of the same size under a name, whatever holds the old one open."""
    scenes.make_plain(path.parent, "other.tif", seed=seed).replace(path)


@pytest.mark.parametrize("kind", ["file", "vrt", "stack"])
def test_a_file_that_was_replaced_is_opened_again_by_whoever_holds_the_old_one(tmp_path: Path, kind: str) -> None:
    path = scenes.make_plain(tmp_path)
    named = scenes.make_vrt(tmp_path, ["plain.tif"]) if kind == "vrt" else path
    read = (lambda: whole(stacked([open_scene(path)] * 2))[:3]) if kind == "stack" else lambda: whole(open_scene(named))
    before = read()
    for seed in (5, 6):
        _replace(path, seed)
        after = read()
        assert not np.array_equal(after, before)
        assert np.array_equal(after, in_file(path)[: len(after)])


def test_a_source_made_anew_of_a_file_that_is_the_same_takes_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geosr.io import source as module

    path, opened = scenes.make_plain(tmp_path), []
    real = module.open_dataset
    monkeypatch.setattr(module, "open_dataset", lambda path: opened.append(path) or real(path))
    for bands in (None, [1], [3, 2]):
        open_scene(path, bands=bands).source.pixels(Window(0, 0, 4, 4))
    assert len(opened) == 1


_CACHE = """
import sys
from rasterio.env import get_gdal_config
from geosr.io.scene import open_scene
from geosr.window import Window
for path in sys.argv[1:]:
    open_scene(path).source.reduced(Window(0, 0, 2, 2), (1, 1), nearest=True)
    print(get_gdal_config("GDAL_CACHEMAX"))
"""


def _caches(*paths: Path, **environment: str) -> list[int]:
    """Bytes of GDAL's cache in a new process, after each of the files."""
    # Not what an earlier test's process has grown to.
    command = [sys.executable, "-c", _CACHE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def _wide(path: Path, width: int) -> Path:
    """An empty file of four bands whose row of blocks, 512 pixels high, takes 4096 bytes a pixel of its width."""
    kept = {"driver": "GTiff", "width": width, "height": 512, "count": 4, "dtype": "uint16"}
    kept |= {"crs": scenes.UTM, "transform": scenes.NORTH_UP, "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", SPARSE_OK=True, **kept):
        pass
    return path


@pytest.mark.slow
def test_gdals_cache_holds_a_row_of_blocks_within_limits(tmp_path: Path) -> None:
    plain = scenes.make_plain(tmp_path)
    row, wider = _wide(tmp_path / "row.tif", 16384), _wide(tmp_path / "wider.tif", 40960)
    assert _caches(plain, row, plain, wider) == [CACHE_BYTES, 2**26, 2**26, CACHE_BYTES_MOST]


@pytest.mark.slow
def test_a_cache_that_the_user_has_set_stays(tmp_path: Path) -> None:
    assert _caches(_wide(tmp_path / "wider.tif", 40960), GDAL_CACHEMAX="20") == [20 * 2**20]


def test_a_file_that_vanishes_is_named_with_its_window(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    source = open_scene(path).source
    path.unlink()
    with pytest.raises(InputError, match=r"plain\.tif: rows 3-6, columns 2-6 can't be read") as caught:
        source.pixels(Window(3, 2, 4, 5))
    assert not isinstance(caught.value, DamageError)  # it may come back, and then the run goes on


def test_an_input_that_changes_has_another_identity(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    before = open_scene(path).identity
    assert open_scene(path).identity == before
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert open_scene(path).identity != before
    vrt = scenes.make_vrt(tmp_path, ["plain.tif"])
    before = open_scene(vrt).identity
    scenes.make_plain(tmp_path, seed=5)
    assert open_scene(vrt).identity != before


def test_windows_for_statistics_are_spread_the_same_every_time_and_do_not_overlap(tmp_path: Path) -> None:
    scene = open_scene(scenes.make_plain(tmp_path, shape=(1, 900, 700)))
    windows = sample_windows(scene, count=9, size=100)
    assert windows == sample_windows(open_scene(scene.path), count=9, size=100)
    assert len(windows) == 9
    counts = np.zeros(scene.shape, int)
    for window in windows:
        assert window.clip(Window(0, 0, *scene.shape)) == window
        counts[window.slices] += 1
    assert counts.max() == 1
    assert min(window.row for window in windows) < 300
    assert max(window.stop[0] for window in windows) > 600
    many = replace(scene, bands=tuple(range(1, 301)))
    assert sum(window.size for window in sample_windows(many)) * 300 <= 9 * 2**20


def test_what_is_seen_in_a_file_can_be_told_as_json(tmp_path: Path) -> None:
    import json

    for make in (
        scenes.make_rich,
        scenes.make_nan,
        scenes.make_gcps,
        scenes.make_rpcs,
        scenes.make_alpha,
        scenes.make_photo,
    ):
        facts = json.loads(json.dumps(describe(make(tmp_path)), allow_nan=False))
        assert facts["size"][0] in (50, 150)
        assert facts["bands"]
    facts = describe(scenes.make_rich(tmp_path))
    assert facts["sensor"] == "Sentinel-2 MSI"
    assert facts["nodata"] == [0] * 4
    assert "table: Sentinel-2 MSI B04" in facts["upscale_would_use"][0]


@pytest.mark.parametrize(
    ("path", "real", "remote"),
    [
        ("https://host/a.tif?sig=1", "/vsicurl/https://host/a.tif?sig=1", True),
        ("HTTP://host/a.tif", "/vsicurl/http://host/a.tif", True),
        ("s3://bucket/key/a.tif", "/vsis3/bucket/key/a.tif", True),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif", True),
        ("/vsizip//vsicurl/http://host/a.zip/a.tif", "/vsizip//vsicurl/http://host/a.zip/a.tif", True),
        ("/data/a.tif", "/data/a.tif", False),
        ("file:///data/a.tif", "/data/a.tif", False),
        ("C:\\data\\a.tif", "C:\\data\\a.tif", False),
    ],
)
def test_addresses_are_read_through_gdals_own_file_systems(path: str, real: str, remote: bool) -> None:
    assert gdal_path(path) == real
    assert is_remote(path) is remote


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "3")
    scenes.make_plain(tmp_path, "cloud.tif", shape=(3, 600, 500), driver="COG", compress="deflate")
    with serving(tmp_path) as running:
        yield running
        close()


def test_a_scene_is_read_over_http_with_few_requests(tmp_path: Path, server: Server) -> None:
    scene = open_scene(server.url("cloud.tif"))
    assert np.array_equal(whole(scene), in_file(tmp_path / "cloud.tif"))
    assert len(server.requests) < 20
    assert not any(".aux.xml" in line or ".msk" in line for line in server.requests)


def test_a_server_that_is_busy_for_a_moment_is_asked_again(tmp_path: Path, server: Server) -> None:
    server.failing = 2
    scene = open_scene(server.url("cloud.tif"))
    server.failing = 2
    assert np.array_equal(whole(scene), in_file(tmp_path / "cloud.tif"))


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_object_that_is_not_given_is_one_line(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(PlaceError, match=str(status)) as caught:
        open_scene(server.url("cloud.tif"))
    assert "\n" not in str(caught.value)


def test_a_server_that_stalls_is_given_up_with_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    scene = open_scene(server.url("cloud.tif"))
    asked = len(server.requests)
    server.stalling.set()
    with pytest.raises(PlaceError) as caught:
        whole(scene)
    bodies = [line for line in server.requests[asked:] if line.startswith("GET")]
    assert 1 <= len(bodies) <= 3, "asked, and not again and again"
    assert "cloud.tif: rows 0-599, columns 0-499 can't be read: the server stalled" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_server_at_all_is_one_line(server: Server) -> None:
    with pytest.raises(PlaceError) as caught:
        open_scene("http://127.0.0.1:9/cloud.tif")
    assert "\n" not in str(caught.value)


def test_an_object_that_changes_has_another_identity(tmp_path: Path, server: Server) -> None:
    before = open_scene(server.url("cloud.tif")).identity
    assert open_scene(server.url("cloud.tif")).identity == before
    scenes.make_plain(tmp_path, "cloud.tif", shape=(3, 600, 500), driver="COG", compress="deflate", seed=3)
    assert open_scene(server.url("cloud.tif")).identity != before


def test_an_object_that_was_replaced_is_read_anew(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "cloud.tif"
    assert np.array_equal(whole(open_scene(server.url("cloud.tif"))), in_file(path))
    scenes.make_plain(tmp_path, "cloud.tif", shape=(3, 600, 500), driver="COG", compress="deflate", seed=3)
    assert np.array_equal(whole(open_scene(server.url("cloud.tif"))), in_file(path))


def test_a_vrt_on_a_server_may_only_name_its_neighbours(tmp_path: Path, server: Server) -> None:
    scenes.make_vrt(tmp_path, ["cloud.tif"], name="good.vrt")
    assert open_scene(server.url("good.vrt")).shape == (40, 50)
    for name, relative in (("../cloud.tif", True), ("/etc/hostname", False), (server.url("cloud.tif"), False)):
        scenes.make_vrt(tmp_path, [name], name="bad.vrt", relative=relative)
        with pytest.raises(GeosrError):
            open_scene(server.url("bad.vrt"))


def test_the_source_is_a_value() -> None:
    one = FileSource("a.tif", (1,), "uint8", Window(0, 0, 4, 4))
    assert one == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(replace(one))


def test_a_scene_in_an_object_store_is_read_by_its_address(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "cloud.tif").write_bytes((tmp_path / "cloud.tif").read_bytes())
    monkeypatch.setenv("AWS_S3_ENDPOINT", server.url("").removeprefix("http://").rstrip("/"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    scene = open_scene("s3://bucket/cloud.tif")
    assert np.array_equal(whole(scene), in_file(tmp_path / "cloud.tif"))
    with pytest.raises(PlaceError, match="nothing"):
        open_scene("s3://bucket/nothing.tif")
    assert open_scene("s3://bucket/cloud.tif").identity == scene.identity
    stored = in_file(tmp_path / "cloud.tif")
    changed = stored.copy()
    changed[0, 300:340, 20:60] = 7  # far from where pixels are looked at
    for name, pixels in (("one", stored), ("two", changed)):
        scenes.write(
            tmp_path / "bucket" / f"{name}.tif", pixels, tiled=True, blockxsize=128, blockysize=128, compress="zstd"
        )
    one, two = (open_scene(f"s3://bucket/{name}.tif").identity for name in ("one", "two"))
    assert one["digest"] != two["digest"]


def test_a_signature_that_was_renewed_is_the_same_input(server: Server) -> None:
    one, other = (open_scene(server.url("cloud.tif") + query) for query in ("?sig=AAA", "?sig=BBB"))
    assert one.identity == other.identity
    assert one.path != other.path


@pytest.mark.parametrize("masked", [False, True])
def test_a_coarser_view_averages_what_is_valid_and_keeps_gaps(tmp_path: Path, masked: bool) -> None:
    scene = open_scene(scenes.make_gaps(tmp_path, masked=masked))
    stored = whole(scene).astype(float)
    valid = scene.radiometry.valid(scene.source.pixels(scene.window))
    assert valid is not None
    seen = scene.source.reduced(Window(0, 0, 150, 170), (15, 17), nearest=False)
    seen_valid = scene.radiometry.valid(seen)
    assert seen_valid is not None
    blocks, known = (each.reshape(2, 15, 10, 17, 10) for each in (stored, valid))
    means = (blocks * known).sum((2, 4)) / np.maximum(known.sum((2, 4)), 1)
    inside, outside = known.all((2, 4)), ~known.any((2, 4))
    assert np.abs(seen.stored - means)[inside].max() <= 0.5
    assert seen_valid[inside].all()
    assert not seen_valid[outside].any()


def test_a_coarser_view_of_classes_is_of_numbers_that_are_there(tmp_path: Path) -> None:
    scene = open_scene(scenes.make_palette(tmp_path))
    seen = scene.source.reduced(Window(0, 0, 40, 50), (8, 10), nearest=True).stored
    assert np.array_equal(seen, whole(scene)[:, 2::5, 2::5])


def test_a_coarser_view_of_files_together_is_that_of_each(tmp_path: Path) -> None:
    made = [scenes.make_plain(tmp_path, f"{seed}.tif", seed=seed, shape=(1, 40, 50)) for seed in (1, 2)]
    apart = [open_scene(path) for path in made]
    seen = stacked(apart).source.reduced(Window(0, 10, 40, 40), (10, 10), nearest=False).stored
    each = [scene.source.reduced(Window(0, 10, 40, 40), (10, 10), nearest=False).stored for scene in apart]
    assert np.array_equal(seen, np.concatenate(each))
