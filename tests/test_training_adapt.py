"""Fine-tuning on a scene: kept where held-out parts improve, said and left where they don't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import geosr
from geosr.cli.models import _figures
from geosr.errors import InputError, ModelError, PlaceError
from geosr.evaluation.metrics import Interval
from geosr.models import registry
from geosr.models.card import KEY, Card
from geosr.models.networks import NETWORKS, BandNetwork, fast
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band
from geosr.training import adapt as adapting
from geosr.training.adapt import adapt
from geosr.training.samples import sharp_side
from geosr.training.state import save_tensors
from tests import scenes
from tests.test_cli import geosr as command
from tests.test_training import blocks


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Squares with sharp edges: quite unlike what any model was trained on."""
    return scenes.write(tmp_path / "scene.tif", blocks(3, 256)[None])


@pytest.fixture
def untrained(tmp_path: Path) -> str:
    """A small network that adds next to nothing to bicubic, with a card."""
    path = tmp_path / "small.safetensors"
    card = Card("small", "a test's", (2,), network="fast", channels=8, blocks=1, conditioned=True)
    save_file(fast(2, channels=8, blocks=1).state_dict(), path, {KEY: card.to_json()})
    return str(path)


def quick(monkeypatch: pytest.MonkeyPatch, steps: int, rate: float) -> None:
    monkeypatch.setattr(adapting, "STEPS", steps)
    monkeypatch.setattr(adapting, "RATE", rate)


def test_what_improves_the_held_out_blocks_is_written_and_can_be_used(
    scene: Path, untrained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 60, 3e-3)
    adapted = adapt(scene, model=untrained, scale=2, mtf=0.25, snr=1000)
    assert adapted.gain.low > 0
    assert adapted.blocks >= adapting.LEAST_BLOCKS
    assert adapted.path == tmp_path / "scene_small_x2.safetensors"
    card = registry.card(str(adapted.path), 2)
    assert card.name == "small@scene"
    assert card.metrics["adapted"]["over_base"][1] > 0
    assert "scene.tif" in card.limits[0]
    report = geosr.upscale(scene, tmp_path / "out.tif", model=str(adapted.path), scale=2, bounds=None)
    assert report["model"] == "small@scene"
    shown = "\n".join(_figures(card))
    assert "over its base" in shown
    assert "nan" not in shown
    with pytest.raises(InputError, match="is there already"):
        adapt(scene, model=untrained, scale=2, mtf=0.25, snr=1000)


@pytest.mark.parametrize("network", ["swin", "srcnn", "vdsr", "span", "rrdb"])
def test_every_network_can_be_fine_tuned(
    network: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 2, 1e-3)
    channels, path = 12, tmp_path / "small.safetensors"
    card = Card("small", "a test's", (2,), network=network, channels=channels, blocks=1, conditioned=True)
    save_file(NETWORKS[network](2, channels, 1).state_dict(), path, {KEY: card.to_json()})
    assert np.isfinite(adapt(scene, model=str(path), scale=2, mtf=0.25, snr=1000).gain.mean)


def test_weights_that_can_not_be_written_are_told_of_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").mkdir()
    with pytest.raises(PlaceError, match=r"can't write .*there\.safetensors"):
        save_tensors({"a": torch.zeros(3)}, tmp_path / "there.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]


def test_what_does_not_improve_them_is_not_written_and_that_is_said(
    scene: Path, untrained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(monkeypatch, 8, 1e-9)
    before = sorted(tmp_path.iterdir())
    code, out, err = command(
        capsys, monkeypatch, "adapt", scene, "--model", untrained, "--scale", "2", "--minutes", "0.5"
    )
    assert (code, out) == (0, "")
    assert "nothing written: " in err
    assert "not above chance" in err
    assert sorted(tmp_path.iterdir()) == before


def test_the_path_of_a_better_model_is_all_of_stdout(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = adapting.Adapted(Interval(0.3, 0.2, 0.4), 20, scene)
    monkeypatch.setattr(adapting, "adapt", lambda src, **options: made)
    code, out, err = command(capsys, monkeypatch, "adapt", scene)
    assert (code, out) == (0, f"{scene}\n")
    assert "+0.30 [+0.20, +0.40] dB over fast on 20 held-out blocks" in err


def test_held_out_blocks_are_never_trained_on(scene: Path) -> None:
    opened = adapting.open_scene(scene)
    observation = (Band(Response.gaussian(0.25), Noise(100.0, 0.0)),)
    [part] = adapting._parts(opened, observation, 2)
    [plane] = adapting._planes([part], observation, 2)
    free = np.isfinite(plane.values)
    for block in (*part.chooses, *part.decides):
        assert not free[block.scale(2).slices].any()
    assert not {*part.chooses} & {*part.decides}
    assert 0.5 < free.mean() < 0.8
    assert free.any(0).sum() >= sharp_side(adapting.PATCH, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "bicubic"}, ModelError, "no weights to fine-tune"),
        ({"dst": "model.pt"}, InputError, "ends in .safetensors"),
        ({"minutes": 0.0}, InputError, "above 0"),
        ({"scale": 4, "dst": "/nowhere/at/all.safetensors"}, PlaceError, "does not exist"),
    ],
)
def test_what_cannot_be_adapted_is_refused_at_the_door(
    scene: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        adapt(scene, **({"scale": 2} | options))


def test_a_scene_of_classes_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only classes or palette entries"):
        adapt(scenes.make_palette(tmp_path), scale=2)


def test_a_scene_too_small_to_judge_by_is_refused(tmp_path: Path) -> None:
    for shape in ((3, 40, 50), (1, 3, 3), (1, 3, 900)):
        with pytest.raises(InputError, match="whole blocks to judge by"):
            adapt(scenes.make_plain(tmp_path, shape=shape), scale=4)


def test_weights_are_those_of_the_best_checkpoint_not_of_the_last(
    scene: Path, untrained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 24, 1e-3)
    looks = iter([5.0, 3.0, 1.0, 2.0, 4.0])
    seen: list[dict[str, torch.Tensor]] = []
    errors = adapting._errors

    def told(network: BandNetwork, parts: Any, observation: Any, which: str) -> Any:
        """What the blocks that choose find worsens after the second look; those that decide are content with any."""
        if which == "decides":
            return errors(network, parts, observation, which) * 0 + (1.0 if seen else 2.0)
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return np.array([next(looks, 9.0)])

    monkeypatch.setattr(adapting, "_errors", told)
    adapted = adapt(scene, model=untrained, scale=2, mtf=0.25, snr=1000)
    assert adapted.path is not None
    kept = load_file(adapted.path)
    assert len(seen) > 4
    assert [all(torch.equal(kept[name], state[name]) for name in kept) for state in seen].index(True) == 2
    assert any(not torch.equal(kept[name], seen[-1][name]) for name in kept)
