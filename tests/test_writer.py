from __future__ import annotations

import errno
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetWriter
from rio_cogeo import cog_validate

from geosr.errors import InputError, PlaceError
from geosr.io import assemble, growing, journal, writer
from geosr.io.overviews import Image, halve
from geosr.io.writer import TiffSink
from geosr.radiometry import DTYPES, Pixels
from tests.writing import PROFILE, describe, encode, layout_for, noise, sink_for, write

CODECS = ("DEFLATE", "ZSTD", "NONE")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk itself keeps can't be tested here, and waiting for it takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def pyramid(stored: NDArray[Any], mask: NDArray[np.bool_] | None, layout: Any) -> list[Image]:
    levels = [Image(stored, mask)]
    for _ in range(layout.levels):
        levels.append(halve(levels[-1], layout))
    return levels


def check(path: Path, stored: NDArray[Any], mask: NDArray[np.bool_] | None, layout: Any) -> None:
    """Pixels, masks, overviews and metadata are what was written; a COG is one to the strictest reader."""
    for level, image in enumerate(pyramid(stored, mask, layout)):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as file:
            np.testing.assert_array_equal(file.read(), image.stored)
            if mask is not None:
                valid = np.ones(image.stored.shape[1:], bool) if image.mask is None else image.mask
                np.testing.assert_array_equal(file.dataset_mask() > 0, valid)
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 32633
        assert file.transform == PROFILE["transform"]
        assert file.tags()["PLACE"] == "somewhere"
        assert file.tags(1)["BAND"] == "first"
        assert file.descriptions[-1] == f"band {file.count}"
        assert len(file.overviews(1)) == layout.levels
        assert file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if layout.format == "COG" else None)
    if layout.format == "COG":
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    assert {entry.name for entry in path.parent.iterdir()} == {path.name}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["GTiff", "COG"])
@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
def test_every_dtype_reads_back_through_gdal(tmp_path: Path, dtype: str, kind: str, interleave: str) -> None:
    for number, codec in enumerate(CODECS):
        stored = noise((3, 70, 130), dtype, number)
        path = tmp_path / "x.tif"
        layout = write(path, stored, co=(f"INTERLEAVE={interleave}", f"COMPRESS={codec}"), format=kind)
        check(path, stored, None, layout)
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GTiff", "COG"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2500), (257, 513), (90, 1)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_odd_sizes_with_masks_read_back(tmp_path: Path, kind: str, height: int, width: int, scale: int) -> None:
    stored = noise((2, height * scale, width * scale), "uint16")
    mask = noise(stored.shape[1:], "uint8") > 90
    layout = write(tmp_path / "x.tif", stored, mask, scale=scale, tile=64, block=None, format=kind)
    check(tmp_path / "x.tif", stored, mask, layout)


@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
@pytest.mark.parametrize("big", ["YES", "IF_NEEDED"])
def test_both_kinds_of_tiff_hold_bands_apart_and_together(tmp_path: Path, interleave: str, big: str) -> None:
    for kind in ("GTiff", "COG"):
        stored, mask = noise((5, 200, 140), "int16"), noise((200, 140), "uint8") > 90
        path = tmp_path / "x.tif"
        co = (f"INTERLEAVE={interleave}", f"BIGTIFF={big}", "OVERVIEWS=AUTO")
        layout = write(path, stored, mask, co=co, format=kind)
        assert path.read_bytes()[2] == (43 if big == "YES" else 42)
        check(path, stored, mask, layout)
        path.unlink()


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 60), width=st.integers(1, 60), bands=st.integers(1, 6), scale=st.sampled_from((2, 3, 4)),
    tile=st.sampled_from((16, 48, 64)), masked=st.booleans(), nodata=st.sampled_from((None, 0.0, math.nan)),
)  # fmt: skip
def test_pixels_do_not_depend_on_tiles(
    tmp_path: Path, height: int, width: int, bands: int, scale: int, tile: int, masked: bool, nodata: float | None
) -> None:
    stored = noise((bands, height * scale, width * scale), "float32")
    stored[noise(stored.shape, "uint8", 1) < 50] = 0 if nodata is None else nodata
    mask = noise(stored.shape[1:], "uint8", 2) > 90 if masked else None
    path = tmp_path / "x.tif"
    path.unlink(missing_ok=True)
    layout = write(path, stored, mask, scale=scale, tile=tile, block=None, nodata=nodata, format="COG")
    check(path, stored, mask, layout)


