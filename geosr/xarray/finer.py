"""What stands beside the pixels of an array, brought to a finer grid: coordinates, bounds, attributes, encoding."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from geosr.io.cf import control_points_json, geo_transform, is_turned
from geosr.io.metadata import tells_of_old_pixels
from geosr.xarray.axis import is_even, line_of
from geosr.xarray.cf import Grid
from geosr.xarray.place import GDAL_TRANSFORMS, SHAPES, TRANSFORMS, declares, is_position, numbers_in

_STORAGE = ("chunksizes", "preferred_chunks", "original_shape", "chunks", "shards", "contiguous", "source", "sensor")
"""Encodings that tell of the old pixels."""
_SIZES = re.compile(r"(res|resolution|geospatial_(lat|lon|x|y)_resolution)$")
"""Attributes that tell the size of a pixel."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

Scales = Mapping[Hashable, int]
"""How many times finer each dimension of rows or columns becomes."""


def with_grid(array: xr.DataArray, data: Any, grid: Grid) -> xr.DataArray:
    """An array of other pixels on a finer grid: same name, attributes, encoding and other coordinates.

    Words that describe the grid are renewed, or dropped. What a row or a column has is repeated; coordinates that have
    a value for each pixel of the old grid can't be carried, which is warned of.
    """
    scales: Scales = {dim: size // array.sizes[dim] for dim, size in zip(grid.dims, grid.shape, strict=True)}
    kept: dict[Hashable, Any] = {}
    for name, coord in array.coords.items():
        if name in grid.dims or name in (*TRANSFORMS, *SHAPES):  # stackstac's, of the files that it was read from
            continue
        if (variable := finer_variable(coord.variable, scales)) is not None:
            kept[name] = variable
        elif name not in ("xc", "yc"):
            warnings.warn(f"coordinate {name} has a value for each old pixel and is left out", stacklevel=3)
    kept |= _coordinates(array, grid, scales)
    if grid.crs is not None or ((grid.transform is not None or grid.gcps) and grid.mapping in array.coords):
        kept[grid.mapping] = _mapping(array, grid)
    attrs = finer_attributes(array.attrs, grid, max(scales.values()))
    result = xr.DataArray(data, dims=array.dims, coords=kept, attrs=attrs)
    result.name = array.name  # where that is None, xarray would take the graph's
    result.encoding = finer_encoding(array.encoding, set(array.coords) - set(kept))
    if grid.mapping in kept:  # by its bare name, since not all readers know CF's long form
        told = result.attrs if "grid_mapping" in result.attrs else result.encoding
        told["grid_mapping"] = grid.mapping
    return result


def finer_variable(variable: xr.Variable, scales: Scales) -> xr.Variable | None:
    """A variable beside the pixels on finer rows and columns; itself where it has none of them.

    Positions of rows or columns lie in between; everything else that they have is repeated, and so are texts and times
    of pixels. None for numbers of pixels, and for positions that are not evenly spaced: nobody knows those in between.
    """
    along = [dim for dim in variable.dims if dim in scales]
    if not along:
        return variable
    if variable.ndim == 1 and variable.dtype.kind == "f" and is_position(variable.attrs):
        return _positions(variable, scales[along[0]])
    if len(along) > 1 and variable.dtype.kind in "biufc":
        return None
    index = {dim: np.repeat(np.arange(variable.sizes[dim]), scales[dim]) for dim in along}
    repeated = variable.isel(index)
    repeated.encoding = finer_encoding(variable.encoding)
    return repeated


def finer_bounds(bounds: xr.Variable, coordinate: NDArray[Any], dim: Hashable, scale: int) -> xr.Variable | None:
    """Cells of a coordinate cut into `scale` each, as CF bounds (dim, 2); None where they are no such cells."""
    if bounds.dims[:1] != (dim,) or bounds.shape != (len(coordinate), 2) or bounds.dtype.kind not in "fiu":
        return None
    edges = bounds.values.astype(float)
    ascends = len(coordinate) < 2 or coordinate[-1] > coordinate[0]
    along = edges if bool(edges[0, 1] > edges[0, 0]) == ascends else edges[:, ::-1]
    part = np.arange(scale + 1) / scale
    cuts = along[:, :1] * (1 - part) + along[:, 1:] * part
    cells = np.stack([cuts[:, :-1], cuts[:, 1:]], axis=-1).reshape(-1, 2)
    dtype = bounds.dtype if bounds.dtype.kind == "f" else float
    cells = (cells if along is edges else cells[:, ::-1]).astype(dtype)
    return xr.Variable(bounds.dims, cells, _renewed(bounds.attrs, cells, scale))


def finer_attributes(attrs: Mapping[Any, Any], grid: Grid, scale: float) -> dict[Any, Any]:
    """Attributes on a finer grid: those that describe the grid are renewed, or dropped; statistics are dropped."""
    kept = {}
    for key, value in attrs.items():
        if key in (*TRANSFORMS, *GDAL_TRANSFORMS) and len(numbers_in(value)) in (6, 9):
            if grid.transform is not None:
                kept[key] = _like(value, grid.transform, in_gdal_order=key in GDAL_TRANSFORMS)
        elif key in SHAPES:
            kept[key] = type(value)(grid.shape) if isinstance(value, list | tuple) else list(grid.shape)
        elif _SIZES.match(str(key)):
            kept[key] = _divided(value, scale)
        elif hasattr(value, "area_extent") or hasattr(value, "lons"):  # satpy's
            if (area := _finer_area(value, grid, scale)) is not None:
                kept[key] = area
        elif key == "zarr_conventions" and isinstance(value, list | tuple):
            kept[key] = [
                each for each in value if not (isinstance(each, Mapping) and each.get("name") == "multiscales")
            ]
        elif not (tells_of_old_pixels(str(key)) or (key == "spec" and not isinstance(value, str))):  # stackstac's
            kept[key] = value
    return kept


def finer_encoding(encoding: Mapping[Any, Any], gone: Collection[Hashable] = ()) -> dict[Any, Any]:
    """The encoding without what tells of old pixels, and without the names of coordinates that are gone."""
    kept = {key: value for key, value in encoding.items() if key not in _STORAGE}
    if gone and isinstance(kept.get("coordinates"), str):
        names = [name for name in kept.pop("coordinates").split() if name not in gone]
        kept |= {"coordinates": " ".join(names)} if names else {}
    return kept


def _coordinates(array: xr.DataArray, grid: Grid, scales: Scales) -> dict[Hashable, Any]:
    """Coordinates of rows and columns, where the array has them or its place is known otherwise."""
    fine = grid.coordinates()
    if not set(grid.dims) & set(array.coords):
        return fine if grid.transform is not None and not is_turned(grid.transform) else {}
    kept: dict[Hashable, Any] = {}
    for dim, size in zip(grid.dims, grid.shape, strict=True):
        if dim in array.coords:
            usual: tuple[Any, ...] = (dim, np.arange(size) + 0.5, {})  # without a place they count pixels
            _, values, attrs = fine.get(dim, usual)
            old = array.coords[dim].attrs
            kept[dim] = xr.Variable(dim, values, _renewed(old, values, scales[dim]) if old else attrs)
    return kept


def _positions(variable: xr.Variable, scale: int) -> xr.Variable | None:
    if variable.size < 2 or not is_even(variable.values):
        return None
    edge, step = line_of(variable.values)
    values = edge + step / scale * (np.arange(variable.size * scale) + 0.5)
    return xr.Variable(variable.dims, values, _renewed(variable.attrs, values, scale))


def _renewed(attrs: Mapping[Any, Any], values: NDArray[Any], scale: int) -> dict[Any, Any]:
    """Attributes of a coordinate, whose ends have moved outwards and whose step is smaller."""
    kept = dict(attrs)
    low, high = float(values.min()), float(values.max())
    for key, ends in (("actual_range", (low, high)), ("valid_range", (low, high))):
        if len(told := numbers_in(kept.get(key))) == 2:
            kept[key] = list(ends) if key == "actual_range" else [min(told[0], low), max(told[1], high)]
    for key, end, outer in (("valid_min", low, min), ("valid_max", high, max)):
        if len(told := numbers_in(kept.get(key))) == 1:
            kept[key] = outer(told[0], end)
    return {
        key: _divided(value, scale) if _SIZES.match(str(key)) or key == "step" else value for key, value in kept.items()
    }


def _mapping(array: xr.DataArray, grid: Grid) -> xr.Variable:
    if grid.mapping not in array.coords or not declares(array.coords[grid.mapping].attrs):
        return grid.spatial_ref()
    old: xr.Variable = array.coords[grid.mapping].variable.copy()
    old.attrs = {
        key: value for key, value in old.attrs.items() if key in GDAL_TRANSFORMS or not tells_of_old_pixels(key)
    }
    declared = numbers_in(old.attrs.get("GeoTransform"))
    if grid.transform is not None and (declared or grid.units == (1.0, 1.0)):
        own, scale = grid.own_transform, grid.shape[1] / array.sizes[grid.dims[1]]
        in_own = len(declared) == 6 and math.isclose(declared[1] / scale, own.a, rel_tol=1e-3)
        old.attrs["GeoTransform"] = geo_transform(own if in_own else grid.transform)
    if grid.gcps:
        old.attrs["gcps"] = control_points_json(grid.gcps)
    return old


def _like(told: Any, transform: Affine, *, in_gdal_order: bool) -> Any:
    """A transform in the form of one that is told."""
    if isinstance(told, Affine):
        return transform
    numbers = [float(each) for each in (transform.to_gdal() if in_gdal_order else tuple(transform)[:6])]
    if isinstance(told, str):
        return (", " if "," in told else " ").join(map(repr, numbers))
    numbers += [0.0, 0.0, 1.0] if len(told) == 9 else []
    return type(told)(numbers) if isinstance(told, list | tuple) else numbers


def _divided(told: Any, scale: float) -> Any:
    """A size that is told as a number, as numbers, or as text that begins with one; anything else as it is."""
    if isinstance(told, str):
        return (
            _NUMBER.sub(lambda found: f"{float(found[0]) / scale:.12g}", told, count=1) if _NUMBER.match(told) else told
        )
    if isinstance(told, list | tuple) and len(numbers_in(told)) == len(told):
        return type(told)(each / scale for each in told)
    return told / scale if isinstance(told, int | float | np.number | np.ndarray) else told


def _finer_area(area: Any, grid: Grid, scale: float) -> Any:
    """An area of pyresample with more pixels; None where it is none of this grid."""
    if not hasattr(area, "copy") or getattr(area, "shape", None) != tuple(size // scale for size in grid.shape):
        return None
    try:
        return area.copy(height=grid.shape[0], width=grid.shape[1])
    except TypeError:  # a swath, which has positions for each of its pixels
        return None
