"""The small card beside a model, `model.onnx.toml` beside `model.onnx`: what its user knows and geosr doesn't."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geosr.errors import ModelError


def _number(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= 4096


def _pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
        and value[0] < value[1]
    )


_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str), "text"),
    "summary": (lambda value: isinstance(value, str), "text"),
    "licence": (lambda value: isinstance(value, str), "text"),
    "scale": (lambda value: _number(value, 1), "a whole number from 1"),
    "bands": (lambda value: _number(value, 1), "a whole number from 1"),
    "halo": (lambda value: _number(value, 0), "a whole number from 0"),
    "multiple": (lambda value: _number(value, 1), "a whole number from 1"),
    "value_range": (lambda value: value == [] or _pair(value), "two numbers such as [0, 1], or [] for stored numbers"),
    "stored_range": (_pair, "two numbers such as [0, 10000]"),
    "exact": (lambda value: isinstance(value, bool), "true or false"),
    "generative": (lambda value: isinstance(value, bool), "true or false"),
}


def beside(path: Path) -> Path:
    """Where the card of a model would be."""
    return path.with_name(path.name + ".toml")


def read(path: Path) -> dict[str, Any]:
    """What the card beside a model says, by the names of `Card`'s fields; nothing where there is none.

    Raises `ModelError` for entries that are unknown or of the wrong kind.
    """
    card = beside(path)
    try:
        found = tomllib.loads(card.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"can't read the card {card}: {' '.join(str(error).split())}") from None
    for key, value in found.items():
        if key not in _ENTRIES:
            raise ModelError(f"{card}: there is no entry {key!r}; there are {', '.join(_ENTRIES)}")
        right, expected = _ENTRIES[key]
        if not right(value):
            raise ModelError(f"{card}: {key} is {value!r}, expected {expected}")
    if "scale" in found:
        found["scales"] = (found.pop("scale"),)
    if "stored_range" in found:
        found.setdefault("value_range", [0, 1])
    ranges = {key: tuple(float(each) for each in found[key]) for key in ("value_range", "stored_range") if key in found}
    return found | ranges
