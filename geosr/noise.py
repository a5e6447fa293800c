"""How noisy a scene is, told from a few windows of it, or from what is published of its sensor.

A detector adds noise whose variance grows with the light that it gets, a^2 + b x, the same at every frequency. Then a
product is interpolated onto the map's grid, which takes high frequencies away from the noise as from the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from geosr.blocks import SIDE, blocks_of, measures_of_blocks
from geosr.sensor_table import Origin, SensorBand

Floats = NDArray[np.float64]
Level = TypeVar("Level", bound=Any)

_FEWEST = 100
"""Blocks, overlapping by half, that an answer needs: those of a square of 44 pixels."""
_CLASS, _MOST_CLASSES = 400, 6
"""Blocks that make a class of brightness, and how many classes there are at most."""
_FLATTEST, _AT_LEAST = 0.02, 24
"""Share of a class, and number of blocks, that its flattest group has; each further group has as many as all before."""
_PLATEAU = 1.25
"""Groups whose power is at most this times the flattest group's are as flat."""
_PHASE, _STRAIGHT = 3.0, 2.5
"""So are those up to this power that bend no more: noise varies as the map's grid drifts over the sensor's."""
_BENT = 4.0
"""Power of the lowest frequencies, over the mean of the others, that noise alone doesn't have."""
_SHARE = 0.5
"""Share of detail in a floor that it is worth nothing with."""
_DOUBT = 1.1
"""How much bend and share together, each by its limit, may amount to."""
_MISFIT, _NEAR, _SURE, _SPREAD = 0.25, 0.01, 0.004, 3.0
"""Itakura-Saito distances: of no known shape, of shapes as good as the best, of shapes that are clearly worse; and the
ratio within which all good ones have to agree on the variance."""
_DARKER = 2.0
"""Noise is at most this times what the floors of darker classes allow."""
_SHOT, _SHOT_ERROR = 0.7, 0.35
"""Share of shot noise in the variance where a scene has too few levels to tell it, and the error of that."""
_READ = 0.05
"""Share of the variance at the reference radiance that doesn't come from light; it isn't published. What water in chips
of Sentinel-2 varies by comes to 6 to 20 squared numbers without light, against 170 to 320 at the reference."""
_UNLIKELY = 1.5
"""An estimate above this times the published noise is detail; what is published is what a sensor has to keep to."""
_DEFAULT_SNR = 150.0
"""At the scene's mean, where nothing is known: about what Sentinel-2 is required to have. A network that is told too
much noise blurs, one that is told none draws noise as detail."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of a band: its variance, in stored numbers squared, is `constant + slope * stored number`, or `least`.

    It is the variance of a pixel of the product, interpolated as it is.
    """

    constant: float
    slope: float
    least: float = 0.0
    """Variance that it has at any level, such as that of rounding."""

    def __str__(self) -> str:
        """The standard deviation in stored numbers, a number or a formula of the stored number x."""
        if not self.slope:
            return f"{max(self.constant, self.least) ** 0.5:.6g}"
        least = f", at least {self.least**0.5:.6g}" if self.least else ""
        return f"sqrt({self.constant:.6g}{self.slope:+.6g}x){least}"

    def variance(self, level: Level) -> Level:
        """The variance at stored numbers, an array or a tensor of them."""
        return cast(Level, (level * self.slope + self.constant).clip(self.least))

    @overload
    def sigma(self, level: float) -> float: ...
    @overload
    def sigma(self, level: Floats) -> Floats: ...
    def sigma(self, level: float | Floats) -> float | Floats:
        """The standard deviation at a stored number, or at each of an array of them."""
        found = np.sqrt(np.maximum(self.constant + self.slope * np.asarray(level, np.float64), self.least))
        return found if isinstance(level, np.ndarray) else float(found)

    def at_least(self, sigma: float) -> Noise:
        """The same, but no less than this standard deviation at any level."""
        return replace(self, least=max(self.least, sigma * sigma))

    def moved(self, gain: float, offset: float) -> Noise:
        """The noise of `gain` times the band plus `offset`."""
        slope = gain * self.slope
        return Noise(gain * gain * self.constant - slope * offset, slope, gain * gain * self.least)


SILENT = Noise(0.0, 0.0)
"""No noise at all."""


