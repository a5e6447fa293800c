"""The contract of a result with its input: the same ground, numbers and metadata, and only finer pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine

from geosr.errors import InputError
from geosr.evaluation.metrics import shift_of, shift_sums
from geosr.evaluation.patches import Layer
from geosr.evaluation.sums import Doubles
from geosr.io.metadata_check import differences, kept_by_a_file
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene
from geosr.radiometry import same_number
from geosr.upscaler import repeated
from geosr.window import Window

_NEAR = 1e-3
"""Pixels that a grid may be off: geotransforms are written with fewer digits."""
_GAIN = 0.8, 1.25
"""Slopes of the result's means over the input's that pass for the same numbers."""
_OFF = 0.05
"""Standard deviations of the input that the result may be brighter or darker."""
_MOVED = 0.1
"""Input pixels that what is seen may lie off."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the pixels of a coarser raster lie on a result."""

    scale: int
    """Pixels of the result per own pixel."""
    corner: tuple[int, int]
    """Row and column of its outer corner, pixels of the result."""


def fit_of(result: Scene, other: Scene) -> Fit:
    """Where another raster lies on a result. Raises `InputError` with the first thing that doesn't fit."""
    for fault in grid_faults(result, other):
        raise InputError(f"{result.name} and {other.name} don't fit: {fault}")
    _, (down, right), scale = _placed(result, other)
    return Fit(round(scale[0]), (round(down), round(right)))


def grid_faults(result: Scene, other: Scene) -> Iterator[str]:
    """A line for each way in which the grid of a result is no finer one of another raster's pixels."""
    if _placeless(result) != _placeless(other):
        yield "one has coordinates and the other has none"
        return
    if result.crs != other.crs:
        yield f"the CRS is {_crs(result)}; expected {_crs(other)}"
        return
    turned, corner, scale = _placed(result, other)
    if turned * max(other.full) > _NEAR or min(scale) <= 0:
        yield "the grid is turned or mirrored"
        return
    drift = max(abs(each - round(each)) * side for each, side in zip(scale, other.shape, strict=True))
    if round(min(scale)) < 1 or drift > _NEAR * max(other.full) ** 0.5 + _NEAR:
        yield f"a pixel is divided in {scale[0]:.6g} x {scale[1]:.6g}; expected whole numbers"
        return
    if round(scale[0]) != round(scale[1]):
        yield f"a pixel is divided in {scale[0]:.4g} rows and {scale[1]:.4g} columns; expected as many"
        return
    if max(abs(each - round(each)) for each in corner) > 10 * _NEAR:
        parts = ", ".join(f"{each:.4g}" for each in corner)
        yield f"its pixels don't divide the input's: corners lie {parts} of its pixels apart; expected whole ones"


def _placed(result: Scene, other: Scene) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """The turn of another raster's grid, its corner and the size of its pixels, in the result's."""
    if _placeless(result):
        rows, cols = (theirs / own for own, theirs in zip(other.shape, result.shape, strict=True))
        return 0.0, (0.0, 0.0), (rows, cols)
    moved: Affine = ~result.transform @ other.transform
    return max(abs(moved.b), abs(moved.d)), (moved.f, moved.c), (moved.e, moved.a)


def _placeless(scene: Scene) -> bool:
    return bool(scene.transform.is_identity)


def _crs(scene: Scene) -> str:
    return "none" if scene.crs is None else scene.crs.to_string()[:60]


def faults(result: Scene, source: Scene, bands: list[int]) -> Iterator[str]:
    """A line for each thing that a result doesn't keep of its input.

    Grid and metadata are compared as they stand, values by means of the result's blocks in fixed windows. `bands` are
    those of the source that the result's are, counted from 0.
    """
    wrong = list(grid_faults(result, source))
    yield from wrong
    if not wrong:
        yield from extent_faults(result, source)
    if not bands:
        yield f"it has {len(result.names)} bands; expected the {len(source.names)} of {source.name}, or some by name"
        return
    yield from _metadata_faults(result, source, bands)
    if not wrong:
        yield from _value_faults(result, source, bands)


