"""`geosr report`: a result on one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geosr.cli.progress import bar
from geosr.cli.streams import announce
from geosr.cli.values import Whole, numbers


@click.command("report", short_help="A result on one page: places, figures, where it comes from.")
@click.argument("sr", type=click.Path())
@click.option("--lr", type=click.Path(), required=True, help="The input that SR was made of.")
@click.option("--hr", type=click.Path(), help="A reference on SR's grid.")
@click.option("-o", "--out", type=click.Path(), help="The page. [default: SR's name in .html, beside it]")
@click.option("--mtf", callback=numbers, help="The input's MTF at Nyquist, one or per band. [default: sensor table]")
@click.option("--workers", type=Whole(min=1), help="Tiles worked on at a time. [default: the cores]")
@click.option("--overwrite", is_flag=True, help="Replace OUT even where it is no report.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def command(sr: str, out: str | None, quiet: bool, **options: Any) -> None:
    """One HTML file on SR, a result, that asks the network for nothing.

    Places chosen by what was measured, to be swiped between input, bicubic interpolation and result; what SR, degraded
    as the sensor does it, lacks of the input; a spectrum; figures of each band; and where it comes from.
    """
    from geosr.report.report import report

    with bar(quiet) as advance:
        path = report(sr, out or Path(sr).with_suffix(".html"), progress=advance, **options)
    if not quiet:
        announce(path)
