"""Pairs of scenes that two sensors saw of one place, made comparable: matched, registered, harmonised or rejected."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import GeosrError, InputError
from geosr.models.degradation import degrade
from geosr.noise import Noise, noise_of
from geosr.response import Response
from geosr.training.ground import Ground
from geosr.training.patches import contrast_of
from geosr.training.rasters import Notes, find, open_rasters, read_pixels
from geosr.training.recipe import Group, PairFiles

Floats = NDArray[np.float32]

MTFS = tuple(np.round(np.arange(0.06, 0.56, 0.04), 2).tolist())
"""Blurs that are tried, of which the one that explains a pair best is told to the network."""
FEWEST = 32
"""Side that a pair has at least, input pixels."""
TURNS = 3
"""Times that shift and blur are found anew, each from what the last left."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One band of one place; the reference is in register and in the units of the input."""

    name: str
    lr: Floats
    """(h, w), NaN where invalid."""
    hr: Floats
    """(h * scale, w * scale), NaN where invalid."""
    response: Response
    """That with which the reference explains the input best."""
    noise: Noise
    """The input's."""
    contrast: float
    """Of the reference, as of a `Plane`."""
    ground: Ground | None = None
    """What the reference shows; None where that isn't known."""
    block: int = 1
    """Pixels of the reference each way of which only the mean is known."""
    weight: float = 1.0
    """Of an input pixel when patches are drawn."""


def load_pairs(files: PairFiles, root: str, scale: int) -> tuple[list[Pair], tuple[str, ...]]:
    """All pairs that hold up, band by band, and a line for every rejection with its reason.

    Raises `InputError` where none does.
    """
    notes = Notes()
    pairs: list[Pair] = []
    for name, lr, hr in _matched(files, root, notes):
        try:
            (sharp, ground), (coarse, _) = _read(hr), _read(lr)
            made = _made(name, coarse, sharp, scale, files, notes)
            pairs += [replace(pair, ground=ground) for pair in made]
        except GeosrError as error:
            notes.add("pairs rejected", f"{name} ({error})")
    lines = notes.lines()
    if not pairs:
        raise InputError(f"no pair of {files.lr} and {files.hr} can be used; {'; '.join(lines)}")
    return pairs, (f"{len(pairs)} bands of {len({pair.name for pair in pairs})} places in pairs", *lines)


def harmonise(lr: Floats, hr: Floats, scale: int, files: PairFiles) -> tuple[Floats, float]:
    """The reference in register and in the units of the input, and the MTF of the blur between both.

    The reference is degraded, its offset from the input found by phase correlation and taken away, and gain and offset
    fitted by a regression that outliers have little say in (Huber's weights): clouds and changes on the ground are
    outliers. Raises `InputError` for a pair that is too far out of register or doesn't correlate.
    """
    moved, mtf, total = hr, 0.25, np.zeros(2)
    for _ in range(TURNS):
        coarse = _degraded(moved, mtf, scale)
        total = total + scale * np.array(_offset(lr, coarse))
        if np.abs(total).max() > files.largest_shift * scale:
            down, right = total / scale
            raise InputError(f"{down:+.1f} down and {right:+.1f} right out of register, in input pixels")
        moved = _shifted(hr, total)
        mtf = min(MTFS, key=lambda value: _regression(_degraded(moved, value, scale), lr).misfit)
    fit = _regression(_degraded(moved, mtf, scale), lr)
    gain, offset, alike = fit.gain, fit.offset, fit.correlation
    if not alike >= files.correlation:
        raise InputError(f"correlation {alike:.2f} once in register, below {files.correlation:g}")
    return (moved * np.float32(gain) + np.float32(offset)).astype(np.float32), mtf


