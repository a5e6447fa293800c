"""Models compared on a user's own rasters: by Wald's protocol, by natural pairs, by real pairs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from geosr.api import upscale
from geosr.errors import InputError
from geosr.evaluation.metrics import bootstrap, over_places
from geosr.io.metadata import finer_transform
from geosr.io.scene import Scene, open_scene
from geosr.judging import measured
from geosr.keywords import keywords
from geosr.run import Progress
from geosr.trials import degraded, judge, natural_material, paired_material, scenes_in, upscaler

Protocol = Literal["wald", "native", "paired"]
Errors = dict[str, list[tuple[str, str, float]]]
"""By model: place, piece and decibels that its squared error is below 1, a piece each."""
_FEWEST = 3
"""Places, or pieces, that an interval needs."""


class Gain(TypedDict):
    """The gain of a model over an opponent, dB of squared error, with its 95 % interval over places, or over pieces of
    fewer than three places; NaN where these are too few, too."""

    mean: float
    low: float
    high: float
    worst: float
    where: str
    """The piece of the worst."""
    units: int
    """Places, or pieces, that are drawn anew for the interval."""


class Comparison(TypedDict):
    """A model beside its opponents."""

    protocol: str
    scale: int
    model: str
    figures: dict[str, dict[str, float]]
    """By model and figure, means over places."""
    gains: dict[str, Gain]
    """By opponent."""
    pieces: int
    left_out: dict[str, str]
    """What couldn't be judged, and why."""


