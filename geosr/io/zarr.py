"""Zarr as it lies in a store, versions 2 and 3: a compressed chunk under each key, and documents.

Workers encode their chunks, for which they need no more than a codec. The documents are zarr-python's, made in memory,
so that the one which makes a store of the objects can come last.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError

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
        missing = [(0, side - size) for side, size in zip(self.chunks, values.shape, strict=True)]
        # Repeated pixels cost next to nothing, and nobody reads them.
        padded = np.pad(values, missing, mode="edge") if any(after for _, after in missing) else values
        return self._compressed(np.ascontiguousarray(padded, self.dtype))

    def _compressed(self, values: NDArray[Any]) -> bytes:
        if self.compress == "none":
            return values.tobytes()
        from numcodecs import blosc

        flat = values.reshape(-1) if self._shuffles else values.reshape(-1).view(np.uint8)
        shuffle = blosc.SHUFFLE if self._shuffles else blosc.NOSHUFFLE
        return bytes(blosc.compress(flat, _NAMES[self.compress].encode(), self.level, shuffle))

    def codec(self) -> Any:
        """The compression as zarr-python has it."""
        if self.compress == "none":
            return None
        name, size = _NAMES[self.compress], 1 if self.dtype == "string" else np.dtype(self.dtype).itemsize
        if self.version == 2:
            from numcodecs import Blosc

            return Blosc(name, self.level, int(self._shuffles), 0)
        from zarr.codecs import BloscCname, BloscCodec, BloscShuffle

        shuffle = BloscShuffle.shuffle if self._shuffles else BloscShuffle.noshuffle
        return BloscCodec(typesize=size, cname=BloscCname(name), clevel=self.level, shuffle=shuffle, blocksize=0)

    @property
    def _shuffles(self) -> bool:
        return self.shuffle and self.dtype != "string" and np.dtype(self.dtype).kind in "iuf" and self.dtype[-1] != "1"


def objects(
    attributes: Mapping[str, Any],
    arrays: Iterable[tuple[Array, Mapping[str, Any], NDArray[Any] | None]],
    version: Literal[2, 3],
) -> Iterator[tuple[str, bytes]]:
    """Keys and bytes of what makes a store of chunks; last the root's document, before which it is none to a reader.

    Arrays come with their attributes and, where no worker has written them, their values.
    """
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Any] = {}
    store = MemoryStore(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 3 has no word for gathered documents, but its readers have
        root = zarr.create_group(store, zarr_format=version, attributes=dict(attributes))
        for array, told, values in arrays:
            entry = _create(root, array, dict(told))
            if values is not None:
                entry[...] = values
        for level in sorted(root.group_keys(), reverse=True):
            zarr.consolidate_metadata(store, path=level, zarr_format=version)
        zarr.consolidate_metadata(store, zarr_format=version)
    for key in sorted(made, key=lambda key: key in ROOTS):
        yield key, made[key].to_bytes()


def _create(root: Any, array: Array, attributes: dict[str, Any]) -> Any:
    settings: dict[str, Any] = {"shape": array.shape, "chunks": array.chunks, "dtype": array.dtype}
    if array.version == 2:
        settings |= {"fill_value": array.fill, "attributes": {"_ARRAY_DIMENSIONS": list(array.dims)} | attributes}
    else:
        settings |= {"dimension_names": array.dims, "attributes": attributes}
        settings |= {} if array.fill is None else {"fill_value": array.fill}
    return root.create_array(array.path, compressors=array.codec(), **settings)


def check_installed() -> None:
    """Raise `InputError` where this process can't write stores."""
    if find_spec("zarr") is None or find_spec("numcodecs") is None:
        raise InputError("a Zarr store needs zarr-python 3; pip install 'geosr[zarr]'")


ROOTS = (".zgroup", "zarr.json")
"""Documents by which a root group is known."""


def _all(values: NDArray[Any], fill: np.generic) -> bool:
    return bool(np.isnan(values).all()) if fill != fill else bool((values == fill).all())
