"""A scene that is looked at: its pixels, and what models make of them, tile by tile as a run would."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.api import prepare
from geosr.errors import InputError, ModelError
from geosr.io.metadata import placed
from geosr.io.output import RUN
from geosr.io.overviews import Image, halve
from geosr.io.samples import sample_windows
from geosr.io.scene import Scene, open_scene
from geosr.models import registry
from geosr.models.runtime import network_for
from geosr.observing import samples
from geosr.picture import Stretch
from geosr.pipeline import cores
from geosr.products import open_source, read_product
from geosr.radiometry import Pixels
from geosr.run import Run
from geosr.tiling import Tile
from geosr.viewer.desk import Desk, Wanted
from geosr.window import Window

RESULT = "result"
"""The name under which a finished result stands among the models."""
_SIDE = 512
"""Pixels of the result that a tile of the page has each way, at most."""
_ENOUGH = 0.5
"""Share of valid pixels of a place that is worth looking at first."""
_COARSE = 8
"""Pixels of the scene that are looked at together to find it."""
Gone = Callable[[], bool]
Bands = tuple[int, ...]
"""Places among the scene's bands, counted from 0."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A tile of the page."""

    level: int
    """0 where its pixels are the result's; those of each further level have twice the side."""
    row: int
    """Counted in tiles, of which all levels have the same number of pixels."""
    col: int


