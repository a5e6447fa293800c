"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import re
from inspect import signature
from pathlib import Path
from threading import Event, Thread
from typing import Any, get_type_hints

import pytest
import rasterio

import geosr as geosr_module
from geosr.api import prepare
from geosr.cli import main, outcome
from geosr.cli.progress import bar
from geosr.cli.upscale import command
from geosr.models import registry
from geosr.run import Report
from tests import scenes


def geosr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    monkeypatch.setattr("sys.argv", ["geosr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: geosr(capsys, monkeypatch, *arguments)


def test_the_result_lies_beside_the_source_with_the_scale_in_its_name(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    code, out, _ = run("upscale", src, "--model", "nearest", "--scale", "2")
    assert (code, out) == (0, f"{tmp_path / 'plain_x2.tif'}\n")
    assert (tmp_path / "plain_x2.tif").exists()


def test_every_option_is_understood(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(4, 60, 70))
    with rasterio.open(src) as dataset:
        left, bottom, right, top = dataset.bounds
    aoi = scenes.make_geojson(tmp_path, [[(left, bottom), (right, bottom), (right, top)]], crs=scenes.UTM)
    code, out, err = run(
        "upscale", src, tmp_path / "out.tif", "--model", "fast", "--scale", "2", "--bands", "4,1-2",
        "--bounds", f"{left + 100},{bottom + 100},{right},{top}", "--aoi", aoi, "--mtf", "0.2,0.25,0.3", "--snr", "120",
        "--nodata", "0", "--scale-offset", "0.0001,-0.1", "--dtype", "int32", "--format", "GTiff",
        "--co", "COMPRESS=ZSTD", "--co", "LEVEL=3", "--tile", "32", "--workers", "1", "--device", "cpu",
        "--precision", "float32", "--overwrite", "--json", "--verbose",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert report["format"] == "GTiff"
    with rasterio.open(tmp_path / "out.tif") as result:
        assert (result.count, result.dtypes[0], result.nodata) == (3, "int32", 0)
        assert result.scales == (0.0001,) * 3
        assert result.profile["compress"] == "zstd"


def test_a_dry_run_tells_the_plan_and_writes_nothing(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    code, out, _ = run("upscale", src, "--dry-run", "--model", "bicubic")
    assert code == 0
    for word in ("grid in", "grid out", "tiles", "memory", "seconds", "bytes", "50 x 40", "200 x 160"):
        assert word in out
    assert list(tmp_path.iterdir()) == [src]


def test_a_dry_run_with_a_report_says_that_it_writes_none(run: Any, tmp_path: Path) -> None:
    src, page = scenes.make_plain(tmp_path), tmp_path / "page.html"
    code, _, err = run("upscale", src, "--dry-run", "--model", "bicubic", "--report", page)
    assert code == 0
    assert [line for line in err.splitlines() if str(page) in line] == [
        f"geosr: {page} is not written: a dry run writes nothing, no report either"
    ]
    assert list(tmp_path.iterdir()) == [src]


def test_a_dry_run_is_not_refused_where_the_result_exists_and_says_what_a_run_needs(run: Any, tmp_path: Path) -> None:
    src, dst = scenes.make_plain(tmp_path), tmp_path / "out.tif"
    dst.write_text("something else")
    code, out, err = run("upscale", src, dst, "--dry-run", "--model", "bicubic")
    assert code == 0
    assert "grid out" in out
    assert f"{dst} exists: without --dry-run this needs --overwrite" in err
    assert "--overwrite" not in run("upscale", src, dst, "--dry-run", "--model", "bicubic", "--overwrite")[2]
    assert dst.read_text() == "something else"
    assert run("upscale", src, dst, "--model", "bicubic")[0] == 2


def test_the_bar_counts_tiles_only_when_it_knows_how_many_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar(quiet=False) as advance:
        first = capsys.readouterr().err
        advance(3, 7, 10**6)
    assert "first tile" in first
    assert "None" not in first
    assert "3/7 tiles" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "ends"), [("geosr pool_0", True), ("another's", False)])
def test_an_interrupt_ends_the_process_at_once_only_where_tiles_are_worked_on(
    name: str, ends: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt("3 of 9 tiles are kept")

    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    over = Event()
    thread = Thread(target=over.wait, name=name)
    thread.start()
    try:
        assert outcome(interrupted) == 130
    finally:
        over.set()
        thread.join()
    assert ended == [130] * ends
    assert capsys.readouterr().err == "geosr: interrupted; 3 of 9 tiles are kept\n"


def kinds_of(value: Any) -> Any:
    """A report's keys, and the types of its values."""
    return {key: kinds_of(item) for key, item in value.items()} if isinstance(value, dict) else type(value)


def same_facts(report: dict[str, Any]) -> dict[str, Any]:
    """What a dry run says of a run for sure."""
    guessed = {"dry_run", "seconds", "megapixels_per_second", "bytes"}
    return {key: value for key, value in report.items() if key not in guessed}


def test_a_dry_run_and_a_run_report_the_same_keys_types_and_facts(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    arguments = ("upscale", src, "--model", "fast", "--tile", "32", "--json", "-q")
    before, after = (json.loads(run(*arguments, *more)[1]) for more in (["--dry-run"], []))
    assert kinds_of(before) == kinds_of(after)
    assert same_facts(before) == same_facts(after)
    assert (before["dry_run"], after["dry_run"]) == (True, False)
    assert after["grid_out"] == {"width": 200, "height": 160, "pixel_width": 2.5, "pixel_height": 2.5}
    assert (after["tile"], after["halo"], after["tiles"]) == (32, 24, 4)
    assert after["bytes"] == Path(after["path"]).stat().st_size
    assert set(get_type_hints(Report)) == set(after)


def test_a_report_is_read_by_its_keys(tmp_path: Path) -> None:
    report = geosr_module.upscale(scenes.make_plain(tmp_path), tmp_path / "out.tif", model="nearest", scale=2)
    assert report["path"] == str(tmp_path / "out.tif")
    assert report["grid_in"]["pixel_width"] * 50 == report["grid_out"]["pixel_width"] * 100
    assert json.loads(json.dumps(report)) == report


def test_quiet_says_nothing_and_a_pipe_has_no_bar(run: Any, tmp_path: Path) -> None:
    src = scenes.make_no_crs(tmp_path)
    assert run("upscale", src, tmp_path / "a.tif", "--model", "nearest", "-q") == (0, "", "")
    code, _, err = run("upscale", src, tmp_path / "b.tif", "--model", "nearest")
    assert code == 0
    assert "no CRS" in err
    assert "\r" not in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["upscale"], "SRC"),
        (["upscale", "nothing.tif"], "nothing.tif"),
        (["upscale", "{src}", "{dst}", "--scale", "9"], "9"),
        (["upscale", "{src}", "{dst}", "--bounds", "1,2,3"], "four numbers"),
        (["upscale", "{src}", "{dst}", "--co", "COMPRESS"], "KEY=VALUE"),
        (["upscale", "{src}", "{dst}", "--mtf", "blurred"], "not a number"),
        (["upscale", "{src}", "{dst}", "--tile", "-4"], "source pixels"),
        (["upscale", "{src}", "{dst}", "--tile", "²"], "source pixels"),
        (["upscale", "{src}", "{dst}", "--bands", "²"], "no band"),
        (["upscale", "{src}", "{dst}", "--co", "LEVEL=3", "--co", "level=4"], "given twice"),
        (["upscale", "{src}", "{dst}", "--model", "bicubik"], "bicubic"),
        (["upscale", "{src}", "{src}"], "input itself"),
        (["upscale", "{src}", "{dst}.png"], "GeoTIFF"),
        (["info", "nothing.tif"], "nothing.tif"),
        (["upscal"], "upscal"),
        (["upscale", "{src}", "--scale", "four"], "'four' is not a valid integer ("),
        (["export", "fast"], "Choose from: onnx, pt2 ("),
        (["validate", "{src}"], "Missing option '--against' ("),
        (["upscale", "{src}", "--jso"], "--json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_bad_usage_is_one_clear_line_and_exit_2(run: Any, tmp_path: Path, arguments: list[str], word: str) -> None:
    src = scenes.make_plain(tmp_path)
    dst = tmp_path / "out.tif"
    code, out, err = run(*(argument.format(src=src, dst=dst) for argument in arguments))
    assert code == 2
    assert out == ""
    assert word in err
    assert err.startswith("geosr: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [src]


def test_info_tells_what_is_seen(run: Any, tmp_path: Path) -> None:
    src = scenes.make_rich(tmp_path)
    code, out, _ = run("info", src)
    assert code == 0
    code, out, _ = run("info", src, "--json")
    assert json.loads(out)


def test_a_number_that_json_has_no_word_for_is_null(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with rasterio.open(src, "r+") as file:
        file.scales = (float("nan"), 1.0, 2.0)
    code, out, _ = run("info", src, "--json")
    assert code == 0
    assert [None, 1.0, 2.0] in json.loads(out, parse_constant=pytest.fail).values()


def test_models_are_listed_with_their_scales(run: Any) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert {"fast", "bicubic", "ibp"} <= {line.split()[0] for line in out.splitlines()}
    assert len({re.search(r" x\d", line).start() for line in out.splitlines()}) == 1
    code, out, _ = run("models", "--json")
    assert {"mlm:name", "geosr:scales", "geosr:limits"} <= set(json.loads(out)[0])


def test_a_file_that_is_no_model_stops_no_listing(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    (tmp_path / "torn_x2.safetensors").write_bytes(b"\x80")
    code, out, err = run("models")
    assert code == 0
    assert "bicubic" in out
    assert "torn_x2" in err


def test_options_are_the_keywords_of_the_library_under_the_same_names() -> None:
    keywords = {name for name, kind in signature(prepare).parameters.items() if kind.kind is kind.KEYWORD_ONLY}
    talk = {"paths", "out", "outdir", "dry_run", "as_json", "quiet", "verbose", "scheduler", "page"}
    options = {parameter.name for parameter in command.params} - talk
    assert options - keywords == {"window"}, "of clips and folders of frames, which `upscale` and `upscale_many` take"
    assert options >= keywords


@pytest.mark.slow
def test_a_scheduler_is_named_on_the_command_line_and_changes_no_byte(run: Any, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    options = ("--model", "bicubic", "--scale", "2", "--tile", "16")
    for name in ("threads", "processes"):
        code, _, err = run("upscale", src, tmp_path / f"{name}.tif", *options, "--workers", "1", "--scheduler", name)
        assert code == 0, err
    assert (tmp_path / "threads.tif").read_bytes() == (tmp_path / "processes.tif").read_bytes()
    code, _, err = run("upscale", src, tmp_path / "out.tif", *options, "--scheduler", "nowhere")
    assert code == 2
    assert err.splitlines()[-1].startswith("geosr: scheduler 'nowhere'")
