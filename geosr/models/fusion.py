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
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geosr.frames import Cell, Frame
from geosr.models.regrid import REACH, Line, Regridding, lines, needed, regridding
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
    start = _ends(_FINEST) + _ends(_POOLED)
    return steps * (radius_of(responses, scale) + REACH["linear"] + 2) + start + weighing(responses, scale)


def weighing(responses: Sequence[Response], scale: int) -> int:
    """Source pixels around one of which an estimate and the frames decide what is believed of these."""
    return 2 * _ends(_AROUND) + radius_of(responses, scale) + 4


def radius_of(responses: Sequence[Response], scale: int) -> int:
    """Source pixels around one that frames see."""
    return max(_radius(response, scale) for response in responses)


def back_projected(block: Block) -> tuple[Floating, Floating]:
    """The single-frame result of a band (h, w) with what frames add, and how many frames it drew on."""
    believed = block.believed(block.start)
    return block.projected(believed, STEPS), block.counted(believed)


def shifted_and_added(block: Block) -> tuple[Floating, Floating]:
    """An interpolated band (h, w), to which samples of frames are added, and how many frames it drew on."""
    start = block.start
    total, added, believed = np.ones_like(start), np.zeros_like(start), list[Believed]()
    for view in block.views:
        there = view.sampled(start)
        each = view.believed(there, view.sampled(block.missing), block.own)
        near = view.nearness()
        total += near * view.up(each.weight)
        added += near * view.up(each.weight * (each.values - there))
        believed.append(each)
    return start + added / total, block.counted(believed)


class Block:
    """A band's block of the reference, and the frames that meet it."""

    def __init__(
        self,
        start: Floating,
        at: Window,
        scale: int,
        own: Noise,
        dates: Sequence[Date],
        seen: Sequence[tuple[Floating, NDArray[np.bool_], Window]],
    ) -> None:
        """Lays out the frames.

        Parameters
        ----------
        start
            The single-frame result over `at.scale(scale)`.
        at
            The block, pixels of the reference; what lies nearer to its border than `reach` may be otherwise elsewhere.
        own
            The reference's noise.
        seen
            Of each date the band's values (h, w) in the reference's numbers, where they count, and where they lie.
        """
        views = (View(date, at.scale(scale), scale, each, at) for date, each in zip(dates, seen, strict=True))
        self.start, self.own = start, own
        self.views = [view for view in views if view.own.size and view.there.any()]
        detail = start - _low(start, _FINEST * scale)
        self.missing = _low(detail * detail, _POOLED * scale)
        """The variance of the finest detail."""
        self.noise = variance(own, start)
        self.prior = _PRIOR * self.noise / (self.missing + 1e-3 * self.noise)
        """How much the single-frame result counts beside a frame."""

    def believed(self, estimate: Floating) -> list[Believed]:
        """The pixels of each frame as they are believed, where the ground is expected to look as an estimate has it."""
        return [view.believed(view.degraded(estimate), view.degraded(self.missing), self.own) for view in self.views]

    def projected(self, believed: Sequence[Believed], steps: int) -> Floating:
        """The result after some steps of back-projection."""
        start, both = self.start, list(zip(self.views, believed, strict=True))
        total = _sum(start, (view.up(each.weight) for view, each in both))
        result = ahead = start
        for step in range(steps):
            left = (view.up(each.weight * (each.values - view.degraded(ahead))) for view, each in both)
            new = ahead + (_sum(start, left) - self.prior * (ahead - start)) / (total + self.prior)
            ahead = new + (new - result) * start.dtype.type(step / (step + 3))
            result = new
        return result

    def counted(self, believed: Sequence[Believed]) -> Floating:
        """The number of frames that each pixel drew on, the reference among them."""
        robust = (view.up(each.robust) for view, each in zip(self.views, believed, strict=True))
        return np.ones_like(self.start) + _sum(self.start, robust)


@dataclass(frozen=True, slots=True, eq=False)
class Believed:
    """A frame's pixels as they are believed, all (h, w)."""

    values: Floating
    """Less what neighbourhoods as a whole are brighter by."""
    robust: Floating
    """How much they count, from 0 to 1: 0 where they show something else."""
    weight: Floating
    """One over their variance, in units of that of the reference's noise."""


class View:
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

    @cached_property
    def _seeing(self) -> list[tuple[Window, Regridding]]:
        """Cell by cell its own pixels, and how they see the fine grid."""
        return [(own, regridding(self.fine, own, [line.seen for line in both])) for own, both in self.cells]

    @cached_property
    def _lifting(self) -> list[tuple[Window, Window, Window, Regridding]]:
        """Cell by cell its own pixels, those and all that is needed around, where they are brought to, and how."""
        found = []
        for own, both in self.cells:
            target, linear = _covered(own, both).clip(self.fine), [line.linear for line in both]
            wide = needed(target, linear)
            found.append((own, wide, target, regridding(wide, target, linear)))
        return found

    def degraded(self, image: Floating) -> Floating:
        """An image on the fine grid as the frame's own pixels see it."""
        out = np.zeros_like(self.values)
        for own, seen in self._seeing:
            out[own.within(self.own).slices] = seen(image)
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
        for own, wide, target, lifted in self._lifting:
            padded = np.zeros((wide.height, wide.width), values.dtype)
            padded[own.within(wide).slices] = values[own.within(self.own).slices]
            out[target.within(self.fine).slices] += lifted(padded)
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

    def believed(self, expected: Floating, missing: Floating, own: Noise) -> Believed:
        """Its pixels as they are believed.

        `expected` is what the frame would show had nothing changed, `missing` the variance of what it may add to it.
        """
        noise = variance(self.date.noise, expected)
        there = self.there.astype(self.values.dtype)
        share = np.maximum(_low(there, _AROUND), 1e-6)
        usual = _NOISE * noise + _MISSING * _low(there * missing, _AROUND) / share
        level = _low(there * (self.values - expected), _AROUND) / share
        square = level * level
        level *= square / (square + usual / _SHRUNK)
        values = self.values - level
        error = there * (values - expected)
        differs = _low(error * error, _AROUND) / share
        strange = differs / usual
        robust = there / (1 + strange * strange)
        return Believed(values, robust, robust * (variance(own, expected) / np.maximum(differs, noise)))


def _sum(like: Floating, images: Iterable[Floating]) -> Floating:
    total = np.zeros_like(like)
    for image in images:
        total += image
    return total


def variance(noise: Noise, level: Floating) -> Floating:
    """The noise's variance, never quite 0."""
    found: Floating = (noise.variance(level) + 1e-10 * level * level + 1e-20).astype(level.dtype)
    return found


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
