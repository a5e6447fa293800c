"""Writes a guided network with its card into the package.

    python scripts/publish_guided.py WEIGHTS CARD.toml OUT [--figures KEY=VALUE ...]

WEIGHTS are what `scripts/train_guided.py` wrote; the card's keys are fields of `geosr.models.card.Card`.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from geosr.models import refiner
from geosr.models.card import KEY, Card


def main() -> None:
    """Write it, once it was seen to fit its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--figures", type=json.loads, default={}, help="metrics of the card, as JSON")
    given = parser.parse_args()
    entries = tomllib.loads(given.card.read_text(encoding="utf-8"))
    entries = {name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()}
    tensors = load_file(given.weights)
    size = sum(value.numel() for value in tensors.values())
    version = str(torch.__version__).partition("+")[0]
    card = Card(**entries, parameters=size, framework_version=version, metrics=given.figures)
    card.check()
    refiner.build(card, tensors, "cpu", torch.float32)
    save_file({name: value.contiguous() for name, value in tensors.items()}, given.out, {KEY: card.to_json()})
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
