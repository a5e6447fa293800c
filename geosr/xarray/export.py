"""A DataArray into a GeoTIFF, tile by tile: what isn't computed yet is computed on the way, never all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.base import compute, is_dask_collection, tokenize
from numpy.typing import NDArray

from geosr.dispatch import graphics
from geosr.errors import InputError
from geosr.io.arrays import metadata_of
from geosr.io.destination import check_name
from geosr.io.encoder import EncodedTile, encode_tile
from geosr.io.layout import Format, Layout, Options, choose_core
from geosr.io.metadata import Metadata, tells_of_old_pixels
from geosr.io.nodata import beside
from geosr.io.writer import TiffSink
from geosr.models.threads import prepare_process
from geosr.pipeline import Sink, cores, in_flight, run
from geosr.radiometry import DTYPES, Pixels
from geosr.tiling import Tile, TilePlan
from geosr.xarray.cf import BY_BAND, band_colors, band_count, band_dim, band_names, by_band, grid_of, named
from geosr.xarray.lazy import Axes, UpscaleLayer, active_client
from geosr.xarray.scenes import NODATA, all_nodata, axes_of, categorical_bands, nodata_of

Progress = Callable[[int, int], None]
_LARGEST = 2048
_NOT_TAGS = {
    *NODATA,
    "scale_factor",
    "scale_factors",
    "scales",
    "add_offset",
    "add_offsets",
    "offsets",
    "long_name",
    "units",
    "grid_mapping",
    "transform",
    "crs",
    "res",
}
"""Attributes that speak of pixels and their place, and are written in another way."""


def to_geotiff(
    array: xr.DataArray,
    path: str | Path,
    *,
    cog: bool = True,
    co: Mapping[str, str] | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write an array (y, x) or (band, y, x), dimensions in any order, into a GeoTIFF; returns its path.

    Memory is bounded by tiles in flight. The file takes its name when it is whole; a call that was stopped goes on when
    it is made again with the same array. Quickest where chunks are as `upscale` leaves them. Inside an active Dask
    client its workers compute. Raises `InputError` and `PlaceError`.
    """
    with named(array):
        grid = grid_of(array)
    lead = [array.dims[axis] for axis in axes_of(array, grid).lead]
    if any(array.sizes[dim] != 1 for dim in lead):
        names = ", ".join(map(str, lead))
        raise InputError(f"a GeoTIFF holds bands, rows and columns; select one position along {names}")
    array = with_one_nodata(array.squeeze(lead))
    target = Path(path)
    check_name(target, [str(array.encoding.get("source", ""))] if array.encoding.get("source") else [])
    with named(array):
        layout, plan = layout_of(array, "COG" if cog else "GTiff", co or {})
        metadata = metadata_from(array)
    fingerprint = json.dumps({"array": tokenize(array.data.name if is_dask_collection(array.data) else array.data)})
    sink = TiffSink(
        target,
        layout,
        profile=metadata.creation_options,
        template=metadata.apply,
        fingerprint=fingerprint,
        overwrite=overwrite,
    )
    job = _Piece(array, layout, computed_where(array))
    with sink:
        write_missing(job, plan, len(plan), sink, workers or cores(), progress)
        return sink.finish()


def write_missing(
    job: Callable[[Tile], Any], tiles: Iterable[Tile], total: int, sink: Sink, workers: int, progress: Progress | None
) -> None:
    """Run a job over the tiles, `total` in all, that a sink doesn't have yet, on the threads of this process."""
    kept = sink.done()
    missing = (tile for tile in tiles if tile.index not in kept)
    with (
        prepare_process(),
        ThreadPoolExecutor(workers) as pool,
        closing(run(job, missing, sink, pool, in_flight(workers))) as finished,
    ):
        for count, _ in enumerate(finished, len(kept) + 1):
            if progress:
                progress(count, total)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Computes and encodes a tile of an array."""

    array: xr.DataArray
    layout: Layout
    place: dict[str, Any]
    """Where Dask computes it, as keywords of `compute`."""

    def __call__(self, tile: Tile) -> tuple[EncodedTile]:
        axes = axes_of(self.array, grid_of(self.array))
        stored = cut_out(self.array, axes, *tile.write.slices, self.place).astype(self.layout.dtype, copy=False)
        return (encode_tile(self.layout, tile, Pixels(np.ascontiguousarray(stored))),)


def cut_out(
    array: xr.DataArray, axes: Axes, rows: slice, cols: slice, place: dict[str, Any], bands: list[int] | None = None
) -> NDArray[Any]:
    """The pixels (bands, rows, columns) of a part of an array; what is lazy is computed in that place."""
    there: dict[int | None, Any] = {axes.y: rows, axes.x: cols, axes.band: slice(None) if bands is None else bands}
    data = array[tuple(there.get(axis, slice(None)) for axis in range(array.ndim))].data
    if is_dask_collection(data):
        (data,) = compute(data, **place)
    first: NDArray[Any] = axes.to_scenes(np.asarray(data))[0]
    return first


def computed_where(array: xr.DataArray) -> dict[str, Any]:
    """Where the user wants it, by dask.config or an active client, whose GPUs take one tile at a time; else here."""
    if (dask.config.get("scheduler", None) or "dask.distributed") not in ("dask.distributed", "distributed"):
        return {}
    if (client := active_client()) is not None:
        return {"resources": {"GPU": 1}} if _may_use_gpu(array) and graphics(client) else {}
    return {"scheduler": "synchronous"}


def _may_use_gpu(array: xr.DataArray) -> bool:
    layers = array.data.dask.layers.values() if is_dask_collection(array.data) else ()
    return any(isinstance(layer, UpscaleLayer) and layer.ready().network.device != "cpu" for layer in layers)


def layout_of(array: xr.DataArray, format: Format, co: Mapping[str, str]) -> tuple[Layout, TilePlan]:
    """Layout of an array, and the tiles it is written by. Raises `InputError` for a type or option that can't be."""
    grid, count = grid_of(array), len(band_names(array))
    options = Options.parse([f"{key}={value}" for key, value in co.items()], format)
    dtype = "uint8" if array.dtype == bool else array.dtype.name  # without the order of bytes
    if dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise InputError(f"pixels of type {dtype} can't be written; make them one of {known} with .astype()")
    chunk = array.chunksizes[grid.dims[0]][0] if array.chunks else 1024
    wish = min(max(chunk, 256), _LARGEST)
    tile, block = choose_core(1, count, np.dtype(dtype).itemsize, 0, wish, options.block)
    layout = Layout(
        height=grid.shape[0],
        width=grid.shape[1],
        count=count,
        dtype=dtype,
        block=block,
        tile=tile,
        nodata=_stored_nodata(array),
        nearest=categorical_bands(array),
        format=format,
        options=options,
    )
    return layout, TilePlan(*grid.shape, tile, 1)


