"""The response of an image: how much of a wave on the ground is left in its pixels, by frequency and along either axis.

A product's response is that of its detector (a box of one pixel), its optics and motion (a Gaussian) and the
interpolation that put it on the map's grid. Frequencies are in cycles per pixel of the image; 1/2 is the Nyquist
frequency, at which agencies quote the modulation transfer (MTF).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interpolation = Literal["none", "linear", "cubic", "spline"]
"""How an image was put on its grid: not at all, linearly, by cubic convolution (Keys 1981, a = -1/2), or by cubic
B-splines."""

NYQUIST = 0.5
_GROUND = 10**6
"""Times as fine as pixels that show the ground as it is."""
_STEPS = 64
"""Frequencies per cycle at which a transform is summed up."""
_HIGHEST = 6.0
"""Frequency up to which it is: what a Gaussian or an interpolation leaves beyond it is nothing."""
_LOW = 1e-3
"""Frequency below which cubic convolution leaves a wave as it is."""
_REST = 2e-3
"""What shorter taps may miss at any frequency below Nyquist of what the longest ones have."""
_WIDEST = 7
"""Pixels on either side that taps reach to at most."""


@dataclass(frozen=True, slots=True)
class Response:
    """The modulation transfer of an image along y and x; with `finer`, over that of an image with finer pixels."""

    variance: tuple[float, float]
    """Of the Gaussian of optics and motion, (y, x), pixels squared. What sharpens has a negative one."""
    box: bool = False
    """Whether a pixel is the mean over its own square, as a detector's is."""
    interpolation: Interpolation = "none"
    """Of the sensor's samples onto the grid of the image, at all sub-pixel positions alike."""
    finer: float = 0
    """How many times as fine the other image's pixels are, which the same kind of sensor made; 0 for the ground."""

    @classmethod
    def gaussian(cls, mtf: float) -> Response:
        """The Gaussian response whose MTF at the Nyquist frequency is `mtf`, in (0, 1)."""
        variance = -2.0 * math.log(mtf) / math.pi**2
        return cls((variance, variance))

    @property
    def towards_result(self) -> Response:
        """The same, which is relative to the result already, whatever its scale."""
        return replace(self, finer=_GROUND)

    def relative(self, scale: float) -> Response:
        """The response that leads to this image from one of the same kind of sensor, with pixels `scale` times as fine.

        This is what a network has to undo, whose result is to look as that sensor's image would. A Gaussian of MTF m
        gives one of m^(1 - 1/scale^2). One that is relative already stays as it is.
        """
        if self.finer:
            return self
        if self.box or self.interpolation != "none":
            return replace(self, finer=scale)
        share = 1.0 - 1.0 / scale**2
        return Response((self.variance[0] * share, self.variance[1] * share)).towards_result

    def at(self, frequency: ArrayLike) -> tuple[Floats, Floats]:
        """The share that is left of waves of these frequencies, cycles per pixel, along y and x; 1 at frequency 0.

        Beyond its own Nyquist frequency the finer image shows nothing: there its response counts as it is at the end.
        """
        f = np.asarray(frequency, np.float64)
        still = self.still(f)
        along_y, along_x = (still * each for each in self.moved(f))
        return along_y, along_x

    def still(self, f: Floats) -> Floats:
        """All of it but the Gaussian, along either axis."""
        common = self._common(f)
        return common / self._common(np.minimum(f / self.finer, NYQUIST)) if self.finer else common

    def moved(self, f: Floats) -> tuple[Floats, Floats]:
        """The Gaussian alone, along y and x."""
        share = 1.0 - 1.0 / self.finer**2 if self.finer else 1.0
        along_y, along_x = (np.exp(-2.0 * (math.pi * f) ** 2 * share * each) for each in self.variance)
        return along_y, along_x

    def _common(self, f: Floats) -> Floats:
        """Pixels and interpolation, over the ground."""
        return transfer(self.interpolation, f) * (np.sinc(f) if self.box else 1.0)

    @property
    def mtf(self) -> float:
        """At the Nyquist frequency, the geometric mean of both axes."""
        down, across = self.at(NYQUIST)
        return math.sqrt(float(down) * float(across))

    @property
    def told(self) -> tuple[float, float, float, float]:
        """Four numbers for a network: the MTF at Nyquist of the Gaussians that agree with the response at half the
        Nyquist frequency, along y and x, and at Nyquist, along y and x. All four are the MTF of a Gaussian response."""
        half, full = self.at(NYQUIST / 2), self.at(NYQUIST)
        return float(half[0]) ** 4, float(half[1]) ** 4, float(full[0]), float(full[1])

    @property
    def turned(self) -> Response:
        """The same with the axes exchanged."""
        return replace(self, variance=self.variance[::-1])

    def taps(self, scale: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Weights of the pixels of a grid `scale` times as fine, along y and x, of which a pixel is the sum.

        Symmetric about the pixel's centre, with sum 1; as many along either axis, of the parity of `scale`.
        """
        return _taps(self, scale)


def transfer(interpolation: Interpolation, frequency: Floats) -> Floats:
    """The share of waves of these frequencies, cycles per sample, that an interpolation leaves, mean over positions.

    The transform of its kernel: Keys 1981; Unser 1999, Splines: a perfect fit for signal and image processing.
    """
    f = np.asarray(frequency, np.float64)
    if interpolation == "none":
        return np.ones_like(f)
    if interpolation == "linear":
        return np.sinc(f) ** 2
    if interpolation == "spline":
        return np.sinc(f) ** 4 * 3.0 / (2.0 + np.cos(2.0 * np.pi * f))
    near = np.sinc(f) ** 2 - np.sinc(2.0 * f)
    far = 3.0 * np.sinc(2.0 * f) ** 2 - 2.0 * np.sinc(2.0 * f) - np.sinc(4.0 * f)
    low = np.abs(f) < _LOW
    square = np.where(low, 1.0, (np.pi * f) ** 2)
    return np.where(low, 1.0, (3.0 * near - far) / square)


@lru_cache(maxsize=256)
def _taps(response: Response, scale: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    wanted = _left(response, scale, _WIDEST)
    radius = next((r for r in range(1, _WIDEST) if np.abs(_left(response, scale, r) - wanted).max() <= _REST), _WIDEST)
    down, across = _sampled(response, scale, radius)
    return tuple(down.tolist()), tuple(across.tolist())


def _left(response: Response, scale: int, radius: int) -> Floats:
    """The share of waves below Nyquist that taps of this radius leave, (axes, frequencies)."""
    waves = np.cos(2.0 * np.pi * np.linspace(0.0, NYQUIST, 33)[:, None] * _offsets(scale, radius))
    return np.stack([waves @ taps for taps in _sampled(response, scale, radius)])


def _sampled(response: Response, scale: int, radius: int) -> tuple[Floats, Floats]:
    """Both kernels at the centres of finer pixels, with sum 1."""
    kernels = kernel(response, _offsets(scale, radius))
    down, across = (each / each.sum() for each in kernels)
    return down, across


def kernel(response: Response, offsets: ArrayLike, highest: float | None = None) -> tuple[Floats, Floats]:
    """The point spread function along y and x at offsets in pixels: the inverse transform of the response.

    Waves above the frequency `highest`, cycles per pixel, are left out where that is given.
    """
    if highest is None:
        f = np.arange(0.0, _HIGHEST, 1.0 / _STEPS)
    else:
        f = np.linspace(0.0, highest, math.ceil(highest * _STEPS) + 1)
    waves = np.cos(2.0 * np.pi * np.asarray(offsets, np.float64)[..., None] * f)
    weight = np.where((f == 0) | (f == highest), 1.0, 2.0) * f[1]
    down, across = (waves @ (weight * each) for each in response.at(f))
    return down, across


def _offsets(scale: int, radius: int) -> Floats:
    """Centres of finer pixels up to `radius` pixels from a pixel's centre, in pixels."""
    count = 2 * radius * scale + scale % 2
    return (np.arange(count) - (count - 1) / 2) / scale


PROBE = Response.gaussian(0.25)
"""What a network is told where only its reach or its shape is looked for."""
