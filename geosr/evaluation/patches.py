"""Pieces of a result beside its input, and what else it is compared with: always the same ones of a scene.

Everything is measured on squares of `SIDE` input pixels that lie on a grid from the scene's corner, with what is around
them. So no figure depends on the tiles that squares are handed out in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.sums import Doubles
from geosr.io.scene import Scene
from geosr.radiometry import Radiometry, fill
from geosr.upscaler import repeated
from geosr.window import Window

SIDE = 128
"""Side of a square, input pixels."""
AROUND = 8
"""Input pixels around it that are looked at, too: as far as light in a pixel comes from, and further."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Some bands of a raster as values, on the grid of the scene that is looked at. Pickles small."""

    source: Any
    """See `Scene.source`."""
    radiometry: Radiometry
    corner: tuple[int, int]
    """Row and column of the raster where the scene begins."""
    bands: tuple[int, ...]
    """Bands of the source, counted from 0."""
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    """Per band: value = stored number x scale + offset."""

    @classmethod
    def of(
        cls,
        scene: Scene,
        bands: Iterable[int],
        corner: tuple[int, int] = (0, 0),
        zeros: Iterable[float] | None = None,
    ) -> Layer:
        """The layer of some bands of a scene, counted from 0.

        Without scale and offset the stored numbers `zeros`, one a band, are no light: as the scene says if None.
        """
        some = tuple(bands)
        dark = [scene.sensor.bands[band].zero for band in some] if zeros is None else list(zeros)
        scales, offsets = (tuple(each[band] for band in some) for each in (scene.scales, scene.offsets))
        if set(scales) == {1.0} and set(offsets) == {0.0}:
            offsets = tuple(-zero for zero in dark)
        return cls(scene.source, scene.radiometry, corner, some, scales, offsets)

    @property
    def counts(self) -> tuple[float, ...]:
        """The value of one stored number a band; 0 of floats, which aren't rounded."""
        whole = np.dtype(self.radiometry.dtype).kind != "f"
        return tuple(abs(scale) * whole for scale in self.scales)

    def read(self, window: Window) -> tuple[Doubles, NDArray[np.bool_]]:
        """Values (bands, h, w), and where all of them are data, (h, w); others hold their nearest neighbour's."""
        pixels = self.source.pixels(window.shift(*self.corner))
        valid, chosen = self.radiometry.valid(pixels), list(self.bands)
        stored = pixels.stored[chosen].astype(np.float64)
        known = np.ones(stored.shape[1:], bool) if valid is None else np.logical_and.reduce(valid[chosen])
        if not known.all():
            stored = fill(np.where(known, stored, 0.0), np.broadcast_to(known, stored.shape))
        scale, offset = (np.array(each)[:, None, None] for each in (self.scales, self.offsets))
        return stored * scale + offset, known


@dataclass(frozen=True, eq=False)
class Patch:
    """One square with what is around it, as far as the scene goes."""

    scale: int
    at: Window
    """The square, input pixels of the scene."""
    core: Window
    """The same, counted from the corner of the arrays."""
    lr: Doubles
    """(bands, h, w), values of the input."""
    sr: Doubles
    """(bands, h * scale, w * scale), of the result."""
    known_lr: NDArray[np.bool_]
    """(h, w), where the input is data."""
    known_sr: NDArray[np.bool_]
    """(h * scale, w * scale)."""
    hr: Doubles | None = None
    """Of the reference."""
    known_hr: NDArray[np.bool_] | None = None
    guide: Doubles | None = None
    """(guide's bands, h * scale, w * scale)."""

    @cached_property
    def fine(self) -> Window:
        """The square in the result's pixels, counted from the corner of the arrays."""
        return self.core.scale(self.scale)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(h * scale, w * scale), where input, result and reference are data."""
        known = self.known_sr & repeated(self.known_lr, self.scale)
        return known if self.known_hr is None else known & self.known_hr

    @cached_property
    def whole(self) -> bool:
        """True where all of the square is data."""
        return bool(self.inner(self.known).all())

    def inner(self, fine: NDArray[Any]) -> NDArray[Any]:
        """The square's part of an array on the result's grid."""
        return np.asarray(fine[..., *self.fine.slices])
