"""Where the pixels of a DataArray lie: dimensions, transform and CRS as CF, rioxarray and odc write them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geosr.errors import InputError
from geosr.io.cf import axis_attributes, centres, geo_transform, grid_mapping, is_turned

_PAIRS = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("Y", "X"), ("northing", "easting"), ("row", "col"))
_BANDS = ("band", "bands", "channel", "channels", "wavelength")
_NEAR = 1e-4
"""Coordinates this close to a declared transform, in pixels, are taken to be on it."""

_STORAGE = ("chunksizes", "preferred_chunks", "original_shape", "chunks", "shards", "contiguous", "source")
"""Encodings that tell of the old pixels."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixel grid of a DataArray."""

    dims: tuple[str, str]
    """Names of the row and the column dimension."""
    shape: tuple[int, int]
    """Rows and columns."""
    transform: Affine | None
    """Pixel corners to coordinates; None where nothing says where the pixels lie."""
    crs: CRS | None
    mapping: str
    """Name of the coordinate that holds CRS and transform."""

    @property
    def geobox(self) -> GeoBox:
        """The grid; with the identity for a transform where there is none."""
        return GeoBox(self.shape, self.transform or Affine.identity(), self.crs)

    def zoom(self, scale: int) -> Grid:
        """The same ground with `scale` times as many pixels each way; terms are divided, so outer edges stay."""
        shape = self.shape[0] * scale, self.shape[1] * scale
        if self.transform is None:
            return replace(self, shape=shape)
        a, b, c, d, e, f = self.transform[:6]
        return replace(self, shape=shape, transform=Affine(a / scale, b / scale, c, d / scale, e / scale, f))

    def coordinates(self) -> dict[Hashable, Any]:
        """Centres of rows and columns, see `geosr.io.cf.centres`; without a transform there are none."""
        if self.transform is None:
            return {}
        pairs = zip(self.dims, "YX", centres(self.transform, self.shape), strict=True)
        return {dim: (dim, values, axis_attributes(self.crs, axis)) for dim, axis, values in pairs}

    def spatial_ref(self) -> xr.Variable:
        """CRS and transform as CF, GDAL, rioxarray and odc write them."""
        attrs = grid_mapping(self.crs, self.transform)
        return xr.Variable((), np.int32(self.crs.epsg or 0 if self.crs else 0), attrs)


def grid_of(array: xr.DataArray) -> Grid:
    """The grid of an array. Raises `InputError` where its coordinates are not evenly spaced, or no plane is found."""
    dims = spatial_dims(array)
    shape = array.sizes[dims[0]], array.sizes[dims[1]]
    mapping = _mapping(array)
    declared = None if mapping is None else _declared(array.coords[mapping].attrs)
    transform = _transform(array, dims, declared)
    return Grid(dims, shape, transform, _crs(array, mapping, dims), mapping or "spatial_ref")


def spatial_dims(array: xr.DataArray) -> tuple[str, str]:
    """Names of the row and the column dimension: by name, by CF attributes, or the only two."""
    names = [str(dim) for dim in array.dims]
    for pair in _PAIRS:
        if set(pair) <= set(names):
            return pair
    y, x = (_by_attribute(array, axis) for axis in ("Y", "X"))
    if y and x:
        return y, x
    if len(names) == 2:
        return names[0], names[1]
    raise InputError(
        f"{_called(array)} has dimensions {', '.join(names)}; geosr looks for y and x, lat and lon or latitude and "
        "longitude: rename two of them"
    )


def band_dim(array: xr.DataArray) -> str | None:
    """Name of the dimension along which bands lie; None where there is one band."""
    return next((name for name in _BANDS if name in array.dims), None)


def band_names(array: xr.DataArray) -> tuple[str, ...]:
    """What each band is called, empty where that isn't said."""
    dim = band_dim(array)
    count = 1 if dim is None else array.sizes[dim]
    if dim is not None and "band_name" in array.coords and array.coords["band_name"].dims == (dim,):
        return tuple(str(each) for each in array.coords["band_name"].values)
    told = array.attrs.get("long_name")
    if isinstance(told, (list, tuple)) and len(told) == count:
        return tuple(str(name or "") for name in told)
    if dim is None:
        scalars = [array.coords[name].item() for name in ("band_name", *_BANDS) if name in array.coords]
        said = [each for each in (*scalars, told, array.name) if isinstance(each, str)]
        return (said[0] if said else "",)
    for name in (dim, "common_name", "description"):
        if name in array.coords and array.coords[name].dims == (dim,) and array.coords[name].dtype.kind in "UO":
            return tuple(str(each) for each in array.coords[name].values)
    return (str(told),) if count == 1 and told else ("",) * count


def band_colors(array: xr.DataArray) -> list[str]:
    """The colour of each band, as rasterio names it; nothing where that isn't said."""
    told = array.coords.get("band_color")
    dim = band_dim(array)
    return [] if told is None or told.dims != (() if dim is None else (dim,)) else np.atleast_1d(told.values).tolist()


