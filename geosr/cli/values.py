"""The values of options, read from what stands on the command line."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource


class Whole(click.IntRange):
    """A whole number in a range."""

    name = "integer"


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    """One number for all bands, or one per band."""
    if value is None:
        return None
    try:
        return [float(part) for part in value.replace(",", " ").split()]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number or a list of numbers such as 0.25,0.28") from None


def blur(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | str | None:
    """The numbers, or the word "scene"."""
    return value if value == "scene" else numbers(ctx, param, value)


def band_numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int | str] | None:
    """Numbers from 1, ranges, upwards or downwards, or names: `4,3,2`, `1-4`, `4-2`, `B04,B03`."""
    if value is None:
        return None
    bands: list[int | str] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            bands.extend(_range(int(first), int(last)))
        else:
            bands.append(part.strip())
    return bands


def classes(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int | str] | str | None:
    """The bands, or the word "none"."""
    return "none" if value is not None and value.lower() == "none" else band_numbers(ctx, param, value)


def _range(first: int, last: int) -> range:
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


def bounds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Four numbers."""
    if value is None:
        return None
    given = numbers(ctx, param, value.strip(" []"))  # `rio bounds --bbox` prints brackets
    if given is None or len(given) != 4:
        raise click.BadParameter("expected four numbers: left,bottom,right,top in the scene's CRS")
    return tuple(given)


def scale_offset(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """Two numbers."""
    if value is None:
        return None
    given = numbers(ctx, param, value)
    if given is None or len(given) != 2:
        raise click.BadParameter("expected two numbers: scale,offset, such as 0.0001,-0.1")
    return given[0], given[1]


def tile_side(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """A number of pixels; None for 'auto'."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a number of source pixels such as 256")
    return int(value)


def creation(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """The values by their keys, in capitals; a key may be given twice if it has the same value."""
    pairs = [item.partition("=") for item in value]
    for item, (key, equals, text) in zip(value, pairs, strict=True):
        if not (key and equals and text):
            raise click.BadParameter(f"{item!r} is not KEY=VALUE, such as COMPRESS=ZSTD")
    given: dict[str, str] = {}
    for key, _, text in pairs:
        if given.setdefault(key.upper(), text) != text:
            raise click.BadParameter(f"{key} is given twice, as {given[key.upper()]} and {text}")
    return given


def refuse(names: Sequence[str], why: str) -> None:
    """Raise `UsageError` for an option of these that stands on the command line, where it would do nothing."""
    ctx = click.get_current_context()
    for param in ctx.command.params:
        if param.name in names and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{param.opts[0]} is {why}")
