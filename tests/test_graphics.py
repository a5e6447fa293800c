"""A card's way with blocks, done by a processor under another name: one shape, recorded, copied beside the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from geosr.models import devices, graphics, multiframe, refiner, registry, runtime, trained
from geosr.models.engines import OnDevice, Projected
from geosr.models.filters import _mirror_there, mirror
from geosr.models.model import Engine, Precision
from geosr.models.networks import band
from geosr.models.networks.guided import Guided
from geosr.models.networks.swin import Attention
from geosr.models.refiner import Refiner
from geosr.models.runtime import network_for
from geosr.models.uncertain import Beside
from geosr.noise import Noise
from geosr.response import PROBE, Response
from geosr.sensors import Band, Observation
from tests.test_devices import CARD, OneDevice, built, on_a_card, run
from tests.test_engines import SMALL
from tests.test_runtime import terrain

SEEN = (Band(PROBE, Noise(1.0, 0.0175)),)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphics, "SIDE", 32)
    torch.set_num_threads(1)


def made(engine: Engine, block: np.ndarray, bands: Observation = SEEN) -> np.ndarray:
    out = np.full((len(block), *(2 * side for side in block.shape[1:])), np.nan, block.dtype)
    engine(np.ascontiguousarray(block), bands, out)
    return out


def by_shape(usual: Callable[..., Tensor], place: int, size: float = 1e-5) -> Callable[..., Tensor]:
    """A convolution that rounds differently for every size, as algorithms that are chosen by it do."""

    def convolution(*args: Any) -> Tensor:
        height, width = args[place].shape[2:]
        return usual(*args) * (1 + size * ((7 * height + width) % 13))

    return convolution


def choose_by_shape(monkeypatch: pytest.MonkeyPatch, size: float = 1e-5) -> None:
    """Convolutions of all networks round differently for every size."""
    for module in (trained, refiner, multiframe):
        monkeypatch.setattr(module, "convolved", by_shape(trained.convolved, 0, size))
    monkeypatch.setattr(band.Conv, "forward", by_shape(band.Conv.forward, 1, size))


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_a_pixel_has_the_same_bits_in_any_block_though_every_shape_has_a_kernel_of_its_own(
    name: str, projected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = OnDevice(built(name, CARD), CARD)
    engine = OnDevice(Projected(ready, 2), CARD) if projected else ready
    choose_by_shape(monkeypatch)
    step, rim = engine.multiple, -(-engine.reach(PROBE) // engine.multiple) * engine.multiple
    side = 2 * rim + 10 * step
    scene = terrain(side + 48, side + 72)[:1]
    whole = made(engine, scene)
    assert np.isfinite(whole).all()
    differ = []
    for row, col, height, width in ((0, 0, side + 8, side), (step, 2 * step, side, side + 40), (8, 16, side, side + 8)):
        here, inner = scene[:, row : row + height, col : col + width], np.s_[:, 2 * rim : -2 * rim, 2 * rim : -2 * rim]
        there = whole[:, 2 * row : 2 * (row + height), 2 * col : 2 * (col + width)]
        assert np.array_equal(made(engine, here)[inner], there[inner])
        with monkeypatch.context() as usual:
            usual.setattr(engine.engine, "of_one_shape", False)  # type: ignore[attr-defined]
            differ.append(not np.array_equal(made(engine, here)[inner], there[inner]))
    assert all(differ), "without pieces the kernels show"


def test_a_guided_pixel_has_the_same_bits_in_any_block_under_exact_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = Guided(2, 3, 3, 8, 2)
    for weight in module.parameters():
        weight.data.normal_(0.0, 0.1)
    random = torch.Generator().manual_seed(0)
    estimates, guides = (torch.randn(count, 190, 166, generator=random).numpy() for count in (6, 3))
    told = torch.rand(8, generator=random).numpy()
    here, there = (Refiner(module, device, torch.float32) for device in ("cpu", CARD))
    seen: list[object] = []
    usual = refiner.convolved
    monkeypatch.setattr(refiner, "convolved", lambda *args: (seen.append(devices._flags()), usual(*args))[1])
    assert np.allclose(there(estimates, guides, told), here(estimates, guides, told), atol=1e-4)
    assert any(flags["cudnn.conv.fp32_precision"] == "ieee" for flags in seen)  # type: ignore[index]
    monkeypatch.setattr(refiner, "convolved", by_shape(usual, 0))
    whole, cut = there(estimates, guides, told), np.s_[:, 20:150, 8:140]
    part = there(np.ascontiguousarray(estimates[cut]), np.ascontiguousarray(guides[cut]), told)
    rim = there.rim
    assert np.array_equal(part, whole[:, 20 : 150 - 2 * rim, 8 : 140 - 2 * rim])
    assert not np.array_equal(
        here(np.ascontiguousarray(estimates[cut]), np.ascontiguousarray(guides[cut]), told),
        here(estimates, guides, told)[:, 20 : 150 - 2 * rim, 8 : 140 - 2 * rim],
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["fast", "srcnn"])
@pytest.mark.parametrize("beside", [None, Beside(), Beside(0.1, support=True)])
def test_what_stands_beside_an_image_has_the_same_bits_in_any_block_too(
    beside: Beside | None, name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card(monkeypatch)
    choose_by_shape(monkeypatch, 1e-5 if precision == "float32" else 2e-2)
    network = network_for(registry.find(name, 2, beside), 2, SEEN, precision=precision)
    rim, scene = network.halo, terrain(2 * network.halo + 70, 2 * network.halo + 50)[:1]
    whole = network(scene, (0,))
    assert len(whole) == len(network.heads)
    part = network(np.ascontiguousarray(scene[:, 9:, 4:-13]), (0,))
    there, inner = whole[:, 18:, 8:-26], np.s_[:, 2 * rim : -2 * rim, 2 * rim : -2 * rim]
    assert np.array_equal(part[inner], there[inner])
    monkeypatch.setattr(type(network._engine().engine), "of_one_shape", False, raising=False)  # type: ignore[attr-defined]
    monkeypatch.setattr(network._engine().engine, "of_one_shape", False, raising=False)  # type: ignore[attr-defined]
    assert not np.array_equal(network(np.ascontiguousarray(scene[:, 9:, 4:-13]), (0,))[inner], there[inner])
    runtime.choose_device.cache_clear()


def test_an_image_and_its_spread_on_a_card_are_a_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    model = registry.find("fast", 2, Beside())
    block, inner = terrain(150, 140)[:1], np.s_[:, 60:-60, 60:-60]
    network = network_for(model, 2, SEEN, device="cpu")
    expected = network(block, (0,))[inner]
    on_a_card(monkeypatch)
    for _ in range(3):
        assert np.allclose(replace(network, device="cuda")(block, (0,))[inner], expected, rtol=0.02, atol=2e-3)
    runtime.choose_device.cache_clear()


@pytest.mark.parametrize("name", SMALL)
def test_a_network_on_a_card_gives_a_processors_numbers(name: str) -> None:
    block = terrain(144, 152)[:1]
    cut = np.s_[:, 60:-60, 60:-60]
    there, here = (made(OnDevice(built(name, device), device), block) for device in (CARD, "cpu"))
    assert np.allclose(there[cut], here[cut], atol=2e-3)


def test_what_is_done_again_is_recorded_and_takes_the_pixels_of_its_own_block() -> None:
    fast = built("edsr", CARD)
    engine, plain = OnDevice(fast, CARD), OnDevice(built("edsr", CARD), CARD)
    plain._pieces._can_record = False
    for seed in range(4):
        block = terrain(70, 120, seed=seed)[:1]
        assert np.array_equal(made(engine, block), made(plain, block))
    assert len(engine._pieces._records) == 1
    assert not plain._pieces._records


def test_recordings_are_of_the_bands_and_few() -> None:
    engine = OnDevice(built("edsr", CARD), CARD)
    block = terrain(40, 40)[:1]
    for constant in range(20):
        bands = (Band(Response.gaussian(0.2), Noise(float(constant), 0.0)),)
        first = made(engine, block, bands)
        assert np.array_equal(made(engine, block, bands), first)
    assert len(engine._pieces._records) == graphics._RECORDS


def test_work_is_recorded_by_a_thread_that_has_done_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library makes handles for each thread, at its first call, and while it is recorded that fails."""
    ready: set[int] = set()
    usual, recorded = trained.convolved, graphics.Queue.recorded

    def convolved(*args: Any) -> Tensor:
        ready.add(threading.get_ident())
        return usual(*args)

    def by_who_is_ready(queue: graphics.Queue, work: Callable[[], None]) -> Callable[[], None]:
        if threading.get_ident() not in ready:
            raise RuntimeError("operation not permitted when stream is capturing")
        return recorded(queue, work)

    engine = OnDevice(built("edsr", CARD), CARD)
    monkeypatch.setattr(trained, "convolved", convolved)
    monkeypatch.setattr(graphics.Queue, "recorded", by_who_is_ready)
    side = graphics.SIDE + 2 * engine.reach(PROBE)
    block = terrain(side, side)[:1]  # one piece
    first = made(engine, block)
    with ThreadPoolExecutor(1) as another:
        results = [another.submit(made, engine, block).result() for _ in range(2)]
    assert len(engine._pieces._records) == 1
    assert all(np.array_equal(result, first) for result in results)


