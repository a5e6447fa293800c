"""What a page shows: a file, and what models make of it, as runs that are never executed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from affine import Affine

from geosr.api import prepare
from geosr.errors import InputError, ModelError
from geosr.io.companions import companions
from geosr.io.destination import beside
from geosr.io.layout import Layout
from geosr.io.metadata import placed
from geosr.io.output import RUN
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene, open_scene
from geosr.io.source import Raster
from geosr.models import registry
from geosr.models.card import Card
from geosr.models.own import TorchNetwork
from geosr.models.runtime import network_for
from geosr.models.uncertain import Beside
from geosr.products import open_source, read_product
from geosr.radiometry import SIGMA, Pixels, Radiometry
from geosr.run import Run
from geosr.sensors import SensorGuess
from geosr.tiling import Tile, TilePlan
from geosr.window import Window

RESULT = "result"
"""The name under which a finished result stands among the models."""
SOURCE = "nearest"
"""The model whose pixels are the scene's own."""
Bands = tuple[int, ...]
"""Places among the scene's bands, counted from 0."""
Named = str | TorchNetwork


@dataclass(frozen=True, slots=True)
class Seen:
    """A scene, or some of its bands, as far as a page tells of it."""

    name: str
    source: Raster
    shape: tuple[int, int]
    """Height and width, pixels."""
    sensor: SensorGuess
    radiometry: Radiometry
    crs: str
    """"" where nobody knows."""
    transform: Affine
    """Pixel corners to coordinates."""
    scales: tuple[float, ...]
    """Per band: value = stored number x scale + offset."""
    offsets: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, scene: Scene) -> Seen:
        """That of a file."""
        crs = "" if scene.crs is None else scene.crs.to_string()
        place = crs, scene.transform, scene.scales, scene.offsets
        return cls(scene.name, scene.source, scene.shape, scene.sensor, scene.radiometry, *place, scene.warnings)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each band."""
        return tuple(band.name for band in self.sensor.bands)

    @property
    def categorical(self) -> bool:
        """True where a band's numbers are never mixed."""
        return any(band.categorical for band in self.sensor.bands)


@dataclass(frozen=True, slots=True)
class Making:
    """The way from the scene to a model's results for some bands."""

    key: Hashable
    """What tells it from others."""
    plan: TilePlan
    job: Callable[[Tile], tuple[Pixels, ...]]
    """The results of a tile, the image first."""
    quick: bool
    """Whether that is a matter of memory."""
    layouts: tuple[Layout, ...]
    """Of each result, which say how it is reduced."""
    notes: tuple[str, ...]
    """What was found and assumed."""


class Ground(Protocol):
    """A scene, and the models that a page shows it by."""

    scale: int
    models: tuple[Named, ...]
    """What can be asked for; the page knows them by their places."""
    model: Named
    """The one that is shown first."""

    scene: Seen

    @property
    def title(self) -> str:
        """A name for all that is shown."""

    def warm(self) -> None:
        """Load the model that is shown first."""

    def part(self, bands: Bands) -> Seen:
        """The scene with some bands."""

    def finished(self, bands: Bands, spread: bool) -> Seen:
        """The finished result with some bands, or its spread. Raises `InputError` where there is none."""

    def has_spread(self, model: Named) -> bool:
        """True where a model's image comes with its uncertainty."""

    def making(self, model: Named, bands: Bands, spread: bool) -> Making:
        """The way to a model's tiles, with its uncertainty or without. Raises as `geosr.prepare`."""


class Models:
    """The models that a page can show at a scale. Raises `ModelError` where the one that was named can't be."""

    def __init__(self, named: Named, scale: int) -> None:
        if not _alone(named, scale):
            raise ModelError(f"{named} needs other rasters, which the page can't show; choose another model")
        known = [name for name in registry.names() if scale in registry.card(name).scales]
        self.model, self.scale = named, scale
        self.models: tuple[Named, ...] = tuple(dict.fromkeys([named, *(name for name in known if _alone(name, scale))]))

    def has_spread(self, model: Named) -> bool:
        """See `Ground`."""
        try:
            return bool(registry.find(model, self.scale, Beside()).card)
        except ModelError:
            return False


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


