"""`geosr info`: what geosr sees in a file."""

from __future__ import annotations

import json

import click


@click.command("info", short_help="What geosr sees in a raster.")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(file: str, as_json: bool) -> None:
    """Size, grid, bands, radiometry, sensor and warnings of FILE, and what `geosr upscale` would assume."""
    from geosr.cli.talk import shown
    from geosr.io.describe import describe

    facts = describe(file)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        if not value or (isinstance(value, list) and all(item is None for item in value)):
            continue  # nothing to say; JSON has it
        print(f"{key.replace('_', ' '):16}  {shown(value)}")
