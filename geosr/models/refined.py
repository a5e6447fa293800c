"""Trained guided networks at run time: they better what `glp` and a network for single bands make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.models.glp import Injection
from geosr.models.guided import GuidedNetwork
from geosr.models.model import Model, Precision
from geosr.models.refine import LOW_PASS_RADIUS, Slots, estimates_of, guides_of
from geosr.models.refiner import Refiner
from geosr.models.runtime import ModelNetwork, held, network_for
from geosr.sensors import Observation
from geosr.window import Window, hull

Floating = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedNetwork(GuidedNetwork):
    """A trained guided network that is ready for `GuidedUpscaler`."""

    slots: Slots
    names: tuple[str, ...]
    """Slots of the bands that take detail, in order."""
    guides: tuple[str, ...]
    """Slots of the guide's bands, in order."""
    single: ModelNetwork | None
    """The network that makes pixels half as large of each of these bands alone, where the model starts from one."""

    @property
    def halo(self) -> int:
        """Pixels of the guide that a pixel of the result may depend on, on each side."""
        return self._refiner.rim + 1 + max(self.injection.halo, LOW_PASS_RADIUS)

    @property
    def alive(self) -> int:
        """Numbers a pixel of the guide that stand in memory at once, about."""
        width = len(self._refiner.module.head.weight)
        return super(RefinedNetwork, self).alive + 8 * len(self.slots.bands) + width

    def coarse(self, core: Window) -> Window:
        """The pixels of the coarse bands that the result of a core depends on."""
        wide = self._wide(core).grow(LOW_PASS_RADIUS)
        alone = 0 if self.single is None else self.single.halo + 2
        return hull(self.injection.coarse(wide), self.placement.cover(wide).grow(alone))

    def sharpen(
        self,
        coarse: Floating,
        at: Window,
        guide: Floating,
        block: Window,
        core: Window,
        holes: NDArray[np.bool_] | None = None,
    ) -> Floating:
        """See `geosr.guided.Sharpener`."""
        wide = self._wide(core)
        images = estimates_of(coarse, at, guide, block, wide, self.injection, self.single, holes)
        details = guides_of(guide, block, wide, self.injection)
        if holes is not None:
            details *= ~holes[wide.within(block).slices]
        bands = tuple(band for band in self.observation if not band.categorical)
        given = self.slots.placed(self.names, images), self.slots.guided(self.guides, details)
        with self._taken() as refiner:
            made = refiner(*given, self.slots.told(self.names, bands, float(max(self.placement.step))))
        rows, cols = core.within(wide.grow(-self._refiner.rim)).slices
        out = images.bicubic[:, *core.within(wide).slices].astype(coarse.dtype)
        for image, name, band in zip(out, self.names, self.injection.bands, strict=True):
            if band.scale:
                image += made[self.slots.bands.index(name), rows, cols] / out.dtype.type(band.scale)
        return out

    def _wide(self, core: Window) -> Window:
        """A core in whole squares of 2 x 2, and what the network sees around them.

        Squares are counted from where a coarse pixel begins, so that they are the same in a part that is cut out.
        """
        from_row, from_col = (math.floor(corner) for corner in self.placement.corner)
        row, col = (core.row - from_row) // 2 * 2 + from_row, (core.col - from_col) // 2 * 2 + from_col
        height, width = (-(-(stop - start) // 2) * 2 for stop, start in zip(core.stop, (row, col), strict=True))
        return Window(row, col, height, width).grow(self._refiner.rim)

    @property
    def _refiner(self) -> Refiner:
        return self._engine()  # type: ignore[return-value]


def refined(
    model: Model,
    observation: Observation,
    injection: Injection,
    guides: Sequence[str],
    *,
    device: str,
    precision: Precision,
    rounding: float,
) -> RefinedNetwork:
    """The network of a scene, with what was learnt of it.

    Raises `InputError` for bands or guides that it has no place for, and for pixels of another ratio than its own.
    """
    card, step = model.card, injection.placement.step
    if any(each != model.scale for each in step):
        raise InputError(
            f"{card.title} brings bands onto pixels {model.scale} times as fine, and here it is "
            f"{' and '.join(dict.fromkeys(f'{float(each):g}' for each in step))}; choose --model glp"
        )
    bands = tuple(band for band in observation if not band.categorical)
    slots = Slots(card.slots, card.guides)
    names, given = slots.found([band.name for band in bands], guides, card.title)
    alone = partial(network_for, device=device, precision=precision, rounding=rounding)
    single = alone(card.start, model.scale, bands) if card.start else None
    network = RefinedNetwork(
        model=model,
        observation=observation,
        precision=precision,
        device=device,
        rounding=rounding,
        injection=injection,
        slots=slots,
        names=names,
        guides=given,
        single=single,
    )
    network, about = held(network)
    return replace(network, notes=tuple(filter(None, (about,))))
