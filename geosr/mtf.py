"""How blurred a scene is, told from a few windows of it: the response of the product.

Blur takes the finest detail away from a spectrum. What is measured is how the power of small blocks falls with
frequency, along rows and columns and between them; what that says of the response was learnt from real imagery that was
made into products of a known one, by `scripts/fit_mtf.py`, which also says how often the answer is wrong, and by how
much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from geosr.blocks import blocks_of
from geosr.response import Interpolation, Response

Floats = NDArray[np.float64]

SIDE = 24
"""Side of a block, pixels."""
FEWEST_BLOCKS = 49
"""Blocks, overlapping by half, that an answer needs: those of a square of 96 pixels."""
_RINGS = np.array([0.055, 0.105, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.501])
"""Bounds of the rings that a spectrum is summed in, cycles per pixel; each in two parts, near the axes and between."""
_CORNER = np.array([0.501, 0.6, 0.71])
"""Bounds of what lies beyond, which is mostly noise."""
_COARSE = 6
"""Parts of rings that the others are measured by: the blur hardly touches them."""
_MOST_BLOCKS = 400
"""More than these, as the fit has seen, don't make an answer surer: what is left to err is the nature of the scene."""
_TINY = 1e-12
_LIMIT = 4.0
"""Standard deviations, once whitened, that features are taken at; twice that is unlike anything that the fit saw."""
LARGEST = np.array([0.20, 0.10])
"""Likely errors, of what is told of half the Nyquist frequency and of that itself, beyond which there is no answer."""


@dataclass(frozen=True, slots=True)
class MtfEstimate:
    """The response that the pixels of a band tell."""

    response: Response | None
    """Of the product, alike along both axes; None where the pixels don't tell."""
    error: float
    """Nine in ten errors of the MTF at Nyquist of answers such as this one were smaller; NaN where there is none."""
    why: str
    """What it was taken from, or why there is no answer."""

    @property
    def mtf(self) -> float | None:
        """Modulation transfer at the Nyquist frequency; None where the pixels don't tell."""
        return self.response.mtf if self.response else None


@dataclass(frozen=True, slots=True)
class _Fit:
    """The constants that `scripts/fit_mtf.py` found."""

    mean: Floats
    whiten: Floats
    """(features, features), makes of what lies off the mean what has the same spread in all directions."""
    nets: list[list[Floats]]
    """Of each: weights and biases of a layer in turn, two hidden layers."""
    error: Floats
    """What nine in ten errors stay below, times what the networks say."""


def estimate_mtf(patches: Iterable[NDArray[np.floating]]) -> MtfEstimate:
    """The response of a band, from windows (height, width) of it in stored numbers.

    NaN stands for no data; blocks with it, constant and clipped ones are left out. Gain and offset of the numbers don't
    matter. The answer is one for both axes, and of all that blurred the scene: optics, detector and resampling.
    """
    measured = measure(patches)
    if measured is None:
        return MtfEstimate(None, math.nan, f"too few blocks of {SIDE} pixels with valid detail")
    fit = _fit()
    standard = (measured - fit.mean) @ fit.whiten
    far = int((np.abs(standard) > 2 * _LIMIT).sum())
    if far:
        return MtfEstimate(None, math.nan, f"unlike the scenes that the estimate was fitted on ({far} features)")
    told, spread = together([answer(net, limited(standard)) for net in fit.nets])
    error = fit.error * spread
    if (error > LARGEST).any():
        why = f"too uncertain: an error of {error[1]:.2f} is likely (too little texture or too noisy)"
        return MtfEstimate(None, math.nan, why)
    return MtfEstimate(nearest(told), float(error[1]), f"spectrum, within {error[1]:.2f}")


def limited(standard: Floats) -> Floats:
    """Whitened features, none farther off than networks are asked about."""
    return np.clip(standard, -_LIMIT, _LIMIT)


