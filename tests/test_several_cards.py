"""Several cards in one process, without one: which are taken, and which block goes where, on a torch that pretends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

import geosr
from geosr.models import devices, runtime
from geosr.models.card import Card
from geosr.models.engines import OnDevice
from geosr.models.model import Engine, Model, Precision
from geosr.models.runtime import ModelNetwork, choose_device, choose_devices, network_for
from geosr.models.threads import least_busy
from geosr.response import PROBE, Response
from geosr.sensors import Band, Observation
from tests import scenes
from tests.test_devices import Small

SEEN = (Band(PROBE),)


@pytest.fixture(autouse=True)
def _settled_anew() -> Iterator[None]:
    for settled in (choose_device, devices.shared, devices.kind, runtime._load):
        settled.cache_clear()
    yield
    for settled in (choose_device, devices.shared, devices.kind, runtime._load):
        settled.cache_clear()


def pretend(
    monkeypatch: pytest.MonkeyPatch, *names: str, current: int = 0, broken: str = "", older: str = ""
) -> list[str]:
    """Has torch say that there are cards of these names; the ones that are tried, as they are."""
    tried: list[str] = []

    def convolve(card: str) -> None:
        tried.append(card)
        if card == broken:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: len(names),
        "current_device": lambda: current,
        "get_device_name": lambda card: names[int(card[5:])],
        "get_device_capability": lambda card: (8, 0) if card == older else (9, 0),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(devices, "_convolve", convolve)
    return tried


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_all_cards_are_used_where_none_is_named(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, "H100", "H100", "H100")
    assert choose_devices(device) == (("cuda:0", "cuda:1", "cuda:2"), "computed on 3 x H100")
    choose_devices(device)
    assert tried == ["cuda:0", "cuda:1", "cuda:2"], "each is tried once"
    assert choose_devices("cuda:1") == (("cuda:1",), "computed on H100")
    assert choose_device(device) == ("cuda:0", "computed on H100"), "training is for one"
    assert choose_devices("cpu") == (("cpu",), "")


def test_a_card_of_another_kind_is_left_out_and_so_is_one_that_does_not_work_which_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "H100", "T4", "H100", "H100", broken="cuda:2", older="cuda:3")
    network = network_for(Told([], threading.Barrier(1)), 2, SEEN)
    assert network.cards == 1
    assert network.notes[0] == (
        "computed on H100; cuda:1 is left out: it is T4, of another kind; cuda:2 is left out: RuntimeError: CUDA "
        "error: uncorrectable ECC error encountered; cuda:3 is left out: it is H100, of another kind"
    )
    assert choose_devices("cuda:3")[0] == ("cuda:3",)


def test_a_process_beside_others_keeps_to_one_card_and_so_does_one_that_chose_another_than_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "H100", "H100", "H100")
    monkeypatch.setenv("LOCAL_RANK", "4")
    assert choose_devices("cuda")[0] == ("cuda:1",)
    _forget()
    pretend(monkeypatch, "H100", "H100", "H100", current=2)
    assert choose_devices("cuda")[0] == ("cuda:2",)
    worker = ModuleType("distributed.worker")
    for name, card in ((5, "cuda:2"), ("tcp://host", "cuda:0")):
        worker.Worker = SimpleNamespace(_instances=[SimpleNamespace(name=name, nanny="tcp://")])  # type: ignore[attr-defined]
        with monkeypatch.context() as there:
            pretend(there, "H100", "H100", "H100")
            there.setitem(devices.sys.modules, "distributed.worker", worker)  # type: ignore[attr-defined]
            _forget()
            assert choose_devices("cuda")[0] == (card,)


def _forget() -> None:
    choose_device.cache_clear()
    devices.shared.cache_clear()


class Noting(Engine):
    """Says at which card it is, and has its blocks wait for each other."""

    def __init__(self, device: str, made: list[str], together: threading.Barrier) -> None:
        self.device, self.made, self.together = device, made, together

    def reach(self, response: Response) -> int:
        return 0

    def __call__(self, block: NDArray[Any], bands: Observation, out: NDArray[Any]) -> None:
        self.together.wait(30)
        out[...] = int(self.device[5:])


@dataclass(frozen=True, slots=True)
class Told(Model):
    """A model whose engines note where they are made."""

    made: list[str] = field(hash=False)
    together: threading.Barrier = field(hash=False)
    card = Card("told", "a test", (2,), network="told")
    scale = 2
    sha256 = None

    def engine(self, device: str, precision: Precision) -> Engine:
        self.made.append(device)
        return Noting(device, self.made, self.together)


def test_a_block_goes_to_the_card_that_has_least_to_do_and_a_network_is_loaded_once_a_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "H100", "H100", "H100")
    model = Told([], threading.Barrier(6))
    network = ModelNetwork(model, SEEN, device="cuda")
    block = np.zeros((1, 4, 4), np.float32)
    with ThreadPoolExecutor(6) as pool:
        places = [int(found[0, 0, 0]) for found in pool.map(lambda _: network(block, (0,)), range(12))]
    assert sorted(places[:6]) == [0, 0, 1, 1, 2, 2], "six blocks side by side, two a card"
    assert sorted(model.made) == ["cuda:0", "cuda:1", "cuda:2"]
    alone = ModelNetwork(Told([], threading.Barrier(1)), SEEN, device="cuda")
    assert {int(alone(block, (0,))[0, 0, 0]) for _ in range(4)} == {0}, "one after the other needs one card"
    assert alone.model.made == ["cuda:0"]  # type: ignore[attr-defined]


def test_a_card_is_free_again_after_a_block_that_failed() -> None:
    with pytest.raises(MemoryError), least_busy(("cuda:6", "cuda:7")) as first:
        raise MemoryError
    with least_busy(("cuda:6", "cuda:7")) as again, least_busy(("cuda:6", "cuda:7")) as other:
        assert (first, again, other) == ("cuda:6", "cuda:6", "cuda:7")


@dataclass(frozen=True, slots=True)
class Narrow(Model):
    """A model for which the first card has less memory than the second."""

    small: dict[str, Small] = field(hash=False)
    card = Card("narrow", "a test", (2,), network="narrow")
    scale = 2
    sha256 = None

    def engine(self, device: str, precision: Precision) -> Engine:
        return OnDevice(self.small[device], "cpu:0")


def test_a_card_without_memory_for_a_block_is_not_asked_again_and_another_still_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "H100", "H100")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    small = {"cuda:0": Small(40), "cuda:1": Small(100)}
    network = ModelNetwork(Narrow(small), SEEN, device="cuda")
    block = np.zeros((1, 64, 64), np.float32)
    for _ in range(2):
        with pytest.raises(MemoryError):
            network(block, (0,))
    with least_busy(("cuda:0",)):
        for _ in range(2):
            network(block, (0,))
    assert {device: each.asked for device, each in small.items()} == {"cuda:0": [64], "cuda:1": [64, 64]}


def test_tiles_side_by_side_are_enough_for_all_cards_and_their_pixels_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = scenes.make_plain(tmp_path, shape=(2, 120, 130))
    cards = tuple(f"cpu:{index}" for index in range(3))
    results: list[NDArray[Any]] = []
    monkeypatch.setattr("geosr.pipeline.cores", lambda: 4)
    monkeypatch.setattr(devices, "kind", lambda device: "Card, torch 2")
    monkeypatch.setattr("geosr.models.graphics.SIDE", 32)
    for taken, workers in ((cards[:1], 4), (cards, 9)):
        monkeypatch.setattr(runtime, "choose_devices", lambda device, taken=taken: (taken, "computed on cards"))
        run = geosr.prepare(src, tmp_path / "out.tif", scale=2, tile=32, device="cuda", overwrite=True)
        assert run.workers == workers
        run.execute()
        with rasterio.open(tmp_path / "out.tif") as result:
            results.append(result.read())
            assert result.tags()["GEOSR_DEVICE"] == "Card, torch 2"
    assert np.array_equal(*results)
    assert len({id(runtime._load(card)) for card in cards}) == 3
    assert all(runtime._load(card).cache_info().misses == 1 for card in cards)
    assert geosr.prepare(src, scale=2, device="cuda", workers=2).workers == 2