BY_BAND = {"scale_factor": "band_scale", "add_offset": "band_offset", "units": "band_unit"}
"""Attributes that a file may have band by band, and the coordinates along the bands that hold them then."""


def by_band(array: xr.DataArray, key: str, usual: Any) -> list[Any]:
    """What a key of `BY_BAND` says of each band: its coordinate, else the attribute, one for all or one for each.

    Raises `InputError` for an attribute of another length: after a selection of bands nobody knows which are meant.
    """
    dim, count = band_dim(array), len(band_names(array))
    if (name := BY_BAND[key]) in array.coords and array.coords[name].dims == (() if dim is None else (dim,)):
        return list(np.atleast_1d(array.coords[name].values).tolist())
    value = array.attrs.get(key, array.attrs.get(f"{key}s", usual))  # "scale_factors": of our Zarr stores
    if not isinstance(value, list | tuple | np.ndarray):
        return [value] * count
    if np.size(value) not in (1, count):
        raise InputError(f"the attribute {key} has {len(value)} values for {count} bands; set or delete it")
    return list(np.ravel(value).tolist()) * (count if np.size(value) == 1 else 1)


def with_grid(array: xr.DataArray, data: Any, grid: Grid) -> xr.DataArray:
    """An array of other pixels on a finer grid: same name, attributes, encoding and other coordinates.

    Coordinates that have a value for each pixel of the old grid can't be carried, which is warned of.
    """
    kept: dict[Hashable, Any] = {}
    for name, coord in array.coords.items():
        if not set(grid.dims) & set(coord.dims):
            kept[name] = coord.variable
        elif name not in grid.dims and name not in ("xc", "yc"):
            warnings.warn(f"coordinate {name} has a value for each old pixel and is left out", stacklevel=3)
    fine = grid.coordinates()
    for name in grid.dims:
        if name in fine and name in array.coords:
            dims, values, attrs = fine[name]
            kept[name] = xr.Variable(dims, values, array.coords[name].attrs or attrs)
    if not set(grid.dims) & set(array.coords) and grid.transform is not None and not is_turned(grid.transform):
        kept |= fine
    if grid.crs is not None or (grid.transform is not None and grid.mapping in array.coords):
        kept[grid.mapping] = _renewed(array, grid)
    result = xr.DataArray(data, dims=array.dims, coords=kept, attrs=dict(array.attrs))
    result.name = array.name  # where that is None, xarray would take the graph's
    result.encoding = {key: value for key, value in array.encoding.items() if key not in _STORAGE}
    if grid.mapping in kept and "grid_mapping" not in result.attrs:
        result.encoding["grid_mapping"] = grid.mapping
    if "transform" in result.attrs and grid.transform is not None:  # rasterio's old way, and stackstac's
        result.attrs["transform"] = tuple(grid.transform)[: len(tuple(result.attrs["transform"]))]
        result.attrs.pop("spec", None)  # stackstac's, of the old grid
        if isinstance(result.attrs.get("resolution"), int | float):
            result.attrs["resolution"] *= array.sizes[grid.dims[1]] / grid.shape[1]
    return result


def _renewed(array: xr.DataArray, grid: Grid) -> xr.Variable:
    if grid.mapping not in array.coords or not _declares(array.coords[grid.mapping].attrs):
        return grid.spatial_ref()
    old = array.coords[grid.mapping].variable.copy()
    if grid.transform is not None:
        old.attrs["GeoTransform"] = geo_transform(grid.transform)
    return old  # type: ignore[no-any-return]


def _called(array: xr.DataArray) -> str:
    return f"array {array.name}" if array.name else "the array"


def _by_attribute(array: xr.DataArray, axis: str) -> str | None:
    words = {"Y": ("latitude", "projection_y_coordinate"), "X": ("longitude", "projection_x_coordinate")}[axis]
    for dim in array.dims:
        attrs = array.coords[dim].attrs if dim in array.coords else {}
        if attrs.get("axis") == axis or attrs.get("standard_name") in words:
            return str(dim)
    return None


def _declares(attrs: dict[Any, Any]) -> bool:
    return bool({"crs_wkt", "spatial_ref", "GeoTransform", "grid_mapping_name"} & set(attrs))


def _mapping(array: xr.DataArray) -> str | None:
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    if named in array.coords:
        return str(named)
    scalars = [str(name) for name, coord in array.coords.items() if not coord.ndim and _declares(coord.attrs)]
    return scalars[0] if scalars else None


def _declared(attrs: dict[Any, Any]) -> Affine | None:
    try:
        numbers = [float(part) for part in str(attrs["GeoTransform"]).replace(",", " ").split()]
        return Affine.from_gdal(*numbers) if len(numbers) == 6 and all(map(math.isfinite, numbers)) else None
    except (KeyError, ValueError):
        return None