def answer(net: list[Floats], standard: Floats) -> Floats:
    """Answers of a network for features (..., n): (..., 4), both levels and the logarithms of their errors."""
    first, bias, second, more, last, end = net
    return np.asarray(np.tanh(np.tanh(standard @ first.T + bias) @ second.T + more) @ last.T + end)


def together(answers: Iterable[Floats]) -> tuple[Floats, Floats]:
    """The mean of what networks say, (..., 2), and its error: their own, and how they differ. NaN is no answer."""
    each = np.stack(list(answers))
    levels, errors = each[..., :2], np.exp(each[..., 2:])
    return np.nanmean(levels, 0), np.nanmean(errors, 0) + np.nanstd(levels, 0)


@cache
def _family() -> tuple[list[Response], Floats]:
    """Responses that may be the answer, and what is told of each of half Nyquist and of Nyquist."""
    variances = np.arange(-0.03, 0.72, 0.005).round(3).tolist()
    some = [Response((v, v)) for v in variances]
    some += [Response((v, v), True, kind) for kind in get_args(Interpolation) for v in variances]
    kept = [each for each in some if 0.03 <= each.told[3] <= 0.64]
    return kept, np.array([each.told[1::2] for each in kept])


def nearest(told: Floats) -> Response:
    """The response of the family that comes nearest to what is told of half Nyquist and of Nyquist."""
    responses, known = _family()
    return responses[int((((known - told) / LARGEST) ** 2).sum(1).argmin())]


def measure(patches: Iterable[NDArray[np.floating]], fewest: int = FEWEST_BLOCKS) -> Floats | None:
    """Features of a band, (n,); None where there are fewer than `fewest` blocks to take them from."""
    found = [_rings(blocks) for blocks in blocks_of(patches, SIDE) if len(blocks)]
    if sum(map(len, found)) < fewest:
        return None
    rings = np.concatenate(found)
    mean = rings.mean(0)
    return np.append(np.log(mean / mean[:_COARSE].mean() + _TINY), math.log(min(len(rings), _MOST_BLOCKS)))


@cache
def _ring_masks() -> Floats:
    """Weights (pixels of a half spectrum, parts) that average power over each part."""
    down, across = np.abs(np.fft.fftfreq(SIDE))[:, None], np.fft.rfftfreq(SIDE)[None]
    radius = np.hypot(down, across)
    twice = np.full(radius.shape, 2.0)
    twice[:, [0, -1]] = 1.0
    near = np.minimum(down, across) < math.tan(math.pi / 6) * np.maximum(down, across)
    ring, beyond = np.digitize(radius, _RINGS), np.digitize(radius, _CORNER)
    parts = [(ring == i) & part for i in range(1, len(_RINGS)) for part in (near, ~near)]
    parts += [beyond == i for i in range(1, len(_CORNER))]
    weights = np.stack([(part * twice).ravel() for part in parts], 1)
    return np.asarray(weights / weights.sum(0))


def _rings(blocks: Floats) -> Floats:
    """Power of each block in each part of a ring, (n, parts); a slope is taken off, and the borders fade out (Hann)."""
    hann = np.hanning(SIDE + 2)[1:-1]
    slope = np.linspace(-1.0, 1.0, SIDE)
    slope /= np.linalg.norm(slope)
    blocks = blocks - blocks.mean((1, 2), keepdims=True)
    down, across = blocks.mean(2) @ slope, blocks.mean(1) @ slope
    level = blocks - down[:, None, None] * slope[:, None] - across[:, None, None] * slope
    power = np.abs(np.fft.rfft2(level * np.outer(hann, hann))) ** 2
    return np.asarray(power.reshape(len(blocks), -1) @ _ring_masks())


@cache
def _fit() -> _Fit:
    found = json.loads(files("geosr").joinpath("mtf_fit.json").read_text())
    nets = [[np.array(values) for values in net] for net in found["nets"]]
    mean, whiten, error = (np.array(found[name]) for name in ("mean", "whiten", "error"))
    return _Fit(mean, whiten, nets, error)
