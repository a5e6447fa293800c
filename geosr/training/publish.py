"""A trained network as a model: weights with a card that says how it was trained and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geosr.evaluation.metrics import bootstrap
from geosr.models.card import KEY, Card
from geosr.models.networks import BandNetwork
from geosr.training.recipe import Recipe
from geosr.training.state import save_tensors
from geosr.training.trainer import Progress
from geosr.training.validation import SEEN, SNR, Case, Method, Validation

WIDE = 0.5
"""dB of gain that a network may lose from its training places to others before the card warns."""


def publish(
    path: Path,
    network: BandNetwork,
    recipe: Recipe,
    progress: Progress,
    precision: str,
    validation: Validation | None,
    own: Sequence[Case],
    method: Method,
) -> dict[str, Any]:
    """Writes the model and returns its figures.

    `precision` is what it was trained in. `own` are windows of the places it was trained on, judged like those of the
    validation: what it gains more there is the gap that tells of overfitting.
    """
    figures = _figures(recipe, progress, precision, validation, own, method)
    card = Card(
        name=recipe.name or Path(recipe.out).name,
        summary=f"{recipe.network} at x{recipe.scale}, trained by geosr train",
        scales=(recipe.scale,),
        network=recipe.network,
        channels=recipe.channels,
        blocks=recipe.blocks,
        architecture=f"{type(network).__name__}, {recipe.channels} channels, {recipe.blocks} blocks",
        conditioned=True,
        generative=recipe.generative,
        training_data=tuple(_sources(recipe)),
        degradation=_degradation(recipe),
        metrics=figures,
        limits=_limits(figures),
        licence=recipe.licence,
    )
    save_tensors(network.state_dict(), path, {KEY: card.to_json()})
    return figures


def _figures(
    recipe: Recipe,
    progress: Progress,
    precision: str,
    validation: Validation | None,
    own: Sequence[Case],
    method: Method,
) -> dict[str, Any]:
    minutes = round(progress.seconds / 60, 1)
    training: dict[str, Any] = {"steps": progress.step, "minutes": minutes, "precision": precision}
    training["error_over_bicubic"] = round(progress.loss, 4)
    figures: dict[str, Any] = {"training": training}
    if own:
        training |= _against(Validation(own, recipe.scale), method)
    if validation is not None:
        figures["validation"] = _against(validation, method) | {"places": list(validation.places)}
    if own and validation is not None:
        gap = training["over_bicubic"][0] - figures["validation"]["over_bicubic"][0]
        figures["gap_db"] = round(gap, 2)
    return figures


def _against(places: Validation, method: Method) -> dict[str, Any]:
    """Mean PSNR in dB, and the gain over each reference as mean, low and high of its 95 % interval over places."""
    found = places.figures(method)
    figures: dict[str, Any] = {"psnr": round(float(np.mean(list(found.values()))), 2)}
    for name, theirs in places.references.items():
        interval = bootstrap([value - theirs[place] for place, value in found.items()])
        figures[f"over_{name}"] = [round(value, 2) for value in (interval.mean, interval.low, interval.high)]
    return figures


def _sources(recipe: Recipe) -> list[str]:
    named = [pattern for group in recipe.data.train for pattern in group.files]
    if recipe.pairs:
        named.append(f"pairs {recipe.pairs.lr} and {recipe.pairs.hr}")
    return named + [f"{pattern} (unlabelled)" for group in recipe.data.unlabelled for pattern in group.files]


def _degradation(recipe: Recipe) -> str:
    drawn = (
        f"products of drawn responses; {recipe.bicubic:.0%} antialiased bicubic instead; {recipe.noisy:.0%} noisy; "
        f"judged at MTF {SEEN.mtf:.2g} with SNR {SNR:g}"
    )
    return "as the pairs' sensors differ" if recipe.pairs and not recipe.data.train else drawn


def _limits(figures: Mapping[str, Any]) -> tuple[str, ...]:
    limits = []
    validation = figures.get("validation")
    if validation is None:
        limits.append("Never validated: nothing is known of other places than those it was trained on.")
    elif validation["over_bicubic"][0] <= 0:
        limits.append("No better than bicubic on the places kept for validation.")
    if figures.get("gap_db", 0.0) > WIDE:
        limits.append(f"Gains {figures['gap_db']:.2f} dB more on its training places than on others: it is overfitted.")
    return tuple(limits)
