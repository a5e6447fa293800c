"""How blurred a scene is, told from a few windows of it: the MTF of its sensor at the Nyquist frequency.

Blur takes the finest detail away from a spectrum and widens every edge. What is measured is how the power of small
blocks falls with frequency, and how steep the steepest edges are; what that says of the blur was learnt from real
imagery that was blurred by a known amount, by `scripts/fit_mtf.py`, which also says how often the answer is wrong, and
by how much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 32
"""Side of a block, pixels."""
FEWEST_BLOCKS = 49
"""Blocks, overlapping by half, that an answer needs: those of a square of 128 pixels."""
_MOST_BLOCKS = 400
"""More than these, as the fit has seen, don't make an answer surer: what is left to err is the nature of the scene."""
_STEP = SIDE // 2
_CLIPPED = 0.1
"""Share of pixels at the band's smallest or largest number beyond which a block is left out."""
_RINGS = np.array([0.055, 0.085, 0.115, 0.15, 0.19, 0.235, 0.28, 0.325, 0.37, 0.41, 0.45, 0.5, 0.56, 0.71])
"""Bounds of the rings that a spectrum is summed in, cycles per pixel; what lies in the last ones is mostly noise."""
_COARSE = 5
"""Rings that the others are measured by: the blur hardly touches them."""
_REACH = 5
"""Pixels of an edge's profile on either side of its steepest step."""
_EDGE_FREQUENCIES = np.array([0.25, 0.375, 0.5])
_STRAIGHT, _ALONG = 0.85, 0.35
"""A clean edge rises or falls in at least this share of its steps, and changes at most this much along itself."""
_FEWEST_EDGES = 30
_LIMIT = 4.0
"""Standard deviations that a feature may lie from those that the fit has seen."""


