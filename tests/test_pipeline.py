from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geosr import pipeline
from geosr.errors import DamageError, GeosrError, TileError
from geosr.pipeline import Job, in_flight, run
from geosr.radiometry import IMAGE, Head, Passes, Pixels, Radiometry
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler


@dataclass
class Repeat:
    """Nearest, with a limit on how large a block it takes."""

    largest: int = 10**9
    scale: int = 2
    halo: int = 2
    multiple: int = 1
    heads: tuple[Head, ...] = (IMAGE,)

    def groups(self, bands: Sequence[int]) -> list[tuple[int, ...]]:
        return [(band,) for band in bands]

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        if block.size > self.largest:
            raise MemoryError
        return np.tile(block.repeat(2, 1).repeat(2, 2), (len(self.heads), 1, 1))


@dataclass
class Array:
    """A source and a sink in memory that count what happens to them."""

    stored: NDArray[np.generic]
    broken: int = -1
    error: GeosrError = field(default_factory=lambda: GeosrError("the file is torn"))
    result: dict[int, Pixels] = field(default_factory=dict)
    flying: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, tile: Tile) -> Pixels:
        with self.lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
        if tile.index == self.broken:
            raise self.error
        return Pixels(self.stored[:, *tile.read.slices])

    @property
    def encoder(self) -> Callable[[Tile, Pixels], Any]:
        return lambda tile, *results: results[0] if len(results) == 1 else results

    def done(self) -> frozenset[int]:
        return frozenset(self.result)

    def append(self, tile: Tile, encoded: Any) -> None:
        with self.lock:
            self.flying -= 1
        self.result[tile.index] = encoded


def job(array: Array, network: Repeat | None = None, core: int = 64) -> Job:
    plan = TilePlan(*array.stored.shape[1:], core, 2, 2, 2)
    upscaler = Upscaler(network or Repeat(), Radiometry("uint8", "uint8", ((),)), (False,))
    return Job(plan, array, upscaler, array.encoder)


@pytest.fixture
def array() -> Array:
    return Array(np.random.default_rng(0).integers(0, 255, (1, 200, 300), np.uint8))


def test_every_tile_is_kept_once_and_no_more_than_allowed_is_in_flight(array: Array) -> None:
    work = job(array)
    with ThreadPoolExecutor(4) as pool:
        finished = [tile.index for tile in run(work, work.plan, array, pool, ahead=3)]
    assert sorted(finished) == list(range(len(work.plan)))
    assert array.most <= 3


def test_a_failing_tile_is_named_and_what_was_in_flight_is_kept(array: Array) -> None:
    array.broken = 5
    work = job(array)
    with ThreadPoolExecutor(1) as pool, pytest.raises(TileError, match=r"tile 5 \(rows 64-127, columns 0-63"):
        list(run(work, work.plan, array, pool, ahead=2))
    assert array.done() >= {0, 1, 2, 3, 4}
    assert 5 not in array.done()


def test_an_input_at_fault_in_one_tile_is_told_from_other_failures(array: Array) -> None:
    array.broken, array.error = 3, DamageError("the file is torn")
    work = job(array)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(DamageError, match=r"tile 3 \(rows .* the file is torn") as caught,
    ):
        list(run(work, work.plan, array, pool, ahead=2))
    assert caught.value.exit_code == 2


def test_an_interrupt_does_not_wait_for_a_tile_that_takes_long(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_PATIENCE", 0.01)
    over, work = threading.Event(), job(array)

    def long(tile: Tile) -> Any:
        assert tile.index == 0 or over.wait(300)
        return work(tile)

    with ThreadPoolExecutor(2) as pool:
        tiles = run(long, work.plan, array, pool, ahead=3)
        assert next(tiles).index == 0
        with pytest.raises(KeyboardInterrupt):
            tiles.throw(KeyboardInterrupt())
        assert array.done() == {0}
        over.set()


def test_a_tile_too_large_for_memory_is_done_in_parts_with_the_same_pixels(array: Array) -> None:
    expected = array.stored.repeat(2, 1).repeat(2, 2)
    work = job(array, Repeat(largest=40 * 40))
    with ThreadPoolExecutor(1) as pool:
        for tile in run(work, work.plan, array, pool, ahead=1):
            assert np.array_equal(array.result[tile.index].stored, expected[:, *tile.write.slices])
    assert len(array.result) == len(work.plan)


def test_all_results_of_a_tile_too_large_for_memory_are_put_together(array: Array) -> None:
    expected = array.stored.repeat(2, 1).repeat(2, 2)
    work = job(array, Repeat(largest=40 * 40, heads=(IMAGE, Head("sigma", Passes.SPREAD))))
    for tile in work.plan:
        image, sigma = work(tile)
        assert np.array_equal(image.stored, expected[:, *tile.write.slices])
        assert np.array_equal(sigma.stored, expected[:, *tile.write.slices].astype(np.float32))


def test_memory_that_never_suffices_is_one_clear_failure(array: Array) -> None:
    work = job(array, Repeat(largest=10))
    with ThreadPoolExecutor(1) as pool, pytest.raises(TileError, match="out of memory"):
        list(run(work, work.plan, array, pool, ahead=1))


def test_an_interrupt_between_tiles_keeps_what_was_in_flight(array: Array) -> None:
    work = job(array)

    def interrupted(pool: ThreadPoolExecutor) -> None:
        for _ in run(work, work.plan, array, pool, ahead=2):
            raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        interrupted(pool)
    assert 1 <= len(array.result) < len(work.plan)


def test_more_than_workers_take_is_handed_out_so_that_none_waits_while_a_tile_is_kept() -> None:
    assert [in_flight(workers) for workers in (1, 2, 7, 8, 16)] == [2, 3, 8, 10, 20]
