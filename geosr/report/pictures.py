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
from geosr.evaluation.patches import Patch
from geosr.models.classical import upsample_into
from geosr.picture import Stretch, png
from geosr.report.sites import Site

Doubles = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
RINGS = 24
_LEAST = 32
"""Side of the smallest site that a spectrum is taken of, input pixels."""


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


def views_of(job: Measuring, site: Site, shown: Sequence[int], stretch: Stretch) -> Views:
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
    misfit, end = _misfit(job, patch, shown)
    whole = bool(patch.known.all()) and min(site.at.height, site.at.width) >= _LEAST
    power = {name: _power(each[list(shown)]) for name, each in inner.items()} if whole else {}
    return Views(site, layers, misfit, end, power)


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
