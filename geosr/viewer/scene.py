"""A scene that is looked at: its pixels, and what models make of them, piece by piece as a run would."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, InputError
from geosr.io.overviews import Image, halve
from geosr.io.samples import spread_windows
from geosr.picture import Stretch
from geosr.pipeline import cores
from geosr.radiometry import Pixels
from geosr.sensors import first_bands
from geosr.viewer.desk import Desk, Wanted
from geosr.viewer.ground import RESULT, SOURCE, Bands, Ground, Making, Named, Seen, samples_of
from geosr.window import Window

_SIDE = 256
"""Pixels of the result that a tile of the page has each way, at most."""
MOST = 16
"""Tiles of the page, at full zoom, that are made together at most."""
_ENOUGH = 0.5
"""Share of valid pixels of a place that is worth looking at first."""
_COARSE = 8
"""Pixels of the scene that are looked at together to find it."""
_FAR = 512
"""Pixels each way from which the stretch of a view is taken, about."""
Gone = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Spot:
    """Tiles of the page, side by side."""

    level: int
    """0 where their pixels are the result's; those of each further level have twice the side."""
    row: int
    """Counted in tiles, of which all levels have the same number of pixels."""
    col: int
    rows: int = 1
    cols: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """A model's image of some bands, or its uncertainty."""

    model: Named
    bands: Bands
    spread: bool = False
    """Whether it is the uncertainty of what the model makes."""


