"""A result beside its input: what can be said of it without a reference.

`alone` sums up one square, `figures` reads the sums of all. Figures are lists, one number a band, or single numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.consistency import residual
from geosr.evaluation.indices import q2n_sums
from geosr.evaluation.metrics import lattice_of, lattice_sums, power_beyond, shift_of, shift_sums
from geosr.evaluation.patches import Patch
from geosr.evaluation.sums import Doubles, Extremes, Profile, Sums, size_counts, size_quantile
from geosr.response import Response
from geosr.upscaler import repeated
from geosr.window import Window

Figures = dict[str, float | list[float]]

GROUP = 32
"""Input pixels along a join that are looked at together: what crosses it there has one vote."""
_BESIDE = (-4, -3, -2, -1, 1, 2, 3, 4)
"""Input pixels from a join where else steps are looked at."""
_MOST = math.log(2.0)
"""What one vote counts at most: an edge of a field may lie on a join."""
_CHANCE, _GROUND = 5.0, 0.35
"""Standard deviations of the profile that chance reaches, and the mean of votes that a road or a shore does."""
_COUNTS = 8.0
"""Stored numbers that a band has to vary by, as a standard deviation, for detectors to see more than rounding."""
_EDGES = 0.9
"""Share of a square's pixels that are no edges, by the contrast of their neighbourhood."""


def alone(patch: Patch, responses: Sequence[Response], *, spectra: bool) -> Sums:
    """The sums of a square: `responses` are relative to the result; `spectra` where transforms are taken of it."""
    fine, coarse = patch.inner(patch.known), patch.known_lr[patch.core.slices]
    known, input_known = patch.inner(patch.known_sr), repeated(coarse, patch.scale)
    sums = Sums(pixels=int(fine.sum()), seen=int(known.sum()), seen_lr=int(coarse.sum()))
    sums["lost"] = int((input_known & ~known).sum())
    sums["invented"] = int((known & ~input_known).sum())
    lr = patch.lr[:, *patch.core.slices][:, coarse]
    sums["levels"] = np.stack([lr.sum(1), (lr * lr).sum(1)])
    sums["extremes"] = Extremes.of(patch.inner(patch.sr)[:, known])
    sums["extremes_lr"] = Extremes.of(lr)
    sums += _round_trip(patch, responses)
    sums += _ringing(patch)
    for axis in (0, 1):
        sums[f"seam{axis}"] = _seam(patch.sr, patch.known_sr, patch.fine, patch.at, patch.scale, axis)
        sums[f"ground{axis}"] = _seam(patch.lr, patch.known_lr, patch.core, patch.at, 1, axis)
    return sums + (_spectra(patch) if spectra and patch.whole else Sums())


def _round_trip(patch: Patch, responses: Sequence[Response]) -> Sums:
    """The difference of the result, degraded as the sensor does it, from the input."""
    valid = patch.known_lr & patch.known_sr.reshape(*_blocks(patch)).all((1, 3))
    bands = list(zip(patch.sr, patch.lr, responses, strict=True))
    found = [residual(sr, lr, response, valid) for sr, lr, response in bands]
    seen = np.logical_and.reduce([own[patch.core.slices] for _, own in found])
    errors = np.stack([error[patch.core.slices][seen] for error, _ in found])
    lr = patch.lr[:, *patch.core.slices][:, seen]
    sums = Sums(
        trip=np.abs(errors).sum(1),
        trip_bias=errors.sum(1),
        trip_sizes=np.stack([size_counts(error) for error in errors]),
        trip_pixels=int(seen.sum()),
    )
    sums["trip_angle"], sums["trip_angles"] = angles(lr + errors, lr)
    full = patch.lr[:, *patch.core.slices]
    degraded = full + np.stack([error[patch.core.slices] for error, _ in found])
    sums["khan"] = q2n_sums(full, degraded, valid[patch.core.slices])
    return sums


def _blocks(patch: Patch) -> tuple[int, int, int, int]:
    rows, cols = patch.known_lr.shape
    return rows, patch.scale, cols, patch.scale


def angles(estimate: Doubles, reference: Doubles) -> tuple[float, int]:
    """The sum of the angles between spectra, degrees, of (bands, pixels) (Kruse et al. 1993), and their number.

    Pixels where either is zero have none.
    """
    lengths = np.linalg.norm(estimate, axis=0) * np.linalg.norm(reference, axis=0)
    some = lengths > 0
    cosine = (estimate * reference).sum(0)[some] / lengths[some]
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).sum()), int(some.sum())


