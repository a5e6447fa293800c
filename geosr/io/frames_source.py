"""Pixels of several dates of a place, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geosr.errors import DamageError
from geosr.frames import Damage, Frame, FramePixels
from geosr.radiometry import Pixels
from geosr.tiling import Tile
from geosr.window import Window


class Windowed(Protocol):
    """Pixels by window: of a `Raster`, or of an array."""

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window, as stored. Raises `GeosrError` in one line."""


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Pixels of a frame beside the reference."""

    frame: Frame
    raster: Windowed
    footprint: Window
    """All that can be read of it, own pixels."""
    bands: int
    dtype: str
    block: tuple[int, int]
    """Height and width of the blocks that it is made of."""
    strict: bool = False
    """Whether a block that can't be read is an error."""

    def taken(self, reference: Window) -> tuple[Pixels, Window, tuple[Damage, ...]]:
        """The pixels that show a window of the reference, where they lie, and what of it can't be read.

        That has no data. It is whole blocks of the file, so that no tiling changes what is lost. Raises as the raster
        does for what may be read another time.
        """
        at = self.frame.taken(reference).clip(self.footprint)
        if not at.size:
            return Pixels(np.empty((self.bands, 0, 0), self.dtype)), at, ()
        try:
            return self.raster.pixels(at), at, ()
        except DamageError:
            if self.strict:
                raise
            return self._pieces(at)

    def _pieces(self, at: Window) -> tuple[Pixels, Window, tuple[Damage, ...]]:
        """The same for a window of which some can't be read, block by block."""
        stored, lost = np.zeros((self.bands, at.height, at.width), self.dtype), []
        mask = np.zeros((at.height, at.width), bool)
        height, width = self.block
        for row in range(at.row // height, -(-at.stop[0] // height)):
            for col in range(at.col // width, -(-at.stop[1] // width)):
                block = Window(row * height, col * width, height, width).clip(self.footprint)
                part = block.clip(at)
                try:
                    pixels = self.raster.pixels(block)
                except DamageError as error:
                    lost.append(Damage(self.frame.name, (row, col), str(error)))
                    continue
                there, here = part.within(block).slices, part.within(at).slices
                stored[:, *here] = pixels.stored[:, *there]
                mask[here] = True if pixels.mask is None else pixels.mask[there]
        return Pixels(stored, mask), at, tuple(lost)


@dataclass(frozen=True, slots=True)
class FramesSource:
    """Pixels of the reference, whose grid tiles are cut of, and of other dates."""

    reference: Windowed
    others: tuple[FrameSource, ...]

    def read(self, tile: Tile) -> FramePixels:
        """The pixels that a tile takes of all. Raises as the rasters do."""
        taken = [each.taken(tile.block) for each in self.others]
        lost = tuple(each for *_, damage in taken for each in damage)
        return FramePixels(self.reference.pixels(tile.read), tuple((pixels, at) for pixels, at, _ in taken), lost)

    @property
    def rasters(self) -> tuple[Windowed, ...]:
        """Those of all dates."""
        return self.reference, *(each.raster for each in self.others)
