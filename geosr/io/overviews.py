"""Images of half the side: a pixel for each two by two, by average of what is valid or by nearest.

Of standard deviations the root mean square is taken, not the average.

Each level is made from the stored pixels of the one before, so overviews don't depend on how the scene was tiled.
Integer averages are rounded half to even. At an odd edge a pixel stands for the one or two that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.io.layout import Layout
from geosr.pipeline import in_order
from geosr.radiometry import step_off

T = TypeVar("T")

_STRIP = 2**20
"""Pixels averaged at a time. Of fewer many threads would stand in line for the interpreter, between each two passes;
of more a processor's cache holds none."""


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels of one level."""

    stored: NDArray[Any]
    """(bands, height, width), the stored dtype."""
    mask: NDArray[np.bool_] | None
    """(height, width), True where valid, for all bands at once; None where all are. Nodata is not in it."""


def halve(image: Image, layout: Layout) -> Image:
    """The same ground with half the pixels each way, rounded up.

    A pixel is valid where one of its four is. Where a band has none, it holds nodata, or else what its upper left one
    holds. An average that would read as nodata moves by one count. Bands that are not averaged take the upper left
    pixel, or the first that the mask calls valid.
    """
    even = _even(image)
    bands, height, width = even.stored.shape
    stored = np.empty((bands, height // 2, width // 2), even.stored.dtype)
    mask = None if even.mask is None or even.mask.all() else even.mask
    # Sums of the largest floating-point numbers and casts of what is then replaced may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        for band in range(bands):
            _halve_band(even.stored[band], mask, layout, band, stored[band])
    return Image(stored, None if mask is None else _any(mask))


def build(
    layout: Layout,
    first: int,
    read: Callable[[int, int], Image | None],
    make: Callable[[int, int, int, Image], T],
    keep: Callable[[T], None],
) -> None:
    """Make the overviews from level `first` up, in memory of a few blocks a level and core.

    `read(row, col)` gives the quarter blocks of level `first`: what a tile, or four of them, leaves there; None where
    there is nothing. What `make(level, row, col, image)` makes of each finished block goes to `keep`, always in the
    same order. Threads of their own read and make, the caller's keeps.
    """
    apart = min(first + 1, layout.levels)  # the levels above have few blocks

    def branch(place: tuple[int, int]) -> tuple[Image | None, list[T]]:
        """A block that a thread makes with all below it."""
        made: list[T] = []

        def quarter(level: int, row: int, col: int) -> Image | None:
            """An image of half a block's side."""
            return read(row, col) if level < first else _halved(block(level, row, col), layout)

        def block(level: int, row: int, col: int) -> Image | None:
            """A block, once what lies below it is made."""
            return _block(layout, level, row, col, quarter, lambda image: made.append(make(level, row, col, image)))

        return block(apart, *place), made

    def trunk(level: int, row: int, col: int) -> Image | None:
        """A block of the levels above."""
        if level == apart:
            image, made = next(branches)
            while made:  # emptied: functions of a branch that name each other hold it until Python looks for cycles
                keep(made.pop(0))
            return image
        return _block(layout, level, row, col, above, lambda image: keep(make(level, row, col, image)))

    def above(level: int, row: int, col: int) -> Image | None:
        """An image of half a block's side of the levels above."""
        part = layout.part(level)
        return _halved(trunk(level, row, col), layout) if row < part.rows and col < part.cols else None

    top = layout.part(layout.levels)
    tops = [(row, col) for row in range(top.rows) for col in range(top.cols)]
    with closing(in_order(branch, _descend(layout, layout.levels, apart, tops))) as branches:
        for place in tops:
            trunk(layout.levels, *place)


