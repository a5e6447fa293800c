"""Coarse bands of an array brought onto the grid of another, their guide."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from geosr import __version__
from geosr.errors import InputError
from geosr.guided import GuidedPixels, GuidedUpscaler, coarse_window, in_words, placed
from geosr.guiding import learnt, piece_windows, unlearnt
from geosr.io.layout import choose_core
from geosr.io.samples import spread_windows
from geosr.models.glp_samples import Piece
from geosr.models.guided import GuidedNetwork
from geosr.models.threads import prepare_process
from geosr.observing import Settled
from geosr.pipeline import Job
from geosr.placement import Placement
from geosr.radiometry import Pixels, Radiometry, values_of
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import filling, plan_tiles
from geosr.window import Window
from geosr.xarray.cf import Grid, band_dim, band_names, grid_of
from geosr.xarray.finer import finer_attributes, finer_encoding
from geosr.xarray.lazy import Axes, Chunked, cut, kind_of, looking_where_others_compute
from geosr.xarray.recipe import Given, stored_of
from geosr.xarray.scenes import radiometry_of, reasons_of

_FLAT = Axes(1, 2, 0, 3)
"""Bands, rows, columns."""


@dataclass(frozen=True, slots=True)
class GuidedReady:
    """All that decides the pixels of a result on a guide's grid, beside both rasters and what is learnt of them."""

    settled: Settled
    placement: Placement
    guide: Radiometry
    footprint: Window
    """The coarse array, its own pixels."""
    plan: TilePlan
    reach: int
    """See `geosr.io.source.GuidedSource`."""
    names: tuple[str, ...]
    """Of the guide's bands."""

    def at(self, tile: Tile) -> Window:
        """The coarse pixels that a tile reads."""
        return coarse_window(self.placement, tile, self.reach, self.footprint)

    def samples(self) -> list[Window]:
        """Windows of the coarse array that tell how it was observed."""
        return spread_windows((self.footprint.height, self.footprint.width), len(self.settled.categorical))

    def pieces(self, guides: int) -> list[tuple[Window, Window]]:
        """Windows of both rasters that the model learns from."""
        return piece_windows(self.placement, self.footprint, self.plan.scene, len(self.settled.categorical), guides)

    def learn(self, seen: Sequence[NDArray[Any]], pieces: Sequence[tuple[Any, ...]]) -> GuidedNetwork:
        """The guided model, from windows (bands, height, width) of the coarse array and `pieces` of both."""
        found = (
            Piece(values_of(Pixels(low), self.settled.radiometry), at, values_of(Pixels(fine), self.guide), block)
            for low, at, fine, block in pieces
        )
        return learnt(self.settled, self.placement, self.names, map(Pixels, seen), found)[0]

    def __call__(self, tile: Tile, network: GuidedNetwork, coarse: Any, guide: Any) -> NDArray[Any]:
        """The stored numbers (bands, rows, columns) of a tile."""
        settled = self.settled
        upscaler = GuidedUpscaler(network, self.placement, settled.radiometry, self.guide, settled.categorical)
        pixels = GuidedPixels(Pixels(coarse), self.at(tile), Pixels(guide))
        with prepare_process():
            result: NDArray[Any] = Job(self.plan, Given(pixels), upscaler, stored_of)(tile)[0]
        return result


def upscale_guided(
    array: xr.DataArray, guides: xr.DataArray | Sequence[xr.DataArray], settled: Settled, tile: int | None
) -> tuple[xr.DataArray, str]:
    """The bands of an array on the grid of a guide, lazy where either is; and how much finer it is, in words.

    Raises `InputError` for grids that can't be placed on each other.
    """
    guide, radiometry, names = _one(guides)
    grid, fine = grid_of(array), grid_of(guide)
    _check_flat(array, grid)
    placement = _placement(grid, fine)
    _check_covered(settled, placement, grid, fine)
    count = len(settled.categorical)
    core = min(4096, choose_core(1, count, np.dtype(settled.radiometry.out_dtype).itemsize, tile=tile)[0])
    with looking_where_others_compute():
        network = unlearnt(settled, placement, names)
        plan = plan_tiles(fine.shape, core, network, gaps=radiometry.may_have_gaps)
        reach = filling(network.margin(placement, core))
    footprint = Window(0, 0, *grid.shape)
    data = _lazy(GuidedReady(settled, placement, radiometry, footprint, plan, reach, names), network, array, guide)
    lazy = any(isinstance(each.data, da.Array) for each in (array, guide))
    computed = data if lazy else data.compute(scheduler="threads")
    return _on_grid(array, guide, computed, float(max(placement.step))), in_words(placement)


