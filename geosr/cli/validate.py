"""`geosr validate`: whether a result keeps the contract with its input."""

from __future__ import annotations

import click

from geosr.cli.streams import out
from geosr.cli.talk import to_json


@click.command("validate", short_help="Check that a result keeps its input's grid, numbers and metadata.")
@click.argument("result", metavar="OUT", type=click.Path())
@click.option("--against", type=click.Path(), required=True, metavar="SRC", help="The input that OUT was made of.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(result: str, against: str, as_json: bool) -> int:
    """All that OUT doesn't keep of SRC, one line each: CRS, edges, whole division, place, numbers, nodata, metadata.

    Exit code 1 where there is anything.
    """
    from geosr.judging import validate

    report = validate(result, against=against)
    if as_json:
        out(to_json(report))
    else:
        for line in report["findings"] or [f"{result} keeps the contract with {against}"]:
            out(line)
    return 0 if report["valid"] else 1
