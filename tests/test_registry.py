from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geosr.errors import ModelError
from geosr.models import registry
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_card, read_header, read_tensors, sha256

CARD = Card(name="mine", summary="a test", scales=(4,), network="fast", channels=4, blocks=1)


def weights(path: Path, card: str = CARD.to_json()) -> Path:
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, path, metadata={KEY: card})
    return path


def test_every_name_has_a_card_that_can_be_printed() -> None:
    assert {"nearest", "bilinear", "bicubic", "lanczos", "ibp", "fast"} <= set(registry.names())
    for name in registry.names():
        card = registry.card(name)
        assert card.name == name
        assert card.summary
        assert json.loads(card.to_json())["geosr:scales"]


def test_the_trained_network_comes_with_its_card() -> None:
    card = registry.card("fast", 4)
    assert set(card.scales) >= {2, 4}
    assert 100_000 < card.parameters < 200_000
    assert card.conditioned
    assert not card.generative
    assert registry.locate("fast", 4)
    assert registry.locate("bicubic", 4) is None


@pytest.mark.parametrize(
    ("model", "scale", "says"),
    [
        ("bicubik", 4, "did you mean bicubic"),
        ("fast", 5, "works at x2"),
        ("bicubic", 9, "not x9"),
        ("", 4, "there are"),
        ("nowhere.safetensors", 4, "nowhere.safetensors"),
        ("weights.tar", 4, ".safetensors"),
    ],
)
def test_a_model_that_is_not_there_is_refused_in_one_line(model: str, scale: int, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        registry.card(model, scale)
    assert "\n" not in str(caught.value)


def test_a_file_of_ones_own_is_a_model(tmp_path: Path) -> None:
    path = weights(tmp_path / "own.safetensors")
    assert registry.card(str(path), 4) == Card(**{**asdict(CARD), "parameters": 10})
    assert registry.locate(str(path), 4) == path
    assert read_header(path).shapes == {"a": (2, 3), "b": (4,)}
    assert read_tensors(path)["b"].dtype == torch.float32


def test_the_hash_follows_the_file(tmp_path: Path) -> None:
    path = weights(tmp_path / "own.safetensors")
    first = sha256(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert sha256(path) != first
    with pytest.raises(ModelError, match="can't read"):
        sha256(tmp_path / "none")


@pytest.mark.slow
@given(cut=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(
    tmp_path: Path, cut: int, flips: list[tuple[int, int]]
) -> None:
    path = weights(tmp_path / "own.safetensors")
    content = bytearray(path.read_bytes()[:cut])
    for position, value in flips:
        if position < len(content):
            content[position] = value
    path.write_bytes(content)
    try:
        assert read_card(path).scales
        assert read_tensors(path)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"mlm:name": "x", "description": "y", "geosr:scales": [0]}',
        '{"mlm:name": 3, "description": "y", "geosr:scales": [2]}',
        "[" * 9999,
        '{"mlm:name": "x", "description": "y", "geosr:scales": 4}',
        '{"mlm:name": "x", "description": "y", "geosr:scales": [2], "geosr:blocks": 1000000000}',
        '{"mlm:name": "x", "description": "y", "geosr:scales": [2], "geosr:generative": "a little"}',
        '{"name": "x", "summary": "y", "scales": [2]}',
    ],
)
def test_a_card_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_card(weights(tmp_path / "own.safetensors", text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    torch.save({"a": torch.ones(3)}, path)
    with pytest.raises(ModelError, match="safetensors"):
        registry.card(str(path), 4)


def test_looking_models_up_does_not_import_torch() -> None:
    code = (
        "import sys; from geosr.cli import cli; cli(['models', 'show', 'fast'], standalone_mode=False); "
        "cli(['models'], standalone_mode=False); from geosr.models import runtime; "
        "sys.exit(bool({'torch', 'rasterio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
