"""An array in a notebook: the page asks the kernel by messages, and gets the pixels of `da.geosr.upscale`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rasterio.io import MemoryFile

import geosr
from geosr.errors import InputError, ModelError
from geosr.io.overviews import Image, halve
from geosr.picture import Stretch, rgba
from geosr.radiometry import Pixels
from geosr.viewer.pages import sources
from geosr.viewer.scene import Layer, Spot, Viewed
from geosr.window import Window
from geosr.xarray.view import ArrayGround
from tests import scenes

Sent = list[tuple[dict[str, Any], bytes]]


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    """Three bands with a gap, of a file."""
    path = scenes.make_gaps(tmp_path_factory.mktemp("viewed"))
    with scenes.quiet():
        return geosr.open_raster(path).load()


@pytest.fixture(scope="module")
def fine(array: xr.DataArray) -> xr.Dataset:
    return array.geosr.upscale(uncertainty=True)


@contextmanager
def widget_of(array: xr.DataArray, **options: Any) -> Iterator[tuple[Any, Sent]]:
    """A widget, and what it sends."""
    widget, sent = array.geosr.view(**options), Sent()
    widget.send = lambda content, buffers: sent.append((content, bytes(buffers[0])))
    try:
        yield widget, sent
    finally:
        widget.close()


def asked(widget: Any, sent: Sent, path: str) -> tuple[int, Any]:
    """The answer to a message of the page: its status, and what it holds."""
    number = f"test {len(sent)}"
    widget._handle_custom_msg({"id": number, "path": path}, [])
    until(lambda: any(content["id"] == number for content, _ in sent))
    content, body = next(each for each in sent if each[0]["id"] == number)
    if content["kind"] == "application/json":
        return content["status"], json.loads(body)
    with scenes.quiet(), MemoryFile(body) as file, file.open() as dataset:
        return content["status"], dataset.read().transpose(1, 2, 0)


def until(true: Any) -> None:
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < 60
        time.sleep(0.01)


@pytest.mark.parametrize("chunks", [None, {"y": 70, "x": 55}])
def test_a_message_brings_the_pixels_of_upscale(array: xr.DataArray, fine: xr.Dataset, chunks: Any) -> None:
    low, high = (100.0,) * 3, (4000.0,) * 3
    with widget_of(array if chunks is None else array.chunk(chunks)) as (widget, sent):
        status, scene = asked(widget, sent, "scene")
        assert (status, scene["width"], scene["height"], scene["exports"]) == (200, 680, 600, False)
        model, side = scene["model"], scene["side"]
        assert scene["models"][model]["title"] == "fast"
        ends = "bands=1,0,1&low=100,100,100&high=4000,4000,4000"
        status, shown = asked(widget, sent, f"tile/{model}/0/1/1/2/2?{ends}")
        assert status == 200
        stored = fine["data"].to_numpy()[[1, 0, 1], side : 3 * side, side : 3 * side]
        radiometry = widget._viewed.scene.radiometry.bands((1, 0, 1))
        assert np.array_equal(shown, rgba(Pixels(stored), radiometry, Stretch(low, high))[..., : shown.shape[2]])


@pytest.mark.parametrize("model", ["fast", "ibp", "nearest"])
def test_the_stored_numbers_of_tiles_are_those_of_upscale_with_the_same_options(
    array: xr.DataArray, model: str
) -> None:
    options: dict[str, Any] = {"mtf": 0.2, "snr": 80.0, "categorical": [2], "project": True}
    expected = array.geosr.upscale(model, 3, **options).to_numpy()
    viewed = Viewed(ArrayGround(array, model, 3, **options))
    try:
        for bands in ((0, 1), (1,)):
            shown = viewed.tiles(Layer(model, bands), Spot(0, 0, 0, 2, 2), here).stored
            assert np.array_equal(shown, expected[list(bands), : shown.shape[1], : shown.shape[2]])
    finally:
        viewed.close()


def here() -> bool:
    return False


def test_the_uncertainty_and_the_inspector_have_the_numbers_of_upscale(array: xr.DataArray, fine: xr.Dataset) -> None:
    with widget_of(array) as (widget, sent):
        _, scene = asked(widget, sent, "scene")
        model = scene["model"]
        status, found = asked(widget, sent, f"spread?model={model}&bands=0,1,0&tiles=0/0/0/3/3")
        sigma = fine["sigma"].to_numpy()
        assert (status, found["high"]) == (200, pytest.approx(np.nanquantile(sigma[[0, 1, 0]].mean(0), 0.98)))
        query = f"row=300&col=500&bands=0,1,0&left={model}&right={model}&spread=1"
        asked(widget, sent, f"tile/{model}/0/1/1/1/1?bands=0,1,0&low=0,0,0&high=1,1,1")
        _, told = asked(widget, sent, f"point?{query}")
        assert told["stored"]["right"] == fine["data"].to_numpy()[[0, 1, 0], 300, 500].tolist()
        assert told["stored"]["scene"] == array.to_numpy()[[0, 1, 0], 75, 125].tolist()
        assert told["spread"] == sigma[[0, 1, 0], 300, 500].tolist()


def test_from_afar_an_array_is_seen_as_overviews_of_a_file_would_have_it(array: xr.DataArray) -> None:
    ground = ArrayGround(array, "bicubic", 4)
    source = ground.scene.source
    image = Image(array.to_numpy(), None)
    for times in (1, 2, 4):
        shown = source.reduced(Window(0, 0, *array.shape[1:]), image.stored.shape[1:], nearest=False)
        assert np.array_equal(shown.stored, image.stored), times
        image = halve(image, source.layout)


def test_an_array_is_read_strip_by_strip_where_it_is_large(
    array: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole = ArrayGround(array, "bicubic", 4).scene.source, Window(0, 0, *array.shape[1:])
    shape = tuple(-(-side // 8) for side in array.shape[1:])
    at_once = source.reduced(whole, shape, nearest=False).stored
    monkeypatch.setattr("geosr.xarray.view._STRIP", 1)
    assert np.array_equal(source.reduced(whole, shape, nearest=False).stored, at_once)


def test_what_is_lazy_is_computed_where_it_is_seen_and_nowhere_else(array: xr.DataArray) -> None:
    computed = []

    def watched(block: Any, block_info: Any = None) -> Any:
        computed.append(block_info[0]["chunk-location"][1:])
        return block

    lazy = array.chunk({"y": 30, "x": 34})
    lazy = lazy.copy(data=lazy.data.map_blocks(watched, dtype=lazy.dtype, meta=lazy.data._meta))
    viewed = Viewed(ArrayGround(lazy, "bicubic", 4))
    try:
        viewed.tiles(Layer("bicubic", (0,)), Spot(0, 0, 0), here)
        assert set(computed) <= {(row, col) for row in range(3) for col in range(3)}
    finally:
        viewed.close()


def test_what_the_page_does_not_want_any_more_is_not_sent(array: xr.DataArray) -> None:
    with widget_of(array, model="bicubic") as (widget, sent):
        asked(widget, sent, "scene")
        before = len(sent)
        widget._viewed.desk.get = lambda wanted, gone: until(gone) or left()
        widget._handle_custom_msg({"id": "a", "path": "notes?model=0&bands=0"}, [])
        widget._handle_custom_msg({"id": "a", "left": True}, [])
        widget._pool.shutdown(wait=True)
        assert len(sent) == before
        assert widget._waiting == set()


def left() -> None:
    from geosr.viewer.desk import LeftError

    raise LeftError("who asked has left")


@pytest.mark.parametrize(
    "path", ["", "nothing", "../page.html", "tile/0", "tile/99/0/0/0/1/1?bands=0&low=0&high=1", "export?x=1"]
)
def test_what_the_page_never_asks_is_refused(array: xr.DataArray, path: str) -> None:
    with widget_of(array, model="bicubic") as (widget, sent):
        status, told = asked(widget, sent, path)
        assert status in (400, 404) or told == {"state": "none"}


@pytest.mark.parametrize(
    ("change", "options", "kind", "told"),
    [
        ({"time": 2}, {}, InputError, "select one position along time"),
        ({}, {"model": "glp"}, ModelError, "needs other rasters"),
        ({}, {"model": "fastt"}, ModelError, "did you mean fast"),
        ({}, {"mtf": 2.0}, InputError, "mtf"),
    ],
)
def test_what_can_not_be_viewed_is_one_line(
    array: xr.DataArray, change: dict[str, int], options: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told) as found:
        (array.expand_dims(change) if change else array).geosr.view(**options)
    assert "\n" not in str(found.value)


def test_without_anywidget_it_is_said_what_to_install(array: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "geosr.xarray.widget", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(InputError, match=r"needs anywidget; pip install 'geosr\[view\]'"):
        array.geosr.view()


def test_the_widget_has_the_script_of_the_server_and_no_other(array: xr.DataArray) -> None:
    from geosr.xarray.widget import Viewer

    for name in ("swipe.js", "tiles.js", "viewer.js"):
        assert sources(name) in Viewer._esm
    assert "fetch(" not in sources("viewer.js", "tiles.js", "swipe.js", "widget.js").replace("ask(", "")
    assert "http" not in Viewer._esm
    assert Path(sys.modules["geosr.viewer"].__file__ or "").with_name("widget.js").exists()
