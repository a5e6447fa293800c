"""Training: recipes, patches and a loop that can be killed."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from safetensors.torch import load_file, save_file

from benchmarks.protocol import Case, load_scenes
from benchmarks.report import record
from geosr.errors import InputError
from geosr.models import registry
from geosr.models.checkpoint import read_card
from geosr.models.networks import NETWORKS, fast
from geosr.models.runtime import network_for
from geosr.noise import Noise
from geosr.response import PROBE
from geosr.sensors import Band
from geosr.training import log
from geosr.training.loop import train
from geosr.training.losses import LOSSES, charbonnier, total
from geosr.training.pairs import Pair
from geosr.training.patches import Patches
from geosr.training.rasters import load_planes
from geosr.training.reading import read_recipe
from geosr.training.recipe import Critic, Data, Group, Recipe
from geosr.training.samples import Degraded, Paired, sharp_side
from geosr.training.sensing import Degradation
from geosr.training.start import adopt
from geosr.training.team import Team
from geosr.training.trainer import Material, Progress, Trainer, learning_rate
from tests.test_cli import geosr

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blocks(seed: int = 0, side: int = 128) -> Any:
    """Squares with sharp edges, uint16."""
    random = np.random.default_rng(seed)
    return np.kron(random.integers(100, 900, (side // 8, side // 8)), np.ones((8, 8), int)).astype(np.uint16)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe over small bands of blocks with sharp edges, one with invalid pixels; one file is validated on."""
    holed = blocks(0).astype(np.float32)
    holed[:20, :20] = np.nan
    groups = ("a", "b", "b")
    index = [{"group": g, "file": f"{i}.tif", "weight": 1, "snr": g == "a"} for i, g in enumerate(groups)]
    planes = {"0": blocks(0), "1": holed, "2": blocks(2)}
    np.savez(tmp_path / "planes.npz", index=np.array(json.dumps(index)), **planes)
    return Recipe(
        scale=2, data=Data(train=(Group((str(tmp_path / "planes.npz"),)),)), out=str(tmp_path / "run"), channels=8,
        blocks=1, patch=12, batch=4, steps=40, minutes=1.0, warm_up=2, save_every=10, check_every=20,
    )  # fmt: skip


ADVERSARIAL = {"absolute": 1.0, "perceptual": 0.5, "adversarial": 0.1}


def trainer(recipe: Recipe, device: str = "cpu") -> Trainer:
    planes = load_planes(recipe.data.train[0].files[0])
    patches = Patches(planes, sharp_side(recipe.patch, recipe.scale), recipe.seed)
    source = Degraded(patches, Degradation(), recipe.scale, recipe.seed)
    return Trainer(recipe, Material(((source, 1.0),)), device=device)


@pytest.mark.parametrize("loss", ["absolute", "decibels"])
def test_eighty_steps_bring_the_error_below_bicubics(recipe: Recipe, loss: str) -> None:
    assert train(replace(recipe, loss={loss: 1.0}, noisy=0.0, steps=80)).progress.loss < 0.97


def test_bands_of_one_place_go_together_where_their_spectra_are_compared(recipe: Recipe, tmp_path: Path) -> None:
    first = blocks(0)
    bands = [first, 2 * first, 5 * first, blocks(3)]
    files = ["a.tif"] * 3 + ["b.tif"]
    index = [{"group": "a", "file": file, "weight": 1, "snr": True} for file in files]
    stored = {str(number): band for number, band in enumerate(bands)}
    np.savez(tmp_path / "spectra.npz", index=np.array(json.dumps(index)), **stored)
    named = (Group((str(tmp_path / "spectra.npz"),)),)
    batch = Patches(load_planes(named[0].files[0]), 24, seed=0, together=3).batch(9)
    numbers = (batch.hr * batch.contrast.view(-1, 1, 1, 1)).view(3, 3, 24, 24)
    for place in numbers:
        ratios = sorted(float((band / place[0]).mean() * 10) for band in place)
        assert [ratio / ratios[0] for ratio in ratios] == pytest.approx([1, 2, 5], rel=1e-4)
    spectral = replace(
        recipe, loss={"decibels": 1.0, "spectral": 1.0}, batch=6, data=Data(train=named, validate=recipe.data.train)
    )
    assert train(spectral).progress.loss < 0.97
    with pytest.raises(InputError, match="no raster to train on has 3 bands"):
        train(replace(recipe, loss={"spectral": 1.0}, batch=6, out=str(tmp_path / "none")))
    with pytest.raises(InputError, match=r"a multiple of 3 \(it is 4\)"):
        train(replace(recipe, loss={"spectral": 1.0}))


