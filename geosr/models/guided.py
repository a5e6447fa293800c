"""Guided models at run time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.models.glp import Injection
from geosr.models.runtime import ModelNetwork
from geosr.placement import Placement
from geosr.sensors import Observation
from geosr.window import Window

_WORKING = 16
"""Numbers a pixel of the guide that stand in memory at once, about, beside those of bands and guides."""
_PHASES = 32
"""Places in a coarse pixel at which a core is tried: those between differ by a pixel at most."""
_FARTHEST = 2
"""Coarse pixels up to which a shift is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedNetwork(ModelNetwork):
    """A guided model that is ready for `GuidedUpscaler`; nothing has to be loaded."""

    injection: Injection
    """What was learnt of the scene."""

    @property
    def placement(self) -> Placement:
        """Of the coarse bands on the guide's grid, corrected."""
        return self.injection.placement

    @property
    def scale(self) -> int:
        """The scene's grid is the guide's already."""
        return 1

    @property
    def relative(self) -> Observation:
        """The bands with responses relative to the guide's pixels."""
        finer = float(max(self.placement.step))
        return tuple(band.relative(finer, self.rounding) for band in self.observation)

    @property
    def halo(self) -> int:
        """Pixels of the guide that a pixel of the result may depend on, on each side."""
        return self.injection.halo

    @property
    def multiple(self) -> int:
        """Any block will do."""
        return 1

    @property
    def alive(self) -> int:
        """Numbers a pixel of the guide that stand in memory at once, about."""
        return 2 * len(self.injection.bands) + 3 * len(self.injection.guides) + _WORKING

    def coarse(self, core: Window) -> Window:
        """The pixels of the coarse bands that the result of a core depends on."""
        return self.injection.coarse(core)

    def margin(self, placement: Placement, core: int) -> int:
        """Coarse pixels around those that hold a core of this side at most, by `placement`, that its result needs."""
        margins = []
        for start in range(min(_PHASES, max(step.numerator for step in placement.step))):
            whole = Window(start, start, core, core)
            inner, outer = placement.cover(whole), self.coarse(whole)
            margins += [inner.row - outer.row, inner.col - outer.col]
            margins += [far - near for far, near in zip(outer.stop, inner.stop, strict=True)]
        moved = math.ceil(_FARTHEST * max(placement.step) / min(placement.step))
        return max(margins) + 1 + moved  # a core may begin or end elsewhere in a pixel, and a shift be found

    def sharpen(
        self,
        coarse: NDArray[np.floating],
        at: Window,
        guide: NDArray[np.floating],
        block: Window,
        core: Window,
        holes: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.floating]:
        """See `geosr.guided.Sharpener`."""
        return self.injection(coarse, at, guide, block, core, holes)
