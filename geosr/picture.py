"""Pictures of stored numbers: one stretch for all that is compared, and PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.radiometry import Pixels, Radiometry

_END = 0.02
"""Share of the pixels that is black, and that is white."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The stored numbers that are shown black and white, band by band."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, pieces: Iterable[Pixels], radiometry: Radiometry) -> Stretch:
        """The stretch from the darkest to the brightest fiftieth of the valid pixels in pieces of a scene, at most."""
        bands: list[list[NDArray[np.float64]]] = [[] for _ in radiometry.nodata]
        for pixels in pieces:
            valid = radiometry.valid(pixels)
            for band, stored in enumerate(pixels.stored):
                bands[band].append((stored if valid is None else stored[valid[band]]).astype(np.float64).ravel())
        ends = [_ends(np.concatenate(each)) if each else (0.0, 1.0) for each in bands]
        return cls(tuple(low for low, _ in ends), tuple(high for _, high in ends))

    def shades(self, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Shades 0 to 255 (bands, height, width) of stored numbers of that shape."""
        out = np.empty(stored.shape, np.uint8)
        for band, low, high, target in zip(stored, self.low, self.high, out, strict=True):
            values = (band.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
            target[...] = np.rint(np.clip(np.nan_to_num(values), 0, 255))
        return out


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends, but nothing far out (Tukey 1977: three times the spread of the middle half), such as clouds."""
    if not values.size:
        return 0.0, 1.0
    low, dark, bright, high = (float(value) for value in np.quantile(values, (_END, 0.25, 0.75, 1 - _END)))
    far = 3 * (bright - dark) or high - low
    low, high = max(low, dark - far), min(high, bright + far)
    return low, high if high > low else low + 1.0


def rgba(pixels: Pixels, radiometry: Radiometry, stretch: Stretch) -> NDArray[np.uint8]:
    """A picture (height, width, 4) of one band in grey or three in colour; transparent where there is no data."""
    shades = stretch.shades(pixels.stored)
    valid = radiometry.valid(pixels)
    alpha = np.full(shades.shape[1:], 255, np.uint8) if valid is None else valid.all(axis=0).astype(np.uint8) * 255
    return np.stack([*(shades if len(shades) == 3 else shades[[0, 0, 0]]), alpha], axis=-1)


RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""Colours from little to much, evenly spaced: darker is less, for all who see colours and who don't (viridis)."""


def ramp(values: NDArray[np.floating], stretch: Stretch) -> NDArray[np.uint8]:
    """A picture (height, width, 4) of values (height, width) in colours of `RAMP`; transparent where they are NaN."""
    anchors = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in RAMP])
    places = np.linspace(0, 255, len(anchors))
    table = np.stack([np.interp(np.arange(256), places, shades) for shades in anchors.T], -1).round().astype(np.uint8)
    alpha = np.isfinite(values).astype(np.uint8)[..., None] * 255
    return np.concatenate([table[stretch.shades(values[None])[0]], alpha], -1)


def png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG of (height, width, 4) or, without alpha, (height, width, 3), rows told by their difference to the left."""
    height, width, channels = picture.shape
    if channels == 4 and (picture[..., 3] == 255).all():
        return png(picture[..., :3])
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 1
    rows[:, 1:] = picture.reshape(height, -1)
    rows[:, 1 + channels :] -= picture.reshape(height, -1)[:, :-channels]
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 3)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
