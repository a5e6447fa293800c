"""Zarr as it lies in a store, versions 2 and 3: JSON documents, and a compressed chunk under each key.

https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html, .../v3/core/v3.0.html. Written here and not by a library so
that workers need no more than a codec, and that the document which makes a store of the objects can come last.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError

Documents = dict[str, dict[str, Any]]
"""JSON objects by their keys."""

_NAMES = {"zstd": "zstd", "lz4": "lz4", "deflate": "zlib"}
"""Codecs as Blosc calls them."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array of a store: what its document says."""

    path: str
    """Its key, such as "1/data"."""
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    """As numpy writes it, such as "<u2", or "<U8" for text; version 3 has "string" for text of any length."""
    fill: np.generic | None = None
    """What an absent chunk reads as, and 'no data' to readers; None where there is no such number."""
    compress: str = "zstd"
    level: int = 1
    shuffle: bool = True
    version: Literal[2, 3] = 2

    def key(self, index: tuple[int, ...]) -> str:
        """The key of a chunk."""
        if self.version == 2:
            return f"{self.path}/{'.'.join(map(str, index)) or '0'}"
        return "/".join((self.path, "c", *map(str, index)))

    def encode(self, values: NDArray[Any]) -> bytes | None:
        """A chunk's bytes for values that fill it, or its first rows and columns; None where it can be left out."""
        if self.fill is not None and _all(values, self.fill):
            return None
        if self.dtype == "string":
            return self._compressed(np.frombuffer(_text(values), np.uint8))
        missing = [(0, side - size) for side, size in zip(self.chunks, values.shape, strict=True)]
        # Repeated pixels cost next to nothing, and nobody reads them.
        padded = np.pad(values, missing, mode="edge") if any(after for _, after in missing) else values
        return self._compressed(np.ascontiguousarray(padded, self.dtype))

    def documents(self, attributes: Mapping[str, Any]) -> Documents:
        """Its documents."""
        if self.version == 3:
            return {f"{self.path}/zarr.json": self._document_3(attributes)}
        named = {"_ARRAY_DIMENSIONS": list(self.dims), **attributes}
        return {f"{self.path}/.zarray": self._document_2(), f"{self.path}/.zattrs": named}

    def _compressed(self, values: NDArray[Any]) -> bytes:
        if self.compress == "none":
            return values.tobytes()
        from numcodecs import blosc

        flat = values.reshape(-1) if self._shuffles else values.reshape(-1).view(np.uint8)
        shuffle = blosc.SHUFFLE if self._shuffles else blosc.NOSHUFFLE
        return bytes(blosc.compress(flat, _NAMES[self.compress].encode(), self.level, shuffle))

    @property
    def _shuffles(self) -> bool:
        return self.shuffle and self.dtype != "string" and np.dtype(self.dtype).kind in "iuf" and self.dtype[-1] != "1"

    def _document_2(self) -> dict[str, Any]:
        codec = {"id": "blosc", "cname": _NAMES.get(self.compress), "clevel": self.level, "blocksize": 0}
        return {
            "zarr_format": 2,
            "shape": list(self.shape),
            "chunks": list(self.chunks),
            "dtype": self.dtype,
            "compressor": None if self.compress == "none" else codec | {"shuffle": int(self._shuffles)},
            "fill_value": _number(self.fill),
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        }

    def _document_3(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        text = self.dtype == "string"
        size = 1 if text else np.dtype(self.dtype).itemsize
        serial: dict[str, Any] = {"name": "vlen-utf8" if text else "bytes"}
        if size > 1:
            serial["configuration"] = {"endian": "little"}
        settings = {"typesize": size, "cname": _NAMES.get(self.compress), "clevel": self.level, "blocksize": 0}
        blosc = {"name": "blosc", "configuration": settings | {"shuffle": "shuffle" if self._shuffles else "noshuffle"}}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": "string" if text else np.dtype(self.dtype).name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunks)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "" if text else 0 if self.fill is None else _number(self.fill),
            "codecs": [serial] if self.compress == "none" else [serial, blosc],
            "attributes": dict(attributes),
            "dimension_names": list(self.dims),
        }


def group_documents(
    path: str, attributes: Mapping[str, Any], members: Documents, version: Literal[2, 3]
) -> tuple[Documents, str]:
    """The documents of a group, with those of all its members (by keys from the root) gathered in one.

    The key of the one comes along that makes a group of the objects: it should be written last.
    """
    prefix = f"{path}/" if path else ""
    within = {key.removeprefix(prefix): document for key, document in members.items()}
    if version == 2:
        own: Documents = {".zgroup": {"zarr_format": 2}, ".zattrs": dict(attributes)}
        gathered = {"zarr_consolidated_format": 1, "metadata": own | within}
        return {
            prefix + key: document for key, document in (own | {".zmetadata": gathered}).items()
        }, f"{prefix}.zgroup"
    nodes = {key.removesuffix("/zarr.json"): document for key, document in within.items()}
    inline = {"kind": "inline", "must_understand": False, "metadata": nodes}
    group = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes), "consolidated_metadata": inline}
    return {f"{prefix}zarr.json": group}, f"{prefix}zarr.json"


def check_codec(compress: str) -> None:
    """Raise `InputError` where this process can't encode chunks."""
    if compress != "none" and find_spec("numcodecs") is None:
        raise InputError("a compressed Zarr store needs numcodecs: install geosr[zarr], or use --co COMPRESS=NONE")


def dumped(document: Mapping[str, Any]) -> bytes:
    """A document as bytes. Raises `ValueError` for what JSON can't hold."""
    return json.dumps(document, allow_nan=False).encode()


ROOTS = (".zgroup", "zarr.json")
"""Documents by which a root group is known."""


def _number(value: np.generic | None) -> int | float | str | None:
    if value is None:
        return None
    if value.dtype.kind != "f":
        return int(value)
    if np.isnan(value):
        return "NaN"
    return float(value) if np.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")  # type: ignore[operator]


def _all(values: NDArray[Any], fill: np.generic) -> bool:
    return bool(np.isnan(values).all()) if fill != fill else bool((values == fill).all())


def _text(values: NDArray[Any]) -> bytes:
    """Strings as the codec vlen-utf8 lays them out: how many, then each behind its length."""
    coded = [str(value).encode() for value in np.ravel(values)]
    return struct.pack("<I", len(coded)) + b"".join(struct.pack("<I", len(each)) + each for each in coded)
