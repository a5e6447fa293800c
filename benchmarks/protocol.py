"""The protocol: a native band is the truth, its degraded image the input, and every method is scored alike.

For each case (a blur, or a reduction by bicubic, with or without noise) the truth is degraded by `scale`, each method
brings it back, and PSNR is taken band by band with a border of four input pixels cut off. The peak is the truth's
largest minus smallest value, the same for all methods. Where there is noise, a band's figure is the mean over four
draws of it: it is the method that is judged, not one draw. Figures are averaged over a scene's bands, then over scenes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosr.evaluation.metrics import Interval, bootstrap, power_beyond, psnr
from geosr.models.degradation import BICUBIC, observe
from geosr.noise import Noise
from geosr.response import Response

Floats = NDArray[np.float32]

BORDER = 4
"""Input pixels along each edge that are not scored."""
ROUNDING = 12.0**-0.5
"""Standard deviation of the error of rounding, evenly spread over one count."""
DRAWS = 4
"""How often noise is drawn, each draw the same for all methods."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene of one place: the truth."""

    name: str
    bands: Floats
    """(bands, height, width), any unit."""
    group: str = ""
    """The kind of scene, a name of `recipes/data.toml`."""


@dataclass(frozen=True, slots=True)
class Case:
    """How the input was made, and what the methods are told of it."""

    name: str
    mtf: float | None
    """True MTF of the Gaussian relative response at the input's Nyquist frequency; None for a reduction by bicubic."""
    snr: float | None = None
    """Mean of the input band over the noise's standard deviation; None for no noise."""
    told: Response | None = None
    """What the methods are told instead of the truth."""
    told_snr: float | None = None
    """What they are told instead of the true noise; infinity for none."""
    rounded: bool = False
    """Whether the input is rounded to whole numbers, as far as the truth consists of such; that is noise, and told."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a method is given: the coarse bands and what is known of them."""

    bands: Floats
    """(bands, h, w)."""
    response: Response
    """Relative to the result."""
    noise: tuple[Noise, ...]
    """One a band."""
    scale: int
    truth: Response
    """For methods that are given the true response, as opponents are."""


Method = Callable[[Observation], Floats]
"""Makes (bands, h * scale, w * scale) of an observation."""
Scores = dict[str, NDArray[np.float64]]
"""A figure of every band, by method: PSNR in dB, unless something else was asked for."""
Measure = Callable[[Floats, Floats, float], float]
"""A figure of an estimate against the truth, both (height, width) without the border, and the truth's peak."""


def load_scenes(path: str | Path, side: int | None = None) -> list[Scene]:
    """The scenes of an archive that `scripts/prepare_planes.py` wrote; bands of one file, of one size, are one.

    With `side` only the middle of each, so many pixels high and wide: what a slow model can be judged on.
    """
    bands: dict[str, list[Floats]] = {}
    groups: dict[str, str] = {}
    with np.load(path) as archive:
        for number, about in enumerate(json.loads(str(archive["index"]))):
            bands.setdefault(about["file"], []).append(_middle(archive[str(number)], side).astype(np.float32))
            groups[about["file"]] = about.get("group", "")
    return [Scene(Path(name).stem, np.stack(planes), groups[name]) for name, planes in bands.items()]


def _middle(band: NDArray[Any], side: int | None) -> NDArray[Any]:
    height, width = (min(length, side or length) for length in band.shape)
    row, col = (band.shape[0] - height) // 2, (band.shape[1] - width) // 2
    return band[row : row + height, col : col + width]


