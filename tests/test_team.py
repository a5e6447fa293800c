"""Processes that train together: by what they talk, and how one that fails leaves the others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from geosr.errors import PlaceError
from geosr.training import loop, team
from geosr.training.team import Team, joined
from tests.test_training import ROOT, free_port

dist = pytest.importorskip("torch.distributed")
CODE = """
import sys, torch
from geosr.errors import GeosrError
from geosr.training import team
from geosr.training.team import joined
try:
    with joined(sys.argv[1]) as ours:
        print(ours.agreed([ours.rank + 5.0]))
except GeosrError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("device", "here", "backend"),
    [("cpu", "2", "gloo"), ("cuda:1", "2", "cpu:gloo,cuda:nccl"), ("cuda:0", "3", "gloo"), ("cuda:0", None, "gloo")],
)
def test_gradients_go_by_nccl_where_each_process_has_a_card_and_all_else_by_gloo(
    device: str, here: str | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if here is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    assert team._backend(device) == backend
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    assert team._backend(device) == "gloo"


class Group:
    """The distributed package on cards, which pretends, and tells what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, abort: Any = None) -> None:
        self.told: list[object] = []
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setattr(team, "_backend", lambda device: "cpu:gloo,cuda:nccl")
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: self.told.append(f"at {device}"))
        monkeypatch.setattr(dist, "init_process_group", lambda *args, **options: self.told.append((*args, options)))
        monkeypatch.setattr(dist, "get_rank", lambda: 1)
        monkeypatch.setattr(dist, "destroy_process_group", lambda: self.told.append("destroyed"))
        monkeypatch.setattr(
            dist.distributed_c10d, "_abort_process_group", abort or (lambda: self.told.append("aborted")), raising=False
        )
        monkeypatch.setattr(Team, "gathered", lambda self, value: [value, value])


def test_who_ends_well_destroys_what_all_destroy_and_who_fails_aborts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(monkeypatch)
    with joined("cuda:1") as ours:
        assert (ours.rank, ours.size) == (1, 2)
    begun = ["at cuda:1", ("cpu:gloo,cuda:nccl", {"device_id": torch.device("cuda:1")})]
    assert group.told == [*begun, "destroyed"]
    group.told.clear()
    with pytest.raises(ZeroDivisionError), joined("cuda:1"):
        raise ZeroDivisionError
    assert group.told == [*begun, "aborted"]
    group.told.clear()
    with pytest.raises(PlaceError, match="another of 2 processes has ended"), joined("cuda:1"):
        raise dist.DistBackendError("NCCL error: remote process exited or there was a network error")
    assert group.told == [*begun, "aborted"]


def test_a_process_whose_abort_hangs_still_raises_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, registered = threading.Event(), list[Any]()
    Group(monkeypatch, hanging.wait)
    monkeypatch.setattr(team, "_PATIENCE", 0.05)
    monkeypatch.setattr(team.atexit, "register", registered.append)  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError), joined("cuda:1"):
        raise ZeroDivisionError
    hanging.set()
    assert registered == [team._end]
    code = "import atexit, sys; from geosr.training import team; atexit.register(team._end); sys.stdout.write('said')"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (made.returncode, made.stdout) == (1, "said")


def test_a_card_beside_a_processor_is_no_team() -> None:
    there = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    code = "import torch; torch.cuda.set_device = print; torch.cuda.device_count = lambda: 1\n" + CODE
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, device], env={**there, "RANK": str(rank)}, stderr=-1, stdout=-1, text=True
        )
        for rank, device in enumerate(("cuda:0", "cpu"))
    ]
    for rank in ranks:
        said = rank.communicate(timeout=120)[1].splitlines()[-1]
        assert said == (
            "PlaceError: the processes of a team compute on devices of one kind, and here it is 0 on cuda, 1 on cpu; "
            "name one"
        )
        assert rank.returncode == 1


def test_processes_that_cannot_meet_say_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(PlaceError, match=r"2 processes can't meet to train: .*MASTER_ADDR") as told, joined("cpu"):
        pass
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "cuda:0 has no memory to train with 20 patches of 28 "),
        (RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel"), "the graphics card doesn't work: "),
    ],
)
def test_a_card_that_is_full_or_broken_ends_a_training_with_a_line(error: RuntimeError, line: str) -> None:
    recipe: Any = SimpleNamespace(batch=20, patch=28)
    with pytest.raises(PlaceError, match=line) as told, loop._no_memory("cuda:0", recipe):
        raise error
    assert "\n" not in str(told.value)
