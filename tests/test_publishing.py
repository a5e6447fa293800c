"""From trained weights to a shipped file, its figures and MODELS.md."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import speed
from benchmarks.protocol import Case, Scene, compare
from benchmarks.report import cost, described, figures, kind_of, record
from geosr.models import registry
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_card
from geosr.models.networks import NETWORKS
from geosr.models.runtime import network_for
from geosr.models.trained import Padded
from geosr.response import PROBE
from geosr.sensors import Band
from scripts.publish_guided import card_of
from tests.test_engines import SMALL, shaken

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "publish_weights.py"))
publish = SCRIPT["main"]
write = runpy.run_path(str(ROOT / "scripts" / "write_models_md.py"))
CARD = 'name = "mine"\nsummary = "a test"\nnoise_trust = 0.5\nlimits = ["few"]\n'


def card_file(folder: Path, name: str = "edsr", more: str = "") -> Path:
    channels, blocks = SMALL[name]
    path = folder / "mine.card.toml"
    path.write_text(f'{CARD}network = "{name}"\nchannels = {channels}\nblocks = {blocks}\n{more}')
    return path


def trained(folder: Path, name: str = "edsr") -> Path:
    save_file(dict(shaken(name).state_dict()), folder / "trained.safetensors")
    return folder / "trained.safetensors"


def planes(folder: Path, side: int = 96) -> Path:
    """Two scenes of two kinds."""
    random = np.random.default_rng(1)
    groups = ("terramind", "terramind", "aerial")
    index = [{"file": f"{group}.tif", "group": group, "band": 1} for group in groups]
    ground = np.cumsum(random.normal(0, 20, (3, side, side)), axis=2) + 1000
    np.savez(folder / "v.npz", index=np.array(json.dumps(index)), **{str(i): band for i, band in enumerate(ground)})
    return folder / "v.npz"


def test_a_card_takes_from_its_base_what_it_does_not_say_itself(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text('licence = "CC0-1.0"\nsummary = "of all"\ntraining_data = ["a", "b"]\n')
    own = card_file(tmp_path, more='base = "all.toml"\n')
    publish(trained(tmp_path), own, 2, tmp_path / "mine_x2.safetensors")
    card = read_card(tmp_path / "mine_x2.safetensors")
    assert (card.summary, card.licence, card.training_data) == ("a test", "CC0-1.0", ("a", "b"))


def test_the_gap_between_training_and_validation_goes_from_the_run_into_the_card(tmp_path: Path) -> None:
    channels, blocks = SMALL["edsr"]
    gains = {"training": {"over_bicubic": [3, 2, 4]}, "validation": {"over_bicubic": [2.5, 2, 3]}}
    run = Card("mine", "a run", (2,), network="edsr", channels=channels, blocks=blocks, metrics=gains)
    save_file(dict(shaken("edsr").state_dict()), tmp_path / "model.safetensors", {KEY: run.to_json()})
    out, checkpoint = tmp_path / "mine_x2.safetensors", tmp_path / "other_x2.safetensors"
    publish(tmp_path / "model.safetensors", card_file(tmp_path), 2, out)
    card = read_card(out)
    assert (
        card.training_gap
        == "+3.00 dB over bicubic on places it was trained on, +2.50 on others (x2, degraded as products are made)"
    )
    assert card.metrics == {}
    publish(trained(tmp_path), card_file(tmp_path), 2, checkpoint)
    assert all(torch.equal(value, load_file(checkpoint)[name]) for name, value in load_file(out).items())
    publish(out, card_file(tmp_path), 2, out)
    assert read_card(out).training_gap == card.training_gap


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.card.toml")), ids=lambda path: path.stem)
def test_the_cards_of_the_repository_are_complete(path: Path) -> None:
    told = path.read_text()
    elsewhere = any(f'network = "{name}"' in told for name in ("guided", "multiframe"))
    card = card_of(path) if elsewhere else SCRIPT["_card"](path, 4)
    assert path.name == f"{card.name}.card.toml"
    said = (card.summary, card.architecture, card.design, card.paper, card.degradation, card.training, card.licence)
    assert all((*said, card.longer_training, card.training_data, card.limits))


@pytest.mark.parametrize("name", SMALL)
def test_every_network_is_published_with_what_was_measured_of_it(name: str, tmp_path: Path) -> None:
    out = tmp_path / "mine_x2.safetensors"
    publish(trained(tmp_path, name), card_file(tmp_path, name), 2, out)
    card, before, after = read_card(out), shaken(name).state_dict(), load_file(out)
    assert (card.network, card.multiple) == (name, 8 if name == "swin" else 1)
    assert 6 < card.halo < 100
    assert card.parameters == sum(value.numel() for value in after.values())
    first = next(key for key, value in before.items() if value.ndim == 4)
    assert torch.equal(after[first][:, 1], 0.5 * before[first][:, 1])
    assert torch.equal(after[first][:, 0], before[first][:, 0])


def test_half_the_bytes_are_stored_after_their_cost_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "mine_x2.safetensors"
    publish(trained(tmp_path), card_file(tmp_path), 2, out, half=True, planes=planes(tmp_path))
    card = read_card(out)
    assert card.stored == "float16"
    assert card.half_cost_db is not None
    assert card.half_cost_db < 0.02
    assert {value.dtype for value in load_file(out).values()} == {torch.float16}


def test_a_published_network_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "mine_x2.safetensors"
    publish(trained(tmp_path, "span"), card_file(tmp_path, "span"), 2, out)
    seen = (Band(PROBE),)
    measured = network_for(str(out), 2, seen, device="cpu")
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    monkeypatch.delattr(Padded, "_rim")
    named = network_for("mine", 2, seen, device="cpu")
    assert named.halo == measured.halo == read_card(out).halo
    block = np.random.default_rng(2).random((1, 90, 90)).astype(np.float32)
    assert np.array_equal(named(block, (0,)), measured(block, (0,)))


def test_published_again_only_the_card_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "CORE", 32)
    monkeypatch.setattr(speed, "_LEAST_S", 0.01)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    report = tmp_path / "report.json"
    report.write_text(json.dumps([made_record()]))
    publish(trained(tmp_path), card_file(tmp_path), 2, first, report, hardware="a test's")
    publish(first, card_file(tmp_path, more='paper = "found later"\n'), "2", second)
    one, other = read_card(first), read_card(second)
    assert other == replace(one, paper="found later")
    assert other.metrics["MTF 0.25"]["kinds"]
    assert other.speed[0]["hardware"] == "a test's"
    assert other.speed[0]["bicubic_mpx_per_s"] > other.speed[0]["mpx_per_s"] > 0
    assert all(torch.equal(value, load_file(second)[key]) for key, value in load_file(first).items())


@pytest.mark.parametrize(
    ("more", "says"), [("colour = 3\n", "unknown key colour"), ('licence = "x"\n', "publish without --half")]
)
def test_what_can_not_be_published_leaves_nothing(tmp_path: Path, more: str, says: str) -> None:
    out = tmp_path / "mine_x2.safetensors"
    full, half = made_record(), made_record(lost=0.03)
    for name, entry in (("full", full), ("half", half)):
        (tmp_path / f"{name}.json").write_text(json.dumps([entry]))
    arguments = trained(tmp_path), card_file(tmp_path, more=more), 2, out, tmp_path / "full.json"
    with pytest.raises(SystemExit, match=says):
        publish(*arguments, half=True, half_report=tmp_path / "half.json")
    assert not out.exists()


def test_checkpoints_and_published_weights_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    publish(trained(tmp_path), card_file(tmp_path), 2, out)
    with pytest.raises(SystemExit, match="not both"):
        publish(f"{out},{trained(tmp_path)}", card_file(tmp_path), 2, tmp_path / "other.safetensors")


def made_record(lost: float = 0.0) -> dict[str, Any]:
    scores = [
        (name, {"model": levels + 1 - lost, "bicubic": levels, "ibp": levels + 0.5})
        for name, levels in (("a", np.array([30.0, 31.0])), ("b", np.array([20.0])))
    ]
    scores[1][1]["bicubic"] = np.array([22.0])
    return record(Case("MTF 0.25", 0.25), scores, {"a": kind_of(Scene("a", np.zeros((1, 2, 2)), "terramind")), "b": ""})


def test_a_report_tells_gains_of_all_scenes_and_of_each_kind() -> None:
    entry = made_record()
    told = figures([entry])["MTF 0.25"]
    assert told["over_ibp"][0] == 0.5
    assert told["over_bicubic"][0] == 0.0
    assert (told["worst_band"], told["worst_where"], told["bands_below_bicubic"]) == (-1.0, "b band 1", 1)
    [(kind, few)] = told["kinds"].items()
    assert kind.startswith("Sentinel-2 L1C")
    assert few == {"scenes": 1, "over_bicubic": [1.0, 1.0, 1.0], "over_ibp": [0.5, 0.5, 0.5]}
    assert "2 scenes (3 bands)" in described([entry], 4)
    assert (
        entry["gain"]["ibp"]["gain"]["mean"]
        == compare(
            [(name, {key: np.array(value) for key, value in each.items()}) for name, each in entry["bands"].items()],
            "model",
            "ibp",
        ).gain.mean
    )


def test_the_cost_of_another_report_is_its_worst_case() -> None:
    assert cost([made_record()], [made_record(lost=0.1)]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no case in common"):
        cost([made_record()], [])


def test_quality_judges_any_model_on_chosen_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quality = runpy.run_path(str(ROOT / "benchmarks" / "quality.py"))["main"]
    out, path = tmp_path / "q.json", str(planes(tmp_path))
    quality([path, "--model", "ibp", "--scale", "2", "--cases", "main", "--json", str(out)])
    report = json.loads(out.read_text())
    assert [entry["case"]["name"] for entry in report] == ["MTF 0.25", "bicubic LR", "MTF 0.25, SNR 100"]
    assert report[0]["gain"]["ibp"]["gain"]["mean"] == pytest.approx(0.0, abs=1e-4), "the same model on both sides"
    assert report[0]["fine_detail"]["ibp"] == pytest.approx(report[0]["fine_detail"]["model"], rel=1e-3)
    assert 0 < report[0]["fine_detail"]["bicubic"] < report[0]["fine_detail"]["ibp"]
    assert len(report[0]["kinds"]) == 2
    quality([path, "--model", "ibp", "--scale", "2", "--cases", "MTF 0.25", "--side", "64", "--json", str(out)])
    middle = json.loads(out.read_text())
    assert middle[0]["psnr"]["ibp"] != report[0]["psnr"]["ibp"]
    assert "the middle 64 x 64 pixels of each" in described(middle, 2)
    assert "the middle" not in described(report, 2)
    with pytest.raises(SystemExit, match="no case is called"):
        quality([path, "--cases", "MTF 7"])
    assert "over IBP" in capsys.readouterr().out


def test_models_md_is_what_the_cards_say() -> None:
    assert (ROOT / "MODELS.md").read_text(encoding="utf-8") == write["text"](), "run scripts/write_models_md.py"


def test_a_model_without_figures_has_a_section_that_says_so() -> None:
    card = Card("dreamer", "a test", (2,), network="rrdb", parameters=7_000_000, halo=9, generative=True)
    section = "\n".join(write["about"]("dreamer", [card]))
    assert "dreamer [generative]" in section
    assert "never there" in section
    assert "not measured" in section
    row = " ".join(write["compared"](card))
    assert "*generative*" in row
    assert "7.00 M" in row
    assert write["by_model"]([card, *[replace(card, name="a", parameters=5)] * 2]).keys() == {"a", "dreamer"}


def test_every_network_has_a_small_form_that_is_tried_here() -> None:
    assert set(SMALL) | {"fast"} == set(NETWORKS)
