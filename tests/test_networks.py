"""The network `fast`: gain, offset, alignment and reach."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from geosr.evaluation.metrics import shift
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.models.networks import Edsr, fast
from geosr.models.networks.band import LOW_PASS_RADIUS
from geosr.noise import Noise
from geosr.response import Response


def shaken(scale: int) -> Edsr:
    """A network whose every weight matters, as after training."""
    torch.manual_seed(3)
    network = fast(scale, channels=16, blocks=3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def noise_image(height: int = 24, width: int = 31) -> Tensor:
    return torch.randn(2, 1, height, width, generator=torch.Generator().manual_seed(5))


TOLD = torch.tensor([[0.20, 0.25, 0.15, 0.20], [0.40, 0.45, 0.35, 0.40]])
NOISE = torch.tensor([[0.01, 0.0], [0.09, 0.002]])
GAUSSIAN = Response.gaussian(0.25)
QUIET = torch.zeros(1, 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_result_is_scale_times_as_large(scale: int) -> None:
    assert shaken(scale)(noise_image(), TOLD, NOISE).shape == (2, 1, 24 * scale, 31 * scale)


@torch.no_grad()
@pytest.mark.parametrize(("gain", "offset"), [(0.001, 0.0), (7.0, 0.0), (7.0, -3.0), (2500.0, 1000.0), (1.0, 4.0)])
def test_gain_and_offset_of_the_input_pass_through(gain: float, offset: float) -> None:
    network, x = shaken(4), noise_image()
    plain = gain * network(x, TOLD, NOISE) + offset
    noise = [Noise(*each).moved(gain, offset) for each in NOISE.tolist()]
    told = torch.tensor([[each.constant, each.slope] for each in noise])
    changed = network(gain * x + offset, TOLD, told)
    assert (changed - plain).abs().max() < 1e-5 * plain.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0, 255.0, 10_000.0])
def test_a_constant_stays_constant(value: float) -> None:
    x = torch.full((1, 1, 20, 20), value)
    result = shaken(4)(x, TOLD[:1], QUIET)
    assert (result - value).abs().max() <= 1e-5 * value


@torch.no_grad()
def test_before_training_the_result_is_the_bicubic_estimate() -> None:
    x = noise_image()
    assert torch.equal(fast(4)(x, TOLD, NOISE), upsample(x, 4))


@torch.no_grad()
def test_blur_and_noise_change_the_result() -> None:
    network, x = shaken(2), noise_image()
    result = network(x, TOLD, NOISE)
    assert not torch.allclose(result, network(x, TOLD + 0.1, NOISE))
    assert not torch.allclose(result, network(x, TOLD, NOISE + 0.1))


@torch.no_grad()
def test_the_base_and_the_residual_of_the_parts_make_up_the_result() -> None:
    network, x = shaken(4), noise_image()
    high, spread = network.parts(x, NOISE)
    detail = network.residual(high, TOLD, spread)
    assert torch.equal(network(x, TOLD, NOISE), network.base(x) + detail)


@torch.no_grad()
def test_a_pixel_reaches_no_further_than_the_convolutions_and_the_low_pass() -> None:
    network = shaken(2)
    reach = LOW_PASS_RADIUS + 2 + 2 * len(network.blocks)
    x = noise_image(48, 48)[:1]
    touched = x.clone()
    touched[..., 24, 24] += 1.0
    changed = (network(x, TOLD[:1], NOISE[:1]) != network(touched, TOLD[:1], NOISE[:1]))[0, 0].nonzero() // 2 - 24
    assert changed.abs().max() <= reach


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 4])
def test_the_trained_network_shifts_nothing(scale: int) -> None:
    network = trained(scale)
    x = smooth(96)
    halo = 26
    padded = torch.nn.functional.pad(x, (halo, halo, halo, halo), mode="reflect")
    rim = halo * scale
    result = network(padded, torch.tensor([GAUSSIAN.told]), QUIET)[..., rim:-rim, rim:-rim]
    down, right = shift(degrade(result, GAUSSIAN, scale)[0, 0].numpy(), x[0, 0].numpy())
    assert abs(down) < 0.02
    assert abs(right) < 0.02


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 4])
def test_the_trained_network_brings_back_more_than_bicubic(scale: int) -> None:
    truth = smooth(64 * scale)
    x = degrade(truth, GAUSSIAN, scale)
    estimate = trained(scale)(x, torch.tensor([GAUSSIAN.told]), QUIET)
    rim = 20 * scale
    inner = (slice(None), slice(None), slice(rim, -rim), slice(rim, -rim))
    errors = [(guess - truth)[inner].square().mean() for guess in (estimate, upsample(x, scale))]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("model", ["fast", "swin"])
def test_to_load_a_network_is_not_to_load_the_compiler_of_torch(model: str) -> None:
    code = f"""
import sys, torch
from geosr.models import registry
before = set(sys.modules)
registry.find({model!r}, 4).engine("cpu", "float32")
sys.exit(str({{"torch._dynamo", "torch._inductor", "sympy"}} & (set(sys.modules) - before) or ""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def trained(scale: int) -> Edsr:
    from importlib.resources import as_file, files

    from safetensors.torch import load_file

    with as_file(files("geosr.models") / "weights" / f"fast_x{scale}.safetensors") as path:
        network = fast(scale)
        network.load_state_dict(load_file(path))
    return network.eval()


def smooth(side: int) -> Tensor:
    """Fields, (1, 1, side, side): pieces of constant value with straight edges, as land cover has."""
    random = torch.Generator().manual_seed(11)
    rows, cols = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    image = torch.zeros(side, side)
    for _ in range(60):
        row, col, height, width = (torch.rand(4, generator=random) * side).tolist()
        slope = float(torch.rand(1, generator=random)) - 0.5
        inside = ((rows - row - slope * cols).abs() < height / 4) & ((cols - col + slope * rows).abs() < width / 4)
        image[inside] = float(torch.rand(1, generator=random))
    return image[None, None]
