"""Training: patches, recipes and a loop that can be killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geosr.errors import GeosrError
from geosr.models.networks.fast import Fast
from geosr.training.loop import MARGIN, Progress, Trainer, adopt, learning_rate, train
from geosr.training.patches import Patches, load_planes
from geosr.training.recipe import Recipe, read_recipe


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
    index = [{"group": group, "weight": 1, "snr": group == "a"} for group in ("a", "b")]
    np.savez(tmp_path / "planes.npz", index=np.array(json.dumps(index)), **{"0": blocks, "1": holed})
    return Recipe(
        scale=2, planes=str(tmp_path / "planes.npz"), out=str(tmp_path / "run"), channels=8, blocks=1, patch=12,
        batch=4, steps=40, minutes=1.0, warm_up=2, save_every=10,
    )  # fmt: skip


def trainer(recipe: Recipe) -> Trainer:
    size = (recipe.patch + 2 * MARGIN) * recipe.scale
    return Trainer(recipe, Patches(load_planes(recipe.planes), size, recipe.seed))


def test_forty_steps_lower_the_loss_below_bicubics(recipe: Recipe) -> None:
    assert train(recipe).loss < 0.97


def test_a_run_goes_on_where_it_was_cut_off(recipe: Recipe) -> None:
    train(replace(recipe, steps=10))
    first = load_file(Path(recipe.out) / "weights.safetensors")
    again = trainer(recipe)
    again.load(Path(recipe.out))
    assert again.progress.step == 10
    assert all(torch.equal(again.average[name], value) for name, value in first.items())
    assert again.optimiser.state_dict()["state"][0]["exp_avg_sq"].abs().sum() > 0
    assert again.step().step == 11
    assert train(recipe).step == 40
    assert train(recipe).step == 40


def test_the_checkpoint_is_a_network(recipe: Recipe) -> None:
    train(replace(recipe, steps=3))
    network = Fast(2, channels=8, blocks=1)
    network.load_state_dict(load_file(Path(recipe.out) / "weights.safetensors"))


def test_training_ends_with_the_steps_or_the_time() -> None:
    recipe = Recipe(scale=2, planes="", out="", steps=100, minutes=1.0)
    assert Progress(50, 6.0, 1.0).share(recipe) == 0.5
    assert Progress(10, 45.0, 1.0).share(recipe) == 0.75
    assert Progress(10, 99.0, 1.0).share(recipe) == 1.0


def test_the_learning_rate_rises_and_then_falls_to_a_hundredth() -> None:
    recipe = Recipe(scale=2, planes="", out="", steps=1000, warm_up=100)
    rates = [learning_rate(recipe, Progress(step, 0.0, 1.0)) for step in (0, 99, 500, 1000)]
    assert rates[0] == pytest.approx(recipe.rate / 100, rel=0.01)
    assert rates[1] == pytest.approx(recipe.rate, rel=0.03)
    assert rates[2] == pytest.approx(0.505 * recipe.rate, rel=0.01)
    assert rates[3] == pytest.approx(recipe.rate / 100, rel=0.01)


def test_the_body_of_another_scale_is_taken_over() -> None:
    large, small = Fast(4, channels=8, blocks=1), Fast(2, channels=8, blocks=1)
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
    path.write_text("scale = 2\n")
    with pytest.raises(GeosrError, match="lacks the key out"):
        read_recipe(path)


@pytest.mark.parametrize("name", ["fast_x4.toml", "fast_x2.toml"])
def test_the_recipes_of_the_repository_can_be_read(name: str) -> None:
    path = Path(__file__).resolve().parents[1] / "recipes" / name
    assert f"x{read_recipe(path).scale}" in name
