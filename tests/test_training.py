"""Training: patches, recipes and a loop that can be killed."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from safetensors.torch import load_file, save_file

from geosr.errors import GeosrError
from geosr.evaluation.protocol import Case, load_scenes
from geosr.evaluation.report import record
from geosr.models.checkpoint import read_card
from geosr.models.networks import fast
from geosr.training.loop import MARGIN, Progress, Trainer, adopt, decibels, learning_rate, train
from geosr.training.patches import Patches, load_planes
from geosr.training.recipe import Recipe, read_recipe
from geosr.training.soap import Soap

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe over two small bands of blocks with sharp edges, one with invalid pixels."""
    random = np.random.default_rng(0)
    blocks = np.kron(random.integers(100, 900, (16, 16)), np.ones((8, 8), int)).astype(np.uint16)
    holed = blocks.astype(np.float32)
    holed[:20, :20] = np.nan
    index = [{"group": group, "file": "scene.tif", "weight": 1, "snr": group == "a"} for group in ("a", "b")]
    np.savez(tmp_path / "planes.npz", index=np.array(json.dumps(index)), **{"0": blocks, "1": holed})
    return Recipe(
        scale=2, planes=str(tmp_path / "planes.npz"), out=str(tmp_path / "run"), channels=8, blocks=1, patch=12,
        batch=4, steps=40, minutes=1.0, warm_up=2, save_every=10,
    )  # fmt: skip


def trainer(recipe: Recipe) -> Trainer:
    size = (recipe.patch + 2 * MARGIN) * recipe.scale
    return Trainer(recipe, Patches(load_planes(recipe.planes), size, recipe.seed))


@pytest.mark.parametrize("loss", ["absolute", "decibels"])
def test_forty_steps_bring_the_error_below_bicubics(recipe: Recipe, loss: str) -> None:
    assert train(replace(recipe, loss=loss)).loss < 0.97


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_a_run_that_was_killed_ends_with_the_same_weights(recipe: Recipe, tmp_path: Path, optimiser: str) -> None:
    undisturbed = trainer(replace(recipe, optimiser=optimiser))
    for _ in range(20):
        undisturbed.step()
        if undisturbed.progress.step == 13:
            undisturbed.save(tmp_path / "killed")
    resumed = trainer(replace(recipe, optimiser=optimiser, seed=99))
    resumed.load(tmp_path / "killed")
    for _ in range(7):
        resumed.step()
    assert resumed.progress.loss == undisturbed.progress.loss
    assert all(torch.equal(value, resumed.average[name]) for name, value in undisturbed.average.items())


def test_soap_goes_down_a_narrow_valley_faster_than_adam() -> None:
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=random))[0]
    wide = turn @ torch.diag(torch.logspace(-2, 0, 12)) @ turn.T
    goal = torch.randn(8, 12, generator=random)

    def left(make: Callable[..., torch.optim.Optimizer]) -> float:
        weight = torch.nn.Parameter(torch.zeros(8, 12))
        optimiser = make([weight], lr=0.03)
        for _ in range(200):
            optimiser.zero_grad()
            (((weight - goal) @ wide) ** 2).sum().backward()
            optimiser.step()
        return float((weight.detach() - goal).norm())

    assert left(Soap) < 0.1 * left(torch.optim.Adam)


def test_a_run_goes_on_where_it_was_cut_off(recipe: Recipe) -> None:
    train(replace(recipe, steps=10))
    first = load_file(Path(recipe.out) / "weights.safetensors")
    again = trainer(recipe)
    again.load(Path(recipe.out))
    assert again.progress.step == 10
    assert all(torch.equal(again.average[name], value) for name, value in first.items())
    assert again.step().step == 11
    assert train(recipe).step == 40
    assert train(recipe).step == 40


