"""Pixels of coarse bands and of their guide, and what becomes of them on its grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geosr.guided import GuidedPixels, GuidedUpscaler, coarse_window
from geosr.io.source import Raster
from geosr.placement import Placement
from geosr.radiometry import Pixels
from geosr.tiling import Tile, TilePlan
from geosr.window import Window


@dataclass(frozen=True, slots=True)
class GuidedSource:
    """Pixels of coarse bands and of the guide whose grid tiles are cut of."""

    coarse: Raster
    guide: Raster
    placement: Placement
    """Of the coarse raster on the guide's grid."""
    footprint: Window
    """All that can be read of the coarse raster, its own pixels."""
    bands: int
    dtype: str
    """Of the coarse bands."""
    reach: int
    """Coarse pixels that are read around those that hold a core."""

    def read(self, tile: Tile) -> GuidedPixels:
        """The pixels that a tile takes of both. Raises as the rasters do."""
        at = coarse_window(self.placement, tile, self.reach, self.footprint)
        nothing = Pixels(np.empty((self.bands, 0, 0), self.dtype))
        return GuidedPixels(self.coarse.pixels(at) if at.size else nothing, at, self.guide.pixels(tile.read))

    @property
    def rasters(self) -> tuple[Raster, ...]:
        """Both rasters."""
        return self.coarse, self.guide


@dataclass(frozen=True, slots=True)
class GuidedRaster:
    """Coarse bands as a raster on the grid of their guide, made where they are read, as they would be stored there."""

    source: GuidedSource
    upscaler: GuidedUpscaler
    plan: TilePlan
    """Tells what any window of that grid takes of the guide."""
    masked: bool
    """Whether a mask says where they hold data; else numbers do."""

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window of the guide's grid. Raises as the rasters do."""
        tile = self.plan.of(window)
        made = self.upscaler(self.source.read(tile), tile)[0]
        return made if self.masked else replace(made, mask=None)

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """The coarse bands themselves, as `FileSource` has it, which a look can't tell from what becomes of them."""
        coarse, placement = self.source.coarse, self.source.placement
        there = placement.covered(self.source.footprint).clip(window).within(window)
        first = there.row * shape[0] // window.height, there.col * shape[1] // window.width
        last = -(-there.stop[0] * shape[0] // window.height), -(-there.stop[1] * shape[1] // window.width)
        stored = np.zeros((self.source.bands, *shape), self.upscaler.radiometry.out_dtype)
        mask = np.zeros(shape, bool)
        if there.size:
            part = Window(*first, last[0] - first[0], last[1] - first[1])
            at = placement.cover(there.shift(window.row, window.col)).clip(self.source.footprint)
            seen = coarse.reduced(at, (part.height, part.width), nearest=nearest)
            stored[:, *part.slices] = seen.stored
            mask[part.slices] = True if seen.mask is None else seen.mask
        return Pixels(stored, mask)
