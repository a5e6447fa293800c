"""The models that can be named, and their cards. torch is not needed to look them up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.models.checkpoint import read_card, sha256
from geosr.models.foreign import Foreign, find, is_foreign
from geosr.models.own import TorchNetwork

__all__ = ["Card", "Model", "TorchNetwork", "card", "digest", "locate", "names", "settled"]

Model = str | TorchNetwork | Foreign
"""A model by name or path, a network of the caller's own, or one from elsewhere that has been looked at."""

WEIGHTS = Path(__file__).parent / "weights"
"""Where the package keeps its weights, `NAME_xSCALE.safetensors`."""

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
}
"""The models that need no weights."""


def names() -> tuple[str, ...]:
    """Every model by name, those with weights first."""
    return (*sorted({name for name, _ in _weights()}), *CLASSICAL)


def settled(model: Model) -> Model:
    """The model, looked at where it is the path of a network from elsewhere. Raises `ModelError` as `card`."""
    return find(model) if isinstance(model, str) and model not in names() and is_foreign(model) else model


def card(model: Model, scale: int | None = None) -> Card:
    """The card of a model at a scale; for any of its scales if None.

    `model` is one of `names()`, the path of a safetensors file with a card or of a network from elsewhere, or a network
    of the caller's own. Raises `ModelError` for an unknown model, a scale that it can't do, or a file that isn't one.
    """
    if scale is not None and not isinstance(scale, Integral):
        raise ModelError(f"scale {scale!r}: expected a whole number, such as 4")
    model = settled(model)
    found = _card(model, scale) if isinstance(model, str) else model.card
    if scale is not None and scale not in found.scales:
        can = _either(f"x{each}" for each in found.scales)
        anything = "" if found.name in CLASSICAL else "; bicubic, lanczos and ibp take any from x2 to x8"
        raise ModelError(f"{found.name} works at {can}, not x{scale}{anything}")
    return found


def locate(model: Model, scale: int) -> Path | None:
    """The file that holds the weights of a model at a scale; None for a model that has none."""
    if not isinstance(model, str):
        return model.file
    if model in CLASSICAL:
        return None
    return _weights()[model, scale] if model in names() else Path(model)


def digest(model: Model, scale: int) -> str | None:
    """SHA-256 of the weights of a model at a scale; None for one that has none. Raises `ModelError` as `sha256`."""
    path = locate(model, scale)
    return None if path is None else sha256(path)


def _card(model: str, scale: int | None) -> Card:
    if model in CLASSICAL:
        return CLASSICAL[model]
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
