"""Cards: in the terms of STAC's MLM extension, whole after a round trip, honest about what may be invented."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from geosr.api import prepare
from geosr.cli import cli
from geosr.models import registry
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_card
from geosr.models.networks import fast
from geosr.models.runtime import network_for
from geosr.response import PROBE
from geosr.sensors import Band
from tests import scenes

SHIPPED = [read_card(path) for path in sorted(registry.WEIGHTS.glob("*_x?.safetensors"))]
GUIDED = [card for card in SHIPPED if card.guides]
DATES = [card for card in SHIPPED if card.network == registry.MULTIFRAME]
CARDS = [card for card in SHIPPED if card not in (*GUIDED, *DATES)]
EVERY = [*SHIPPED, *registry.CLASSICAL.values()]
INVENTIVE = Card("dreamer", "a test", (2,), network="fast", channels=4, blocks=1, conditioned=True, generative=True)


@pytest.mark.parametrize("card", EVERY, ids=lambda card: f"{card.name}_x{card.scales[-1]}")
def test_a_card_comes_back_whole_from_its_json(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card


@pytest.mark.parametrize("card", [*EVERY, INVENTIVE], ids=lambda card: f"{card.name}_x{card.scales[-1]}")
def test_a_card_keeps_to_the_schema_of_the_mlm_extension(card: Card) -> None:
    document: dict[str, Any] = json.loads(card.to_json())
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]", document["mlm:name"])
    assert document["mlm:tasks"] == ["super-resolution"] + ["generative"] * card.generative
    assert {"mlm:architecture", "mlm:framework", "mlm:hyperparameters", "description", "license"} <= document.keys()
    assert re.fullmatch(r"\d+\.\d+\.\d+", document.get("mlm:framework_version", "0.0.0"))
    assert document["mlm:accelerator"] is None
    assert {each["name"] for each in document["mlm:input"]} == {"coarse", *(["response", "noise"] * card.conditioned)}
    for part in [each["input"] for each in document["mlm:input"]] + [each["result"] for each in document["mlm:output"]]:
        assert len(part["shape"]) == len(part["dim_order"])
        assert part["data_type"] == "float32"
    assert all(each["bands"] == [] for each in document["mlm:input"])
    assert not [term for term in document if ":" not in term and term not in ("description", "license")]


@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: f"{card.name}_x{card.scales[0]}")
def test_a_card_that_is_shipped_tells_all_that_a_user_asks(card: Card) -> None:
    told = card.paper, card.training_data, card.degradation, card.limits, card.licence, card.measured, card.speed
    assert all(told)
    assert card.parameters > 0
    assert card.halo > 0
    assert {"hardware", "mpx_per_s", "bicubic_mpx_per_s"} <= card.speed[0].keys()
    assert all("(" in data for data in card.training_data), "each with its licence"
    if card in DATES:
        assert card.metrics["squares, 8 dates"]["over_ibp"] > 0.5
        return
    figures, over = (
        (card.metrics["a scale down, with truth"], "over_glp")
        if card.guides
        else (card.metrics["MTF 0.25"], "over_ibp")
    )
    assert figures[over][1] <= figures[over][0] <= figures[over][2]
    if not card.guides:
        assert figures["scenes"] == sum(kind["scenes"] for kind in figures["kinds"].values())


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(card, id=f"{card.name}_x{card.scales[0]}", marks=pytest.mark.slow if card.halo > 40 else ())
        for card in CARDS
    ],
)
def test_the_halo_that_a_card_tells_is_that_of_the_network(card: Card) -> None:
    path = registry.WEIGHTS / f"{card.name}_x{card.scales[0]}.safetensors"
    network = network_for(str(path), card.scales[0], (Band(PROBE),), device="cpu")
    assert card.halo == network.halo


def test_the_weights_in_the_package_are_small() -> None:
    assert sum(path.stat().st_size for path in registry.WEIGHTS.iterdir()) < 25e6


def test_a_model_that_may_invent_is_marked_wherever_its_name_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from geosr.xarray import open_raster

    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    weights = fast(2, 4, 1).state_dict()
    save_file(weights, tmp_path / "dreamer_x2.safetensors", metadata={KEY: INVENTIVE.to_json()})
    src = scenes.make_plain(tmp_path, shape=(1, 40, 50))
    run = prepare(src, model="dreamer", scale=2)
    assert run.tags["GEOSR_MODEL"] == run.estimate()["model"] == "dreamer [generative]"
    assert "never there" in run.notes[0]
    fine = open_raster(src).geosr.upscale("dreamer", 2)
    assert fine.attrs["GEOSR_MODEL"] == "dreamer [generative]"
    for arguments in (["models"], ["models", "show", "dreamer"]):
        cli(arguments, standalone_mode=False)
        assert "dreamer [generative]" in capsys.readouterr().out
    assert replace(INVENTIVE, generative=False).notes == ()


def test_a_card_shows_what_natural_pairs_say_before_what_simulation_says() -> None:
    shown = CliRunner().invoke(cli, ["models", "show", "fast"]).output
    native, simulated = shown.index("natively, no option given"), shown.index("simulated: PSNR")
    assert native < simulated
    gain = registry.card("fast", 2).native["B8A"]
    assert f"B8A, {gain['places']} places                     {gain['gain']:+.2f}" in shown
    assert "{" not in shown
