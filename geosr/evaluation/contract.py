"""The contract of a result with its input: the same ground, numbers and metadata, and only finer pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
_SIDES = "rows", "columns"


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


def common_part(shape: tuple[int, int], input_fit: Fit, fits: Mapping[Fit, tuple[int, int]]) -> Window:
    """The part of a result of this shape that rasters of these shapes cover, the input's pixels whole."""
    part = Window(0, 0, *shape)
    for fit, (height, width) in fits.items():
        part = part.clip(Window(*fit.corner, height * fit.scale, width * fit.scale))
    scale, (down, right) = input_fit.scale, input_fit.corner
    row, col = (-(-(start - off) // scale) for start, off in ((part.row, down), (part.col, right)))
    end, far = ((stop - off) // scale for stop, off in zip(part.stop, (down, right), strict=True))
    return Window(row, col, max(0, end - row), max(0, far - col)).scale(scale).shift(down, right)


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
    place, values = ([], []) if wrong else _ground_faults(result, source, bands)
    yield from (*wrong, *place)
    if not bands:
        yield f"it has {len(result.names)} bands; expected the {len(source.names)} of {source.name}, or some by name"
        return
    yield from _metadata_faults(result, source, bands)
    yield from values


def extent_faults(result: Scene, source: Scene) -> Iterator[str]:
    """A line for each way in which a result, whose grid fits, shows more than its input, or no whole pixels of it."""
    yield from _size_faults(result, source)
    yield from _edge_faults(result, source)


def _size_faults(result: Scene, source: Scene) -> Iterator[str]:
    scale = fit_of(result, source).scale
    if scale < 2:
        yield f"its pixels are as large as those of {source.name}"
    for side, length in zip(_SIDES, result.shape, strict=True):
        if length % scale:
            yield f"its {length} {side} are not whole pixels of the input: expected a multiple of {scale}"


def _edge_faults(result: Scene, source: Scene) -> Iterator[str]:
    fit = fit_of(result, source)
    if any(off % fit.scale for off in fit.corner):
        parts = " and ".join(f"{-off / fit.scale % 1:.4g} {side}" for side, off in zip(_SIDES, fit.corner, strict=True))
        yield f"its edges lie {parts} off those of the input's pixels; expected on them"
        return
    for side, length, off, full in zip(_SIDES, result.shape, fit.corner, source.shape, strict=True):
        if off > 0 or length - length % fit.scale - off > full * fit.scale:
            yield f"its {side} reach beyond the input, which has {full}"


def _ground_faults(result: Scene, source: Scene, bands: list[int]) -> tuple[list[str], list[str]]:
    """Lines on its extent and on where what is seen lies, one where that has one cause; and lines on its values."""
    sizes, edges = list(_size_faults(result, source)), list(_edge_faults(result, source))
    off, values = _values(result, source, bands, bool(edges)) if bands else ((0.0, 0.0), [])
    if math.hypot(*off) <= _MOVED:
        return [*sizes, *edges], values
    if edges and not _lies_with_edges(result, source, off):
        return [*sizes, *edges], []  # it isn't known what lies there, nor then what values it should have
    down, right = (f"{round(each, 2) + 0.0:+.2f}" for each in off)
    seen = "its edges and what is seen lie" if edges else "what is seen lies"
    return [*sizes, f"{seen} {down} rows and {right} columns of the input off"], values


def _lies_with_edges(result: Scene, source: Scene, off: tuple[float, float]) -> bool:
    """True where what is seen lies as far off as the edges; of a part that is told but for whole pixels."""
    fit = fit_of(result, source)
    apart = [each + corner / fit.scale for each, corner in zip(off, fit.corner, strict=True)]
    if result.shape != tuple(side * fit.scale for side in source.shape):
        apart = [each - round(each) for each in apart]
    return math.hypot(*apart) < _MOVED


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


def _values(result: Scene, source: Scene, bands: list[int], misplaced: bool) -> tuple[tuple[float, float], list[str]]:
    """Where what is seen lies off, (down, right) in input pixels, and a line for each thing wrong with values."""
    fit = fit_of(result, source)
    part = common_part(result.shape, fit, {fit: source.shape})
    if not part.size:
        return (0.0, 0.0), []
    begins, none = (part.row, part.col), [0.0] * len(bands)
    down, right = ((first - off) // fit.scale for first, off in zip(begins, fit.corner, strict=True))
    own, theirs = Layer.of(result, range(len(bands)), begins, none), Layer.of(source, bands, (down, right), none)
    moved, pairs, invented = np.zeros((2, 3)), [], 0
    for window in spread_windows((part.height // fit.scale, part.width // fit.scale), len(bands)):
        (fine, known), (coarse, valid) = own.read(window.scale(fit.scale)), theirs.read(window)
        invented += int((known & ~repeated(valid, fit.scale)).sum())
        blocks = fine.reshape(len(fine), window.height, fit.scale, window.width, fit.scale).mean((2, 4))
        both = valid & known.reshape(window.height, fit.scale, window.width, fit.scale).all((1, 3))
        pairs.append((blocks[:, both], coarse[:, both]))
        if both.all() and min(window.height, window.width) >= 16:
            for number, band in enumerate(result.sensor.bands):
                moved += 0.0 if band.categorical else shift_sums(blocks[number], coarse[number])
    off = (0.0, 0.0) if math.isnan(math.hypot(*shift_of(moved))) else shift_of(moved)
    lines = [f"{invented} of its pixels in the windows looked at are data where the input has none"] if invented else []
    numbers, given = (np.concatenate(each, axis=1) for each in zip(*pairs, strict=True))
    return off, [*lines, *_number_faults(result, numbers, given, misplaced or math.hypot(*off) > _MOVED)]


def _number_faults(result: Scene, fine: Doubles, coarse: Doubles, misplaced: bool) -> Iterator[str]:
    """Lines on values; how much they vary is told by pixels that lie on each other, else by all of them."""
    for band, own, theirs in zip(result.sensor.bands, fine, coarse, strict=True):
        spread = float(theirs.std()) if theirs.size else 0.0
        if band.categorical or spread == 0.0:
            continue
        gain = float(np.mean((own - own.mean()) * (theirs - theirs.mean()))) / spread**2
        gain = float(own.std()) / spread if misplaced else gain
        off = float(own.mean() - theirs.mean())
        if not _GAIN[0] <= gain <= _GAIN[1]:
            yield f"{band.name}: values vary {gain:.4g} times as much as the input's"
        elif abs(off) > _OFF * spread + abs(result.scales[0]):
            yield f"{band.name}: values lie {off:+.4g} off the input's on the mean"
