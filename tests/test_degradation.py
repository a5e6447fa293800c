"""What a sensor of a known response sees of a finer image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geosr.evaluation.metrics import shift
from geosr.models.classical import upsample
from geosr.models.degradation import bicubic_down, bicubic_kernel, degrade, observe
from geosr.response import Response

SCALES = st.integers(2, 8)
BLUR = Response.gaussian(0.25)
PRODUCT = Response((0.12, 0.05), True, "spline").relative(4)


@given(scale=SCALES, value=st.sampled_from([0.0, 1.0, 250.0, 10_000.0]))
@settings(max_examples=30, deadline=None)
def test_a_constant_scene_stays_constant(scale: int, value: float) -> None:
    hr = torch.full((1, 2, 5 * scale, 7 * scale), value)
    for lr in (degrade(hr, BLUR, scale), degrade(hr, PRODUCT, scale), bicubic_down(hr, scale)):
        assert lr.shape == (1, 2, 5, 7)
        assert (lr - value).abs().max() <= 1e-6 * value


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_a_ramp_keeps_its_place(scale: int) -> None:
    columns = (torch.arange(24.0 * scale) + 0.5) / scale - 0.5
    hr = columns.expand(1, 1, 24 * scale, -1)
    expected = torch.arange(24.0)
    for lr in (degrade(hr, BLUR, scale), degrade(hr, PRODUCT, scale), bicubic_down(hr, scale)):
        assert (lr[0, 0, 12] - expected)[8:-8].abs().max() < 1e-3


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_up_and_down_again_shifts_nothing(scale: int) -> None:
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    down, right = shift(degrade(upsample(x, scale), BLUR, scale)[0, 0].numpy(), x[0, 0].numpy())
    assert abs(down) < 0.005
    assert abs(right) < 0.005


def test_each_sample_gets_its_own_response() -> None:
    hr = texture(3, 32)
    responses = [Response.gaussian(0.1), PRODUCT, Response.gaussian(0.4)]
    together = degrade(hr, responses, 4)
    alone = torch.cat([degrade(hr[i : i + 1], each, 4) for i, each in enumerate(responses)])
    assert (together - alone).abs().max() < 1e-5


def test_waves_along_either_axis_are_left_as_the_response_says() -> None:
    along_y, along_x = PRODUCT.at(0.3)
    place = (torch.arange(256.0) + 0.5) / 4 - 0.5
    wave = torch.cos(2 * torch.pi * 0.3 * place)
    coarse = torch.cos(2 * torch.pi * 0.3 * torch.arange(64.0))
    for hr, expected in ((wave[:, None].expand(256, 256), along_y), (wave.expand(256, 256), along_x)):
        seen = degrade(hr[None, None].contiguous(), PRODUCT, 4)[0, 0, 8:-8, 8:-8]
        known = (coarse[:, None] if expected is along_y else coarse).expand(64, 64)[8:-8, 8:-8]
        assert float((seen * known).sum() / (known * known).sum()) == pytest.approx(float(expected), abs=0.005)


def test_the_gradient_passes() -> None:
    hr = texture(1, 16).requires_grad_()
    degrade(hr, BLUR, 4).sum().backward()
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
    assert np.array_equal(observe(bands, BLUR, 4), degrade(hr, BLUR, 4)[0].numpy())
    assert np.array_equal(observe(bands, None, 4), bicubic_down(hr, 4)[0].numpy())


def texture(n: int, side: int) -> Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(2))
