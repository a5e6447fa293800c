"""The results of a model as arrays: the image by itself, or a Dataset of it and of what the model gives beside it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from geosr.io.output import RESULT, RESULTS
from geosr.radiometry import Head, Passes
from geosr.xarray.cf import BY_BAND, LISTS
from geosr.xarray.scenes import NODATA

_IMAGE = "data"
"""The name of an image that has none, as in a Zarr store."""
_OFFSETS, _SCALES = (("add_offset", *LISTS["add_offset"]), ("scale_factor", *LISTS["scale_factor"]))
_OF_NUMBERS = ("dtype", "valid_min", "valid_max", "valid_range", "flag_values", "flag_masks", "flag_meanings", *NODATA)
"""Attributes and encodings that speak of an image's stored numbers, and not of their spread."""


def together(results: Sequence[xr.DataArray], heads: Sequence[Head]) -> xr.Dataset:
    """A Dataset of the image, under its own name, and of the other results, under theirs.

    The image says in `ancillary_variables` what stands beside it. A spread has the gain of the image's numbers without
    their offset, and NaN where there is no data.
    """
    names = [head.name for head in heads]
    told = [_by_attribute(result).assign_attrs({RESULTS: " ".join(names)}) for result in results]
    image = told[0].assign_attrs(ancillary_variables=" ".join(names[1:]))
    rest = zip(told[1:], heads[1:], strict=True)
    others = {head.name: _beside(result, head).assign_attrs({RESULT: head.name}) for result, head in rest}
    return xr.Dataset({image.name or _IMAGE: image} | others)


def with_others(dataset: xr.Dataset, found: Mapping[Hashable, xr.DataArray | xr.Dataset]) -> xr.Dataset:
    """A dataset of images with what was found beside them, such as `B04_sigma` beside `B04`."""
    for name, results in found.items():
        if isinstance(results, xr.Dataset):
            others = {f"{name}_{key}": array.variable for key, array in results.data_vars.items() if key != name}
            dataset = dataset.assign(others)
            dataset[name].attrs["ancillary_variables"] = " ".join(others)
    return dataset


def _by_attribute(array: xr.DataArray) -> xr.DataArray:
    """The array with gains and offsets of its bands as attributes: coordinates would be those of all results."""
    lists = {LISTS[key][0]: BY_BAND[key] for key in LISTS if BY_BAND[key] in array.coords}
    moved = array.drop_vars(list(lists.values()))
    moved.encoding = dict(array.encoding)
    return moved.assign_attrs({key: array.coords[name].values.tolist() for key, name in lists.items()})


def _beside(array: xr.DataArray, head: Head) -> xr.DataArray:
    """A result beside the image, with what the image's attributes say as far as it holds of it."""
    if head.passes is Passes.VALUE:
        return array
    dropped = (*_OF_NUMBERS, *((*_OFFSETS, *_SCALES, "units") if head.passes is Passes.COUNT else ()))
    array.attrs = {key: _of_spread(key, value) for key, value in array.attrs.items() if key not in dropped}
    array.attrs["_FillValue"] = np.dtype(head.dtype).type(head.nodata)
    packed = (*_OFFSETS, *_SCALES, *_OF_NUMBERS)
    array.encoding = {key: value for key, value in array.encoding.items() if key not in packed}
    return array


def _of_spread(key: Hashable, value: Any) -> Any:
    """An attribute of an image's numbers as it holds of their spread."""
    if key in _OFFSETS:
        return np.zeros_like(value).tolist()
    return np.abs(value).tolist() if key in _SCALES else value
