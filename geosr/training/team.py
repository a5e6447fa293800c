"""Several processes that train one network, as torchrun starts them; a single one is a team, too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from geosr.errors import InputError, PlaceError, one_line

_GONE = "closed by peer", "reset by peer", "Broken pipe", "Timed out waiting"
"""What gloo says where another process has ended."""


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
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Team(dist.get_rank(), size)
    except RuntimeError as error:
        if not isinstance(error, dist.DistBackendError) and not any(each in str(error) for each in _GONE):
            raise
        raise PlaceError(f"another of {size} processes has ended, and says why: {one_line(error)[:80]}") from error
    finally:
        dist.destroy_process_group()
