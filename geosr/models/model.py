"""What a model is to whoever runs it, and an engine to its model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.radiometry import IMAGE, Head
from geosr.response import Response
from geosr.sensors import Band, Observation

Precision = Literal["float32", "bfloat16"]
Groups = tuple[tuple[int, ...], ...]
PROCESSOR = "the processor"
"""What the kind of a device begins with that is no graphics card."""


class Engine(ABC):
    """A model ready to run; made once a process and shared by its threads."""

    device: str = "cpu"
    """Where it computes."""
    multiple: int = 1
    """The sides of a block, and its place in the scene, are to be multiples of this."""
    alive: int = 0
    """Numbers a source pixel of a block that stand in memory at once, about; 0 where they are few or unknown."""

    of_one_shape: bool = False
    """Whether a card is to be given pieces of one shape, since the bits of a pixel depend on it there."""

    recordable: bool = False
    """Whether a card was found to record its work, and to gain by it."""

    def room(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array for what it gives."""
        return np.empty(shape, dtype)

    @abstractmethod
    def reach(self, response: Response) -> int:
        """Source pixels from an output pixel's own to the farthest that it depends on, along either axis."""

    @abstractmethod
    def __call__(self, block: Any, bands: Observation, out: Any) -> None:
        """Write the estimate of bands that go together (bands, h, w) into `out` (bands, h * scale, w * scale).

        A model of several heads writes all bands of the first, then all of the next. Both are float32 or float64,
        arrays for the runtime and tensors inside `OnDevice`; `bands` says how these were observed. What lies
        nearer to the border than `reach` may be a simpler estimate.
        """


class Model(ABC):
    """A model at one scale that has been looked at. Pickles small and hashes: weights load where they are used."""

    card: Card
    """What it says of itself."""
    scale: int
    """Output pixels per source pixel, each way."""
    heads: tuple[Head, ...] = (IMAGE,)
    """The results that its engine gives for a block, the image first."""
    sha256: str | None
    """Of the weights; a worker that finds others refuses them. None for a model without weights."""
    wide = True
    """Whether float64 is computed in where stored numbers need it."""
    memory_bound = False
    """Whether it waits for memory, not for arithmetic: it goes to a GPU only where one is named."""
    portable = False
    """Whether its results have the same bits on every processor, whatever torch is there."""
    guided = False
    """Whether it brings bands onto the grid of a finer raster, which it takes beside them."""
    adds = False
    """Whether it needs other dates, which it adds to the interpolated reference, or to the result that its card starts
    from."""
    key = ""
    """What a stopped run knows it by, beside title and weights."""

    def groups(self, colors: Sequence[str]) -> Groups:
        """Which bands are given to it together, counted from 0, of bands with these common names, "" where unknown.

        Raises `ModelError` where they can't be given to it.
        """
        return tuple((band,) for band in range(len(colors)))

    def looked(self, band: Band, windows: Sequence[NDArray[np.float64]]) -> Band:
        """The band with what the model has to know of the scene beside blur and noise, from windows of it."""
        return band

    def promises(self, bands: Observation) -> dict[str, str]:
        """Lines on what stands beside the image of these bands, by the tags that say so."""
        return {}

    def notes(self, bands: Observation) -> tuple[str, ...]:
        """Lines to know before it is run on these bands."""
        return ()

    def assign(self, bands: Observation) -> Groups:
        """`groups` of the bands that it is given: of all but the categorical ones, which are repeated."""
        given = [place for place, band in enumerate(bands) if not band.categorical]
        groups = self.groups([bands[place].color for place in given])
        return tuple(tuple(given[band] for band in group) for group in groups)

    def measured(self, engine: Engine) -> Model:
        """The same, with what had to be measured to make an engine of it, so that others needn't, and agree."""
        return self

    def completed(self, engine: Engine) -> Engine:
        """The model's engine with the results that follow from the others, the image being as it will be stored."""
        return engine

    @abstractmethod
    def engine(self, device: str, precision: Precision) -> Engine:
        """The model on a device. Raises `ModelError` where its weights are missing, others, or don't fit."""


def in_order(name: str, count: int, together: int) -> Groups:
    """Bands in groups that follow each other. Raises `ModelError` where they are no whole number of groups."""
    if count % together:
        raise ModelError(
            f"{name} takes {together} bands together, and there are {count}; pick bands, and for an array keep them in "
            "one chunk"
        )
    return tuple(tuple(range(start, start + together)) for start in range(0, count, together))