def extent_faults(result: Scene, source: Scene) -> Iterator[str]:
    """A line for each way in which a result, whose grid fits, shows more than its input, or no whole pixels of it."""
    fit = fit_of(result, source)
    if fit.scale < 2:
        yield f"its pixels are as large as those of {source.name}"
    for side, length, off, full in zip(("rows", "columns"), result.shape, fit.corner, source.shape, strict=True):
        if length % fit.scale or off % fit.scale:
            yield f"its {length} {side} are not whole pixels of the input: expected a multiple of {fit.scale}"
        elif off > 0 or length - off > full * fit.scale:
            yield f"its {side} reach beyond the input, which has {full}"


def _metadata_faults(result: Scene, source: Scene, bands: list[int]) -> Iterator[str]:
    if not np.can_cast(source.dtype, result.dtype, "safe"):
        yield f"its type {result.dtype} can't hold every {source.dtype} number"
    if not same_number(source.nodata, result.nodata):
        yield f"nodata is {_said(result.nodata)}; expected {_said(source.nodata)}"
    scale = fit_of(result, source).scale if not list(grid_faults(result, source)) else 1
    metadata = replace(
        source.metadata,
        bands=tuple(source.metadata.bands[band] for band in bands),
        crs=result.crs,  # grid and nodata have lines of their own
        nodata=result.nodata,
    )
    yield from differences(kept_by_a_file(metadata.zoom(scale), result.dtype), result.metadata)


def _said(nodata: float | None) -> str:
    return "none" if nodata is None else f"{nodata:.9g}"


def _value_faults(result: Scene, source: Scene, bands: list[int]) -> Iterator[str]:
    fit = fit_of(result, source)
    down, right = (-(off // fit.scale) for off in fit.corner)
    height, width = (side // fit.scale for side in result.shape)
    none = [0.0] * len(bands)
    own, theirs = Layer.of(result, range(len(bands)), zeros=none), Layer.of(source, bands, zeros=none)
    moved, pairs, invented = np.zeros((2, 3)), [], 0
    for window in spread_windows((height, width), len(bands)):
        there = window.shift(down, right).clip(Window(0, 0, *source.shape))
        at = there.shift(-down, -right)
        (fine, known), (coarse, valid) = own.read(at.scale(fit.scale)), theirs.read(there)
        invented += int((known & ~repeated(valid, fit.scale)).sum())
        blocks = fine.reshape(len(fine), at.height, fit.scale, at.width, fit.scale).mean((2, 4))
        both = valid & known.reshape(at.height, fit.scale, at.width, fit.scale).all((1, 3))
        pairs.append((blocks[:, both], coarse[:, both]))
        if both.all() and min(at.height, at.width) >= 16:
            for number, band in enumerate(result.sensor.bands):
                moved += 0.0 if band.categorical else shift_sums(blocks[number], coarse[number])
    if invented:
        yield f"{invented} of its pixels in the windows looked at are data where the input has none"
    yield from _number_faults(result, *(np.concatenate(each, axis=1) for each in zip(*pairs, strict=True)))
    off = shift_of(moved)
    if math.hypot(*off) > _MOVED:
        yield f"what is seen lies {off[0]:+.2f} rows and {off[1]:+.2f} columns of the input off"


def _number_faults(result: Scene, fine: Doubles, coarse: Doubles) -> Iterator[str]:
    for band, own, theirs in zip(result.sensor.bands, fine, coarse, strict=True):
        spread = float(theirs.std()) if theirs.size else 0.0
        if band.categorical or spread == 0.0:
            continue
        gain = float(np.mean((own - own.mean()) * (theirs - theirs.mean()))) / spread**2
        off = float(own.mean() - theirs.mean())
        if not _GAIN[0] <= gain <= _GAIN[1]:
            yield f"{band.name}: values vary {gain:.4g} times as much as the input's"
        elif abs(off) > _OFF * spread + abs(result.scales[0]):
            yield f"{band.name}: values lie {off:+.4g} off the input's on the mean"
