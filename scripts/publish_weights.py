"""Writes trained weights with their card into the package.

    python scripts/publish_weights.py WEIGHTS[,WEIGHTS...] CARD.toml SCALE OUT [QUALITY.json] [options]

WEIGHTS are models that `geosr train` made, or checkpoints. Several of one training are averaged, and the noise that the
network is told is multiplied by the card's `noise_trust`. OUT is a safetensors file whose metadata `geosr_card` is the
card as JSON: the TOML's keys (fields of `geosr.models.card.Card`), those of the file that its key `base` names where it
has none of its own, the scale, parameters, halo and multiple of the network as it is loaded, and the figures of
QUALITY.json, a report of `benchmarks/quality.py --json`. Published once without figures, the file can be measured;
published again from OUT itself, only the card changes, and what was measured stays unless it is given anew.

--half stores float16, after it was measured to cost less than .02 dB: on the scenes of --planes, or by the difference
of QUALITY.json to --half-report, the same of a file stored so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.methods import bicubic, of_model
from benchmarks.protocol import Case, load_scenes, score
from benchmarks.report import cost, described, figures, record
from benchmarks.speed import against_bicubic
from geosr.errors import ModelError
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_card, read_header
from geosr.models.networks import NETWORKS
from geosr.models.runtime import network_for
from geosr.response import PROBE
from geosr.sensors import Band

DEAREST_DB = 0.02
"""What storing float16 may cost at most."""
HALF_CASES = (Case("MTF 0.25", 0.25), Case("bicubic LR", None))


def main(
    weights: str | Path,
    card_path: str | Path,
    scale: str | int,
    out: str | Path,
    quality: str | Path | None = None,
    *,
    native: str | Path | None = None,
    half: bool = False,
    planes: str | Path | None = None,
    half_report: str | Path | None = None,
    hardware: str = "",
    device: str = "cpu",
) -> None:
    """Writes `out`; nothing, where something is wrong: then `ModelError` or `SystemExit` says what."""
    sources = [Path(path) for path in str(weights).split(",")]
    card, tensors = _card(Path(card_path), int(scale)), _mean([load_file(path) for path in sources])
    before = _cards(sources)
    if before and "training" not in before[0].metrics:
        card = _with_what_was_measured(card, before[0])
    else:
        _trust_noise(tensors, card)
        card = replace(card, training_gap=card.training_gap or _gap(before))
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "full.safetensors"
        _write(trial, tensors, card)
        network = network_for(str(trial), card.scales[0], (Band(PROBE),), device="cpu")
        card = replace(card, halo=network.halo, multiple=network.multiple, framework_version=_torch_version())
        report = None if quality is None else _read(quality)
        if report is not None:
            card = replace(card, metrics=figures(report), measured=described(report, card.scales[0]))
        if native is not None:
            card = replace(card, native=_native(_read(native), card.name))
        if half:
            tensors = {name: value.half() for name, value in tensors.items()}
            stored = Path(folder) / "half.safetensors"
            _write(stored, tensors, card)
            spent = _cost(trial, stored, card.scales[0], planes, report, half_report, device)
            card = replace(card, stored="float16", half_cost_db=_affordable(spent))
        if hardware:
            others = (entry for entry in card.speed if entry["hardware"] != hardware)
            card = replace(card, speed=(against_bicubic(str(trial), card.scales[0], hardware, device), *others))
    _write(Path(out), tensors, card)
    print(f"{out}: {Path(out).stat().st_size / 1e6:.2f} MB, {card.stored}, halo {card.halo}")


def _card(path: Path, scale: int) -> Card:
    """The card of a TOML and its base; by default the network has the model's name and is told blur and noise."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    if "base" in entries:
        entries = tomllib.loads((path.parent / entries.pop("base")).read_text(encoding="utf-8")) | entries
    if unknown := sorted(entries.keys() - {field.name for field in fields(Card)}):
        raise SystemExit(f"{path} has the unknown key {unknown[0]}; keys are the fields of geosr.models.card.Card")
    entries = {name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()}
    card = Card(**{"network": entries["name"], "conditioned": True, **entries, "scales": (scale,)})
    if card.network not in NETWORKS:
        raise SystemExit(f"{path} names the network {card.network!r}; there are {', '.join(NETWORKS)}")
    return card


def _cards(sources: list[Path]) -> list[Card]:
    """The cards of published weights, or of models that `geosr train` made, all or none: checkpoints have none."""
    found = [read_card(path) for path in sources if KEY in read_header(path).metadata]
    if found and len(found) < len(sources):
        raise SystemExit("give either checkpoints of a training or published weights, not both")
    return found


