"""Models judged natively: a product's coarse bands, upscaled as a user would, against finer bands of the same moment.

    python benchmarks/native.py DATA_ROOT [--model NAME_OR_FILE ...] [--scale 2] [--mtf .42] [--snr 100] [--json OUT]
    python benchmarks/native.py --pair COARSE FINE [--bands B8A B08] [--model NAME_OR_FILE ...]

DATA_ROOT holds the files that recipes/natural.toml lists; --pair judges a product of your own instead: two files of the
same ground, seen at the same moment. A model is anything that `geosr upscale --model` takes. Coarse bands are written
to a file that is named as a product's is, and go through `geosr.upscale` with no option but those given here: what
geosr believes of blur and noise is judged with the network. The method is that of geosr/evaluation/natural.py.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.places import noise_gain
from geosr.errors import GeosrError, InputError
from geosr.evaluation.metrics import Interval, over_places
from geosr.evaluation.natural import Pair, Product
from geosr.evaluation.natural_pairs import (
    Flat,
    Same,
    flat_ground,
    layers_of,
    natural_pairs,
    paired,
    pairs_of,
    product_of,
)
from geosr.sensor_table import bare
from geosr.trials import Judged, Upscale, judge, upscaler

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "natural.toml"
OPPONENTS = ("bicubic", "lanczos", "ibp")
"""Stand beside every model, under the same options."""
KINDS = {
    "B8A": ("B8A to B08",),
    "B05-B07": ("B05 to B04 + B08", "B06 to B04 + B08", "B07 to B04 + B08"),
    "60 m": ("B01 to B02", "B09 to B08"),
    "pan": ("B2 + B3 + B4 to B8",),
}
"""Rows of the table, by the bands of a pair."""


def main(arguments: list[str] | None = None) -> None:
    """Judges models, prints a table each, and writes the figures of every pair."""
    options = _parser().parse_args(arguments)
    told = {name: value for name in ("mtf", "snr") if (value := getattr(options, name)) is not None}
    try:
        pairs, flats = _material(options)
        models = list(dict.fromkeys([*OPPONENTS, *options.model]))
        upscalers = {model: upscaler(model, options.scale, **told) for model in models}
        judged, left_out = judge(pairs, upscalers, options.scale)
        flat = [(each, model, ratio) for each in flats for model in models for ratio in gains(each, upscalers[model])]
    except GeosrError as error:
        raise SystemExit(str(error)) from None
    rows = {model: table(judged, model) for model in models}
    for model in options.model:
        print(f"\n{model}, x{options.scale}, {told or 'defaults'}\n{written(rows, model)}")
        print(_worst(judged, model))
        print(_water(flat, models, model))
    print(f"\nleft out, {len(left_out)}", *(f"{name}: {why}" for name, why in left_out.items()), sep="\n  ")
    if options.json:
        report = {"scale": options.scale, "options": told, "rows": rows, "left_out": left_out}
        report["pairs"] = [_entry(each) for each in judged]
        report["flat"] = [
            {
                "place": each.place,
                "group": each.group,
                "kept": each.kept,
                "seen": each.seen,
                "model": model,
                "ratio": ratio,
            }
            for each, model, ratio in flat
        ]
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="where the files of recipes/natural.toml are")
    parser.add_argument("--pair", type=Path, nargs=2, metavar=("COARSE", "FINE"), help="judge two files of your own")
    parser.add_argument("--bands", nargs=2, metavar=("COARSE", "FINE"), help="their bands, where names don't tell")
    parser.add_argument("--model", nargs="+", default=["fast"], help="names, or files that `--model` takes")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument(
        "--sets", nargs="+", default=[], metavar="SET", help="names in recipes/natural.toml; all if none"
    )
    parser.add_argument("--kept", choices=("fit", "judge"), help="only places that are for fitting, or kept apart")
    parser.add_argument("--most", type=int, default=8, help="products of a place that are judged, such as dates")
    parser.add_argument("--mtf", type=_blur, help="a number, or scene")
    parser.add_argument("--snr", type=float)
    parser.add_argument("--json", type=Path, help="write the figures of every pair too")
    return parser


def _blur(told: str) -> float | str:
    return told if told == "scene" else float(told)


def _material(options: argparse.Namespace) -> tuple[list[Pair], list[Flat]]:
    if options.pair:
        return own_pairs(*options.pair, options.bands), []
    if options.root is None:
        raise InputError("give the root of the data, or two files of your own with --pair")
    pairs = natural_pairs(options.root, RECIPE, options.sets)
    flats = flat_ground(options.root, RECIPE, options.sets)
    if options.kept:
        pairs, flats = ([each for each in some if each.kept == options.kept] for some in (pairs, flats))
    pairs = thinned(pairs, options.most)
    if not pairs and not flats:
        raise InputError(f"{options.root}: none of the files that {RECIPE.name} lists is there")
    return pairs, flats


def thinned(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """The pairs of at most so many products of each place and pixel size, spread evenly over them."""
    products: dict[tuple[str, float], list[Product]] = {}
    for pair in pairs:
        own = products.setdefault((pair.place, pair.product.gsd), [])
        if not any(pair.product is other for other in own):
            own.append(pair.product)
    wanted = {
        id(own[index])
        for own in products.values()
        for index in np.linspace(0, len(own) - 1, min(most, len(own)), dtype=int)
    }
    return [pair for pair in pairs if id(pair.product) in wanted]


def own_pairs(coarse: Path, fine: Path, bands: Sequence[str] | None = None) -> list[Pair]:
    """The pairs of two files: of the bands named, else of those whose names tell, else of the only one of each.

    Raises `InputError` where neither says which bands show the same, or pixels of the one don't divide the other's.
    """
    ours, theirs = layers_of(coarse), layers_of(fine)
    ratio = ours[0].gsd / theirs[0].gsd
    if ratio < 1.5 or abs(ratio - round(ratio)) > 0.05:
        sizes = f"pixels of {ours[0].gsd:g} and {theirs[0].gsd:g}"
        raise InputError(f"{coarse.name} and {fine.name}: {sizes}; expected the second to divide the first")
    if not bands and len(ours) == len(theirs) == 1:
        bands = [ours[0].name, theirs[0].name]
    if not bands:
        found = pairs_of([*ours, *theirs], coarse.stem, coarse.name, source=coarse)
        if not found:
            raise InputError(f"{coarse.name} and {fine.name}: names don't tell which bands show the same; say --bands")
        return found
    named = [{bare(layer.name): layer for layer in layers} for layers in (ours, theirs)]
    for path, name, layers in zip((coarse, fine), bands, named, strict=True):
        if bare(name) not in layers:
            known = ", ".join(layer.name for layer in layers.values())
            raise InputError(f"{path.name} has no band {name!r}; there are {known}")
    product = product_of([named[0][bare(bands[0])]], coarse.name, coarse)
    return [paired(product, *named, Same((bands[0],), (bands[1],), product.gsd), coarse.stem)]


def gains(flat: Flat, run: Upscale) -> list[float]:
    """Of each band of flat ground, what the result varies by over what the input does."""
    bands = zip(run(flat.product), flat.product.pixels, strict=True)
    return [noise_gain(result, source) for result, source in bands]


def table(judged: Sequence[Judged], model: str) -> dict[str, dict[str, Any]]:
    """Figures of a model by row: one a set and kind of bands, and one a kind and side over all sets."""
    rows: dict[str, list[Judged]] = {}
    for kind, bands in KINDS.items():
        some = [each for each in judged if each.pair.bands in bands]
        for kept in ("judge", "fit"):
            rows[f"{kind}, {kept}"] = [each for each in some if each.pair.kept == kept]
        groups = list(dict.fromkeys(each.pair.group for each in some))
        for group in groups if len(groups) > 1 else ():
            for kept in ("judge", "fit"):
                own = [each for each in some if each.pair.group == group and each.pair.kept == kept]
                seen = ", seen" if any(each.pair.seen for each in own) else ""
                rows[f"{kind}, {group}, {kept}{seen}"] = own
    own = [each for each in judged if not each.pair.kept]
    rows |= {each.pair.name: [each] for each in own}
    return {name: figures(some, model) for name, some in rows.items() if some}


def figures(judged: Sequence[Judged], model: str) -> dict[str, Any]:
    """Means over places of gain, correlation and energy, with the gain's interval, and how much there is."""

    def mean(of: str) -> Interval:
        return over_places((each.pair.place, getattr(each.scores[model], of)) for each in judged)

    gain = mean("gain")
    return {
        "places": len({each.pair.place for each in judged}),
        "pairs": len(judged),
        "gain": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "correlation": mean("correlation").mean,
        "energy": mean("energy").mean,
        "worst": min(each.scores[model].gain for each in judged),
    }


