"""Stored numbers and the floating-point values that networks work on.

Every model of geosr passes gain and offset through, so values *are* stored numbers in floating point: scale and
offset stay metadata, and nothing is divided, shifted or clipped on the way in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, InputError

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Stored types that are carried exactly; complex and 64-bit integers are refused."""

_ROWS = 1024
"""Rows rounded at a time; of fewer many threads would stand in line for the interpreter."""


class Passes(Enum):
    """The part of stored numbers' gain and offset that passes through a network into one of its results."""

    VALUE = "gain and offset"
    """An image: `f(a x + b) = a f(x) + b`."""
    SPREAD = "gain"
    """A standard deviation: `f(a x + b) = |a| f(x)`, never negative."""
    COUNT = "nothing"
    """A number that is no stored one, never negative, such as of frames: `f(a x + b) = f(x)`."""


@dataclass(frozen=True, slots=True)
class Head:
    """One of the results that a network gives for a block."""

    name: str
    """Such as "sr" or "sigma": the result's file, or its array, is called after it."""
    passes: Passes
    dtype: str = "float32"
    """The type in which it is stored; an image has that of the run."""

    @property
    def nodata(self) -> float:
        """The number that stands where the image has no data, which has its own."""
        return math.nan if np.dtype(self.dtype).kind == "f" else float(np.iinfo(self.dtype).max)

    @property
    def start(self) -> float:
        """The number where an image's are repeated: 0, or of whole numbers no data."""
        return 0.0 if np.dtype(self.dtype).kind == "f" else self.nodata


IMAGE = Head("sr", Passes.VALUE)
"""What every network gives, and first."""
SIGMA = Head("sigma", Passes.SPREAD)
"""The standard deviation of what is wrong with an image, whose unit is one stored number."""
TRUST = Head("trust", Passes.COUNT, "uint8")
"""1 where an image's error is to stay under a limit, else 0."""
SUPPORT = Head("support", Passes.COUNT, "uint8")
"""The percentage of what an image adds to bicubic that the observation determines."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """A piece of a scene as it is stored."""

    stored: NDArray[np.generic]
    """(bands, height, width), the stored dtype."""
    mask: NDArray[np.bool_] | None = None
    """(height, width), what a mask or alpha band says, True where valid; None where there is no such band."""
    wanted: NDArray[np.bool_] | None = None
    """(height, width), True inside the area of interest; None where all of it is wanted."""


@dataclass(frozen=True, slots=True)
class Radiometry:
    """The way from stored numbers to values and back."""

    dtype: str
    """The source's, one of `DTYPES`."""
    out_dtype: str
    """The result's; holds every number of `dtype` exactly."""
    nodata: tuple[tuple[float, ...], ...]
    """Per band all numbers that stand for 'no data'."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"pixels of type {self.dtype} can't be upscaled; geosr takes {', '.join(DTYPES)}")
        if self.out_dtype not in DTYPES or not np.can_cast(self.dtype, self.out_dtype, "safe"):
            wider = ", ".join(name for name in DTYPES if np.can_cast(self.dtype, name, "safe"))
            raise InputError(f"dtype {self.out_dtype} can't hold every {self.dtype} number; choose one of {wider}")

    @property
    def working(self) -> np.dtype[np.floating]:
        """float32 where it holds every stored number exactly, else float64."""
        return np.dtype(np.float32 if np.can_cast(self.dtype, np.float32, "safe") else np.float64)

    @property
    def rounding(self) -> float:
        """Standard deviation of what rounding has done to stored numbers: evenly spread over one count, or none."""
        return 0.0 if np.dtype(self.dtype).kind == "f" else 12.0**-0.5

    @property
    def may_have_gaps(self) -> bool:
        """True where stored numbers alone can say 'no data'."""
        return np.dtype(self.dtype).kind == "f" or any(self.nodata)

    def valid(self, pixels: Pixels) -> NDArray[np.bool_] | None:
        """Where stored numbers are data, (bands, height, width); None where all of them are."""
        if not self.may_have_gaps and (pixels.mask is None or pixels.mask.all()):
            return None
        valid = np.ones(pixels.stored.shape, bool) if pixels.mask is None else _per_band(pixels.mask, pixels.stored)
        if np.dtype(self.dtype).kind == "f":
            valid &= np.isfinite(pixels.stored)
        for band, (valid_band, stored) in enumerate(zip(valid, pixels.stored, strict=True)):
            for number in self._numbers(band, self.dtype):
                valid_band &= stored != number
        if np.dtype(self.dtype).kind == "f":
            _check_size(pixels.stored, valid)
        return None if valid.all() else valid

    def encode(self, values: NDArray[np.floating], out: NDArray[np.generic], band: int) -> None:
        """Write values (height, width) into `out` as stored numbers.

        Rounded half to even and clipped to the dtype's range, once. A value that would read as nodata moves by one
        count (for floating point, to the next number). `values` is used as scratch. Raises `GeosrError` on NaN or
        infinity.
        """
        for start in range(0, values.shape[0], _ROWS):
            strip = values[start : start + _ROWS]
            target = out[start : start + _ROWS]
            self._encode_strip(strip, target)
            numbers = self._numbers(band, self.out_dtype)
            for number in numbers:
                step_off(target, number, taken=numbers)

    def bands(self, indices: Sequence[int]) -> Radiometry:
        """The same for some bands, counted from 0."""
        return replace(self, nodata=tuple(self.nodata[band] for band in indices))

    def _numbers(self, band: int, dtype: str) -> list[Any]:
        """All numbers for 'no data' in a band that pixels of a type can hold."""
        return [number for value in self.nodata[band] if (number := as_stored(value, dtype)) is not None]

    def _encode_strip(self, values: NDArray[np.floating], out: NDArray[np.generic]) -> None:
        low, high = values.min(), values.max()
        _check_finite(low, high)
        if out.dtype.kind != "f":
            least, most = _limits(out.dtype)
            np.rint(values, out=values)
            if low < least or high > most:
                # uint32's and int32's largest numbers are exact here: their working type is float64.
                np.clip(values, least, most, out=values)
        np.copyto(out, values, casting="unsafe")


def values_of(pixels: Pixels, radiometry: Radiometry) -> NDArray[np.float64]:
    """(bands, height, width) with NaN where there is no data."""
    values, valid = pixels.stored.astype(np.float64), radiometry.valid(pixels)
    if valid is not None:
        values[~valid] = np.nan
    return values


def stored_type(head: Head, radiometry: Radiometry) -> str:
    """The type in which one of a network's results is stored."""
    return radiometry.out_dtype if head.passes is Passes.VALUE else head.dtype


