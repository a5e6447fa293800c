"""What other dates add to the result of one: multi-frame back-projection, and shift-and-add.

Back-projection (Irani and Peleg 1991, with many images) starts from the single-frame result. Each frame is what a
sensor of the response sees of it, at the places of the frame's own pixels; what it sees else is put back there. How
much depends on what is known beforehand (the less detail a neighbourhood has, the less is believed to be missing) and
on each frame's weight: one over the variance by which it differs around a pixel, but far less where that is more than
noise and missing detail account for (Geman and McClure 1985). What whole neighbourhoods are brighter by, such as under
haze, is taken off before. So what changed over time stays as the reference shows it, and where no frame agrees, the
single-frame result stays, to the last bit. The reference itself is in that result already.

Shift-and-add takes each frame's samples with their own places (drizzle: Fruchter and Hook 2002): what they differ by
from the interpolated reference is interpolated and averaged, by weight and by how near a sample is.

Sums have a fixed order, places are exact, and weights fall to zero within a few pixels: a pixel has the same bits in
any block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geosr.frames import Cell, Frame
from geosr.models.regrid import REACH, Line, degraded, interpolated, lines, needed
from geosr.noise import Noise
from geosr.placement import Placement
from geosr.response import Response
from geosr.window import Window

Floating = NDArray[np.floating]
Both = tuple[Line, Line]

STEPS = 6
"""Each adds a hundredth of a decibel or two beyond them, and as many pixels to the halo."""
_PRIOR = 2.0
"""How much the single-frame result counts beside a frame where noise has the variance of its finest detail."""
_MISSING = 0.1
"""Share of the variance of the finest detail by which frames may differ, since it is what is missing."""
_NOISE = 1.5
"""Variances of noise by which they do: a frame's own, and what is left of the reference's."""
_SHRUNK = 10.0
"""The larger, the sooner a change of brightness is one."""
_AROUND = 2.0
"""Standard deviation, frame's pixels, of a neighbourhood."""
_FINEST, _POOLED = 0.7, 1.0
"""Standard deviations, coarse pixels, of the Gaussian that leaves the finest detail, and of where its variance is."""
_CUT = 3.0
"""Standard deviations at which Gaussians end."""


@dataclass(frozen=True, slots=True)
class Date:
    """All that is known of a frame's band beside its pixels."""

    frame: Frame
    response: Response
    """Relative to the result."""
    noise: Noise
    """In the reference's numbers."""


def reach(responses: Sequence[Response], scale: int, steps: int = STEPS) -> int:
    """Source pixels around one of which back-projection takes the single-frame result and the frames."""
    radius = max(_radius(response, scale) for response in responses)
    start = 2 * _ends(_AROUND) + _ends(_FINEST) + _ends(_POOLED)
    return steps * (radius + REACH["linear"] + 2) + start + radius + 4


def back_projected(
    start: Floating,
    at: Window,
    scale: int,
    own: Noise,
    dates: Sequence[Date],
    seen: Sequence[tuple[Floating, NDArray[np.bool_], Window]],
) -> tuple[Floating, Floating]:
    """The single-frame result of a band (h, w) with what frames add, and how many frames it drew on.

    Parameters
    ----------
    start
        Over `at.scale(scale)`.
    at
        The block, pixels of the reference; what lies nearer to its border than `reach` may be otherwise elsewhere.
    own
        The reference's noise.
    seen
        Of each date the band's values (h, w) in the reference's numbers, where they count, and where they lie.
    """
    views = _views(start, at, scale, dates, seen)
    detail = start - _low(start, _FINEST * scale)
    missing = _low(detail * detail, _POOLED * scale)
    for view in views:
        view.weigh(view.degraded(start), view.degraded(missing), own)
    total = _sum(start, (view.up(view.weight) for view in views))
    noise = _variance(own, start)
    prior = _PRIOR * noise / (missing + 1e-3 * noise)
    result = ahead = start
    for step in range(STEPS):
        pull = _sum(start, (view.up(view.weight * (view.values - view.degraded(ahead))) for view in views))
        new = ahead + (pull - prior * (ahead - start)) / (total + prior)
        ahead = new + (new - result) * start.dtype.type(step / (step + 3))
        result = new
    return result, _counted(start, views)


