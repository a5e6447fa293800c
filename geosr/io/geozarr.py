"""What a Zarr store says of its pixels: CF for xarray, rioxarray and GDAL, GeoZarr's conventions for overviews.

The root holds the array at full resolution with its coordinates; groups "1", "2", ... hold it with half as many pixels
each way, again and again, each complete in itself. The root's attribute `multiscales` lists them, as the conventions
`multiscales`, `spatial` and `proj` have it (https://github.com/zarr-conventions, version 0.1).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from rasterio.enums import ColorInterp

from geosr.io.cf import axis_attributes, centres, control_points_json, grid_mapping
from geosr.io.layout import Layout
from geosr.io.metadata import Metadata, identity_transform

MASK = "mask"
"""The array that says which pixels are valid, where no number does."""
MAPPING = "spatial_ref"

_RESERVED = {
    "_ARRAY_DIMENSIONS", "_FillValue", "missing_value", "scale_factor", "add_offset", "units", "calendar", "dtype",
    "long_name", "grid_mapping", "coordinates", "ancillary_variables", "valid_range", "flag_values", "flag_meanings",
}  # fmt: skip
"""Attributes by which readers change what they read: a tag of that name is no such thing."""

_CONVENTIONS = {
    "multiscales": ("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "spatial": ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    "proj": ("proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information"),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """An array that is small and whole: a coordinate."""

    name: str
    dims: tuple[str, ...]
    values: NDArray[Any]
    """Numbers, or strings."""
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a store beside its pixels."""

    dims: tuple[str, ...]
    """Of the array of pixels; the last two are rows and columns."""
    shape: tuple[int, ...]
    """Of the same, but for rows and columns."""
    metadata: Metadata
    """Of the result."""
    name: str = "data"
    """What the array of pixels is called."""
    coordinates: tuple[Variable, ...] = ()
    """Beside those of rows and columns; the same for every level."""
    attributes: Mapping[str, Any] | None = None
    """Of the array of pixels, beside what the metadata says."""
    ancillary: tuple[str, ...] = ()
    """Arrays on the same pixels that tell more of them, such as their standard deviations."""

    @staticmethod
    def of(metadata: Metadata, bands: tuple[int, ...]) -> Contents:
        """Contents (band, y, x) of a file's result; `bands` are the file's numbers."""
        count = len(bands)
        coordinates = [Variable("band", ("band",), np.array(bands, np.int64), {})]
        names = [band.description or "" for band in metadata.bands]
        if any(names):
            coordinates.append(Variable("band_name", ("band",), np.array(names), {}))
        return Contents(("band", "y", "x"), (count,), metadata, coordinates=tuple(coordinates))

    @property
    def crs(self) -> CRS | None:
        """The CRS as pyproj knows it; None where there is none, or it doesn't know it."""
        wkt = self.metadata.crs or self.metadata.gcp_crs
        try:
            return None if wkt is None else CRS(wkt.to_wkt())
        except Exception:  # pyproj refuses some that GDAL carries
            return None

    def transform(self, level: int) -> Affine | None:
        """Pixel corners of a level to coordinates; None where the scene is not georeferenced this way."""
        if self.metadata.gcps or self.metadata.transform == identity_transform():
            return None
        a, b, c, d, e, f = self.metadata.transform[:6]
        step = 2**level
        return Affine(a * step, b * step, c, d * step, e * step, f)

    def variables(self, level: int, shape: tuple[int, int]) -> Iterator[Variable]:
        """All arrays of a level but its pixels."""
        yield from self.coordinates
        crs, transform = self.crs, self.transform(level)
        if transform is not None:
            for name, axis, values in zip(self.dims[-2:], "YX", centres(transform, shape), strict=True):
                yield Variable(name, (name,), values, axis_attributes(crs, axis))
        if attributes := self._mapping(level):
            yield Variable(MAPPING, (), np.array(crs.epsg or 0 if crs else 0, np.int64), attributes)

    def pixel_attributes(self, layout: Layout) -> dict[str, Any]:
        """Attributes of the array of pixels, the same for every level."""
        tags = (self.metadata.tags or {}).get("", {})
        attributes: dict[str, Any] = {key: value for key, value in tags.items() if key not in _RESERVED}
        attributes |= self.attributes or {}
        attributes |= _radiometry(self.metadata) | _names(self.metadata) | self.metadata.flags
        beside = [variable.name for variable in self.coordinates if variable.name not in self.dims]
        if self._mapping(0):
            attributes["grid_mapping"] = MAPPING
            beside.append(MAPPING)
        if beside:
            attributes["coordinates"] = " ".join(beside)
        if ancillary := (*((MASK,) if layout.masked else ()), *self.ancillary):
            attributes["ancillary_variables"] = " ".join(ancillary)
        if layout.options.zarr_format == 3 and layout.missing is not None:
            attributes["_FillValue"] = fill_value(layout.missing)
        return attributes

    def mask_attributes(self) -> dict[str, Any]:
        """Attributes of the mask."""
        mapping = {"grid_mapping": MAPPING, "coordinates": MAPPING} if self._mapping(0) else {}
        words = {"long_name": "validity", "flag_values": [0, 1], "flag_meanings": "invalid valid"}
        return words | mapping

    def group_attributes(self, layout: Layout) -> dict[str, Any]:
        """Attributes of the root: where its pixels lie, its levels, and tags that no attribute has a place for."""
        used = ["spatial"] if self.transform(0) is not None else []
        used += ["proj"] if used and self.crs is not None else []
        used += ["multiscales"] if layout.levels else []
        attributes: dict[str, Any] = {"zarr_conventions": [_convention(name) for name in used]} if used else {}
        if self.transform(0) is not None:
            attributes |= self._place(layout, 0) | {"spatial:dimensions": list(self.dims[-2:])} | self._projection()
        if layout.levels:
            method = "nearest" if all(map(layout.takes_nearest, range(layout.count))) else "average"
            levels = [self._level(layout, level) for level in range(layout.levels + 1)]
            attributes["multiscales"] = {"layout": levels, "resampling_method": method}
        return attributes | self._other_tags()

    def _mapping(self, level: int) -> dict[str, Any]:
        crs = self.metadata.crs or self.metadata.gcp_crs
        attributes = grid_mapping(self.crs, self.transform(level))
        if crs is not None and self.crs is None:
            attributes |= {"crs_wkt": crs.to_wkt(), "spatial_ref": crs.to_wkt()}
        if self.metadata.gcps:
            attributes["gcps"] = control_points_json(self.metadata.gcps, 2**level)
        return attributes

    def _place(self, layout: Layout, level: int) -> dict[str, Any]:
        part, transform = layout.part(level), self.transform(level)
        place: dict[str, Any] = {"spatial:shape": [part.height, part.width]}
        return place if transform is None else place | {"spatial:transform": list(transform[:6])}

    def _projection(self) -> dict[str, Any]:
        crs = self.crs
        if crs is None:
            return {}
        return {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.to_wkt()}

    def _level(self, layout: Layout, level: int) -> dict[str, Any]:
        entry = {"asset": _under(level, self.name), **self._place(layout, level)}
        step = [2.0, 2.0] if level else [1.0, 1.0]
        relation = {"transform": {"scale": step, "translation": [0.0, 0.0]}}
        return entry | relation | ({"derived_from": _under(level - 1, self.name)} if level else {})

    def _other_tags(self) -> dict[str, Any]:
        spaces = {space: items for space, items in (self.metadata.tags or {}).items() if space and items}
        told: dict[str, Any] = {"tags": spaces} if spaces else {}
        own = [band.tags for band in self.metadata.bands]
        return told | ({"band_tags": own} if any(own) else {})


