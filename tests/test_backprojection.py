from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geosr.models.backprojection import backproject, backproject_into, reach
from geosr.models.classical import upsample
from geosr.models.degradation import degrade


def scene(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1000 + 300 * torch.rand(1, 1, height, width, generator=generator, dtype=torch.float64)


def step_by_step(lr: Tensor, sr: Tensor, mtf: float, scale: int, steps: int) -> Tensor:
    for _ in range(steps):
        sr = sr + upsample(lr - degrade(sr, mtf, scale), scale)
    return sr


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("mtf", [0.1, 0.25, 0.4])
def test_all_steps_at_once_are_the_steps_one_by_one(scale: int, mtf: float) -> None:
    lr, sr = scene(70, 64), scene(70 * scale, 64 * scale, seed=1)
    result = backproject(lr, sr, mtf, scale, steps=4)
    rim = 24 * scale
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    torch.testing.assert_close(result[inner], step_by_step(lr, sr, mtf, scale, 4)[inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_block_is_the_back_projected_bicubic_estimate_beyond_its_reach(scale: int) -> None:
    mtf = 0.25
    lr = scene(96, 92)
    out = torch.empty(96 * scale, 92 * scale, dtype=torch.float64)
    backproject_into(out, lr[0, 0], mtf, scale)
    rim = reach(mtf, scale) * scale
    inner = (slice(rim, -rim), slice(rim, -rim))
    expected = step_by_step(lr, upsample(lr, scale), mtf, scale, 10)[0, 0]
    torch.testing.assert_close(out[inner], expected[inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("mtf", [0.15, 0.3])
def test_the_result_degraded_gives_the_input_back(mtf: float) -> None:
    sharp = upsample(scene(40, 40), 4)
    lr = degrade(sharp, mtf, 4)
    start = upsample(lr, 4)
    result = backproject(lr, start, mtf, 4, steps=30)
    before, after = ((lr - degrade(each, mtf, 4))[..., 6:-6, 6:-6].std() for each in (start, result))
    assert after < 0.1 * before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_is_kept_to_the_last_bit(dtype: torch.dtype) -> None:
    image = torch.full((120, 110), 0.1, dtype=dtype)
    out = torch.empty(480, 440, dtype=dtype)
    backproject_into(out, image, 0.2, 4)
    assert torch.equal(out, torch.full_like(out, 0.1))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("mtf", [0.1, 0.4])
def test_reach_is_how_far_a_pixel_is_felt(scale: int, mtf: float) -> None:
    claimed = reach(mtf, scale)
    side = 4 * claimed + 1
    image = torch.zeros(side, side, dtype=torch.float64)
    image[side // 2, side // 2] = 1.0
    out = torch.empty(side * scale, side * scale, dtype=torch.float64)
    backproject_into(out, image, mtf, scale)
    rows = out.abs().amax(1).nonzero().flatten() // scale
    assert int((rows - side // 2).abs().max()) == claimed
