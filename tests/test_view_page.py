"""The widget in a browser, with a page that plays the notebook: messages go to the kernel and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rasterio.io import MemoryFile

from geosr.picture import Stretch
from tests import scenes
from tests.browser import Browser, browsing
from tests.test_view import Sent, until, widget_of

HOST = """<!doctype html><meta charset="utf-8">
<style>body { margin: 0; background: BACK; } .cell { height: 500px; }</style>
<div class="cell" id="one"></div><div class="cell" id="two"></div><script type="module">
import widget from SCRIPT;
const hearers = new Set();
window.fromKernel = (content, text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const hear of hearers) hear(content, [new DataView(bytes.buffer)]);
};
const model = {
  get: () => undefined, send: (content) => toKernel(JSON.stringify(content)),
  on: (_, hear) => hearers.add(hear), off: (_, hear) => hearers.delete(hear),
};
window.leave = ["one", "two"].map((id) => widget.render({ model, el: document.getElementById(id) }));
window.hearers = hearers;
window.of = (id) => document.getElementById(id).firstChild.shadowRoot;
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.call("Runtime.addBinding", name="toKernel")
        yield browser


@pytest.fixture(scope="module")
def array() -> xr.DataArray:
    """Three bands of ground that nothing is known of."""
    return xr.DataArray(scenes.pixels((3, 180, 260)), dims=("band", "y", "x"), name="ground")


class Notebook:
    """A page with two views of one widget, and the kernel behind it."""

    def __init__(self, browser: Browser, widget: Any, sent: Sent) -> None:
        self.browser, self.widget, self.sent = browser, widget, sent
        self._delivered = 0

    def pass_on(self) -> None:
        """What either side has said, brought to the other."""
        self.browser.js("1")
        said = [event for event in self.browser.events if event["method"] == "Runtime.bindingCalled"]
        self.browser.events = [event for event in self.browser.events if event not in said]
        for event in said:
            self.widget._handle_custom_msg(json.loads(event["params"]["payload"]), [])
        for content, body in self.sent[self._delivered :]:
            self._delivered += 1
            self.browser.js(f"fromKernel({json.dumps(content)}, '{base64.b64encode(body).decode()}')")

    def until(self, code: str) -> None:
        """Waits for what is true in the page."""

        def true() -> bool:
            self.pass_on()
            return bool(self.browser.js(code))

        until(true)

    def canvas(self, view: str, name: str) -> np.ndarray:
        """The pixels (height, width, 4) of one side of a view."""
        told = self.browser.js(f"of('{view}').getElementById('{name}').toDataURL()")
        with scenes.quiet(), MemoryFile(base64.b64decode(told.partition(",")[2])) as file, file.open() as dataset:
            return dataset.read().transpose(1, 2, 0)


SHOWN = " && ".join(f"of('{view}').getElementById('geosr').dataset.missing === '0'" for view in ("one", "two"))


@contextmanager
def notebook(
    browser: Browser, array: xr.DataArray, folder: Path, ground: str = "#fff", **options: Any
) -> Iterator[Notebook]:
    """Both views, as soon as all that is in them is there."""
    browser.size(900, 1000)
    browser.open("about:blank")
    browser.events.clear()
    with widget_of(array, **options) as (widget, sent):
        script = "data:text/javascript;base64," + base64.b64encode(widget._esm.encode()).decode()
        page = folder / "notebook.html"
        page.write_text(HOST.replace("BACK", ground).replace("SCRIPT", json.dumps(script)))
        browser.open(page.as_uri())
        made = Notebook(browser, widget, sent)
        made.until("window.of && " + SHOWN)
        browser.js("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
        yield made
        assert browser.went_wrong() == []
        elsewhere = [url for url in browser.addresses() if not url.startswith(("file:", "blob:", "data:", "about:"))]
        assert elsewhere == []


def test_a_view_shows_the_pixels_of_upscale_and_asks_nobody_but_the_kernel(
    browser: Browser, array: xr.DataArray, tmp_path: Path
) -> None:
    fine = array.geosr.upscale("bicubic", 4).to_numpy()
    with notebook(browser, array, tmp_path, model="bicubic") as made:
        shown = made.canvas("one", "b")
        assert np.array_equal(shown, made.canvas("two", "b"))
        stretch = made.widget._viewed.stretch((0, 1, 2), lambda: False)
        row, col = made.widget._viewed.start(lambda: False)
        height, width = shown.shape[:2]
        top, left = row - height // 2, col - width // 2
        expected = Stretch(stretch.low, stretch.high).shades(fine[:, top : top + height, left : left + width])
        assert np.array_equal(shown[..., :3], expected.transpose(1, 2, 0))
        assert browser.js("of('one').getElementById('name').textContent") == "ground"
        assert browser.js("of('one').getElementById('exporting').checkVisibility()") is False


def test_each_view_of_a_widget_is_moved_zoomed_and_inspected_by_itself(
    browser: Browser, array: xr.DataArray, tmp_path: Path
) -> None:
    zoom = "of('{}').getElementById('zoom').textContent"
    with notebook(browser, array, tmp_path, model="bicubic") as made:
        browser.js("of('one').getElementById('view').focus()")
        browser.key("+")
        made.until(f"{zoom.format('one')} === '2:1' && {SHOWN}")
        assert browser.js(zoom.format("two")) == "1:1"
        browser.mouse("mouseMoved", 300, 250)
        made.until("of('one').querySelector('#point table') !== null")
        told = browser.js("of('one').getElementById('point').innerText")
        assert "bicubic" in told
        assert browser.js("of('two').querySelector('#point table')") is None
        browser.drag((450, 250), (225, 250))
        assert browser.js("of('one').querySelector('[role=slider]').getAttribute('aria-valuenow')") == "25"
        assert browser.js("of('two').querySelector('[role=slider]').getAttribute('aria-valuenow')") == "50"


def test_keys_of_a_view_are_not_those_of_the_notebook(browser: Browser, array: xr.DataArray, tmp_path: Path) -> None:
    with notebook(browser, array, tmp_path, model="bicubic") as made:
        browser.js("window.heard = []; document.addEventListener('keydown', (event) => heard.push(event.key))")
        browser.js("of('one').getElementById('view').focus()")
        for key in ("i", "0", "ArrowLeft"):
            browser.key(key)
        made.until(SHOWN)
        assert browser.js("heard") == []
        assert browser.js("document.getElementById('one').firstChild.dataset.lmSuppressShortcuts") == "true"


@pytest.mark.parametrize(("ground", "scheme"), [("#fff", "light"), ("#111111", "dark"), ("rgb(30 30 30)", "dark")])
def test_a_view_is_as_dark_as_the_notebook_around_it(
    browser: Browser, array: xr.DataArray, tmp_path: Path, ground: str, scheme: str
) -> None:
    with notebook(browser, array, tmp_path, ground, model="nearest"):
        seen = browser.js("getComputedStyle(of('one').getElementById('geosr')).backgroundColor")
        assert seen == {"light": "rgb(244, 244, 242)", "dark": "rgb(27, 27, 26)"}[scheme]


def test_a_view_that_is_taken_away_hears_no_more_and_the_other_goes_on(
    browser: Browser, array: xr.DataArray, tmp_path: Path
) -> None:
    with notebook(browser, array, tmp_path, model="bicubic") as made:
        browser.js("leave[0]()")
        assert browser.js("hearers.size") == 1
        browser.js("of('two').getElementById('view').focus()")
        browser.key("-")
        made.until("of('two').getElementById('zoom').textContent === '1:2' && " + SHOWN)
