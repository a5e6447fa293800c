"""At home in a shell: each option does what its help says, help has an order, names complete, and `rio geosr`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray
from rasterio.rio.main import main_group

from geosr.cli import cli
from geosr.cli.rio import command as rio_command
from geosr.cli.upscale import HEADINGS, command
from geosr.errors import InputError
from tests import scenes
from tests.test_cli import geosr

WIDTH, HEIGHT = 50, 40


class Shell:
    """A scene in a folder, and what a command says, returns and writes there."""

    def __init__(self, folder: Path, run: Callable[..., tuple[int, str, str]]) -> None:
        self.folder, self._run = folder, run
        self.src = scenes.make_plain(folder)
        self.dst = folder / "out.tif"
        with rasterio.open(self.src) as dataset:
            left, bottom, right, top = dataset.bounds
            self.pixels: NDArray[Any] = dataset.read()
            self.pixel = dataset.res[0]
        self.bounds = f"{left},{bottom},{(left + right) / 2},{top}"
        self.area = scenes.make_geojson(folder, [[(left, bottom), (right, bottom), (right, top)]], crs=scenes.UTM)
        self.fine = folder / "fine.tif"
        self.code, self.out, self.err = 0, "", ""

    def __call__(self, *arguments: Any) -> Shell:
        """Upscale the scene with these options, `{}` in which are filled in, twofold by bicubic unless they say."""
        if "{fine}" in arguments:
            scenes.make_finer(self.src, self.fine)
        names = {
            "pixel": f"{self.pixel:g}",
            "area": self.area,
            "bounds": self.bounds,
            "folder": self.folder,
            "fine": self.fine,
        }
        given = [str(argument).format(**names) for argument in arguments]
        usual = [] if "--outdir" in given or "-o" in given else ["-o", self.dst]
        scale = [] if "--guide" in given else ["--scale", "2"]
        self.code, self.out, self.err = self._run("upscale", self.src, *usual, "--model", "bicubic", *scale, *given)
        return self

    @property
    def result(self) -> rasterio.DatasetReader:
        return rasterio.open(self.dst)

    @property
    def tags(self) -> dict[str, str]:
        with self.result as dataset:
            tags: dict[str, str] = dataset.tags()
            return tags

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.out)
        return report


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, lambda *arguments: geosr(capsys, monkeypatch, *arguments))


USES: dict[str, tuple[list[str], Callable[[Shell], Any]]] = {
    "out": (["-o", "{folder}/named.tif"], lambda it: (it.folder / "named.tif").exists() and not it.dst.exists()),
    "outdir": (["--outdir", "{folder}/many"], lambda it: (it.folder / "many" / "plain_x2.tif").exists()),
    "scale": (["--scale", "3"], lambda it: it.result.shape == (HEIGHT * 3, WIDTH * 3)),
    "model": (
        ["--model", "nearest"],
        lambda it: np.array_equal(it.result.read(), it.pixels.repeat(2, axis=1).repeat(2, axis=2)),
    ),
    "bands": (
        ["--model", "nearest", "--bands", "3,1"],
        lambda it: np.array_equal(it.result.read()[:, ::2, ::2], it.pixels[[2, 0]]),
    ),
    "aoi": (
        ["--aoi", "{area}"],
        lambda it: it.result.dataset_mask()[0, 0] == 0 and it.result.dataset_mask()[-1, -1] == 255,
    ),
    "dry_run": (["--dry-run"], lambda it: "grid out" in it.out and not it.dst.exists()),
    "overwrite": (["--overwrite"], lambda it: it("--overwrite", "--scale", "4").result.width == WIDTH * 4),
    "bounds": (["--bounds", "{bounds}"], lambda it: it.result.shape == (HEIGHT * 2, WIDTH)),
    "nodata": (["--nodata", "7"], lambda it: it.result.nodata == 7),
    "scale_offset": (["--scale-offset", "0.5,-2"], lambda it: (it.result.scales[0], it.result.offsets[0]) == (0.5, -2)),
    "categorical": (
        ["--categorical", "2"],
        lambda it: np.array_equal(it.result.read(2), it.pixels[1].repeat(2, axis=0).repeat(2, axis=1)),
    ),
    "format": (["--format", "gtiff"], lambda it: it.result.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG"),
    "dtype": (["--dtype", "int32"], lambda it: set(it.result.dtypes) == {"int32"}),
    "co": (["--co", "COMPRESS=ZSTD"], lambda it: it.result.profile["compress"] == "zstd"),
    "mtf": (["--model", "ibp", "--mtf", "0.31"], lambda it: it.tags["GEOSR_MTF"] == "0.31"),
    "snr": (["--model", "ibp", "--snr", "inf"], lambda it: it.tags["GEOSR_NOISE"] == "0.288675"),
    "project": (["--project", "--mtf", "0.3"], lambda it: it.tags["GEOSR_PROJECTED"] == "yes"),
    "workers": (["--workers", "3", "--json"], lambda it: it.report["workers"] == 3),
    "tile": (["--tile", "16", "--json"], lambda it: (it.report["tile"], it.report["tiles"]) == (16, 12)),
    "device": (["--device", "cpu"], lambda it: it("--device", "abacus", "--overwrite", "--model", "fast").code == 2),
    "precision": (
        ["--model", "fast", "--precision", "bfloat16"],
        lambda it: it.tags["GEOSR_PRECISION"] == "bfloat16",
    ),
    "guide": (
        ["--model", "glp", "--guide", "{fine}"],
        lambda it: it.tags["GEOSR_MODEL"] == "glp" and it.result.width == 2 * it.pixels.shape[2],
    ),
    "to": (["--json"], lambda it: it("--to", "{pixel}m").code == 2 and "have such pixels already" in it.err),
    "fuse": (["--json"], lambda it: it("--fuse", "--overwrite").code == 2 and "dates" in it.err),
    "reference": (["--json"], lambda it: it("--reference", "1").code == 2 and "dates of --fuse" in it.err),
    "strict": (["--json"], lambda it: it("--strict").code == 2 and "dates of --fuse" in it.err),
    "window": (["--json"], lambda it: it("--window", "3").code == 2 and "of a clip" in it.err),
    "page": (["--report", "{folder}/page.html"], lambda it: (it.folder / "page.html").stat().st_size > 1000),
    "uncertainty": (
        ["--model", "fast", "--uncertainty"],
        lambda it: (it.dst.with_name(f"{it.dst.stem}.sigma.tif")).exists(),
    ),
    "trust_mask": (
        ["--model", "fast", "--trust-mask", "0.1"],
        lambda it: (it.dst.with_name(f"{it.dst.stem}.trust.tif")).exists(),
    ),
    "support": (
        ["--model", "fast", "--support"],
        lambda it: (it.dst.with_name(f"{it.dst.stem}.support.tif")).exists(),
    ),
    "mask": (["--json"], lambda it: it("--mask", "clouds").code == 2 and "is a plain raster" in it.err),
    "scheduler": (["--scheduler", "threads"], lambda it: it("--scheduler", "nobody", "--overwrite").code == 2),
    "as_json": (["--json"], lambda it: it.report["path"] == str(it.dst)),
    "quiet": (["--quiet"], lambda it: (it.out, it.err) == ("", "")),
    "verbose": (["--verbose"], lambda it: "tiles of" in it.err),
    "help": (["--help"], lambda it: it.out.startswith("Usage: ") and "upscale [OPTIONS] SRC... [DST]" in it.out),
}
"""Each option, used once, and what can be seen of it."""


@pytest.mark.parametrize("name", USES)
def test_an_option_does_what_its_help_says(name: str, shell: Shell) -> None:
    arguments, seen = USES[name]
    assert shell(*arguments).code == 0, shell.err
    assert seen(shell)


def test_each_option_is_used_above_and_stands_under_a_heading() -> None:
    options = {str(option.name) for option in command.params} - {"paths"}
    assert options == set(USES) - {"help"}
    assert options <= {name for names in HEADINGS.values() for name in names}


def test_help_begins_with_the_options_that_a_newcomer_needs(shell: Shell) -> None:
    text = shell("--help").out
    sections = re.split(r"^(\w[\w ,]*):\n", text.split("\n\n", 1)[1], flags=re.MULTILINE)[1:]
    assert sections[::2] == list(HEADINGS)
    first, *rest = (re.findall(r"^  (?:-\w, )?--([\w-]+)", section, re.MULTILINE) for section in sections[1::2])
    assert first == ["out", "outdir", "to", "scale", "model", "bands", "aoi", "dry-run", "overwrite"]
    assert len(first) + sum(map(len, rest)) == text.count("\n  -") == len(USES)


def test_a_result_is_named_once(shell: Shell) -> None:
    for arguments, words in (
        (("upscale", shell.src, shell.dst, "-o", "b.tif"), ("out.tif and -o b.tif both name the result",)),
        (("upscale", shell.src, "-o", "b.tif", "--outdir", "many"), ("-o b.tif", "--outdir many")),
        (("upscale", shell.src, shell.src, shell.src, "-o", "b.tif"), ("--outdir",)),
    ):
        code, out, err = shell._run(*arguments)
        assert (code, out) == (2, "")
        assert all(word in err.splitlines()[-1] for word in words)
    assert sorted(path.name for path in shell.folder.iterdir()) == sorted([shell.src.name, shell.area.name])


def completed(*words: str, shell: str = "bash") -> list[str]:
    done = CliRunner(env={"_GEOSR_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(("geosr", *words))}).invoke(
        cli, env={"COMP_CWORD": str(len(words))}, prog_name="geosr"
    )
    return done.stdout.split()


def test_a_shell_completes_commands_options_models_and_files() -> None:
    assert completed("ups") == ["plain,upscale"]
    assert completed("upscale", "--dr") == ["plain,--dry-run"]
    assert completed("upscale", "--model", "bi") == ["plain,bilinear", "plain,bicubic"]
    assert completed("upscale", "--model", "./net") == ["file,./net"]
    assert completed("upscale", "sce") == ["file,sce"]
    assert completed("info", "sce") == ["file,sce"]
    assert completed("models", "show", "fas") == ["plain,fast"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_completion_is_printed(shell: str) -> None:
    done = CliRunner(env={"_GEOSR_COMPLETE": f"{shell}_source"}).invoke(cli, prog_name="geosr")
    assert done.exit_code == 0
    assert "_geosr_completion" in done.stdout


@pytest.fixture
def rio(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`rio`, whatever of the metadata of geosr is installed."""
    monkeypatch.setitem(main_group.commands, "geosr", rio_command)
    return lambda *arguments: CliRunner().invoke(main_group, [str(word) for word in arguments], prog_name="rio")


