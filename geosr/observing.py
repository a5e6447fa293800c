"""How a scene was observed, settled once for the whole of it: never for a tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geosr.io.scene import Scene, sample_windows
from geosr.models.card import Card
from geosr.mtf import MtfEstimate, estimate_mtf
from geosr.noise import SILENT, Noise, noise_of, published_noise
from geosr.radiometry import Pixels, Radiometry
from geosr.sensor_table import SENTINEL_2
from geosr.sensors import Observation, SensorGuess, colors, observation
from geosr.window import Window

Blur = float | Sequence[float] | Literal["scene"] | None
"""The MTF at Nyquist: one number, one per band, from the pixels, or from the sensor table."""


def observe(
    scene: Scene, mtf: Blur, snr: float | Sequence[float] | None, *, sample: bool
) -> tuple[Observation, tuple[str, ...]]:
    """Blur and noise of a scene, and one line each on how they were decided.

    Options win over the sensor table and over what the pixels tell. Noise and mean levels, and the blur where `mtf` is
    "scene", come from a few windows spread over the whole file, the same ones whatever part of it is wanted and however
    that is tiled. With `sample` False no pixel is read, for models that make no use of them. Raises `InputError` for
    options out of range, and what reading the scene raises.
    """
    if not sample:
        levels = (1.0,) * len(scene.bands)
        given = None if mtf == "scene" else mtf
        return observation(scene.sensor, levels, mtf=given, snr=snr, noise=((SILENT, ""),) * len(scene.bands))
    return observe_pixels(_samples(scene), scene.radiometry, scene.sensor, mtf, snr)


def blur_of(scene: Scene) -> list[MtfEstimate]:
    """Estimates of each band's blur from its pixels: what `observe` takes where `mtf` is "scene"."""
    return [estimate_mtf(band) for band in _patches(_samples(scene), scene.radiometry)]


def with_levels(seen: Observation, scene: Scene, card: Card) -> tuple[Observation, tuple[str, ...]]:
    """An observation with what a network from elsewhere asks for, and a line on how numbers are moved into its range.

    Levels come from the windows that the noise comes from. Raises what reading the scene raises.
    """
    painted = [str(color.name) for color in scene.metadata.colors]
    names = colors(scene.sensor, scene.names, scene.categorical, painted)
    if not card.levelled:
        return replace(seen, colors=names), ()
    levels = levels_of(_samples(scene), scene.radiometry)
    least, most = card.value_range
    listed = ", ".join(dict.fromkeys(f"{low:.6g} to {high:.6g}" for low, high in levels[:8]))
    line = f"stored numbers {listed} are {least:g} to {most:g} to it; what lies beyond is interpolated, not clipped"
    return replace(seen, colors=names, levels=levels), (line,)


def _samples(scene: Scene) -> Iterable[Pixels]:
    """A few windows spread over the whole file."""
    whole = replace(scene, window=Window(0, 0, *scene.full), area=None)
    windows = (window.shift(-scene.window.row, -scene.window.col) for window in sample_windows(whole))
    return map(scene.source.pixels, windows)


def observe_pixels(
    pieces: Iterable[Pixels],
    radiometry: Radiometry,
    sensor: SensorGuess,
    mtf: Blur,
    snr: float | Sequence[float] | None,
) -> tuple[Observation, tuple[str, ...]]:
    """Blur and noise from pieces of a scene, those of `sample_windows`; see `observe`."""
    patches = _patches(pieces, radiometry)
    means = [float(np.mean([np.nanmean(patch) for patch in band])) if band else 0.0 for band in patches]
    noise = None if snr is not None else _noise(patches, means, radiometry, sensor)
    if mtf != "scene":
        return observation(sensor, means, mtf=mtf, snr=snr, noise=noise)
    told = [(found.response, found.why) for found in map(estimate_mtf, patches)]
    return observation(sensor, means, snr=snr, noise=noise, blur=told)


def _noise(
    patches: Sequence[list[NDArray[np.float64]]], means: Sequence[float], radiometry: Radiometry, sensor: SensorGuess
) -> list[tuple[Noise, str]]:
    """The noise of each band, and where it comes from. What is published holds for bands as their sensor made them."""
    bands = zip(patches, means, sensor.bands, sensor.known, strict=True)
    return [
        noise_of(
            patch,
            published=published_noise(band, scale=scale, zero=sensor.zero) if band and native and scale else None,
            zero=sensor.zero,
        )
        if patch
        else (SILENT, "scene")
        for patch, mean, band, native in bands
        for scale in (_reflectance(radiometry, mean, sensor),)
    ]


def _reflectance(radiometry: Radiometry, mean: float, sensor: SensorGuess) -> float | None:
    """The reflectance of one stored number: a ten-thousandth in Sentinel-2's products, 1 where floats are reflectance;
    None where that isn't known."""
    if sensor.sensor != SENTINEL_2.name:
        return None
    if np.issubdtype(np.dtype(radiometry.dtype), np.integer):
        return 1e-4
    return 1.0 if abs(mean) < _BRIGHTEST else None


_BRIGHTEST = 2.0
"""Mean reflectance that no scene exceeds."""


def levels_of(pieces: Iterable[Pixels], radiometry: Radiometry) -> tuple[tuple[float, float], ...]:
    """Per band, the stored numbers that are dark and bright, from pieces of a scene, those of `sample_windows`.

    All that the type holds where that is a byte, as in a photograph; else the thousandths at both ends.
    """
    if radiometry.dtype == "uint8":
        return ((0.0, 255.0),) * len(radiometry.nodata)
    return tuple(_levels(band) for band in _patches(pieces, radiometry))


def _levels(patches: list[NDArray[np.float64]]) -> tuple[float, float]:
    if not patches:
        return 0.0, 1.0
    values = np.concatenate([patch[np.isfinite(patch)] for patch in patches])
    low, high = (float(value) for value in np.quantile(values, _ENDS))
    return low, high if high > low else low + 1.0


_ENDS = (0.001, 0.999)
"""Shares of pixels that are as dark as dark, and not brighter than bright."""


def _patches(pieces: Iterable[Pixels], radiometry: Radiometry) -> list[list[NDArray[np.float64]]]:
    """Per band, windows (height, width) of stored numbers with NaN for no data; those without data are left out."""
    patches: list[list[NDArray[np.float64]]] = [[] for _ in radiometry.nodata]
    for pixels in pieces:
        valid = radiometry.valid(pixels)
        for band, stored in enumerate(pixels.stored):
            patch = stored.astype(np.float64)
            if valid is not None:
                patch[~valid[band]] = np.nan
            if not np.isnan(patch).all():
                patches[band].append(patch)
    return patches