def _descend(layout: Layout, level: int, last: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The blocks of level `last` below these, in the order in which a tree is walked."""
    part = layout.part(level)
    for row, col in places:
        if row < part.rows and col < part.cols:
            below = ((2 * row + r, 2 * col + c) for r in (0, 1) for c in (0, 1))
            yield from [(row, col)] if level == last else _descend(layout, level - 1, last, below)


def blank(layout: Layout, shape: tuple[int, int]) -> NDArray[Any]:
    """Pixels (bands, height, width) of nothing: nodata, or 0 where there is none."""
    return np.full((layout.count, *shape), 0 if layout.missing is None else layout.missing, layout.dtype)


def _block(
    layout: Layout,
    level: int,
    row: int,
    col: int,
    quarter: Callable[[int, int, int], Image | None],
    made: Callable[[Image], None],
) -> Image | None:
    """A block of four quarters of the level below; None where it is outside, or nothing is there."""
    part = layout.part(level)
    if row >= part.rows or col >= part.cols:
        return None
    shape = (min(layout.block, part.height - row * layout.block), min(layout.block, part.width - col * layout.block))
    quarters = ((r, c, quarter(level - 1, 2 * row + r, 2 * col + c)) for r in (0, 1) for c in (0, 1))
    image = _join(layout, shape, quarters)
    if image is not None:
        made(image)
    return image


def _halved(image: Image | None, layout: Layout) -> Image | None:
    return None if image is None else halve(image, layout)


def _join(layout: Layout, shape: tuple[int, int], quarters: Iterator[tuple[int, int, Image | None]]) -> Image | None:
    """A block from its four quarters; what is missing is not valid. None where all are missing."""
    half = layout.block // 2
    stored: NDArray[Any] | None = None
    mask = np.zeros(shape, bool)
    for row, col, quarter in quarters:
        if quarter is None:
            continue
        if stored is None:
            stored = blank(layout, shape)
        there = np.s_[row * half : row * half + half, col * half : col * half + half]
        stored[:, *there] = quarter.stored
        mask[there] = True if quarter.mask is None else quarter.mask
    return None if stored is None else Image(stored, None if mask.all() else mask)


def _even(image: Image) -> Image:
    height, width = image.stored.shape[1:]
    if not (height % 2 or width % 2):
        return image
    # The average of a pixel repeated is the average without it, so an odd edge needs no special case.
    pad = ((0, height % 2), (0, width % 2))
    mask = None if image.mask is None else np.pad(image.mask, pad, mode="edge")
    return Image(np.pad(image.stored, ((0, 0), *pad), mode="edge"), mask)


def _halve_band(
    band: NDArray[Any], mask: NDArray[np.bool_] | None, layout: Layout, index: int, out: NDArray[Any]
) -> None:
    missing = layout.missing
    if layout.takes_nearest(index):
        out[...] = band[0::2, 0::2] if mask is None else _first_valid(band, mask)
        return
    step = max(2, _STRIP // band.shape[1] // 2 * 2)
    for start in range(0, band.shape[0], step):
        rows = band[start : start + step]
        target = out[start // 2 : start // 2 + rows.shape[0] // 2]
        valid = _valid(rows, None if mask is None else mask[start : start + step], missing)
        if layout.options.resampling == "rms":
            _root_mean_square(rows, valid, missing, target)
            continue
        known = None
        if valid is None:
            _average(rows, target)
        else:
            known = _average_valid(rows, valid, missing, target)
        if missing is not None:
            step_off(target, missing, known)


def _valid(rows: NDArray[Any], mask: NDArray[np.bool_] | None, missing: Any) -> NDArray[np.bool_] | None:
    """Where pixels count, None where all of them do."""
    valid = mask
    if rows.dtype.kind == "f":
        finite = np.isfinite(rows)
        valid = finite if valid is None else valid & finite
    if missing is not None and missing == missing:
        there = rows != missing
        valid = there if valid is None else valid & there
    return None if valid is None or valid.all() else valid


def _root_mean_square(rows: NDArray[Any], valid: NDArray[np.bool_] | None, missing: Any, out: NDArray[Any]) -> None:
    """Write root mean squares of what is valid, NaN where nothing is."""
    squares, mean = np.square(rows, dtype="f8"), np.empty(out.shape, "f8")
    if valid is None:
        _average(squares, mean)
    else:
        _average_valid(squares, valid, missing, mean)
    np.sqrt(mean, out=out, casting="same_kind")


def _average(rows: NDArray[Any], out: NDArray[Any]) -> None:
    if rows.dtype.kind == "f":
        out[...] = _four(rows, "f8") / 4
        return
    pairs = _pairs(rows)
    total = pairs[0::2] + pairs[1::2]
    # (total + 1 + the quarter's last bit) // 4 rounds a quarter half to even.
    quarter = total >> 2
    quarter &= 1
    quarter += 1
    quarter += total
    quarter >>= 2
    np.copyto(out, quarter, casting="unsafe")


def _pairs(rows: NDArray[Any]) -> NDArray[Any]:
    """The sums of integers that stand side by side, (height, width / 2) of twice their bits.

    Two of them are one number of twice the bits, taken apart by shifts: that needs no strides, so it is fast.
    """
    bits = 8 * rows.dtype.itemsize
    both = np.ascontiguousarray(rows).view(f"{rows.dtype.kind}{2 * rows.dtype.itemsize}")
    low = both << bits
    low >>= bits
    low += both >> bits
    return low


def _average_valid(rows: NDArray[Any], valid: NDArray[np.bool_], missing: Any, out: NDArray[Any]) -> NDArray[np.bool_]:
    """Write averages of valid pixels; where there are any comes back."""
    total = _four(np.where(valid, rows, rows.dtype.type(0)), "f8")
    known = _four(valid, "u1")
    total /= np.maximum(known, 1)
    if out.dtype.kind != "f":
        np.rint(total, out=total)
    np.copyto(out, total, casting="unsafe")
    nothing: NDArray[np.bool_] = known == 0
    out[nothing] = rows[0::2, 0::2][nothing] if missing is None else missing
    return ~nothing


def _four(rows: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The sum of each two by two pixels."""
    pairs: NDArray[Any] = np.add(rows[0::2], rows[1::2], dtype=dtype)
    total: NDArray[Any] = pairs[:, 0::2] + pairs[:, 1::2]
    return total


def _first_valid(band: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The upper left of each four pixels, or the first valid one where that is not."""
    out = band[0::2, 0::2].copy()
    found = mask[0::2, 0::2].copy()
    for row, col in ((0, 1), (1, 0), (1, 1)):
        here = mask[row::2, col::2] & ~found
        out[here] = band[row::2, col::2][here]
        found |= here
    return out


def _any(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows = mask[0::2] | mask[1::2]
    valid: NDArray[np.bool_] = rows[:, 0::2] | rows[:, 1::2]
    return valid
