"""How bright a frame is to the reference, band by band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geosr.registration.normal import FEWEST, TUKEY
from geosr.registration.values import MARGIN, Doubles, Patch, Registration
from geosr.registration.views import RIM

_LOW = 1.5
"""Standard deviation, pixels, of the Gaussian behind which gain and offset are seen."""
_STEPS = 12


def brightness(patches: Sequence[Patch], at: Registration) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gain and offset of each band, by robust regression of what is left behind a low-pass."""
    found = [_line(*_levels(patches, at, band)) for band in range(len(patches[0].reference))]
    return tuple(gain for gain, _ in found), tuple(offset for _, offset in found)


def _levels(patches: Sequence[Patch], at: Registration, band: int) -> tuple[Doubles, Doubles]:
    """Low-passed numbers of the reference and of the frame, side by side."""
    from scipy import ndimage

    ours, theirs = [np.zeros(0)], [np.zeros(0)]
    for patch in patches:
        one, other = patch.reference[band], patch.frame[band]
        height, width = one.shape
        shift = at.shift_at(patch.row + height / 2, patch.col + width / 2)
        inner = slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width)
        there = ndimage.shift(np.isfinite(other).astype(np.float64), np.negative(shift), order=1)[inner] > 0.999
        near = ndimage.binary_dilation(~(there & np.isfinite(one)), iterations=RIM)
        if not near.all():
            low = [
                ndimage.gaussian_filter(np.where(np.isfinite(each), each, np.nanmean(each)), _LOW)
                for each in (one, other)
            ]
            ours.append(low[0][~near])
            theirs.append(ndimage.shift(low[1], np.negative(shift), order=1)[inner][~near])
    return np.concatenate(ours), np.concatenate(theirs)


def _line(ours: Doubles, theirs: Doubles) -> tuple[float, float]:
    """Gain and offset (Tukey's biweight); 1 and the difference of medians where the numbers don't spread."""
    if ours.size < FEWEST:
        return 1.0, 0.0
    gain, offset = 1.0, float(np.median(theirs - ours))
    for _ in range(_STEPS):
        left = theirs - gain * ours - offset
        scale = max(1.4826 * float(np.median(np.abs(left - np.median(left)))), 1e-9 * float(np.abs(theirs).max()))
        weight = np.maximum(0.0, 1.0 - (left / (TUKEY * scale + 1e-300)) ** 2) ** 2
        if weight.sum() < FEWEST / 4:
            break
        middle, other = (float(np.average(each, weights=weight)) for each in (ours, theirs))
        spread = float(np.average((ours - middle) ** 2, weights=weight))
        if spread <= 1e-12 * middle**2:
            break
        gain = float(np.average((ours - middle) * (theirs - other), weights=weight)) / spread
        offset = other - gain * middle
    return (gain, offset) if gain > 0.0 else (1.0, float(np.median(theirs - ours)))
