"""Training samples: coarse images as products have them, and what is told of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geosr.models.degradation import BICUBIC, bicubic_down, degrade
from geosr.response import Response, transfer
from geosr.training.chain import KINDS, WIDTH, Chain, kernels, looked_up
from geosr.training.sensing import Degradation, Seen

CLEAN = Degradation(noisy=0.0, jitter=0.0, compressed=0.0)


def texture(n: int, side: int) -> torch.Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(2))


def run(model: Degradation, hr: torch.Tensor, noise: float = 0.0, step: float = 0.0, scale: int = 2) -> Seen:
    n = len(hr)
    return model(hr, torch.full((n,), noise), torch.full((n,), step), scale, torch.Generator().manual_seed(0))


def of_kind(seen: Seen, kind: str) -> torch.Tensor:
    return torch.tensor([each.interpolation == kind for each in seen.responses])


def changed(model: Degradation, **values: float) -> Degradation:
    from dataclasses import replace

    return replace(model, **values)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_gaussian_sample_is_what_degrade_makes_of_it(scale: int) -> None:
    hr = texture(40, 24 * scale)
    seen = run(changed(CLEAN, gaussian=1.0, bicubic=0.0, mtf=(0.1, 0.4)), hr, scale=scale)
    expected = degrade(hr, seen.responses, scale)
    assert float((seen.lr - expected)[..., 5:-5, 5:-5].abs().max()) < 0.02
    true = torch.tensor([each.told for each in seen.responses])
    assert float((seen.told - true.clamp(0.03, 0.85)).abs().max()) < 0.005


def test_a_bicubic_sample_is_the_bicubic_reduction() -> None:
    hr = texture(20, 48)
    seen = run(changed(CLEAN, gaussian=0.0, bicubic=1.0), hr)
    assert set(seen.responses) == {BICUBIC}
    assert float((seen.lr - bicubic_down(hr, 2))[..., 5:-5, 5:-5].abs().max()) < 0.005


def test_products_are_told_their_response_on_the_mean() -> None:
    seen = run(changed(CLEAN, gaussian=0.0, bicubic=0.0), texture(3000, 68))
    true = torch.tensor([each.told for each in seen.responses])
    for kind in KINDS:
        own = of_kind(seen, kind)
        assert int(own.sum()) > 300
        assert float((seen.told - true)[own].mean(0).abs().max()) < 0.01
    exact = of_kind(seen, "none")
    assert float((seen.told - true)[exact].abs().max()) < 0.01


def test_noise_is_as_strong_as_told_after_interpolation_took_its_share() -> None:
    flat = torch.full((2000, 1, 68, 68), 50.0)
    seen = run(changed(CLEAN, noisy=1.0, noise_jitter=0.0, plain=0.0, gaussian=0.0, bicubic=0.0), flat, noise=2.0)
    power = (seen.lr - 50.0).square().mean((1, 2, 3))
    told = seen.noise[:, 0] + 50.0 * seen.noise[:, 1]
    for kind in KINDS:
        own = of_kind(seen, kind)
        assert float(power[own].mean() / told[own].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(told[of_kind(seen, "none")].mean()) == pytest.approx(4.0, rel=0.01)
    assert float(told[of_kind(seen, "linear")].mean()) < 2.5


def test_noise_grows_with_the_signal() -> None:
    hr = torch.full((800, 1, 64, 64), 50.0)
    hr[..., 32:] = 150.0
    model = changed(CLEAN, noisy=1.0, noise_jitter=0.0, plain=0.0, gaussian=1.0, bicubic=0.0)
    noise = run(model, hr, noise=2.0).lr - run(changed(model, noisy=0.0), hr).lr
    dark, bright = (float(noise[..., part].square().mean()) for part in (slice(0, 12), slice(-12, None)))
    assert (dark + bright) / 2 == pytest.approx(4.0, rel=0.05)
    assert bright / dark == pytest.approx(5 / 3, rel=0.1)  # a share of half on the mean: (1 + .5 / 2) / (1 - .5 / 2)


def test_values_around_zero_count_no_photons() -> None:
    seen = run(changed(CLEAN, noisy=1.0, plain=0.0), texture(50, 64), noise=1.0)
    assert bool((seen.noise[:, 1] == 0).all())


def test_half_of_the_samples_are_rounded_to_the_step_of_the_numbers() -> None:
    seen = run(CLEAN, 10 * texture(200, 32), step=1.0)
    rounded = (seen.lr == seen.lr.round()).flatten(1).all(1).float().mean()
    assert 0.4 < float(rounded) < 0.6


def test_what_is_told_is_about_right() -> None:
    seen = run(Degradation(), texture(400, 48), noise=0.5)
    assert seen.lr.shape == (400, 1, 24, 24)
    assert float(seen.told.min()) > 0.029
    assert float(seen.told.max()) <= 0.85
    noisy = seen.noise[:, 0] > 0
    assert 0.55 < float(noisy.float().mean()) < 0.75
    assert float(seen.noise[noisy, 0].log().mean()) < math.log(0.25) + 0.05


def test_compressed_samples_differ_by_about_the_step_of_their_blocks() -> None:
    hr = texture(60, 64)
    whole, plain = (run(changed(CLEAN, compressed=share), hr).lr for share in (1.0, 0.0))
    difference = float((whole - plain).square().mean().sqrt())
    assert 0.01 < difference < 0.5
    assert float((whole - plain).mean().abs()) < 0.02


@pytest.mark.parametrize("scale", [2, 3])
def test_a_product_of_any_size_is_whole_and_has_the_response_that_it_is_told(scale: int) -> None:
    hr = texture(12, 160 * scale)
    seen = run(changed(CLEAN, gaussian=0.0, bicubic=0.0), hr, scale=scale)
    assert bool(seen.lr.isfinite().all())
    true = torch.tensor([each.told for each in seen.responses])
    assert float((seen.told - true).mean(0).abs().max()) < 0.03
    assert float((seen.told - true).abs().max()) < 0.15  # a grid that is drawn out has a wider kernel


@pytest.mark.parametrize(("scale", "side"), [(2, 9), (3, 31), (4, 54)])
def test_matrices_are_looked_up_where_they_are_not_zero_and_have_the_bits_of_all_places(scale: int, side: int) -> None:
    product = Response((0.1, 0.12), True, "spline").relative(scale)
    responses = (Response.gaussian(0.3), BICUBIC, product, product)
    drift = torch.tensor([[0.0, 0.0, -0.12, 0.12], [0.0, 0.0, 0.07, -0.01]])
    chain = Chain(responses, torch.tensor([0, 0, 3, 2]), drift, torch.tensor([[0.0, 0.0, 0.9, 0.3]] * 2))
    fine = (torch.arange((side + 4 * WIDTH) * scale) + 0.5) / scale - 0.5 - 2 * WIDTH
    for axis, (see, put) in enumerate(chain.matrices((side, side), scale)):
        pitch, count = 1.0 + drift[axis][:, None], chain.count(axis, side)
        places = (torch.arange(count) - (count - 1) / 2)[None] * pitch + (side - 1) / 2 + chain.phase[axis][:, None]
        seen = looked_up(chain.spreads(scale)[axis], places[:, :, None] - fine)
        assert torch.equal(see, seen / seen.sum(2, keepdim=True).clamp_min(1e-6))
        away = (torch.arange(float(side))[:, None] - places[:, None, :]) / pitch[:, :, None]
        taken = looked_up(kernels()[chain.puts], away)
        assert torch.equal(put, taken / taken.sum(2, keepdim=True))


def test_spreads_are_the_responses_without_their_interpolation() -> None:
    sharp = [Response((0.1, 0.15), True, kind).relative(2) for kind in ("none", "spline")]
    bare, interpolated = (
        Chain((one,), torch.tensor([put]), torch.zeros(2, 1), torch.zeros(2, 1)).spreads(2)
        for one, put in zip(sharp, (0, 3), strict=True)
    )
    f = np.arange(0.0, 0.5, 0.05)
    steps = np.arange(bare[0].shape[1]) / 32
    weights = np.where(steps == 0, 1.0, 2.0)[:, None] * np.cos(2 * np.pi * steps[:, None] * f) / 32
    for axis in (0, 1):
        left = (bare[axis].numpy() @ weights)[0]
        assert left == pytest.approx(sharp[0].at(f)[axis], abs=0.02)
        over = sharp[1].at(f)[axis] / transfer("spline", f)
        assert (interpolated[axis].numpy() @ weights)[0] == pytest.approx(over, abs=0.02)


def test_a_batch_is_the_same_whenever_it_is_made_of_what_was_drawn() -> None:
    model, hr, noise, step = Degradation(), texture(12, 64), torch.full((12,), 0.5), torch.full((12,), 0.1)
    one, other = (torch.Generator().manual_seed(5) for _ in range(2))
    at_once = [model(hr, noise, step, 2, one) for _ in range(3)]
    drawn = [model.drawn(12, (64, 64), 2, other) for _ in range(3)]
    late = [make(hr, noise, step) for make in reversed(drawn)][::-1]
    for now, then in zip(at_once, late, strict=True):
        assert torch.equal(now.lr, then.lr)
        assert torch.equal(now.told, then.told)
        assert torch.equal(now.noise, then.noise)
        assert now.responses == then.responses
    assert torch.equal(one.get_state(), other.get_state())


def test_given_responses_are_the_only_ones() -> None:
    given = (Response((0.1, 0.05), True, "spline").relative(2), Response.gaussian(0.3))
    hr = texture(40, 64)
    seen = run(changed(CLEAN, given=given), hr)
    assert set(seen.responses) == set(given)
    assert float((seen.lr - degrade(hr, seen.responses, 2))[..., 6:-6, 6:-6].abs().max()) < 0.05
