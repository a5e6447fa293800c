"""Networks as the runtime runs them: the same as trained, and the same bits in any block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from geosr.errors import InputError
from geosr.models import trained
from geosr.models.classical import upsample
from geosr.models.model import Engine
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.models.networks.band import LOW_PASS_RADIUS, conv
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band

RESPONSE = Response((0.1, 0.05), True, "spline").relative(2)
NOISE = Noise(2.0, 0.01)

SMALL = {"edsr": (8, 2), "srcnn": (8, 1), "vdsr": (8, 3), "span": (8, 2), "rrdb": (8, 1), "swin": (12, 1)}
"""Channels and blocks that keep a test short."""


def shaken(name: str, scale: int = 2) -> BandNetwork:
    """A network whose every weight matters, as after training."""
    torch.manual_seed(3)
    network = NETWORKS[name](scale, *SMALL[name])
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False)


def engine(name: str, scale: int = 2) -> Engine:
    channels, blocks = SMALL[name]
    settings = {"scale": scale, "channels": channels, "blocks": blocks}
    return trained.build(name, settings, dict(shaken(name, scale).state_dict()), "cpu", torch.float32)


def image(height: int = 160, width: int = 152) -> Tensor:
    return 40 * torch.randn(height, width, generator=torch.Generator().manual_seed(5)) + 700


def run(ready: Engine, band: Tensor, scale: int = 2, noise: Noise = NOISE) -> Tensor:
    out = band.new_empty(1, band.shape[0] * scale, band.shape[1] * scale)
    with torch.inference_mode():
        ready(band[None], (Band(RESPONSE, noise),), out)
    return out[0]


@pytest.mark.parametrize("name", SMALL)
def test_an_engine_is_its_network_with_what_it_adds_to_a_flat_scene_taken_off(name: str) -> None:
    ready, network, band = engine(name), shaken(name), image()
    told = torch.tensor([RESPONSE.told])
    with torch.inference_mode():
        high, spread = network.parts(band[None, None], torch.tensor([[NOISE.constant, NOISE.slope]]))
        rest = network.residual(torch.zeros_like(high), told, torch.ones_like(high))
        wide = spread.repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = network.base(band[None, None]) + network.residual(high, told, spread) - rest * wide
    rim = 2 * ready.reach(RESPONSE)
    difference = (run(ready, band) - expected[0, 0])[rim:-rim, rim:-rim]
    assert difference.numel() > 1000
    assert float(difference.abs().max()) < 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_a_block_cut_elsewhere_gives_the_same_pixels(name: str) -> None:
    ready, band = engine(name), image()
    whole = run(ready, band)
    reach, step = ready.reach(RESPONSE), ready.multiple
    row, col = 24, 16
    part = run(ready, band[row : row + 120, col : col + 128].contiguous())
    inner = (slice(2 * reach, -2 * reach), slice(2 * reach, -2 * reach))
    same = whole[2 * row : 2 * (row + 120), 2 * col : 2 * (col + 128)]
    assert row % step == col % step == 0
    if name == "swin":  # matrix products may round differently by the number of windows
        assert float((part - same)[inner].abs().max()) < 1e-3
    else:
        assert torch.equal(part[inner], same[inner])


@torch.inference_mode()
@pytest.mark.parametrize(("inputs", "size"), [(48, 3), (192, 3), (64, 1), (96, 1), (192, 1)])
def test_a_convolution_has_the_same_bits_whatever_the_size_of_the_block(inputs: int, size: int) -> None:
    torch.manual_seed(7)
    layer, features = conv(inputs, 48, size), torch.randn(1, inputs, 130, 140)
    whole = layer(features)
    torch.testing.assert_close(whole, torch.nn.functional.conv2d(features, layer.weight, padding=size // 2))
    rim = size // 2
    for height, width in ((128, 128), (96, 96), (88, 96), (64, 64), (17, 130), (16, 16), (31, 7)):
        part = layer(features[..., :height, :width].contiguous())
        inner = np.s_[..., rim : height - rim, rim : width - rim]
        assert torch.equal(part[inner], whole[inner])


@pytest.mark.parametrize("name", SMALL)
def test_a_flat_scene_stays_flat_whatever_noise_is_told(name: str) -> None:
    flat = torch.full((120, 120), 812.25)
    assert torch.equal(run(engine(name), flat), torch.full((240, 240), 812.25))


@pytest.mark.parametrize("name", SMALL)
def test_the_reach_is_how_far_a_pixel_is_felt_wherever_it_lies_in_a_window(name: str) -> None:
    ready, band = engine(name), image()
    before, farthest = run(ready, band), 0
    for place in range(75, 75 + ready.multiple):
        changed = band.clone()
        changed[place, place] += 1000.0
        felt = (run(ready, changed) != before).nonzero() // 2 - place
        farthest = max(farthest, int(felt.abs().max()))
    # The low-pass is too weak at its ends to be felt in float32.
    assert ready.reach(RESPONSE) - LOW_PASS_RADIUS <= farthest <= ready.reach(RESPONSE)


@pytest.mark.parametrize("name", SMALL)
def test_gain_and_offset_pass_through_every_network(name: str) -> None:
    ready, band = engine(name), image()
    plain = run(ready, band)
    changed = run(ready, 0.01 * band - 3.0, noise=NOISE.moved(0.01, -3.0))
    assert float((changed - (0.01 * plain - 3.0)).abs().max()) < 2e-4


@pytest.mark.parametrize("name", SMALL)
def test_a_gain_passes_down_to_the_smallest_units(name: str) -> None:
    """Columns of a trace gas are stored in mol/m2: 1e-5 and less."""
    ready, band = engine(name), image()
    plain, tiny = run(ready, band), run(ready, 1e-9 * band, noise=NOISE.moved(1e-9, 0.0))
    assert float((1e9 * tiny - plain).abs().max()) < 1e-4 * float(plain.abs().max())


@pytest.mark.parametrize("name", SMALL)
def test_every_network_runs_in_bfloat16(name: str) -> None:
    channels, blocks = SMALL[name]
    settings = {"scale": 2, "channels": channels, "blocks": blocks}
    short = trained.build(name, settings, dict(shaken(name).state_dict()), "cpu", torch.bfloat16)
    band = image(64, 72)
    long, base = run(engine(name), band), upsample(band[None, None], 2)[0, 0]
    added = float((long - base).abs().max())
    assert 0 < float((run(short, band) - long).abs().max()) < 0.05 * added


def test_a_transformer_says_what_channels_it_takes() -> None:
    with pytest.raises(InputError, match="a multiple of 12, found 16"):
        NETWORKS["swin"](4, 16, 1)
