"""Tiles as Dask tasks: an output chunk is what a tile writes, and depends on the chunks that its read window meets.

The graph is symbolic: a layer knows its tasks by their indices and makes those that are asked for. Nothing is read and
no network is loaded until then; its halo, and with it which chunks a tile meets, is found when the first task is made.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, product
from operator import itemgetter
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from numpy.typing import NDArray

from geosr import __version__
from geosr.errors import InputError
from geosr.models.runtime import ModelNetwork, looking
from geosr.models.threads import prepare_process
from geosr.observing import Settled
from geosr.pipeline import at_once
from geosr.sensors import Observation
from geosr.tiling import Tile
from geosr.window import Window
from geosr.xarray.recipe import Ready, Recipe

Key = Any
"""A name and the index of a chunk."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Which axis of an array is what. All others lead: each position along them is a scene of its own."""

    y: int
    x: int
    band: int | None
    count: int
    """How many axes there are."""

    @property
    def lead(self) -> tuple[int, ...]:
        """The axes that are none of rows, columns and bands."""
        return tuple(axis for axis in range(self.count) if axis not in (self.y, self.x, self.band))

    @property
    def order(self) -> tuple[int, ...]:
        """Leading axes, bands, rows, columns."""
        return (*self.lead, *(() if self.band is None else (self.band,)), self.y, self.x)

    def to_scenes(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array as (scenes, bands, rows, columns); a view where that is possible."""
        moved = array.transpose(self.order)
        return moved.reshape(-1, 1 if self.band is None else array.shape[self.band], *moved.shape[-2:])

    def from_scenes(self, scenes: NDArray[Any], like: tuple[int, ...]) -> NDArray[Any]:
        """The other way round; `like` is an array's shape, from which the leading and band axes are taken."""
        shape = [like[axis] for axis in self.order[:-2]] + list(scenes.shape[-2:])
        return scenes.reshape(shape).transpose(np.argsort(self.order))


def upscale_dask(array: da.Array, axes: Axes, recipe: Recipe) -> tuple[da.Array, ...]:
    """The upscaled arrays, one for each head, lazy. Chunks along rows and columns are tiles, others stay.

    Those of several heads share their tiles: what is computed together is computed once.
    """
    if any(math.isnan(size) for sizes in array.chunks for size in sizes):
        raise InputError("the array's chunks have unknown sizes; call compute_chunk_sizes() first")
    token = tokenize(__version__, array.name, array.chunks, axes, recipe)
    layer = UpscaleLayer(f"geosr-upscale-{token}", array.name, array.chunks, axes, recipe)
    graph = HighLevelGraph.from_collections(layer.name, layer, dependencies=[array])  # type: ignore[list-item]
    metas = [np.empty((0,) * array.ndim, dtype) for dtype in recipe.dtypes]
    tiles = da.Array(graph, layer.name, layer.chunks, meta=metas[0])
    if len(metas) == 1:
        return (tiles,)
    index, heads = tuple(range(array.ndim)), recipe.settled.model.heads
    return tuple(
        da.blockwise(itemgetter(place), index, tiles, index, name=f"{layer.name}-{head.name}", meta=meta)
        for place, (head, meta) in enumerate(zip(heads, metas, strict=True))
    )


def upscale_numpy(array: NDArray[Any], axes: Axes, recipe: Recipe) -> tuple[NDArray[Any], ...]:
    """The upscaled arrays, one for each head, computed now, tile by tile on the threads of this process."""
    ready = recipe.ready()
    scenes = axes.to_scenes(array)
    bands = tuple(range(scenes.shape[1]))
    seen = [recipe.observe(bands, [scene[:, *window.slices] for window in recipe.samples]) for scene in scenes]
    shape = *scenes.shape[:2], *(side * recipe.scale for side in recipe.shape)
    outs = tuple(np.empty(shape, dtype) for dtype in recipe.dtypes)

    def work(tile: Tile) -> None:
        """Writes a tile into the results."""
        for out, made in zip(outs, ready(scenes[..., *tile.read.slices], tile, bands, seen), strict=True):
            out[..., *tile.write.slices] = made

    with prepare_process(), ThreadPoolExecutor(at_once(ready.network.cards)) as pool:
        for _ in pool.map(work, ready.plan):
            pass
    return tuple(axes.from_scenes(out, array.shape) for out in outs)


@dataclass(frozen=True, slots=True)
class Chunked:
    """An array of a graph, and where its chunks lie."""

    name: str
    chunks: tuple[tuple[int, ...], ...]
    axes: Axes

    def pieces(self, index: list[int], window: Window) -> tuple[list[Any], set[Key]]:
        """The keys of a task that cuts a window out: rows of chunks and where the window lies in what they make.

        `index` says which chunks along the other axes.
        """
        rows, cols = (_edges(self.chunks[axis]) for axis in (self.axes.y, self.axes.x))
        lines = range(bisect_right(rows, window.row) - 1, bisect_right(rows, window.stop[0] - 1))
        along = range(bisect_right(cols, window.col) - 1, bisect_right(cols, window.stop[1] - 1))

        def chunk(row: int, col: int) -> Key:
            """The key of a chunk of the source."""
            here = list(index)
            here[self.axes.y], here[self.axes.x] = row, col
            return (self.name, *here)

        keys = [[chunk(row, col) for col in along] for row in lines]
        place = [window.row - rows[lines.start], window.col - cols[along.start], window.height, window.width]
        return [keys, place], {key for line in keys for key in line}


class UpscaleLayer(Layer):
    """The tasks of an upscaled array, made when they are asked for."""

    def __init__(self, name: str, source: str, chunks: tuple[tuple[int, ...], ...], axes: Axes, recipe: Recipe) -> None:
        super().__init__()
        self.name = name
        self.source = Chunked(source, chunks, axes)
        self.axes = axes
        self.recipe = recipe
        self.observes = bool(recipe.samples)
        self.of_one_kind = depends_on_kind(recipe.settled)
        self._ready: Ready | None = None
        band = (1,) if axes.band is None else chunks[axes.band]
        self.bands = _edges(band)
        self._output: frozenset[Key] | None = None

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Of the result."""
        new = list(self.source.chunks)
        for axis, side in zip((self.axes.y, self.axes.x), self.recipe.shape, strict=True):
            core, scale = self.recipe.core, self.recipe.scale
            new[axis] = tuple(min(core, side - start) * scale for start in range(0, side, core))
        return tuple(new)

    def ready(self) -> Ready:
        """Plan and network, found on first use; a layer that travels takes them along."""
        if self._ready is None:
            with looking_where_others_compute():
                self._ready = self.recipe.ready()
        return self._ready

    def __getstate__(self) -> dict[str, Any]:
        self.ready()  # a scheduler that unpickles the layer has no business with networks
        return self.__dict__ | {"_output": None}

    def is_materialized(self) -> bool:
        """Never."""
        return False

    def get_output_keys(self) -> Set[Key]:
        """Keys of all chunks."""
        if self._output is None:
            self._output = frozenset(self._keys())
        return self._output

    def __len__(self) -> int:
        return math.prod(map(len, self.chunks)) + sum(1 for _ in self._observers()) + self.of_one_kind

    def __iter__(self) -> Iterator[Key]:
        yield from self._keys()
        yield from self._observers()
        if self.of_one_kind:
            yield self._kind_name

    def __getitem__(self, key: Key) -> Any:
        if key == self._kind_name:
            return self._kind_task()
        if key[0] == self.name:
            return self._tile_task(key)[0]
        if self.observes and key[0] == self._seen_name:
            return self._seen_task(key)[0]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if key == self._kind_name:
            return self.of_one_kind
        return isinstance(key, tuple) and bool(key) and key[0] in (self.name, self._seen_name)

    def cull(self, keys: set[Key], all_hlg_keys: Collection[Key]) -> tuple[Layer, Mapping[Key, set[Key]]]:
        """The tasks for some chunks, and what they depend on."""
        tasks: dict[Key, Any] = {}
        needs: dict[Key, set[Key]] = {}
        if self.of_one_kind:
            tasks[self._kind_name], needs[self._kind_name] = self._kind_task(), set()
        for key in filter(self.__contains__, keys):  # Dask hands over the keys of all layers
            if key == self._kind_name:
                continue
            tasks[key], needs[key] = self._tile_task(key) if key[0] == self.name else self._seen_task(key)
            for other in needs[key]:
                if other not in tasks and other[0] == self._seen_name:
                    tasks[other], needs[other] = self._seen_task(other)
        return MaterializedLayer(tasks, annotations=self.annotations), needs

    @property
    def _seen_name(self) -> str:
        return f"{self.name}-seen"

    @property
    def _kind_name(self) -> str:
        return f"{self.name}-kind"

    def _keys(self) -> Iterator[Key]:
        return ((self.name, *index) for index in product(*(range(len(sizes)) for sizes in self.chunks)))

    def _observers(self) -> Iterator[Key]:
        if self.observes:
            counts = [len(sizes) for sizes in self.source.chunks]
            counts[self.axes.y] = counts[self.axes.x] = 1
            yield from ((self._seen_name, *index) for index in product(*map(range, counts)))

    def _tile_task(self, key: Key) -> tuple[Any, set[Key]]:
        ready = self.ready()
        index = list(key[1:])
        tile = ready.plan[index[self.axes.y] * ready.plan.shape[1] + index[self.axes.x]]
        pieces, needs = self.source.pieces(index, tile.read)
        kind, seen = (self._kind_name if self.of_one_kind else ""), ()
        if self.observes:
            index[self.axes.y] = index[self.axes.x] = 0
            seen = (self._seen_name, *index)
        needs |= {key for key in (kind, seen) if key}
        return (compute_tile, ready, self.axes, tile, self._band_numbers(list(key[1:])), pieces, kind, seen), needs

    def _kind_task(self) -> Any:
        return (kind_of, self.ready().network)

    def _seen_task(self, key: Key) -> tuple[Any, set[Key]]:
        found = [self.source.pieces(list(key[1:]), window) for window in self.recipe.samples]
        needs = set().union(*(keys for _, keys in found))
        bands = self._band_numbers(list(key[1:]))
        return (observe_scenes, self.recipe, self.axes, bands, [pieces for pieces, _ in found]), needs

    def _band_numbers(self, index: list[int]) -> list[int]:
        chunk = 0 if self.axes.band is None else index[self.axes.band]
        return list(range(self.bands[chunk], self.bands[chunk + 1]))


def depends_on_kind(settled: Settled) -> bool:
    """True where bits depend on the kind of device that computes: then a task asks a worker, and all keep to that.

    Who pickles a layer can't ask the workers, since it holds locks of Dask's.
    """
    return settled.device != "cpu" or not settled.model.portable


def kind_of(network: ModelNetwork) -> str:
    """The kind of device that the one worker has who is asked, see `ModelNetwork.here`."""
    return network.here


def compute_tile(
    ready: Ready,
    axes: Axes,
    tile: Tile,
    bands: list[int],
    pieces: list[Any],
    kind: str = "",
    seen: tuple[Observation, ...] = (),
) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """A chunk of the result; of each of several results.

    Raises `PlaceError`, the tile named, where this process computes on another kind of device.
    """
    values, shape = cut(axes, *pieces)
    ready = replace(ready, network=replace(ready.network, kind=kind))
    seen = seen or (ready.recipe.observe(bands, ()),) * len(values)
    made = tuple(axes.from_scenes(each, shape) for each in ready(values, tile, tuple(bands), seen))
    return made if len(made) > 1 else made[0]


def observe_scenes(recipe: Recipe, axes: Axes, bands: list[int], samples: list[Any]) -> tuple[Observation, ...]:
    """The observation of each scene in a chunk."""
    patches = [cut(axes, *pieces)[0] for pieces in samples]
    return tuple(recipe.observe(bands, [patch[scene] for patch in patches]) for scene in range(len(patches[0])))


def cut(axes: Axes, chunks: list[list[NDArray[Any]]], place: list[int]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """A window (scenes, bands, rows, columns) out of chunks that lie side by side, and the shape of a chunk."""
    window = Window(*place)
    lines, row = [], 0
    for line in chunks:
        parts, col = [], 0
        for chunk in line:
            scenes = axes.to_scenes(np.asarray(chunk))
            whole = Window(row, col, *scenes.shape[-2:])
            parts.append(scenes[..., *window.clip(whole).within(whole).slices])
            col += whole.width
        lines.append(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1))
        row += whole.height
    return lines[0] if len(lines) == 1 else np.concatenate(lines, axis=-2), np.shape(chunks[0][0])


def looking_where_others_compute() -> AbstractContextManager[None]:
    """While inside this thread leaves graphics cards alone, where the workers of a cluster compute."""
    return nullcontext() if active_client() is None else looking()


def active_client() -> Any:
    """The client of the cluster that computes, unless the user has dask.config say otherwise; None without one."""
    if (dask.config.get("scheduler", None) or "dask.distributed") in ("dask.distributed", "distributed"):
        with suppress(ImportError, ValueError):
            from distributed import default_client

            return default_client()
    return None


@lru_cache(maxsize=64)
def _edges(sizes: tuple[int, ...]) -> list[int]:
    return list(accumulate(sizes, initial=0))
