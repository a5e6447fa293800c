"""The network that takes several dates: the same in training and at run time, in any tile, at any gain and offset."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import geosr
import geosr.xarray
from geosr.errors import InputError, ModelError
from geosr.frames import Frame
from geosr.models import graphics, registry, runtime
from geosr.models.card import KEY, Card
from geosr.models.fusion import Block, Date, View
from geosr.models.graphics import queue_of
from geosr.models.multiframe import Merger
from geosr.models.networks.multiframe import STEPS, MultiFrame
from geosr.noise import Noise
from geosr.registration.values import Registration
from geosr.response import Response
from geosr.window import Window
from scripts.frames_in_torch import Dates, Table
from tests.dates import MTF, SHIFTS, Ground, decibels
from tests.test_cli import geosr as command
from tests.test_devices import on_a_card
from tests.test_frames import BAD, DATES, TRUTH, files, fused, pixels, single, spoilt
from tests.test_graphics import choose_by_shape

CARD = Card("several", "dates", (2,), "multiframe", channels=8, blocks=1, start="fast", conditioned=True)
RESPONSE = Response.gaussian(MTF).relative(2)
NOISE = Noise(300.0, 0.05)


def network(scale: int = 2, channels: int = 8, blocks: int = 1, stages: int = 2) -> MultiFrame:
    """Small, with weights that are all at work."""
    torch.manual_seed(3)
    made = MultiFrame(scale, channels, blocks, stages)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "second" in name or "tail" in name:
                weight.normal_(0.0, 0.05)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: command(capsys, monkeypatch, *arguments)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "several.safetensors"
    save_file({name: value.contiguous() for name, value in network().state_dict().items()}, path, {KEY: CARD.to_json()})
    return str(path)


def block(side: int, scale: int = 2, gain: float = 1.0, offset: float = 0.0, noise: Noise = NOISE) -> Block:
    """Of a ground of waves, seen by three other dates, with a gap."""
    ground, at = Ground.of(3), Window(0, 0, side, side)
    fine = np.arange(side * scale) / scale
    start = ground.seen(fine, fine, RESPONSE) * gain + offset
    dates, seen = [], []
    for number, (down, right) in enumerate(SHIFTS[1:4]):
        shift = round(down * 32) / 32, round(right * 32) / 32
        there = np.ones((side, side), bool)
        there[side // 2 :, number * 9 : number * 9 + 9] = False
        frame = Frame(number, "", Registration(*shift, gains=(1.0,), offsets=(0.0,)), 0, 0, at)
        dates.append(Date(frame, RESPONSE, noise))
        values = ground.date((side, side), shift, scale=scale, seed=number) * gain + offset
        seen.append((values.astype(np.float32), there, at))
    return Block(start.astype(np.float32), at, scale, noise, dates, seen)


@pytest.mark.parametrize("scale", [2, 3])
def test_what_was_trained_is_what_is_run(scale: int) -> None:
    side = 64
    module, met = network(scale), block(side, scale)
    result, _ = Merger(module, "cpu", torch.float32)(met, RESPONSE.told)
    shifts = torch.tensor([[[-float(c) * scale for c in _shift(view)] for view in met.views]])
    values, there = np.zeros((2, 1, 3, side, side), np.float32)
    for place, view in enumerate(met.views):
        rows, cols = view.own.slices
        values[0, place, rows, cols], there[0, place, rows, cols] = view.values, view.there
    dates = Dates(
        torch.from_numpy(met.start)[None],
        torch.from_numpy(values),
        torch.from_numpy(there),
        shifts,
        torch.zeros(1, dtype=torch.long),
        torch.tensor([[NOISE.constant, NOISE.slope]]),
        Table([RESPONSE], scale, "cpu"),
    )
    made = dates.back_projected(STEPS)[:, None]
    with torch.no_grad():
        for stage in module.stages:
            says = dates.evidence(made[:, 0])
            made = made + stage(says.images, says.maps, torch.tensor([RESPONSE.told]), says.voices, says.places)
    inner = slice(22 * scale, -22 * scale)
    before = met.start[inner, inner]
    apart = np.abs(result[inner, inner] - made[0, 0].numpy()[inner, inner])
    assert apart.max() < 1e-3 * np.abs(result[inner, inner] - before).max()


def _shift(view: Any) -> tuple[float, float]:
    at = view.date.frame.registration
    return at.down, at.right


def test_gain_and_offset_pass(weights: str) -> None:
    merger = Merger(network(), "cpu", torch.float32)
    result, count = merger(block(64), RESPONSE.told)
    moved, same = merger(block(64, gain=0.25, offset=70.0, noise=NOISE.moved(0.25, 70.0)), RESPONSE.told)
    np.testing.assert_allclose(moved, result * 0.25 + 70.0, rtol=2e-5)
    np.testing.assert_allclose(same, count, atol=1e-3)


def test_no_tiling_changes_a_pixel(tmp_path: Path, weights: str) -> None:
    shape = 150, 170
    dates = [Ground.of(3).date(shape, shift, seed=place) for place, shift in enumerate(SHIFTS[:4])]
    dates[1][40:60, 50:90], dates[0][100:110, 120:150] = np.nan, np.nan
    paths = files(tmp_path, dates, nodata=0)
    whole = fused(paths, tmp_path / "whole.tif", tile=512, model=weights)
    counts = pixels(tmp_path / "whole.frames.tif")
    assert (whole != fused(paths, tmp_path / "plain.tif", tile=512, model=str(registry.locate("fast", 2)))).mean() > 0.3
    for tile in (32, 64):
        np.testing.assert_array_equal(fused(paths, tmp_path / "tiles.tif", tile=tile, model=weights), whole)
        np.testing.assert_array_equal(pixels(tmp_path / "tiles.frames.tif"), counts)


def test_no_tiling_changes_a_pixel_on_a_card_whose_kernels_are_chosen_by_shape(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card(monkeypatch)
    choose_by_shape(monkeypatch)
    monkeypatch.setattr(graphics, "SIDE", 64)
    runtime._load.cache_clear()
    dates = [Ground.of(3).date((90, 100), shift, seed=place) for place, shift in enumerate(SHIFTS[:3])]
    dates[1][40:60, 50:90] = np.nan
    paths, options = files(tmp_path, dates, nodata=0), {"model": weights, "dtype": "float32"}
    whole = fused(paths, tmp_path / "whole.tif", tile=512, **options)
    np.testing.assert_array_equal(fused(paths, tmp_path / "tiles.tif", tile=64, **options), whole)
    monkeypatch.setattr(Merger, "_made", lambda self, run, rim, planes, scale=1: run(*planes))
    assert (fused(paths, tmp_path / "other.tif", tile=64, **options) != whole).any()
    runtime._load.cache_clear()
    runtime.choose_device.cache_clear()


def test_a_card_is_not_kept_waiting_while_frames_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr(graphics, "SIDE", 64)
    usual = View.believed
    monkeypatch.setattr(
        View, "believed", lambda *args: (taken.append(str(queue_of("cpu:0")._lock.locked())), usual(*args))[1]
    )
    here, there = (Merger(network(), device, torch.float32)(block(64), RESPONSE.told)[0] for device in ("cpu", "cpu:0"))
    np.testing.assert_allclose(here, there, rtol=1e-5)
    assert set(taken) == {"False"}


def test_the_order_of_dates_changes_nothing(tmp_path: Path, weights: str) -> None:
    paths = files(tmp_path, DATES[:5], nodata=0)
    first = fused(paths, tmp_path / "first.tif", model=weights, dtype="float32")
    other = fused([paths[0], *paths[:0:-1]], tmp_path / "other.tif", model=weights, dtype="float32")
    np.testing.assert_allclose(other, first, rtol=1e-5)


def test_where_no_date_has_data_the_single_result_stays_to_the_last_bit(tmp_path: Path, weights: str) -> None:
    dates = [DATES[0], *(date.copy() for date in DATES[1:4])]
    for date in dates[1:]:
        date[:, 30:] = np.nan
    paths = files(tmp_path, dates, nodata=0)
    one, many = single(paths[0], tmp_path / "one.tif", model="fast"), fused(paths, tmp_path / "many.tif", model=weights)
    assert (one == many)[0, :, 2 * 34 :].all()
    assert (one != many)[0, 20:-20, 20:40].any()


def test_other_weights_and_one_date_are_refused(tmp_path: Path, weights: str) -> None:
    paths = files(tmp_path, DATES[:2])
    with pytest.raises(InputError, match="name their files, with --fuse"):
        single(paths[0], tmp_path / "out.tif", model=weights)
    with pytest.raises(InputError, match="that of one date"):
        fused(paths, tmp_path / "out.tif", model=weights, uncertainty=True)
    save_file(network(channels=4).state_dict(), tmp_path / "x.safetensors", {KEY: CARD.to_json()})
    with pytest.raises(ModelError, match="don't fit its card"):
        fused(paths, tmp_path / "out.tif", model=str(tmp_path / "x.safetensors"))


def test_a_network_of_dates_pickles_small_and_is_known_by_both_weights(tmp_path: Path, weights: str) -> None:
    paths = files(tmp_path, DATES[:3])
    run = geosr.api.prepare(paths, tmp_path / "x.tif", fuse=True, model=weights, scale=2)
    assert len(pickle.dumps(run.network)) < 20_000
    assert pickle.loads(pickle.dumps(run.network)).halo == run.network.halo
    assert run.network.model.key == registry.find("fast", 2).sha256
    assert run.tags["GEOSR_MODEL"] == "several"


@pytest.mark.slow
def test_workers_of_a_cluster_write_the_same_bytes(tmp_path: Path, weights: str) -> None:
    pytest.importorskip("distributed")
    shape = 100, 100
    paths = files(tmp_path, [Ground.of(3).date(shape, shift, seed=place) for place, shift in enumerate(SHIFTS[:3])])
    fused(paths, tmp_path / "here.tif", tile=48, model=weights)
    fused(paths, tmp_path / "there.tif", tile=48, model=weights, scheduler="local:1")
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()


def test_the_default_of_dates_is_the_network_for_them_at_its_scales() -> None:
    defaults = [registry.find(None, scale, fused=True).card.name for scale in (2, 3, 4)]
    assert defaults == ["multiframe", "multiframe", "fast"]
    assert registry.find(None, 2).card.name == "fast"
    assert [registry.find(name, 2, fused=True).card.name for name in ("fast", "edsr")] == ["fast", "edsr"]


def test_a_named_model_of_dates_is_that_model_on_all_fronts(tmp_path: Path, run: Any) -> None:
    paths, told = files(tmp_path, DATES[:3], nodata=0), {"mtf": MTF, "snr": 100}
    by_path = fused(paths, tmp_path / "path.tif", model=str(registry.locate("fast", 2)))
    by_default = fused(paths, tmp_path / "default.tif", model=None)
    np.testing.assert_array_equal(by_default, fused(paths, tmp_path / "several.tif", model="multiframe"))
    assert (by_path != by_default).mean() > 0.3

    np.testing.assert_array_equal(fused(paths, tmp_path / "fast.tif", model="fast"), by_path)
    dates = xr.concat([geosr.open_raster(path) for path in paths], "time")
    for model, wanted in (("fast", by_path), (None, by_default)):
        np.testing.assert_array_equal(dates.geosr.upscale(model, 2, fuse=True, **told)["data"], wanted)
    shell = ("upscale", *paths, "--fuse", "--scale", 2, "--mtf", MTF, "--snr", 100, "--overwrite", "-q", "-o")
    for model, wanted in ((("--model", "fast"), by_path), ((), by_default)):
        assert run(*shell, tmp_path / "shell.tif", *model)[0] == 0
        np.testing.assert_array_equal(pixels(tmp_path / "shell.tif"), wanted)
    for model, wanted in (("fast", by_path), (None, by_default)):
        settings = {"window": 5, "model": model, "scale": 2, "overwrite": True}
        record = geosr.upscale_many([paths[1], paths[0], paths[2]], tmp_path / "frames", **settings, **told)[1]
        np.testing.assert_array_equal(pixels(record["path"]), wanted)


@pytest.mark.parametrize("scale", [2, 3])
def test_the_shipped_network_is_nearer_to_the_ground_than_back_projection(tmp_path: Path, scale: int) -> None:
    ground = Ground.of(3)
    dates = [ground.date((72, 80), shift, seed=place, scale=scale) for place, shift in enumerate(SHIFTS)]
    paths, truth = files(tmp_path, dates), ground.truth((72, 80), scale)
    one = single(paths[0], tmp_path / "one.tif", model="fast", scale=scale)
    plain = fused(paths, tmp_path / "plain.tif", model=str(registry.locate("fast", scale)), scale=scale)
    many = fused(paths, tmp_path / "many.tif", model="multiframe", scale=scale)
    alone, projected, network = (decibels(each[0], truth, 12 * scale) for each in (one, plain, many))
    assert network > projected + 0.5 > alone + 1.5


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> float:
    """dB of all dates but the fourth."""
    folder = tmp_path_factory.mktemp("seven")
    paths = files(folder)
    return decibels(fused([*paths[:3], *paths[4:]], folder / "good.tif", model="multiframe")[0], TRUTH)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_date_beside_seven_costs_the_shipped_network_little(tmp_path: Path, kind: str, seven: float) -> None:
    paths = files(tmp_path, [*DATES[:3], spoilt(kind), *DATES[4:]])
    assert decibels(fused(paths, tmp_path / "bad.tif", model="multiframe")[0], TRUTH) > seven - 0.1
