"""Work on a graphics card: one block after the other, in pieces of one shape, copied while others are computed.

A card's libraries choose an algorithm by the shape of what they are given, and another one rounds differently. Of one
shape a pixel was measured to have the same bits wherever it lies in a block, with every network and precision. So
every network gets pieces of one shape, and its pixels don't depend on how a scene was cut.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.models.devices import device_errors
from geosr.models.filters import cut
from geosr.models.model import Engine
from geosr.models.pieces import in_pieces
from geosr.models.threads import Once, holding
from geosr.models.trial import up
from geosr.sensors import Observation

SIDE = 512
"""Source pixels on each side of what a piece answers for: enough to fill a card."""
_LARGEST = 2**28
"""Bytes of an array that a card copies into by itself: such memory is not given back before the process ends."""
_RECORDS = 16
"""Recordings that are kept of an engine: of as many bands of a scene."""


class Queue:
    """The work on a device that all threads and engines of this process share: computed in turn, on one stream.

    A second block beside the first would take memory and save no time. What is not computing, reading blocks and
    copying results, goes on meanwhile.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._is_card = device.startswith("cuda")
        self._own = threading.local()
        if self._is_card:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
            self._failed: list[Any] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While inside it is the caller's turn to have something computed."""
        with self._lock, torch.cuda.stream(self._stream) if self._is_card else nullcontext():
            if self._is_card:
                self._stream.wait_stream(torch.cuda.default_stream(self.device))  # where weights are made
            yield

    def room(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array that a card copies from and into by itself, where there is one and such memory is to be had."""
        if self._is_card and math.prod(shape) * np.dtype(dtype).itemsize <= _LARGEST:
            try:
                return torch.empty(shape, dtype=getattr(torch, np.dtype(dtype).name), pin_memory=True).numpy()
            except RuntimeError:
                pass  # systems limit it; any other works, too
        return np.empty(shape, dtype)

    def brought(self, block: Tensor) -> Tensor:
        """A block on the device; in the caller's turn."""
        return block.to(self.device, non_blocking=True)

    def fetch(self, result: Tensor, target: Tensor, finished: Any) -> None:
        """Copy a result, once it is `finished`, to where it can be read; in nobody's turn."""
        if not self._is_card:
            target.copy_(result)
            return
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self._own.copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._own.stream):
            self._own.stream.wait_event(finished)
            target.copy_(result, non_blocking=True)
            self._own.copied.record()
        self._own.copied.synchronize()  # asleep: a core that asks all the time is one less for encoding

    def mark(self) -> Any:
        """The point that the work on the card has come to, to be waited for."""
        return self._stream.record_event() if self._is_card else None

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """Work that was done before, as one that starts all at once: it must touch the same memory each time."""
        if not self._is_card:
            return work
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, self._pool, self._stream, "thread_local"):
                work()
        except Exception:
            graph.reset()
            self._failed.append(graph)  # torch's allocator goes on asking it whose memory is whose
            raise
        return graph.replay

    def mend(self) -> None:
        """Leave a recording that failed behind: its memory, and torch's random numbers, which still wait for it.

        Nothing here draws any, but others in the process may. They come back by a recording that works.
        """
        if self._is_card:
            self._pool = torch.cuda.graph_pool_handle()
            with suppress(Exception), torch.cuda.graph(torch.cuda.CUDAGraph(), None, self._stream, "thread_local"):
                torch.zeros(1, device=self.device)


def unpadded(block: Tensor, rim: int, run: Callable[[Tensor], Tensor], scale: int = 1) -> Tensor:
    """(n, h * scale, w * scale) that `run` makes of a block (bands, h, w), less `rim` source pixels a side.

    `run` is given pieces of one shape, and leaves their rim out, too.
    """

    def filled(piece: Tensor) -> Tensor:
        """The result of a piece, 0 where that has no room."""
        return F.pad(run(piece), (rim * scale,) * 4)

    size = SIDE + 2 * rim
    with device_errors(str(block.device) if max(block.shape[1:]) <= size else ""):
        return cut(in_pieces(block, scale, (size, size), rim, (SIDE, SIDE), filled), rim * scale)


queue_of = Once(Queue, 64)
"""The queue of a device."""


@dataclass(frozen=True, slots=True)
class _Record:
    block: Tensor
    out: Tensor
    start: Callable[[], None]
    kept: list[Any]
    """What was made for these bands, which a recording reads where it lies."""


class Pieces:
    """A network on a card, given pieces of one shape; what a small one does again is recorded, and starts as one.

    A thread that shares an interpreter needs longer to start such work on a piece than a card to do it. On an H200
    `fast` gained 1.4 times by it, `best` 4 % (in bfloat16 it could not be recorded): so only the former is.
    """

    def __init__(self, engine: Engine, device: str) -> None:
        self.engine, self.device = engine, device
        self._records: OrderedDict[Any, _Record] = OrderedDict()
        self._seen: set[Any] = set()
        self._can_record = engine.recordable

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`; on the device, in the caller's turn."""
        if not self.engine.of_one_shape:
            self.engine(block, bands, out)
            return
        (size, side, rim), scale = self._sides(bands), out.shape[-1] // block.shape[-1]
        fine = len(out), size * scale, size * scale
        made = in_pieces(block, scale, (size, size), rim, (side, side), lambda piece: self._run(piece, bands, fine))
        out.copy_(made)

    def is_one(self, shape: tuple[int, ...], bands: Observation) -> bool:
        """True for a block of this shape that is one piece: a smaller one would be as large."""
        return self.engine.of_one_shape and max(shape[-2:]) <= self._sides(bands)[0]

    def _sides(self, bands: Observation) -> tuple[int, int, int]:
        """The side of a piece, that of what it answers for, and the rim between them."""
        step = self.engine.multiple
        rim = up(max(self.engine.reach(band.response) for band in bands), step)
        side = up(SIDE, step)
        return side + 2 * rim, side, rim

    def _run(self, piece: Tensor, bands: Observation, fine: tuple[int, ...]) -> Tensor:
        """The engine's result for a piece, of shape `fine`, in memory that the next one may take."""
        key = bands, piece.shape, piece.dtype
        if record := self._records.get(key):
            self._records.move_to_end(key)
            record.block.copy_(piece)
            record.start()
            return record.out
        out = piece.new_empty(fine)
        self.engine(piece, bands, out)
        if key in self._seen and self._can_record:
            self._record(key, piece, bands, fine)
        self._seen = {*list(self._seen)[-_RECORDS:], key}
        return out

    def _record(self, key: Any, piece: Tensor, bands: Observation, fine: tuple[int, ...]) -> None:
        """Keep the work on such pieces as one recording, unless it can't be recorded, or there is no memory for it.

        This thread has just done it: what a library makes for a thread that is new to it can't be recorded.
        """
        try:
            block, out = torch.empty_like(piece), piece.new_empty(fine)
            with holding() as kept:
                start = queue_of(self.device).recorded(lambda: self.engine(block, bands, out))
        except Exception:  # whatever torch, cuDNN and cuBLAS raise there: the work can be done without
            self._can_record = False
            queue_of(self.device).mend()
            return
        while len(self._records) >= _RECORDS:
            self._records.popitem(last=False)
        self._records[key] = _Record(block, out, start, kept)