class FileGround(Models):
    """A file or a product, and perhaps a finished result of it."""

    def __init__(self, src: str, *, model: str = "fast", scale: int = 4, result: str | None = None) -> None:
        self.src = src
        self.result = None if result is None else open_scene(result)
        under = None if self.result is None else Under.of(self.result, open_source(src))
        super().__init__(model, under.scale if under else scale)
        self.bounds = under.bounds if under else None
        if under:
            self.model, self.models = RESULT, (*self.models, RESULT)
        self.file = self._prepared(model=SOURCE, bands=under and under.bands, bounds=self.bounds).scene
        self.scene = Seen.of(self.file)

    @property
    def title(self) -> str:
        """See `Ground`."""
        return f"{self.result.name} of {self.scene.name}" if self.result else self.scene.name

    def warm(self) -> None:
        """See `Ground`."""
        if self.model != RESULT:
            network_for(self.model, self.scale, self.scene.sensor.bands)

    def part(self, bands: Bands) -> Seen:
        """See `Ground`."""
        return Seen.of(self._prepared(model=SOURCE, bands=self._keys(bands), bounds=self.bounds).scene)

    def finished(self, bands: Bands, spread: bool) -> Seen:
        """See `Ground`."""
        if self.result is None or (spread and self._spread is None):
            raise InputError("there is no such result")
        path = self._spread if spread and self._spread else self.result.path
        return Seen.of(open_scene(path, bands=[self.result.bands[band] for band in bands]))

    def has_spread(self, model: Named) -> bool:
        """See `Ground`."""
        return self._spread is not None if model == RESULT else super().has_spread(model)

    def making(self, model: Named, bands: Bands, spread: bool) -> Making:
        """See `Ground`."""
        if model not in self.models or model == RESULT:
            raise InputError(f"model {str(model)[:40]!r} is none that this page was started with")
        options = {"bounds": self.bounds, "uncertainty": spread}
        run = self._prepared(model=model, bands=self._keys(bands), **options)
        layouts = tuple(output.layout for output in run.outputs())
        quick = run.network.model.memory_bound
        return Making((run.tags[RUN], spread), run.plan, run.job(_as_pixels), quick, layouts, run.notes)

    @cached_property
    def _spread(self) -> Path | None:
        """The finished result's own uncertainty, where it lies beside it."""
        if self.result is None or SIGMA.name not in companions(Path(self.result.path)):
            return None
        return beside(Path(self.result.path), SIGMA.name)

    def _keys(self, bands: Bands) -> Sequence[int | str]:
        keys: Sequence[int | str] = self.file.bands if read_product(self.src) is None else self.file.names
        return [keys[band] for band in bands]

    def _prepared(self, **options: Any) -> Run:
        """A run that is never executed: nothing is written under the name of its result."""
        name = Path(tempfile.gettempdir()) / f"geosr-view-{os.getpid()}.tif"
        return prepare(self.src, name, scale=self.scale, overwrite=True, **options)


def _alone(model: Named, scale: int) -> bool:
    """True where a model needs nothing but the scene."""
    found = registry.find(model, scale)
    return not (found.guided or found.adds)


def samples_of(scene: Seen) -> list[Pixels]:
    """A few windows spread over a scene."""
    return [scene.source.pixels(window) for window in spread_windows(scene.shape, len(scene.names))]


def card_of(model: Named) -> Card | None:
    """The card of a model; None for a finished result."""
    return None if model == RESULT else registry.card(model)


def _as_pixels(tile: Tile, *results: Pixels) -> tuple[Pixels, ...]:
    """All that a tile's job makes, as it is."""
    return results
