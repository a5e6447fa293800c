"""What a model says of itself: what it is for, what it was trained on, how good it is and where it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from geosr.errors import ModelError

KEY = "geosr_card"
"""Where a safetensors file keeps its card, as JSON, among its metadata."""

_LARGEST_SETTING = 1024
_TUPLES = ("scales", "slots", "guides", "training_data", "limits", "speed", "value_range", "stored_range")

_FOR_RUNS = (
    "name", "scales", "network", "channels", "blocks", "bands", "slots", "guides", "start", "halo",
    "multiple", "conditioned", "generative", "value_range", "stored_range", "exact",
)  # fmt: skip
_TERMS = {
    "name": "mlm:name",
    "summary": "description",
    "architecture": "mlm:architecture",
    "parameters": "mlm:total_parameters",
    "framework_version": "mlm:framework_version",
    "licence": "license",
}
"""Fields that STAC or its MLM extension has a word for; all others are `geosr:` and the field's name."""


@dataclass(frozen=True, slots=True)
class Card:
    """The card of a model."""

    name: str
    summary: str
    """What it is for, in one line."""
    scales: tuple[int, ...]
    """Output pixels per source pixel each way, all that it can do."""
    network: str = ""
    """The class that runs it, a name in `geosr.models.networks`; empty where no weights are needed."""
    channels: int = 0
    blocks: int = 0
    bands: int = 1
    """Bands that the network is given together."""
    slots: tuple[str, ...] = ()
    """Names of the coarse bands that a guided network has a place for..."""
    guides: tuple[str, ...] = ()
    """...and of those that guide it; empty for a model that takes no guide."""
    start: str = ""
    """The network whose result of a single band, or date, this one is given, by name."""
    architecture: str = "unknown"
    """As the literature calls it, such as EDSR."""
    design: str = ""
    """What is particular to this one."""
    paper: str = ""
    parameters: int = 0
    halo: int = 0
    """Source pixels around a pixel that its result depends on, each way; measured on the loaded network."""
    multiple: int = 1
    """Sides of a block, and its place in the scene, are multiples of this many source pixels."""
    stored: str = "float32"
    """Type of the weights in the file; all arithmetic is in float32 or as the run says."""
    half_cost_db: float | None = None
    """PSNR that storing the weights as float16 was measured to cost, dB; None where they are not, or it wasn't."""
    framework_version: str = ""
    """Of the torch that the weights were published with."""
    conditioned: bool = False
    """Whether it makes use of the sensor's blur and noise."""
    noise_trust: float = 1.0
    """Share of the noise told that the weights act on."""
    generative: bool = False
    """Whether it may draw what it cannot know."""
    training_data: tuple[str, ...] = ()
    """Each with its licence."""
    degradation: str = ""
    """How the coarse images that it was trained on were made."""
    training: str = ""
    """How long it was trained, on what."""
    training_gap: str = ""
    """How much better it is on training places than on others."""
    longer_training: str = ""
    """What training for longer is expected to give."""
    native: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What `benchmarks/native.py` found on places kept apart, with no option given: by kind of pair `gain`, `low` and
    `high` over bicubic in dB, `correlation` and `energy` of detail; `water`, mean and most of the result's variation
    over the input's; `below`, pairs below bicubic of how many."""
    measured: str = ""
    """How the metrics were measured, and on what."""
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """By case, see `benchmarks/report.py`."""
    speed: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    """By hardware: `hardware`, `mpx_per_s` of the source, `bicubic_mpx_per_s` in the same run."""
    limits: tuple[str, ...] = ()
    licence: str = "Apache-2.0"
    value_range: tuple[float, ...] = ()
    """What the network takes for dark and bright, such as 0 and 1; empty where it takes stored numbers as they are."""
    stored_range: tuple[float, ...] = ()
    """Stored numbers that become the ends of `value_range`; empty where each scene's own dark and bright do."""
    exact: bool = True
    """Whether tiles are invisible; False for a network that looks at whole blocks, which runs with a warning."""

    @property
    def levelled(self) -> bool:
        """True where the stored numbers that are dark and bright in a scene have to be known."""
        return bool(self.value_range) and not self.stored_range

    @property
    def bare(self) -> Card:
        """The card as a run needs it, without what only people read."""
        return Card(summary="", **{name: getattr(self, name) for name in _FOR_RUNS})

    @property
    def sampled(self) -> bool:
        """True where a few windows of a scene are looked at before the first tile."""
        return self.conditioned or self.levelled

    @property
    def title(self) -> str:
        """The name as it is shown: marked where the model may draw what it cannot know."""
        return f"{self.name} [generative]" if self.generative else self.name

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for whoever runs it."""
        if not self.generative:
            return ()
        return (f"{self.title} may draw detail that was never there; measure nothing on it",)

    def to_json(self) -> str:
        """The card as a line of JSON, for the metadata of a safetensors file under `KEY`."""
        return json.dumps(self.document(), ensure_ascii=False)

    def document(self) -> dict[str, Any]:
        """The card as the properties of a STAC item, in the terms of STAC's Machine Learning Model extension, 1.4.

        https://github.com/stac-extensions/mlm; what it has no term for is under `geosr:`.
        """
        said = {_TERMS.get(entry.name, f"geosr:{entry.name}"): getattr(self, entry.name) for entry in fields(self)}
        tasks = ["super-resolution", *(["generative"] if self.generative else [])]
        return {term: value for term, value in said.items() if value not in ("", None, (), {})} | {
            "mlm:framework": "PyTorch",
            "mlm:tasks": tasks,
            "mlm:accelerator": None,
            "mlm:accelerator_constrained": False,
            "mlm:hyperparameters": {"scales": self.scales, "channels": self.channels, "blocks": self.blocks},
            "mlm:input": [_band_input(self.bands, self.multiple), *(_told if self.conditioned else ())],
            "mlm:output": [{"name": "fine", "tasks": tasks, "result": _images(self.bands)}],
        }

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card that `to_json` wrote; unknown entries are ignored. Raises `ModelError` for anything that is none."""
        try:
            entries = json.loads(text)
            terms = {entry.name: _TERMS.get(entry.name, f"geosr:{entry.name}") for entry in fields(cls)}
            known = {name: entries[term] for name, term in terms.items() if term in entries}
            for name in _TUPLES:
                known[name] = tuple(known.get(name, ()))
            card = cls(**known)
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
        if not isinstance(self.generative, bool):
            raise ModelError("a model card says of 'generative' either true or false")


def _images(bands: int) -> dict[str, Any]:
    """Any number of images of any size."""
    order = ["batch", "channel", "height", "width"]
    return {"shape": [-1, bands, -1, -1], "dim_order": order, "data_type": "float32"}


def _band_input(bands: int, multiple: int) -> dict[str, Any]:
    return {
        "name": "coarse",
        "description": "Bands of any sensor in stored numbers: gain and offset pass through. No value may be NaN.",
        "bands": [],
        "input": _images(bands),
        "value_scaling": None,
        "resize_type": "pad" if multiple > 1 else None,
        "pre_processing_function": None,
    }


def _numbers(name: str, count: int, description: str) -> dict[str, Any]:
    """Some numbers an image."""
    shape = {"shape": [-1, count], "dim_order": ["batch", "number"], "data_type": "float32"}
    return {"name": name, "description": description, "bands": [], "input": shape}


_told = (
    _numbers(
        "response",
        4,
        "The input's modulation transfer relative to the result, along y and x each: at half the input's Nyquist "
        "frequency, to the fourth power, and at Nyquist.",
    ),
    _numbers("noise", 2, "The noise's variance is the first plus the second times the stored number; zeros for none."),
)
