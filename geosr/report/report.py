"""A report written: what is measured, shown and told of a result, and the file that holds it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.measuring import Fact, Measuring
from geosr.evaluation.patches import SIDE, Layer
from geosr.io.companions import companions, tags_of_file
from geosr.io.destination import beside
from geosr.io.output import RESULTS
from geosr.io.place import check_destination, hidden, place_errors
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene, open_scene
from geosr.io.source import close as close_files
from geosr.judging import Evaluation, measured, measuring, source_of
from geosr.picture import Stretch
from geosr.products import open_source
from geosr.radiometry import SIGMA, SUPPORT, Pixels, Radiometry
from geosr.report.page import page
from geosr.report.pictures import Spread, picture, uri, views_of
from geosr.report.plot import spectrum_of
from geosr.report.sites import Site, sites_of
from geosr.run import Progress
from geosr.sensors import first_bands
from geosr.window import Window

_SITE = 384
"""Side of a site, pixels of the result: so many, so large, that a page stays under 6 MB."""
_OVERVIEW = 560
"""Longer side of the overview, pixels."""
_OURS = '<meta name="generator" content="geosr">'


def report(
    sr: str | Path,
    path: str | Path,
    *,
    lr: str | Path | Scene,
    hr: str | Path | None = None,
    mtf: float | Sequence[float] | None = None,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    made: str = "",
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """The path of a report on a result: one HTML file that opens from disk and asks for nothing else.

    Parameters
    ----------
    sr, lr, hr
        As `geosr.evaluate` takes them; the input may be the scene of a run.
    path
        The report. One that is there is replaced, another file only with `overwrite`.
    mtf, workers, progress
        As `geosr.evaluate` takes them.
    notes, warnings
        What the run that made the result found and assumed, and what to know before trusting it.
    made
        The command that made the result; as far as its tags tell by default.
    """
    there, result = check_report(path, overwrite), open_scene(sr)
    source = lr if isinstance(lr, Scene) else source_of(lr, result.names)
    others = {"lr": source} | ({} if hr is None else {"hr": open_scene(hr)})
    figures, sums = measured(result, others, mtf=mtf, workers=workers, progress=progress)
    named = source.path if isinstance(lr, Scene) else str(lr)
    figures = Evaluation({**figures, "path": str(sr), "lr": named, "hr": None if hr is None else str(hr)})
    try:
        job = measuring(result, others, mtf=mtf)[0]
        text = _page(result, job, figures, sums["facts"], notes, warnings, made, there)
    finally:
        close_files()
    partial = hidden(there, "partial")
    with place_errors(there, 0):
        partial.write_text(text, encoding="utf-8")
        partial.replace(there)
    return there


def check_report(path: str | Path, overwrite: bool = False) -> Path:
    """The absolute path of a report. Raises `InputError` or `PlaceError` where it can't go there."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a report is a page; name it {Path(path).with_suffix('.html').name}")
    there = Path(path)
    ours = there.is_file() and _OURS in there.read_bytes()[:2000].decode("utf-8", "replace")
    return check_destination(path, overwrite or ours)


def command_of(words: Sequence[str | Path]) -> str:
    """A command as a line to read, without what addresses may hold to sign in."""
    return shlex.join(re.sub(r"(://)[^/@]*@", r"\1", re.sub(r"(://[^?]*\?).*", r"\1", str(word))) for word in words)


