"""Recipes read from TOML and checked: by themselves, and against the networks and losses that there are."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.models.networks import NETWORKS
from geosr.schema import made
from geosr.training.losses import RIM, SSIM_WINDOW, UNLABELLED, check_losses
from geosr.training.recipe import SPECTRUM, Critic, Data, Group, NaturalPairs, PairFiles, Recipe
from geosr.training.samples import CROP


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file. Raises `InputError` for what isn't one, naming the key that is wrong."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"can't read the recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from None
    values = {"out": f"runs/{path.stem}", "name": path.stem} | values
    values["data"] = _data(values.get("data", {}), str(path))
    for section, kind in (("pairs", PairFiles), ("natural", NaturalPairs), ("adversary", Critic)):
        if section in values:
            values[section] = made(kind, values[section], f"[{section}] of {path}")
    if isinstance(loss := values.get("loss"), str):
        values["loss"] = {loss: 1.0}
    return _checked(values, str(path))


def checked(recipe: Recipe) -> Recipe:
    """The recipe with a folder and a name. Raises `InputError` for one that nothing can come of."""
    out = recipe.out or f"runs/{recipe.name or 'model'}"
    return _checked(replace(recipe, out=out, name=recipe.name or Path(out).name or "model"), "the recipe")


def read_groups(entries: Any, where: str) -> tuple[Group, ...]:
    """Groups from TOML: a pattern, a list of patterns, or tables with the keys of `Group`. Raises `InputError`."""
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{where} names no files; give a pattern such as train = "folder/**/*.tif"')
    if all(isinstance(entry, str) for entry in entries):
        return (Group(tuple(entries)),)
    groups = tuple(_group(entry, number, where) for number, entry in enumerate(entries, 1))
    weights: dict[str, float] = {}
    for group in groups:
        if weights.setdefault(group.name, group.weight) != group.weight:
            raise InputError(f"{where} gives {group.name} two weights; tables of one name are one kind of imagery")
    return groups


def _group(entry: Any, number: int, where: str) -> Group:
    if isinstance(entry, dict):
        entry = {"name": f"imagery {number}"} | entry
        if isinstance(entry.get("files"), str):
            entry["files"] = [entry["files"]]
    return made(Group, entry, f"table {number} of {where}")


def _data(values: Any, path: str) -> Data:
    if not isinstance(values, dict):
        raise InputError(f'{path}: data is a section, [data] with train = "folder/**/*.tif"')
    parts = {
        part: read_groups(values[part], f"{part} in [data] of {path}")
        for part in ("train", "validate", "unlabelled")
        if part in values
    }
    return made(Data, values | parts, f"[data] of {path}")


def _checked(values: object, path: str) -> Recipe:
    recipe = made(Recipe, values, path)
    if recipe.network not in NETWORKS:
        raise InputError(f"{path} asks for the network {recipe.network!r}; choose {' or '.join(NETWORKS)}")
    _check_patch(recipe, path)
    kinds = sum(map(bool, (recipe.pairs, recipe.natural, recipe.data.train)))
    if recipe.batch < kinds:
        raise InputError(f"{path}: batch is {recipe.batch}; pairs and other imagery together need {kinds} or more")
    if recipe.together > 1 and (recipe.pairs or recipe.natural or recipe.batch % recipe.together):
        raise InputError(
            f"{path}: the loss spectral compares {SPECTRUM} bands of a place of [data]; take a batch that is a "
            f"multiple of {SPECTRUM} (it is {recipe.batch}), and no [pairs] or [natural]"
        )
    if recipe.generative and recipe.patch < 12:
        raise InputError(f"{path}: patch is {recipe.patch}; an adversary has to see 12 input pixels or more")
    if not (recipe.data.train or recipe.pairs or recipe.natural):
        raise InputError(f'{path} names nothing to train on; add [data] with train = "folder/**/*.tif", or [pairs]')
    check_losses(recipe.loss, path, unlabelled=bool(recipe.data.unlabelled))
    return recipe


def _check_patch(recipe: Recipe, path: str) -> None:
    multiple = getattr(NETWORKS[recipe.network], "multiple", 1)
    if recipe.patch % multiple:
        raise InputError(f"{path}: patch is {recipe.patch}; {recipe.network} takes multiples of {multiple}")
    judged = SSIM_WINDOW if recipe.loss.get("ssim", 0) > 0 else 1
    least = 2 * CROP + math.ceil(judged / recipe.scale)
    if any(recipe.loss.get(name, 0) > 0 for name in ("consistency", UNLABELLED)):
        least = max(least, 2 * (CROP + RIM) + 1)
    if recipe.patch < least:
        raise InputError(f"{path}: patch is {recipe.patch}; its rim isn't judged, so that it must be {least} or more")
