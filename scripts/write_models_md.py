"""Writes MODELS.md from the cards in the package's weights: `python scripts/write_models_md.py`.

Prose that belongs to no card stands in `recipes/MODELS.md.in`, what is said of one model besides its card in
`recipes/NAME.md`. To be run after weights were published; a test fails where it was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import KINDS
from geosr.models.card import Card
from geosr.models.checkpoint import read_card
from geosr.models.registry import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
MODELS = ROOT / "MODELS.md"
FIRST_KIND = next(iter(KINDS))
HEADLINE = (("MTF 0.25", "ibp"), ("bicubic LR", "bicubic"), ("MTF 0.25, SNR 100", "ibp"))
"""The cases of the first table, and over what the gain is told."""
ABSENT = "not measured"


def main() -> None:
    """Writes the file."""
    MODELS.write_text(text(), encoding="utf-8")


def text() -> str:
    """MODELS.md as the packaged weights, the template and the notes make it."""
    models = by_model(list(map(read_card, WEIGHTS.glob("*_x?.safetensors"))))
    cards = [card for each in models.values() for card in each if not card.guides and not card.start]
    guides = [card for each in models.values() for card in each if card.guides]
    hardware = "; ".join(dict.fromkeys(speed["hardware"] for card in cards for speed in card.speed))
    parts = {
        "{comparison}": table(COMPARED, map(compared, cards)),
        "{guided}": table(GUIDED, map(guided, guides)),
        "{hardware}": hardware or ABSENT,
        "{models}": "\n\n".join("\n".join(about(name, each)).strip() for name, each in models.items()),
        "{data}": "\n\n".join(data(models)),
    }
    parts |= {f"{{{name}}}": " | ".join(in_short(each)) for name, each in models.items() if each[0] in cards}
    result = (RECIPES / "MODELS.md.in").read_text(encoding="utf-8")
    for mark, part in parts.items():
        result = result.replace(mark, part)
    return result


def by_model(cards: list[Card]) -> dict[str, list[Card]]:
    """Cards by model, the smallest model first, each with its scales in order."""
    models = {name: [card for card in cards if card.name == name] for name in {card.name for card in cards}}
    ordered = {name: sorted(each, key=lambda card: card.scales) for name, each in models.items()}
    return dict(sorted(ordered.items(), key=lambda item: (max(card.parameters for card in item[1]), item[0])))


def data(models: dict[str, list[Card]]) -> Iterator[str]:
    """What models were trained on, those together that share it."""
    sets = {name: each[-1].training_data for name, each in models.items()}
    for some in dict.fromkeys(sets.values()):
        names = ", ".join(name for name, each in sets.items() if each == some)
        yield "\n".join((f"{names}:\n", *(f"- {item}" for item in some or (ABSENT,))))


def in_short(cards: list[Card]) -> Iterator[str]:
    """The cells of a model in the table that tells which to take: natively at x2 and x4, and more of x2."""
    scales = {card.scales[0]: card for card in cards}
    for scale in (2, 4):
        pair = scales[scale].native.get("B8A") if scale in scales else None
        yield f"{pair['gain']:+.2f} / {_short(pair['correlation'])} / {_short(pair['energy'], 2)}" if pair else ABSENT
    double = scales[2]
    yield f"{double.native['pan']['gain']:+.2f}" if "pan" in double.native else ABSENT
    yield f"{double.native['water'][0]:.2f}" if "water" in double.native else ABSENT
    reduced = double.metrics.get("bicubic LR")
    yield f"{reduced['over_bicubic'][0]:+.2f}" if reduced else ABSENT
    yield ", ".join(f"{each['bicubic_mpx_per_s'] / each['mpx_per_s']:.0f}" for each in double.speed) or ABSENT


def _short(share: float, digits: int = 3) -> str:
    return f"{share:.{digits}f}".removeprefix("0")


COMPARED = (
    "model",
    "scale",
    "**natively**: 20 to 10 m, dB over bicubic [95 %]",
    "correlation / energy of detail",
    "pan, dB",
    "noise on water",
    "pairs below bicubic",
    "simulated, MTF .25: over IBP, dB",
    "bicubic LR: over bicubic",
    "SNR 100, MTF .25: over IBP",
    "worst band against bicubic in these cases",
    "parameters",
    "speed (bicubic's N)",
)


def compared(card: Card) -> list[str]:
    """A row of the first table."""
    known = [card.metrics[case] for case, _ in HEADLINE if case in card.metrics]
    worst = f"{min(figures['worst_band'] for figures in known):+.2f}" if known else ABSENT
    gains = [_gain(card.metrics.get(case), f"over_{against}") for case, against in HEADLINE]
    name = (
        f"[{card.title}](#{anchor(card.title)})"
        if not card.generative
        else f"[{card.name}](#{anchor(card.title)}) *generative*"
    )
    sizes = f"{card.parameters / 1e6:.2f} M", _speeds(card)
    return [name, f"x{card.scales[0]}", *natively(card.native), *gains, worst, *sizes]


GUIDED = (
    "model",
    "brings",
    "guided by",
    "a scale down: RMSE over bicubic's",
    "dB over `glp` [95 %]",
    "dB over one band alone",
    "**natively**: dB over `glp`, over one band alone",
    "parameters",
    "speed (bicubic's N)",
)


def guided(card: Card) -> list[str]:
    """A row of the table of models that take a guide."""
    figures, native = (card.metrics.get(case, {}) for case in ("a scale down, with truth", "natively"))
    over = [
        interval(each[against]) if against in each else ABSENT
        for each in (figures, native)
        for against in ("over_glp", "over_alone")
    ]
    left = f"{figures['rmse']:.3f} (`glp` {figures['rmse_glp']:.3f})"
    name, sizes = f"[{card.name}](#{anchor(card.title)})", (f"{card.parameters / 1e6:.2f} M", _speeds(card))
    return [name, " ".join(card.slots), " ".join(card.guides), left, *over[:2], " / ".join(over[2:]), *sizes]


def natively(figures: Mapping[str, Any]) -> Iterator[str]:
    """The cells of what was measured on natural pairs."""
    if "B8A" not in figures:
        yield from (ABSENT, *[""] * 4)
        return
    pair, water = figures["B8A"], figures.get("water")
    yield f"{pair['gain']:+.2f} [{pair['low']:+.2f}, {pair['high']:+.2f}]"
    yield f"{pair['correlation']:.3f} / {pair['energy']:.2f}"
    yield f"{figures['pan']['gain']:+.2f}" if "pan" in figures else ABSENT
    yield f"{water[0]:.2f} (most {water[1]:.2f})" if water else ABSENT
    yield "{} of {}".format(*figures["below"])


def anchor(title: str) -> str:
    """Where a heading is found on the page."""
    return "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_").replace(" ", "-")


def about(name: str, cards: list[Card]) -> Iterator[str]:
    """The section of a model, from its cards and `recipes/NAME.md`."""
    card = cards[-1]
    yield f"## {card.title}\n"
    yield f"{card.summary}\n"
    yield from (f"**{note}.**\n" for note in card.notes)
    yield from (f"- {fact}" for fact in facts(cards))
    notes = RECIPES / f"{name}.md"
    if notes.exists():
        yield "\n" + notes.read_text(encoding="utf-8").strip()
    for each in sorted(cards, key=lambda each: -each.scales[0]):
        yield from measured(each)


def facts(cards: list[Card]) -> Iterator[str]:
    """What a model's cards say in words, an item each."""
    card = cards[-1]
    yield ". ".join(said.rstrip(".") for said in (card.architecture, card.design, card.paper) if said) + "."
    sizes = ", ".join(f"x{each.scales[0]}: {each.parameters:,}, halo {each.halo}" for each in cards)
    yield f"Parameters, and source pixels that a pixel depends on each way: {sizes}." + (
        f" Blocks lie on a grid of {card.multiple} pixels." if card.multiple > 1 else ""
    )
    for each in cards:
        if each.stored != "float32":
            spent = None if each.half_cost_db is None else round(each.half_cost_db, 3) + 0.0  # no minus before a zero
            cost = "" if spent is None else f", which was measured to cost {spent:.3f} dB"
            yield f"Weights for x{each.scales[0]} are stored as {each.stored}{cost}."
    words = {
        "Degradation in training": card.degradation,
        "Training": card.training,
        "Training against validation": card.training_gap,
        "What longer training is expected to give": card.longer_training,
        "Limits": " ".join(card.limits),
        "Licence of the weights": card.licence,
    }
    yield from (f"{what}: {said.rstrip('.')}." for what, said in words.items() if said)


