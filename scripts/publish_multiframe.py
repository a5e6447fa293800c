"""Writes a network that takes several dates, with its card, into the package.

    python -m scripts.publish_multiframe WEIGHTS CARD.toml OUT [--simulated OURS.json THEIRS.json]
        [--native OURS.json THEIRS.json] [--squares FIGURES.json] [--hardware TEXT]

WEIGHTS is what `scripts/train_multiframe.py` wrote; the card's keys are fields of `geosr.models.card.Card`. Figures are
what `benchmarks/frames.py` wrote of this network and of back-projection over the same dates, and what the training
wrote, of squares of validation places. --hardware measures the
speed here and now, with seven other dates, and calls the hardware so.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from geosr.evaluation.metrics import over_places
from geosr.frames import Frame, Seen
from geosr.models.card import KEY, Card
from geosr.models.classical import upsample_into
from geosr.models.frames import FramesNetwork
from geosr.models.registry import find
from geosr.models.threads import prepare_process
from geosr.registration.values import Registration
from geosr.response import PROBE
from geosr.sensors import Band
from geosr.window import Window
from scripts.publish_guided import card_of, least

DATES = 7
"""Beside the reference, in what is timed."""
CORE = 256
"""Side of the tile that is timed, source pixels; its halo is computed too, and not counted."""
MEASURED = (
    "validation places under the response of Sentinel-2's B8A, SNR 100, random shifts found from the "
    "pixels, the middle 160 x 160 pixels of each; natively: every third clear date of series/worldcereal with those "
    "nearest in time, B8A beside B08, no option; squares: 48 of validation places, their shifts told to .02 pixels; "
    "changed: as drawn in training; products: each date sampled where its sensor did, and interpolated"
)


def network_of(path: Path) -> FramesNetwork:
    """The network of a file, for a scene of one band."""
    model, ground = find(str(path), scale_of(load_file(path))), Window(0, 0, 4096, 4096)
    frames = tuple(
        Frame(place, str(place), Registration(0.13 * place, -0.07 * place, gains=(1.0,), offsets=(0.0,)), 0, 0, ground)
        for place in range(1, 1 + DATES)
    )
    return FramesNetwork(model=model, observation=(Band(PROBE),), frames=frames, ground=ground)


def scale_of(tensors: dict[str, Tensor]) -> int:
    """The scale that weights are for."""
    return math.isqrt(len(tensors["stages.0.tail.weight"]))


def speed_of(path: Path, hardware: str) -> dict[str, Any]:
    """The entry of a card's `speed`: source Mpx a second, and of bicubic in the same run; CPU time."""
    network = network_of(path)
    at = Window(1000, 1000, CORE, CORE).grow(network.halo)
    values = np.random.default_rng(0).normal(1000.0, 9.0, (1, at.height, at.width)).astype(np.float32)
    seen = [Seen(values, np.ones(values.shape, bool), at) for _ in network.frames]
    image = values[0, :CORE, :CORE].copy()
    out = np.empty((CORE * network.scale,) * 2, np.float32)
    with prepare_process():
        ours = least(lambda: network.fuse(values, (0,), at, None, seen))
        theirs = least(lambda: upsample_into(out, image, network.scale))
    speeds = {"mpx_per_s": CORE**2 / 1e6 / ours, "bicubic_mpx_per_s": CORE**2 / 1e6 / theirs}
    return {"hardware": f"{hardware}, {1 + DATES} dates", **{key: float(f"{each:.3g}") for key, each in speeds.items()}}


def figures_of(ours: Path, theirs: Path, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gains in dB by case: over the single-frame result, with the worst, and over back-projection."""
    rows, others = (json.loads(path.read_text(encoding="utf-8")) for path in (ours, theirs))
    key = "scene" if "scene" in rows[0] else "date"
    before = {row[key]: row["gain"] for row in others}
    for case in rows[0]["gain"]:
        gains = [(row[key], row["gain"][case]) for row in rows]
        over = [(name, gain - before[name][case]) for name, gain in gains]
        found = {"over_start": gains, "over_ibp": over}
        intervals = {name: over_places(each) for name, each in found.items()}
        figures: dict[str, Any] = {
            name: [round(each, 3) for each in (interval.mean, interval.low, interval.high)]
            for name, interval in intervals.items()
        }
        yield f"{where}, {case}", figures | {"worst": round(min(each for _, each in gains), 3), "cases": len(gains)}


def squares_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gains in dB by case, as the training judged the weights that it kept."""
    best = max(json.loads(path.read_text(encoding="utf-8")), key=lambda each: float(each["score"]))
    for case, (own, _, projected, worst, _) in best["figures"].items():
        yield (
            f"squares, {case}",
            {"over_start": own, "over_ibp": round(own - projected, 3), "worst": worst, "cases": 48},
        )


def main() -> None:
    """Writes it, once it was seen to fit its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=Path, nargs=2)
    parser.add_argument("--native", type=Path, nargs=2)
    parser.add_argument("--squares", type=Path)
    parser.add_argument("--hardware", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tensors = {name: value.half().contiguous() for name, value in load_file(given.weights).items()}
    metrics = dict(figures_of(*given.simulated, where="simulated")) if given.simulated else {}
    metrics |= dict(figures_of(*given.native, where="natively")) if given.native else {}
    metrics |= dict(squares_of(given.squares)) if given.squares else {}
    card = replace(
        card_of(given.card),
        scales=(scale_of(tensors),),
        parameters=sum(value.numel() for value in tensors.values()),
        framework_version=str(torch.__version__).partition("+")[0],
        stored="float16",
        metrics=metrics,
        measured=MEASURED if metrics else "",
    )
    write(given.out, tensors, card)
    card = replace(card, halo=network_of(given.out).halo)
    if given.hardware:
        card = replace(card, speed=(speed_of(given.out, given.hardware),))
    write(given.out, tensors, card)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB, halo {card.halo}, {card.speed}")


def write(path: Path, tensors: dict[str, Tensor], card: Card) -> None:
    """The file with its card."""
    save_file(tensors, path, {KEY: card.to_json()})


if __name__ == "__main__":
    main()