def test_rio_finds_the_command() -> None:
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"]["rasterio.rio_plugins"]
    assert [EntryPoint(*item, "rasterio.rio_plugins").load() for item in declared.items()] == [rio_command]


def test_rio_geosr_writes_the_bytes_of_geosr_upscale(shell: Shell, rio: Callable[..., Any]) -> None:
    expected = shell("--co", "COMPRESS=ZSTD", "--bounds", f"[{shell.bounds}]").dst.read_bytes()
    options = ("--model", "bicubic", "--scale", "2", "--profile", "COMPRESS=ZSTD", "--bounds", f"[{shell.bounds}]")
    for result in (["-o", shell.dst], ["--output", shell.dst], [shell.dst]):
        shell.dst.unlink()
        done = rio("geosr", shell.src, *result, *options)
        assert (done.exit_code, done.stdout) == (0, f"{shell.dst}\n"), done.stderr
        assert shell.dst.read_bytes() == expected
    assert rio("geosr", shell.src, shell.dst, *options, "--overwrite").exit_code == 0


def test_rio_geosr_has_every_option_of_geosr_upscale() -> None:
    ours, theirs = ({option.name: option for option in each.params} for each in (command, rio_command))
    assert set(ours) - {"out"} == set(theirs) - {"output"}
    assert theirs["co"].opts == ["--co", "--profile"]
    assert ours["co"].opts == ["--co"]
    assert not [option for option in theirs.values() if "SRC" in str(getattr(option, "help", ""))]


