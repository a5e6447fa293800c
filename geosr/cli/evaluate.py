"""`geosr evaluate`: the figures of a result, as a table, JSON or Markdown, and as gates."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.headings import Grouped
from geosr.cli.progress import bar
from geosr.cli.streams import out
from geosr.cli.talk import tell, to_json
from geosr.cli.upscale import model_names
from geosr.cli.values import Whole, band_numbers, numbers, refuse, tile_side

if TYPE_CHECKING:
    from geosr.comparing import Comparison
    from geosr.judging import Evaluation


HEADINGS = {
    "A result": ("lr", "guide", "bands", "tile", "scheduler"),
    "Models, on rasters of your own": ("protocol", "model", "against", "scale", "snr"),
    "Both": ("mtf", "most", "least", "workers"),
    "What is said": ("as_json", "markdown", "quiet"),
}


@click.command("evaluate", cls=Grouped, headings=HEADINGS, short_help="Measure a result, or compare models.")
@click.argument("rasters", nargs=-1, required=True, metavar="SR [HR] | RASTER...", type=click.Path())
@click.option("--lr", type=click.Path(), help="The input that SR was made of.")
@click.option("--guide", type=click.Path(), help="A raster on SR's grid that detail was taken from.")
@click.option("--bands", callback=band_numbers, help="Of SR: numbers from 1, ranges or names. [default: all]")
@click.option(
    "--protocol",
    type=click.Choice(["wald", "native", "paired"]),
    help="Compare models: on RASTERs degraded by their sensor's response; on bands of a product that show the same "
    "with coarser and finer pixels; on pairs of an input and a reference.",
)
@click.option("--model", default="fast", show_default=True, shell_complete=model_names, help="The one that is judged.")
@click.option(
    "--against", multiple=True, shell_complete=model_names, help="An opponent, repeatable. [default: bicubic]"
)
@click.option("--scale", type=Whole(2, 8), default=2, show_default=True, help="Output pixels per pixel.")
@click.option("--mtf", callback=numbers, help="The input's MTF at Nyquist, one or per band. [default: sensor table]")
@click.option("--snr", callback=numbers, help="Signal-to-noise ratio, one or per band. [default: from the scene]")
@click.option("--max", "most", multiple=True, metavar="NAME=VALUE", help="Exit 1 where a figure's size is above.")
@click.option("--min", "least", multiple=True, metavar="NAME=VALUE", help="Exit 1 where a figure is below.")
@click.option("--tile", default="auto", callback=tile_side, show_default=True, help="Side of a tile in input pixels.")
@click.option("--workers", type=Whole(min=1), help="Tiles worked on at a time. [default: the cores]")
@click.option(
    "--scheduler", help="threads, processes, local:N, a Dask scheduler's address or its file. [default: threads]"
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--markdown", is_flag=True, help="Print as a table in Markdown.")
@click.option("-q", "--quiet", is_flag=True, help="No bar and no warnings.")
def command(
    rasters: tuple[str, ...], protocol: str | None, as_json: bool, markdown: bool, quiet: bool, **options: Any
) -> int:
    """Figures of SR, a result, beside its input (--lr), and beside HR, a reference on its grid, where there is one.

    With --protocol, figures of a model and its opponents on RASTERs. What each figure means, and what is good, stands
    in docs/figures.md.
    """
    from geosr.judging import bound_of, gates

    if as_json and markdown:
        raise click.UsageError("--json and --markdown: choose one")
    bounds = [dict(map(bound_of, options.pop(name))) for name in ("least", "most")]
    with bar(quiet) as advance:
        report, figures, lines = (_compared if protocol else _evaluated)(rasters, protocol, options, advance)
    broken = gates(figures, *bounds)
    table = rows_of_models(report) if protocol else rows_of(report)
    out(to_json(report) if as_json else in_markdown(*table) if markdown else in_a_table(*table))
    for line in ([] if quiet else lines) + broken:
        tell(line)
    return 1 if broken else 0


_Told = tuple[Any, dict[str, float], list[str]]
"""A report, the figures that gates look at, and lines for people."""


def _evaluated(rasters: tuple[str, ...], protocol: Any, options: dict[str, Any], advance: Any) -> _Told:
    from geosr.judging import evaluate

    if options["lr"] is None:
        raise click.UsageError("--lr: name the input that the result was made of, or a --protocol to compare models")
    refuse(HEADINGS["Models, on rasters of your own"], "of models that are compared; add --protocol, or leave it out")
    if len(rasters) > 2:
        raise click.UsageError(f"{len(rasters)} rasters: expected a result, and perhaps a reference")
    names = ("lr", "guide", "bands", "mtf", "tile", "workers", "scheduler")
    report = evaluate(*rasters, progress=advance, **{name: options[name] for name in names})
    return report, {name: figure["all"] for name, figure in report["figures"].items()}, report["warnings"]


def _compared(rasters: tuple[str, ...], protocol: Any, options: dict[str, Any], advance: Any) -> _Told:
    from geosr.comparing import compare

    refuse(HEADINGS["A result"], "of a result; with --protocol leave it out, all rasters are arguments")
    names = ("model", "scale", "mtf", "snr", "workers")
    opponents = options["against"] or ("bicubic",)
    report = compare(
        *rasters, protocol=protocol, against=opponents, progress=advance, **{name: options[name] for name in names}
    )
    lines = [f"left out, {name}: {why}" for name, why in report["left_out"].items()]
    for other, gain in report["gains"].items():
        told = f"{gain['mean']:+.2f} dB [{gain['low']:+.2f}, {gain['high']:+.2f}] over {other}, {gain['units']} pieces"
        lines.append(f"{report['model']}: {told}; worst {gain['worst']:+.2f} ({gain['where']})")
    least = {f"gain_{part}": min(gain[part] for gain in report["gains"].values()) for part in ("mean", "low")}
    return report, report["figures"][report["model"]] | least, lines


def rows_of_models(report: Comparison) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a table: a figure each, of each model."""
    figures = report["figures"]
    names = dict.fromkeys(name for each in figures.values() for name in each)
    rows = [[name, *(f"{each.get(name, float('nan')):.4g}" for each in figures.values())] for name in names]
    gains = report["gains"]
    for part in ("mean", "low", "high", "worst"):
        rows.append([f"gain_{part}", "", *(f"{gains[other][part]:+.2f}" for other in gains)])
    return ["figure", *figures], rows


def rows_of(report: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a table: a figure each, of all bands and of each, and what is good."""
    from geosr.evaluation.meaning import MEANINGS

    head = ["figure", "all", *report["bands"], "good"]
    rows = []
    for name, figure in report["figures"].items():
        bands = [f"{value:.4g}" for value in figure["bands"]] or [""] * len(report["bands"])
        rows.append([name, f"{figure['all']:.4g}", *bands, MEANINGS[name].good])
    return head, rows


def in_markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def in_a_table(head: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in head:
        table.add_column(title, justify="left" if title in ("figure", "good") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=60 + 14 * len(head)).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
