"""Several dates of an array fused onto one of them, or each with those near it in time.

A date is placed by a task of its own from small windows, and a tile takes windows of all dates: where they lie isn't
known when tasks are made, so these are as wide as a date may lie off. What a task holds is windows, never chunks of all
dates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from operator import itemgetter
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from numpy.typing import NDArray

from geosr import __version__
from geosr.errors import InputError
from geosr.frames import MOST, FramePixels, FramesUpscaler
from geosr.fusing import Other, check_measured, fused, none_fits, placed
from geosr.io.frames import chosen, patch_windows
from geosr.models.frames import FramesNetwork
from geosr.models.threads import prepare_process
from geosr.pipeline import Job
from geosr.radiometry import Pixels, values_of
from geosr.registration.values import MARGIN, Doubles, Patch, Registration
from geosr.sensors import Observation
from geosr.tiling import Tile
from geosr.window import Window
from geosr.xarray.cf import Grid, band_dim, grid_of
from geosr.xarray.finer import with_grid
from geosr.xarray.lazy import Axes, Chunked, cut, kind_of, looking_where_others_compute
from geosr.xarray.recipe import Given, Ready, Recipe, stored_of

EACH = "each"
"""The reference where all dates are, one after the other."""
_NEAREST = 7
"""Dates that each is fused with then: those nearest in time."""
_AROUND = 2 * MARGIN
"""Pixels around a tile's block that are read of other dates."""
_CUBE = Axes(2, 3, 1, 4)
"""Dates, bands, rows, columns."""
Key = Any
"""A name and the numbers behind it."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """All that decides the pixels of a date that is fused with others, beside their pixels. Pickles small."""

    ready: Ready
    alone: bool
    """Whether it stays as it is where none of the others fits, which is an error else."""
    name: str
    """Of the reference."""
    others: tuple[str, ...]

    @property
    def ground(self) -> Window:
        """The whole array."""
        return self.ready.plan.scene

    @property
    def windows(self) -> list[Window]:
        """Those that tell where a date lies."""
        return patch_windows(self.ready.recipe.shape, len(self.ready.recipe.settled.bands))

    def around(self, tile: Tile) -> Window:
        """The window of other dates that a tile reads."""
        return tile.block.grow(_AROUND).clip(self.ground)

    def place(self, reference: Sequence[Pixels], other: Sequence[Pixels]) -> Registration:
        """The place of another date to the reference, from both in `windows`, each with `MARGIN` pixels around."""
        settled = self.ready.recipe.settled
        patches = []
        for window, *both in zip(self.windows, reference, other, strict=True):
            ours, theirs = (self._surrounded(window, values_of(each, settled.radiometry)) for each in both)
            inner = ours[:, MARGIN : MARGIN + window.height, MARGIN : MARGIN + window.width]
            patches.append(Patch(inner, theirs, window.row, window.col))
        found = placed(patches, settled.categorical)
        return found if found.unfit or self._near(found) else replace(found, unfit="it lies too far off")

    def learn(
        self, seen: Observation, registrations: Sequence[Registration], others_seen: Sequence[Observation]
    ) -> FramesNetwork:
        """The network, from how all dates were observed, and where the others lie to the reference."""
        rows = zip(self.others, registrations, others_seen, strict=True)
        others = [Other(name, 0, 0, registration, bands) for name, registration, bands in rows]
        network = fused(self.ready.recipe.settled, seen, self.ground, others)
        if not network.frames and not self.alone:
            raise none_fits(self.name, others)
        return network

    def __call__(
        self, tile: Tile, network: FramesNetwork, reference: Pixels, others: Sequence[Pixels]
    ) -> tuple[NDArray[Any], ...]:
        """The image and the count of a tile (bands, rows, columns), from `tile.read` of it and `around` of others."""
        settled, there = self.ready.recipe.settled, self.around(tile)
        taken = []
        for frame in network.frames:
            at = frame.taken(tile.block).clip(self.ground)
            taken.append((Pixels(others[frame.index].stored[:, *at.within(there).slices]), at))
        radiometry = (settled.radiometry,) * len(taken)
        upscaler = FramesUpscaler(network, settled.radiometry, radiometry, settled.categorical)
        pixels = FramePixels(reference, tuple(taken))
        with prepare_process():
            results: tuple[NDArray[Any], ...] = Job(self.ready.plan, Given(pixels), upscaler, stored_of)(tile)
        return results

    def _surrounded(self, window: Window, values: Doubles) -> Doubles:
        """Values of a window and what there is around, NaN beyond the array."""
        around = window.grow(MARGIN)
        out = np.full((len(values), around.height, around.width), np.nan)
        out[:, *around.clip(self.ground).within(around).slices] = values
        return out

    def _near(self, found: Registration) -> bool:
        """True where all tiles find a date so placed in what they read: those in the corners lie the farthest off."""
        frame, plan = Other("", 0, 0, found).frame(0, self.ground), self.ready.plan
        across = plan.shape[1]
        for tile in (plan[0], plan[across - 1], plan[-across], plan[-1]):
            there, taken = self.around(tile), frame.taken(tile.block).clip(self.ground)
            if there.clip(taken) != taken:
                return False
        return True


def upscale_fused(array: xr.DataArray, recipe: Recipe, reference: Any) -> list[xr.DataArray]:
    """The image and the count of dates, lazy where the array is; without its dates unless `reference` is "each".

    Raises `InputError` for an array without dates, with too many, or without the one that is asked for.
    """
    check_measured(recipe.settled.categorical)
    grid, band = grid_of(array), band_dim(array)
    each = isinstance(reference, str) and reference == EACH
    dim = _dates_of(array, grid, None if each else MOST)
    names = _names(array, dim)
    shown = range(len(names)) if each else [chosen(names, reference)]
    data = _lazy(_flat(array, grid, dim), recipe, names, {one: _others(array, dim, one, each) for one in shown}, each)
    if not isinstance(array.data, da.Array):
        data = da.compute(*data, scheduler="threads")
    like = array.transpose(dim, *(() if band is None else (band,)), *grid.dims)
    like = like if each else like.isel({dim: shown[0]})
    part = slice(None) if each else 0, slice(None) if band is not None else 0
    results = [with_grid(like, made[part], grid.zoom(recipe.scale)) for made in data]
    for result in results:
        result.attrs["GEOSR_REFERENCE"] = EACH if each else names[shown[0]]
    return [result.transpose(*(name for name in array.dims if name in result.dims)) for result in results]


def _dates_of(array: xr.DataArray, grid: Grid, most: int | None) -> Any:
    """The dimension of dates. Raises `InputError` where there is none, or several, or too many dates or too few."""
    rest = [dim for dim in array.dims if dim not in (*grid.dims, band_dim(array))]
    if len(rest) != 1:
        found = f"it has {', '.join(map(str, rest))} beside rows, columns and bands" if rest else "it has none"
        raise InputError(f"fuse: expected one dimension of dates, such as time; {found}")
    count = array.sizes[rest[0]]
    if count < 2:
        raise InputError(f"fuse: {rest[0]} has one date, and several are fused; leave fuse out")
    if most is not None and count > most:
        raise InputError(
            f"fuse: {rest[0]} has {count} dates, and {most} at most are fused onto one; select those nearest in time, "
            f'or give reference="{EACH}"'
        )
    return rest[0]


def _names(array: xr.DataArray, dim: Any) -> list[str]:
    """The names of dates: as their coordinate says, without a time of day that all share; else by number."""
    if dim not in array.coords:
        return [str(number) for number in range(1, array.sizes[dim] + 1)]
    values = array.coords[dim].values
    texts = [str(each) for each in (values.astype("M8[s]") if values.dtype.kind == "M" else values)]
    return [text.removesuffix("T00:00:00") for text in texts]


def _others(array: xr.DataArray, dim: Any, reference: int, nearest: bool) -> tuple[int, ...]:
    """The dates that one is fused with, in their order: all others, or those nearest in time."""
    others = [place for place in range(array.sizes[dim]) if place != reference]
    if not nearest:
        return tuple(others)
    values = array.coords[dim].values if dim in array.coords else np.arange(array.sizes[dim])
    if values.dtype.kind not in "Miuf":
        values = np.arange(len(values))
    return tuple(sorted(sorted(others, key=lambda place: abs(values[place] - values[reference]))[:_NEAREST]))


def _flat(array: xr.DataArray, grid: Grid, dim: Any) -> da.Array:
    """The array (dates, bands, rows, columns), a date and all of its bands in a chunk."""
    band = band_dim(array)
    data = array.transpose(dim, *(() if band is None else (band,)), *grid.dims).data
    data = data.astype(np.uint8 if data.dtype == bool else data.dtype.newbyteorder("="), copy=False)
    data = data if isinstance(data, da.Array) else da.from_array(data, chunks=(1, *data.shape[1:]), name=False)
    whole: da.Array = (data if band is not None else data[:, None]).rechunk({0: 1, 1: -1})
    return whole


def _lazy(
    cube: da.Array, recipe: Recipe, names: Sequence[str], wanted: Mapping[int, tuple[int, ...]], alone: bool
) -> tuple[da.Array, ...]:
    """Images and counts (references, bands, rows, columns) of `wanted`, the others by reference; chunks are tiles."""
    source = Chunked(cube.name, cube.chunks, _CUBE)
    name = f"geosr-fused-{tokenize(__version__, recipe, cube.name, names, wanted, alone)}"
    sides = [tuple(min(recipe.core, side - at) for at in range(0, side, recipe.core)) for side in recipe.shape]
    chunks = (1,) * len(wanted), cube.chunks[1], *(tuple(one * recipe.scale for one in side) for side in sides)
    layer = LateLayer(name, chunks, partial(_tasks, name, source, recipe, tuple(names), dict(wanted), alone))
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[cube])  # type: ignore[list-item]
    metas = [np.empty((0,) * 4, dtype) for dtype in recipe.dtypes]
    both = da.Array(graph, name, chunks, meta=metas[0])
    return tuple(
        da.blockwise(itemgetter(place), "tbyx", both, "tbyx", name=f"{name}-{head.name}", meta=meta)
        for place, (head, meta) in enumerate(zip(recipe.settled.heads, metas, strict=True))
    )


class LateLayer(Layer):
    """Tasks that are made, all of them, when the first is asked for: they follow from a network."""

    def __init__(self, name: str, chunks: tuple[tuple[int, ...], ...], make: Callable[[], dict[Key, Any]]) -> None:
        super().__init__()
        self.name, self.chunks, self._make = name, chunks, make

    @cached_property
    def tasks(self) -> dict[Key, Any]:
        """By key, also those in between."""
        return self._make()

    def __getstate__(self) -> dict[str, Any]:
        assert self.tasks  # a scheduler that unpickles the layer has no business with networks
        return self.__dict__

    def is_materialized(self) -> bool:
        """Never."""
        return False

    def get_output_keys(self) -> set[Key]:
        """Keys of all chunks."""
        return {(self.name, *index) for index in product(*(range(len(sizes)) for sizes in self.chunks))}

    def cull(self, keys: set[Key], all_hlg_keys: Any) -> tuple[Layer, Mapping[Key, set[Key]]]:
        """The tasks for some chunks, and what they depend on."""
        return MaterializedLayer(self.tasks, annotations=self.annotations).cull(
            keys & self.tasks.keys(), {*all_hlg_keys, *self.tasks}
        )

    def __getitem__(self, key: Key) -> Any:
        return self.tasks[key]

    def __iter__(self) -> Any:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def _tasks(
    name: str,
    source: Chunked,
    recipe: Recipe,
    names: tuple[str, ...],
    wanted: Mapping[int, tuple[int, ...]],
    alone: bool,
) -> dict[Key, Any]:
    """The tasks of all references: windows of dates, where others lie, what is learnt of that, and tiles."""
    with looking_where_others_compute():
        ready = recipe.ready()
    kind = (f"{name}-kind",)
    tasks: dict[Key, Any] = {kind: (kind_of, ready.network)}

    def window(date: int, at: Window) -> Key:
        """The key of a window of a date, whose task is there then."""
        key = (f"{name}-window", date, at.row, at.col, at.height, at.width)
        tasks.setdefault(key, (_window, source.pieces([date, 0, 0, 0], at)[0]))
        return key

    def observed(date: int) -> Key:
        """The key of how a date is seen, whose task is there then."""
        key = (f"{name}-seen", date)
        tasks.setdefault(key, (_observed, recipe, [window(date, at) for at in recipe.samples]))
        return key

    for place, (date, others) in enumerate(wanted.items()):
        fusion = Fusion(ready, alone, names[date], tuple(names[other] for other in others))
        around = [each.grow(MARGIN).clip(fusion.ground) for each in fusion.windows]
        where = [(f"{name}-placed", date, other) for other in others]
        for other, key in zip(others, where, strict=True):
            tasks[key] = (fusion.place, *([window(one, at) for at in around] for one in (date, other)))
        learnt = (f"{name}-learnt", date)
        tasks[learnt] = (_learnt, fusion, observed(date), where, [observed(other) for other in others], kind)
        for tile in ready.plan:
            there = [window(other, fusion.around(tile)) for other in others]
            chunk = (name, place, 0, *divmod(tile.index, ready.plan.shape[1]))
            tasks[chunk] = (_tile, fusion, tile, learnt, window(date, tile.read), there)
    return tasks


def _window(pieces: list[Any]) -> Pixels:
    """A window of a date, all bands."""
    return Pixels(np.ascontiguousarray(cut(_CUBE, *pieces)[0][0]))


def _observed(recipe: Recipe, seen: list[Pixels]) -> Observation:
    return recipe.settled.observe(seen)[0]


def _learnt(
    fusion: Fusion, seen: Observation, where: list[Registration], others: list[Observation], kind: str
) -> FramesNetwork:
    return replace(fusion.learn(seen, where, others), kind=kind)


def _tile(fusion: Fusion, tile: Tile, network: FramesNetwork, *pixels: Any) -> tuple[NDArray[Any], ...]:
    return tuple(made[None] for made in fusion(tile, network, *pixels))
