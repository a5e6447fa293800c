"""The models that can be named, and their cards. torch is not needed to look them up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path
from typing import Any

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.models.checkpoint import WEIGHTS, check_weights, read_card, read_tensors, sha256
from geosr.models.classical import REACH, Interpolation
from geosr.models.foreign import find as find_foreign
from geosr.models.foreign import is_foreign
from geosr.models.model import Engine, Model, Precision
from geosr.models.own import Own, TorchNetwork
from geosr.models.uncertain import Beside, Uncertain, head_name
from geosr.response import PROBE

DEFAULT = "fast"
"""The model where none is named, of one date."""
GUIDED = "glp"
"""And beside a guide: what brings any bands onto any finer grid."""
SPREAD_OF = "fast"
"""The model whose features the scale heads see."""
MULTIFRAME = "multiframe"
"""The network that takes other dates, and what a card calls it."""
_ANY_SCALE = tuple(range(2, 9))

CLASSICAL = {
    "nearest": Card(
        name="nearest",
        summary="each pixel repeated; for classes and masks",
        scales=_ANY_SCALE,
    ),
    "bilinear": Card(
        name="bilinear",
        summary="linear interpolation; soft, never above or below its neighbours",
        scales=_ANY_SCALE,
    ),
    "bicubic": Card(
        name="bicubic",
        summary="cubic convolution with a = -1/2; what most tools do",
        scales=_ANY_SCALE,
        paper="Keys 1981, Cubic convolution interpolation for digital image processing",
        limits=("Adds no detail, and leaves the sensor's blur where it is.",),
    ),
    "lanczos": Card(
        name="lanczos",
        summary="windowed sinc with three lobes; a little crisper than bicubic, with ringing",
        scales=_ANY_SCALE,
        paper="Duchon 1979, Lanczos filtering in one and two dimensions",
    ),
    "ibp": Card(
        name="ibp",
        summary="bicubic, then ten steps of back-projection that undo the sensor's blur",
        scales=_ANY_SCALE,
        paper="Irani and Peleg 1991, Improving resolution by image registration",
        conditioned=True,
        limits=("As good as the MTF it is told: one that is too low over-sharpens.", "Amplifies noise."),
    ),
    "shift-and-add": Card(
        name="shift-and-add",
        summary="bicubic, to which the samples of other dates are added where they lie (--fuse)",
        scales=_ANY_SCALE,
        paper="Fruchter and Hook 2002, Drizzle: a method for the linear reconstruction of undersampled images",
        conditioned=True,
        limits=("Leaves the sensor's blur where it is.",),
    ),
    "glp": Card(
        name="glp",
        summary="coarse bands onto the grid of a finer raster, their guide; its detail by regression",
        scales=_ANY_SCALE,
        paper="Aiazzi et al. 2006, MTF-tailored multiscale fusion of high-resolution MS and Pan imagery",
        conditioned=True,
        limits=(
            "Detail that only a coarse band would show is not in the guide, and not in the result.",
            "What moved between both exposures, such as clouds and cars, shows twice.",
        ),
    ),
}
"""The models that need no weights."""


def names() -> tuple[str, ...]:
    """Every model by name, those with weights first."""
    return (*sorted({name for name, _ in _weights()}), *CLASSICAL)


def find(
    model: str | TorchNetwork | Model | None,
    scale: int,
    beside: Beside | None = None,
    *,
    fused: bool = False,
    guided: bool = False,
) -> Model:
    """The model at a scale, looked at; what has been looked at comes back. Raises `ModelError` as `card`.

    None is the default: where dates are `fused` the network that takes them, at the scales that it has; where bands are
    `guided` the model that takes any.

    With `beside` its image comes with its uncertainty: raises `ModelError` where there is none, `InputError` for a risk
    that can't be promised.
    """
    default = GUIDED if guided else MULTIFRAME if fused and (MULTIFRAME, scale) in _weights() else DEFAULT
    found = _find(default if model is None else model, scale)
    if beside is None or len(found.heads) > 1:
        return found
    if found.guided:
        raise ModelError(f"{found.card.title} has no uncertainty; leave it out")
    heads = [each for each in range(2, 9) if (WEIGHTS / head_name(each)).exists()]
    if scale not in heads:
        raise ModelError(f"there is uncertainty at {_either(f'x{each}' for each in heads)}, not x{scale}; leave it out")
    return Uncertain(found, _find(SPREAD_OF, scale), head_name(scale), beside)


def _find(model: str | TorchNetwork | Model, scale: int) -> Model:
    if isinstance(model, Model):
        return model
    found = card(model, scale)
    if isinstance(model, TorchNetwork):
        return Own(model, None if model.file is None else sha256(model.file))
    if model in CLASSICAL:
        return Classical(model, scale)
    if _is_foreign(model):
        return find_foreign(model)
    scale = found.scales[0] if found.guides else scale
    name, path = (model, _weights()[model, scale]) if model in names() else (str(Path(model).resolve()), Path(model))
    return Weights(name, scale, sha256(path), found.bare)


@dataclass(frozen=True, slots=True)
class Classical(Model):
    """A model that needs no weights."""

    name: str
    scale: int
    sha256 = None
    portable = True

    def __str__(self) -> str:
        return self.name

    @property
    def card(self) -> Card:  # type: ignore[override]
        """Its own card."""
        return CLASSICAL[self.name]

    @property
    def memory_bound(self) -> bool:  # type: ignore[override]
        """True for an interpolation."""
        return self.name in REACH

    @property
    def adds(self) -> bool:  # type: ignore[override]
        """True for shift-and-add."""
        return self.name == "shift-and-add"

    @property
    def guided(self) -> bool:  # type: ignore[override]
        """True for regression GLP."""
        return self.name == "glp"

    def engine(self, device: str, precision: Precision) -> Engine:
        """The model on a device; torch is needed for a GPU and for back-projection."""
        kernel = "bicubic" if self.adds else self.name
        if kernel in REACH and device == "cpu":
            return Interpolation(kernel, self.scale)
        from geosr.models import engines

        plain = Interpolation(kernel, self.scale) if kernel in REACH else engines.BackProjection(self.scale)
        return engines.OnDevice(plain, device)


@dataclass(frozen=True, slots=True)
class Weights(Model):
    """A network of geosr's own kind, with trained weights."""

    name: str
    """One of `names()`, so that every worker finds its own file, or the absolute path of a file."""
    scale: int
    sha256: str | None
    card: Card = field(compare=False, repr=False)
    reach: int = field(default=0, compare=False, repr=False)
    """How far its engine was found to see on a processor, source pixels; 0 where that is to be measured."""

    def __str__(self) -> str:
        return self.name

    @property
    def guided(self) -> bool:  # type: ignore[override]
        """True for a network that takes a guide."""
        return bool(self.card.guides)

    @property
    def adds(self) -> bool:  # type: ignore[override]
        """True for a network that takes other dates."""
        return self.card.network == MULTIFRAME

    @property
    def key(self) -> str:  # type: ignore[override]
        """The weights of the network that it starts from."""
        return str(find(self.card.start, self.scale).sha256) if self.card.start else ""

    def measured(self, engine: Engine) -> Weights:
        """The same with the engine's reach."""
        return replace(self, reach=engine.reach(PROBE))

    def engine(self, device: str, precision: Precision) -> Any:
        """The network with its weights, a `Refiner` of a guided one, a `Merger` of one that takes other dates.

        Raises `ModelError` where they are missing, others, or don't fit.
        """
        import torch

        from geosr.models import engines, multiframe, refiner, trained

        about = self.card
        path = check_weights(_weights().get((self.name, self.scale), Path(self.name)), self.sha256)
        if self.guided:
            return refiner.build(about, read_tensors(path), device, getattr(torch, precision))
        if self.adds:
            return multiframe.build(about, self.scale, read_tensors(path), device, getattr(torch, precision))
        settings = {"scale": self.scale, "channels": about.channels, "blocks": about.blocks}
        # Only of weights that were published is it known that the card's halo was measured on them.
        reach = self.reach or (about.halo if self.name in names() else 0)
        made = trained.build(about.network, settings, read_tensors(path), device, getattr(torch, precision), reach)
        return engines.OnDevice(made, device)


