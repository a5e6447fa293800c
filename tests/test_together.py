"""Several results of one run: whichever step a kill comes at, all are whole or there is no result, and it goes on."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from geosr.errors import InputError, PlaceError
from geosr.io import assemble, growing, journal, writer, zarr_place, zarr_sink
from geosr.io.destination import beside
from geosr.io.layout import Layout
from geosr.io.metadata import BandMetadata, Metadata
from geosr.io.output import outputs_of
from geosr.io.sinks import open_sink
from geosr.io.store import Folder
from geosr.io.template import Template
from geosr.radiometry import IMAGE, Head, Passes, Pixels
from tests.writing import layout_for, noise

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill is played by a child process")

HEADS = (IMAGE, Head("sigma", Passes.SPREAD))
SHAPE = (2, 100, 150)
KILLED = 99
MADE: dict[Any, Any] = {}
"""Templates and documents."""
METADATA = Metadata(
    crs=rasterio.CRS.from_epsg(32633),
    transform=Affine(10, 0, 5e5, 0, -10, 5e6),
    bands=tuple(BandMetadata(name, None, 0.1, -1.0, rasterio.enums.ColorInterp.gray) for name in ("B02", "B03")),
    tags={"": {"PLACE": "somewhere"}},
)


def write(path: Path, *, format: str, seed: int = 0, heads: Sequence[Head] = HEADS, overwrite: bool = False) -> str:
    """A run of its own seed, which goes on where an earlier one was stopped; how it began comes back."""
    layout, plan = layout_for(SHAPE, tile=64, block=64 if format == "Zarr" else 32, format=format)
    image = noise(SHAPE, "uint16", seed)
    pixels = (image, np.abs(noise(SHAPE, "float32", seed + 1)))[: len(heads)]
    outputs = outputs_of(heads, path, layout, METADATA.tagged({"GEOSR_RUN": str(seed)}))
    with open_sink(outputs, (1, 2), f'{{"seed": {seed}}}', overwrite) as sink:
        started = sink.started
        for tile in plan:
            if tile.index not in sink.done():
                results = (Pixels(each[:, *tile.write.slices]) for each in pixels)
                sink.append(tile, sink.encoder(tile, *results))
        sink.finish()
    return started


def killed(step: int, work: Callable[[], Any]) -> bool:
    """Do some work in a process that is killed at the step of this number; False where it is over before.

    A step is whatever changes a disk. Of what is written then only the half arrives.
    """
    child = os.fork()
    if not child:
        try:
            play(step)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def play(step: int) -> None:
    """From now on count steps in this process, and end it at one of them."""
    steps = itertools.count()

    def counted(do: Callable[..., Any], torn: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            if next(steps) == step:
                if torn:
                    torn(*args)
                os._exit(KILLED)
            return do(*args, **options)

        return act

    for module in (growing, journal, assemble):
        whole = module.write_at
        half = lambda file, data, at, whole=whole: whole(file, data[: len(data) // 2], at)  # noqa: E731
        module.write_at = counted(whole, half)
    put, kept = Folder._put, counted(Folder._put)
    replace, named = Path.replace, counted(Path.replace)
    # Of a store's many objects the notes of tiles and the root's documents are steps.
    Folder._put = lambda self, key, data: (kept if ".geosr" in key or "/" not in key else put)(self, key, data)
    Path.replace = lambda self, to: (replace if self.suffix == ".spare" else named)(self, to)
    for name in ("unlink", "rename"):
        setattr(Path, name, counted(getattr(Path, name)))
    os.fsync = counted(os.fsync)
    zarr_place.shutil.rmtree = counted(zarr_place.shutil.rmtree)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the disk, and what GDAL and zarr-python write of metadata is made once."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    make, objects, made = Template.make, zarr_sink.objects, MADE

    def template(layout: Layout, profile: Any, apply: Any, *how: Any) -> Any:
        key = layout, repr(apply.__self__)
        return made[key] if key in made else made.setdefault(key, make(layout, profile, apply, *how))

    def documents(attributes: Any, arrays: Any, version: Any) -> Any:
        arrays = list(arrays)
        key = tuple(array.path for array, _, _ in arrays)
        return made[key] if key in made else made.setdefault(key, list(objects(attributes, arrays, version)))

    monkeypatch.setattr(Template, "make", template)
    monkeypatch.setattr(zarr_sink, "objects", documents)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, bytes]]:
    """The files that an undisturbed run leaves, by name."""
    kept: dict[Any, dict[str, bytes]] = {}

    def made(format: str, seed: int = 0, heads: Sequence[Head] = HEADS) -> dict[str, bytes]:
        if (format, seed, heads) not in kept:
            folder = tmp_path_factory.mktemp("whole")
            write(folder / name_of(format), format=format, seed=seed, heads=heads)
            kept[format, seed, heads] = files(folder)
        return kept[format, seed, heads]

    return made


def name_of(format: str) -> str:
    return "x.zarr" if format == "Zarr" else "x.tif"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seen(folder: Path) -> dict[str, bytes]:
    """What a reader sees: what a run keeps for itself is nothing to him."""
    return {name: data for name, data in files(folder).items() if not name.startswith(".") and "/.geosr/" not in name}


def steps_of(work: Callable[[Path], Any], folder: Path, prepare: Callable[[Path], Any]) -> Iterator[Path]:
    """A folder for each step that some work was killed at there, after what was prepared in it."""
    for step in itertools.count():
        here = folder / str(step)
        here.mkdir()
        prepare(here)
        if not killed(step, lambda here=here: work(here)):  # type: ignore[misc]
            assert step > 15
            return
        yield here


@pytest.mark.parametrize("format", ["COG", "GTiff", pytest.param("Zarr", marks=pytest.mark.slow)])
def test_a_run_that_is_killed_at_any_step_goes_on_to_the_same_files(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    name = name_of(format)
    for here in steps_of(lambda here: write(here / name, format=format), tmp_path, lambda here: None):
        left = seen(here)
        assert left.items() <= expected(format).items()  # what has a name is whole
        if name in left:
            assert left == expected(format)
            continue
        if format == "Zarr" and left:
            continue
        write(here / name, format=format)
        assert files(here) == expected(format)


@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_tiles_are_kept_whichever_step_a_kill_comes_at(format: str, tmp_path: Path) -> None:
    began = []
    for here in steps_of(lambda here: write(here / "x.tif", format=format), tmp_path, lambda here: None):
        if not (here / "x.tif").exists():
            began.append(write(here / "x.tif", format=format))
    first = began.index("resumed")
    assert set(began[:first]) == {"fresh"}
    assert set(began[first:]) == {"resumed"}
    assert first < len(began) / 2


@pytest.mark.slow
@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_a_result_that_is_replaced_is_never_seen_with_what_belongs_to_another(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    old, new = expected(format, seed=7), expected(format)
    for here in steps_of(
        lambda here: write(here / "x.tif", format=format, overwrite=True),
        tmp_path,
        lambda here: write(here / "x.tif", format=format, seed=7),
    ):
        left = seen(here)
        assert left in (old, new) or "x.tif" not in left
        write(here / "x.tif", format=format, overwrite="x.tif" in left)
        assert files(here) == new


@pytest.mark.slow
@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_what_lies_beside_a_result_goes_when_one_that_has_none_replaces_it(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    old, new = expected(format, seed=7), expected(format, heads=(IMAGE,))
    for here in steps_of(
        lambda here: write(here / "x.tif", format=format, heads=(IMAGE,), overwrite=True),
        tmp_path,
        lambda here: write(here / "x.tif", format=format, seed=7),
    ):
        left = seen(here)
        assert left in (old, new) or "x.tif" not in left
        write(here / "x.tif", format=format, heads=(IMAGE,), overwrite="x.tif" in left)
        assert files(here) == new


@pytest.mark.slow
@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_a_run_of_other_settings_takes_away_all_that_a_killed_one_left(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    refused = 0
    for here in steps_of(lambda here: write(here / "x.tif", format=format), tmp_path, lambda here: None):
        if (here / ".x.tif.partial").exists() and not (here / "x.tif").exists():
            with pytest.raises(InputError, match=r"other settings .*seed was 0 and is 7"):
                write(here / "x.tif", format=format, seed=7, heads=(IMAGE,))
            refused += 1
        write(here / "x.tif", format=format, seed=7, heads=(IMAGE,), overwrite=True)
        assert {name for name in files(here) if not name.endswith(".lock")} == {"x.tif"}
        assert (here / "x.tif").read_bytes() == expected(format, seed=7, heads=(IMAGE,))["x.tif"]
    assert refused > 10


@pytest.mark.slow
@pytest.mark.parametrize("format", ["COG", "GTiff", "Zarr"])
def test_a_run_may_be_killed_again_and_again(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    dice, path = random.Random(3), tmp_path / name_of(format)
    kills = 0
    for _ in range(4):
        for _ in range(6):
            kills += killed(dice.randrange(25), lambda: write(path, format=format))
            if path.exists():
                break
        else:
            write(path, format=format)
        assert seen(tmp_path) == expected(format)
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        if format == "Zarr":
            zarr_place.shutil.rmtree(path)
    assert kills > 10


@pytest.mark.slow
@pytest.mark.parametrize("format", ["COG", "GTiff"])
def test_a_result_that_was_to_be_replaced_comes_back_with_the_next_run_even_if_that_is_refused(
    format: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    old, new = expected(format, seed=7), expected(format, heads=(IMAGE,))
    back = 0
    for here in steps_of(
        lambda here: write(here / "x.tif", format=format, heads=(IMAGE,), overwrite=True),
        tmp_path,
        lambda here: write(here / "x.tif", format=format, seed=7),
    ):
        back += "x.tif" not in seen(here)
        with pytest.raises(InputError, match=r"other settings|x\.tif exists"):
            write(here / "x.tif", format=format, seed=3)
        assert seen(here) in (old, new)
    assert back > 3


def spoilt_naming(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """From now on one file can't be given its name."""
    name = growing.put_in_place

    def refuse(whole: Path, path: Path, sidecar: bytes | None) -> None:
        if path.name == fails:
            path.with_name(f"{fails}.aux.xml").write_bytes(b"of the new one")
            raise PermissionError(13, "Permission denied")
        name(whole, path, sidecar)

    monkeypatch.setattr(growing, "put_in_place", refuse)


