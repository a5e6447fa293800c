"""Open files by offset, what the system is told of them, and locks: as any system has them, Windows too."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from filelock import BaseFileLock, FileLock, Timeout, UnixFileLock

from geosr.errors import PlaceError

BEHIND = 64 * 2**20
"""So far behind what was just written there may be bytes that the disk hasn't taken yet."""


def open_data(path: Path) -> FileIO:
    """A file to read and write at any offset, made where there is none. One thread uses it: it has one position."""
    path.touch()
    return FileIO(path, "r+")


def write_at(file: FileIO, data: bytes | memoryview, at: int) -> None:
    """Write all of `data` at an offset of an open file."""
    view = memoryview(data)
    file.seek(at)
    while view:
        view = view[file.write(view) or 0 :]


def read_at(file: FileIO, size: int, at: int) -> bytes:
    """`size` bytes from an offset of an open file; fewer where it ends before."""
    file.seek(at)
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def read_into(file: FileIO, data: memoryview, at: int) -> int:
    """Fill `data` from an offset of an open file; the bytes that it had come back, fewer where it ends before."""
    file.seek(at)
    done = 0
    while done < len(data) and (more := file.readinto(data[done:])):
        done += more
    return done


def sync(file: FileIO | BinaryIO) -> None:
    """Have the disk keep a file."""
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the disk keep the names in a folder, where the system opens folders."""
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def let_go(file: FileIO | BinaryIO, start: int, end: int) -> None:
    """Have the system begin to write a part of an open file, and forget what of it is written or was only read.

    Nobody reads it soon, and fresh memory for every page of a large file would cost more than filling it.
    """
    if hasattr(os, "posix_fadvise"):
        start = max(0, start)
        os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)


def lock(result: Path) -> BaseFileLock | None:
    """The lock of a result, None where the system knows no locks. Raises `PlaceError` where another run holds it."""
    path = result.with_name(f".{result.name}.lock")
    held = FileLock(path, thread_local=False)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise PlaceError(f"another run is writing this output (it holds {path.name}); wait for it") from error
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
            raise
        path.unlink(missing_ok=True)
        return None
    return held


def unlock(held: BaseFileLock | None) -> None:
    """Give a lock back. Its file goes too: before the lock where others may hold it open, else with it."""
    if isinstance(held, UnixFileLock):
        with suppress(OSError):
            Path(held.lock_file).unlink()
    if held is not None:
        held.release()
