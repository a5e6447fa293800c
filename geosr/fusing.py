"""What is learnt of several dates of a place, once for the whole of it: where each lies, and which are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from geosr.errors import GeosrError, InputError
from geosr.frames import Frame
from geosr.io.frames import FramesScene
from geosr.io.scene import Scene
from geosr.models.frames import FramesNetwork
from geosr.models.runtime import ModelNetwork
from geosr.observing import Settled, samples
from geosr.registration.register import register
from geosr.registration.values import Registration

_VOICES = 4
"""Bands of a scene that tell where a frame lies."""


def frames_network(settled: Settled, scene: FramesScene) -> tuple[ModelNetwork, tuple[str, ...]]:
    """The model for several dates, and a line each on what was found. Raises as reading does.

    Raises `InputError` where none of the other dates fits.
    """
    measured = [place for place, same in enumerate(scene.categorical) if not same]
    if not measured:
        raise InputError("all bands hold classes, which are not fused; leave --fuse out")
    observation, lines = settled.observe(samples(scene))
    single = settled.network(observation)
    found = [(place, other, _placed(scene, other, measured)) for place, other in enumerate(scene.others)]
    told = tuple(f"{other.name}: {registration}" for _, other, registration in found)
    frames = tuple(_frame(scene, *each) for each in found if not each[2].unfit)
    if not frames:
        raise InputError(f"none of the other dates fits {scene.name}: {'; '.join(told[:3])}")
    known = {each.name: getattr(single, each.name) for each in fields(ModelNetwork)}
    network = FramesNetwork(**known, frames=frames, ground=scene.ground)
    return network, (f"{1 + len(frames)} of {1 + len(found)} dates are fused, on {scene.name}", *told, *lines)


def _placed(scene: FramesScene, other: Scene, measured: Sequence[int]) -> Registration:
    """How another date lies to the reference; one that can't be read is unfit."""
    try:
        patches = scene.patches(other)
    except GeosrError as error:
        if scene.strict:
            raise
        return Registration(unfit=str(error))
    return register(patches, measured[:: -(-len(measured) // _VOICES)])


def _frame(scene: FramesScene, place: int, other: Scene, registration: Registration) -> Frame:
    row, col = scene.corner(other)
    ground = scene.ground
    return Frame(place, other.name, registration, row + ground.row, col + ground.col, ground)
