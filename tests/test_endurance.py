"""Runs that are killed, interrupted, starved or disturbed: nothing lost, nothing half-written, one clear line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rasterio

import geosr
from geosr.errors import DamageError, InputError, PlaceError
from tests import scenes

SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs start without
import geosr.api as api
from geosr.upscaler import Upscaler
quick = Upscaler.__call__
def slow(self, pixels, tile):
    time.sleep(0.2)
    return quick(self, pixels, tile)
Upscaler.__call__ = slow
from geosr.cli import main
print("ready", flush=True)
main()
"""
"""geosr with tiles that take a fifth of a second longer, so that a signal lands in the middle of a run."""


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return scenes.write(tmp_path / "scene.tif", scenes.pixels((2, 200, 260)), nodata=0)


def started(src: Path, dst: Path | str, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        SLOW,
        "upscale",
        str(src),
        str(dst),
        "--model",
        "bicubic",
        "--tile",
        "32",
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def until_tiles_are_kept(dst: Path, process: subprocess.Popen[str]) -> None:
    journal = dst.with_name(f".{dst.name}.journal")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and journal.stat().st_size > 2000:
            return
        time.sleep(0.02)
    raise AssertionError(f"no tile was kept: {process.communicate()}")


@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_a_killed_run_goes_on_to_the_same_result(src: Path, tmp_path: Path, format: str) -> None:
    whole = geosr.upscale(src, tmp_path / "whole.tif", model="bicubic", tile=32, format=format)
    dst = tmp_path / "killed.tif"
    pause = random.Random(format)
    for _ in range(3):
        process = started(src, dst, "--format", format, "--workers", "2")
        until_tiles_are_kept(dst, process)
        time.sleep(pause.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not dst.exists()
    report = geosr.upscale(src, dst, model="bicubic", tile=32, format=format)
    assert 0 < report["tiles_from_an_earlier_run"] < report["tiles"] == whole["tiles"]
    if format == "COG":
        assert dst.read_bytes() == (tmp_path / "whole.tif").read_bytes()
    with rasterio.open(dst) as one, rasterio.open(tmp_path / "whole.tif") as other:
        assert (one.read() == other.read()).all()
        assert one.tags() == other.tags()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.tif", "scene.tif", "whole.tif"]


def test_an_interrupt_exits_130_and_says_how_to_go_on(src: Path, tmp_path: Path) -> None:
    dst = tmp_path / "out.tif"
    process = started(src, dst)
    until_tiles_are_kept(dst, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert not dst.exists()


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_an_interrupt_leaves_tiles_behind_that_take_minutes(src: Path, tmp_path: Path, scheduler: str) -> None:
    dst, begun = tmp_path / "out.tif", tmp_path / "begun"
    (tmp_path / "sitecustomize.py").write_text(ENDLESS.format(begun=str(begun)))
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from geosr.cli import main; main()"
    command = [sys.executable, "-c", code, "upscale", str(src), str(dst), "--model", "bicubic", "--tile", "64"]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--scheduler", scheduler],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not begun.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=240)
    assert process.returncode == 130
    assert told.count("interrupted; ") == 1
    assert "Traceback" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "scene.tif", "sitecustomize.py"]


ENDLESS = """
import pathlib, time
from geosr.upscaler import Upscaler
def endless(self, pixels, tile):
    pathlib.Path({begun!r}).touch()
    time.sleep(600)
Upscaler.__call__ = endless
"""
"""Every process of Python has tiles that take ten minutes."""


def test_a_second_run_on_the_same_result_is_refused(src: Path, tmp_path: Path) -> None:
    dst = tmp_path / "out.tif"
    process = started(src, dst)
    until_tiles_are_kept(dst, process)
    with pytest.raises((InputError, PlaceError)) as caught:
        geosr.upscale(src, dst, model="bicubic", tile=32)
    assert "\n" not in str(caught.value)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert dst.exists()


def test_changed_options_or_input_are_noticed_and_nothing_is_mixed(src: Path, tmp_path: Path) -> None:
    dst = tmp_path / "out.tif"
    process = started(src, dst)
    until_tiles_are_kept(dst, process)
    process.kill()
    process.communicate()
    with pytest.raises(InputError, match="overwrite"):
        geosr.upscale(src, dst, model="lanczos", tile=32)
    content = bytearray(src.read_bytes())
    content[len(content) // 2] ^= 1
    src.write_bytes(content)
    with pytest.raises(InputError, match="of this input before it changed; use --overwrite"):
        geosr.upscale(src, dst, model="bicubic", tile=32)
    with pytest.raises(InputError, match=r"another input, scale and offset was \(\(1.0"):
        geosr.upscale(src, dst, model="bicubic", tile=32, scale_offset=(0.1, 0))
    report = geosr.upscale(src, dst, model="lanczos", tile=32, overwrite=True)
    assert report["tiles_from_an_earlier_run"] == 0


def test_a_folder_that_is_not_there_is_said_before_anything_is_computed(src: Path, tmp_path: Path) -> None:
    with pytest.raises((InputError, PlaceError), match="does not exist"):
        geosr.upscale(src, tmp_path / "nowhere" / "out.tif", model="nearest")


def test_a_full_disk_is_one_line_and_leaves_no_result(src: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); from geosr.cli import main; main()"
    )
    dst = tmp_path / "out.tif"
    command = [sys.executable, "-c", limited, "upscale", str(src), str(dst), "--model", "bicubic", "--tile", "32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "kept" in done.stderr
    assert not dst.exists()
    report = geosr.upscale(src, dst, model="bicubic", tile=32)
    assert report["tiles_from_an_earlier_run"] > 0


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_an_input_that_is_damaged_in_one_tile_is_named_and_nothing_of_it_is_left(tmp_path: Path, name: str) -> None:
    src = scenes.write(
        tmp_path / "torn.tif",
        scenes.pixels((1, 256, 256)),
        tiled=True,
        blockxsize=64,
        blockysize=64,
        compress="deflate",
    )
    content = bytearray(src.read_bytes())
    with rasterio.open(src) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
    content[offset : offset + 40] = b"\xff" * 40
    src.write_bytes(content)
    kept: list[int] = []
    with pytest.raises(DamageError, match=r"tile \d+ \(rows") as caught:
        geosr.upscale(
            src, tmp_path / name, model="bicubic", tile=32, workers=1, progress=lambda done, *_: kept.append(done)
        )
    assert "\n" not in str(caught.value)
    assert kept
    assert list(tmp_path.iterdir()) == [src]


def test_the_report_is_json_on_stdout_and_talk_is_on_stderr(src: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from geosr.cli import main; main()", "upscale", str(src), str(tmp_path / "o.tif")]
    done = subprocess.run([*command, "--model", "nearest", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["path"].endswith("o.tif")
