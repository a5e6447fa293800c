"""The page of a report: everything that it needs stands in it."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from geosr.evaluation.meaning import MEANINGS
from geosr.judging import Evaluation
from geosr.report.pictures import Views
from geosr.report.plot import legend_of

_LEFT, _RIGHT = ("input", "bicubic"), ("result", "reference", "uncertainty")


def page(
    *,
    title: str,
    summary: str,
    warnings: Sequence[str],
    overview: str,
    views: Sequence[Views],
    evaluation: Evaluation,
    spectrum: str,
    notes: Sequence[str],
    tags: Mapping[str, str],
    made: str,
    repeat: str,
) -> str:
    """The HTML of a report, of texts that may hold anything; `overview` and `spectrum` are HTML."""
    style, script = _file("report", "report.css"), _file("viewer", "swipe.js") + _file("report", "report.js")
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in tags.items())
    sites = "".join(_site(number, view) for number, view in enumerate(views, 1))
    return Template(_file("report", "page.html")).substitute(
        title=escape(title),
        summary=escape(summary),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        warnings=_warnings(warnings),
        choices=_choices(views),
        overview=overview,
        sites=f'<div class="sites">{sites}</div>' if views else "<p>No place holds any data.</p>",
        figures=_figures(evaluation),
        spectrum=_spectrum(spectrum, views),
        notes=_listed(notes),
        tags="".join(rows),
        made=escape(made),
        repeat=escape(repeat),
    )


def _file(room: str, name: str) -> str:
    return files(f"geosr.{room}").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _listed(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _warnings(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    head = '<section class="warn" aria-label="Warnings"><strong>To know before trusting it</strong>'
    return f"{head}{_listed(lines)}</section>"


def _choices(views: Sequence[Views]) -> str:
    """Which layer is seen on either side of all lines, where there are two."""
    made = []
    for side, names in (("left", _LEFT), ("right", _RIGHT)):
        there = [name for name in names if views and name in views[0].layers]
        radios = "".join(
            f'<label><input type="radio" name="{side}" value="{name}"{" checked" * (name == there[0])}> {name}</label>'
            for name in there
        )
        if len(there) > 1:
            made.append(f"<fieldset><legend>On the {side}</legend>{radios}</fieldset>")
    return "".join(made)


def _site(number: int, view: Views) -> str:
    site, name = view.site, f"{number}. {view.site.why}"
    place = f"rows {site.at.row} to {site.at.stop[0] - 1}, columns {site.at.col} to {site.at.stop[1] - 1}"
    images = []
    for side, names in (("left", _LEFT), ("right", _RIGHT)):
        for layer in names:
            if layer in view.layers:
                kind = "base" if layer == "input" else "over" if side == "right" else ""
                hidden = "" if layer in (_LEFT[0], _RIGHT[0]) else " hidden"
                images.append(
                    f'<img class="{kind}" data-side="{side}" data-layer="{layer}" draggable="false"{hidden} '
                    f'alt="{escape(name)}: {layer}" src="{view.layers[layer]}">'
                )
    return (
        f'<section class="site" id="site{number}" aria-label="{escape(name)}"><h3>{escape(name)}</h3>'
        f'<div class="swipe">{"".join(images)}{_tags(view)}'
        '<div class="divider" role="slider" tabindex="0" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="50" aria-label="Line between left and right, {escape(name)}"></div></div>'
        f'<div class="misfit"><img alt="{escape(name)}: the degraded result less the input" src="{view.misfit}">'
        f"<p>Input {place}. The small picture is the result, degraded as the sensor does it, less the input: red where "
        f"it is too bright, blue where too dark, full at {view.misfit_end:.4g}; grey where nobody knows."
        f"{_support(view)}</p></div></section>"
    )


def _support(view: Views) -> str:
    if view.support is None:
        return ""
    return f" Of what was added the input determines {view.support:.0%}, as far as sigma is right; the rest is guessed."


def _tags(view: Views) -> str:
    """The names of the layers that are seen, on their sides."""
    first = {"left": _LEFT[0], "right": next(name for name in _RIGHT if name in view.layers)}
    return "".join(
        f'<span class="tag" data-side="{side}" aria-hidden="true">{name}</span>' for side, name in first.items()
    )


def _figures(evaluation: Evaluation) -> str:
    titles = "figure", "all", "good", *evaluation["bands"], "what it is"
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in titles)
    rows = []
    for name, figure in evaluation["figures"].items():
        bands = figure["bands"] or [math.nan] * len(evaluation["bands"])
        cells = "".join(f"<td>{_number(value)}</td>" for value in bands)
        meaning = MEANINGS[name]
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{_number(figure["all"])}</td>'
            f'<td class="words">{escape(meaning.good)}</td>{cells}'
            f'<td class="words wide">{escape(meaning.about)}</td></tr>'
        )
    told = f"Of {evaluation['pixels']:,} pixels of the result."
    return (
        f'<p>{told}</p><div class="scroll" tabindex="0" role="region" aria-label="Figures">'
        f'<table aria-labelledby="figures"><thead><tr>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _spectrum(drawn: str, views: Sequence[Views]) -> str:
    if not drawn:
        return ""
    return (
        '<section aria-labelledby="spectrum"><h2 id="spectrum">Spectrum</h2><p>The power of waves at the places above, '
        "mean of the bands shown. What lies right of the input's Nyquist frequency is finer than its pixels can show."
        f"</p><figure>{drawn}<figcaption>{legend_of(views)}</figcaption></figure></section>"
    )
