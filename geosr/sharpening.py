"""Bands of several grids on one of them: which model brings which, with what it has learnt of the scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geosr.errors import InputError
from geosr.guided import GuidedUpscaler
from geosr.guiding import network_of, path_of
from geosr.io.fused import FusedScene, divided, with_words
from geosr.io.guided import GuidedScene
from geosr.io.guided_source import GuidedRaster, GuidedSource
from geosr.io.scene import Scene
from geosr.io.source import Raster
from geosr.models import registry
from geosr.models.guided import GuidedNetwork
from geosr.models.model import Model
from geosr.models.own import TorchNetwork
from geosr.models.runtime import ModelNetwork
from geosr.models.sharpening import ANY, Brought, sharpeners_for
from geosr.models.uncertain import Beside
from geosr.observing import Blur, Settled, settle
from geosr.tiling import TilePlan
from geosr.upscaler import plan_tiles
from geosr.window import Window


def sharpeners(scene: Scene, model: Model | None) -> tuple[Scene, tuple[Model | None, ...]]:
    """A scene and the guided model of each of its groups: the one that is given, or those that fit, which divide them.

    None is the model of a group that holds classes alone.
    """
    if not isinstance(scene, FusedScene):
        return scene, ()
    models = list[Model | None]()
    rows = list[list[tuple[int, ...]]]()
    for part in scene.parts:
        found = _sharpeners(part, model) if isinstance(part, GuidedScene) else []
        models += [each for each, _ in found]
        rows.append([places for _, places in found] or [tuple(range(len(part.bands)))])
    return divided(scene, rows), tuple(models)


def plan_of(scene: Scene) -> list[str]:
    """A line each on the coarser bands of a scene of several grids: which, from which pixels, and what brings them."""
    scene, models = sharpeners(scene, None)
    groups = zip(scene.groups if isinstance(scene, FusedScene) else (), models, strict=True)
    return [
        f"{', '.join(group.names)} {_from(group)} by {model.card.title if model else NEAREST}"
        for group, model in groups
    ]


NEAREST = "nearest"
"""What brings bands of classes."""


def _from(group: GuidedScene) -> str:
    return f"from {group.sensor.pixel_size:g} m"


def _sharpeners(group: GuidedScene, model: Model | None) -> list[tuple[Model | None, tuple[int, ...]]]:
    """The models of a group, and the places of the bands that each takes; none of them takes classes."""
    measured = [place for place, same in enumerate(group.categorical) if not same]
    classes = tuple(place for place, same in enumerate(group.categorical) if same)
    found = list[tuple[Model | None, tuple[int, ...]]]([(None, classes)] if classes else [])
    if not measured:
        return found
    if model is not None:
        return [(model, tuple(measured)), *found]
    names = [group.names[place] for place in measured]
    fitting = sharpeners_for(group.sensor.sensor, names, group.guide.names, group.placement.step)
    return [*((each, tuple(measured[place] for place in taken)) for each, taken in fitting), *found]


def brought(
    scene: Scene,
    models: Sequence[Model | None],
    settled: Settled,
    *,
    mtf: Blur,
    snr: float | Sequence[float] | None,
) -> tuple[Scene, tuple[str, ...]]:
    """A scene of several grids whose source makes its coarse bands, and a line each on what was found; any other as is.

    `settled` speaks of the bands on its grid; `mtf` and `snr` of them as they were measured. Raises as reading does.
    """
    if not isinstance(scene, FusedScene):
        return scene, ()
    left, bands = iter(models), list(settled.bands)
    rasters: list[Raster] = []
    lines: list[str] = []
    for part in scene.parts:
        if not isinstance(part, GuidedScene):
            rasters.append(part.source)
            continue
        model, places, network = next(left), scene.places(part), None
        if model is not None:
            own = settle(
                model,
                radiometry=replace(part.radiometry, out_dtype=scene.dtype),
                sensor=part.sensor,
                mtf=_of(mtf, places),
                snr=_of(snr, places),
                project=None,
                device=settled.device,
                precision=settled.precision,
            )
            network, about = network_of(own, part)
            lines += (f"{', '.join(part.names)}: {line}" for line in (_on(model, part), *about))
            for place, band in zip(places, network.observation, strict=True):
                bands[place] = replace(bands[place], response=band.response, response_from=band.response_from)
        rasters.append(_raster(scene, part, network))
    sensor, source = replace(settled.sensor, bands=tuple(bands)), replace(scene.stack, rasters=tuple(rasters))
    made = replace(scene, sensor=sensor, source=source)
    return (with_words(made) if isinstance(settled.model, Brought) else made), tuple(lines)


def _on(model: Model, part: GuidedScene) -> str:
    return f"{_from(part)} by {model.card.title}, guided by {', '.join(part.guide.names)}"


@dataclass(frozen=True, slots=True)
class Group:
    """Coarse bands of a scene of several grids, and what brings them onto its own."""

    bands: tuple[str, ...]
    pixel: float
    """Metres, as they were measured."""
    model: str
    """What brings them; "nearest" where all are classes."""
    moved: str
    """Guide pixels (down, right) by which they were moved, since they lay off; "" where they were not."""
    settings: str
    """All that decides their pixels, to the last digit, beside those of the files."""


def groups_of(scene: Scene) -> tuple[Group, ...]:
    """The groups of a scene whose models have learnt; none of one that has all bands on one grid."""
    if not isinstance(scene, FusedScene):
        return ()
    return tuple(
        _group(part, raster.upscaler)
        for part, raster in zip(scene.parts, scene.stack.rasters, strict=True)
        if isinstance(part, GuidedScene) and isinstance(raster, GuidedRaster)
    )


def _group(part: GuidedScene, upscaler: GuidedUpscaler) -> Group:
    network, pixel = upscaler.network, part.sensor.pixel_size or math.nan
    decided = part.placement, upscaler.radiometry, upscaler.categorical
    if not isinstance(network, GuidedNetwork):
        return Group(part.names, pixel, NEAREST, "", str(decided))
    model, bands, injection = network.model, network.observation, network.injection
    known = *decided, model.card.title, model.key, model.sha256, network.precision, network.rounding
    seen = tuple((band.response, band.noise, band.levels) for band in bands)
    moved = " ".join(f"{-each:+.3f}" for each in injection.shift) if injection.corrected else ""
    return Group(part.names, pixel, model.card.title, moved, str((known, seen)))


def core_of(scene: Scene, scale: int) -> int | None:
    """The side of a tile's core that suits a scene of several grids, pixels of its grid; None for any other scene.

    What is made around a core is thrown away: of the group with most bands that is `_BESIDE` of the core at most, where
    memory allows.
    """
    groups = _networks(scene)
    if not groups:
        return None
    most = max(groups, key=lambda network: len(network.observation))
    sides = [side for side in _CORES if side == _CORES[0] or _fits(scene, side, scale)]
    return next((side for side in sides if (1 + 2 * most.halo / side) ** 2 <= 1 + _BESIDE), sides[-1])


_CORES = 512, 768, 1024
_BESIDE = 0.3
_MOST = 2**29
"""Bytes that a tile may take."""


def _fits(scene: Scene, side: int, scale: int) -> bool:
    stored = (side * scale) ** 2 * len(scene.bands) * np.dtype(scene.dtype).itemsize
    return working_bytes(scene, side) <= _MOST and stored <= _MOST // 4


def working_bytes(scene: Scene, side: int) -> int:
    """Bytes that stand in memory, about, while the bands of several grids are made for a window of this side."""
    return max((4 * each.alive * (side + 2 * each.halo) ** 2 for each in _networks(scene)), default=0)


def computing(scene: Scene, network: ModelNetwork) -> ModelNetwork:
    """The network of a run whose kind of device all of it is computed on: one whose bits depend on that, if any."""
    return next((each for each in (network, *_networks(scene)) if not each.model.portable), network)


def on_kind(scene: Scene, kind: str) -> Scene:
    """The scene whose coarser bands are made on one kind of device, where that matters."""
    if not isinstance(scene, FusedScene):
        return scene
    rasters = tuple(_on_kind(raster, kind) for raster in scene.stack.rasters)
    return replace(scene, source=replace(scene.stack, rasters=rasters))


def _on_kind(raster: Raster, kind: str) -> Raster:
    network = raster.upscaler.network if isinstance(raster, GuidedRaster) else None
    if not isinstance(raster, GuidedRaster) or not isinstance(network, GuidedNetwork) or network.model.portable:
        return raster
    return replace(raster, upscaler=replace(raster.upscaler, network=replace(network, kind=kind)))


def _networks(scene: Scene) -> list[GuidedNetwork]:
    """The guided models of a scene that have learnt."""
    rasters = scene.stack.rasters if isinstance(scene, FusedScene) else ()
    found = (raster.upscaler.network for raster in rasters if isinstance(raster, GuidedRaster))
    return [network for network in found if isinstance(network, GuidedNetwork)]


def _raster(scene: FusedScene, part: GuidedScene, network: ModelNetwork | None) -> GuidedRaster:
    """A part of a scene on its grid."""
    radiometry, masked = replace(part.radiometry, out_dtype=scene.dtype), part.mask != "none"
    around = Window(-scene.window.row, -scene.window.col, *scene.full)
    if network is None:
        upscaler = GuidedUpscaler(None, part.placement, radiometry, part.guide.radiometry, part.categorical)
        return GuidedRaster(part.feed(1), upscaler, TilePlan(*scene.shape, 1, 1, around=around), masked)
    side = max(scene.shape)
    source, guided = path_of(network, radiometry, part, side)
    assert isinstance(source, GuidedSource)
    assert isinstance(guided, GuidedUpscaler)
    plan = plan_tiles(scene.shape, side, network, gaps=part.has_gaps, around=around)
    return GuidedRaster(source, guided, plan, masked)


def _of(value: Any, places: Sequence[int]) -> Any:
    """Of one number for each band of a whole those of some; what holds for all stays."""
    return value if value is None or isinstance(value, str | float | int) else [value[place] for place in places]


def model_of(
    model: str | TorchNetwork | None,
    times: int,
    to: float | None,
    others: Beside | None = None,
    fuse: bool = False,
    guided: bool = False,
) -> tuple[Model, bool]:
    """The model that is asked for, and whether each grid has its own.

    Raises `ModelError`, and `InputError` where one that makes pixels finer has nothing to do.
    """
    if to is None or times != 1:
        return registry.find(model, times, others, fused=fuse, guided=guided), True
    found = registry.find(ANY if model is None else model, 2, others)
    if not found.guided:
        raise InputError(
            f"--to {to:g}m makes no pixel finer than that, as {found.card.title} does; leave "
            "--model out, or add --scale"
        )
    return found, model is None