def test_a_failure_of_rio_geosr_is_one_line_and_an_exit_code(shell: Shell, rio: Callable[..., Any]) -> None:
    done = rio("geosr", "nothing.tif", "-o", shell.dst)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("geosr: nothing.tif")
    done = rio("geosr", shell.src, "-o", shell.src)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "input itself" in done.stderr
    done = rio("geosr", shell.src, shell.dst, "-o", "b.tif")
    assert done.exit_code == 2
    assert done.stderr.endswith("name the result; several scenes need --outdir (rio geosr --help)\n")
    assert done.stderr.count("\n") == 1
    assert not shell.dst.exists()


def test_rio_geosr_works_in_the_environment_and_at_the_verbosity_of_rio(
    shell: Shell, rio: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    src = scenes.make_no_crs(shell.folder)
    assert "no CRS" in rio("geosr", src, shell.dst, "--model", "nearest").stderr
    done = rio("-q", "geosr", src, shell.dst, "--model", "nearest", "--overwrite")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert "tiles of" in rio("-v", "geosr", src, shell.dst, "--model", "nearest", "--overwrite").stderr

    def prepare(*paths: str, **options: Any) -> None:
        raise InputError(f"unsigned: {rasterio.env.getenv().get('AWS_NO_SIGN_REQUEST')}")

    monkeypatch.setattr("geosr.api.prepare", prepare)
    assert "unsigned: YES" in rio("--aws-no-sign-requests", "geosr", src).stderr


def test_an_interrupted_rio_geosr_says_what_is_kept(
    shell: Shell, rio: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(*_: Any) -> None:
        raise KeyboardInterrupt("3 of 9 tiles are kept; the same command goes on")

    monkeypatch.setattr("geosr.run.Run.execute", execute)
    done = rio("geosr", shell.src, shell.dst, "--model", "nearest")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "geosr: interrupted; 3 of 9 tiles are kept; the same command goes on"


def test_rio_loads_no_network_for_its_list_of_commands() -> None:
    code = (
        "import sys, geosr.cli.rio; from rasterio.rio.main import main_group; main_group(['--help'], prog_name='rio', "
        "standalone_mode=False); sys.exit(bool({'torch', 'scipy', 'xarray', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
