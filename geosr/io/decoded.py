"""Pieces of rasters that are decoded once for all tiles, and all threads, that meet them."""

from __future__ import annotations

import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.window import Window

T = TypeVar("T")
Piece = tuple[NDArray[np.generic], NDArray[np.bool_] | None]
"""Stored numbers (bands, height, width), and what the file's mask says (height, width)."""
_CELL, _FLAT = 256, 64
"""Rows and columns that a cell has at least; rows of one that is as wide as the file."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The whole blocks of a file that are decoded at a time."""

    file: Window
    """All of it."""
    rows: int
    cols: int

    @classmethod
    def of(cls, shape: tuple[int, int], block: tuple[int, int]) -> Cells:
        """Cells of a file (height, width) whose blocks have this shape."""
        (height, width), flat = block, block[1] >= shape[1]
        rows, cols = -(-(_FLAT if flat else _CELL) // height) * height, -(-_CELL // width) * width
        return cls(Window(0, 0, *shape), min(rows, shape[0]), min(cols, shape[1]))

    def joined(self, window: Window, get: Callable[[Window], Piece]) -> Piece:
        """The pixels of a window of the file, put together of those that `get` gives of each cell it meets."""
        stored: NDArray[np.generic] | None = None
        mask: NDArray[np.bool_] | None = None
        for cell in self._met(window):
            pixels, valid = get(cell)
            if stored is None:
                stored = np.empty((len(pixels), window.height, window.width), pixels.dtype)
                mask = None if valid is None else np.empty((window.height, window.width), np.bool_)
            both = cell.clip(window)
            there, here = both.within(window).slices, both.within(cell).slices
            stored[:, *there] = pixels[:, *here]
            if mask is not None and valid is not None:
                mask[there] = valid[here]
        assert stored is not None
        return stored, mask

    def _met(self, window: Window) -> Iterator[Window]:
        for row in range(window.row // self.rows * self.rows, window.stop[0], self.rows):
            for col in range(window.col // self.cols * self.cols, window.stop[1], self.cols):
                yield Window(row, col, self.rows, self.cols).clip(self.file)


def apart(piece: Piece) -> Piece:
    """A piece in memory of its own: kept among the arrays of tiles it would break up what these give back."""
    stored, mask = piece
    return _apart(stored), None if mask is None else _apart(mask)


def _apart(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.frombuffer(mmap.mmap(-1, max(array.nbytes, 1)), array.dtype, array.size).reshape(array.shape)
    np.copyto(copy, array)
    return copy


class Decoded(Generic[T]):
    """Pieces by key. Who asks for one that another thread decodes waits for it; the latest asked for are kept."""

    def __init__(self, bytes_of: Callable[[T], int], most: int) -> None:
        """`bytes_of` tells the size of a piece, `most` how many bytes are kept in all."""
        self._bytes_of, self.most = bytes_of, most
        self._lock = threading.Lock()
        self._pieces: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._kept = 0
        self._process = os.getpid()

    def allow(self, most: int) -> None:
        """Let so many bytes be kept from now on, if they are more than before."""
        self.most = max(self.most, most)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The piece of a key, made where it isn't kept. Raises as `make` does."""
        with self._lock:
            if self._process != os.getpid():  # what a fork finds being made is made by nobody
                self._process, self._kept = os.getpid(), 0
                self._pieces.clear()
            if known := self._pieces.get(key):
                self._pieces.move_to_end(key)
            else:
                mine: Future[T] = Future()
                self._pieces[key] = mine
        if known:
            return known.result()
        try:
            piece = make()
        except BaseException as error:
            with self._lock:
                self._pieces.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(piece)
        with self._lock:
            if self._pieces.get(key) is mine:
                self._kept += self._bytes_of(piece)
            self._trim(key)
        return piece

    def clear(self, which: Callable[[Any], bool]) -> None:
        """Forget the pieces whose keys are meant."""
        with self._lock:
            for key in filter(which, list(self._pieces)):
                self._forget(key)

    def _trim(self, latest: Hashable) -> None:
        for key in list(self._pieces):
            if self._kept <= self.most:
                return
            if key != latest:
                self._forget(key)

    def _forget(self, key: Hashable) -> None:
        if self._pieces[key].done():  # else others wait for it
            self._kept -= self._bytes_of(self._pieces.pop(key).result())
