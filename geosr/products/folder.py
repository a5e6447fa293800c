"""A folder with a file for each band and no metadata beside them: what numbers mean is what each file says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from geosr.errors import InputError
from geosr.identify import identify
from geosr.io.categorical import names_classes
from geosr.io.scene import Scene, open_scene
from geosr.products.bands import MSI, cloud_marks, common_of, in_order
from geosr.products.product import Part, Product
from geosr.sensor_table import SENSORS, Sensor

_KINDS = (".tif", ".tiff", ".jp2", ".vrt", ".img")
_COLORS = {band.color for sensor in SENSORS for band in sensor.bands} | {*MSI.values()}
_BAND = re.compile(
    rf"(?i)(?<![A-Z0-9])(?:(?:SR_|ST_)?B\d\d?A?|SCL|QA_PIXEL|Fmask|{'|'.join(sorted(_COLORS))})(?![A-Z0-9])"
)


def claims(src: str) -> bool:
    """True for a folder in which two rasters and more are named after bands."""
    return len(list(_named(Path(src)))) > 1


def read(src: str) -> Product:
    """The bands that names of files tell, with scale, offset and number for 'no data' as each file has them.

    Of a band that is there with several pixel sizes the finest is taken. Raises `InputError` where one is there twice
    alike, or a file can't be read.
    """
    scenes: dict[str, Scene] = {}
    for file, key in _named(Path(src)):
        scene = open_scene(file)
        if len(scene.bands) != 1:
            raise InputError(f"{src}: {file.name} is called as one band is and has {len(scene.bands)}; name the files")
        if (other := scenes.get(key)) and _pixel(other) == _pixel(scene):
            raise InputError(f"{src}: {other.name} and {scene.name} are both band {key}; name the files to take")
        scenes[key] = min(filter(None, (scene, other)), key=_pixel)
    scenes = {key: scenes[key] for key in sorted(scenes, key=in_order)}
    guess = identify(
        tags={},
        descriptions=list(scenes),
        name=next(iter(scenes.values())).path,
        pixel_size=min(map(_pixel, scenes.values())),
        repeated=[key if names_classes(key) else "" for key in scenes],
    )
    table = next((sensor for sensor in SENSORS if sensor.name == guess.sensor), None)
    parts = tuple(_part(key, scene, table) for key, scene in scenes.items())
    return Product(
        path=src,
        name=Path(src).absolute().name,
        kind="folder of band files",
        parts=parts,
        sensor=guess.sensor or "",
        notes=("values are what each file says: no metadata were found beside them", *guess.notes),
        clouds=cloud_marks(parts),
    )


def _named(folder: Path) -> Iterator[tuple[Path, str]]:
    """Rasters in a folder, and the band that comes last in the name of each."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        found = _BAND.findall(file.stem) if file.suffix.lower() in _KINDS else []
        if found:
            yield file, found[-1]


def _pixel(scene: Scene) -> float:
    return scene.sensor.pixel_size or abs(scene.transform.a)


def _part(key: str, scene: Scene, table: Sensor | None) -> Part:
    if names_classes(key):
        return Part(key, scene.path, _pixel(scene), classes=f"by the file's name {scene.name}")
    entry = table.band(key.removeprefix("SR_")) if table else None
    common = common_of(table, entry.name if entry else key) or (entry.color if entry else "")
    return Part(key, scene.path, _pixel(scene), common, told=False)
