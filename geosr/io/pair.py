"""A result and the scene that it was made of: the same ground, the same bands, pixels some times finer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geosr.errors import InputError
from geosr.io.grid import Bounds
from geosr.io.metadata import placed
from geosr.io.scene import Scene, open_scene
from geosr.placement import Placement
from geosr.window import Window


@dataclass(frozen=True, slots=True)
class Pair:
    """A result on its source; both have the same bands in the same order and cover the same ground."""

    result: Scene
    source: Scene
    """The part of the scene that the result shows."""
    scale: int
    """Pixels of the result per pixel of the source, each way."""
    bounds: Bounds | None
    """Of that part, in the CRS of the scene; None where it is all of it."""

    def bands(self, places: Sequence[int]) -> Pair:
        """The same for some bands, counted from 0; opened again."""
        result = open_scene(self.result.path, bands=[self.result.bands[place] for place in places])
        chosen = [self.source.bands[place] for place in places]
        source = open_scene(self.source.path, bands=chosen, bounds=self.bounds)
        return Pair(result, source, self.scale, self.bounds)


def open_pair(result: str | Path, source: str | Path) -> Pair:
    """A result and the scene that it was made of. Raises `InputError` where one doesn't lie on the other."""
    fine, whole = open_scene(result), open_scene(source)
    if fine.crs != whole.crs:
        raise InputError(f"{fine.name} and {whole.name} have different CRS; name the scene that it was made of")
    try:
        placement = Placement.between(whole.transform, fine.transform)
    except InputError as error:
        raise InputError(
            f"{fine.name} is no result of {whole.name}: its grid is turned or mirrored against the scene's, or coarser"
        ) from error
    scale, part = _part(placement, fine.shape)
    if part is None or scale < 2 or part.clip(whole.window) != part:
        rows, cols = (f"{float(each):.6g}" for each in placement.step)
        raise InputError(
            f"{fine.name} is no result of {whole.name}: expected a whole number of pixels for each of its own, in the "
            f"same place, and found {rows} x {cols} for {fine.shape[0]} x {fine.shape[1]}"
        )
    bounds = None if part == whole.window else _bounds(whole, part)
    numbers = [whole.bands[place] for place in _places(fine, whole)]
    return Pair(fine, open_scene(source, bands=numbers, bounds=bounds), scale, bounds)


def _part(placement: Placement, shape: tuple[int, int]) -> tuple[int, Window | None]:
    """The scale, and the source's pixels that a result of this shape shows; None where they are not whole."""
    step, starts = placement.step[0], [-corner / placement.step[0] for corner in placement.corner]
    whole = all(each.denominator == 1 for each in (step, *starts))
    if not whole or step != placement.step[1] or any(side % int(step) for side in shape):
        return 0, None
    scale = int(step)
    return scale, Window(int(starts[0]), int(starts[1]), shape[0] // scale, shape[1] // scale)


def _bounds(scene: Scene, part: Window) -> Bounds:
    corners = [placed(scene.transform, x, y) for x in (part.col, part.stop[1]) for y in (part.row, part.stop[0])]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _places(fine: Scene, whole: Scene) -> list[int]:
    """For each band of the result its place among the scene's: that of the same name, or all in order."""
    names, known = ([band.description for band in scene.metadata.bands] for scene in (fine, whole))
    if all(names) and set(names) <= set(known) and len(set(known)) == len(known):
        return [known.index(name) for name in names]
    if len(names) == len(known):
        return list(range(len(known)))
    raise InputError(
        f"{fine.name} has bands {', '.join(fine.names)}, and {whole.name} {', '.join(whole.names)}: expected the same "
        "names, or as many"
    )