def _one(guides: xr.DataArray | Sequence[xr.DataArray]) -> tuple[xr.DataArray, Radiometry, tuple[str, ...]]:
    """One array of all guides' measured bands, its radiometry (each band has its numbers for no data), and names."""
    given = [guides] if isinstance(guides, xr.DataArray) else list(guides)
    if not given or not all(isinstance(each, xr.DataArray) for each in given):
        raise InputError("guide: expected a DataArray or several, on a finer grid")
    first, grid = given[0], grid_of(given[0])
    planes, numbers, names = [], list[tuple[float, ...]](), list[str]()
    for each in given:
        found = grid_of(each)
        if (found.shape, found.transform, found.crs) != (grid.shape, grid.transform, grid.crs):
            raise InputError(f"guide: {first.name} and {each.name} are not on one grid")
        _check_flat(each, found)
        own = radiometry_of(each, each.dtype.name, each.dtype.name, None).nodata
        told = [name or str(each.name or "") for name in band_names(each)]
        for plane, why, voids, name in zip(_planes(each), reasons_of(each), own, told, strict=True):
            if not why:
                planes.append(plane.transpose(*grid.dims).data)
                numbers.append(voids)
                names.append(name)
    if not planes:
        raise InputError("guide: it holds classes alone, which can't guide; give measured bands")
    stack = da.stack(planes) if any(isinstance(each, da.Array) for each in planes) else np.stack(planes)
    placed = {name: each for name, each in first.coords.items() if set(each.dims) <= set(grid.dims)}
    dtype = stack.dtype.name
    whole = xr.DataArray(stack, dims=("band", *grid.dims), coords=placed)
    return whole, Radiometry(dtype, dtype, tuple(numbers)), tuple(names)


def _planes(array: xr.DataArray) -> list[xr.DataArray]:
    band = band_dim(array)
    return [array] if band is None else [array.isel({band: i}, drop=True) for i in range(array.sizes[band])]


def _check_covered(settled: Settled, placement: Placement, grid: Grid, fine: Grid) -> None:
    """Raise `InputError` where ground beyond the bands could not be told from data: an array has no mask."""
    radiometry, inside = settled.radiometry, placement.cover(Window(0, 0, *fine.shape))
    told = np.dtype(radiometry.out_dtype).kind == "f" or all(radiometry.nodata)
    if not told and inside.clip(Window(0, 0, *grid.shape)) != inside:
        raise InputError(
            f"the guide reaches beyond the array, whose {radiometry.dtype} pixels have no number for 'no data': give "
            "nodata=, or cut the guide"
        )


def _placement(grid: Grid, fine: Grid) -> Placement:
    for name, each in (("the array", grid), ("the guide", fine)):
        if each.transform is None:
            raise InputError(f"nothing says where the pixels of {name} lie; write its transform, with rioxarray")
    if grid.crs != fine.crs:
        raise InputError(f"the array is in {grid.crs or 'no CRS'} and its guide in {fine.crs or 'none'}; warp one")
    assert grid.transform is not None
    assert fine.transform is not None
    whole = Window(0, 0, *grid.shape), Window(0, 0, *fine.shape)
    return placed(grid.transform, fine.transform, *whole, ("the array", "the guide"))


def _check_flat(array: xr.DataArray, grid: Grid) -> None:
    others = set(array.dims) - {*grid.dims, band_dim(array)}
    if others:
        raise InputError(f"with a guide an array has rows, columns and bands alone, not {', '.join(map(str, others))}")


