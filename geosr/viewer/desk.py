"""Work that is asked for by many: done once, a bounded number at a time, called back when nobody waits for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from geosr.cluster import POOL
from geosr.errors import PlaceError
from geosr.radiometry import Pixels

_LOOK = 0.1
"""Seconds after which it is looked whether who asked is still there."""
_SMALL = 2**16
"""Bytes that a result that is no array counts for."""


class BusyError(PlaceError):
    """Too much is waited for."""


class LeftError(PlaceError):
    """Who asked has gone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece of work that is asked for."""

    key: Hashable
    """What its result is known by."""
    make: Callable[[], Any]
    quick: bool = False
    """Whether it is done beside what takes long, and doesn't wait for that."""


class Desk:
    """Results by key, of which the last ones used are kept; none is made twice at a time."""

    def __init__(self, workers: int, room: int = 256 * 2**20, most: int = 64) -> None:
        self._pools = {quick: ThreadPoolExecutor(workers, POOL) for quick in (False, True)}
        self._room, self._most = room, most
        """Bytes that are kept, and pieces that wait or are done at a time."""
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._size = 0
        self._flying: dict[Hashable, Future[Any]] = {}
        self._asking: dict[Hashable, int] = {}
        """How many wait for each that is not there yet."""
        self._lock = threading.RLock()

    def get(self, wanted: Sequence[Wanted], gone: Callable[[], bool]) -> list[Any]:
        """The results, in the order asked for.

        What nobody waits for any more is called back before it begins. Raises `BusyError` where too much is waited for,
        `LeftError` where `gone` says that who asked has left, and what `make` raises.
        """
        with self._lock:
            found = {one.key: self._kept[one.key] for one in wanted if one.key in self._kept}
            missing = {one.key: one for one in wanted if one.key not in found}
            for key in found:
                self._kept.move_to_end(key)
            if missing and len(self._flying.keys() | missing) > self._most:
                raise BusyError(f"more than {self._most} tiles are waited for; try again")
            futures = {key: self._start(one) for key, one in missing.items()}
        try:
            while wait(futures.values(), timeout=_LOOK).not_done:
                if gone():
                    raise LeftError("who asked has left")
            found |= {key: future.result() for key, future in futures.items()}
        finally:
            self._leave(futures)
        return [found[one.key] for one in wanted]

    def begin(self, wanted: Wanted) -> None:
        """Have a piece done though nobody waits for it yet."""
        with self._lock:
            self._start(wanted)

    def kept(self, key: Hashable) -> Any | None:
        """A result, if it is there."""
        with self._lock:
            return self._kept.get(key)

    @property
    def busy(self) -> int:
        """The number of pieces that are waited for."""
        with self._lock:
            return len(self._flying)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._size

    def close(self) -> None:
        """Call back what has not begun, and begin no more."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, one: Wanted) -> Future[Any]:
        self._asking[one.key] = self._asking.get(one.key, 0) + 1
        if (flying := self._flying.get(one.key)) is not None:
            return flying
        self._flying[one.key] = future = self._pools[one.quick].submit(one.make)
        future.add_done_callback(lambda done: self._take(one.key, done))  # where it has ended already, at once
        return future

    def _take(self, key: Hashable, done: Future[Any]) -> None:
        with self._lock:
            self._flying.pop(key, None)
            if done.cancelled() or done.exception() is not None:
                return
            self._kept[key] = result = done.result()
            self._size += _bytes(result)
            while self._size > self._room and len(self._kept) > 1:
                self._size -= _bytes(self._kept.popitem(last=False)[1])

    def _leave(self, futures: dict[Hashable, Future[Any]]) -> None:
        with self._lock:
            for key, future in futures.items():
                self._asking[key] -= 1
                if not self._asking[key]:
                    del self._asking[key]
                    future.cancel()


def _bytes(result: Any) -> int:
    if isinstance(result, tuple):
        return sum(map(_bytes, result))
    if not isinstance(result, Pixels):
        return _SMALL
    return int(result.stored.nbytes) + (0 if result.mask is None else result.mask.nbytes)