@pytest.mark.lowest
@pytest.mark.slow
def test_three_hundred_bands_read_back(tmp_path: Path) -> None:
    stored = noise((300, 40, 60), "uint8")
    layout = write(tmp_path / "x.tif", stored, format="COG")
    check(tmp_path / "x.tif", stored, None, layout)


def test_pixels_are_those_of_rasterios_own_writer(tmp_path: Path, shared_data: Path) -> None:
    with rasterio.open(shared_data / "sentinel2/spyndex/S2_10m_300.tif") as file:
        stored = np.pad(file.read(), ((0, 0), (1, 20), (3, 0)), mode="reflect").repeat(2, 1).repeat(2, 2)
    shape = {"count": len(stored), "height": stored.shape[1], "width": stored.shape[2], "dtype": stored.dtype}
    (tmp_path / "theirs").mkdir()
    with rasterio.open(tmp_path / "theirs/x.tif", "w", driver="GTiff", tiled=True, **shape, **PROFILE) as file:
        file.write(stored)
    layout = write(tmp_path / "x.tif", stored, tile=128, block=None, format="COG")
    with rasterio.open(tmp_path / "theirs/x.tif") as theirs, rasterio.open(tmp_path / "x.tif") as ours:
        np.testing.assert_array_equal(ours.read(), theirs.read())
        assert ours.bounds == theirs.bounds
        assert layout.levels


@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
def test_a_cog_has_the_same_bytes_whatever_the_order_of_its_tiles(tmp_path: Path, interleave: str) -> None:
    stored, mask = noise((3, 300, 200), "uint16"), noise((300, 200), "uint8") > 90
    files = []
    for seed in range(3):
        write(tmp_path / f"{seed}.tif", stored, mask, seed=seed, co=(f"INTERLEAVE={interleave}",), format="COG")
        files.append((tmp_path / f"{seed}.tif").read_bytes())
    assert files[0] == files[1] == files[2]


def test_a_cog_that_threads_copy_has_the_bytes_of_one_copied_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, mask = noise((3, 300, 200), "uint16"), noise((300, 200), "uint8") > 90
    for share in (2**30, 1, 5000):
        monkeypatch.setattr(assemble, "_SHARE", share)
        write(tmp_path / f"{share}.tif", stored, mask, format="COG")
    files = [path.read_bytes() for path in sorted(tmp_path.glob("*.tif"))]
    assert len(files) == 3
    assert files[0] == files[1] == files[2]


def test_a_full_disk_while_threads_copy_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, path = noise((2, 128, 192), "uint16"), tmp_path / "x.tif"
    layout, plan = layout_for(stored.shape, format="COG")
    monkeypatch.setattr(assemble, "_SHARE", 5000)
    usual = assemble.write_at

    def full(file: Any, data: bytes, at: int) -> None:
        if at > 50_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        usual(file, data, at)

    with sink_for(path, layout) as sink:
        for tile in plan:
            sink.append(tile, encode(sink, tile, stored))
        monkeypatch.setattr(assemble, "write_at", full)
        with pytest.raises(PlaceError, match=f"no space left in .*; {len(plan)} finished tiles are kept"):
            sink.finish()
    assert not (tmp_path / ".x.tif.whole").exists()
    monkeypatch.undo()
    assert resume(path, stored, format="COG") == ("resumed", len(plan))
    check(path, stored, None, layout)


