"""What is refused at the door, in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import rasterio
from scipy.io import netcdf_file

from geosr.api import upscale
from geosr.errors import GeosrError, InputError
from geosr.io import environment
from geosr.io.scene import open_scene
from geosr.window import Window
from tests import scenes


def read_whole(path: Path | str, **options: object) -> None:
    scene = open_scene(path, **options)  # type: ignore[arg-type]
    if scene.window.size < 10**6:
        scene.source.pixels(Window(0, 0, *scene.shape))


def refusal(path: Path | str, **options: object) -> str:
    """The one line with which a scene is refused, at the door or on reading all of it."""
    with pytest.raises(GeosrError) as caught:
        read_whole(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert "Read failed" not in line
    return line


def test_a_missing_file_is_met_with_names_like_it(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "field_2024.tif")
    assert "did you mean field_2024.tif?" in refusal(tmp_path / "field_2042.tif")
    assert "no folder" in refusal(tmp_path / "nowhere" / "field.tif")


def test_a_folder_an_empty_file_and_a_text_are_refused(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "inside.tif")
    assert "is a folder" in refusal(tmp_path)
    assert "such as inside.tif" in refusal(tmp_path)
    (tmp_path / "empty.tif").touch()
    assert "0 bytes" in refusal(tmp_path / "empty.tif")
    (tmp_path / "store.zarr").mkdir()
    assert "is a Zarr store, which is read in Python: xr.open_zarr(" in refusal(tmp_path / "store.zarr")
    (tmp_path / "notes.tif").write_text("not a raster at all, " * 100)
    assert "is not a raster" in refusal(tmp_path / "notes.tif")


@pytest.mark.parametrize("dtype", ["complex64", "int64", "uint64", "complex_int16"])
def test_complex_and_64_bit_integers_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "odd.tif"
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=1, dtype=dtype, crs=scenes.UTM,
                       transform=scenes.NORTH_UP):  # fmt: skip
        pass
    line = refusal(path)
    assert "can't be upscaled" in line
    assert "uint8" in line


def test_a_container_without_bands_names_its_rasters(tmp_path: Path) -> None:
    path = tmp_path / "cube.gpkg"
    stored = scenes.pixels((1, 300, 300), "uint8", low=0, high=255)
    profile = {"driver": "GPKG", "width": 300, "height": 300, "count": 1, "dtype": "uint8", "crs": "EPSG:3857"}
    profile |= {"transform": scenes.NORTH_UP}
    for table in ("one", "two"):
        with rasterio.open(path, "w", **profile, raster_table=table, append_subdataset=path.exists()) as dst:
            dst.write(stored)
    line = refusal(path)
    assert "holds 2 rasters" in line
    name = re.search(r"(GPKG:\S+:one)", line)
    assert name is not None
    assert open_scene(name[1]).shape[0] > 0


def test_pixels_missing_at_the_end_of_a_geotiff_are_an_error(tmp_path: Path) -> None:
    for compress in (None, "deflate", "lzw"):
        whole = scenes.make_plain(tmp_path, "whole.tif", shape=(3, 400, 300), compress=compress)
        line = refusal(scenes.make_truncated(tmp_path, whole))
        assert "truncated.tif" in line


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "JP2OpenJPEG"])
def test_a_truncated_picture_is_an_error_and_no_zeros(tmp_path: Path, driver: str) -> None:
    whole = scenes.make_photo(tmp_path, driver)
    open_scene(whole).source.pixels(Window(0, 0, 200, 150))
    assert "truncated" in refusal(scenes.make_truncated(tmp_path, whole))


def test_a_truncated_classic_netcdf_is_an_error_and_no_zeros(tmp_path: Path) -> None:
    whole = tmp_path / "whole.nc"
    with netcdf_file(str(whole), "w") as file:
        for name, size in (("y", 40), ("x", 50)):
            file.createDimension(name, size)
        file.createVariable("red", "i2", ("y", "x"))[:] = scenes.pixels((1, 40, 50), "int16")[0]
    assert open_scene(whole).source.pixels(Window(0, 0, 40, 50)).stored.all()
    assert "cut off" in refusal(scenes.make_truncated(tmp_path, whole))


def test_a_garbled_tile_names_file_and_window(tmp_path: Path) -> None:
    path = scenes.make_plain(
        tmp_path, shape=(1, 256, 256), tiled=True, blockxsize=128, blockysize=128, compress="deflate"
    )
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = b"\x55" * 200
    path.write_bytes(content)
    scene = open_scene(path)
    scene.source.pixels(Window(0, 0, 128, 256))
    with pytest.raises(InputError, match=r"plain\.tif: rows 128-255, columns 128-255 can't be read: "):
        scene.source.pixels(Window(128, 128, 128, 128))


def test_a_vrt_of_files_beside_it_is_read(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "one.tif")
    (tmp_path / "below").mkdir()
    scenes.make_plain(tmp_path / "below", "two.tif")
    scenes.make_vrt(tmp_path, ["one.tif", "below/two.tif"], name="inner.vrt")
    outer = scenes.make_vrt(tmp_path, ["inner.vrt", "inner.vrt"], bands=[2, 1], name="outer.vrt")
    stored = open_scene(outer).source.pixels(Window(0, 0, 40, 50)).stored
    assert stored.mean() > 100
    named_whole = scenes.make_vrt(tmp_path, [str(tmp_path / "one.tif")], relative=False, name="whole.vrt")
    assert open_scene(named_whole).shape == (40, 50)


def test_what_a_vrt_in_a_vrt_names_is_input_too(tmp_path: Path) -> None:
    deepest = scenes.make_plain(tmp_path, "one.tif")
    scenes.make_vrt(tmp_path, ["one.tif"], name="inner.vrt")
    outer = scenes.make_vrt(tmp_path, ["inner.vrt"], name="outer.vrt")
    before = open_scene(outer)
    assert str(deepest) in before.files
    with pytest.raises(InputError, match="is the input itself"):
        upscale(outer, deepest, model="nearest", scale=2, overwrite=True)
    scenes.make_plain(tmp_path, "one.tif", seed=7)
    assert open_scene(outer).identity != before.identity


@pytest.mark.parametrize(
    "name",
    [
        "../outside.tif", "below/../../outside.tif", "/etc/hostname", "/vsicurl/http://127.0.0.1:9/x.tif",
        "/vsizip/../outside.zip/x.tif", "/vsisubfile/0_100,/etc/hostname", "http://127.0.0.1:9/x.tif",
        "NETCDF:&quot;/etc/x.nc&quot;:v", "GTIFF_DIR:1:/etc/x.tif", "vrt://../outside.tif", "&lt;VRTDataset/&gt;", "",
        "link.tif",
    ],
)  # fmt: skip
@pytest.mark.parametrize("relative", [True, False])
def test_a_vrt_that_reaches_out_of_its_folder_is_refused(tmp_path: Path, name: str, relative: bool) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    outside = scenes.make_plain(tmp_path, "outside.tif")
    (folder / "link.tif").symlink_to(outside)
    line = refusal(scenes.make_vrt(folder, [name], relative=relative))
    assert "scene.vrt" in line


def test_a_vrt_in_a_vrt_is_held_to_the_same(tmp_path: Path) -> None:
    scenes.make_vrt(tmp_path, ["/etc/hostname"], name="inner.vrt", relative=False)
    assert "inner.vrt" in refusal(scenes.make_vrt(tmp_path, ["inner.vrt"]))
    disguised = (tmp_path / "inner.vrt").rename(tmp_path / "inner.tif")
    assert "inner.tif" in refusal(scenes.make_vrt(tmp_path, [disguised.name]))


def test_vrts_that_name_each_other_are_refused(tmp_path: Path) -> None:
    scenes.make_vrt(tmp_path, ["b.vrt"], name="a.vrt")
    assert "name each other" in refusal(scenes.make_vrt(tmp_path, ["a.vrt"], name="b.vrt"))


def test_raw_bytes_of_other_files_are_never_read(tmp_path: Path) -> None:
    assert "not in the VRT's own folder" in refusal(scenes.make_raw_vrt(tmp_path, "/etc/passwd"))


def test_more_pixels_than_a_file_can_count_are_refused(tmp_path: Path) -> None:
    scenes.make_plain(tmp_path, "one.tif", shape=(1, 40, 50))
    path = scenes.make_vrt(tmp_path, ["one.tif"], size=(2_000_000_000, 2_000_000_000))
    with pytest.raises(InputError, match="more blocks than a file can count"):
        upscale(path, tmp_path / "out.tif", model="nearest", scale=2)
    assert not (tmp_path / "out.tif").exists()


def test_python_in_a_vrt_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    touched = tmp_path / "touched"
    assert "Python" in refusal(scenes.make_python_vrt(tmp_path, touched))
    assert not touched.exists()


def test_xml_bombs_and_broken_xml_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.vrt"
    bomb.write_text('<!DOCTYPE x [<!ENTITY a "aaaa">]>\n<VRTDataset rasterXSize="1" rasterYSize="1">&a;</VRTDataset>')
    assert "entities" in refusal(bomb)
    bomb.write_text("<VRTDataset rasterXSize='1'")
    assert "well-formed" in refusal(bomb)


@pytest.mark.parametrize(
    ("path", "why"),
    [("<VRTDataset/>", "XML"), ("vrt://x.tif", "--bands"), ("gopher://host/x.tif", "none of them")],
)
def test_a_path_that_is_no_path_is_refused(path: str, why: str) -> None:
    assert why in refusal(path)


def test_a_small_text_that_names_a_server_is_no_raster(tmp_path: Path) -> None:
    path = tmp_path / "map.xml"
    path.write_text("<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service></GDAL_WMS>")
    assert "is not a raster" in refusal(path)


def test_a_million_pixels_square_that_are_sparse_are_read_in_bounded_memory(tmp_path: Path) -> None:
    scene = open_scene(scenes.make_huge(tmp_path))
    assert scene.shape == (1_000_000, 1_000_000)
    tracemalloc.start()
    assert not scene.source.pixels(Window(999_000, 999_000, 512, 512)).stored.any()
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_a_block_that_does_not_fit_in_memory_is_refused_with_the_way_out(tmp_path: Path) -> None:
    line = refusal(scenes.make_one_block(tmp_path))
    assert "gdal_translate -co TILED=YES" in line


def test_a_small_picture_that_declares_a_huge_one_is_refused(tmp_path: Path) -> None:
    path = scenes.make_photo(tmp_path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = (200_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    assert "declare" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    path.chmod(0)
    assert "can't be opened" in refusal(path)


def test_any_bytes_in_a_header_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    content = scenes.make_rich(tmp_path).read_bytes()
    rng, refusals = np.random.default_rng(1), []
    for trial in range(60):
        broken = bytearray(content)
        for place in rng.integers(0, min(len(content), 3000), 12):
            broken[place] = rng.integers(256)
        path = tmp_path / f"broken{trial}.tif"
        path.write_bytes(broken)
        try:
            read_whole(path)
        except GeosrError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in line for line in refusals)


FUZZ = """
import os, sys
from pathlib import Path
from unittest.mock import Mock
import numpy as np
import geosr.api, geosr.cli.upscale
from geosr.cli import main

