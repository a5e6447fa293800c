"""Training material: rasters of any kind by pattern, places kept apart, pairs made comparable."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.enums import ColorInterp
from scipy import ndimage

from geosr.errors import InputError
from geosr.models.degradation import degrade
from geosr.response import Response
from geosr.training.collection import collect
from geosr.training.loop import train
from geosr.training.pairs import harmonise, load_pairs
from geosr.training.patches import Patches
from geosr.training.places import held_out_pairs, names, split
from geosr.training.rasters import Notes, load_planes, open_rasters, read_pixels, read_rasters
from geosr.training.reading import read_groups
from geosr.training.recipe import Data, Group, PairFiles, Recipe
from geosr.training.samples import Paired
from geosr.training.validation import cases_of, cases_of_pairs
from tests import scenes


def ground(side: int = 160, seed: int = 0) -> Any:
    """Something with edges and texture at all scales, (side, side) float64, about 1000 +- 200."""
    random = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(random.standard_normal((side, side)), s) * s for s in (1, 2, 4, 8)]
    return 1000 + 60 * sum(layers) + 150 * (layers[3] > 0)


def write(folder: Path, name: str, seed: int = 0, place: int = 0, **options: Any) -> Path:
    moved = Affine(10, 0, 500_000 + 100_000 * place, 0, -10, 5_000_000)
    return scenes.write(
        folder / name, ground(seed=seed)[None].astype(np.uint16), **{"transform": moved, "crs": scenes.UTM} | options
    )


def group(*patterns: str, **options: Any) -> Group:
    return Group(tuple(patterns), **options)


def data(folder: Path, *patterns: str, **options: Any) -> Data:
    return Data(train=(group(*patterns),), root=str(folder), **options)


def test_geotiff_png_and_jpeg_are_read_alike(tmp_path: Path) -> None:
    for number, driver in enumerate(("PNG", "JPEG")):
        scenes.make_photo(tmp_path, driver).rename(tmp_path / f"photo{number}.{driver.lower()}")
    write(tmp_path, "a.tif")
    collection = collect(data(tmp_path, "*.tif", "*.png", "*.jpeg"), 2, 1)
    files = {Path(plane.file).name for plane in (*collection.train, *collection.validate)}
    assert files == {"a.tif", "photo0.png", "photo1.jpeg"}


def test_invalid_pixels_are_never_in_a_patch(tmp_path: Path) -> None:
    stored = ground().astype(np.uint16)[None].repeat(2, 0)
    stored[0, :40] = 7
    path = scenes.write(tmp_path / "holed.tif", stored, nodata=7)
    with rasterio.open(tmp_path / "masked.tif", "w", **rasterio.open(path).profile | {"nodata": None}) as dst:
        dst.write(stored)
        mask = np.full(stored.shape[1:], 255, np.uint8)
        mask[:, 100:] = 0
        dst.write_mask(mask)
    notes = Notes()
    rasters = open_rasters([path, tmp_path / "masked.tif"], group("*"), notes)
    planes = read_rasters(rasters, budget=1e9, seed=0, notes=notes)
    holes = [np.isnan(plane.values) for plane in planes]
    assert holes[0][:40].all()
    assert not holes[0][40:].any()
    assert all(hole[:, 100:].all() and not hole[:, :100].any() for hole in holes[2:])
    batch = Patches(planes, 48, 0).batch(20)
    assert bool(torch.isfinite(batch.hr).all())


def test_classes_palettes_and_broken_files_are_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path, "a.tif")
    write(tmp_path, "b.tif", 1, 1)
    with rasterio.open(tmp_path / "b.tif", "r+") as dst:
        dst.set_band_description(1, "SCL")
    with rasterio.open(write(tmp_path, "c.tif", 2, 2, dtype="uint8", nodata=None), "r+") as dst:
        dst.colorinterp = [ColorInterp.palette]
    scenes.make_truncated(tmp_path, tmp_path / "a.tif", 0.01, "d.tif")
    write(tmp_path, "e.tif", 3, 3)
    collection = collect(data(tmp_path, "*.tif"), 2, 1)
    files = {Path(plane.file).name for plane in (*collection.train, *collection.validate)}
    assert files == {"a.tif", "e.tif"}
    told = "\n".join(collection.notes)
    assert "bands of classes or palette entries have no detail to learn: b.tif, c.tif" in told
    assert "can't be read: d.tif" in told
    with pytest.raises(InputError, match="no file matches"):
        collect(data(tmp_path, "*.jp2"), 2, 1)
    with pytest.raises(InputError, match="nothing is left to train on; left out, bands of classes"):
        collect(replace(data(tmp_path, "[bc].tif"), validate=(group("a.tif"),)), 2, 1)


def test_a_collection_beyond_the_budget_is_sampled_by_windows(tmp_path: Path) -> None:
    big = np.tile(ground(128).astype(np.uint16), (16, 16))[None]
    scenes.write(tmp_path / "big.tif", big, tiled=True)
    rasters = open_rasters([tmp_path / "big.tif"], group("*"), Notes())
    notes = Notes()
    planes = read_rasters(rasters, budget=2.2e6, seed=0, notes=notes)
    assert 1e6 < sum(plane.values.nbytes for plane in planes) < 3e6
    assert len({plane.contrast for plane in planes}) == 1
    assert "2 MB of 8 MB in 1 files" in notes.lines()[0]
    again = read_rasters(rasters, budget=2.2e6, seed=0, notes=Notes())
    assert all(np.array_equal(one.values, two.values) for one, two in zip(planes, again, strict=True))


def test_windows_of_one_file_are_not_bands_of_one_place(tmp_path: Path) -> None:
    scenes.write(tmp_path / "one.tif", np.tile(ground(128).astype(np.uint16), (16, 16))[None], tiled=True)
    planes = read_rasters(open_rasters([tmp_path / "one.tif"], group("*"), Notes()), budget=4e6, seed=0, notes=Notes())
    assert len(planes) > 1
    assert len({plane.place for plane in planes}) == len(planes)
    assert {len(bands) for bands in Patches(planes, 32, 0).scenes.values()} == {1}
    with pytest.raises(InputError, match="no raster to train on has 3 bands"):
        Patches(planes, 32, 0, together=3)


def test_an_archive_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", index=np.array("[]"), **{"0": ground(64)})
    whole = (tmp_path / "a.npz").read_bytes()
    for size in (len(whole) // 2, 10, 0):
        (tmp_path / "a.npz").write_bytes(whole[:size])
        with pytest.raises(InputError, match="is no archive of bands"):
            load_planes(tmp_path / "a.npz")


def test_places_are_kept_apart_by_ground_not_by_file(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{place}_{date}.tif", place, place) for place in range(12) for date in "ab"]
    rasters = open_rasters(paths, group("*"), Notes())
    train, validate, line = split(rasters, 2)
    places = [{raster.scene.name.split("_")[0] for raster in part} for part in (train, validate)]
    assert not places[0] & places[1]
    assert (len(train), len(validate)) == (22, 2)
    assert "12 places" in line


def test_of_a_lone_place_the_far_end_is_kept_with_a_gap(tmp_path: Path) -> None:
    rasters = open_rasters([write(tmp_path, "a.tif"), write(tmp_path, "b.tif", 1)], group("*"), Notes())
    train, validate, line = split(rasters, 2)
    assert "only place" in line
    for near, far in zip(train, validate, strict=True):
        assert near.part.stop[0] + 24 <= far.part.row
        assert far.part.stop[0] == 160
    with pytest.raises(InputError, match="too small to keep a part"):
        split(rasters, 4)
    with pytest.raises(InputError, match="on 2 grids"):
        split([rasters[0], replace(rasters[1], part=replace(rasters[1].part, height=150))], 2)


def test_files_of_one_name_are_places_of_their_own(tmp_path: Path) -> None:
    for place in range(12):
        (tmp_path / f"p{place}").mkdir()
        write(tmp_path, f"p{place}/B04.tif", place, place)
    train, validate, line = split(open_rasters(sorted(tmp_path.glob("*/B04.tif")), group("*"), Notes()), 2)
    assert f"kept for validation: {Path(validate[0].file).parent.name}/B04.tif" in line
    cases = cases_of(read_rasters(train, budget=1e9, seed=0, notes=Notes()), 2)
    assert len({case.place for case in cases}) == len(train) == 11
    assert list(names(["a/x/1.tif", "b/x/1.tif", "b/2.tif", "1.tif"]).values()) == [
        "a/x/1.tif", "b/x/1.tif", "2.tif", "1.tif",
    ]  # fmt: skip


def test_zeros_are_numbers_where_a_file_says_what_its_fill_is_or_goes_below(tmp_path: Path) -> None:
    around = (ground() - 1000).astype(np.int16)[None]
    around[0, 5] = 0
    shapes = {"declared": (np.abs(around), -32768), "below": (around, None), "silent": (np.abs(around), None)}
    for name, (stored, nodata) in shapes.items():
        path = scenes.write(tmp_path / f"{name}.tif", stored, nodata=nodata)
        [raster] = open_rasters([path], group("*"), Notes())
        holes = np.isnan(read_pixels(raster, raster.part).astype(np.float32))
        assert np.array_equal(holes, (stored == 0) if name == "silent" else np.zeros(stored.shape, bool))


def test_tables_without_a_name_keep_their_weights(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path, f"{number}.tif", number, number)
    groups = read_groups([{"files": "0.tif", "weight": 3}, {"files": ["1.tif"]}], "train")
    assert [(each.name, each.weight) for each in groups] == [("imagery 1", 3), ("imagery 2", 1.0)]
    rasters = [raster for each in groups for raster in open_rasters([tmp_path / each.files[0]], each, Notes())]
    planes = read_rasters(rasters, budget=1e9, seed=0, notes=Notes())
    assert Patches(planes, 48, 0).edges.tolist() == [0.75, 1.0]


def test_a_file_that_is_validated_on_is_not_trained_on(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"{number}.tif", number, number)
    collection = collect(replace(data(tmp_path, "*.tif"), validate=(group("1.tif"),)), 2, 1)
    assert {Path(plane.file).name for plane in collection.train} == {"0.tif", "2.tif"}
    assert {Path(plane.file).name for plane in collection.validate} == {"1.tif"}


def seen(hr: Any, mtf: float = 0.3, scale: int = 2) -> Any:
    return degrade(torch.from_numpy(hr[None, None].astype(np.float32)), Response.gaussian(mtf), scale)[0, 0].numpy()


FILES = PairFiles("lr/*.tif", "hr/*.tif")


def test_a_pair_is_registered_and_brought_to_the_units_of_the_input() -> None:
    wide = ground(192)
    hr = wide[16:176, 16:176]
    lr = seen(ndimage.shift(wide, (1.3, -0.8), order=3)[16:176, 16:176], mtf=0.3)
    lr[30:40, 30:40] = 3000  # a cloud
    made, mtf = harmonise(lr, ((hr - 200) / 2.5).astype(np.float32), 2, FILES)
    truth = ndimage.shift(wide, (1.3, -0.8), order=3)[16:176, 16:176]
    inner = np.s_[10:-10, 10:-10]
    assert np.sqrt(np.nanmean((made - truth)[inner] ** 2)) < 0.1 * truth[inner].std()
    assert mtf == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("by", "reason"), [((14, 0), "out of register"), (None, "correlation|out of register")])
def test_a_pair_out_of_register_or_of_another_place_is_rejected(by: tuple[int, int] | None, reason: str) -> None:
    hr = ground(160)
    lr = seen(ground(160, seed=9) if by is None else np.roll(hr, by, (0, 1)))
    with pytest.raises(InputError, match=reason):
        harmonise(lr, hr.astype(np.float32), 2, FILES)


@pytest.fixture
def paired(tmp_path: Path) -> Path:
    """Five good pairs, one of another place, one of another size, one without a partner."""
    for folder in ("lr", "hr"):
        (tmp_path / folder).mkdir()
    for number in range(7):
        hr = ground(160, seed=number)
        lr = seen(ground(160, seed=70) if number == 5 else hr)
        sharp, coarse = (hr / 3)[None, : 100 if number == 6 else None], np.rint(lr)[None]
        corner = (5e5, 4e6 + 1e4 * number)
        for folder, stored, side in (("hr", sharp.astype(np.float32), 10), ("lr", coarse.astype(np.uint16), 20)):
            there = Affine(side, 0, corner[0], 0, -side, corner[1])
            scenes.write(tmp_path / folder / f"{number}.tif", stored, transform=there)
    scenes.write(tmp_path / "lr" / "lone.tif", np.rint(lr)[None].astype(np.uint16))
    return tmp_path


def test_pairs_are_matched_by_name_and_every_rejection_has_its_reason(paired: Path) -> None:
    pairs, lines = load_pairs(FILES, str(paired), 2)
    assert [pair.name for pair in pairs] == list("01234")
    told = "\n".join(lines)
    assert "5 (" in told or "5 band 1 (" in told  # whichever of its two measures is the first to tell
    assert "6 (a reference of 100 x 160, expected 160 x 160 at x2)" in told
    assert "without a partner of the same name: lone.tif" in told
    sample = Paired(pairs, 24, 2, 0).draw(4)()
    assert sample.truth is not None
    assert sample.truth.shape == sample.base.shape == (4, 1, 40, 40)
    assert float((sample.truth - sample.base).std()) < 0.5 * float(sample.truth.std())
    with pytest.raises(InputError, match=r"has no \*"):
        load_pairs(replace(FILES, lr="lr/0.tif"), str(paired), 2)


def test_pairs_and_unlabelled_scenes_train_together_and_come_out_better_than_bicubic(paired: Path) -> None:
    write(paired, "new.tif", 30)
    recipe = Recipe(
        scale=2, out=str(paired / "run"), channels=8, blocks=1, patch=16, batch=8, steps=40, check_every=40, warm_up=2,
        pairs=FILES, loss={"absolute": 1.0, "consistency": 0.1, "unlabelled": 0.1},
        data=Data(unlabelled=(group("new.tif"),), root=str(paired)),
    )  # fmt: skip
    trained = train(recipe)
    assert trained.progress.loss < 0.97
    assert trained.card["validation"]["over_bicubic"][0] > 0
    assert len(trained.card["validation"]["places"]) == 1


def test_ground_that_pairs_are_validated_on_is_not_trained_on(paired: Path) -> None:
    for number in range(5):  # the same ground once more: as rasters, and as another date of the pair
        shutil.copy(paired / "hr" / f"{number}.tif", paired / f"again{number}.tif")
        for folder in ("hr", "lr"):
            shutil.copy(paired / folder / f"{number}.tif", paired / folder / f"later{number}.tif")
    pairs, _ = load_pairs(FILES, str(paired), 2)
    kept = held_out_pairs([pair.name for pair in pairs], [pair.ground for pair in pairs])
    assert len(kept) == 2
    assert {name.removeprefix("later") for name in kept} == {min(kept)}
    grounds = [pair.ground for pair in pairs if pair.name in kept and pair.ground is not None]
    write(paired, "other.tif", 30, 50)
    collection = collect(data(paired, "again*.tif", validate=(group("other.tif"),)), 2, 1, grounds)
    trained = {Path(plane.file).name for plane in collection.train}
    assert trained == {f"again{number}.tif" for number in range(5)} - {f"again{min(kept)}.tif"}
    assert any("ground that is validated on" in line for line in collection.notes)


def test_pairs_that_all_show_validated_ground_leave_nothing_to_train_on(paired: Path) -> None:
    for number in range(5):
        shutil.copy(paired / "hr" / f"{number}.tif", paired / f"again{number}.tif")
    recipe = Recipe(
        scale=2, out=str(paired / "run"), channels=8, blocks=1, patch=16, batch=8, steps=4, pairs=FILES,
        data=Data(validate=(group("again*.tif"),), root=str(paired)),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"nothing is left to train on; .*bands of pairs left out"):
        train(recipe)


def test_unlabelled_scenes_are_kept_off_validated_ground_too(tmp_path: Path) -> None:
    for number, place in enumerate((0, 1, 2)):
        write(tmp_path, f"{number}.tif", number, place)
    write(tmp_path, "again.tif", 9, 1)
    collection = collect(
        data(tmp_path, "0.tif", validate=(group("1.tif"),), unlabelled=(group("2.tif", "again.tif"),)), 2, 1
    )
    assert {Path(plane.file).name for plane in collection.unlabelled} == {"2.tif"}


def test_pairs_are_judged_on_a_window_that_is_valid_in_both_images(paired: Path) -> None:
    pair = load_pairs(FILES, str(paired), 2)[0][0]
    hr = ground(600).astype(np.float32)
    lr = seen(hr).astype(np.float32)
    lr[:40], hr[:, -90:] = np.nan, np.nan
    [case] = cases_of_pairs([replace(pair, lr=lr, hr=hr)], 2)
    assert case.lr.shape == (1, 96, 96)
    assert case.truth.shape == (1, 192, 192)
    assert np.isfinite(case.lr).all()
    assert np.isfinite(case.truth).all()
    reduced = case.truth[0].reshape(96, 2, 96, 2).mean((1, 3))
    assert np.corrcoef(reduced.ravel(), case.lr[0].ravel())[0, 1] > 0.98
    assert cases_of_pairs([replace(pair, lr=np.full_like(pair.lr, np.nan))], 2) == []


def test_tiles_side_by_side_on_a_turned_grid_are_places_of_their_own(tmp_path: Path) -> None:
    for row in range(3):
        for col in range(4):  # far from the zone's meridian, where the grid is turned against north
            there = Affine(10, 0, 8e5 + 1600 * col, 0, -10, 6e6 - 1600 * row)
            scenes.write(tmp_path / f"{row}{col}.tif", ground(160, seed=10 * row + col)[None], transform=there)
    rasters = open_rasters(sorted(tmp_path.glob("*.tif")), group("*"), Notes())
    train, validate, line = split(rasters, 2)
    assert "12 places" in line
    assert (len(train), len(validate)) == (11, 1)


def test_the_example_trains_on_a_folder_and_uses_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(3):
        write(tmp_path / "mine", f"{number}.tif", number, number)
    example = runpy.run_path(str(Path(__file__).resolve().parents[1] / "examples" / "train_your_own.py"))
    monkeypatch.setitem(example["main"].__globals__, "Recipe", partial(Recipe, channels=8, blocks=1))
    gain, result = example["main"](str(tmp_path / "mine"), 0.03, str(tmp_path / "run"))
    assert "dB over bicubic on 1 places" in capsys.readouterr().out
    assert np.isfinite(gain)
    with rasterio.open(result) as dataset:
        assert dataset.shape == (320, 320)
