"""Which sensor of the table a scene comes from, by what its file says in its own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import cast

from geosr.response import Interpolation, Response
from geosr.sensor_table import (
    AERIAL,
    LANDSAT_7,
    LANDSAT_8,
    NATIVE,
    PLANETSCOPE,
    SENSORS,
    SENTINEL_2,
    Origin,
    Sensor,
    SensorBand,
)
from geosr.sensors import UNKNOWN, Band, SensorGuess


def identify(
    *,
    tags: Mapping[str, str],
    descriptions: Sequence[str],
    name: str,
    pixel_size: float | None,
    metadata: str = "",
    repeated: Sequence[str] = (),
    values: Sequence[tuple[float, float]] = (),
    seen: Sequence[str] = (),
) -> SensorGuess:
    """The sensor that tags, file name or band names tell of.

    Parameters
    ----------
    tags
        Of the dataset and its bands, all namespaces together.
    descriptions
        One per band, empty where a band has none.
    name
        The path; names of folders count where they are product names.
    pixel_size
        Metres; None where the grid is not in metres.
    metadata
        Text of a product's metadata file beside the scene, if any.
    repeated
        Per band why its numbers are names of things, "" where they are none: what such bands are called tells nothing.
    values
        Per band scale and offset, as far as they are told.
    seen
        Per band what the tag `SEEN` says of it, "" where it has none.
    """
    found = _identified(tags, descriptions, name, pixel_size, metadata, repeated, values)
    own = [band_seen(text, found.sensor, pixel_size) for text in seen] or [None] * len(found.bands)
    return replace(found, bands=tuple(told or band for band, told in zip(found.bands, own, strict=True)))


SENSOR, SEEN = "GEOSR_SENSOR", "GEOSR_SEEN"
"""Tags of a result whose bands were brought to one grid: its sensor, and of each band what it is and how it was
seen."""


def seen_as(band: Band, pixel_size: float) -> str:
    """The text of a band's tag `SEEN`: its name in the table, metres of a pixel, number for no light, response."""
    response, name = band.response, band.table.name if band.table else "-"
    numbers = " ".join(repr(float(each)) for each in (pixel_size, band.zero, *response.variance, response.finer))
    return f"{name} {numbers} {response.interpolation} {'box' if response.box else 'point'} {band.response_from}"


def band_seen(text: str, sensor: str | None, pixel_size: float | None) -> Band | None:
    """The band of which a tag `SEEN` speaks; None where it is none, or pixels were resampled since."""
    try:
        name, told, zero, down, across, finer, interpolation, box, origin = text.split()
        variance = float(down), float(across)
        response = Response(variance, box == "box", cast("Interpolation", interpolation), float(finer))
        origin, native = Origin(origin), SensorBand(name, "", 0.0, float(told)).is_native(pixel_size)
    except ValueError:
        return None
    if not native:
        return None
    table = next((each.band(name) for each in SENSORS if each.name == sensor), None)
    why = f"as it would be with {float(told):g} m pixels"
    if table and table.is_native(pixel_size):
        why = f"{sensor} {table.name}"
    return Band(response, response_from=origin, response_why=why, table=table, zero=float(zero))


def _identified(
    tags: Mapping[str, str],
    descriptions: Sequence[str],
    name: str,
    pixel_size: float | None,
    metadata: str,
    repeated: Sequence[str],
    values: Sequence[tuple[float, float]],
) -> SensorGuess:
    measured = [text for text, why in zip_longest(descriptions, repeated, fillvalue="") if not why]
    found = _from_tags(tags) or _from_path(name) or _from_bands(measured, pixel_size)
    if found is None:
        return SensorGuess(bands=(_believed_nothing(),) * len(descriptions), pixel_size=pixel_size)
    sensor, why = found
    entries = tuple(_band_of(sensor, text) for text in descriptions)
    if len(entries) == 1 and entries[0] is None:
        entries = (_band_of_name(sensor, name),)
    zeros = [_zero(*each) if entry else 0.0 for each, entry in zip(values, entries, strict=False)]
    zero, notes = _offset(tags, name, metadata) if sensor is SENTINEL_2 and not any(zeros) else (0.0, ())
    bands = _bands(sensor, entries, pixel_size, zeros if any(zeros) else [zero] * len(entries))
    return SensorGuess(sensor.name, bands, why, pixel_size, notes)


