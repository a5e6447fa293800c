"""A report stands for itself: it asks for nothing, and what it shows are the numbers of the files."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.io import MemoryFile

import geosr
from geosr.cli import cli, outcome
from geosr.errors import InputError
from geosr.evaluation.measuring import Fact
from geosr.io.scene import open_scene
from geosr.judging import measured
from geosr.picture import Stretch, ramp
from geosr.report.report import command_of, report
from geosr.report.sites import Site, sites_of
from geosr.window import Window
from tests import scenes
from tests.browser import Browser, browsing


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bands of ground with a gap."""
    stored = scenes.pixels((3, 260, 300), seed=5)
    stored[:, 100:130, 200:230] = 0
    path = scenes.write(tmp_path_factory.mktemp("report") / "ground.tif", stored, nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("red", "green", "blue")
    return path


@pytest.fixture(scope="module")
def result(scene: Path) -> Path:
    return Path(geosr.upscale(scene, scene.with_name("ground_x4.tif"), model="bicubic", scale=4)["path"])


@pytest.fixture(scope="module")
def page(scene: Path, result: Path) -> Path:
    return report(result, scene.with_name("page.html"), lr=scene, notes=["<b>found</b> & assumed"], warnings=["mind"])


class Parsed(HTMLParser):
    """All attributes, by name, and what is between the tags of scripts, styles and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: dict[str, str] = {}
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._tag = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        self.text[self._tag] = self.text.get(self._tag, "") + data


def test_a_report_asks_the_network_for_nothing_and_runs_only_its_own_script(page: Path) -> None:
    text = page.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert len(text) < 6e6
    parsed = Parsed(text)
    fetched = [value for tag, name, value in parsed.attributes if name in ("src", "href", "srcset", "action", "data")]
    assert fetched
    assert not [value for value in fetched if not value.startswith(("data:image/png;base64,", "#"))]
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    policy = next(value for _, name, value in parsed.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parsed.text[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_what_a_report_is_told_is_text_and_not_html(page: Path, tmp_path: Path, scene: Path, result: Path) -> None:
    assert "&lt;b&gt;found&lt;/b&gt; &amp; assumed" in page.read_text()
    odd = tmp_path / "<img src=x>.tif"
    odd.write_bytes(result.read_bytes())
    text = report(odd, tmp_path / "odd.html", lr=scene).read_text()
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;.tif" in text


def picture_of(text: str, layer: str) -> np.ndarray:
    """The first picture of a layer."""
    found = re.search(rf'data-layer="{layer}"[^>]*src="data:image/png;base64,([^"]*)"', text)
    assert found
    with scenes.quiet(), MemoryFile(base64.b64decode(found[1])) as file, file.open() as dataset:
        return dataset.read()


def test_the_pictures_show_the_pixels_of_the_files_at_one_stretch(page: Path, scene: Path, result: Path) -> None:
    text = page.read_text()
    found = re.search(r"Input rows (\d+) to (\d+), columns (\d+) to (\d+)", text)
    assert found
    top, bottom, left, right = map(int, found.groups())
    with rasterio.open(scene) as source, rasterio.open(result) as fine:
        at = rasterio.windows.Window(left, top, right + 1 - left, bottom + 1 - top)
        coarse = source.read(window=at).astype(float)
        sharp = fine.read(window=rasterio.windows.Window(*(4 * each for each in at.flatten()))).astype(float)
    shown, fine_shown, bicubic = (picture_of(text, layer)[:3].astype(float) for layer in ("input", "result", "bicubic"))
    for band in range(3):
        inner = (shown[band] > 0) & (shown[band] < 255)
        slope, start = np.polyfit(coarse[band][inner], shown[band][inner], 1)
        assert np.abs(slope * sharp[band] + start - fine_shown[band]).clip(0, 1.01).max() <= 1.01
        inside = (fine_shown[band] > 0) & (fine_shown[band] < 255)
        assert np.abs((slope * sharp[band] + start)[inside] - fine_shown[band][inside]).max() <= 1.01
    assert np.abs(bicubic - fine_shown).max() <= 1


def test_a_report_tells_figures_warnings_origin_and_how_to_make_it_again(page: Path, scene: Path) -> None:
    text = page.read_text()
    for told in ("round_trip", "beyond_nyquist", "To know before trusting it", "<li>mind</li>", "bicubic</td>"):
        assert told in text
    assert f"geosr upscale {scene} {scene.with_name('ground_x4.tif')} --model=bicubic --scale=4" in text
    assert f"--lr={scene} --out=page.html" in text
    assert 'aria-label="Power by frequency of input, bicubic, result"' in text


def test_a_command_that_is_told_holds_no_secret_of_an_address() -> None:
    words = ["geosr", "upscale", "https://me:secret@host/a b.tif?sig=secret", "out.tif"]
    assert command_of(words) == "geosr upscale 'https://host/a b.tif?' out.tif"


def test_a_report_with_a_reference_shows_it_and_measures_by_it(scene: Path, result: Path, tmp_path: Path) -> None:
    text = report(result, tmp_path / "page.html", lr=scene, hr=result).read_text()
    assert 'value="reference"' in text
    assert np.array_equal(picture_of(text, "reference"), picture_of(text, "result"))
    assert "psnr" in text


# Places


def fact(row: int, col: int, valid: float = 1.0, added: float = 1.0, residual: float = 1.0) -> Fact:
    return Fact(Window(row, col, 128, 128), valid, (added, 2 * added), (residual, residual))


def test_places_are_where_most_is_added_where_the_input_is_missed_a_usual_one_a_join_and_an_edge() -> None:
    grid = {(row, col): fact(row, col) for row in range(0, 1280, 128) for col in range(0, 1280, 128)}
    grid[0, 0] = fact(0, 0, added=9)
    grid[0, 1152] = fact(0, 1152, residual=5)
    grid[1152, 0] = fact(1152, 0, valid=0.5)
    grid[512, 1024] = fact(512, 1024, added=1.5)
    found = sites_of(list(grid.values()), (1280, 1280), 96)
    assert [site.why.split(";")[0].split(",")[0] for site in found] == [
        "most added", "farthest from its input once degraded", "a usual place", "where four tiles meet",
        "an edge of no data",
    ]  # fmt: skip
    assert found[0].at == Window(16, 16, 96, 96)
    assert found[1].at == Window(16, 1168, 96, 96)
    assert found[3].at == Window(464, 976, 96, 96)
    assert found[4].at == Window(1168, 16, 96, 96)


def test_where_a_result_is_least_sure_is_a_place_too() -> None:
    facts = [fact(0, 0, added=5), fact(0, 256), fact(0, 512)]
    places = {site.why: site.at.col for site in sites_of(facts, (128, 640), 96, [1.0, 2.0, float("nan")])}
    assert places["most uncertain"] == 256 + 16


def test_a_result_with_its_uncertainty_shows_it(tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, shape=(3, 130, 140))
    out = Path(geosr.upscale(scene, tmp_path / "out.tif", model="fast", scale=4, uncertainty=True)["path"])
    text = report(out, tmp_path / "page.html", lr=scene).read_text()
    assert "most uncertain" in text
    assert "a standard deviation, mean of the bands shown" in text
    assert 'value="uncertainty"' in text
    with rasterio.open(tmp_path / "out.sigma.tif") as dataset:
        sigma = dataset.read().mean(0)
    found = re.search(r"Input rows (\d+) to (\d+), columns (\d+) to (\d+)", text)
    assert found
    top, bottom, left, right = (4 * (int(each) + end) for each, end in zip(found.groups(), (0, 1, 0, 1), strict=True))
    white = re.search(r"dark blue is none, yellow ([\d.]+) and more", text)
    assert white
    expected = ramp(sigma[top:bottom, left:right], Stretch((0.0,), (float(white[1]),)))[..., :3].astype(int)
    shown = picture_of(text, "uncertainty")[:3].transpose(1, 2, 0)
    assert np.abs(shown - expected).max() <= 3


def test_the_command_that_made_a_result_has_what_its_tags_tell(tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, shape=(3, 60, 70))
    with rasterio.open(scene, "r+") as dataset:
        dataset.descriptions = ("red", "green", "blue")
    options = {
        "model": "fast",
        "scale": 4,
        "bands": ["blue", "red"],
        "project": True,
        "uncertainty": True,
        "format": "GTiff",
    }
    out = Path(geosr.upscale(scene, tmp_path / "out.tif", **options)["path"])
    text = report(out, tmp_path / "page.html", lr=scene).read_text()
    assert f"{out} --model=fast --scale=4 --bands=blue,red --uncertainty --project\n" in text
    with rasterio.open(out, "r+") as dataset:
        dataset.update_tags(GEOSR_MODEL="esrgan [generative]")
    again = report(out, tmp_path / "page.html", lr=scene).read_text()
    assert "--model=esrgan --scale=4 --bands=blue,red --uncertainty\n" in again


def test_a_place_says_how_much_of_what_was_added_the_input_determines(tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, shape=(1, 60, 60))
    out, without = (
        Path(geosr.upscale(scene, tmp_path / f"{name}.tif", scale=4, uncertainty=True, support=name == "out")["path"])
        for name in ("out", "without")
    )
    text = report(out, tmp_path / "page.html", lr=scene).read_text()
    geosr.upscale(scene, tmp_path / "bicubic.tif", scale=4, model="bicubic")
    found = []
    for name in ("out", "bicubic", "out.support"):
        with rasterio.open(tmp_path / f"{name}.tif") as dataset:
            found.append(dataset.read(1).astype(float))
    weight = (found[0] - found[1]) ** 2
    told = re.search(r"the input determines (\d+)%, as far as sigma", text)
    assert told
    assert int(told[1]) == pytest.approx((weight * found[2]).sum() / weight.sum(), abs=1)
    assert "the input determines" not in report(without, tmp_path / "without.html", lr=scene).read_text()


def test_a_place_with_two_reasons_is_shown_once() -> None:
    facts = [fact(0, 0, added=5, residual=5), fact(0, 128), fact(0, 256)]
    first, *_ = sites_of(facts, (128, 384), 96)
    assert first == Site("most added; farthest from its input once degraded", Window(16, 16, 96, 96))


def test_a_scene_smaller_than_a_site_and_one_without_data_have_the_places_that_they_can() -> None:
    (only,) = sites_of([Fact(Window(0, 0, 20, 30), 1.0, (1.0,), (1.0,))], (20, 30), 96)
    assert only.at == Window(0, 0, 20, 30)
    assert sites_of([fact(0, 0, valid=0.0)], (128, 128), 96) == []


def test_facts_say_how_far_a_result_lies_from_the_pixels_of_its_input(tmp_path: Path) -> None:
    stored = scenes.pixels((1, 128, 256))
    lr = scenes.write(tmp_path / "lr.tif", stored)
    repeated = scenes.make_finer(lr, tmp_path / "repeated.tif")
    with rasterio.open(repeated, "r+") as dataset:
        fine = dataset.read()
        fine[:, ::2, 256:] += 10
        fine[:, 1::2, 256:] -= 10
        dataset.write(fine)
    facts = measured(open_scene(repeated), {"lr": open_scene(lr)})[1]["facts"]
    assert [one.at for one in facts] == [Window(0, 0, 128, 128), Window(0, 128, 128, 128)]
    assert [one.added for one in facts] == [(0.0,), (10.0,)]
    assert [one.valid for one in facts] == [1.0, 1.0]


# The commands


def run(*arguments: object) -> tuple[int, str]:
    made: list[str] = []
    runner = CliRunner()

    def work() -> Any:
        answer = runner.invoke(cli, [str(each) for each in arguments], standalone_mode=False)
        made.append(answer.output)
        if answer.exception:
            raise answer.exception
        return answer.return_value

    return outcome(work), "".join(made)


def test_upscale_writes_a_report_of_the_very_scene_that_it_read(tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, "nameless.tif", shape=(4, 140, 150))
    out, page = tmp_path / "out.tif", tmp_path / "out.html"
    code, told = run("upscale", scene, out, "--model", "bicubic", "--bands", "3,1", "--report", page)
    assert (code, told.split()) == (0, [*told.split()[:-2], str(out), str(page)])
    text = page.read_text()
    assert "2 bands" in text
    assert "no CRS" not in text
    assert picture_of(text, "result").shape[1:] == (384, 384)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--report", "{folder}/page.txt"], "a report is a page"),
        (["--report", "{folder}/none/page.html"], "does not exist"),
        (["--report", "{folder}/notes.html"], "exists"),
        (["--report", "{folder}/page.html", "--format", "Zarr", "-o", "{folder}/out.zarr"], "Zarr store"),
        (["--report", "{folder}/page.html", "--outdir", "{folder}"], "without --outdir"),
    ],
)
def test_a_report_that_can_not_be_written_is_refused_before_anything_is_computed(
    more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = scenes.make_plain(tmp_path)
    (tmp_path / "notes.html").write_text("mine")
    before = sorted(tmp_path.iterdir())
    code, _ = run("upscale", scene, *(each.format(folder=tmp_path) for each in more))
    assert code in (1, 2)
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "notes.html").read_text() == "mine"


def test_the_command_writes_beside_the_result_and_replaces_a_report_only(
    scene: Path, result: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.tif"
    copy.write_bytes(result.read_bytes())
    for _ in range(2):
        code, told = run("report", copy, "--lr", scene)
        assert (code, told.strip()) == (0, str(tmp_path / "copy.html"))
    (tmp_path / "copy.html").write_text("mine")
    code, _ = run("report", copy, "--lr", scene)
    assert code == 2
    assert (tmp_path / "copy.html").read_text() == "mine"
    with pytest.raises(InputError, match="don't fit"):
        report(copy, tmp_path / "other.html", lr=scenes.make_geographic(tmp_path))
    assert not (tmp_path / "other.html").exists()


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_a_report_opens_from_disk_and_is_swiped_by_mouse_and_keys(browser: Browser, page: Path) -> None:
    browser.size(1000, 900)
    browser.open(page.as_uri())
    browser.until("document.documentElement?.classList.contains('ready')")
    now = "Number(document.querySelector('[role=slider]').getAttribute('aria-valuenow'))"
    browser.js("document.querySelector('[role=slider]').focus()")
    browser.key("ArrowLeft")
    assert browser.js(now) == 48
    browser.js("document.querySelector('.swipe').scrollIntoView()")
    x, y, width = browser.js(
        "(() => { const b = document.querySelector('.swipe').getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )
    browser.drag((x + width * 0.48, y + 50), (x + width * 0.8, y + 50))
    assert browser.js(now) == 80
    browser.js("document.querySelector('.choice input[value=bicubic]').click()")
    assert browser.js("document.querySelector('.tag[data-side=left]').textContent") == "bicubic"
    assert browser.js("document.querySelector('.tag[data-side=right]').textContent") == "result"
    shown = "[...document.querySelectorAll('.swipe img')].filter((i) => !i.hidden).map((i) => i.dataset.layer)"
    assert set(browser.js(shown)) == {"bicubic", "result"}
    assert browser.js("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert browser.went_wrong() == []
    assert [url for url in browser.addresses() if not url.startswith(("file:", "data:", "about:"))] == []


def test_everything_in_a_report_has_a_name_for_a_screen_reader(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    browser.until("document.documentElement?.classList.contains('ready')")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"image", "slider", "radio", "link", "region", "table"}
    found = [node for node in nodes if node.get("role", {}).get("value") in wanted and not node.get("ignored")]
    assert len(found) > 8
    assert [node["role"] for node in found if not node.get("name", {}).get("value")] == []
    names = [node["name"]["value"] for node in found if node["role"]["value"] in ("image", "slider", "link")]
    assert len(set(names)) == len(names)


def test_the_number_of_a_place_stands_inside_its_box_on_the_overview(page: Path) -> None:
    boxes = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"/><text x="(\d+)" y="(\d+)"', page.read_text()
    )
    assert boxes
    for x, y, width, height, col, row in (map(int, box) for box in boxes):
        assert x < col < x + width
        assert y < row < y + height
