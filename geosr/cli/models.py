"""`geosr models`: the models that can be named."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command("models", short_help="List the models.")
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def command(as_json: bool) -> None:
    """List the models with their scales and what they are for."""
    from geosr.models import registry

    cards = [registry.card(name) for name in registry.names()]
    if as_json:
        print(json.dumps([asdict(card) for card in cards], indent=2))
        return
    for card in cards:
        scales = ",".join(map(str, card.scales))
        print(f"{card.name:10} x{scales:14} {card.summary}")
