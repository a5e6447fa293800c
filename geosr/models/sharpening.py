"""Which guided model brings coarse bands onto a finer grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from geosr.errors import InputError
from geosr.models import registry
from geosr.models.card import Card
from geosr.models.classical import Interpolation
from geosr.models.model import Engine, Model, Precision
from geosr.sensor_table import LANDSAT_8, SENTINEL_2

TRAINED = (("s2-20to10", SENTINEL_2), ("s2-60to10", SENTINEL_2), ("landsat-pan", LANDSAT_8))
"""Guided networks, by the sensor that they were trained for; for bands and guides that their cards have places for."""
ANY = registry.GUIDED
"""What brings any others."""


def sharpeners_for(
    sensor: str | None, bands: Sequence[str], guides: Sequence[str], step: tuple[Fraction, Fraction]
) -> tuple[tuple[Model, tuple[int, ...]], ...]:
    """The guided models for bands of a sensor, each with the places of those that it takes, counted from 0.

    A trained one takes those that it has a place for, where it has one for all of the guide's bands, too, whose pixels
    are finer by `step`; `ANY` takes what is left.
    """
    there, left = registry.names(), dict(enumerate(bands))
    found = list[tuple[Model, tuple[int, ...]]]()
    own = (registry.find(name, round(step[0])) for name, table in TRAINED if name in there and table.name == sensor)
    for model in (model for model in own if all(each == model.scale for each in step)):
        taken = tuple(place for place, name in left.items() if _has_places(model.card, [name], guides))
        if taken and _has_places(model.card, [left[place] for place in taken], guides):
            found.append((model, taken))
            left = {place: name for place, name in left.items() if place not in taken}
    if left:
        found.append((registry.find(ANY, min(8, max(2, round(max(step))))), tuple(left)))
    return tuple(found)


def _has_places(card: Card, bands: Sequence[str], guides: Sequence[str]) -> bool:
    from geosr.models.refine import Slots  # torch

    try:
        Slots(card.slots, card.guides).found(bands, guides, card.title)
    except InputError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Brought(Model):
    """Guided models whose work is done where a tile is read: every pixel stays as it is then."""

    models: tuple[Model | None, ...]
    scale = 1
    sha256 = None
    portable = True
    memory_bound = True
    guided = True

    @property
    def card(self) -> Card:  # type: ignore[override]
        """One for all of them."""
        titles = dict.fromkeys(model.card.title for model in self.models if model)
        return Card(
            name=" and ".join(titles) or "nearest", summary="bands of several grids on one of them", scales=(1,)
        )

    def engine(self, device: str, precision: Precision) -> Engine:
        """Nothing but the pixels themselves."""
        return Interpolation("nearest", 1)
