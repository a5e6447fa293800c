"""Where pixels lie, in the words of CF as GDAL, rioxarray and odc write and read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from rasterio.control import GroundControlPoint

Points = tuple[GroundControlPoint, ...]
"""Control points."""


def is_turned(transform: Affine) -> bool:
    """True where rows and columns run across the axes of the CRS."""
    return bool(transform.b or transform.d)


def centres(transform: Affine, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of rows and columns, to the last bit of a division; of a rotated grid they count pixels, as odc has."""
    a, _, c, _, e, f = transform[:6]
    rows, cols = (np.arange(side, dtype=np.float64) + 0.5 for side in shape)
    return (rows, cols) if is_turned(transform) else (f + e * rows, c + a * cols)


def axis_attributes(crs: CRS | None, axis: str) -> dict[str, str]:
    """Attributes of the coordinate along the axis "Y" or "X"."""
    if crs is None:
        return {"axis": axis}
    if crs.geographic:
        long = "latitude" if axis == "Y" else "longitude"
        units = "degrees_north" if axis == "Y" else "degrees_east"
        return {"axis": axis, "long_name": long, "standard_name": long, "units": units}
    if not crs.projected:  # a site's own grid, or a geocentric one: CF has no standard name for its axes
        return {"axis": axis, "long_name": f"{axis.lower()} coordinate", "units": crs.proj.axis_info[0].unit_name}
    standard = f"projection_{axis.lower()}_coordinate"
    unit = str(crs.units[0] or "metre")
    long = f"{axis.lower()} coordinate of projection"
    return {"axis": axis, "long_name": long, "standard_name": standard, "units": unit}


def grid_mapping(crs: CRS | None, transform: Affine | None) -> dict[str, Any]:
    """Attributes of the variable that holds CRS and transform, `spatial_ref` by custom."""
    attrs: dict[str, Any] = {}
    if crs is not None:
        attrs = dict(crs.proj.to_cf())
        attrs["spatial_ref"] = attrs["crs_wkt"] = attrs.get("crs_wkt") or crs.to_wkt()
    if transform is not None:
        attrs["GeoTransform"] = geo_transform(transform)
    return attrs


def geo_transform(transform: Affine) -> str:
    """Six numbers in GDAL's order, with all their digits."""
    return " ".join(repr(float(value)) for value in transform.to_gdal())


def control_points(attrs: Mapping[Any, Any]) -> Points:
    """Control points of a grid mapping, from the GeoJSON that rioxarray and odc keep in it; none from a broken one."""
    try:
        told = attrs.get("gcps")
        features = (json.loads(told) if isinstance(told, str) else told or {}).get("features", [])
        return tuple(_point(each["properties"], each["geometry"]["coordinates"]) for each in features)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def control_points_json(points: Sequence[GroundControlPoint], step: float = 1) -> str:
    """Control points as `control_points` reads them; of pixels `step` times as large."""
    return json.dumps({"type": "FeatureCollection", "features": [_feature(point, step) for point in points]})


def _point(known: Mapping[str, Any], where: Sequence[float]) -> GroundControlPoint:
    x, y, *z = map(float, where)
    row, col = float(known["row"]), float(known["col"])
    return GroundControlPoint(row, col, x, y, z[0] if z else None, known.get("id"), known.get("info"))


def _feature(point: GroundControlPoint, step: float) -> dict[str, Any]:
    where = [point.x, point.y] if point.z is None else [point.x, point.y, point.z]
    known = {"id": point.id, "info": point.info, "row": point.row / step, "col": point.col / step}
    return {"type": "Feature", "properties": known, "geometry": {"type": "Point", "coordinates": where}}
