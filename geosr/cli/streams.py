"""Stdout and stderr as they may be: full, closed, with a reader that left, or short of letters."""

from __future__ import annotations

import codecs
import os
import sys
import threading
from typing import TextIO

from geosr.errors import PlaceError


def prepare_streams() -> None:
    """Give closed streams a place, so that no file that is opened later takes it, and have every name printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next one to be opened gets this number
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error("geosr", _as_named)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="geosr")


def out(text: object) -> None:
    """A line on stdout. Raises `PlaceError` where it can't be written, `BrokenPipeError` where its reader left."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        mute(sys.stdout)
        raise
    except OSError as error:
        mute(sys.stdout)
        raise PlaceError(f"stdout can't be written: {error.strerror or error}") from error


def announce(result: object) -> None:
    """A line on stdout about something that is done: where it can't be written that is told, and is no failure."""
    try:
        out(result)
    except BrokenPipeError:
        pass
    except PlaceError as error:
        print(f"geosr: {error}; the work is done and kept", file=sys.stderr)


def mute(stream: TextIO) -> None:
    """Have a stream that failed fail no more, at the end of the process neither."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def leave_tiles_behind(code: int) -> None:
    """End now where tiles are still worked on: Python would wait for them, and all that is kept is on the disk."""
    from geosr.cluster import POOL

    if any(thread.name.startswith(POOL) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _as_named(error: UnicodeError) -> tuple[bytes, int]:
    """Bytes of a name that is no text as they are, letters that an encoding lacks as escapes."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return b"".join(_bytes_of(letter) for letter in letters), error.end


def _bytes_of(letter: str) -> bytes:
    escaped = "\udc80" <= letter <= "\udcff"  # as `os.fsdecode` keeps a byte that is no text
    return bytes([ord(letter) - 0xDC00]) if escaped else letter.encode("ascii", "backslashreplace")