def encode_other(values: NDArray[np.floating], out: NDArray[Any]) -> None:
    """Write what stands beside an image (height, width) into `out`, none below 0; `values` is used as scratch.

    Whole numbers are rounded half to even, and none reads as no data. Raises `GeosrError` on NaN or infinity.
    """
    whole = out.dtype.kind != "f"
    most = np.iinfo(out.dtype).max - 1 if whole else np.finfo(out.dtype).max
    for start in range(0, values.shape[0], _ROWS):
        strip = values[start : start + _ROWS]
        _check_finite(strip.min(), strip.max())
        np.clip(np.rint(strip, out=strip) if whole else strip, 0, most, out=strip)
        np.copyto(out[start : start + _ROWS], strip, casting="unsafe")


def widened(value: float, dtype: str) -> float:
    """The number that a file of this type reads back: float32's -9999.9 is -9999.900390625 in float64."""
    kind = np.dtype(dtype)
    return float(kind.type(value)) if kind.kind == "f" else value


def fill(values: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Values (bands, height, width) whose invalid pixels hold the value of their nearest valid neighbour.

    What stood there before has no influence. A band with no valid pixel becomes 0.
    """
    from scipy import ndimage  # slow to import, and most scenes have no gaps

    filled = values.copy()
    done: NDArray[np.bool_] | None = None
    for band, ok in enumerate(valid):
        if ok.all():
            continue
        if not ok.any():
            filled[band] = 0
            continue
        if done is None or not np.array_equal(ok, done):
            nearest = ndimage.distance_transform_edt(~ok, return_distances=False, return_indices=True)
            done = ok
        filled[band] = values[band][tuple(nearest)]
    return filled


def _check_finite(low: np.floating, high: np.floating) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise GeosrError(
            "the model gave NaN or infinity for valid pixels; where a number stands for no data, name it: --nodata"
        )


def _per_band(mask: NDArray[np.bool_], stored: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.broadcast_to(mask, stored.shape).copy()


def _check_size(stored: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
    most = 1e200 if stored.dtype == np.float64 else 1e25
    size = np.max(np.abs(stored), where=valid, initial=0)
    if size > most:
        number = stored[valid & (np.abs(stored) == size)][0]
        raise InputError(
            f"the pixels hold {number!s}, which no sensor measures; if it stands for no data, say --nodata={number!s}"
        )


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def as_stored(value: float | None, dtype: str) -> Any:
    """Nodata as pixels of a type hold it: a float32 file's -3.4e38 is not the float64 of the same digits.

    None where there is none, or no pixel can equal it.
    """
    kind = np.dtype(dtype)
    if value is None:
        return None
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return kind.type(value)
    least, most = _limits(kind)
    return kind.type(value) if least <= value <= most and float(value).is_integer() else None


def same_number(one: float | None, other: float | None) -> bool:
    """True where two nodata numbers are the same: both none, both NaN, or equal."""
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def step_off(out: NDArray[Any], nodata: Any, where: NDArray[np.bool_] | None = None, taken: Sequence[Any] = ()) -> None:
    """Move what would read as nodata by one count, in place; only `where` that is given.

    Where the next number stands for no data too (`taken`), to the nearest above that doesn't, or else below.
    """
    hit = out == nodata if where is None else (out == nodata) & where
    if not np.any(hit):
        return
    if out.dtype.kind == "f":
        out[hit] = np.nextafter(nodata, out.dtype.type(0 if nodata else 1))
        return
    most, void = _limits(out.dtype)[1], {int(nodata), *map(int, taken)}
    above = next((number for number in range(int(nodata) + 1, most + 1) if number not in void), None)
    out[hit] = above if above is not None else next(n for n in range(int(nodata), -most - 2, -1) if n not in void)
