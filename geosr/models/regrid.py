"""Between the pixels of a coarse raster and those of a finer grid, at any ratio and any shift.

Everything is separable and linear: along an axis each output pixel is a weighted sum of neighbouring input pixels. The
weights depend on where the pixel lies, as an exact fraction, and on nothing else, and the sums are taken in a fixed
order, so that a pixel has the same bits in any block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.placement import Placement
from geosr.response import NYQUIST, Response, kernel
from geosr.window import Window

F = TypeVar("F", bound=np.floating)
Taps = tuple[int, tuple[float, ...]]
"""The first input pixel that an output pixel takes, and the weights of those from there."""
Places = Callable[[int], Taps]
"""The taps of an output pixel of an axis, by its index."""

REACH = {"linear": 1, "cubic": 2}
"""Coarse pixels that an interpolation reaches to from where a finer pixel's centre lies; exclusive."""
_HALF = Fraction(1, 2)
_PENALTY = 1e-3
"""What the square of an inverse's gain costs against the square of what it leaves of an image."""
WIDE = 6
"""Coarse pixels on either side that an inverse looks at."""


@dataclass(frozen=True, slots=True)
class Line:
    """One axis of a placement, and the response of the coarse raster along it, relative to the finer grid."""

    step: Fraction
    corner: Fraction
    response: Response
    """Relative to pixels `step` times as fine."""
    axis: int

    @property
    def radius(self) -> int:
        """Own pixels up to which a coarse pixel sees finer ones."""
        fine = math.ceil(self.step)
        return max(1, len(self.response.taps(fine)[0]) // (2 * fine))

    def seen(self, index: int) -> Taps:
        """The finer pixels that a coarse pixel sees."""
        place = self.corner + self.step * (index + _HALF)
        whole = math.floor(place)
        first, weights = _seen(self, place - whole)
        return whole + first, weights

    def linear(self, index: int) -> Taps:
        """The coarse pixels between which a finer one lies."""
        return self._between(index, "linear")

    def cubic(self, index: int) -> Taps:
        """The coarse pixels that cubic convolution takes for a finer one."""
        return self._between(index, "cubic")

    def trip(self, index: int) -> Taps:
        """The coarse pixels that one is made of when an image, interpolated by `cubic`, is `seen` again."""
        first, weights = _trip(self, index % self.step.denominator)
        return index // self.step.denominator * self.step.denominator + first, weights

    def inverse(self, index: int) -> Taps:
        """The coarse pixels of an image to take so that one is what it was after a `trip`."""
        first, weights = _inverse(self, index % self.step.denominator)
        return index // self.step.denominator * self.step.denominator + first, weights

    def _between(self, index: int, kind: str) -> Taps:
        place = (index + _HALF - self.corner) / self.step - _HALF
        whole = math.floor(place)
        return whole + 1 - REACH[kind], _interpolating(place - whole, kind)


def lines(placement: Placement, response: Response) -> tuple[Line, Line]:
    """Both axes of a raster of this response, absolute or relative."""
    relative = [response.relative(float(step)) for step in placement.step]
    down, across = (
        Line(step, corner, each, axis)
        for axis, (step, corner, each) in enumerate(zip(placement.step, placement.corner, relative, strict=True))
    )
    return down, across


def degraded(image: NDArray[F], at: Window, out: Window, both: tuple[Line, Line]) -> NDArray[F]:
    """The coarse pixels `out` of a fine image (h, w) that lies at `at` and holds all that they see."""
    return applied(image, at, out, (both[0].seen, both[1].seen))


def interpolated(
    image: NDArray[F], at: Window, out: Window, both: tuple[Line, Line], kind: str = "cubic"
) -> NDArray[F]:
    """The fine pixels `out` of a coarse image (h, w) at `at`, "linear" or by "cubic" convolution (Keys, a = -1/2)."""
    rows, cols = (line.cubic if kind == "cubic" else line.linear for line in both)
    return applied(image, at, out, (rows, cols))


def inverted(image: NDArray[F], at: Window, out: Window, both: tuple[Line, Line]) -> NDArray[F]:
    """The image that, interpolated and degraded, gives a coarse one (h, w) at `at` again; its pixels `out`."""
    return applied(image, at, out, (both[0].inverse, both[1].inverse))


def retraced(image: NDArray[F], at: Window, out: Window, both: tuple[Line, Line]) -> NDArray[F]:
    """A coarse image (h, w) at `at`, interpolated and degraded again, on its pixels `out`."""
    return applied(image, at, out, (both[0].trip, both[1].trip))


def needed(out: Window, places: Sequence[Places]) -> Window:
    """All input pixels that the output pixels `out` take."""
    spans = []
    for each, start, stop in zip(places, (out.row, out.col), out.stop, strict=True):
        last, weights = each(stop - 1)
        spans.append((each(start)[0], last + len(weights)))
    (row, bottom), (col, right) = spans
    return Window(row, col, bottom - row, right - col)


def applied(image: NDArray[F], at: Window, out: Window, places: Sequence[Places]) -> NDArray[F]:
    """The output pixels `out` of an image (h, w) that lies at `at` and holds all that is `needed`; rows go first."""
    inner = needed(out, places)
    assert inner.clip(at) == inner, f"{inner} of {at}"
    tall = np.empty((out.height, image.shape[1]), image.dtype)
    _sums(image, at.row, tall, out.row, places[0])
    wide = np.empty((out.height, out.width), image.dtype)
    _sums(tall.T, at.col, wide.T, out.col, places[1])
    return wide


def _sums(image: NDArray[F], first: int, out: NDArray[F], start: int, places: Places) -> None:
    """Rows of `out`, the first of which is pixel `start`, from those of `image`, the first of which is `first`."""
    for rows, origin, advance, weights in _alike(start, len(out), places):
        target, term = out[rows], np.empty_like(out[rows])
        count = len(target)
        for tap, weight in enumerate(weights):
            begin = origin - first + tap
            source = image[begin : begin + (count - 1) * advance + 1 : advance]
            np.multiply(source, image.dtype.type(weight), out=term if tap else target)
            if tap:
                target += term


def _alike(start: int, count: int, places: Places) -> list[tuple[slice, int, int, tuple[float, ...]]]:
    """Output rows with the same weights together: which, the first input pixel, the distance to the next row's."""
    groups: dict[tuple[float, ...], list[tuple[int, int]]] = {}
    for row in range(count):
        origin, weights = places(start + row)
        groups.setdefault(weights, []).append((row, origin))
    found = []
    for weights, members in groups.items():
        for part in _even(members):
            (row, origin), (after, beyond) = part[0], part[min(1, len(part) - 1)]
            found.append((slice(row, part[-1][0] + 1, max(1, after - row)), origin, max(1, beyond - origin), weights))
    return found


def _even(members: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The rows cut where the distance to the next, or that of what they take, changes."""
    parts: list[list[tuple[int, int]]] = []
    for member in members:
        last = parts[-1] if parts else []
        if len(last) == 1 or (last and all(member[i] - last[-1][i] == last[-1][i] - last[-2][i] for i in (0, 1))):
            last.append(member)
        else:
            parts.append([member])
    return parts


@lru_cache(maxsize=4096)
def _seen(line: Line, within: Fraction) -> Taps:
    """From the whole fine pixel in which a coarse pixel's centre lies, `within` it."""
    far = line.radius * line.step
    first, last = math.ceil(within - far - _HALF), math.floor(within + far - _HALF)
    offsets = [float((each + _HALF - within) / line.step) for each in range(first, last + 1)]
    highest = None if line.step >= 2 else float(line.step) * NYQUIST
    weights = kernel(line.response, offsets, highest)[line.axis]
    return first, _summing_to_one(weights)


@lru_cache(maxsize=4096)
def _interpolating(share: Fraction, kind: str) -> tuple[float, ...]:
    t = float(share)
    if kind == "linear":
        return 1.0 - t, t
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@lru_cache(maxsize=4096)
def _inverse(line: Line, index: int) -> Taps:
    """The weights w that are least in `|w T - 1|^2 + penalty |w|^2`, T what is left of an image's pixels by both."""
    trips = [line.trip(index + away) for away in range(-WIDE, WIDE + 1)]
    low, high = min(first for first, _ in trips), max(first + len(weights) for first, weights in trips)
    left = np.zeros((high - low + len(trips), len(trips)))
    for column, (first, weights) in enumerate(trips):
        left[first - low : first - low + len(weights), column] = weights
    left[high - low :] = math.sqrt(_PENALTY) * np.eye(len(trips))
    right = np.zeros(len(left))
    right[index - low] = 1.0
    return index - WIDE, _summing_to_one(np.linalg.lstsq(left, right, rcond=None)[0])


@lru_cache(maxsize=4096)
def _trip(line: Line, index: int) -> Taps:
    first, weights = line.seen(index)
    found: dict[int, float] = {}
    for fine, weight in enumerate(weights, first):
        begin, shares = line.cubic(fine)
        for pixel, share in enumerate(shares, begin):
            found[pixel] = found.get(pixel, 0.0) + weight * share
    return min(found), tuple(found[pixel] for pixel in range(min(found), max(found) + 1))


def _summing_to_one(weights: NDArray[np.floating]) -> tuple[float, ...]:
    """Rounded far behind what they are worth: linear algebra that rounds otherwise elsewhere has no influence."""
    total = math.fsum(weights)
    return tuple(round(float(weight) / total, 12) for weight in weights)
