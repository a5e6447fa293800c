"""STAC items, in files and at addresses: bands, values and grids as an item states them.

Catalogues err both ways about the offset that Sentinel-2 has since 2022: some took it off and state it still, some
left it on and don't state it. Where an item contradicts itself its numbers are not believed.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.errors import InputError, PlaceError, one_line
from geosr.io.categorical import names_classes
from geosr.io.environment import is_remote
from geosr.io.grid import crs_of
from geosr.products.bands import MSI, NATIVE, cloud_marks, common_of, in_order, lists_offsets, tags_of
from geosr.products.landsat import band_key
from geosr.products.mosaic import together
from geosr.products.product import Part, Product
from geosr.sensor_table import LANDSAT_7, LANDSAT_8, SENTINEL_2, Sensor

if TYPE_CHECKING:
    from pystac import Asset, Item

_LARGEST = 64 * 2**20
_PATIENCE = 20
"""Seconds to wait for a server."""
_ADDRESS = re.compile(r"(?i)\.(geo)?json(\?.*)?$|/items/[^/?]+/?(\?.*)?$")
_RASTER = re.compile(r"(?i)image/(tiff|vnd\.stac\.geotiff|jp2|jpeg2000)")
_RASTER_FILE = re.compile(r"(?i)\.(tiff?|jp2)(\?.*)?$")
_PICTURES = {"thumbnail", "overview", "visual", "metadata"}
"""Roles of what holds no bands."""
_PICTURE = re.compile(r"(?i)(visual|overview|preview|TCI|rendered)")
Transform = tuple[float, float, float, float, float, float]
_SENSORS = ((r"sentinel-2", SENTINEL_2), (r"landsat-[89]", LANDSAT_8), (r"landsat-7", LANDSAT_7))
_MSI_FILE = re.compile(r"(?i)(?<![A-Z0-9])(B\d[\dA]|SCL|AOT|WVP|CLD|SNW)(?![A-Z0-9])")
_TAGS = (
    "datetime", "start_datetime", "platform", "constellation", "s2:processing_baseline", "processing:version",
    "s2:product_uri", "s2:mgrs_tile", "grid:code", "sat:relative_orbit", "sat:absolute_orbit", "landsat:scene_id",
    "landsat:wrs_path", "landsat:wrs_row", "earthsearch:boa_offset_applied",
)  # fmt: skip


def claims(src: str) -> bool:
    """True for the address of an item, and for a JSON file that says that it is one, or a collection of them."""
    if is_remote(src):
        return bool(_ADDRESS.search(src))
    path = Path(src)
    if path.suffix.lower() not in (".json", ".geojson") or not path.is_file():
        return False
    with path.open("rb") as stream:
        return b'"stac_version"' in stream.read(_LARGEST)


def read(src: str) -> Product:
    """The product of an item, or of a collection of items of one pass.

    Raises `GeosrError` where it can't be read, holds none, or several that don't go together.
    """
    document = _document(src)
    items = document.get("features", [document])
    if not items:
        raise InputError(f"{src}: holds no items")
    return together([_product(src, _item(src, item)) for item in items])


def _document(src: str) -> dict[str, Any]:
    try:
        if is_remote(src):
            with urllib.request.urlopen(src, timeout=_PATIENCE) as answer:
                data = answer.read(_LARGEST)
        else:
            data = Path(src).read_bytes()
        document = json.loads(data)
    except ValueError as error:
        raise InputError(f"{src}: is cut off or no JSON: {error}") from error
    except OSError as error:
        raise PlaceError(f"{src}: can't be read: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise InputError(f"{src}: is no STAC item")
    return document


def _item(src: str, document: dict[str, Any]) -> Item:
    try:
        import pystac

        item = pystac.Item.from_dict(document)
    except ImportError as error:
        raise InputError(f"{src}: {one_line(error)}; geosr[stac] brings what reads STAC items") from error
    except Exception as error:  # whatever an odd document raises
        raise InputError(f"{src}: is no whole STAC item: {one_line(error)}") from error
    item.set_self_href(src if is_remote(src) else str(Path(src).absolute()))
    return item


@dataclass(frozen=True, slots=True)
class _Band:
    """A band of an asset, as the item states it."""

    part: Part
    offset_stated: bool
    rank: tuple[bool, bool, float]
    """Of several assets of a band the least is taken: as it was measured, a GeoTIFF, fine."""
    crs: str


def _product(src: str, item: Item) -> Product:
    sensor = _sensor(item)
    found: dict[str, _Band] = {}
    for key, asset in item.assets.items():
        for band in _bands(src, item, key, asset, sensor):
            found[band.part.key] = min(found.get(band.part.key, band), band, key=lambda each: each.rank)
    if not found:
        raise InputError(f"{src}: none of the item's assets is a raster of bands")
    bands = [found[key] for key in sorted(found, key=in_order)]
    there = tuple(band.part for band in bands if _is_there(band.part.path))
    crs = dict.fromkeys(band.crs for band in bands if band.crs)
    if len(crs) > 1:
        raise InputError(f"{src}: its assets are in several CRS, {', '.join(crs)}; name their files")
    return Product(
        path=src,
        name=item.id,
        kind="STAC item" + (f" of {sensor.name}" if sensor else ""),
        parts=there,
        sensor=sensor.name if sensor else "",
        notes=(_note(bands),),
        tags={"id": item.id} | tags_of(item.properties, _TAGS),
        files=() if is_remote(src) else (str(Path(src).absolute()),),
        crs=next(iter(crs), ""),
        clouds=cloud_marks(there),
        missing=tuple(band.part.key for band in bands if not (band.part in there or band.part.aside)),
        unsettled=_doubt(item, [band for band in bands if sensor is SENTINEL_2 and band.part.key in MSI]),
    )


def _sensor(item: Item) -> Sensor | None:
    told = " ".join(str(item.properties.get(key) or "") for key in ("constellation", "platform", "eo:platform"))
    plain = re.sub(r"[ _]", "-", told.lower())
    return next((sensor for pattern, sensor in _SENSORS if re.search(pattern, plain)), None)


def _bands(src: str, item: Item, key: str, asset: Asset, sensor: Sensor | None) -> Iterator[_Band]:
    """The bands of an asset; none of pictures and texts."""
    fields, roles = asset.extra_fields, set(asset.roles or ())
    raster = _RASTER.match(asset.media_type or "") or (not asset.media_type and _RASTER_FILE.search(asset.href))
    if not raster or roles & _PICTURES or _PICTURE.match(key):
        return
    spectral = _listed(fields, "bands") or _listed(fields, "eo:bands")
    numbers = _listed(fields, "raster:bands")
    count = max(len(spectral), len(numbers), 1)
    path, crs = _path(item, asset), _crs(item, fields)
    for place in range(count):
        told = *(each[place] for each in (spectral, numbers) if place < len(each)), fields
        name = str(_first(told[:-1], "name") or key)
        name = _key(sensor, path, name, key) if count == 1 else name
        transform, pixel = _grid(src, item, told, crs)
        part = _part(name, path, place + 1, told, sensor, _classes(key, told))
        own = "sampling:original" in roles or NATIVE.get(name) == pixel
        rank = not own, "jp2" in (asset.media_type or ""), pixel
        yield _Band(replace(part, pixel=pixel, transform=transform), _first(told, *_OFFSET) is not None, rank, crs)


def _part(key: str, path: str, band: int, told: Sequence[Fields], sensor: Sensor | None, classes: str) -> Part:
    msi = sensor is SENTINEL_2 and key in MSI
    common = common_of(sensor, key) or str(_first(told, "eo:common_name", "common_name") or "")
    scale, offset, fill = (_first(told, *names) for names in (_SCALE, _OFFSET, ("nodata",)))
    return Part(
        key,
        path,
        pixel=0,
        common="" if classes else common,
        band=band,
        classes=classes,
        scale=1.0 if classes or scale is None else float(scale),
        offset=0.0 if classes or offset is None else float(offset),
        nodata=(0.0 if msi else None) if fill is None else float(fill),
        told=bool(classes) or scale is not None or offset is not None,
        aside=not (common or classes),
    )


Fields = Mapping[str, Any]
_SCALE, _OFFSET = ("scale", "raster:scale"), ("offset", "raster:offset")


def _listed(fields: Fields, name: str) -> list[Fields]:
    """Objects in a list; early items list numbers of the bands of the whole item there."""
    return [each for each in fields.get(name) or () if isinstance(each, Mapping)]


def _first(told: Sequence[Fields], *names: str) -> Any:
    """The value that a band's own fields state under one of these names, or else those of its asset."""
    return next((fields[name] for fields in told for name in names if fields.get(name) is not None), None)


