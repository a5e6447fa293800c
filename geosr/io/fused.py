"""Bands of several grids as one scene on one of them: a virtual raster, whose coarser bands are made as it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.identify import SEEN, SENSOR, band_seen, identify, known, seen_as
from geosr.io.grid import Bounds
from geosr.io.guided import GuidedScene, listed_paths, on_guide
from geosr.io.metadata import Tags
from geosr.io.scene import Scene, cropped, open_scene
from geosr.io.source import StackSource
from geosr.io.stack import by_grid, names_of, narrowed, stacked
from geosr.radiometry import widened
from geosr.sensor_table import SENSORS, Sensor
from geosr.sensors import SensorGuess

_NEAR = 0.01
"""Share by which pixels may differ from the size that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedScene(Scene):
    """Bands of several grids on that of one of them, their guide.

    Its source makes them once their models have learnt what they need (`geosr.sharpening.brought`).
    """

    to: float
    """Metres of its pixels."""
    guide: Scene
    """The measured bands of that grid."""
    parts: tuple[Scene, ...]
    """The bands by their own grids; those that are coarser are `groups`."""

    @property
    def groups(self) -> tuple[GuidedScene, ...]:
        """The coarser bands, a grid each."""
        return tuple(part for part in self.parts if isinstance(part, GuidedScene))

    @property
    def stack(self) -> StackSource:
        """Its source."""
        assert isinstance(self.source, StackSource)
        return self.source

    def places(self, part: Scene) -> tuple[int, ...]:
        """The place among all bands of each band of a part."""
        first = sum(len(each.bands) for each in self.parts[: self.parts.index(part)])
        return tuple(self.stack.order.index(first + band) for band in range(len(part.bands)))

    def called(self, scale: int) -> str:
        """See `Scene`."""
        return called(scale, self.to)

    def stored_as(self, dtype: str | None) -> FusedScene:
        """The scene whose bands are made in another type, so that they are not rounded before."""
        if dtype in (None, self.dtype):
            return self
        made, source = replace(self.radiometry, out_dtype=str(dtype)).out_dtype, self.stack
        nodata = tuple(tuple(widened(number, self.dtype) for number in numbers) for numbers in source.nodata)
        common = None if source.common is None else widened(source.common, self.dtype)
        return replace(
            self,
            dtype=made,
            metadata=Scene.stored_as(self, dtype).metadata,
            parts=tuple(part.stored_as(dtype) for part in self.parts),
            source=replace(source, dtype=made, nodata=nodata, common=common),
        )