def losses(metadata: Metadata) -> Iterator[str]:
    """One line for each thing that a Zarr store has no place for."""
    if metadata.rpcs is not None:
        yield "a Zarr store has no place for RPCs: they are lost"
    bands = metadata.bands
    if any(band.colormap for band in bands):
        yield "a Zarr store has no place for a colour table: it is left out"
    classes = [band.categories for band in bands if band.categories]
    if len(bands) > 1 and classes:
        yield "a Zarr store has a place for names of classes only where there is a single band: they are left out"
    elif any(each.more_than_names for each in classes):
        yield "a Zarr store has no place for a table of classes: their names stay, as flag_meanings"
    if {band.color for band in bands} - {ColorInterp.gray, ColorInterp.undefined}:
        yield "a Zarr store has no place for colour interpretation: names of bands stay"
    for name in ("scale", "offset"):
        if len({getattr(band, name) for band in bands}) > 1:
            yield f"bands differ in {name}, and readers of Zarr apply one to all: it is kept as a list for you to apply"


def fill_value(value: np.generic) -> int | str:
    """The attribute `_FillValue` in version 3 as xarray writes and reads it."""
    if value.dtype.kind != "f":
        return int(value)
    return base64.standard_b64encode(struct.pack("<d", float(value))).decode()


def _under(level: int, name: str) -> str:
    return f"{level}/{name}" if level else name


def _radiometry(metadata: Metadata) -> dict[str, Any]:
    """Scale and offset where they say something: readers make floating point of whatever has them."""
    told = [(float(band.scale), float(band.offset)) for band in metadata.bands]
    if len(set(told)) > 1:
        return {"scale_factors": [scale for scale, _ in told], "add_offsets": [offset for _, offset in told]}
    return {"scale_factor": told[0][0], "add_offset": told[0][1]} if set(told) - {(1.0, 0.0)} else {}


def _names(metadata: Metadata) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for key, name in (("long_name", "description"), ("units", "unit")):
        texts = [getattr(band, name) or "" for band in metadata.bands]
        if any(texts):
            told[key] = texts[0] if len(set(texts)) == 1 else texts
    return told


def _convention(name: str) -> dict[str, str]:
    repository, uuid, description = _CONVENTIONS[name]
    return {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{repository}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{repository}/blob/v0.1/README.md",
        "uuid": uuid,
        "name": name,
        "description": description,
    }
