"""Natural pairs as material: which ones, what is known of them, and that only that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geosr.errors import InputError
from geosr.sensor_table import SENTINEL_2
from geosr.training.loop import train
from geosr.training.natural import load_natural
from geosr.training.reading import read_recipe
from geosr.training.recipe import NaturalPairs, Recipe
from geosr.training.samples import Natural, as_known
from geosr.training.trainer import Material, Trainer
from tests.test_natural import ground, seen
from tests.test_natural_pairs import write

LIST = """
[[pairs]]
name = "mine"
files = ["{}_20m.tif", "{}_10m.tif"]
sensor = "S2A_MSIL2A"
[pairs.fit]
"one" = ["a", "b"]
"two" = ["c"]
[pairs.judge]
"three" = ["d"]
"""


@pytest.fixture
def listed(tmp_path: Path) -> NaturalPairs:
    """Four products of three places, B8A as bicubic sees B08; that of `d` is for judging."""
    for seed, name in enumerate("abcd"):
        infrared = ground(96, seed)
        write(tmp_path / f"{name}_10m.tif", {"B08": infrared}, 10)
        write(tmp_path / f"{name}_20m.tif", {"B8A": seen(infrared, 2)}, 20)
    (tmp_path / "list.toml").write_text(LIST)
    return NaturalPairs(str(tmp_path / "list.toml"), str(tmp_path), 0.25)


def recipe_of(listed: NaturalPairs, **others: object) -> Recipe:
    settings = {"scale": 2, "channels": 8, "blocks": 1, "patch": 16, "batch": 8, "steps": 30, "check_every": 0}
    settings |= {"warm_up": 2, "natural": listed, "out": str(Path(listed.list).parent / "run")}
    return Recipe(**(settings | others))  # type: ignore[arg-type]


def test_places_for_fitting_alone_are_trained_on_and_weigh_alike(listed: NaturalPairs) -> None:
    pairs, lines = load_natural(listed, 2, 16)
    assert [pair.name for pair in pairs] == ["one", "one", "two"]
    assert lines == ("3 natural pairs of 2 places",)
    drawn = Natural(pairs, 16, 2, 0)
    assert drawn.edges == pytest.approx([0.25, 0.5, 1.0])


def test_a_pair_is_told_what_a_run_on_the_product_believes(listed: NaturalPairs) -> None:
    band = SENTINEL_2.band("B8A")
    assert band is not None
    assert band.response is not None
    for scale, block in ((2, 1), (4, 2)):
        pair = load_natural(listed, scale, 16)[0][0]
        assert pair.response == band.response.relative(scale)
        assert pair.block == block
        assert pair.hr.shape == tuple(scale * side for side in pair.lr.shape)
        fine = ground(96, 0)
        assert np.corrcoef(pair.hr[:: scale // 2, :: scale // 2].ravel(), fine.ravel())[0, 1] > 0.995


def test_without_a_common_factor_there_is_nothing_to_train_on(listed: NaturalPairs) -> None:
    with pytest.raises(InputError, match=r"list.toml has no natural pair to train on at x3"):
        load_natural(listed, 3, 16)


def test_only_the_mean_of_a_block_counts_where_no_more_is_known(listed: NaturalPairs) -> None:
    """Detail finer than the reference's pixels changes no loss; detail that it shows does."""
    recipe = recipe_of(listed, scale=4)
    source = Natural(load_natural(listed, 4, 16)[0], 16, 4, 0)
    trainer = Trainer(recipe, Material(((source, 1.0),)))
    sample = source.draw(2)()
    assert sample.block == (2, 2)
    clean, missing = trainer._outcome(sample)
    checks = torch.ones(1, 1, *sample.base.shape[2:])
    checks[..., ::2] = -1.0
    steps = torch.ones_like(checks)
    steps[..., : steps.shape[-1] // 2] = -1.0
    for added, counts in ((checks, False), (steps, True)):
        detail = trainer.detail
        trainer.detail = lambda *a, detail=detail, added=added: detail(*a) + torch.nn.functional.pad(added, (8,) * 4)
        changed, _ = trainer._outcome(sample)
        trainer.detail = detail
        assert torch.allclose(changed.error, clean.error, atol=1e-5) is not counts
    assert torch.equal(missing, as_known(missing, sample.block))
    assert torch.allclose(clean.truth - clean.base, missing, atol=1e-5)


def test_samples_of_several_blocks_are_known_each_by_its_own() -> None:
    image = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    known = as_known(image, (1, 2, 2, 1, 4, 2))
    for size, before, after in zip((1, 2, 2, 1, 4, 2), image, known, strict=True):
        means = before.unfold(1, size, size).unfold(2, size, size).mean((3, 4))
        assert torch.allclose(after, means.repeat_interleave(size, 1).repeat_interleave(size, 2), atol=1e-6)
    assert as_known(image, (1,) * 6).equal(image)
    known.square().sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert torch.allclose(image.grad, 2 * known.detach(), atol=1e-6)


def test_a_recipe_with_natural_pairs_alone_trains_and_goes_on(listed: NaturalPairs, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'scale = 2\n[natural]\nlist = "{listed.list}"\nroot = "{tmp_path}"\nshare = 0.25\n')
    assert read_recipe(path).natural == listed
    recipe = recipe_of(listed)
    assert train(recipe).progress.loss < 1.0
    assert train(replace(recipe, steps=34)).progress.step == 34
    with pytest.raises(InputError, match=r"natural.share is 2.0; it must be"):
        train(replace(recipe, natural=replace(listed, share=2.0)))