def known(
    sensor: Sensor | None, name: str, why: str, pixel_size: float | None, values: tuple[float, float]
) -> SensorGuess:
    """A band of this name, of a sensor that its product tells, and with its scale and offset."""
    if sensor is None:
        return SensorGuess(bands=(_believed_nothing(),), pixel_size=pixel_size, why=why)
    entry = _band_of(sensor, name)
    bands = _bands(sensor, [entry], pixel_size, [_zero(*values) if entry else 0.0])
    return SensorGuess(sensor.name, bands, why, pixel_size)


def _zero(scale: float, offset: float) -> float:
    """The stored number that stands for 0."""
    return -offset / scale if offset and scale else 0.0


def _bands(
    sensor: Sensor, entries: Sequence[SensorBand | None], pixel_size: float | None, zeros: Sequence[float]
) -> tuple[Band, ...]:
    bare = not any(entry and entry.response for entry in entries)
    rows = zip(entries, zeros, strict=True)
    return tuple(replace(_believed(sensor, entry, pixel_size, bare), zero=zero) for entry, zero in rows)


def _believed_nothing() -> Band:
    return Band(UNKNOWN, response_from=Origin.DEFAULT, response_why=_NOT_KNOWN)


_NOT_KNOWN = "the sensor or band is not known"


def _believed(sensor: Sensor, entry: SensorBand | None, pixel_size: float | None, bare: bool) -> Band:
    """The band of an entry in the table, `bare` where that has no response of any band of the scene."""
    if entry is None:
        why = _NOT_KNOWN
    elif entry.response is None:
        why = f"none known for {sensor.name}{'' if bare else ' ' + entry.name}"
    elif pixel_size is None:
        why = f"the pixel size in metres is not known, so {entry.name} may be resampled"
    elif not entry.is_native(pixel_size):
        why = f"{entry.name} has {entry.gsd_m:g} m pixels, these of {pixel_size:g} m are resampled"
    else:
        why = f"{sensor.name} {entry.name}"
        return Band(entry.response, response_from=Origin.TABLE, response_why=why, table=entry)
    return Band(UNKNOWN, response_from=Origin.DEFAULT, response_why=why, table=entry)


_WORDS = (
    (SENTINEL_2, re.compile(r"sentinel[-_ ]?2|\bS2[ABC]_MSI", re.IGNORECASE)),
    (LANDSAT_8, re.compile(r"landsat[-_ ]?[89]\b|\bL[CO]0?[89]_?(L[12]|\d{6})", re.IGNORECASE)),
    (LANDSAT_7, re.compile(r"landsat[-_ ]?7\b|\bLE0?7_?(L[12]|\d{6})", re.IGNORECASE)),
    (PLANETSCOPE, re.compile(r"planetscope|\bPS(2|B)(\.SD)?\b", re.IGNORECASE)),
    (AERIAL, re.compile(r"\bNAIP\b", re.IGNORECASE)),
)

_KEYS = re.compile(
    r"PRODUCT_URI|SPACECRAFT|SATELLITE|SENSOR|PLATFORM|CONSTELLATION|MISSION|INSTRUMENT|LANDSAT_\w*ID|PRODUCT_ID|PRODUCT_TYPE"
    r"|SCENE_ID|SYSTEM.INDEX|DATATAKE",
    re.IGNORECASE,
)

_NAMES = (
    (
        SENTINEL_2,
        re.compile(r"(?<![A-Za-z0-9])(S2[ABC]_(MSIL|USER|OPER|\d{8}|\d{2}[A-Z]{3})\w*|T\d{2}[A-Z]{3}_\d{8}T\d{6}_\w+)"),
    ),
    (LANDSAT_8, re.compile(r"(?<![A-Za-z0-9])(L[CO]0?[89]_?(L[12]|\d{6,13})\w*|L[89]_\d{6}\w*)")),
    (LANDSAT_7, re.compile(r"(?<![A-Za-z0-9])(LE0?7_?(L[12]|\d{6,13})\w*|L7_\d{6}\w*)")),
    (PLANETSCOPE, re.compile(r"(?<!\d)\d{8}_\d{6}_(\d{2}_)?\w{4}_(1B|3A|3B)_\w+")),
    (AERIAL, re.compile(r"(?<![A-Za-z0-9])m_\d{7}_(ne|nw|se|sw)_\d{1,2}_\w+")),
)

