"""Values of dataclasses that a user wrote down, such as those of a TOML file, checked by pydantic."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, TypeVar

from geosr.errors import GeosrError, InputError

T = TypeVar("T")


class Strict:
    """A dataclass that takes no other keys and turns nothing into another type; `Annotated` fields are held to."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


def made(kind: type[T], values: object, where: str, error: type[GeosrError] = InputError) -> T:
    """`kind` with these values, or the same instance once more. Raises `error`, in one line, for what is wrong."""
    from pydantic import TypeAdapter, ValidationError

    try:
        # As JSON, since pydantic takes lists for tuples there, and nothing else for what it isn't.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=_plain))
    except ValidationError as found:
        raise error(_line(kind, found.errors()[0], where)) from None


def _plain(value: Any) -> Any:
    return {each.name: getattr(value, each.name) for each in fields(value)} if is_dataclass(value) else str(value)


def _line(kind: type[Any], fault: Any, where: str) -> str:
    # Among the keys on the way pydantic names the types of a union that it tried.
    key = ".".join(each for each in map(str, fault["loc"]) if "[" not in each and each not in ("int", "str"))
    if fault["type"] == "unexpected_keyword_argument":
        return f"{where} has the unknown key {key}; known are {', '.join(sorted(each.name for each in fields(kind)))}"
    if fault["type"] == "missing":
        return f"{where} lacks the key {key}"
    return f"{where}: {key or 'it'} is {fault['input']!r}; {fault['msg'].replace('Input should be', 'it must be')}"
