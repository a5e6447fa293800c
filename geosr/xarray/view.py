"""An array that is looked at: its pixels, and what models make of them, as `da.geosr.upscale` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io.layout import Layout
from geosr.io.output import layout_beside
from geosr.io.overviews import Image, halve
from geosr.radiometry import Pixels
from geosr.sensors import Observation
from geosr.tiling import Tile
from geosr.viewer.ground import SOURCE, Bands, Making, Models, Named, Seen
from geosr.window import Window
from geosr.xarray.cf import band_count, by_band, grid_of
from geosr.xarray.export import computed_where, cut_out, layout_of
from geosr.xarray.lazy import Axes
from geosr.xarray.recipe import Ready, Recipe
from geosr.xarray.scenes import axes_of, recipe_of

_STRIP = 2**22
"""Pixels that are read at a time to be reduced, about."""


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Pixels of some bands of an array; see `geosr.io.source.Raster`. What is lazy is computed as far as it is seen."""

    array: xr.DataArray
    axes: Axes
    bands: Bands
    layout: Layout
    """Of these bands, which says how they are reduced."""

    def pixels(self, window: Window) -> Pixels:
        """The pixels of a window, as stored."""
        stored = cut_out(self.array, self.axes, *window.slices, computed_where(self.array), list(self.bands))
        return Pixels(np.ascontiguousarray(stored.astype(self.layout.dtype, copy=False)))

    def reduced(self, window: Window, shape: tuple[int, int], *, nearest: bool) -> Pixels:
        """A window of whose pixels each stands for two, four, eight ... each way, as overviews of a file have them."""
        times = -(-window.height // shape[0])
        step = max(1, _STRIP // (window.width * times)) * times
        strips = [
            self._halved(Window(row, window.col, min(step, window.stop[0] - row), window.width), times)
            for row in range(window.row, window.stop[0], step)
        ]
        return Pixels(np.concatenate(strips, 1))

    def _halved(self, window: Window, times: int) -> NDArray[Any]:
        image = Image(self.pixels(window).stored, None)
        while times > 1:
            image, times = halve(image, self.layout), times // 2
        return image.stored


class ArrayGround(Models):
    """An array with rows, columns and perhaps bands. Raises as `da.geosr.upscale`."""

    def __init__(self, array: xr.DataArray, model: Named, scale: int, **options: Any) -> None:
        super().__init__(model, scale)
        grid = grid_of(array)
        lead = [array.dims[axis] for axis in axes_of(array, grid).lead]
        if any(array.sizes[dim] != 1 for dim in lead):
            names = ", ".join(map(str, lead))
            raise InputError(f"one scene is looked at; select one position along {names}, with isel or sel")
        self._array, self._grid, self._options = array.squeeze(lead), grid, options
        self._axes = axes_of(self._array, grid)
        self._recipe = lru_cache(self._recipe_of)
        self._recipe(model, False)  # what can't be done is told at once
        self.scene = self.part(tuple(range(band_count(array))))

    @property
    def title(self) -> str:
        """See `geosr.viewer.ground.Ground`."""
        return self.scene.name

    def warm(self) -> None:
        """See `Ground`."""
        self._recipe(self.model, False).ready()

    def part(self, bands: Bands) -> Seen:
        """See `Ground`."""
        settled = self._recipe(SOURCE, False).settled.part(bands)
        gains, offsets = (by_band(self._array, key, default) for key, default in _VALUES)
        return Seen(
            name=str(self._array.name or "array"),
            source=self._source(bands),
            shape=self._grid.shape,
            sensor=settled.sensor,
            radiometry=settled.radiometry,
            crs="" if self._grid.crs is None else str(self._grid.crs),
            transform=self._grid.transform or Affine.identity(),
            scales=tuple(float(gains[band]) for band in bands),
            offsets=tuple(float(offsets[band]) for band in bands),
        )

    def finished(self, bands: Bands, spread: bool) -> Seen:
        """See `Ground`; there is none."""
        raise InputError("there is no such result")

    def making(self, model: Named, bands: Bands, spread: bool) -> Making:
        """See `Ground`."""
        recipe, source = self._recipe(model, spread), self._source(bands)
        ready, settled = recipe.ready(), recipe.settled.part(bands)
        seen, lines = settled.observe(map(source.pixels, recipe.samples) if recipe.samples else None)
        layouts = source.layout, *(layout_beside(head, source.layout) for head in settled.heads[1:])
        quick = settled.model.memory_bound
        job = partial(_made, ready, source, seen)
        return Making((job, spread), ready.plan, job, quick, layouts, (*lines, *ready.network.notes))

    def _recipe_of(self, model: Named, spread: bool) -> Recipe:
        return recipe_of(self._array, model=model, scale=self.scale, uncertainty=spread, **_USUAL | self._options)

    def _source(self, bands: Bands) -> ArraySource:
        layout, nearest = layout_of(self._array, "COG", {})[0], self._recipe(SOURCE, False).settled.categorical
        layout = replace(layout, count=len(bands), nearest=tuple(nearest[band] for band in bands))
        return ArraySource(self._array, self._axes, bands, layout)


_USUAL: dict[str, Any] = dict.fromkeys(
    ("categorical", "mtf", "snr", "nodata", "dtype", "tile", "project", "trust_mask")
)
_USUAL |= {"device": "auto", "precision": "float32", "support": False}
_VALUES: Sequence[tuple[str, float]] = (("scale_factor", 1.0), ("add_offset", 0.0))


def _made(ready: Ready, source: ArraySource, seen: Observation, tile: Tile) -> tuple[Pixels, ...]:
    """The results of a tile, the image first."""
    values = source.pixels(tile.read).stored[None]
    return tuple(Pixels(each[0]) for each in ready(values, tile, source.bands, [seen]))