class Viewed:
    """A scene under view. Its methods may be called by many threads, and wait until their pixels are there.

    `gone` says whether who asked has left: then they raise `LeftError`.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.scale, self.scene = ground.scale, ground.scene
        self._core = max(16, _SIDE // self.scale // 16 * 16)
        self.side = self._core * self.scale
        """Pixels of a tile of the page, each way."""
        self.desk = Desk(cores())
        self._pieces: dict[tuple[Hashable, int, int], Window] = {}
        """For each tile of the scene that was made, the window that it was made with."""

    @property
    def whole(self) -> Window:
        """All pixels of the result."""
        return Window(0, 0, *self.scene.shape).scale(self.scale)

    @property
    def levels(self) -> int:
        """The level that shows all of the scene in one tile."""
        return max(0, math.ceil(math.log2(max(self.whole.height, self.whole.width) / self.side)))

    def warm(self) -> None:
        """Begin with what the page asks for first, while it is still on its way: the scene, then the model."""
        threading.Thread(target=self._warm, daemon=True).start()

    def _warm(self) -> None:
        bands = first_bands(self.scene.sensor.bands)
        with suppress(GeosrError, RuntimeError):  # who asks is told; or the desk is closed
            self.stretch(bands, _stays)
            self.start(_stays)
            self.making(Layer(SOURCE, bands), _stays)
            if self.ground.model != RESULT:
                self.desk.begin(self._wanted(Layer(self.ground.model, bands)))
                self.desk.begin(Wanted("model", self.ground.warm))  # beside what the scene is looked at for

    def close(self) -> None:
        """Begin no more work."""
        self.desk.close()

    def making(self, layer: Layer, gone: Gone) -> Making:
        """The way to the pixels of a layer. Raises as `geosr.prepare`."""
        making: Making = self.desk.get([self._wanted(layer)], gone)[0]
        return making

    def tiles(self, layer: Layer, spot: Spot, gone: Gone) -> Pixels:
        """The stored numbers of tiles of the page: of the result where that is near, from afar of the scene itself.

        Reduced results have the numbers of their own overviews.
        """
        times = 1 << spot.level
        there = Window(spot.row, spot.col, spot.rows, spot.cols).scale(self.side * times).clip(self.whole)
        near = layer.model != RESULT and times < self.scale
        if not there.size or spot.rows * spot.cols * (times**2 if near else 1) > MOST:
            raise InputError("no tiles of the page lie there, or too many")
        if not near:
            if layer.spread and layer.model != RESULT:
                raise InputError("from here nothing is made finer, so that there is no uncertainty; zoom in")
            return self._looked_at(layer, there, times, gone)
        making = self.making(layer, gone)
        made = self._made(making, _in_pixels_of(self.scale, there), gone)[layer.spread]
        image = Image(made.stored, made.mask)
        for _ in range(spot.level):
            image = halve(image, making.layouts[layer.spread])
        return Pixels(image.stored, image.mask)

    def point(self, layer: Layer, row: int, col: int, gone: Gone) -> list[float | None] | None:
        """The stored numbers of a pixel of the result, None for no data; None alone where they aren't computed yet."""
        there = Window(row, col, 1, 1)
        if not there.clip(self.whole).size:
            raise InputError("no pixel lies there")
        if layer.model in (SOURCE, RESULT):
            pixels = self._looked_at(layer, there, 1, gone)
        else:
            making, core = self.making(layer, gone), _in_pixels_of(self.scale, there)
            if (kept := self._kept(making, core)) is None:
                return None
            at = there.within(core.scale(self.scale)).slices
            pixels = _cut(kept[layer.spread], *at)
        numbers = pixels.stored[:, 0, 0].tolist()
        if layer.spread:
            return [number if math.isfinite(number) else None for number in numbers]
        valid = self.scene.radiometry.bands(layer.bands).valid(pixels)
        return [number if valid is None or valid[band, 0, 0] else None for band, number in enumerate(numbers)]

    def stretch(self, bands: Bands, gone: Gone, there: Window | None = None) -> Stretch:
        """The stretch of a few windows of the scene, or of what it shows in a window of the result."""
        scene = self._part(bands, gone)
        if there is None:
            make = partial(_stretch_of_samples, scene)
            found: Stretch = self.desk.get([Wanted(("stretch", bands), make, quick=True)], gone)[0]
            return found
        there = there.clip(self.whole)
        if not there.size:
            raise InputError("the scene is not in view")
        times = self.scale << max(0, math.ceil(math.log2(max(there.height, there.width) / self.scale / _FAR)))
        return Stretch.of([self._looked_at(Layer(SOURCE, bands), there, times, gone)], scene.radiometry)

    def spread(self, layer: Layer, spot: Spot, gone: Gone) -> float:
        """The largest uncertainty but for the largest fiftieth, mean of the bands, of what tiles of the page show."""
        stored = self.tiles(layer, spot, gone).stored.mean(0)
        known = stored[np.isfinite(stored)]
        return float(np.quantile(known, 0.98)) if known.size else 1.0

    def start(self, gone: Gone) -> tuple[int, int]:
        """The pixel of the result to look at first, near the middle and where there is data."""
        middle = self.scene.shape[0] / 2, self.scene.shape[1] / 2
        windows = spread_windows(self.scene.shape, len(self.scene.names))
        for window in sorted(windows, key=lambda each: math.dist(_middle(each), middle)):
            first = Layer(SOURCE, (0,))
            pixels = self._looked_at(first, window.scale(self.scale), _COARSE * self.scale, gone)
            valid = self.scene.radiometry.bands((0,)).valid(pixels)
            if valid is None or valid.mean() >= _ENOUGH:
                row, col = _middle(window) if valid is None else _inside(window, valid[0])
                return int(row * self.scale), int(col * self.scale)
        return self.whole.height // 2, self.whole.width // 2

    def _wanted(self, layer: Layer) -> Wanted:
        make = partial(self.ground.making, layer.model, layer.bands, layer.spread)
        return Wanted(("making", layer), make, quick=True)

    def _made(self, making: Making, core: Window, gone: Gone) -> tuple[Pixels, ...]:
        """A model's results for a window of the scene that is a whole number of tiles."""
        if (kept := self._kept(making, core)) is not None:
            return kept
        make = partial(making.job, making.plan.of(core))
        made: tuple[Pixels, ...] = self.desk.get([Wanted((making.key, core), make, making.quick)], gone)[0]
        for row in range(core.row // self._core, -(-core.stop[0] // self._core)):
            for col in range(core.col // self._core, -(-core.stop[1] // self._core)):
                self._pieces[making.key, row, col] = core
        return made

    def _kept(self, making: Making, core: Window) -> tuple[Pixels, ...] | None:
        """A model's results for a window of the scene, where they were made with others that are still there."""
        piece = self._pieces.get((making.key, core.row // self._core, core.col // self._core))
        if piece is None or core.clip(piece) != core or (kept := self.desk.kept((making.key, piece))) is None:
            return None
        at = core.within(piece).scale(self.scale).slices
        return tuple(_cut(each, *at) for each in kept)

    def _looked_at(self, layer: Layer, there: Window, times: int, gone: Gone) -> Pixels:
        """A window of the finished result, or of the scene, of whose pixels each stands for `times` by `times`."""
        finished = layer.model == RESULT
        scene, fine = self._finished(layer, gone) if finished else self._part(layer.bands, gone), 1
        fine = 1 if finished else self.scale
        shape = -(-there.height // times), -(-there.width // times)
        own = _in_pixels_of(fine, there)
        key = ("looked at", layer if finished else layer.bands, own, shape)
        pixels: Pixels = self.desk.get([Wanted(key, partial(_reduced, scene, own, shape), quick=True)], gone)[0]
        return pixels

    def _part(self, bands: Bands, gone: Gone) -> Seen:
        """The scene with some bands."""
        make = partial(self.ground.part, bands)
        scene: Seen = self.desk.get([Wanted(("part", bands), make, quick=True)], gone)[0]
        return scene

    def _finished(self, layer: Layer, gone: Gone) -> Seen:
        """The finished result, or its spread, with some bands."""
        make = partial(self.ground.finished, layer.bands, layer.spread)
        scene: Seen = self.desk.get([Wanted(("finished", layer), make, quick=True)], gone)[0]
        return scene


def _stays() -> bool:
    return False


def _stretch_of_samples(scene: Seen) -> Stretch:
    return Stretch.of(samples_of(scene), scene.radiometry)


def _reduced(scene: Seen, own: Window, shape: tuple[int, int]) -> Pixels:
    if (own.height, own.width) == shape:
        return scene.source.pixels(own)
    return scene.source.reduced(own, shape, nearest=scene.categorical)


def _cut(pixels: Pixels, rows: slice, cols: slice) -> Pixels:
    return Pixels(pixels.stored[:, rows, cols], None if pixels.mask is None else pixels.mask[rows, cols])


def _middle(window: Window) -> tuple[float, float]:
    return window.row + window.height / 2, window.col + window.width / 2


def _inside(window: Window, valid: NDArray[np.bool_]) -> tuple[float, float]:
    """The place nearest to the middle of a window among those where there is data on a coarser grid of it."""
    places = np.argwhere(valid) + 0.5
    row, col = places[np.argmin(((places - np.array(valid.shape) / 2) ** 2).sum(axis=1))]
    return window.row + row * window.height / valid.shape[0], window.col + col * window.width / valid.shape[1]


def _in_pixels_of(times: int, fine: Window) -> Window:
    """The pixels, `times` as large each way, that hold a window."""
    row, col = fine.row // times, fine.col // times
    return Window(row, col, -(-fine.stop[0] // times) - row, -(-fine.stop[1] // times) - col)
