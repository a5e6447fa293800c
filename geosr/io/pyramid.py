"""One result in a Zarr store: an array of pixels at each level, and what goes into which chunk of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.io.geozarr import MASK
from geosr.io.layout import Layout
from geosr.io.overviews import Image
from geosr.io.zarr import Array


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The arrays of pixels of a store, and what goes into which chunk of them. Pickles small."""

    layout: Layout
    name: str
    dims: tuple[str, ...]
    """The last two are rows and columns."""
    shape: tuple[int, ...]
    """But for rows and columns. The layout's bands are its last number, or 1 where there is none for them."""

    def array(self, level: int, mask: bool = False) -> Array:
        """The array of a level."""
        layout, part, options = self.layout, self.layout.part(level), self.layout.options
        shape, dims, lead = ((), self.dims[-2:], ()) if mask else (self.shape, self.dims, self._lead(layout.samples))
        return Array(
            path=f"{level}/{MASK if mask else self.name}".removeprefix("0/"),
            dims=dims,
            shape=(*shape, part.height, part.width),
            chunks=(*lead, layout.block, layout.block),
            dtype="|u1" if mask else np.dtype(layout.dtype).newbyteorder("<").str,
            fill=None if mask else self.layout.missing,
            compress=options.compress,
            level=options.level,
            shuffle=options.predictor,
            version=options.zarr_format,
        )

    @property
    def scenes(self) -> int:
        """The number of scenes that lie one behind the other, such as those of a time axis."""
        return math.prod(self.shape) // self.layout.count

    @property
    def tiles(self) -> int:
        """Tiles of one scene."""
        return math.prod(self.layout.grid)

    def chunks(self, scene: int, level: int, row: int, col: int, image: Image) -> Iterator[tuple[str, bytes | None]]:
        """Keys and bytes for an image whose upper left chunk stands at `row`, `col` of its level."""
        side, array = self.layout.block, self.array(level)
        height, width = image.stored.shape[1:]
        for top in range(0, height, side):
            for left in range(0, width, side):
                there = np.s_[top : top + side, left : left + side]
                index = row + top // side, col + left // side
                for plane in range(0, self.layout.count, self.layout.samples):
                    piece = image.stored[plane : plane + self.layout.samples, *there]
                    key = array.key((*self._index(scene, plane), *index))
                    yield key, array.encode(piece.reshape(*self._lead(piece.shape[0]), *piece.shape[1:]))
                if self.layout.masked:
                    yield self._mask(level, index, image.mask, image.stored.shape[1:], there)

    def _mask(
        self, level: int, index: tuple[int, int], mask: NDArray[np.bool_] | None, shape: tuple[int, ...], there: Any
    ) -> tuple[str, bytes | None]:
        array = self.array(level, mask=True)
        valid = np.ones(shape, bool) if mask is None else mask
        return array.key(index), array.encode(valid[there].astype(np.uint8))

    @property
    def _banded(self) -> int:
        return int(bool(self.shape) and self.shape[-1] == self.layout.count)

    def _lead(self, samples: int) -> tuple[int, ...]:
        return (1,) * (len(self.shape) - self._banded) + (samples,) * self._banded

    def _index(self, scene: int, plane: int) -> tuple[int, ...]:
        """Which chunk along all dimensions but rows and columns."""
        lead = self.shape[: len(self.shape) - self._banded]
        at = tuple(int(each) for each in np.unravel_index(scene, lead)) if lead else ()
        return (*at, *(plane // self.layout.samples,) * self._banded)
