"""Figures of a result beside its input: each detector fires on its fault, and is quiet where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import ndimage

import geosr
from geosr.cli.evaluate import command
from geosr.errors import InputError
from geosr.evaluation.meaning import MEANINGS
from geosr.evaluation.sums import Extremes, Profile, size_counts, size_quantile
from geosr.models.classical import upsample_into
from geosr.models.degradation import observe
from geosr.response import Response
from tests.scenes import NORTH_UP, write

Doubles = NDArray[np.float64]
SCALE = 2
MTF = 0.3


def ground(bands: int = 2, side: int = 320, seed: int = 0) -> Doubles:
    """Soft ground with fields and roads, (bands, side, side), around 1000."""
    random = np.random.default_rng(seed)
    fields = random.normal(0, 150, (bands, side // 20 + 1, side // 20 + 1)).repeat(20, 1).repeat(20, 2)[:, :side, :side]
    rough = ndimage.gaussian_filter(random.normal(0, 1, (bands, side, side)), (0, 1.2, 1.2)) * 120
    turned = ndimage.rotate(fields, 17, axes=(2, 1), reshape=False, mode="reflect", order=1)
    return np.asarray(1000 + ndimage.gaussian_filter(turned, (0, 0.8, 0.8)) + rough)


def pair(folder: Path, sr: Doubles, lr: Doubles | None = None, **profile: Any) -> tuple[Path, Path]:
    """Files of a result and its input, which is what a sensor of known MTF sees of the result if it isn't given."""
    if lr is None:
        lr = observe(sr.astype(np.float32), Response.gaussian(MTF).relative(SCALE), SCALE).astype(np.float64)
    scale = sr.shape[1] // lr.shape[1]
    fine = NORTH_UP @ Affine.scale(1 / scale)
    profile = {"dtype": "float32"} | profile
    return (
        write(folder / "sr.tif", sr.astype(profile["dtype"]), transform=fine, **profile),
        write(folder / "lr.tif", lr.astype(profile["dtype"]), **profile),
    )


def figures_of(folder: Path, sr: Doubles, lr: Doubles | None = None, **options: Any) -> dict[str, Any]:
    paths = pair(folder, sr, lr)
    return dict(geosr.evaluate(paths[0], lr=paths[1], mtf=MTF, workers=1, **options)["figures"])


def bicubic(lr: Doubles, scale: int = SCALE) -> Doubles:
    out = np.empty((len(lr), lr.shape[1] * scale, lr.shape[2] * scale))
    for target, band in zip(out, lr, strict=True):
        upsample_into(target, band, scale)
    return out


@pytest.fixture(scope="module")
def clean() -> tuple[Doubles, Doubles]:
    """A result without a fault, and its input."""
    sr = ground()
    return sr, observe(sr.astype(np.float32), Response.gaussian(MTF).relative(SCALE), SCALE).astype(np.float64)


def test_a_result_that_gives_the_input_back_has_no_fault(tmp_path: Path, clean: tuple[Doubles, Doubles]) -> None:
    sr, lr = pair(tmp_path, *clean)
    report = geosr.evaluate(sr, lr=lr, mtf=MTF, workers=1)
    found = {name: figure["all"] for name, figure in report["figures"].items()}
    assert report["warnings"] == []
    assert (report["scale"], report["bands"], report["pixels"]) == (2, ["band 1", "band 2"], 320 * 320)
    assert found["round_trip"] < 1e-3
    assert found["round_trip_p99"] < 1e-3
    assert found["d_lambda"] < 1e-6
    assert found["shift"] < 0.03
    assert found["seam"] == 1.0
    assert found["lattice"] < 1.2
    assert found["ringing"] < 0.1
    assert [found[name] for name in ("saturation", "mask_lost", "mask_invented")] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("tile", [128, 200, 999])
