"""What tells one input from another, or from itself after a change."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geosr.io.environment import is_remote

_LARGEST_TEXT = 4 * 2**20
_MOST_FILES = 1000
_MOST_BYTES = 4 * 2**30
"""Of all files of an input together, that are read to know it."""
_STATISTICS = re.compile(rb'<Histograms>.*?</Histograms>|<MDI key="STATISTICS_\w+">[^<]*</MDI>', re.DOTALL)
_EMPTY = re.compile(rb"\s*<(\w+)(\s[^<>]*)?(/>|>\s*</\1>)\s*")
"""Elements of XML that hold nothing."""
_LOOKED_AT = 64
"""Blocks of a file behind a network that are looked up, not read."""
_PATIENCE = 10
"""Seconds to wait for a server that is only asked what it holds."""


def short_name(path: str) -> str:
    """The last part of a path or address, for people."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1].partition("?")[0] or path


def identity(dataset: DatasetReader, real: str, files: Iterable[str]) -> dict[str, str | int]:
    """Path, shape, and sizes, times of change and a digest of both ends of every file that it consists of.

    What lies behind a network is known by its length and the server's tag; where the server tells none, as with object
    stores, by some of its pixels and by where its blocks lie. A signature in an address changes, and is left out.
    """
    path = real.partition("?")[0] if is_remote(real) else real
    known: dict[str, str | int] = {"path": path, "shape": f"{dataset.count} x {dataset.height} x {dataset.width}"}
    digest = hashlib.sha256()
    for name in islice(files, _MOST_FILES):
        file = Path(name)
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode() + _ends(file, status.st_size))
    if is_remote(real):
        digest.update(_remote(dataset, real))
    elif Path(real).is_file():
        status = Path(real).stat()
        known |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return known | {"digest": digest.hexdigest()}


def content(real: str, files: Iterable[str]) -> str | None:
    """A digest of what the files of an input hold, whatever they are called and whenever they were written.

    Overviews and statistics, which other programs leave beside an input, don't count. None where it isn't read: behind
    a network, and for more than `_MOST_BYTES`, which would take longer than a part of the input may take to upscale.
    """
    there = [path for path in map(Path, files) if path.is_file() and path.suffix.lower() != ".ovr"]
    if is_remote(real) or not there or sum(path.stat().st_size for path in there) > _MOST_BYTES:
        return None
    return hashlib.sha256("".join(map(_content_of, there)).encode()).hexdigest()


def _content_of(path: Path) -> str:
    """The digest of a file; empty for a sidecar that holds nothing but statistics."""
    if not path.name.lower().endswith(".aux.xml") or path.stat().st_size > _LARGEST_TEXT:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    text, shorter = b"", _STATISTICS.sub(b"", path.read_bytes())
    while text != shorter:
        text, shorter = shorter, _EMPTY.sub(b"", shorter)
    return hashlib.sha256(text).hexdigest() if text.strip() else ""


def _remote(dataset: DatasetReader, real: str) -> bytes:
    """The words of the server on an object, or what some of its blocks hold where it says nothing."""
    address = real.partition("/vsicurl/")[2]
    if address.startswith(("http://", "https://")):
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                told = [answer.headers.get(key, "") for key in ("ETag", "Last-Modified", "Content-Length")]
            if told[0] or told[1]:  # a tag tells of the content, and a copy of it has another time
                return " ".join((told[0] or told[1], told[2])).encode()
        except (OSError, ValueError):
            pass  # some servers refuse HEAD; the pixels tell as well
    return _blocks(dataset) + b"".join(_corner(dataset, share).tobytes() for share in (0.0, 0.5, 1.0))


def _corner(dataset: DatasetReader, share: float) -> NDArray[np.generic]:
    """A few pixels, so far along the diagonal."""
    height, width = min(64, dataset.height), min(64, dataset.width)
    row, col = int(share * (dataset.height - height)), int(share * (dataset.width - width))
    pixels: NDArray[np.generic] = dataset.read(1, window=Window(col, row, width, height))
    return pixels


def _blocks(dataset: DatasetReader) -> bytes:
    """Where blocks of a GeoTIFF lie and how long they are: where they are packed, most changes move or resize some."""
    if dataset.driver not in ("GTiff", "COG"):
        return b""
    height, width = dataset.block_shapes[0]
    rows, cols = -(-dataset.height // height), -(-dataset.width // width)
    places = sorted({round(i * (rows * cols - 1) / (_LOOKED_AT - 1)) for i in range(_LOOKED_AT)})
    names = [f"BLOCK_{what}_{each % cols}_{each // cols}" for each in places for what in ("OFFSET", "SIZE")]
    return " ".join(str(dataset.get_tag_item(name, "TIFF", bidx=1)) for name in names).encode()


def _ends(file: Path, size: int, length: int = 65536) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(length)
        stream.seek(max(0, size - length))
        return head + stream.read(length)


def product_text(path: Path) -> str:
    """The metadata file of the Sentinel-2 product that a local file lies in, if any."""
    folders = [path.parent, *(folder for folder in list(path.parents)[1:6] if ".SAFE" in str(folder))]
    for folder in folders:
        for name in ("MTD_MSIL1C.xml", "MTD_MSIL2A.xml"):
            file = folder / name
            if file.is_file() and file.stat().st_size < _LARGEST_TEXT:
                return file.read_text(encoding="utf-8", errors="replace")
    return ""
