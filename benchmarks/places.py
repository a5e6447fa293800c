"""Figures over places, and of flat ground."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from geosr.evaluation.metrics import Interval, bootstrap
from geosr.evaluation.natural import BORDER, Doubles


def noise_gain(result: ArrayLike, source: ArrayLike) -> float:
    """The variation of a result of flat ground over the input's, a quadratic surface taken off of both.

    Flat ground has no detail: over 1 is noise made larger. `result` is (h * scale, w * scale), `source` (h, w); the
    border is cut off of both. NaN where the input doesn't vary.
    """
    fine, coarse = (np.asarray(each, np.float64) for each in (result, source))
    rim = BORDER * (fine.shape[0] // coarse.shape[0])
    before = _rough(coarse[BORDER:-BORDER, BORDER:-BORDER])
    return _rough(fine[rim:-rim, rim:-rim]) / before if before > 0 else math.nan


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


def _rough(image: Doubles) -> float:
    """Standard deviation after the quadratic surface that fits best is taken off."""
    rows, cols = np.meshgrid(*(np.linspace(-1.0, 1.0, side) for side in image.shape), indexing="ij")
    surface = np.stack([np.ones_like(rows), rows, cols, rows * rows, rows * cols, cols * cols]).reshape(6, -1).T
    values = image.ravel() - image.mean()
    rest = values - surface @ np.linalg.lstsq(surface, values, rcond=None)[0]
    return float(rest.std())
