"""The page in a browser: what is seen is what the file holds, and nothing is asked of anybody else."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

import geosr
from geosr.picture import Stretch, ramp
from geosr.viewer.server import ViewServer
from tests import scenes
from tests.browser import Browser, browsing
from tests.test_viewer import served

SHOWN = "document.getElementById('geosr')?.dataset.missing === '0'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands, some of the scene without data, with a scale of its values."""
    path = scenes.make_plain(tmp_path_factory.mktemp("page"), "ground.tif", shape=(3, 300, 400), nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions, dataset.scales = ("red", "green", "blue"), (0.001,) * 3
        dataset.write(np.zeros((3, 40, 50), "uint16"), window=rasterio.windows.Window(150, 100, 50, 40))
    return path


@contextmanager
def opened(
    browser: Browser, scene: Path, folder: Path, where: str = "", *, fine: bool = True, **options: object
) -> Iterator[ViewServer]:
    """The page of a scene, as soon as all that is in view is there."""
    browser.size(900, 700)
    browser.open("about:blank")
    browser.events.clear()
    with served(scene, folder, **options) as server:
        browser.open(server.url + where)
        browser.until(SHOWN)
        yield server
        assert not fine or browser.went_wrong() == []
        elsewhere = [url for url in browser.addresses() if not url.startswith((server.url, "blob:", "data:", "about:"))]
        assert elsewhere == []


def canvas(browser: Browser, name: str) -> np.ndarray:
    """The pixels (height, width, 4) of one side of the page."""
    told = browser.js(f"geosr.draw(); document.getElementById('{name}').toDataURL()")
    with scenes.quiet(), MemoryFile(base64.b64decode(told.partition(",")[2])) as file, file.open() as dataset:
        return dataset.read().transpose(1, 2, 0)


def test_at_full_zoom_a_pixel_of_the_screen_is_one_of_the_file(browser: Browser, scene: Path, tmp_path: Path) -> None:
    file = geosr.upscale(scene, tmp_path / "file.tif", model="bicubic", scale=4)["path"]
    with opened(browser, scene, tmp_path, "#700,500,0", model="bicubic"):
        shown, (low, high) = canvas(browser, "b"), browser.js("[geosr.now().low, geosr.now().high]")
    height, width = shown.shape[:2]
    top, left = 500 - height // 2, 700 - width // 2
    with rasterio.open(file) as dataset:
        window = rasterio.windows.Window(left, top, width, height)
        stored = dataset.read(window=window)
        valid = dataset.read_masks(1, window=window) > 0
    expected = Stretch(tuple(low), tuple(high)).shades(stored).transpose(1, 2, 0)
    assert valid.any()
    assert not valid.all()
    assert np.array_equal(shown[..., 3] == 255, valid)
    assert np.array_equal(shown[valid][:, :3], expected[valid])


def test_both_sides_show_the_same_ground_from_the_whole_scene_to_single_pixels(
    browser: Browser, scene: Path, tmp_path: Path
) -> None:
    with opened(browser, scene, tmp_path, "#300,300,0", model="nearest"):
        for zoom in (2, 1, 0, -2):
            browser.js(f"geosr.look(300, 300, {zoom})")
            browser.until(SHOWN)
            assert np.array_equal(canvas(browser, "a"), canvas(browser, "b"))
            assert (canvas(browser, "a")[..., 3] > 0).mean() > 0.15


def test_the_divider_follows_the_mouse_the_keys_and_a_finger(browser: Browser, scene: Path, tmp_path: Path) -> None:
    now = "Number(document.querySelector('[role=slider]').getAttribute('aria-valuenow'))"
    with opened(browser, scene, tmp_path, model="bicubic"):
        assert browser.js(now) == 50
        browser.drag((450, 300), (225, 300))
        assert browser.js(now) == 25
        browser.js("document.querySelector('[role=slider]').focus()")
        browser.key("ArrowRight")
        assert browser.js(now) == 27
        browser.key("End")
        assert browser.js(now) == 100
        browser.js("document.getElementById('view').focus()")
        browser.key("[")
        assert browser.js(now) == 98
        at = browser.js("(() => { const b = document.querySelector('[role=slider]').getBoundingClientRect(); "
                        "return [b.left + 12, b.top + 100]; })()")  # fmt: skip
        for kind, points in (
            ("touchStart", [{"x": at[0], "y": at[1]}]), ("touchMove", [{"x": 450, "y": at[1]}]), ("touchEnd", []),
        ):  # fmt: skip
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        assert browser.js(now) == 50


def test_the_scene_is_moved_and_zoomed_by_mouse_and_keys(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, "#800,600,0", model="bicubic"):
        browser.drag((200, 300), (150, 260))
        assert browser.js("[geosr.now().centre.x, geosr.now().centre.y]") == [850, 640]
        browser.js("document.getElementById('view').focus()")
        browser.key("ArrowLeft")
        assert browser.js("geosr.now().centre.x") == 850 - 900 / 8
        for key, zoom in (("-", 1), ("+", 0), ("+", -1), ("1", 0)):
            browser.key(key)
            assert browser.js("geosr.now().zoom") == zoom
        browser.key("0")
        browser.until(SHOWN)
        assert browser.js("[geosr.now().centre.x, geosr.now().centre.y, geosr.now().zoom]") == [800, 600, 2]
        before = browser.js("geosr.under({clientX: 100, clientY: 200})")
        browser.mouse("mouseWheel", 100, 200, deltaX=0, deltaY=-100)
        browser.until("geosr.now().zoom === 1")
        after = browser.js("geosr.under({clientX: 100, clientY: 200})")
        assert abs(after["col"] - before["col"]) <= 4
        assert abs(after["row"] - before["row"]) <= 4


def test_the_inspector_tells_stored_numbers_and_values_of_both(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with rasterio.open(scene) as dataset:
        stored = dataset.read()[:, 125, 50]
    with opened(browser, scene, tmp_path, "#202,502,0", model="bicubic"):
        browser.js("document.getElementById('view').focus()")
        browser.key("i")
        told = browser.until("document.querySelector('#point table') && document.getElementById('point').innerText")
        assert "row 502, column 202" in told
        for number in stored:
            assert f"{number} ({number / 1000:.5g})" in told
        assert told.count("bicubic") == 1
        browser.js("geosr.look(680, 440, 0)")
        browser.until(SHOWN)
        browser.key("i")
        browser.until("document.getElementById('point').innerText.includes('no data')")


def test_models_bands_and_stretch_are_switched_on_the_page(browser: Browser, scene: Path, tmp_path: Path) -> None:
    choose = (
        "(id, value) => { const at = document.getElementById(id); at.value = value; "
        "at.dispatchEvent(new Event('change')); }"
    )
    with opened(browser, scene, tmp_path, "#300,300,0", model="bicubic"):
        before = canvas(browser, "b")
        browser.js(f"({choose})('right', geosr.now().scene.models.findIndex((each) => each.title === 'lanczos'))")
        browser.until(SHOWN)
        lanczos = canvas(browser, "b")
        assert (before != lanczos).any()
        assert browser.js("document.getElementById('righttag').textContent") == "lanczos"
        browser.js(f"({choose})('band1', '')")
        browser.until("geosr.now().bands.length === 1 && geosr.now().low.length === 1 && " + SHOWN)
        grey = canvas(browser, "a")
        assert np.array_equal(grey[..., 0], grey[..., 2])
        before = browser.js("geosr.now().low[0]")
        browser.js("document.getElementById('toview').click()")
        browser.until(f"geosr.now().low[0] !== {before} && {SHOWN}")
        browser.js("document.querySelector('#ends input').value = 3000; "
                   "document.querySelector('#ends input').dispatchEvent(new Event('change'))")  # fmt: skip
        browser.until(SHOWN)
        assert (canvas(browser, "a")[..., 0] == 0).mean() > (grey[..., 0] == 0).mean()


def test_a_part_is_drawn_and_exported(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, "#700,600,0", model="bicubic"):
        browser.js("document.getElementById('rectangle').click()")
        browser.drag((100, 300), (300, 400))
        browser.until("document.getElementById('said').textContent === 'ground_x4_part1.tif is written.'")
    with rasterio.open(tmp_path / "ground_x4_part1.tif") as dataset:
        assert (dataset.width, dataset.count) == (204, 3)
        assert dataset.height in (100, 104)


def test_the_uncertainty_stands_beside_the_result_with_its_legend(
    browser: Browser, scene: Path, tmp_path: Path
) -> None:
    file = geosr.upscale(scene, tmp_path / "file.tif", model="bicubic", scale=4, uncertainty=True)["others"]["sigma"]
    with opened(browser, scene, tmp_path, "#500,500,0", model="bicubic"):
        image = canvas(browser, "b")
        browser.js("document.getElementById('view').focus()")
        browser.key("u")
        browser.until(SHOWN)
        assert np.array_equal(canvas(browser, "a"), image)
        shown, top = canvas(browser, "b"), browser.js("geosr.now().top")
        browser.key("i")
        told = browser.until("document.getElementById('point').innerText.includes('±') && "
                             "document.getElementById('point').innerText")  # fmt: skip
        assert browser.js("document.getElementById('righttag').textContent") == "bicubic: uncertainty"
        assert f"{top:g} ({top * 0.001:.3g}) and more" in browser.js("document.getElementById('legend').innerText")
        assert "mean of red, green, blue" in browser.js("document.getElementById('legend').innerText")
        browser.key("0")  # from afar there is none
        browser.until(SHOWN + " && document.getElementById('said').textContent.startsWith('Zoom in to see the unc')")
        assert (canvas(browser, "b")[..., 3] == 0).all()
        browser.key("u")
        browser.until(SHOWN)
        assert browser.js("document.getElementById('legend').checkVisibility()") is False
    height, width = shown.shape[:2]
    with rasterio.open(file) as dataset:
        window = rasterio.windows.Window(500 - width // 2, 500 - height // 2, width, height)
        sigma = dataset.read(window=window)
    expected = ramp(sigma.mean(0), Stretch((0.0,), (top,)))
    valid = np.isfinite(sigma[0])
    assert np.array_equal(shown[..., 3] > 0, valid)
    assert np.array_equal(shown[valid][:, :3], expected[valid][:, :3])
    middle = sigma[:, height // 2, width // 2]
    assert [f"± {float(f'{value:.3g}'):g} (" in told for value in middle] == [True] * 3


def test_until_a_model_has_made_its_tiles_the_scene_stands_there_and_the_tag_says_that_more_comes(
    browser: Browser, scene: Path, tmp_path: Path
) -> None:
    go_on = threading.Event()
    with opened(browser, scene, tmp_path, "#600,500,0", model="nearest") as server:
        source, making = canvas(browser, "a"), server.viewed.ground.making
        server.viewed.ground.making = lambda *wanted: go_on.wait(30) and making(*wanted)  # type: ignore[method-assign]
        browser.js(f"geosr.choose('right', {server.viewed.ground.models.index('bicubic')})")
        try:
            browser.until("document.getElementById('righttag').classList.contains('coming')")
            assert np.array_equal(canvas(browser, "b"), source)
        finally:
            go_on.set()
        browser.until(SHOWN)
        assert not browser.js("document.getElementById('righttag').classList.contains('coming')")
        assert (canvas(browser, "b") != source).any()


def test_what_is_seen_is_asked_for_before_what_the_divider_hides(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, "#800,600,-1", model="bicubic") as server:
        split = server.viewed.whole.width / 2 / server.viewed.side
        side, kind = server.viewed.side, f"/tile/{server.viewed.ground.models.index('bicubic')}/0/"
        asked = [url.partition(kind)[2].partition("?")[0] for url in browser.addresses() if kind in url]
    spots = [tuple(map(int, each.split("/"))) for each in asked]
    seen = [(col + cols) * side > 800 for _, col, _, cols in spots]
    assert split > 1
    assert set(seen) == {True, False}
    assert seen == sorted(seen, reverse=True)


def test_no_data_on_the_right_does_not_show_what_the_left_has_there(
    browser: Browser, scene: Path, tmp_path: Path
) -> None:
    with opened(browser, scene, tmp_path, model="bicubic"):
        assert browser.js("getComputedStyle(document.getElementById('b')).backgroundColor") == browser.js(
            "getComputedStyle(document.getElementById('view')).backgroundColor"
        )


@pytest.mark.parametrize("width", [1280, 420])
def test_panels_open_one_at_a_time_and_inside_the_window(
    browser: Browser, scene: Path, tmp_path: Path, width: int
) -> None:
    with opened(browser, scene, tmp_path, model="bicubic"):
        browser.size(width, 800)
        for panel in ("stretching", "exporting", "about"):
            browser.js(f"document.querySelector('#{panel} summary').click()")
            box = f"document.querySelector('#{panel} .panel').getBoundingClientRect()"
            edges = browser.js(f"[{box}.left, {box}.right, {box}.bottom]")
            assert 0 <= edges[0] < edges[1] <= width
            assert edges[2] <= 800
            assert browser.js("[...document.querySelectorAll('details')].filter((each) => each.open).length") == 1


def test_all_is_reached_by_the_keyboard_alone(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, model="bicubic"):
        reached = []
        for _ in range(40):
            browser.key("Tab", code="Tab", windowsVirtualKeyCode=9)
            reached.append(browser.js("document.activeElement.id || document.activeElement.tagName + "
                                      "(document.activeElement.getAttribute('role') || '')"))  # fmt: skip
            if reached.count(reached[0]) > 1:
                break
        wanted = {
            "left", "right", "band0", "band1", "band2", "out", "in", "whole", "full", "beside", "spread", "view",
            "DIVslider",
        }  # fmt: skip
        assert wanted <= set(reached)
        assert reached.count("SUMMARY") == 3


def test_what_goes_wrong_is_said_on_the_page(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, "#300,300,0", fine=False, model="bicubic") as server:
        models = server.viewed.ground.models
        server.pages._models = (*models[:-1], "gone")
        browser.js(f"geosr.choose('right', {len(models) - 1})")
        browser.until("document.getElementById('said').classList.contains('wrong')")
        assert "gone" in browser.js("document.getElementById('said').textContent")


def test_every_control_has_a_name_for_a_screen_reader(browser: Browser, scene: Path, tmp_path: Path) -> None:
    with opened(browser, scene, tmp_path, model="bicubic"):
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"button", "combobox", "slider", "application", "spinbutton", "DisclosureTriangle"}
    found = [node for node in nodes if node.get("role", {}).get("value") in wanted and not node.get("ignored")]
    assert len(found) > 12
    assert [node["role"] for node in found if not node.get("name", {}).get("value")] == []