def _key(sensor: Sensor | None, path: str, name: str, asset: str) -> str:
    """The agency's name of a band: that of its file, or one that the item states."""
    file = re.split(r"[/\\?]", path.partition("?")[0])[-1]
    if sensor is not SENTINEL_2:
        return band_key(file) or band_key(asset) or name
    if found := _MSI_FILE.findall(file):
        return str(found[-1]).upper()
    by_common = {common: key for key, common in MSI.items()}
    entry = SENTINEL_2.band(name) or SENTINEL_2.band(asset)
    return by_common.get(name) or (entry.name if entry else name)


def _classes(key: str, told: Sequence[Fields]) -> str:
    if _first(told, "classification:classes", "classification:bitfields"):
        return "classes that the item lists"
    return f"by the asset's name {key}" if names_classes(key) else ""


def _grid(src: str, item: Item, told: Sequence[Fields], crs: str) -> tuple[Transform | None, float]:
    """The transform of a band's grid, where the item states it, and the side of a pixel, metres."""
    size = float(_first(told, "spatial_resolution", "raster:spatial_resolution", "gsd") or 0)
    own, whole = told[-1].get("proj:transform"), item.properties.get("proj:transform")
    if not own and whole and (not size or size >= abs(whole[0])):  # the item's grid is not that of finer assets
        own = whole
    if not own:
        return None, size or float(item.properties.get("gsd") or 0)
    a, b, c, d, e, f = map(float, own[:6])
    metric = not crs or crs_of(crs, src).is_projected
    return (a, b, c, d, e, f), abs(a) if metric else size


