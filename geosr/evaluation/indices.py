"""Indices of likeness that the field quotes, as sums over a piece: SSIM, UQI, Q2n, and correlation with a guide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.sums import Doubles

Q_SIDE = 32
"""Side of a block of Q2n, pixels, as its authors have it."""
_K = 0.01, 0.03
"""SSIM's constants, shares of the peak."""
RADIUS = 5
"""Of its Gaussian window, pixels."""
_SIGMA = 1.5
_LOCAL = 4
"""Side of the windows that correlation with a guide is local to."""


def structure_sums(
    estimate: Doubles, reference: Doubles, inside: NDArray[np.bool_], peak: float
) -> tuple[float, float, int]:
    """Sums of SSIM (Wang et al. 2004) and UQI (Wang and Bovik 2002) over pixels, and their number.

    Both behind the Gaussian window of SSIM, where the window holds nothing but arrays' pixels and `inside` is True.
    """
    from scipy import ndimage

    def mean(image: Doubles) -> Doubles:
        """A Gaussian mean of what lies around, for pixels whose window lies inside."""
        across = ndimage.gaussian_filter(image, _SIGMA, radius=RADIUS, mode="nearest")
        return np.asarray(across[RADIUS:-RADIUS, RADIUS:-RADIUS])

    where = ndimage.minimum_filter(inside, 2 * RADIUS + 1)[RADIUS:-RADIUS, RADIUS:-RADIUS]
    if min(where.shape) <= 0 or not where.any():
        return 0.0, 0.0, 0
    level = float(reference[inside].mean())  # digits are lost where a mean is large beside what varies
    x, y = estimate - level, reference - level
    mx, my, xx, yy, xy = mean(x), mean(y), mean(x * x), mean(y * y), mean(x * y)
    spread_x, spread_y, common = xx - mx * mx, yy - my * my, xy - mx * my
    mx, my = mx + level, my + level
    c1, c2 = ((k * peak) ** 2 for k in _K)
    ssim = (2 * mx * my + c1) * (2 * common + c2) / ((mx * mx + my * my + c1) * (spread_x + spread_y + c2))
    below = (mx * mx + my * my) * (spread_x + spread_y)
    flat = below <= 1e-12 * (mx * mx + my * my) ** 2
    uqi = np.where(flat, 1.0, 4 * mx * my * common / np.where(flat, 1.0, below))
    return float(ssim[where].sum()), float(uqi[where].sum()), int(where.sum())


def q2n_sums(reference: Doubles, estimate: Doubles, known: NDArray[np.bool_]) -> Doubles:
    """The sum of Q2n (Garzelli and Nencini 2009) over blocks of (bands, h, w), and their number.

    Bands are parts of one hypercomplex number, so that Q2n is a likeness of spectra, too: 1 where both are the same.
    Only whole blocks count, of which all is known.
    """
    blocks = [_blocks(each) for each in (reference, estimate)]
    full = _blocks(known[None])[0].all(1)
    x, y = (each[:, full] for each in blocks)
    if not full.any():
        return np.zeros(2)
    level, spread = x.mean(2, keepdims=True), x.std(2, ddof=1, keepdims=True)
    spread = np.where(spread == 0, np.where(level == 0, 1.0, np.finfo(float).eps), spread)
    x, y = (x - level) / spread + 1.0, (y - level) / spread + 1.0
    more = 2 ** math.ceil(math.log2(len(x))) - len(x)
    x, y = (np.concatenate([each, np.ones((more, *each.shape[1:]))]) for each in (x, y))
    return np.array([float(_quality(x, _conjugate(y)).sum()), float(x.shape[1])])


def _blocks(bands: NDArray[Any]) -> NDArray[Any]:
    """(bands, blocks, pixels of a block), from the corner on."""
    count, rows, cols = len(bands), bands.shape[1] // Q_SIDE, bands.shape[2] // Q_SIDE
    cut = bands[:, : rows * Q_SIDE, : cols * Q_SIDE].reshape(count, rows, Q_SIDE, cols, Q_SIDE)
    return cut.swapaxes(2, 3).reshape(count, rows * cols, Q_SIDE**2)


def _quality(x: Doubles, y: Doubles) -> Doubles:
    """(blocks,), of hypercomplex numbers (parts, blocks, pixels), the second conjugated."""
    n = x.shape[2]
    mx, my = x.mean(2), y.mean(2)
    size_x, size_y = (mx**2).sum(0), (my**2).sum(0)
    spread = n / (n - 1) * ((x**2).sum(0).mean(1) + (y**2).sum(0).mean(1) - size_x - size_y)
    common = n / (n - 1) * (_product(x, y).mean(2) - _product(mx, my))
    bias = 2 * np.sqrt(size_x * size_y) / (size_x + size_y)
    flat = spread <= 0
    found = np.sqrt((common**2).sum(0)) * bias * 2 / np.where(flat, 1.0, spread)
    return np.asarray(np.where(flat, bias, found))


def _product(x: Doubles, y: Doubles) -> Doubles:
    """Of hypercomplex numbers, parts first, by Cayley and Dickson's construction."""
    if len(x) == 1:
        return x * y
    half = len(x) // 2
    a, b, c, d = x[:half], _conjugate(x[half:]), y[:half], _conjugate(y[half:])
    if half == 1:
        return np.concatenate([a * c - d * b, a * d + c * b])
    first = _product(a, c) - _product(d, _conjugate(b))
    return np.concatenate([first, _product(_conjugate(a), d) + _product(c, b)])


def _conjugate(x: Doubles) -> Doubles:
    return np.concatenate([x[:1], -x[1:]])


def guide_sums(image: Doubles, guide: Doubles, inside: NDArray[np.bool_]) -> tuple[Doubles, int]:
    """Sums a band of the local correlation with the band of the guide that it goes with best, and the pixels.

    D_rho is 1 less its mean (Scarpa and Ciotola 2022, with several guides as in Ciotola et al. 2025).
    """
    from scipy import ndimage

    def mean(one: Doubles) -> Doubles:
        """A mean of what lies around, band by band."""
        return np.asarray(ndimage.uniform_filter(one, (0, _LOCAL, _LOCAL), mode="nearest"))

    image, guide = (each - each.mean((1, 2), keepdims=True) for each in (image, guide))
    mx, my = mean(image), mean(guide)
    spread_x, spread_y = mean(image * image) - mx * mx, mean(guide * guide) - my * my
    best = np.full(image.shape, -1.0)
    for own, level, spread in zip(guide, my, spread_y, strict=True):
        size = np.sqrt(np.maximum(spread_x, 0.0) * np.maximum(spread, 0.0))
        common = mean(image * own) - mx * level
        best = np.maximum(best, np.where(size > 0, common / np.where(size > 0, size, 1.0), 0.0))
    return (np.clip(best, -1.0, 1.0) * inside).sum((1, 2)), int(inside.sum())
