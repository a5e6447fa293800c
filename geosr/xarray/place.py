"""What an array tells of its CRS, transform and control points, in the words of CF, GDAL, STAC and the libraries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS

from geosr.xarray.axis import factor

TRANSFORMS = ("transform", "proj:transform", "spatial:transform")
"""Attributes of six numbers or nine, row by row: rasterio's and geowombat's, STAC's and EOPF's, GeoZarr's."""
GDAL_TRANSFORMS = ("GeoTransform",)
"""The same in GDAL's order."""
SHAPES = ("proj:shape", "spatial:shape")

_IN_MAPPING = ("crs_wkt", "spatial_ref", "wkt", "proj4", "proj4_params", "epsg_code")
_IN_ATTRIBUTES = (
    "crs", "_CRS", "proj:code", "proj:epsg", "proj:wkt2", "proj:projjson", "epsg", "crs_wkt", "spatial_ref",
    "pyproj_srs", "esri_pe_string", "area",
)  # fmt: skip
"""Of rioxarray and geowombat, GDAL's Zarr, STAC and EOPF, salem, ArcGIS, satpy."""
_IN_COORDINATES = ("crs", "epsg", "proj:epsg", "proj:code", "proj:wkt2", "proj:projjson")
"""Of satpy and stackstac."""

PLACE_WORDS = (*_IN_ATTRIBUTES, *TRANSFORMS, *GDAL_TRANSFORMS, *SHAPES)
"""Attributes by which a dataset may tell where all of its variables lie."""


def mappings_named(told: Any) -> dict[str, list[str]]:
    """Grid mappings that an attribute `grid_mapping` names, each with its coordinates where it is in the long form."""
    found: dict[str, list[str]] = {}
    for word in str(told or "").replace(":", ": ").split():
        if word.endswith(":") or not found or ":" not in str(told):
            found[word.rstrip(":")] = []
        else:
            found[list(found)[-1]].append(word)
    return found


def mappings_of(array: xr.DataArray) -> dict[str, list[str]]:
    """The grid mappings that an array names, whether it has them or not."""
    return mappings_named(array.encoding.get("grid_mapping", array.attrs.get("grid_mapping")))


def absent_mapping(array: xr.DataArray) -> str:
    """The name for the grid mapping of an array that has none: as it names it, else as is the custom."""
    return next(iter(mappings_of(array)), "spatial_ref")


def mapping_of(array: xr.DataArray, dims: tuple[str, str]) -> str | None:
    """Name of the coordinate that holds CRS and transform of rows and columns."""
    named = mappings_of(array)
    there = [name for name in named if name in array.coords]
    there.sort(key=lambda name: not set(dims) <= set(named[name]))
    if there:
        return there[0]
    return next((str(name) for name, coord in array.coords.items() if not coord.ndim and declares(coord.attrs)), None)


def declares(attrs: Mapping[Any, Any]) -> bool:
    """True for the attributes of a grid mapping."""
    return bool({"crs_wkt", "spatial_ref", "GeoTransform", "grid_mapping_name", "gcps"} & set(attrs))


def crs_of(array: xr.DataArray, mapping: str | None, dims: tuple[str, str]) -> CRS | None:
    """The CRS, from the first that tells one: grid mapping, attributes, scalar coordinates, rows and columns."""
    for told in _crs_told(array, mapping, dims):
        if (crs := _understood(told)) is not None:
            return crs
    return None


def transform_of(attrs: Mapping[Any, Any], shape: tuple[int, int]) -> Affine | None:
    """The transform that attributes tell of a grid; `shape` is the array's, for what tells only the outer edges."""
    for key in (*GDAL_TRANSFORMS, *TRANSFORMS):
        numbers = numbers_in(attrs.get(key))
        if len(numbers) in (6, 9) and all(map(math.isfinite, numbers)):
            return Affine.from_gdal(*numbers) if key in GDAL_TRANSFORMS else Affine(*numbers[:6])
    area = attrs.get("area")
    if getattr(area, "shape", None) == shape and len(extent := numbers_in(getattr(area, "area_extent", None))) == 4:
        left, bottom, right, top = extent
        return Affine((right - left) / shape[1], 0.0, left, 0.0, (bottom - top) / shape[0], top)
    return None


