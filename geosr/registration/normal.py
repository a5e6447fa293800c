"""A step of Gauss-Newton: what each block of a scene tells of where a frame lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from geosr.registration.values import Doubles, Registration
from geosr.registration.views import View

TUKEY = 4.0
"""Standard deviations beyond which a pixel doesn't count."""
FEWEST = 64
"""Pixels that a block needs to tell."""
_LIKE = 0.4
"""Correlation from which a block shows the same."""


class Normal:
    """The normal equations of a step, block by block; a block has its own gain in each band."""

    def __init__(self, views: Sequence[View], at: Registration, turn: bool) -> None:
        blocks: dict[tuple[int, int, int], list[tuple[Doubles, Doubles, float]]] = {}
        for view in views:
            for key, part in _equations(view, at, turn):
                blocks.setdefault(key, []).append(part)
        count = 6 if turn else 2
        self.matrix, self.pulls = np.zeros((count, count)), np.zeros((len(blocks), count))
        alike = []
        for block, parts in enumerate(blocks.values()):
            for matrix, pull, _ in parts:
                self.matrix += matrix
                self.pulls[block] += pull
            alike += [max(told)] if (told := [each for *_, each in parts if math.isfinite(each)]) else []
        self.likeness = float(np.mean([each > _LIKE for each in alike])) if alike else 0.0
        scale = np.sqrt(np.maximum(self.matrix.diagonal(), 1e-300))
        self.solvable = bool(blocks) and np.linalg.cond(self.matrix / np.outer(scale, scale)) < 1e10

    @property
    def step(self) -> Doubles:
        """The change of (down, right, [turn]), pixels."""
        step: Doubles = np.linalg.solve(self.matrix, self.pulls.sum(0))
        return step

    @property
    def covariance(self) -> Doubles:
        """Of the step, from how blocks contradict each other."""
        inverse = np.linalg.inv(self.matrix)
        count = len(self.pulls)
        spread = self.pulls.T @ self.pulls * (count / max(1, count - 1))
        covariance: Doubles = inverse @ spread @ inverse
        return covariance

    @property
    def error(self) -> float:
        """Standard error along the worse axis, pixels."""
        if len(self.pulls) < 2:
            return math.inf
        return math.sqrt(float(self.covariance.diagonal()[:2].max()))


def _equations(
    view: View, at: Registration, turn: bool
) -> list[tuple[tuple[int, int, int], tuple[Doubles, Doubles, float]]]:
    """Of each block: its part of the normal matrix, its pull, and how alike it is."""
    image, seen = view.moved(at)
    slopes = [(np.gradient(image, axis=axis), one) for axis, one in enumerate(view.slopes)]
    found = []
    for block, where in enumerate(view.blocks):
        own = seen[where]
        if np.count_nonzero(own) < FEWEST:
            continue
        ours, theirs = view.reference[where][own], image[where][own]
        alike = _alike(ours, theirs)
        gain, weight = _gain(ours, theirs)
        left = gain * ours - theirs
        power = float(weight @ left**2) / max(float(weight.sum()), 1e-300) + 1e-9
        down, right = ((other[where][own] + gain * one[where][own]) / 2 for other, one in slopes)
        terms = [down, right]
        if turn:
            rows, cols = view.rows[where][own] + view.place[0], view.cols[where][own] + view.place[1]
            terms += [down * rows, down * cols, right * rows, right * cols]
        design = np.stack(terms)
        # the gain goes with the shift: what it explains of the slopes is taken off
        along = (design * weight) @ ours / max(float(weight @ ours**2), 1e-300)
        design -= along[:, None] * ours
        weighted = design * (weight / power)
        found.append(((*view.place, block), (weighted @ design.T, weighted @ left, alike)))
    return found


def _gain(ours: Doubles, theirs: Doubles) -> tuple[float, Doubles]:
    """The gain of a block, and the weight of each pixel (Tukey's biweight)."""
    weight = np.ones_like(ours)
    gain, whole = 0.0, ours**2
    for _ in range(3):
        gain = float((weight * ours) @ theirs) / max(float(weight @ whole), 1e-300)
        left = theirs - gain * ours
        scale = 1.4826 * _median(np.abs(left))
        if scale <= 0.0:
            break
        weight = np.maximum(0.0, 1.0 - (left / (TUKEY * scale)) ** 2) ** 2
    return gain, weight


def _median(values: Doubles) -> float:
    """That of numbers, none of them NaN: `np.median`, which takes longer to look for NaN than for a block's median."""
    below, above = (values.size - 1) // 2, values.size // 2
    parted = np.partition(values, (below, above))
    return float((parted[below] + parted[above]) / 2)


def _alike(one: Doubles, other: Doubles) -> float:
    """Correlation, without its sign: fields turn from dark to bright; NaN where the reference shows next to nothing."""
    if float((one**2).mean()) < 0.01:
        return math.nan
    one, other = one - one.mean(), other - other.mean()
    spread = math.sqrt(float((one**2).mean() * (other**2).mean()))
    return abs(float((one * other).mean())) / spread if spread > 0.0 else 0.0
