"""What a guided model learns of a scene, once for the whole of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geosr.errors import InputError
from geosr.frames import FramesUpscaler
from geosr.fusing import frames_network
from geosr.guided import GuidedUpscaler
from geosr.io.frames import FramesScene
from geosr.io.fused import FusedScene, with_words
from geosr.io.guided import GuidedScene
from geosr.io.guided_source import GuidedRaster, GuidedSource
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene
from geosr.io.source import Raster
from geosr.models.frames import FramesNetwork
from geosr.models.glp import Injection
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.guided import GuidedNetwork
from geosr.models.model import Model
from geosr.models.runtime import ModelNetwork, choose_device
from geosr.models.sharpening import Brought, sharpener_for
from geosr.observing import Blur, Settled, samples, settle
from geosr.pipeline import Source
from geosr.placement import Placement
from geosr.radiometry import Pixels, Radiometry, values_of
from geosr.sensors import Observation
from geosr.tiling import TilePlan
from geosr.upscaler import Upscaler, filling, plan_tiles
from geosr.window import Window


def network_of(settled: Settled, scene: Scene) -> tuple[ModelNetwork, tuple[str, ...]]:
    """The network for a scene, and a line each on what was found and assumed. Raises as reading does."""
    if isinstance(scene, GuidedScene):
        network, lines = guided_network(settled, scene)
    elif isinstance(scene, FramesScene):
        network, lines = frames_network(settled, scene)
    else:
        observation, lines = settled.observe(samples(scene) if settled.sampled else None)
        network = settled.network(observation)
    return network, (*settled.model.card.notes, *lines, *network.notes)


def path_of(
    network: ModelNetwork, radiometry: Radiometry, scene: Scene, core: int
) -> tuple[Source, Upscaler | GuidedUpscaler | FramesUpscaler]:
    """The source that tiles of a scene read, whose cores have this side, and the path from there."""
    if isinstance(scene, GuidedScene) and isinstance(network, GuidedNetwork):
        upscaler = GuidedUpscaler(network, scene.placement, radiometry, scene.guide.radiometry, scene.categorical)
        return scene.feed(filling(network.margin(scene.placement, core))), upscaler
    if isinstance(scene, FramesScene) and isinstance(network, FramesNetwork):
        others = tuple(scene.others[frame.index].radiometry for frame in network.frames)
        return scene.feed(network.frames), FramesUpscaler(network, radiometry, others, scene.categorical)
    made = isinstance(network.model, Brought)
    return scene.source, Upscaler(network, radiometry, (True,) * len(scene.bands) if made else scene.categorical)


def sharpeners(scene: Scene, model: Model | None) -> tuple[Model | None, ...]:
    """The guided model for each of a scene's groups, the one that is given or its own; None where all are classes."""
    groups = scene.groups if isinstance(scene, FusedScene) else ()
    return tuple(None if all(group.categorical) else model or _sharpener(group) for group in groups)


def _sharpener(group: GuidedScene) -> Model:
    measured = [name for name, same in zip(group.names, group.categorical, strict=True) if not same]
    return sharpener_for(group.sensor.sensor, measured, group.guide.names, group.placement.step)


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
    return f"{model.card.title}, from {part.sensor.pixel_size:g} m pixels, guided by {', '.join(part.guide.names)}"


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
        return Group(part.names, pixel, "nearest", "", str(decided))
    model, bands, injection = network.model, network.observation, network.injection
    known = *decided, model.card.title, model.key, model.sha256, network.precision, network.rounding
    seen = tuple((band.response, band.noise, band.levels) for band in bands)
    moved = " ".join(f"{-each:+.3f}" for each in injection.shift) if injection.corrected else ""
    return Group(part.names, pixel, model.card.title, moved, str((known, seen)))


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


def guided_network(settled: Settled, scene: GuidedScene) -> tuple[ModelNetwork, tuple[str, ...]]:
    """The guided model for a scene, and a line each on what was found. Raises as reading does."""
    coarse, guide = scene.coarse, scene.guide
    whole = Window(-guide.window.row, -guide.window.col, *guide.full)
    windows = piece_windows(scene.placement, Window(0, 0, *coarse.full), whole, len(coarse.bands), len(guide.bands))
    pieces = (
        Piece(
            values_of(coarse.source.pixels(at), coarse.radiometry),
            at,
            values_of(guide.source.pixels(block), guide.radiometry),
            block,
        )
        for at, block in windows
    )
    return learnt(settled, scene.placement, guide.names, samples(coarse), pieces)


def learnt(
    settled: Settled,
    placement: Placement,
    guides: Sequence[str],
    seen: Iterable[Pixels],
    pieces: Iterable[Piece],
) -> tuple[GuidedNetwork, tuple[str, ...]]:
    """The guided model for pieces of both rasters, and pieces of the coarse one; a line each on what was found.

    `guides` are the names of the guide's bands.
    """
    observation, notes = settled.observe(seen)
    measured = _measured(observation)
    taken = (replace(piece, coarse=piece.coarse[measured]) for piece in pieces)
    bands = [observation[place] for place in measured]
    responses, names = tuple(band.response for band in bands), tuple(band.name for band in bands)
    injection, lines = learn(taken, placement, responses, names)
    choose_device(settled.device)
    return _ready(settled, observation, injection, guides), (*notes, *lines)


def unlearnt(settled: Settled, placement: Placement, guides: Sequence[str]) -> GuidedNetwork:
    """The guided model before anything was learnt: it tells what a tile takes."""
    observation = settled.observe()[0]
    responses = tuple(observation[place].response for place in _measured(observation))
    return _ready(settled, observation, Injection(placement, responses, (), (), ()), guides)


def _ready(settled: Settled, observation: Observation, injection: Injection, guides: Sequence[str]) -> GuidedNetwork:
    """The guided model with what was learnt. Raises `InputError` for bands and pixels that it wasn't trained for."""
    model, rounding = settled.model, settled.radiometry.rounding
    if not model.card.guides:
        return GuidedNetwork(model=model, observation=observation, rounding=rounding, injection=injection)
    from geosr.models.refined import refined  # torch

    return refined(
        model, observation, injection, guides, device=settled.device, precision=settled.precision, rounding=rounding
    )


def _measured(observation: Observation) -> list[int]:
    """The places of the bands that take detail. Raises `InputError` where there are none."""
    measured = [place for place, band in enumerate(observation) if not band.categorical]
    if not measured:
        raise InputError("all bands hold classes, to which a guide gives no detail; leave the guide out")
    return measured


def piece_windows(
    placement: Placement, coarse: Window, guide: Window, bands: int, guides: int
) -> list[tuple[Window, Window]]:
    """A few windows of the coarse raster and of its guide, spread over where they meet.

    `coarse` and `guide` are all that can be read of them, so that every part of a scene learns the same.
    """
    both = placement.cover(guide).clip(coarse)
    numbers = bands + math.ceil(guides * placement.step[0] * placement.step[1])
    windows = [window.shift(both.row, both.col) for window in spread_windows((both.height, both.width), numbers)]
    return [(window, placement.covered(window).clip(guide)) for window in windows]
