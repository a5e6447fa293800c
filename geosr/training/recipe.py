"""A recipe: everything that decides how a network is trained, in one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from geosr.errors import GeosrError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained."""

    scale: int
    """Output pixels along one input pixel."""
    planes: str
    """Archive of training bands (`scripts/prepare_planes.py`)."""
    out: str
    """Folder that the checkpoints go to."""
    network: str = "fast"
    """A name in `geosr.models.networks.NETWORKS`."""
    channels: int = 32
    blocks: int = 8
    patch: int = 32
    """Side of an input patch, source pixels."""
    batch: int = 16
    """Patches in a step."""
    steps: int = 12_000
    """Steps at which training ends..."""
    minutes: float = 60.0
    """...or the time, whichever is reached first; the learning rate follows the nearer one."""
    rate: float = 2e-3
    """Highest learning rate."""
    optimiser: str = "adam"
    """"adam" or "soap"."""
    warm_up: int = 200
    """Steps over which the learning rate rises."""
    loss: str = "absolute"
    """What is minimised: "absolute" (Charbonnier) or "decibels" (the logarithm of each patch's squared error)."""
    average: float = 0.999
    """Decay of the running average of the weights, which is what is kept."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    bicubic: float = 0.20
    """Share of samples reduced by bicubic."""
    noisy: float = 0.5
    """Share of samples with noise."""
    start_from: str = ""
    """Weights to start from; of another scale, all but the last convolution is taken over. Empty for none."""
    save_every: int = 250
    """Steps between checkpoints."""
    seed: int = 1


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; raises `GeosrError` for a key it does not know or a missing one."""
    values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise GeosrError(f"{path} has the unknown key {unknown[0]}; known are {', '.join(sorted(known))}")
    missing = sorted({"scale", "planes", "out"} - values.keys())
    if missing:
        raise GeosrError(f"{path} lacks the key {missing[0]}; add it")
    for key, choices in CHOICES.items():
        if key in values and values[key] not in choices:
            raise GeosrError(f"{path} asks for the {key} {values[key]!r}; choose {' or '.join(choices)}")
    return Recipe(**values)


CHOICES = {"loss": ("absolute", "decibels"), "optimiser": ("adam", "soap")}
"""What a key's text may be."""
