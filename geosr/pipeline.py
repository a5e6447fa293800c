"""Tiles to executor to sink: bounded, resumable, and blind to where pixels come from and go to."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np

from geosr.errors import DamageError, GeosrError, TileError
from geosr.frames import Damage, FramePixels, FramesUpscaler
from geosr.guided import GuidedUpscaler
from geosr.radiometry import Pixels
from geosr.tiling import Tile, TilePlan, split
from geosr.upscaler import Upscaler

S = TypeVar("S")
T = TypeVar("T")


class Source(Protocol):
    """Where pixels come from. Pickles small: it opens its file on first use, once a process and thread."""

    def read(self, tile: Tile) -> Any:
        """All that the upscaler takes for a tile: the pixels of `tile.read`, and perhaps those of other rasters."""


class Sink(Protocol):
    """Where results go. Only the calling process holds it; workers get its `encoder`."""

    @property
    def encoder(self) -> Callable[..., Any]:
        """Turns a tile and its results, one `Pixels` for each head, into what `append` takes; pure, pickles small, runs
        on the worker."""

    def done(self) -> frozenset[int]:
        """Indices of the tiles that an earlier run left here."""

    def append(self, tile: Tile, encoded: Any) -> None:
        """Keep one tile's result; durable when it returns."""


class Work(Protocol):
    """The work of workers on tiles: `Job`, or to measure what there is."""

    @property
    def source(self) -> Any:
        """Where tiles are read from."""

    def __call__(self, tile: Tile) -> Any:
        """The part of a tile that a sink takes. Pickles small."""


@dataclass(frozen=True, slots=True)
class Without:
    """The encoded result of a tile of which parts of other dates are missing."""

    encoded: Any
    lost: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """The work of a worker on a tile."""

    plan: TilePlan
    source: Source
    upscaler: Upscaler | GuidedUpscaler | FramesUpscaler
    encoder: Callable[..., Any]
    """See `Sink.encoder`."""

    def __call__(self, tile: Tile) -> Any:
        """The encoded result of a tile. Raises `TileError` that names the tile and its window."""
        try:
            pixels = self.source.read(tile)
            encoded = self.encoder(tile, *self._upscale(pixels, tile))
            lost = pixels.lost if isinstance(pixels, FramePixels) else ()
            return Without(encoded, lost) if lost else encoded
        except DamageError as error:
            raise DamageError(f"{name_of(tile)}: {error}") from error
        except TileError:
            raise
        except GeosrError as error:
            raise TileError(f"{name_of(tile)}: {error}") from error
        except MemoryError as error:
            raise TileError(f"{name_of(tile)}: out of memory; use a smaller tile or fewer workers") from error

    def _upscale(self, pixels: Any, tile: Tile) -> tuple[Pixels, ...]:
        try:
            return self.upscaler(pixels, tile)
        except MemoryError:
            if max(tile.core.height, tile.core.width) < _SMALLEST:
                raise
        parts = split(tile, self.plan)
        results = zip(*(self._upscale(pixels, part) for part in parts), strict=True)
        return tuple(_assemble(tile, list(zip(parts, each, strict=True))) for each in results)


_SMALLEST = 32
"""A core this small that doesn't fit in memory won't fit in halves either."""


def run(
    job: Callable[[Tile], Any],
    tiles: Iterable[Tile],
    sink: Sink,
    executor: Executor,
    ahead: int | Callable[[], int],
    lost: set[Damage] | None = None,
) -> Generator[Tile, None, None]:
    """Run a job over tiles and yield each as its result is kept; never more than `ahead` in flight, which may change.

    What of other dates could not be read is added to `lost`.

    Tiles are handed out in order and kept as they finish. The first failure, or an interrupt, stops the run: tiles in
    flight are kept as `finishing` says, then it is raised.
    """
    waiting = iter(tiles)
    flying: dict[Future[Any], Tile] = {}
    try:
        while True:
            most = ahead() if callable(ahead) else ahead
            for tile in islice(waiting, max(0, most - len(flying))):
                flying[executor.submit(job, tile)] = tile
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                tile = flying.pop(future)
                sink.append(tile, _whole(future.result(), lost))
                yield tile
    except BaseException as error:
        for future in finishing(flying, error):
            sink.append(flying[future], _whole(future.result(), lost))
        raise


def _whole(done: Any, lost: set[Damage] | None) -> Any:
    """The part of a job's result that a sink takes."""
    if not isinstance(done, Without):
        return done
    if lost is not None:
        lost.update(done.lost)
    return done.encoded


_PATIENCE = 1.0
"""Seconds that tiles in flight have after an interrupt: who stops a run waits for it, and a tile may take minutes."""


def finishing(flying: Iterable[Future[Any]], error: BaseException) -> list[Future[Any]]:
    """Those that end well of the tiles in flight when a run stops with `error`; the others are called back.

    After a failure they are waited for; after an interrupt only for a moment.
    """
    running = [future for future in flying if not future.cancel()]
    done = wait(running, None if isinstance(error, Exception) else _PATIENCE).done
    return [future for future in running if future in done and future.exception() is None]


def _assemble(whole: Tile, parts: list[tuple[Tile, Pixels]]) -> Pixels:
    first = parts[0][1]
    shape = whole.write.height, whole.write.width
    stored = np.empty((first.stored.shape[0], *shape), first.stored.dtype)
    mask = None if first.mask is None else np.empty(shape, bool)
    wanted = None if first.wanted is None else np.empty(shape, bool)
    for tile, pixels in parts:
        there = tile.write.within(whole.write).slices
        stored[:, *there] = pixels.stored
        if mask is not None:
            mask[there] = pixels.mask
        if wanted is not None:
            wanted[there] = pixels.wanted
    return Pixels(stored, mask, wanted)


def name_of(tile: Tile) -> str:
    """The name of a tile in messages: its number, and its window in what is upscaled, which may be a part of a file."""
    core = tile.core
    return (
        f"tile {tile.index} (rows {core.row}-{core.stop[0] - 1}, columns {core.col}-{core.stop[1] - 1} of the part "
        "that is upscaled)"
    )


_A_CARD = 3
"""Tiles that keep a graphics card busy: one that is computed, one that is read, one that is encoded."""


def at_once(cards: int) -> int:
    """Tiles to work on at a time: one for each core, and enough to keep so many graphics cards busy."""
    return max(cores(), _A_CARD * cards)


def in_flight(workers: int) -> int:
    """Tiles handed out at a time, so that nobody waits for the next while one is kept, and memory stays bounded."""
    return workers + max(1, workers // 4)


def cores() -> int:
    """Processor cores that this process may use: a batch system or a container often gives fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_HANDS = 16
"""Threads that finish a result at most: more would only stand in line for memory."""


def in_order(work: Callable[[S], T], items: Iterable[S]) -> Generator[T, None, None]:
    """Results of `work` on each of these, in their order: by a thread a core, no more ahead than these take.

    The first failure is raised when it is its turn; what was not begun then is not.
    """
    hands = min(cores(), _HANDS)
    flying: deque[Future[T]] = deque()
    with ThreadPoolExecutor(hands) as pool:
        try:
            for item in items:
                flying.append(pool.submit(work, item))
                if len(flying) > hands:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            for future in flying:
                future.cancel()
