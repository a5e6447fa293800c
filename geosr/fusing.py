"""What is learnt of several dates of a place, once for the whole of it: where each lies, and which are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from geosr.errors import AloneError, GeosrError, InputError
from geosr.frames import Frame
from geosr.io.frames import FramesScene
from geosr.io.scene import Scene
from geosr.models.frames import FramesNetwork
from geosr.models.registry import find
from geosr.models.runtime import ModelNetwork, held
from geosr.observing import Settled, samples
from geosr.registration.register import register
from geosr.registration.values import Patch, Registration
from geosr.sensors import Observation
from geosr.window import Window

_VOICES = 4
"""Bands of a scene that tell where a frame lies."""


@dataclass(frozen=True, slots=True)
class Other:
    """Another date than the reference, and where it was found to lie."""

    name: str
    row: int
    """Of the reference, counted from the scene's corner, where this date's own grid says that its pixel (0, 0) lies."""
    col: int
    registration: Registration
    bands: Observation = ()
    """Each band as it was observed; none where that is as the reference's."""

    def frame(self, index: int, ground: Window) -> Frame:
        """The date as what is fused, which has this place among the others."""
        responses, noises = tuple(band.response for band in self.bands), tuple(band.noise for band in self.bands)
        return Frame(index, self.name, self.registration, self.row, self.col, ground, responses, noises)


def frames_network(settled: Settled, scene: FramesScene) -> tuple[ModelNetwork, tuple[str, ...]]:
    """The model for several dates, and a line each on what was found. Raises as reading does.

    Raises `InputError` where none of the other dates fits.
    """
    check_measured(scene.categorical)
    observation, lines = settled.observe(samples(scene))
    others = [_other(settled, scene, other) for other in scene.others]
    network = fused(settled, observation, scene.ground, others)
    told = tuple(f"{other.name}: {other.registration}" for other in others)
    if not network.frames:
        raise none_fits(scene.name, others)
    used, given = 1 + len(network.frames), 1 + len(others)
    return network, (f"{used} of {given} dates are fused, on {scene.name}", *told, *lines)


def check_measured(categorical: Sequence[bool]) -> None:
    """Raise `InputError` where no band of a scene is measured."""
    if all(categorical):
        raise InputError("all bands hold classes, which are not fused; leave --fuse out")


def none_fits(name: str, others: Sequence[Other]) -> AloneError:
    """The error of a reference beside which no other date can be used."""
    told = "; ".join(f"{other.name}: {other.registration}" for other in others[:3])
    return AloneError(f"none of the other dates fits {name}: {told}")


def placed(patches: Sequence[Patch], categorical: Sequence[bool]) -> Registration:
    """The place of another date to the reference, told by a few of the measured bands."""
    measured = [band for band, same in enumerate(categorical) if not same]
    return register(patches, measured[:: -(-len(measured) // _VOICES)])


def fused(settled: Settled, observation: Observation, ground: Window, others: Sequence[Other]) -> FramesNetwork:
    """The model for a reference that was so observed and those of the other dates that fit, which may be none.

    `ground` is all that can be read of the reference, counted from the scene's corner. Raises as `Settled.network`.
    """
    model, start = settled.model, settled.model.card.start
    single = (replace(settled, model=find(start, model.scale)) if start else settled).network(observation)
    known = {each.name: getattr(single, each.name) for each in fields(ModelNetwork)}
    known |= {"model": model} if start else {}
    fitting = ((place, other) for place, other in enumerate(others) if not other.registration.unfit)
    frames = tuple(other.frame(place, ground) for place, other in fitting)
    network = FramesNetwork(**known, frames=frames, ground=ground)
    if not start:
        return network
    network, about = held(network)
    notes = about, *(line for line in network.notes if not line.startswith("computed on"))
    return replace(network, notes=tuple(filter(None, notes)))


def _other(settled: Settled, scene: FramesScene, other: Scene) -> Other:
    """Another date of a scene; one that can't be read is unfit."""
    row, col = scene.corner(other)
    bands: Observation = ()
    try:
        registration = placed(scene.patches(other), scene.categorical)
        bands = () if registration.unfit else settled.of(other).observe(samples(other))[0]
    except GeosrError as error:
        if scene.strict:
            raise
        registration = Registration(unfit=str(error))
    return Other(other.name, row + scene.ground.row, col + scene.ground.col, registration, bands)
