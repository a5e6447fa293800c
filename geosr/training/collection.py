"""The imagery of a recipe, read: what is trained on, what is validated on, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geosr.errors import InputError
from geosr.training.ground import Ground, shared
from geosr.training.patches import Plane
from geosr.training.places import held_out, split
from geosr.training.rasters import ARCHIVE, Notes, Raster, find, load_planes, open_rasters, read_rasters, renamed
from geosr.training.recipe import Data, Group

VALIDATION_BYTES = 128e6
"""Of pixels read to validate on."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Bands in memory."""

    train: tuple[Plane, ...]
    validate: tuple[Plane, ...]
    unlabelled: tuple[Plane, ...] = ()
    notes: tuple[str, ...] = ()
    """What was found, kept apart and left out, one line each."""
    grounds: tuple[Ground, ...] = ()
    """What the rasters to validate on show."""


def collect(data: Data, scale: int, seed: int, kept: Sequence[Ground] = ()) -> Collection:
    """Everything that `[data]` names. Raises `InputError` where nothing is left to train on.

    Rasters that show ground that is validated on, by them or in pairs (`kept`), are not trained on.
    """
    notes = Notes()
    budget = data.memory_mb * 1e6
    archived, rasters = _opened(data.train, data.root, notes)
    lines: list[str] = []
    if data.validate:
        known, others = _opened(data.validate, data.root, notes)
        # The path alone would not do: a file that is validated on must not come in again by another pattern.
        files = {raster.file for raster in others} | {plane.file for plane in known}
        rasters = [raster for raster in rasters if raster.file not in files]
        archived = [plane for plane in archived if plane.file not in files]
    else:
        known, others, lines = [], [], []
        if archived:
            files = held_out([plane.file for plane in archived])
            known = [plane for plane in archived if plane.file in files]
            archived = [plane for plane in archived if plane.file not in files]
        if rasters:
            rasters, others, line = split(rasters, scale)
            lines.append(line)
    seen = tuple(ground for raster in others if (ground := raster.ground) is not None)
    elsewhere = (*kept, *(seen if data.validate else ()))  # `split` has seen to its own
    apart = _apart(rasters, elsewhere, notes)
    train = [*archived, *read_rasters(apart, budget=budget, seed=seed, notes=notes)]
    validate = [*known, *read_rasters(others, budget=VALIDATION_BYTES, seed=0, notes=notes)]
    loose, scenes = _opened(data.unlabelled, data.root, notes)
    unlabelled = [*loose, *read_rasters(_apart(scenes, elsewhere, notes), budget=budget / 2, seed=seed, notes=notes)]
    if data.train and not train:
        why = "; ".join(notes.lines()) or "all that [data] train names is in [data] validate"
        raise InputError(f"nothing is left to train on; {why}")
    pixels = sum(plane.values.size for plane in train) / 1e6
    files = {plane.file for plane in train}
    lines = [f"trained on {len(train)} bands of {len(files)} files, {pixels:.1f} Mpx", *lines] if train else lines
    return Collection(tuple(train), tuple(validate), tuple(unlabelled), (*lines, *notes.lines()), seen)


def _apart(rasters: Sequence[Raster], grounds: Sequence[Ground], notes: Notes) -> list[Raster]:
    """Those that show none of these grounds."""
    apart = []
    for raster in rasters:
        if shared(grounds, raster.ground).any():
            notes.add("left out, for they show ground that is validated on", raster.scene.name)
        else:
            apart.append(raster)
    return apart


def _opened(groups: Sequence[Group], root: str, notes: Notes) -> tuple[list[Plane], list[Raster]]:
    """The bands of archives and the rasters that groups name."""
    planes: list[Plane] = []
    rasters: list[Raster] = []
    for group in groups:
        paths = find(group, root)
        planes += [plane for path in paths if path.suffix == ARCHIVE for plane in renamed(load_planes(path), group)]
        rasters += open_rasters([path for path in paths if path.suffix != ARCHIVE], group, notes)
    return planes, rasters