def written(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], model: str) -> str:
    """The table of a model, beside its opponents."""
    head = ["pairs", "places", "n", "gain dB", "correlation", "energy", "worst dB"]
    head += [f"{name}: gain / corr. / energy" for name in OPPONENTS if name != model]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, own in rows[model].items():
        interval = "" if math.isnan(own["low"]) else f" [{own['low']:+.2f}, {own['high']:+.2f}]"
        cells = [name, str(own["places"]), str(own["pairs"]), f"{own['gain']:+.2f}{interval}"]
        cells += [f"{own['correlation']:.3f}", f"{own['energy']:.2f}", f"{own['worst']:+.2f}"]
        others = [rows[other][name] for other in OPPONENTS if other != model]
        cells += [f"{each['gain']:+.2f} / {each['correlation']:.3f} / {each['energy']:.2f}" for each in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _worst(judged: Sequence[Judged], model: str) -> str:
    if not judged:
        return "no pair"
    worst = min(judged, key=lambda each: each.scores[model].gain)
    below = [each for each in judged if each.scores[model].gain < 0]
    kept = [each for each in judged if each.pair.kept != "fit"]
    apart = f", {sum(each.pair.kept != 'fit' for each in below)} of {len(kept)} kept apart" if kept else ""
    told = f"worst: {worst.scores[model].gain:+.2f} dB, {worst.pair.name} ({worst.pair.place})"
    return f"{told}; below bicubic: {len(below)} of {len(judged)} pairs{apart}"


def _water(flat: Sequence[tuple[Flat, str, float]], models: Sequence[str], model: str) -> str:
    lines = []
    for group, kept in dict.fromkeys((each.group, each.kept) for each, *_ in flat):
        own = {
            name: [ratio for each, who, ratio in flat if (each.group, each.kept, who) == (group, kept, name)]
            for name in dict.fromkeys((model, *OPPONENTS))
        }
        told = ", ".join(f"{name} {np.nanmean(some):.2f} (most {np.nanmax(some):.2f})" for name, some in own.items())
        lines.append(f"flat ground, {group}, {kept}: result over input {told}")
    return "\n".join(lines)


def _entry(each: Judged) -> dict[str, Any]:
    pair = each.pair
    about = {"name": pair.name, "place": pair.place, "set": pair.group, "bands": pair.bands, "kept": pair.kept}
    scores = {model: {of: round(value, 4) for of, value in asdict(own).items()} for model, own in each.scores.items()}
    return {**about, "seen": pair.seen, "scores": scores}


if __name__ == "__main__":
    main()
