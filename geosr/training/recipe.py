"""A recipe: everything that decides how a network is trained, in one TOML file.

    scale = 2
    [data]
    train = "folder/**/*.tif"

is one: what it leaves out has a default. Paths and patterns count from the folder that the command is run in.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from geosr.errors import InputError
from geosr.schema import Strict, made

Count = Annotated[int, Gt(0)]
Amount = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]

SPECTRUM = 3
"""Bands of a place that the loss `spectral` compares at a time."""
ADVERSARIAL, PERCEPTUAL = "adversarial", "perceptual"
"""Losses that an adversary stands behind (`geosr.training.adversary`), by which a network learns to draw what it cannot
know."""


@dataclass(frozen=True, slots=True)
class Group(Strict):
    """Rasters that count as one kind of imagery."""

    files: tuple[str, ...]
    """Patterns such as "folder/**/*.tif", or an archive of bands (.npz, `scripts/prepare_planes.py`)."""
    name: str = "imagery"
    weight: Amount = 1.0
    """Its share of the samples."""
    bands: tuple[int | str, ...] = ()
    """Numbers from 1, or names; all where empty."""
    thin: bool = False
    """Keep one band a file, in turn."""
    window: tuple[int, int, int, int] | tuple[()] = ()
    """Row, column, height and width of the part to use; all of it where empty."""
    snr: bool = False
    """Draw the noise relative to the mean of a band, as of reflectance; otherwise relative to its contrast."""


@dataclass(frozen=True, slots=True)
class Data(Strict):
    """The imagery that is degraded and brought back."""

    train: tuple[Group, ...] = ()
    validate: tuple[Group, ...] = ()
    """Other places; some of `train`'s are kept apart where it is empty."""
    unlabelled: tuple[Group, ...] = ()
    """Scenes whose own pixels are upscaled, without a truth; see the loss `unlabelled`."""
    root: str = "."
    """Folder that patterns count from."""
    memory_mb: Amount = 1000.0
    """Of pixels held; windows at random are read from a larger collection."""


@dataclass(frozen=True, slots=True)
class PairFiles(Strict):
    """Scenes that two sensors saw, one of them `scale` times as sharp."""

    lr: str
    """A pattern; what its wildcards stand for is a pair's name."""
    hr: str
    """A pattern with as many wildcards."""
    share: Share = 0.5
    """Of the samples, where there is other data too."""
    largest_shift: float = 2.0
    """Input pixels that a pair may be out of register before it is rejected; smaller shifts are taken away."""
    correlation: float = 0.8
    """Least correlation of the input with the degraded reference, once in register."""


@dataclass(frozen=True, slots=True)
class NaturalPairs(Strict):
    """Bands that one platform saw with coarse and with fine pixels at the same moment."""

    list: str
    """Such as `recipes/natural.toml`, whose `fit` half is trained on; its patterns count from the root of [data]."""
    share: Share = 0.1
    """Of the samples, where there is other data too."""


@dataclass(frozen=True, slots=True)
class Critic(Strict):
    """The adversary of a generative network; see `geosr.training.adversary`."""

    channels: Count = 32
    """Of its finest level; each coarser one has twice as many."""
    rate: Amount = 2e-4
    """Of its Adam."""


@dataclass(frozen=True, slots=True)
class Recipe(Strict):
    """How one network is trained."""

    scale: Annotated[int, Ge(2), Le(8)]
    """Output pixels along one input pixel."""
    out: str = ""
    """Folder of the run; `runs/` and the recipe's name by default."""
    data: Data = field(default_factory=Data)
    pairs: PairFiles | None = None
    natural: NaturalPairs | None = None
    loss: Mapping[str, float] = field(default_factory=lambda: {"decibels": 1.0}, hash=False)
    """What is minimised, names in `geosr.training.losses.LOSSES` and their weights; `adversarial` and `perceptual`
    bring in an adversary, and make a network that may draw what it cannot know."""
    adversary: Critic = field(default_factory=Critic)
    name: str = ""
    """What the trained model calls itself; the recipe's name by default."""
    licence: str = "unspecified"
    """Of the trained weights."""
    network: str = "fast"
    """A name in `geosr.models.networks.NETWORKS`."""
    channels: Count = 32
    blocks: Count = 8
    patch: Count = 28
    """Side of an input patch, source pixels."""
    batch: Count = 20
    """Patches in a step, for each process."""
    steps: Count = 12_000
    """Steps at which training ends..."""
    minutes: Amount = 60.0
    """...or the time, whichever is reached first; the learning rate follows the nearer one."""
    rate: Amount = 6e-3
    """Highest learning rate."""
    optimiser: Literal["soap", "adam"] = "soap"
    """Adam wants about a third of the rate."""
    warm_up: Annotated[int, Ge(0)] = 200
    """Steps over which the learning rate rises."""
    average: Annotated[float, Ge(0), Lt(1)] = 0.998
    """Decay of the running average of the weights, which is what is kept."""
    clip: Amount = 1.0
    """Largest norm of the gradient."""
    bicubic: Share = 0.15
    """Share of samples reduced by bicubic."""
    noisy: Share = 0.65
    """Share of samples with noise."""
    start_from: str = ""
    """A model to start from, by name (`fast`: at this scale if there is one; `fast_x4`: at that scale), or weights; of
    another scale, all but the last convolution is taken over. A smaller EDSR, such as `fast`, is grown."""
    save_every: Count = 250
    """Steps between checkpoints."""
    check_every: Annotated[int, Ge(0)] = 500
    """Steps between validations; 0 for none."""
    patience: Annotated[int, Ge(0)] = 12
    """Validations without a better one after which training stops; 0 for never."""
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """"auto": bfloat16 where the hardware has it."""
    seed: Annotated[int, Ge(0)] = 1

    @property
    def generative(self) -> bool:
        """Whether an adversary takes part."""
        return any(self.loss.get(name, 0.0) > 0 for name in (ADVERSARIAL, PERCEPTUAL))

    @property
    def together(self) -> int:
        """Samples in a row that are bands of one place."""
        return SPECTRUM if self.loss.get("spectral", 0.0) > 0 else 1


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
    if "pairs" in values:
        values["pairs"] = made(PairFiles, values["pairs"], f"[pairs] of {path}")
    if "natural" in values:
        values["natural"] = made(NaturalPairs, values["natural"], f"[natural] of {path}")
    if "adversary" in values:
        values["adversary"] = made(Critic, values["adversary"], f"[adversary] of {path}")
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
    from geosr.models.networks import NETWORKS
    from geosr.training.losses import check_losses

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
    from geosr.models.networks import NETWORKS
    from geosr.training.losses import RIM, SSIM_WINDOW, UNLABELLED
    from geosr.training.samples import CROP

    multiple = getattr(NETWORKS[recipe.network], "multiple", 1)
    if recipe.patch % multiple:
        raise InputError(f"{path}: patch is {recipe.patch}; {recipe.network} takes multiples of {multiple}")
    judged = SSIM_WINDOW if recipe.loss.get("ssim", 0) > 0 else 1
    least = 2 * CROP + math.ceil(judged / recipe.scale)
    if any(recipe.loss.get(name, 0) > 0 for name in ("consistency", UNLABELLED)):
        least = max(least, 2 * (CROP + RIM) + 1)
    if recipe.patch < least:
        raise InputError(f"{path}: patch is {recipe.patch}; its rim isn't judged, so that it must be {least} or more")
