"""A scene whose coarse bands are brought onto the grid of a finer raster, their guide."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.guided import in_words, placed
from geosr.io.grid import Bounds
from geosr.io.guided_source import GuidedSource
from geosr.io.metadata import Metadata
from geosr.io.scene import Scene, open_scene
from geosr.io.stack import stacked
from geosr.placement import Placement
from geosr.window import Window

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedScene(Scene):
    """Coarse bands as a scene on the grid of their guide: what a tile reads of it is of both rasters."""

    coarse: Scene
    """The bands on their own grid; all of their files, whatever part of the guide's is wanted."""
    guide: Scene
    placement: Placement
    """Of the coarse raster on the guide's grid, as both files say it."""

    @property
    def has_gaps(self) -> bool:
        """True where the guide may have no data: how far its gaps reach decides how much of it a tile reads."""
        return self.guide.has_gaps

    def feed(self, reach: int) -> GuidedSource:
        """The source of tiles: the guide, and of the coarse raster so many pixels around those that hold a core."""
        footprint, count = Window(0, 0, *self.coarse.full), len(self.bands)
        return GuidedSource(self.coarse.source, self.guide.source, self.placement, footprint, count, self.dtype, reach)

    @property
    def finer(self) -> str:
        """The number of the guide's pixels that measure a coarse one, in words."""
        return in_words(self.placement)

    @property
    def observed(self) -> Scene:
        """The coarse bands on their own grid."""
        return self.coarse


def open_guided(
    paths: Paths,
    guides: Paths,
    *,
    bands: Sequence[int | str] | None = None,
    categorical: Sequence[int | str] | str | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> GuidedScene:
    """The bands of some files as a scene on the grid of other files, checked; no pixel is read.

    The files of either side share a grid; the guides' pixels are finer, at any ratio and shift. Options are those of
    `open_scene`; `bounds` and `aoi` cut the guide's grid. Raises as `open_scene` does, and `InputError` where one grid
    can't be placed on the other.
    """
    sources = listed_paths(paths)
    if len(sources) > 1 and (bands is not None or categorical not in (None, "none")):
        option = "--bands" if bands is not None else "--categorical"
        raise InputError(
            f"{option} speaks of the bands of one file, and {len(sources)} are given: name the files alone"
        )
    coarse = stacked(
        [
            open_scene(each, bands=bands, categorical=categorical, nodata=nodata, scale_offset=scale_offset)
            for each in sources
        ]
    )
    guide = stacked([_guide(each, bounds, aoi) for each in listed_paths(guides)])
    return on_guide(coarse, guide)


def listed_paths(paths: Paths) -> list[str | Path]:
    """One or several files as a list. Raises `InputError` where there is none, or one without a name."""
    found = [paths] if isinstance(paths, str | Path) else list(paths)
    if not found or not all(str(each).strip() for each in found):
        raise InputError("expected at least one file, and there is none in the list, or one without a name")
    return found


def _guide(path: str | Path, bounds: Bounds | None, aoi: str | Path | None) -> Scene:
    """A scene of the bands of a guide that were measured; alpha counts as its mask."""
    scene = open_scene(path, bounds=bounds, aoi=aoi)
    measured = [band for band, same in zip(scene.bands, scene.categorical, strict=True) if not same]
    if not measured:
        raise InputError(f"{scene.name} holds classes alone, which can't guide; name a file of measured bands")
    return scene if len(measured) == len(scene.bands) else open_scene(path, bands=measured, bounds=bounds, aoi=aoi)


def on_guide(coarse: Scene, guide: Scene) -> GuidedScene:
    """A coarse scene on the grid of a finer one. Raises `InputError` where it can't be placed there."""
    footprint, whole = Window(0, 0, *coarse.full), Window(0, 0, *guide.shape)
    _check_grids(coarse, guide)
    placement = placed(coarse.transform, guide.transform, footprint, whole, (coarse.name, guide.name))
    inside = placement.cover(whole)
    covered = inside.clip(footprint) == inside
    untold = not covered and coarse.nodata is None and not coarse.dtype.startswith("float")
    digest = f"{coarse.identity['digest']} {guide.identity['digest']}"
    inherited: dict[str, Any] = {name: getattr(coarse, name) for name in Scene.__dataclass_fields__}
    return GuidedScene(
        **inherited
        | {
            "window": guide.window,
            "full": guide.full,
            "geobox": guide.geobox,
            "block": guide.block,
            "area": guide.area,
            "mask": "dataset" if coarse.writes_mask or untold else "none",
            "metadata": _metadata(coarse.metadata, guide.metadata, placement),
            "identity": coarse.identity | {"digest": hashlib.sha256(digest.encode()).hexdigest()},
            "files": (*coarse.files, *guide.files),
            "warnings": (*coarse.warnings, *guide.warnings),
        },
        coarse=coarse,
        guide=guide,
        placement=placement,
    )


def _check_grids(coarse: Scene, guide: Scene) -> None:
    for scene in (coarse, guide):
        if scene.metadata.gcps or scene.transform.is_identity:
            raise InputError(f"{scene.name} has no pixel grid that another can be placed on; warp it, with gdalwarp")
    if coarse.crs != guide.crs:
        crs = f"{coarse.name} is in {coarse.crs or 'no CRS'} and {guide.name} in {guide.crs or 'none'}"
        raise InputError(f"{crs}; warp one, with gdalwarp")


def _metadata(coarse: Metadata, guide: Metadata, placement: Placement) -> Metadata:
    """That of the coarse bands, on the guide's grid."""
    step = placement.step[0]
    fine = coarse.zoom(int(step)) if step.denominator == 1 and step == placement.step[1] else coarse
    return replace(fine, transform=guide.transform, crs=guide.crs, rpcs=guide.rpcs)
