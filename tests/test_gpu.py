"""What holds on a graphics card alone: `pytest -m gpu` where there is one. What needs none is in `test_devices` and
`test_graphics`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

import geosr
from geosr.models import devices, graphics, registry, runtime
from geosr.models.engines import OnDevice
from geosr.models.model import Precision
from geosr.models.runtime import network_for
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band
from tests.dates import SHIFTS, Ground
from tests.scenes import make_plain
from tests.test_frames import files, fused
from tests.test_refined import BANDS, coarse, fine, run
from tests.test_runtime import terrain
from tests.test_training import ROOT, free_port

pytestmark = pytest.mark.gpu
SEEN = (Band(Response.gaussian(0.25), Noise(1.0, 0.0175)),)
NETWORKS = [
    name
    for name in registry.names()
    if not (name in registry.CLASSICAL or registry.card(name).start or registry.card(name).guides)
]
CLASSICAL = ("nearest", "bilinear", "bicubic", "lanczos", "ibp")


@pytest.fixture(autouse=True)
def card() -> Iterator[str]:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no graphics card here")
    before = devices._flags()
    yield "cuda:0"
    assert devices._flags() == before, "a block leaves torch's flags as they were"


def made(model: str, device: str, block: NDArray[np.floating], **options: bool) -> NDArray[np.floating]:
    """The result of a block (1, h, w), less what its border reaches."""
    network = network_for(model, 2 if 2 in registry.card(model).scales else 4, SEEN, device=device, **options)
    rim = -(-network.halo // network.multiple) * network.multiple * network.scale
    return network(block, (0,))[:, rim:-rim, rim:-rim]


def counts_apart(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.abs(np.rint(one) - np.rint(other)).max())


@pytest.mark.parametrize("model", NETWORKS)
def test_a_network_gives_the_processors_stored_numbers_within_one_count(model: str, card: str) -> None:
    block = terrain(320, 328)[:1]
    assert counts_apart(made(model, card, block), made(model, "cpu", block)) <= 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", NETWORKS)
def test_blocks_of_other_shapes_agree_to_the_last_bit(model: str, precision: str, card: str) -> None:
    scene = terrain(704, 776)[:1]
    network = network_for(
        model, 2 if 2 in registry.card(model).scales else 4, SEEN, device=card, precision=cast("Precision", precision)
    )
    scale = network.scale
    rim = -(-network.halo // network.multiple) * network.multiple
    whole = network(scene, (0,))
    for row, col, height, width in ((0, 0, 336, 416), (8, 0, 304, 336), (0, 16, 696, 320), (8, 16, 600, 760)):
        part = network(np.ascontiguousarray(scene[:, row : row + height, col : col + width]), (0,))
        inner = np.s_[:, rim * scale : -rim * scale, rim * scale : -rim * scale]
        there = whole[:, row * scale :, col * scale :][:, : part.shape[1], : part.shape[2]]
        assert np.array_equal(part[:, : there.shape[1], : there.shape[2]][inner], there[inner])


@pytest.mark.parametrize("model", ["fast", "best", "swin"])
def test_tilings_of_a_scene_are_one_result(model: str, tmp_path: Path, card: str) -> None:
    src = make_plain(tmp_path, shape=(1, 560, 640))
    for shared in ({}, {"project": True}, {"precision": "bfloat16"}):
        made = []
        for options in ({}, {"tile": 256, "workers": 3}, {"tile": 448}):
            told: dict[str, Any] = {"model": model, "scale": 2, "device": card, "overwrite": True, **shared, **options}
            geosr.upscale(src, dst := tmp_path / "out.tif", **told)
            with rasterio.open(dst) as result:
                made.append(result.read())
        assert np.array_equal(made[0], made[1])
        assert np.array_equal(made[0], made[2])


@pytest.mark.parametrize("scale", [2, 3])
def test_tilings_of_dates_are_one_result(scale: int, tmp_path: Path, card: str) -> None:
    dates = [Ground.of(3).date((90, 100), shift, seed=place) for place, shift in enumerate(SHIFTS[:3])]
    dates[1][40:60, 50:90] = np.nan
    made = []
    for tile in (512, 64, 32):
        options: dict[str, Any] = {"scale": scale, "device": card, "tile": tile, "dtype": "float32"}
        made.append(fused(files(tmp_path, dates, nodata=0), tmp_path / "out.tif", model="multiframe", **options))
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    options = {"scale": scale, "device": "cpu"}
    on_processor = fused(files(tmp_path, dates, nodata=0), tmp_path / "cpu.tif", model="multiframe", **options)
    assert counts_apart(made[0], on_processor) <= 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_tilings_on_a_guides_grid_are_one_result(precision: str, tmp_path: Path, card: str) -> None:
    src, guide, model = coarse(tmp_path, BANDS, dtype="float32"), fine(tmp_path), Path("s2-20to10")
    options = {"device": card, "precision": precision}
    made = [run(model, src, guide, tmp_path / "out.tif", tile=tile, **options) for tile in (4096, 32, 48)]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    if precision == "float32":
        assert counts_apart(made[0], run(model, src, guide, tmp_path / "cpu.tif", device="cpu")) <= 1


@pytest.mark.parametrize("beside", [{"uncertainty": True}, {"trust_mask": 0.1, "support": True}])
def test_tilings_of_what_stands_beside_an_image_are_one_result(beside: Any, tmp_path: Path, card: str) -> None:
    src, made = make_plain(tmp_path, shape=(1, 300, 320)), []
    for tile in (512, 128):
        report = geosr.upscale(src, tmp_path / "out.tif", scale=2, device=card, tile=tile, overwrite=True, **beside)
        for path in (report["path"], *report["others"].values()):
            with rasterio.open(path) as result:
                made.append(result.read())
    for one, other in zip(made[: len(made) // 2], made[len(made) // 2 :], strict=True):
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def test_several_cards_make_together_what_one_makes(tmp_path: Path, card: str) -> None:
    if len(cards := runtime.choose_devices("cuda")[0]) < 2:
        pytest.skip("torch finds no two graphics cards of one kind here")
    src, made = make_plain(tmp_path, shape=(2, 1100, 1200)), []
    for device in ("cuda", cards[1], card):
        geosr.upscale(src, dst := tmp_path / "out.tif", scale=2, tile=256, device=device, overwrite=True)
        with rasterio.open(dst) as result:
            made.append(result.read())
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    assert all(runtime._load(each).cache_info().currsize for each in cards), "each had a part in it"


@pytest.mark.parametrize("model", NETWORKS)
def test_what_was_recorded_gives_the_bits_of_what_was_not(model: str, card: str) -> None:
    network = network_for(model, 2 if 2 in registry.card(model).scales else 4, SEEN, device=card)
    blocks = [terrain(320, 328, seed=seed)[:1] for seed in (0, 0, 1, 0)]
    first, again, other, last = (network(block, (0,)) for block in blocks)
    pieces = cast("OnDevice", network._engine())._pieces
    assert bool(pieces._records) == pieces.engine.recordable
    torch.rand(1, device=card)  # as before
    assert np.array_equal(first, again)
    assert np.array_equal(first, last)
    assert not np.array_equal(first, other)


def test_many_threads_record_and_nothing_is_left_behind_by_what_cannot_be(card: str) -> None:
    runtime._load.cache_clear()
    network = network_for("fast", 4, SEEN, device=card)
    block = terrain(320, 328)[:1]
    first = network(block, (0,))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: network(block, (0,)), range(24)))
    assert len(cast("OnDevice", network._engine())._pieces._records) == 1
    assert all(np.array_equal(result, first) for result in results)
    queue = graphics.queue_of(card)
    with queue.turn(), torch.inference_mode():
        there = torch.ones(8, device=card)
        with pytest.raises(RuntimeError):
            queue.recorded(lambda: there.sum().item())
        queue.mend()
        torch.rand(1, device=card)
        again = queue.recorded(lambda: there.add_(1))
        again()
        assert there.tolist() == [2.0] * 8


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("model", CLASSICAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_shifted_arrays_have_the_processors_bits(model: str, dtype: str, project: bool, card: str) -> None:
    block = terrain(160, 168, dtype)[:1]
    assert np.array_equal(made(model, card, block, project=project), made(model, "cpu", block, project=project))


def test_threads_agree_with_each_other_to_the_last_bit(card: str) -> None:
    block = terrain(200, 208)[:1]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: made("fast", card, block), range(24)))
    assert all(np.array_equal(result, results[0]) for result in results)


def test_a_flat_scene_stays_flat(card: str) -> None:
    for model in NETWORKS:
        assert np.unique(made(model, card, np.full((1, 320, 320), 1234.5, np.float32))).tolist() == [1234.5]


def test_a_card_without_memory_says_so_and_goes_on_when_it_has_some(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = replace(network_for("vdsr", 2, SEEN, device=card))
    runtime._load.cache_clear()
    small = terrain(64, 64)[:1]
    torch.cuda.set_per_process_memory_fraction(0.4e9 / torch.cuda.mem_get_info()[1])
    try:
        with monkeypatch.context() as larger:
            larger.setattr(graphics, "SIDE", 1536)  # more than anything that is reserved already holds
            with pytest.raises(MemoryError):
                network(terrain(600, 600)[:1], (0,))
        torch.cuda.set_per_process_memory_fraction(1.0)
        assert np.isfinite(network(small, (0,))).all()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        runtime._load.cache_clear()


RANK = """
import sys, torch
from geosr.errors import GeosrError, InputError
from geosr.training.team import joined
device = sys.argv[1]
try:
    with joined(device) as team:
        layer = team.wrapped(torch.nn.Linear(3, 1, bias=False).to(device))
        layer(torch.full((1, 3), team.rank + 1.0, device=device)).sum().backward()
        print(layer.module.weight.grad.tolist(), team.agreed([team.rank + 5.0]), flush=True)
        if team.rank == 1:
            raise InputError("mine")
        team.agreed([0.0]), team.anyone(True)
except GeosrError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_processes_train_on_one_card_and_end_together(card: str) -> None:
    """By gloo, for NCCL takes one process a card: so this needs one card alone."""
    team = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    there = {**os.environ, **team, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "0"}
    command = [sys.executable, "-c", RANK, card]
    ranks = [
        subprocess.Popen(command, env={**there, "RANK": str(rank)}, stdout=-1, stderr=-1, text=True)
        for rank in range(2)
    ]
    (first, why), (other, mine) = (rank.communicate(timeout=120) for rank in ranks)
    assert first == other == "[[1.5, 1.5, 1.5]] [5.0]\n", (first, why, other, mine)
    assert why.splitlines()[-1].startswith("PlaceError: another of 2 processes has ended, and says why: ")
    assert mine.splitlines()[-1] == "InputError: mine"
