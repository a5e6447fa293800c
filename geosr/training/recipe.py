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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from geosr.errors import InputError

T = TypeVar("T")

SPECTRUM = 3
"""Bands of a place that the loss `spectral` compares at a time."""
ADVERSARIAL, PERCEPTUAL = "adversarial", "perceptual"
"""Losses that an adversary stands behind (`geosr.training.adversary`), by which a network learns to draw what it cannot
know."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rasters that count as one kind of imagery."""

    files: tuple[str, ...]
    """Patterns such as "folder/**/*.tif", or an archive of bands (.npz, `scripts/prepare_planes.py`)."""
    name: str = "imagery"
    weight: float = 1.0
    """Its share of the samples."""
    bands: tuple[int | str, ...] = ()
    """Numbers from 1, or names; all where empty."""
    thin: bool = False
    """Keep one band a file, in turn."""
    window: tuple[int, ...] = ()
    """Row, column, height and width of the part to use; all of it where empty."""
    snr: bool = False
    """Draw the noise relative to the mean of a band, as of reflectance; otherwise relative to its contrast."""


@dataclass(frozen=True, slots=True)
class Data:
    """The imagery that is degraded and brought back."""

    train: tuple[Group, ...] = ()
    validate: tuple[Group, ...] = ()
    """Other places; some of `train`'s are kept apart where it is empty."""
    unlabelled: tuple[Group, ...] = ()
    """Scenes whose own pixels are upscaled, without a truth; see the loss `unlabelled`."""
    root: str = "."
    """Folder that patterns count from."""
    memory_mb: float = 1000.0
    """Of pixels held; windows at random are read from a larger collection."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Scenes that two sensors saw, one of them `scale` times as sharp."""

    lr: str
    """A pattern; what its wildcards stand for is a pair's name."""
    hr: str
    """A pattern with as many wildcards."""
    share: float = 0.5
    """Of the samples, where there is other data too."""
    largest_shift: float = 2.0
    """Input pixels that a pair may be out of register before it is rejected; smaller shifts are taken away."""
    correlation: float = 0.8
    """Least correlation of the input with the degraded reference, once in register."""


