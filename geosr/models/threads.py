"""One torch thread for each of the threads that work on tiles, however they come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from geosr.models.runtime import prepare_process

_lock = threading.Lock()
_inside = 0
_stack = ExitStack()


@contextmanager
def sole_threads() -> Iterator[None]:
    """While any caller is inside, torch uses one thread for each: the scheduler's threads are the parallelism."""
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _stack.enter_context(prepare_process(threads=1))
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _stack.close()