def _ringing(patch: Patch) -> Sums:
    """The distance by which the result leaves the range of the input's neighbourhood, at the edges of the square."""
    from scipy import ndimage

    size = 1, 3, 3
    filters = ndimage.minimum_filter, ndimage.maximum_filter
    least, most = (extreme(patch.lr, size=size, mode="nearest") for extreme in filters)
    contrast = (most - least)[:, *patch.core.slices]
    bounds = np.quantile(contrast, _EDGES, axis=(1, 2), keepdims=True)
    edges = (contrast >= bounds) & (contrast > 0) & patch.known_lr[patch.core.slices]
    inner = least[:, *patch.core.slices], most[:, *patch.core.slices], edges
    low, high, at = (repeated(part, patch.scale) for part in inner)
    sr = patch.inner(patch.sr)
    excess = np.maximum(0.0, np.maximum(sr - high, low - sr))
    inside = at & patch.inner(patch.known)
    return Sums(excess=(excess * inside).sum((1, 2)), contrast=((high - low) * inside).sum((1, 2)))


def _seam(values: Doubles, known: NDArray[np.bool_], core: Window, at: Window, s: int, axis: int) -> Profile:
    """The logarithm of the step across each position along an axis, over that of steps input pixels beside it.

    `core` is the square in the arrays, whose pixels are `s` times as fine as those that `at` counts in.

    A step is how much a pixel and the next differ beyond what their neighbours go on by. Votes are of `GROUP` input
    pixels along the join, so that it takes many to make a seam.
    """
    values = values if axis else values.swapaxes(1, 2)
    along, across = (core.row, core.col) if axis else (core.col, core.row)
    length, width = (core.height, core.width) if axis else (core.width, core.height)
    known = known if axis else known.T
    step = np.diff(values, axis=2)
    bend = np.abs(step[:, :, 1:-1] - (step[:, :, :-2] + step[:, :, 2:]) / 2)  # [j]: between pixels j + 1 and j + 2
    place = (at.col if axis else at.row) * s
    votes = np.zeros((2, len(values), width))
    columns = across - 2 + np.arange(width)
    inside = (columns + s * _BESIDE[0] >= 0) & (columns + s * _BESIDE[-1] < bend.shape[2])
    for start in range(along, along + length, GROUP * s):
        rows = slice(start, min(start + GROUP * s, along + length))
        if not known[rows].all() or not inside.any():
            continue
        mean = bend[:, rows].mean(1)
        least = 1e-3 * mean.mean(1, keepdims=True) + 1e-30
        beside = np.median([mean[:, columns[inside] + s * off] for off in _BESIDE], axis=0)
        votes[0][:, inside] += np.clip(np.log((mean[:, columns[inside]] + least) / (beside + least)), -_MOST, _MOST)
        votes[1][:, inside] += 1.0
    return Profile(place, votes[0], votes[1])


def _spectra(patch: Patch) -> Sums:
    scale, sr = patch.scale, patch.inner(patch.sr)
    down = sr.reshape(len(sr), patch.core.height, scale, patch.core.width, scale).mean((2, 4))
    lr = patch.lr[:, *patch.core.slices]
    sums = Sums(beyond=np.array([power_beyond(band, scale) for band in sr]))
    sums["shift"] = np.stack([shift_sums(*pair) for pair in zip(down, lr, strict=True)])
    for period in periods(scale):
        sums[f"lattice{period}"] = np.stack([lattice_sums(band, period) for band in sr])
    return sums


def periods(scale: int) -> list[int]:
    """Those that a lattice of a network may have: the scale's divisors."""
    return [each for each in range(2, scale + 1) if scale % each == 0]


def figures(sums: Sums, scale: int, counts: Sequence[float]) -> Figures:
    """The figures of all squares' sums. NaN where nothing could be measured.

    `counts` is the value of one stored number a band, 0 of floats. Of bands that vary by a few counts alone, rounding
    is all that detectors see: they have none.
    """
    found = _told(sums, scale)
    mean, square = sums["levels"] / max(1, sums["seen_lr"])
    dull = np.sqrt(np.maximum(square - mean**2, 0.0)) < _COUNTS * np.asarray(counts)
    for name in {"shift", "lattice", "ringing", "seam"} & found.keys():
        bands = found[name]
        assert isinstance(bands, list)
        found[name] = [math.nan if no else value for no, value in zip(dull, bands, strict=True)]
    return found


