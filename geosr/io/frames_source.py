"""Pixels of several dates of a place, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosr.frames import Frame, FramePixels
from geosr.io.source import Raster
from geosr.radiometry import Pixels
from geosr.tiling import Tile
from geosr.window import Window


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Pixels of a frame beside the reference."""

    frame: Frame
    raster: Raster
    footprint: Window
    """All that can be read of it, own pixels."""
    bands: int
    dtype: str

    def taken(self, reference: Window) -> tuple[Pixels, Window]:
        """The pixels that show a window of the reference, and where they lie. Raises as the raster does."""
        at = self.frame.taken(reference).clip(self.footprint)
        return self.raster.pixels(at) if at.size else Pixels(np.empty((self.bands, 0, 0), self.dtype)), at


@dataclass(frozen=True, slots=True)
class FramesSource:
    """Pixels of the reference, whose grid tiles are cut of, and of other dates."""

    reference: Raster
    others: tuple[FrameSource, ...]

    def read(self, tile: Tile) -> FramePixels:
        """The pixels that a tile takes of all. Raises as the rasters do."""
        return FramePixels(self.reference.pixels(tile.read), tuple(each.taken(tile.block) for each in self.others))

    @property
    def rasters(self) -> tuple[Raster, ...]:
        """Those of all dates."""
        return self.reference, *(each.raster for each in self.others)
