"""Several processes that train one network, as torchrun starts them; a single one is a team, too."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from geosr.errors import InputError, PlaceError, one_line

_GONE = "closed by peer", "reset by peer", "Broken pipe", "Timed out waiting"
"""What gloo says where another process has ended."""
_PATIENCE = 10.0
"""Seconds that a process which failed waits until it has left the others."""


@dataclass(frozen=True, slots=True)
class Team:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True where this process decides, writes and talks."""
        return self.rank == 0

    def agreed(self, values: Sequence[float]) -> list[float]:
        """The leader's numbers, in every process: what they decide by must not differ between them."""
        if self.size == 1:
            return list(values)
        box: list[Any] = [list(values)]
        dist.broadcast_object_list(box, src=0)
        return list(box[0])

    def anyone(self, here: bool) -> bool:
        """True where something is so in any process."""
        return any(each["here"] for each in self.gathered({"here": b"1" if here else b""}))

    def gathered(self, value: dict[str, bytes]) -> list[dict[str, bytes]]:
        """Every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)
        return box

    def wrapped(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are the team's mean after `backward`."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """The team that the environment (RANK, WORLD_SIZE) tells of, for as long as it lasts.

    Raises `InputError` where this build of torch can't talk to other processes, and `PlaceError` in each of the others
    where one of them ends.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    if not dist.is_available():
        raise InputError("this build of torch has no torch.distributed, so only one process can train")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    by_nccl = "nccl" in (backend := _backend(device))
    try:
        dist.init_process_group(backend, device_id=torch.device(device) if by_nccl else None)
    except (RuntimeError, ValueError) as error:
        raise PlaceError(f"{size} processes can't meet to train: {one_line(error)}") from error
    whole = False
    try:
        team = Team(dist.get_rank(), size)
        _check_alike(team, device)
        yield team
        whole = True
    except RuntimeError as error:
        if not isinstance(error, dist.DistBackendError) and not any(each in str(error) for each in _GONE):
            raise
        raise PlaceError(f"another of {size} processes has ended, and says why: {one_line(error)[:80]}") from error
    finally:
        _leave(aborts=by_nccl and not whole)


def _backend(device: str) -> str:
    """The libraries that processes talk by: NCCL for gradients on cards, and for all else gloo.

    gloo says at once that another process has ended, where NCCL waits for its time to be up, and has nobody wait for a
    card. NCCL takes one process a card: where some share one, gloo brings their gradients, too.
    """
    if not device.startswith("cuda"):
        return "gloo"
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ["WORLD_SIZE"])
    return "cpu:gloo,cuda:nccl" if here <= torch.cuda.device_count() and dist.is_nccl_available() else "gloo"


def _check_alike(team: Team, device: str) -> None:
    """Raise `PlaceError` in all processes where some have a card to compute on and others none."""
    kinds = [each["kind"].decode() for each in team.gathered({"kind": device.partition(":")[0].encode()})]
    if len({*kinds}) > 1:
        told = ", ".join(f"{rank} on {kind}" for rank, kind in enumerate(kinds))
        raise PlaceError(f"the processes of a team compute on devices of one kind, and here it is {told}; name one")


def _leave(aborts: bool) -> None:
    """Leave the team. NCCL's part ends when all end it: who failed aborts that, and waits a while for it at most."""
    if not aborts:
        dist.destroy_process_group()
        return
    abort = getattr(dist.distributed_c10d, "_abort_process_group", dist.destroy_process_group)  # torch 2.4 has none

    def leave() -> None:
        """Aborts; what it raises is nothing new."""
        with suppress(Exception):
            abort()

    (leaving := threading.Thread(target=leave, daemon=True)).start()
    leaving.join(_PATIENCE)
    if leaving.is_alive():
        atexit.register(_end)


def _end() -> None:
    """End a process that would wait for others as it ends, so that who started it sees that it failed."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)