def noise_of(
    patches: Iterable[NDArray[np.floating]], *, published: Noise | None = None, zero: float = 0.0
) -> tuple[Noise, Origin]:
    """The noise of a band from windows (height, width) of it, and where it comes from: scene, published or default.

    The scene decides where it can. It can't where what it shows is more than the sensor's published noise can be:
    then that is detail everywhere, as of a forest. `zero` is the stored number for no light.
    """
    windows = list(patches)
    values = [window[np.isfinite(window)] for window in windows]
    level = float(np.mean(np.concatenate(values))) if any(part.size for part in values) else zero
    found = fit_noise(windows, zero=zero)
    if found is not None and (published is None or found.sigma(level) <= _UNLIKELY * published.sigma(level)):
        return found, Origin.SCENE
    if published is not None:
        return published, Origin.PUBLISHED
    return default_noise(level, zero=zero), Origin.DEFAULT


def published_noise(band: SensorBand, *, scale: float, zero: float = 0.0) -> Noise | None:
    """The noise of a band as published, in stored numbers of `scale` reflectance each; None where nothing is published.

    The published ratio holds at a reference radiance L. Its reflectance is pi L / E, with the sun's irradiance E at one
    astronomical unit, for a sun in the zenith: lower, fewer photons make the same reflectance, and noise is larger by
    up to 1 / sqrt(cos of the sun's zenith angle). What interpolation takes away, a third or less, is left in.
    """
    if band.snr is None or band.radiance is None or band.irradiance is None:
        return None
    light = np.pi * band.radiance / band.irradiance / scale
    return _shot_noise((light / band.snr) ** 2, light, zero)


def default_noise(level: float, *, zero: float = 0.0) -> Noise:
    """The noise assumed where neither the scene nor a table tells: a ratio of 150 at the scene's mean level."""
    light = abs(level - zero)
    return _shot_noise((light / _DEFAULT_SNR) ** 2, light, zero)


def _shot_noise(variance: float, light: float, zero: float) -> Noise:
    """The noise that has a variance at a level above `zero`, which is mostly that of photons."""
    slope = (1 - _READ) * variance / light if light else 0.0
    return Noise(float(_READ * variance - slope * zero), float(slope))


