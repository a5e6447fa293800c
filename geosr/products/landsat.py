"""Landsat 4 to 9, level 1 and 2: folders and tar archives, by the metadata file (MTL) in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from geosr.errors import InputError
from geosr.io.safety import parsed_xml
from geosr.products.bands import OLI, TM, cloud_marks
from geosr.products.members import members_of
from geosr.products.product import Part, Product
from geosr.sensor_table import LANDSAT_7, LANDSAT_8

_MTL = re.compile(r"(?i)_MTL\.(txt|json|xml)$")
_ARCHIVE = re.compile(r"(?i)(^|[/\\])L[COTEM]\d\w*\.(tar|tar\.\w+|tgz)$")
_SENSORS = {"LANDSAT_8": LANDSAT_8.name, "LANDSAT_9": LANDSAT_8.name, "LANDSAT_7": LANDSAT_7.name}
_FLAGS = {
    "QUALITY_L1_PIXEL": "pixel quality",
    "QUALITY_L1_RADIOMETRIC_SATURATION": "radiometric saturation",
    "QUALITY_L2_AEROSOL": "aerosol quality",
    "QUALITY_L2_SURFACE_REFLECTANCE_CLOUD": "cloud quality",
    "BAND_QUALITY": "pixel quality",
}
"""Files of flags, by what follows FILE_NAME_ in the metadata."""
_QUANTITIES = {
    "REFLECTANCE L1": "reflectance at the top of the atmosphere, without correction for the sun's angle",
    "REFLECTANCE L2": "surface reflectance",
    "TEMPERATURE L2": "surface temperature, kelvin",
    "RADIANCE L1": "radiance at the sensor, W / (m2 sr um)",
}
"""Meanings of stored numbers after scale and offset, in the order in which they are looked for."""
_TAGS = (
    "LANDSAT_PRODUCT_ID", "LANDSAT_SCENE_ID", "SPACECRAFT_ID", "SENSOR_ID", "DATE_ACQUIRED", "SCENE_CENTER_TIME",
    "WRS_PATH", "WRS_ROW", "PROCESSING_LEVEL", "PROCESSING_SOFTWARE_VERSION",
)  # fmt: skip


def claims(src: str) -> bool:
    """True for a folder with an MTL file in it, for that file, and for an archive that is called as USGS's are."""
    if Path(src).is_file():
        return bool(_ARCHIVE.search(src) or _MTL.search(src))
    return bool(_metadata_of(Path(src).glob("*_MTL.*")))


def read(src: str) -> Product:
    """The product, with scale and offset of each band as its MTL file says them.

    Raises `InputError` where that file is missing or damaged, or names no band.
    """
    if _ARCHIVE.search(src) and not src.lower().endswith(".tar"):
        raise InputError(f"{src}: is compressed as a whole, so that nothing in it can be read alone; unpack it")
    members = members_of(Path(src).parent if _MTL.search(src) else src)
    there = {Path(name).name: name for name in members.sizes}
    file = Path(src).name if _MTL.search(src) else _metadata_of(map(Path, members.sizes))
    if not file:
        raise InputError(f"{src}: holds no metadata, a file that ends with _MTL.txt; fetch it again")
    mtl = Mtl.of(members.text(file), Path(file).name)
    named = dict(mtl.named())
    if not named:
        raise InputError(f"{src}: {file} names no file of a band, so that it is none of a Landsat product")
    parts = {what: mtl.part(what, name, members.path(there[name])) for what, name in named.items() if name in there}
    return Product(
        path=src,
        name=mtl.told.get("LANDSAT_PRODUCT_ID", Path(file).name.partition("_MTL")[0]),
        kind=f"Landsat {mtl.told.get('SPACECRAFT_ID', '')[-1:]} {mtl.level}",
        parts=tuple(parts.values()),
        sensor=_SENSORS.get(mtl.told.get("SPACECRAFT_ID", ""), ""),
        notes=tuple(mtl.notes(parts)),
        tags={key: mtl.told[key] for key in _TAGS if key in mtl.told},
        files=(members.root,) if members.is_archive else (),
        clouds=cloud_marks(parts.values()) if mtl.told.get("COLLECTION_NUMBER") in ("02", "2") else (),
        missing=tuple(band_key(name) or what for what, name in named.items() if name not in there),
        unsettled=mtl.unsettled(),
    )


def _metadata_of(files: Iterable[Path]) -> str:
    """The MTL file among others, "" where there is none; texts come first, since every delivery has them."""
    found = {file.suffix.lower(): file.as_posix() for file in files if _MTL.search(file.name)}
    return next((found[kind] for kind in (".txt", ".xml", ".json") if kind in found), "")


