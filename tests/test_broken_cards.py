"""Cards that break or are full, without one: a line, what was done is kept, and a processor where none was named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

import geosr
from geosr.errors import PlaceError, TileError
from geosr.models import devices, graphics, runtime
from geosr.models.card import Card
from geosr.models.engines import OnDevice
from geosr.models.model import Engine, Model, Precision
from geosr.models.networks.guided import Guided
from geosr.models.networks.multiframe import MultiFrame
from geosr.models.runtime import ModelNetwork, choose_device, network_for
from geosr.models.threads import least_busy
from geosr.response import PROBE
from geosr.sensors import Band
from tests import scenes
from tests.test_cli import geosr as command
from tests.test_devices import CARD, NO_KERNEL, Pretended, built, on_a_card
from tests.test_frames import DATES, files
from tests.test_graphics import SEEN, Stream, made
from tests.test_refined import coarse, fine
from tests.test_runtime import terrain

LOST = [
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA driver error: context is destroyed",
]
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.fixture(autouse=True)
def _settled_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(graphics, "SIDE", 32)
    remembered = choose_device, devices.shared, devices.kind, runtime._load
    for each in remembered:
        each.cache_clear()
    yield
    for each in remembered:
        each.cache_clear()


@pytest.mark.parametrize("said", LOST)
@pytest.mark.parametrize("where", ["fetch", "brought", "room"])
def test_a_card_that_is_lost_ends_a_run_with_a_line_and_the_same_command_goes_on_later(
    where: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    src, dst = scenes.make_plain(tmp_path, shape=(1, 70, 80)), tmp_path / "out.tif"
    shell = ("upscale", src, dst, "--scale", "2", "--tile", "32", "--workers", "1", "-q", "--device", "cuda")
    with monkeypatch.context() as there:
        on_a_card(there)
        usual, asked = getattr(graphics.Queue, where), list[int]()

        def lost(*args: Any) -> Any:
            asked.append(1)
            if len(asked) > 8:
                raise RuntimeError(said)
            return usual(*args)

        there.setattr(graphics.Queue, where, lost)
        code, out, err = command(capsys, there, *shell)
        assert (code, out) == (1, "")
        assert err.startswith("geosr: tile ")
        assert f"the graphics card doesn't work: RuntimeError: {said.partition(chr(10))[0]}" in err
        assert err.count("\n") == 1
    assert not dst.exists()
    on_a_card(monkeypatch)
    report = geosr.upscale(src, dst, scale=2, tile=32, device="cuda")
    assert 0 < report["tiles_from_an_earlier_run"] < report["tiles"]
    geosr.upscale(src, tmp_path / "whole.tif", scale=2, tile=32, device="cuda")
    with rasterio.open(dst) as resumed, rasterio.open(tmp_path / "whole.tif") as whole:
        assert np.array_equal(resumed.read(), whole.read())


def test_a_card_without_memory_for_a_piece_says_so_and_not_that_smaller_tiles_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card(monkeypatch)
    src, tried = scenes.make_plain(tmp_path, shape=(1, 120, 130)), list[tuple[int, ...]]()

    def full(pieces: graphics.Pieces, piece: torch.Tensor, *_: Any) -> None:
        tried.append(tuple(piece.shape))
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(graphics.Pieces, "_run", full)
    with pytest.raises(TileError, match=r"cpu:0 has no memory for a piece of the scene, and is given no smaller ones"):
        geosr.upscale(src, tmp_path / "out.tif", scale=2, device="cuda")
    assert len({*tried}) == 1
    assert len(tried) < 12, "it isn't asked for ever smaller blocks"


def test_what_there_is_no_memory_to_record_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise torch.OutOfMemoryError(FULL)

    engine, block = OnDevice(built("edsr", CARD), CARD), terrain(60, 60)[:1]
    first = made(OnDevice(built("edsr", CARD), CARD), block)
    monkeypatch.setattr(torch, "empty_like", refused)
    assert np.array_equal(made(engine, block), first)
    assert not engine._pieces._can_record
    assert np.array_equal(made(engine, block), first)


def test_a_recording_that_failed_lets_go_of_what_it_had_and_stays_where_torch_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs: list[Any] = []

    class Graph:
        def __init__(self) -> None:
            graphs.append(self)
            self.was_reset = False

        def reset(self) -> None:
            self.was_reset = True

    @contextmanager
    def graph(*_: object) -> Iterator[None]:
        yield
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    for name, value in {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": graph,
        "graph_pool_handle": lambda: (0, 1),
        "stream": lambda stream: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    queue = graphics.Queue("cuda:0")
    with pytest.raises(RuntimeError, match="during capture"):
        queue.recorded(lambda: None)
    assert queue._failed == graphs
    assert graphs[0].was_reset


@pytest.mark.parametrize("said", [FULL, NO_KERNEL])
@pytest.mark.parametrize("kind", [Guided, MultiFrame])
def test_networks_for_guides_and_dates_go_to_the_processor_where_a_card_cannot_hold_them(
    kind: type[torch.nn.Module], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card(monkeypatch)
    usual = torch.nn.Module.to

    def to(module: torch.nn.Module, *args: Any, **options: Any) -> torch.nn.Module:
        if isinstance(module, kind) and args[0] == CARD:
            raise RuntimeError(said)
        return usual(module, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.Module, "to", to)
    inputs: dict[str, Any] = {"src": files(tmp_path, DATES[:2]), "fuse": True, "scale": 2, "model": "multiframe"}
    if kind is Guided:
        inputs = {"src": coarse(tmp_path), "guide": fine(tmp_path), "model": "s2-20to10"}
    run = geosr.prepare(dst=tmp_path / "out.tif", **inputs)
    assert run.network.device == "cpu"
    about = [line for line in run.notes if line.startswith("computed on")]
    assert about[-1].startswith(f"computed on the processor, since {CARD} can't be used: ")
    assert len(about) == 1
    with pytest.raises(PlaceError, match=rf"{CARD} can't be used: .*; use another device, or cpu"):
        geosr.prepare(dst=tmp_path / "out.tif", device="cuda", **inputs)


def test_a_process_in_which_torch_finds_its_cards_and_cannot_begin_goes_on_with_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forked() -> int:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ...")

    Pretended(monkeypatch)
    monkeypatch.setattr(torch.cuda, "current_device", forked)
    network = network_for("fast", 2, (Band(PROBE),))
    assert network._place == "cpu"
    assert "computed on the processor, since cuda can't be used: RuntimeError: Cannot re-initialize" in network.notes[0]
    with pytest.raises(PlaceError, match=r"device 'cuda' can't be used: .*forked subprocess.*; use another, or cpu"):
        network_for("fast", 2, (Band(PROBE),), device="cuda")


@dataclass(frozen=True, slots=True)
class Heavy(Model):
    """A model for which one of two cards has no memory."""

    asked: list[str] = field(hash=False)
    card = Card("heavy", "a test", (2,), network="heavy")
    scale = 2
    sha256 = None

    def engine(self, device: str, precision: Precision) -> Engine:
        self.asked.append(device)
        if device == "cuda:1":
            raise torch.OutOfMemoryError(FULL)
        return OnDevice(built("edsr", CARD), CARD)


def test_a_card_that_has_no_memory_for_a_network_is_named_and_no_block_is_cut_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "find", lambda device: ("cuda:0", "computed on Card"))
    monkeypatch.setattr(devices, "shared", lambda *_: (("cuda:0", "cuda:1"), "computed on 2 x Card"))
    network = ModelNetwork(Heavy([]), SEEN, device="cuda")
    with least_busy(("cuda:0",)), pytest.raises(PlaceError, match="cuda:1 has no memory for heavy; name a device that"):
        network(np.zeros((1, 40, 40), np.float32), (0,))