def _crs(array: xr.DataArray, mapping: str | None, dims: tuple[str, str]) -> CRS | None:
    found: list[Any] = []
    if mapping is not None:
        attrs = array.coords[mapping].attrs
        found += [attrs.get("crs_wkt"), attrs.get("spatial_ref")]
        if "grid_mapping_name" in attrs and not any(found):
            found.append(_from_cf(attrs))
    found += [array.attrs.get("crs"), *(array.coords[dim].attrs.get("crs") for dim in dims if dim in array.coords)]
    for name in ("epsg", "proj:epsg", "proj:code"):  # stackstac
        if name in array.coords and not array.coords[name].ndim:
            found.append(_code(array.coords[name].item()))
    for text in found:
        if text:
            try:
                return CRS(text)
            except Exception:  # pyproj refuses some that GDAL carries; the next may do
                continue
    return None


def _code(told: Any) -> Any:
    """An EPSG number, also where it is told in floating point or as text; anything else as it is."""
    try:
        return int(told)
    except (TypeError, ValueError):  # None, NaN, "EPSG:32631"
        return told


def _from_cf(attrs: dict[Any, Any]) -> Any:
    from pyproj import CRS as PROJ

    try:
        return PROJ.from_cf(attrs)
    except Exception:  # no complete grid mapping
        return None


def _transform(array: xr.DataArray, dims: tuple[str, str], declared: Affine | None) -> Affine | None:
    """From the coordinates; exactly the declared transform, or that cut by whole pixels, where they lie on it."""
    if not all(dim in array.coords for dim in dims):
        return declared or _attribute(array)
    y, x = (np.asarray(array.coords[dim].values) for dim in dims)
    if y.dtype.kind not in "fiu" or x.dtype.kind not in "fiu":
        raise InputError(f"{_called(array)}: coordinates {dims[0]} and {dims[1]} are not numbers")
    counting = declared is not None and is_turned(declared)
    if declared is None and (corners := _on_corners(array, y, x)):
        return corners
    step = (1.0, 1.0) if counting else (None, None) if declared is None else (declared.e, declared.a)
    found = [
        _spaced(array, dim, values.astype(float), size) for dim, values, size in zip(dims, (y, x), step, strict=True)
    ]
    (f, e), (c, a) = found
    if declared is not None and counting:
        return _shifted(declared, c, f)
    if declared is None:
        return Affine(a, 0.0, c, 0.0, e, f)
    rows, cols = (f - declared.f) / declared.e, (c - declared.c) / declared.a
    sides = abs(e / declared.e - 1) * len(y), abs(a / declared.a - 1) * len(x)
    blur = 8 * np.finfo(float).eps * max(abs(f / declared.e), abs(c / declared.a))  # what coordinates can't tell
    if max(*sides, abs(rows - round(rows)), abs(cols - round(cols))) < _NEAR + blur:
        return _shifted(declared, round(cols), round(rows))
    return Affine(a, 0.0, c, 0.0, e, f)


def _attribute(array: xr.DataArray) -> Affine | None:
    """The attribute `transform` of old rasterio readers and stackstac: six numbers or nine, or an Affine."""
    old = array.attrs.get("transform")
    numbers = tuple(old) if isinstance(old, (list, tuple, Affine)) else ()
    return Affine(*map(float, numbers[:6])) if len(numbers) >= 6 else None


def _on_corners(array: xr.DataArray, y: NDArray[Any], x: NDArray[Any]) -> Affine | None:
    """The attribute `transform`, where coordinates lie on the corners of its pixels, as stackstac has them."""
    transform = _attribute(array)
    if transform is None or is_turned(transform) or not (transform.a and transform.e):
        return None
    rows, cols = (y - transform.f) / transform.e, (x - transform.c) / transform.a
    for places in (rows, cols):
        if np.abs(places - (round(float(places[0])) + np.arange(len(places)))).max() > _NEAR:
            return None
    return _shifted(transform, round(float(cols[0])), round(float(rows[0])))


def _shifted(transform: Affine, cols: float, rows: float) -> Affine:
    if not (cols or rows):
        return transform
    a, b, c, d, e, f = transform[:6]
    return Affine(a, b, c + a * cols + b * rows, d, e, f + d * cols + e * rows)


def _spaced(array: xr.DataArray, dim: str, values: NDArray[np.float64], step: float | None) -> tuple[float, float]:
    """Outer edge of the first pixel and signed size of pixels, from their centres."""
    if len(values) > 1:
        step = (values[-1] - values[0]) / (len(values) - 1)
        line = values[0] + step * np.arange(len(values))
        tolerance = (
            0.02 * abs(step)
            + np.finfo(array.coords[dim].dtype if array.coords[dim].dtype.kind == "f" else float).eps
            * 4
            * np.abs(values).max()
        )
        if not step or not np.isfinite(values).all() or np.abs(values - line).max() > tolerance:
            raise InputError(f"{_called(array)}: coordinate {dim} is not evenly spaced; regrid it first")
    elif step is None:
        raise InputError(
            f"{_called(array)} has one pixel along {dim} and nothing says how large it is; write a spatial_ref with "
            "GeoTransform (rio.write_transform), or drop the coordinate"
        )
    return float(values[0] - step / 2), float(step)
