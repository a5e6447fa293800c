"""Where the pixels of a DataArray lie: dimensions, transform and CRS as CF, rioxarray and odc write them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geosr.errors import InputError
from geosr.io.cf import Points, axis_attributes, centres, control_points, control_points_json, grid_mapping, is_turned
from geosr.io.metadata import carried_points, finer_transform
from geosr.xarray.axis import is_even, lies_on, line_of
from geosr.xarray.place import absent_mapping, crs_of, is_whole, mapping_of, numbers_in, transform_of, units_of

_PAIRS = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"), ("row", "col"))
_BANDS = ("band", "bands", "channel", "channels", "wavelength", "variable")
_NEAR = 1e-4
"""Coordinates this close to a declared transform, in pixels, are taken to be on it."""


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
    units: tuple[float, float] = (1.0, 1.0)
    """How many units of the CRS a unit of the coordinates of rows and of columns has; 1000 for km."""
    gcps: Points = ()
    """Control points, which take the place of a transform."""

    @property
    def geobox(self) -> GeoBox:
        """The grid; with the identity for a transform where there is none, and without CRS where points have it."""
        return GeoBox(self.shape, self.transform or Affine.identity(), None if self.gcps else self.crs)

    def zoom(self, scale: int) -> Grid:
        """The same ground with `scale` times as many pixels each way; terms are divided, so outer edges stay."""
        shape = self.shape[0] * scale, self.shape[1] * scale
        transform = self.transform and finer_transform(self.transform, scale)
        return replace(self, shape=shape, transform=transform, gcps=carried_points(self.gcps, Affine.scale(scale)))

    def coordinates(self) -> dict[Hashable, Any]:
        """Centres of rows and columns, see `geosr.io.cf.centres`; without a transform there are none."""
        if self.transform is None:
            return {}
        found = zip(self.dims, "YX", centres(self.own_transform, self.shape), strict=True)
        return {dim: (dim, values, axis_attributes(self.crs, axis)) for dim, axis, values in found}

    @property
    def own_transform(self) -> Affine:
        """Pixel corners to coordinates in their own units."""
        assert self.transform is not None
        a, b, c, d, e, f = self.transform[:6]
        y, x = self.units
        return Affine(a / x, b / x, c / x, d / y, e / y, f / y)

    def spatial_ref(self) -> xr.Variable:
        """CRS and transform as CF, GDAL, rioxarray and odc write them."""
        attrs = grid_mapping(self.crs, self.transform)
        if self.gcps:
            attrs["gcps"] = control_points_json(self.gcps)
        return xr.Variable((), np.int32(self.crs.epsg or 0 if self.crs else 0), attrs)


@contextmanager
def named(array: xr.DataArray) -> Iterator[None]:
    """Errors of an array that has a name, under that name."""
    try:
        yield
    except InputError as error:
        if array.name is None:
            raise
        raise type(error)(f"{array.name}: {error}") from error


def grid_of(array: xr.DataArray) -> Grid:
    """The grid of an array. Raises `InputError` where its coordinates are not evenly spaced, or no plane is found."""
    dims = spatial_dims(array)
    shape = array.sizes[dims[0]], array.sizes[dims[1]]
    mapping = mapping_of(array, dims)
    attrs = {} if mapping is None else array.coords[mapping].attrs
    crs = crs_of(array, mapping, dims)
    units = units_of(array, dims[0], crs, mapping), units_of(array, dims[1], crs, mapping)
    declared = transform_of(attrs, shape) or transform_of(array.attrs, shape)
    transform = _transform(array, dims, declared, units)
    points = control_points(attrs)
    if points and transform is not None:  # that of an array with control points counts pixels
        points = carried_points(points, ~transform)
    if points or (transform is not None and _only_counts(array, dims, transform, declared)):
        transform = None
    return Grid(dims, shape, transform, crs, mapping or absent_mapping(array), units, points)


def spatial_dims(array: xr.DataArray) -> tuple[str, str]:
    """Names of the row and the column dimension: by name, by CF attributes, or the only two."""
    names = [str(dim) for dim in array.dims]
    if found := known_dims(array):
        return found
    if len(names) == 2:
        return names[0], names[1]
    raise InputError(f"there are dimensions {', '.join(names)}; {LOOKED_FOR}")


LOOKED_FOR = "geosr looks for y and x, lat and lon or latitude and longitude: rename two of them"


def known_dims(array: xr.DataArray) -> tuple[str, str] | None:
    """Names of the row and the column dimension, where a name or a CF attribute says which they are."""
    names = {str(dim).lower(): str(dim) for dim in array.dims}
    for y, x in _PAIRS:
        if y in names and x in names:
            return names[y], names[x]
    rows, cols = (_by_attribute(array, axis) for axis in ("Y", "X"))
    return (rows, cols) if rows and cols else None


def band_dim(array: xr.DataArray) -> str | None:
    """Name of the dimension along which bands lie; None where there is one band."""
    return next((name for name in _BANDS if name in array.dims), None)


def band_count(array: xr.DataArray) -> int:
    """The number of its bands."""
    dim = band_dim(array)
    return 1 if dim is None else int(array.sizes[dim])


def band_numbers(array: xr.DataArray) -> list[int] | None:
    """Numbers of the bands in the file that they come from, counted from 1, as rioxarray and geosr write them."""
    dim = band_dim(array) or "band"
    if dim not in array.coords or array.coords[dim].dtype.kind not in "iu":
        return None
    numbers = [int(number) for number in np.atleast_1d(array.coords[dim].values)]
    return numbers if min(numbers, default=0) > 0 and len(set(numbers)) == len(numbers) else None


def each_band(array: xr.DataArray, values: Sequence[Any]) -> list[Any] | None:
    """The values of a list with one for each band of a file, for the bands of the array, also selected or reordered.

    By the bands' numbers; by position where they have none. None where the list is of another length.
    """
    numbers = band_numbers(array)
    if numbers and max(numbers) <= len(values):
        return [values[number - 1] for number in numbers]
    return list(values) if len(values) == band_count(array) else None


def band_names(array: xr.DataArray) -> tuple[str, ...]:
    """Names of the bands, empty where that isn't said."""
    dim, count = band_dim(array), band_count(array)
    if dim is not None and "band_name" in array.coords and array.coords["band_name"].dims == (dim,):
        return tuple(str(each) for each in array.coords["band_name"].values)
    told = array.attrs.get("long_name")
    if isinstance(told, (list, tuple)) and (names := each_band(array, told)):
        return tuple(str(name or "") for name in names)
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


