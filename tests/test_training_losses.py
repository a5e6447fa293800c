"""Losses: each falls towards the truth, is as defined, and has a gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from geosr.errors import InputError
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.response import PROBE
from geosr.training.losses import LOSSES, Outcome, below_bicubic, consistency, decibels, lattice, spectral, ssim, total


def spectral_angle(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Mean angle in degrees between the spectra of two (bands, height, width) arrays (Kruse et al. 1993).

    Pixels where either spectrum is zero are left out; NaN where none is left.
    """
    a, b = (np.asarray(x, np.float64).reshape(len(np.asarray(x)), -1) for x in (estimate, reference))
    lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    valid = lengths > 0
    if not valid.any():
        return float("nan")
    cosine = np.sum(a[:, valid] * b[:, valid], axis=0) / lengths[valid]
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean())


def outcome(error: Tensor, truth: Tensor | None = None, scale: int = 2) -> Outcome:
    n = len(error)
    random = torch.Generator().manual_seed(1)
    truth = torch.randn(error.shape, generator=random).cumsum(2).cumsum(3) / 5 + 40 if truth is None else truth
    lr = degrade(truth, PROBE, scale)
    base = upsample(lr, scale)
    return Outcome(error, truth + error, truth, base, lr, (PROBE,) * n, (True,) * n, scale)


def noise(bands: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(3, bands, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_falls_with_the_error_and_leads_back_to_the_truth(name: str) -> None:
    bands = 3 if name == "spectral" else 1
    error = noise(bands).requires_grad_()
    values = [float(LOSSES[name](outcome(share * error.detach()))) for share in (0.0, 0.1, 0.5, 1.0)]
    assert values == sorted(values)
    LOSSES[name](outcome(error)).backward()
    assert error.grad is not None
    assert bool(error.grad.isfinite().all())
    assert float((error.grad * error.detach()).sum()) > 0


def test_an_error_that_lies_alike_in_every_input_pixel_is_a_lattice() -> None:
    still = torch.zeros(1, 1, 28, 28)
    still[..., ::2, ::2] = 0.1
    slope = 0.1 * torch.linspace(-1, 1, 28).repeat_interleave(2)[:28].expand(1, 1, 28, 28)
    rough = 0.1 * noise(side=28)
    there, same, none, little = (float(lattice(outcome(error))) for error in (still, still + slope, slope, rough))
    assert there == pytest.approx(0.1 * math.sqrt(3) / 4, rel=0.01)
    assert same == pytest.approx(there, rel=0.01)
    assert none < 0.01 * there
    assert little < 0.5 * there  # though it is twice as large an error


def test_the_loss_in_decibels_is_the_logarithm_of_psnr() -> None:
    error = 4 * noise(side=40)
    fall = float(decibels(outcome(error)) - decibels(outcome(error / 2))) * 10 / math.log(10)
    assert fall == pytest.approx(20 * math.log10(2), abs=0.02)


def test_only_what_ends_below_bicubic_is_charged_for_it() -> None:
    start = outcome(noise(side=40))
    bicubic = 40 * (start.base - start.truth)
    far = replace(start, base=start.truth + bicubic)
    for share, factor in ((0.5, 1.0), (1.0, 1.0), (2.0, 4.0)):
        assert float(below_bicubic(replace(far, error=share * bicubic))) == pytest.approx(math.log(factor), abs=1e-3)
    one_of_three = torch.tensor([2.0, 0.5, 0.5]).view(3, 1, 1, 1) * bicubic
    assert float(below_bicubic(replace(far, error=one_of_three))) == pytest.approx(math.log(4) / 3, abs=1e-3)


def test_ssim_is_that_of_its_definition_and_deaf_to_a_mean_and_a_gain() -> None:
    o = outcome(0.5 * noise(side=11), noise(side=11, seed=2).cumsum(2))
    axis = torch.arange(-5, 6).double()
    taps = torch.exp(-0.5 * (axis / 1.5) ** 2)
    weights = (taps[:, None] * taps) / taps.sum() ** 2
    scores = []
    for x, y in zip(o.estimate[:, 0].double(), o.truth[:, 0].double(), strict=True):
        a, b = x - (weights * x).sum(), y - (weights * y).sum()
        small = float(0.03 * (y.max() - y.min())) ** 2 + 1e-6
        both, powers = (weights * a * b).sum(), (weights * (a * a + b * b)).sum()
        scores.append((2 * both + small) / (powers + small))
    assert float(ssim(o)) == pytest.approx(1 - float(torch.stack(scores).mean()), abs=1e-4)
    moved = replace(o, estimate=3 * o.estimate + 500, truth=3 * o.truth + 500)
    assert float(ssim(moved)) == pytest.approx(float(ssim(o)), abs=1e-3)


def test_the_spectral_angle_is_the_metrics_and_asks_for_several_bands() -> None:
    o = outcome(noise(4), noise(4, seed=3).abs() + 2)
    wanted = sum(spectral_angle(x, y) for x, y in zip(o.estimate.numpy(), o.truth.numpy(), strict=True)) / 3
    assert math.degrees(float(spectral(o))) == pytest.approx(wanted, rel=1e-3)
    with pytest.raises(InputError, match="and there is one"):
        spectral(outcome(noise(1)))
    contrast = torch.tensor([3.0, 1.0, 0.5, 2.0])
    parts = {key: getattr(o, key)[:1].transpose(0, 1) / contrast.view(4, 1, 1, 1) for key in ("estimate", "truth")}
    apart = replace(o, **parts, contrast=contrast, together=4)
    one = spectral_angle(o.estimate[0].numpy(), o.truth[0].numpy())
    assert math.degrees(float(spectral(apart))) == pytest.approx(one, rel=1e-3)


def test_consistency_asks_only_for_what_the_sensor_saw() -> None:
    checker = 0.5 * (-1.0) ** (torch.arange(64)[:, None] + torch.arange(64))  # what the sensor can't see
    o = outcome(checker.expand(2, 1, 64, 64).contiguous(), noise(side=64)[:2].cumsum(2))
    assert float(consistency(o)) == pytest.approx(0.01, abs=0.001)
    shifted = replace(o, estimate=o.truth + 1)
    assert float(consistency(shifted)) == pytest.approx(1, abs=0.01)
    assert float(consistency(replace(shifted, clean=(False, False)))) == 0


def test_losses_add_up_by_their_weights() -> None:
    o = outcome(noise())
    parts = 2 * LOSSES["absolute"](o) + 0.5 * LOSSES["gradient"](o)
    assert float(total(o, {"absolute": 2, "gradient": 0.5, "ssim": 0})) == pytest.approx(float(parts))