def _made(
    name: str, coarse: Sequence[Floats], sharp: Sequence[Floats], scale: int, files: PairFiles, notes: Notes
) -> list[Pair]:
    if len(coarse) != len(sharp):
        raise InputError(f"{len(coarse)} bands and {len(sharp)} in the reference")
    height, width = (min(a, b // scale) for a, b in zip(coarse[0].shape, sharp[0].shape, strict=True))
    wanted = tuple(side * scale for side in coarse[0].shape)
    if any(abs(found - side) > scale for found, side in zip(sharp[0].shape, wanted, strict=True)):
        raise InputError(f"a reference of {_size(sharp[0].shape)}, expected {_size(wanted)} at x{scale}")
    if min(height, width) < FEWEST:
        raise InputError(f"{_size(coarse[0].shape)} pixels, at least {FEWEST} x {FEWEST} are needed")
    pairs = []
    for number, (lr, hr) in enumerate(zip(coarse, sharp, strict=True), 1):
        try:
            lr, hr = lr[:height, :width], hr[: height * scale, : width * scale]
            fitted, mtf = harmonise(lr, hr, scale, files)
            contrast = contrast_of(fitted)
            if contrast <= 0:
                raise InputError("no detail")
            noise, _ = noise_of([lr.astype(np.float64)])
            pairs.append(Pair(name, lr, fitted, Response.gaussian(mtf), noise, contrast))
        except InputError as error:
            notes.add("pairs rejected", f"{name} band {number} ({error})")
    return pairs


def _matched(files: PairFiles, root: str, notes: Notes) -> list[tuple[str, Path, Path]]:
    """Name, input and reference of each pair. Raises `InputError` for patterns without a wildcard."""
    coarse, sharp = (_named(pattern, root) for pattern in (files.lr, files.hr))
    for name in sorted(coarse.keys() ^ sharp.keys()):
        path = coarse.get(name) or sharp[name]
        notes.add("without a partner of the same name", path.name)
    return [(name, coarse[name], sharp[name]) for name in sorted(coarse.keys() & sharp.keys())]


def _named(pattern: str, root: str) -> dict[str, Path]:
    """Files by what the pattern's wildcards stand for in their paths."""
    if "*" not in pattern:
        raise InputError(f'[pairs] {pattern!r} has no *, by which pairs are matched; such as "lr/*.tif"')
    parts = re.split(r"(\*\*/|\*|\?)", pattern)
    texts = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}
    expression = re.compile("".join(texts.get(part, re.escape(part)) for part in parts) + "$")
    paths = find(Group((pattern,)), root)
    found = ((expression.search(path.as_posix()), path) for path in paths)
    return {"/".join(match.groups()).replace("//", "/"): path for match, path in found if match}


def _read(path: Path) -> tuple[list[Floats], Ground | None]:
    notes = Notes()
    rasters = open_rasters([path], Group((str(path),)), notes)
    if not rasters:
        raise InputError("; ".join(notes.lines()) or f"{path.name} has no band to use")
    return [band.astype(np.float32) for band in read_pixels(rasters[0], rasters[0].part)], rasters[0].ground


def _degraded(hr: Floats, mtf: float, scale: int) -> Floats:
    """(h, w); NaN where any pixel under the blur is."""
    seen: Floats = degrade(torch.from_numpy(np.ascontiguousarray(hr))[None, None], Response.gaussian(mtf), scale)[
        0, 0
    ].numpy()
    return seen


def _offset(lr: Floats, coarse: Floats) -> tuple[float, float]:
    """The shift (down, right), pixels, that moves `coarse` onto `lr`: phase correlation (Kuglin and Hines 1975), its
    peak refined by the slope of the phase (Stone et al. 2001)."""
    from geosr.evaluation.metrics import shift

    one, other = _without_outliers(lr), _without_outliers(coarse)
    window = np.hanning(one.shape[0])[:, None] * np.hanning(one.shape[1])[None]
    spectrum = np.fft.fft2(one * window) * np.conj(np.fft.fft2(other * window))
    peak = np.fft.ifft2(spectrum / np.maximum(np.abs(spectrum), 1e-12)).real
    place = np.unravel_index(int(peak.argmax()), peak.shape)
    down, right = (int(at) - side * (at > side // 2) for at, side in zip(place, peak.shape, strict=True))
    near = np.roll(other, (down, right), (0, 1))
    cut = np.s_[abs(down) : len(one) - abs(down), abs(right) : one.shape[1] - abs(right)]
    if min(one[cut].shape) < 8:
        return float(down), float(right)
    rest = shift(one[cut], near[cut])
    return down + float(np.clip(rest[0], -0.75, 0.75)), right + float(np.clip(rest[1], -0.75, 0.75))


def _shifted(hr: Floats, by: NDArray[np.float64]) -> Floats:
    """`hr` moved down and right by pixels of its own, by cubic splines; NaN where nothing is known."""
    from scipy import ndimage

    known = np.isfinite(hr)
    moved = ndimage.shift(_filled(hr), by, order=3, mode="nearest")
    there = ndimage.shift(known.astype(np.float32), by, order=1, mode="constant", cval=0.0)
    return np.where(there > 0.999, moved, np.nan).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Fit:
    """y = gain x + offset."""

    gain: float
    offset: float
    correlation: float
    """Of both, outliers weighing less; 0 where next to nothing is known."""
    misfit: float
    """Median absolute difference."""


def _regression(x: Floats, y: Floats) -> _Fit:
    """Least squares weighted again and again, so that outliers weigh less (Huber 1964)."""
    known = np.isfinite(x) & np.isfinite(y)
    a, b = x[known].astype(np.float64), y[known].astype(np.float64)
    if len(a) < FEWEST:
        return _Fit(0.0, 0.0, 0.0, math.inf)
    weight = np.ones_like(a)
    for _ in range(8):
        mean_a, mean_b = np.average(a, weights=weight), np.average(b, weights=weight)
        powers = [float((weight * p * q).sum()) for p, q in ((a - mean_a, a - mean_a), (a - mean_a, b - mean_b))]
        gain = powers[1] / powers[0] if powers[0] > 0 else 0.0
        offset = float(mean_b - gain * mean_a)
        error = np.abs(b - gain * a - offset)
        middle = float(np.median(error))
        weight = np.minimum(1.0, 1.345 * 1.4826 * middle / np.maximum(error, 1e-12) + 1e-12)
    size = math.sqrt(powers[0] * float((weight * (b - mean_b) ** 2).sum()))
    return _Fit(gain, offset, min(1.0, powers[1] / size) if size > 0 else 0.0, middle)


def _filled(image: Floats) -> NDArray[np.float64]:
    """Unknown pixels get the mean, which has no phase; less the mean."""
    values = image.astype(np.float64)
    values -= np.nanmean(values) if np.isfinite(values).any() else 0.0
    return np.nan_to_num(values, nan=0.0)


def _without_outliers(image: Floats) -> NDArray[np.float64]:
    """`_filled`, with clouds and glints cut to the median: else their edges would be what is registered."""
    values = _filled(image)
    values -= np.median(values)
    limit = 4.0 * 1.4826 * float(np.median(np.abs(values)))
    return np.where(np.abs(values) <= limit, values, 0.0) if limit > 0 else values


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
