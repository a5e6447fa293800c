"""How a scene was observed, settled once for the whole of it: never for a tile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.io.samples import sample_windows
from geosr.io.scene import Scene
from geosr.models.model import Model, Precision
from geosr.models.runtime import ModelNetwork, is_projected, network_for
from geosr.mtf import MtfEstimate, estimate_mtf
from geosr.noise import SILENT, Noise, noise_of, published_noise
from geosr.radiometry import Pixels, Radiometry
from geosr.sensor_table import SENTINEL_2
from geosr.sensors import Observation, SensorGuess, checked_mtf, checked_snr, colors, observation
from geosr.window import Window

Blur = float | Sequence[float] | Literal["scene"] | None
"""The MTF at Nyquist: one number, one per band, from the pixels, or from the sensor table."""
Patches = list[list[NDArray[np.float64]]]
"""Per band, windows of stored numbers."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything that decides a result beside the pixels of the source: for files and for arrays, once for all of it.

    What is printed, tagged and known again is read off it. Pickles small; to make one loads no network.
    """

    model: Model
    radiometry: Radiometry
    categorical: tuple[bool, ...]
    """Per band: stored numbers are repeated and never mixed."""
    colors: tuple[str, ...]
    """See `Observation.colors`."""
    sensor: SensorGuess
    mtf: tuple[float, ...] | Literal["scene"] | None
    """As asked for, checked: one number for each band, "scene", or None."""
    snr: tuple[float, ...] | None
    projected: bool
    """Whether results are corrected so that, degraded, they give the input back."""
    device: str = "auto"
    precision: Precision = "float32"

    @property
    def told(self) -> bool:
        """True where it matters how the scene was observed."""
        return self.model.card.conditioned or self.projected

    @property
    def sampled(self) -> bool:
        """True where a few windows of the source have to be looked at."""
        return (self.told or self.model.card.levelled) and not all(self.categorical)

    def bands(self, indices: Sequence[int]) -> Settled:
        """The same for some bands, counted from 0."""

        def some(values: Any) -> Any:
            return tuple(values[band] for band in indices) if isinstance(values, tuple) else values

        return replace(
            self,
            radiometry=self.radiometry.bands(indices),
            categorical=some(self.categorical),
            colors=some(self.colors),
            sensor=replace(self.sensor, bands=some(self.sensor.bands)),
            mtf=some(self.mtf),
            snr=some(self.snr),
        )

    def observe(self, pieces: Iterable[Pixels] | None = None) -> tuple[Observation, tuple[str, ...]]:
        """The observation of the bands, and a line each on what was decided, from pieces of them (`sample_windows`).

        What is given wins over the sensor table and over what the pixels tell. Without pieces the noise is 0.
        """
        patches = _patches(pieces or (), self.radiometry)
        if self.told and pieces is not None:
            seen, lines = observe_patches(patches, self.radiometry, self.sensor, self.mtf, self.snr)
        else:
            mtf = None if self.mtf == "scene" else self.mtf
            seen, lines = observation(self.sensor, (), mtf=mtf)
        levels, about = self._levels(patches)
        return replace(seen, colors=self.colors, levels=levels), (*(lines if self.told else ()), *about)

    def network(self, observation: Observation) -> ModelNetwork:
        """The network for pixels that were so observed; loads it, once a process. Raises as `network_for`."""
        return network_for(
            self.model,
            self.model.scale,
            observation,
            device=self.device,
            precision=self.precision,
            project=self.projected,
            rounding=self.radiometry.rounding,
        )

    def _levels(self, patches: Patches) -> tuple[tuple[tuple[float, float], ...], tuple[str, ...]]:
        """What is dark and bright in each band, where a network from elsewhere asks for it, and a line on it."""
        card, dtype = self.model.card, self.radiometry.dtype
        narrow = not self.model.wide and self.radiometry.working.itemsize > 4
        lines = (f"{card.title} computes in float32, which keeps 7 digits of {dtype}",) if narrow else ()
        if not card.levelled:
            return (), lines
        levels = ((0.0, 255.0),) * len(patches) if dtype == "uint8" else tuple(map(_levels, patches))
        least, most = card.value_range
        listed = ", ".join(dict.fromkeys(f"{low:.6g} to {high:.6g}" for low, high in levels[:8]))
        beyond = "what lies beyond is interpolated, not clipped"
        return levels, (f"stored numbers {listed} are {least:g} to {most:g} to it; {beyond}", *lines)


def settle(
    model: Model,
    *,
    radiometry: Radiometry,
    categorical: tuple[bool, ...],
    colors: tuple[str, ...],
    sensor: SensorGuess,
    mtf: Blur,
    snr: float | Sequence[float] | None,
    project: bool | None,
    device: str,
    precision: Precision,
) -> Settled:
    """The decisions on a result, from what is known of the source and what was asked for; no pixel is read.

    Raises `InputError` for options out of range, `ModelError` for bands that the model can't be given.
    """
    count = len(categorical)
    model.assign(colors)
    return Settled(
        model,
        radiometry,
        categorical,
        colors,
        sensor,
        mtf if mtf is None or mtf == "scene" else checked_mtf(mtf, count),
        None if snr is None else checked_snr(snr, count),
        is_projected(project, model.card),
        device,
        precision,
    )


def observe(scene: Scene, mtf: Blur, snr: float | Sequence[float] | None) -> tuple[Observation, tuple[str, ...]]:
    """The observation of a scene, and a line each on how it was decided. Raises as `settle` and as reading does."""
    patches = _patches(samples(scene), scene.radiometry)
    return observe_patches(patches, scene.radiometry, scene.sensor, mtf, snr)


def blur_of(scene: Scene) -> list[MtfEstimate]:
    """Estimates of each band's blur from its pixels: what `observe` takes where `mtf` is "scene"."""
    return [estimate_mtf(band) for band in _patches(samples(scene), scene.radiometry)]


