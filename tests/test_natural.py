"""Judging natively, on simulated pairs whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.places import noise_gain
from geosr.errors import InputError
from geosr.evaluation.metrics import over_places
from geosr.evaluation.natural import Judge, Pair, Product, Score, matched, means
from geosr.models.classical import upsample_into
from geosr.models.degradation import degrade
from geosr.response import Response

Image = NDArray[np.float64]


def ground(side: int, seed: int = 0) -> Image:
    """Fields with edges, and texture whose power falls with frequency; it is the same on both sides of its border."""
    random = np.random.default_rng(seed)
    rows, cols = (np.fft.fftfreq(side) for _ in range(2))
    frequency = np.hypot(rows[:, None], cols[None])
    white = np.fft.fft2(random.standard_normal((side, side)))
    texture = np.real(np.fft.ifft2(white * np.exp(-((frequency / 0.35) ** 2)) / (frequency + 0.02)))
    fields = ndimage.zoom(random.random((side // 12, side // 12)), 12, order=0)
    return np.asarray(1000 + 300 * ndimage.gaussian_filter(fields, 0.7, mode="wrap") + 60 * texture / texture.std())


def seen(truth: Image, scale: int, mtf: float = 0.35) -> Image:
    """What a sensor with coarser pixels sees."""
    return np.asarray(
        degrade(torch.from_numpy(truth)[None, None], Response.gaussian(mtf), scale)[0, 0].numpy(), np.float64
    )


def slopes(side: int) -> Image:
    """A quadratic surface, the same ground whatever the number of pixels."""
    rows, cols = np.meshgrid(*((np.arange(side) + 0.5) / side - 0.5 for _ in range(2)), indexing="ij")
    return np.asarray(300 + 200 * rows * cols + 120 * rows**2 + 40 * cols)


def pair_of(coarse: Image, fine: Image, ratio: int = 2, offset: tuple[float, float] = (0.0, 0.0)) -> Pair:
    product = Product("S2A_MSIL2A_20m.tif", ("B8A",), coarse[None], 20.0)
    return Pair("here B8A to B08", "here", product, (1.0,), fine, ratio, offset)


def bicubic(coarse: Image, scale: int) -> Image:
    result = np.empty((coarse.shape[0] * scale, coarse.shape[1] * scale))
    upsample_into(result, coarse, scale)
    return result


@pytest.fixture(scope="module")
def truth() -> Image:
    return ground(192)


@pytest.fixture(scope="module")
def judge(truth: Image) -> Judge:
    """Of a finer band that sees other light: another gain and offset."""
    return Judge(pair_of(seen(truth, 2), 0.6 * truth + 300), 2)


def scored(judge: Judge, result: Image) -> Score:
    return judge.score(result[None])


def test_the_truth_scores_right_whatever_gain_and_offset_the_finer_band_has(judge: Judge, truth: Image) -> None:
    score = scored(judge, truth)
    assert score.gain > 12
    assert score.correlation > 0.995
    assert score.energy == pytest.approx(1, abs=0.05)  # above 1: bicubic is a little soft behind the low-pass, too
    assert judge.unfit == ""


def test_bicubic_is_the_reference_of_gain_and_is_soft(judge: Judge, truth: Image) -> None:
    score = scored(judge, bicubic(seen(truth, 2), 2))
    assert score.gain == pytest.approx(0, abs=1e-9)
    assert score.energy < 0.8
    assert score == judge.bicubic


def test_over_sharpened_noisy_and_soft_results_are_told_apart(judge: Judge, truth: Image) -> None:
    right = scored(judge, truth)
    sharp = scored(judge, truth + 0.6 * (truth - ndimage.gaussian_filter(truth, 1.0)))
    noise = 15 * np.random.default_rng(1).standard_normal(truth.shape)
    noisy = scored(judge, truth + noise)
    soft = scored(judge, ndimage.gaussian_filter(truth, 0.8))
    assert sharp.energy > 1.2
    assert noisy.energy > 1.05
    assert soft.energy < 0.85
    assert 0.9 < sharp.correlation <= right.correlation  # true detail, too much of it
    assert noisy.correlation < 0.97
    assert max(sharp.gain, noisy.gain, soft.gain) < right.gain - 3


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.5, 0.5), (0.07, 0.81)])
def test_a_shift_of_the_finer_grid_is_found_to_three_hundredths_of_a_pixel(
    truth: Image, shift: tuple[float, float]
) -> None:
    moved = np.real(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(truth), shift)))
    judge = Judge(pair_of(seen(truth, 2), moved), 2)
    assert judge.shift == pytest.approx((-shift[0], -shift[1]), abs=0.03)
    assert judge.unfit == ""
    assert scored(judge, truth).correlation > 0.985


def test_grids_are_laid_over_each_other_by_where_they_start(truth: Image) -> None:
    """The finer band covers a part of the scene, and starts three pixels and a half further down, two to the left."""
    moved = np.real(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(truth), (-0.5, 0.0))))
    part = np.roll(moved, (0, 2), (0, 1))[3:150]
    judge = Judge(pair_of(seen(truth, 2), part, offset=(3.5, -2.0)), 2)
    assert judge.moved < 0.03
    assert scored(judge, truth).correlation > 0.985


def test_gain_and_offset_that_vary_slowly_make_no_difference(truth: Image) -> None:
    result = ndimage.gaussian_filter(truth, 0.6)
    rows, cols = np.meshgrid(*(np.linspace(0, 1, side) for side in truth.shape), indexing="ij")
    other = (1 + 0.15 * np.sin(2 * rows + cols)) * (truth - 800) + 400 * cols * rows
    plain, varied = (scored(Judge(pair_of(seen(truth, 2), fine), 2), result) for fine in (truth, other))
    assert varied.gain == pytest.approx(plain.gain, abs=0.4)
    assert varied.correlation == pytest.approx(plain.correlation, abs=0.003)
    assert varied.energy == pytest.approx(plain.energy, abs=0.02)


def test_detail_that_only_one_band_shows_does_not_shrink_the_reference(truth: Image) -> None:
    """A regression on unfiltered images would: by a third here, which would make a soft result look right."""
    extra = 90 * np.random.default_rng(2).standard_normal(truth.shape)
    own = truth - ndimage.gaussian_filter(truth, 3)
    both = matched(truth + extra, truth)
    slope = np.mean((both - ndimage.gaussian_filter(both, 3)) * own) / np.mean(own * own)
    assert slope == pytest.approx(1, abs=0.06)


def test_x4_is_judged_through_means_of_two_by_two() -> None:
    truth = ground(384, seed=3)
    judge = Judge(pair_of(seen(truth, 4), means(truth, 2)), 4)
    score = scored(judge, truth)
    assert score.correlation > 0.995
    assert score.energy == pytest.approx(1, abs=0.05)
    checkers = 50.0 * (-1) ** np.add.outer(np.arange(384), np.arange(384))
    assert scored(judge, truth + checkers).gain == pytest.approx(score.gain, abs=1e-6)
    assert scored(judge, bicubic(seen(truth, 4), 4)).gain == pytest.approx(0, abs=1e-9)


def test_a_band_six_times_finer_is_averaged_to_the_pixels_of_the_result() -> None:
    truth = ground(384, seed=4)
    judge = Judge(pair_of(seen(truth, 6), truth, ratio=6), 2)
    assert judge.factor == 2
    score = scored(judge, means(truth, 3))
    assert score.correlation > 0.99
    assert score.energy == pytest.approx(1, abs=0.05)


def test_pixels_that_no_average_brings_together_are_refused(truth: Image) -> None:
    with pytest.raises(InputError, match="x3 and pixels 2 times finer have none in common"):
        Judge(pair_of(seen(truth, 2), truth), 3)


def test_bands_that_hardly_overlap_are_refused(truth: Image) -> None:
    with pytest.raises(InputError, match="overlap"):
        Judge(pair_of(seen(truth, 2), truth, offset=(180.0, 0.0)), 2)


def test_a_weighted_sum_of_bands_is_judged(truth: Image) -> None:
    other = ground(192, seed=5)
    product = Product("LC08_L1TP_30m.tif", ("B3", "B4"), np.stack([seen(truth, 2), seen(other, 2)]), 30.0)
    pair = replace(pair_of(seen(truth, 2), 0.7 * truth + 0.3 * other), product=product, weights=(0.7, 0.3))
    assert Judge(pair, 2).score(np.stack([truth, other])).correlation > 0.995


def test_what_shows_something_else_is_no_pair(truth: Image) -> None:
    """Detail of its own under the same large structures."""
    low = ndimage.gaussian_filter(truth, 4, mode="wrap")
    other = ground(192, seed=6)
    judge = Judge(pair_of(seen(truth, 2), low + other - ndimage.gaussian_filter(other, 4, mode="wrap")), 2)
    assert judge.bicubic.correlation < 0.5
    assert "under 0.5" in judge.unfit


def test_what_moved_between_two_looks_is_no_pair(truth: Image) -> None:
    judge = Judge(pair_of(seen(truth, 2), np.roll(truth, 2, 0)), 2)
    assert judge.moved == pytest.approx(2, abs=0.1)
    assert "lies 2.0 pixels from where the grids say" in judge.unfit


def test_a_constant_band_is_no_pair() -> None:
    flat = np.full((48, 48), 7.0)
    assert "nan" in Judge(pair_of(flat, np.full((96, 96), 9.0)), 2).unfit


def test_noise_on_flat_ground_is_measured_without_its_slopes() -> None:
    noise = np.random.default_rng(7).standard_normal((64, 64))
    source = slopes(64) + noise
    for larger in (0.5, 1.0, 1.5):
        result = slopes(128) + larger * noise.repeat(2, 0).repeat(2, 1)
        assert noise_gain(result, source) == pytest.approx(larger, abs=0.01)
    assert math.isnan(noise_gain(np.ones((40, 40)), np.ones((20, 20))))


def test_each_place_counts_once_however_many_dates_it_has() -> None:
    figures = [("a", 1.0)] * 40 + [("b", 2.0), ("c", 3.0)]
    interval = over_places(figures)
    assert interval.mean == pytest.approx(2)
    assert 1 <= interval.low < 2 < interval.high <= 3
    assert math.isnan(over_places(figures[:41]).low)