@dataclass(frozen=True, slots=True)
class Under:
    """The part of a scene that a finished result shows."""

    scale: int
    """Pixels of the result for each of the scene's, each way."""
    bounds: tuple[float, float, float, float] | None
    """Left, bottom, right and top in the scene's CRS; None for all of it."""
    bands: list[int]
    """The scene's, counted from 1, in the order of the result's."""

    @classmethod
    def of(cls, result: Scene, scene: Scene) -> Under:
        """The part of `scene` under a result. Raises `InputError` where that is none of it."""
        from geosr.evaluation.contract import extent_faults, fit_of  # torch, which little else here needs
        from geosr.evaluation.measuring import same_bands

        fit, bands = fit_of(result, scene), same_bands(result, scene)
        for fault in extent_faults(result, scene):
            raise InputError(f"{result.name} is no result of {scene.name}: {fault}")
        if not bands:
            raise InputError(
                f"{result.name} has bands {', '.join(result.names)}, and {scene.name} {', '.join(scene.names)}: "
                "expected the same names, or as many"
            )
        part = Window(*(-off // fit.scale for off in fit.corner), *(side // fit.scale for side in result.shape))
        places = [(x, y) for x in (part.col, part.stop[1]) for y in (part.row, part.stop[0])]
        xs, ys = zip(*(placed(scene.transform, *place) for place in places), strict=True)
        bounds = None if part == scene.window else (min(xs), min(ys), max(xs), max(ys))
        return cls(fit.scale, bounds, [scene.bands[band] for band in bands])


class Viewed:
    """A scene under view. Its methods may be called by many threads, and wait until their pixels are there.

    `gone` says whether who asked has left: then they raise `LeftError`.
    """

    def __init__(self, src: str, *, model: str = "fast", scale: int = 4, result: str | None = None) -> None:
        self.src, self.model = src, model if result is None else RESULT
        self.result = None if result is None else open_scene(result)
        under = None if self.result is None else Under.of(self.result, open_source(src))
        self.scale = under.scale if under else scale
        self.bounds = under.bounds if under else None
        self.models = (*_models(model, self.scale), *([RESULT] if under else []))
        self.scene = self._prepared(model="nearest", bands=under and under.bands, bounds=self.bounds).scene
        self._core = max(16, _SIDE // self.scale // 16 * 16)
        self.side = self._core * self.scale
        """Pixels of a tile of the page, each way."""
        self.desk = Desk(cores())

    @property
    def whole(self) -> Window:
        """All pixels of the result."""
        return Window(0, 0, *self.scene.shape).scale(self.scale)

    @property
    def levels(self) -> int:
        """The level that shows all of the scene in one tile."""
        return max(0, math.ceil(math.log2(max(self.whole.height, self.whole.width) / self.side)))

    def warm(self, bands: Bands) -> None:
        """Begin to load the model that is shown first, while the page is still on its way."""
        if self.model != RESULT:
            self.desk.begin(self._wanted_run(self.model, bands))
            load = partial(network_for, self.model, self.scale, self.scene.sensor.bands)
            self.desk.begin(Wanted(("model", self.model), load))  # beside what the scene is looked at for

    def close(self) -> None:
        """Begin no more work."""
        self.desk.close()

    def run(self, model: str, bands: Bands, gone: Gone) -> Run:
        """The run whose tiles are shown; executed, it would write the same pixels. Raises as `geosr.prepare`."""
        if model not in self.models or model == RESULT:
            raise InputError(f"model {model[:40]!r} is none that this page was started with")
        run: Run = self.desk.get([self._wanted_run(model, bands)], gone)[0]
        return run

    def tile(self, model: str, bands: Bands, spot: Spot, gone: Gone) -> Pixels:
        """The stored numbers of a tile of the page: of the result where that is near, from afar of the scene itself.

        Reduced results have the numbers of their own overviews.
        """
        times = 1 << spot.level
        there = Window(spot.row, spot.col, 1, 1).scale(self.side * times).clip(self.whole)
        if not there.size:
            raise InputError("no tile of the page lies there")
        if self.result is not None and model == RESULT:
            return self._looked_at(RESULT, bands, there, times, gone)
        if times >= self.scale:
            return self._looked_at("", bands, there, times, gone)
        run = self.run(model, bands, gone)
        tiles, job = _meeting(run, spot, times), run.job(_as_pixels)
        quick = run.network.model.memory_bound
        wanted = [Wanted((run.tags[RUN], tile.index), partial(job, tile), quick) for tile in tiles]
        image = _joined(there, tiles, self.desk.get(wanted, gone))
        for _ in range(spot.level):
            image = halve(image, run.layout)
        return Pixels(image.stored, image.mask)

    def point(self, model: str, bands: Bands, row: int, col: int, gone: Gone) -> list[float | None] | None:
        """The stored numbers of a pixel of the result, None for no data; None alone where they aren't computed yet."""
        there = Window(row, col, 1, 1)
        if not there.clip(self.whole).size:
            raise InputError("no pixel lies there")
        if model in ("", RESULT):
            pixels = self._looked_at(model, bands, there, 1, gone)
        else:
            run = self.run(model, bands, gone)
            tile = run.plan[row // self.side * run.plan.shape[1] + col // self.side]
            kept = self.desk.kept((run.tags[RUN], tile.index))
            if kept is None:
                return None
            at = there.within(tile.write).slices
            pixels = Pixels(kept.stored[:, *at], None if kept.mask is None else kept.mask[at])
        valid = self.scene.radiometry.bands(bands).valid(pixels)
        numbers = pixels.stored[:, 0, 0].tolist()
        return [number if valid is None or valid[band, 0, 0] else None for band, number in enumerate(numbers)]

    def stretch(self, bands: Bands, gone: Gone, there: Window | None = None) -> Stretch:
        """The stretch of a few windows of the scene, or of what it shows in a window of the result."""
        scene = self._part("", bands, gone)
        if there is None:
            make = partial(_stretch_of_samples, scene)
            found: Stretch = self.desk.get([Wanted(("stretch", bands), make, quick=True)], gone)[0]
            return found
        there = there.clip(self.whole)
        if not there.size:
            raise InputError("the scene is not in view")
        times = max(self.scale, max(there.height, there.width) // _SIDE)
        return Stretch.of([self._looked_at("", bands, there, times, gone)], scene.radiometry)

    def start(self, gone: Gone) -> tuple[int, int]:
        """The pixel of the result to look at first, near the middle and where there is data."""
        middle = self.scene.shape[0] / 2, self.scene.shape[1] / 2
        for window in sorted(sample_windows(self.scene), key=lambda each: math.dist(_middle(each), middle)):
            pixels = self._looked_at("", (0,), window.scale(self.scale), _COARSE * self.scale, gone)
            valid = self.scene.radiometry.bands((0,)).valid(pixels)
            if valid is None or valid.mean() >= _ENOUGH:
                row, col = _middle(window) if valid is None else _inside(window, valid[0])
                return int(row * self.scale), int(col * self.scale)
        return self.whole.height // 2, self.whole.width // 2

    def _wanted_run(self, model: str, bands: Bands) -> Wanted:
        keys = self.scene.bands if read_product(self.src) is None else self.scene.names
        make = partial(
            self._prepared, model=model, bands=[keys[band] for band in bands], bounds=self.bounds, tile=self._core
        )
        return Wanted(("run", model, bands), make, quick=True)

    def _prepared(self, **options: Any) -> Run:
        """A run that is never executed: nothing is written under the name of its result."""
        name = Path(tempfile.gettempdir()) / f"geosr-view-{os.getpid()}.tif"
        return prepare(self.src, name, scale=self.scale, overwrite=True, **options)

    def _looked_at(self, what: str, bands: Bands, there: Window, times: int, gone: Gone) -> Pixels:
        """A window of the finished result, or of the scene (""), of whose pixels each stands for `times` by `times`."""
        scene, fine = self._part(what, bands, gone), 1 if what else self.scale
        shape = -(-there.height // times), -(-there.width // times)
        make = partial(_reduced, scene, _in_pixels_of(fine, there), shape)
        pixels: Pixels = self.desk.get([Wanted((what, bands, there, times), make, quick=True)], gone)[0]
        return pixels

    def _part(self, what: str, bands: Bands, gone: Gone) -> Scene:
        """The finished result, or the scene (""), with some bands."""
        if self.result is None or not what:
            return self.run("nearest", bands, gone).scene
        numbers = [self.result.bands[band] for band in bands]
        make = partial(open_scene, self.result.path, bands=numbers)
        scene: Scene = self.desk.get([Wanted(("scene", what, bands), make, quick=True)], gone)[0]
        return scene


def _models(given: str, scale: int) -> tuple[str, ...]:
    """The names of models that this page may be asked for: those of geosr at this scale, and the one that was named.

    Raises `ModelError` where that one can't be used.
    """
    if _needs_more(given, scale):
        raise ModelError(f"{given} needs other rasters, which the page can't show; choose another model")
    known = [name for name in registry.names() if scale in registry.card(name).scales]
    return tuple(dict.fromkeys([given, *(name for name in known if not _needs_more(name, scale))]))


def _needs_more(name: str, scale: int) -> bool:
    """True for a model that takes a guide or other dates."""
    model = registry.find(name, scale)
    return model.guided or model.adds


def _as_pixels(tile: Tile, *results: Pixels) -> Pixels:
    """The image, of all that a tile's job makes."""
    return results[0]


def _stretch_of_samples(scene: Scene) -> Stretch:
    return Stretch.of(samples(scene), scene.radiometry)


def _reduced(scene: Scene, own: Window, shape: tuple[int, int]) -> Pixels:
    if (own.height, own.width) == shape:
        return scene.source.pixels(own)
    return scene.source.reduced(own, shape, nearest=any(scene.categorical))


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


def _meeting(run: Run, spot: Spot, times: int) -> Sequence[Tile]:
    """The tiles of a run that one of the page shows."""
    rows, cols = run.plan.shape
    return [
        run.plan[row * cols + col]
        for row in range(spot.row * times, min(rows, (spot.row + 1) * times))
        for col in range(spot.col * times, min(cols, (spot.col + 1) * times))
    ]


def _joined(there: Window, tiles: Sequence[Tile], made: Sequence[Pixels]) -> Image:
    """The pixels that tiles have made of a window of the result."""
    stored = np.empty((made[0].stored.shape[0], there.height, there.width), made[0].stored.dtype)
    mask = None if made[0].mask is None else np.empty((there.height, there.width), bool)
    for tile, pixels in zip(tiles, made, strict=True):
        at = tile.write.within(there).slices
        stored[:, *at] = pixels.stored
        if mask is not None and pixels.mask is not None:
            mask[at] = pixels.mask
    return Image(stored, mask)