def _told(sums: Sums, scale: int) -> Figures:
    trip = sums["trip_pixels"]
    found: Figures = {
        "round_trip": each(sums["trip"], trip),
        "round_trip_p99": [size_quantile(counts, 0.99) for counts in sums["trip_sizes"]],
        "round_trip_bias": each(sums["trip_bias"], trip),
        "spectral_angle": ratio(sums["trip_angle"], sums["trip_angles"]),
        "ringing": each(sums["excess"], sums["contrast"]),
        "saturation": _saturation(sums),
        "seam": [max(sides) for sides in zip(*(seams(sums, axis, scale)[0] for axis in (0, 1)), strict=True)],
        "mask_lost": ratio(sums["lost"], sums["seen_lr"] * scale**2),
        "mask_invented": ratio(sums["invented"], sums["seen"]),
        "d_lambda": 1.0 - ratio(*sums["khan"]),
    }
    if "shift" in sums:
        found |= _of_spectra(sums, scale)
    return found


def _of_spectra(sums: Sums, scale: int) -> Figures:
    shifts = [shift_of(each) for each in sums["shift"]]
    down, right = shift_of(sums["shift"].sum(0))
    lattices = [[lattice_of(power, period) for power in sums[f"lattice{period}"]] for period in periods(scale)]
    return {
        "shift": [math.hypot(*each) for each in shifts],
        "shift_down": down,
        "shift_right": right,
        "beyond_nyquist": each(*sums["beyond"].T),
        "lattice": [max(own) for own in zip(*lattices, strict=True)],
    }


def seams(sums: Sums, axis: int, scale: int) -> tuple[list[float], list[int]]:
    """Of each band the worst seam along an axis, as a ratio of steps, and its position.

    1 where none stands out from what chance and the ground explain. Chance is measured by how the profile scatters;
    steps that the input has itself within a pixel of there, such as of its own joins, are the ground's.
    """
    ratios, places = [], []
    profile: Profile = sums[f"seam{axis}"]
    own = _own(profile, sums[f"ground{axis}"], scale)
    for mean, count, ground in zip(profile.mean, profile.count, own, strict=True):
        told = np.flatnonzero(count >= max(2.0, count.max(initial=0.0) / 2))
        some = (mean - ground)[told]
        if some.size < 8:
            ratios.append(math.nan)
            places.append(0)
            continue
        scatter = 1.4826 * float(np.median(np.abs(some - np.median(some))))
        # The lines beside a clear join are bent by it, too: of those that vote as much the middle one.
        first = last = int(np.argmax(some))
        clear = mean[told] > mean[told][first] - 1e-9
        while first > 0 and clear[first - 1]:
            first -= 1
        while last + 1 < len(clear) and clear[last + 1]:
            last += 1
        worst = (first + last) // 2
        told_apart = float(some[worst]) > max(_CHANCE * scatter, _GROUND)
        ratios.append(math.exp(float(some[worst])) if told_apart else 1.0)
        places.append(profile.start + int(told[worst]))
    return ratios, places


def _own(profile: Profile, ground: Profile, scale: int) -> Doubles:
    """The input's own steps at the positions of a result's profile: the largest within a pixel, 0 at least."""
    known = np.pad(np.nan_to_num(ground.mean), ((0, 0), (1, 1)))
    largest = np.maximum(np.maximum(known[:, :-2], known[:, 1:-1]), known[:, 2:]).clip(0.0)
    at = (profile.start + np.arange(profile.total.shape[1])) // scale - ground.start
    return np.asarray(largest[:, at.clip(0, largest.shape[1] - 1)])


def _saturation(sums: Sums) -> list[float]:
    """The share of a band's pixels that have its least or largest number, beyond the input's share."""
    shares = []
    for of in ("", "_lr"):
        ends: Extremes = sums[f"extremes{of}"]
        many = np.where(ends.most > ends.least, ends.least_count + ends.most_count, 0.0)
        shares.append(many / max(1, sums[f"seen{of}"]))
    return [max(0.0, float(share)) for share in shares[0] - shares[1]]


def each(totals: NDArray[np.floating], counts: NDArray[np.floating] | int) -> list[float]:
    """Totals over counts, one a band; NaN where nothing was counted."""
    return [ratio(total, count) for total, count in zip(totals, np.broadcast_to(counts, totals.shape), strict=True)]


def ratio(total: float, count: float) -> float:
    """A total over a count; NaN where nothing was counted."""
    return float(total) / float(count) if count else math.nan
