"""Where weights lie: in the package, or fetched from elsewhere once, by the user, checked against their digest.

Nothing here goes to the network but `fetch`, which runs only when it is asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from geosr.errors import ModelError, PlaceError
from geosr.models.checkpoint import sha256

PACKAGED = Path(__file__).parent / "weights"
"""Where the package keeps its weights, `NAME_xSCALE.safetensors`."""
INDEX = PACKAGED / "index.json"
"""What is too large for the package, and where it is served."""

_PATIENCE_S = 30
_CHUNK = 1 << 20

Progress = Callable[[int, int], None]
"""Told the bytes that are there, and all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of weights that the package has not."""

    name: str
    scale: int
    urls: tuple[str, ...]
    """Where it is served, tried in turn."""
    sha256: str
    size: int
    """Bytes."""
    summary: str = ""
    parameters: int = 0
    generative: bool = False

    @property
    def file(self) -> str:
        """The file's name, there and here."""
        return f"{self.name}_x{self.scale}.safetensors"


def index() -> tuple[Entry, ...]:
    """What this release can fetch."""
    entries = json.loads(INDEX.read_text(encoding="utf-8"))["files"]
    return tuple(Entry(**{**entry, "urls": tuple(entry["urls"])}) for entry in entries)


def fetched_folder() -> Path:
    """Where fetched weights lie: the environment's GEOSR_MODELS, else the user's cache."""
    if chosen := os.environ.get("GEOSR_MODELS"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "geosr" / "models"


def weights() -> dict[tuple[str, int], Path]:
    """Every file of weights by name and scale: those fetched, and before them those of the package."""
    return {**_weights_in(fetched_folder()), **_weights_in(PACKAGED)}


def _weights_in(folder: Path) -> dict[tuple[str, int], Path]:
    matches = ((re.fullmatch(r"([^.].*)_x(\d+)", path.stem), path) for path in sorted(folder.glob("*.safetensors")))
    return {(match[1], int(match[2])): path for match, path in matches if match}


def fetch(entry: Entry, source: str | None = None, progress: Progress | None = None) -> Path:
    """The entry's file in `fetched_folder()`, brought there unless it is there already.

    It takes its name only when its digest is right. A download that was cut off goes on where it stopped, if the
    server can. Raises `PlaceError` where no source has it, or a source has something else.

    Parameters
    ----------
    source
        An address (http, https, file) or a folder that holds the file, instead of the entry's own.
    """
    target = fetched_folder() / entry.file
    if target.is_file() and sha256(target) == entry.sha256:
        return target
    addresses = entry.urls if source is None else (f"{source.rstrip('/')}/{entry.file}",)
    from http.client import HTTPException

    failures = []
    for address in addresses:
        try:
            return _bring(address, entry, target, progress or (lambda done, of: None))
        except (OSError, ValueError, HTTPException) as error:
            failures.append(f"{address}: {' '.join(str(error).split()) or type(error).__name__}")
    raise PlaceError(f"can't fetch {entry.file}: {'; '.join(failures)}; try again, or give another place with --from")


def _bring(address: str, entry: Entry, target: Path, progress: Progress) -> Path:
    partial = target.with_name(f".{target.name}.{entry.sha256[:12]}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as out:
        have = out.tell()
        if have < entry.size:
            with _opened(address, have) as (stream, start):
                out.truncate(start)
                _copy(stream, out, entry.size, progress)
        came = out.tell()
    if came < entry.size:
        raise OSError(f"{came} of {entry.size} bytes came; what came is kept")
    if sha256(partial) != entry.sha256:
        partial.unlink()
        raise OSError(f"the file there is not the one published (sha256 is not {entry.sha256[:12]}...); nothing kept")
    partial.replace(target)
    return target


def _copy(stream: IO[bytes], out: IO[bytes], size: int, progress: Progress) -> None:
    out.seek(0, os.SEEK_END)
    while (done := out.tell()) <= size and (piece := stream.read(_CHUNK)):
        out.write(piece)
        progress(done + len(piece), size)


@contextmanager
def _opened(address: str, start: int) -> Iterator[tuple[IO[bytes], int]]:
    """Bytes of what lies at an address, from `start` or, where it can only be had from its beginning, from 0."""
    if "://" not in address:
        with Path(address).expanduser().open("rb") as file:
            file.seek(start)
            yield file, start
        return
    from urllib.request import Request, urlopen

    if address.partition("://")[0] not in ("http", "https", "file"):
        raise ValueError("only http, https and file addresses, and folders, can be fetched from")
    headers = {"Range": f"bytes={start}-"} if start else {}
    with urlopen(Request(address, headers=headers), timeout=_PATIENCE_S) as answer:
        yield answer, start if getattr(answer, "status", None) == 206 else 0


def wanted(name: str, scale: int | None) -> tuple[Entry, ...]:
    """The entries of a model, at one scale or all; empty where the package has it.

    Raises `ModelError` for a model or a scale that this release has nowhere.
    """
    entries = index()
    found = tuple(each for each in entries if each.name == name and scale in (None, each.scale))
    packaged = {each for each, at in _weights_in(PACKAGED) if each == name and scale in (None, at)}
    if not found and not packaged:
        names = ", ".join(sorted({each.name for each in entries}))
        there = f"there is {names}" if names else "all models of this release are in the package"
        raise ModelError(f"no weights of {name!r}{'' if scale is None else f' for x{scale}'} can be fetched; {there}")
    return found
