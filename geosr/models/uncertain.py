"""Models whose image comes with its uncertainty: a standard deviation for each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from geosr.models.calibration import Calibration, read_calibration
from geosr.models.card import Card
from geosr.models.checkpoint import WEIGHTS, check_weights, sha256
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.radiometry import IMAGE, SIGMA
from geosr.sensors import Band, Observation


def head_name(scale: int) -> str:
    """The file of the scale head on the features of `fast`, among the package's weights."""
    return f"fast_x{scale}.sigma.safetensors"


@dataclass(frozen=True, slots=True)
class Uncertain(Model):
    """A model with the spread of its errors beside its image, as a scale head on the features of `fast` sees it.

    Where the model is `fast` itself, no further pass is needed. How large the errors of each model are beside what the
    head says is part of the calibration.
    """

    model: Model
    trunk: Model
    """`fast` at the same scale."""
    head: str
    """The scale head: a name among the package's weights, so that every worker finds its own, or a path."""
    head_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_sha256", sha256(WEIGHTS / self.head))

    heads = (IMAGE, SIGMA)

    def __str__(self) -> str:
        return str(self.model)

    @property
    def card(self) -> Card:  # type: ignore[override]
        """The model's own; what is told of blur and noise matters to the spread, if not to the image."""
        return replace(self.model.card, conditioned=True)

    @property
    def scale(self) -> int:  # type: ignore[override]
        """Output pixels per source pixel, each way."""
        return self.model.scale

    @property
    def sha256(self) -> str | None:  # type: ignore[override]
        """Of the image's weights."""
        return self.model.sha256

    @property
    def wide(self) -> bool:  # type: ignore[override]
        """The model's own."""
        return self.model.wide

    @property
    def key(self) -> str:  # type: ignore[override]
        """The model's own, and the scale head."""
        return f"{self.model.key} spread {self.head_sha256}".strip()

    @property
    def calibration(self) -> Calibration:
        """The way from the head's numbers to standard deviations of this model's errors."""
        return read_calibration(WEIGHTS / self.head, self.head_sha256).of(self.model.card.name)

    def groups(self, colors: Sequence[str]) -> Groups:
        """The model's own."""
        return self.model.groups(colors)

    def likeness(self, band: Band, windows: Sequence[NDArray[np.float64]]) -> float | None:
        """See `Model`."""
        return self.calibration.likeness(band, windows)

    def promise(self, bands: Observation) -> str:
        """See `Model`."""
        return self.calibration.about(bands)

    def notes(self, bands: Observation) -> tuple[str, ...]:
        """The model's own, and what its spread promises."""
        return (*self.model.notes(bands), self.promise(bands))

    def measured(self, engine: Engine) -> Uncertain:
        """The same, with what had to be measured of the model."""
        return replace(self, model=self.model.measured(engine))

    def engine(self, device: str, precision: Precision) -> Engine:
        """The model's engine, which gives the spread as well. Raises `ModelError` as the model's, and for the head."""
        from geosr.models.engines import beside
        from geosr.models.scale_head import load_spread

        path = check_weights(WEIGHTS / self.head, self.head_sha256)
        engine = self.model.engine(device, precision)
        spread = load_spread(path, self.scale, self.calibration, device)
        trunk = None if self.model == self.trunk else self.trunk.engine(device, precision)
        return beside(engine, trunk, spread)
