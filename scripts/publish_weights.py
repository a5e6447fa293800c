"""Writes trained weights with their card into the package.

    python scripts/publish_weights.py WEIGHTS[,WEIGHTS...] CARD.toml SCALE OUT [QUALITY.json]

Several checkpoints of one training are averaged, and the noise that the network is told is multiplied by the card's
`noise_trust`. OUT is a safetensors file whose metadata `geosr_card` is the card as JSON: the TOML's keys, the scale,
and for every case of QUALITY.json (`benchmarks/quality.py --json`) the gain in dB over bicubic and back-projection.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def main(weights: str, card_path: str, scale: str, out: str, quality: str = "") -> None:
    """Writes `out`."""
    card = tomllib.loads(Path(card_path).read_text(encoding="utf-8")) | {"scale": int(scale)}
    if quality:
        card["metrics"] = _metrics(json.loads(Path(quality).read_text(encoding="utf-8")))
    tensors = _mean([load_file(path) for path in str(weights).split(",")])
    tensors["head.weight"][:, 1] *= card.get("noise_trust", 1.0)
    save_file(tensors, out, metadata={"geosr_card": json.dumps(card)})
    Path(out).chmod(0o644)


def _mean(checkpoints: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in checkpoints]).mean(0) for name in checkpoints[0]}


def _metrics(report: list[dict[str, Any]]) -> dict[str, Any]:
    """By case: gain in dB over each opponent as mean, low and high of its 95 % interval, and the worst band's."""
    figures: dict[str, Any] = {}
    for entry in report:
        gains = {f"over_{name}": _rounded(each["gain"]) for name, each in entry["gain"].items()}
        figures[entry["case"]["name"]] = gains | {"worst_band": round(entry["gain"]["bicubic"]["worst"], 2)}
    return figures


def _rounded(interval: dict[str, float]) -> list[float]:
    return [round(interval[key], 2) for key in ("mean", "low", "high")]


if __name__ == "__main__":
    main(*sys.argv[1:])
