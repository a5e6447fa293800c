"""The contract of a result with its input: kept by our results, and each breach of it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

import geosr
from geosr.cli.validate import command
from tests.scenes import make_plain

Profile = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scene with scale, offset, nodata, names and tags, and a result of it."""
    folder = tmp_path_factory.mktemp("validate")
    scene = make_plain(folder, shape=(2, 90, 80), nodata=0)
    with rasterio.open(scene, "r+") as dst:
        dst.scales, dst.offsets = (0.0001, 0.0001), (-0.1, -0.1)
        dst.descriptions = ("B02", "B03")
        dst.update_tags(PRODUCT="a scene")
    result = folder / "result.tif"
    geosr.upscale(scene, result, model="bicubic", scale=2, workers=1)
    return result, scene


def rewritten(
    made: tuple[Path, Path], folder: Path, change: Callable[[np.ndarray, Profile], np.ndarray | None]
) -> Path:
    """The result with other pixels or another profile, in which scale, offset, names and tags stand, too."""
    with rasterio.open(made[0]) as src:
        pixels = src.read()
        profile: Profile = {
            **src.profile, "driver": "GTiff", "scales": src.scales, "offsets": src.offsets, "tags": src.tags(),
            "descriptions": src.descriptions,
        }  # fmt: skip
    pixels = changed if (changed := change(pixels, profile)) is not None else pixels
    own = {name: profile.pop(name) for name in ("scales", "offsets", "tags", "descriptions")}
    profile |= {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    with rasterio.open(folder / "changed.tif", "w", **profile) as dst:
        dst.write(pixels)
        dst.scales, dst.offsets, dst.descriptions = own["scales"], own["offsets"], own["descriptions"]
        dst.update_tags(**own["tags"])
    return folder / "changed.tif"


def moved(pixels: np.ndarray, profile: Profile, by: Affine) -> None:
    profile["transform"] = profile["transform"] @ by


def test_a_result_of_ours_keeps_the_contract_and_so_does_a_part_of_it(made: tuple[Path, Path], tmp_path: Path) -> None:
    assert geosr.validate(made[0], against=made[1]) == {
        "path": str(made[0]), "source": str(made[1]), "valid": True, "findings": [],
    }  # fmt: skip
    left, top = 500_100, 4_999_900
    geosr.upscale(made[1], tmp_path / "part.tif", model="fast", scale=4, bounds=(left, top - 300, left + 200, top))
    assert geosr.validate(tmp_path / "part.tif", against=made[1])["findings"] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pixels, profile: profile.update(crs="EPSG:32632"), "the CRS is EPSG:32632; expected EPSG:32631"),
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(0.4, 0)), "corners lie"),
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(400, 0)), "reach beyond the input"),
        (lambda pixels, profile: moved(pixels, profile, Affine.scale(1.02)), "expected whole numbers"),
        (lambda pixels, profile: moved(pixels, profile, Affine.rotation(2)), "turned"),
        (lambda pixels, profile: profile.update(nodata=None), "nodata is none; expected 0"),
        (lambda pixels, profile: profile.update(scales=(1.0, 1.0), offsets=(0.0, 0.0)), "scales of bands are not kept"),
        (lambda pixels, profile: profile.update(descriptions=("one", "two")), "descriptions of bands are not kept"),
        (lambda pixels, profile: profile.update(tags={}), "tags are not kept: PRODUCT"),
        (lambda pixels, profile: pixels * 2, "vary 1.99"),
        (lambda pixels, profile: (pixels * 0.0001).astype(np.float32), "vary 9.9"),
        (lambda pixels, profile: pixels + np.uint16(1000), "values lie +0.1"),
        (lambda pixels, profile: np.roll(pixels, 1, axis=1), "what is seen lies +0.4"),
        (lambda pixels, profile: (pixels // 20).astype(np.uint8), "type uint8 can't hold every uint16 number"),
        (lambda pixels, profile: pixels[:, :, :-1], "not whole pixels of the input"),
    ],
)  # fmt: skip
def test_a_breach_is_told(
    made: tuple[Path, Path], tmp_path: Path, change: Callable[[np.ndarray, Profile], Any], told: str
) -> None:
    found = geosr.validate(rewritten(made, tmp_path, change), against=made[1])
    assert not found["valid"]
    assert any(told in line for line in found["findings"]), found["findings"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(1, 0)), ("and what is seen lie", 0.0, 0.5)),
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(0, -1)), ("and what is seen lie", -0.5, 0)),
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(0, 2)), ("and what is seen lie", 1.0, 0)),
        (lambda pixels, profile: np.roll(pixels, 1, axis=2), ("what is seen lies", 0, 0.5)),
        (lambda pixels, profile: (moved(pixels, profile, Affine.translation(1, 0)), pixels[:, :-2, :-2])[1],
         ("its edges and what is seen lie", 0, 0.5)),
        (lambda pixels, profile: (moved(pixels, profile, Affine.translation(1, 0)), pixels[:, :, 1:-1])[1],
         ("its edges lie 0 rows and 0.5 columns off those of the input's pixels; expected on them",)),
        (lambda pixels, profile: moved(pixels, profile, Affine.translation(60, 0)),
         ("its columns reach beyond the input, which has 80",)),
    ],
)  # fmt: skip
def test_what_lies_off_is_told_in_one_line(
    made: tuple[Path, Path], tmp_path: Path, change: Callable[[np.ndarray, Profile], Any], told: tuple[Any, ...]
) -> None:
    (line,) = geosr.validate(rewritten(made, tmp_path, change), against=made[1])["findings"]
    assert told[0] in line
    numbers = [float(each) for each in re.findall(r"[+-]\d\.\d+", line)]
    assert numbers == pytest.approx(told[1:], abs=0.1)