def test_no_figure_depends_on_the_tiles(tmp_path: Path, tile: int) -> None:
    sr = np.stack([ground(1, 580)[0], ground(1, 580, seed=3)[0]])
    hr = sr + np.random.default_rng(5).normal(0, 20, sr.shape)
    paths = pair(tmp_path, sr[:, :, :420])
    reference = write(tmp_path / "hr.tif", hr[:, :, :420].astype(np.float32), transform=NORTH_UP @ Affine.scale(0.5))
    one, other = (
        geosr.evaluate(paths[0], reference, lr=paths[1], tile=each, workers=workers)
        for each, workers in ((10_000, 1), (tile, 3))
    )
    for name, figure in one["figures"].items():
        assert [other["figures"][name]["all"]] == pytest.approx([figure["all"]], rel=1e-9, abs=1e-12, nan_ok=True), name
        assert other["figures"][name]["bands"] == pytest.approx(figure["bands"], rel=1e-9, abs=1e-12, nan_ok=True), name
    assert other["spectrum"]["power"] == pytest.approx(one["spectrum"]["power"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "local:1"])
def test_workers_elsewhere_find_the_same_figures(tmp_path: Path, clean: Any, scheduler: str) -> None:
    sr, lr = pair(tmp_path, *clean)
    here, there = (geosr.evaluate(sr, lr=lr, tile=128, workers=1, scheduler=each) for each in (None, scheduler))
    assert here == there


def test_bias_and_size_of_the_round_trip_are_what_was_put_in(tmp_path: Path, clean: Any) -> None:
    sr, lr = clean
    found = figures_of(tmp_path, sr + np.array([3.0, -7.0])[:, None, None], lr)
    assert found["round_trip_bias"]["bands"] == pytest.approx([3.0, -7.0], abs=1e-3)
    assert found["round_trip_bias"]["all"] == pytest.approx(-7.0, abs=1e-3)
    assert found["round_trip"]["bands"] == pytest.approx([3.0, 7.0], abs=1e-3)
    assert found["round_trip_p99"]["bands"] == pytest.approx([3.0, 7.0], rel=0.02)


def test_a_shift_is_measured_in_input_pixels(tmp_path: Path, clean: Any) -> None:
    sr, lr = clean
    found = figures_of(tmp_path, ndimage.shift(sr, (0, 0.6, -0.4), order=5, mode="nearest"), lr)
    assert (found["shift_down"]["all"], found["shift_right"]["all"]) == pytest.approx((0.3, -0.2), abs=0.03)
    assert found["shift"]["all"] == pytest.approx(math.hypot(0.3, 0.2), abs=0.04)


