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
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geosr.placement import Placement
from geosr.response import NYQUIST, Response, kernel
from geosr.window import Window

F = TypeVar("F", bound=np.floating)
Taps = tuple[int, tuple[float, ...]]
"""The first input pixel that an output pixel takes, and the weights of those from there."""

Alike = tuple[slice, int, tuple[float, ...], int]
"""Output pixels with the same weights: which; the first input pixel of the first; weights; pixels on to the next."""

REACH = {"linear": 1, "cubic": 2}
"""Coarse pixels that an interpolation reaches to from where a finer pixel's centre lies; exclusive."""
_HALF = Fraction(1, 2)


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

    @property
    def seen(self) -> Places:
        """The finer pixels that a coarse pixel sees."""
        return Places(self.corner + self.step / 2, self.step, partial(_seen, self))

    @property
    def linear(self) -> Places:
        """The coarse pixels between which a finer one lies."""
        return self._between(_linear)

    @property
    def cubic(self) -> Places:
        """The coarse pixels that cubic convolution takes for a finer one."""
        return self._between(_cubic)

    @property
    def trip(self) -> Places:
        """The coarse pixels that one is made of when an image, interpolated by `cubic`, is `seen` again."""
        period = self.step.denominator
        return Places(Fraction(0), Fraction(1, period), partial(_trip, self), period)

    def _between(self, taps: Callable[[Fraction], Taps]) -> Places:
        return Places((_HALF - self.corner) / self.step - _HALF, 1 / self.step, taps)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the output pixels of an axis lie among its input pixels, and what they take."""

    first: Fraction
    """Of output pixel 0, input pixels."""
    step: Fraction
    """From one output pixel to the next."""
    taps: Callable[[Fraction], Taps]
    """Those of a pixel that lies by this much, in [0, 1), beyond input pixel 0."""
    unit: int = 1
    """Input pixels that `first` and `step` count as one."""

    def at(self, index: int) -> Taps:
        """The taps of an output pixel."""
        return self.alike(index, 1)[0][1:3]

    def alike(self, start: int, count: int) -> list[Alike]:
        """For output pixels from `start`, from which they are counted, those with the same weights together."""
        whole = math.lcm(self.first.denominator, self.step.denominator)
        first, step = (int(each * whole) for each in (self.first, self.step))
        period = whole // math.gcd(whole, step)
        found = []
        for phase in range(min(period, count)):
            pixel, share = divmod(first + step * (start + phase), whole)
            begin, weights = self.taps(Fraction(share, whole))
            found.append(
                (slice(phase, None, period), pixel * self.unit + begin, weights, step * period // whole * self.unit)
            )
        return found


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


def retraced(image: NDArray[F], at: Window, out: Window, both: tuple[Line, Line]) -> NDArray[F]:
    """A coarse image (h, w) at `at`, interpolated and degraded again, on its pixels `out`."""
    return applied(image, at, out, (both[0].trip, both[1].trip))


def needed(out: Window, places: Sequence[Places]) -> Window:
    """All input pixels that the output pixels `out` take."""
    spans = []
    for each, start, stop in zip(places, (out.row, out.col), out.stop, strict=True):
        last, weights = each.at(stop - 1)
        spans.append((each.at(start)[0], last + len(weights)))
    (row, bottom), (col, right) = spans
    return Window(row, col, bottom - row, right - col)


@dataclass(frozen=True, slots=True)
class Regridding:
    """Sums that make pixels of any image (h, w) at one place: settled once, since exact fractions take their time."""

    height: int
    width: int
    rows: list[Alike]
    """Input pixels are counted from the image's first."""
    cols: list[Alike]

    def __call__(self, image: NDArray[F]) -> NDArray[F]:
        """The output pixels; rows go first."""
        tall = np.empty((self.height, image.shape[1]), image.dtype)
        _sums(image, tall, self.rows)
        wide = np.empty((self.height, self.width), image.dtype)
        _sums(tall.T, wide.T, self.cols)
        return wide


def regridding(at: Window, out: Window, places: Sequence[Places]) -> Regridding:
    """The sums that make the output pixels `out` of an image that lies at `at` and holds all that is `needed`."""
    rows, cols = (
        _counted_from(first, size, each.alike(start, count), count)
        for each, first, size, start, count in zip(
            places, (at.row, at.col), (at.height, at.width), (out.row, out.col), (out.height, out.width), strict=True
        )
    )
    return Regridding(out.height, out.width, rows, cols)


def _counted_from(first: int, size: int, alike: list[Alike], count: int) -> list[Alike]:
    """The same with input pixels counted from the `first` of an image, which has `size` of them."""
    found = []
    for which, begin, weights, on in alike:
        last = begin + len(range(*which.indices(count))[1:]) * on + len(weights)
        assert first <= begin <= last <= first + size, f"{begin} to {last} of {first} to {first + size}"
        found.append((which, begin - first, weights, on))
    return found


def applied(image: NDArray[F], at: Window, out: Window, places: Sequence[Places]) -> NDArray[F]:
    """The output pixels `out` of an image (h, w) that lies at `at` and holds all that is `needed`."""
    return regridding(at, out, places)(image)


def _sums(image: NDArray[F], out: NDArray[F], alike: list[Alike]) -> None:
    """Rows of `out` from those of `image`."""
    for rows, begin, weights, advance in alike:
        target, term = out[rows], np.empty_like(out[rows])
        stop = (len(target) - 1) * advance + 1
        for tap, weight in enumerate(weights, begin):
            np.multiply(image[tap : tap + stop : advance], image.dtype.type(weight), out=term)
            if tap == begin:
                target[...] = term
            else:
                target += term


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
def _linear(share: Fraction) -> Taps:
    t = float(share)
    return 0, (1.0 - t, t)


@lru_cache(maxsize=4096)
def _cubic(share: Fraction) -> Taps:
    t = float(share)
    before, after = ((-0.5 * t + 1.0) * t - 0.5) * t, (0.5 * t - 0.5) * t * t
    return -1, (before, (1.5 * t - 2.5) * t * t + 1.0, ((-1.5 * t + 2.0) * t + 0.5) * t, after)


@lru_cache(maxsize=4096)
def _trip(line: Line, share: Fraction) -> Taps:
    first, weights = line.seen.at(int(share * line.step.denominator))
    found: dict[int, float] = {}
    for fine, weight in enumerate(weights, first):
        begin, shares = line.cubic.at(fine)
        for pixel, part in enumerate(shares, begin):
            found[pixel] = found.get(pixel, 0.0) + weight * part
    return min(found), tuple(found[pixel] for pixel in range(min(found), max(found) + 1))


def _summing_to_one(weights: NDArray[np.floating]) -> tuple[float, ...]:
    """Rounded far behind what they are worth: linear algebra that rounds otherwise elsewhere has no influence."""
    total = math.fsum(weights)
    return tuple(round(float(weight) / total, 12) for weight in weights)
