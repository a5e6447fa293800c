"""Numbers that stand for 'no data': where files and arrays tell them, and which of them pixels can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from geosr.radiometry import same_number, widened

if TYPE_CHECKING:
    from geosr.io.scene import Scene

_MISSING = ("_FillValue", "missing_value")
"""Attributes by which CF tells such numbers; the second may tell several."""


def numbers_of(dataset: DatasetReader, band: int, dtype: str) -> tuple[float, ...]:
    """Numbers for 'no data' of a band, read as `dtype`: the file's own, then CF's; none where a mask says it all."""
    if tells_of_all_bands(dataset, band):
        return ()
    own, kind = possible_nodata(dataset.nodatavals[band - 1], dtype), dataset.dtypes[band - 1]
    told = dict.fromkeys(told_numbers([dataset.tags(band).get(key) for key in _MISSING], kind))
    if own is None:
        return tuple(told)
    own = own if kind == dtype else widened(own, kind)
    return own, *(number for number in told if number != widened(own, kind) and not math.isnan(number))


def tells_of_all_bands(dataset: DatasetReader, band: int) -> bool:
    """True where a band's nodata is a part of one for all bands: pixels are void where every band has its number."""
    flags = dataset.mask_flag_enums[band - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.nodata in flags


def told_numbers(told: Iterable[Any], dtype: str) -> list[float]:
    """Numbers that texts, numbers and lists of either tell and pixels of this type can hold, as such pixels read."""
    texts = [text for each in told if each is not None for text in _texts(each)]
    numbers = [possible_nodata(number, dtype) for text in texts if (number := _number(text)) is not None]
    return [widened(number, dtype) for number in numbers if number is not None]


def _texts(told: Any) -> list[str]:
    """Numbers apart, also of a text that GDAL writes for a list: {-999,-888}."""
    flat = [str(each) for each in np.ravel(told)]
    return [part for text in flat for part in re.split(r"[,\s]+", text.strip("{} "))]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "none", ""
        return None


def possible_nodata(nodata: float | None, dtype: str) -> float | None:
    """A nodata number that pixels of this type can hold; None where none of them can equal it.

    What rounds to the type's largest number is that: float32's is often told with seven digits, -3.4028235e+38.
    """
    if nodata is None:
        return None
    if np.dtype(dtype).kind == "f":
        most = float(np.finfo(dtype).max)
        if not math.isfinite(nodata) or abs(nodata) <= most:
            return nodata
        with np.errstate(over="ignore"):
            rounded = float(np.dtype(dtype).type(nodata))
        return rounded if math.isfinite(rounded) else None
    info = np.iinfo(dtype)
    return nodata if math.isfinite(nodata) and nodata == int(nodata) and info.min <= nodata <= info.max else None


def with_one_nodata(scene: Scene, numbers: Sequence[tuple[float, ...]]) -> Scene:
    """The scene whose source brings numbers for 'no data', those of each band, to one: a GeoTIFF holds no more."""
    known = [value for each in numbers for value in each]
    first = known[0] if known else None
    if all(len(each) < 2 and same_number(next(iter(each), None), first) for each in numbers):
        return replace(scene, metadata=replace(scene.metadata, nodata=first))
    common = next((value for value in known if not math.isnan(value)), known[0])
    source: Any = scene.source
    # Classes and alpha are carried bit for bit, whatever number they meet.
    own = tuple((common,) if same else each for each, same in zip(numbers, scene.categorical, strict=True))
    shown = ", ".join(dict.fromkeys(f"{value:.9g}" for value in known)) + ("" if all(numbers) else ", none")
    return replace(
        scene,
        metadata=replace(scene.metadata, nodata=common),
        source=replace(source, nodata=own, common=common),
        warnings=(
            *scene.warnings,
            f"more than one nodata is told ({shown}) and a GeoTIFF holds one: the result uses {common:.9g}",
        ),
    )


def to_common(band: NDArray[np.generic], numbers: Sequence[float], common: float | None) -> None:
    """Bring one band's numbers for 'no data' to the common one, in place; data that equals it moves by one count."""
    if common is None or tuple(numbers) == (common,):
        return
    target = np.array(common, band.dtype)
    gap = np.zeros(band.shape, bool)
    for number in numbers:
        gap |= _equal(band, np.array(number, band.dtype))
    band[(band == target) & ~gap] = beside(common, band.dtype)
    band[gap] = target


def _equal(band: NDArray[np.generic], number: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where a band holds a number, which may be NaN."""
    return np.asarray(np.isnan(band) if number != number else band == number)


def beside(value: float, dtype: np.dtype[np.generic]) -> float:
    """A number of this type next to another."""
    if dtype.kind == "f":
        return float(np.nextafter(np.array(value, dtype), np.array(np.inf, dtype)))
    return value + 1 if value < np.iinfo(dtype.name).max else value - 1
