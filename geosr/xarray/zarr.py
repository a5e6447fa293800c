"""A DataArray into a Zarr store with overviews: tiles are computed and written where Dask computes them."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.base import compute, is_dask_collection, tokenize
from dask.delayed import delayed

from geosr.io.destination import check_name, check_result
from geosr.io.geozarr import Contents, Variable
from geosr.io.layout import Layout
from geosr.io.zarr import check_installed
from geosr.io.zarr_sink import WrittenTile, ZarrEncoder, ZarrSink
from geosr.pipeline import cores
from geosr.radiometry import Pixels
from geosr.tiling import Tile, TilePlan
from geosr.xarray.cf import Grid, band_dim, grid_of, named
from geosr.xarray.export import Progress, computed_where, layout_of, metadata_from, tags_of, write_missing


def to_zarr(
    array: xr.DataArray,
    path: str | Path,
    *,
    co: Mapping[str, str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path | str:
    """Write an array with rows, columns and any other dimensions into a Zarr store; returns its path or address.

    Dimensions are ordered (others, such as time; band; y; x). The store is as `geosr.upscale` writes it, with overviews
    in the groups "1", "2", ...; the array has its own name, or "data". Memory is bounded by tiles in flight. Inside an
    active Dask client its workers write what they compute. The store gets its name when it is whole; a call that was
    stopped goes on when it is made again with the same array. Raises `InputError` and `PlaceError`.

    Parameters
    ----------
    path
        A folder in .zarr, or an address such as s3://bucket/name.zarr.
    co
        Creation options, such as ZARR_FORMAT (2 or 3), COMPRESS and BLOCKSIZE.
    """
    check_name(path, [], "Zarr")
    target = check_result(path, "Zarr", overwrite)
    with named(array):
        grid = grid_of(array)
        layout, plan = layout_of(array, "Zarr", co or {})
    check_installed()
    band = band_dim(array)
    lead = [dim for dim in array.dims if dim not in (band, *grid.dims)]
    ordered = array.transpose(*lead, *([] if band is None else [band]), *grid.dims)
    name = tokenize(array.data.name if is_dask_collection(array.data) else array.data)
    contents = _contents(ordered, grid, layout)
    sink = ZarrSink(target, layout, contents=contents, fingerprint=json.dumps({"array": name}), overwrite=overwrite)
    scenes = sink.encoder.pyramid.scenes
    job = _Piece(ordered, sink.encoder, computed_where(ordered))
    with sink:
        write_missing(job, _tiles(plan, scenes), len(plan) * scenes, sink, workers or cores(), progress)
        return sink.finish()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Computes a tile of an array and has it written where it was computed."""

    array: xr.DataArray
    """Rows and columns last, bands before them."""
    encoder: ZarrEncoder
    place: dict[str, Any]
    """Where Dask computes, as keywords of `compute`."""

    def __call__(self, tile: Tile) -> WrittenTile:
        lead = self.array.shape[: self.array.ndim - 2 - (band_dim(self.array) is not None)]
        scene = tile.index // self.encoder.pyramid.tiles
        at = tuple(int(each) for each in np.unravel_index(scene, lead)) if lead else ()
        data = self.array[(*at, ..., *tile.write.slices)].data
        if not is_dask_collection(data):
            return _write(self.encoder, tile, np.asarray(data))
        (written,) = compute(delayed(_write, pure=False)(self.encoder, tile, data), **self.place)
        return written  # type: ignore[no-any-return]


def _write(encoder: ZarrEncoder, tile: Tile, values: np.ndarray[Any, Any]) -> WrittenTile:
    layout = encoder.pyramid.layout
    stored = values.reshape(layout.count, *values.shape[-2:]).astype(layout.dtype, copy=False)
    return encoder(tile, Pixels(np.ascontiguousarray(stored)))


def _tiles(plan: TilePlan, scenes: int) -> Iterator[Tile]:
    """The tiles of each scene in turn, numbered through."""
    for scene in range(scenes):
        for tile in plan:
            yield replace(tile, index=scene * len(plan) + tile.index)


def _contents(array: xr.DataArray, grid: Grid, layout: Layout) -> Contents:
    """The documents beside the pixels of an array whose rows and columns are last."""
    return Contents(
        dims=tuple(map(str, array.dims)),
        shape=array.shape[:-2],
        metadata=metadata_from(array),
        name=str(array.name or "data").replace("/", "_"),
        coordinates=tuple(_coordinates(array, grid)),
        attributes={key: _plain(value) for key, value in tags_of(array).items()},
    )


def _coordinates(array: xr.DataArray, grid: Grid) -> Iterator[Variable]:
    """Coordinates that do not depend on rows and columns, as CF encodes them."""
    for name, coordinate in array.coords.items():
        if name in (grid.mapping, *grid.dims):
            continue
        if set(grid.dims) & set(coordinate.dims):
            warnings.warn(f"coordinate {name} has a value for each row or column and is left out", stacklevel=4)
            continue
        encoded = xr.conventions.encode_cf_variable(coordinate.variable, name=name)
        values = np.asarray(encoded.values)
        if values.dtype.kind in "OT":
            values = values.astype(str)
        attributes = {str(key): _plain(value) for key, value in encoded.attrs.items() if key != "_FillValue"}
        yield Variable(str(name), tuple(map(str, encoded.dims)), values, attributes)


def _plain(value: Any) -> Any:
    """A value as JSON holds it; as text where it can't."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    whole = value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
    return value if whole else str(value)
