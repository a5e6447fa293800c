"""Many scenes as one run: each as it would be alone, none stopped by another."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client, LocalCluster
from rasterio.errors import NotGeoreferencedWarning

import geosr
from geosr import provenance
from geosr.archive import plan_many, upscale_many
from geosr.cli.archive import read_list
from geosr.errors import InputError, PlaceError
from tests import scenes
from tests.test_cli import geosr as command
from tests.test_cli import kinds_of, same_facts
from tests.test_endurance import SLOW

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32, "workers": 2}


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three scenes of several sizes and types."""
    (tmp_path / "in").mkdir()
    return [
        scenes.make_plain(tmp_path / "in", "a.tif", shape=(2, 80, 90)),
        scenes.make_plain(tmp_path / "in", "b.tif", shape=(1, 70, 60), dtype="float32"),
        scenes.make_plain(tmp_path / "in", "c.tif", shape=(3, 40, 150), nodata=0),
    ]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: command(capsys, monkeypatch, *arguments)


def states(records: list[dict[str, Any]]) -> list[str]:
    return [record["status"] for record in records]


def spoil(path: Path) -> Path:
    """A file whose header is whole and one of whose blocks can't be read."""
    spoilt = scenes.write(
        path, scenes.pixels((1, 128, 128)), tiled=True, blockxsize=64, blockysize=64, compress="deflate"
    )
    with rasterio.open(spoilt) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(spoilt.read_bytes())
    content[offset : offset + 40] = b"\xff" * 40
    spoilt.write_bytes(content)
    return spoilt


