"""What decides the pixels of an upscaled array, beside the pixels of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.io.scene import spread_windows
from geosr.models.model import Model, Precision
from geosr.models.runtime import ModelNetwork, is_projected, network_for
from geosr.models.threads import prepare_process
from geosr.noise import SILENT
from geosr.observing import levels_of, observe_pixels
from geosr.pipeline import Job
from geosr.radiometry import Pixels, Radiometry
from geosr.sensors import Observation, SensorGuess, observation
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler, plan_tiles
from geosr.window import Window

Level = float | tuple[float, ...] | None
"""One number, one per band, or nothing said."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything but the pixels; a value that pickles small. Making one loads no network."""

    model: Model
    shape: tuple[int, int]
    """Rows and columns of the source."""
    core: int
    """Side of a tile, source pixels."""
    radiometry: Radiometry
    categorical: tuple[bool, ...]
    """Per band: stored numbers are repeated and never mixed."""
    sensor: SensorGuess
    mtf: Level = None
    snr: Level = None
    device: str = "auto"
    precision: Precision = "float32"
    project: bool | None = None
    colors: tuple[str, ...] = ()
    """See `Observation.colors`."""

    @property
    def scale(self) -> int:
        """Output pixels per source pixel, each way."""
        return self.model.scale

    @property
    def projected(self) -> bool:
        """True where results are projected."""
        return is_projected(self.project, self.model.card)

    @property
    def observed(self) -> bool:
        """True where it matters how the scene was observed."""
        return self.model.card.conditioned or self.projected

    @property
    def samples(self) -> list[Window]:
        """Windows of the source that tell how it was observed; none for models that make no use of that."""
        wanted = self.observed or self.model.card.levelled
        if not wanted or all(self.categorical):
            return []
        return spread_windows(self.shape, len(self.categorical))

    def observe(self, bands: Sequence[int], pieces: Sequence[NDArray[Any]]) -> Observation:
        """Blur and noise of all bands, from pieces (bands, height, width) of some; the noise of others is 0."""
        if not pieces:
            return self.blur
        seen = self._with_noise(bands, pieces) if self.observed else self.blur
        return self._with_levels(seen, bands, pieces) if self.model.card.levelled else seen

    def _with_noise(self, bands: Sequence[int], pieces: Sequence[NDArray[Any]]) -> Observation:
        names = self.sensor.bands
        some = replace(self.sensor, bands=tuple(names[band] for band in bands))
        levels = [None if level is None else _of(level, bands, len(names)) for level in (self.mtf, self.snr)]
        seen, _ = observe_pixels(map(Pixels, pieces), self.radiometry.bands(bands), some, *levels)
        responses, noise = list(self.blur.response), list(self.blur.noise)
        for band, one, other in zip(bands, seen.response, seen.noise, strict=True):
            responses[band], noise[band] = one, other
        return replace(self.blur, response=tuple(responses), noise=tuple(noise))

    def _with_levels(self, seen: Observation, bands: Sequence[int], pieces: Sequence[NDArray[Any]]) -> Observation:
        levels = list(seen.levels)
        for band, ends in zip(bands, levels_of(map(Pixels, pieces), self.radiometry.bands(bands)), strict=True):
            levels[band] = ends
        return replace(seen, levels=tuple(levels))

    @property
    def blur(self) -> Observation:
        """The observation as far as it is known without a pixel: the noise is 0. Raises `InputError` for options."""
        count = len(self.categorical)
        told: dict[str, Any] = {"snr": self.snr} if self.observed else {"noise": ((SILENT, ""),) * count}
        levels = ((0.0, 1.0),) * count if self.model.card.levelled else ()
        seen, _ = observation(self.sensor, (1.0,) * count, mtf=self.mtf, **told)
        return replace(seen, noise=(SILENT,) * count, colors=self.colors, levels=levels)

    def settle(self) -> Settled:
        """The recipe with its plan; loads the network, once a process.

        Raises `ModelError`, also where the weights have changed since the recipe was made, or `PlaceError`.
        """
        return _settle(self)


@dataclass(frozen=True, slots=True)
class Settled:
    """A recipe whose network has been looked at: what a task needs. Pickles small."""

    recipe: Recipe
    plan: TilePlan
    network: ModelNetwork

    def __call__(
        self, values: NDArray[Any], tile: Tile, bands: tuple[int, ...], seen: Sequence[Observation]
    ) -> NDArray[Any]:
        """Pixels of `tile.write` for those of `tile.read`: (scenes, bands, rows, columns) both.

        `bands` says which bands of the whole these are; `seen` how each scene was observed.
        """
        shape = *values.shape[:2], tile.write.height, tile.write.width
        out = np.empty(shape, self.recipe.radiometry.out_dtype)
        with prepare_process():
            for scene, observed, result in zip(values, seen, out, strict=True):
                network = replace(self.network, observation=observed.bands(bands))
                categorical = tuple(self.recipe.categorical[band] for band in bands)
                upscaler = Upscaler(network, self.recipe.radiometry.bands(bands), categorical)
                result[...] = Job(self.plan, _Given(scene), upscaler, _stored)(tile)
        return out


@dataclass(frozen=True, slots=True)
class _Given:
    """A source that has been read."""

    stored: NDArray[Any]

    def read(self, tile: Tile) -> Pixels:
        """The pixels, whichever tile is asked for."""
        return Pixels(self.stored)


def _stored(tile: Tile, pixels: Pixels) -> NDArray[Any]:
    return pixels.stored


@lru_cache(maxsize=64)
def _settle(recipe: Recipe) -> Settled:
    network = network_for(
        recipe.model,
        recipe.scale,
        recipe.blur,
        device=recipe.device,
        precision=recipe.precision,
        project=recipe.projected,
        rounding=recipe.radiometry.rounding,
    )
    gaps = recipe.radiometry.may_have_gaps
    return Settled(recipe, plan_tiles(recipe.shape, recipe.core, network, gaps=gaps), network)


def _of(level: float | tuple[float, ...], bands: Sequence[int], count: int) -> float | tuple[float, ...]:
    """The levels of some bands; a list of the wrong length is left for the check to refuse."""
    return tuple(level[band] for band in bands) if isinstance(level, tuple) and len(level) == count else level
