"""Judging natively: a product's own coarse band is the input, what the platform saw with finer pixels the reference.

A natural pair is no simulation: blur, noise and resampling of the input are real. Both bands see nearly, but not quite,
the same light, and their grids may be displaced, so the reference is matched before anything is compared: a sub-pixel
shift is taken off, then its gain and offset are brought to those of the bicubic result place by place. Both come from
low-passed images. Taken from unfiltered ones they would shrink the reference, since detail that only one of both shows
dilutes a regression, and soft results would be flattered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosr.errors import InputError
from geosr.models.classical import upsample_into

Doubles = NDArray[np.float64]

BORDER = 4
"""Input pixels along each edge that are not scored."""
MATCHED = 3.0
"""Standard deviation, fine pixels, of the Gaussian that gain and offset are seen behind."""
AROUND = 10.0
"""Standard deviation, fine pixels, of the neighbourhood that has one gain and offset."""
STIFF = 0.05
"""Share of the variance of a usual neighbourhood that speaks for the overall gain, which decides where one is flat."""
DETAIL = 2.0
"""Standard deviation, fine pixels, of the Gaussian whose rest is detail."""
LEAST = 0.5
"""Correlation of the bicubic result's detail with the reference's below which both saw something else."""
FARTHEST = 1.0
"""Fine pixels that a shift may differ from what the grids say: what is farther off moved, as clouds seem to."""
_SMOOTH = (3.0, 3.0, 1.0, 1.0, 1.0, 1.0)
"""Standard deviation, fine pixels, of the Gaussian behind which each step looks for the shift."""


@dataclass(frozen=True, eq=False)
class Product:
    """The coarse bands of a product, as it has them."""

    file: str
    """The name that its file has, which tells the sensor."""
    bands: tuple[str, ...]
    """Names, such as B8A."""
    pixels: NDArray[np.generic]
    """(bands, height, width), stored numbers."""
    gsd: float
    """Pixel size, metres."""
    source: Path | None = None
    """The file itself, where it is one that can be upscaled as it is."""
    numbers: tuple[int, ...] = ()
    """Which bands of it these are, counted from 1."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A band of a product and a finer one that shows the same at the same moment."""

    name: str
    """Product and bands, such as "S2A_MSIL2A_20170617T113321_48_5 B8A to B08"."""
    place: str
    """The ground: figures of one place are one."""
    product: Product
    weights: tuple[float, ...]
    """Of the product's bands, whose weighted sum is judged; all but one are 0 where that is one band."""
    fine: Doubles
    """(height, width), the finer band in stored numbers, or a weighted sum of some."""
    ratio: int
    """Fine pixels per coarse pixel each way."""
    offset: tuple[float, float] = (0.0, 0.0)
    """(down, right), where the finer grid's corner lies from the coarse one's, fine pixels."""
    bands: str = ""
    """Such as "B8A to B08"."""
    group: str = ""
    """The set that it belongs to."""
    kept: str = ""
    """"fit" or "judge"; empty where that isn't said."""
    seen: bool = False
    """Whether networks were trained on finer bands of this ground."""


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of a result beside the finer band."""

    gain: float
    """dB, squared error of the bicubic result over this one's."""
    correlation: float
    """Of its detail with the reference's."""
    energy: float
    """Standard deviation of its detail over the reference's: over 1 is over-sharpened or noisy, under 1 soft."""