def observed(scene: Scene, case: Case, scale: int, *, seed: int = 0) -> Observation:
    """The scene as the case's sensor sees it; the noise is the same for the same seed."""
    true = BICUBIC if case.mtf is None else Response.gaussian(case.mtf).towards_result
    coarse = observe(scene.bands, None if case.mtf is None else true, scale)
    means = np.abs(coarse.mean(axis=(1, 2)))
    if case.snr is not None:
        grain = np.random.default_rng(seed).standard_normal(coarse.shape).astype(np.float32)
        coarse = coarse + grain * (means / np.float32(case.snr))[:, None, None]
    told_snr = case.told_snr if case.told_snr is not None else case.snr
    noise = means / np.float32(told_snr) if told_snr is not None else np.zeros_like(means)
    if case.rounded:
        whole = (scene.bands == np.round(scene.bands)).all(axis=(1, 2))
        coarse = np.where(whole[:, None, None], np.round(coarse), coarse)
        noise = np.where(whole, np.maximum(noise, np.float32(ROUNDING)), noise)
    told = true if case.told is None else case.told.relative(scale)
    return Observation(coarse, told, tuple(Noise(float(each) ** 2, 0.0) for each in noise), scale, true)


def decibels(estimate: Floats, truth: Floats, peak: float) -> float:
    """The figure of the protocol."""
    return psnr(estimate, truth, peak=peak)


def fine_detail(estimate: ArrayLike, reference: ArrayLike, scale: int) -> float:
    """Power beyond the input's Nyquist frequency, in `estimate` over `reference`: under 1 where it is the softer one.

    It says how much fine detail there is, and not whether it is true. Both are (height, width) of one shape. NaN where
    the reference has none.
    """
    (estimated, _), (true, _) = (power_beyond(image, scale) for image in (estimate, reference))
    return estimated / true if true > 0 else float("nan")


def score(scene: Scene, case: Case, methods: Mapping[str, Method], scale: int) -> Scores:
    """The PSNR of every band of the scene, dB, by method; the mean over draws of the noise where there is any."""
    return measured(scene, case, methods, scale, (decibels,))[0]


def measured(
    scene: Scene, case: Case, methods: Mapping[str, Method], scale: int, measures: Sequence[Measure]
) -> list[Scores]:
    """As `score`, for each of some measures; each method runs once for all of them."""
    seeds = range(DRAWS if case.snr else 1)
    draws = [_measured(scene, observed(scene, case, scale, seed=seed), methods, measures) for seed in seeds]
    means = {name: np.mean([draw[name] for draw in draws], axis=0) for name in methods}
    return [{name: figures[index] for name, figures in means.items()} for index in range(len(measures))]


def _measured(
    scene: Scene, seen: Observation, methods: Mapping[str, Method], measures: Sequence[Measure]
) -> dict[str, NDArray[np.float64]]:
    """(measures, bands) by method."""
    scale = seen.scale
    height, width = (side * scale for side in seen.bands.shape[1:])
    inner = (slice(BORDER * scale, height - BORDER * scale), slice(BORDER * scale, width - BORDER * scale))
    truth = scene.bands[:, :height, :width][:, *inner]
    peaks = [float(np.ptp(band)) for band in scene.bands]
    results = {}
    for name, method in methods.items():
        bands = list(zip(method(seen)[:, *inner], truth, peaks, strict=True))
        results[name] = np.array([[measure(*band) for band in bands] for measure in measures])
    return results


@dataclass(frozen=True, slots=True)
class Comparison:
    """One method against another over all scenes of a case."""

    gain: Interval
    """Gain in dB: mean over the bands of a scene, then over scenes."""
    worst: float
    """The smallest gain of any band, dB."""
    where: str
    """Scene and band (from 1) of the smallest gain."""


def compare(scores: Iterable[tuple[str, Scores]], method: str, against: str) -> Comparison:
    """The gain of `method` over `against` from the scores of several (named) scenes."""
    gains = [(name, each[method] - each[against]) for name, each in scores]
    name, worst = min(gains, key=lambda item: float(item[1].min()))
    where = f"{name} band {int(worst.argmin()) + 1}"
    return Comparison(bootstrap([float(gain.mean()) for _, gain in gains]), float(worst.min()), where)
