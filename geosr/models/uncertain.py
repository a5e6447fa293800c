"""Models whose image comes with its uncertainty: a standard deviation for each number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.models.calibration import Calibration, read_calibration
from geosr.models.card import Card
from geosr.models.checkpoint import WEIGHTS, check_weights, sha256
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.radiometry import IMAGE, SIGMA, SUPPORT, TRUST, Head
from geosr.sensors import Band, Observation, listed


def head_name(scale: int) -> str:
    """The file of the scale head on the features of `fast`, among the package's weights."""
    return f"fast_x{scale}.sigma.safetensors"


@dataclass(frozen=True, slots=True)
class Beside:
    """The results that are to stand beside an image and the spread of its errors."""

    risk: float | None = None
    """Of pixels that a mask says to trust, the share that may be off by more than the limit; None for no mask."""
    limit: float | None = None
    """In stored numbers; `_SHARE` of a band's range if None."""
    support: bool = False
    """Whether there is a map of how far the observation determines what was added."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """All of a model's results, the image first."""
        return (IMAGE, SIGMA, *((TRUST,) if self.risk is not None else ()), *((SUPPORT,) if self.support else ()))

    def limit_of(self, windows: Sequence[NDArray[np.float64]]) -> float:
        """The limit of a band, of which these are windows; 0 where nothing tells it."""
        if self.limit is not None or not windows:
            return self.limit or 0.0
        low, high = np.quantile(np.concatenate([each[np.isfinite(each)] for each in windows]), _ENDS)
        return float(_SHARE * (high - low))


def asked(options: Mapping[str, Any]) -> Beside | None:
    """The results that options of a run ask for beside an image, see `beside`."""
    return beside(**{name: options[name] for name in ("uncertainty", "trust_mask", "support") if name in options})


def beside(
    uncertainty: bool = False, trust_mask: float | Sequence[float] | None = None, support: bool = False
) -> Beside | None:
    """The results that are asked for beside an image; None for nothing. Raises `InputError` for a mask that is none."""
    if trust_mask is None:
        return Beside(support=support) if uncertainty or support else None
    several = isinstance(trust_mask, Sequence) and not isinstance(trust_mask, str)
    given: list[Any] = [*trust_mask] if several else [trust_mask]  # type: ignore[misc]
    numbers = all(isinstance(each, Real) and 0 < float(each) < math.inf for each in given)
    if not (numbers and 1 <= len(given) <= 2 and given[0] < 1):
        raise InputError(
            f"--trust-mask {','.join(map(str, given))}: expected a risk between 0 and 1, such as 0.1, perhaps with the "
            "error that is allowed, in stored numbers: 0.1,50"
        )
    risk, *limits = map(float, given)
    return Beside(risk, limits[0] if limits else None, support)


_SHARE, _ENDS = 0.1, (0.05, 0.95)
"""The limit where none is given: this share of what a band ranges over between these shares of its pixels."""


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
    beside: Beside = Beside()
    head_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_sha256", sha256(WEIGHTS / self.head))
        if self.beside.risk is not None:
            self.calibration.sigmas_at(self.beside.risk)

    @property
    def heads(self) -> tuple[Head, ...]:  # type: ignore[override]
        """The image, its spread, and what is asked for beside these."""
        return self.beside.heads

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
        asked = "" if self.beside == Beside() else f" {self.beside}"
        return f"{self.model.key} spread {self.head_sha256}{asked}".strip()

    @property
    def calibration(self) -> Calibration:
        """The way from the head's numbers to standard deviations of this model's errors."""
        return read_calibration(WEIGHTS / self.head, self.head_sha256).of(self.model.card.name)

    def groups(self, colors: Sequence[str]) -> Groups:
        """The model's own."""
        return self.model.groups(colors)

    def looked(self, band: Band, windows: Sequence[NDArray[np.float64]]) -> Band:
        """See `Model`."""
        limit = None if self.beside.risk is None else self.beside.limit_of(windows)
        return replace(band, likeness=self.calibration.likeness(band, windows), limit=limit)

    def promises(self, bands: Observation) -> dict[str, str]:
        """See `Model`."""
        told = {"GEOSR_UNCERTAINTY": self.calibration.about(bands)}
        if self.beside.risk is not None:
            told["GEOSR_TRUST"] = self.calibration.about(bands, self._trusted(bands))
        if self.beside.support:
            told["GEOSR_SUPPORT"] = (
                "percent of what was added that the observation determines, as far as sigma is right"
            )
        return told

    def _trusted(self, bands: Observation) -> str:
        """A line on what a mask promises of pixels that it marks."""
        limits = [band.limit for band in bands if band.limit is not None and not band.categorical]
        limit = f" {listed(limits)} DN" if limits else ""
        share = "" if self.beside.limit is not None else f" {_SHARE:.0%} of a band's range"
        both = " and".join(filter(None, (share, limit)))
        return f"of pixels that are 1 in the trust mask at most {self.beside.risk:.2g} are to be off by more than{both}"

    def notes(self, bands: Observation) -> tuple[str, ...]:
        """The model's own, and what stands beside its image promises."""
        return (*self.model.notes(bands), *self.promises(bands).values())

    def measured(self, engine: Engine) -> Uncertain:
        """The same, with what had to be measured of the model."""
        return replace(self, model=self.model.measured(engine))

    def completed(self, engine: Engine) -> Engine:
        """See `Model`."""
        if self.beside == Beside():
            return engine
        from geosr.models.trust import completed

        sigmas = 0.0 if self.beside.risk is None else self.calibration.sigmas_at(self.beside.risk)
        return completed(engine, self.scale, self.heads, sigmas, self.model != self.trunk)

    def engine(self, device: str, precision: Precision) -> Engine:
        """The model's engine, which gives the spread as well. Raises `ModelError` as the model's, and for the head."""
        from geosr.models.engines import with_spread
        from geosr.models.scale_head import load_spread

        path = check_weights(WEIGHTS / self.head, self.head_sha256)
        engine = self.model.engine(device, precision)
        spread = load_spread(path, self.scale, self.calibration, device)
        trunk = None if self.model == self.trunk else self.trunk.engine(device, precision)
        return with_spread(engine, trunk, spread)