class Judge:
    """Scores results of one pair at one scale, against a reference that is matched once for all of them.

    Result and finer band are compared with the pixels that both can be averaged to: those of 10 m for 20 to 10 m, also
    at x4. Raises `InputError` where there are none that are finer than the input's, or where too little overlaps.
    """

    def __init__(self, pair: Pair, scale: int) -> None:
        self.pair, self.scale = pair, scale
        self.factor = math.gcd(scale, pair.ratio)
        """Pixels of the comparison per coarse pixel each way."""
        if self.factor < 2:
            raise InputError(f"{pair.name}: x{scale} and pixels {pair.ratio} times finer have none in common")
        coarse = mixed(pair.product.pixels, pair.weights)
        bicubic = np.empty((coarse.shape[0] * scale, coarse.shape[1] * scale))
        upsample_into(bicubic, coarse, scale)
        bicubic = means(bicubic, scale // self.factor)
        each = pair.ratio // self.factor
        lies = (pair.offset[0] / each, pair.offset[1] / each)
        self.rows, self.cols, fine = _overlap(bicubic.shape, means(pair.fine, each), lies)
        """What of the result's grid the finer band covers, pixels of the comparison."""
        self._bicubic = bicubic[self.rows, self.cols]
        rim = BORDER * self.factor
        if min(fine.shape) <= 2 * rim + self.factor:
            raise InputError(f"{pair.name}: {fine.shape} pixels overlap, which leaves too few inside a border of {rim}")
        self._inner = (slice(rim, -rim), slice(rim, -rim))
        within = (lies[0] - round(lies[0]), lies[1] - round(lies[1]))
        self.reference, self.shift = _registered(fine, self._bicubic, within, self._inner)
        """The finer band on the result's grid, in the coarse band's numbers."""
        self.moved = math.hypot(*(found - said for found, said in zip(self.shift, within, strict=True)))
        """Pixels of the comparison between the shift that was found and the one that the grids say."""
        self.bicubic = self._scored(self._bicubic)
        """The score of the bicubic result, unrounded: that of gain 0."""

    @property
    def unfit(self) -> str:
        """Why this is no pair, such as where clouds stand, which two bands see from two angles; empty where it is."""
        if self.moved > FARTHEST:
            return f"what is seen lies {self.moved:.1f} pixels from where the grids say"
        if not self.bicubic.correlation >= LEAST:  # NaN, too: nothing varies
            return f"the bicubic result's detail correlates by {self.bicubic.correlation:.2f}, under {LEAST}"
        return ""

    def score(self, result: ArrayLike) -> Score:
        """The score of the upscaled product: (bands, h * scale, w * scale), all bands of it."""
        one = means(mixed(result, self.pair.weights), self.scale // self.factor)
        return self._scored(one[self.rows, self.cols])

    def _scored(self, estimate: Doubles) -> Score:
        errors = [float(np.mean((x - self.reference)[self._inner] ** 2)) for x in (self._bicubic, estimate)]
        gain = 10.0 * math.log10(errors[0] / errors[1]) if min(errors) > 0 else math.nan
        one, other = ((x - _low(x, DETAIL))[self._inner].ravel() for x in (estimate, self.reference))
        spread = float(one.std()), float(other.std())
        if min(spread) == 0.0:
            return Score(gain, math.nan, math.nan)
        return Score(gain, float(np.corrcoef(one, other)[0, 1]), spread[0] / spread[1])


def mixed(pixels: ArrayLike, weights: tuple[float, ...]) -> Doubles:
    """(h, w), the bands of (bands, h, w) summed by weight."""
    return np.asarray(np.tensordot(np.asarray(weights), np.asarray(pixels, np.float64), 1))


def means(image: Doubles, factor: int) -> Doubles:
    """(h / factor, w / factor), means of blocks from the corner on; what is left over is cut off."""
    rows, cols = (side // factor for side in image.shape)
    blocks = image[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor)
    return np.asarray(blocks.mean((1, 3)))


def matched(reference: Doubles, estimate: Doubles) -> Doubles:
    """The reference with the gain and offset, place by place, that bring it closest to the estimate behind a low-pass.

    Where a neighbourhood is so flat that it tells of no gain, that of all together stands.
    """
    x, y = _low(reference, MATCHED), _low(estimate, MATCHED)
    level_x, level_y = _low(x, AROUND), _low(y, AROUND)
    x, y = x - level_x, y - level_y  # without slopes, which only one of both may have
    spread, common = _low(x * x, AROUND), _low(x * y, AROUND)
    usual = float(spread.mean())
    if usual <= 0.0:
        return level_y + reference - level_x
    overall = float(common.mean()) / usual
    gain = (common + STIFF * usual * overall) / (spread + STIFF * usual)
    return np.asarray(level_y + gain * (reference - level_x))


def _overlap(shape: tuple[int, int], fine: Doubles, lies: tuple[float, float]) -> tuple[slice, slice, Doubles]:
    """Rows and columns of a result of that shape that the finer band covers to the next pixel, and its own there."""
    spans = []
    for side, other, off in zip(shape, fine.shape, map(round, lies), strict=True):
        first, last = max(0, off), min(side, other + off)
        spans.append((slice(first, max(first, last)), slice(first - off, max(first, last) - off)))
    (rows, own_rows), (cols, own_cols) = spans
    return rows, cols, fine[own_rows, own_cols]


def _registered(
    fine: Doubles, bicubic: Doubles, start: tuple[float, float], inner: tuple[slice, slice]
) -> tuple[Doubles, tuple[float, float]]:
    """The finer band brought onto the bicubic result, and how far it had to be moved (down, right), pixels.

    Gauss-Newton on the difference behind a low-pass, gain and offset matched anew before each step.
    """
    shift = np.asarray(start, np.float64)
    for smooth in _SMOOTH:
        model = _low(matched(_moved(fine, shift), bicubic), smooth)
        slope = np.stack([np.gradient(model, axis=axis)[inner].ravel() for axis in (0, 1)])
        error = (_low(bicubic, smooth) - model)[inner].ravel()
        step = np.linalg.lstsq(slope @ slope.T, -(slope @ error), rcond=None)[0]
        shift = shift + np.clip(step, -2 * FARTHEST, 2 * FARTHEST)
    return matched(_moved(fine, shift), bicubic), (float(shift[0]), float(shift[1]))


def _moved(image: Doubles, shift: Doubles) -> Doubles:
    from scipy import ndimage  # slow to import

    return np.asarray(ndimage.shift(image, shift, order=5, mode="mirror"))


def _low(image: Doubles, sigma: float) -> Doubles:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="mirror"))
