"""Areas of interest: polygons of a GeoJSON file on the pixel grid of a scene."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.errors import GEOSException
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geosr.errors import InputError
from geosr.io.environment import GdalError
from geosr.io.metadata import Metadata
from geosr.window import Window

_LARGEST = 256 * 2**20
_STEPS = 64
"""Pieces that the longer side of a polygon's box is cut into before it is bent into another CRS."""

_PIECE = 64
"""Side of windows whose pixels are looked at one by one, pixels."""
_SNAP = 1e-4
"""Edges this close to a pixel's edge, in pixels, are taken to mean that edge."""
_EDGE = 1e-6
"""Pixels that share no more than an edge with an area, in pixels, are outside of it."""


@dataclass(frozen=True, slots=True)
class Area:
    """A polygon in pixels of a scene, x along columns and y along rows, (0, 0) at the outer corner. Pickles small."""

    wkb: bytes
    """Well-known binary; a (multi)polygon."""

    @property
    def window(self) -> Window:
        """The smallest window of whole pixels around it; may reach outside the scene."""
        left, top, right, bottom = _prepared(self.wkb).bounds
        row, col = math.floor(top + _SNAP), math.floor(left + _SNAP)
        return Window(row, col, math.ceil(bottom - _SNAP) - row, math.ceil(right - _SNAP) - col)

    def touches(self, window: Window) -> bool:
        """True where it shares any ground with a window."""
        row, col = window.stop
        return bool(_prepared(self.wkb).intersects(shapely.box(window.col, window.row, col, row)))

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """(height, width), True for pixels of which it covers some ground; the same in whatever window a pixel lies."""
        inside = np.zeros((window.height, window.width), bool)
        if window.size:
            self._mark(window, inside)
        return inside

    def _mark(self, window: Window, inside: NDArray[np.bool_]) -> None:
        """Fill in `inside` for a window: at once where that can be told, else by halves: boxes of pixels are large."""
        area, (row, col) = _prepared(self.wkb), window.stop
        if not self.touches(window):
            return
        if area.contains(shapely.box(window.col, window.row, col, row)):
            inside[...] = True
        elif max(window.height, window.width) <= _PIECE:
            top, left = np.mgrid[window.row : row, window.col : col] + _EDGE
            inside[...] = area.intersects(shapely.box(left, top, left + 1 - 2 * _EDGE, top + 1 - 2 * _EDGE))
        else:
            for part in window.halves():
                self._mark(part, inside[part.within(window).slices])

    def shifted(self, rows: int, cols: int) -> Area:
        """The same ground counted from a corner `rows` further down and `cols` further right."""
        return Area(shapely.to_wkb(shapely.transform(_prepared(self.wkb), lambda xy: xy - [cols, rows])))


def _prepared(wkb: bytes) -> Any:
    return _prepared_in(wkb, threading.get_ident())


@lru_cache(maxsize=64)
def _prepared_in(wkb: bytes, thread: int) -> Any:
    """One for each thread: GEOS builds the index of a prepared geometry at its first use, without a lock."""
    shape = shapely.from_wkb(wkb)
    shapely.prepare(shape)
    return shape


def read_area(path: Path, metadata: Metadata, scene: Window, name: str) -> Area:
    """The polygons of a GeoJSON file in pixels of a scene, cut at its edge.

    Coordinates are WGS 84 longitude and latitude (RFC 7946) unless the file has a "crs" member. Raises `InputError` for
    what is no GeoJSON with polygons, where the scene has no CRS to bring them to, or where they lie outside of it.
    """
    document = _document(path)
    polygons = _polygons(document, path)
    if metadata.crs is None or metadata.gcps or metadata.transform.is_identity:
        raise InputError(f"{name} has no pixel grid in a CRS, so the polygons of {path.name} can't be placed on it")
    there = _in_crs(polygons, _crs_of(document, path), metadata.crs, path)
    turns = (0, 360, -360) if metadata.crs.is_geographic else (0,)
    pixels = [_carried(~metadata.transform, there, turn) for turn in turns]
    edge = shapely.box(scene.col, scene.row, scene.stop[1], scene.stop[0])
    inside = shapely.union_all([part for shape in pixels for part in _flat(shapely.intersection(shape, edge))])
    if inside.is_empty:
        raise InputError(f"{path.name}: its polygons lie outside {name}")
    area = Area(shapely.to_wkb(inside))
    if area.window.size == 0:
        raise InputError(f"{path.name}: its polygons cover no more than the edge of a pixel of {name}")
    return area


