"""Judging results: the figures of one beside its input and perhaps a reference, and its contract with the input."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict

from geosr.cluster import pool_for, stop_where_imported
from geosr.errors import InputError
from geosr.evaluation import against, alone
from geosr.evaluation.contract import common_part, faults, fit_of
from geosr.evaluation.meaning import MEANINGS, OF_MODELS
from geosr.evaluation.measuring import Measuring, ground_of, same_bands
from geosr.evaluation.patches import SIDE, Layer
from geosr.evaluation.sums import Sums
from geosr.io.scene import Scene, open_scene
from geosr.io.source import close as close_files
from geosr.keywords import check_kinds, keywords
from geosr.models.threads import prepare_process
from geosr.pipeline import cores, run
from geosr.products import open_source, read_product
from geosr.run import Progress
from geosr.tiling import Tile, TilePlan

_TILE = 256
"""Side of a tile, input pixels."""


class Figure(TypedDict):
    """One figure."""

    all: float
    """Of all bands: what a gate looks at."""
    bands: list[float]
    """One a band; empty where the bands are looked at together."""


class Evaluation(TypedDict):
    """The figures of a result. What they mean, and what is good, stands in docs/figures.md."""

    path: str
    lr: str
    hr: str | None
    scale: int
    bands: list[str]
    pixels: int
    """Of the result that were looked at."""
    figures: dict[str, Figure]
    spectrum: dict[str, list[float]]
    """By frequency, beside a reference; empty without one."""
    classes: dict[str, list[float]]
    """Of the ground's classes by k-means: share and RMSE; empty without a reference."""
    warnings: list[str]


class Validation(TypedDict):
    """The contract of a result with its input, kept or not."""

    path: str
    source: str
    valid: bool
    findings: list[str]
    """What it doesn't keep, one line each."""


