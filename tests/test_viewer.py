"""The page's tiles are windows of the result, and its server answers for nothing else."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

import geosr
from geosr.errors import InputError, ModelError
from geosr.picture import Stretch, rgba
from geosr.radiometry import Pixels, Radiometry
from geosr.viewer.desk import BusyError, Desk, LeftError, Wanted
from geosr.viewer.ground import RESULT, FileGround
from geosr.viewer.scene import MOST, Layer, Spot, Viewed
from geosr.viewer.server import ViewServer
from geosr.window import Window
from tests import scenes
from tests.safe import make_safe


def here() -> bool:
    """Nobody leaves."""
    return False


@contextmanager
def viewing(src: Path, **options: Any) -> Iterator[Viewed]:
    with closing(Viewed(FileGround(str(src), **options))) as viewed:
        yield viewed


def in_file(path: Path, window: Window | None = None, **how: Any) -> np.ndarray:
    with scenes.quiet(), rasterio.open(path, **how) as dataset:
        return dataset.read(window=None if window is None else window_of(window))


def window_of(window: Window) -> Any:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bands with a gap; several tiles of a page at a scale of 4."""
    return scenes.make_gaps(tmp_path_factory.mktemp("viewed"))


@pytest.fixture(scope="module")
def result(scene: Path) -> Path:
    """What `fast` makes of it, in a file."""
    return Path(geosr.upscale(scene, scene.with_name("result.tif"), model="fast", scale=4)["path"])


