"""A file written once from its start to its end, past the system's page cache where that can be had."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from geosr.io.journal import read_into, write_at

_BUFFER = 4 * 2**20
"""Bytes written at a time; a multiple of every page and sector."""
_DIRECT: int = getattr(os, "O_DIRECT", 0)


@contextmanager
def outflow(path: Path) -> Iterator[Outflow]:
    """A new file at `path`, which the disk keeps, or which is gone if writing fails."""
    file = _open(path)
    try:
        with ThreadPoolExecutor(1, "geosr-outflow") as writer:
            out = Outflow(file, writer)
            yield out
            out.finish()
        os.fsync(file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


class Outflow:
    """Two buffers, one being filled while the other is written.

    A page of cache for every page of a large file that nobody reads soon would cost the processor twice as much as
    all the rest of the copying.
    """

    def __init__(self, file: int, writer: ThreadPoolExecutor) -> None:
        self.file = file
        self.size = 0
        """Bytes put in so far."""
        # Anonymous maps start at a page, which is what the system asks of buffers that bypass its cache.
        self._filling, self._other = (memoryview(mmap.mmap(-1, _BUFFER)) for _ in range(2))
        self._writer = writer
        self._writing: Future[None] | None = None

    def put(self, data: bytes) -> None:
        """Adds `data` at the end."""
        left = memoryview(data)
        while left:
            room = self._room(len(left))
            room[:], left = left[: len(room)], left[len(room) :]
            self._filled(len(room))

    def copy(self, file: int, start: int, size: int) -> None:
        """Adds `size` bytes of another open file, from its byte `start`. Raises `EOFError` where it ends before."""
        end = start + size
        while start < end:
            room = self._room(end - start)
            read_into(file, room, start)
            start += len(room)
            self._filled(len(room))

    def finish(self) -> None:
        """Writes what is left over."""
        self._wait()
        if rest := self.size % _BUFFER:
            _through_the_cache(self.file)
            write_at(self.file, self._filling[:rest], self.size - rest)

    def _room(self, size: int) -> memoryview:
        """What of `size` bytes there is room for before the buffer is written."""
        start = self.size % _BUFFER
        return self._filling[start : start + size]

    def _filled(self, size: int) -> None:
        self.size += size
        if self.size % _BUFFER:
            return
        self._wait()
        self._writing = self._writer.submit(_write, self.file, self._filling, self.size - _BUFFER)
        self._filling, self._other = self._other, self._filling

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags | _DIRECT, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL or not _DIRECT:
            raise
        return os.open(path, flags, 0o666)


def _write(file: int, data: memoryview, at: int) -> None:
    try:
        write_at(file, data, at)
    except OSError as error:
        # Some file systems open such a file and then can't write it; after part of a buffer, others can't go on.
        if error.errno != errno.EINVAL or not _through_the_cache(file):
            raise
        write_at(file, data, at)


def _through_the_cache(file: int) -> bool:
    """Write the rest as any file is written; whether that is a change."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    if not flags & _DIRECT:
        return False
    fcntl.fcntl(file, fcntl.F_SETFL, flags & ~_DIRECT)
    return True