LISTS = {"scale_factor": ("scale_factors", "scales"), "add_offset": ("add_offsets", "offsets")}
"""Names of lists of the same in our Zarr stores and in rioxarray."""
_OF_THE_FILE = ("scales", "offsets", "units")


def by_band(array: xr.DataArray, key: str, usual: Any) -> list[Any]:
    """Values of a key of `BY_BAND`, one a band: its coordinate, else the attribute, one for all or one for each.

    Lists that rioxarray makes (`scales`, `offsets`, `units`) are of the bands of the file, as `each_band` has them.

    Raises `InputError` for an attribute of another length: after a selection of bands nobody knows which are meant.
    """
    dim, count = band_dim(array), band_count(array)
    if (name := BY_BAND[key]) in array.coords and array.coords[name].dims == (() if dim is None else (dim,)):
        return list(np.atleast_1d(array.coords[name].values).tolist())
    name = next((name for name in (key, *LISTS.get(key, ())) if name in array.attrs), key)
    value = array.attrs.get(name, usual)
    if not isinstance(value, list | tuple | np.ndarray) or np.size(value) == 1:
        return [np.ravel(value)[0] if isinstance(value, list | tuple | np.ndarray) else value] * count
    values = each_band(array, list(value)) if name in _OF_THE_FILE else list(value)
    if values is None or len(values) != count:
        raise InputError(f"the attribute {name} has {len(value)} values for {count} bands; set or delete it")
    return values


def _by_attribute(array: xr.DataArray, axis: str) -> str | None:
    words = {
        "Y": ("latitude", "grid_latitude", "projection_y_coordinate", "projection_y_angular_coordinate"),
        "X": ("longitude", "grid_longitude", "projection_x_coordinate", "projection_x_angular_coordinate"),
    }[axis]
    for dim in array.dims:
        attrs = array.coords[dim].attrs if dim in array.coords else {}
        if attrs.get("axis") == axis or attrs.get("standard_name") in words:
            return str(dim)
    return None


