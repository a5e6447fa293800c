"""Keywords that several functions take alike: spelled out in each signature, documented once, handed on together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, cleandoc, signature
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from geosr.errors import InputError

_P = ParamSpec("_P")
_R = TypeVar("_R")

OF_ONE = ("guide", "fuse", "reference", "strict")
"""Keywords of one scene that is made of several files."""
_HEADING = "Parameters\n----------\n"


def keywords(like: Callable[..., Any] | None = None) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A decorator: a keyword that the function doesn't have raises a `TypeError`, which names the one that is meant.

    Parameters that its numpydoc text doesn't tell of are documented as `like` does.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        """The function, checked and documented."""
        known = list(signature(function).parameters)

        @wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            """The function's own result."""
            for name in kwargs.keys() - known:
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument {name!r}; {_meant(name, known)}"
                )
            return function(*args, **kwargs)

        if like is not None and function.__doc__ and like.__doc__:
            checked.__doc__ = _documented(cleandoc(function.__doc__), cleandoc(like.__doc__), known)
        return checked

    return decorate


def handed_on(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a caller's arguments, its `locals()`, that `function` takes as keywords.

    A guide and other dates only where the caller takes them itself: the others work on many scenes.
    """
    takes = [one.name for one in signature(function).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]
    return {name: arguments[name] for name in takes if name not in OF_ONE or name in arguments}


def check_kinds(
    *, workers: Any = None, tile: Any = None, bounds: Any = None, scale_offset: Any = None, co: Any = None
) -> None:
    """Raise `InputError` for options of another kind than `geosr.upscale` says, before they are met in it."""
    for name, value in (("workers", workers), ("tile", tile)):
        if value is not None and not (isinstance(value, Integral) and int(value) > 0):
            raise InputError(f"{name} {value!r}: expected a whole number above 0")
    for name, numbers, count in (("bounds", bounds, 4), ("scale_offset", scale_offset, 2)):
        if numbers is not None and not _are_numbers(numbers, count):
            raise InputError(f"{name} {numbers!r}: expected {count} numbers")
    if co is not None and not isinstance(co, Mapping):
        raise InputError(f"co {co!r}: expected a mapping such as {{'COMPRESS': 'ZSTD'}}")


def _are_numbers(values: Any, count: int) -> bool:
    try:
        return len(values) == count and all(isinstance(value, Real) for value in values)
    except TypeError:
        return False


def _meant(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"


def _documented(text: str, other: str, known: Sequence[str]) -> str:
    """A numpydoc text with what another says of those parameters that it leaves out."""
    summary, *sections = _sections(text)
    entries = _entries(text)
    told = {name for names in entries for name in names}
    entries |= {names: entry for names, entry in _entries(other).items() if not told & {*names} and {*names} & {*known}}
    rest = (section for section in sections if not section.startswith(_HEADING))
    return "\n\n".join((summary, _HEADING + "\n".join(entries.values()), *rest))


def _entries(text: str) -> dict[tuple[str, ...], str]:
    """The entries of a numpydoc text on its parameters, by their names; some share one."""
    section = next((part for part in _sections(text) if part.startswith(_HEADING)), _HEADING)
    entries = re.split(r"\n(?=\S)", section.removeprefix(_HEADING).rstrip())
    return {tuple(entry.partition("\n")[0].split(", ")): entry for entry in entries if entry}


def _sections(text: str) -> list[str]:
    """The summary of a numpydoc text, and its sections with their headings."""
    return re.split(r"\n+(?=\w+\n-+\n)", text.rstrip())
