"""A process made ready for tiles: one torch thread for each of its own, and memory that is kept between blocks."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.Lock()
_inside: Counter[int] = Counter()
"""How often each thread is in `prepare_process`."""
_usual: int | None = None
"""What torch used before it was told."""


class Once(Generic[P, T]):
    """A function whose results are remembered, as by `lru_cache`, and made once: others wait for the same one."""

    def __init__(self, function: Callable[P, T], maxsize: int = 8) -> None:
        self._made = lru_cache(maxsize)(function)
        self._guard, self._locks = threading.Lock(), WeakValueDictionary[Any, Any]()
        self.cache_clear, self.cache_info = self._made.cache_clear, self._made.cache_info

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's own result."""
        with self._guard:  # who passes what can't be hashed is told so
            lock = self._locks.setdefault((args, *kwargs.items()), threading.RLock())
        with lock:
            made = self._made(*args, **kwargs)  # type: ignore[arg-type]
        if (held := getattr(_own, "held", None)) is not None:
            held.append(made)
        return made


_own = threading.local()
_in_hand: Counter[str] = Counter()
"""Blocks that devices have to do."""


@contextmanager
def least_busy(devices: Sequence[str]) -> Iterator[str]:
    """The first of those devices that have fewest blocks in hand; while inside it has one more."""
    with _lock:
        device = min(devices, key=lambda each: _in_hand[each])
        _in_hand[device] += 1
    try:
        yield device
    finally:
        with _lock:
            _in_hand[device] -= 1


@contextmanager
def holding() -> Iterator[list[Any]]:
    """All that `Once` gives this thread meanwhile, so that it is not forgotten."""
    held: list[Any] = []
    _own.held = held
    try:
        yield held
    finally:
        _own.held = None


@contextmanager
def prepare_process() -> Iterator[None]:
    """While any caller is inside, torch uses one thread for each, and freed memory is kept for the next block.

    The threads that work on tiles are the parallelism. The C library would hand every large block back to the system
    and fault it in again for the next layer. What was usual comes back when the last caller leaves, however callers of
    several threads overlap; outside glibc nothing is done about memory.
    """
    me = threading.get_ident()
    with _lock:
        _inside[me] += 1
        tell_torch()
        if _inside.total() == 1:
            _keep_freed_memory()
    try:
        yield
    finally:
        with _lock:
            _inside[me] -= 1
            if not _inside[me]:
                del _inside[me]
                _usual_again()
            if not _inside:
                _release_freed_memory()


def tell_torch() -> None:
    """Have torch use one thread where the process is prepared; for who imports torch after that."""
    global _usual
    if _inside and (torch := _torch()):
        _usual = _usual or torch.get_num_threads()
        torch.set_num_threads(1)


def _usual_again() -> None:
    """This thread is not prepared any more; others may be."""
    global _usual
    if _usual is None or not (torch := _torch()):
        return
    torch.set_num_threads(_usual)
    if not _inside:
        _usual = None
        return
    _tell_those_to_come(torch, 1)  # threads of the callers that are inside


def alone() -> None:
    """This thread's torch uses one thread; others, and threads to come, use what they would have used."""
    if torch := _torch():
        with _lock:
            usual = torch.get_num_threads()
            torch.set_num_threads(1)
            _tell_those_to_come(torch, usual)


def _tell_those_to_come(torch: Any, threads: int) -> None:
    """The number is that of the thread that sets it and of all threads to come."""
    passing = threading.Thread(target=torch.set_num_threads, args=(threads,))
    passing.start()
    passing.join()


def _torch() -> Any:
    """torch where it has been imported, all of it; else None."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "set_num_threads") else None


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def _keep_freed_memory() -> None:
    if libc := _glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def _release_freed_memory() -> None:
    if libc := _glibc():
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD):
            libc.mallopt(option, 128 << 10)
        libc.malloc_trim(0)


@lru_cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def processor_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