_TELLING = ((PLANETSCOPE, "green_i"), (LANDSAT_8, "SR_B6"))
"""Names that no other sensor's bands have: thermal is ST_B6 of earlier Landsats, in the same product."""


def _from_tags(tags: Mapping[str, str]) -> tuple[Sensor, str] | None:
    for key, value in tags.items():
        if _KEYS.search(key):
            for sensor, word in _WORDS:
                if word.search(value):
                    return sensor, f"tag {key}={value[:80]}"
    return None


def _from_path(path: str) -> tuple[Sensor, str] | None:
    parts = [part for part in re.split(r"[/\\]", path) if part][-5:]
    for depth, part in enumerate(reversed(parts)):
        for sensor, pattern in _NAMES:
            if pattern.search(part):
                return sensor, f"{'file' if depth == 0 else 'folder'} name {part[:80]}"
    return None


def _from_bands(descriptions: Sequence[str], pixel_size: float | None) -> tuple[Sensor, str] | None:
    """Band names that only one sensor has; or names that Sentinel-2 shares, with a pixel that others don't have."""
    for sensor, name in _TELLING:
        if name in descriptions:
            return sensor, f"band name {name}"
    names = {match[1].upper() for text in descriptions if (match := re.match(r"(B\d{1,2}A?)\b", text, re.IGNORECASE))}
    if len(names) < len(descriptions) or not names or any(SENTINEL_2.band(name) is None for name in names):
        return None
    listed = f"band names {', '.join(sorted(names)[:6])}"
    if "B8A" in names or ("B12" in names and "B11" in names):
        return SENTINEL_2, listed
    if len(names) >= 3 and pixel_size is not None and abs(pixel_size / 10 - 1) <= NATIVE:
        return SENTINEL_2, f"{listed} with {pixel_size:g} m pixels"
    return None


def _band_of(sensor: Sensor, text: str) -> SensorBand | None:
    """'B4', 'B04', 'SR_B4', 'red', 'B4, central wavelength 665 nm' are the same band."""
    match = re.match(r"(?:SRE?_|sur_refl_)?(B\d{1,2}A?)\b", text.strip(), re.IGNORECASE)
    return sensor.band(match[1] if match else text.strip().lower())


def _band_of_name(sensor: Sensor, path: str) -> SensorBand | None:
    name = re.split(r"[/\\]", path)[-1]
    found = re.findall(r"(?<![A-Za-z0-9])(B\d{1,2}A?)(?![A-Za-z0-9])", name.replace("_", " "), re.IGNORECASE)
    return sensor.band(found[-1]) if found else None


_ADD_OFFSET = re.compile(r"(?:BOA|RADIO)_ADD_OFFSET", re.IGNORECASE)


def _offset(tags: Mapping[str, str], path: str, metadata: str) -> tuple[float, tuple[str, ...]]:
    """The stored number for no light, and what to say: products since baseline 04.00 (2022) carry +1000."""
    told = {value for key, value in tags.items() if _ADD_OFFSET.search(key)}
    told |= set(re.findall(r"<(?:BOA|RADIO)_ADD_OFFSET[^>]*>\s*(-?[\d.]+)", metadata))
    numbers = {float(value) for value in told if re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value)}
    if len(numbers) == 1:
        zero = -numbers.pop()
        if zero == 0:
            return 0.0, ()
        return zero, (f"the product says that stored numbers carry {zero:+g}; they are kept as they are",)
    baseline = _baseline(tags, path, metadata)
    if baseline is not None and baseline >= 4:
        return 0.0, (
            f"processing baseline {baseline:05.2f}: stored numbers may carry +1000, but nothing beside them says so; "
            "they are kept as they are",
        )
    return 0.0, ()


def _baseline(tags: Mapping[str, str], path: str, metadata: str) -> float | None:
    told = next((value for key, value in tags.items() if "PROCESSING_BASELINE" in key.upper()), "")
    if not told:
        in_file = re.search(r"<PROCESSING_BASELINE>\s*([\d.]+)", metadata)
        in_name = re.search(r"_N(\d{2})(\d{2})_R\d{3}", " ".join([path, *tags.values()]))
        told = in_file[1] if in_file else f"{in_name[1]}.{in_name[2]}" if in_name else ""
    return float(told) if re.fullmatch(r"\d+(\.\d+)?", told.strip()) else None
