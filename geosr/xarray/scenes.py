"""What a DataArray says of itself beside its place: nodata, classes, sensor; and the recipe that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geosr.errors import InputError, ModelError
from geosr.identify import identify
from geosr.io.bands import asked_bands
from geosr.io.categorical import ALPHA, ASKED, Told, either, reasons, settled_by_hand
from geosr.io.identity import product_text
from geosr.io.layout import CARDS, choose_core
from geosr.io.nodata import possible_nodata, told_numbers
from geosr.keywords import check_kinds
from geosr.models.model import Model, Precision
from geosr.models.own import TorchNetwork
from geosr.models.registry import find
from geosr.models.uncertain import beside
from geosr.observing import check_fused, check_guided, scale_of, settle
from geosr.radiometry import Radiometry
from geosr.sensors import Observation, SensorGuess
from geosr.xarray.cf import (
    Grid,
    band_colors,
    band_count,
    band_dim,
    band_names,
    band_numbers,
    by_band,
    each_band,
    grid_of,
)
from geosr.xarray.lazy import Axes
from geosr.xarray.recipe import Recipe


def axes_of(array: xr.DataArray, grid: Grid) -> Axes:
    """Which axis is what."""
    band = band_dim(array)
    y, x = (array.get_axis_num(dim) for dim in grid.dims)
    return Axes(int(y), int(x), None if band is None else int(array.get_axis_num(band)), array.ndim)


def recipe_of(
    array: xr.DataArray,
    *,
    model: str | TorchNetwork | Model | None,
    scale: int | None,
    mtf: float | Sequence[float] | None,
    snr: float | Sequence[float] | None,
    nodata: float | None,
    dtype: str | None,
    tile: int | None,
    device: str,
    precision: Precision,
    project: bool | None,
    uncertainty: bool,
    trust_mask: float | Sequence[float] | None,
    support: bool,
    categorical: Sequence[int | str] | str | None,
    guide: xr.DataArray | Sequence[xr.DataArray] | None = None,
    fuse: bool = False,
    reference: int | str | None = None,
) -> Recipe:
    """The recipe for an array, checked: no pixel is read and no network loaded; of weights there is only a digest.

    Raises `InputError` for an array or an option that can't be used, `ModelError` for the model.
    """
    check_kinds(tile=tile)
    wanted = beside(uncertainty, trust_mask, support)
    found = find(model, scale_of(scale, guided=guide is not None), wanted, fused=fuse, guided=guide is not None)
    check_guided(found, guide is not None, project)
    check_fused(found, fuse, guide is not None, project, reference)
    grid = grid_of(array)
    if 0 in array.shape:
        raise InputError(f"there is nothing to upscale in an array of shape {array.shape}")
    stored = "uint8" if array.dtype == bool else array.dtype.name  # whatever the order of bytes
    repeated = settled_reasons(array, categorical)
    names = [name or f"band {number}" for number, name in enumerate(band_names(array), start=1)]
    sensor = sensor_of(array, grid, repeated).described(names, repeated, band_colors(array))
    if not fuse:
        _check_chunks(found, sensor.bands, array, axes_of(array, grid).band)
    radiometry = radiometry_of(array, stored, dtype or stored, nodata)
    others = len(sensor.bands) if fuse else array.size // math.prod(grid.shape)
    settled = settle(
        found,
        radiometry=radiometry,
        sensor=sensor,
        mtf=_level(mtf),
        snr=_level(snr),
        project=project,
        device=device,
        precision=precision,
        fused=fuse,
    )
    large = CARDS if device.startswith("cuda") and found.card.network else 0
    core = choose_core(found.scale, others, np.dtype(radiometry.out_dtype).itemsize, large, tile)[0]
    return Recipe(settled, grid.shape, min(core, 4096))


def radiometry_of(array: xr.DataArray, stored: str, dtype: str, nodata: float | None) -> Radiometry:
    """The radiometry of an array of type `stored` and of a result of `dtype`; `nodata` takes the place of its own."""
    numbers = all_nodata(array)
    if nodata is not None:
        if (value := possible_nodata(nodata, stored)) is None:
            raise InputError(f"nodata {nodata:g} can't occur in {stored} pixels")
        numbers = ((value,),) * len(numbers)
    return Radiometry(stored, dtype, numbers)


def _check_chunks(model: Model, bands: Observation, array: xr.DataArray, band: int | None) -> None:
    """Raise `ModelError` where bands that a network wants together are not in one chunk."""
    sizes = (len(bands),) if band is None or array.chunks is None else array.chunks[band]
    starts = list(accumulate(sizes[:-1], initial=0))
    chunks = ((start, model.assign(bands[start : start + size])) for start, size in zip(starts, sizes, strict=True))
    apart = {tuple(start + band for band in group) for start, groups in chunks for group in groups}
    if apart != set(model.assign(bands)):
        raise ModelError("bands that go together lie in several chunks; keep them in one chunk")


def nodata_of(array: xr.DataArray) -> float | None:
    """The number that stands for 'no data', the first of several; None where there is none, or NaN stands for it."""
    return next((number for numbers in all_nodata(array) for number in numbers), None)


def all_nodata(array: xr.DataArray) -> tuple[tuple[float, ...], ...]:
    """Per band all numbers that stand for 'no data', in the order in which they are told.

    Every number of a list counts, or where there is one for each band that band's own; but `missing_value` may hold
    several for all. Of an array that was decoded, `fill_value` and `nodatavals` are left out: they tell numbers as they
    were stored.
    """
    if array.dtype == bool:
        return ((),) * band_count(array)
    decoded = array.dtype.kind == "f" and bool({"_FillValue", "scale_factor", "dtype"} & set(array.encoding))
    told = [(key, array.attrs.get(key)) for key in (NODATA if not decoded else NODATA[:3])]
    if array.dtype.kind in "iu":
        told += [(key, array.encoding.get(key)) for key in ("_FillValue", "missing_value")]
    lists = [_for_bands(array, key, numbers) for key, numbers in told]
    kind = array.dtype.name
    return tuple(tuple(dict.fromkeys(told_numbers(numbers, kind))) for numbers in zip(*lists, strict=True))


NODATA = ("_FillValue", "missing_value", "nodata", "fill_value", "nodatavals")
"""Attributes by which arrays tell numbers for 'no data'; the last two are not CF's."""