@keywords()
def compare(
    *rasters: str | Path,
    protocol: Protocol,
    model: str = "fast",
    against: Sequence[str] = ("bicubic",),
    scale: int = 2,
    mtf: float | Sequence[float] | None = None,
    snr: float | Sequence[float] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """The figures of a model and its opponents on rasters of a user's own, and the model's gains over each.

    Models run as `upscale` runs them, with no option but those given here.

    Parameters
    ----------
    rasters
        For "wald" scenes, each of which is degraded by what is known of its sensor and is then the reference. For
        "native" a product, or rasters of one, with bands that the satellite saw with coarser and with finer pixels. For
        "paired" an input and a reference, and perhaps more of both; references are matched in shift, gain and offset.
    protocol
        "wald", "native" or "paired".
    model, against
        Names or files, as `upscale` takes them.
    scale, mtf, snr, workers, progress
        As `upscale` takes them.

    Raises
    ------
    geosr.errors.InputError
        Nothing can be judged, or an option is at fault.
    """
    if protocol not in get_args(Protocol):
        raise InputError(f"protocol {protocol!r}: expected one of {', '.join(get_args(Protocol))}")
    models = list(dict.fromkeys([model, *([against] if isinstance(against, str) else against)]))
    if len(models) < 2:
        raise InputError(f"{model} has no opponent; name another with --against")
    options = {"mtf": mtf, "snr": snr}
    if protocol == "wald":
        figures, errors = _wald(rasters, models, scale, options, workers, progress)
        left_out: dict[str, str] = {}
    else:
        figures, errors, left_out = _in_pairs(protocol, rasters, models, scale, options)
    return Comparison(
        protocol=protocol,
        scale=scale,
        model=model,
        figures=figures,
        gains={other: _gain(errors[model], errors[other]) for other in models[1:]},
        pieces=len(errors[model]),
        left_out=left_out,
    )


def _wald(
    rasters: Sequence[str | Path],
    models: Sequence[str],
    scale: int,
    options: Mapping[str, Any],
    workers: int | None,
    progress: Progress | None,
) -> tuple[dict[str, dict[str, float]], Errors]:
    errors: Errors = {model: [] for model in models}
    found: dict[str, list[dict[str, float]]] = {model: [] for model in models}
    for path in rasters:
        for scene in scenes_in(path):
            bands = [number for number, band in enumerate(scene.sensor.bands) if not band.categorical]
            if not bands or min(scene.shape) < 16 * scale:
                raise InputError(f"{scene.name}: {scene.shape} pixels with {len(bands)} measured bands can't be judged")
            with tempfile.TemporaryDirectory() as folder:
                lr = open_scene(degraded(scene, scale, bands, options["mtf"], Path(folder)))
                hr = _as_if_finer(scene, scale)
                for number, model in enumerate(models):
                    sr = Path(folder) / f"result_{number}.tif"
                    upscale(lr.path, sr, model=model, scale=scale, workers=workers, progress=progress, **options)
                    report, sums = measured(open_scene(sr), {"lr": lr, "hr": hr}, mtf=options["mtf"], workers=workers)
                    found[model].append({name: each["all"] for name, each in report["figures"].items()})
                    errors[model] += _cells(scene.name, sums["cells"])
                    sr.unlink()
    return {model: _means(each) for model, each in found.items()}, errors


def _as_if_finer(scene: Scene, scale: int) -> Scene:
    """A scene whose degraded image has its own pixel size."""
    finer = finer_transform(scene.transform, scale)
    return replace(scene, metadata=replace(scene.metadata, transform=finer))


def _cells(place: str, cells: Iterable[Any]) -> list[tuple[str, str, float]]:
    return [
        (place, f"{place}, row {cell.at[0]}, column {cell.at[1]}", _level(cell.squares / cell.pixels))
        for cell in cells
        if cell.pixels and (cell.squares > 0).all()
    ]


def _level(squares: Any) -> float:
    """Decibels that squared errors of bands are below 1 on the mean."""
    return -10.0 * float(np.log10(squares).mean())


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over scenes, of those that a figure could be measured of."""
    names = dict.fromkeys(name for each in figures for name in each)
    told = {name: [each[name] for each in figures if not math.isnan(each.get(name, math.nan))] for name in names}
    return {name: float(np.mean(some)) if some else math.nan for name, some in told.items()}


def _in_pairs(
    protocol: str, rasters: Sequence[str | Path], models: Sequence[str], scale: int, options: Mapping[str, Any]
) -> tuple[dict[str, dict[str, float]], Errors, dict[str, str]]:
    left_out: dict[str, str] = {}
    if protocol == "native":
        groups = [natural_material(rasters, left_out)]
    elif len(rasters) % 2:
        raise InputError(f"{len(rasters)} rasters are no pairs; name an input, its reference, and so on")
    else:
        groups = [paired_material(lr, hr, left_out) for lr, hr in zip(rasters[::2], rasters[1::2], strict=True)]
    runs = {model: upscaler(model, scale, **options) for model in models}
    errors: Errors = {model: [] for model in models}
    found: dict[str, list[dict[str, float]]] = {model: [] for model in models}
    for number, group in enumerate(groups):
        judged, more = judge(group, runs, scale)
        left_out |= more
        for each in judged:
            for model in models:
                score = each.scores[model]
                told = {"gain": score.gain, "detail_correlation": score.correlation, "detail_energy": score.energy}
                found[model].append(told)
                errors[model].append((str(number), each.pair.name, score.gain))
    if not errors[models[0]]:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise InputError(f"no pair can be judged: {why or 'bands are known by names such as B8A and B08'}")
    return {model: _means(each) for model, each in found.items()}, errors, left_out


def _gain(own: Sequence[tuple[str, str, float]], other: Sequence[tuple[str, str, float]]) -> Gain:
    """The paired gain: pieces that both were judged on."""
    theirs = {piece: level for _, piece, level in other}
    pieces = [(place, piece, level - theirs[piece]) for place, piece, level in own if piece in theirs]
    pieces = [each for each in pieces if not math.isnan(each[2])]
    if not pieces:
        return Gain(mean=math.nan, low=math.nan, high=math.nan, worst=math.nan, where="", units=0)
    places = len({place for place, *_ in pieces})
    if places >= _FEWEST or len(pieces) < _FEWEST:
        interval = over_places((place, gain) for place, _, gain in pieces)
    else:
        interval = bootstrap([gain for *_, gain in pieces])
    _, where, worst = min(pieces, key=lambda each: each[2])
    return Gain(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        worst=worst,
        where=where,
        units=places if places >= _FEWEST else len(pieces),
    )
