"""`geosr evaluate`: the figures of a result, as a table, JSON or Markdown, and as gates."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.progress import bar
from geosr.cli.streams import out
from geosr.cli.talk import tell, to_json
from geosr.cli.upscale import band_numbers, numbers, tile_side

if TYPE_CHECKING:
    from geosr.judging import Evaluation


@click.command("evaluate", short_help="Measure a result, with or without a reference.")
@click.argument("sr", type=click.Path())
@click.argument("hr", type=click.Path(), required=False)
@click.option("--lr", type=click.Path(), required=True, help="The input that SR was made of.")
@click.option("--guide", type=click.Path(), help="A raster on SR's grid that detail was taken from.")
@click.option("--bands", callback=band_numbers, help="Of SR: numbers from 1, ranges or names. [default: all]")
@click.option("--mtf", callback=numbers, help="The input's MTF at Nyquist, one or per band. [default: sensor table]")
@click.option("--max", "most", multiple=True, metavar="NAME=VALUE", help="Exit 1 where a figure's size is above.")
@click.option("--min", "least", multiple=True, metavar="NAME=VALUE", help="Exit 1 where a figure is below.")
@click.option("--tile", default="auto", callback=tile_side, show_default=True, help="Side of a tile in input pixels.")
@click.option("--workers", type=click.IntRange(min=1), help="Tiles worked on at a time. [default: the cores]")
@click.option(
    "--scheduler", help="threads, processes, local:N, a Dask scheduler's address or its file. [default: threads]"
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--markdown", is_flag=True, help="Print as a table in Markdown.")
@click.option("--quiet", is_flag=True, help="No bar and no warnings.")
def command(
    sr: str,
    hr: str | None,
    most: Sequence[str],
    least: Sequence[str],
    as_json: bool,
    markdown: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Figures of SR, a result, beside its input LR, and beside HR, a reference on its grid, where there is one.

    What each means, and what is good, stands in docs/trust.md.
    """
    from geosr.judging import bound_of, evaluate, gates

    if as_json and markdown:
        raise click.UsageError("--json and --markdown: choose one")
    bounds = dict(map(bound_of, least)), dict(map(bound_of, most))
    with bar(quiet) as advance:
        report = evaluate(sr, hr, progress=advance, **options)
    broken = gates(report, *bounds)
    out(to_json(report) if as_json else in_markdown(report) if markdown else in_a_table(report))
    for line in [] if quiet else report["warnings"]:
        tell(line)
    for line in broken:
        tell(line)
    return 1 if broken else 0


def rows_of(report: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a table: a figure each, of all bands and of each, and what is good."""
    from geosr.evaluation.meaning import MEANINGS

    head = ["figure", "all", *report["bands"], "good"]
    rows = []
    for name, figure in report["figures"].items():
        bands = [f"{value:.4g}" for value in figure["bands"]] or [""] * len(report["bands"])
        rows.append([name, f"{figure['all']:.4g}", *bands, MEANINGS[name].good])
    return head, rows


def in_markdown(report: Evaluation) -> str:
    """The figures as a table in Markdown."""
    head, rows = rows_of(report)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def in_a_table(report: Evaluation) -> str:
    """The figures as a table for a terminal."""
    from rich.console import Console
    from rich.table import Table

    head, rows = rows_of(report)
    table = Table(box=None, pad_edge=False)
    for title in head:
        table.add_column(title, justify="left" if title in ("figure", "good") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=60 + 14 * len(head)).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
