"""On a system with less: no fcntl, no reads by offset, no advice, no renaming of what is open, as on Windows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import geosr
from tests import scenes

LESS = """
import builtins, os, sys, warnings
for module in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[module] = None
warnings.filterwarnings("ignore", "only soft file lock")  # as filelock knows Windows by its name
import filelock, rasterio, numpy, geosr.cli
for name in ("pread", "pwrite", "preadv", "pwritev", "posix_fadvise", "sched_getaffinity", "O_DIRECT", "O_DIRECTORY",
             "O_CLOEXEC", "copy_file_range", "sendfile", "fork", "fchmod", "getuid", "geteuid"):
    if hasattr(os, name):
        delattr(os, name)

def held(path):
    path = os.path.realpath(path)
    links = [f"/proc/self/fd/{file}" for file in os.listdir("/proc/self/fd")]
    return any(os.path.realpath(link).startswith(path) for link in links) and not path.endswith(".lock")

def strict(name):
    plain = getattr(os, name)
    def checked(*paths, **options):
        for path in paths:
            if held(path):
                raise PermissionError(13, "The process cannot access the file because it is being used", str(path))
        return plain(*paths, **options)
    setattr(os, name, checked)

if os.path.isdir("/proc/self/fd"):
    for name in ("rename", "replace", "unlink", "remove"):
        strict(name)
"""
"""A preamble that takes from Python what Windows lacks, and refuses what Windows refuses."""

OPTIONS = ("--model", "bicubic", "--scale", "2", "--tile", "32", "--workers", "1")


def run(code: str, *arguments: Any) -> str:
    """What a command says on stdout, on such a system."""
    command = [sys.executable, "-c", LESS + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


MAIN = "from geosr.cli import main; main()"


@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_a_scene_is_the_same(tmp_path: Path, format: str) -> None:
    src = scenes.make_plain(tmp_path, shape=(2, 90, 100))
    geosr.upscale(src, tmp_path / "here.tif", model="bicubic", scale=2, tile=32, workers=1, format=format)
    run(MAIN, "upscale", src, tmp_path / "there.tif", *OPTIONS, "--format", format)
    here, there = (geosr.open_raster(tmp_path / f"{name}.tif", chunks=None) for name in ("here", "there"))
    assert here.identical(there)
    if format == "COG":  # a GTiff has its blocks in the order in which they came
        assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {src.name, "here.tif", "there.tif"}


@pytest.mark.parametrize("name", ["x.tif", "x.zarr"])
def test_a_run_that_failed_midway_goes_on(tmp_path: Path, name: str) -> None:
    src = scenes.make_plain(tmp_path, shape=(2, 90, 100))
    stop = """
import geosr
def stop(done, total, pixels):
    if done == 4: raise ZeroDivisionError
try: geosr.upscale(*sys.argv[1:], model="bicubic", scale=2, tile=32, workers=1, progress=stop)
except ZeroDivisionError: pass
"""
    run(stop, src, tmp_path / name)
    assert not (tmp_path / name).exists()
    report = json.loads(run(MAIN, "upscale", src, tmp_path / name, *OPTIONS, "--json"))
    assert report["tiles_from_an_earlier_run"] >= 4
    assert {path.name for path in tmp_path.iterdir()} == {src.name, name}


def test_an_archive_and_its_second_run(tmp_path: Path) -> None:
    sources = [scenes.make_plain(tmp_path, f"{name}.tif", shape=(1, 50, 60)) for name in "ab"]
    for status in ("done", "skipped"):
        lines = run(MAIN, "upscale", *sources, "--outdir", tmp_path / "out", *OPTIONS, "--json").splitlines()
        assert [json.loads(line)["status"] for line in lines] == [status] * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x2.tif", "b_x2.tif"]


def test_a_store_is_replaced(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 90, 100))
    for more in ((), ("--overwrite",)):
        run(MAIN, "upscale", src, tmp_path / "x.zarr", *OPTIONS, *more)
    geosr.upscale(src, tmp_path / "here.zarr", model="bicubic", scale=2, tile=32)
    here, there = ({path.relative_to(each): path.read_bytes() for path in each.rglob("*") if path.is_file()}
                   for each in (tmp_path / "here.zarr", tmp_path / "x.zarr"))  # fmt: skip
    assert here == there
