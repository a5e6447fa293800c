"""A stdout that is full, closed, left by its reader or short of letters; names in odd locales; pipes as files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from geosr.errors import InputError
from geosr.io.place import check_destination
from geosr.io.scene import open_scene
from tests import scenes

UPSCALE = ("upscale", "scene.tif", "x.tif", "--model", "nearest", "--scale", "2")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell is asked")


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a command line of the shell gives; `geosr` in it is this one."""
    line = line.replace("geosr ", f"{sys.executable} -c 'from geosr.cli import main; main()' ")
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scenes.make_plain(tmp_path, "scene.tif", shape=(1, 20, 20))
    return tmp_path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize(("where", "why"), [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_a_result_that_is_whole_is_no_failure_because_stdout_is(folder: Path, where: str, why: str) -> None:
    done = shell(folder, f"geosr {' '.join(UPSCALE)} {where}")
    assert done.returncode == 0
    assert done.stderr.decode() == f"geosr: stdout can't be written: {why}; the work is done and kept\n"
    with rasterio.open(folder / "x.tif") as result:
        assert result.shape == (40, 40)
    (folder / "b.tif").write_bytes((folder / "scene.tif").read_bytes())
    many = shell(folder, f"geosr upscale scene.tif b.tif --outdir out --model nearest {where}")
    assert (many.returncode, len(list((folder / "out").iterdir()))) == (0, 2)
    assert many.stderr.decode().count("can't be written") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize(
    "command", ["info scene.tif", "models", "upscale scene.tif --model nearest --dry-run", "--help"]
)
def test_what_was_asked_for_on_stdout_and_is_lost_is_one_line_and_exit_1(folder: Path, command: str) -> None:
    done = shell(folder, f"geosr {command} > /dev/full")
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, len(lines)) == (1, 1)
    assert lines[0].startswith("geosr: ")
    assert lines[0].endswith("No space left on device")


def test_a_closed_stderr_or_stdin_is_written_into_by_nobody(folder: Path) -> None:
    done = shell(folder, f"geosr {' '.join(UPSCALE)} <&- 2>&-")
    assert (done.returncode, done.stdout.decode().strip()) == (0, str(folder / "x.tif"))
    assert shell(folder, "geosr upscale nothing.tif 2>&-").returncode == 2


def test_a_reader_that_left_stops_no_archive(folder: Path) -> None:
    done = shell(folder, "geosr upscale scene.tif --outdir out --model nearest | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, len(list((folder / "out").iterdir()))) == (0, 1)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("encoding", "printed"), [("cp1252", b"\xe9\xdf\\u0416_x2.tif"), ("ascii", rb"\xe9\xdf\u0416_x2.tif")]
)
def test_letters_that_stdout_lacks_are_escaped(tmp_path: Path, encoding: str, printed: bytes) -> None:
    src = scenes.make_plain(tmp_path, "éßЖ.tif", shape=(1, 20, 20))
    done = shell(tmp_path, f"geosr upscale {src.name} --model nearest --scale 2", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.rstrip().endswith(printed)
    assert (tmp_path / "éßЖ_x2.tif").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_names_in_the_c_locale_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "é.tif", shape=(1, 20, 20))
    line = "geosr upscale é.tif --model nearest --scale 2"
    assert shell(tmp_path, line, LC_ALL="C").returncode == 0
    done = shell(tmp_path, line, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "geosr: é.tif: GDAL takes names in UTF-8; rename the file, or set PYTHONUTF8=1 where the name is UTF-8 and the "
        "locale is not"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_result_whose_name_is_no_text_is_printed_as_it_is(folder: Path) -> None:
    done = shell(folder, "geosr upscale scene.tif $'\\xe9.tif' --model nearest --scale 2")
    assert (done.returncode, done.stdout) == (0, os.fsencode(folder) + b"/\xe9.tif\n")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe\.tif: is a pipe or a device; geosr reads in any order"):
        open_scene(pipe)
    with pytest.raises(InputError, match="save it to a file first"):
        open_scene("/vsistdin/")
    with pytest.raises(InputError, match=r"pipe\.tif is no file that can be replaced"):
        check_destination(pipe, overwrite=True)
    vrt = tmp_path / "mosaic.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">pipe.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    with pytest.raises(InputError, match=r"pipe\.tif: is a pipe"):
        open_scene(vrt)
