"""Models of several dates at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geosr.frames import COUNT, Frame, Seen
from geosr.models.fusion import Block, Date, back_projected, reach, shifted_and_added, weighing
from geosr.models.registry import find
from geosr.models.runtime import ModelNetwork
from geosr.radiometry import IMAGE, Head
from geosr.response import Response
from geosr.sensors import Observation
from geosr.window import Window

if TYPE_CHECKING:
    from geosr.models.multiframe import Merger

HEADS = (IMAGE, COUNT)
"""The results of dates that are fused."""
_WORKING = 12
"""Numbers a source pixel and frame that stand in memory at once, about, and on the result's grid beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesNetwork(ModelNetwork):
    """A single-frame network, to whose result the other dates add what they know."""

    frames: tuple[Frame, ...]
    """All but the reference."""
    ground: Window
    """All that can be read of the reference, counted from the scene's corner."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The image, and how many frames it drew on."""
        return HEADS

    @property
    def relative(self) -> Observation:
        """The observation with responses relative to the result, whatever the single-frame model makes use of."""
        return tuple(band.relative(self.scale, self.rounding) for band in self.observation)

    @property
    def single(self) -> ModelNetwork:
        """The network of one frame that is started from."""
        own = ModelNetwork(**{each.name: getattr(self, each.name) for each in fields(ModelNetwork)})
        return replace(own, model=find(self.card.start, self.scale)) if self.card.start else own

    @property
    def halo(self) -> int:
        """Source pixels that an output pixel may depend on, on each side."""
        around = self._merger.reach if self.card.start else partial(reach, scale=self.scale)
        return self.single.halo + around(self._responses)

    @property
    def _beyond(self) -> int:
        """Source pixels beyond the ground of which something is told there: what lies farther off changes nothing."""
        return weighing(self._responses, self.scale) + (self._merger.around if self.card.start else 0)

    @property
    def _responses(self) -> tuple[Response, ...]:
        """Those of all dates."""
        own = (response.relative(self.scale) for frame in self.frames for response in frame.responses)
        return tuple({*(band.response for band in self.relative), *own})

    @property
    def multiple(self) -> int:
        """That of the single-frame network."""
        return self.single.multiple

    @property
    def alive(self) -> int:
        """Numbers a source pixel of a block that stand in memory at once, about."""
        merging = self._merger.alive if self.card.start else 0
        return max(self.single.alive, merging, _WORKING * (len(self.frames) + self.scale**2))

    def fuse(
        self,
        block: NDArray[np.floating],
        bands: tuple[int, ...],
        at: Window,
        valid: NDArray[np.bool_] | None,
        seen: Sequence[Seen],
    ) -> NDArray[np.floating]:
        """See `geosr.frames.Fuser`. Beyond the reference's ground, where nothing is shown of it, zeros."""
        near = at.clip(self.ground.grow(self._beyond))
        wide = at.clip(near.grow(self.single.halo)) if self.multiple == 1 else at
        start = self.single(block[:, *wide.within(at).slices], bands)[:, *near.within(wide).scale(self.scale).slices]
        out = np.zeros((2 * len(bands), *(side * self.scale for side in block.shape[1:])), start.dtype)
        rows, cols = near.within(at).scale(self.scale).slices
        for place, band in enumerate(bands):
            known = None if valid is None else valid[band]
            dates = [self._date(frame, band) for frame in self.frames]
            parts = [
                (one.values[band], one.there[band] & _shared(frame, one.at, at, known, self.ground), one.at)
                for frame, one in zip(self.frames, seen, strict=True)
            ]
            observed = self.relative[band]
            met = Block(start[place], near, self.scale, observed.noise, dates, parts)
            image, count = self._added(met, observed.response)
            out[place, rows, cols], out[len(bands) + place, rows, cols] = image, count
        return out

    def _added(self, block: Block, response: Response) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """A band's block as dates make it, and how many each pixel drew on."""
        if self.card.start:
            merger: Merger
            with self._taken() as merger:
                return merger(block, response.told)
        return shifted_and_added(block) if self.model.adds else back_projected(block)

    @property
    def _merger(self) -> Merger:
        return self._engine()  # type: ignore[return-value]

    def _date(self, frame: Frame, band: int) -> Date:
        known = self.relative[band]
        response = frame.responses[band].relative(self.scale) if frame.responses else known.response
        noise = frame.noises[band].at_least(self.rounding) if frame.noises else known.noise
        return Date(frame, response, frame.noise(noise, band))


def _shared(
    frame: Frame, own: Window, at: Window, valid: NDArray[np.bool_] | None, ground: Window
) -> NDArray[np.bool_]:
    """Where own pixels lie on ground of which the reference has data, as `valid` over `at` says it."""
    out = np.zeros((own.height, own.width), bool)
    for cell in frame.cells(own):
        row, col = (round(float(each)) for each in (cell.down, cell.right))
        seen = cell.own.shift(row, col)
        there = seen.clip(ground).clip(at)
        if not there.size:
            continue
        target = there.shift(-row, -col).within(own).slices
        out[target] = True if valid is None else valid[there.within(at).slices]
    return out