def change_in_the_middle(path: Path) -> None:
    """Another pixel in a file of the same size and time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_each_result_is_byte_for_byte_that_of_the_scene_alone(sources: list[Path], out: Path) -> None:
    seen: list[tuple[int, int]] = []
    records = upscale_many(sources, out, progress=lambda done, total, pixels: seen.append((done, total)), **OPTIONS)
    assert states(records) == ["done"] * 3
    assert [Path(record["path"]).name for record in records] == ["a_x2.tif", "b_x2.tif", "c_x2.tif"]
    for source, record in zip(sources, records, strict=True):
        geosr.upscale(source, source.with_name("alone.tif"), overwrite=True, **OPTIONS)
        assert Path(record["path"]).read_bytes() == source.with_name("alone.tif").read_bytes()
    total = sum(record["tiles"] for record in records)
    assert seen == [(number, total) for number in range(1, total + 1)]
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.tif", "b_x2.tif", "c_x2.tif"]


def test_a_single_path_is_one_scene(sources: list[Path], out: Path) -> None:
    assert states(upscale_many(str(sources[0]), out, **OPTIONS)) == ["done"]
    assert states(upscale_many(sources[0], out, **OPTIONS)) == ["skipped"]


def test_a_scene_that_is_named_twice_is_done_once(sources: list[Path], out: Path) -> None:
    assert states(upscale_many([*sources, sources[0]], out, **OPTIONS)) == ["done"] * 3


def test_a_result_behind_a_link_is_told_of_as_done(sources: list[Path], out: Path) -> None:
    out.mkdir()
    (out / "a_x2.tif").symlink_to(out.parent / "elsewhere.tif")
    assert states(upscale_many(sources[0], out, **OPTIONS)) == ["done"]
    assert (out.parent / "elsewhere.tif").exists()


def test_zarr_stores_are_results_too(sources: list[Path], out: Path) -> None:
    assert states(upscale_many(sources, out, format="zarr", **OPTIONS)) == ["done"] * 3
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.zarr", "b_x2.zarr", "c_x2.zarr"]
    assert states(upscale_many(sources, out, format="Zarr", **OPTIONS)) == ["skipped"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "client"])
def test_one_crew_serves_all_scenes(sources: list[Path], out: Path, scheduler: str, tmp_path: Path) -> None:
    upscale_many(sources, tmp_path / "here", **OPTIONS)
    if scheduler == "client":
        with (
            LocalCluster(
                n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            upscale_many(sources, out, client=client, **OPTIONS)
    else:
        upscale_many(sources, out, scheduler=scheduler, **OPTIONS | {"workers": 1})
    for path in (tmp_path / "here").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_scene_that_fails_stops_no_other(sources: list[Path], out: Path) -> None:
    torn = spoil(sources[0].with_name("torn.tif"))
    nothing = sources[0].with_name("nothing.tif")
    told: list[dict[str, Any]] = []
    records = upscale_many([nothing, sources[0], torn, sources[1]], out, told=told.append, **OPTIONS)
    assert states(records) == ["failed", "done", "failed", "done"]
    assert "nothing.tif" in records[0]["error"]
    assert "tile" in records[2]["error"]
    assert sorted(record["src"] for record in told) == sorted(record["src"] for record in records)
    assert not (out / "torn_x2.tif").exists()
    again = upscale_many([nothing, sources[0], torn, sources[1]], out, **OPTIONS)
    assert states(again) == ["failed", "skipped", "failed", "skipped"]


def test_a_result_that_is_there_is_kept_when_it_is_ours_and_refused_when_not(sources: list[Path], out: Path) -> None:
    upscale_many(sources, out, **OPTIONS)
    (out / "b_x2.tif").unlink()
    before = (out / "a_x2.tif").stat()
    change_in_the_middle(sources[2])
    records = upscale_many(sources, out, **OPTIONS | {"tile": 16})
    assert states(records) == ["skipped", "done", "failed"]
    assert "overwrite" in records[2]["error"]
    after = (out / "a_x2.tif").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert states(upscale_many(sources, out, **OPTIONS | {"model": "nearest"})) == ["failed"] * 3
    assert states(upscale_many(sources, out, overwrite=True, **OPTIONS | {"model": "nearest"})) == ["done"] * 3


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(sources: list[Path], out: Path, tmp_path: Path) -> None:
    upscale_many(sources, tmp_path / "whole", **OPTIONS)
    arguments = ["upscale", *map(str, sources), "--outdir", str(out), "--model", "bicubic", "--scale", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments, "--tile", "32", "--workers", "1"], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / "a_x2.tif").exists() or not list(out.glob(".b*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    records = upscale_many(sources, out, **OPTIONS)
    assert states(records)[0] == "skipped"
    assert states(records)[2] == "done"
    for path in (tmp_path / "whole").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_names_that_collide_are_refused_before_anything_starts(sources: list[Path], out: Path) -> None:
    (sources[0].parent / "deep").mkdir()
    twin = scenes.make_plain(sources[0].parent / "deep", "a.tif")
    with pytest.raises(InputError, match="would both become"):
        upscale_many([*sources, twin], out, **OPTIONS)
    assert not out.exists()
    upscale_many(sources[:1], sources[0].parent, **OPTIONS)
    with pytest.raises(InputError, match="an input too"):
        upscale_many([sources[0], sources[0].with_name("a_x2.tif")], sources[0].parent, **OPTIONS)


def test_an_option_that_fits_no_scene_is_one_error(sources: list[Path], out: Path) -> None:
    with pytest.raises(InputError, match="COMPRESS"):
        upscale_many(sources, out, co={"COMPRESS": "JPEG"}, **OPTIONS)
    with pytest.raises(InputError, match="bicubik"):
        upscale_many(sources, out, model="bicubik")
    with pytest.raises(InputError, match="no scene"):
        upscale_many([], out)
    with pytest.raises(PlaceError, match="can't be made"):
        upscale_many(sources, out / "deep" / "er", **OPTIONS)


def test_few_scenes_are_open_at_a_time(sources: list[Path], out: Path) -> None:
    many = [sources[0].with_name(f"copy{number}.tif") for number in range(12)]
    for path in many:
        path.write_bytes(sources[0].read_bytes())
    most = 0

    def count(done: int, total: int, pixels: int) -> None:
        nonlocal most
        most = max(most, len(list(out.glob(".*.partial"))))

    assert states(upscale_many(many, out, progress=count, **OPTIONS | {"tile": 96})) == ["done"] * 12
    assert most <= OPTIONS["workers"] + 2


def test_a_list_file_names_scenes(tmp_path: Path) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text("# archive\n/data/a.tif\n\n  https://host/b.tif  \n")
    assert read_list(path) == ["/data/a.tif", "https://host/b.tif"]
    path.write_text("/data/ä.tif\n", encoding="utf-8-sig")
    assert read_list(path) == ["/data/ä.tif"]
    with pytest.raises(InputError, match=r"nothing\.txt"):
        read_list(tmp_path / "nothing.txt")


def test_the_command_tells_of_each_scene_and_sums_up(run: Any, sources: list[Path], out: Path, tmp_path: Path) -> None:
    listed = tmp_path / "scenes.txt"
    listed.write_text(f"{sources[1]}\n{tmp_path / 'nothing.tif'}\n")
    arguments = ("upscale", sources[0], f"@{listed}", "--outdir", out, "--model", "bicubic", "--scale", "2")
    code, stdout, err = run(*arguments)
    assert code == 3
    assert sorted(stdout.splitlines()) == [str(out / "a_x2.tif"), str(out / "b_x2.tif")]
    assert [line for line in err.splitlines() if "failed: " in line and "nothing.tif" in line]
    assert "3 scenes: 2 done, 0 skipped, 1 failed" in err.splitlines()[-1]
    code, stdout, _ = run(*arguments, "--json")
    records = [json.loads(line) for line in stdout.splitlines()]
    assert code == 3
    assert sorted(states(records)) == ["failed", "skipped", "skipped"]
    code, stdout, err = run("upscale", sources[0], "--outdir", out, "--model", "bicubic", "--scale", "2")
    assert (code, stdout) == (0, "")
    assert "is there already" in err


def test_a_dry_run_sums_up_and_leaves_nothing(run: Any, sources: list[Path], out: Path) -> None:
    arguments = ("upscale", *sources, "nothing.tif", "--outdir", out, "--model", "bicubic", "--dry-run")
    code, stdout, _ = run(*arguments)
    rows = {words[0]: words[1:] for words in map(str.split, stdout.splitlines())}
    assert code == 3
    assert (rows["scenes"], rows["ready"], rows["skipped"], rows["tiles"]) == (["4"], ["3"], ["0"], ["3"])
    assert rows["failed"][0] == "nothing.tif:"
    assert {"bytes", "memory", "seconds"} <= set(rows)
    assert not out.exists()


def test_a_dry_run_and_a_run_print_records_of_the_same_keys_and_types(run: Any, sources: list[Path], out: Path) -> None:
    arguments = ("upscale", "nothing.tif", *sources, "--outdir", out, "--model", "bicubic", "--json")
    _, planned, _ = run(*arguments, "--dry-run")
    _, done, _ = run(*arguments)
    before, after = (
        {record["src"]: record for record in map(json.loads, text.splitlines())} for text in (planned, done)
    )
    assert before["nothing.tif"] == after["nothing.tif"]
    for src in map(str, sources):
        assert kinds_of(before[src]) == kinds_of(after[src])
        assert (before[src].pop("status"), after[src].pop("status")) == ("ready", "done")
        assert same_facts(before[src]) == same_facts(after[src])


def test_without_a_folder_there_are_a_source_and_a_result(run: Any, sources: list[Path], tmp_path: Path) -> None:
    code, _, err = run("upscale", *sources)
    assert code == 2
    assert "--outdir" in err
    code, _, err = run("upscale", f"@{tmp_path / 'scenes.txt'}")
    assert code == 2
    assert "--outdir" in err


def test_the_plan_says_what_will_be_done(sources: list[Path], out: Path) -> None:
    upscale_many(sources[:1], out, **OPTIONS)
    plan = plan_many([*sources, "nothing.tif"], out, **OPTIONS)
    assert [scene.status for scene in plan.scenes] == ["skipped", "ready", "ready", "failed"]
    assert len(plan.ready) == 2
    assert np.prod(plan.ready[0].plan.shape) == len(plan.ready[0].tiles)


def test_scenes_without_a_georeference_are_planned_side_by_side_in_silence(sources: list[Path], out: Path) -> None:
    many = []
    for number in range(24):
        path = sources[0].with_name(f"bare{number}.tif")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8") as file:
                file.write(np.full((1, 8, 8), number + 1, np.uint8))
        many.append(path)
    before = list(warnings.filters)
    assert states(upscale_many(many, out, **OPTIONS)) == ["done"] * 24
    assert list(warnings.filters) == before


STATISTICS = """<PAMDataset>
  <PAMRasterBand band="1">
    <Histograms>
      <HistItem>
        <HistMin>-0.5</HistMin>
        <HistCounts>1|2</HistCounts>
      </HistItem>
    </Histograms>
    <Metadata>
      <MDI key="STATISTICS_MAXIMUM">4095</MDI>
      <MDI key="STATISTICS_MEAN">2046.2</MDI>
    </Metadata>
  </PAMRasterBand>
