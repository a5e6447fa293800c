"""Graphics cards without one: their branches run on a processor under another name, and on a torch that pretends."""

from __future__ import annotations

import os
import pickle
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import geosr
from geosr import archive, cluster
from geosr.cli import cli
from geosr.errors import InputError, ModelError, PlaceError, TileError
from geosr.models import devices, graphics, registry, runtime, trained
from geosr.models.card import KEY, Card
from geosr.models.classical import Interpolation, upsample
from geosr.models.devices import exact_convolutions
from geosr.models.engines import OnDevice
from geosr.models.model import Engine
from geosr.models.networks import NETWORKS, band
from geosr.models.own import OwnEngine, TorchNetwork
from geosr.models.projection import UNSURE, project_into
from geosr.models.projection import reach as projection_reach
from geosr.models.runtime import ModelNetwork, choose_device, network_for
from geosr.models.threads import Once
from geosr.noise import Noise
from geosr.response import PROBE, Response
from geosr.sensor_table import Origin
from geosr.sensors import Band, Observation
from geosr.xarray import lazy
from tests import scenes
from tests.test_engines import SMALL, shaken

CARD = "cpu:0"
"""A device whose name isn't "cpu": all that is done for a card is done, on a processor."""


class Looking(Engine):
    """Notes torch's flags as a block begins and as it ends."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def reach(self, response: Response) -> int:
        return 0

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        self.seen.append(devices._flags())
        time.sleep(0.005)
        self.seen.append(devices._flags())
        out.zero_()


def run(ready: Engine, block: np.ndarray | None = None, scale: int = 2) -> np.ndarray:
    block = np.zeros((1, 4, 4), np.float32) if block is None else block
    out = np.full((len(block), *(side * scale for side in block.shape[1:])), np.nan, block.dtype)
    ready(block, (Band(PROBE),) * len(block), out)
    return out


@pytest.fixture
def flags() -> Iterator[dict[str, object]]:
    """Torch's flags before a test, which are to be the same after it."""
    before = devices._flags()
    yield before
    devices._set(before)


def asked_for_tf32() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True


def asked_for_tf32_the_new_way() -> None:
    for owner in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul):
        owner.fp32_precision = "tf32"


def switched_cudnn_off() -> None:
    torch.backends.cudnn.enabled = False
    torch.backends.cudnn.benchmark = True


@pytest.mark.parametrize("caller", [None, asked_for_tf32, asked_for_tf32_the_new_way, switched_cudnn_off])
@pytest.mark.parametrize("threads", [1, 8])
def test_every_block_on_a_card_is_computed_under_the_same_flags_and_the_callers_come_back(
    flags: dict[str, object], threads: int, caller: object
) -> None:
    if callable(caller):
        caller()
    before, looking = devices._flags(), Looking()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: run(OnDevice(looking, CARD)), range(24)))
    assert len(looking.seen) == 48
    for seen in looking.seen:
        assert {name: seen[name] for name in devices._EXACT if name in seen} == {
            name: value for name, value in devices._EXACT.items() if name in seen
        }
        assert seen["cudnn.enabled"] is True
        assert {seen[f"{each}.fp32_precision"] for each in ("cudnn.conv", "cuda.matmul")} == {"ieee"}
    assert devices._flags() == before


def test_overlapping_users_of_a_card_leave_the_flags_to_the_last_of_them(flags: dict[str, object]) -> None:
    first, second = exact_convolutions(CARD), exact_convolutions(CARD)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.enabled
    second.__exit__(None, None, None)
    assert devices._flags() == flags


def test_training_says_where_a_card_cuts_float32_to_tf32(flags: dict[str, object]) -> None:
    torch.backends.cudnn.allow_tf32 = True
    assert [devices.precision_trained_in(*each) for each in ((CARD, False), (CARD, True), ("cpu", False))] == [
        "float32, cut to TF32",
        "bfloat16",
        "float32",
    ]
    torch.backends.cudnn.allow_tf32 = False
    assert devices.precision_trained_in(CARD, False) == "float32"
    asked_for_tf32_the_new_way()
    assert devices.precision_trained_in(CARD, False) == "float32, cut to TF32"


