"""Sums that workers return of a tile: those of all tiles add up to what the whole scene says, however it was cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


class Sums(dict[str, Any]):
    """Quantities by name, each of a kind that adds up: arrays, tuples, `Extremes`, `Profile`."""

    def __add__(self, other: Mapping[str, Any]) -> Sums:
        """Those of both."""
        both = Sums(self)
        for name, value in other.items():
            both[name] = both[name] + value if name in both else value
        return both


@dataclass(frozen=True, eq=False)
class Extremes:
    """The least and the largest numbers of each band, and how many pixels have them."""

    least: Doubles
    least_count: Doubles
    most: Doubles
    most_count: Doubles

    @classmethod
    def of(cls, values: ArrayLike) -> Extremes:
        """Of (bands, pixels)."""
        bands = np.asarray(values, np.float64)
        if not bands.shape[1]:
            none = np.zeros(len(bands))
            return cls(none + np.inf, none, none - np.inf, none)
        least, most = bands.min(1), bands.max(1)
        counts = ((bands == ends[:, None]).sum(1).astype(np.float64) for ends in (least, most))
        return cls(least, next(counts), most, next(counts))

    def __add__(self, other: Extremes) -> Extremes:
        """Those of both."""
        least, most = np.minimum(self.least, other.least), np.maximum(self.most, other.most)
        return Extremes(
            least,
            self.least_count * (self.least == least) + other.least_count * (other.least == least),
            most,
            self.most_count * (self.most == most) + other.most_count * (other.most == most),
        )


@dataclass(frozen=True, eq=False)
class Profile:
    """Sums and counts (bands, positions) along one axis of the scene, from position `start` on."""

    start: int
    total: Doubles
    count: Doubles

    def __add__(self, other: Profile) -> Profile:
        """That of both, over all positions that either has."""
        start = min(self.start, other.start)
        stop = max(each.start + each.total.shape[1] for each in (self, other))
        both = np.zeros((2, len(self.total), stop - start))
        for each in (self, other):
            part = slice(each.start - start, each.start - start + each.total.shape[1])
            both[0, :, part] += each.total
            both[1, :, part] += each.count
        return Profile(start, both[0], both[1])

    @property
    def mean(self) -> Doubles:
        """(bands, positions), NaN where nothing was counted."""
        return np.divide(self.total, self.count, out=np.full_like(self.total, np.nan), where=self.count > 0)


_FINEST, _PER_OCTAVE, _BINS = -40, 32, 80 * 32
"""Bins of sizes: from 2^-40 to 2^40, which no unit of a raster leaves, so many an octave."""


def size_counts(values: ArrayLike) -> Doubles:
    """The number of values of each size, (bins,): fixed bins, from which `size_quantile` reads."""
    sizes = np.abs(np.asarray(values, np.float64)).ravel()
    bins = np.log2(np.maximum(sizes, 2.0**_FINEST)) - _FINEST
    return np.bincount((bins * _PER_OCTAVE).astype(int).clip(0, _BINS - 1), minlength=_BINS).astype(np.float64)


def size_quantile(counts: Doubles, share: float) -> float:
    """The size that a share of all values doesn't exceed, to a hundredth of itself; NaN where there are none."""
    total = np.concatenate([[0.0], np.cumsum(counts)])
    if not total[-1]:
        return float("nan")
    at = float(np.interp(share * total[-1], *_rising(total)))
    return 0.0 if at <= 1.0 else float(2.0 ** (_FINEST + at / _PER_OCTAVE))


def _rising(total: Doubles) -> tuple[Doubles, Doubles]:
    """Where cumulated counts rise, and the bounds of bins there."""
    grows = np.concatenate([np.diff(total) > 0, [False]]) | np.concatenate([[False], np.diff(total) > 0])
    return total[grows], np.flatnonzero(grows).astype(np.float64)
