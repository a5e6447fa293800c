"""Projection: what it promises of any model's result, on tensors and through every front end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor

import geosr
from geosr.errors import InputError
from geosr.evaluation.consistency import consistency
from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.models.filters import mirror
from geosr.models.projection import correction, project_into, reach
from geosr.models.registry import card
from geosr.models.runtime import is_projected, network_for
from geosr.noise import SILENT, Noise
from geosr.response import Response
from geosr.sensor_table import Origin
from geosr.sensors import Band
from tests import scenes

gaussian = Response.gaussian
PRODUCT = Response((0.12, 0.05), True, "spline")
"""About that of Sentinel-2's bands: of another width along either axis, with negative lobes."""


def project(
    sr: Tensor, lr: Tensor, response: Response, scale: int, noise: Noise = SILENT, trust: float = 1.0
) -> Tensor:
    """`sr` (n, 1, h * scale, w * scale) corrected by `lr` (n, 1, h, w), both mirrored beyond the border."""
    rim = reach(response, scale)
    fine, coarse = mirror(sr[:, 0], rim * scale), mirror(lr[:, 0], rim)
    made = [correction(*each, response, scale, noise, trust) for each in zip(fine, coarse, strict=True)]
    return sr + torch.stack(made)[:, None]


def ground(height: int, width: int, seed: int = 0) -> Tensor:
    """Edges and texture, (1, 1, height, width) float64."""
    stored = scenes.pixels((1, height, width), "float64", seed, 500, 4000)
    return torch.from_numpy(stored)[None]


