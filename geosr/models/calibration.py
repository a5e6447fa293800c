"""How a scale head's numbers become standard deviations that hold what they promise, and for which scenes they do.

The factors are those of split conformal prediction on places that nothing was trained on, each of which counts alike
(`geosr.training.conformal`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.blocks import blocks_of
from geosr.errors import InputError, ModelError
from geosr.models.checkpoint import read_header
from geosr.sensors import Band, Observation

Floats = NDArray[np.float64]

KEY = "geosr_calibration"
"""Where the file of a scale head keeps its calibration, as JSON, among its metadata."""
LEVEL, SIGMAS = 0.9, 1.645
"""The share of the truth that lies within so many standard deviations."""
CONTRASTS = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Mean squares of the local gradient over the noise's, at which factors stand; between them they are linear."""
SIDE = 24
"""Side of the blocks of a scene that are compared with those of the calibration, pixels."""
UNLIKE = 0.05
"""The p-value below which a scene is not like the calibration's places."""
_LOWEST_QUARTER = 0.25
"""Share of a scene's blocks that decide: a p-value of theirs over this share is one of the scene (Rueger 1978)."""
_KINDS = {
    "coastal": "atmosphere", "watervapour": "atmosphere", "cirrus": "atmosphere",
    "rededge": "red edge", "nir": "infrared", "swir": "infrared", "blue": "visible", "green": "visible",
    "red": "visible", "yellow": "visible", "pan": "visible",
}  # fmt: skip


def kind_of(color: str) -> str:
    """The kind of a band with this common name, such as "infrared" for nir08; "any" where it is unknown."""
    return next((kind for start, kind in _KINDS.items() if color.startswith(start)), "any")


@dataclass(frozen=True, slots=True)
class Likeness:
    """The look of blocks of the calibration's places."""

    mean: tuple[float, ...]
    whiten: tuple[tuple[float, ...], ...]
    """Takes statistics less their mean to uncorrelated ones of variance 1."""
    distances: tuple[float, ...]
    """Of blocks of places that neither of these was taken from, from their mean, once whitened; ascending."""

    def p_value(self, windows: Iterable[NDArray[np.floating]], band: Band) -> float:
        """The p-value, of a conformal test, of windows (height, width) of a band; NaN without any block.

        Under exchangeability it is below any p with a chance of p at most, however blocks depend on each other.
        """
        statistics = statistics_of(windows, band)
        if not len(statistics):
            return float("nan")
        away = np.linalg.norm((statistics - self.mean) @ np.asarray(self.whiten).T, axis=1)
        known = np.asarray(self.distances)
        p = (1.0 + len(known) - np.searchsorted(known, away, side="left")) / (len(known) + 1.0)
        least = max(1, int(_LOWEST_QUARTER * len(p)))
        return float(min(1.0, np.sort(p)[least - 1] * len(p) / least))


def statistics_of(windows: Iterable[NDArray[np.floating]], band: Band) -> Floats:
    """(blocks, 4) of windows of a band: contrast over noise, sharpness, tails and lean of the gradient; as logarithms.

    None of them changes with gain and offset.
    """
    found = [_statistics(blocks, band) for blocks in blocks_of(windows, SIDE) if len(blocks)]
    return np.concatenate(found) if found else np.zeros((0, 4))


def _statistics(blocks: Floats, band: Band) -> Floats:
    down, across = np.diff(blocks, axis=1), np.diff(blocks, axis=2)
    rough = (np.diff(down, axis=1) ** 2).mean((1, 2)) + (np.diff(across, axis=2) ** 2).mean((1, 2))
    y, x = (down**2).mean((1, 2)), (across**2).mean((1, 2))
    tails = (down**4).mean((1, 2)) / np.maximum(y, _LEAST) ** 2 + (across**4).mean((1, 2)) / np.maximum(x, _LEAST) ** 2
    noise = np.maximum(band.noise.variance(blocks.mean((1, 2))), _LEAST)
    ratios = (y + x) / noise, rough / np.maximum(y + x, _LEAST), tails, np.maximum(y, _LEAST) / np.maximum(x, _LEAST)
    logs: Floats = np.stack([np.log2(np.clip(each, 1e-6, 1e6)) for each in ratios], axis=1)
    return logs