def _crs(item: Item, fields: Fields) -> str:
    for told in (fields, item.properties):
        if code := told.get("proj:code") or (told.get("proj:epsg") and f"EPSG:{told['proj:epsg']}"):
            return str(code)
        if text := told.get("proj:wkt2") or told.get("proj:projjson"):
            return text if isinstance(text, str) else json.dumps(text)
    return ""


def _path(item: Item, asset: Asset) -> str:
    """The file or address of an asset: what lies here, or else an address without a login, or else the first."""
    fields = asset.extra_fields
    alternates = [each for each in (fields.get("alternate") or {}).values() if isinstance(each, Mapping)]
    places = [(asset.href, fields), *((str(each.get("href")), each) for each in alternates)]
    if local := fields.get("file:local_path"):
        places.append((str(local), {}))
    found = [(_absolute(item, href), told) for href, told in places]
    here = (path for path, _ in found if not is_remote(path) and Path(path).exists())
    free = (path for path, told in found if path.startswith("http") and not told.get("auth:refs"))
    return next(here, None) or next(free, None) or found[0][0]


def _absolute(item: Item, href: str) -> str:
    from pystac.utils import make_absolute_href

    return make_absolute_href(href.removeprefix("file://"), item.get_self_href())


def _is_there(path: str) -> bool:
    return is_remote(path) or path.startswith("/vsi") or Path(path).exists()


def _note(bands: Sequence[_Band]) -> str:
    measured = [band.part for band in bands if not (band.part.classes or band.part.aside)]
    stated = [part for part in measured if part.told]
    if not stated:
        return "the item states no scale and offset: values are what its files say"
    numbers = {f"{part.scale:g} and {part.offset:g}" for part in stated}
    told = (
        numbers.pop() if len(numbers) == 1 and len(stated) == len(measured) else "as the item states them of each band"
    )
    return f"scale and offset {told}; numbers stay as they are stored"


def _doubt(item: Item, bands: Sequence[_Band]) -> str:
    """Why the values of the reflectance of Sentinel-2 can't be told; "" where they can."""
    applied = item.properties.get("earthsearch:boa_offset_applied")
    baseline = str(item.properties.get("s2:processing_baseline") or item.properties.get("processing:version") or "")
    offsets = {band.part.offset for band in bands if band.part.offset}
    shown = ", ".join(f"{offset:g}" for offset in sorted(offsets))
    if applied and offsets:
        flag = "earthsearch:boa_offset_applied"
        return f"the item says that the offset was taken off ({flag}) and states one of {shown}{_WAY}"
    if any(not -1 <= offset <= 0 for offset in offsets):
        return (
            f"the item states an offset of {shown}, which reflectance can't have: it is added to stored number x scale"
        )
    without = [band.part.key for band in bands if not band.part.offset]
    if without and baseline and not applied and lists_offsets(baseline):
        states = (
            "states none" if not any(band.offset_stated for band in bands) else f"states none of {', '.join(without)}"
        )
        return f"the item's processing baseline {baseline} is one of those with an offset, and it {states}{_WAY}"
    return ""


_WAY = "; 0.0001,0 where it was taken off, 0.0001,-0.1 where it was not"