def upscaled(path):
    pid = os.fork()
    if pid == 0:
        told = os.open(path.with_suffix(".told"), os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 2)
        sys.stderr = open(2, "w", closefd=False)
        options = ["--model", "nearest", "--scale", "2", "--tile", "32", "--workers", "1", "--quiet"]
        sys.argv = ["geosr", "upscale", str(path), str(path.with_suffix("")) + "_out.tif", *options]
        try:
            main()
        except SystemExit as stop:
            sys.stderr.flush()
            os._exit(stop.code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

folder = Path(sys.argv[1])
for source in sorted(folder.glob("whole*")):
    whole = source.read_bytes()
    for trial in range(20):
        rng, content = np.random.default_rng(trial), bytearray(whole)
        if trial % 4 == 0:
            content = content[: rng.integers(8, len(content))]
        else:
            for place in rng.integers(0, min(len(content), 3000 if trial % 2 else 10**9), rng.integers(1, 30)):
                content[place] = rng.integers(256)
        path = folder / f"{source.stem}-{trial}{source.suffix}"
        path.write_bytes(content)
        print(path.stem, upscaled(path), flush=True)
"""
"""Damages every whole file of a folder in twenty ways, and upscales each as the command line does."""


@pytest.mark.slow
def test_a_damaged_file_is_upscaled_in_silence_or_refused_in_one_line_with_nothing_left(tmp_path: Path) -> None:
    profile = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    stored = scenes.pixels((2, 96, 80))
    scenes.write(tmp_path / "whole1.tif", stored, **profile)
    scenes.write(tmp_path / "whole2.img", stored, driver="HFA", COMPRESSED="YES")
    scenes.write(tmp_path / "whole3.img", stored, driver="HFA")
    done = subprocess.run([sys.executable, "-c", FUZZ, str(tmp_path)], capture_output=True, text=True, check=True)
    codes = {name: int(code) for name, code in (line.split() for line in done.stdout.splitlines())}
    assert len(codes) == 60
    assert set(codes.values()) == {0, 2}
    for name, code in codes.items():
        told = (tmp_path / f"{name}.told").read_text().splitlines()
        assert len(told) == (code == 2), told
        assert (tmp_path / f"{name}_out.tif").exists() == (code == 0)
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert left == []


def test_a_message_of_gdal_that_is_no_text_is_heard_and_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.excepthook, sys.unraisablehook
    with environment._listening(remote=False) as complaints:
        error = UnicodeDecodeError("utf-8", b"block 3 is corrupt: \xe8", 20, 21, "invalid")
        sys.excepthook(UnicodeDecodeError, error, None)
        sys.unraisablehook(Mock(exc_value=error, object="rasterio._env.log_error"))
        assert complaints == ["block 3 is corrupt: \ufffd"]
        assert capfd.readouterr().err == ""
    assert (sys.excepthook, sys.unraisablehook) == before
