"""What a sensor does to a scene: blur, decimation, noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geosr.evaluation.metrics import shift
from geosr.models.classical import upsample
from geosr.models.degradation import (
    Degradation,
    bicubic_down,
    bicubic_kernel,
    degrade,
    gaussian_sigma,
    observe,
    psf_kernel,
)

SCALES = st.integers(2, 8)
MTFS = st.floats(0.05, 0.60)


@given(mtf=MTFS, scale=SCALES)
@settings(max_examples=50, deadline=None)
def test_the_point_spread_function_is_symmetric_sums_to_one_and_has_the_scales_parity(mtf: float, scale: int) -> None:
    taps = psf_kernel(mtf, scale)
    assert torch.equal(taps, taps.flip(0))
    assert float(taps.sum()) == pytest.approx(1.0, abs=1e-6)
    assert (len(taps) - scale) % 2 == 0


@given(mtf=MTFS, scale=SCALES)
@settings(max_examples=50, deadline=None)
def test_the_point_spread_function_has_the_mtf_it_is_named_after(mtf: float, scale: int) -> None:
    taps = psf_kernel(mtf, scale).double()
    offsets = torch.arange(len(taps)) - (len(taps) - 1) / 2
    at_nyquist = float((taps * torch.cos(math.pi * offsets / scale)).sum())
    assert at_nyquist == pytest.approx(mtf, abs=0.012)


def test_the_width_of_the_blur_is_that_of_the_gaussian_with_this_mtf() -> None:
    assert gaussian_sigma(0.25) == pytest.approx(0.530, abs=1e-3)
    assert math.exp(-2 * (math.pi * gaussian_sigma(0.1) / 2) ** 2) == pytest.approx(0.1)


@given(scale=SCALES, value=st.sampled_from([0.0, 1.0, 250.0, 10_000.0]))
@settings(max_examples=30, deadline=None)
def test_a_constant_scene_stays_constant(scale: int, value: float) -> None:
    hr = torch.full((1, 2, 5 * scale, 7 * scale), value)
    for lr in (degrade(hr, 0.3, scale), bicubic_down(hr, scale)):
        assert lr.shape == (1, 2, 5, 7)
        assert (lr - value).abs().max() <= 1e-6 * value


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_a_ramp_keeps_its_place(scale: int) -> None:
    columns = (torch.arange(24.0 * scale) + 0.5) / scale - 0.5
    hr = columns.expand(1, 1, 24 * scale, -1)
    expected = torch.arange(24.0)
    for lr in (degrade(hr, 0.2, scale), bicubic_down(hr, scale)):
        assert (lr[0, 0, 12] - expected)[5:-5].abs().max() < 1e-4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_up_and_down_again_shifts_nothing(scale: int) -> None:
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    down, right = shift(degrade(upsample(x, scale), 0.25, scale)[0, 0].numpy(), x[0, 0].numpy())
    assert abs(down) < 0.005
    assert abs(right) < 0.005


def test_each_sample_gets_its_own_blur() -> None:
    hr = texture(3, 32)
    together = degrade(hr, torch.tensor([0.1, 0.25, 0.4]), 4)
    alone = torch.cat([degrade(hr[i : i + 1], mtf, 4) for i, mtf in enumerate((0.1, 0.25, 0.4))])
    assert (together - alone).abs().max() < 2e-3 * alone.abs().max()


def test_the_gradient_passes() -> None:
    hr = texture(1, 16).requires_grad_()
    degrade(hr, 0.25, 4).sum().backward()
    assert hr.grad is not None
    assert float(hr.grad.sum()) == pytest.approx(16.0, rel=1e-5)


def test_bicubic_reduction_is_the_widened_cubic_convolution() -> None:
    hr = texture(1, 32)
    taps = bicubic_kernel(4).numpy()
    assert len(taps) == 16
    expected = float(taps @ hr[0, 0, 14:30, 14:30].numpy() @ taps)
    assert float(bicubic_down(hr, 4)[0, 0, 5, 5]) == pytest.approx(expected, abs=1e-5)


def test_observing_bands_is_degrading_each() -> None:
    hr = texture(1, 32)
    bands = hr[0].numpy()
    assert np.array_equal(observe(bands, 0.3, 4), degrade(hr, 0.3, 4)[0].numpy())
    assert np.array_equal(observe(bands, None, 4), bicubic_down(hr, 4)[0].numpy())


def test_training_samples_tell_the_blur_and_the_noise_about_right() -> None:
    hr = texture(400, 16)
    noise, step = torch.full((400,), 0.5), torch.zeros(400)
    lr, mtf, told = Degradation()(hr, noise, step, 2, torch.Generator().manual_seed(0))
    assert lr.shape == (400, 1, 8, 8)
    assert 0.05 <= float(mtf.min()) < 0.12
    assert 0.40 < float(mtf.max()) <= 0.60
    assert 0.4 < float((told > 0).float().mean()) < 0.6
    assert float(told[told > 0].log().mean()) == pytest.approx(math.log(0.5), abs=0.05)


def test_noise_is_as_strong_as_told() -> None:
    flat = torch.zeros(64, 1, 64, 64)
    sensor = Degradation(noisy=1.0, noise_jitter=0.0)
    lr, _, told = sensor(flat, torch.full((64,), 3.0), torch.zeros(64), 2, torch.Generator().manual_seed(0))
    assert float(lr.std()) == pytest.approx(3.0, rel=0.01)
    assert float(told.mean()) == pytest.approx(3.0)


def test_half_of_the_samples_are_rounded_to_the_step_of_the_numbers() -> None:
    hr = texture(200, 16) * 10
    lr, _, _ = Degradation(noisy=0.0)(hr, torch.zeros(200), torch.ones(200), 2, torch.Generator().manual_seed(0))
    rounded = (lr == lr.round()).flatten(1).all(1).float().mean()
    assert 0.4 < float(rounded) < 0.6


def test_noise_grows_with_the_signal_and_has_the_told_level_at_the_mean() -> None:
    hr = torch.full((400, 1, 32, 32), 50.0)
    hr[..., 16:] = 150.0
    model = Degradation(noisy=1.0, noise_jitter=0.0, bicubic=0.0, shot=1.0)
    clean, _, _ = model(hr, torch.zeros(400), torch.zeros(400), 2, torch.Generator().manual_seed(0))
    lr, _, told = model(hr, torch.full((400,), 2.0), torch.zeros(400), 2, torch.Generator().manual_seed(0))
    power = ((lr - clean) ** 2).mean((0, 1, 2))
    dark, bright = float(power[:5].mean()), float(power[-5:].mean())
    assert (dark + bright) / 2 == pytest.approx(4.0, rel=0.03)
    assert bright / dark == pytest.approx(5 / 3, rel=0.05)  # a share of half on average: (1 + .5 / 2) / (1 - .5 / 2)
    assert torch.equal(told, torch.full((400,), 2.0))


def test_values_around_zero_count_no_photons() -> None:
    hr = texture(50, 32)
    outs = [
        Degradation(noisy=1.0, shot=shot, bicubic=0.0)(
            hr, torch.ones(50), torch.zeros(50), 2, torch.Generator().manual_seed(0)
        )[0]
        for shot in (1e-9, 1.0)
    ]
    assert torch.allclose(*outs, atol=1e-5)


@pytest.mark.parametrize("bicubic", [0.0, 1.0])
@pytest.mark.parametrize("scale", [2, 3])
def test_the_grid_is_displaced_only_where_it_is_asked_for_and_by_no_more(bicubic: float, scale: int) -> None:
    columns = (torch.arange(40.0 * scale) + 0.5) / scale - 0.5
    hr = (columns + 3 * columns[:, None]).expand(200, 1, -1, -1)
    none = torch.zeros(200)
    places = []
    for largest in (0.0, 0.4):
        model = Degradation(noisy=0.0, shift=largest, bicubic=bicubic)
        lr, _, _ = model(hr, none, none, scale, torch.Generator().manual_seed(0))
        places.append(lr[:, 0, 20, 20] - 80.0)
    assert places[0].abs().max() < 1e-3
    assert 1.0 < float(places[1].abs().max()) <= 0.4 * 4 + 1e-3


def texture(n: int, side: int) -> Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(2))
