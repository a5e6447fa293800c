"""What decides the pixels of an upscaled array, beside the pixels of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.fusing import fused
from geosr.io.samples import spread_windows
from geosr.models.runtime import ModelNetwork
from geosr.models.threads import prepare_process
from geosr.observing import Settled
from geosr.pipeline import Job
from geosr.radiometry import Pixels, stored_type
from geosr.sensors import Observation
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler, plan_tiles
from geosr.window import Window


@dataclass(frozen=True, slots=True)
class Recipe:
    """The decisions on pixels, and how they are cut into tiles; a value that pickles small."""

    settled: Settled
    shape: tuple[int, int]
    """Rows and columns of the source."""
    core: int
    """Side of a tile, source pixels."""

    @property
    def scale(self) -> int:
        """Output pixels per source pixel, each way."""
        return self.settled.model.scale

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The stored type of each of the results."""
        return tuple(stored_type(head, self.settled.radiometry) for head in self.settled.heads)

    @property
    def samples(self) -> list[Window]:
        """Windows of the source that tell how it was observed; none for models that make no use of that."""
        return spread_windows(self.shape, len(self.settled.bands)) if self.settled.sampled else []

    def observe(self, bands: Sequence[int], pieces: Sequence[NDArray[Any]]) -> Observation:
        """The observation of some bands, from pieces (bands, height, width) of them; without any the noise is 0."""
        return self.settled.part(bands).observe(map(Pixels, pieces) if pieces else None)[0]

    def ready(self) -> Ready:
        """The recipe with its plan; loads the network, once a process.

        Raises `ModelError`, also where the weights have changed since the recipe was made, or `PlaceError`.
        """
        return _ready(self)


@dataclass(frozen=True, slots=True)
class Ready:
    """A recipe whose network has been looked at: what a task needs. Pickles small."""

    recipe: Recipe
    plan: TilePlan
    network: ModelNetwork

    def __call__(
        self, values: NDArray[Any], tile: Tile, bands: tuple[int, ...], seen: Sequence[Observation]
    ) -> tuple[NDArray[Any], ...]:
        """Pixels of `tile.write` for those of `tile.read`, one array for each head: (scenes, bands, rows, columns) all.

        `bands` says which bands of the whole these are; `seen` how these were observed in each scene.
        """
        settled = self.recipe.settled.part(bands)
        shape = *values.shape[:2], tile.write.height, tile.write.width
        outs = tuple(np.empty(shape, dtype) for dtype in self.recipe.dtypes)
        with prepare_process():
            for place, (scene, observed) in enumerate(zip(values, seen, strict=True)):
                network = replace(self.network, observation=observed)
                upscaler = Upscaler(network, settled.radiometry, settled.categorical)
                results = Job(self.plan, Given(Pixels(scene)), upscaler, stored_of)(tile)
                for out, result in zip(outs, results, strict=True):
                    out[place] = result
        return outs


@dataclass(frozen=True, slots=True)
class Given:
    """A source that has been read."""

    pixels: Any

    def read(self, tile: Tile) -> Any:
        """The pixels, whichever tile is asked for."""
        return self.pixels


def stored_of(tile: Tile, *results: Pixels) -> tuple[NDArray[Any], ...]:
    """An encoder that takes stored numbers as they are, those of each result."""
    return tuple(result.stored for result in results)


@lru_cache(maxsize=64)
def _ready(recipe: Recipe) -> Ready:
    settled, seen = recipe.settled, recipe.settled.observe()[0]
    whole = Window(0, 0, *recipe.shape)
    network = fused(settled, seen, whole, ()) if settled.fused else settled.network(seen)
    gaps = settled.radiometry.may_have_gaps
    return Ready(recipe, plan_tiles(recipe.shape, recipe.core, network, gaps=gaps), network)
