"""What a model says of itself: what it is for, what it was trained on, how good it is and where it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from geosr.errors import ModelError

KEY = "geosr_card"
"""Where a safetensors file keeps its card, as JSON, among its metadata."""

_LARGEST_SETTING = 1024
_TUPLES = ("training_data", "limits", "value_range", "stored_range")


@dataclass(frozen=True, slots=True)
class Card:
    """The card of a model."""

    name: str
    summary: str
    """What it is for, in one line."""
    scales: tuple[int, ...]
    """Output pixels per source pixel each way, all that it can do."""
    network: str = ""
    """The class that runs it, a name in `geosr.models.engines`; empty where no weights are needed."""
    channels: int = 0
    blocks: int = 0
    architecture: str = ""
    paper: str = ""
    parameters: int = 0
    conditioned: bool = False
    """Whether it makes use of the sensor's blur and noise."""
    generative: bool = False
    """Whether it may draw what it cannot know."""
    training_data: tuple[str, ...] = ()
    degradation: str = ""
    """How the coarse images that it was trained on were made."""
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)
    limits: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    bands: int = 1
    """Bands that it is given together."""
    halo: int = 0
    """Source pixels that an output pixel depends on, on each side; of geosr's own networks it is measured instead."""
    multiple: int = 1
    """Sides of a block, and its place in the scene, are multiples of this many source pixels."""
    value_range: tuple[float, ...] = ()
    """What the network takes for dark and bright, such as 0 and 1; empty where it takes stored numbers as they are."""
    stored_range: tuple[float, ...] = ()
    """Stored numbers that become the ends of `value_range`; empty where each scene's own dark and bright do."""
    exact: bool = True
    """Whether tiles are invisible; False for a network that looks at whole blocks, which runs with a warning."""

    @property
    def levelled(self) -> bool:
        """Whether the stored numbers that are dark and bright in a scene have to be known."""
        return bool(self.value_range) and not self.stored_range

    @property
    def sampled(self) -> bool:
        """Whether a few windows of a scene are looked at before the first tile."""
        return self.conditioned or self.levelled

    def to_json(self) -> str:
        """The card as a line of JSON, for the metadata of a safetensors file under `KEY`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card that `to_json`, or the script that publishes weights, wrote; unknown entries are ignored.

        "scale" stands for "scales" with one scale, and "network" is "name" where it is left out. Raises `ModelError`
        for anything that is no card.
        """
        try:
            entries = json.loads(text)
            scales = tuple(entries["scales"]) if "scales" in entries else (entries["scale"],)
            texts = {name: tuple(entries.get(name, ())) for name in _TUPLES}
            defaults = {"network": entries["name"], "conditioned": True}
            known = {entry.name: entries[entry.name] for entry in fields(cls) if entry.name in entries}
            card = cls(**{**defaults, **known, **texts, "scales": scales})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"no readable model card: {type(error).__name__} {str(error)[:100]}") from None
        card.check()
        return card

    def check(self) -> None:
        """Raise `ModelError` for entries that can't be."""
        if not all(isinstance(text, str) for text in (self.name, self.summary, self.network)):
            raise ModelError("a model card's name, summary and network must be text")
        if not self.scales or not all(type(scale) is int and 1 <= scale <= 16 for scale in self.scales):
            raise ModelError("a model card's scales must be whole numbers from 1 to 16")
        if not all(type(value) is int and 0 <= value <= _LARGEST_SETTING for value in (self.channels, self.blocks)):
            raise ModelError(f"a model card's channels and blocks must be whole numbers up to {_LARGEST_SETTING}")