def test_a_block_on_a_processor_leaves_the_flags_alone(flags: dict[str, object]) -> None:
    looking = Looking()
    run(OnDevice(looking, "cpu"))
    assert looking.seen == [flags, flags]


def built(name: str, device: str, dtype: torch.dtype = torch.float32, reach: int = 0) -> Engine:
    channels, blocks = SMALL[name]
    settings = {"scale": 2, "channels": channels, "blocks": blocks}
    return trained.build(name, settings, dict(shaken(name).state_dict()), device, dtype, reach)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, but for copies and indices, and counts all: launches, on a card."""

    MAY_MIX = frozenset({"index", "copy_", "_to_copy", "lift_fresh", "lift_fresh_copy"})

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = function._schema.name.split("::")[1]
        tensors = [each for each in tree_leaves((args, kwargs or {})) if isinstance(each, Tensor) and each.ndim]
        kinds = {each.device.type for each in tensors}
        assert len(kinds) < 2 or name in self.MAY_MIX, f"{name} mixes {kinds}"
        self.launches[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_off_the_processor_keeps_to_its_device_and_waits_for_nothing(name: str, dtype: torch.dtype) -> None:
    ready = built(name, "meta", dtype)
    block, out = torch.empty(1, 160, 160, device="meta"), torch.empty(1, 320, 320, device="meta")
    with torch.inference_mode(), OneDevice() as watching:
        ready(block, (Band(PROBE),), out)  # meta tensors raise where a number is asked of them
    assert watching.launches["add_"] > 0


def patchy(size: int, usual=band.Conv.forward):  # type: ignore[no-untyped-def]
    """A convolution that spoils whole patches where one pixel is NaN, as Winograd's algorithm does."""

    def forward(self: band.Conv, x: Tensor) -> Tensor:
        out = usual(self, x)
        if self.kernel_size != (3, 3):
            return out
        height, width = x.shape[2:]
        spoilt = torch.nn.functional.pad(
            x.isnan().any(1, keepdim=True).float(), (1, 1 - width % -size, 1, 1 - height % -size)
        )
        hit = (
            torch.nn.functional.max_pool2d(spoilt, size + 2, size).repeat_interleave(size, 2).repeat_interleave(size, 3)
        )
        return torch.where(hit[..., :height, :width] > 0, torch.nan, out)

    return forward


def test_reach_is_measured_on_the_processor_whatever_kernel_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    reach = built("vdsr", "cpu").reach(PROBE)
    usual, other = band.Conv.forward, patchy(4)
    monkeypatch.setattr(band.Conv, "forward", other)
    assert built("vdsr", "cpu").reach(PROBE) > reach, "the other kernel shows in what is measured with it"
    monkeypatch.setattr(band.Conv, "forward", lambda self, x: (usual if x.device.type == "cpu" else other)(self, x))
    for dtype in (torch.float32, torch.bfloat16):
        assert built("vdsr", "meta", dtype).reach(PROBE) == reach


def test_what_was_measured_of_ones_own_weights_travels_with_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = shaken("vdsr")
    about = Card("mine", "a test", (2,), network="vdsr", channels=SMALL["vdsr"][0], blocks=SMALL["vdsr"][1])
    save_file(module.state_dict(), path := tmp_path / "mine.safetensors", metadata={KEY: about.to_json()})
    network = network_for(str(path), 2, (Band(PROBE),))
    packed, halo = pickle.dumps(network), network.halo
    runtime._load.cache_clear()
    monkeypatch.setattr(band.Conv, "forward", patchy(4))
    assert pickle.loads(packed).halo == halo
    runtime._load.cache_clear()


def test_weights_for_a_device_are_made_there() -> None:
    ready = built("edsr", "meta")
    assert isinstance(ready, trained.Residual)
    head, blocks, *tails = ready.weights(PROBE)
    assert {each.device.type for each in (head, *tails, *(one for pair in blocks for one in pair))} == {"meta"}


