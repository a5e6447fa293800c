"""Raster files as lazy DataArrays whose chunks follow the file's blocks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo.crs import CRS

from geosr.errors import InputError
from geosr.io.grid import same_grid
from geosr.io.scene import Scene, open_scene
from geosr.io.source import FileSource, SceneSource
from geosr.products import read_product
from geosr.products.members import is_archive
from geosr.radiometry import Pixels, Radiometry
from geosr.window import Window
from geosr.xarray.cf import BY_BAND, Grid

Chunks = Literal["auto"] | int | tuple[int, int] | Mapping[str, int] | None

_SIDE = 2048
"""Chunks are grown from blocks to about this many pixels a side: few tasks, and a tile's neighbours in one chunk."""


def open_raster(
    path: str | Path | Sequence[str | Path],
    chunks: Chunks = "auto",
    bands: Sequence[int | str] | None = None,
    masked: bool = False,
) -> xr.DataArray:
    """A raster file as a lazy DataArray (band, y, x); several files of one grid as (time, band, y, x).

    Coordinates are the centres of pixels; CRS and transform stand in `spatial_ref`, nodata, scale and offset in the
    attributes `_FillValue`, `scale_factor` and `add_offset`, and names of bands in `long_name`, as rioxarray has them.
    Scales, offsets and units that differ by band, and colours, are coordinates: `band_scale`, `band_offset`,
    `band_unit`, `band_color`. Where files of a list differ in them, or in `band_name`, these run along (time, band);
    attributes of a list are those that all its files have.
    Numbers stay as they are stored. `da.geosr.upscale()` and the file path give the same pixels, unless a mask says
    more than nodata does: masks, palettes and RPCs have no place in a DataArray, and a warning says so. Control points
    stand in `spatial_ref` as GeoJSON, as rioxarray has them.

    Parameters
    ----------
    path
        A file, URL or VRT that GDAL opens; or a list of files, whose times are read from tags or names.
    chunks
        "auto" (whole blocks, about 2048 pixels a side), pixels a side, (y, x) or {"y": ..., "x": ..., "band": ...};
        None reads it now, into numpy.
    bands
        Numbers counted from 1, or names; all by default.
    masked
        NaN in place of nodata and of what a mask calls invalid, in floating point; nodata goes to the encoding.

    Raises
    ------
    geosr.errors.InputError
        A file can't be read, or files of a list differ in grid, number of bands, type, nodata or which bands hold
        classes. Where they differ in sensor, a warning says so.
    """
    if not isinstance(path, (str, Path)):
        return _open_stack(list(path), chunks, bands, masked)
    if (Path(path).is_dir() or is_archive(str(path))) and read_product(path) is not None:
        raise InputError(f"{path}: is a product, of bands on grids of their own; open it with open_product")
    return open_one(open_scene(path, bands=bands), chunks, masked)


