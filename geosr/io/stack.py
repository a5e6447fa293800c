"""Several files on one grid as one scene: a product often has a file for each band."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.io.grid import same_grid
from geosr.io.metadata import Metadata, Tags
from geosr.io.nodata import possible_nodata, with_one_nodata
from geosr.io.safety import common_dtype
from geosr.io.scene import Scene
from geosr.io.source import StackSource


def stacked(scenes: Sequence[Scene], order: Sequence[int] = ()) -> Scene:
    """Scenes on one grid as one that has the bands of all of them, in order; a single scene stays as it is.

    `order` says which bands it has, counted from 0 through all of them, where it isn't all of them as they come.
    Pixels are of the narrowest type that holds those of all. Tags of the files stay where all have the same.
    Raises `InputError` where grids differ, or no type holds all pixels.
    """
    first = scenes[0]
    if len(scenes) == 1 and not order:
        return first
    for other in scenes[1:]:
        _check_alike(first, other)
    dtype = common_dtype([scene.dtype for scene in scenes], first.name)
    masked = any(scene.writes_mask or scene.mask == "alpha" for scene in scenes)
    bands = [
        replace(band, name=name)
        for scene in scenes
        for band, name in zip(scene.sensor.bands, names_of(scene), strict=True)
    ]
    places = tuple(order) or tuple(range(len(bands)))
    sensor = next((each.sensor for each in scenes if each.sensor.sensor), first.sensor)
    whole = replace(
        first,
        name=f"{first.name} and {len(scenes) - 1} more",
        dtype=dtype,
        bands=tuple(range(1, 1 + len(places))),
        mask="dataset" if masked else "none",
        metadata=replace(_metadata(scenes, places), nodata=None),
        source=StackSource(tuple(scene.source for scene in scenes), dtype, places),
        identity=_identity(scenes),
        sensor=replace(sensor, bands=tuple(bands)).part(places),
        files=tuple(dict.fromkeys(_joined(scenes, lambda scene: scene.files))),
        warnings=tuple(dict.fromkeys(_joined(scenes, lambda scene: scene.warnings))),
    )
    told = [possible_nodata(scene.nodata, dtype) for scene in scenes for _ in scene.bands]
    return with_one_nodata(whole, [() if (number := told[place]) is None else (number,) for place in places])


def narrowed(scene: Scene, places: Sequence[int]) -> Scene:
    """The scene of some bands of another, counted from 0; of several files those that hold no others are not read."""
    made, source = replace(stacked([scene], places), name=scene.name, identity=scene.identity), scene.source
    if not isinstance(source, StackSource) or len(source.rasters) < len(source.order):
        return made
    rasters = tuple(source.rasters[source.order[place]] for place in places)
    nodata = tuple(source.nodata[place] for place in places) if source.nodata else ()
    return replace(made, source=replace(source, rasters=rasters, order=tuple(range(len(places))), nodata=nodata))


def by_grid(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Scenes on one grid together, the finest grid first."""
    groups: list[list[Scene]] = []
    for scene in scenes:
        found = next((group for group in groups if _alike(scene, group[0])), None)
        if found is None:
            groups.append([scene])
        else:
            found.append(scene)
    return sorted(groups, key=lambda group: abs(group[0].transform.determinant))


def _alike(one: Scene, other: Scene) -> bool:
    return one.crs == other.crs and one.full == other.full and same_grid(one.transform, other.transform, one.full)


def _check_alike(first: Scene, other: Scene) -> None:
    if not _alike(first, other):
        raise InputError(
            f"{first.name} and {other.name} are not on one grid: {_grid(first)}, and {_grid(other)}; files that are "
            "upscaled together share theirs"
        )


def _grid(scene: Scene) -> str:
    height, width = scene.full
    across, down = abs(scene.transform.a), abs(scene.transform.e)
    return f"{width} x {height} pixels of {across:g} x {down:g} from {scene.transform.c:.10g}, {scene.transform.f:.10g}"


def _joined(scenes: Iterable[Scene], of: Callable[[Scene], tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(each for scene in scenes for each in of(scene))


def names_of(scene: Scene) -> Iterable[str]:
    """The names of its bands: that of the file tells bands of files with one band apart."""
    stem = Path(scene.name).stem
    single = len(scene.bands) == 1
    for name, band in zip(scene.names, scene.metadata.bands, strict=True):
        yield name if band.description else stem if single else f"{stem} {name}"


def _metadata(scenes: Sequence[Scene], places: Sequence[int]) -> Metadata:
    bands = [
        replace(band, description=name)
        for scene in scenes
        for band, name in zip(scene.metadata.bands, names_of(scene), strict=True)
    ]
    tags = shared([scene.metadata.tags or {} for scene in scenes])
    return replace(scenes[0].metadata, tags=tags, bands=tuple(bands[place] for place in places))


def shared(tags: Sequence[Tags]) -> Tags:
    """The tags that all have, with the same value."""
    return {
        space: {key: value for key, value in items.items() if all(one.get(space, {}).get(key) == value for one in tags)}
        for space, items in tags[0].items()
    }


def _identity(scenes: Sequence[Scene]) -> dict[str, str | int]:
    known = hashlib.sha256("".join(str(scene.identity["digest"]) for scene in scenes).encode()).hexdigest()
    shapes = ", ".join(str(scene.identity["shape"]) for scene in scenes)
    return {"path": str(scenes[0].identity["path"]), "shape": shapes, "digest": known}
