"""Sentinel-2 L1C and L2A as SAFE, in folders and zips, of the compact format and of the one before it.

Nothing is concluded from a name, a date or a version: quantification, offsets and the number for no data stand in the
metadata, or the product says that it can't tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from geosr.errors import InputError
from geosr.products.bands import MSI, NATIVE, SCL, cloud_marks, lists_offsets, native
from geosr.products.members import Members, members_of
from geosr.products.product import Marks, Part, Product
from geosr.sensor_table import SENTINEL_2

_METADATA = re.compile(r"(?:MTD_MSIL(?:1C|2A)|S2\w_(?:OPER|USER)_MTD_SAFL(?:1C|2A)\w*)\.xml")
_TILE_METADATA = re.compile(r"(?:MTD_TL|S2\w_(?:OPER|USER)_MTD_L(?:1C|2A)_TL\w*)\.xml")
_NAME = re.compile(r"S2\w_(?:MSI|\w{4}_PRD_MSI)L(?:1C|2A)|\.SAFE(?:\.zip)?$")
_IMAGE = re.compile(
    r"(?:^S2\w_\w{4}_(?P<old>SCL|AOT|WVP)_L2A_\w+?|(?:^|.*_)(?P<key>B\d[\dA]|SCL|AOT|WVP))(?:_(?P<size>\d0)m)?"
)
"""The name of a band's file; before 2017 those of classes had their kind in front."""

_TAGS = ("PRODUCT_URI", "PRODUCT_URI_2A", "PRODUCT_TYPE", "PROCESSING_BASELINE", "SPACECRAFT_NAME",
         "PRODUCT_START_TIME", "GENERATION_TIME", "SENSING_ORBIT_NUMBER", "SENSING_ORBIT_DIRECTION")  # fmt: skip


def claims(src: str) -> bool:
    """True for a SAFE folder or zip, its metadata file, or one of its granules."""
    path = Path(src)
    if path.suffix.lower() != ".zip":
        return _place(path) is not None
    with suppress(InputError):
        return path.is_file() and _main(members_of(path)) is not None
    return bool(_NAME.search(path.name))  # a zip that is cut off


def read(src: str) -> Product:
    """The product, from MTD_MSIL1C.xml or MTD_MSIL2A.xml. Raises `InputError` where that or all images are missing."""
    root, granule = _place(Path(src)) or (Path(src), "")
    members = members_of(root)
    main = _main(members)
    if main is None:
        raise InputError(
            f"{root.name}: its metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml), which tell what numbers mean, are not "
            "there, so that it seems half downloaded; fetch it again"
        )
    told = _told(members.xml(main), PurePosixPath(main).name, root.name)
    images = _images(members, PurePosixPath(main).parent, granule, root.name)
    missing = tuple(key for key, sizes in told.listed.items() if (key, native(key, sizes)) not in images)
    there = {key: [size for each, size in images if each == key] for key in NATIVE if key not in missing}
    whole = {key: native(key, sizes) for key, sizes in there.items() if sizes}
    grids = _grids(members, images, root.name)
    parts = tuple(_part(members.path(images[key, size]), key, size, told, grids) for key, size in whole.items())
    return Product(
        path=str(Path(src).absolute()),
        name=root.name,
        kind=f"Sentinel-2 {told.level}",
        parts=parts,
        sensor=SENTINEL_2.name,
        notes=(told.note,),
        tags=told.tags,
        files=(members.root if members.is_archive else members.path(main),),
        crs=grids.crs,
        clouds=_clouds(members, images, parts),
        missing=missing,
        unsettled=told.unsettled([key for key in whole if key in MSI]),
    )


def _place(path: Path) -> tuple[Path, str] | None:
    """The folder of a product and the granule meant in it, "" for the only one; None where it is none."""
    if path.is_file():
        return (path.parent, "") if _METADATA.fullmatch(path.name) else None
    if not path.is_dir():
        return None
    here = path.absolute()
    if here.parent.name == "GRANULE":
        return here.parent.parent, here.name
    inner = [entry for entry in here.iterdir() if entry.suffix == ".SAFE"]
    for folder in (here, *inner[:1]):
        if folder.suffix == ".SAFE" or any(_METADATA.fullmatch(entry.name) for entry in folder.iterdir()):
            return folder, ""
    return None


def _main(members: Members) -> str | None:
    """The metadata of the whole product: those of granules lie deeper."""
    found = (name for name in members.sizes if _METADATA.fullmatch(PurePosixPath(name).name))
    return min(found, key=lambda name: name.count("/"), default=None)