def _transform(
    array: xr.DataArray, dims: tuple[str, str], declared: Affine | None, units: tuple[float, float]
) -> Affine | None:
    """From the coordinates; exactly the declared transform, or that cut by whole pixels, where they lie on it."""
    if not all(dim in array.coords for dim in dims):
        return declared if is_whole(array.attrs, (array.sizes[dims[0]], array.sizes[dims[1]])) else None
    y, x = (np.asarray(array.coords[dim].values) for dim in dims)
    if y.dtype.kind not in "fiu" or x.dtype.kind not in "fiu":
        raise InputError(f"coordinates {dims[0]} and {dims[1]} are not numbers")
    if declared is not None and is_turned(declared):  # coordinates count pixels
        (f, _), (c, _) = (_line(array, dim, 1.0) for dim in dims)
        return _shifted(declared, c, f)
    if corners := _on_corners(array, y, x):
        return corners
    for per_row, per_col in dict.fromkeys((units, (1.0, 1.0))):  # declared in units of the CRS, or of the coordinates
        if declared is not None and (found := _on(declared, y, x, per_row, per_col)) is not None:
            return found if (per_row, per_col) == units else _in_units(found, units)
    steps = (None, None) if declared is None else (declared.e / units[0], declared.a / units[1])
    (f, e), (c, a) = (_line(array, dim, step) for dim, step in zip(dims, steps, strict=True))
    return _in_units(Affine(a, 0.0, c, 0.0, e, f), units)


def _on(declared: Affine, y: NDArray[Any], x: NDArray[Any], per_row: float, per_col: float) -> Affine | None:
    """A declared transform, cut by whole pixels, where coordinates lie on it."""
    if not (declared.a and declared.e):
        return None
    row = round((float(y[0]) * per_row - declared.f) / declared.e - 0.5)
    col = round((float(x[0]) * per_col - declared.c) / declared.a - 0.5)
    found = _shifted(declared, col, row)
    there = lies_on(y, found.f / per_row, found.e / per_row, _NEAR) and lies_on(
        x, found.c / per_col, found.a / per_col, _NEAR
    )
    return found if there else None


def _in_units(transform: Affine, units: tuple[float, float]) -> Affine:
    """The transform of coordinates, brought to the units of the CRS."""
    a, b, c, d, e, f = transform[:6]
    y, x = units
    return Affine(a * x, b * x, c * x, d * y, e * y, f * y)


def _only_counts(array: xr.DataArray, dims: tuple[str, str], transform: Affine, declared: Affine | None) -> bool:
    """True where coordinates count pixels and say nothing of a place: GDAL's identity stands for no transform."""
    if declared is not None:
        return declared.is_identity and (*transform[:2], *transform[3:5]) == (1.0, 0.0, 0.0, 1.0)
    told = [key for dim in dims if dim in array.coords for key in array.coords[dim].attrs]
    return transform.is_identity and not {"units", "standard_name"} & set(told)


def _on_corners(array: xr.DataArray, y: NDArray[Any], x: NDArray[Any]) -> Affine | None:
    """The attribute `transform`, where coordinates lie on the corners of its pixels, as stackstac has them."""
    transform = transform_of({key: value for key, value in array.attrs.items() if key == "transform"}, (0, 0))
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


def _line(array: xr.DataArray, dim: str, step: float | None) -> tuple[float, float]:
    """Outer edge of the first pixel and signed size of pixels along a dimension; `step` is for a single one."""
    coordinate = array.coords[dim]
    values = np.asarray(coordinate.values)
    if len(values) > 1:
        if not is_even(values):
            raise InputError(f"coordinate {dim} is not evenly spaced{_jump(values)}")
        return line_of(values)
    told = numbers_in(coordinate.attrs.get("resolution"))  # odc's
    if step is None and len(told) == 1:
        step = told[0]
    if step is None:
        raise InputError(
            f"there is one pixel along {dim} and nothing says how large it is; write a spatial_ref with "
            "GeoTransform (rio.write_transform), or drop the coordinate"
        )
    return float(values[0]) - step / 2, step


def _jump(values: NDArray[Any]) -> str:
    """The way out of uneven coordinates; of longitudes that start again behind 360 or 180 degrees, where."""
    turned = values + 360.0 * np.cumsum(np.r_[0.0, np.diff(values.astype(float))] < -180)
    if turned[-1] != values[-1] and is_even(turned):
        at = int(np.argmax(turned != values))
        return f": it jumps from {values[at - 1]:g} to {values[at]:g}; add 360 to what lies behind the jump"
    return "; regrid it first"