def test_threads_that_ask_together_make_a_thing_once() -> None:
    made: list[int] = []

    def slowly(number: int) -> int:
        made.append(number)
        time.sleep(0.02)
        return number

    together, once = threading.Barrier(8), Once(slowly)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda at: (together.wait(), once(at % 2))[1], range(8))) == [0, 1] * 4
    assert sorted(made) == [0, 1]


def test_what_takes_long_to_make_keeps_nobody_from_another_thing() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(number: int) -> int:
        if number:
            begun.set()
            assert go_on.wait(10)
        return number

    once = Once(make)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(once, 1)
        assert begun.wait(10)
        assert pool.submit(once, 0).result(10) == 0
        go_on.set()
        assert long.result(10) == 1


@pytest.mark.parametrize("name", SMALL)
def test_what_a_network_adds_at_rest_is_kept_without_the_block_that_it_was_made_in(name: str) -> None:
    ready = built(name, "cpu")
    with torch.inference_mode():
        rest = ready.at_rest(PROBE, ())  # type: ignore[attr-defined]
    assert (
        rest.untyped_storage().nbytes()
        == rest.numel() * rest.element_size()
        == 4 * NETWORKS[name](2, *SMALL[name]).scale ** 2
    )


class Pretended:
    """A torch that says it has cards, of which some don't work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 2, current: int = 0, trouble: str = "") -> None:
        self.trouble = trouble
        devices.shared.cache_clear()
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: f"Card {card}")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: (9, 0))
        monkeypatch.setattr(devices, "_convolve", self.convolve)

    def convolve(self, card: str) -> None:
        if self.trouble:
            raise RuntimeError(self.trouble)


@pytest.fixture(autouse=True)
def _settled_anew() -> Iterator[None]:
    usual, graphics.SIDE = graphics.SIDE, 32  # a processor has no use for more
    runtime.choose_device.cache_clear()
    yield
    graphics.SIDE = usual
    runtime.choose_device.cache_clear()


def test_a_card_has_one_index_which_every_thread_of_a_process_keeps_to(monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch, current=1)
    assert choose_device("cuda") == choose_device("auto") == ("cuda:1", "computed on Card cuda:1")
    Pretended(monkeypatch, current=0)  # as in a thread that was never told
    assert choose_device("cuda")[0] == "cuda:1"
    assert choose_device("cuda:0")[0] == "cuda:0"


@pytest.mark.parametrize(("rank", "card"), [("0", "cuda:0"), ("3", "cuda:1"), ("4", "cuda:0")])
def test_processes_that_were_started_together_share_the_cards(
    rank: str, card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pretended(monkeypatch)
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device("cuda")[0] == card


def test_processes_and_workers_that_geosr_starts_are_spread_over_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch)
    worker = ModuleType("distributed.worker")
    worker.Worker = SimpleNamespace(_instances=[SimpleNamespace(name=3, nanny="tcp://")])  # type: ignore[attr-defined]
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "distributed.worker", worker)
        assert choose_device("cuda")[0] == "cuda:1"
        choose_device.cache_clear()
        there.setitem(sys.modules, "dask_cuda", ModuleType("dask_cuda"))
        assert choose_device("cuda")[0] == "cuda:0"
    with ProcessPoolExecutor(2, get_context("spawn"), cluster._begin_work) as pool:
        ranks = {future.result() for future in [pool.submit(os.getenv, "LOCAL_RANK") for _ in range(8)]}
    assert 1 <= len(ranks) <= 2
    assert all(rank and rank.isdigit() for rank in ranks)


@pytest.mark.parametrize("asked", ["cuda:2", "cuda:x", "cuda:-1"])
def test_a_card_that_is_not_there_is_said_in_one_line(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch)
    with pytest.raises(PlaceError, match=f"device '{asked}' isn't there: torch finds 2 CUDA devices; use cpu"):
        choose_device(asked)
    Pretended(monkeypatch, count=0)
    with pytest.raises(PlaceError, match="torch finds 0"):
        choose_device("cuda")
    assert choose_device("auto") == ("cpu", "")


NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be ..."


def test_a_card_that_does_not_work_is_left_by_auto_with_a_note_and_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Pretended(monkeypatch, trouble=NO_KERNEL)
    network = network_for("fast", 2, (Band(PROBE),))
    assert network._place == "cpu"
    assert network.notes[0].startswith(
        "computed on the processor, since cuda:0 can't be used: RuntimeError: CUDA error: no"
    )
    with pytest.raises(
        PlaceError, match=r"device 'cuda' can't be used: .*no kernel image.*; use another, or cpu"
    ) as told:
        network_for("fast", 2, (Band(PROBE),), device="cuda")
    assert "\n" not in str(told.value)


FULL = [
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: out of memory",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":838, please report a bug',
]


@pytest.mark.parametrize("said", FULL)
def test_no_memory_is_known_by_all_of_its_names(said: str) -> None:
    with pytest.raises(MemoryError), devices.device_errors():
        raise RuntimeError(said)


@pytest.mark.parametrize("said", [NO_KERNEL, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"])
def test_what_a_broken_card_says_is_one_line(said: str) -> None:
    with pytest.raises(PlaceError, match="the graphics card doesn't work") as told, devices.device_errors():
        raise RuntimeError(said)
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="size of tensor a"), devices.device_errors():
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")


@pytest.mark.parametrize("said", ["CUDA out of memory", NO_KERNEL])
def test_a_model_that_a_card_cannot_hold_goes_to_the_processor_with_a_note_unless_the_card_is_named(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pretended(monkeypatch)
    usual = torch.nn.Module.to

    def to(module: torch.nn.Module, *args: object, **kwargs: object) -> torch.nn.Module:
        if str(args[:1]).startswith("('cuda"):
            raise RuntimeError(said)
        return usual(module, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.Module, "to", to)
    runtime._load.cache_clear()
    network = network_for("fast", 2, (Band(PROBE),))
    assert network.device == "cpu"
    assert network.notes[0].startswith("computed on the processor, since cuda:0 can't be used: ")
    with pytest.raises(PlaceError, match=r"cuda:1 can't be used: .*; use another device, or cpu"):
        network_for("fast", 2, (Band(PROBE),), device="cuda:1")


class Small(Engine):
    """An engine for blocks that a card with little memory takes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []

    def reach(self, response: Response) -> int:
        return 0

    def __call__(self, block: Tensor, seen: Observation, out: Tensor) -> None:
        self.asked.append(block.shape[1])
        if block.shape[1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        out.copy_(block.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_a_card_that_was_full_is_not_asked_for_as_large_a_block_again_and_gives_its_cache_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    small = Small(40)
    ready = OnDevice(small, CARD)
    blocks = {side: np.random.default_rng(side).random((1, side, side), np.float32) for side in (30, 64, 80)}
    for side in (64, 80, 64):
        with pytest.raises(MemoryError):
            run(ready, blocks[side])
    assert small.asked == [64]
    assert np.array_equal(run(ready, blocks[30]), blocks[30].repeat(2, 1).repeat(2, 2))
    run(ready, blocks[30])
    assert small.asked == [64, 30, 30]
    assert emptied == [1]


def test_a_processor_is_asked_again_since_others_give_memory_back() -> None:
    small = Small(40)
    ready = OnDevice(small, "cpu")
    for _ in range(2):
        with pytest.raises(MemoryError):
            run(ready, np.zeros((1, 64, 64), np.float32))
    assert small.asked == [64, 64]


class Plain:
    """A network of somebody's that is no module, and computes on one device whatever it is given."""

    def __init__(self, device: str, movable: bool = False) -> None:
        self.device = device
        if movable:
            self.to = Plain

    def __call__(self, block: Tensor) -> Tensor:
        return block.to(self.device).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_network_of_ones_own_is_moved_or_refused() -> None:
    stubborn, movable = (TorchNetwork(partial(Plain, "meta", each), 2, 2) for each in (False, True))
    with pytest.raises(ModelError, match="Plain computes on meta, and cpu was asked for; choose that as the device"):
        OwnEngine(stubborn, "cpu")
    assert OwnEngine(movable, "cpu").module.device == "cpu"


def test_a_network_of_ones_own_is_tried_out_under_the_flags_that_it_runs_under(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, object]
) -> None:
    seen: list[dict[str, object]] = []

    class Curious(Plain):
        def __call__(self, block: Tensor) -> Tensor:
            seen.append(devices._flags())
            return super().__call__(block)

    monkeypatch.setattr(runtime, "choose_device", lambda device: (CARD, ""))
    network_for(TorchNetwork(partial(Curious, "cpu"), 2, 2), 2, (Band(PROBE),))
    assert seen
    assert all(each["cudnn.conv.fp32_precision"] == "ieee" for each in seen)
    assert devices._flags() == flags


class Session:
    """onnxruntime's session, which notes what it was asked for, and says that it has it."""

    asked: ClassVar[list[object]] = []

    def __init__(self, usual: Any, content: bytes, options: Any, providers: list[Any]) -> None:
        self.asked.append(providers)
        self.names = [each if isinstance(each, str) else each[0] for each in providers]
        self.session = usual(content, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return self.names

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    pytest.importorskip("onnx")
    onnx = pytest.importorskip("onnx.helper")
    floats = [onnx.make_tensor_value_info(name, 1, ["n", 1, f"h{name}", f"w{name}"]) for name in ("x", "y")]
    node = onnx.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest", nearest_mode="floor")
    node.attribute.append(onnx.make_attribute("coordinate_transformation_mode", "asymmetric"))
    scales = onnx.make_tensor("scales", 1, [4], [1.0, 1.0, 2.0, 2.0])
    graph = onnx.make_graph([node], "twice", floats[:1], floats[1:], [scales])
    path = tmp_path / "twice.onnx"
    model = onnx.make_model(graph, opset_imports=[onnx.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("there", [True, False])
def test_onnxruntime_keeps_to_the_card_that_was_named_or_says_that_it_is_on_the_processor(
    there: bool, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    names = ["CUDAExecutionProvider"] * there + ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", partial(Session, onnxruntime.InferenceSession))
    monkeypatch.setattr(Session, "asked", [])
    Pretended(monkeypatch)
    network = network_for(str(exported), 2, (Band(PROBE, levels=(0.0, 1.0)),), device="cuda:1")
    providers = Session.asked[-1]
    if there:
        assert providers == [
            ("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0, "cudnn_conv_algo_search": "DEFAULT"}),
            "CPUExecutionProvider",
        ]
        assert network._engine().device == "cuda:1"
        assert network.notes[0] == "computed on Card cuda:1"
        return
    assert providers == ["CPUExecutionProvider"]
    assert network.notes[0] == "computed on the processor: twice can't be run on cuda:1 here"
    block = np.random.default_rng(0).random((1, 30, 30), np.float32)
    together = threading.Barrier(3)

    def waiting(session: Session, *args: Any) -> Any:
        together.wait(30)  # all of them are in it at a time
        return session.session.run(*args)

    monkeypatch.setattr(Session, "run", waiting, raising=False)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: network(block, (0,)), range(3)))
    assert all(np.array_equal(each, made[0]) for each in made)


class ElsewhereError(Exception):
    """Stops a run."""


def stopped(src: Path, dst: Path, **options: Any) -> None:
    def stop(*_: int) -> None:
        raise ElsewhereError

    with pytest.raises(ElsewhereError):
        geosr.prepare(src, dst, **options).execute(stop)


def on_a_card(monkeypatch: pytest.MonkeyPatch, name: str = "Card") -> None:
    """Everything is computed as on a card, by a processor."""
    runtime.choose_device.cache_clear()
    devices.kind.cache_clear()
    monkeypatch.setattr(devices, "find", lambda device: (CARD, f"computed on {name}"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


OPTIONS: dict[str, Any] = {"model": "fast", "scale": 2, "tile": 32, "workers": 1}


def test_what_a_card_began_no_processor_and_no_other_card_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = scenes.make_plain(tmp_path, shape=(1, 60, 70)), tmp_path / "out.tif"
    with monkeypatch.context() as there:
        on_a_card(there)
        stopped(src, dst, **OPTIONS)
    runtime.choose_device.cache_clear()
    here = rf"computed on was Card, torch {re.escape(torch.__version__)} and is the processor, torch 2"
    with pytest.raises(InputError, match=here):
        geosr.upscale(src, dst, **OPTIONS)
    with monkeypatch.context() as there:
        on_a_card(there, "Other")
        with pytest.raises(InputError, match=r"computed on was Card, .* and is Other, "):
            geosr.upscale(src, dst, **OPTIONS)
    with monkeypatch.context() as there:
        on_a_card(there)
        assert geosr.upscale(src, dst, **OPTIONS)["tiles_from_an_earlier_run"] > 0
    with rasterio.open(dst) as result:
        assert result.tags()["GEOSR_DEVICE"] == f"Card, torch {torch.__version__}"


def test_tiles_for_a_card_are_large_enough_to_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 60, 70))
    sides = {device: geosr.prepare(src, model="fast", device=device).plan.core for device in ("cpu",)}
    on_a_card(monkeypatch)
    sides["cuda"] = geosr.prepare(src, model="fast", device="cuda").plan.core
    assert sides == {"cpu": 256, "cuda": 512}
    assert geosr.prepare(src, model="bicubic").plan.core == 256
    assert geosr.prepare(src, model="fast", device="cuda", tile=128).plan.core == 128


def test_what_a_processor_made_of_a_model_that_is_the_same_on_all_goes_on_whatever_torch_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 60, 70))
    for model, other in (("bicubic", False), ("ibp", False), ("fast", True)):
        dst, options = tmp_path / f"{model}.tif", OPTIONS | {"model": model}
        devices.kind.cache_clear()
        stopped(src, dst, **options)
        devices.kind.cache_clear()
        with monkeypatch.context() as there:
            there.setattr(torch, "__version__", "1.99.0")
            if other:
                with pytest.raises(InputError, match=r"and is the processor, torch 1\.99\.0"):
                    geosr.upscale(src, dst, **options)
                continue
            assert geosr.upscale(src, dst, **options)["tiles_from_an_earlier_run"] > 0
        with rasterio.open(dst) as result:
            assert "GEOSR_DEVICE" not in result.tags()
    devices.kind.cache_clear()


def test_a_process_of_another_kind_than_the_run_refuses_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    network = replace(network_for("fast", 2, (Band(PROBE),)), kind="Card, torch 2.13.0+cu126")
    with pytest.raises(
        PlaceError, match=r"this process computes on the processor, torch .*, and the run is of Card, torch"
    ):
        network(np.zeros((1, 60, 60), np.float32), (0,))


class Told:
    """A client whose workers tell kinds."""

    asynchronous = False

    def __init__(self, *kinds: object) -> None:
        self.kinds = {f"tcp://{place}": kind for place, kind in enumerate(kinds)}

    def run(self, question: object, *args: object, **options: object) -> dict[str, object]:
        return self.kinds


def test_a_cluster_of_cards_and_processors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_client", lambda client: nullcontext(client))
    monkeypatch.setattr(cluster, "_wait_for_a_worker", lambda client: None)
    network = network_for("fast", 2, (Band(PROBE),))
    alike = Told("Card, torch 2.13.0", "Card, torch 2.13.0", OSError("it left"))
    assert cluster.kind_for(alike, network) == "Card, torch 2.13.0"  # type: ignore[arg-type]
    mixed = Told("Card, torch 2.13.0", "the processor, torch 2.13.0")
    with pytest.raises(
        PlaceError, match=r"worker tcp://0 computes on Card, .* and tcp://1 on the processor, .* name a device"
    ):
        cluster.kind_for(mixed, network)  # type: ignore[arg-type]
    assert cluster.kind_for(None, network) == cluster.kind_for("local:2", network) == network.here


def pretend_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that is asked first for its kind has a card; those that compute tiles are as they are."""
    usual, workers = ModelNetwork.here, iter(["Card, torch 2.13.0"])
    told = property(lambda network: next(workers, usual.fget(network)))  # type: ignore[attr-defined]
    monkeypatch.setattr(ModelNetwork, "here", told)


def test_an_array_is_not_computed_by_cards_and_processors_together(monkeypatch: pytest.MonkeyPatch) -> None:
    array = xr.DataArray(da.zeros((40, 40), dtype=np.uint16, chunks=20), dims=("y", "x"))
    fine = array.geosr.upscale(model="fast", scale=2, snr=50.0, mtf=0.3)
    pretend_one_card(monkeypatch)
    with pytest.raises(TileError, match=r"this process computes on the processor, .*, and the run is of Card"):
        fine.compute(scheduler="synchronous")
    assert fine.compute(scheduler="synchronous").shape == (80, 80)


def test_an_array_that_is_pickled_asks_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask pickles under a lock that its own loop waits for: who asked there waited for ever, now and then."""
    array = xr.DataArray(da.zeros((40, 40), dtype=np.uint16, chunks=20), dims=("y", "x"))
    fine = array.geosr.upscale(model="fast", scale=2, snr=50.0, mtf=0.3)
    monkeypatch.setattr(lazy, "active_client", object)
    layers = pickle.loads(pickle.dumps(fine.data.dask)).layers.values()
    (layer,) = (each for each in layers if isinstance(each, lazy.UpscaleLayer))
    assert {key: key in layer for key in layer} == dict.fromkeys(layer, True)
    assert len(list(layer)) == len(layer)
    assert layer[f"{layer.name}-kind"][0] is lazy.kind_of


def test_who_hands_tiles_to_a_cluster_leaves_its_own_card_alone_and_may_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def touched(card: str) -> None:
        raise AssertionError(f"{card} was used")

    for count in (2, 0):
        Pretended(monkeypatch, count)
        monkeypatch.setattr(devices, "_convolve", touched)
        with cluster.looking_on("tcp://host:8786"):
            network = network_for("fast", 2, (Band(PROBE),), device="cuda", precision="bfloat16")
            assert network.halo == registry.card("fast", 2).halo
            assert replace(network, kind="Card, torch 2").multiple == 1
            assert network.device == "cuda"
            assert [line for line in network.notes if "emulates" in line or "computed on" in line] == []
            with pytest.raises(ModelError, match="device 'gpu' is none that geosr knows"):
                network_for("fast", 2, (Band(PROBE),), device="gpu")
            monkeypatch.setattr(lazy, "active_client", lambda: Told("Card, torch 2"))
            array = xr.DataArray(da.zeros((40 + count, 40), dtype=np.uint16, chunks=20), dims=("y", "x"))
            fine = array.geosr.upscale(model="fast", scale=2, snr=50.0, mtf=0.3, device="cuda")
            assert pickle.loads(pickle.dumps(fine.data.dask)) is not None
        for scheduler in (None, "threads", "processes", "local:2"):
            with cluster.looking_on(scheduler):
                assert not runtime._looking.get()
    assert not runtime._looking.get()


@pytest.mark.parametrize("scheduler", ["tcp://host:8786", None])
def test_scenes_that_a_cluster_does_are_planned_without_a_card_by_every_thread(
    scheduler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    sources = [scenes.make_plain(tmp_path / "in", f"{name}.tif", shape=(1, 60, 70)) for name in "abc"]
    Pretended(monkeypatch)
    touched: list[str] = []
    monkeypatch.setattr(devices, "_convolve", touched.append)
    usual = runtime._load.cache_clear

    def looked(*_: object) -> None:
        assert runtime._looking.get() == (scheduler is not None)
        raise ElsewhereError

    monkeypatch.setattr(archive, "kind_for", looked)
    seen: list[bool] = []
    prepared = archive.prepare_frame
    monkeypatch.setattr(
        archive, "prepare_frame", lambda *a, **o: (seen.append(runtime._looking.get()), prepared(*a, **o))[1]
    )
    usual()
    options: dict[str, Any] = {"model": "fast", "scale": 2, "device": "cuda" if scheduler else "cpu"}
    with pytest.raises(ElsewhereError):
        archive.upscale_many(sources, tmp_path / "out", scheduler=scheduler, **options)
    command = ["upscale", *map(str, sources), "--outdir", str(tmp_path / "out"), "--scale", "2", "--device"]
    with pytest.raises(ElsewhereError):
        cli([*command, options["device"], *(["--scheduler", scheduler] if scheduler else [])], standalone_mode=False)
    assert seen == [scheduler is not None] * 6
    assert touched == []


def test_of_dask_cuda_each_worker_has_the_card_that_it_sees_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch)
    assert choose_device("cuda:1")[0] == "cuda:1"
    monkeypatch.setitem(sys.modules, "dask_cuda", ModuleType("dask_cuda"))
    worker = ModuleType("distributed.worker")
    worker.Worker = SimpleNamespace(_instances=[])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed.worker", worker)
    choose_device.cache_clear()
    assert choose_device("cuda:1")[0] == "cuda:1", "who only started such workers may use any"
    worker.Worker._instances.append(SimpleNamespace(name=0, nanny=None))  # type: ignore[attr-defined]
    choose_device.cache_clear()
    assert choose_device("cuda:1")[0] == "cuda:1", "nor is a worker all that it is"
    worker.Worker._instances.append(SimpleNamespace(name=0, nanny="tcp://"))  # type: ignore[attr-defined]
    choose_device.cache_clear()
    assert choose_device("cuda")[0] == choose_device("cuda:0")[0] == "cuda:0"
    with pytest.raises(PlaceError, match=r"device 'cuda:1' is another worker's: .* use cuda"):
        choose_device("cuda:1")


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
def test_interpolation_off_the_processor_takes_few_launches_however_large_or_many_the_blocks(kernel: str) -> None:
    block, out = torch.empty(1, 560, 560, device="meta"), torch.empty(1, 2240, 2240, device="meta")
    with torch.inference_mode(), OneDevice() as watching:
        Interpolation(kernel, 4)(block, (Band(PROBE),), out)
    views = {"slice", "unbind", "swapaxes", "empty", "empty_like", "new_empty", "lift_fresh"}
    assert sum(count for name, count in watching.launches.items() if name not in views) < 100, watching.launches
    one, many = torch.empty(1, 1, 48, 48, device="meta"), torch.empty(32, 1, 48, 48, device="meta")
    launches = []
    for images in (one, many):
        with torch.inference_mode(), OneDevice() as watching:
            assert upsample(images, 4, kernel).shape == (len(images), 1, 192, 192)
        launches.append(watching.launches)
    assert launches[0] == launches[1]


@pytest.mark.parametrize("model", ["bicubic", "ibp", "fast"])
def test_projection_is_one_step_with_its_model_on_the_device(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Band(PROBE, Noise(4.0, 0.01)), Band(PROBE, response_from=Origin.DEFAULT)
    network = network_for(model, 2, seen, project=True, device="cpu")
    plain = replace(network, project=False)
    block = np.random.default_rng(0).normal(900, 40, (2, 120, 110)).astype(np.float32)
    expected = plain(block, (0, 1))
    for image, known, target, trust in zip(block, network.relative, expected, (1.0, UNSURE), strict=True):
        assert known.assumed == (trust == UNSURE)
        with torch.inference_mode():
            project_into(*map(torch.from_numpy, (target, image)), known.response, known.noise, trust)
    assert np.array_equal(network(block, (0, 1)), expected)
    for known in network.relative:
        assert network.halo == plain.halo + projection_reach(known.response, 2)
    with monkeypatch.context() as there:
        on_a_card(there)
        inner = np.s_[:, 2 * network.halo : -2 * network.halo, 2 * network.halo : -2 * network.halo]
        assert np.array_equal(replace(network, device="cuda")(block, (0, 1))[inner], expected[inner])


def test_weights_that_are_projected_tell_the_reach_of_the_network_alone(tmp_path: Path) -> None:
    projected, plain = (network_for("fast", 2, (Band(PROBE),), project=each).model for each in (True, False))
    assert projected.reach == plain.reach == registry.card("fast", 2).halo  # type: ignore[attr-defined]