@dataclass(frozen=True, slots=True)
class _Told:
    """The facts that the metadata of a product tell."""

    file: str
    level: str
    baseline: str
    quantification: float | None
    """Stored numbers of a reflectance of 1."""
    of_air: dict[str, float]
    """The same of AOT and WVP."""
    offsets: dict[str, float]
    """By band, what is added to stored numbers first; empty where no offset is told."""
    nodata: float
    listed: dict[str, set[int]]
    """Bands that the product should have, and their pixels, metres."""
    tags: dict[str, str]
    classes: tuple[str, ...]
    """Names of the numbers of SCL."""

    def values(self, key: str) -> tuple[float, float]:
        """Scale and offset of a band."""
        if key in self.of_air:
            return 1 / self.of_air[key], 0.0
        if key not in MSI or self.quantification is None:
            return 1.0, 0.0
        return 1 / self.quantification, self.offsets.get(key, 0.0) / self.quantification

    @property
    def note(self) -> str:
        """A line on what was read."""
        added = " ".join(f"{offset:+g}" for offset in sorted(set(self.offsets.values()))) or "none"
        divided = "unknown" if self.quantification is None else f"{self.quantification:g}"
        return (
            f"{self.file} of processing baseline {self.baseline or 'unknown'}: quantification {divided}, offset "
            f"{added}, no data {self.nodata:g}; they stand in the result, and numbers stay as they are stored"
        )

    def unsettled(self, keys: Collection[str]) -> str:
        """Why the values of these bands can't be told; "" where they can."""
        if self.quantification is None:
            return f"{self.file} has no quantification value"
        if self.offsets:
            without = [key for key in keys if key not in self.offsets]
            return f"the offsets in {self.file} leave out {', '.join(without)}" if without else ""
        if not lists_offsets(self.baseline):
            return ""
        known = f"is of processing baseline {self.baseline}" if self.baseline else "tells no processing baseline"
        return f"{self.file} {known} and has no list of offsets, without which numbers may be off by 1000"


def _told(root: Element, file: str, name: str) -> _Told:
    numbers = {
        tag: _number(next((each for each in root.iter() if re.fullmatch(pattern, each.tag)), None), name)
        for tag, pattern in (
            ("bands", r"(L2A_)?BOA_QUANTIFICATION_VALUE|QUANTIFICATION_VALUE"),
            ("AOT", r"(L2A_)?AOT_QUANTIFICATION_VALUE"),
            ("WVP", r"(L2A_)?WVP_QUANTIFICATION_VALUE"),
        )
    }
    keys, offsets = list(MSI), dict[str, float]()
    for each in (*root.iter("BOA_ADD_OFFSET"), *root.iter("RADIO_ADD_OFFSET")):
        place, offset = each.get("band_id", ""), _number(each, name)
        if place.isdecimal() and int(place) < len(keys) and offset is not None:
            offsets[keys[int(place)]] = offset
    special = {
        each.findtext("SPECIAL_VALUE_TEXT"): each.find("SPECIAL_VALUE_INDEX") for each in root.iter("Special_Values")
    }
    texts = {tag: (root.findtext(f".//{tag}") or "").strip() for tag in _TAGS}
    level = "L1C" if "Level-1C" in root.tag else "L2A"
    return _Told(
        file=file,
        level=level,
        baseline=texts["PROCESSING_BASELINE"],
        quantification=numbers["bands"],
        of_air={key: number for key, number in numbers.items() if key != "bands" and number},
        offsets=offsets,
        nodata=_number(special.get("NODATA"), name) or 0.0,
        listed=dict(_listed(root)),
        tags={tag: text for tag, text in texts.items() if text},
        classes=_classes(root),
    )


def _classes(root: Element) -> tuple[str, ...]:
    """Names of the numbers of SCL, in small letters."""
    texts = (
        [each.text or "" for each in root.iter() if re.fullmatch(rf"(L2A_)?SCENE_CLASSIFICATION_{kind}", str(each.tag))]
        for kind in ("INDEX", "TEXT")
    )
    found = {
        int(number): name.removeprefix("SC_").lower()
        for number, name in zip(*texts, strict=False)
        if number.isdecimal()
    }
    return tuple(found.get(number, "") for number in range(1 + max(found, default=-1)))


def _number(element: Element | None, name: str) -> float | None:
    if element is None:
        return None
    try:
        return float(element.text or "")
    except ValueError:
        raise InputError(f"{name}: its metadata say {element.tag} {element.text!r}, which is no number") from None