@dataclass(frozen=True, slots=True)
class MtfEstimate:
    """What the pixels of a band tell of its blur."""

    mtf: float | None
    """Modulation transfer at the Nyquist frequency; None where the pixels don't tell."""
    error: float
    """Nine in ten errors of answers such as this one were smaller; NaN where there is none."""
    why: str
    """What it was taken from, or why there is no answer."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """The constants that `scripts/fit_mtf.py` found."""

    mean: Floats
    scale: Floats
    nets: list[list[Floats]]
    """Of each: weights and biases of a layer in turn, two hidden layers."""
    doubt: Floats
    """For the logarithm of the likely error over the typical one: weights of the features, of the networks'
    disagreement, and a constant."""
    largest: float
    """Likely error over the typical one beyond which there is no answer."""


def estimate_mtf(patches: Iterable[NDArray[np.floating]]) -> MtfEstimate:
    """The MTF at the Nyquist frequency of a band, from windows (height, width) of it in stored numbers.

    NaN stands for no data; blocks with it, constant and clipped ones are left out. Gain and offset of the numbers don't
    matter. The answer is one for both axes, and of all that blurred the scene: optics, detector and resampling.
    """
    measured = measure(patches)
    if measured is None:
        return MtfEstimate(None, math.nan, f"too few blocks of {SIDE} pixels with valid detail")
    fit = _fit()
    standard = (measured - fit.mean) / fit.scale
    far = int((np.abs(standard) > 2 * _LIMIT).sum())
    if far:
        return MtfEstimate(None, math.nan, f"unlike the scenes that the estimate was fitted on ({far} features)")
    standard = np.clip(standard, -_LIMIT, _LIMIT)
    answers = np.array([_answer(net, standard) for net in fit.nets])
    answer = float(answers.mean())
    apart = disagreement(answers, np.float64(answer))
    doubt = float(np.exp(standard @ fit.doubt[:-2] + apart * fit.doubt[-2] + fit.doubt[-1]))
    error = doubt * float(typical_error(np.float64(answer)))
    if doubt > fit.largest:
        return MtfEstimate(
            None, math.nan, f"too uncertain: an error of {error:.2f} is likely (too little texture or too noisy)"
        )
    return MtfEstimate(min(max(answer, 0.03), 0.64), error, f"spectrum and edges, within {error:.2f}")


def typical_error(mtf: Floats | np.float64) -> Floats | np.float64:
    """How errors go with the MTF itself: a strong blur leaves little to be wrong about."""
    return 0.015 + 0.1 * np.maximum(mtf, 0.0)


def disagreement(answers: Floats, mean: Floats | np.float64) -> Floats | np.float64:
    """Logarithm of how far networks are apart, (networks,) or (networks, samples), over the typical error; NaN is left
    out."""
    apart: Floats | np.float64 = np.log(np.nanstd(answers, axis=0) / typical_error(mean) + 0.05)
    return apart


def measure(patches: Iterable[NDArray[np.floating]]) -> Floats | None:
    """Features of a band, (n,); None where there are fewer than `FEWEST_BLOCKS` blocks to take them from."""
    windows = [np.asarray(patch, np.float64) for patch in patches]
    windows = [window for window in windows if min(window.shape) >= SIDE and np.isfinite(window).any()]
    if not windows:
        return None
    ends = min(float(np.nanmin(w)) for w in windows), max(float(np.nanmax(w)) for w in windows)
    pairs = [
        (_rings(blocks), _edges(blocks)) for blocks in (_blocks(window, ends) for window in windows) if len(blocks)
    ]
    if sum(len(rings) for rings, _ in pairs) < FEWEST_BLOCKS:
        return None
    rings, edges = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return np.concatenate([_spectrum_features(rings), _edge_features(edges)])


def _blocks(window: Floats, ends: tuple[float, float]) -> Floats:
    """Blocks (n, 32, 32) with mean 0, overlapping by half: valid, not clipped, not constant."""
    views = np.lib.stride_tricks.sliding_window_view(window, (SIDE, SIDE))[::_STEP, ::_STEP]
    blocks = views.reshape(-1, SIDE, SIDE)
    blocks = blocks[np.isfinite(blocks).all((1, 2))]
    clipped = ((blocks == ends[0]) | (blocks == ends[1])).mean((1, 2))
    blocks = blocks[(clipped <= _CLIPPED) & (np.ptp(blocks, axis=(1, 2)) > 0)]
    centred: Floats = blocks - blocks.mean((1, 2), keepdims=True)
    return centred


@cache
def _ring_masks() -> Floats:
    """Weights (pixels of a half spectrum, rings) that average power over each ring."""
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    twice = np.full(radius.shape, 2.0)
    twice[:, [0, -1]] = 1.0
    inside = np.digitize(radius, _RINGS)[..., None] == np.arange(1, len(_RINGS))
    weights = (inside * twice[..., None]).reshape(-1, len(_RINGS) - 1)
    masks: Floats = weights / weights.sum(0)
    return masks


def _rings(blocks: Floats) -> Floats:
    """Power of each block in each ring, (n, rings); a slope is taken off, and the borders fade out (Hann)."""
    hann = np.hanning(SIDE + 2)[1:-1]
    slope = np.linspace(-1.0, 1.0, SIDE)
    slope /= np.linalg.norm(slope)
    down, across = blocks.mean(2) @ slope, blocks.mean(1) @ slope
    level = blocks - down[:, None, None] * slope[:, None] - across[:, None, None] * slope
    power = np.abs(np.fft.rfft2(level * np.outer(hann, hann))) ** 2
    rings: Floats = power.reshape(len(blocks), -1) @ _ring_masks()
    return rings


def _spectrum_features(rings: Floats) -> Floats:
    """Logarithms of power over that of the coarse rings: of all blocks together, and of blocks counted alike."""
    coarse = rings[:, :_COARSE].mean(1, keepdims=True)
    alike = rings / coarse
    together = rings.mean(0) / coarse.mean()
    typical = np.quantile(alike, [0.5, 0.9], axis=0)
    return np.concatenate([*np.log([together, alike.mean(0), *typical]), [np.log(min(len(rings), _MOST_BLOCKS))]])


def _edges(blocks: Floats) -> Floats:
    """The steepest step of every row and column: (n, 6 + frequencies).

    Range of its profile; largest step over the range, over that of the four pixels about it; largest second difference
    over the range; rise over the sum of steps; change along the edge over that across; spectrum of the steps over the
    rise, which for the image of a straight edge is the MTF times that of a difference.
    """
    rows = np.concatenate([blocks, blocks.transpose(0, 2, 1)])
    inner = rows[:, 1:-1]
    steps = np.abs(np.diff(inner, axis=2))
    at = steps[..., _REACH:-_REACH].argmax(2) + _REACH
    profile = np.take_along_axis(inner, at[..., None] + np.arange(1 - _REACH, _REACH + 1), 2).reshape(-1, 2 * _REACH)
    along = np.abs(np.take_along_axis((rows[:, 2:] - rows[:, :-2]) / 2, at[..., None], 2)).ravel()
    change = np.diff(profile)
    span, near = np.ptp(profile, axis=1), np.ptp(profile[:, _REACH - 2 : _REACH + 2], axis=1)
    step = np.abs(change[:, _REACH - 1])
    rise = np.abs(change.sum(1))
    waves = np.exp(-2j * np.pi * np.outer(np.arange(change.shape[1]), _EDGE_FREQUENCIES))
    tiny = np.finfo(np.float64).tiny
    ratios = [
        step / np.maximum(span, tiny),
        step / np.maximum(near, tiny),
        np.abs(np.diff(change)).max(1) / np.maximum(span, tiny),
        rise / np.maximum(np.abs(change).sum(1), tiny),
        along / np.maximum(step, 1e-6 * along + tiny),
    ]
    spectrum = np.minimum(np.abs(change @ waves) / np.maximum(rise, 1e-3 * span + tiny)[:, None], 2.0)
    return np.column_stack([span, *ratios, spectrum])


def _edge_features(edges: Floats) -> Floats:
    """Quantiles of the shape of the strongest edges, and how they stand out."""
    span = edges[:, 0]
    levels = np.quantile(span, [0.5, 0.9, 0.98])
    shapes = [np.quantile(edges[span >= level, 1:4], [0.25, 0.5, 0.75, 0.95], axis=0).ravel() for level in levels[1:]]
    strong = edges[span >= levels[1]]
    clean = strong[(strong[:, 4] >= _STRAIGHT) & (strong[:, 5] <= _ALONG)]
    chosen = clean if len(clean) >= _FEWEST_EDGES else strong
    spectra = np.quantile(chosen[:, 6:], [0.25, 0.5, 0.75, 0.9], axis=0).ravel()
    share = len(clean) / len(strong)
    return np.concatenate(
        [*shapes, spectra, [share], np.log(levels[1:] / np.maximum(levels[:-1], np.finfo(float).tiny))]
    )


def _answer(net: Sequence[Floats], standard: Floats) -> float:
    first, bias, second, more, last, end = net
    hidden = np.tanh(second @ np.tanh(first @ standard + bias) + more)
    return float((last @ hidden + end)[0])


@cache
def _fit() -> _Fit:
    found = json.loads(files("geosr").joinpath("mtf_fit.json").read_text())
    nets = [[np.array(values) for values in net] for net in found["nets"]]
    return _Fit(np.array(found["mean"]), np.array(found["scale"]), nets, np.array(found["doubt"]), found["largest"])
