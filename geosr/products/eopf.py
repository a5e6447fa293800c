"""Sentinel-2 as EOPF Zarr: folders, zips and addresses of stores, by the attributes of their arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.io.environment import is_remote
from geosr.io.zarr_source import array_path, open_group
from geosr.products.bands import MSI, SCL, cloud_marks, native, tags_of
from geosr.products.members import members_of
from geosr.products.product import Marks, Part, Product
from geosr.sensor_table import SENTINEL_2

_NAME = re.compile(r"(?i)\.zarr(\.zip)?/?$")
_BANDS = "measurements/reflectance"
_SCL = "conditions/mask/l2a_classification/r20m/scl"
_CLOUDS = "conditions/mask/l1c_classification/r60m/b00"
_PIXELS = (10, 20, 60)
_TAGS = ("platform", "start_datetime", "product:type", "processing:level", "eopf:baseline", "eopf:data_take_id",
         "sat:relative_orbit", "sat:absolute_orbit", "sat:orbit_state")  # fmt: skip


def claims(src: str) -> bool:
    """True for a store, a zip of one or its address, by its name and what lies in it."""
    if not _NAME.search(src):
        return False
    place = Path(src)
    return is_remote(src) or place.is_file() or (place / _BANDS).is_dir()


def read(src: str) -> Product:
    """The product, by the attributes of its arrays. Raises `GeosrError` where they can't be read, or none is a band."""
    inner = _top_of(src)
    top = open_group(src, inner)
    attributes = dict(top.attrs)
    about = attributes.get("stac_discovery", {}).get("properties", {})
    arrays = dict(_arrays(top))
    parts = tuple(_part(src, inner, key, place, pixel, array) for key, (place, pixel, array) in arrays.items())
    bands = [part for part in parts if not part.classes]
    if not bands:
        raise InputError(f"{src}: has no bands under {_BANDS}, so that it is no Sentinel-2 product, or not all there")
    level = str(about.get("product:type", ""))[-3:]
    without = [key for key, (_, _, array) in arrays.items() if key in MSI and not _is_told(array.attrs)]
    return Product(
        path=src,
        name=Path(src.rstrip("/")).name,
        kind=f"Sentinel-2 {level} EOPF Zarr",
        parts=parts,
        sensor=SENTINEL_2.name,
        notes=(_note(bands),),
        tags=tags_of(about, _TAGS),
        files=() if is_remote(src) else (str(Path(src).absolute()),),
        crs=_crs(attributes, about, [array for _, _, array in arrays.values()]),
        clouds=_clouds(src, inner, top, parts),
        missing=_missing({part.key for part in parts}, level),
        unsettled=f"its arrays have no scale_factor and add_offset for {', '.join(without)}" if without else "",
    )


def _top_of(src: str) -> str:
    """The folder in a zip that is the store, "" where that is the zip itself."""
    if not src.lower().endswith(".zip"):
        return ""
    found = (name.rpartition("/")[0] for name in members_of(src).sizes if name.endswith((".zgroup", "zarr.json")))
    return min(found, key=len, default="")


def _arrays(top: Any) -> Iterator[tuple[str, tuple[str, int, Any]]]:
    """Bands and classes, each at the pixels that it was measured with where the store has those."""
    found: dict[str, dict[int, Any]] = {}
    for pixel in _PIXELS:
        group = top.get(f"{_BANDS}/r{pixel}m")
        for name, array in () if group is None else group.arrays():
            if (key := name.upper()) in MSI:
                found.setdefault(key, {})[pixel] = array
    for key in MSI:
        if sizes := found.get(key):
            pixel = native(key, sizes)
            yield key, (f"{_BANDS}/r{pixel}m/{key.lower()}", pixel, sizes[pixel])
    if (array := top.get(_SCL)) is not None:
        yield "SCL", (_SCL, 20, array)


def _part(src: str, inner: str, key: str, place: str, pixel: int, array: Any) -> Part:
    attributes, classes = dict(array.attrs), "" if key in MSI else SCL
    fill = next((number for number in (attributes.get("_FillValue"), attributes.get("fill_value"), array.fill_value)
                 if number is not None), None)  # fmt: skip
    return Part(
        key=key,
        path=_path(src, inner, place),
        pixel=pixel,
        common=MSI.get(key, ""),
        classes=classes,
        scale=1.0 if classes else float(attributes.get("scale_factor", 1)),
        offset=0.0 if classes else float(attributes.get("add_offset", 0)),
        nodata=0.0 if classes else None if fill is None else float(fill),
        transform=_transform(attributes),
    )


def _path(src: str, inner: str, place: str) -> str:
    store = src if is_remote(src) else str(Path(src).absolute())
    return array_path(store, f"{inner}/{place}" if inner else place)


def _is_told(attributes: Mapping[str, Any]) -> bool:
    return "scale_factor" in attributes and "add_offset" in attributes


def _note(bands: list[Part]) -> str:
    told = {f"{band.scale:g} and {band.offset:g}" for band in bands}
    numbers = told.pop() if len(told) == 1 else "of each band"
    return f"reflectance: scale and offset {numbers} (scale_factor, add_offset of the arrays), numbers stay as stored"


def _transform(attributes: Mapping[str, Any]) -> tuple[float, float, float, float, float, float] | None:
    """Of an array's grid, by its attributes: the transform, or else the box and the shape."""
    if told := attributes.get("proj:transform"):
        a, b, c, d, e, f = map(float, told[:6])
        return a, b, c, d, e, f
    if not ("proj:bbox" in attributes and "proj:shape" in attributes):
        return None
    (left, bottom, right, top), (height, width) = attributes["proj:bbox"], attributes["proj:shape"]
    return (right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top


def _crs(attributes: Mapping[str, Any], about: Mapping[str, Any], arrays: list[Any]) -> str:
    """The CRS by the arrays' attributes, or else the store's: versions of the format differ in where they tell it."""
    other = {"proj:code": attributes.get("other_metadata", {}).get("horizontal_CRS_code")}
    for told in (*(array.attrs for array in arrays), about, other):
        if code := told.get("proj:code") or (told.get("proj:epsg") and f"EPSG:{told['proj:epsg']}"):
            return str(code)
        if text := told.get("proj:wkt2"):
            return str(text)
    return ""


def _missing(there: set[str], level: str) -> tuple[str, ...]:
    """Bands that every product has; that of level 2A has no cirrus band."""
    return tuple(key for key in MSI if key not in there and not (key == "B10" and level != "L1C"))


def _clouds(src: str, inner: str, top: Any, parts: tuple[Part, ...]) -> tuple[Marks, ...]:
    if marks := cloud_marks(parts):
        return marks
    if (array := top.get(_CLOUDS)) is None:
        return ()
    mask = Part("MSK_CLASSI", _path(src, inner, _CLOUDS), 60, classes="cloud mask", transform=_transform(array.attrs))
    return (Marks(mask, "opaque clouds and cirrus (l1c_classification)", bits=0b11),)
