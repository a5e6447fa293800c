"""What a run has finished, in a file that survives being killed at any byte.

A header names the run; records follow, each with its length and CRC. A record is written only after what it speaks of,
so a record that reads back whole can be trusted, and the first one that doesn't ends the journal.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geosr.errors import PlaceError
from geosr.io.codec import crc32
from geosr.io.files import open_data, read_at, sync, write_at

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
    """An append-only file of records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_data(path)
        self.end = 0
        """Where the next record is read or written."""

    def header(self) -> str | None:
        """The text given to `begin`, None for a new or torn journal. Raises `PlaceError` where the file is none."""
        record = self._record(len(_MAGIC))
        start = read_at(self._file, len(_MAGIC), 0)
        if start != _MAGIC[: len(start)]:
            raise PlaceError(f"{self.path} is not a journal of geosr; move it away and run again")
        if record is None or start != _MAGIC:
            return None
        self.end = record.start + len(record.payload)
        return record.payload.decode()

    def begin(self, header: str) -> None:
        """Forget everything and begin with this header."""
        self._file.truncate(0)
        write_at(self._file, _MAGIC, 0)
        self.end = len(_MAGIC)
        self.add(0, header.encode())
        sync(self._file)

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
        return read_at(self._file, size, start)

    def trim(self) -> None:
        """Drop what a killed run left behind the last whole record."""
        self._file.truncate(self.end)

    def sync(self) -> None:
        """Have the disk keep it."""
        sync(self._file)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _record(self, at: int) -> Record | None:
        head = read_at(self._file, _HEAD.size, at)
        if len(head) < _HEAD.size:
            return None
        size, crc, kind = _HEAD.unpack(head)
        start = at + _HEAD.size
        payload = read_at(self._file, size, start) if size < _LONGEST else b""
        whole = len(payload) == size and _crc(kind, payload) == crc
        return Record(kind, payload, start) if whole else None


def _crc(kind: int, payload: bytes) -> int:
    return crc32(payload, kind)