def everything(viewed: Viewed, level: int = 0) -> list[Spot]:
    """The spots of single tiles that a scene has at a level."""
    rows, cols = (-(-length // (viewed.side << level)) for length in (viewed.whole.height, viewed.whole.width))
    return [Spot(level, row, col) for row in range(rows) for col in range(cols)]


@pytest.mark.parametrize(("model", "scale"), [("fast", 4), ("bicubic", 3), ("ibp", 8)])
def test_a_tile_of_the_page_is_a_window_of_the_file(scene: Path, tmp_path: Path, model: str, scale: int) -> None:
    file = Path(geosr.upscale(scene, tmp_path / "file.tif", model=model, scale=scale)["path"])
    with viewing(scene, model=model, scale=scale) as viewed:
        spots = everything(viewed)
        assert len(spots) > 4
        for spot in (*spots[:3], *spots[-2:]):
            there = Window(spot.row, spot.col, 1, 1).scale(viewed.side).clip(viewed.whole)
            shown = viewed.tiles(Layer(model, (0, 1)), spot, here)
            assert np.array_equal(shown.stored, in_file(file, there))
            alone = viewed.tiles(Layer(model, (1,)), spot, here)
            assert np.array_equal(alone.stored, in_file(file, there)[[1]])


def test_tiles_that_are_made_together_are_those_that_are_made_alone_and_are_made_once(
    scene: Path, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = Layer("fast", (0, 1))
    with viewing(scene) as viewed:
        together = viewed.tiles(fast, Spot(0, 0, 0, 3, 2), here)
        assert np.array_equal(together.stored, in_file(result, Window(0, 0, 600, 512)))
        monkeypatch.setattr(viewed.desk, "_start", lambda one: pytest.fail(f"{one.key} is made again"))
        for spot in (Spot(0, 1, 1), Spot(0, 0, 1, 2, 1)):
            there = Window(spot.row, spot.col, spot.rows, spot.cols).scale(viewed.side).clip(viewed.whole)
            assert np.array_equal(viewed.tiles(fast, spot, here).stored, in_file(result, there))


@pytest.mark.parametrize("spot", [Spot(0, 0, 0, 1, MOST + 1), Spot(1, 0, 0, 2, 3), Spot(0, 0, 0, 0, 1), Spot(0, 9, 0)])
def test_more_tiles_than_are_made_at_a_time_are_refused(scene: Path, spot: Spot) -> None:
    with viewing(scene, model="bicubic") as viewed, pytest.raises(InputError, match="or too many"):
        viewed.tiles(Layer("bicubic", (0,)), spot, here)


@pytest.mark.parametrize("level", [0, 1])
def test_the_uncertainty_is_that_of_the_file_beside_the_result_and_leaves_the_image_as_it_is(
    scene: Path, result: Path, tmp_path: Path, level: int
) -> None:
    told = geosr.upscale(scene, tmp_path / "file.tif", model="fast", scale=4, uncertainty=True)
    how = {"OVERVIEW_LEVEL": level - 1} if level else {}
    sigma = in_file(Path(told["others"]["sigma"]), **how)
    with viewing(scene) as viewed:
        assert viewed.ground.has_spread("fast")
        layer, spot = Layer("fast", (0, 1), spread=True), Spot(level, 0, 0, *((3, 3) if not level else (2, 2)))
        shown = viewed.tiles(layer, spot, here).stored
        assert np.array_equal(shown, sigma, equal_nan=True)
        assert viewed.spread(layer, spot, here) == pytest.approx(np.nanquantile(sigma.mean(0), 0.98))
        assert viewed.point(layer, 300, 500, here) == in_file(Path(told["others"]["sigma"]))[:, 300, 500].tolist()
        assert viewed.point(layer, 200, 360, here) == [None, None]  # in the gap
        with pytest.raises(InputError, match="zoom in"):
            viewed.tiles(layer, Spot(2, 0, 0), here)


def test_a_finished_result_has_the_uncertainty_that_lies_beside_it(scene: Path, tmp_path: Path) -> None:
    told = geosr.upscale(scene, tmp_path / "file.tif", model="bicubic", scale=4, uncertainty=True)
    with viewing(scene, result=told["path"]) as viewed:
        assert viewed.ground.has_spread(RESULT)
        shown = viewed.tiles(Layer(RESULT, (1,), spread=True), Spot(0, 0, 0), here).stored
        assert np.array_equal(
            shown, in_file(Path(told["others"]["sigma"]), Window(0, 0, 256, 256))[[1]], equal_nan=True
        )
    Path(told["others"]["sigma"]).unlink()
    with viewing(scene, result=told["path"]) as viewed:
        assert not viewed.ground.has_spread(RESULT)
        with pytest.raises(InputError, match="no such result"):
            viewed.tiles(Layer(RESULT, (1,), spread=True), Spot(0, 0, 0), here)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_model_has_an_uncertainty_at_the_scales_that_have_a_head(scene: Path, scale: int) -> None:
    ground = FileGround(str(scene), model="bicubic", scale=scale)
    assert ground.has_spread("bicubic") == (scale == 2)


def test_a_class_band_and_a_mask_are_shown_as_the_file_has_them(tmp_path: Path) -> None:
    product = scenes.make_product(tmp_path)
    file = Path(geosr.upscale(product, tmp_path / "file.tif", model="fast", scale=4)["path"])
    with viewing(product) as viewed:
        shown = viewed.tiles(Layer("fast", (2, 1, 0)), Spot(0, 0, 0), here)
        there = Window(0, 0, *shown.stored.shape[1:])
        assert np.array_equal(shown.stored, in_file(file, there)[[2, 1, 0]])
        with rasterio.open(file) as dataset:
            assert np.array_equal(shown.mask, dataset.read_masks(1, window=window_of(there)) > 0)


def test_from_a_little_further_a_tile_is_the_first_overview_of_the_file(scene: Path, result: Path) -> None:
    with viewing(scene) as viewed:
        shown = viewed.tiles(Layer("fast", (0, 1)), Spot(1, 0, 0, 2, 2), here)
    overview = in_file(result, OVERVIEW_LEVEL=0)
    assert shown.stored.shape == overview.shape
    assert np.array_equal(shown.stored, overview)


def test_from_afar_the_page_shows_averages_of_the_scene_and_computes_nothing(scene: Path) -> None:
    with viewing(scene) as viewed:
        shown = viewed.tiles(Layer("fast", (0,)), Spot(2, 0, 0), here)
        assert np.array_equal(shown.stored, in_file(scene)[:1])
        halved = viewed.tiles(Layer("fast", (1,)), Spot(3, 0, 0), here).stored[0].astype(float)
        assert not [key for key in viewed.desk._kept if key[0] == "making"]
    source = in_file(scene)[1].astype(float)
    means = source.reshape(75, 2, 85, 2).mean((1, 3))
    valid = (source.reshape(75, 2, 85, 2) != 0).all((1, 3))
    assert np.abs(halved - means)[valid].max() <= 0.5


def test_a_product_is_shown_by_the_bands_of_its_finest_grid(tmp_path: Path) -> None:
    product = make_safe(tmp_path)
    file = Path(geosr.upscale(product, tmp_path / "file.tif", model="bicubic", bands=["B04", "B02"])["path"])
    with viewing(product, model="bicubic") as viewed:
        assert viewed.scene.names == ("B02", "B03", "B04", "B08")
        shown = viewed.tiles(Layer("bicubic", (2, 1, 0)), Spot(0, 0, 0), here).stored
        there = Window(0, 0, *shown.shape[1:])
        assert np.array_equal(shown[[0, 2]], in_file(file, there))
        row, col = viewed.start(here)
        pixels = viewed.scene.source.pixels(Window(row // 4, col // 4, 1, 1))
        assert viewed.point(Layer("nearest", (2,)), row, col, here) == [pixels.stored[2, 0, 0]]


def test_a_finished_result_is_shown_from_its_file_over_the_part_it_was_made_of(tmp_path: Path) -> None:
    scene, bounds = scenes.make_product(tmp_path, masked=False), (500_200.0, 4_999_000.0, 501_000.0, 4_999_800.0)
    options = {"model": "bicubic", "scale": 4, "bands": ["B8A"], "bounds": bounds}
    cut = Path(geosr.upscale(scene, tmp_path / "cut.tif", **options)["path"])
    with viewing(scene, result=str(cut)) as viewed:
        assert viewed.ground.models[-1] == viewed.ground.model == RESULT
        assert viewed.scene.shape == (80, 80)
        for model in (RESULT, "bicubic"):
            assert np.array_equal(viewed.tiles(Layer(model, (0,)), Spot(0, 0, 0, 2, 2), here).stored, in_file(cut))
        nearest = viewed.tiles(Layer("nearest", (0,)), Spot(0, 0, 0, 2, 2), here).stored
        assert np.array_equal(nearest[:, ::4, ::4], in_file(scene, Window(20, 20, 80, 80))[[1]])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: scenes.make_plain(folder, "twice.tif"), "no result of"),
        (lambda folder: scenes.make_geographic(folder), "the CRS is"),
        (lambda folder: scenes.make_rotated(folder), "turned"),
    ],
)
def test_a_result_that_does_not_lie_on_the_scene_is_refused(
    make: Callable[[Path], Path], told: str, scene: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        FileGround(str(scene), result=str(make(tmp_path)))


def test_a_result_with_other_bands_is_refused(tmp_path: Path) -> None:
    plain = scenes.make_plain(tmp_path)
    fine = scenes.make_finer(plain, tmp_path / "fine.tif")
    one = scenes.make_plain(tmp_path, "one.tif", shape=(1, 40, 50))
    with pytest.raises(InputError, match="as many"):
        FileGround(str(one), result=str(fine))


def test_a_result_of_some_bands_without_names_is_not_taken_for_the_first_of_the_scene(
    scene: Path, tmp_path: Path
) -> None:
    second = Path(geosr.upscale(scene, tmp_path / "second.tif", model="nearest", bands=[2])["path"])
    with pytest.raises(InputError, match="as many"):
        FileGround(str(scene), result=str(second))
    with pytest.raises(InputError, match="names don't tell"):
        geosr.evaluate(second, lr=scene)


@pytest.mark.parametrize("model", ["nobody", "glp"])
def test_a_model_that_can_not_be_shown_is_refused_at_the_door(scene: Path, model: str) -> None:
    with pytest.raises(ModelError):
        FileGround(str(scene), model=model)


def test_the_numbers_of_a_pixel_are_those_stored_and_none_where_nothing_is_known(scene: Path, result: Path) -> None:
    with viewing(scene) as viewed:
        row, col = 300, 500
        assert viewed.point(Layer("fast", (0, 1)), row, col, here) is None
        viewed.tiles(Layer("fast", (0, 1)), Spot(0, 0, 0, 2, 2), here)
        told = viewed.point(Layer("fast", (0, 1)), row, col, here)
        assert told == in_file(result)[:, row, col].tolist()
        assert viewed.point(Layer("nearest", (0, 1)), row, col, here) == in_file(scene)[:, row // 4, col // 4].tolist()
        assert viewed.point(Layer("fast", (0, 1)), 50 * 4, 90 * 4, here) == [None, None]  # in the gap
        with pytest.raises(InputError, match="no pixel"):
            viewed.point(Layer("nearest", (0,)), viewed.whole.height, 0, here)


def test_the_page_begins_where_there_is_data(tmp_path: Path) -> None:
    stored = scenes.pixels((1, 900, 900))
    stored[:, 200:700, 200:700] = 0
    with viewing(scenes.write(tmp_path / "hole.tif", stored, nodata=0), scale=2) as viewed:
        row, col = viewed.start(here)
        assert stored[0, row // 2, col // 2] != 0


# The desk: what is asked for by many


def pixels_of(size: int) -> Pixels:
    return Pixels(np.zeros((1, 1, size), np.uint8))


def test_what_two_ask_for_at_once_is_made_once() -> None:
    made, begin = [], threading.Event()

    def make() -> Pixels:
        begin.wait(10)
        made.append(1)
        return pixels_of(1)

    with closing(Desk(1)) as desk:
        askers = [threading.Thread(target=desk.get, args=([Wanted("a", make)], here)) for _ in range(4)]
        for asker in askers:
            asker.start()
        begin.set()
        for asker in askers:
            asker.join()
        desk.get([Wanted("a", make)], here)
    assert made == [1]


def test_what_nobody_waits_for_any_more_is_called_back_and_another_who_waits_still_gets_it() -> None:
    made, hold, started = [], threading.Event(), threading.Event()

    def slow() -> Pixels:
        started.set()
        hold.wait(10)
        return pixels_of(1)

    with closing(Desk(1)) as desk:
        first = threading.Thread(target=desk.get, args=([Wanted("slow", slow)], here))
        first.start()
        started.wait(10)
        with pytest.raises(LeftError):
            desk.get([Wanted("left", lambda: made.append("left"))], lambda: True)
        stays = threading.Thread(target=desk.get, args=([Wanted("shared", lambda: made.append("shared"))], here))
        stays.start()
        while desk.busy < 2:
            time.sleep(0.01)
        with pytest.raises(LeftError):
            desk.get([Wanted("shared", lambda: made.append("twice"))], lambda: True)
        hold.set()
        first.join()
        stays.join()
    assert made == ["shared"]


def test_a_flood_is_told_to_come_again_and_leaves_no_trace() -> None:
    hold = threading.Event()

    def slow() -> Pixels:
        hold.wait(10)
        return pixels_of(1)

    with closing(Desk(1, most=3)) as desk:
        askers = [threading.Thread(target=desk.get, args=([Wanted(name, slow)], here)) for name in "abc"]
        for asker in askers:
            asker.start()
        while desk.busy < 3:
            time.sleep(0.01)
        with pytest.raises(BusyError, match="more than 3"):
            desk.get([Wanted("d", slow)], here)
        hold.set()
        for asker in askers:
            asker.join()
        assert desk.busy == 0
        desk.get([Wanted("d", slow)], here)


def test_memory_is_bounded_and_what_was_used_last_stays() -> None:
    with closing(Desk(1, room=250)) as desk:
        for name in ("a", "b", "a", "c"):
            desk.get([Wanted(name, lambda: pixels_of(100))], here)
        assert desk.size == 200
        assert desk.kept("b") is None
        assert desk.kept("a") is not None


def test_what_is_begun_before_anybody_asks_is_there_for_the_first_who_does() -> None:
    made, started = [], threading.Event()

    def make() -> Pixels:
        made.append(1)
        started.set()
        return pixels_of(1)

    with closing(Desk(1)) as desk:
        desk.begin(Wanted("a", make))
        assert started.wait(10)
        desk.get([Wanted("a", make)], here)
    assert made == [1]


def test_a_failure_is_told_to_who_asked_and_not_kept() -> None:
    tries = []

    def make() -> Pixels:
        tries.append(1)
        raise InputError("no")

    with closing(Desk(1)) as desk:
        for _ in range(2):
            with pytest.raises(InputError):
                desk.get([Wanted("a", make)], here)
        assert desk.busy == 0
    assert len(tries) == 2


# The server


@contextmanager
def served(src: Path, folder: Path, **options: Any) -> Iterator[ViewServer]:
    server = ViewServer(FileGround(str(src), **options), "127.0.0.1", 0, folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.close()
        thread.join(5)


@pytest.fixture(scope="module")
def server(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    with served(scene, tmp_path_factory.mktemp("exports")) as server:
        yield server


def ask(server: ViewServer, path: str, method: str = "GET", token: str | None = None, **more: Any) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    with closing(connection):
        connection.request(method, f"/{server.token if token is None else token}/{path}", **more)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_tile_over_http_is_the_stretched_window_of_the_file(server: ViewServer, result: Path) -> None:
    fast = server.viewed.ground.models.index("fast")
    status, body = ask(server, f"tile/{fast}/0/1/2/2/1?bands=1&low=100&high=4000")
    assert status == 200
    stored = in_file(result, Window(256, 512, 344, 168))[[1]]
    expected = rgba(Pixels(stored), Radiometry("uint16", "uint16", ((0,),)), Stretch((100.0,), (4000.0,)))
    with scenes.quiet(), MemoryFile(body) as file, file.open() as dataset:
        assert np.array_equal(dataset.read().transpose(1, 2, 0), expected[..., : dataset.count])


def test_the_page_asks_for_nothing_elsewhere_and_its_policy_allows_nothing_else(server: ViewServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    with closing(connection):
        connection.request("GET", urlsplit(server.url).path)
        answer = connection.getresponse()
        page = answer.read().decode()
    assert "default-src 'none'" in str(answer.headers["Content-Security-Policy"])
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    texts = [page, *(ask(server, name)[1].decode() for name in ("viewer.js", "swipe.js", "viewer.css"))]
    assert not [text for text in texts if "http:" in text or "https:" in text or "//" in text.replace("// ", "")]


@pytest.mark.parametrize("token", ["", "x", "%C3%A9", "..", "%00", "a" * 5000])
def test_who_does_not_know_the_token_gets_nothing(server: ViewServer, token: str) -> None:
    assert ask(server, "scene", token=token) == (403, b"")
    assert ask(server, "export", "POST", token=token, body=b"{}")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Host": "localhost:1"},
    ],
)  # fmt: skip
def test_another_page_gets_nothing_even_with_the_token(server: ViewServer, headers: dict[str, str]) -> None:
    assert ask(server, "scene", headers=headers) == (403, b"")
    assert ask(server, "export", "POST", body=b"{}", headers=headers)[0] == 403


def test_the_page_itself_is_answered_under_any_name_of_this_machine(server: ViewServer) -> None:
    host = f"localhost:{server.server_port}"
    assert ask(server, "scene", headers={"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../page.html", "../../etc/passwd", "%2e%2e/scene.tif", "viewer.js/../../api.py", "/etc/passwd", "file:///etc/passwd",
        "scene.tif", "..%2f..%2fapi.py", "tile", "facts", "page.html", "__init__.py", "server.py", "viewer.css%00",
    ],
)  # fmt: skip
def test_no_path_of_a_request_is_opened(server: ViewServer, path: str) -> None:
    status, body = ask(server, path)
    assert status in (400, 403, 404)
    assert b"root:" not in body
    assert len(body) < 200


@pytest.mark.parametrize(
    "path",
    [
        "tile/http://127.0.0.1/0/0/0/1/1?bands=0&low=0&high=1", "tile/%2fetc%2fpasswd/0/0/0/1/1?bands=0&low=0&high=1",
        "tile/99/0/0/0/1/1?bands=0&low=0&high=1", "tile/-1/0/0/0/1/1?bands=0&low=0&high=1",
        "tile/0/0/0?bands=0&low=0&high=1", "tile/0/0/0/0/1/1/1?bands=0&low=0&high=1", "tile/?bands=0&low=0&high=1",
        "tile/0/9/0/0/1/1?bands=0&low=0&high=1", "tile/0/0/999999999/0/1/1?bands=0&low=0&high=1",
        "tile/0/0/0/0/999999999/999999999?bands=0&low=0&high=1", "tile/0/0/0/0/5/5?bands=0&low=0&high=1",
        "tile/0/0/0/0/0/1?bands=0&low=0&high=1", "tile/0/0/0/0/1/1?bands=0&low=0,1&high=1,2",
        "tile/0/0/0/0/1/1?bands=7&low=0&high=1", "tile/0/0/0/0/1/1?bands=0,1&low=0,0&high=1,1",
        "tile/0/0/0/0/1/1?bands=0&low=nan&high=1",
        "tile/0/0/0/0/1/1?bands=0&low=0", "tile/0/0/0/0/1/1?bands=0&low=0&high=inf",
        "tile/0/0/0/0/1/1?bands=&low=&high=", "tile/0/0/0/0/1/1?bands=0" + "&low=0" * 40,
        "tile/%C2%B2/0/0/0/1/1?bands=0&low=0&high=1", "sigma/0/2/0/0/1/1?bands=0&low=0&high=1",
        "sigma/0/0/0/0/1/1?bands=0,1,0&low=0,0,0&high=1,1,1", "spread?model=0&bands=0&tiles=a/b",
        "spread?model=0&bands=0&tiles=0/0/99", "spread?model=0&bands=0",
        "stretch?bands=0&window=0,0,http://x,1", "stretch?bands=0&window=0,0,0,0", "stretch?bands=0&window=1,2",
        "point?row=0&col=0&bands=0&left=0&right=http://127.0.0.1:1/", "point?row=999999&col=0&bands=0&left=0&right=0",
        "notes?model=/etc/passwd&bands=0", "notes?bands=0",
    ],
)  # fmt: skip
def test_what_the_page_never_asks_is_refused_in_one_line(server: ViewServer, path: str) -> None:
    status, body = ask(server, path)
    assert status == 400
    assert "\n" not in json.loads(body)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"3", b'{"model": 0}', b'{"model": "/etc/passwd", "corners": [[0,0],[9,9]]}',
        b'{"model": 0, "corners": "abc"}', b'{"model": 0, "corners": [[0,0]]}',
        b'{"model": 0, "corners": [[0,0],[0,0]]}',
        b'{"model": 0, "corners": [[1e9,0],[2e9,9]]}', b'{"model": 0, "corners": [[NaN,0],[5,9]]}',
        b'{"model": 0, "corners": [[1e999,0],[5,9]]}', b"{" + b" " * 70_000 + b"}",
    ],
)  # fmt: skip
def test_a_part_that_is_none_is_refused_and_nothing_is_written(server: ViewServer, body: bytes, scene: Path) -> None:
    before = sorted(scene.parent.iterdir())
    status, told = ask(server, "export", "POST", body=body)
    assert status == 400
    assert "error" in json.loads(told)
    assert sorted(scene.parent.iterdir()) == before
    assert server.exports.state["state"] == "none"


def test_other_methods_and_what_is_no_http_end_the_connection_and_not_the_server(server: ViewServer) -> None:
    assert ask(server, "scene", "PUT", body=b"x")[0] == 501
    with closing(socket.create_connection(("127.0.0.1", server.server_port))) as raw:
        raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)
    assert ask(server, "scene")[0] == 200


def test_a_flood_of_connections_is_turned_away_and_the_server_goes_on(server: ViewServer) -> None:
    flood = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(60)]
    try:
        last = flood[-1]
        last.settimeout(20)
        assert last.recv(100).startswith(b"HTTP/1.1 503")
        assert threading.active_count() < 100
    finally:
        for connection in flood:
            connection.close()
    start = time.monotonic()
    while (status := ask_or_busy(server)) != 200 and time.monotonic() - start < 30:
        time.sleep(0.05)
    assert status == 200


def test_who_says_a_request_byte_by_byte_has_no_longer_than_others(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosr.viewer.server._IDLE", 0.5)
    with served(scene, tmp_path) as server, closing(socket.create_connection(server.server_address[:2])) as raw:
        raw.settimeout(0.05)
        raw.sendall(b"GET / HTTP/1.1\r\nX: ")
        start, answer = time.monotonic(), None
        while answer is None and time.monotonic() - start < 30:
            with suppress(TimeoutError):
                raw.sendall(b"a")
                answer = raw.recv(1)
        assert answer == b""
        assert ask(server, "scene")[0] == 200


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "99999999999999999999", "\u00b2"])
def test_a_body_of_no_length_is_refused_and_not_read(server: ViewServer, length: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.server_port))) as raw:
        head = f"POST /{server.token}/export HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
        raw.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        raw.settimeout(20)
        told = b""
        while piece := raw.recv(65536):  # until the connection is closed
            told += piece
    assert told.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET //[ HTTP/1.1\r\n\r\n", 403),
    ],
)
def test_heads_without_end_are_refused(server: ViewServer, head: bytes, code: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", server.server_port))) as raw:
        raw.settimeout(20)
        raw.sendall(head)
        assert raw.recv(100).startswith(f"HTTP/1.1 {code}".encode())
    assert ask(server, "scene")[0] == 200


def ask_or_busy(server: ViewServer) -> int:
    try:
        return ask(server, "scene")[0]
    except (ConnectionError, http.client.HTTPException):
        return 503


def test_a_tile_is_called_back_when_the_page_leaves(scene: Path, tmp_path: Path) -> None:
    hold, made = threading.Event(), []
    with served(scene, tmp_path) as server:
        desk, bicubic = server.viewed.desk, server.viewed.ground.models.index("bicubic")
        blocks = [Wanted(("block", each), lambda: hold.wait(30), quick=True) for each in range(8)]
        waiting = threading.Thread(target=desk.get, args=(blocks, here))
        waiting.start()
        while desk.busy < 8:
            time.sleep(0.01)
        with closing(socket.create_connection(("127.0.0.1", server.server_port))) as raw:
            path = f"/{server.token}/tile/{bicubic}/0/0/0/1/1?bands=0&low=0&high=1"
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
            while desk.busy < 9:
                time.sleep(0.01)
        while desk.busy > 8:
            time.sleep(0.01)
        hold.set()
        waiting.join()
        assert not [key for key in desk._kept if key[0] == "making"], made


def test_a_failure_that_nobody_foresaw_is_told_and_the_server_goes_on(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    with served(scene, tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr(server.viewed, "tiles", fail)
            status, body = ask(server, "tile/0/0/0/0/1/1?bands=0&low=0&high=1")
            assert (status, json.loads(body)) == (500, {"error": "RuntimeError: a bug"})
        assert ask(server, "tile/0/0/0/0/1/1?bands=0&low=0&high=1")[0] == 200


def exported(server: ViewServer, model: str, corners: list[list[float]]) -> dict[str, Any]:
    body = json.dumps({"model": server.viewed.ground.models.index(model), "corners": corners})
    status, told = ask(server, "export", "POST", body=body)
    assert status == 202, told
    while (state := json.loads(ask(server, "export")[1]))["state"] == "running":
        time.sleep(0.02)
    return dict(state)


def test_a_rectangle_is_exported_as_upscale_cuts_it_and_nothing_is_overwritten(
    scene: Path, result: Path, tmp_path: Path
) -> None:
    with served(scene, tmp_path) as server:
        for number in (1, 2):
            state = exported(server, "fast", [[41, 83], [203, 162]])
            assert state["state"] == "done", state
            file = tmp_path / f"scene_x4_part{number}.tif"
            assert state["path"] == file.name
            assert np.array_equal(in_file(file), in_file(result, Window(80, 40, 84, 164)))
    words = state["command"]
    assert words.startswith("geosr upscale ")
    assert "--bounds=500100,4999590,500510,4999800" in words


def test_a_polygon_is_exported_by_an_area_that_is_kept_beside_it(scene: Path, result: Path, tmp_path: Path) -> None:
    with served(scene, tmp_path) as server:
        state = exported(server, "bicubic", [[40, 80], [200, 80], [40, 240]])
        assert state["state"] == "done", state
    file = in_file(tmp_path / state["path"])
    expected = geosr.upscale(
        scene, tmp_path / "again.tif", model="bicubic", scale=4, aoi=tmp_path / "scene_x4_part1.geojson"
    )
    assert np.array_equal(file, in_file(Path(expected["path"])))
    assert file.shape == (2, 160, 160)
    assert file[0, 2, 2] > 0
    assert file[0, -2, -2] == 0


def test_an_export_that_fails_says_why(scene: Path, tmp_path: Path) -> None:
    with served(scene, tmp_path / "gone") as server:
        state = exported(server, "nearest", [[0, 0], [40, 40]])
    assert state["state"] == "failed"
    assert "does not exist" in state["error"]


# The command


def serving(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    """The command, which hears interrupts even where a shell's background job began the tests."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from geosr.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly_and_at_once_while_tiles_are_made(scene: Path, tmp_path: Path, how: int) -> None:
    process = serving(scene, "--model", "swin", cwd=tmp_path)
    assert process.stdout is not None
    url = urlsplit(process.stdout.readline().strip())
    connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=60)
    with closing(connection):
        connection.request("GET", f"{url.path}scene")
        told = json.loads(connection.getresponse().read())
        connection.request("GET", f"{url.path}tile/{told['model']}/0/0/0/2/2?bands=0&low=0&high=9")
        connection.sock.settimeout(0.3)
        with suppress(TimeoutError):  # it is on its way
            connection.getresponse()
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_its_address_answers_and_ends_cleanly_on_an_interrupt(scene: Path, tmp_path: Path) -> None:
    process = serving(scene, "--model", "bicubic", cwd=tmp_path)
    assert process.stdout is not None
    url = urlsplit(process.stdout.readline().strip())
    assert url.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=60)
    with closing(connection):
        connection.request("GET", f"{url.path}scene")
        told = json.loads(connection.getresponse().read())
    assert (told["width"], told["height"]) == (680, 600)
    assert told["models"][told["model"]]["title"] == "bicubic"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_who_serves_a_result_alone_is_told_how_to_see_its_scene_too(result: Path) -> None:
    process = serving(result, "--model", "nearest")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "with --lr to see both" in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{scene}", "--model", "fastt"], 2, "did you mean fast?"),
        (["{scene}", "--model", "glp"], 2, "needs other rasters"),
        (["{scene}", "--model", "shift-and-add"], 2, "needs other rasters"),
        (["{folder}/none.tif"], 2, "none.tif"),
        (["{scene}", "--host", "no.such.host.invalid"], 2, "can't be served"),
        (["{scene}", "--port", "{taken}"], 2, "Address already in use; choose another"),
        (["{scene}", "--lr", "{scene}", "--scale", "3"], 2, "--scale is that of {scene}, which tells it itself"),
    ],
)
def test_what_can_not_be_served_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, told: str, scene: Path, tmp_path: Path, server: ViewServer
) -> None:
    filled = [each.format(scene=scene, folder=tmp_path, taken=server.server_port) for each in arguments]
    command = [sys.executable, "-m", "geosr.cli", "serve", *filled]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stderr
    assert told.format(scene=scene) in done.stderr
    assert done.stderr.count("\n") == 1
