"""Things made before they are asked for, by several threads, in one order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Generic, TypeVar

import torch

from geosr.models.threads import alone
from geosr.pipeline import cores

T = TypeVar("T")

MOST = 8
"""Threads that make samples for a card: as they start by Python's leave, more would wait for each other."""


def spare() -> int:
    """Threads that may work while another one steps: those that torch may use and that have a core, less that one."""
    return max(1, min(MOST, min(torch.get_num_threads(), cores()) - 1))


class Ahead(Generic[T]):
    """Results of what `decide` gives, call after call, made by several threads.

    It is called in turn, so that what it decides depends on no thread; what it gave is called meanwhile.
    """

    def __init__(self, decide: Callable[[], Callable[[], T]], threads: int) -> None:
        self._decide, self.threads = decide, threads
        self._pool = ThreadPoolExecutor(threads, "geosr-ahead", alone)
        self._made: deque[Future[T]] = deque()
        self._decided = Event()
        self._decided.set()

    def next(self) -> T:
        """The next one. Raises what deciding or making it raised."""
        while len(self._made) <= self.threads:
            before, self._decided = self._decided, Event()
            self._made.append(self._pool.submit(self._make, before, self._decided))
        return self._made.popleft().result()

    def forget(self) -> None:
        """Gives up all that was decided and not asked for; when this returns, nothing is being decided."""
        wait(self._made)
        self._made.clear()

    def _make(self, before: Event, decided: Event) -> T:
        before.wait()  # threads take what is submitted in its order: the one before has begun
        try:
            make = self._decide()
        finally:
            decided.set()
        return make()