def _for_bands(array: xr.DataArray, key: str, told: Any) -> list[Any]:
    """The values that an attribute tells, a band each."""
    count = band_count(array)
    several = isinstance(told, list | tuple | np.ndarray) and np.size(told) > 1
    by_band = key == "nodatavals" or (key != "missing_value" and count > 1)
    return (each_band(array, list(told)) if several and by_band else None) or [told] * count


def reasons_of(array: xr.DataArray) -> tuple[str, ...]:
    """Per band: why its numbers are names of things, which must not be mixed; "" where they are none."""
    told, settled = _told_of_bands(array), array.coords.get("band_categorical")
    if settled is not None and array.dtype != bool:
        whether = np.broadcast_to(np.ravel(settled.values), (len(told),))
        known = reasons(told)
        return tuple((why or ASKED) if yes else "" for yes, why in zip(whether, known, strict=True))
    return reasons(told)


def categorical_bands(array: xr.DataArray) -> tuple[bool, ...]:
    """Per band: whether its numbers are names of things, which must not be mixed."""
    return tuple(map(bool, reasons_of(array)))


def settled_reasons(array: xr.DataArray, wanted: Sequence[int | str] | str | None) -> tuple[str, ...]:
    """The same where a user may have named the bands. Raises `InputError` for others than the array has."""
    names, numbers = band_names(array), band_numbers(array) or list(range(1, band_count(array) + 1))
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if array.name in wanted and array.name not in names:
            return settled_by_hand(reasons_of(array), range(len(names)))
        wanted = [numbers.index(each) + 1 if each in numbers else each for each in wanted]
    asked = asked_bands(names, "categorical", wanted)
    return settled_by_hand(reasons_of(array), None if asked is None else [band - 1 for band in asked])


_OF_BANDS = ("band_name", "band", "bands", "channel", "variable", "common_name", "title")
"""Coordinates along the bands that may name them."""
_STAC = ("classification:classes", "classification:bitfields")


def _told_of_bands(array: xr.DataArray) -> list[Told]:
    """The words of the array on each band that may say that it is categorical."""
    dim, count = band_dim(array), band_count(array)
    own = () if dim is None else (dim,)
    along = {str(name): list(np.atleast_1d(coord.values)) for name, coord in array.coords.items() if coord.dims == own}
    texts: list[Sequence[Any]] = [band_names(array)]
    texts += [along[name] for name in _OF_BANDS if name in along]
    colors = band_colors(array) or [""] * count
    titles = (array.attrs.get(key) for key in ("long_name", "standard_name"))
    whole = [text for text in (array.name, *titles) if isinstance(text, str)]
    return [
        Told(
            names=[text[band] for text in texts if isinstance(text[band], str) and text[band] not in whole],
            whole=whole,
            attributes=set(map(str, array.attrs)),
            marks=[
                *([_MARKS[colors[band]]] if colors[band] in _MARKS else []),
                *(name for name in _STAC if name in array.attrs or (name in along and along[name][band])),
            ],
            dtype=str(np.dtype(array.encoding.get("dtype") or array.dtype)) if array.dtype != bool else "bool",
        )
        for band in range(count)
    ]


_MARKS = {"alpha": ALPHA, "palette": "a palette"}


def sensor_of(array: xr.DataArray, grid: Grid, repeated: Sequence[str] | None = None) -> SensorGuess:
    """The sensor that attributes, the file's name or the names of bands tell of, of those that hold no classes."""
    source = str(array.encoding.get("source", ""))
    tags = {"sensor": str(array.encoding.get("sensor", ""))}  # as `open_raster` has it of the whole file
    tags |= {str(key): str(value) for key, value in array.attrs.items()}
    text = product_text(Path(source)) if source and Path(source).is_file() else ""
    told = reasons_of(array)
    return identify(
        tags=tags,
        descriptions=band_names(array),
        name=source,
        pixel_size=_pixel_size(grid),
        metadata=text,
        repeated=either(told, repeated or told),
        values=_values(array),
    )


def _values(array: xr.DataArray) -> list[tuple[float, float]]:
    """Scale and offset of each band; none where attributes are no numbers, or of other bands."""
    try:
        rows = zip(by_band(array, "scale_factor", 1.0), by_band(array, "add_offset", 0.0), strict=True)
        return [(float(scale), float(offset)) for scale, offset in rows]
    except (InputError, TypeError, ValueError):
        return []


def _pixel_size(grid: Grid) -> float | None:
    """Metres; None in degrees, or where there are no coordinates."""
    if grid.transform is None or (grid.crs is not None and not grid.crs.projected):
        return None
    factor = 1.0 if grid.crs is None else float(grid.crs.proj.axis_info[0].unit_conversion_factor)
    return math.sqrt(abs(grid.transform.determinant)) * factor


def _level(value: Any) -> Any:
    if isinstance(value, str):
        raise InputError(f"{value!r}: expected numbers; tiles of an array are planned before a pixel of it is read")
    return value
