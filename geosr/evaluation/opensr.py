"""The seven figures of opensr-test (Aybar et al. 2024, doi 10.1109/LGRS.2024.3401394), of one square.

They are those of version 1.3 by its defaults. Its reflectance figure degrades with a triangle of two input pixels and
not with the sensor's response, so that a result that gives the input back exactly has a little of it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geosr.evaluation.alone import angles, ratio
from geosr.evaluation.sums import Doubles

FIGURES = ("reflectance", "spectral", "spatial", "synthesis", "hallucination", "omission", "improvement")
BORDER = 16
"""Pixels of the result along each edge that are left out."""
_STRONG = 0.75
"""Share of pixels that the reference hardly moves in: what all three agree on there doesn't count."""
_WEIGHT, _TEMPERATURE = 0.05, 0.25
_FARTHEST = 5.0
"""Pixels beyond which a shift is taken for a mistake."""
_FINE = 50
"""Parts of a pixel that a shift is told in."""


def opensr(lr: Doubles, sr: Doubles, hr: Doubles) -> Doubles:
    """The figures, in the order of `FIGURES`, of input, result and reference of one square, values (bands, h, w).

    NaN where a square is too small.
    """
    scale = hr.shape[1] // lr.shape[1]
    rim = BORDER // scale
    if min(lr.shape[1:]) <= 2 * rim + 8:
        return np.full(len(FIGURES), np.nan)
    lr, sr, hr = (_inner(lr, rim), _inner(sr, rim * scale), _inner(hr, rim * scale))
    down = _resized(sr, 1 / scale)
    up = _resized(lr, scale)
    harmonised = _matched(sr, hr)
    harmonised = _moved(harmonised, _offset(harmonised.mean(0), hr.mean(0)))
    colours = slice(0, 3) if len(lr) >= 3 else slice(0, 1)
    consistent = float(np.abs(lr - down).mean()), ratio(*angles(lr.reshape(len(lr), -1), down.reshape(len(lr), -1)))
    place = math.hypot(*_offset(lr[colours].mean(0), down[colours].mean(0)))
    synthesis = float(np.abs(up - harmonised).mean())
    return np.array([*consistent, place, synthesis, *_correctness(up, harmonised, hr)])


def _inner(bands: Doubles, rim: int) -> Doubles:
    return bands[:, rim : bands.shape[1] - rim, rim : bands.shape[2] - rim]


def _correctness(up: Doubles, sr: Doubles, hr: Doubles) -> tuple[float, float, float]:
    """Shares of hallucination, omission and improvement where something is to be seen."""
    moved, missed, added = _distance(up, hr), _distance(sr, hr), _distance(sr, up)
    rank = int(_STRONG * moved.size)
    bound = np.partition(moved.ravel(), max(rank - 1, 0))[max(rank - 1, 0)]
    some = np.maximum(np.maximum(moved, missed), added) > bound
    if not some.any():
        return math.nan, math.nan, math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        im, om = missed[some] / moved[some], added[some] / moved[some]
        beyond = 1.0 - np.exp(-(im + om - 1.0) * _WEIGHT)
        scores = np.stack([np.exp(-im * om * _WEIGHT), om + im * beyond, im + om * beyond])
        weights = np.exp(-scores / _TEMPERATURE)
        shares = weights / weights.sum(0)
    told = np.isfinite(shares).all(0)
    hallucination, omission, improvement = shares[:, told].mean(1) if told.any() else np.full(3, np.nan)
    return float(hallucination), float(omission), float(improvement)


def _distance(x: Doubles, y: Doubles) -> Doubles:
    """(h, w), the mean over bands of the difference over the sum."""
    return np.asarray((np.abs(x - y) / np.abs(x + y + 1e-8)).mean(0))


def _resized(bands: Doubles, factor: float) -> Doubles:
    image: Tensor = F.interpolate(torch.from_numpy(bands)[None], scale_factor=factor, mode="bilinear", antialias=True)
    return np.asarray(image[0].numpy())


def _matched(image: Doubles, reference: Doubles) -> Doubles:
    """An image whose bands have the reference's histograms."""
    return np.stack([_band_matched(*pair) for pair in zip(image, reference, strict=True)])


def _band_matched(band: Doubles, reference: Doubles) -> Doubles:
    _, places, counts = np.unique(band, return_inverse=True, return_counts=True)
    values, own = np.unique(reference, return_counts=True)
    found = np.interp(np.cumsum(counts) / band.size, np.cumsum(own) / reference.size, values)
    return np.asarray(found[places].reshape(band.shape))


def _offset(image: Doubles, reference: Doubles) -> tuple[float, float]:
    """The shift (down, right) that moves an image onto the reference, in fiftieths of a pixel.

    The peak of the phase correlation, looked for around it with a transform of its own (Guizar-Sicairos et al. 2008).
    """
    product = np.fft.fft2(reference) * np.conj(np.fft.fft2(image))
    product /= np.maximum(np.abs(product), 100 * np.finfo(float).eps)
    peak = np.unravel_index(int(np.abs(np.fft.ifft2(product)).argmax()), product.shape)
    coarse = [at - side if at > side // 2 else at for at, side in zip(map(int, peak), product.shape, strict=True)]
    reach = math.ceil(1.5 * _FINE)
    centre = reach // 2
    waves = []
    for start, side in zip(coarse, product.shape, strict=True):
        steps = np.arange(reach) - centre + round(start * _FINE)
        waves.append(np.exp(2j * np.pi / _FINE * np.outer(steps, np.fft.fftfreq(side))))
    found = np.abs(waves[0] @ product @ waves[1].T)
    best = np.unravel_index(int(found.argmax()), found.shape)
    down, right = (start + (int(at) - centre) / _FINE for start, at in zip(coarse, best, strict=True))
    return (down, right) if math.hypot(down, right) <= _FARTHEST else (0.0, 0.0)


def _moved(bands: Doubles, offset: tuple[float, float]) -> NDArray[np.float64]:
    """Bands moved (down, right) by linear interpolation, the edge repeated."""
    from scipy import ndimage

    return np.stack([ndimage.shift(band, offset, order=1, mode="nearest") for band in bands])