@pytest.mark.parametrize(
    ("optimiser", "loss"), [("adam", {"decibels": 1.0}), ("soap", {"decibels": 1.0}), ("adam", ADVERSARIAL)]
)
def test_a_run_that_was_killed_ends_with_the_same_weights(
    recipe: Recipe, tmp_path: Path, optimiser: str, loss: dict[str, float]
) -> None:
    recipe = replace(recipe, optimiser=optimiser, loss=loss, adversary=Critic(channels=4))
    undisturbed = trainer(recipe)
    for _ in range(20):
        undisturbed.step()
        if undisturbed.progress.step == 13:
            undisturbed.save(tmp_path / "killed")
    resumed = trainer(replace(recipe, seed=99))
    resumed.load(tmp_path / "killed")
    for _ in range(7):
        resumed.step()
    assert resumed.progress.loss == undisturbed.progress.loss
    assert all(torch.equal(value, resumed.average[name]) for name, value in undisturbed.average.items())


def test_a_run_goes_on_where_it_was_cut_off(recipe: Recipe) -> None:
    train(replace(recipe, steps=10))
    first = load_file(Path(recipe.out) / "weights.safetensors")
    again = trainer(recipe)
    again.load(Path(recipe.out))
    assert again.progress.step == 10
    assert all(torch.equal(again.average[name], value) for name, value in first.items())
    assert again.step().step == 11
    assert train(recipe).progress.step == 40
    assert train(recipe).progress.step == 40


def test_the_checkpoint_is_a_network(recipe: Recipe) -> None:
    train(replace(recipe, steps=3))
    network = fast(2, channels=8, blocks=1)
    weights = load_file(Path(recipe.out) / "weights.safetensors")
    network.load_state_dict(weights)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_training_ends_with_the_steps_or_the_time() -> None:
    recipe = Recipe(scale=2, steps=100, minutes=1.0)
    assert Progress(50, 6.0, 1.0).share(recipe) == 0.5
    assert Progress(10, 45.0, 1.0).share(recipe) == 0.75
    assert Progress(10, 99.0, 1.0).share(recipe) == 1.0


def test_the_learning_rate_rises_and_then_falls_to_a_hundredth() -> None:
    recipe = Recipe(scale=2, steps=1000, warm_up=100)
    rates = [learning_rate(recipe, Progress(step, 0.0, 1.0)) for step in (0, 99, 500, 1000)]
    assert rates[0] == pytest.approx(recipe.rate / 100, rel=0.01)
    assert rates[1] == pytest.approx(recipe.rate, rel=0.03)
    assert rates[2] == pytest.approx(0.505 * recipe.rate, rel=0.01)
    assert rates[3] == pytest.approx(recipe.rate / 100, rel=0.01)


def test_the_body_of_another_scale_is_taken_over() -> None:
    large, small = fast(4, channels=8, blocks=1), fast(2, channels=8, blocks=1)
    adopt(small, large.state_dict())
    assert torch.equal(small.head.weight, large.head.weight)
    assert small.tail.weight.shape == (4, 8, 3, 3)


@pytest.mark.parametrize(("channels", "blocks"), [(12, 3), (8, 4), (16, 2)])
def test_a_grown_network_makes_what_the_smaller_one_made_and_all_of_it_learns(channels: int, blocks: int) -> None:
    torch.manual_seed(0)
    small, large = fast(2, channels=8, blocks=2), fast(2, channels=channels, blocks=blocks)
    torch.nn.init.normal_(small.tail.weight)
    torch.nn.init.normal_(small.gains.second.weight, std=0.1)
    adopt(large, small.state_dict())
    scene, told = torch.randn(2, 1, 20, 20), torch.tensor([[0.1] * 4, [0.4] * 4])
    noise = torch.tensor([[0.0, 0.0], [0.09, 0.0]])
    with torch.no_grad():
        assert torch.allclose(large(scene, told, noise), small(scene, told, noise), atol=1e-5)
    optimiser = torch.optim.SGD(large.parameters(), lr=1e-3)
    for _ in range(2):  # what stands behind a convolution of zeros hears of the error after one step
        optimiser.zero_grad()
        large(scene, told, noise).square().mean().backward()
        optimiser.step()
    for name, value in large.named_parameters():
        assert value.grad is not None, name
        assert value.ndim < 4 or bool(value.grad.flatten(1).any(1).all()), name