def test_work_that_cannot_be_recorded_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphics.Queue, "recorded", refused)
    engine = OnDevice(built("edsr", CARD), CARD)
    results = [made(engine, terrain(70, 70)[:1]) for _ in range(3)]
    assert np.array_equal(results[0], results[2])
    assert not engine._pieces._can_record


def test_only_what_a_card_was_seen_to_record_is_recorded() -> None:
    engines = {name: OnDevice(built(name, CARD), CARD) for name in SMALL}
    engines["projected"] = OnDevice(Projected(engines["edsr"], 2), CARD)
    assert [name for name, each in engines.items() if each._pieces._can_record] == ["edsr"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_that_is_done_again_brings_nothing_to_the_device(name: str, dtype: torch.dtype) -> None:
    engine = built(name, "meta", dtype)
    block, out = torch.empty(1, 160, 160, device="meta"), torch.empty(1, 320, 320, device="meta")
    with torch.inference_mode():
        engine(block, SEEN, out)
        with OneDevice() as watching:
            engine(block, SEEN, out)
    assert not {"lift_fresh", "_local_scalar_dense", "nonzero"} & set(watching.launches)
    biases = sum(isinstance(each, Attention) for each in engine.module.modules())  # type: ignore[attr-defined]
    assert watching.launches["index"] == biases


@pytest.mark.parametrize("rim", [0, 1, 6])
def test_mirrors_on_a_card_are_those_of_a_processor(rim: int) -> None:
    image = torch.rand(3, 7, 9)
    assert torch.equal(_mirror_there(image, rim), mirror(image, rim))


class Plain(Engine):
    """Repeats pixels."""

    def reach(self, response: Response) -> int:
        return 0

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        out.copy_(block.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_a_block_is_computed_while_the_result_of_another_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    together, usual = threading.Barrier(2), graphics.Queue.fetch

    def fetch(*args: Any) -> None:
        together.wait(30)  # both have been computed, and neither is copied
        usual(*args)

    monkeypatch.setattr(graphics.Queue, "fetch", fetch)
    engine = OnDevice(Plain(), CARD)
    blocks = [terrain(8, 8, seed=seed)[:1] for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for block, found in zip(blocks, pool.map(lambda block: run(engine, block), blocks), strict=True):
            assert np.array_equal(found, block.repeat(2, 1).repeat(2, 2))


class Stream:
    """A card's stream that pretends, and tells what it was asked for."""

    told: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self, device: str) -> None:
        self.told.append(("made", self, device))

    def wait_stream(self, other: str) -> None:
        self.told.append(("waits", self, other))

    def wait_event(self, event: str) -> None:
        self.told.append(("waits", self, event))

    def record_event(self) -> str:
        return "finished"


class Event:
    """A point on such a stream."""

    def __init__(self, blocking: bool) -> None:
        assert blocking, "who waits sleeps"

    def record(self) -> None:
        Stream.told.append(("marked", self))

    def synchronize(self) -> None:
        Stream.told.append(("waited for", self))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> graphics.Queue:
    """The queue of a card that isn't there."""
    monkeypatch.setattr(Stream, "told", [])
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: f"default of {device}")
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    return graphics.Queue("cuda:1")


def test_a_result_is_read_when_its_own_thread_has_waited_for_work_and_copy(pretended: graphics.Queue) -> None:
    with pretended.turn():
        finished = pretended.mark()
    target = torch.zeros(4)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(pretended.fetch, torch.ones(4), target, finished).result()
    assert torch.equal(target, torch.ones(4))
    (_, computing, card), (_, first, before), (_, copying, own), waits, (marked, copied), waited, *others = Stream.told
    assert (card, own, first, before) == ("cuda:1", "cuda:1", computing, "default of cuda:1")
    assert (waits, marked, waited) == (("waits", copying, "finished"), "marked", ("waited for", copied))
    assert copying is not computing
    assert len(others) in (3, 4), "a thread's stream is made once"


def test_what_a_failed_recording_left_is_not_used_again(
    pretended: graphics.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = iter([(0, 2), (0, 3)])
    begun: list[object] = []

    @contextmanager
    def graph(graph: object, pool: object, stream: object, mode: str) -> Iterator[None]:
        begun.append(pool)
        yield

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    pretended.mend()
    with pytest.raises(AttributeError, match="replay"):
        pretended.recorded(lambda: None)
    assert begun == [None, (0, 2)]


def test_an_array_is_to_be_had_where_a_card_cannot_copy_into_it(
    pretended: graphics.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def empty(*args: Any, **options: Any) -> Tensor:
        asked.append(options)
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty", empty)
    assert pretended.room((1, 8, 8), np.dtype(np.float32)).shape == (1, 8, 8)
    assert asked == [{"dtype": torch.float32, "pin_memory": True}]
    monkeypatch.setattr(graphics, "_LARGEST", 100)
    assert pretended.room((1, 8, 8), np.float64).dtype == np.float64
    assert len(asked) == 1, "so much is not held for good"