def _carried(transform: Affine, polygons: BaseGeometry, turn: float) -> BaseGeometry:
    """Polygons through a transform, after `turn` degrees further east."""
    a, b, c, d, e, f = transform[:6]

    def carry(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 2) through the transform."""
        x, y = xy[:, 0] + turn, xy[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return shapely.transform(polygons, carry)


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: over {_LARGEST >> 20} MiB; expected a GeoJSON file with a few polygons")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not GeoJSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not GeoJSON: expected an object, found {type(document).__name__}")
    return document


def _polygons(document: dict[str, Any], path: Path) -> BaseGeometry:
    """All polygons as one valid geometry; lines and points have no area and are left out."""
    try:
        shapes = [shape(geometry) for geometry in _geometries(document) if geometry]
        parts = [part for whole in shapes for part in _flat(shapely.make_valid(_unwrapped(whole)))]
    except (GEOSException, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: has a geometry that can't be read: {error}") from error
    if not parts:
        raise InputError(
            f"{path}: has no polygon; expected a GeoJSON Polygon, MultiPolygon, Feature or FeatureCollection"
        )
    return shapely.union_all(parts)


def _geometries(document: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    kind = document.get("type")
    if kind == "FeatureCollection":
        for feature in document["features"]:
            yield from _geometries(feature)
    elif kind == "Feature":
        yield document.get("geometry")
    else:
        yield document


def _flat(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    for part in shapely.get_parts(geometry):
        if part.geom_type == "Polygon":
            if part.area > 0:
                yield part
        elif hasattr(part, "geoms"):
            yield from _flat(part)


_NEAR_THE_LINE = 120.0
"""Degrees from which on an edge to the other hemisphere is taken to cross the date line: not from -100 to 100, which is
the long way round, as RFC 7946 has it."""


def _unwrapped(geometry: BaseGeometry) -> BaseGeometry:
    """A polygon that jumps from 179 to -179 degrees goes on to 181 instead; others, a whole globe too, stay."""
    coordinates = shapely.get_coordinates(geometry)
    if not len(coordinates) or np.abs(coordinates).max() > 360 or np.ptp(coordinates[:, 0]) <= 180:
        return geometry
    parts = shapely.get_parts(geometry)
    moved = [shapely.transform(part, _without_jumps) for part in parts]
    return shapely.union_all([new if new.area > 0 else old for new, old in zip(moved, parts, strict=True)])


def _without_jumps(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    x = xy[:, 0]
    near = np.abs(x) >= _NEAR_THE_LINE
    jumps = np.where(near[1:] & near[:-1], np.round(np.diff(x) / 360), 0)
    return np.column_stack([x - 360 * np.concatenate([[0], np.cumsum(jumps)]), xy[:, 1]])


def _wrapped(polygons: BaseGeometry) -> BaseGeometry:
    """Cut at the date line, and what lies beyond brought back: an edge across it would be bent around the globe."""
    left, _, right, _ = polygons.bounds
    if left >= -180 and right <= 180:
        return polygons
    turns = range(math.floor((left + 180) / 360), math.ceil((right - 180) / 360) + 1)
    cuts = [(shapely.intersection(polygons, shapely.box(360 * k - 180, -90, 360 * k + 180, 90)), k) for k in turns]
    back = [shapely.transform(part, lambda xy, k=k: xy - [360 * k, 0]) for cut, k in cuts for part in _flat(cut)]
    return shapely.union_all(back)


def _crs_of(document: dict[str, Any], path: Path) -> CRS:
    member = document.get("crs")
    if member is None:
        return CRS.from_user_input("OGC:CRS84")
    try:
        return CRS.from_user_input(member["properties"]["name"])
    except (CRSError, KeyError, TypeError) as error:
        raise InputError(f'{path}: its "crs" member is not understood: {json.dumps(member)[:120]}') from error


def _in_crs(polygons: BaseGeometry, here: CRS, there: CRS, path: Path) -> BaseGeometry:
    if here == there or (there.is_geographic and here.to_string() in ("OGC:CRS84", "EPSG:4326") and _is_wgs84(there)):
        return polygons
    left, bottom, right, top = polygons.bounds
    dense = shapely.segmentize(polygons, max(right - left, top - bottom) / _STEPS)
    if here.is_geographic:
        dense = _wrapped(dense)

    def bend(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 2) in the other CRS."""
        xs, ys = rasterio.warp.transform(here, there, xy[:, 0], xy[:, 1])
        return np.column_stack([xs, ys])

    try:
        bent = shapely.transform(dense, bend)
        if not np.isfinite(shapely.get_coordinates(bent)).all():
            raise ValueError("they reach beyond where it is defined")
        return shapely.make_valid(bent)
    except (*GdalError, GEOSException, RuntimeError) as error:
        line = re.sub(r"\s+", " ", str(error))[:200]
        raise InputError(f"{path.name}: its polygons can't be brought to the scene's CRS: {line}") from error


def _is_wgs84(crs: CRS) -> bool:
    return "WGS" in crs.to_wkt()[:40] and "84" in crs.to_wkt()[:40]