def measured(card: Card) -> Iterator[str]:
    """The tables of one scale."""
    if not card.metrics:
        yield f"\nx{card.scales[0]}: {ABSENT}."
        return
    if card.guides:
        yield f"\n{card.measured[:1].upper()}{card.measured[1:]}:\n"
        yield table(CASES, (guided_row(*item) for item in card.metrics.items()))
        return
    if card.start:
        yield f"\nx{card.scales[0]}, {card.measured}:\n"
        yield table(DATES, (dates_row(*item) for item in card.metrics.items()))
        return
    told = {case: figures for case, figures in card.metrics.items() if "told" not in case}
    misled = {case: figures for case, figures in card.metrics.items() if "told" in case}
    columns = (
        "case",
        "bicubic dB",
        "IBP dB",
        f"{card.name} dB",
        "over bicubic",
        "over IBP",
        "worst band against bicubic",
        "bands below bicubic",
    )
    yield f"\nx{card.scales[0]}, told the truth:\n"
    yield table(columns, (case_row(*item) for item in told.items()))
    if sharp := card.metrics.get("MTF 0.25", {}).get("fine_detail"):
        yield (
            "\nFine detail, true or not: power beyond the input's Nyquist frequency over the truth's at MTF .25, "
            f"median over bands: {sharp['model']:.2f} (bicubic {sharp['bicubic']:.2f}, IBP {sharp['ibp']:.2f})."
        )
    if misled:
        yield f"\nx{card.scales[0]}, told nothing (then MTF .45 of an unknown sensor) or something wrong:\n"
        yield table(columns, (case_row(*item) for item in misled.items()))
    shown = [(case, against) for case, against in (("MTF 0.25", "bicubic"), *HEADLINE) if case in card.metrics]
    kinds = {kind: each for case, _ in shown for kind, each in card.metrics[case]["kinds"].items()}
    if kinds:
        yield f"\nx{card.scales[0]}, by kind of scene, in dB:\n"
        heads = [f"{case}: over {'IBP' if against == 'ibp' else against}" for case, against in shown]
        rows = ([f"{kind} ({each['scenes']})", *_of_kind(card, kind, shown)] for kind, each in kinds.items())
        yield table(("scenes", *heads), rows)


