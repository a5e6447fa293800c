"""README and the documentation say what is true: every block of code is run, or checked where it can't be.

A block that can't be run here says so in its first line, `# needs ...` or `# takes ...`, which the reader sees. Its
options, names and keywords are checked all the same.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import signature
from itertools import chain
from pathlib import Path

import click
import pytest
import rasterio
from rasterio.windows import Window

import geosr
from geosr.cli import cli, outcome
from geosr.io.scene import open_scene
from geosr.models.degradation import seen
from geosr.training.reading import read_recipe
from tests import scenes
from tests.browser import browsing
from tests.clips import write_clip
from tests.dates import SHIFTS, Ground, written
from tests.safe import make_safe, zipped
from tests.test_compare import ground as soft_ground
from tests.test_compare import scene as bands_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REASONS = {
    "needs a cluster", "needs a network of yours", "needs products of your own", "takes a quarter of an hour",
    "takes five minutes",
}  # fmt: skip
"""Why a block isn't run here."""
NOT_OURS = ("python -m venv", "pip install", ". .venv", "pytest")
"""How commands of others begin, which are not run."""
ENDLESS = {"serve"}
"""Commands that run until they are stopped."""
SCREEN = 1440, 1000
"""Pixels of a screen, across and down."""
LONG = {"api.html", "MODELS.html", "BENCHMARKS.html", "CHANGELOG.html"}
"""Pages that may take more than two screens: things are looked up in them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code in a page."""

    where: str
    language: str
    code: str

    @property
    def reason(self) -> str:
        """Why it can't be run; empty where it can."""
        first = self.code.partition("\n")[0]
        return first.removeprefix("# ") if re.match(r"# (needs|takes) ", first) else ""

    def commands(self) -> Iterator[list[str]]:
        """The words of each command, without what is said of it."""
        for line in self.code.splitlines():
            yield from filter(None, (shlex.split(each, comments=True) for each in line.split(" && ")))


