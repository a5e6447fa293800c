"""Figures of flat ground."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

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


def _rough(image: Doubles) -> float:
    """Standard deviation after the quadratic surface that fits best is taken off."""
    rows, cols = np.meshgrid(*(np.linspace(-1.0, 1.0, side) for side in image.shape), indexing="ij")
    surface = np.stack([np.ones_like(rows), rows, cols, rows * rows, rows * cols, cols * cols]).reshape(6, -1).T
    values = image.ravel() - image.mean()
    rest = values - surface @ np.linalg.lstsq(surface, values, rcond=None)[0]
    return float(rest.std())
