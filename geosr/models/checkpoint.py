"""Weights in safetensors files: header and card without torch, tensors with it; nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from geosr.errors import ModelError
from geosr.models.card import KEY, Card

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
"""Where the package keeps its weights, `NAME_xSCALE.safetensors`, and beside them scale heads."""
_LONGEST_HEADER = 16 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a safetensors file."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    """Name and shape of every tensor."""


def read_header(path: Path) -> Header:
    """Metadata and tensor shapes of a safetensors file, read without its tensors.

    Raises `ModelError` where the file is missing, truncated or something else.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                raise ModelError(f"{path} is not a whole safetensors file; geosr reads weights from no other kind")
            return _parse(json.loads(file.read(length)), size - 8 - length)
    except OSError as error:
        raise ModelError(f"can't read the weights {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(f"{path} has no readable safetensors header; it may be truncated or of another kind") from None


def read_card(path: Path) -> Card:
    """The card in a safetensors file. Raises `ModelError` where there is none."""
    header = read_header(path)
    text = header.metadata.get(KEY)
    if text is None:
        raise ModelError(f"{path} has no model card ({KEY!r} in its metadata), so geosr can't tell how to run it")
    try:
        return replace(Card.from_json(text), parameters=sum(map(math.prod, header.shapes.values())))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file in float32, on the CPU. Raises `ModelError` for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"can't load the weights {path}: {str(error).splitlines()[0]}") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, remembered until the file changes. Raises `ModelError` if it can't be read."""
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"can't read the weights {path}: {error.strerror or error}") from None


def check_weights(path: Path, sha: str | None) -> Path:
    """The path of weights that are those they were. Raises `ModelError` where they are others."""
    if sha256(path) != sha:
        raise ModelError(f"the weights {path} are not those that this run began with (sha256 {str(sha)[:12]}...)")
    return path


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(entries: dict[str, dict[str, object]], room: int) -> Header:
    metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
    shapes = {}
    for name, entry in entries.items():
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not isinstance(shape, list) or not isinstance(offsets, list):
            raise TypeError(name)
        if not 0 <= int(offsets[0]) <= int(offsets[1]) <= room:
            raise ValueError(name)
        shapes[name] = tuple(int(side) for side in shape)
    return Header(metadata, shapes)