def _page(
    scene: Scene,
    job: Measuring,
    figures: Evaluation,
    facts: Sequence[Fact],
    notes: Sequence[str],
    warnings: Sequence[str],
    made: str,
    there: Path,
) -> str:
    sr, lr, hr = figures["path"], figures["lr"], figures["hr"]
    scale, tags = figures["scale"], tags_of_file(Path(sr))
    bands = tuple(band for band in scene.sensor.bands if not band.categorical)
    shown = first_bands(bands)
    stretch = _stretch(job, shown)
    shape = job.plan.height, job.plan.width
    spread = _spread_of(Path(sr), scene, job, shown)
    unsure = None if spread is None else _unsure(spread, facts, shape, scale, shown)
    sites = sites_of(facts, shape, max(16, _SITE // scale), unsure)
    views = [views_of(job, site, shown, stretch, spread) for site in sites]
    told = {name.removeprefix("GEOSR_").lower(): value for name, value in tags.items() if name.startswith("GEOSR_")}
    model = tags.get("GEOSR_MODEL", "")
    again = ["geosr", "report", sr, f"--lr={lr}", *([f"--hr={hr}"] if hr else []), f"--out={there.name}"]
    return page(
        title=f"{scene.name}: a report",
        summary=f"{scene.name} is made of {Path(lr).name}{f' by {model}' if model else ''}: {scale} x {scale} pixels "
        f"for each of its own, {len(figures['bands'])} bands, {scene.shape[1]} x {scene.shape[0]} pixels. Shown are "
        f"{', '.join(figures['bands'][place] for place in shown)}.{'' if spread is None else spread.told}",
        warnings=list(dict.fromkeys([*_about(model), *warnings, *figures["warnings"]])),
        overview=_overview(job, shown, stretch, [view.site for view in views]),
        views=views,
        evaluation=figures,
        spectrum=spectrum_of(views, scale),
        notes=notes,
        tags=told,
        made=made or _made(sr, lr, scene, tags),
        repeat=command_of(again),
    )


def _spread_of(path: Path, scene: Scene, job: Measuring, shown: Sequence[int]) -> Spread | None:
    """The uncertainty that lies beside a result, if there is one."""
    if SIGMA.name not in companions(path):
        return None
    there = [name for name in (SIGMA.name, SUPPORT.name) if name in companions(path)]
    bands, corner = job.sr.bands, job.sr.corner
    layers = [Layer.of(open_scene(beside(path, name)), bands, corner, [0.0] * len(bands)) for name in there]
    return Spread.of(layers[0], (job.plan.height * job.plan.scale, job.plan.width * job.plan.scale), shown, *layers[1:])


def _unsure(
    spread: Spread, facts: Sequence[Fact], shape: tuple[int, int], scale: int, shown: Sequence[int]
) -> list[float]:
    """The uncertainty in each of the facts' squares, from afar; NaN where it isn't known in most of one."""
    grid = -(-shape[0] // SIDE), -(-shape[1] // SIDE)
    whole = Window(0, 0, shape[0] * scale, shape[1] * scale)
    values, known = _from_afar(spread.layer, whole, grid, shown)
    mean = np.where(known, values.mean(0), np.nan)
    return [float(mean[fact.at.row // SIDE, fact.at.col // SIDE]) if fact.valid > 0.5 else math.nan for fact in facts]


def _about(model: str) -> list[str]:
    if "generative" not in model:
        return []
    return ["The model is generative: it may draw what was never there. It makes pictures, and nothing to measure on."]


def _made(sr: str, lr: str, scene: Scene, tags: dict[str, str]) -> str:
    """The command that the tags of a result tell of; they don't know options that change no pixel."""
    if "GEOSR_MODEL" not in tags:
        return "The result doesn't say how it was made."
    title, scale, names = tags["GEOSR_MODEL"], tags.get("GEOSR_SCALE", ""), open_source(lr).names
    model = re.split(r" *[(\[]", title)[0]
    command = ["geosr", "upscale", lr, sr, f"--model={model}", f"--scale={scale}"]
    if set(scene.names) < set(names) and all(map(_is_own, scene.names)):
        command.append(f"--bands={','.join(scene.names)}")
    if SIGMA.name in tags.get(RESULTS, "").split():
        command.append("--uncertainty")
    if "GEOSR_PROJECTED" in tags and "generative" not in title:
        command.append("--project")
    return command_of(command) + "\n# as far as its tags tell"


def _is_own(name: str) -> bool:
    """True for the name of a band that is not just its number in its file."""
    return not re.fullmatch(r"band \d+", name)


def _stretch(job: Measuring, shown: Sequence[int]) -> Stretch:
    pieces = []
    for window in spread_windows((job.plan.height, job.plan.width), len(job.responses)):
        values, known = job.lr.read(window)
        pieces.append(Pixels(np.where(known, values, np.nan)[list(shown)]))
    return Stretch.of(pieces, Radiometry("float64", "float64", ((),) * len(shown)))


def _overview(job: Measuring, shown: Sequence[int], stretch: Stretch, sites: Sequence[Site]) -> str:
    """The whole of the input from afar, with a numbered box for each site that leads to it."""
    height, width = job.plan.height, job.plan.width
    times = max(1.0, max(height, width) / _OVERVIEW)
    rows, cols = max(1, round(height / times)), max(1, round(width / times))
    image = picture(*_from_afar(job.lr, Window(0, 0, height, width), (rows, cols), shown), stretch)
    boxes = "".join(
        f'<a href="#site{number}" aria-label="Place {number}, {escape(site.why)}">'
        f'<rect x="{site.at.col}" y="{site.at.row}" width="{site.at.width}" height="{site.at.height}"/>'
        f'<text x="{site.at.col + 4 * times:.0f}" y="{site.at.row + 17 * times:.0f}">{number}</text></a>'
        for number, site in enumerate(sites, 1)
    )
    return (
        f'<img width="{cols}" height="{rows}" alt="The input from afar" src="{uri(image)}">'
        f'<svg viewBox="0 0 {width} {height}" font-size="{15 * times:.0f}">{boxes}</svg>'
    )


def _from_afar(
    layer: Layer, whole: Window, shape: tuple[int, int], shown: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    source: Any = layer.source
    pixels = source.reduced(whole.shift(*layer.corner), shape, nearest=False)
    coarse = replace(layer, source=_Held(pixels), corner=(0, 0))
    values, known = coarse.read(Window(0, 0, *shape))
    return values[list(shown)], known


class _Held:
    """Pixels that are there already, as a source."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def pixels(self, window: Window) -> Pixels:
        """All of them, whatever the window."""
        return self._pixels
