"""A Dataset: which of its variables are pixels of a grid, and what becomes of those beside them."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping

import xarray as xr

from geosr.errors import InputError
from geosr.xarray.cf import LOOKED_FOR, grid_of, known_dims
from geosr.xarray.finer import Scales, finer_attributes, finer_bounds, finer_encoding, finer_variable
from geosr.xarray.place import PLACE_WORDS, SHAPES, TRANSFORMS, declares, is_position, mappings_of

_BOUNDS = ("bnds", "bounds")


def planes_of(dataset: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    """The variables that are numbers on rows and columns, each with what the dataset says of their place.

    Bounds, positions and areas of cells are none. Raises `InputError` where there is no such variable.
    """
    beside = set(_beside(dataset))
    arrays = {name: array for name, array in dataset.data_vars.items() if name not in beside and _may_be_plane(array)}
    found = {name: dims for name, array in arrays.items() if (dims := known_dims(array))}
    if not found:
        flat = {name: (str(array.dims[0]), str(array.dims[1])) for name, array in arrays.items() if array.ndim == 2}
        found = flat if len(set(flat.values())) == 1 else {}
    if not found:
        shown = "; ".join(f"{name} has dimensions {', '.join(map(str, each.dims))}" for name, each in arrays.items())
        why = f": {shown}; {LOOKED_FOR}" if shown else " of numbers"
        raise InputError(f"no variable of the dataset lies on rows and columns{why}")
    return {name: _placed(dataset, arrays[name], dims) for name, dims in found.items()}


def finer_dataset(dataset: xr.Dataset, fine: Mapping[Hashable, xr.DataArray]) -> xr.Dataset:
    """The dataset with finer planes, and with all else brought to their rows and columns; see `finer_variable`.

    Bounds are cut, coordinates of rows and columns are the planes'. What can't be carried is left out, with a warning.
    Variables without rows and columns are the same ones: nothing is aligned.
    """
    scales: dict[Hashable, int] = {}
    coords: dict[Hashable, xr.Variable] = {}
    for name, array in fine.items():
        scales |= {d: array.sizes[d] // size for d, size in dataset[name].sizes.items() if array.sizes[d] != size}
        coords |= {key: coord.variable for key, coord in array.coords.items()}
    found = {name: array.variable for name, array in fine.items()} | dict(_beside_planes(dataset, coords, scales, fine))
    lost = sorted(str(name) for name, variable in found.items() if variable is None)
    if lost:
        warnings.warn(f"left out, since they have a value for each old pixel or cell: {', '.join(lost)}", stacklevel=4)
    kept = {name: variable for name, variable in found.items() if variable is not None}
    changed = [name for name in dataset.coords if name not in kept or kept[name] is not dataset.variables[name]]
    result = dataset.drop_vars([*dataset.data_vars, *changed])
    result = result.assign_coords({name: kept[name] for name in (*changed, *coords) if name in kept})
    result = result.assign({name: kept[name] for name in dataset.data_vars if name in kept})
    for variable in result.variables.values():
        variable.encoding = finer_encoding(variable.encoding, lost) if variable.encoding else {}
    first = next(iter(fine.values()))
    result.attrs = finer_attributes(dataset.attrs, grid_of(first), max(scales.values()))
    result.encoding = dict(dataset.encoding)
    return result


def with_mappings(dataset: xr.Dataset) -> xr.Dataset:
    """Grid mappings that were read as variables, as files are without `decode_coords="all"`, made coordinates."""
    named = {name for array in dataset.data_vars.values() for name in mappings_of(array)}
    told = {name for name, array in dataset.data_vars.items() if not array.ndim and declares(array.attrs)}
    return dataset.set_coords([name for name in dataset.data_vars if name in named | told])


def _may_be_plane(array: xr.DataArray) -> bool:
    cells = is_position(array.attrs) or array.attrs.get("standard_name") == "cell_area"
    return array.ndim >= 2 and array.dtype.kind in "biufc" and not cells


def _beside(dataset: xr.Dataset) -> Iterator[Hashable]:
    """Names of variables that belong to others: their bounds, and the areas of their cells."""
    for name, variable in dataset.variables.items():
        told = {**variable.encoding, **variable.attrs}
        yield from (str(told[key]) for key in ("bounds", "climatology") if key in told)
        yield from (word for word in str(told.get("cell_measures", "")).split() if not word.endswith(":"))
        if _owner(dataset, name, variable) is not None:
            yield name


def _owner(dataset: xr.Dataset, name: Hashable, variable: xr.Variable) -> Hashable | None:
    """The coordinate of rows or columns whose bounds a variable is: as that says, else by name."""
    dim = variable.dims[0] if variable.ndim == 2 else None
    if dim not in dataset.coords:
        return None
    told = {**dataset[dim].encoding, **dataset[dim].attrs}.get("bounds")
    named = told is None and variable.shape[1] == 2 and name in [f"{dim}_{word}" for word in _BOUNDS]
    return dim if told == name or named else None


def _placed(dataset: xr.Dataset, array: xr.DataArray, dims: tuple[str, str]) -> xr.DataArray:
    """A plane with the place that its dataset tells, and without coordinates that are carried beside it."""
    own = [name for name, coord in array.coords.items() if name not in dims and set(dims) & set(coord.dims)]
    array = array.drop_vars(own)
    there = [name for name in mappings_of(array) if name in dataset.variables and name not in array.coords]
    array = array.assign_coords({name: xr.Variable((), 0, dataset.variables[name].attrs) for name in there})
    words = {key: dataset.attrs[key] for key in PLACE_WORDS if key in dataset.attrs and key not in array.attrs}
    if not words:
        return array
    plain, told = grid_of(array), grid_of(array.assign_attrs(words))
    if (plain.crs, plain.transform) == (told.crs, told.transform):
        return array
    if told.transform != plain.transform:  # the coordinates are those of corners, as stackstac has them
        centres = {name: values for name, (_, values, _) in told.coordinates().items() if name in array.coords}
        array = array.assign_coords({name: array.coords[name].copy(data=values) for name, values in centres.items()})
    return array.assign_coords({told.mapping: told.spatial_ref()})


def _beside_planes(
    dataset: xr.Dataset, coords: Mapping[Hashable, xr.Variable], scales: Scales, fine: Mapping[Hashable, xr.DataArray]
) -> Iterator[tuple[Hashable, xr.Variable | None]]:
    """All variables that are no planes on finer rows and columns; None for what is left out."""
    beside = set(_beside(dataset))
    for name, variable in dataset.variables.items():
        if name in fine or name in (*TRANSFORMS, *SHAPES):  # see `with_grid`
            continue
        if name in coords and variable.dims != coords[name].dims:  # a grid mapping with a dimension of its own
            yield name, xr.Variable(variable.dims, variable.data, coords[name].attrs, variable.encoding)
        elif name in coords and (set(variable.dims) & set(scales) or coords[name].attrs != variable.attrs):
            yield name, coords[name]
        elif name in beside and set(variable.dims) & set(scales):
            dim = _owner(dataset, name, variable)
            cut = None if dim is None else finer_bounds(variable, dataset[dim].values, dim, scales[dim])
            yield name, cut
        else:
            yield name, finer_variable(variable, scales)
    yield from ((name, variable) for name, variable in coords.items() if name not in dataset.variables)
