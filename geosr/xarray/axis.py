"""Evenly spaced coordinates: the line that they were rounded from, and how far rounding moved them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EVEN = 0.02
"""Part of a step by which coordinates may lie off their line."""
_ARITHMETIC = (1.0, 2.0, 4.0)
"""Units in the last place of the largest coordinate by which arithmetic before us may have moved any of them."""
_DIGITS = 15


def is_even(values: NDArray[np.number]) -> bool:
    """True where coordinates are finite and evenly spaced, but for rounding."""
    line = np.linspace(float(values[0]), float(values[-1]), len(values))
    step = (line[-1] - line[0]) / max(1, len(values) - 1)
    worst = _EVEN * abs(step) + 4 * float(_grain(values).max())
    return bool(step and np.isfinite(line).all() and np.abs(values.astype(float) - line).max() <= worst)


def lies_on(values: NDArray[np.number], edge: float, step: float, slack: float) -> bool:
    """True where coordinates are centres of pixels of the size `step` from `edge` on, but for rounding.

    `slack` is what else they may lie off, as a part of a step.
    """
    off = np.abs(values.astype(float) - (edge + step * _counts(len(values))))
    return bool(off.max() <= slack * abs(step) + 2 * _grain(values).max())


def line_of(values: NDArray[np.number]) -> tuple[float, float]:
    """Outer edge of the first pixel and signed size of pixels, from two evenly spaced centres or more.

    Of all lines that give these centres when rounded it is the one with the fewest digits: float32 tells a hundredth of
    a pixel or less, but grids begin at 11.5 and step by 0.01 or 1/120.
    """
    centres = values.astype(float)
    middle = np.arange(len(centres)) - (len(centres) - 1) / 2
    slope = float(middle @ (centres - centres.mean()) / (middle @ middle))
    grain = _grain(values)
    for rounding in (0.5 * grain, *(times * grain.max() for times in _ARITHMETIC)):
        blur = rounding + 2 * np.spacing(np.abs(centres))
        for step, per_unit in _short_steps(slope):
            from_edge = centres - step * _counts(len(centres))
            low, high = float((from_edge - blur).max()), float((from_edge + blur).min())
            if low <= high:
                return _short_edge(low, high, step, per_unit), step
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    return float(centres[0] - step / 2), step


def factor(unit: str) -> tuple[str, float] | None:
    """The kind of a unit of CF, "length" or "angle", and its metres or radians; None if not known."""
    return _units().get(unit.strip().lower().replace("meter", "metre").removesuffix("s"))


@lru_cache(maxsize=1)
def _units() -> dict[str, tuple[str, float]]:
    from pyproj.database import get_units_map

    known = {}
    for kind, category in (("length", "linear"), ("angle", "angular")):
        for name, unit in get_units_map(category=category).items():
            for word in (name, unit.proj_short_name):
                if word and unit.conv_factor:
                    known[word.lower().removesuffix("s")] = kind, float(unit.conv_factor)
    degree = "angle", float(np.pi / 180)
    words = ("degree", "deg", "degrees_north", "degrees_east", "degree_north", "degree_east", "arc_degree")
    return known | dict.fromkeys(words, degree) | {"radian": ("angle", 1.0), "µrad": ("angle", 1e-6)}


def _counts(size: int) -> Floats:
    return np.arange(size, dtype=float) + 0.5


def _grain(values: NDArray[np.number]) -> Floats:
    """The unit in the last place of each: that of float32 too where they were stored in it before."""
    size = np.abs(values.astype(float))
    fine = np.asarray(np.spacing(size), float)
    if values.dtype.kind != "f":
        return fine
    narrow = values.astype(np.float32)
    coarse = np.asarray(np.spacing(np.abs(narrow)), float)
    if values.dtype.itemsize <= 4:
        return coarse
    line: Floats = np.linspace(float(values[0]), float(values[-1]), len(values))
    straight = np.abs(values - line).max() <= 8 * fine.max()
    return fine if straight or (narrow != values).any() else coarse


def _short_steps(slope: float) -> Iterator[tuple[float, float]]:
    """Steps near a slope, fewest digits first, and how many of them make one where that is the short number, or 0."""
    for digits in range(1, _DIGITS + 1):
        yield float(f"{slope:.{digits - 1}e}"), 0.0
        per_unit = float(f"{1 / slope:.{digits - 1}e}")
        yield 1 / per_unit, per_unit
    yield slope, 0.0


def _short_edge(low: float, high: float, step: float, per_unit: float) -> float:
    """The number from `low` to `high` with the fewest digits, as the edge of the first pixel or as its centre."""
    middle = (low + high) / 2
    if per_unit:
        for part in (1, 2):
            edge = round(middle * per_unit * part) / (per_unit * part)
            if low <= edge <= high:
                return edge
    for digits in range(-4, _DIGITS + 1):
        for shift in (0.0, step / 2):
            edge = round(middle + shift, digits) - shift
            if low <= edge <= high:
                return edge
    return middle
