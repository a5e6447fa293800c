"""Measures of an estimate against a reference, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

_DRAWS, _AT_A_TIME = 10_000, 10_000_000
"""Of a bootstrap: how often scenes are drawn anew, of very many a tenth as often, and numbers held at a time."""
_PIECE = 64
"""Pixels of a piece that a spectrum is taken of."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def rmse(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Root mean square error over all pixels, in the unit of the input."""
    error = np.asarray(estimate, np.float64) - np.asarray(reference, np.float64)
    return float(np.sqrt(np.mean(error * error)))


def psnr(estimate: ArrayLike, reference: ArrayLike, *, peak: float) -> float:
    """Peak signal-to-noise ratio in dB, 20 log10(peak / RMSE); infinite where both agree exactly."""
    error = rmse(estimate, reference)
    return float("inf") if error == 0.0 else float(20.0 * np.log10(peak / error))


def shift(image: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """The shift of `image` from `reference`, (down, right) in pixels, by the slope of the cross-spectrum's phase.

    For shifts under half a pixel, as after a change of grid: the phase of the low frequencies (up to a quarter of
    the sampling rate, where the interpolation's aliases are small) is fitted by a plane, weighted by the energy that
    both share. Both are (height, width) of one shape; their border is faded out by a Hann window.
    """
    down, right = shift_of(shift_sums(image, reference))
    return down, right


def shift_sums(image: ArrayLike, reference: ArrayLike) -> Doubles:
    """The weighted sums (2, 3) that `shift_of` solves; those of several windows of a scene add up."""
    a, b = (faded(np.asarray(x, np.float64)) for x in (image, reference))
    cross = np.fft.fft2(b) * np.conj(np.fft.fft2(a))
    rows, cols = (np.fft.fftfreq(n) for n in a.shape)
    low = (np.abs(rows)[:, None] < 0.25) & (np.abs(cols)[None] < 0.25)
    weight = np.abs(cross[low])
    plane = 2.0 * np.pi * np.stack(np.broadcast_arrays(rows[:, None], cols[None]), -1)[low]
    normal, right = plane.T @ (plane * weight[:, None]), plane.T @ (weight * np.angle(cross[low]))
    return np.column_stack([normal, right])


def shift_of(sums: Doubles) -> tuple[float, float]:
    """The shift (down, right), pixels, that sums tell; NaN where nothing varies."""
    if not np.linalg.det(sums[:, :2]) > 0:
        return math.nan, math.nan
    down, right = np.linalg.solve(sums[:, :2], sums[:, 2])
    return float(down), float(right)


def lattice(image: ArrayLike, period: int) -> float:
    """The power of waves of `period` pixels along either axis, over that of waves a little longer and shorter.

    An image (h, w) without a lattice has about 1, one with a faint one that few see 1.2; NaN where nothing varies or a
    side has under 64 pixels. Pixels that lie alike in what a network makes of each input pixel are `scale` apart, and
    show as that period and its parts. Spectra are means over pieces of about 64 pixels (Welch 1967).
    """
    return lattice_of(lattice_sums(image, period), period)


def lattice_sums(image: ArrayLike, period: int) -> Doubles:
    """The power (2, frequencies) along either axis that `lattice_of` looks at; that of several windows adds up."""
    values = np.asarray(image, np.float64)
    side = _PIECE // period * period
    if min(values.shape) < _PIECE:
        return np.zeros((2, side // 2 + 1))
    powers = []
    for each in (values, values.T):
        pieces = each[:, : each.shape[1] // side * side].reshape(-1, side)
        rows = (pieces - pieces.mean(1, keepdims=True)) * np.hanning(side + 1)[:-1]
        powers.append((np.abs(np.fft.rfft(rows)) ** 2).sum(0))
    return np.stack(powers)


def lattice_of(powers: Doubles, period: int) -> float:
    """The lattice that sums of power tell."""
    ratios, at = [], _PIECE // period
    for power in powers:
        sides = [part.mean() for part in (power[at - 3 : at - 1], power[at + 2 : at + 4]) if part.size]
        ratios.append(float(power[at]) / math.prod(sides) ** (1 / len(sides)) if min(sides) > 0 else math.nan)
    return float(np.mean(ratios))


def power_beyond(image: ArrayLike, scale: int) -> tuple[float, float]:
    """Power beyond the Nyquist frequency of pixels `scale` times as coarse, along either axis, and all power.

    By the Fourier transform of the image (height, width) without its mean, under a Hann window: beyond lies what no
    pixel of the input shows, true or not.
    """
    power = np.abs(np.fft.fft2(faded(np.asarray(image, np.float64)))) ** 2
    return float(power[beyond(power.shape, scale)].sum()), float(power.sum())


def radial_power(image: ArrayLike, rings: int) -> Doubles:
    """The power of an image (h, w) by frequency: means over rings up to its Nyquist frequency, under a Hann window."""
    power = np.abs(np.fft.fft2(faded(np.asarray(image, np.float64)))) ** 2
    ring = rings_of(power.shape, rings).ravel()
    counts = np.bincount(ring, minlength=rings + 1)
    return np.asarray((np.bincount(ring, power.ravel(), rings + 1) / np.maximum(counts, 1))[:rings])


def beyond(shape: tuple[int, ...], scale: int) -> NDArray[np.bool_]:
    """True where pixels `scale` times as coarse can't show the wave of a Fourier transform (height, width)."""
    rows, cols = (np.abs(np.fft.fftfreq(side)) for side in shape)
    return np.asarray(np.maximum(rows[:, None], cols[None]) > 0.5 / scale)


def rings_of(shape: tuple[int, ...], rings: int) -> NDArray[np.int_]:
    """The ring of each wave of a Fourier transform (height, width): 0 to `rings` - 1 up to its Nyquist frequency."""
    rows, cols = (np.fft.fftfreq(side) for side in shape)
    return np.asarray(np.minimum((np.hypot(rows[:, None], cols[None]) * 2 * rings).astype(int), rings))


def bootstrap(differences: ArrayLike) -> Interval:
    """Mean of one figure, or paired difference, a scene, with its 95 % interval over scenes drawn anew (Efron 1979)."""
    values = np.asarray(differences, np.float64)
    random = np.random.default_rng(0)
    count = max(_DRAWS // 10, min(_DRAWS, _AT_A_TIME // len(values)))
    few = max(1, _AT_A_TIME // len(values))
    parts = (min(few, count - start) for start in range(0, count, few))
    means = np.concatenate([values[random.integers(0, len(values), (n, len(values)))].mean(axis=1) for n in parts])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def over_places(figures: Iterable[tuple[str, float]]) -> Interval:
    """The mean over places of the mean figure of each, with its 95 % interval over places drawn with replacement.

    Figures are named by their place. With fewer than three places the ends of the interval are NaN: they can't tell.
    """
    places: dict[str, list[float]] = {}
    for place, figure in figures:
        places.setdefault(place, []).append(figure)
    each = [float(np.mean(own)) for own in places.values()]
    if len(each) < 3:
        return Interval(float(np.mean(each)), math.nan, math.nan)
    return bootstrap(each)


def faded(image: Doubles) -> Doubles:
    """An image without its mean, under a Hann window."""
    window: NDArray[Any] = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None]
    faded: Doubles = (image - image.mean()) * window
    return faded