def _flat(array: xr.DataArray) -> da.Array:
    """The array (bands, rows, columns), all bands in one chunk."""
    band, dims = band_dim(array), grid_of(array).dims
    ordered = array.transpose(*(() if band is None else (band,)), *dims).data
    data = ordered if isinstance(ordered, da.Array) else da.from_array(ordered, chunks=-1)
    whole: da.Array = (data if band is not None else data[None]).rechunk({0: -1})
    return whole


def _lazy(ready: GuidedReady, network: GuidedNetwork, array: xr.DataArray, fine: xr.DataArray) -> da.Array:
    """The result (bands, rows, columns); its chunks are tiles. `network` has learnt nothing yet."""
    low, high = _flat(array), _flat(fine)
    plan, dtype = ready.plan, ready.settled.radiometry.out_dtype
    name = f"geosr-guided-{tokenize(__version__, ready, low.name, high.name)}"
    coarse, guide = (Chunked(each.name, each.chunks, _FLAT) for each in (low, high))
    start = [0, 0, 0]
    seen = [coarse.pieces(start, window)[0] for window in ready.samples()]
    pieces = [
        [coarse.pieces(start, at)[0], at, guide.pieces(start, block)[0], block]
        for at, block in ready.pieces(high.shape[0])
    ]
    kind = (f"{name}-kind",)
    tasks: dict[Any, Any] = {kind: (kind_of, network), (f"{name}-learnt",): (_learn, ready, seen, pieces, kind)}
    for tile in plan:
        row, col = divmod(tile.index, plan.shape[1])
        at = ready.at(tile)
        taken = coarse.pieces(start, at)[0] if at.size else None
        tasks[name, 0, row, col] = (_tile, ready, tile, (f"{name}-learnt",), taken, guide.pieces(start, tile.read)[0])
    sides = [tuple(min(plan.core, side - at) for at in range(0, side, plan.core)) for side in (plan.height, plan.width)]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[low, high])  # type: ignore[list-item]
    return da.Array(graph, name, ((low.shape[0],), *sides), dtype=dtype)


def _learn(ready: GuidedReady, seen: list[Any], pieces: list[Any], kind: str) -> GuidedNetwork:
    both = [(_cut(low), at, _cut(fine), block) for low, at, fine, block in pieces]
    return replace(ready.learn([_cut(each) for each in seen], both), kind=kind)


def _tile(ready: GuidedReady, tile: Tile, network: GuidedNetwork, coarse: Any, guide: Any) -> NDArray[Any]:
    settled = ready.settled
    nothing = np.empty((len(ready.settled.categorical), 0, 0), settled.radiometry.dtype)
    return ready(tile, network, nothing if coarse is None else _cut(coarse), _cut(guide))


def _cut(pieces: Any) -> NDArray[Any]:
    """(bands, rows, columns) out of chunks."""
    bands: NDArray[Any] = cut(_FLAT, *pieces)[0][0]
    return bands


def _on_grid(array: xr.DataArray, guide: xr.DataArray, data: Any, times: float) -> xr.DataArray:
    """The result with the guide's place, and all else of the array."""
    band, grid, fine = band_dim(array), grid_of(array), grid_of(guide)
    kept: dict[Hashable, Any] = {
        name: each
        for name, each in array.coords.items()
        if not set(each.dims) & set(grid.dims) and name != grid.mapping
    }
    placed = {name: each for name, each in guide.coords.items() if name in (*fine.dims, fine.mapping)}
    order = (*(() if band is None else (band,)), *fine.dims)
    attrs = finer_attributes(array.attrs, fine, times)
    result = xr.DataArray(data if band is not None else data[0], dims=order, coords=kept | placed, attrs=attrs)
    result.name = array.name
    result.encoding = finer_encoding(array.encoding, set(array.coords) - set(result.coords))
    if fine.mapping in placed:
        told = result.attrs if "grid_mapping" in result.attrs else result.encoding
        told["grid_mapping"] = fine.mapping
    dims = [fine.dims[grid.dims.index(str(dim))] if dim in grid.dims else dim for dim in array.dims]
    return result.transpose(*dims)
