"""What holds on a graphics card alone: `pytest -m gpu` where there is one. What needs none is in `test_devices`.

None of this was run before there was a card: a failure is as likely one of the expectation.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geosr.models import devices, registry, runtime
from geosr.models.runtime import network_for
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band
from tests.test_runtime import terrain

pytestmark = pytest.mark.gpu
SEEN = (Band(Response.gaussian(0.25), Noise(1.0, 0.0175)),)
NETWORKS = [name for name in registry.names() if name not in registry.CLASSICAL and not registry.card(name).guides]
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


@pytest.mark.parametrize("model", NETWORKS)
def test_blocks_of_other_shapes_agree_within_one_count(model: str, card: str) -> None:
    scene = terrain(400, 416)[:1]
    network = network_for(model, 2 if 2 in registry.card(model).scales else 4, SEEN, device=card)
    scale, step = network.scale, network.multiple
    rim = -(-network.halo // step) * step
    whole = network(scene, (0,))
    for row, col, height, width in ((0, 0, 336, 416), (8 * step, 0, 304, 336), (0, 2 * step, 400, 320)):
        part = network(np.ascontiguousarray(scene[:, row : row + height, col : col + width]), (0,))
        inner = np.s_[:, rim * scale : -rim * scale, rim * scale : -rim * scale]
        there = whole[:, row * scale : (row + height) * scale, col * scale : (col + width) * scale]
        shared = part[:, : there.shape[1], : there.shape[2]]
        assert counts_apart(shared[inner], there[inner]) <= 1


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


def test_a_card_without_memory_says_so_and_is_asked_for_less(card: str) -> None:
    network = replace(network_for("fast", 2, SEEN, device=card))
    runtime._load.cache_clear()
    small = terrain(64, 64)[:1]
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(MemoryError):
            network(terrain(2048, 2048)[:1], (0,))
        assert np.isfinite(network(small, (0,))).all()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        runtime._load.cache_clear()
