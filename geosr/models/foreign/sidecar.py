"""The small card beside a model, `model.onnx.toml` beside `model.onnx`: what its user knows and geosr doesn't."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from geosr.errors import ModelError
from geosr.schema import Strict, made

Count = Annotated[int, Ge(1), Le(4096)]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sidecar(Strict):
    """Entries by the names of `Card`'s fields; None for what isn't said."""

    name: str | None = None
    summary: str | None = None
    licence: str | None = None
    scale: Count | None = None
    bands: Count | None = None
    halo: Annotated[int, Ge(0), Le(4096)] | None = None
    multiple: Count | None = None
    value_range: Range | tuple[()] | None = None
    """Two numbers such as [0, 1], or [] for stored numbers."""
    stored_range: Range | None = None
    """Two numbers such as [0, 10000]."""
    exact: bool | None = None
    generative: bool | None = None


def beside(path: Path) -> Path:
    """The path where the card of a model would be."""
    return path.with_name(path.name + ".toml")


def read(path: Path) -> dict[str, Any]:
    """Entries of the card beside a model, by the names of `Card`'s fields; none where there is no card.

    Raises `ModelError` for entries that are unknown or of the wrong kind.
    """
    card = beside(path)
    try:
        values = tomllib.loads(card.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"can't read the card {card}: {' '.join(str(error).split())}") from None
    said = made(Sidecar, values, str(card), ModelError)
    found = {each.name: value for each in fields(said) if (value := getattr(said, each.name)) is not None}
    for key in ("value_range", "stored_range"):
        if found.get(key) and not found[key][0] < found[key][1]:
            raise ModelError(f"{card}: {key} is {list(found[key])}; it must be two numbers such as [0, 1]")
    if "scale" in found:
        found["scales"] = (found.pop("scale"),)
    if "stored_range" in found:
        found.setdefault("value_range", (0.0, 1.0))
    return found