def colors_of(scene: Scene) -> tuple[str, ...]:
    """The common name of each band, see `geosr.sensors.colors`."""
    painted = [str(color.name) for color in scene.metadata.colors]
    return colors(scene.sensor, scene.names, scene.categorical, painted)


def samples(scene: Scene) -> Iterable[Pixels]:
    """A few windows spread over the whole file, the same ones whatever part of it is wanted. Raises as reading does."""
    whole = replace(scene, window=Window(0, 0, *scene.full), area=None)
    windows = (window.shift(-scene.window.row, -scene.window.col) for window in sample_windows(whole))
    return map(scene.source.pixels, windows)


def observe_patches(
    patches: Patches,
    radiometry: Radiometry,
    sensor: SensorGuess,
    mtf: Blur,
    snr: float | Sequence[float] | None,
) -> tuple[Observation, tuple[str, ...]]:
    """Blur and noise from windows of each band, and a line each on how they were decided."""
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


def _levels(patches: list[NDArray[np.float64]]) -> tuple[float, float]:
    """The stored numbers that are dark and bright in a band: the thousandths at both ends."""
    if not patches:
        return 0.0, 1.0
    values = np.concatenate([patch[np.isfinite(patch)] for patch in patches])
    low, high = (float(value) for value in np.quantile(values, _ENDS))
    return low, high if high > low else low + 1.0


_ENDS = (0.001, 0.999)
"""Shares of pixels that are as dark as dark, and not brighter than bright."""


def _patches(pieces: Iterable[Pixels], radiometry: Radiometry) -> Patches:
    """Per band, windows (height, width) of stored numbers with NaN for no data; those without data are left out."""
    patches: Patches = [[] for _ in radiometry.nodata]
    for pixels in pieces:
        valid = radiometry.valid(pixels)
        for band, stored in enumerate(pixels.stored):
            patch = stored.astype(np.float64)
            if valid is not None:
                patch[~valid[band]] = np.nan
            if not np.isnan(patch).all():
                patches[band].append(patch)
    return patches
