"""What products of several kinds have in common: names of bands, and masks that mark clouds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from geosr.products.product import Marks, Part
from geosr.sensor_table import LANDSAT_7, LANDSAT_8, SENTINEL_2, Sensor

MSI = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Bands of Sentinel-2, in the order of `band_id`, with their common names."""
OLI = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "pan", "cirrus", "lwir11", "lwir12")
"""Common names of the bands of Landsat 8 and 9, from 1."""
TM = ("blue", "green", "red", "nir08", "swir16", "lwir", "swir22", "pan")
"""Those of Landsat 4, 5 and 7."""
NATIVE = {band.name: int(band.gsd_m) for band in SENTINEL_2.bands} | {"SCL": 20, "AOT": 20, "WVP": 20}
"""Metres that each band of Sentinel-2 was measured or computed with; finer ones are the same, resampled."""
SCL = "scene classification"


@dataclass(frozen=True, slots=True)
class _Mask:
    words: str
    values: tuple[int, ...] = ()
    bits: int = 0


_MASKS = {
    "SCL": _Mask(
        "cloud shadow, clouds of medium and of high probability, thin cirrus (SCL 3, 8, 9, 10)", (3, 8, 9, 10)
    ),
    "QA_PIXEL": _Mask("clouds, their rims and shadows, cirrus (bits 1 to 4 of QA_PIXEL)", bits=0b11110),
    "Fmask": _Mask("clouds, their surroundings and shadows (bits 1 to 3 of Fmask)", bits=0b1110),
}
"""By the key of the part, in the numbering of Landsat's collection 2 and HLS 2.0."""


def cloud_marks(parts: Iterable[Part]) -> tuple[Marks, ...]:
    """Pixels that masks among the parts of a product mark as clouds and their shadows."""
    found = ((part, _MASKS[part.key]) for part in parts if part.key in _MASKS)
    return tuple(Marks(part, mask.words, mask.values, mask.bits) for part, mask in found)


def tags_of(told: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Tags of what properties of STAC tell under these names, by names that a GeoTIFF can hold: sat_relative_orbit."""
    return {name.replace(":", "_"): str(told[name]) for name in names if told.get(name) not in (None, "", "null")}


def common_of(sensor: Sensor | None, key: str) -> str:
    """The common name of a band by its agency's key, such as nir08 for SR_B5 of Landsat 8; "" where none is known."""
    names = {LANDSAT_8: OLI, LANDSAT_7: TM}.get(sensor, ()) if sensor else ()
    number = int(found[1]) if (found := re.search(r"B(\d+)(?!\w)", key)) else 0
    return MSI.get(key, "") if sensor is SENTINEL_2 else names[number - 1] if 0 < number <= len(names) else ""


def in_order(key: str) -> tuple[bool, str]:
    """A key to sort names of bands by: B08, B8A, B09, and what is none of them behind."""
    found = re.fullmatch(r"B(\d\d?)(A?)", key)
    return (found is None, f"{int(found[1]):02}{found[2]}" if found else key)


def native(key: str, sizes: Collection[int]) -> int:
    """Of the pixels that a band of Sentinel-2 is there with those that it was measured with, or the next coarser."""
    coarser = [size for size in sizes if size >= NATIVE[key]]
    return min(coarser) if coarser else max(sizes)


def lists_offsets(baseline: str) -> bool:
    """True for a processing baseline of Sentinel-2 whose metadata have to tell offsets, and for one that isn't known.

    04.00 was the first whose metadata can list them: where an older one has no list there are none.
    """
    number = re.fullmatch(r"(\d+)\.(\d+)", baseline)
    return number is None or (int(number[1]), int(number[2])) >= (4, 0)