def test_the_checkpoint_is_a_network(recipe: Recipe) -> None:
    train(replace(recipe, steps=3))
    network = fast(2, channels=8, blocks=1)
    weights = load_file(Path(recipe.out) / "weights.safetensors")
    network.load_state_dict(weights)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_training_ends_with_the_steps_or_the_time() -> None:
    recipe = Recipe(scale=2, planes="", out="", steps=100, minutes=1.0)
    assert Progress(50, 6.0, 1.0).share(recipe) == 0.5
    assert Progress(10, 45.0, 1.0).share(recipe) == 0.75
    assert Progress(10, 99.0, 1.0).share(recipe) == 1.0


def test_the_loss_in_decibels_is_the_logarithm_of_psnr() -> None:
    error = torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(0)) * 4
    fall = float(decibels(error) - decibels(error / 2)) * 10 / math.log(10)
    assert fall == pytest.approx(20 * math.log10(2), abs=0.02)


def test_the_learning_rate_rises_and_then_falls_to_a_hundredth() -> None:
    recipe = Recipe(scale=2, planes="", out="", steps=1000, warm_up=100)
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


def test_patches_are_valid_and_of_one_contrast(recipe: Recipe) -> None:
    batch = Patches(load_planes(recipe.planes), 24, seed=0).batch(32)
    assert batch.hr.shape == (32, 1, 24, 24)
    assert bool(torch.isfinite(batch.hr).all())
    assert 0.3 < float(batch.hr.std(dim=(2, 3)).mean()) < 3.0
    assert bool((batch.noise > 0).all())


def test_a_band_smaller_than_a_patch_is_mirrored(recipe: Recipe) -> None:
    patch = Patches(load_planes(recipe.planes)[:1], 160, seed=0).batch(1).hr[0, 0]
    assert patch.shape == (160, 160)
    assert any(torch.equal(patch[15], row) or torch.equal(patch[:, 15], row) for row in (patch[16], patch[:, 16]))


def test_the_same_seed_gives_the_same_patches(recipe: Recipe) -> None:
    planes = load_planes(recipe.planes)
    first, second = (Patches(planes, 24, seed=9).batch(4) for _ in range(2))
    assert torch.equal(first.hr, second.hr)


def test_a_recipe_is_read_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('scale = 2\nplanes = "p"\nout = "o"\nsteps = 5\n')
    assert read_recipe(path) == Recipe(scale=2, planes="p", out="o", steps=5)
    path.write_text('scale = 2\nplanes = "p"\nout = "o"\nstep = 5\n')
    with pytest.raises(GeosrError, match="unknown key step"):
        read_recipe(path)
    path.write_text('scale = 2\nplanes = "p"\nout = "o"\nloss = "ssim"\n')
    with pytest.raises(GeosrError, match="'ssim'; choose absolute or decibels"):
        read_recipe(path)
    path.write_text("scale = 2\n")
    with pytest.raises(GeosrError, match="lacks the key out"):
        read_recipe(path)


@pytest.mark.parametrize("name", ["fast_x4.toml", "fast_x2.toml"])
def test_the_recipes_of_the_repository_can_be_read(name: str) -> None:
    assert f"x{read_recipe(ROOT / 'recipes' / name).scale}" in name


def test_published_weights_carry_their_card_and_trust_the_noise_a_little_less(tmp_path: Path) -> None:
    network = fast(4)
    save_file(network.state_dict(), tmp_path / "trained.safetensors")
    levels = {"model": np.array([31.234]), "bicubic": np.array([29.0]), "ibp": np.array([30.0])}
    report = [record(Case("MTF 0.25", 0.25), [("scene", levels)], {})]
    (tmp_path / "quality.json").write_text(json.dumps(report))
    publish = runpy.run_path(str(ROOT / "scripts" / "publish_weights.py"))["main"]
    out = tmp_path / "out.safetensors"
    publish(tmp_path / "trained.safetensors", ROOT / "recipes" / "fast.card.toml", "4", out, tmp_path / "quality.json")
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
