"""HLS, harmonized Landsat and Sentinel-2 of 30 m: a folder with the files of a granule, by the tags in them."""

from __future__ import annotations

import re
from pathlib import Path

from geosr.errors import InputError
from geosr.io.scene import Scene, open_scene
from geosr.products.bands import cloud_marks, common_of, in_order
from geosr.products.product import Part, Product
from geosr.sensor_table import LANDSAT_8, SENTINEL_2

_FILE = re.compile(
    r"(?i)(HLS\.([LS])30\.T\d\d[A-Z]{3}\.\d{7}T\d{6}\.v\d\.\d)\.(B\d[\dA]|Fmask|[SV][AZ]A)(\.subset)?\.tiff?"
)
_TAGS = ("SENSING_TIME", "SPATIAL_RESOLUTION", "HLS_PROCESSING_TIME", "LANDSAT_PRODUCT_ID", "PRODUCT_URI", "ACCODE",
         "MGRS_TILE_ID", "SENTINEL2_TILEID", "PROCESSING_BASELINE")  # fmt: skip


def claims(src: str) -> bool:
    """True for a folder with files that are called as those of HLS are."""
    return any(_FILE.fullmatch(file.name) for file in Path(src).glob("HLS.*"))


def read(src: str) -> Product:
    """The product, with scale, offset and number for 'no data' as each file tells them.

    Raises `InputError` where the folder holds several granules, or a file can't be read.
    """
    found = {file: match for file in sorted(Path(src).glob("HLS.*")) if (match := _FILE.fullmatch(file.name))}
    granules = {match[1]: match[2].upper() for match in found.values()}
    if len(granules) > 1:
        raise InputError(
            f"{src}: holds {len(granules)} granules, {', '.join(granules)}; put each in a folder of its own"
        )
    ((name, kind),) = granules.items()
    files = {_key(match[3]): file for file, match in found.items()}
    scenes = {key: open_scene(files[key]) for key in sorted(files, key=in_order)}
    told = {key: _values(scene) for key, scene in scenes.items()}
    parts = tuple(_part(kind, key, scenes[key], told[key] or (1.0, 0.0)) for key in scenes)
    lacking = [part.key for part in parts if part.common and told[part.key] is None]
    return Product(
        path=src,
        name=name,
        kind=f"HLS {kind}30",
        parts=parts,
        sensor=(LANDSAT_8 if kind == "L" else SENTINEL_2).name,
        notes=("scale and offset as the files tell them: reflectance, in bands of heat degrees Celsius",),
        tags={key: value for key, value in _tags(next(iter(scenes.values()))).items() if key in _TAGS},
        clouds=cloud_marks(parts),
        unsettled=f"{', '.join(lacking)} tell no scale and offset, or two" if lacking else "",
    )


def _key(text: str) -> str:
    return "Fmask" if text.lower() == "fmask" else text.upper()


def _tags(scene: Scene) -> dict[str, str]:
    return (scene.metadata.tags or {}).get("", {}) | scene.metadata.bands[0].tags.get("", {})


def _values(scene: Scene) -> tuple[float, float] | None:
    """Scale and offset, which files tell by GDAL's fields or by tags; None where neither does, or they differ."""
    tags = _tags(scene)
    told = {(scene.scales[0], scene.offsets[0])} - {(1.0, 0.0)}
    if "scale_factor" in tags:
        told.add((float(tags["scale_factor"]), float(tags.get("add_offset", 0))))
    return told.pop() if len(told) == 1 else None


def _part(kind: str, key: str, scene: Scene, values: tuple[float, float]) -> Part:
    pixel, classes = scene.sensor.pixel_size or 30.0, "cloud and quality flags" if key == "Fmask" else ""
    common = common_of(LANDSAT_8 if kind == "L" else SENTINEL_2, key)
    scale, offset = (1.0, 0.0) if classes else values
    aside = not (common or classes)
    return Part(key, scene.path, pixel, common, classes=classes, scale=scale, offset=offset, aside=aside)