def test_the_body_of_another_scale_is_grown_too() -> None:
    small, large = fast(4, channels=8, blocks=1), fast(2, channels=12, blocks=2)
    before = large.tail.weight.clone()
    adopt(large, small.state_dict())
    assert torch.equal(large.head.weight[:8], small.head.weight)
    assert torch.equal(large.tail.weight, before)


def test_patches_are_valid_and_of_one_contrast(recipe: Recipe) -> None:
    batch = Patches(load_planes(recipe.data.train[0].files[0]), 24, seed=0).batch(32)
    assert batch.hr.shape == (32, 1, 24, 24)
    assert bool(torch.isfinite(batch.hr).all())
    assert 0.3 < float(batch.hr.std(dim=(2, 3)).mean()) < 3.0
    assert bool((batch.noise > 0).all())


def test_a_band_smaller_than_a_patch_is_mirrored(recipe: Recipe) -> None:
    patch = Patches(load_planes(recipe.data.train[0].files[0])[:1], 160, seed=0).batch(1).hr[0, 0]
    assert patch.shape == (160, 160)
    assert any(torch.equal(patch[15], row) or torch.equal(patch[:, 15], row) for row in (patch[16], patch[:, 16]))


def test_the_same_seed_gives_the_same_patches(recipe: Recipe) -> None:
    planes = load_planes(recipe.data.train[0].files[0])
    first, second = (Patches(planes, 24, seed=9).batch(4) for _ in range(2))
    assert torch.equal(first.hr, second.hr)