@pytest.mark.parametrize("format", ["COG", "GTiff"])
@pytest.mark.parametrize("fails", ["x.sigma.tif", "x.tif"])
@pytest.mark.parametrize("then", [0, 3])
def test_the_old_result_is_there_where_the_new_one_cannot_take_its_name_and_that_one_is_kept(
    format: str,
    fails: str,
    then: int,
    tmp_path: Path,
    expected: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path / "x.tif", format=format, seed=7)
    (tmp_path / "x.sigma.tif.aux.xml").write_bytes(b"<PAMDataset/>")
    old = files(tmp_path)
    with monkeypatch.context() as spoilt:
        spoilt_naming(spoilt, fails)
        with pytest.raises(PlaceError, match="finished tiles are kept"):
            write(tmp_path / "x.tif", format=format, overwrite=True)
    assert seen(tmp_path) == old
    assert write(tmp_path / "x.tif", format=format, seed=then, overwrite=True) == ("restarted" if then else "resumed")
    assert files(tmp_path) == expected(format, seed=then)


def tag(path: Path, **tags: str) -> None:
    """A small raster of someone's, with these tags."""
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8", "transform": Affine.scale(2)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((1, 8, 8), 7, "uint8"))
        file.update_tags(**tags)


@pytest.mark.parametrize("told", ["sr sigma", "sr ../up", "sr . ..", "sr /etc/sigma"])
def test_a_file_goes_with_the_image_that_is_replaced_only_if_it_says_itself_that_it_is_its(
    told: str, tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    for name, tags in (("x.sigma.tif", {}), ("up.tif", {}), ("x.up.tif", {"GEOSR_RESULT": "up", "GEOSR_RUN": "other"})):
        tag(tmp_path / name, **tags)
    others = files(tmp_path)
    tag(tmp_path / "x.tif", GEOSR_RESULTS=f"{told} up", GEOSR_RUN="one")
    write(tmp_path / "x.tif", format="COG", heads=(IMAGE,), overwrite=True)
    assert files(tmp_path) == others | expected("COG", heads=(IMAGE,))


@pytest.mark.parametrize("tags", [{}, {"GEOSR_RESULT": "sigma"}, {"GEOSR_RESULT": "sigma", "GEOSR_RUN": "other"}])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_is_not_of_the_image_is_not_replaced_by_its_spread(
    tags: dict[str, str], overwrite: bool, tmp_path: Path
) -> None:
    tag(tmp_path / "x.sigma.tif", **tags)
    tag(tmp_path / "x.tif", GEOSR_RUN="7")
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"x.*\.tif (does not belong to x\.tif|exists; use --overwrite)") as caught:
        write(tmp_path / "x.tif", format="COG", overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_a_file_that_came_while_tiles_were_made_is_not_replaced(
    tmp_path: Path, expected: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    say = writer.TiffSink._say_together
    with monkeypatch.context() as late:
        late.setattr(
            writer.TiffSink, "_say_together", lambda self, stale: (say(self, stale), tag(tmp_path / "x.sigma.tif"))
        )
        with pytest.raises(InputError, match=r"x\.sigma\.tif does not belong to x\.tif"):
            write(tmp_path / "x.tif", format="COG")
    came = seen(tmp_path)
    assert came.keys() == {"x.sigma.tif"}
    (tmp_path / "x.sigma.tif").rename(tmp_path / "mine.tif")
    assert write(tmp_path / "x.tif", format="COG") == "resumed"
    assert files(tmp_path) == {"mine.tif": came["x.sigma.tif"]} | expected("COG")


def test_a_spread_whose_image_is_gone_is_not_replaced_unasked(
    tmp_path: Path, expected: Callable[..., dict[str, bytes]]
) -> None:
    assert beside(tmp_path / "x.tif", "sigma") == tmp_path / "x.sigma.tif"
    write(tmp_path / "x.tif", format="COG", seed=7)
    (tmp_path / "x.tif").unlink()
    with pytest.raises(InputError, match=r"x\.sigma\.tif exists; use --overwrite"):
        write(tmp_path / "x.tif", format="COG")
    assert files(tmp_path) == {"x.sigma.tif": expected("COG", seed=7)["x.sigma.tif"]}
    write(tmp_path / "x.tif", format="COG", overwrite=True)
    assert files(tmp_path) == expected("COG")


def test_two_runs_do_not_write_one_file_even_if_it_is_a_spread_to_one_of_them(tmp_path: Path) -> None:
    layout, _ = layout_for(SHAPE, tile=64, block=32, format="COG")
    alone = outputs_of((IMAGE,), tmp_path / "x.sigma.tif", layout, METADATA)
    with open_sink(alone, (1, 2), "{}", False), pytest.raises(PlaceError, match="another run"):
        write(tmp_path / "x.tif", format="COG")


def test_a_run_of_one_result_neither_notes_more_nor_takes_away_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.tif", format="COG", heads=(IMAGE,), seed=7)
    monkeypatch.setattr(writer.TiffSink, "_say_together", None)
    monkeypatch.setattr(writer.TiffSink, "_exchange", None)
    write(tmp_path / "x.tif", format="COG", heads=(IMAGE,), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]
