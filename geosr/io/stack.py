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


def stacked(scenes: Sequence[Scene]) -> Scene:
    """Scenes on one grid as one that has the bands of all of them, in order; a single scene stays as it is.

    Pixels are of the narrowest type that holds those of all. Tags of the files stay where all have the same.
    Raises `InputError` where grids differ, or no type holds all pixels.
    """
    first = scenes[0]
    if len(scenes) == 1:
        return first
    for other in scenes[1:]:
        _check_alike(first, other)
    dtype = common_dtype([scene.dtype for scene in scenes], first.name)
    masked = any(scene.writes_mask or scene.mask == "alpha" for scene in scenes)
    bands = [
        replace(band, name=name)
        for scene in scenes
        for band, name in zip(scene.sensor.bands, _names(scene), strict=True)
    ]
    whole = replace(
        first,
        name=f"{first.name} and {len(scenes) - 1} more",
        dtype=dtype,
        bands=tuple(range(1, 1 + len(bands))),
        mask="dataset" if masked else "none",
        metadata=replace(_metadata(scenes), nodata=None),
        source=StackSource(tuple(scene.source for scene in scenes), dtype),
        identity=_identity(scenes),
        sensor=replace(next((each.sensor for each in scenes if each.sensor.sensor), first.sensor), bands=tuple(bands)),
        files=tuple(dict.fromkeys(_joined(scenes, lambda scene: scene.files))),
        warnings=tuple(dict.fromkeys(_joined(scenes, lambda scene: scene.warnings))),
    )
    told = [possible_nodata(scene.nodata, dtype) for scene in scenes for _ in scene.bands]
    return with_one_nodata(whole, [() if number is None else (number,) for number in told])


def _check_alike(first: Scene, other: Scene) -> None:
    if (
        first.crs != other.crs
        or first.full != other.full
        or not same_grid(first.transform, other.transform, first.full)
    ):
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


def _names(scene: Scene) -> Iterable[str]:
    """What to call its bands: the file's name tells bands of files with one band apart."""
    stem = Path(scene.name).stem
    single = len(scene.bands) == 1
    for name, band in zip(scene.names, scene.metadata.bands, strict=True):
        yield name if band.description else stem if single else f"{stem} {name}"


def _metadata(scenes: Sequence[Scene]) -> Metadata:
    bands = tuple(
        replace(band, description=name)
        for scene in scenes
        for band, name in zip(scene.metadata.bands, _names(scene), strict=True)
    )
    return replace(scenes[0].metadata, tags=shared([scene.metadata.tags or {} for scene in scenes]), bands=bands)


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