def _native(report: dict[str, Any], model: str) -> dict[str, Any]:
    """Figures of a model from a report of `benchmarks/native.py --kept judge --json`."""
    rows = {kind: report["rows"][model].get(f"{kind}, judge") for kind in ("B8A", "B05-B07", "60 m", "pan")}
    wanted = ("places", "pairs", "gain", "low", "high", "correlation", "energy")
    found: dict[str, Any] = {
        kind: {name: round(row[name], 3) for name in wanted if row[name] == row[name]}
        for kind, row in rows.items()
        if row
    }
    water = [each["ratio"] for each in report["flat"] if each["model"] == model and "SeaLake" in each["group"]]
    if water:
        found["water"] = [round(sum(water) / len(water), 2), round(max(water), 2)]
    gains = [each["scores"][model]["gain"] for each in report["pairs"]]
    return found | {"below": [sum(gain < 0 for gain in gains), len(gains)]}


def _gap(cards: list[Card]) -> str:
    """What the last of the models that `geosr train` made says of overfitting; nothing of mere checkpoints."""
    if not cards or "validation" not in cards[-1].metrics:
        return ""
    last = cards[-1]
    own, others = (last.metrics[part]["over_bicubic"][0] for part in ("training", "validation"))
    where = f"(x{last.scales[0]}, degraded as products are made)"
    return f"{own:+.2f} dB over bicubic on places it was trained on, {others:+.2f} on others {where}"


def _with_what_was_measured(card: Card, before: Card) -> Card:
    if card.noise_trust != before.noise_trust:
        raise SystemExit(f"these weights have noise_trust {before.noise_trust} in them; publish the checkpoints anew")
    kept = ("measured", "metrics", "native", "stored", "half_cost_db", "training_gap")
    same = {name: getattr(before, name) for name in kept}
    return replace(card, **same, speed=card.speed or before.speed)


def _trust_noise(tensors: dict[str, Tensor], card: Card) -> None:
    """The second input of the first convolution is the noise, see `geosr.models.networks.band.with_noise`."""
    with torch.device("meta"):
        layers = NETWORKS[card.network](card.scales[0], card.channels, card.blocks).state_dict()
    first = next(name for name, value in layers.items() if value.ndim == 4)
    if first not in tensors:
        raise ModelError(f"the weights don't fit the network {card.network}: {first!r} is missing")
    tensors[first][:, 1] *= card.noise_trust


def _mean(checkpoints: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(checkpoints) == 1:
        return checkpoints[0]
    return {name: torch.stack([each[name].float() for each in checkpoints]).mean(0) for name in checkpoints[0]}


def _write(path: Path, tensors: dict[str, Tensor], card: Card) -> None:
    card = replace(card, parameters=sum(value.numel() for value in tensors.values()))
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, metadata={KEY: card.to_json()})
    partial.chmod(0o644)
    partial.replace(path)


def _cost(
    full: Path,
    half: Path,
    scale: int,
    planes: str | Path | None,
    report: list[dict[str, Any]] | None,
    half_report: str | Path | None,
    device: str,
) -> float:
    """What float16 costs, dB of PSNR in the mean over scenes, in the worst case."""
    if half_report is not None and report is not None:
        return cost(report, _read(half_report))
    if planes is None:
        raise SystemExit("--half needs the scenes to measure its cost on (--planes), or QUALITY.json and --half-report")
    return cost(*(_judged(path, scale, planes, device) for path in (full, half)))


def _judged(path: Path, scale: int, planes: str | Path, device: str) -> list[dict[str, Any]]:
    methods = {"bicubic": bicubic, "ibp": bicubic, "model": of_model(str(path), scale, device)}
    scenes = load_scenes(planes)
    return [
        record(case, [(each.name, score(each, case, methods, scale)) for each in scenes], {}) for case in HALF_CASES
    ]


def _affordable(spent: float) -> float:
    if not spent <= DEAREST_DB:
        raise SystemExit(f"float16 costs {spent:.3f} dB, more than {DEAREST_DB}; publish without --half")
    return round(spent, 4)


def _torch_version() -> str:
    return str(torch.__version__).partition("+")[0]


def _read(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("card_path", metavar="CARD.toml")
    parser.add_argument("scale", type=int)
    parser.add_argument("out")
    parser.add_argument("quality", nargs="?", metavar="QUALITY.json")
    parser.add_argument("--native", metavar="NATIVE.json", help="a report of benchmarks/native.py --kept judge")
    parser.add_argument("--half", action="store_true", help="store float16, if it costs next to nothing")
    parser.add_argument("--planes", help="validation scenes (scripts/prepare_planes.py)")
    parser.add_argument("--half-report", metavar="JSON", help="a report of weights stored as float16")
    parser.add_argument("--hardware", default="", help="measure the speed here and now, and call the hardware this")
    parser.add_argument("--device", default="cpu", help="cpu, on one core, or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main(**vars(_options()))
