"""Several dates fused onto one: what they add, what they must not change, tilings, files and what is refused."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from rasterio.rio.main import main_group as rio

import geosr
from geosr.cli import cli
from geosr.errors import InputError
from geosr.noise import Noise
from geosr.response import Response
from tests.dates import LEVEL, MTF, SHIFTS, Doubles, Ground, decibels, written

SHAPE = 72, 80
GROUND = Ground.of(3)
TRUTH = GROUND.truth(SHAPE)
DATES = [GROUND.date(SHAPE, shift, seed=10 + place) for place, shift in enumerate(SHIFTS)]
OPTIONS: dict[str, Any] = {"model": "ibp", "scale": 2, "mtf": MTF, "snr": 100, "overwrite": True}


def files(folder: Path, dates: Sequence[Doubles] = tuple(DATES), **options: Any) -> list[Path]:
    return [written(folder / f"S2_2021{place + 1:02d}05.tif", date, **options) for place, date in enumerate(dates)]


def pixels(path: Path | str) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        bands: NDArray[Any] = dataset.read()
    return bands


def fused(paths: Sequence[Path], dst: Path, **options: Any) -> NDArray[Any]:
    geosr.upscale(paths, dst, fuse=True, **(OPTIONS | options))
    return pixels(dst)


def single(path: Path, dst: Path, **options: Any) -> NDArray[Any]:
    geosr.upscale(path, dst, **(OPTIONS | options))
    return pixels(dst)


def gain(paths: Sequence[Path], tmp_path: Path, **options: Any) -> float:
    """dB over the single-frame result of the first."""
    one, many = single(paths[0], tmp_path / "one.tif", **options), fused(paths, tmp_path / "many.tif", **options)
    return decibels(many[0], TRUTH) - decibels(one[0], TRUTH)


def test_eight_dates_are_nearer_to_the_ground_than_four_and_those_than_one(tmp_path: Path) -> None:
    paths = files(tmp_path)
    two, four, eight = (gain(paths[:count], tmp_path) for count in (2, 4, 8))
    assert 0.2 < two < four < eight
    assert eight > 1.0


def test_dates_add_to_a_trained_network_too(tmp_path: Path) -> None:
    assert gain(files(tmp_path), tmp_path, model="fast") > 1.0


@pytest.mark.parametrize("scale", [3, 4])
def test_dates_add_at_other_scales(tmp_path: Path, scale: int) -> None:
    dates = [GROUND.date(SHAPE, shift, seed=place, scale=scale) for place, shift in enumerate(SHIFTS[:5])]
    paths, truth = files(tmp_path, dates), GROUND.truth(SHAPE, scale)
    one, many = single(paths[0], tmp_path / "one.tif", scale=scale), fused(paths, tmp_path / "many.tif", scale=scale)
    assert decibels(many[0], truth, 24) > decibels(one[0], truth, 24) + 0.5


def test_shift_and_add_is_nearer_than_bicubic(tmp_path: Path) -> None:
    paths = files(tmp_path)
    one, many = (
        single(paths[0], tmp_path / "one.tif", model="bicubic"),
        fused(paths, tmp_path / "many.tif", model="shift-and-add"),
    )
    assert decibels(many[0], TRUTH) > decibels(one[0], TRUTH) + 0.2


def spoilt(kind: str) -> Doubles:
    """The fourth date, gone wrong."""
    date = DATES[3].copy()
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    if kind == "black":
        date[:] = 0
    elif kind == "duplicate":
        date = DATES[0]
    elif kind == "cloudy":
        date += 4000 * np.exp(-((rows - 30) ** 2 + (cols - 40) ** 2) / 2 / 15**2)
    elif kind == "shifted by a pixel":
        date = np.roll(date, 1, axis=0)
    elif kind == "brighter":
        date *= 1.2
    elif kind == "a changed field":
        date[20:45, 20:50] = date[20:45, 20:50] * 0.4 + 200
    return date


BAD = ["black", "duplicate", "cloudy", "shifted by a pixel", "brighter", "a changed field"]


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> float:
    """dB of all dates but the fourth over one."""
    folder = tmp_path_factory.mktemp("seven")
    return gain(files(folder, [*DATES[:3], *DATES[4:]]), folder)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_date_beside_seven_costs_less_than_a_tenth_of_a_decibel(tmp_path: Path, kind: str, seven: float) -> None:
    assert gain(files(tmp_path, [*DATES[:3], spoilt(kind), *DATES[4:]]), tmp_path) > seven - 0.1


def test_what_changed_stays_as_the_reference_shows_it(tmp_path: Path) -> None:
    other = Ground.of(99)
    changed = [date.copy() for date in DATES]
    for place, date in enumerate(changed[1:], 1):
        date[:, 44:] = other.date(SHAPE, seed=place)[:, 44:] * 1.5
    paths = files(tmp_path, changed)
    one, many = single(paths[0], tmp_path / "one.tif"), fused(paths, tmp_path / "many.tif")
    apart = np.abs(many.astype(float) - one)[0, 24:-24]
    assert apart[:, 24:60].mean() > 20 * apart[:, 110:-24].mean()
    counts = pixels(tmp_path / "many.frames.tif")[0, 24:-24]
    assert counts[:, 24:60].mean() > 4
    assert counts[:, 110:-24].mean() < 1.1


def test_where_no_date_has_data_the_single_result_stays_to_the_last_bit(tmp_path: Path) -> None:
    dates = [DATES[0], *(date.copy() for date in DATES[1:4])]
    for date in dates[1:]:
        date[:, 40:] = np.nan
    paths = files(tmp_path, dates, nodata=0)
    one, many = single(paths[0], tmp_path / "one.tif"), fused(paths, tmp_path / "many.tif")
    assert (one == many)[0, :, 2 * 40 + 2 * 60 :].all()
    counts = pixels(tmp_path / "many.frames.tif")[0]
    assert (counts[:, 2 * 40 + 6 :] == 1).all()


def test_gaps_of_the_reference_stay_gaps_and_other_dates_dont_fill_them(tmp_path: Path) -> None:
    dates = [date.copy() for date in DATES[:4]]
    dates[0][30:40, 20:50] = np.nan
    paths = files(tmp_path, dates, nodata=0)
    many = fused(paths, tmp_path / "many.tif")[0]
    hole = np.zeros(many.shape, bool)
    hole[60:80, 40:100] = True
    assert ((many == 0) == hole).all()
    assert (np.isnan(pixels(tmp_path / "many.frames.tif")[0]) == hole).all()


def test_no_tiling_and_no_cut_changes_a_pixel(tmp_path: Path) -> None:
    shape = 150, 170
    dates = [GROUND.date(shape, shift, seed=place) for place, shift in enumerate(SHIFTS[:4])]
    dates[1][40:60, 50:90], dates[0][100:110, 120:150] = np.nan, np.nan
    paths = files(tmp_path, dates, nodata=0)
    whole = fused(paths, tmp_path / "whole.tif", tile=512)
    counts = pixels(tmp_path / "whole.frames.tif")
    for tile in (32, 64):
        np.testing.assert_array_equal(fused(paths, tmp_path / "tiles.tif", tile=tile), whole)
        np.testing.assert_array_equal(pixels(tmp_path / "tiles.frames.tif"), counts)
    bounds = (5e5 + 20 * 31, 5e6 - 20 * 121, 5e5 + 20 * 130, 5e6 - 20 * 17)
    np.testing.assert_array_equal(fused(paths, tmp_path / "cut.tif", tile=48, bounds=bounds), whole[:, 34:242, 62:260])


def test_a_turned_date_adds_what_it_knows_whatever_the_tiling(tmp_path: Path) -> None:
    shape = 150, 170
    dates = [GROUND.date(shape, shift, seed=place, turn=0.0015 * place) for place, shift in enumerate(SHIFTS[:4])]
    paths, truth = files(tmp_path, dates), GROUND.truth(shape)
    one, whole = single(paths[0], tmp_path / "one.tif"), fused(paths, tmp_path / "many.tif", tile=512)
    assert decibels(whole[0], truth) > decibels(one[0], truth) + 0.6
    np.testing.assert_array_equal(fused(paths, tmp_path / "tiles.tif", tile=64), whole)


def test_the_order_of_dates_changes_nothing_but_the_reference(tmp_path: Path) -> None:
    paths = files(tmp_path, DATES[:5])
    first = fused(paths, tmp_path / "first.tif")
    np.testing.assert_array_equal(fused([paths[0], *paths[:0:-1]], tmp_path / "other.tif"), first)
    np.testing.assert_array_equal(fused(paths[::-1], tmp_path / "named.tif", reference=paths[0]), first)


@pytest.mark.parametrize("reference", [3, "3", "S2_20210305.tif", "2021-03-05", "20210305", "2021-03"])
def test_the_reference_is_a_number_a_file_or_a_date(tmp_path: Path, reference: int | str) -> None:
    run = geosr.api.prepare(files(tmp_path, DATES[:4]), tmp_path / "x.tif", fuse=True, reference=reference, **OPTIONS)
    assert run.scene.name == "S2_20210305.tif"
    assert run.tags["GEOSR_REFERENCE"] == "S2_20210305.tif"
    assert "S2_20210105.tif" in run.tags["GEOSR_FRAMES"]


def test_a_shift_of_the_grid_is_taken_into_account(tmp_path: Path) -> None:
    moved = GROUND.date((50, 60), (0.3, -0.4), corner=(7, 9), seed=4)
    paths = [written(tmp_path / "a.tif", DATES[0]), written(tmp_path / "b.tif", moved, corner=(5e6 - 140, 5e5 + 180))]
    many, one = fused(paths, tmp_path / "many.tif"), single(paths[0], tmp_path / "one.tif")
    apart = many[0].astype(float) - one[0]
    assert np.abs(apart[40:80, 50:100]).mean() > 5
    assert (apart[:, 2 * 69 + 8 :] == 0).all()


def test_each_dates_place_is_told_and_decides_the_run(tmp_path: Path) -> None:
    paths = files(tmp_path, DATES[:3])
    runs = [geosr.api.prepare(each, tmp_path / "x.tif", fuse=True, **OPTIONS) for each in (paths, paths[:2])]
    assert runs[0].tags["GEOSR_RUN"] != runs[1].tags["GEOSR_RUN"]
    line = next(line for line in runs[0].notes if line.startswith("S2_20210205.tif: "))
    assert "+0.31" in line
    assert "(+- 0.0" in line


def test_dates_that_cant_be_used_are_left_out_and_said(tmp_path: Path) -> None:
    paths = files(tmp_path, [*DATES[:3], Ground.of(50).date(SHAPE), np.zeros(SHAPE)])
    broken = tmp_path / "S2_broken.tif"
    broken.write_bytes(paths[1].read_bytes()[:500])
    report = geosr.upscale([*paths, broken], tmp_path / "out.tif", fuse=True, **OPTIONS)
    told = [*report["warnings"], *report["notes"]]
    assert any("S2_broken.tif" in line and "left out" in line for line in told)
    assert any(line.startswith("S2_20210405.tif: left out") for line in report["notes"])
    assert any(line.startswith("S2_20210505.tif: left out") for line in report["notes"])
    np.testing.assert_array_equal(pixels(tmp_path / "out.tif"), fused(paths[:3], tmp_path / "good.tif"))
    with pytest.raises(InputError, match="S2_broken"):
        geosr.upscale([*paths, broken], tmp_path / "out.tif", fuse=True, strict=True, **OPTIONS)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"crs": "EPSG:32634"},
            "is in EPSG:32634 and a.tif in EPSG:32633; leave it out, or warp it: gdalwarp",
        ),
        (
            {"size": 10.0},
            "has pixels of 10 x 10 and a.tif of 20 x 20; .*; leave it out, or warp it: gdalwarp",
        ),
        ({"crs": None}, "is in no CRS and a.tif in .*; leave it out, or tell it: rio edit-info .*b.tif --crs EPSG:"),
        ({"corner": (4e6, 5e5)}, "none of the other dates fits .* no data where the reference has"),
    ],
)
def test_dates_on_other_grids_are_refused_in_one_line(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    paths = [written(tmp_path / "a.tif", DATES[0]), written(tmp_path / "b.tif", DATES[1], **other)]
    with pytest.raises(InputError, match=message):
        fused(paths, tmp_path / "out.tif")
    assert not list(tmp_path.glob("*out*"))


def told_to_warp(paths: Sequence[Path], **options: Any) -> list[str]:
    """The command that the refusal of dates ends with."""
    with pytest.raises(InputError, match="or warp it: ") as refused:
        geosr.prepare(paths, paths[0].parent / "out.tif", fuse=True, **OPTIONS, **options)
    return shlex.split(str(refused.value).partition("warp it: ")[2])


@pytest.mark.parametrize("other", [{"crs": "EPSG:32634"}, {"size": 10.0}])
def test_the_command_that_a_refusal_of_dates_names_warps_onto_the_grid_of_the_whole_reference(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    a, b = written(tmp_path / "a b.tif", DATES[0]), written(tmp_path / "b b.tif", DATES[1], **other)
    words = told_to_warp([a, b], bounds=(5e5 + 200, 5e6 - 900, 5e5 + 900, 5e6 - 300))
    assert [words[0], *words[-4:]] == ["gdalwarp", "-r", "cubic", str(b), str(tmp_path / "b b_warped.tif")]
    crs, [right, down, left, bottom, east, top] = words[2], map(float, (*words[4:6], *words[7:11]))
    with rasterio.open(a) as reference:
        assert crs == reference.crs.to_string()
        assert Affine(right, 0, left, 0, -down, top) == reference.transform
        assert (left, bottom, east, top) == reference.bounds


def test_of_a_turned_reference_that_command_is_rasterios_and_what_it_writes_can_be_fused(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.tif", DATES[0]), written(tmp_path / "b.tif", DATES[1])
    with rasterio.open(a, "r+") as reference:
        reference.transform = reference.transform @ Affine.rotation(1)
    words = told_to_warp([a, b])
    assert CliRunner().invoke(rio, words[1:]).exit_code == 0
    with rasterio.open(words[3]) as made:
        assert made.transform == geosr.prepare([a, words[3]], tmp_path / "x.tif", fuse=True, **OPTIONS).scene.transform


def test_one_date_and_hundreds_and_clouds_everywhere_are_refused(tmp_path: Path) -> None:
    paths = files(tmp_path, DATES[:2])
    for given, message in (
        (paths[:1], "alone"),
        ([paths[0]] * 3, "alone"),
        ([*paths, *(tmp_path / f"{place}.tif" for place in range(200))], "202 dates are given, and 100 at most"),
    ):
        with pytest.raises(InputError, match=message):
            fused(given, tmp_path / "out.tif")
    clouds = written(tmp_path / "c.tif", np.full(SHAPE, np.nan), nodata=0)
    with pytest.raises(InputError, match="none of the other dates fits"):
        fused([paths[0], clouds], tmp_path / "out.tif")
    assert not list(tmp_path.glob("*out*"))


def test_what_cant_go_with_dates_is_refused(tmp_path: Path) -> None:
    paths = files(tmp_path, DATES[:2])
    for options, message in (
        ({"project": True}, "leave --project out"),
        ({"model": "esrgan"}, "generative"),
        ({"model": "fast", "uncertainty": True}, "is that of one date; with --fuse leave it out"),
        ({"reference": "2019-01-01"}, "none of the dates"),
        ({"reference": 7}, "none of the dates"),
        ({"reference": "2021"}, "none of the dates"),
    ):
        with pytest.raises(InputError, match=message):
            fused(paths, tmp_path / "out.tif", **options)
    with pytest.raises(InputError, match="name their files, with --fuse"):
        single(paths[0], tmp_path / "out.tif", model="shift-and-add")


def test_a_folder_is_fused_from_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    paths = files(folder, DATES[:3])
    (folder / "notes.txt").write_text("none of them")
    options = ["--scale", "2", "--model", "ibp", "--mtf", str(MTF), "--snr", "100"]
    out = tmp_path / "out.tif"
    done = CliRunner().invoke(cli, ["upscale", str(folder), "--fuse", "-o", str(out), *options])
    assert done.exit_code == 0, done.output
    assert "3 of 3 dates are fused" in done.output
    np.testing.assert_array_equal(pixels(out), fused(paths, tmp_path / "api.tif"))
    for arguments, message in (
        (["--reference", "1"], "speak of the dates of --fuse"),
        (["--fuse", "--outdir", str(tmp_path)], "leave --outdir out"),
    ):
        refused = CliRunner().invoke(cli, ["upscale", str(folder), *arguments])
        assert refused.exit_code == 2
        assert message in refused.output


@pytest.mark.slow
def test_workers_of_a_cluster_write_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    shape = 100, 100
    paths = files(tmp_path, [GROUND.date(shape, shift, seed=place) for place, shift in enumerate(SHIFTS[:3])])
    fused(paths, tmp_path / "here.tif", tile=48)
    fused(paths, tmp_path / "there.tif", tile=48, scheduler="local:1")
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()
    assert (tmp_path / "here.frames.tif").read_bytes() == (tmp_path / "there.frames.tif").read_bytes()


def gained(dates: Sequence[Doubles], tmp_path: Path, **own: Any) -> tuple[float, float]:
    """dB, and how many dates count, where all but the first have this response or noise of their own."""
    made = geosr.prepare(files(tmp_path, dates), tmp_path / "out.tif", fuse=True, **OPTIONS)
    frames = tuple(replace(frame, **own) for frame in made.network.frames)
    network = replace(made.network, frames=frames)
    replace(made, network=network, upscaler=replace(made.upscaler, network=network)).execute()
    return decibels(pixels(tmp_path / "out.tif")[0], TRUTH), float(pixels(tmp_path / "out.frames.tif").mean())


@pytest.mark.parametrize(
    ("seen", "own", "more"),
    [
        ({"mtf": 0.1}, {"responses": (Response.gaussian(0.1),)}, 0.6),
        ({"snr": 15}, {"noises": (Noise((LEVEL / 15) ** 2, 0.0),)}, 0.1),
    ],
    ids=["response", "noise"],
)
def test_a_date_adds_more_where_its_own_response_and_noise_are_known(
    tmp_path: Path, seen: dict[str, Any], own: dict[str, Any], more: float
) -> None:
    dates = [DATES[0], *(GROUND.date(SHAPE, shift, seed=20 + i, **seen) for i, shift in enumerate(SHIFTS[1:5]))]
    (usual, few), (better, many) = gained(dates, tmp_path), gained(dates, tmp_path, **own)
    assert better > usual + more
    assert many > few + 0.5


def test_each_date_has_the_response_of_its_own_sensor_and_the_noise_of_its_own_pixels(tmp_path: Path) -> None:
    dates = [DATES[0], GROUND.date(SHAPE, SHIFTS[1], seed=1, snr=20), DATES[2]]
    paths = files(tmp_path, dates)
    for path, sensor, name in zip(paths, ("Sentinel-2A", "Landsat-8", "Landsat-8"), ("B8A", "B5", "B5"), strict=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(PLATFORM=sensor)
            dataset.descriptions = (name,)
    own: dict[str, Any] = {"model": "ibp", "scale": 2, "overwrite": True}
    made = geosr.prepare(paths, tmp_path / "out.tif", fuse=True, **own)
    alone = [geosr.prepare(path, tmp_path / "one.tif", **own).network.observation[0] for path in paths]
    assert alone[0].response != alone[1].response
    assert [frame.responses for frame in made.network.frames] == [(band.response,) for band in alone[1:]]
    assert [frame.noises for frame in made.network.frames] == [(band.noise,) for band in alone[1:]]
    given = geosr.prepare(paths, tmp_path / "out.tif", fuse=True, **OPTIONS)
    assert {frame.responses for frame in given.network.frames} == {(Response.gaussian(MTF),)}
    assert given.tags["GEOSR_RUN"] != made.tags["GEOSR_RUN"]