def card(model: str | TorchNetwork | Model, scale: int | None = None) -> Card:
    """The card of a model at a scale; for any of its scales if None.

    `model` is one of `names()`, the path of a safetensors file with a card or of a network from elsewhere, or a network
    of the caller's own. Raises `ModelError` for an unknown model, a scale that it can't do, or a file that isn't one.
    """
    if scale is not None and not isinstance(scale, Integral):
        raise ModelError(f"scale {scale!r}: expected a whole number, such as 4")
    if not isinstance(model, str | TorchNetwork | Model):
        raise ModelError(f"model {model!r}: expected a name or the path of a network, as text, or a geosr.TorchNetwork")
    found = model.card if isinstance(model, TorchNetwork | Model) else _card(model, scale)
    if scale is not None and scale not in found.scales and not found.guides:
        can = _either(f"x{each}" for each in found.scales)
        anything = "" if found.name in CLASSICAL else "; bicubic, lanczos and ibp take any from x2 to x8"
        raise ModelError(f"{found.name} works at {can}, not x{scale}{anything}")
    return found


def locate(model: str, scale: int) -> Path | None:
    """The file that holds the weights of a model at a scale; None for a model that has none."""
    if model in CLASSICAL:
        return None
    return _weights()[model, scale] if model in names() else Path(model)


def _is_foreign(model: str) -> bool:
    return model not in names() and is_foreign(model)


def _card(model: str, scale: int | None) -> Card:
    if model in CLASSICAL:
        return CLASSICAL[model]
    if _is_foreign(model):
        return find_foreign(model).card
    files = {each: path for (name, each), path in _weights().items() if name == model}
    if files:
        first = read_card(files.get(scale or 0) or files[max(files)])
        return replace(first, scales=tuple(sorted(files)))
    if model.endswith(".safetensors"):
        return read_card(Path(model))
    raise ModelError(_unknown(model))


def _weights() -> dict[tuple[str, int], Path]:
    """Every file of weights by name and scale."""
    matches = ((re.fullmatch(r"([^.].*)_x(\d+)", path.stem), path) for path in sorted(WEIGHTS.glob("*.safetensors")))
    return {(match[1], int(match[2])): path for match, path in matches if match}


def _unknown(model: str) -> str:
    close = get_close_matches(model.lower(), names(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    known = ", ".join(names())
    return f"no model is called {model!r}; {hint}there are {known}, or a .safetensors, .onnx or .pth file"


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
