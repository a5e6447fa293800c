"""`geosr models`: the models that can be named, and their cards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.streams import out
from geosr.cli.upscale import model_names
from geosr.cli.values import Whole

if TYPE_CHECKING:
    from geosr.models.card import Card


@click.group("models", short_help="List the models, show a card.", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the models with their scales, parameters and what they are for; those marked generative may invent.

    `geosr models show NAME` prints a card.
    """
    if context.invoked_subcommand is not None:
        return
    from geosr.models import registry

    cards = list(_readable(registry.names()))
    if as_json:
        out(json.dumps([card.document() for card in cards], indent=2))
        return
    for card in cards:
        out(_line(card.title, card.scales, card.parameters, card.summary))


@command.command("show")
@click.argument("name", metavar="NAME", shell_complete=model_names)
@click.option("--scale", type=Whole(1, 16), help="The card for this scale. [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, in the terms of STAC's MLM extension.")
def show(name: str, scale: int | None, as_json: bool) -> None:
    """The card of the model NAME, or of a weights file: what it is, how good, how fast, where it fails."""
    from geosr.models import registry

    card = registry.card(name, scale)
    weighty = bool(card.network) and registry.locate(name, scale or card.scales[0]) is not None
    scales = card.scales if scale is None and weighty else (scale or card.scales[0],)
    cards = [_alone(registry.card(name, each), each) if weighty else card for each in scales]
    if as_json:
        documents = [each.document() for each in cards]
        out(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, ensure_ascii=False))
        return
    for line in _shown(card, cards):
        out(line)


def _readable(names: Iterable[str]) -> Iterator[Card]:
    """The cards of these models; a file that holds none is told of, and stops no other."""
    from geosr.cli.talk import tell
    from geosr.errors import ModelError
    from geosr.models import registry

    for name in names:
        try:
            yield registry.card(name)
        except ModelError as error:
            tell(str(error))


def _line(title: str, scales: tuple[int, ...], parameters: int, summary: str) -> str:
    size = f"{parameters / 1e6:.2f} M" if parameters else ""
    return f"{title:20} x{','.join(map(str, scales)):14} {size:>7}  {summary}"


def _alone(card: Card, scale: int) -> Card:
    """The card for one scale of several."""
    from dataclasses import replace

    return replace(card, scales=(scale,))


_SEPARATELY = ("name", "summary", "scales", "measured", "metrics", "speed", "generative", "native")
_UNITS = {"halo": " source pixels", "multiple": " source pixels", "half_cost_db": " dB"}


def _shown(card: Card, cards: list[Card]) -> Iterator[str]:
    """A card in words; figures of each scale."""
    yield f"{card.title}: {card.summary}"
    yield from card.notes
    yield f"{'scales':16}  {', '.join(f'x{scale}' for scale in card.scales)}"
    for entry in fields(card):
        value = getattr(card, entry.name)
        if entry.name in _SEPARATELY or (value == entry.default and entry.name != "licence"):
            continue
        for number, item in enumerate(value if isinstance(value, tuple) else (value,)):
            yield f"{'' if number else entry.name.replace('_', ' '):16}  {_said(item)}{_UNITS.get(entry.name, '')}"
    for each in cards:
        if each.metrics or each.speed or each.native:
            yield from _figures(each)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


_OVER = {
    "over_bicubic": "over bicubic",
    "over_ibp": "over back-projection",
    "over_base": "over its base",
    "over_alone": "over one band alone",
    "over_glp": "over glp",
    "over_start": "over one date",
}
"""What a card's gains may be over."""


def _figures(card: Card) -> Iterator[str]:
    yield ""
    yield f"x{card.scales[0]}"
    for speed in card.speed:
        yield "  " + speed_in_words(speed)
    yield from _natively(card.native)
    if card.measured:
        yield f"  simulated: {card.measured}"
    cases = {case: figures for case, figures in card.metrics.items() if isinstance(figures, Mapping)}
    if "gap_db" in card.metrics:
        yield f"  {card.metrics['gap_db']:+.2f} dB more on places that it was trained on than on those kept apart"
    shown = {key: title for key, title in _OVER.items() if any(key in figures for figures in cases.values())}
    if shown:
        titles = " ".join(f"{title:21}" for title in shown.values())
        yield f"  {'gain in dB [95 % interval]':34} {titles} worst band".rstrip()
    for case, figures in cases.items():
        gains = " ".join(f"{_interval(figures.get(key)):21}" for key in shown)
        worst = f"{figures['worst_band']:+.2f}" if "worst_band" in figures else ""
        yield f"  {case:34} {gains} {worst}".rstrip()


def _natively(native: Mapping[str, Any]) -> Iterator[str]:
    """The figures on natural pairs."""
    pairs = {kind: figures for kind, figures in native.items() if isinstance(figures, Mapping)}
    if pairs:
        yield f"  {'natively, no option given':34} {'over bicubic':21} correlation and energy of detail"
    for kind, figures in pairs.items():
        gain = f"{figures['gain']:+.2f}"
        if "low" in figures:
            gain += f" [{figures['low']:+.2f}, {figures['high']:+.2f}]"
        places = f"{kind}, {figures['places']} places"
        yield f"  {places:34} {gain:21} {figures['correlation']:.3f} {figures['energy']:.2f}"


def speed_in_words(speed: Mapping[str, Any]) -> str:
    """A card's speed in a line."""
    slower = speed["bicubic_mpx_per_s"] / speed["mpx_per_s"]
    return (
        f"{speed['mpx_per_s']:.3g} source Mpx/s on {speed['hardware']}; bicubic there takes 1/{slower:.0f} of the time"
    )


def _interval(values: list[float] | float | None) -> str:
    """A gain with its interval, where it has one."""
    if isinstance(values, list):
        return f"{values[0]:+.2f} [{values[1]:+.2f}, {values[2]:+.2f}]"
    return "" if values is None else f"{values:+.2f}"
