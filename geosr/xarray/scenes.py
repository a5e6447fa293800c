"""What a DataArray says of itself beside its place: nodata, classes, sensor; and the recipe that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geosr.errors import InputError
from geosr.io.bands import names_classes, possible_nodata
from geosr.io.identity import product_text
from geosr.io.layout import choose_core
from geosr.models.foreign import Foreign
from geosr.models.foreign.bands import check_chunks
from geosr.models.registry import Model, card, digest, settled
from geosr.models.runtime import Precision
from geosr.radiometry import Radiometry
from geosr.sensors import SensorGuess, colors, identify
from geosr.xarray.cf import Grid, band_colors, band_dim, band_names, grid_of
from geosr.xarray.lazy import Axes
from geosr.xarray.recipe import Level, Recipe

_FLAGS = ("flag_values", "flag_masks", "flag_meanings")


def axes_of(array: xr.DataArray, grid: Grid) -> Axes:
    """Which axis is what."""
    band = band_dim(array)
    y, x = (array.get_axis_num(dim) for dim in grid.dims)
    return Axes(int(y), int(x), None if band is None else int(array.get_axis_num(band)), array.ndim)


def recipe_of(
    array: xr.DataArray,
    *,
    model: Model,
    scale: int,
    mtf: float | Sequence[float] | None,
    snr: float | Sequence[float] | None,
    nodata: float | None,
    dtype: str | None,
    tile: int | None,
    device: str,
    precision: Precision,
    project: bool | None,
) -> Recipe:
    """The recipe for an array, checked: no pixel is read and no network loaded; of weights there is only a digest.

    Raises `InputError` for an array or an option that can't be used, `ModelError` for the model.
    """
    model = settled(model)
    card(model, scale)
    grid = grid_of(array)
    if 0 in array.shape:
        raise InputError(f"there is nothing to upscale in an array of shape {array.shape}")
    stored = "uint8" if array.dtype == bool else str(array.dtype)
    categorical = categorical_bands(array)
    sensor = sensor_of(array, grid)
    names = colors(sensor, band_names(array), categorical, band_colors(array))
    _check_chunks(model, categorical, names, array, axes_of(array, grid).band)
    count = len(categorical)
    if nodata is not None and possible_nodata(nodata, stored) is None:
        raise InputError(f"nodata {nodata:g} can't occur in {stored} pixels")
    radiometry = Radiometry(stored, dtype or stored, (nodata_of(array) if nodata is None else nodata,) * count)
    others = array.size // math.prod(grid.shape)
    recipe = Recipe(
        model=model,
        weights=digest(model, scale),
        scale=scale,
        shape=grid.shape,
        core=min(choose_core(scale, others, np.dtype(radiometry.out_dtype).itemsize, tile=tile)[0], 4096),
        radiometry=radiometry,
        categorical=categorical,
        sensor=sensor,
        colors=names if isinstance(model, Foreign) and model.bands > 1 else (),
        mtf=_level(mtf),
        snr=_level(snr),
        device=device,
        precision=precision,
        project=project,
    )
    assert recipe.blur  # checks mtf and snr
    return recipe


def _check_chunks(
    model: Model, categorical: tuple[bool, ...], names: tuple[str, ...], array: xr.DataArray, band: int | None
) -> None:
    """Raise `ModelError` where bands that a network wants together are not in one chunk."""
    chunks = list(_chunked(categorical, array, band))
    if not isinstance(model, str):
        for chunk in chunks:
            model.check_bands(chunk)
    if isinstance(model, Foreign) and len(chunks) > 1:
        pieces, start = [], 0
        for chunk in chunks:
            pieces.append([name for name in names[start : start + len(chunk)] if name != "categorical"])
            start += len(chunk)
        check_chunks(pieces, model.bands)


def _chunked(categorical: tuple[bool, ...], array: xr.DataArray, band: int | None) -> Iterator[tuple[bool, ...]]:
    """What `categorical` says of the bands of each chunk."""
    start = 0
    for size in (len(categorical),) if band is None or array.chunks is None else array.chunks[band]:
        yield categorical[start : start + size]
        start += size


def nodata_of(array: xr.DataArray) -> float | None:
    """The number that stands for 'no data'; None where there is none, or NaN stands for it already."""
    told = [array.attrs.get(key) for key in ("_FillValue", "missing_value", "nodata")]
    if array.dtype.kind in "iu":
        told.append(array.encoding.get("_FillValue"))
    numbers = [number for each in told if (number := _number(each)) is not None]
    return possible_nodata(numbers[0], str(array.dtype)) if numbers and array.dtype != bool else None


def _number(told: Any) -> float | None:
    """The number that an attribute holds, the first of several; None where it holds none, such as "none" or ""."""
    try:
        return float(np.ravel(told)[0])
    except (TypeError, ValueError, IndexError):
        return None


def categorical_bands(array: xr.DataArray) -> tuple[bool, ...]:
    """Per band: whether its numbers are names of things, which must not be mixed."""
    names = band_names(array)
    if array.dtype == bool or (array.dtype.kind in "iu" and set(_FLAGS) & set(array.attrs)):
        return (True,) * len(names)
    if "band_categorical" in array.coords:
        return tuple(bool(each) for each in np.ravel(array.coords["band_categorical"].values))
    return tuple(array.dtype.kind in "iu" and names_classes(name) for name in names)


def sensor_of(array: xr.DataArray, grid: Grid) -> SensorGuess:
    """The sensor that attributes, band names or the file's name tell of."""
    source = str(array.encoding.get("source", ""))
    tags = {str(key): str(value) for key, value in array.attrs.items()}
    text = product_text(Path(source)) if source and Path(source).is_file() else ""
    names = band_names(array)
    return identify(tags=tags, descriptions=names, name=source, pixel_size=_pixel_size(grid), metadata=text)


def _pixel_size(grid: Grid) -> float | None:
    """Metres; None in degrees, or where there are no coordinates."""
    if grid.transform is None or (grid.crs is not None and not grid.crs.projected):
        return None
    factor = 1.0 if grid.crs is None else float(grid.crs.proj.axis_info[0].unit_conversion_factor)
    return math.sqrt(abs(grid.transform.determinant)) * factor


def _level(value: Any) -> Level:
    if isinstance(value, str):
        raise InputError(f"{value!r}: expected numbers; tiles of an array are planned before a pixel of it is read")
    return value if value is None or isinstance(value, int | float) else tuple(float(each) for each in value)