_LEAST = 1e-30


_COVERED = f"{SIGMAS} sigma on either side are to hold {LEVEL:.0%} of the truth"


@dataclass(frozen=True, slots=True)
class Calibration:
    """The factors of a scale head's numbers for one model, and the places that they hold for."""

    kinds: Mapping[str, tuple[float, ...]]
    """Factors at `CONTRASTS`, by kind of band."""
    models: Mapping[str, float]
    """By name of a model: what its errors are beside those of the model that the head was trained on."""
    like: Likeness | None = None
    risks: tuple[tuple[float, float], ...] = ()
    """Risks, ascending, and how many standard deviations a limit has to be away for them, see `sigmas_at`."""
    model: str = ""
    """The one in hand."""

    def of(self, model: str) -> Calibration:
        """That for a model; the numbers of others that it doesn't know are those of the head's own model."""
        return replace(self, model=model)

    @property
    def known(self) -> bool:
        """True where the model's errors were measured."""
        return self.model in self.models and self.like is not None

    def factors(self, band: Band) -> tuple[Any, ...]:
        """The factor where there is no contrast, and (start, stop, slope) of each stretch of contrast from there."""
        at = np.asarray(self.kinds.get(kind_of(band.color), self.kinds["any"])) * self.models.get(self.model, 1.0)
        stretches = zip(CONTRASTS, CONTRASTS[1:], np.diff(at) / np.diff(CONTRASTS), strict=False)
        return (float(at[0]), *((start, stop, float(slope)) for start, stop, slope in stretches))

    def likeness(self, band: Band, windows: Sequence[NDArray[np.floating]]) -> float | None:
        """The p-value of a band, from windows of it; None where there is none."""
        if self.like is None:
            return None
        found = self.like.p_value(windows, band)
        return None if np.isnan(found) else found

    def sigmas_at(self, risk: float) -> float:
        """So many standard deviations are to be within a limit where pixels are to be trusted with this risk.

        Of the pixels that are, no more than that share has larger errors, in the mean over places and whatever the
        limit (conformal risk control). Raises `InputError` for a risk that can't be promised.
        """
        known = [sigmas for each, sigmas in self.risks if each <= risk + 1e-9]
        if not known or not risk < 1:
            least = f", and these {self.risks[0][0]:g} and more" if self.risks else ""
            raise InputError(f"a trust mask of risk {risk:g}: expected a share below 1 that places tell{least}")
        return known[-1]

    def about(self, bands: Observation, promise: str = _COVERED) -> str:
        """A line on what is promised for these bands, by default of the standard deviations."""
        tested = [band.likeness for band in bands if not band.categorical]
        told = [each for each in tested if each is not None]
        if not self.known:
            return f"{promise}, as for fast: the errors of {self.model} were not measured"
        if not told or len(told) < len(tested):
            return f"{promise}; whether the scene is like those that this was measured on was not tested"
        p = min(1.0, min(told) * len(told))
        if p < UNLIKE:
            return f"{promise}, but the scene is unlike those that this was measured on (p = {p:.2g})"
        return f"{promise}: calibrated, on places that the scene is like (p = {p:.2g})"

    def to_json(self, **more: Any) -> str:
        """The calibration as a line of JSON, for the metadata of the head's file; `more` is kept with it."""
        like = None if self.like is None else asdict(self.like)
        told = {"kinds": dict(self.kinds), "models": dict(self.models), "like": like, "risks": self.risks}
        return json.dumps({**told, **more})


@lru_cache
def read_calibration(path: Path, sha256: str) -> Calibration:
    """The calibration in the file of a scale head that has this digest. Raises `ModelError` where there is none."""
    try:
        told = json.loads(read_header(path).metadata[KEY])
        like = told["like"] and Likeness(**{name: _tuples(value) for name, value in told["like"].items()})
        kinds = {kind: tuple(map(float, factors)) for kind, factors in told["kinds"].items()}
        models = {name: float(factor) for name, factor in told["models"].items()}
        return Calibration(kinds, models, like, _tuples(told.get("risks", [])))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} has no readable calibration: {type(error).__name__}") from None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
