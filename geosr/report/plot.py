"""The spectrum of a report as a drawing in its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from geosr.report.pictures import Views

_WIDTH, _HEIGHT = 520, 260
_LEFT, _BOTTOM = 54, 40
_DASHES = {"input": "2 4", "bicubic": "7 4", "result": "", "reference": "1 3"}


def spectrum_of(views: Sequence[Views], scale: int) -> str:
    """An SVG of the mean power of sites by frequency; empty where there is none."""
    told = [view.power for view in views if view.power]
    if not told:
        return ""
    means = {name: np.mean([each[name] for each in told], 0) for name in told[0]}
    # Power of a transform grows with the pixels: the input's are fewer.
    means["input"] = means["input"] * scale**4
    ends = {name: 0.5 / scale if name == "input" else 0.5 for name in means}
    return _drawn(means, ends, scale)


def legend_of(views: Sequence[Views]) -> str:
    """The names of the lines, in HTML."""
    names = next((view.power for view in views if view.power), {})
    line = '<polyline class="{0}" points="0,5 40,5" stroke-dasharray="{1}"/>'
    line = f'<svg viewBox="0 0 40 10" aria-hidden="true">{line}</svg>'
    return (
        '<div class="keys">'
        + "".join(f"<span>{line.format(name, _DASHES[name])} {name}</span>" for name in names)
        + "</div>"
    )


def _drawn(means: Mapping[str, NDArray[np.float64]], ends: Mapping[str, float], scale: int) -> str:
    logs = {name: np.log10(np.maximum(power, power.max() * 1e-9)) for name, power in means.items()}
    low, high = (float(end([each for values in logs.values() for each in values])) for end in (min, max))
    across, down = _WIDTH - _LEFT - 10, _HEIGHT - _BOTTOM - 10

    def place(frequency: float, log: float) -> str:
        """A point of the drawing, as SVG has it."""
        return f"{_LEFT + frequency / 0.5 * across:.1f},{10 + (high - log) / max(high - low, 1e-9) * down:.1f}"

    lines = []
    for name, values in logs.items():
        steps = (np.arange(len(values)) + 0.5) / len(values) * ends[name]
        points = " ".join(place(float(f), float(value)) for f, value in zip(steps, values, strict=True))
        lines.append(f'<polyline class="{name}" points="{points}" stroke-dasharray="{_DASHES[name]}"/>')
    nyquist = _LEFT + across / scale
    axes = [
        f'<path class="axis" d="M{_LEFT} 10 V{10 + down} H{_WIDTH - 10}"/>',
        f'<path class="nyquist" d="M{nyquist:.1f} 10 V{10 + down}"/>',
        _text(nyquist, 10 + down + 16, "the input's Nyquist"),
        _text(_LEFT + across, 10 + down + 16, "the result's", "end"),
        _text(_LEFT + across / 2, _HEIGHT - 4, "frequency"),
        f'<text transform="translate(16 {10 + down / 2:.0f}) rotate(-90)" text-anchor="middle">power, decades</text>',
        *(
            _text(_LEFT - 6, 14 + (high - log) / max(high - low, 1e-9) * down, f"{log - np.ceil(low):.0f}", "end")
            for log in np.arange(np.ceil(low), np.floor(high) + 1)
        ),
    ]
    told = ", ".join(means)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Power by frequency of {escape(told)}">'
        + "".join((*axes, *lines))
        + "</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