def test_of_a_result_that_lies_off_the_gain_is_still_told(made: tuple[Path, Path], tmp_path: Path) -> None:
    def change(pixels: np.ndarray, profile: Profile) -> np.ndarray:
        moved(pixels, profile, Affine.translation(1, 0))
        return (pixels * 1.5).astype(np.uint16)

    place, *values = geosr.validate(rewritten(made, tmp_path, change), against=made[1])["findings"]
    assert "+0.4" in place
    assert [line.partition(" times")[0][:-2] for line in values] == ["B02: values vary 1.4", "B03: values vary 1.4"]


def test_invented_data_is_told(made: tuple[Path, Path], tmp_path: Path) -> None:
    with rasterio.open(made[1]) as src:
        pixels, profile = src.read(), src.profile
        own = src.scales, src.offsets, src.descriptions, src.tags()
    pixels[:, 40:50, 30:40] = 0
    holed = tmp_path / "holed.tif"
    with rasterio.open(holed, "w", **profile) as dst:
        dst.write(pixels)
        dst.scales, dst.offsets, dst.descriptions = own[:3]
        dst.update_tags(**own[3])
    assert geosr.validate(made[0], against=holed)["findings"] == [
        "400 of its pixels in the windows looked at are data where the input has none"
    ]
    geosr.upscale(holed, tmp_path / "holed_x2.tif", model="fast", scale=2, workers=1)
    assert geosr.validate(tmp_path / "holed_x2.tif", against=holed)["valid"]


def test_the_command_prints_a_line_a_finding_and_exits_with_one(made: tuple[Path, Path], tmp_path: Path) -> None:
    run = CliRunner().invoke
    kept = run(command, [str(made[0]), "--against", str(made[1])], standalone_mode=False)
    assert (kept.return_value, kept.stdout) == (0, f"{made[0]} keeps the contract with {made[1]}\n")
    broken = rewritten(made, tmp_path, lambda pixels, profile: profile.update(nodata=None))
    told = run(command, [str(broken), "--against", str(made[1])], standalone_mode=False)
    assert told.return_value == 1
    assert told.stdout.splitlines() == ["nodata is none; expected 0"]
    report = json.loads(run(command, [str(broken), "--against", str(made[1]), "--json"]).stdout)
    assert report["valid"] is False