def with_one_nodata(array: xr.DataArray) -> xr.DataArray:
    """The array with one number for 'no data', as files have it, in place of several; of classes it keeps every number.

    Pixels that hold that number where it is data move by one count.
    """
    numbers, common, dim = all_nodata(array), nodata_of(array), band_dim(array)
    if common is None or all(each == (common,) for each in numbers):
        return array
    kind, measured = array.dtype.type, [not each for each in categorical_bands(array)]
    gap: Any = False
    for number in {number for each in numbers for number in each}:
        told = [number in each and mixed for each, mixed in zip(numbers, measured, strict=True)]
        gap = gap | ((array == kind(number)) & (told[0] if dim is None else xr.DataArray(told, dims=dim)))
    free = np.bool_(measured[0]) if dim is None else xr.DataArray(measured, dims=dim)
    moved = array.where((array != kind(common)) | gap | ~free, kind(beside(common, array.dtype)))
    return array.copy(data=moved.where(~gap, kind(common)).transpose(*array.dims).data)


def _stored_nodata(array: xr.DataArray) -> float | None:
    masked = array.dtype.kind == "f" and array.encoding.get("_FillValue") is not None
    return float("nan") if masked and nodata_of(array) is None else nodata_of(array)


def tags_of(array: xr.DataArray) -> dict[str, Any]:
    """The attributes that are told in a file as they are: not those of pixels and their place, nor of old pixels."""
    attributes = {str(key): value for key, value in array.attrs.items()}
    return {key: value for key, value in attributes.items() if key not in _NOT_TAGS and not tells_of_old_pixels(key)}


def _as_text(value: Any) -> str | None:
    """A value as a tag holds it, a list of numbers as GDAL writes one, {1,2}; None where it is none of these."""
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 and np.asarray(value).dtype.kind in "iuf":
        return "{" + ",".join(map(str, np.asarray(value).tolist())) + "}"
    return str(value) if isinstance(value, str | int | float | np.number | np.bool_) else None


def metadata_from(array: xr.DataArray) -> Metadata:
    """Metadata of an array, for files. Raises `InputError` where it can't be said which band is meant."""
    grid, names = grid_of(array), band_names(array)
    tags = {key: text for key, value in tags_of(array).items() if (text := _as_text(value)) is not None}
    return metadata_of(
        len(names),
        wkt=None if grid.crs is None else grid.crs.to_wkt(),
        transform=grid.transform,
        nodata=_stored_nodata(array),
        names=names,
        units=[str(value or "") for value in by_band(array, "units", "")],
        scales=[float(value) for value in by_band(array, "scale_factor", 1.0)],
        offsets=[float(value) for value in by_band(array, "add_offset", 0.0)],
        colors=band_colors(array),
        tags=tags,
        gcps=grid.gcps,
        band_tags=_band_tags(array),
    )


_TOLD = {"band_name", "band_color", "band_categorical", *BY_BAND.values()}
"""Coordinates along the bands that are written in another way."""


def _band_tags(array: xr.DataArray) -> list[dict[str, str]]:
    """Tags of each band by coordinates such as `wavelength`, as ENVI has them: with a unit beside a number."""
    dim = band_dim(array)
    tags: list[dict[str, str]] = [{} for _ in range(band_count(array))]
    for name, coordinate in array.coords.items():
        if dim is None or coordinate.dims != (dim,) or name in _TOLD or coordinate.dtype.kind not in "iufUO":
            continue
        if name == dim and coordinate.dtype.kind != "f":  # names and numbers of the bands
            continue
        unit = coordinate.attrs.get("units")
        for told, value in zip(tags, coordinate.values.tolist(), strict=True):
            if isinstance(value, str | int | float) and value == value and value != "":
                told[str(name)] = str(value)
                told |= {f"{name}_units": str(unit)} if unit else {}
    return tags