def test_of_training_that_cant_begin_no_folder_is_left_and_none_that_was_there_goes(tmp_path: Path) -> None:
    nothing = Recipe(scale=2, data=Data(train=(Group((str(tmp_path / "none" / "*.tif"),)),)))
    with pytest.raises(InputError, match="no file matches"):
        train(replace(nothing, out=str(tmp_path / "runs" / "mine")))
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="no file matches"):
        train(replace(nothing, out=str(tmp_path / "mine")))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_smallest_recipe_has_a_default_for_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('scale = 2\n[data]\ntrain = "folder/**/*.tif"\n')
    assert read_recipe(path) == Recipe(
        scale=2, out="runs/mine", name="mine", data=Data(train=(Group(("folder/**/*.tif",)),))
    )
    path.write_text('scale = 2\nloss = "ssim"\ndata = {train = [{name = "n", files = "*.jpg", weight = 2}]}\n')
    read = read_recipe(path)
    assert (read.loss, read.data.train[0].weight) == ({"ssim": 1.0}, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale = 2", "names nothing to train on"),
        ('[data]\ntrain = "*.tif"', "lacks the key scale"),
        ('scale = 2\nstep = 5\n[data]\ntrain = "*.tif"', "unknown key step"),
        ('scale = 2\n[data]\ntrian = "*.tif"', "unknown key trian"),
        ('scale = "2"\n[data]\ntrain = "*.tif"', "scale is '2'; it must be a valid integer"),
        ('scale = 9\n[data]\ntrain = "*.tif"', "scale is 9; it must be less than or equal to 8"),
        ('scale = 2\nnetwork = "slow"\n[data]\ntrain = "*.tif"', "the network 'slow'; choose fast"),
        ('scale = 2\npatch = 0\n[data]\ntrain = "*.tif"', "patch is 0; it must be greater than 0"),
        ('scale = 2\nnetwork = "swin"\n[data]\ntrain = "*.tif"', "patch is 28; swin takes multiples of 8"),
        ('scale = 2\npatch = 4\n[data]\ntrain = "*.tif"', "must be 5 or more"),
        ('scale = 2\npatch = 9\n[loss]\nssim = 1\n[data]\ntrain = "*.tif"', "must be 10 or more"),
        ('scale = 2\nseed = -1\n[data]\ntrain = "*.tif"', "seed is -1"),
        ('scale = 2\ncheck_every = -1\n[data]\ntrain = "*.tif"', "check_every is -1"),
        ('scale = 2\nclip = 0.0\n[data]\ntrain = "*.tif"', "clip is 0"),
        ('scale = 2\nnoisy = 50\n[data]\ntrain = "*.tif"', "noisy is 50; it must be less than or equal to 1"),
        ('scale = 2\naverage = 1.0\n[data]\ntrain = "*.tif"', "average is 1.0; it must be less than 1"),
        ('scale = 2\nbatch = 1\n[data]\ntrain = "*.tif"\n[pairs]\nlr = "a/*"\nhr = "b/*"', "need 2 or more"),
        ("scale = 2\n[[data.train]]\nfiles = 5", "table 1 of train in .*: files is 5; it must be a valid array"),
        ('scale = 2\n[[data.train]]\nfiles = "*"\nbands = 1', "bands is 1; it must be a valid array"),
        ('scale = 2\n[[data.train]]\nfiles = "*"\nweight = 0', "weight is 0; it must be greater than 0"),
        ('scale = 2\n[loss]\nl2 = 1\n[data]\ntrain = "*.tif"', "the loss 'l2'; choose of absolute"),
        ('scale = 2\n[loss]\nssim = -1\n[data]\ntrain = "*.tif"', "the weight -1"),
        ('scale = 2\n[loss]\nssim = 0\n[data]\ntrain = "*.tif"', "gives no comparison with the truth a weight"),
        ('scale = 2\n[loss]\nadversarial = 1\n[data]\ntrain = "*.tif"', "gives no comparison with the truth a weight"),
        ('scale = 2\npatch = 8\n[loss]\nabsolute = 1\nconsistency = 1\n[data]\ntrain = "*.tif"', "must be 9 or more"),
        ('scale = 2\n[data]\ntrain = "*.tif"\nunlabelled = "*.tif"', "go together"),
        ('scale = 2\n[pairs]\nlr = "*.tif"', "lacks the key hr"),
        ('scale = 2\n[adversary]\nlayers = 3\n[data]\ntrain = "*.tif"', "unknown key layers; known are channels"),
        ('scale = 2\n[adversary]\nrate = 0\n[data]\ntrain = "*.tif"', "rate is 0; it must be greater than 0"),
        ('scale = 2\npatch = 8\n[loss]\nabsolute = 1\nadversarial = 1\n[data]\ntrain = "*.tif"', "12 input pixels"),
        ('scale = 2\n[[data.train]]\nfiles = "*"\nbands = [1.5]', r"bands.0 is 1.5; it must be a valid integer"),
        ('scale = 2\n[[data.train]]\nfiles = "*"\nwindow = [1, 2]', "lacks the key window.2"),
        ('scale = 2\nsave_every = true\n[data]\ntrain = "*.tif"', "save_every is True; it must be a valid integer"),
        ('scale = 2\noptimiser = "sgd"\n[data]\ntrain = "*.tif"', "optimiser is 'sgd'; it must be 'soap' or 'adam'"),
        ('scale = 2\ndata = "*.tif"', r"data is a section, \[data\] with train"),
        ("scale = ", "is no TOML"),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(tmp_path / "r.toml")


RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.toml") if path.stem[-3:-1] == "_x")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_make_what_their_names_say(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.stem == f"{recipe.name}_x{recipe.scale}"
    assert Path(recipe.out).name in (path.stem, f"{path.parent.name}_{path.stem}")
    assert recipe.generative == (recipe.name == "esrgan")
    NETWORKS[recipe.network](recipe.scale, recipe.channels, recipe.blocks)


def test_the_recipe_to_copy_can_be_read() -> None:
    assert read_recipe(ROOT / "recipes" / "your_own.toml").scale == 2


def test_published_weights_carry_their_card_and_trust_the_noise_a_little_less(tmp_path: Path) -> None:
    network = fast(4)
    save_file(network.state_dict(), tmp_path / "trained.safetensors")
    levels = {"model": np.array([31.234]), "bicubic": np.array([29.0]), "ibp": np.array([30.0])}
    report = [record(Case("MTF 0.25", 0.25), [("scene", levels)], {})]
    (tmp_path / "quality.json").write_text(json.dumps(report))
    publish = runpy.run_path(str(ROOT / "scripts" / "publish_weights.py"))["main"]
    out = tmp_path / "out.safetensors"
    said = (
        (ROOT / "recipes" / "fast.card.toml").read_text().replace("common.toml", str(ROOT / "recipes" / "common.toml"))
    )
    (tmp_path / "mine.card.toml").write_text(said + "noise_trust = 0.88\n")
    publish(tmp_path / "trained.safetensors", tmp_path / "mine.card.toml", "4", out, tmp_path / "quality.json")
    card = read_card(out)
    assert (card.name, card.scales, card.blocks) == ("fast", (4,), 8)
    assert card.metrics["MTF 0.25"]["over_ibp"] == [1.23, 1.23, 1.23]
    written = load_file(out)["head.weight"]
    assert torch.equal(written[:, 0], network.head.weight[:, 0])
    assert torch.allclose(written[:, 1], 0.88 * network.head.weight[:, 1])


def test_a_band_is_trained_on_or_validated_on_and_never_both(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(1, 999, (3, 2, 40, 40)).astype(np.uint16)
    numbers[0, 0, :5] = 0
    for name, bands in zip("abc", numbers, strict=True):
        profile = {"width": 40, "height": 40, "count": 2, "dtype": "uint16", "transform": Affine.scale(10)}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(bands)
    groups = """
    train = [{name = "t", files = ["*.tif"], weight = 1}]
    validate = [{name = "v", files = ["c.tif"], bands = [2]}]
    """
    (tmp_path / "data.toml").write_text(groups)
    runpy.run_path(str(ROOT / "scripts" / "prepare_planes.py"))["main"](
        tmp_path / "data.toml", tmp_path, tmp_path / "out"
    )
    planes = load_planes(tmp_path / "out" / "train.npz")
    assert len(planes) == 4
    assert np.isnan(planes[0].values[:5]).all()
    [scene] = load_scenes(tmp_path / "out" / "validate.npz")
    assert np.array_equal(scene.bands[0], numbers[2, 1])


def test_a_killed_run_goes_on_to_the_same_curve_across_a_validation(recipe: Recipe, tmp_path: Path) -> None:
    whole = replace(recipe, steps=30, check_every=10, out=str(tmp_path / "whole"))
    train(whole)
    killed = replace(whole, out=str(tmp_path / "killed"))

    class Killed(BaseException):
        pass

    class Killer:
        def note(self, line: str) -> None: ...

        def step(self, progress: Progress, share: float) -> None:
            if progress.step == 24:
                raise Killed  # after the checkpoint of step 20, as a power cut would

        def check(self, check: log.Check) -> None: ...

    with pytest.raises(Killed):
        train(killed, Killer())
    log.append(Path(killed.out), log.Check(24, 0.0, 0.5, 0.1))  # logged, but not saved
    train(killed)
    curves = [[(check.step, check.loss, check.psnr) for check in log.read(Path(run.out))] for run in (whole, killed)]
    assert [step for step, _, _ in curves[0]] == [10, 20, 30]
    assert curves[0] == curves[1]
    one, other = (load_file(Path(run.out) / "model.safetensors") for run in (whole, killed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_model_can_be_used_at_once_and_its_card_states_the_gap(recipe: Recipe) -> None:
    trained = train(recipe)
    card = registry.card(str(trained.model), 2)
    assert card.metrics["training"]["error_over_bicubic"] < 1
    assert card.metrics["training"]["precision"] in ("float32", "bfloat16")
    validation = card.metrics["validation"]
    assert validation["over_bicubic"][0] == pytest.approx(validation["over_bicubic"][1])  # one place: no interval
    gap = card.metrics["training"]["over_bicubic"][0] - validation["over_bicubic"][0]
    assert card.metrics["gap_db"] == pytest.approx(gap, abs=0.011)
    network = network_for(str(trained.model), 2, (Band(PROBE),))
    assert network(blocks(5)[None, :40, :40].astype(np.float32), (0,)).shape == (1, 80, 80)


def test_the_log_has_every_place_and_fixed_references(recipe: Recipe) -> None:
    train(recipe)
    first, last = log.read(Path(recipe.out))
    assert (first.step, last.step) == (20, 40)
    assert first.references == last.references
    assert set(first.references) == {"bicubic", "fast"}
    assert set(first.psnr) == set(first.references["fast"])
    assert last.over("bicubic") > first.over("bicubic")


def test_training_stops_when_validation_does_not_improve_and_keeps_the_best(recipe: Recipe) -> None:
    settings = {"rate": 1e-12, "check_every": 5, "patience": 2, "steps": 400, "average": 0.0}
    trained = train(replace(recipe, **settings))  # type: ignore[arg-type]
    assert trained.progress.step == 15
    assert trained.stopped == "no better validation in 2 checks"
    assert (Path(recipe.out) / "best.safetensors").exists()


def test_without_places_to_validate_on_the_card_says_so(recipe: Recipe, tmp_path: Path) -> None:
    index = [{"group": "a", "file": "one.tif", "weight": 1, "snr": False}]
    np.savez(tmp_path / "one.npz", index=np.array(json.dumps(index)), **{"0": blocks(1)})
    trained = train(replace(recipe, steps=3, data=Data(train=(Group((str(tmp_path / "one.npz"),)),))))
    assert "Never validated" in read_card(trained.model).limits[0]


def test_a_folder_of_another_run_is_not_gone_on_with(recipe: Recipe) -> None:
    train(replace(recipe, steps=2))
    with pytest.raises(InputError, match="can't go on with"):
        train(replace(recipe, channels=12))


def test_another_optimiser_or_other_sources_do_not_go_on_with_a_run(recipe: Recipe, tmp_path: Path) -> None:
    train(replace(recipe, steps=2))
    with pytest.raises(InputError, match=r"can't go on with .its optimiser is soap"):
        train(replace(recipe, optimiser="adam"))
    recipe = replace(recipe, out=str(tmp_path / "other"))
    first = trainer(recipe)
    first.step()
    first.save(Path(recipe.out))
    pairs = [Pair("a", np.ones((24, 24), np.float32), blocks(1, 48).astype(np.float32), PROBE, Noise(0.01, 0.0), 1.0)]
    other = Trainer(recipe, Material(((Paired(pairs, recipe.patch, recipe.scale, 1), 1.0),)))
    with pytest.raises(InputError, match="can't go on with"):
        other.load(Path(recipe.out))


def test_a_training_that_runs_away_ends_in_one_line_and_leaves_no_model(recipe: Recipe) -> None:
    with pytest.raises(InputError, match=r"no number any more at step \d+; lower the rate \(1e\+30\)"):
        train(replace(recipe, rate=1e30, warm_up=0))
    assert not (Path(recipe.out) / "model.safetensors").exists()


def test_on_a_card_a_step_is_told_of_in_the_next_and_all_is_told_before_anything_is_kept(
    recipe: Recipe, tmp_path: Path
) -> None:
    here, there = (trainer(recipe, device) for device in ("cpu", "cpu:0"))
    losses = [(here.step().loss, there.step().loss) for _ in range(4)]
    assert [late for _, late in losses][1:] == [now for now, _ in losses][:-1]
    there.save(tmp_path)
    assert there.progress == replace(here.progress, seconds=there.progress.seconds)
    assert all(torch.equal(there.average[name], value) for name, value in here.average.items())
    for weight in there.network.parameters():
        weight.data.fill_(torch.nan)
    there.step()
    kept = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(InputError, match="the loss is no number any more at step 5"):
        there.save(tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == kept


@pytest.mark.parametrize("threads", [1, 3])
def test_samples_made_ahead_are_those_of_step_after_step_and_a_killed_run_goes_on_with_them(
    recipe: Recipe, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosr.training.trainer.spare", lambda: threads)
    runs = {device: trainer(recipe, device) for device in ("cpu", "cpu:0")}
    for device, run in runs.items():
        for _ in range(8):
            if run.step().step == 5:
                run.save(tmp_path / device)
        run.settle()
    kept = [load_file(tmp_path / device / "state.safetensors") for device in runs]
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items() if name != "progress")
    resumed = trainer(replace(recipe, seed=99), "cpu:0")
    resumed.step()  # others are under way, which it is not to go on with
    resumed.load(tmp_path / "cpu:0")
    for _ in range(3):
        resumed.step()
    resumed.settle()
    for run in (*runs.values(), resumed):
        assert run.progress.loss == runs["cpu"].progress.loss
        assert all(torch.equal(run.average[name], value) for name, value in runs["cpu"].average.items())


def test_a_step_asks_a_card_for_no_number_whatever_is_minimised_and_known(recipe: Recipe) -> None:
    made = trainer(recipe)
    sample = replace(made._draw()().labelled, block=(1, 2, 2, 1), clean=(True, False, True, False))
    made.network.to("meta")  # its tensors raise where a number is asked of them
    outcome, missing = made._outcome(sample.to("meta"))
    weights = {name: 1.0 for name in LOSSES if name != "spectral"}
    (total(outcome, weights) + charbonnier(missing)).backward()  # type: ignore[no-untyped-call]
    assert all(each.grad is not None for each in made.network.parameters())


def test_a_batch_for_a_card_lies_in_pinned_memory_in_one_piece_each(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = trainer(recipe)._draw()().labelled
    assert sample.ready_for("cpu") is sample
    usual, asked = torch.empty, []

    def empty(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return usual(*shape, **options)

    monkeypatch.setattr(torch, "empty", empty)
    ready = sample.ready_for("cuda:0")
    assert asked == [True] * 6
    for name in ("lr", "base", "truth", "told", "noise", "contrast"):
        assert getattr(ready, name).is_contiguous()
        assert torch.equal(getattr(ready, name), getattr(sample, name))
    assert (ready.responses, ready.clean, ready.block) == (sample.responses, sample.clean, sample.block)


def test_gradients_without_end_are_not_taken_though_the_loss_is_a_number(recipe: Recipe) -> None:
    made = trainer(recipe)
    made.step()
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    made.network.tail.weight.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no number any more at step 2"):
        made.step()
    assert all(torch.equal(value, before[name]) for name, value in made.network.state_dict().items())


def test_what_is_so_in_one_process_is_known_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Team().anyone(False)
    assert Team().anyone(True)
    for others, found in ((b"1", True), (b"", False)):
        monkeypatch.setattr(Team, "gathered", lambda self, value, others=others: [value, {"here": others}])
        assert Team(0, 2).anyone(False) is found


def test_a_recipe_made_in_python_has_a_folder_and_a_name_and_is_checked(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = train(replace(recipe, out="", steps=2, check_every=0))
    assert trained.model == Path("runs/model/model.safetensors")
    assert read_card(trained.model).name == "model"
    with pytest.raises(InputError, match="patch is 0"):
        train(replace(recipe, patch=0))


def test_an_interrupt_saves_and_says_how_to_go_on(recipe: Recipe) -> None:
    class Impatient:
        def note(self, line: str) -> None: ...

        def step(self, progress: Progress, share: float) -> None:
            if progress.step == 7:
                os.kill(os.getpid(), signal.SIGINT)

        def check(self, check: log.Check) -> None: ...

    with pytest.raises(KeyboardInterrupt, match="step 7 is kept"):
        train(recipe, Impatient())
    assert threading.current_thread() is threading.main_thread()
    resumed = trainer(recipe)
    resumed.load(Path(recipe.out))
    assert resumed.progress.step == 7


def test_a_run_starts_from_a_model_by_its_name(recipe: Recipe) -> None:
    shipped = load_file(registry.locate("fast", 2) or "")
    start = trainer(replace(recipe, start_from="fast", channels=32, blocks=8))
    assert torch.equal(start.network.state_dict()["tail.weight"], shipped["tail.weight"])
    with pytest.raises(InputError, match="'fast_x7': fast has scales 2"):
        trainer(replace(recipe, start_from="fast_x7"))
    with pytest.raises(InputError, match="no weights to start from"):
        trainer(replace(recipe, start_from="bicubic"))


def test_a_run_does_not_start_from_the_weights_of_another_network(recipe: Recipe) -> None:
    for start in ("srcnn_x4", "vdsr_x4"):
        with pytest.raises(InputError, match="of another network"):
            trainer(replace(recipe, start_from=start, channels=32, blocks=8))


def test_a_run_starts_from_a_model_at_a_scale_that_is_named(recipe: Recipe) -> None:
    shipped = load_file(registry.locate("fast", 4) or "")
    start = trainer(replace(recipe, start_from="fast_x4", channels=32, blocks=8)).network.state_dict()
    assert torch.equal(start["head.weight"], shipped["head.weight"])


def test_bfloat16_trains_about_as_float32_does(recipe: Recipe) -> None:
    losses = []
    for short in (False, True):
        made = trainer(recipe)
        made.bfloat16 = short
        losses.append([made.step().loss for _ in range(12)][-1])
    assert losses[1] == pytest.approx(losses[0], abs=0.01)
    assert losses[0] != losses[1]


RECIPE = """
scale = 2
out = {out!r}
channels = 8
blocks = 1
patch = 12
batch = 4
steps = {steps}
check_every = 5
[data]
train = {train!r}
"""


def test_the_command_trains_draws_and_is_quiet_in_a_pipe(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.format(out=recipe.out, steps=10, train=recipe.data.train[0].files[0]))
    code, out, err = geosr(capsys, monkeypatch, "train", path)
    assert (code, out) == (0, f"{recipe.out}/model.safetensors\n")
    assert "dB over bicubic" in err
    assert "\r" not in err
    assert geosr(capsys, monkeypatch, "train", path, "-q")[1:] == ("", "")
    code, out, _ = geosr(capsys, monkeypatch, "train", "--plot", recipe.out)
    assert (code, out) == (0, f"{recipe.out}/log.png\n")
    assert (Path(recipe.out) / "log.png").stat().st_size > 10_000
    assert geosr(capsys, monkeypatch, "train", "--plot", tmp_path)[0] == 2
    assert geosr(capsys, monkeypatch, "train")[0] == 2
    assert "trains nothing" in geosr(capsys, monkeypatch, "train", path, "--plot", recipe.out)[2]
    code, out, _ = geosr(capsys, monkeypatch, "models", "show", f"{recipe.out}/model.safetensors")
    assert code == 0
    assert "dB more on places that it was trained on" in out
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = geosr(capsys, monkeypatch, "train", "--plot", recipe.out)
    assert (code, err) == (2, "geosr: a picture of the log needs matplotlib: pip install matplotlib\n")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_two_processes_end_with_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "team.toml"
    path.write_text(RECIPE.format(out=recipe.out, steps=3, train=recipe.data.train[0].files[0]))
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from geosr.training import loop; from geosr.training.reading import read_recipe\n"
        "from geosr.training.state import save_tensors; from pathlib import Path\n"
        "kept = []\n"
        "class Kept(loop.Trainer):\n"
        "    def __init__(self, *a, **k):\n"
        "        super().__init__(*a, **k); kept.append(self)\n"
        "loop.Trainer = Kept\n"
        "loop.train(read_recipe(sys.argv[1]))\n"
        "[made] = kept\n"
        "save_tensors(made.network.state_dict(), Path(sys.argv[2]) / f'rank{made.team.rank}.safetensors')\n"
    )
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    there = {**os.environ, **team, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", code, str(path), str(tmp_path)]
    ranks = [subprocess.Popen(command, env={**there, "RANK": str(rank)}) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    one, other = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    states = load_file(Path(recipe.out) / "state.safetensors")
    assert not torch.equal(states["random.0.Degraded"], states["random.1.Degraded"])
    assert read_card(Path(recipe.out) / "model.safetensors").metrics["training"]["steps"] == 3


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_where_one_process_of_a_team_fails_the_others_end_with_a_line() -> None:
    code = (
        "import sys; from geosr.errors import InputError, GeosrError; from geosr.training.team import joined\n"
        "try:\n"
        "    with joined('cpu') as team:\n"
        "        for step in range(1000):\n"
        "            team.agreed([1.0])\n"
        "            if step == 3 and team.rank == 1: raise InputError('mine')\n"
        "except GeosrError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    there = {**os.environ, **team, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", code], env={**there, "RANK": str(rank)}, stderr=-1, text=True)
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120)[1].splitlines()[-1] for rank in ranks]
    assert said[0].startswith("PlaceError: another of 2 processes has ended, and says why: ")
    assert said[1] == "InputError: mine"


def free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