def shifted_and_added(
    start: Floating,
    at: Window,
    scale: int,
    own: Noise,
    dates: Sequence[Date],
    seen: Sequence[tuple[Floating, NDArray[np.bool_], Window]],
) -> tuple[Floating, Floating]:
    """An interpolated band (h, w), to which samples of frames are added, and how many frames it drew on.

    Parameters as of `back_projected`.
    """
    views = _views(start, at, scale, dates, seen)
    detail = start - _low(start, _FINEST * scale)
    missing = _low(detail * detail, _POOLED * scale)
    total, added = np.ones_like(start), np.zeros_like(start)
    for view in views:
        there = view.sampled(start)
        view.weigh(there, view.sampled(missing), own)
        near = view.nearness()
        total += near * view.up(view.weight)
        added += near * view.up(view.weight * (view.values - there))
    return start + added / total, _counted(start, views)


class _View:
    """A frame's band as a block meets it: its pixels that see nothing beyond the block."""

    def __init__(
        self, date: Date, fine: Window, scale: int, seen: tuple[Floating, NDArray[np.bool_], Window], at: Window
    ) -> None:
        values, there, lies = seen
        self.date, self.fine, self.scale = date, fine, scale
        self.own = date.frame.taken(at).clip(lies)
        part = self.own.within(lies).slices
        self.cells, self.there = list[tuple[Window, Both]](), np.zeros((self.own.height, self.own.width), bool)
        for cell in date.frame.cells(self.own):
            own = _inside(cell, at, _radius(date.response, scale) + 1)
            if own.size:
                self.cells.append((own, _lines(cell, scale, date.response)))
                self.there[own.within(self.own).slices] = there[own.within(lies).slices]
        self.values = np.where(self.there, values[part], 0).astype(values.dtype)
        self.robust = self.weight = np.zeros_like(self.values)

    def degraded(self, image: Floating) -> Floating:
        """An image on the fine grid as the frame's own pixels see it."""
        out = np.zeros_like(self.values)
        for own, both in self.cells:
            out[own.within(self.own).slices] = degraded(image, self.fine, own, both)
        return out

    def sampled(self, image: Floating) -> Floating:
        """An image on the fine grid at the centres of the frame's own pixels, linearly interpolated."""
        out = np.zeros_like(self.values)
        for own, both in self.cells:
            out[own.within(self.own).slices] = _sampled(image, self.fine, own, both)
        return out

    def up(self, values: Floating) -> Floating:
        """Values of the frame's pixels on the fine grid, linearly interpolated; 0 beyond them."""
        out = np.zeros((self.fine.height, self.fine.width), values.dtype)
        for own, both in self.cells:
            target = _covered(own, both).clip(self.fine)
            wide = needed(target, (both[0].linear, both[1].linear))
            padded = np.zeros((wide.height, wide.width), values.dtype)
            padded[own.within(wide).slices] = values[own.within(self.own).slices]
            out[target.within(self.fine).slices] += interpolated(padded, wide, target, both, "linear")
        return out

    def nearness(self) -> Floating:
        """Nearness of the frame's samples to each fine pixel, 1 where one lies on it, 1/4 amid four."""
        out = np.ones((self.fine.height, self.fine.width), self.values.dtype)
        for own, both in self.cells:
            target = _covered(own, both).clip(self.fine)
            rows, cols = (
                _near(line, start, count)
                for line, start, count in ((both[0], target.row, target.height), (both[1], target.col, target.width))
            )
            out[target.within(self.fine).slices] = rows[:, None] * cols
        return out

    def weigh(self, expected: Floating, missing: Floating, own: Noise) -> None:
        """Take off what a neighbourhood as a whole is brighter by, and settle the weights.

        `expected` is what the frame would show had nothing changed, `missing` the variance of what it may add to it.
        """
        noise = _variance(self.date.noise, expected)
        there = self.there.astype(self.values.dtype)
        share = np.maximum(_low(there, _AROUND), 1e-6)
        usual = _NOISE * noise + _MISSING * _low(there * missing, _AROUND) / share
        error = there * (self.values - expected)
        level = _low(error, _AROUND) / share
        square = level * level
        level *= square / (square + usual / _SHRUNK)
        self.values = self.values - level
        error = there * (self.values - expected)
        differs = _low(error * error, _AROUND) / share
        strange = differs / usual
        self.robust = there / (1 + strange * strange)
        self.weight = self.robust * (_variance(own, expected) / np.maximum(differs, noise))


