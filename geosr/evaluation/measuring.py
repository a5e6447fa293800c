"""The work of measuring a result: which rasters lie where, and the sums of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geosr.evaluation.against import RATIOS, Ground, against, beside_guide
from geosr.evaluation.alone import alone
from geosr.evaluation.patches import AROUND, SIDE, Layer, Patch
from geosr.evaluation.sums import Sums
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene
from geosr.io.source import Raster
from geosr.response import Response
from geosr.sensor_table import bare
from geosr.sensors import Band
from geosr.tiling import Tile, TilePlan
from geosr.window import Window

TRANSFORMED = 64
"""Squares, at most, that transforms are taken of: they tell enough of a scene."""
_COMMON = {"nir08": "nir"}
"""Common names that stand for others where a scene lacks those."""


@dataclass(frozen=True, slots=True)
class Fact:
    """The facts of a square, for whoever looks for a place worth looking at."""

    at: Window
    """Input pixels."""
    valid: float
    """Share of its pixels that are data."""
    added: tuple[float, ...]
    """Per band, how far the result lies from the input's own pixels, root mean square."""
    residual: tuple[float, ...]
    """Per band, how far the degraded result lies from the input, on the mean."""


@dataclass(frozen=True, eq=False)
class Measuring:
    """The work on a tile: sums of the squares in it. Pickles small."""

    plan: TilePlan
    sr: Layer
    lr: Layer
    hr: Layer | None
    guide: Layer | None
    responses: tuple[Response, ...]
    """Of the input's bands, relative to the result."""
    ground: Ground | None
    """Of the reference, where there is one."""

    @property
    def source(self) -> Measuring:
        """Itself: a worker is asked whether it can read `rasters`."""
        return self

    @property
    def rasters(self) -> tuple[Raster, ...]:
        """All that is read."""
        return tuple(layer.source for layer in (self.sr, self.lr, self.hr, self.guide) if layer)

    def __call__(self, tile: Tile) -> Sums:
        """The sums of a tile. Raises as reading does."""
        total = Sums()
        for row in range(tile.core.row, tile.core.stop[0], SIDE):
            for col in range(tile.core.col, tile.core.stop[1], SIDE):
                total += self._measured(Window(row, col, SIDE, SIDE).clip(tile.core))
        return total

    def _measured(self, at: Window) -> Sums:
        patch, spectra = self.patch(at), (at.row // SIDE, at.col // SIDE) in self._transformed
        sums = alone(patch, self.responses, spectra=spectra)
        sums["facts"] = (fact_of(patch, sums),)
        if self.ground is not None:
            sums += against(patch, self.ground, spectra=spectra)
        return sums + (beside_guide(patch) if self.guide else Sums())

    def patch(self, at: Window) -> Patch:
        """A square, or another window of input pixels, with what is around it. Raises as reading does."""
        scale, read = self.plan.scale, at.grow(AROUND).clip(self.plan.scene)
        fine = read.scale(scale)
        (lr, known_lr), (sr, known_sr) = self.lr.read(read), self.sr.read(fine)
        hr, known_hr = self.hr.read(fine) if self.hr else (None, None)
        guide = self.guide.read(fine)[0] if self.guide else None
        return Patch(scale, at, at.within(read), lr, sr, known_lr, known_sr, hr, known_hr, guide)

    @cached_property
    def _transformed(self) -> frozenset[tuple[int, int]]:
        """Rows and columns of squares that transforms are taken of: the same ones of scenes of one size."""
        rows, cols = (-(-side // SIDE) for side in (self.plan.height, self.plan.width))
        some = np.random.default_rng(0).permutation(rows * cols)[:TRANSFORMED]
        return frozenset(divmod(int(index), cols) for index in some)


def fact_of(patch: Patch, sums: Sums) -> Fact:
    """The facts of a square whose sums these are."""
    known = patch.inner(patch.known)
    added, trip = [0.0] * len(patch.sr), sums["trip_pixels"]
    if known.any():
        mean = patch.lr[:, *patch.core.slices].repeat(patch.scale, 1).repeat(patch.scale, 2)
        added = [float(np.sqrt((difference[known] ** 2).mean())) for difference in patch.inner(patch.sr) - mean]
    residual = [float(total) / trip if trip else 0.0 for total in sums["trip"]]
    return Fact(patch.at, float(known.mean()), tuple(added), tuple(residual))


def same_bands(result: Scene, other: Scene) -> list[int]:
    """Which bands of another raster the result's are, counted from 0: by name, else one for one."""
    own, theirs = ([bare(band.description or "") for band in scene.metadata.bands] for scene in (result, other))
    names = {name: number for number, name in enumerate(theirs) if name}
    wanted = list(own)
    if all(name in names for name in wanted):
        return [names[name] for name in wanted]
    return list(range(len(wanted))) if len(wanted) == len(other.names) else []


def ratios_of(bands: Sequence[Band]) -> dict[str, tuple[int, int]]:
    """Which bands each normalised difference is made of, where all of its bands are there."""
    names = [_common_name(band) for band in bands]
    places = {_COMMON.get(name, name): number for number, name in reversed(list(enumerate(names)))}
    places |= {name: number for number, name in reversed(list(enumerate(names)))}
    return {name: (places[a], places[b]) for name, (a, b) in RATIOS.items() if a in places and b in places}


def _common_name(band: Band) -> str:
    return band.table.color if band.table else band.color or band.name.lower()


def ground_of(layer: Layer, shape: tuple[int, int], bands: Sequence[Band]) -> Ground | None:
    """All that fixed windows of a reference tell; None where none of it is data."""
    windows = []
    for window in spread_windows(shape, len(layer.bands)):
        values, known = layer.read(window)
        windows.append(values[:, known])
    if not sum(each.shape[1] for each in windows):
        return None
    return Ground.of(windows, ratios_of(bands))