def fit_noise(patches: Iterable[NDArray[np.floating]], *, zero: float = 0.0) -> Noise | None:
    """The noise of a band from windows (height, width) of it in stored numbers; None where they don't tell.

    In each class of brightness the flattest blocks are found. What they vary by, less a quadratic surface, is noise and
    some detail, whose spectrum falls more steeply than that of noise, however that was interpolated: so their spectrum
    is split into both. A class counts where little of it is detail. The answer is a line through those that count, no
    lower than 0 at `zero`, the stored number for no light. Detail only adds: classes that lie high count less.
    NaN, constant and clipped blocks are left out; rounding counts as the noise that it is.
    """
    blocks = _blocks(patches)
    levels = blocks.levels
    if len(levels) < _FEWEST:
        return None
    count = int(np.clip(len(levels) // _CLASS, 1, _MOST_CLASSES))
    classes = np.array_split(np.argsort(levels, kind="stable"), count)
    light = np.array([np.median(levels[chosen]) for chosen in classes]) - zero
    told = _told(np.array([_floor(blocks, chosen) for chosen in classes]), light)
    if told is None:
        return None
    constant, slope = _line(*told)
    return Noise(float(constant - slope * zero), float(slope))


_TWISTS = 4
"""The last of the bends are no cylinders, as slopes of water or haze are."""


@cache
def _shapes() -> tuple[Floats, Floats]:
    """The measures of noise of variance 1, (colours, measures), and of detail, (shapes, colours, measures).

    Colours are those of kernels at phases along each axis: 0 where pixels coincide, 1 half way between. Detail falls
    with a power of frequency, behind a sensor's blur, and is interpolated like the noise.
    """
    frequency = (np.arange(-32, 32) + 0.5) / 64
    half = np.pi * frequency
    cubic = (9 * np.cos(half) - np.cos(3 * half)) / 8
    spline = (23 * np.cos(half) + np.cos(3 * half)) / (16 + 8 * np.cos(2 * half))
    losses = [1 - response**2 for response in (np.cos(half), cubic, spline)]
    phases = [(row, col) for row in (0, 0.25, 0.5, 0.75, 0.95) for col in (0, 0.25, 0.5, 0.75, 0.95)]
    colours = np.array([np.outer(1 - row * loss, 1 - col * loss).ravel() for loss in losses for row, col in phases])
    colours /= colours.mean(1, keepdims=True)
    radius = np.hypot.outer(frequency, frequency).ravel()
    details = np.array([radius**-fall * mtf ** (8 * radius**2) for fall in (2, 3) for mtf in (0.12, 0.3)])
    measures = measures_of_blocks()
    waves = np.exp(-2j * np.pi * np.outer(frequency, np.arange(SIDE)))
    blocks = np.concatenate([measures.waves, measures.bends]).reshape(-1, SIDE, SIDE)
    answers = (np.abs(waves @ blocks @ waves.T) ** 2).reshape(len(blocks), -1).T / len(radius)
    detail = (details[:, None] * colours) @ answers
    return colours @ answers, detail / detail[..., : len(measures.waves)].mean(-1, keepdims=True)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Usable blocks of a band."""

    levels: Floats
    """Their means."""
    powers: Floats
    """The power of each by waves and bends, (blocks, measures)."""
    by_waves: Floats
    """The sums of that of the even waves and of the others, (2, blocks)."""
    by_bends: Floats
    """The sum of that of the bends."""


def _blocks(patches: Iterable[NDArray[np.floating]]) -> _Blocks:
    """Usable blocks of windows of a band, measured window by window: what lies in the processor's cache is quick."""
    measures = measures_of_blocks()
    both = np.concatenate([measures.waves, measures.bends]).T
    windows = list(blocks_of(patches, SIDE))
    count, waves = sum(map(len, windows)), len(measures.even)
    found = _Blocks(np.empty(count), np.empty((count, both.shape[1])), np.empty((2, count)), np.empty(count))
    bent = np.zeros(count, np.bool_)
    stop = 0
    for blocks in windows:
        here = slice(stop, stop := stop + len(blocks))
        found.levels[here] = blocks.mean((1, 2))
        rest = blocks.reshape(-1, SIDE**2) - found.levels[here, None]
        power = np.matmul(rest, both, out=found.powers[here])
        np.square(power, out=power)
        for side, part in enumerate((measures.even, ~measures.even)):
            found.by_waves[side, here] = power[:, :waves][:, part].sum(1)
        found.by_bends[here] = power[:, waves:].sum(1)
        whole = found.by_waves[:, here].sum(0) + found.by_bends[here]
        bent[here] = whole > 1e-16 * np.einsum("ij,ij->i", rest, rest)
    if bent.all():
        return found
    return _Blocks(found.levels[bent], found.powers[bent], found.by_waves[:, bent], found.by_bends[bent])


def _floor(blocks: _Blocks, chosen: NDArray[np.intp]) -> Floats:
    """The mean power of the flattest of some blocks by waves and bends. Blocks are chosen by some measures and measured
    by the others: what chooses blocks is lower in them by chance."""
    even = measures_of_blocks().even
    first = max(_FLATTEST * len(chosen), _AT_LEAST)
    edges = np.unique(np.minimum(np.round(first * np.array([0, 1, 2, 4, 8, 16, 32])), len(chosen)).astype(int))
    by_waves, by_bends = blocks.by_waves[:, chosen], blocks.by_bends[chosen]
    means: list[Floats] = []
    for start, stop in pairwise(edges):
        mean = np.zeros(blocks.powers.shape[1])
        for part, flat in zip((even, ~even), by_waves, strict=True):
            waved, both = (chosen[_least(by, start, stop)] for by in (flat, flat + by_bends))
            mean[: len(even)][~part] = blocks.powers[both, : len(even)][:, ~part].mean(0)
            mean[len(even) :] += blocks.powers[waved, len(even) :].mean(0) / 2
        if means and not _as_flat(mean, means[0]):
            break
        means.append(mean)
    floor: Floats = np.average(means, axis=0, weights=np.diff(edges)[: len(means)])
    return floor


def _as_flat(mean: Floats, flattest: Floats) -> bool:
    """True where the mean power of a group of blocks, by waves and bends, is that of blocks as flat as the flattest."""
    waves = len(measures_of_blocks().even)
    level, least = mean[:waves].mean(), flattest[:waves].mean()
    drifting = level < _PHASE * least and mean[-_TWISTS:].mean() / level < _STRAIGHT
    return bool(level <= _PLATEAU * least or drifting)


def _least(values: Floats, start: int, stop: int) -> NDArray[np.intp]:
    """Where the values stand that are `start` to `stop` in ascending order; of equal ones the first first."""
    among = np.flatnonzero(values <= np.partition(values, stop - 1)[stop - 1])
    return among[np.argsort(values[among], kind="stable")[start:stop]]


def _told(floors: Floats, light: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Light, variance and relative error of the variance of classes that tell; None if none does."""
    mean = floors[:, : len(measures_of_blocks().waves)].mean(1)
    bent = floors[:, -_TWISTS:].mean(1) / mean
    split = [_split(floor) for floor in floors]
    straight = [misfit.min(0) for (_, _, misfit), bend in zip(split, bent, strict=True) if bend < _BENT]
    common = np.mean(straight, axis=0) if straight else np.zeros(len(_shapes()[0]))
    variance, share, spread, worst = np.array([_weighed(*one, common - common.min()) for one in split]).T
    share /= mean
    lit = np.where(light > 0, light, np.nan)
    brighter = np.nan_to_num(np.maximum(light[:, None] / lit, 1), nan=np.inf)
    good = (bent < _BENT) & (bent / _BENT + share / _SHARE < _DOUBT) & (spread < _SPREAD) & (worst < _MISFIT)
    good &= (variance > 0) & (variance < _DARKER * (brighter * mean).min(1))
    return (light[good], variance[good], 0.1 + 0.6 * share[good]) if good.any() else None


def _split(floor: Floats) -> tuple[Floats, Floats, Floats]:
    """Variance of the noise, power of the detail and misfit for every shape of detail and colour: least squares, with
    weights that follow the fit, since powers scatter in proportion to their mean (a gamma law)."""
    noise, detail = _shapes()
    unit = floor.mean()
    seen = floor / unit
    weight = np.broadcast_to((seen + 0.1) ** -2, detail.shape)
    for _ in range(4):
        nn, nd, dd = ((weight * product).sum(-1) for product in (noise**2, noise * detail, detail**2))
        ns, ds = (weight * noise * seen).sum(-1), (weight * detail * seen).sum(-1)
        size = np.maximum(nn * dd - nd**2, 1e-12)
        white, steep = (ns * dd - nd * ds) / size, (nn * ds - nd * ns) / size
        white, steep = np.where(steep < 0, ns / nn, white), np.maximum(steep, 0)
        white, steep = np.maximum(white, 0), np.where(white < 0, ds / dd, steep)
        fitted = white[..., None] * noise + steep[..., None] * detail
        weight = fitted**-2
    return white * unit, steep * unit, (seen / fitted - np.log(seen / fitted) - 1).mean(-1)


def _weighed(white: Floats, steep: Floats, misfit: Floats, common: Floats) -> tuple[float, float, float, float]:
    """Mean variance and detail of the shapes that fit, the ratio that their variances span, and the least misfit;
    `common` is what a colour is worse by than the best for all classes."""
    worse = misfit + common
    likely = np.exp((worse.min() - worse) / _SURE)
    likely /= likely.sum()
    near = white[worse < worse.min() + _NEAR]
    spread = near.max() / near.min() if near.min() > 0 else np.inf
    return float((likely * white).sum()), float((likely * steep).sum()), float(spread), float(misfit.min())


def _line(light: Floats, variances: Floats, errors: Floats) -> tuple[float, float]:
    """Constant and slope over light, neither below 0, through variances; those that lie above it count less."""
    weights = sure = 1 / (errors * variances)
    unit = max(float(np.abs(light).max()), 1e-300)
    for _ in range(6):
        mean, centre = (np.average(values, weights=weights**2) for values in (variances, light / unit))
        rows, values = np.stack([weights, weights * light / unit], 1) * mean, weights * variances
        if centre > 0:
            rows = np.vstack([rows, [0, centre / _SHOT_ERROR]])
            values = np.append(values, _SHOT / _SHOT_ERROR)
        constant, slope = _none_below_0(rows, values) * mean
        above = variances / np.maximum(constant + slope * light / unit, 1e-12 * mean) - 1
        weights = sure / np.sqrt(1 + (np.maximum(above, 0) / 0.25) ** 2)
    return float(constant), float(slope / unit)


def _none_below_0(rows: Floats, values: Floats) -> Floats:
    """Both coefficients of least squares, neither below 0: `scipy.optimize.nnls`, without its half second to import."""
    both = np.linalg.lstsq(rows, values, rcond=None)[0].astype(np.float64)
    alone: Floats = np.diag(np.maximum(rows.T @ values / np.maximum((rows**2).sum(0), 1e-300), 0))
    return both if (both >= 0).all() else alone[np.argmin(((rows @ alone - values[:, None]) ** 2).sum(0))]
