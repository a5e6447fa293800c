"""What a run has finished, in a file that survives being killed at any byte.

A header names the run; records follow, each with its length and CRC. A record is written only after what it speaks of,
so a record that reads back whole can be trusted, and the first one that doesn't ends the journal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geosr.errors import PlaceError
from geosr.io.codec import crc32

_MAGIC = b"geosr journal 1\n"
_HEAD = struct.Struct("<IIB")
"""Bytes of the payload, CRC of kind and payload, kind."""
_LONGEST = 2**31


@dataclass(frozen=True, slots=True)
class Record:
    """One entry."""

    kind: int
    payload: bytes
    start: int
    """Where the payload begins in the journal, for `Journal.read`."""


class Journal:
    """An append-only file of records, locked against a second run for as long as it is open.

    Raises `PlaceError` where another process holds it, or the file is not a journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_locked(path)
        self.end = 0
        """Where the next record is read or written."""

    def header(self) -> str | None:
        """What `begin` was given, None for a new or torn journal."""
        record = self._record(len(_MAGIC))
        start = os.pread(self._file, len(_MAGIC), 0)
        if start != _MAGIC[: len(start)]:
            raise PlaceError(f"{self.path} is not a journal of geosr; move it away and run again")
        if record is None or start != _MAGIC:
            return None
        self.end = record.start + len(record.payload)
        return record.payload.decode()

    def begin(self, header: str) -> None:
        """Forget everything and begin with this header."""
        os.ftruncate(self._file, 0)
        write_at(self._file, _MAGIC, 0)
        self.end = len(_MAGIC)
        self.add(0, header.encode())
        os.fsync(self._file)

    def records(self) -> Iterator[Record]:
        """The whole records from `end` on, in order; one is left behind when the next is asked for."""
        while (record := self._record(self.end)) is not None:
            yield record
            self.end = record.start + len(record.payload)

    def add(self, kind: int, payload: bytes) -> int:
        """Append a record; where its payload begins comes back. A failed one leaves the journal as it was."""
        write_at(self._file, _HEAD.pack(len(payload), _crc(kind, payload), kind) + payload, self.end)
        start = self.end + _HEAD.size
        self.end = start + len(payload)
        return start

    def read(self, start: int, size: int) -> bytes:
        """A piece of a payload."""
        return os.pread(self._file, size, start)

    def trim(self) -> None:
        """Drop what a killed run left behind the last whole record."""
        os.ftruncate(self._file, self.end)

    def sync(self) -> None:
        """Have the disk keep it."""
        os.fsync(self._file)

    def close(self) -> None:
        """Give the file and its lock back."""
        os.close(self._file)

    def _record(self, at: int) -> Record | None:
        head = os.pread(self._file, _HEAD.size, at)
        if len(head) < _HEAD.size:
            return None
        size, crc, kind = _HEAD.unpack(head)
        start = at + _HEAD.size
        payload = os.pread(self._file, size, start) if size < _LONGEST else b""
        whole = len(payload) == size and _crc(kind, payload) == crc
        return Record(kind, payload, start) if whole else None


def write_at(file: int, data: bytes | memoryview, at: int) -> None:
    """Write all of `data` at an offset of an open file."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def read_into(file: int, buffer: memoryview, at: int) -> None:
    """Fill a buffer from an offset of an open file. Raises `EOFError` where the file ends before."""
    while buffer:
        if not (count := os.preadv(file, [buffer], at)):
            raise EOFError(f"{len(buffer)} bytes are missing at offset {at}")
        buffer, at = buffer[count:], at + count


BEHIND = 64 * 2**20
"""So far behind what was just written there may be bytes that the disk hasn't taken yet."""


def let_go(file: int, start: int, end: int) -> None:
    """Have the system begin to write a part of an open file, and forget what of it is written or was only read.

    Nobody reads it soon, and fresh memory for every page of a large file would cost more than filling it.
    """
    if hasattr(os, "posix_fadvise"):
        start = max(0, start)
        os.posix_fadvise(file, start, end - start, os.POSIX_FADV_DONTNEED)


def _crc(kind: int, payload: bytes) -> int:
    return crc32(payload, kind)


def open_locked(path: Path) -> int:
    """An open file, made where there is none, that no other process has. Raises `PlaceError` where one has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(file, path)
            # A run that just ended may have removed the file between our opening and locking it.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise PlaceError(f"another run is writing this output (it holds {path.name}); wait for it") from error
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
            raise
