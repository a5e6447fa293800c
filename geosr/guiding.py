"""What a guided model learns of a scene, once for the whole of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from geosr.errors import InputError
from geosr.frames import FramesUpscaler
from geosr.fusing import frames_network
from geosr.guided import GuidedUpscaler
from geosr.io.frames import FramesScene
from geosr.io.guided import GuidedScene
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene
from geosr.models.frames import FramesNetwork
from geosr.models.glp import Injection
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.guided import GuidedNetwork
from geosr.models.runtime import ModelNetwork, choose_device
from geosr.models.sharpening import Brought
from geosr.observing import Settled, samples
from geosr.pipeline import Source
from geosr.placement import Placement
from geosr.radiometry import Pixels, Radiometry, values_of
from geosr.sensors import Observation
from geosr.upscaler import Upscaler, filling
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
