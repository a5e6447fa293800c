"""Graphics cards without one: their branches run on a processor under another name, and on a torch that pretends."""

from __future__ import annotations

import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geosr.models import devices, runtime, trained
from geosr.models.card import KEY, Card
from geosr.models.devices import exact_convolutions
from geosr.models.engines import OnDevice
from geosr.models.model import Engine
from geosr.models.networks import NETWORKS, band
from geosr.models.runtime import network_for
from geosr.models.threads import Once
from geosr.response import PROBE, Response
from geosr.sensors import Band, Observation
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
    head, blocks, tail = ready.weights(PROBE)
    assert {each.device.type for each in (head, tail, *(one for pair in blocks for one in pair))} == {"meta"}


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


@pytest.mark.parametrize("name", SMALL)
def test_what_a_network_adds_at_rest_is_kept_without_the_block_that_it_was_made_in(name: str) -> None:
    ready = built(name, "cpu")
    with torch.inference_mode():
        rest = ready.at_rest(PROBE)  # type: ignore[attr-defined]
    assert (
        rest.untyped_storage().nbytes()
        == rest.numel() * rest.element_size()
        == 4 * NETWORKS[name](2, *SMALL[name]).scale ** 2
    )
