"""Measures, and the protocol that compares methods."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.protocol import Case, Observation, Scene, compare, fine_detail, load_scenes, observed, score
from geosr.evaluation.alone import angles
from geosr.evaluation.metrics import beyond, bootstrap, lattice, psnr, radial_power, rings_of, rmse, shift
from geosr.models.degradation import BICUBIC
from geosr.noise import SILENT
from geosr.response import Response


def test_psnr_is_twenty_decibels_for_an_error_of_a_tenth_of_the_peak() -> None:
    reference = np.zeros((8, 8))
    assert psnr(reference + 25.5, reference, peak=255) == pytest.approx(20.0)
    assert psnr(reference, reference, peak=255) == float("inf")


def test_rmse_of_large_integers_does_not_overflow() -> None:
    assert rmse(np.array([60_000], np.uint16), np.array([10], np.uint16)) == 59_990.0


def test_spectral_angle_ignores_brightness_and_measures_colour() -> None:
    spectra = np.random.default_rng(0).uniform(1, 2, (4, 30))
    assert angles(3 * spectra, spectra) == (pytest.approx(0.0, abs=1e-4), 30)
    axes = np.eye(2)
    assert angles(axes, axes[::-1]) == (pytest.approx(180.0), 2)
    assert angles(axes * [0, 1], axes) == (pytest.approx(0.0), 1)


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (0.25, -0.1), (-0.4, 0.3)])
def test_a_shift_below_half_a_pixel_is_measured(down: float, right: float) -> None:
    rows, cols = np.mgrid[0:64, 0:64].astype(float)

    def blobs(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(4)
        places = random.uniform(5, 59, (60, 2))
        return sum(np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / 8) for r, c in places)  # type: ignore[return-value]

    assert shift(blobs(rows - down, cols - right), blobs(rows, cols)) == pytest.approx((down, right), abs=0.015)


def test_the_interval_holds_the_mean_and_narrows_with_more_scenes() -> None:
    values = np.random.default_rng(1).normal(1.0, 0.5, 400)
    few, many = bootstrap(values[:20]), bootstrap(values)
    assert few.low < few.mean < few.high
    assert many.high - many.low < few.high - few.low
    assert many == bootstrap(values)


def scene(bands: int = 2, side: int = 64) -> Scene:
    random = np.random.default_rng(7)
    return Scene("made", random.normal(1000, 50, (bands, side, side)).astype(np.float32))


def truth_teller(seen: Observation) -> np.ndarray:
    return scene(len(seen.bands)).bands


def flat(seen: Observation) -> np.ndarray:
    side = seen.bands.shape[1] * seen.scale
    return np.full((len(seen.bands), side, side), 1000.0, np.float32)


def test_a_method_that_knows_the_truth_scores_infinity_and_another_less() -> None:
    scores = score(scene(), Case("blur", 0.25), {"truth": truth_teller, "flat": flat}, 4)
    assert np.isinf(scores["truth"]).all()
    assert (scores["flat"] < 30).all()


def test_methods_are_told_the_truth_unless_the_case_says_otherwise() -> None:
    told = observed(scene(), Case("plain", 0.2, snr=100), 4)
    assert told.response.mtf == pytest.approx(0.2)
    assert [each.sigma(0.0) for each in told.noise] == pytest.approx([10.0, 10.0], rel=0.01)
    misled = observed(
        scene(), Case("misled", 0.2, snr=100, told=Response.gaussian(0.4).towards_result, told_snr=float("inf")), 4
    )
    assert (misled.response.mtf, misled.truth.mtf) == pytest.approx((0.4, 0.2))
    assert set(misled.noise) == {SILENT}
    assert observed(scene(), Case("bicubic", None), 4).response is BICUBIC


def test_a_rounded_case_rounds_bands_of_whole_numbers_and_tells_the_noise_of_it() -> None:
    bands = np.stack([np.round(scene(1).bands[0]), scene(1).bands[0] + 0.3])
    exact = observed(Scene("a", bands), Case("plain", 0.25), 4)
    seen = observed(Scene("a", bands), Case("rounded", 0.25, rounded=True), 4)
    assert np.array_equal(seen.bands[0], np.round(exact.bands[0]))
    assert np.array_equal(seen.bands[1], exact.bands[1])
    assert [each.sigma(0.0) for each in seen.noise] == pytest.approx([12**-0.5, 0.0])


def test_fine_detail_is_what_lies_beyond_the_inputs_nyquist_frequency() -> None:
    rows = np.arange(64.0)[:, None]
    coarse, fine = (np.cos(2 * np.pi * frequency * rows) + 0 * rows.T for frequency in (1 / 16, 5 / 16))
    assert fine_detail(coarse + 0.5 * fine, 3 * coarse + fine, 2) == pytest.approx(0.25, rel=1e-3)
    assert fine_detail(coarse, coarse + fine, 2) < 1e-3
    assert np.isnan(fine_detail(fine, np.ones((64, 64)), 4))
    random = np.random.default_rng(0).standard_normal((64, 64))
    assert fine_detail(random, random, 3) == 1.0


def test_the_noise_is_the_same_in_every_run() -> None:
    case = Case("noisy", 0.25, snr=100)
    assert np.array_equal(observed(scene(), case, 4).bands, observed(scene(), case, 4).bands)


def test_a_comparison_names_the_worst_band() -> None:
    good, bad = np.array([3.0, 2.0]), np.array([1.0, 2.5])
    scores = [("a", {"new": good, "old": good - 1}), ("b", {"new": bad, "old": np.array([1.0, 3.0])})]
    found = compare(scores, "new", "old")
    assert found.gain.mean == pytest.approx(0.375)
    assert (found.worst, found.where) == (-0.5, "b band 2")


def test_scenes_are_read_with_the_bands_of_a_file_together(tmp_path: Path) -> None:
    index = [{"file": "x/one.tif"}, {"file": "x/one.tif"}, {"file": "y/two.tif"}]
    planes = {str(i): np.full((4, 5), i, np.uint16) for i in range(3)}
    np.savez(tmp_path / "v.npz", index=np.array(json.dumps(index)), **planes)
    scenes = load_scenes(tmp_path / "v.npz")
    assert [(s.name, s.bands.shape) for s in scenes] == [("one", (2, 4, 5)), ("two", (1, 4, 5))]


def test_a_lattice_is_found_by_its_period_and_only_there() -> None:
    random = np.random.default_rng(3)
    image = 1000 + 400 * gaussian_filter(random.normal(size=(256, 200)), 1.5) + random.normal(0, 5, (256, 200))
    for period in (2, 3, 4):
        assert lattice(image, period) == pytest.approx(1.0, abs=0.3)
    spoilt = image.copy()
    spoilt[:, 1::4] += 12
    assert lattice(spoilt, 4) > 1.5
    assert lattice(spoilt, 3) == pytest.approx(lattice(image, 3), rel=0.01)
    assert lattice(spoilt.T, 4) == pytest.approx(lattice(spoilt, 4))
    assert math.isnan(lattice(image[:32], 4))
    assert math.isnan(lattice(np.zeros((80, 80)), 2))


def test_the_power_of_a_wave_stands_in_the_ring_of_its_frequency() -> None:
    rows, cols = np.mgrid[:128, :128]
    for frequency in (0.1, 0.3):
        for along in (rows, cols, (rows + cols) / np.sqrt(2)):
            power = radial_power(np.sin(2 * np.pi * frequency * along), 20)
            assert len(power) == 20
            assert abs((int(power.argmax()) + 0.5) / 40 - frequency) <= 1 / 40
            assert power.max() > 100 * np.median(power)


def test_waves_of_a_transform_are_told_by_ring_and_by_whether_coarser_pixels_show_them() -> None:
    ring, finer = rings_of((64, 128), 16), beyond((64, 128), 2)
    assert (ring[0, 0], ring[8, 0], ring[0, 16], ring[-8, 0], ring[32, 64]) == (0, 4, 4, 4, 16)
    assert [bool(finer[row, col]) for row, col in ((16, 32), (17, 0), (0, 33), (-17, 0), (0, -32))] == [
        False, True, True, True, False,
    ]  # fmt: skip
