"""Names of classes and attribute tables of bands: read through GDAL, carried in the file beside a GeoTIFF."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rasterio import shutil
from rasterio.io import DatasetReader, MemoryFile

from geosr.io.categorical import FLAGS
from geosr.io.environment import GdalError

_TABLE = "GDALRasterAttributeTable"
_COUNT, _NAME, _LOW, _HIGH, _VALUE = "1", "2", "3", "4", "5"
"""What a column of a table is for, by GDAL's numbers."""


@dataclass(frozen=True, slots=True)
class Categories:
    """Names of the classes of one band."""

    names: tuple[str, ...] = ()
    """By stored number from 0; empty where a number has none."""
    table: str = ""
    """GDAL's XML of a thematic attribute table, without counts of the old pixels."""

    @property
    def meanings(self) -> dict[int, str]:
        """The name of each stored number that has one."""
        return {number: name for number, name in enumerate(self.names) if name} or _of_table(self.table)

    @property
    def flags(self) -> dict[str, Any]:
        """The same as attributes of CF: `flag_values`, and `flag_meanings` with underscores for spaces."""
        names = ["_".join(name.split()) for name in self.meanings.values()]
        return {"flag_values": list(self.meanings), "flag_meanings": " ".join(names)} if names else {}

    @property
    def more_than_names(self) -> bool:
        """True where its table has columns beside numbers and names."""
        fields = ElementTree.fromstring(self.table or "<none/>").findall("FieldDefn")
        return any(_use(field) not in (_NAME, _VALUE) for field in fields)


def categories_of(dataset: DatasetReader) -> tuple[Categories | None, ...]:
    """Classes of each band of an open dataset, None without; by way of a VRT, since rasterio has no call for it."""
    try:
        root = ElementTree.fromstring(_as_vrt(dataset))
    except (*GdalError, ElementTree.ParseError):
        return (None,) * int(dataset.count)
    found = {band.get("band"): _categories(band) for band in root.iter("VRTRasterBand")}
    return tuple(found.get(str(band)) for band in range(1, int(dataset.count) + 1))


def _as_vrt(dataset: DatasetReader) -> bytes | str:
    if dataset.driver == "VRT":
        return "".join(dataset.tags(ns="xml:VRT").values())
    with MemoryFile(ext=".vrt") as memory:
        shutil.copy(dataset, memory.name, driver="VRT")
        return bytes(memory.read())


def _categories(band: ElementTree.Element) -> Categories | None:
    names = tuple(name.text or "" for name in band.findall("CategoryNames/Category"))
    table = band.find(_TABLE)
    thematic = table is not None and _is_thematic(table)
    if not (any(names) or thematic):
        return None
    return Categories(names if any(names) else (), _without_counts(table) if table is not None and thematic else "")


def _is_thematic(table: ElementTree.Element) -> bool:
    """True where rows are classes and no bins of values; Erdas's files may call even classes with names athematic."""
    uses = {use.text for use in table.findall("FieldDefn/Usage")}
    binned = "row0Min" in table.attrib or {_LOW, _HIGH} & uses
    return _NAME in uses or (table.get("tableType", "thematic") == "thematic" and not binned)


def _without_counts(table: ElementTree.Element) -> str:
    old = [place for place, field in enumerate(table.findall("FieldDefn")) if field.findtext("Usage") == _COUNT]
    for parent, tag in ((table, "FieldDefn"), *((row, "F") for row in table.findall("Row"))):
        children = parent.findall(tag)
        for place in old:
            parent.remove(children[place])
    for place, field in enumerate(table.findall("FieldDefn")):
        field.set("index", str(place))
    return ElementTree.tostring(table, encoding="unicode")


def _of_table(text: str) -> dict[int, str]:
    table = ElementTree.fromstring(text or "<none/>")
    uses = [_use(field) for field in table.findall("FieldDefn")]
    if _NAME not in uses:
        return {}
    rows = [[cell.text or "" for cell in row.findall("F")] for row in table.findall("Row")]
    numbers = [row[uses.index(_VALUE)] if _VALUE in uses else str(place) for place, row in enumerate(rows)]
    names = [row[uses.index(_NAME)] for row in rows]
    return {int(number): name for number, name in zip(numbers, names, strict=True) if name and _is_whole(number)}


def _use(field: ElementTree.Element) -> str | None:
    """The use of a column; Erdas's files keep none of it, but its name."""
    return _VALUE if (field.findtext("Name") or "").lower() == "value" else field.findtext("Usage")


def _is_whole(number: str) -> bool:
    return number.strip().lstrip("+-").isdecimal()


def flags_of(tags: Mapping[str, str]) -> dict[str, Any]:
    """CF's attributes of classes among tags, where GDAL writes lists of numbers as text, {1,2,3}."""
    told = {key: tags[key] for key in FLAGS if key in tags}
    return {key: text if key == "flag_meanings" else _parsed(text) for key, text in told.items()}


def _parsed(text: str) -> list[int | float]:
    parts = [part.rstrip("bsuUlL") for part in re.split(r"[,\s\[\]{}()]+", text) if part]
    try:
        return [int(part) if _is_whole(part) else float(part) for part in parts]
    except ValueError:
        return []


def with_categories(sidecar: bytes | None, bands: Sequence[Categories | None]) -> bytes | None:
    """A GeoTIFF's `.aux.xml` with what its bands' classes are called beside what stands in it; None for none."""
    if not any(bands):
        return sidecar
    root = ElementTree.fromstring(sidecar or b"<PAMDataset/>")
    for number, categories in enumerate(bands, start=1):
        if categories is None:
            continue
        place = root.find(f"PAMRasterBand[@band='{number}']")
        band = ElementTree.SubElement(root, "PAMRasterBand", band=str(number)) if place is None else place
        if categories.names:
            parent = ElementTree.SubElement(band, "CategoryNames")
            for name in categories.names:
                ElementTree.SubElement(parent, "Category").text = name
        if categories.table:
            band.append(ElementTree.fromstring(categories.table))
    ElementTree.indent(root)
    return ElementTree.tostring(root)