@dataclass(frozen=True, slots=True)
class FileArray:
    """The pixels of a file as something that Dask slices; opens the file where it is read."""

    source: SceneSource
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    gaps: Radiometry | None = None
    """Where given, what is no data becomes NaN."""

    ndim = 3

    def __getitem__(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """The pixels (band, y, x) of slices and whole numbers, which Dask fuses into what it asks for."""
        spans, rest = zip(*map(_span, index, self.shape), strict=True)
        return self._read(*spans)[rest]

    def _read(self, bands: range, rows: range, cols: range) -> NDArray[Any]:
        if not (bands and rows and cols):
            return np.empty((len(bands), len(rows), len(cols)), self.dtype)
        pixels = self._pixels(bands, Window(rows.start, cols.start, len(rows), len(cols)))
        if self.gaps is None:
            return pixels.stored
        values = pixels.stored.astype(self.dtype)
        valid = self.gaps.bands(bands).valid(pixels)
        if valid is not None:
            values[~valid] = np.nan
        return values

    def _pixels(self, bands: range, window: Window) -> Pixels:
        b0, b1, source = bands.start, bands.stop, self.source
        if not isinstance(source, FileSource):
            pixels = source.pixels(window)
            return replace(pixels, stored=pixels.stored[b0:b1])
        every = source.bands  # whichever are read, a pixel that is masked in one counts as no data in all
        return replace(source, bands=every[b0:b1], nodata=source.nodata[b0:b1], mask_bands=every).pixels(window)


def _span(part: slice | int, size: int) -> tuple[range, slice | int]:
    """The part of an axis to read without a break, and what is to be taken of that."""
    if not isinstance(part, slice):
        return range(part % size, part % size + 1), 0
    wanted = range(size)[part]
    if not wanted:
        return range(0), slice(None)
    return range(min(wanted), max(wanted) + 1), slice(None, None, wanted.step)


def open_one(scene: Scene, chunks: Chunks, masked: bool) -> xr.DataArray:
    """A scene as a lazy DataArray (band, y, x), as `open_raster` has it."""
    for line in _losses(scene, masked):
        warnings.warn(f"{scene.name} has {line}", stacklevel=3)
    dtype = scene.radiometry.working if masked else np.dtype(scene.dtype)
    shape = len(scene.bands), *scene.shape
    source = FileArray(scene.source, shape, dtype, scene.radiometry if masked else None)
    if chunks is None:
        data: Any = source[(slice(None),) * 3]
    else:
        sizes = _sizes(scene, chunks)
        name = f"geosr-open-{tokenize(scene.identity, scene.source, masked, sizes)}"
        data = da.from_array(
            source, sizes, name=name, asarray=False, fancy=False, inline_array=True, meta=np.empty((0,) * 3, dtype)
        )
    grid = _grid(scene)
    coords = {"band": ("band", np.array(scene.bands)), **grid.coordinates()}
    told = _told_of_bands(scene)
    wanted = {BY_BAND[key] for key, values in _by_band(scene).items() if len(set(values)) > 1}
    if any(told["band_name"]):
        wanted.add("band_name")
    if set(told["band_color"]) - {"gray", "undefined", "palette"}:
        wanted.add("band_color")
    coords |= {name: ("band", values) for name, values in told.items() if name in wanted}
    if any(scene.categorical):
        coords["band_categorical"] = ("band", list(scene.categorical))
    if grid.crs is not None or grid.transform is not None or grid.gcps:
        coords["spatial_ref"] = grid.spatial_ref()
    array = xr.DataArray(data, dims=("band", "y", "x"), coords=coords, attrs=_attributes(scene))
    array.name = None  # xarray takes the graph's
    array.encoding = {"source": scene.path, "preferred_chunks": {"y": scene.block[0], "x": scene.block[1]}}
    if scene.sensor.sensor:
        array.encoding["sensor"] = scene.sensor.sensor  # a few of the file's bands may not tell
    if "spatial_ref" in coords:
        array.encoding["grid_mapping"] = "spatial_ref"
    if masked:
        array.encoding["dtype"] = scene.dtype
        if "_FillValue" in array.attrs:
            array.encoding["_FillValue"] = array.attrs.pop("_FillValue")
    return array


def _grid(scene: Scene) -> Grid:
    """The pixel grid of a scene; its CRS is the file's own where it is known to pyproj."""
    points = scene.metadata.gcps
    wkt = scene.metadata.gcp_crs if points else scene.crs
    known = scene.geobox.crs is not None or points
    crs = CRS(wkt.to_wkt()) if wkt is not None and known else scene.geobox.crs
    placed = not points and not scene.transform.is_identity
    return Grid(("y", "x"), scene.shape, scene.transform if placed else None, crs, "spatial_ref", gcps=points)


def _losses(scene: Scene, masked: bool) -> Iterator[str]:
    """Lines on what the file has and a DataArray has no place for."""
    if scene.mask != "none" and not masked:
        yield "a mask, which a DataArray has no place for; masked=True puts NaN there"
    bands = scene.metadata.bands
    classes = [band.categories for band in bands if band.categories]
    for what, found in (
        ("RPCs", scene.metadata.rpcs),
        ("a palette", any(band.colormap for band in bands)),
        ("names of classes in one of its bands", len(bands) > 1 and classes),
        ("a table of classes", any(each.more_than_names for each in classes)),
    ):
        if found:
            yield f"{what}, which a DataArray has no place for; geosr.upscale(path) carries them into its result"


def _attributes(scene: Scene) -> dict[str, Any]:
    attrs: dict[str, Any] = dict((scene.metadata.tags or {}).get("", {}))
    flags = scene.metadata.flags
    attrs |= {key: told if isinstance(told, str) else np.array(told, scene.dtype) for key, told in flags.items()}
    nodata = scene.metadata.nodata
    if nodata is not None:
        attrs["_FillValue"] = np.dtype(scene.dtype).type(nodata)
    names = tuple(band.description or "" for band in scene.metadata.bands)
    if any(names):
        attrs["long_name"] = names[0] if len(names) == 1 else names
    attrs |= {key: values[0] for key, values in _by_band(scene).items() if len(set(values)) == 1}
    if not attrs.get("units"):
        attrs.pop("units", None)
    return attrs


def _by_band(scene: Scene) -> dict[str, tuple[Any, ...]]:
    """The values that a file tells of each band and CF of an array, by the attribute's name."""
    units = tuple(band.unit or "" for band in scene.metadata.bands)
    return {"scale_factor": scene.scales, "add_offset": scene.offsets, "units": units}


def _told_of_bands(scene: Scene) -> dict[str, list[Any]]:
    """All that a file tells of each band, by the name of the coordinate that may hold it."""
    bands = scene.metadata.bands
    numbers = {BY_BAND[key]: list(values) for key, values in _by_band(scene).items()}
    told = {"band_name": [band.description or "" for band in bands], "band_color": [band.color.name for band in bands]}
    return told | numbers


def _sizes(scene: Scene, chunks: Any) -> tuple[tuple[int, ...], ...]:
    count, (height, width) = len(scene.bands), scene.shape
    band = 1 if scene.interleave == "band" else count
    rows, cols = (block * max(1, _SIDE // block) for block in scene.block)
    if isinstance(chunks, Mapping):
        if strange := set(chunks) - {"band", "y", "x"}:
            raise InputError(f"chunks: there is no dimension {', '.join(sorted(strange))}; name band, y and x")
        band, rows, cols = chunks.get("band", band), chunks.get("y", rows), chunks.get("x", cols)
    elif isinstance(chunks, int):
        rows = cols = chunks
    elif chunks != "auto":
        rows, cols = chunks
    wanted = tuple(
        size if size > 0 else side for size, side in zip((band, rows, cols), (count, height, width), strict=True)
    )
    sizes: tuple[tuple[int, ...], ...] = da.core.normalize_chunks(wanted, (count, height, width))
    return sizes


_DATE = re.compile(r"(?<!\d)(\d{4})([-:_]?)(\d{2})\2(\d{2})(?:[T _]?(\d{2})[-:_]?(\d{2})[-:_]?(\d{2})(?!\d))?(?!\d)")
_WHEN = ("DATATAKE_1_DATATAKE_SENSING_START", "PRODUCT_START_TIME", "TIFFTAG_DATETIME", "datetime", "DATE_ACQUIRED")


def _open_stack(
    paths: list[str | Path], chunks: Chunks, bands: Sequence[int | str] | None, masked: bool
) -> xr.DataArray:
    if not paths:
        raise InputError("there is no file in the list")
    scenes = [open_scene(path, bands=bands) for path in paths]
    for scene in scenes[1:]:
        _check_alike(scene, scenes[0])
    times = [_time(scene) for scene in scenes]
    stack = [open_one(scene, chunks, masked) for scene in scenes]
    joined = xr.concat(
        [array.drop_attrs(deep=False) for array in stack], "time", coords="minimal", compat="override", join="override"
    )
    differing = _differing(scenes)
    joined = joined.assign_coords(differing)
    shared = _shared([array.attrs for array in stack])
    joined.attrs = {key: value for key, value in shared.items() if BY_BAND.get(key) not in differing}
    joined.encoding = stack[0].encoding
    if len({_seen_by(scene) for scene in scenes}) > 1:
        warnings.warn(_SENSORS, stacklevel=3)
        for told in ("source", "sensor"):  # of the first file's sensor
            joined.encoding.pop(told, None)
    if all(times):
        joined = joined.assign_coords(time=np.array(times, "datetime64[ns]")).sortby("time")
    return joined


def _seen_by(scene: Scene) -> tuple[Any, ...]:
    """The sensor and the bands of a scene, for comparison."""
    sensor = scene.sensor
    return sensor.sensor, *((band.name, band.table, band.zero) for band in sensor.bands)


_SENSORS = (
    "the files differ in sensor, in bands or in the number that stands for no light: together they count as what their "
    "tags and names of bands agree on; open each by itself where its own blur and noise matter"
)


def _check_alike(scene: Scene, first: Scene) -> None:
    """Raise `InputError` where two files can't be one array."""
    alike = scene.shape == first.shape and scene.crs == first.crs
    if not (alike and same_grid(scene.transform, first.transform, scene.shape)):
        raise InputError(f"{scene.name} and {first.name} are not on one grid; bring them there first")
    for what, one, other in (
        ("number of bands", len(scene.bands), len(first.bands)),
        ("type", scene.dtype, first.dtype),
        ("nodata", scene.nodata, first.nodata),
        ("which bands hold classes", scene.categorical, first.categorical),
    ):
        if str(one) != str(other):  # as text, NaN is NaN
            raise InputError(f"{scene.name} and {first.name} differ in {what}: {one} and {other}; open each by itself")


def _differing(scenes: Sequence[Scene]) -> dict[str, tuple[tuple[str, str], list[list[Any]]]]:
    """Coordinates (time, band) of what files tell differently of their bands."""
    told = [_told_of_bands(scene) for scene in scenes]
    names = {name for name in told[0] if any(each[name] != told[0][name] for each in told)}
    calibration = {BY_BAND["scale_factor"], BY_BAND["add_offset"]}
    if names & calibration:
        names |= calibration  # readers would apply an attribute for the one without the other
    return {name: (("time", "band"), [each[name] for each in told]) for name in names}


def _shared(attributes: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    """The attributes that are the same in all."""
    first, *others = attributes
    return {key: value for key, value in first.items() if all(repr(each.get(key)) == repr(value) for each in others)}


def _time(scene: Scene) -> str | None:
    tags = (scene.metadata.tags or {}).get("", {})
    for text in (*(tags[key] for key in _WHEN if key in tags), scene.name):
        for found in _DATE.finditer(text):
            year, _, month, day, *clock = found.groups(default="0")
            for hours in (clock, ("0", "0", "0")):  # what follows a date may be anything of six digits
                with suppress(ValueError):
                    when = datetime(*map(int, (year, month, day, *hours)))  # type: ignore[arg-type]
                    if 1950 < when.year < 2100:
                        return when.isoformat()
    return None
