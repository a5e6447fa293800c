"""Theia's products (MAJA, MUSCATE): a GeoTIFF a band, masks in a folder, metadata in *_MTD_ALL.xml.

Surface reflectance corrected for slopes (FRE) is what its bands are; that without (SRE) is there by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from geosr.errors import InputError
from geosr.products.bands import common_of
from geosr.products.members import Members, members_of
from geosr.products.product import Marks, Part, Product
from geosr.sensor_table import SENTINEL_2, Sensor

_METADATA = re.compile(r"\w[\w-]*_MTD_ALL\.xml")
_MASKS = {"Cloud": "cloud mask", "Snow": "geophysical mask", "Edge": "edge mask"}
"""Masks by the nature that metadata name; they are called as their files end: CLM_R1, MG2_R2."""
_CLOUDS = 0b11111111
_WORDS = "clouds, the thinnest and cirrus too, and their shadows (any bit of CLM)"
_AIR = {"WVC": "WATER_VAPOR_CONTENT", "AOT": "AEROSOL_OPTICAL_THICKNESS"}
"""Quantities of the air, in the order of bands in their file."""
_NATURES = {"WVC": "Water_Vapor_Content", "AOT": "Aerosol_Optical_Thickness"}
_TAGS = ("PRODUCT_ID", "PRODUCT_VERSION", "PRODUCT_LEVEL", "PLATFORM", "ACQUISITION_DATE", "GEOGRAPHICAL_ZONE",
         "ORBIT_NUMBER")  # fmt: skip


def claims(src: str) -> bool:
    """True for a folder or zip with *_MTD_ALL.xml in it, and for that file."""
    path = Path(src)
    if path.suffix.lower() == ".zip" and path.is_file():
        with suppress(InputError):
            return _main(members_of(path)) is not None
        return "_L2A_" in path.name and path.name.startswith(("SENTINEL2", "VENUS"))
    if path.is_dir():
        return any(_METADATA.fullmatch(entry.name) for entry in path.iterdir())
    return path.is_file() and bool(_METADATA.fullmatch(path.name))


def read(src: str) -> Product:
    """The product, from its metadata. Raises `InputError` where these or all images are not there."""
    path = Path(src)
    root = path.parent if _METADATA.fullmatch(path.name) else path
    members = members_of(root)
    main = _main(members)
    if main is None:
        why = "its metadata (*_MTD_ALL.xml) are not there, so that it seems half downloaded; fetch it again"
        raise InputError(f"{root.name}: {why}")
    told = _Told(members, PurePosixPath(main), members.xml(main), root.name)
    parts = tuple(told.parts())
    if not parts:
        raise InputError(f"{root.name}: there is no image of a band in it, so that it seems half downloaded")
    return Product(
        path=str(root.absolute()),
        name=root.name,
        kind=f"Theia {told.text('PLATFORM')} {told.text('PRODUCT_LEVEL')}",
        parts=parts,
        sensor=told.sensor.name if told.sensor else "",
        notes=(told.note,),
        tags={tag: told.text(tag) for tag in _TAGS if told.text(tag)},
        files=(members.root if members.is_archive else members.path(main),),
        crs=told.crs,
        clouds=tuple(Marks(part, _WORDS, bits=_CLOUDS) for part in parts if part.classes == _MASKS["Cloud"])[:1],
        missing=tuple(key for key, name in told.images("Flat_Reflectance", "band_id") if name not in members.sizes),
        unsettled="" if told.quantification else f"{told.main.name} has no quantification value",
    )


def _main(members: Members) -> str | None:
    found = (name for name in members.sizes if _METADATA.fullmatch(PurePosixPath(name).name))
    return min(found, key=lambda name: name.count("/"), default=None)


@dataclass(frozen=True, slots=True)
class _Told:
    """The metadata of a product, and the files that they name."""

    members: Members
    main: PurePosixPath
    root: Element
    name: str

    @property
    def sensor(self) -> Sensor | None:
        """Of the table, where it has it."""
        return SENTINEL_2 if self.text("PLATFORM").upper().startswith("SENTINEL2") else None

    @property
    def quantification(self) -> float | None:
        """Stored numbers of a reflectance of 1."""
        return self._number("REFLECTANCE_QUANTIFICATION_VALUE")

    @property
    def note(self) -> str:
        """A line on what was read."""
        divided = "unknown" if self.quantification is None else f"{self.quantification:g}"
        return (
            f"{self.main.name}: surface reflectance corrected for slopes (FRE), quantification {divided}, no data "
            f"{self._special('nodata', -10000):g}; they stand in the result, and numbers stay as they are stored"
        )

    @property
    def crs(self) -> str:
        """Of all grids, "" where it is not told."""
        code = self.text("HORIZONTAL_CS_CODE")
        return f"EPSG:{code}" if code.isdecimal() else ""

    def text(self, tag: str) -> str:
        """The text of the first element of this name."""
        return (self.root.findtext(f".//{tag}") or "").strip()

    def images(self, nature: str, key: str) -> Iterator[tuple[str, str]]:
        """Images or masks of this nature, by what an attribute says of each."""
        for holder in self.root.iter():
            if nature in (holder.findtext("Image_Properties/NATURE"), holder.findtext("Mask_Properties/NATURE")):
                for each in holder.iter():
                    if each.tag in ("IMAGE_FILE", "MASK_FILE") and each.get(key):
                        yield each.get(key, ""), str(self.main.parent / (each.text or "").strip())

    def parts(self) -> Iterator[Part]:
        """Bands that are there; beside them those without correction for slopes, quantities of the air, and masks."""
        for kind, nature in (("", "Flat_Reflectance"), ("SRE_", "Surface_Reflectance")):
            for band, name in self.images(nature, "band_id"):
                part = self._part(f"{kind}{band}", name, self._group_of(band))
                scale = 1 / (self.quantification or 1)
                nodata, known = self._special("nodata", -10000), self.sensor and self.sensor.band(band)
                common = common_of(self.sensor, known.name) if known and not kind else ""
                yield from self._there(replace(part, common=common, scale=scale, nodata=nodata, aside=bool(kind)), name)
        for number, (key, quantity) in enumerate(_AIR.items(), start=1):
            for group, name in list(self.images(_NATURES[key], "group_id"))[-1:]:
                scale = 1 / (self._number(f"{quantity}_QUANTIFICATION_VALUE") or 1)
                nodata = self._special(f"{quantity.lower()}_nodata", 0)
                part = replace(self._part(key, name, group), band=number, scale=scale, nodata=nodata, aside=True)
                yield from self._there(part, name)
        for nature, classes in _MASKS.items():
            for group, name in self.images(nature, "group_id"):
                key = "_".join(PurePosixPath(name).stem.split("_")[-2:])
                yield from self._there(replace(self._part(key, name, group), classes=classes), name)

    def _there(self, part: Part, name: str) -> Iterator[Part]:
        if name in self.members.sizes:
            yield part

    def _part(self, key: str, name: str, group: str) -> Part:
        """A raster of the product on the grid of a group of bands (R1, R2)."""
        grid = next((each for each in self.root.iter("Group_Geopositioning") if each.get("group_id") == group), None)
        told = [] if grid is None else [grid.findtext(tag, "").strip() for tag in ("XDIM", "ULX", "YDIM", "ULY")]
        try:
            across, left, down, top = map(float, told)
        except ValueError:
            why = f"its metadata tell no grid of {key}, whose group is {group or 'not told'}"
            raise InputError(f"{self.name}: {why}") from None
        return Part(key, self.members.path(name), across, transform=(across, 0.0, left, 0.0, down, top))

    def _group_of(self, band: str) -> str:
        groups = (each for each in self.root.iter("Group") if band in [one.text for one in each.iter("BAND_ID")])
        return next((each.get("group_id", "") for each in groups), "")

    def _number(self, tag: str) -> float | None:
        text = self.text(tag)
        try:
            return float(text) if text else None
        except ValueError:
            raise InputError(f"{self.name}: its metadata say {tag} {text!r}, which is no number") from None

    def _special(self, meaning: str, usual: float) -> float:
        """The stored number of this meaning."""
        found = (each.text or "" for each in self.root.iter("SPECIAL_VALUE") if each.get("name") == meaning)
        return float(next(found, "").strip() or usual)