def is_whole(attrs: Mapping[Any, Any], shape: tuple[int, int]) -> bool:
    """True where attributes that tell the shape of a grid tell this one."""
    told = [numbers_in(attrs[key]) for key in SHAPES if key in attrs]
    return all(each == list(shape) for each in told)


def numbers_in(told: Any) -> list[float]:
    """The numbers of a sequence, or of text with spaces or commas between them; none where it is something else."""
    if isinstance(told, str):
        told = told.strip("[]() ").replace(",", " ").split()
    if isinstance(told, int | float | np.number):
        told = (told,)
    with suppress(TypeError, ValueError):
        return [float(each) for each in told]
    return []


def units_of(array: xr.DataArray, dim: str, crs: CRS | None, mapping: str | None) -> float:
    """Units of the CRS in a unit of the coordinates: 1000 for km, a satellite's height for radians."""
    unit = factor(str(array.coords[dim].attrs.get("units", ""))) if dim in array.coords else None
    if unit is None or crs is None:
        return 1.0
    kind, size = unit
    axis = float(crs.proj.axis_info[0].unit_conversion_factor) if crs.proj.axis_info else 1.0
    if (kind == "angle") == crs.geographic:
        return 1.0 if math.isclose(size, axis, rel_tol=1e-9) else size / axis
    height = _height(crs, {} if mapping is None else array.coords[mapping].attrs)
    return 1.0 if kind == "length" or height is None else height * size / axis


def _height(crs: CRS, attrs: Mapping[Any, Any]) -> float | None:
    """Of a geostationary satellite above the ellipsoid, metres: its scanning angles times this are coordinates."""
    if attrs.get("grid_mapping_name") == "geostationary" and "perspective_point_height" in attrs:
        return float(np.ravel(attrs["perspective_point_height"])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyproj warns of what PROJ's own strings can't say
        told = crs.proj.to_dict()
    return float(told["h"]) if told.get("proj") == "geos" else None


def _crs_told(array: xr.DataArray, mapping: str | None, dims: tuple[str, str]) -> Iterator[Any]:
    if mapping is not None:
        attrs = array.coords[mapping].attrs
        yield from (attrs.get(key) for key in _IN_MAPPING)
        if "grid_mapping_name" in attrs:
            yield _from_cf(attrs)
    yield from (array.attrs.get(key) for key in _IN_ATTRIBUTES)
    yield from (
        array.coords[key].item() for key in _IN_COORDINATES if key in array.coords and not array.coords[key].ndim
    )
    yield from (array.coords[dim].attrs.get("crs") for dim in dims if dim in array.coords)


def _understood(told: Any) -> CRS | None:
    """A CRS from whatever tells one: WKT, a code, a number, a mapping, an object of another library."""
    if isinstance(told, Mapping) and {"wkt", "projjson", "url"} & set(told):  # GDAL's, in Zarr
        return next((crs for key in ("wkt", "projjson", "url") if (crs := _understood(told.get(key)))), None)
    told = getattr(told, "crs", told)  # satpy's area
    if told is None or (isinstance(told, float) and not math.isfinite(told)):
        return None
    if hasattr(told, "to_wkt"):
        told = told.to_wkt()
    with warnings.catch_warnings(), suppress(Exception):  # pyproj refuses some that GDAL carries; the next may do
        warnings.simplefilter("ignore")  # "+init=epsg:4326", as rasterio wrote it once
        from pyproj import CRS as PROJ

        if isinstance(told, str):
            told = told.strip()
        with suppress(TypeError, ValueError):  # also where a number is told in floating point or as text
            told = int(told)
        return CRS(told if isinstance(told, str | int) else PROJ.from_user_input(told).to_wkt()) if told else None
    return None


def _from_cf(attrs: Mapping[Any, Any]) -> Any:
    from pyproj import CRS as PROJ

    with suppress(Exception):  # no complete grid mapping
        return PROJ.from_cf(dict(attrs))
    return None


def is_position(attrs: Mapping[Any, Any]) -> bool:
    """True for the attributes of a coordinate that tells where pixels lie."""
    words = ("latitude", "longitude", "projection_x_coordinate", "projection_y_coordinate")
    return any(str(attrs.get("standard_name", "")).endswith(word) for word in words) or str(
        attrs.get("units", "")
    ).startswith(("degrees_n", "degrees_e", "degree_n", "degree_e"))
