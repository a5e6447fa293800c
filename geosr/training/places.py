"""Places: what is trained on and what is validated on never show the same ground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geosr.errors import InputError
from geosr.training.ground import Ground, together
from geosr.training.rasters import Raster
from geosr.window import Window

HELD_OUT = 0.1
"""Share of the places that is kept for validation."""
MOST = 16
"""Places of validation: more would take time and tell no more."""
REGION = 0.2
"""Share of a lone place that is kept for validation."""
GAP = 12
"""Input pixels left unused between both parts of a lone place: what is seen across the cut."""


def split(rasters: Sequence[Raster], scale: int) -> tuple[list[Raster], list[Raster], str]:
    """Rasters to train on, rasters to validate on, and a line that says how they were told apart.

    Rasters of the same ground (bands in files of their own, dates) are one place and stay together. A tenth of the
    places, at least one, is held out; of a lone place its far end is. Raises `InputError` where that end is too small.
    """
    places = together([raster.ground for raster in rasters], [raster.file for raster in rasters])
    if len(places) == 1:
        train, validate = _cut(rasters, scale)
        return train, validate, f"validated on the far {REGION:.0%} of the only place, which is not trained on"
    held = _held_out(places, rasters)
    train = [raster for index, raster in enumerate(rasters) if index not in held]
    validate = [raster for index, raster in enumerate(rasters) if index in held]
    every = names(raster.file for raster in rasters)
    called = list(dict.fromkeys(every[raster.file] for raster in validate))
    told = ", ".join(called[:4]) + (" ..." if len(called) > 4 else "")
    return train, validate, f"{len(places)} places by file and ground; kept for validation: {told}"


def held_out(places: Sequence[str]) -> set[str]:
    """Of the names of places, those kept for validation; none where there is only one. The same every time."""
    unique = sorted(set(places))
    if len(unique) < 2:
        return set()
    count = min(MOST, max(1, round(HELD_OUT * len(unique))))
    return {unique[index] for index in np.random.default_rng(0).permutation(len(unique))[:count]}


def held_out_pairs(names: Sequence[str], grounds: Sequence[Ground | None]) -> set[str]:
    """Of the names of pairs, those kept for validation: pairs of one ground, such as two dates, stay together."""
    groups = together(grounds, names)
    called = {min(names[index] for index in group): group for group in groups}
    return {names[index] for name in held_out(list(called)) for index in called[name]}


def names(files: Iterable[str]) -> dict[str, str]:
    """Names for files: as few of the last parts of their paths as tell them apart. (Many a `B04.tif` is a place.)"""
    left = {file: Path(file).parts for file in dict.fromkeys(files)}
    order, depth = list(left), 0
    found: dict[str, str] = {}
    while left:
        depth += 1
        times = Counter(parts[-depth:] for parts in left.values())
        alone = {file: parts for file, parts in left.items() if times[parts[-depth:]] == 1 or depth >= len(parts)}
        found |= {file: str(Path(*parts[-depth:])) for file, parts in alone.items()}
        left = {file: parts for file, parts in left.items() if file not in alone}
    return {file: found[file] for file in order}


def _held_out(places: list[list[int]], rasters: Sequence[Raster]) -> set[int]:
    if len(places) >= 10:
        keys = {min(rasters[index].file for index in place): place for place in places}
        chosen = [keys[name] for name in held_out(list(keys))]
    else:  # few: one of middling size, so that neither part is starved
        by_size = sorted(places, key=lambda place: (sum(rasters[i].bytes for i in place), rasters[place[0]].file))
        chosen = [by_size[(len(by_size) - 1) // 2]]
    return {index for place in chosen for index in place}


def _cut(rasters: Sequence[Raster], scale: int) -> tuple[list[Raster], list[Raster]]:
    """Every raster's near and far part along its longer side, with a gap between them."""
    first = rasters[0]
    grids = {(raster.part, raster.scene.transform) for raster in rasters}
    if len(grids) > 1:
        raise InputError(
            f"the {len(rasters)} rasters show one place on {len(grids)} grids, so geosr can't keep a part of it for "
            "validation; name other places in [data] validate"
        )
    near, far = _halves(first.part, scale)
    if min(near.height, near.width, far.height, far.width) < 24 * scale:
        raise InputError(
            f"{first.scene.name} ({first.part.height} x {first.part.width} pixels) is too small to keep a part for "
            f"validation at x{scale}; add rasters, or name other places in [data] validate"
        )
    return [replace(raster, part=near) for raster in rasters], [replace(raster, part=far) for raster in rasters]


def _halves(part: Window, scale: int) -> tuple[Window, Window]:
    tall = part.height >= part.width
    length = part.height if tall else part.width
    kept = max(round(REGION * length), 24 * scale)
    near = length - kept - GAP * scale
    if tall:
        return replace(part, height=max(near, 0)), Window(part.stop[0] - kept, part.col, kept, part.width)
    return replace(part, width=max(near, 0)), Window(part.row, part.stop[1] - kept, part.height, kept)
