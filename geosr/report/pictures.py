"""The pictures of a report, as text that stands in the page itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.consistency import residual
from geosr.evaluation.measuring import Measuring
from geosr.evaluation.metrics import radial_power
from geosr.evaluation.patches import Layer, Patch
from geosr.io.samples import spread_windows
from geosr.models.classical import upsample_into
from geosr.picture import Stretch, png, ramp
from geosr.report.sites import Site
from geosr.window import Window

Doubles = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
RINGS = 24
_LEAST = 32
"""Side of the smallest site that a spectrum is taken of, input pixels."""


@dataclass(frozen=True, eq=False)
class Spread:
    """The standard deviations of a result, band by band, as the file beside it has them."""

    layer: Layer
    white: float
    """What is shown brightest: values, mean of the bands shown."""
    support: Layer | None = None
    """The percentage of what was added that the input determines, where a map of it is there."""

    @classmethod
    def of(cls, layer: Layer, shape: tuple[int, int], shown: Sequence[int], support: Layer | None = None) -> Spread:
        """That of a layer on the result's grid of (height, width)."""
        seen = []
        for window in spread_windows(shape, len(layer.bands)):
            values, known = layer.read(window)
            seen.append(values[list(shown)].mean(0)[known])
        found = np.concatenate(seen)
        return cls(layer, float(np.quantile(found, 0.98)) if found.size else 1.0, support)

    @property
    def told(self) -> str:
        """A sentence on what its pictures show."""
        return (
            " The uncertainty is a standard deviation, mean of the bands shown: dark blue is none, yellow "
            f"{self.white:.4g} and more."
        )

    def picture(self, window: Window, shown: Sequence[int]) -> NDArray[np.uint8]:
        """A window in colours, from none to the brightest fiftieth."""
        values, known = self.layer.read(window)
        return ramp(np.where(known, values[list(shown)].mean(0), np.nan), Stretch((0.0,), (self.white,)))


@dataclass(frozen=True, eq=False)
class Views:
    """One site, seen by input, bicubic interpolation, result and, where there is one, reference."""

    site: Site
    layers: Mapping[str, str]
    """PNGs as data URIs by name; the input's has its own pixels."""
    misfit: str
    """The degraded result less the input, signed: blue where it is darker, red where it is brighter."""
    misfit_end: float
    """The size that is full red or blue, in the unit of values."""
    power: Mapping[str, Doubles]
    """By name, power by frequency; empty for a site that is too small or has gaps."""
    support: float | None = None
    """The share of what was added that the input determines (`models.trust`); None where no map of it is there."""


def views_of(job: Measuring, site: Site, shown: Sequence[int], stretch: Stretch, spread: Spread | None = None) -> Views:
    """A site with the pictures of it; `shown` are one or three of the bands that are measured, counted from 0."""
    patch = job.patch(site.at)
    bands = {"input": patch.lr, "bicubic": _bicubic(patch), "result": patch.sr}
    if patch.hr is not None:
        bands["reference"] = patch.hr
    inner = {name: _cut(each, patch, name) for name, each in bands.items()}
    known = {name: (patch.known_lr if name == "input" else patch.known_sr) for name in bands}
    layers = {
        name: uri(picture(each[list(shown)], _cut(known[name], patch, name), stretch)) for name, each in inner.items()
    }
    support = None
    if spread is not None:
        layers["uncertainty"] = uri(spread.picture(site.at.scale(patch.scale), shown))
        if spread.support is not None:
            share, there = spread.support.read(site.at.scale(patch.scale))
            support = _support(inner["result"] - inner["bicubic"], share, there, shown)
    misfit, end = _misfit(job, patch, shown)
    whole = bool(patch.known.all()) and min(site.at.height, site.at.width) >= _LEAST
    power = {name: _power(each[list(shown)]) for name, each in inner.items()} if whole else {}
    return Views(site, layers, misfit, end, power, support)


def _support(added: Doubles, percent: Doubles, known: NDArray[np.bool_], shown: Sequence[int]) -> float | None:
    """The mean share, by the square of what was added; None where nothing is known, or added."""
    weight = added[list(shown)][:, known] ** 2
    total = float(weight.sum())
    return float((weight * percent[list(shown)][:, known]).sum()) / (100.0 * total) if total > 0 else None


def picture(values: Doubles, known: NDArray[np.bool_], stretch: Stretch) -> NDArray[np.uint8]:
    """A picture (height, width, 4) of values of one band or three; clear where there is no data."""
    shades = stretch.shades(values)
    return np.stack([*(shades if len(shades) == 3 else shades[[0, 0, 0]]), known.astype(np.uint8) * 255], -1)


def uri(image: NDArray[np.uint8]) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def _cut(array: NDArray[T], patch: Patch, name: str) -> NDArray[T]:
    """The site itself, of an array on the grid of the input or of the result."""
    return array[..., *(patch.core if name == "input" else patch.fine).slices]


def _bicubic(patch: Patch) -> Doubles:
    fine = np.empty_like(patch.sr)
    for band, target in zip(np.ascontiguousarray(patch.lr), fine, strict=True):
        upsample_into(target, band, patch.scale, "bicubic")
    return fine


def _misfit(job: Measuring, patch: Patch, shown: Sequence[int]) -> tuple[str, float]:
    """The mean over the bands shown, signed, in colours that are told apart by all; grey where it isn't known."""
    valid = patch.known_lr & patch.known_sr.reshape(
        patch.known_lr.shape[0], patch.scale, patch.known_lr.shape[1], patch.scale
    ).all((1, 3))
    found = [residual(patch.sr[band], patch.lr[band], job.responses[band], valid) for band in shown]
    error, seen = np.mean([each for each, _ in found], 0), np.logical_and.reduce([each for _, each in found])
    error, seen = error[patch.core.slices], seen[patch.core.slices]
    end = float(np.quantile(np.abs(error[seen]), 0.99)) if seen.any() else 0.0
    share = np.clip(error / (end or 1.0), -1, 1)[..., None]
    red, blue, white = (np.array(each, float) for each in ((178, 24, 43), (33, 102, 172), (247, 247, 247)))
    mixed = white + np.abs(share) * (np.where(share > 0, red, blue) - white)
    mixed[~seen] = 128
    return uri(np.rint(mixed).astype(np.uint8)), end


def _power(bands: Doubles) -> Doubles:
    side = min(bands.shape[1:])
    return np.asarray(np.mean([radial_power(band[:side, :side], RINGS) for band in bands], 0))