@keywords()
def evaluate(
    sr: str | Path,
    hr: str | Path | None = None,
    *,
    lr: str | Path,
    guide: str | Path | None = None,
    bands: Sequence[int | str] | None = None,
    mtf: float | Sequence[float] | None = None,
    tile: int | None = None,
    workers: int | None = None,
    scheduler: str | Path | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> Evaluation:
    """The figures of a result beside its input, and beside a reference where there is one.

    Values are stored numbers times scale plus offset. Everything is measured on squares of 128 input pixels, so no
    figure depends on the tiles, and memory is bounded.

    Parameters
    ----------
    sr, lr
        The result and its input; what both cover is looked at.
    hr
        What the ground looks like with the result's pixels, on its grid.
    guide
        A raster on the result's grid that detail was taken from, for the indices that ask for one.
    bands
        Of the result, numbers counted from 1 or names; all that are measured by default.
    mtf
        The input's modulation transfer at Nyquist, as `upscale` takes it.
    tile
        Side of a tile, input pixels, rounded up to whole squares.
    workers, scheduler, client, progress
        As `upscale` takes them.

    Raises
    ------
    geosr.errors.InputError
        The rasters don't fit each other, or an option is at fault.
    """
    result = open_scene(sr, bands=bands)
    others = {"lr": source_of(lr, result.names), "hr": hr and open_scene(hr), "guide": guide and open_scene(guide)}
    report, _ = measured(
        result,
        {name: scene for name, scene in others.items() if scene},
        mtf=mtf,
        tile=tile,
        workers=workers,
        scheduler=scheduler if client is None else client,
        progress=progress,
    )
    return Evaluation({**report, "path": str(sr), "lr": str(lr), "hr": None if hr is None else str(hr)})


def measured(
    result: Scene,
    others: Mapping[str, Scene],
    *,
    mtf: float | Sequence[float] | None = None,
    tile: int | None = None,
    workers: int | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Sums]:
    """The figures of a result and the sums they are of; `others` are "lr", and perhaps "hr" and "guide".

    Parameters and errors as of `evaluate`.
    """
    check_kinds(workers=workers, tile=tile)
    stop_where_imported(scheduler)
    job, names = measuring(result, others, mtf=mtf, tile=tile)
    with prepare_process():
        try:
            sums = _summed(job, workers or cores(), scheduler, progress)
        finally:
            close_files()
    return _report(job, sums, names), sums


def measuring(
    result: Scene, others: Mapping[str, Scene], *, mtf: float | Sequence[float] | None = None, tile: int | None = None
) -> tuple[Measuring, list[str]]:
    """The work that `measured` does of tiles, and the names of the bands that it is done of."""
    some = [number for number, band in enumerate(result.sensor.bands) if not band.categorical]
    if not some:
        raise InputError(f"{result.name} has no band that is measured; there is nothing to evaluate")
    return _job(result, some, others, mtf, tile or _TILE), [result.names[number] for number in some]


def source_of(path: str | Path, names: Sequence[str]) -> Scene:
    """The scene of a raster, or of those bands of a product that have these names."""
    return open_scene(path) if read_product(path) is None else open_source(path, bands=list(names))


def validate(out: str | Path, *, against: str | Path) -> Validation:
    """The findings on a result: whatever it doesn't keep of the grid, numbers and metadata of its input.

    Values are compared in fixed windows. Raises `InputError` for rasters that can't be opened.
    """
    result = open_scene(out)
    source = source_of(against, result.names)
    found = list(dict.fromkeys(faults(result, source, same_bands(result, source))))
    close_files()
    return Validation(path=str(out), source=str(against), valid=not found, findings=found)


def gates(figures: Mapping[str, float], least: Mapping[str, float], most: Mapping[str, float]) -> list[str]:
    """A line for each figure that is below its least, or whose size is above its most; one that is NaN is both.

    Raises `InputError` for a name that is none of the figures.
    """
    lines = []
    for bounds, words in ((most, "more than"), (least, "less than")):
        for name, bound in bounds.items():
            if name not in figures:
                raise InputError(f"there is no figure {name!r} here; there are {', '.join(figures)}")
            value = figures[name]
            if not (abs(value) <= bound if bounds is most else value >= bound):
                lines.append(f"{name} is {value:.6g}, {words} {bound:g}")
    return lines


@dataclass(slots=True)
class _Sink:
    """Adds up the sums of tiles in the order of tiles, whichever is done first: the last digit is always the same."""

    total: Sums
    next: int
    early: dict[int, Sums]
    encoder: Any = None
    """Sums come as they are."""

    def done(self) -> frozenset[int]:
        """No tile: nothing is kept of an earlier run."""
        return frozenset()

    def append(self, tile: Tile, encoded: Any) -> None:
        """Adds a tile's sums, in the order of tiles."""
        self.early[tile.index] = encoded
        while self.next in self.early:
            self.total += self.early.pop(self.next)
            self.next += 1


def _summed(job: Measuring, workers: int, scheduler: Any, progress: Progress | None) -> Sums:
    sink = _Sink(Sums(), 0, {})
    pixels = 0
    with (
        pool_for(scheduler, workers, job) as pool,
        closing(run(job, job.plan, sink, pool.executor, lambda: pool.ahead)) as finished,
    ):
        for count, done in enumerate(finished, 1):
            pixels += done.core.size * len(job.responses)
            if progress:
                progress(count, len(job.plan), pixels)
    return sink.total


def _job(result: Scene, measured: Sequence[int], others: Mapping[str, Scene], mtf: Any, tile: int) -> Measuring:
    fits = {name: fit_of(result, scene) for name, scene in others.items()}
    scale = fits["lr"].scale
    for name, fit in fits.items():
        if (fit.scale > 1) != (name == "lr"):
            found, wanted = (f"{fit.scale} times ", "the same") if fit.scale > 1 else ("", "larger ones of an input")
            raise InputError(f"{others[name].name} has pixels {found}as large as {result.name}'s; expected {wanted}")
    shapes = {fit: others[name].shape for name, fit in fits.items()}
    part = common_part(result.shape, fits["lr"], shapes)
    if not part.size:
        raise InputError(f"{result.name} and {others['lr'].name} don't overlap by one whole pixel of the input")

    def layer(name: str, bands: Sequence[int]) -> Layer:
        """Bands of a raster where both begin."""
        begins, fit = (part.row, part.col), fits[name]
        row, col = ((first - off) // fit.scale for first, off in zip(begins, fit.corner, strict=True))
        return Layer.of(others[name], bands, (row, col))

    known = others["lr"].sensor.given(mtf, None)
    bands = {name: _bands(result, measured, others[name]) for name in ("lr", "hr") if name in others}
    hr = layer("hr", bands["hr"]) if "hr" in others else None
    observed = [known.bands[band] for band in bands["lr"]]
    return Measuring(
        plan=TilePlan(part.height // scale, part.width // scale, -(-tile // SIDE) * SIDE, scale),
        sr=Layer.of(result, measured, (part.row, part.col), [band.zero for band in observed]),
        lr=layer("lr", bands["lr"]),
        hr=hr,
        guide=layer("guide", range(len(others["guide"].names))) if "guide" in others else None,
        responses=tuple(band.response.relative(scale) for band in observed),
        ground=None if hr is None else ground_of(hr, (part.height, part.width), observed),
    )


def _bands(result: Scene, measured: Sequence[int], other: Scene) -> list[int]:
    found = same_bands(result, other)
    if not found:
        raise InputError(
            f"{other.name} has {len(other.names)} bands and {result.name} {len(result.names)}, and their names don't "
            "tell which are the same; choose them with --bands"
        )
    return [found[number] for number in measured]


def _report(job: Measuring, sums: Sums, names: list[str]) -> Evaluation:
    found = alone.figures(sums, job.plan.scale, job.lr.counts)
    if job.ground is not None and job.hr is not None:
        found |= against.figures(sums, job.plan.scale, job.ground)
    if job.guide is not None:
        found["d_rho"] = [1.0 - each for each in alone.each(sums["guide"], sums["guided"])]
        found["qnr"] = (1 - float(found["d_lambda"])) * (1 - _of_all("mean", found["d_rho"]))  # type: ignore[arg-type]
    figures = {name: _figure(MEANINGS[name].worst, found[name]) for name in MEANINGS if name in found}
    return Evaluation(
        path="",
        lr="",
        hr=None,
        scale=job.plan.scale,
        bands=names,
        pixels=sums["pixels"],
        figures=figures,
        spectrum=against.spectrum(sums),
        classes=against.by_class(sums) if "class_counts" in sums else {},
        warnings=_warnings(sums, figures, names, job.plan.scale),
    )


def _figure(how: str, value: float | list[float]) -> Figure:
    bands = value if isinstance(value, list) else []
    return Figure(all=_of_all(how, bands) if bands else float(value), bands=bands)  # type: ignore[arg-type]


def _of_all(how: str, bands: Sequence[float]) -> float:
    """The figure that stands for all bands; those that couldn't be measured are left out."""
    told = [value for value in bands if not math.isnan(value)]
    if not told:
        return math.nan
    if how == "most":
        return max(told, key=abs)
    if how == "rms":
        return math.sqrt(sum(value * value for value in told) / len(told))
    return sum(told) / len(told)


def _warnings(sums: Sums, figures: Mapping[str, Figure], names: Sequence[str], scale: int) -> list[str]:
    """Lines that a reader shouldn't miss: detectors that fired."""
    lines = []
    if not sums["pixels"]:
        lines.append("no pixel is data in all of the rasters")
    for axis, word in enumerate(("row", "column")):
        ratios, places = alone.seams(sums, axis, scale)
        for name, ratio, place in zip(names, ratios, places, strict=True):
            if ratio > 1.0 and not math.isnan(figures["seam"]["bands"][names.index(name)]):
                lines.append(f"{name}: steps before {word} {place} are {ratio:.2f} times those beside it: a seam?")
    for name, (bound, words) in _FIRES.items():
        if name in figures and figures[name]["all"] > bound:
            lines.append(f"{name} is {figures[name]['all']:.3g}: {words}")
    return lines


_FIRES = {
    "shift": (0.1, "the result lies off its input"),
    "lattice": (1.5, "a pattern repeats with the input's pixels"),
    "ringing": (0.1, "edges overshoot"),
    "saturation": (0.001, "numbers are cut off"),
    "mask_lost": (0.0, "data got lost"),
    "mask_invented": (0.0, "there is data where the input has none"),
}


def bound_of(text: str) -> tuple[str, float]:
    """A figure's name and a number, of NAME=VALUE. Raises `InputError` for another text, or no figure's name."""
    name, _, number = text.partition("=")
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", number):
        raise InputError(f"{text!r} is not NAME=VALUE, such as rmse=0.01")
    known = [*MEANINGS, *OF_MODELS]
    if name not in known:
        near = get_close_matches(name, known, 1)
        told = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise InputError(f"there is no figure {name!r}; {told}")
    return name, float(number)