def _listed(root: Element) -> Iterator[tuple[str, set[int]]]:
    """The bands of which the metadata name a file, and their pixels."""
    images = [each.text or "" for each in root.iter() if re.fullmatch(r"IMAGE_(FILE|ID)(_2A)?", str(each.tag))]
    found = [_band(text.strip().rpartition("/")[2]) for text in images]
    for key in NATIVE:
        if sizes := {each[1] for each in found if each and each[0] == key}:
            yield key, sizes


def _band(stem: str) -> tuple[str, int] | None:
    """The band that a file holds, by its name, and its pixels; None for previews and masks."""
    match = _IMAGE.fullmatch(stem)
    key = match and (match["old"] or match["key"])
    return (key, int(match["size"] or NATIVE[key])) if match and key in NATIVE else None


def _images(members: Members, base: PurePosixPath, granule: str, name: str) -> dict[tuple[str, int], str]:
    """Files of bands by band and pixels, those of one granule. Raises `InputError` where there are several, or none."""
    whole, found = _whole_sizes(members, base), dict[str, dict[tuple[str, int], str]]()
    for member, size in members.sizes.items():
        path = PurePosixPath(member)
        parts = path.relative_to(base).parts if path.is_relative_to(base) else ()
        if len(parts) > 3 and parts[0] == "GRANULE" and parts[2] == "IMG_DATA" and path.suffix == ".jp2":
            band = _band(path.stem)
            if band and size >= whole.get(member, 1) and granule in ("", parts[1]):
                found.setdefault(parts[1], {})[band] = member
    if len(found) > 1:
        raise InputError(
            f"{name}: holds {len(found)} tiles; name the folder of one, such as {name}/GRANULE/{min(found)}"
        )
    if not found:
        raise InputError(f"{name}: there is no image of a band in it, so that it seems half downloaded; fetch it again")
    return next(iter(found.values()))


def _whole_sizes(members: Members, base: PurePosixPath) -> dict[str, int]:
    """Bytes that files have by the product's manifest, where it has one: what is shorter is not all there."""
    manifest = str(base / "manifest.safe")
    if manifest not in members.sizes:
        return {}
    streams = ((each.get("size", ""), each.find("fileLocation")) for each in members.xml(manifest).iter("byteStream"))
    return {
        str(base / place.get("href", "")): int(size)
        for size, place in streams
        if place is not None and size.isdecimal()
    }


@dataclass(frozen=True, slots=True)
class _Grids:
    """Where the bands of a tile lie, as its metadata tell."""

    crs: str = ""
    transforms: dict[int, tuple[float, float, float, float, float, float]] = field(default_factory=dict)
    """By pixels, metres."""


def _grids(members: Members, images: dict[tuple[str, int], str], name: str) -> _Grids:
    """The grids by the metadata of the tile; none where these are not there, since images tell them too."""
    folder = PurePosixPath(next(iter(images.values())).partition("/IMG_DATA/")[0])
    there = (PurePosixPath(member) for member in members.sizes)
    found = next((path for path in there if path.parent == folder and _TILE_METADATA.fullmatch(path.name)), None)
    if found is None:
        return _Grids()
    root, transforms = members.xml(str(found)), {}
    for each in root.iter("Geoposition"):
        x, y, across, down = (_number(each.find(tag), name) for tag in ("ULX", "ULY", "XDIM", "YDIM"))
        if not (x is None or y is None or across is None or down is None):
            transforms[int(each.get("resolution", 0))] = (across, 0.0, x, 0.0, down, y)
    return _Grids((root.findtext(".//HORIZONTAL_CS_CODE") or "").strip(), transforms)


def _part(path: str, key: str, size: int, told: _Told, grids: _Grids) -> Part:
    scale, offset = told.values(key)
    return Part(
        key=key,
        path=path,
        pixel=size,
        common=MSI.get(key, ""),
        classes=SCL if key == "SCL" else "",
        names=told.classes if key == "SCL" else (),
        scale=scale,
        offset=offset,
        nodata=told.nodata,
        aside=key in told.of_air,
        transform=grids.transforms.get(size),
    )


def _clouds(members: Members, images: dict[tuple[str, int], str], parts: Collection[Part]) -> tuple[Marks, ...]:
    """The mask by SCL; of L1C that which it has as a raster since baseline 04.00."""
    if scl := next((part for part in parts if part.key == "SCL"), None):
        return cloud_marks([scl])
    folder = next(iter(images.values())).partition("/IMG_DATA/")[0]
    mask = f"{folder}/QI_DATA/MSK_CLASSI_B00.jp2"
    if mask not in members.sizes:
        return ()
    part = Part("MSK_CLASSI", members.path(mask), 60, classes="cloud mask")
    return Marks(part, "opaque clouds", values=(1,)), Marks(replace(part, band=2), "cirrus (MSK_CLASSI)", values=(1,))
