"""Fits the response of products to natural pairs: bands of one platform at one moment, one with pixels twice as fine.

    python scripts/fit_response.py DATA_ROOT

Only places that `recipes/natural.toml` gives for fitting are used. In every patch the cross-spectrum of coarse and fine
band over the power spectrum of the fine one is what is left of a wave of the fine band in the coarse one, once the
shift between both is taken off. It is averaged over patches, each with the same weight, for frequencies along either
axis, and the family of `geosr.response` is fitted: the variance of optics and motion along y and x, as if the finer
band were made by the same kind of sensor (`Response.relative`). Intervals are those of a bootstrap over places. Detail
that only one band shows counts as noise of the fine band and makes the response a little lower than it is.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from geosr.evaluation.natural import Judge, Pair, mixed
from geosr.evaluation.natural_pairs import natural_pairs
from geosr.response import Interpolation, Response

Doubles = NDArray[np.float64]

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "natural.toml"
SIDE = 60
"""Of a patch, coarse pixels."""
EDGES = np.arange(0.04, 0.50, 0.05)
FREQUENCIES = (EDGES[:-1] + EDGES[1:]) / 2
NARROW = 0.08
"""Frequency along the other axis up to which a wave counts as one along an axis."""
COHERENT = 0.9
"""Coherence of the lowest frequencies below which a patch shows something else in either band."""
FAMILY: tuple[Interpolation, ...] = ("none", "linear", "cubic", "spline")
DRAWS = 200


def main(root: str) -> None:
    """Prints a row a band and axis for each member of the family."""
    groups: dict[tuple[str, str], list[tuple[str, Doubles]]] = defaultdict(list)
    for pair in natural_pairs(root, RECIPE):
        if pair.kept == "fit" and pair.ratio == 2 and not Judge(pair, 2).unfit:
            sensor = "OLI" if pair.product.gsd == 30 else "MSI"
            groups[sensor, pair.bands] += [(pair.place, each) for each in spectra(pair)]
    print("| pair | places | patches | axis | interpolation | variance | of the sensor at Nyquist | relative | rms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for (sensor, bands), patches in groups.items():
        for axis, name in enumerate("yx"):
            for kind in FAMILY:
                print(
                    row(f"{sensor} {bands}", name, kind, [(place, each[axis]) for place, each in patches]), flush=True
                )


def row(pair: str, axis: str, kind: Interpolation, patches: list[tuple[str, Doubles]]) -> str:
    """A line of the table."""
    places = sorted({place for place, _ in patches})
    variance, rms = fitted(np.sum([each for _, each in patches], 0), kind)
    random = np.random.default_rng(0)
    by_place = {place: np.sum([each for name, each in patches if name == place], 0) for place in places}
    draws = [
        fitted(np.sum([by_place[places[i]] for i in random.integers(len(places), size=len(places))], 0), kind)[0]
        for _ in range(DRAWS if len(places) > 1 else 0)
    ]
    low, high = np.quantile(draws, (0.025, 0.975)) if draws else (np.nan, np.nan)
    response = Response((variance, variance), True, kind)
    sensor = Response((variance, variance), True).mtf
    return (
        f"| {pair} | {len(places)} | {len(patches)} | {axis} | {kind} | {variance:.3f} [{low:.3f}, {high:.3f}] | "
        f"{sensor:.2f} | {response.relative(2).mtf:.2f} | {rms:.3f} |"
    )


def fitted(sums: Doubles, kind: Interpolation) -> tuple[float, float]:
    """The variance that fits sums of cross and power spectra (2, frequencies) best, and what is left, rms."""
    seen = sums[0] / sums[1]

    def misfit(variance: float) -> float:
        known = Response((variance, variance), True, kind).relative(2).at(FREQUENCIES)[0]
        return float(((known - seen) ** 2).mean())

    found = minimize_scalar(misfit, bounds=(-0.2, 0.6), method="bounded")
    return float(found.x), float(np.sqrt(found.fun))


def spectra(pair: Pair) -> list[Doubles]:
    """Of each patch that both bands see alike: sums of cross and power spectrum, (axes, 2, frequencies)."""
    coarse, fine = mixed(pair.product.pixels, pair.weights), pair.fine
    down, right = (round(each) for each in pair.offset)
    top, left = -(down // 2) if down < 0 else 0, -(right // 2) if right < 0 else 0
    side = min(SIDE, *coarse.shape)
    found = []
    for row_, col in np.ndindex(*((length - 1) // side + 1 for length in coarse.shape)):
        at = row_ * side + max(top, 0), col * side + max(left, 0)
        first = 2 * at[0] - down, 2 * at[1] - right
        lr = coarse[at[0] : at[0] + side, at[1] : at[1] + side]
        hr = fine[first[0] : first[0] + 2 * side, first[1] : first[1] + 2 * side]
        whole = lr.shape == (side, side) and hr.shape == (2 * side, 2 * side) and min(first) >= 0
        if whole and (both := patch(lr, hr)) is not None:
            found.append(both)
    return found


def patch(coarse: Doubles, fine: Doubles) -> Doubles | None:
    """Sums of cross and power spectrum of one patch, (axes, 2, frequencies); None where the bands differ."""
    f = np.fft.fftfreq(len(coarse))
    ours, theirs = baseband(fine, len(coarse)) / 4, baseband(coarse, len(coarse))
    along, across = np.abs(f)[:, None], np.abs(f)[None]
    low = (along < 0.1) & (across < 0.1) & (along + across > 0)
    cross, power = theirs * ours.conj(), np.abs(ours) ** 2
    gain = float(cross[low].real.sum() / power[low].sum())
    size = np.sqrt(power[low].sum() * (np.abs(theirs[low]) ** 2).sum())
    if not (size > 0 and abs(cross[low].sum()) / size >= COHERENT):
        return None
    middle = (along < 0.3) & (across < 0.3) & (along + across > 0)
    grid = np.stack(np.broadcast_arrays(f[:, None], f[None]), -1)[middle]
    weight = np.sqrt(np.abs(cross[middle]))
    shift = np.linalg.lstsq(-2 * np.pi * grid * weight[:, None], np.angle(cross[middle]) * weight, rcond=None)[0]
    cross = cross * np.exp(2j * np.pi * (f[:, None] * shift[0] + f[None] * shift[1]))
    sums = np.zeros((2, 2, len(FREQUENCIES)))
    for axis, (one, other) in enumerate(((along, across), (across, along))):
        for index, (start, stop) in enumerate(pairwise(EDGES)):
            inside = (one >= start) & (one < stop) & (other < NARROW)
            sums[axis, :, index] = cross[inside].real.sum() / gain, power[inside].sum()
    return sums / power.sum()


def baseband(image: Doubles, count: int) -> NDArray[np.complex128]:
    """The lowest `count` frequencies along either axis of an image behind a window, as of its pixels' centres."""
    side = len(image)
    window = np.hanning(side + 2)[1:-1]
    window = window[:, None] * window[None]
    spectrum = np.fft.fft2((image - (image * window).sum() / window.sum()) * window)
    f = np.fft.fftfreq(side)
    spectrum = spectrum * np.exp(-1j * np.pi * (f[:, None] + f[None]))
    kept = np.r_[0 : count // 2, side - count // 2 : side]
    return spectrum[np.ix_(kept, kept)]


if __name__ == "__main__":
    main(*sys.argv[1:])