def open_fused(
    paths: str | Path | Sequence[str | Path],
    to: float,
    *,
    bands: Sequence[int | str] | None = None,
    categorical: Sequence[int | str] | str | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> FusedScene:
    """The bands of some files as one scene with pixels of `to` metres, checked; no pixel is read.

    The files whose pixels have that size guide the others. Options are those of `open_scene`. Raises as it does, and
    as `fused`.
    """
    if bands is not None or categorical not in (None, "none"):
        option = "--bands" if bands is not None else "--categorical"
        raise InputError(f"{option} speaks of the bands of one file; with --to name the files to take alone")
    scenes = [
        open_scene(path, categorical=categorical, nodata=nodata, scale_offset=scale_offset)
        for path in listed_paths(paths)
    ]
    guides = [measured(scene, nodata=nodata, scale_offset=scale_offset) for scene in scenes if _has(scene, to)]
    return fused(scenes, [guide for guide in guides if guide], to, bounds=bounds, aoi=aoi)


def measured(scene: Scene, **options: Any) -> Scene | None:
    """A scene of a file's measured bands; None where it has none."""
    bands = [band for band, same in zip(scene.bands, scene.categorical, strict=True) if not same]
    if len(bands) == len(scene.bands):
        return scene
    return open_scene(scene.path, bands=bands, categorical="none", **options) if bands else None


def fused(
    scenes: Sequence[Scene],
    guides: Sequence[Scene],
    to: float,
    *,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    marked: Callable[[Scene], Scene] = lambda scene: scene,
) -> FusedScene:
    """The bands of scenes, in order, as one with the pixels of `guides`, of `to` metres; `bounds` and `aoi` cut it.

    `marked` takes away data of bands on one grid. Bands that are finer are left out, which a warning tells. Raises
    `InputError` where there is no guide, or a grid can't be placed on its grid.
    """
    _check_guides(scenes, guides, to)
    cut = [cropped(scene, bounds, aoi) if _has(scene, to) else scene for scene in (*guides, *scenes)]
    cut = _recognized(cut, to)
    guide, wanted = stacked(cut[: len(guides)]), [scene for scene in cut[len(guides) :] if not _is_finer(scene, to)]
    grids = by_grid(wanted)
    parts = tuple(part if _has(part, to) else on_guide(part, guide) for part in map(marked, map(stacked, grids)))
    if all(_has(part, to) for part in parts):
        raise InputError(f"--to {to:g}m: all bands have such pixels already; leave --to out")
    whole = stacked(parts, _order(wanted, grids))
    finer = [name for scene in scenes if _is_finer(scene, to) for name in names_of(scene)]
    left = (f"{', '.join(finer)}: finer than {to:g} m, and left out",) if finer else ()
    inherited: dict[str, Any] = {name: getattr(whole, name) for name in Scene.__dataclass_fields__}
    changed = {
        "name": scenes[0].name if len(scenes) == 1 else f"{scenes[0].name} and {len(scenes) - 1} more",
        "sensor": _brought(whole, guide.sensor.pixel_size or to),
        "warnings": (*whole.warnings, *left),
    }
    return FusedScene(**inherited | changed, to=to, guide=guide, parts=parts)


def divided(scene: FusedScene, rows: Sequence[Sequence[tuple[int, ...]]]) -> FusedScene:
    """The scene whose parts are divided into others, each of some of its bands, which `rows` count from 0."""
    parts = list[Scene]()
    places, first = dict[int, int](), 0
    for part, into in zip(scene.parts, rows, strict=True):
        for row in into:
            parts.append(_some(part, row))
            for band in row:
                places[first + band] = len(places)
        first += len(part.bands)
    stack = scene.stack
    order, rasters = tuple(places[place] for place in stack.order), tuple(part.source for part in parts)
    return replace(scene, parts=tuple(parts), source=replace(stack, rasters=rasters, order=order))


def _some(part: Scene, places: tuple[int, ...]) -> Scene:
    if len(places) == len(part.bands):
        return part
    if isinstance(part, GuidedScene):
        return on_guide(narrowed(part.coarse, places), part.guide)
    return narrowed(part, places)


def _check_guides(scenes: Sequence[Scene], guides: Sequence[Scene], to: float) -> None:
    if not guides:
        sizes = sorted({scene.sensor.pixel_size for scene in scenes if scene.sensor.pixel_size})
        there = " and ".join(f"{size:g} m" for size in sizes) or "no size that is known in metres"
        raise InputError(
            f"--to {to:g}m: no measured band has pixels of {to:g} m, to guide the others; they have {there}"
        )


def is_size(pixel: float | None, to: float) -> bool:
    """True for pixels of `to` metres."""
    return pixel is not None and abs(pixel / to - 1) <= _NEAR


def _has(scene: Scene, to: float) -> bool:
    return is_size(scene.sensor.pixel_size, to)


def _is_finer(scene: Scene, to: float) -> bool:
    return (scene.sensor.pixel_size or math.inf) < to and not _has(scene, to)


def _order(scenes: Sequence[Scene], grids: Sequence[Sequence[Scene]]) -> list[int]:
    """Where the bands of scenes, one after the other, stand among those of the same scenes by their grids."""
    starts, at = dict[int, int](), 0
    for scene in (scene for grid in grids for scene in grid):
        starts[id(scene)], at = at, at + len(scene.bands)
    return [starts[id(scene)] + band for scene in scenes for band in range(len(scene.bands))]


def _recognized(scenes: Sequence[Scene], to: float) -> list[Scene]:
    """The scenes with the sensor that one of them tells, or the names of all their bands, where they tell none."""
    rows = [(name, same) for scene in scenes for name, same in zip(names_of(scene), scene.categorical, strict=True)]
    names = list(dict.fromkeys(name for name, same in rows if not same))
    told = {scene.sensor.sensor: scene.sensor.why for scene in scenes if scene.sensor.sensor}
    if not told:
        found = identify(tags={}, descriptions=names, name="", pixel_size=to)
        told = {found.sensor: found.why} if found.sensor else {}
    table = next((sensor for sensor in SENSORS if sensor.name in told), None)
    if table is None or len(told) > 1:
        return list(scenes)
    return [_of_sensor(scene, table, told[table.name]) for scene in scenes]


def _of_sensor(scene: Scene, table: Sensor, why: str) -> Scene:
    """The scene as one of a sensor, where it tells none and its measured bands have the names of that sensor's."""
    rows = zip(names_of(scene), scene.categorical, strict=True)
    if scene.sensor.sensor or any(table.band(name) is None for name, same in rows if not same):
        return scene
    return replace(scene, sensor=_known(scene, table, why))


def _known(scene: Scene, table: Sensor, why: str) -> SensorGuess:
    names, values = list(names_of(scene)), zip(scene.scales, scene.offsets, strict=True)
    size = scene.sensor.pixel_size
    bands = tuple(known(table, name, why, size, each).bands[0] for name, each in zip(names, values, strict=True))
    return _described(replace(scene.sensor, sensor=table.name, why=why, bands=bands), scene, names)


def _described(sensor: SensorGuess, scene: Scene, names: Sequence[str]) -> SensorGuess:
    repeated = [band.repeated for band in scene.sensor.bands]
    return sensor.described(names, repeated, [str(band.color.name) for band in scene.metadata.bands])


def _brought(scene: Scene, size: float) -> SensorGuess:
    """The sensor of bands on one grid: each as an image of its own kind, with pixels of that size.

    That is what a guided model makes: it undoes the response relative to such an image. A reader of the result is told
    the same by its tags (`tags_of_bands`).
    """
    sensor = scene.sensor
    bands = tuple(band_seen(seen_as(band, size), sensor.sensor, size) or band for band in sensor.bands)
    return _described(replace(sensor, bands=bands, pixel_size=size), scene, scene.names)


def called(scale: int, to: float | None) -> str:
    """The end of a result's name; of bands that are brought to pixels of `to` metres it tells these, too."""
    parts = ([] if to is None else [f"{to:g}m"]) + ([] if to is not None and scale == 1 else [f"x{scale}"])
    return "_".join(parts)


def with_words(scene: FusedScene) -> FusedScene:
    """The scene whose result tells how its bands were seen, so that it is read as the scene itself is."""
    sensor = scene.sensor
    bands = tuple(
        band if seen.categorical else replace(band, tags=_with(band.tags, SEEN, seen_as(seen, sensor.pixel_size or 0)))
        for band, seen in zip(scene.metadata.bands, sensor.bands, strict=True)
    )
    told = {SENSOR: sensor.sensor} if sensor.sensor else {}
    return replace(scene, metadata=replace(scene.metadata, bands=bands).tagged(told))


def _with(tags: Tags, key: str, text: str) -> Tags:
    return {**tags, "": {**tags.get("", {}), key: text}}