def stepped(sr: Doubles) -> Doubles:
    """Every second tile of 80 pixels brighter."""
    rows, cols = np.indices(sr.shape[1:])
    return sr + 60.0 * ((rows // 80 + cols // 80) % 2)


def with_a_lattice(sr: Doubles) -> Doubles:
    out = sr.copy()
    out[:, ::2, ::2] += 12.0
    return out


def rung(sr: Doubles) -> Doubles:
    low = ndimage.gaussian_filter(sr, (0, 2.0, 2.0))
    return sr + 1.5 * (sr - low)


def cut_off(sr: Doubles) -> Doubles:
    return np.minimum(sr, np.quantile(sr, 0.97))


@pytest.mark.parametrize(
    ("fault", "name", "bound", "word"),
    [
        (stepped, "seam", 1.1, "seam"),
        (with_a_lattice, "lattice", 1.5, "pattern"),
        (rung, "ringing", 0.1, "overshoot"),
        (cut_off, "saturation", 0.01, "cut off"),
        (lambda sr: ndimage.shift(sr, (0, 1, 0), order=1, mode="nearest"), "shift", 0.3, "lies off"),
    ],
)
def test_a_detector_fires_on_its_fault_and_says_so(
    tmp_path: Path, clean: Any, fault: Callable[[Doubles], Doubles], name: str, bound: float, word: str
) -> None:
    sr, lr = clean
    paths = pair(tmp_path, fault(sr), lr)
    report = geosr.evaluate(paths[0], lr=paths[1], mtf=MTF, workers=1)
    assert report["figures"][name]["all"] > bound
    assert any(word in line for line in report["warnings"])


def test_a_seam_is_told_by_its_place(tmp_path: Path, clean: Any) -> None:
    sr, lr = clean
    sr = sr.copy()
    sr[1, :, 150:] += 60
    paths = pair(tmp_path, sr, lr)
    report = geosr.evaluate(paths[0], lr=paths[1], mtf=MTF, workers=1)
    assert any(line.startswith("band 2: steps before column 150 are") for line in report["warnings"])
    assert report["figures"]["seam"]["bands"][0] == 1.0


def test_a_join_that_the_input_has_itself_is_no_seam_of_the_result(tmp_path: Path, clean: Any) -> None:
    _, lr = clean
    joined = lr.copy()
    joined[:, :, lr.shape[2] // 2 :] += 60
    found = [figures_of(tmp_path, bicubic(joined), seen)["seam"]["all"] for seen in (joined, lr)]
    assert found[0] == 1.0
    assert found[1] > 1.4


def test_energy_beyond_the_inputs_nyquist_frequency_is_a_share_of_all(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(1000, 10, (1, 256, 256))
    assert figures_of(tmp_path, noise)["beyond_nyquist"]["all"] == pytest.approx(0.75, abs=0.01)
    lr = noise[:, :128, :128]
    smooth = figures_of(tmp_path, bicubic(ndimage.gaussian_filter(lr, (0, 2, 2))))
    assert smooth["beyond_nyquist"]["all"] < 1e-3


def test_the_spectral_angle_ignores_brightness_and_measures_colour(tmp_path: Path) -> None:
    even = np.ones((2, 96, 96)) * 100
    assert figures_of(tmp_path, even * 3, even[:, ::2, ::2])["spectral_angle"]["all"] == pytest.approx(0, abs=1e-4)
    tilted = even * np.array([1.0, 0.0])[:, None, None]
    assert figures_of(tmp_path, tilted, even[:, ::2, ::2])["spectral_angle"]["all"] == pytest.approx(45, abs=1e-4)


def test_data_that_got_lost_or_was_invented_is_counted(tmp_path: Path, clean: Any) -> None:
    sr, lr = (each.copy() for each in clean)
    lr[:, :10] = -1
    sr[:, :20] = -1
    sr[:, 5, :32] = 900
    sr[:, 100, :64] = -1
    paths = pair(tmp_path, sr, lr, nodata=-1.0)
    found = geosr.evaluate(paths[0], lr=paths[1], mtf=MTF, workers=1)["figures"]
    assert found["mask_lost"]["all"] == pytest.approx(64 / (300 * 320))
    assert found["mask_invented"]["all"] == pytest.approx(32 / (300 * 320 - 64 + 32))
    assert found["round_trip"]["all"] < 0.01  # what is filled in is not judged


def test_a_part_of_a_scene_is_compared_with_its_own_ground(tmp_path: Path, clean: Any) -> None:
    sr, lr = clean
    paths = pair(tmp_path, sr, lr)
    part = write(
        tmp_path / "part.tif",
        sr[:, 40:240, 62:302].astype(np.float32),
        transform=NORTH_UP @ Affine.scale(0.5) @ Affine.translation(62, 40),
    )
    report = geosr.evaluate(part, lr=paths[1], mtf=MTF, workers=1)
    assert report["pixels"] == 200 * 240
    assert report["figures"]["round_trip"]["all"] < 1e-3


def test_rasters_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, clean: Any) -> None:
    sr, lr = pair(tmp_path, *clean)
    off = write(tmp_path / "off.tif", clean[1].astype(np.float32), transform=NORTH_UP @ Affine.translation(0.3, 0))
    with pytest.raises(InputError, match="don't divide"):
        geosr.evaluate(sr, lr=off)
    far = write(tmp_path / "far.tif", clean[1].astype(np.float32), transform=NORTH_UP @ Affine.translation(900, 0))
    with pytest.raises(InputError, match="don't overlap"):
        geosr.evaluate(sr, lr=far)
    single = write(tmp_path / "single.tif", clean[1][:1].astype(np.float32))
    with pytest.raises(InputError, match="--bands"):
        geosr.evaluate(sr, lr=single)
    with pytest.raises(InputError, match="2 times as large"):
        geosr.evaluate(sr, lr, lr=lr)
    for swapped in (sr, lr):
        with pytest.raises(InputError, match=r"has pixels as large as .*; expected larger ones of an input"):
            geosr.evaluate(swapped, lr=swapped)


def test_the_command_prints_a_table_json_or_markdown_and_fails_at_a_gate(tmp_path: Path, clean: Any) -> None:
    sr, lr = map(str, pair(tmp_path, clean[0] + 5, clean[1]))
    run = CliRunner().invoke
    table = run(command, [sr, "--lr", lr, "--mtf", "0.3", "--workers", "1"])
    assert table.exit_code == 0
    assert "round_trip_bias" in table.stdout
    report = json.loads(run(command, [sr, "--lr", lr, "--json", "--mtf", "0.3"]).stdout)
    assert report["figures"]["round_trip_bias"]["all"] == pytest.approx(5, abs=1e-3)
    assert run(command, [sr, "--lr", lr, "--markdown"]).stdout.startswith("| figure | all | band 1 | band 2 | good |")
    passed = run(command, [sr, "--lr", lr, "--mtf", "0.3", "--max", "round_trip=6", "--min", "round_trip_bias=4"])
    assert passed.return_value is None
    assert passed.exit_code == 0
    failed = run(command, [sr, "--lr", lr, "--mtf", "0.3", "--max", "round_trip=4"], standalone_mode=False)
    assert failed.return_value == 1
    assert "round_trip is 5, more than 4" in failed.stderr
    for text, told in (
        ("rmse", "NAME=VALUE"),
        ("round_trip=x", "NAME=VALUE"),
        ("rsme=1", "did you mean rmse?"),
        ("sharpness=1", "there are round_trip, "),
        ("rmse=1", "rmse"),
    ):
        wrong = run(command, [sr, "--lr", lr, "--max", text], standalone_mode=False)
        assert isinstance(wrong.exception, InputError)
        assert told in str(wrong.exception)


def test_each_figure_stands_in_the_page_on_figures_with_its_meaning() -> None:
    page = (Path(__file__).parents[1] / "docs" / "figures.md").read_text(encoding="utf-8")
    for name, meaning in MEANINGS.items():
        assert f"| `{name}` | {meaning.about} | {meaning.good} |" in page


def test_extremes_and_profiles_of_parts_add_up_to_those_of_the_whole() -> None:
    values = np.random.default_rng(0).integers(0, 9, (3, 50)).astype(float)
    whole, parts = Extremes.of(values), Extremes.of(values[:, :7]) + Extremes.of(values[:, 7:])
    for name in ("least", "least_count", "most", "most_count"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert np.array_equal((Extremes.of(values[:, :0]) + whole).most, whole.most)
    ones = np.ones((1, 4))
    both = Profile(6, ones, ones) + Profile(4, 2 * ones, ones)
    assert both.start == 4
    assert both.mean.tolist() == [[2, 2, 1.5, 1.5, 1, 1]]


def test_a_quantile_of_sizes_is_right_to_a_hundredth() -> None:
    sizes = np.abs(np.random.default_rng(0).normal(0, 30, 20_000))
    for share in (0.5, 0.9, 0.99):
        assert size_quantile(size_counts(sizes), share) == pytest.approx(np.quantile(sizes, share), rel=0.01)
    assert size_quantile(size_counts(np.zeros(10)), 0.99) == 0.0
    assert math.isnan(size_quantile(size_counts(np.zeros(0)), 0.99))
