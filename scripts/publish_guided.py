"""Writes a guided network with its card into the package.

    python scripts/publish_guided.py WEIGHTS CARD.toml OUT FIGURES.json [--hardware TEXT]

WEIGHTS and FIGURES are what `scripts/train_guided.py` wrote; the card's keys are fields of `geosr.models.card.Card`.
--hardware measures the speed here and now, and calls the hardware so.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from geosr.models.card import KEY, Card
from geosr.models.classical import upsample_into
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.refined import RefinedNetwork, refined
from geosr.models.registry import find
from geosr.models.threads import prepare_process
from geosr.placement import Placement
from geosr.sensors import UNKNOWN, Band
from geosr.window import Window

CORE = 512
"""Side of the tile that is timed, pixels of the guide; its halo is computed too, and not counted."""


def card_of(path: Path) -> Card:
    """The card of a TOML."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    card = Card(**{name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()})
    card.check()
    return card


def network_of(path: Path) -> tuple[RefinedNetwork, NDArray[np.float64], NDArray[np.float64]]:
    """The network of a file for a scene of noise, its bands and its guides."""
    model = find(str(path), 0)
    step, random = model.scale, np.random.default_rng(0)
    low, high = (
        random.normal(1000.0, 9.0, (len(names), side, side))
        for names, side in ((model.card.slots, 96), (model.card.guides, 96 * step))
    )
    placement = Placement((Fraction(step),) * 2, (Fraction(0),) * 2)
    at, block = (Window(0, 0, *image.shape[1:]) for image in (low, high))
    bands = tuple(Band(UNKNOWN, name=name) for name in model.card.slots)
    injection, _ = learn([Piece(low, at, high, block)], placement, [UNKNOWN] * len(bands), model.card.slots)
    made = refined(model, bands, injection, model.card.guides, device="cpu", precision="float32", rounding=0.0)
    return made, low, high


def speed_of(path: Path, hardware: str) -> dict[str, Any]:
    """The entry of a card's `speed`: Mpx of the coarse bands a second, and of bicubic in the same run; CPU time."""
    made, low, high = network_of(path)
    core = Window(96, 96, CORE, CORE)
    at, block = made.coarse(core), core.grow(made.halo)

    def tiled(image: NDArray[np.float64], window: Window) -> NDArray[np.float32]:
        rows, cols = (np.arange(side) % image.shape[1] for side in (window.height, window.width))
        return np.ascontiguousarray(image[:, rows[:, None], cols], np.float32)

    coarse, guide = tiled(low, at), tiled(high, block)
    step = made.model.scale
    pieces = tiled(low, Window(0, 0, CORE // step, CORE // step))
    out = np.empty((CORE // step * step,) * 2, np.float32)
    with prepare_process():
        ours = least(lambda: made.sharpen(coarse, at, guide, block, core))
        theirs = least(lambda: [upsample_into(out, each, step) for each in pieces])
    size = len(low) * core.size / step**2 / 1e6
    return {
        "hardware": hardware,
        "mpx_per_s": float(f"{size / ours:.3g}"),
        "bicubic_mpx_per_s": float(f"{size / theirs:.3g}"),
    }


def least(run: Callable[[], Any]) -> float:
    """The least processor time of three runs."""
    run()
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Write it, once it was seen to fit its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--hardware", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tensors = {name: value.contiguous() for name, value in load_file(given.weights).items()}
    figures = json.loads(given.figures.read_text())
    card = replace(
        card_of(given.card),
        parameters=sum(value.numel() for value in tensors.values()),
        framework_version=str(torch.__version__).partition("+")[0],
        metrics=figures,
        measured="at places kept apart: bands and guides degraded by drawn responses, three fifths with noise; "
        "natively without the guides that judge",
    )
    save_file(tensors, given.out, {KEY: card.to_json()})
    card = replace(card, halo=network_of(given.out)[0].halo)
    if given.hardware:
        card = replace(card, speed=(speed_of(given.out, given.hardware),))
    save_file(tensors, given.out, {KEY: card.to_json()})
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB, halo {card.halo}, {card.speed}")


if __name__ == "__main__":
    main()
