"""Coordinates and whole pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from geosr.errors import InputError
from geosr.io.environment import GdalError
from geosr.io.metadata import Metadata, identity_transform, placed
from geosr.window import Window

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top in the CRS at hand."""

_SNAP = 1e-4
"""Bounds this close to a pixel's edge, in pixels, are taken to mean that edge."""


def geobox_of(metadata: Metadata, window: Window) -> GeoBox:
    """The pixel grid of a window that has this metadata; without CRS where pyproj doesn't know it."""
    shape = window.height, window.width
    if metadata.gcps:
        return GeoBox(shape, identity_transform(), None)
    try:
        return GeoBox(shape, metadata.transform, metadata.crs)
    except Exception:  # pyproj refuses some CRS that GDAL carries; the grid is the same without it
        return GeoBox(shape, metadata.transform, None)


def crs_of(text: str, name: str) -> CRS:
    """The CRS that metadata of `name` tell, such as EPSG:32631 or WKT. Raises `InputError` where it is none."""
    try:
        return CRS.from_user_input(text)
    except GdalError as error:
        raise InputError(f"{name}: its metadata tell the CRS {text[:80]!r}, which PROJ doesn't know") from error


def bounds_window(bounds: Bounds, metadata: Metadata, scene: Window, name: str) -> Window:
    """The smallest window of a scene around `bounds`. Raises `InputError` where they are no rectangle, or outside."""
    if len(bounds) != 4 or not all(math.isfinite(value) for value in bounds):
        raise InputError(f"--bounds {listed(bounds)}: expected four finite numbers: left bottom right top")
    if metadata.gcps or (metadata.transform.is_identity and (metadata.rpcs or metadata.crs) is not None):
        raise InputError(f"{name} has no pixel grid in a CRS, so --bounds can't cut it; cut it by pixels beforehand")
    for left, bottom, right, top in _turns(bounds, metadata):
        corners = [placed(~metadata.transform, x, y) for x in (left, right) for y in (bottom, top)]
        window = _around(corners).clip(scene)
        if window.size:
            return window
    raise InputError(f"--bounds {listed(bounds)} lies outside {name}, which covers {extent(metadata, scene)}")


def extent(metadata: Metadata, window: Window) -> str:
    """Left, bottom, right and top of a scene, to be read."""
    corners = [placed(metadata.transform, x, y) for x in (0, window.width) for y in (0, window.height)]
    xs, ys = zip(*corners, strict=True)
    return listed((min(xs), min(ys), max(xs), max(ys)))


def degrees(metadata: Metadata, window: Window) -> Bounds | None:
    """West, south, east and north of a window; None where that isn't known, or crosses the date line."""
    if metadata.crs is None or metadata.gcps or metadata.transform.is_identity:
        return None
    corners = [metadata.transform @ (x, y) for y in (window.row, window.stop[0]) for x in (window.col, window.stop[1])]
    xs, ys = zip(*corners, strict=True)
    try:
        west, south, east, north = transform_bounds(metadata.crs, "EPSG:4326", min(xs), min(ys), max(xs), max(ys))
    except GdalError:
        return None
    return (west, south, east, north) if west <= east else None


def pixel_size(metadata: Metadata) -> float | None:
    """The size of a pixel, metres; None for a grid in degrees, which was resampled, and where it is not known."""
    if metadata.gcps or metadata.transform.is_identity:
        return None
    factor = 1.0
    if metadata.crs is not None:
        if not metadata.crs.is_projected:
            return None
        factor = metadata.crs.linear_units_factor[1]
    return math.sqrt(abs(metadata.transform.determinant)) * factor


def same_grid(one: Affine, other: Affine, shape: tuple[int, int]) -> bool:
    """True where all corners of pixels lie on those of another grid of this shape, to what rounding moves."""
    if one == other:
        return True
    if one.is_degenerate or other.is_degenerate:
        return False
    corners = [(col, row) for col in (0, shape[1]) for row in (0, shape[0])]
    moved = [placed(~one, *placed(other, *corner)) for corner in corners]
    return all(math.dist(here, there) < _SNAP for here, there in zip(corners, moved, strict=True))


def listed(values: Sequence[float]) -> str:
    """Numbers in a row."""
    return " ".join(f"{value:.10g}" for value in values)


def _turns(bounds: Bounds, metadata: Metadata) -> Iterator[Bounds]:
    """The same bounds, and in degrees also a turn further east and west: 179 to -179 crosses the date line."""
    left, bottom, right, top = bounds
    degrees = metadata.crs is not None and metadata.crs.is_geographic
    if left > right and degrees:
        right += 360
    if left >= right or bottom >= top:
        found = f"--bounds {listed(bounds)}"
        raise InputError(f"{found}: expected left bottom right top, with left < right and bottom < top")
    for turn in (0, 360, -360) if degrees else (0,):
        yield left + turn, bottom, right + turn, top


def _around(corners: Sequence[tuple[float, float]]) -> Window:
    """The smallest window that holds all corners (column, row), in whole pixels; never empty."""
    cols, rows = zip(*corners, strict=True)
    row, col = (math.floor(min(values) + _SNAP) for values in (rows, cols))
    stop_row, stop_col = (math.ceil(max(values) - _SNAP) for values in (rows, cols))
    return Window(row, col, max(1, stop_row - row), max(1, stop_col - col))