def test_tiles_that_never_came_read_as_nodata_and_take_no_space(tmp_path: Path) -> None:
    stored = noise((2, 256, 256), "uint16") | 1
    layout, plan = layout_for(stored.shape, nodata=0)
    absent = [tile.index for tile in plan if tile.core.row >= plan.core]
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    write(whole, stored, nodata=0, format="COG")
    write(part, stored, nodata=0, format="COG", skip=absent)
    kept = stored.copy()
    kept[:, layout.tile :] = 0
    with rasterio.open(part) as file, rasterio.open(part, overview_level=1) as overview:
        np.testing.assert_array_equal(file.read(), kept)
        np.testing.assert_array_equal(overview.read(), pyramid(kept, None, layout)[2].stored)
    assert part.stat().st_size < whole.stat().st_size / 2
    assert cog_validate(part, strict=True, quiet=True)[0]


@pytest.mark.parametrize("nodata", [None, 9.0])
def test_pixels_outside_the_area_of_interest_become_nodata_and_invalid(tmp_path: Path, nodata: float | None) -> None:
    stored, wanted = noise((2, 96, 96), "uint16"), noise((96, 96), "uint8") > 90
    layout, plan = layout_for(stored.shape, masked=nodata is None, nodata=nodata)
    with sink_for(tmp_path / "x.tif", layout) as sink:
        for tile in plan:
            there = tile.write.slices
            sink.append(tile, sink.encoder(tile, Pixels(stored[:, *there], None, wanted[there])))
        sink.finish()
    with rasterio.open(tmp_path / "x.tif") as file:
        np.testing.assert_array_equal(file.read(), np.where(wanted, stored, 0 if nodata is None else 9))
        if nodata is None:
            np.testing.assert_array_equal(file.dataset_mask() > 0, wanted)


def test_nodata_that_the_dtype_cannot_hold_leaves_pixels_as_they_are(tmp_path: Path) -> None:
    stored = noise((1, 96, 64), "uint8")
    stored[0, :64] = 0
    layout = write(tmp_path / "x.tif", stored, nodata=-9999, format="COG")
    check(tmp_path / "x.tif", stored, None, layout)


def test_class_bands_have_overviews_of_classes_beside_averages(tmp_path: Path) -> None:
    stored = noise((2, 128, 128), "uint8")
    layout = write(tmp_path / "x.tif", stored, nearest=(True, False), format="COG")
    check(tmp_path / "x.tif", stored, None, layout)
    with rasterio.open(tmp_path / "x.tif", overview_level=0) as file:
        np.testing.assert_array_equal(file.read(1), stored[0, ::2, ::2])


def test_palettes_scales_units_points_and_colours_survive(tmp_path: Path) -> None:
    stored = noise((4, 64, 64), "uint8")

    def palette(file: DatasetWriter) -> None:
        file.write_colormap(1, {3: (1, 2, 3, 255)})

    def colours(file: DatasetWriter) -> None:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        file.scales, file.offsets, file.units = (0.5,) * 4, (-1.0,) * 4, ("m",) * 4
        file.gcps = (
            [rasterio.control.GroundControlPoint(1, 2, 3, 4, 5), rasterio.control.GroundControlPoint(6, 7, 8, 9)],
            file.crs,
        )

    cases = (("p", 1, palette, {"photometric": "PALETTE"}), ("c", 4, colours, {"photometric": "RGB", "alpha": "YES"}))
    for name, bands, template, options in cases:
        layout, plan = layout_for((bands, 64, 64), "uint8", nearest=(bands == 1,) * bands, format="COG")
        path, profile = tmp_path / f"{name}.tif", {**PROFILE, **options}
        with TiffSink(path, layout, profile=profile, template=template, fingerprint="{}") as sink:
            for tile in plan:
                sink.append(tile, encode(sink, tile, stored[:bands]))
            sink.finish()
    with rasterio.open(tmp_path / "p.tif") as file:
        assert file.colormap(1)[3] == (1, 2, 3, 255)
    with rasterio.open(tmp_path / "p.tif", overview_level=0) as file:
        assert file.colormap(1)[3] == (1, 2, 3, 255)
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.colorinterp[3] == ColorInterp.alpha
        assert (file.scales[0], file.offsets[0], file.units[0]) == (0.5, -1.0, "m")
        assert (file.gcps[0][0].row, file.gcps[0][0].z) == (1, 5)


