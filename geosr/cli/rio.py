"""`rio geosr`: `geosr upscale` among rasterio's own commands, with the options that those have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import click
from rasterio.rio.options import bounds_opt, output_opt, overwrite_opt

from geosr.cli import outcome
from geosr.cli.headings import Grouped
from geosr.cli.upscale import command as upscale


def _in_rios_words(text: str | None) -> str:
    return (text or "").replace("SRC", "INPUT").replace("DST", "OUTPUT")


@click.command(
    "geosr",
    cls=Grouped,
    headings=upscale.headings,
    short_help="Super-resolve a raster.",
    help=_in_rios_words(upscale.help),
    context_settings={"auto_envvar_prefix": "GEOSR_UPSCALE"},
)
@click.pass_context
def command(context: click.Context, /, output: str | None, **options: Any) -> None:
    """The work of `geosr upscale`, in the environment and at the verbosity that `rio` was given."""
    work = upscale.callback
    assert work is not None
    options["quiet"] |= context.obj["verbosity"] < 0
    options["verbose"] |= context.obj["verbosity"] > 0
    with context.obj["env"]:
        code = outcome(lambda: context.invoke(work, out=output, **options))
    context.exit(code)


def _take_options(habits: Iterable[Callable[[click.Command], Any]]) -> None:
    """Give the command rasterio's own options, and of `geosr upscale` those that they leave, in rasterio's words."""
    for habit in habits:
        habit(command)
    own = {option.name for option in command.params} | {"out"}
    for option in map(copy, upscale.params):
        if isinstance(option, click.Option):
            option.help = _in_rios_words(option.help)
        else:
            option.metavar = _in_rios_words(option.metavar)
        if option.name == "co":
            option.opts = [*option.opts, "--profile"]
        if option.name not in own:
            command.params.append(option)


_take_options((output_opt, overwrite_opt, bounds_opt))
