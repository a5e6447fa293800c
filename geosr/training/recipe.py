"""A recipe: everything that decides how a network is trained, in one TOML file.

    scale = 2
    [data]
    train = "folder/**/*.tif"

is one: what it leaves out has a default. Paths and patterns count from the folder that the command is run in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from geosr.schema import Strict

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
    """Such as `recipes/natural.toml`, whose `fit` half is trained on."""
    root: str = "."
    """Folder that its patterns count from."""
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
    """Settings by which one network is trained."""

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
        """True where an adversary takes part."""
        return any(self.loss.get(name, 0.0) > 0 for name in (ADVERSARIAL, PERCEPTUAL))

    @property
    def together(self) -> int:
        """Samples in a row that are bands of one place."""
        return SPECTRUM if self.loss.get("spectral", 0.0) > 0 else 1
