"""PyAV, which holds FFmpeg: imported when a clip is met, with one line where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geosr.errors import DamageError, InputError

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".mxf", ".nut", ".wmv",
    ".flv", ".3gp", ".h264", ".264", ".h265", ".hevc", ".y4m",
)  # fmt: skip
"""What names of clips end in."""


def is_clip(source: Any) -> bool:
    """True for the name of a clip."""
    return isinstance(source, str | Path) and str(source).lower().endswith(SUFFIXES)


def pyav() -> Any:
    """The library. Raises `InputError` where it isn't installed."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise InputError("clips are read and written by PyAV, which is missing; pip install 'geosr[video]'") from error
    av.logging.set_level(None)
    return av


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turns what the library says of a clip that can't be read into one line."""
    try:
        yield
    except (pyav().error.FFmpegError, ValueError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{path} doesn't exist") from error
        what = getattr(error, "strerror", None) or str(error)
        raise DamageError(f"{path} can't be read as a clip: {what}; it may be cut short, or be none") from error
