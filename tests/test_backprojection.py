from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.methods import backproject
from geosr.models.backprojection import backproject_into, reach
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.response import Response

RESPONSES = [
    Response.gaussian(0.1),
    Response.gaussian(0.25),
    Response.gaussian(0.4),
    Response((0.12, 0.05), True, "spline"),
]


def scene(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1000 + 300 * torch.rand(1, 1, height, width, generator=generator, dtype=torch.float64)


def step_by_step(lr: Tensor, sr: Tensor, response: Response, scale: int, steps: int) -> Tensor:
    for _ in range(steps):
        sr = sr + upsample(lr - degrade(sr, response, scale), scale)
    return sr


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("response", RESPONSES, ids=str)
def test_all_steps_at_once_are_the_steps_one_by_one(scale: int, response: Response) -> None:
    lr, sr = scene(70, 64), scene(70 * scale, 64 * scale, seed=1)
    result = backproject(lr, sr, response, scale, steps=4)
    rim = 24 * scale
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    torch.testing.assert_close(result[inner], step_by_step(lr, sr, response, scale, 4)[inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_block_is_the_back_projected_bicubic_estimate_beyond_its_reach(scale: int) -> None:
    response = Response.gaussian(0.25)
    lr = scene(96, 92)
    out = torch.empty(96 * scale, 92 * scale, dtype=torch.float64)
    backproject_into(out, lr[0, 0], response, scale)
    rim = reach(response, scale) * scale
    inner = (slice(rim, -rim), slice(rim, -rim))
    expected = step_by_step(lr, upsample(lr, scale), response, scale, 10)[0, 0]
    torch.testing.assert_close(out[inner], expected[inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("response", RESPONSES[1:3], ids=str)
def test_the_result_degraded_gives_the_input_back(response: Response) -> None:
    sharp = upsample(scene(40, 40), 4)
    lr = degrade(sharp, response, 4)
    start = upsample(lr, 4)
    result = backproject(lr, start, response, 4, steps=30)
    before, after = ((lr - degrade(each, response, 4))[..., 6:-6, 6:-6].std() for each in (start, result))
    assert after < 0.1 * before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_is_kept_to_the_last_bit(dtype: torch.dtype) -> None:
    image = torch.full((120, 110), 0.1, dtype=dtype)
    out = torch.empty(480, 440, dtype=dtype)
    backproject_into(out, image, RESPONSES[1], 4)
    assert torch.equal(out, torch.full_like(out, 0.1))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("response", RESPONSES, ids=str)
def test_reach_is_how_far_a_pixel_is_felt(scale: int, response: Response) -> None:
    claimed = reach(response, scale)
    side = 4 * claimed + 1
    image = torch.zeros(side, side, dtype=torch.float64)
    image[side // 2, side // 2] = 1.0
    out = torch.empty(side * scale, side * scale, dtype=torch.float64)
    backproject_into(out, image, response, scale)
    rows = out.abs().amax(1).nonzero().flatten() // scale
    assert int((rows - side // 2).abs().max()) == claimed