def estimate(lr: Tensor, scale: int) -> Tensor:
    """A bad one: bicubic with a bias and invented texture."""
    fine = upsample(lr, scale)
    return fine + 25.0 + 40.0 * torch.randn(fine.shape, dtype=fine.dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("response", [gaussian(0.1), gaussian(0.25), gaussian(0.4), PRODUCT], ids=str)
def test_a_projected_result_gives_the_input_back_after_rounding(scale: int, response: Response) -> None:
    response = response.relative(scale)
    lr = degrade(ground(48 * scale, 44 * scale), response, scale).round()
    start = estimate(lr, scale)
    before, after = (
        consistency(fine[0, 0].round().numpy(), lr[0, 0].numpy(), response)
        for fine in (start, project(start, lr, response, scale))
    )
    assert before.mean > 10
    assert after.mean < 1
    assert after.p99 < 4
    assert abs(after.bias) < 0.1


def test_noise_is_not_fitted_and_a_bias_is_taken_off_in_spite_of_it() -> None:
    clean = degrade(ground(320, 320), gaussian(0.25), 4)
    noise = 30 * torch.randn(clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(2))
    lr = clean + noise
    truth = ground(320, 320)
    rest = lr - degrade(project(truth + 50.0, lr, gaussian(0.25), 4, Noise(900.0, 0.0)), gaussian(0.25), 4)
    assert abs(float(rest.mean())) < 1
    assert float(rest.std()) > 0.9 * 30
    fitted = lr - degrade(project(truth + 50.0, lr, gaussian(0.25), 4), gaussian(0.25), 4)
    assert float(fitted.std()) < 3


def test_gradients_are_those_of_its_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    sr = torch.rand(2, 1, 8, 6, dtype=torch.float64, generator=generator).requires_grad_()
    lr = torch.rand(2, 1, 4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    for told in ((gaussian(0.3), 2, SILENT), (PRODUCT.relative(2), 2, Noise(0.001, 0.002))):
        assert torch.autograd.gradcheck(lambda a, b, told=told: project(a, b, *told), (sr, lr), fast_mode=True)


@pytest.mark.parametrize("noise", [SILENT, Noise(144.0, 0.0), Noise(-20.0, 0.3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pixel_has_the_same_bits_in_any_block(noise: Noise, dtype: torch.dtype) -> None:
    lr = (300 * torch.rand(80, 76, generator=torch.Generator().manual_seed(4)) + 500).to(dtype)
    start = estimate(lr[None, None], 4)[0, 0].contiguous().to(dtype)
    response = PRODUCT.relative(4)
    whole, rim = start.clone(), reach(response, 4)
    project_into(whole, lr, response, noise)
    assert not torch.equal(whole, start)
    for row, col, height, width in ((0, 0, 60, 61), (7, 13, 65, 59), (21, 2, 59, 74)):
        part = start[row * 4 : (row + height) * 4, col * 4 : (col + width) * 4].clone()
        project_into(part, lr[row : row + height, col : col + width].clone(), response, noise)
        there = whole[row * 4 : (row + height) * 4, col * 4 : (col + width) * 4]
        inner = np.s_[rim * 4 : -rim * 4, rim * 4 : -rim * 4]
        assert torch.equal(part[inner], there[inner])


@pytest.mark.parametrize("noise", [SILENT, Noise(9.0, 0.0), Noise(2.0, 0.01)], ids=str)
def test_a_constant_scene_is_kept_to_the_last_bit_and_gain_and_offset_pass_through(noise: Noise) -> None:
    flat = torch.full((1, 1, 30, 34), 0.1)
    assert torch.equal(
        project(torch.full((1, 1, 120, 136), 0.1), flat, gaussian(0.2), 4, noise), torch.full((1, 1, 120, 136), 0.1)
    )
    lr = ground(40, 40, seed=1)
    start = estimate(lr, 2)
    plain = project(start, lr, gaussian(0.2), 2, noise)
    scaled = project(0.001 * start - 7.0, 0.001 * lr - 7.0, gaussian(0.2), 2, noise.moved(0.001, -7.0))
    torch.testing.assert_close(scaled, 0.001 * plain - 7.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("response", [gaussian(0.1), gaussian(0.4), PRODUCT], ids=str)
@pytest.mark.parametrize("scale", [2, 3])
def test_no_pixel_beyond_the_reach_is_felt(response: Response, scale: int) -> None:
    response = response.relative(scale)
    rim = reach(response, scale)
    side = 4 * rim + 1
    lr = 100 * torch.rand(side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    start = upsample(lr[None, None], scale)[0, 0]
    changed = lr.clone()
    changed[side // 2, side // 2] += 1e4
    results = []
    for image in (lr, changed):
        out = start.clone()
        project_into(out, image, response, Noise(1.0, 0.0))
        results.append(out)
    felt = (results[0] != results[1]).nonzero() // scale - side // 2
    assert 6 < int(felt.abs().max()) <= rim


@pytest.mark.parametrize("model", ["bicubic", "fast"])
def test_tiles_and_fill_values_change_no_stored_number(model: str, tmp_path: Path) -> None:
    stored = scenes.pixels((1, 80, 90), low=1000)
    results = []
    for number, (fill, tiles) in enumerate(((0, (48, 96)), (60_000, (48,)))):
        stored[:, 30:44, 50:70] = fill
        src = scenes.write(tmp_path / f"{number}.tif", stored, nodata=fill)
        for tile in tiles:
            dst = tmp_path / f"{number}_{tile}.tif"
            geosr.upscale(src, dst, model=model, scale=2, tile=tile, mtf=0.25, snr=200, project=True)
            with rasterio.open(dst) as file:
                results.append(np.where(file.read() == fill, -1, file.read().astype(int)))
    assert all(np.array_equal(results[0], other) for other in results[1:])
    lazy = geosr.open_raster(src, chunks=64).geosr.upscale(model, 2, tile=64, mtf=0.25, snr=200, project=True)
    assert np.array_equal(np.where(lazy.values == fill, -1, lazy.values.astype(int)), results[0])
    assert lazy.attrs["GEOSR_PROJECTED"] == "yes"


def test_a_written_result_gives_its_input_back_and_says_that_it_was_projected(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with rasterio.open(src) as file:
        source = file.read(1)
    for choice in (None, False, True):
        dst = tmp_path / f"{choice}.tif"
        told = {} if choice is None else {"project": choice}
        geosr.upscale(src, dst, model="bicubic", mtf=0.3, snr=1e6, **told)
        with rasterio.open(dst) as file:
            found = consistency(file.read(1), source, gaussian(0.3).relative(4))
            assert (file.tags().get("GEOSR_PROJECTED") == "yes") == (choice is True)
        assert (found.mean < 1 and found.p99 < 4 and abs(found.bias) < 0.1) == (choice is True)


def test_a_network_of_the_callers_own_with_several_bands_is_projected(tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((2, 60, 64), low=1000))
    own = geosr.TorchNetwork(lambda: lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), 2, 0, bands=2)
    geosr.upscale(src, tmp_path / "own.tif", model=own, scale=2, mtf=[0.2, 0.3], snr=1e6, project=True)
    with rasterio.open(src) as before, rasterio.open(tmp_path / "own.tif") as after:
        for band, mtf in ((1, 0.2), (2, 0.3)):
            found = consistency(after.read(band), before.read(band), gaussian(mtf).relative(2))
            assert found.mean < 1
            assert found.p99 < 4


def test_networks_are_projected_where_that_is_asked_for() -> None:
    fast, bicubic = card("fast"), card("bicubic")
    assert not is_projected(None, fast)
    assert not is_projected(False, fast)
    assert is_projected(True, fast)
    assert is_projected(True, bicubic)


def test_a_generative_model_is_always_projected() -> None:
    inventive = replace(card("fast"), name="dreamer", generative=True)
    assert is_projected(None, inventive)
    with pytest.raises(InputError, match=r"dreamer \[generative\] is always projected"):
        is_projected(False, inventive)


def test_what_was_told_and_done_of_each_band_is_said_and_tagged(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    run = geosr.prepare(src, tmp_path / "a.tif", model="fast", snr=float("inf"), project=True)
    assert any(note.startswith("projected by half") for note in run.notes)
    assert any(note.startswith("noise counts as 0.289 DN at least") for note in run.notes)
    assert (run.tags["GEOSR_PROJECTED"], run.tags["GEOSR_NOISE"]) == ("half", "0.288675")
    named = geosr.prepare(src, tmp_path / "a.tif", model="fast", mtf=0.3, snr=10, project=True)
    assert not any("half" in note or "at least" in note for note in named.notes)
    with rasterio.open(src, "r+") as file:
        file.descriptions = ("B02", "B03", "SCL")
        file.update_tags(SPACECRAFT_NAME="Sentinel-2A")
    assert geosr.prepare(src, tmp_path / "a.tif", model="fast", project=True).tags["GEOSR_PROJECTED"] == "yes yes no"
    assert "GEOSR_PROJECTED" not in geosr.prepare(src, tmp_path / "a.tif", model="fast").tags


def test_where_the_blur_is_a_default_half_of_the_correction_is_made() -> None:
    block = scenes.pixels((1, 60, 60), "float32")
    results = []
    for project_it, origin in ((False, Origin.GIVEN), (True, Origin.TABLE), (True, Origin.DEFAULT)):
        seen = (Band(gaussian(0.3), response_from=origin),)
        results.append(network_for("bicubic", 2, seen, device="cpu", project=project_it)(block, (0,)))
    plain, whole, half = results
    assert np.abs(whole - plain).max() > 10
    assert np.abs((half - plain) - 0.5 * (whole - plain)).max() < 1e-2


def test_pixels_that_see_a_gap_are_not_judged() -> None:
    lr = ground(20, 20)[0, 0].numpy()
    fine = lr.repeat(2, 0).repeat(2, 1)
    valid = np.ones((20, 20), bool)
    valid[10, 10] = False
    broken = fine.copy()
    broken[20:22, 20:22] = np.nan
    found, same = consistency(broken, lr, gaussian(0.3), valid), consistency(fine, lr, gaussian(0.3), valid)
    assert found == same
    assert found.pixels == 16 * 16 - 25
    assert consistency(fine, lr, gaussian(0.3), ~np.ones_like(valid)).pixels == 0
    with pytest.raises(geosr.errors.InputError, match="multiple"):
        consistency(fine[:39], lr, gaussian(0.3))