class Mtl:
    """The metadata of a Landsat product: of its own level, since those of level 2 repeat what level 1 said."""

    def __init__(self, groups: dict[str, dict[str, str]]) -> None:
        level = next((each["PROCESSING_LEVEL"] for each in groups.values() if "PROCESSING_LEVEL" in each), "L1")
        own = [each for name, each in groups.items() if level.startswith("L1") or not name.startswith("LEVEL1")]
        self.told = {key: value for each in reversed(own) for key, value in each.items()}
        """The first group's where several have the same key."""
        self.level = level[:2]

    @classmethod
    def of(cls, data: bytes, name: str) -> Mtl:
        """That in a text, an XML or a JSON document. Raises `InputError` for what is none of them, or cut off."""
        if name.lower().endswith(".xml"):
            return cls({group.tag: {item.tag: item.text or "" for item in group} for group in parsed_xml(data, name)})
        text = data.decode("utf-8", "replace")
        return cls(_of_json(text, name) if name.lower().endswith(".json") else _of_text(text, name))

    def named(self) -> Iterator[tuple[str, str]]:
        """Names of files of bands, behind what each is called: BAND_4, BAND_ST_B10, QUALITY_L1_PIXEL."""
        for key, name in self.told.items():
            what = key.removeprefix("FILE_NAME_")
            if what != key and (re.match(r"BAND_(ST_B)?\d", what) or what in _FLAGS):
                yield what, name

    def part(self, what: str, name: str, path: str) -> Part:
        """A band of the product."""
        key = band_key(name) or what
        if what in _FLAGS:
            return Part(key, path, self._pixel("REFLECTIVE"), classes=_FLAGS[what])
        common, quantity = self._common(what), self._quantity(what)
        kind = "PANCHROMATIC" if common == "pan" else "THERMAL" if common.startswith("lwir") else "REFLECTIVE"
        scale, offset = (float(self.told.get(f"{quantity}_{each}_{what}", each == "MULT")) for each in ("MULT", "ADD"))
        fill = 0.0 if self._lowest(what) == 1 else None
        return Part(key, path, self._pixel(kind), common, scale=scale, offset=offset, nodata=fill)

    def notes(self, parts: Mapping[str, Part]) -> Iterator[str]:
        """Lines on what the numbers of its bands stand for."""
        found: dict[str, list[Part]] = {}
        for what, part in parts.items():
            if quantity := self._quantity(what):
                found.setdefault(quantity, []).append(part)
        for quantity, bands in found.items():
            numbers = {f"{band.scale:g} and {band.offset:g}" for band in bands}
            told = numbers.pop() if len(numbers) == 1 else "as the metadata say of each band"
            of = "" if len(found) == 1 else f"{', '.join(band.key for band in bands)}: "
            meaning = of + _QUANTITIES[f"{quantity} {self.level}"]
            yield f"{meaning}: scale and offset {told} ({quantity}_MULT, {quantity}_ADD)"

    def unsettled(self) -> str:
        """A line on a band without scale or offset; "" where none is."""
        lacking = [what for what, _ in self.named() if what not in _FLAGS and not self._quantity(what)]
        return f"its metadata tell no scale and offset of {', '.join(lacking)}" if lacking else ""

    def _common(self, what: str) -> str:
        names = {"OLI": OLI, "TIR": OLI, "TM": TM, "ETM": TM}.get(self.told.get("SENSOR_ID", "")[:3], ())
        number = int(re.sub(r"BAND_(ST_B)?|_VCID_\d", "", what))
        return names[number - 1] if number <= len(names) else ""

    def _quantity(self, what: str) -> str:
        known = (each.split() for each in _QUANTITIES)
        return next(
            (
                name
                for name, level in known
                if level == self.level and {f"{name}_MULT_{what}", f"{name}_ADD_{what}"} <= self.told.keys()
            ),
            "",
        )

    def _lowest(self, what: str) -> float:
        told = (self.told.get(f"QUANTIZE_CAL_{least}_{what}") for least in ("MIN", "MINIMUM"))
        return float(next(filter(None, told), 0))

    def _pixel(self, kind: str) -> float:
        return float(self.told.get(f"GRID_CELL_SIZE_{kind}", 30))


def band_key(name: str) -> str:
    """A band as the end of its file's name calls it (B4, ST_B10, B6_VCID_1, QA_PIXEL), "" where that tells none."""
    found = re.search(
        r"(?:^|_)((?:SR_|ST_)?B\d+(?:_VCID_\d)?|(?:SR_)?(?:QA_\w+|CLOUD_QA)|BQA)\.\w+$", name, re.IGNORECASE
    )
    return found[1].upper() if found else ""


def _of_text(text: str, name: str) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    items: dict[str, str] = {}
    for key, value in re.findall(r"(?m)^\s*(\w+)\s*=\s*(.*?)\s*$", text):
        if key == "GROUP":
            items = groups.setdefault(value, {})
        elif key != "END_GROUP":
            items[key] = value.strip('"')
    if not groups or not re.search(r"(?m)^END\s*$", text):
        raise InputError(f"{name}: is cut off or damaged: an MTL file holds groups and ends with END")
    return groups


def _of_json(text: str, name: str) -> dict[str, dict[str, str]]:
    try:
        (root,) = json.loads(text).values()
        return {group: {key: str(value) for key, value in items.items()} for group, items in root.items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{name}: is cut off or damaged: {error}") from error
