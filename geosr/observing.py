"""How a scene was observed, settled once for the whole of it: never for a tile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io.samples import sample_windows
from geosr.io.scene import Scene
from geosr.models.frames import HEADS
from geosr.models.model import Model, Precision
from geosr.models.runtime import ModelNetwork, is_projected, network_for
from geosr.mtf import MtfEstimate, estimate_mtf
from geosr.noise import SILENT, Noise, noise_of, published_noise
from geosr.radiometry import Head, Pixels, Radiometry
from geosr.sensor_table import SENTINEL_2, Origin
from geosr.sensors import Band, Observation, SensorGuess, about_noise, about_response
from geosr.window import Window

Blur = float | Sequence[float] | Literal["scene"] | None
"""The MTF at Nyquist: one number, one per band, from the pixels, or from the sensor table."""
Windows = list[NDArray[np.float64]]
"""Windows (height, width) of a band's stored numbers, NaN for no data."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything that decides a result beside the pixels of the source: for files and for arrays, once for all of it.

    What is printed, tagged and known again is read off it. Pickles small; to make one loads no network.
    """

    model: Model
    radiometry: Radiometry
    sensor: SensorGuess
    """With all that is known of each band before a pixel is read; what is given wins over the sensor table."""
    blur_of_scene: bool
    """Whether the pixels are to tell how blurred they are, where they can."""
    projected: bool
    """Whether results are corrected so that, degraded, they give the input back."""
    device: str = "auto"
    precision: Precision = "float32"
    fused: bool = False
    """Whether other dates are fused with the scene, which takes its blur and noise whatever the model."""

    @property
    def bands(self) -> Observation:
        """All that is known of each band before a pixel is read."""
        return self.sensor.bands

    @property
    def categorical(self) -> tuple[bool, ...]:
        """Per band: stored numbers are repeated and never mixed."""
        return tuple(band.categorical for band in self.bands)

    @property
    def conditioned(self) -> bool:
        """True where it matters how the scene was observed."""
        return self.model.card.conditioned or self.projected or self.fused

    @property
    def sampled(self) -> bool:
        """True where a few windows of the source have to be looked at."""
        return (self.conditioned or self.model.card.levelled) and not all(self.categorical)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The results, the image first."""
        return HEADS if self.fused else self.model.heads

    def of(self, other: Scene) -> Settled:
        """The same for another scene of such bands: what was given of blur and noise holds for it, too."""
        pairs = zip(other.sensor.bands, self.bands, strict=True)
        sensor = replace(other.sensor, bands=tuple(band.given_as(own) for band, own in pairs))
        return replace(self, radiometry=replace(other.radiometry, out_dtype=self.radiometry.out_dtype), sensor=sensor)

    def part(self, indices: Sequence[int]) -> Settled:
        """The same for some bands, counted from 0."""
        return replace(self, radiometry=self.radiometry.bands(indices), sensor=self.sensor.part(indices))

    def observe(self, pieces: Iterable[Pixels] | None = None) -> tuple[Observation, tuple[str, ...]]:
        """The bands as they were observed, and a line each on what was decided, from pieces of them (`samples`).

        What is given wins over the sensor table and over what the pixels tell. Without pieces the noise is 0.
        """
        patches = _patches(pieces or (), self.radiometry)
        bands, lines = self.bands, tuple[str, ...]()
        if self.conditioned:
            means = [] if pieces is None else [_mean(band) for band in patches]
            bands = tuple(map(self._observed, bands, patches, means)) if means else bands
            lines = about_response(bands), about_noise(bands, means)
        levels, about = self._levels(patches)
        return tuple(replace(band, levels=each) for band, each in zip(bands, levels, strict=True)), (*lines, *about)

    def _observed(self, band: Band, patches: Windows, mean: float) -> Band:
        """The band with the blur and the noise that windows of it tell."""
        noise, origin = self._noise(band, patches, mean)
        band = replace(band, noise=noise, noise_from=origin)
        band = self.model.looked(band, patches)
        if not self.blur_of_scene:
            return band
        found = estimate_mtf(patches)
        if found.response is None:
            return replace(band, response_why=f"{band.response_why}; the scene can't tell: {found.why}")
        return replace(band, response=found.response, response_from=Origin.SCENE, response_why=found.why)

    def _noise(self, band: Band, patches: Windows, mean: float) -> tuple[Noise, Origin]:
        """The noise of a band, and where it comes from."""
        zero, table, scale = band.zero, band.table, self._reflectance(mean)
        if band.snr is not None:
            return Noise(((mean - zero) / band.snr) ** 2, 0.0), Origin.GIVEN
        if not patches:
            return SILENT, Origin.SCENE
        # What is published holds for bands as their sensor made them.
        native = table and table.response and table.is_native(self.sensor.pixel_size)
        published = published_noise(table, scale=scale, zero=zero) if table and native and scale else None
        return noise_of(patches, published=published, zero=zero)

    def _reflectance(self, mean: float) -> float | None:
        """The reflectance of one stored number: a ten-thousandth in Sentinel-2's products, 1 where floats are
        reflectance; None where that isn't known."""
        if self.sensor.sensor != SENTINEL_2.name:
            return None
        if np.issubdtype(np.dtype(self.radiometry.dtype), np.integer):
            return 1e-4
        return 1.0 if abs(mean) < _BRIGHTEST else None

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

    def _levels(self, patches: list[Windows]) -> tuple[Sequence[tuple[float, float] | None], tuple[str, ...]]:
        """The dark and the bright number of each band, where a network from elsewhere asks for it, and a line on it."""
        card, dtype = self.model.card, self.radiometry.dtype
        narrow = not self.model.wide and self.radiometry.working.itemsize > 4
        lines = (f"{card.title} computes in float32, which keeps 7 digits of {dtype}",) if narrow else ()
        if not card.levelled:
            return [None] * len(patches), lines
        levels = [(0.0, 255.0) if dtype == "uint8" else _levels(band) for band in patches]
        least, most = card.value_range
        listed = ", ".join(dict.fromkeys(f"{low:.6g} to {high:.6g}" for low, high in levels[:8]))
        beyond = "what lies beyond is interpolated, not clipped"
        return levels, (f"stored numbers {listed} are {least:g} to {most:g} to it; {beyond}", *lines)


