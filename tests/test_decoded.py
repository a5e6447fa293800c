from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.io import source as module
from geosr.io.decoded import Cells, Decoded, Piece
from geosr.io.scene import open_scene
from geosr.io.source import FileSource, close
from geosr.window import Window
from tests import scenes


def sized() -> Decoded[bytes]:
    return Decoded[bytes](len, 10)


def test_a_piece_is_made_once_however_many_ask_for_it() -> None:
    pieces, made, all_here = sized(), [], threading.Barrier(8)

    def make() -> bytes:
        made.append(1)
        return b"piece"

    def ask(_: int) -> bytes:
        all_here.wait(30)
        return pieces.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {b"piece"}
    assert len(made) == 1


def test_the_latest_pieces_are_kept_and_no_more_bytes_than_allowed() -> None:
    pieces, made = sized(), Counter[str]()

    def ask(key: str) -> None:
        pieces.get(key, lambda: made.update([key]) or b"1234")

    for key in "abacaba":
        ask(key)
    assert made == {"a": 1, "b": 2, "c": 1}
    pieces.allow(12)
    pieces.allow(3)  # never less
    for key in "abcabc":
        ask(key)
    assert made == {"a": 1, "b": 2, "c": 2}
    assert pieces._kept == 12
    pieces.clear(lambda key: key != "a")
    ask("a")
    assert (made["a"], pieces._kept) == (1, 4)


def test_a_piece_that_failed_is_tried_again_and_all_who_waited_are_told() -> None:
    pieces, waits = sized(), threading.Event()

    def fail() -> bytes:
        waits.wait(30)
        raise OSError("broken")

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(pieces.get, "key", fail) for _ in range(2)]
        waits.set()
        assert [type(each.exception()) for each in asked] == [OSError, OSError]
    assert pieces.get("key", lambda: b"whole") == b"whole"
    assert pieces._kept == 5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 700), st.sampled_from([(1, 700), (16, 16), (512, 512), (100, 300)]), st.data()
)
def test_a_window_is_put_together_of_whole_blocks(height: int, width: int, block: tuple[int, int], data: Any) -> None:
    image = np.arange(2 * height * width, dtype=np.int32).reshape(2, height, width)
    cells = Cells.of((height, width), (block[0], min(block[1], width)))
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))

    def get(cell: Window) -> Piece:
        assert cell.row % block[0] == 0
        assert cell.clip(Window(0, 0, height, width)) == cell
        return image[:, *cell.slices], image[0][cell.slices] % 3 > 0

    stored, mask = cells.joined(window, get)
    assert np.array_equal(stored, image[:, *window.slices])
    assert mask is not None
    assert np.array_equal(mask, image[0][window.slices] % 3 > 0)


def test_many_threads_decode_each_cell_of_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scenes.make_plain(tmp_path, shape=(2, 900, 1100), tiled=True, blockxsize=128, blockysize=128)
    read: Counter[Window] = Counter()
    usual = FileSource._attempt

    def attempt(self: FileSource, window: Window, *how: Any) -> Piece:
        read.update([window])
        return usual(self, window, *how)

    monkeypatch.setattr(FileSource, "_attempt", attempt)
    source = open_scene(path).source
    assert isinstance(source, FileSource)
    with rasterio.open(path) as file:
        image = file.read()
    windows = [Window(row, col, 150, 170) for row in range(0, 750, 75) for col in range(0, 931, 93)]
    random.Random(0).shuffle(windows)
    with ThreadPoolExecutor(6) as pool:
        for window, pixels in zip(windows, pool.map(source.pixels, windows), strict=True):
            assert np.array_equal(pixels.stored, image[:, *window.slices])
    assert set(read.values()) == {1}
    assert len(read) == 4 * 5
    assert {(window.row % 256, window.col % 256) for window in read} == {(0, 0)}
    close()
    assert module._decoded._kept == 0


def test_a_caller_may_change_the_pixels_that_it_got(tmp_path: Path) -> None:
    source = open_scene(scenes.make_plain(tmp_path)).source
    first = source.pixels(Window(0, 0, 8, 8)).stored
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(source.pixels(Window(0, 0, 8, 8)).stored, kept)