def test_the_encoder_is_small_when_it_travels(tmp_path: Path) -> None:
    layout, plan = layout_for((3, 64, 64))
    with sink_for(tmp_path / "x.tif", layout) as sink:
        packed = pickle.dumps(sink.encoder)
        tile = plan[0]
        stored = noise((3, 64, 64), "uint16")
        there = pickle.loads(packed)(tile, Pixels(stored[:, *tile.write.slices]))
        assert there[0].data == encode(sink, tile, stored)[0].data
    assert len(packed) < 1500


# Runs that end early


def unfinished(path: Path, stored: NDArray[Any], count: int, **how: Any) -> None:
    layout, plan = layout_for(stored.shape, stored.dtype.name, **how)  # type: ignore[arg-type]
    with sink_for(path, layout) as sink:
        for tile in random.Random(5).sample(list(plan), count):
            sink.append(tile, encode(sink, tile, stored))


def resume(path: Path, stored: NDArray[Any], **how: Any) -> tuple[str, int]:
    layout, plan = layout_for(stored.shape, stored.dtype.name, **how)  # type: ignore[arg-type]
    with sink_for(path, layout) as sink:
        started, done = sink.started, sink.done()
        for tile in plan:
            if tile.index not in done:
                sink.append(tile, encode(sink, tile, stored))
        sink.finish()
    return started, len(done)


@pytest.mark.parametrize("kind", ["GTiff", "COG"])
def test_an_unfinished_run_leaves_no_result_and_goes_on_where_it_stopped(tmp_path: Path, kind: str) -> None:
    stored = noise((2, 200, 300), "uint16")
    path = tmp_path / "x.tif"
    unfinished(path, stored, 6, format=kind)
    assert not path.exists()
    assert resume(path, stored, format=kind) == ("resumed", 6)
    check(path, stored, None, layout_for(stored.shape, format=kind)[0])


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_run_cut_at_any_byte_resumes_to_the_same_file(tmp_path: Path, data_kept: float, journal_kept: float) -> None:
    stored = noise((2, 128, 192), "uint16")
    whole, path = tmp_path / "whole.tif", tmp_path / "x.tif"
    path.unlink(missing_ok=True)
    if not whole.exists():
        write(whole, stored, format="COG")
    unfinished(path, stored, 5, format="COG")
    for name, kept in ((".x.tif.partial", data_kept), (".x.tif.journal", journal_kept)):
        left = tmp_path / name
        os.truncate(left, int(left.stat().st_size * kept))
    started, done = resume(path, stored, format="COG")
    assert started == ("resumed" if done else "fresh")
    assert done == 5 or min(data_kept, journal_kept) < 1
    assert path.read_bytes() == whole.read_bytes()


def test_data_that_a_power_cut_lost_is_not_believed(tmp_path: Path) -> None:
    stored = noise((2, 128, 192), "uint16")
    path = tmp_path / "x.tif"
    unfinished(path, stored, 5, format="COG")
    left = tmp_path / ".x.tif.partial"
    data = left.read_bytes()
    left.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert resume(path, stored, format="COG")[1] < 5
    check(path, stored, None, layout_for(stored.shape, format="COG")[0])