@dataclass(frozen=True, slots=True)
class Critic:
    """The adversary of a generative network; see `geosr.training.adversary`."""

    channels: int = 32
    """Of its finest level; each coarser one has twice as many."""
    rate: float = 2e-4
    """Of its Adam."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained."""

    scale: int
    """Output pixels along one input pixel."""
    out: str = ""
    """Folder of the run; `runs/` and the recipe's name by default."""
    data: Data = field(default_factory=Data)
    pairs: PairFiles | None = None
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
    channels: int = 32
    blocks: int = 8
    patch: int = 28
    """Side of an input patch, source pixels."""
    batch: int = 20
    """Patches in a step, for each process."""
    steps: int = 12_000
    """Steps at which training ends..."""
    minutes: float = 60.0
    """...or the time, whichever is reached first; the learning rate follows the nearer one."""
    rate: float = 6e-3
    """Highest learning rate."""
    optimiser: str = "soap"
    """"soap" or "adam"; Adam wants about a third of the rate."""
    warm_up: int = 200
    """Steps over which the learning rate rises."""
    average: float = 0.998
    """Decay of the running average of the weights, which is what is kept."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    bicubic: float = 0.15
    """Share of samples reduced by bicubic."""
    noisy: float = 0.65
    """Share of samples with noise."""
    start_from: str = ""
    """A model to start from, by name (`fast`: at this scale if there is one; `fast_x4`: at that scale), or weights; of
    another scale, all but the last convolution is taken over. A smaller EDSR, such as `fast`, is grown."""
    save_every: int = 250
    """Steps between checkpoints."""
    check_every: int = 500
    """Steps between validations; 0 for none."""
    patience: int = 12
    """Validations without a better one after which training stops; 0 for never."""
    device: str = "auto"
    precision: str = "auto"
    """"float32", "bfloat16", or "auto": the latter where the hardware has it."""
    seed: int = 1

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
    if "scale" not in values:
        raise InputError(f"{path} lacks the key scale; add it, such as scale = 2")
    values = {"out": f"runs/{path.stem}", "name": path.stem} | values
    values["data"] = _data(values.get("data", {}), str(path))
    if "pairs" in values:
        values["pairs"] = _made(PairFiles, values["pairs"], f"[pairs] of {path}")
    if "adversary" in values:
        values["adversary"] = _made(Critic, values["adversary"], f"[adversary] of {path}")
    if isinstance(loss := values.get("loss"), str):
        values["loss"] = {loss: 1.0}
    recipe = _made(Recipe, values, str(path))
    _check(recipe, str(path))
    return recipe


def checked(recipe: Recipe) -> Recipe:
    """The recipe with a folder and a name. Raises `InputError` for one that nothing can come of."""
    out = recipe.out or f"runs/{recipe.name or 'model'}"
    recipe = replace(recipe, out=out, name=recipe.name or Path(out).name or "model")
    _check(recipe, "the recipe")
    return recipe


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
    group = _made(Group, entry, where)
    if not group.weight > 0:
        raise InputError(f"{where}: the weight of {group.name} is {group.weight:g}; it must be above 0")
    if group.window and len(group.window) != 4:
        raise InputError(f"{where}: window is row, column, height, width; found {list(group.window)}")
    return group


def _data(values: Any, path: str) -> Data:
    if not isinstance(values, dict):
        raise InputError(f'{path}: data is a section, [data] with train = "folder/**/*.tif"')
    parts = {
        part: read_groups(values[part], f"{part} in [data] of {path}")
        for part in ("train", "validate", "unlabelled")
        if part in values
    }
    return _made(Data, values | parts, f"[data] of {path}")


def _check(recipe: Recipe, path: str) -> None:
    from geosr.models.networks import NETWORKS
    from geosr.training.losses import check_losses

    choices = {
        "network": tuple(NETWORKS),
        "optimiser": ("soap", "adam"),
        "precision": ("auto", "float32", "bfloat16"),
        "scale": tuple(range(2, 9)),
    }
    for key, known in choices.items():
        if getattr(recipe, key) not in known:
            raise InputError(
                f"{path} asks for the {key} {getattr(recipe, key)!r}; choose {' or '.join(map(str, known))}"
            )
    for key in ("patch", "batch", "steps", "minutes", "rate", "channels", "blocks", "save_every"):
        if not getattr(recipe, key) > 0:
            raise InputError(f"{path}: {key} is {getattr(recipe, key)}; it must be above 0")
    for key in ("channels", "rate"):
        if not getattr(recipe.adversary, key) > 0:
            raise InputError(f"[adversary] of {path}: {key} is {getattr(recipe.adversary, key)}; it must be above 0")
    for key in ("seed", "check_every", "patience", "warm_up"):
        if getattr(recipe, key) < 0:
            raise InputError(f"{path}: {key} is {getattr(recipe, key)}; it must be 0 or more")
    if not recipe.clip > 0:
        raise InputError(f"{path}: clip is {recipe.clip}; it must be above 0")
    _check_shares(recipe, path)
    _check_patch(recipe, path)
    if recipe.pairs and recipe.data.train and recipe.batch < 2:
        raise InputError(f"{path}: batch is 1; pairs and other imagery together need 2 or more")
    if recipe.together > 1 and (recipe.pairs or recipe.batch % recipe.together):
        raise InputError(
            f"{path}: the loss spectral compares {SPECTRUM} bands of a place of [data]; take a batch that is a "
            f"multiple of {SPECTRUM} (it is {recipe.batch}), and no [pairs]"
        )
    if recipe.generative and recipe.patch < 12:
        raise InputError(f"{path}: patch is {recipe.patch}; an adversary has to see 12 input pixels or more")
    if not (recipe.data.train or recipe.pairs):
        raise InputError(f'{path} names nothing to train on; add [data] with train = "folder/**/*.tif", or [pairs]')
    check_losses(recipe.loss, path, unlabelled=bool(recipe.data.unlabelled))


def _check_shares(recipe: Recipe, path: str) -> None:
    shares = {"noisy": recipe.noisy, "bicubic": recipe.bicubic, "average": recipe.average}
    if recipe.pairs:
        shares["share of [pairs]"] = recipe.pairs.share
    for key, value in shares.items():
        if not 0 <= value <= 1 or (key == "average" and value == 1):
            raise InputError(f"{path}: {key} is {value}; it must lie between 0 and 1")


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


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "Mapping[str, float]": (dict,),
}
_ITEMS: dict[str, tuple[type, ...]] = {
    "tuple[str, ...]": (str,),
    "tuple[int, ...]": (int,),
    "tuple[int | str, ...]": (int, str),
}
"""Of lists."""


def _made(kind: type[T], values: Any, where: str) -> T:
    """`kind` with these values. Raises `InputError` for a key that is unknown or missing, or a wrong type."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected keys and values, found {values!r}")
    known = {each.name: str(each.type) for each in fields(kind)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where} has the unknown key {key}; known are {', '.join(sorted(known))}")
        wanted = _KINDS.get(known[key])
        if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted != (bool,))):
            raise InputError(f"{where}: {key} is {value!r}, expected {' or '.join(each.__name__ for each in wanted)}")
        items = _ITEMS.get(known[key])
        if items and not (isinstance(value, list | tuple) and all(isinstance(each, items) for each in value)):
            kinds = " or ".join(each.__name__ for each in items)
            raise InputError(f"{where}: {key} is {value!r}, expected a list of {kinds}")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise InputError(f"{where} lacks a key: {error}".replace("__init__() ", "")) from None