def _views(
    start: Floating,
    at: Window,
    scale: int,
    dates: Sequence[Date],
    seen: Sequence[tuple[Floating, NDArray[np.bool_], Window]],
) -> list[_View]:
    """The frames that a block meets."""
    views = (_View(date, at.scale(scale), scale, each, at) for date, each in zip(dates, seen, strict=True))
    return [view for view in views if view.own.size and view.there.any()]


def _counted(start: Floating, views: Sequence[_View]) -> Floating:
    return np.ones_like(start) + _sum(start, (view.up(view.robust) for view in views))


def _sum(like: Floating, images: Iterable[Floating]) -> Floating:
    total = np.zeros_like(like)
    for image in images:
        total += image
    return total


def _variance(noise: Noise, level: Floating) -> Floating:
    """The noise's variance, never quite 0."""
    variance: Floating = (noise.variance(level) + 1e-10 * level * level + 1e-20).astype(level.dtype)
    return variance


def _inside(cell: Cell, at: Window, rim: int) -> Window:
    """The own pixels of a cell that see nothing beyond a window of the reference, whose rim they lie within."""
    row, col = (math.ceil(start + rim - each) for start, each in ((at.row, cell.down), (at.col, cell.right)))
    end, far = (math.floor(stop - rim - each) for stop, each in zip(at.stop, (cell.down, cell.right), strict=True))
    return Window(row, col, max(0, end - row), max(0, far - col)).clip(cell.own)


def _lines(cell: Cell, scale: int, response: Response) -> Both:
    return lines(cell.placement(scale), response.towards_result if not response.finer else response)


def _radius(response: Response, scale: int) -> int:
    return len(response.taps(scale)[0]) // (2 * scale) + 1


def _ends(sigma: float) -> int:
    return math.ceil(_CUT * sigma)


def _low(image: Floating, sigma: float) -> Floating:
    """`image` (h, w) behind a Gaussian that has an end; what lies beyond is 0."""
    from scipy import ndimage

    low: Floating = ndimage.gaussian_filter(image, sigma, mode="constant", truncate=_CUT)
    return low


def _covered(own: Window, both: Both) -> Window:
    """The fine pixels that linear interpolation brings a window of own pixels to."""
    placement = Placement((both[0].step, both[1].step), (both[0].corner, both[1].corner))
    return placement.covered(own.grow(1))


def _sampled(image: Floating, at: Window, own: Window, both: Both) -> Floating:
    """An image (h, w) at `at` at the centres of own pixels, by linear interpolation between fine ones."""
    starts = [
        line.corner + line.step * (first + Fraction(1, 2)) - Fraction(1, 2) - corner
        for line, first, corner in zip(both, (own.row, own.col), (at.row, at.col), strict=True)
    ]
    for axis, (start, line, count) in enumerate(zip(starts, both, (own.height, own.width), strict=True)):
        first, step = math.floor(start), int(line.step)
        share = image.dtype.type(float(start - first))
        moved = np.moveaxis(image, axis, 0)
        near, far = (moved[first + i : first + i + step * (count - 1) + 1 : step] for i in (0, 1))
        image = np.moveaxis(near * (1 - share) + far * share, 0, axis)
    return image


def _near(line: Line, start: int, count: int) -> Floating:
    """Of fine pixels of an axis, how near the samples are that they lie between: 1 at one, 1/2 midway."""
    out = np.empty(count)
    for where, _, weights, _ in line.linear.alike(start, count):
        out[where] = sum(weight * weight for weight in weights)
    return out
