"""Graphics cards without one: their branches run on a processor under another name, and on a torch that pretends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from geosr.models import devices
from geosr.models.devices import exact_convolutions
from geosr.models.engines import OnDevice
from geosr.models.model import Engine
from geosr.response import PROBE, Response
from geosr.sensors import Band, Observation

CARD = "cpu:0"
"""A device whose name isn't "cpu": all that is done for a card is done, on a processor."""


class Looking(Engine):
    """Notes torch's flags as a block begins and as it ends."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def reach(self, response: Response) -> int:
        return 0

    def __call__(self, block: Tensor, seen: Observation, out: Tensor) -> None:
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