</PAMDataset>
"""


def large(path: Path) -> Path:
    """A scene of which neither end tells of the middle."""
    return scenes.write(path, scenes.pixels((1, 500, 600)))


@pytest.mark.parametrize("format", ["COG", "Zarr"])
def test_a_finished_scene_is_known_by_what_its_input_holds(sources: list[Path], out: Path, format: str) -> None:
    options = OPTIONS | {"model": "nearest", "tile": 512, "format": format}
    folder = sources[0].parent
    src = large(folder / "large.tif")
    assert states(upscale_many(src, out, **options)) == ["done"]

    os.utime(src, (1, 1))
    assert states(upscale_many(src, out, **options)) == ["skipped"]
    sidecar = src.with_name("large.tif.aux.xml")
    sidecar.write_text(STATISTICS)  # as a viewer leaves it
    assert states(upscale_many(src, out, **options)) == ["skipped"]
    (folder / "elsewhere").mkdir()
    copy = folder / "elsewhere" / "large.tif"
    copy.write_bytes(src.read_bytes())
    assert states(upscale_many(copy, out, **options)) == ["skipped"]

    change_in_the_middle(copy)
    assert copy.read_bytes()[:65536] == src.read_bytes()[:65536]
    assert copy.read_bytes()[-65536:] == src.read_bytes()[-65536:]
    assert states(upscale_many(copy, out, **options)) == ["failed"]
    sidecar.write_text(STATISTICS.replace("</PAMDataset>", "<Metadata><MDI key='A'>B</MDI></Metadata></PAMDataset>"))
    assert states(upscale_many(src, out, **options)) == ["failed"]


def test_a_copy_of_an_input_gives_the_same_tag_of_what_it_holds(sources: list[Path], out: Path) -> None:
    (out.parent / "other").mkdir()
    copy = out.parent / "other" / "copy.tif"
    copy.write_bytes(sources[0].read_bytes())
    tags = []
    for src in (sources[0], copy):
        (record,) = upscale_many(src, out, **OPTIONS)
        with rasterio.open(record["path"]) as result:
            tags.append(result.tags())
    assert tags[0]["GEOSR_RUN"] == tags[1]["GEOSR_RUN"]
    assert tags[0]["GEOSR_INPUT"].split()[1] == tags[1]["GEOSR_INPUT"].split()[1]


def test_a_release_with_the_same_pixels_goes_on_with_an_archive_and_one_with_others_does_not(
    sources: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscale_many(sources, out, **OPTIONS)
    monkeypatch.setattr(provenance, "__version__", "99.0.0")
    assert states(upscale_many(sources, out, **OPTIONS)) == ["skipped"] * 3
    monkeypatch.setattr(provenance, "PIXELS", provenance.PIXELS + 1)
    assert states(upscale_many(sources, out, **OPTIONS)) == ["failed"] * 3


def test_a_stopped_run_goes_on_with_a_copy_of_its_input_and_with_no_other(tmp_path: Path) -> None:
    class EnoughError(Exception):
        """Stops a run."""

    def stop(done: int, total: int, pixels: int) -> None:
        raise EnoughError

    options = OPTIONS | {"model": "nearest", "tile": 128}
    src, dst = large(tmp_path / "a.tif"), tmp_path / "out.tif"
    with pytest.raises(EnoughError):
        geosr.upscale(src, dst, progress=stop, **options)
    copy = src.rename(tmp_path / "b.tif")
    os.utime(copy, (1, 1))
    before = copy.read_bytes()
    change_in_the_middle(copy)
    with pytest.raises(InputError, match="of this input before it changed"):
        geosr.upscale(copy, dst, **options)
    copy.write_bytes(before)
    assert geosr.upscale(copy, dst, **options)["tiles_from_an_earlier_run"] >= 1


PIXELS_OF = {
    ("nearest", 2): "be963865abdd638f",
    ("bilinear", 2): "0086cdf35d41cc53",
    ("bicubic", 2): "8b59821f05391a7f",
    ("bicubic", 3): "b91005304f62aacb",
    ("lanczos", 4): "22df13b6b928a7c8",
}
"""Digests of results that `provenance.PIXELS` stands for."""


@pytest.mark.parametrize(("model", "scale"), list(PIXELS_OF))
def test_whoever_changes_pixels_raises_their_number(tmp_path: Path, model: str, scale: int) -> None:
    stored = (np.add.outer(np.arange(40) ** 2 * 7, np.arange(50) ** 2 * 11) % 4096).astype(np.uint16)
    src = scenes.write(tmp_path / "a.tif", stored[None])
    geosr.upscale(src, tmp_path / "b.tif", model=model, scale=scale)
    pixels = geosr.open_raster(tmp_path / "b.tif", chunks=None).values
    digest = hashlib.sha256(pixels.astype("<u2").tobytes()).hexdigest()[:16]
    assert (provenance.PIXELS, digest) == (1, PIXELS_OF[model, scale]), "other pixels: raise provenance.PIXELS"
