"""Whether a result respects what was observed: degraded as the sensor does it, it gives the input back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosr.errors import InputError
from geosr.models.degradation import seen
from geosr.models.projection import seen_from
from geosr.response import Response


@dataclass(frozen=True, slots=True)
class Consistency:
    """The distance of a degraded band from the input, in stored numbers (DN); NaN where no pixel could be judged."""

    mean: float
    """Mean of the differences' sizes."""
    p99: float
    """The size that 99 % of them don't exceed."""
    bias: float
    """Mean of the differences: above 0 where the result is too bright."""
    pixels: int
    """Input pixels that were judged."""

    def __str__(self) -> str:
        return f"mean {self.mean:.2f} DN, 99 % within {self.p99:.2f} DN, bias {self.bias:+.3f} DN"


def consistency(
    result: ArrayLike, source: ArrayLike, response: Response, valid: NDArray[np.bool_] | None = None
) -> Consistency:
    """The distance at which a band of a result, degraded, lies from the same band of the input.

    Pixels at the border see ground beyond the scene, of which nothing is known: they are not judged. Raises
    `InputError` where the shape of one is no whole multiple of the other's.

    Parameters
    ----------
    result
        (h * scale, w * scale), stored numbers.
    source
        (h, w), stored numbers.
    response
        Of `source`, relative to the result.
    valid
        (h, w), True where `source` is data. Only pixels that see nothing else are judged.
    """
    difference, judged = residual(result, source, response, valid)
    error = difference[judged]
    if not error.size:
        return Consistency(float("nan"), float("nan"), float("nan"), 0)
    size = np.abs(error)
    return Consistency(float(size.mean()), float(np.percentile(size, 99)), float(error.mean()), error.size)


def residual(
    result: ArrayLike, source: ArrayLike, response: Response, valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The degraded band less the input, (h, w), and where that can be judged; all else as of `consistency`."""
    fine, coarse = (np.asarray(each, np.float64) for each in (result, source))
    scale = fine.shape[0] // coarse.shape[0]
    if fine.shape != tuple(side * scale for side in coarse.shape):
        raise InputError(f"a result of {fine.shape} pixels is no whole multiple of a source of {coarse.shape}")
    judged = _all_around(np.ones(coarse.shape, bool) if valid is None else valid, seen_from(response, scale))
    finite = np.where(np.isfinite(fine), fine, 0.0)
    return seen(finite[None], [response], scale)[0] - coarse, judged


def _all_around(valid: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """Where all pixels up to `rim` away along either axis are there and valid."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(valid, rim), (2 * rim + 1, 2 * rim + 1))
    return np.asarray(windows.all((2, 3)))
