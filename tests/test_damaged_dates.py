"""A date of which some can't be read: that counts as no data, is said, and is the same in any tiling and any run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray
from rasterio.shutil import copy
from rasterio.windows import Window
from scipy import ndimage

import geosr
from geosr.cli import cli
from geosr.errors import DamageError
from tests.dates import MTF, SHIFTS, written

SIDE, BLOCK = 300, 32
LOST = Window(128, 288, 32, 12)
"""A block of the file, beyond all windows that tell where a date lies."""
WEST, NORTH = 5e5, 5e6
OPTIONS: dict[str, Any] = {
    "model": "ibp", "scale": 2, "mtf": MTF, "snr": 100, "tile": 32,
    "bounds": (WEST + 20 * 60, NORTH - 20 * SIDE, WEST + 20 * 200, NORTH - 20 * 220),
}  # fmt: skip


def spoilt(path: Path) -> None:
    """One block of it has other bytes."""
    with rasterio.open(path) as dataset:
        start, size = (int(dataset.get_tag_item(f"BLOCK_{what}_4_9", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three, of which the second is damaged in one block."""
    folder, rng = tmp_path_factory.mktemp("dates"), np.random.default_rng(0)
    ground, paths = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1.0), []
    for place, shift in enumerate(SHIFTS[:3]):
        date = 2000 + 800 * ndimage.shift(ground, shift, mode="mirror") + 10 * rng.standard_normal((SIDE, SIDE))
        plain = written(folder / "plain.tif", date, nodata=0)
        paths.append(folder / f"{place}.tif")
        copy(plain, paths[-1], tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate")
    spoilt(paths[1])
    return paths


@pytest.fixture(scope="module")
def expected(dates: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[Any]]:
    """The result and the counts of a date with a gap where the other is damaged."""
    folder = tmp_path_factory.mktemp("gap")
    paths = [Path(shutil.copy(path, folder)) for path in dates]
    with rasterio.open(paths[1], "r+") as dataset:
        dataset.write(np.zeros((12, 32), "uint16"), 1, window=LOST)
    geosr.upscale(paths, folder / "out.tif", fuse=True, **OPTIONS)
    return pixels(folder / "out.tif")


def pixels(path: Path) -> list[NDArray[Any]]:
    found = []
    for each in (path, path.with_suffix(".frames.tif")):
        with rasterio.open(each) as dataset:
            found.append(dataset.read())
    return found


@pytest.mark.parametrize("options", [{}, {"tile": 96}, {"scheduler": "local:1"}], ids=str)
def test_what_cant_be_read_of_a_date_is_a_gap_of_it_and_said(
    dates: list[Path], expected: list[NDArray[Any]], tmp_path: Path, options: dict[str, Any]
) -> None:
    report = geosr.upscale(dates, tmp_path / "out.tif", fuse=True, **OPTIONS | options)
    said = [line for line in report["warnings"] if line.startswith("1.tif: 1 block of it can't be read and counts as")]
    assert len(said) == 1
    assert "rows 288-299, columns 128-159" in said[0]
    for one, other in zip(pixels(tmp_path / "out.tif"), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.tags()["GEOSR_FRAMES"].startswith("1.tif +0.3")


def test_a_stopped_run_goes_on_to_the_same_pixels_and_says_the_same(
    dates: list[Path], expected: list[NDArray[Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"

    def stop(done: int, total: int, pixels: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geosr.upscale(dates, out, fuse=True, progress=stop, workers=1, **OPTIONS)
    again = geosr.upscale(dates, out, fuse=True, **OPTIONS)
    assert again["tiles_from_an_earlier_run"] >= again["tiles"] - 1
    assert [line for line in again["warnings"] if "1.tif: 1 block of it can't be read" in line]
    for one, other in zip(pixels(out), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_strict_refuses_it_and_leaves_nothing(dates: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DamageError, match=r"1\.tif: rows \d+-299, columns .* can't be read"):
        geosr.upscale(dates, tmp_path / "out.tif", fuse=True, strict=True, **OPTIONS)
    assert not list(tmp_path.glob("*out*"))


def test_the_shell_says_it_behind_the_run(dates: list[Path], tmp_path: Path) -> None:
    options = ["--model", "ibp", "--scale", "2", "--mtf", str(MTF), "--snr", "100"]
    bounds = ["--bounds", ",".join(map(str, OPTIONS["bounds"])), "-o", str(tmp_path / "out.tif")]
    done = CliRunner().invoke(cli, ["upscale", "--fuse", *map(str, dates), *bounds, *options])
    assert done.exit_code == 0, done.output
    assert done.output.count("1.tif: 1 block of it can't be read and counts as no data") == 1