def test_data_before_a_checkpoint_is_believed_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SYNC_BYTES", 1)
    stored = noise((2, 128, 192), "uint16")
    unfinished(tmp_path / "x.tif", stored, 5, format="COG")
    monkeypatch.setattr(growing, "crc32", None)
    assert resume(tmp_path / "x.tif", stored, format="COG")[1] == 5


_KILLED = """
import sys, time
from pathlib import Path
from tests.writing import encode, layout_for, noise, sink_for
stored = noise((2, 512, 512), "uint16")
layout, plan = layout_for(stored.shape, format=sys.argv[2])
with sink_for(Path(sys.argv[1]), layout) as sink:
    for tile in plan:
        sink.append(tile, encode(sink, tile, stored))
        print(tile.index, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GTiff", "COG"])
def test_a_killed_process_resumes_to_the_file_of_an_undisturbed_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.tif"
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    stored = noise((2, 512, 512), "uint16")
    started, done = resume(path, stored, format=kind)
    assert started == "resumed"
    assert done >= 20
    check(path, stored, None, layout_for(stored.shape, format=kind)[0])


@pytest.mark.parametrize("kind", ["GTiff", "COG"])
def test_a_run_that_dies_while_it_finishes_can_finish_again(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = noise((2, 200, 300), "uint16")
    path = tmp_path / "x.tif"
    layout, plan = layout_for(stored.shape, format=kind)
    monkeypatch.setattr(growing, "put_in_place", lambda *_: (_ for _ in ()).throw(OSError(errno.EACCES, "no")))
    with sink_for(path, layout) as sink:
        for tile in plan:
            sink.append(tile, encode(sink, tile, stored))
        with pytest.raises(PlaceError, match=f"{len(plan)} finished tiles are kept"):
            sink.finish()
    monkeypatch.undo()
    (tmp_path / ".x.tif.whole").write_bytes(b"left over")
    assert resume(path, stored, format=kind) == ("resumed", len(plan))
    check(path, stored, None, layout)


def test_a_full_disk_is_told_in_one_line_and_what_was_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = noise((2, 128, 192), "uint16")
    path = tmp_path / "x.tif"
    layout, plan = layout_for(stored.shape, format="COG")
    with sink_for(path, layout) as sink:
        for tile in plan[:3]:
            sink.append(tile, encode(sink, tile, stored))
        encoded = encode(sink, plan[3], stored)

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for module in (growing, journal):
            monkeypatch.setattr(module, "write_at", full)
            with pytest.raises(PlaceError, match=r"no space left in .*; 3 finished tiles are kept") as told:
                sink.append(plan[3], encoded)
            assert "\n" not in str(told.value)
            monkeypatch.undo()
    assert resume(path, stored, format="COG") == ("resumed", 3)
    check(path, stored, None, layout)


def test_nothing_is_left_where_no_tile_was_kept(tmp_path: Path) -> None:
    layout, _ = layout_for((1, 64, 64))
    with sink_for(tmp_path / "x.tif", layout):
        pass
    assert not list(tmp_path.iterdir())


# What is in the way


def test_a_run_with_other_settings_is_refused_unless_told_to_overwrite(tmp_path: Path) -> None:
    stored = noise((1, 64, 64), "uint16")
    layout, plan = layout_for(stored.shape)
    path = tmp_path / "x.tif"
    with sink_for(path, layout, fingerprint='{"model": "fast", "input": {"size": 5}}') as sink:
        sink.append(plan[0], encode(sink, plan[0], stored))
    with pytest.raises(InputError, match=r"input.size was 5 and is 6, model was fast and is bicubic.*--overwrite"):
        sink_for(path, layout, fingerprint='{"model": "bicubic", "input": {"size": 6}}')
    other, _ = layout_for(stored.shape, co=("COMPRESS=ZSTD",))
    with pytest.raises(InputError, match=r"options.compress was deflate and is zstd"):
        sink_for(path, other, fingerprint='{"model": "fast", "input": {"size": 5}}')
    with sink_for(path, layout, fingerprint='{"model": "bicubic"}', overwrite=True) as sink:
        assert sink.started == "restarted"
        assert not sink.done()


def test_an_existing_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(b"before")
    layout, plan = layout_for((1, 32, 32))
    with pytest.raises(InputError, match="exists; use --overwrite"):
        sink_for(path, layout)
    with sink_for(path, layout, overwrite=True) as sink:
        sink.append(plan[0], encode(sink, plan[0], noise((1, 32, 32), "uint16")))
        assert path.read_bytes() == b"before"
        sink.finish()
    with rasterio.open(path) as file:
        assert file.count == 1


def test_sidecars_of_an_overwritten_result_go_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for suffix in ("", ".aux.xml", ".ovr", ".msk"):
        path.with_name(path.name + suffix).write_bytes(b"stale")
    stored = noise((1, 32, 32), "uint16")
    layout, plan = layout_for(stored.shape)
    with sink_for(path, layout, overwrite=True) as sink:
        sink.append(plan[0], encode(sink, plan[0], stored))
        sink.finish()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tif"]


def test_a_crs_that_geotiff_cannot_hold_comes_along_in_a_sidecar(tmp_path: Path) -> None:
    odd = rasterio.CRS.from_wkt('LOCAL_CS["a site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]')
    stored = noise((1, 32, 32), "uint16")
    layout, plan = layout_for(stored.shape)

    profile = {**PROFILE, "crs": odd}
    with TiffSink(tmp_path / "x.tif", layout, profile=profile, template=describe, fingerprint="{}") as sink:
        sink.append(plan[0], encode(sink, plan[0], stored))
        sink.finish()
    with rasterio.open(tmp_path / "x.tif") as file:
        assert "a site" in file.crs.to_wkt()


def test_two_runs_on_one_output_are_refused(tmp_path: Path) -> None:
    layout, _ = layout_for((1, 32, 32))
    with sink_for(tmp_path / "x.tif", layout), pytest.raises(PlaceError, match="another run"):
        sink_for(tmp_path / "x.tif", layout, overwrite=True)


def test_a_result_reached_through_a_link_replaces_what_the_link_means(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "x.tif").symlink_to(tmp_path / "there" / "real.tif")
    write(tmp_path / "x.tif", noise((1, 32, 32), "uint16"))
    assert (tmp_path / "x.tif").is_symlink()
    assert [entry.name for entry in (tmp_path / "there").iterdir()] == ["real.tif"]


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("gone/x.tif", PlaceError, "does not exist"),
        ("", InputError, "is a folder"),
        ("s3://bucket/x.tif", InputError, "local files"),
    ],
)
def test_a_place_that_cannot_work_is_refused_before_the_first_tile(
    tmp_path: Path, name: str, error: type[Exception], says: str
) -> None:
    layout, _ = layout_for((1, 32, 32))
    with pytest.raises(error, match=says):
        sink_for(name if "://" in name else tmp_path / name, layout)  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_refused_before_the_first_tile(tmp_path: Path) -> None:
    layout, _ = layout_for((1, 32, 32))
    tmp_path.chmod(0o500)
    with pytest.raises(PlaceError, match="can't be written"):
        sink_for(tmp_path / "x.tif", layout)


def test_a_file_beyond_four_gigabytes_becomes_a_bigtiff_unasked(tmp_path: Path) -> None:
    stored = noise((2, 96, 64), "uint16")
    layout, plan = layout_for(stored.shape, format="GTiff")
    with sink_for(tmp_path / "x.tif", layout) as sink:
        sink._files[0].end = 5 * 2**30  # a hole, which takes no space
        for tile in plan:
            sink.append(tile, encode(sink, tile, stored))
        sink.finish()
    with (tmp_path / "x.tif").open("rb") as file:
        assert file.read(3)[2] == 43
    check(tmp_path / "x.tif", stored, None, layout)