CASES = "case", "places", "RMSE over bicubic's, by band", "dB over bicubic", "dB over `glp`", "dB over one band alone"


def guided_row(case: str, figures: dict[str, Any]) -> list[str]:
    """A case of a model that takes a guide."""
    bands = ", ".join("" if each is None else f"{each:.2f}" for each in figures["bands"]).strip(", ")
    gains = [interval(figures[key]) if key in figures else "" for key in ("over_bicubic", "over_glp", "over_alone")]
    return [case, str(figures["places"]), bands, *gains]


DATES = "case", "cases", "dB over one date", "its worst", "dB over back-projection of the same dates"


def dates_row(case: str, figures: dict[str, Any]) -> list[str]:
    """A case of a model that takes several dates."""
    found = (figures[key] for key in ("over_start", "over_ibp"))
    one, projected = (interval(gain) if isinstance(gain, list) else f"{gain:+.2f}" for gain in found)
    return [case, str(figures["cases"]), one, f"{figures['worst']:+.2f}", projected]


def case_row(case: str, figures: dict[str, Any]) -> list[str]:
    """A case with its intervals."""
    levels = [f"{figures['psnr'][name]:.2f}" for name in ("bicubic", "ibp", "model")]
    gains = [interval(figures[f"over_{name}"]) for name in ("bicubic", "ibp")]
    below = f"{figures['bands_below_bicubic']} of {figures['bands_in_all']}"
    return [case, *levels, *gains, f"{figures['worst_band']:+.2f} ({figures['worst_where']})", below]


def interval(values: list[float]) -> str:
    """A gain with its 95 % interval."""
    return f"{values[0]:+.2f} [{values[1]:+.2f}, {values[2]:+.2f}]"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    names = list(columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, ["---"] * len(names), *rows))


def _of_kind(card: Card, kind: str, shown: list[tuple[str, str]]) -> Iterator[str]:
    for case, against in shown:
        each = card.metrics[case]["kinds"].get(kind)
        yield f"{each[f'over_{against}'][0]:+.2f}" if each else ABSENT


def _gain(figures: dict[str, Any] | None, over: str) -> str:
    """Of all scenes, and of the kind that the aims were set on."""
    if figures is None:
        return ABSENT
    few = figures["kinds"].get(FIRST_KIND)
    return f"{figures[over][0]:+.2f}" + (f" / {few[over][0]:+.2f}" if few else "")


def _speeds(card: Card) -> str:
    speeds = (f"{each['mpx_per_s']:.2g} ({each['bicubic_mpx_per_s'] / each['mpx_per_s']:.0f})" for each in card.speed)
    return "; ".join(speeds) or ABSENT


if __name__ == "__main__":
    main()