@cache
def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [Block(f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}", match[1], match[2]) for match in found]


def parsed(words: list[str]) -> list[str]:
    """The names of a command of ours and its subcommands. Fails where it has no such options."""
    command, rest, names = cli, words[1:], []
    while isinstance(command, click.Group) and (rest or command is cli):
        context = click.Context(command, resilient_parsing=True)
        _, rest, _ = command.make_parser(context).parse_args(list(rest))
        names.append(rest[0])
        found = command.get_command(context, rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    command.make_parser(click.Context(command, resilient_parsing=True)).parse_args(list(rest))
    return names


def check_names(code: str) -> None:
    """Fails where Python code speaks of a name or a keyword that geosr hasn't."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("geosr."):
            function = getattr(geosr, ast.unparse(node.func).removeprefix("geosr."))
            signature(function).bind_partial(**{each.arg: None for each in node.keywords if each.arg})


# Blocks


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages speak of, small ones."""
    folder = tmp_path_factory.mktemp("files")
    scene = cut(folder / "scene.tif", Window(100, 100, 72, 68))
    for name in ("examples/scene", "examples/north", "scenes/east", "scenes/west"):
        path = folder / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(scene, path)
    for name in ("dates", "frames"):
        (folder / name).mkdir()
    for name, model in (("sharp", "fast"), ("truth", "bicubic")):
        geosr.upscale(scene, folder / f"{name}.tif", model=model)
    with rasterio.open(scene) as dataset:
        left, bottom, right, top = dataset.bounds
    middle = (left + right) / 2, (bottom + top) / 2
    scenes.make_geojson(folder, [[(left, top), (middle[0], top), middle, (left, middle[1])]], "EPSG:32621")
    (folder / "area.geojson").rename(folder / "field.geojson")
    (folder / "more.txt").write_text("examples/north.tif\n")
    zipped(product := make_safe(folder), product.with_suffix(".zip"))
    dates, days = Ground.of(3), ("0405", "0410", "0420")
    for day, shift in zip(days, SHIFTS, strict=False):
        date = written(folder / f"2023{day}.tif", dates.date((64, 72), shift, seed=int(day)))
        shutil.copy(date, folder / "dates")
        shutil.copy(date, folder / "frames" / f"frame_{day}.tif")
    write_clip(folder / "clip.mp4", 3)
    make_bands(folder)
    return folder


def cut(path: Path, at: Window) -> Path:
    """A part of the example scene."""
    with rasterio.open(ROOT / "examples" / "scene.tif") as source:
        profile = source.profile | {"width": at.width, "height": at.height, "transform": source.window_transform(at)}
        with rasterio.open(path, "w", **profile | {"tiled": False}) as target:
            target.write(source.read(window=at))
            target.descriptions = source.descriptions
            target.update_tags(**source.tags())
    return path


def make_bands(folder: Path) -> None:
    """Sentinel-2's bands on two grids, one a file and together, and a pair of rasters."""
    fine = soft_ground(4, 144)
    names = "B02", "B03", "B04", "B08"
    ten = bands_of(folder / "T31UFS_10m.tif", fine, names, 10)
    response = open_scene(ten).sensor.bands[3].response.relative(2)
    coarse = seen(fine[1:] * 1.2 + 50, [response] * 3, 2)
    others = "B05", "B06", "B8A"
    bands_of(folder / "T31UFS_20m.tif", coarse, others, 20)
    for name, band, pixels in (*zip(names, fine, [10] * 4, strict=True), *zip(others, coarse, [20] * 3, strict=True)):
        bands_of(folder / f"{name}.tif", band[None], (name,), pixels)
    bands_of(folder / "input.tif", coarse[:1], ("red",), 20)
    bands_of(folder / "reference.tif", fine[1:2], ("red",), 10)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_to_type_works(
    page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path(shutil.copytree(files, tmp_path / "here"))
    monkeypatch.chdir(here)
    names = {"__name__": "__doc__"}
    for block in blocks_of(page):
        if block.language == "python" and not block.reason:
            exec(compile(block.code, block.where, "exec"), names)  # our own words
        if block.language == "console" and not block.reason:
            check_runs(block, here, capsys)


def check_runs(block: Block, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails where a command of a block does, of those that are ours and end."""
    for words in block.commands():
        if words[0] == "geosr" and not ENDLESS & set(parsed(words)):
            found = (sorted(map(str, here.glob(word))) if "*" in word else [word] for word in words[1:])
            arguments = [*chain.from_iterable(found)]
            code = outcome(lambda given=arguments: cli(given, standalone_mode=False))
            assert code == 0, f"{block.where}: {shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_that_are_not_run_say_why_and_are_right_as_far_as_can_be_seen(page: Path, tmp_path: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for block in blocks_of(page):
        assert block.language in ("console", "python", "toml"), block.where
        assert block.reason in REASONS | {""}, block.where
        if block.language == "python":
            check_names(block.code)
        if block.language == "toml":
            (tmp_path / "recipe.toml").write_text(block.code)
            assert read_recipe(tmp_path / "recipe.toml").data.train, block.where
        for words in block.commands() if block.language == "console" else ():
            if words[0] == "geosr":
                parsed(words)
                continue
            assert shlex.join(words).startswith(NOT_OURS), f"{block.where}: {words}"
            for named in re.findall(r"\[(.*?)\]", " ".join(words)):
                assert set(named.split(",")) <= extras.keys(), f"{block.where}: {words}"


def test_options_that_pages_speak_of_are_those_of_commands() -> None:
    ours = {"--index-url", "--help"}
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        ours |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for page in PAGES:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        spoken = {option for code in re.findall(r"`([^`]+)`", prose) for option in re.findall(r"--[a-z-]+\b", code)}
        assert spoken <= ours, page.name


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as mkdocs builds it."""
    pytest.importorskip("mkdocstrings", reason="no mkdocs here: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_all_public_names_and_the_figures_as_they_stand(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    public = set(geosr.__all__) - {"__version__"}
    assert {name for name in public if f'id="geosr.{name}"' not in page} == set()
    table = (ROOT / "MODELS.md").read_text(encoding="utf-8").partition("| [fast]")[2].partition("\n")[0]
    cells = [cell.strip() for cell in table.split("|")[2:-1]]
    assert len(cells) == 6
    row = (site / "which-model.html").read_text(encoding="utf-8").partition('href="MODELS.html#fast"')[2]
    assert re.findall(r"<td>(.*?)</td>", row)[1:7] == cells


def test_pages_of_the_site_take_two_screens_at_most_and_ask_nobody_for_anything(site: Path, tmp_path: Path) -> None:
    heights = {}
    with browsing(tmp_path / "profile") as browser:
        browser.size(*SCREEN)
        for page in sorted(site.glob("*.html")):
            if page.name != "404.html":
                browser.open(page.as_uri())
                browser.until(f"location.pathname.endsWith('/{page.name}') && document.readyState === 'complete'")
                heights[page.name] = browser.js("document.querySelector('article').offsetHeight")
                assert browser.js("[...document.images].every(image => image.naturalWidth > 0)"), page.name
                assert browser.js("document.documentElement.scrollWidth") <= SCREEN[0], page.name
        assert browser.went_wrong() == []
        assert {url for url in browser.addresses() if not url.startswith(("file:", "data:", "about:"))} == set()
    assert {page: height for page, height in heights.items() if height > 2 * SCREEN[1]}.keys() <= LONG
    assert len(heights) > len(LONG) + 8
