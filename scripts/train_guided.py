"""A guided network trained on what `scripts/prepare_guided.py` made; resumable, capped by time.

    python scripts/train_guided.py SAMPLES.npz JUDGED.npz FOLDER [--minutes 60] [--channels 64] [--blocks 8]

Writes `weights.safetensors`, the running average of the weights, `state.safetensors` and `figures.json` into the
folder. A sample's bands count alike, by the logarithm of their squared error; bands are left out at random, so that a
product may lack them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from geosr.evaluation.metrics import over_places
from geosr.models.networks.guided import Guided
from geosr.training.soap import Soap
from geosr.training.state import learner_state, load_learner, part

KINDS = {"down": 0.55, "native": 0.25, "elsewhere": 0.2}
"""Shares of the samples."""
PATCH = 44
"""Side of a patch, fine pixels."""
FLAT = 5e-3
"""Squared error, in units of a band's contrast, below which hardly anything is gained."""
ABSENT, JITTER = 0.12, 0.2
"""Share of bands left out, and standard deviation of the logarithm of what each band and guide is multiplied by."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One place: estimates, guides, truth, what is told."""

    place: str
    x: NDArray[np.float16]
    g: NDArray[np.float16]
    y: NDArray[np.float16]
    told: NDArray[np.float32]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Estimates, guides, truth, what is told."""
        return self.x, self.g, self.y, self.told


def read(path: Path) -> dict[str, list[Sample]]:
    """The samples by kind."""
    found: dict[tuple[str, str, str], dict[str, NDArray[np.float16]]] = defaultdict(dict)
    with np.load(path) as archive:
        for key in archive.files:
            kind, place, number, name = key.split("|")
            found[kind, place, number][name] = archive[key]
    every: dict[str, list[Sample]] = defaultdict(list)
    for (kind, place, _), arrays in found.items():
        every[kind].append(Sample(place, **arrays))
    return every


class Drawer:
    """Draws batches; places of a kind count alike."""

    def __init__(self, samples: dict[str, list[Sample]], seed: int) -> None:
        self.kinds = [kind for kind in KINDS if samples.get(kind)]
        shares = np.array([KINDS[kind] for kind in self.kinds])
        self.shares = shares / shares.sum()
        self.places: dict[str, list[list[Sample]]] = {}
        for kind in self.kinds:
            by_place: dict[str, list[Sample]] = defaultdict(list)
            for each in samples[kind]:
                by_place[each.place].append(each)
            self.places[kind] = list(by_place.values())
        self.random = np.random.default_rng(seed)

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Estimates, guides, truth (NaN where there is none), told."""
        rows = [self._one() for _ in range(count)]
        x, g, y, told = (torch.from_numpy(np.stack(each)) for each in zip(*rows, strict=True))
        return x, g, y, told

    def _one(self) -> tuple[NDArray[np.float32], ...]:
        random = self.random
        places = self.places[self.kinds[random.choice(len(self.kinds), p=self.shares)]]
        some = places[random.integers(len(places))]
        sample = some[random.integers(len(some))]
        row, col = (2 * random.integers((side - PATCH) // 2 + 1) for side in sample.y.shape[1:])
        turns, flip = int(random.integers(4)), random.random() < 0.5

        def cut(image: NDArray[np.float16]) -> NDArray[np.float32]:
            image = np.rot90(image[:, row : row + PATCH, col : col + PATCH], turns, (1, 2))
            return np.ascontiguousarray(image[:, ::-1] if flip else image, np.float32)

        x, g, y = cut(sample.x), cut(sample.g), cut(sample.y)
        bands = len(y)
        told = sample.told.reshape(bands, 2, 2)
        told = told[:, :, ::-1] if turns % 2 else told
        there = np.isfinite(y).any((1, 2))
        keep = random.random(bands) >= ABSENT
        keep = keep if (keep & there).any() else there
        gain = np.exp(random.normal(0.0, JITTER, bands)) * keep
        x = (x.reshape(-1, bands, PATCH, PATCH) * gain[:, None, None]).reshape(x.shape)
        y = np.where(keep[:, None, None], y * gain[:, None, None], np.nan)
        g = g * np.exp(random.normal(0.0, JITTER, len(g)))[:, None, None]
        told = told.reshape(bands, 4) * keep[:, None]
        return tuple(each.astype(np.float32) for each in (x, g, y, told.ravel()))


def errors(made: Tensor, truth: Tensor) -> Tensor:
    """(n, bands) mean squared error, NaN where there is no truth."""
    there = truth.isfinite()
    square = torch.where(there, made - torch.nan_to_num(truth), 0.0).square()
    return square.sum((2, 3)) / there.sum((2, 3))


def loss_of(made: Tensor, truth: Tensor) -> Tensor:
    """The mean logarithm of the squared error of all bands that there are."""
    each = errors(made, truth)
    return torch.log(each[each.isfinite()] + FLAT).mean()


CASES = {"down": "a scale down, with truth", "native": "natively", "elsewhere": "other bands in their place"}


def judged(network: Guided, samples: dict[str, list[Sample]]) -> dict[str, dict[str, Any]]:
    """By case: what is left of bicubic's RMSE, the mean over samples and bands, and gains in dB over other ways."""
    found = {}
    for kind, some in samples.items():
        left: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for sample in some:
            x, g, y, told = (torch.from_numpy(each.astype(np.float32))[None] for each in sample.arrays)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                made = network(x, g, told).float()
            bicubic, others = errors(torch.zeros_like(y), y), x.split(network.bands, 1)[1:]
            ways = dict(zip(("alone", "glp")[-len(others) :], others, strict=True)) | {"network": made}
            for name, way in ways.items():
                left[name].append((errors(way, y) / bicubic).sqrt()[0].double().numpy())
        ratios = {name: np.stack(each) for name, each in left.items()}
        own = ratios.pop("network")
        bands = [round(float(each), 3) if np.isfinite(each) else None for each in np.nanmean(own, 0)]
        figures: dict[str, Any] = {"rmse": float(np.nanmean(own)), "bands": bands}
        for name, theirs in ({"bicubic": np.ones_like(own)} | ratios).items():
            gains = 20.0 * np.log10(theirs / own)
            means = [(sample.place, float(np.nanmean(gain))) for sample, gain in zip(some, gains, strict=True)]
            interval = over_places(means)
            figures[f"over_{name}"] = [round(each, 2) for each in (interval.mean, interval.low, interval.high)]
            figures[f"rmse_{name}"] = float(np.nanmean(theirs))
        figures |= {"places": len({sample.place for sample in some})}
        found[CASES[kind]] = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    return found


def main() -> None:
    """Train until the time is over, and print how good it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("judged", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rate", type=float, default=3e-3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    samples, kept = read(given.samples), read(given.judged)
    some = next(iter(samples.values()))[0]
    sizes = len(some.y), len(some.g), len(some.x) // len(some.y), given.channels, given.blocks
    network = Guided(*sizes)
    optimiser = Soap(network.parameters(), given.rate)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    step, spent, mean = 0, 0.0, 0.0
    given.folder.mkdir(parents=True, exist_ok=True)
    state = given.folder / "state.safetensors"
    if state.exists():
        kept_state = load_file(state)
        step, spent, mean = kept_state.pop("progress").tolist()
        step = int(step)
        load_learner(network, optimiser, kept_state)
        average = dict(part(kept_state, "average."))
    drawer = Drawer(samples, 1 + step)
    print(
        f"{sum(map(len, samples.values()))} samples, {sum(p.numel() for p in network.parameters())} numbers", flush=True
    )

    def save() -> None:
        save_file(average, given.folder / "weights.safetensors")
        progress = torch.tensor([step, spent, mean], dtype=torch.float64)
        every = {"progress": progress} | learner_state(network, optimiser)
        save_file(every | {f"average.{name}": value for name, value in average.items()}, state)

    def look() -> None:
        best = Guided(*sizes)
        best.load_state_dict(average)
        found = judged(best.eval(), kept)
        (given.folder / "figures.json").write_text(json.dumps(found, indent=1))
        for case, figures in found.items():
            print("  ", case, {k: v for k, v in figures.items() if k.startswith("rmse") or k == "bands"}, flush=True)

    began, shown = time.perf_counter(), 0.0
    before = spent
    while spent < 60 * given.minutes:
        x, g, y, told = drawer.batch(given.batch)
        with torch.autocast("cpu", torch.bfloat16):
            made = network(x, g, told)
        loss = loss_of(made.float(), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        share = min(1.0, spent / (60 * given.minutes))
        rate = given.rate * min(1.0, (step + 1) / 200) * (0.01 + 0.495 * (1 + math.cos(math.pi * share)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        step += 1
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1 - decay)
        mean += (float(loss.detach()) - mean) * max(0.005, 1 / step)
        spent = before + time.perf_counter() - began
        if spent - shown > 300:
            shown = spent
            print(f"step {step}, {spent / 60:.1f} min, loss {mean:.3f}", flush=True)
            save()
            look()
    save()
    look()


if __name__ == "__main__":
    main()