def settle(
    model: Model,
    *,
    radiometry: Radiometry,
    sensor: SensorGuess,
    mtf: Blur,
    snr: float | Sequence[float] | None,
    project: bool | None,
    device: str,
    precision: Precision,
    fused: bool = False,
) -> Settled:
    """The decisions on a result, from what is known of the source and what was asked for; no pixel is read.

    Raises `InputError` for options out of range, `ModelError` for bands that the model can't be given.
    """
    if model.adds and not fused:
        raise InputError(f"{model.card.title} adds other dates of the place: name their files, with --fuse")
    model.assign(sensor.bands)
    of_scene = isinstance(mtf, str) and mtf == "scene"
    known = sensor.given(None if of_scene else mtf, snr)
    return Settled(model, radiometry, known, of_scene, is_projected(project, model.card), device, precision, fused)


def scale_of(scale: int | None, *, guided: bool = False, to: float | None = None) -> int:
    """The scale that is meant where none is given: 4, or 1 for bands that are brought to pixels of `to` metres.

    Raises `InputError` beside a guide, whose grid the result has.
    """
    if guided and (scale is not None or to is not None):
        option = "--scale" if to is None else "--to"
        raise InputError(f"with a guide its grid is the result's; leave {option} out")
    if scale is None:
        return 4 if to is None else 1
    return scale


def metres_of(to: Any) -> float | None:
    """The number of "10m" or 10; None stays. Raises `InputError` for anything else."""
    if to is None:
        return None
    try:
        metres = float(str(to).strip().lower().removesuffix("m"))
    except ValueError:
        metres = math.nan
    if not (math.isfinite(metres) and metres > 0):
        raise InputError(f"--to {to}: expected the metres of a pixel, such as 10m")
    return metres


def check_guided(model: Model, guided: bool, project: bool | None) -> None:
    """Raise `InputError` where a guide is given to a model that takes none, or a model that takes one has none."""
    if model.guided and not guided:
        raise InputError(f"{model.card.title} needs a finer raster beside the bands: name it with --guide, or guide=")
    if guided and not model.guided:
        raise InputError(f"{model.card.title} takes no guide; leave --model out, or --guide")
    if guided and project is not None:
        raise InputError(f"results of {model.card.title} are brought near the bands by itself; leave --project out")


def check_fused(model: Model, fused: bool, guided: bool, project: bool | None, reference: object = None) -> None:
    """Raise `InputError` where dates can't be fused as is asked."""
    if reference is not None and not fused:
        raise InputError("--reference speaks of dates that are fused; add --fuse, or fuse=True")
    if fused and guided:
        raise InputError("dates are fused without a guide; fuse first, or leave --guide and --to out")
    if fused and len(model.heads) > 1:
        raise InputError(f"the uncertainty of {model.card.title} is that of one date; with --fuse leave it out")
    if fused and (project is not None or model.card.generative):
        raise InputError(
            f"{model.card.title} with --fuse is brought near all dates by itself; leave --project out, and generative "
            "models"
        )


def blur_of(scene: Scene) -> list[MtfEstimate]:
    """Estimates of each band's blur from its pixels: what `observe` takes where `mtf` is "scene"."""
    return [estimate_mtf(band) for band in _patches(samples(scene), scene.radiometry)]


def samples(scene: Scene) -> Iterable[Pixels]:
    """A few windows spread over the whole file, the same ones whatever part of it is wanted. Raises as reading does."""
    whole = replace(scene, window=Window(0, 0, *scene.full), area=None)
    windows = (window.shift(-scene.window.row, -scene.window.col) for window in sample_windows(whole))
    return map(scene.source.pixels, windows)


def _mean(patches: Windows) -> float:
    """Of the valid pixels of a band, window by window; 0 where there are none."""
    return float(np.mean([np.nanmean(patch) for patch in patches])) if patches else 0.0


_BRIGHTEST = 2.0
"""Mean reflectance that no scene exceeds."""


def _levels(patches: Windows) -> tuple[float, float]:
    """The stored numbers that are dark and bright in a band: the thousandths at both ends."""
    if not patches:
        return 0.0, 1.0
    values = np.concatenate([patch[np.isfinite(patch)] for patch in patches])
    low, high = (float(value) for value in np.quantile(values, _ENDS))
    return low, high if high > low else low + 1.0


_ENDS = (0.001, 0.999)
"""Shares of pixels that are as dark as dark, and not brighter than bright."""


def _patches(pieces: Iterable[Pixels], radiometry: Radiometry) -> list[Windows]:
    """Per band its windows; those without data are left out."""
    patches: list[Windows] = [[] for _ in radiometry.nodata]
    for pixels in pieces:
        valid = radiometry.valid(pixels)
        for band, stored in enumerate(pixels.stored):
            patch = stored.astype(np.float64)
            if valid is not None:
                patch[~valid[band]] = np.nan
            if not np.isnan(patch).all():
                patches[band].append(patch)
    return patches
