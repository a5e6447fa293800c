"""Fits the constants of `geosr.mtf`, on real imagery blurred by a known amount, and says how good they are.

    python scripts/fit_mtf.py PLANES_FOLDER geosr/mtf_fit.json [SECONDS]

PLANES_FOLDER is what `scripts/prepare_planes.py` wrote. The truth of a sample is the blur that it was given times that
of the imagery itself, whose MTF m at its own Nyquist frequency counts as m^(1/scale^2) at that of the coarse grid (a
Gaussian falls so): the published one of Sentinel-2, else `UNKNOWN`. Each of some networks is fitted on a part of the
places, and what they say of those that they have not seen tells how large an error is likely; the largest one accepted
is where nine in ten of the accepted errors are below `GOAL`. At the end the bands that are validated on are degraded,
and errors counted. Samples are drawn for SECONDS; about 9000 are enough.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.models.degradation import BICUBIC, observe
from geosr.mtf import FEWEST_BLOCKS, disagreement, estimate_mtf, measure, typical_error
from geosr.response import Response
from geosr.training.patches import Plane
from geosr.training.rasters import load_planes

Floats = NDArray[np.float64]

SENTINEL_2 = 0.25
UNKNOWN = 0.30
GOAL = 0.05
DRAWN = 0.12
"""Share of the samples that are no photographs."""
POOLED = (64, 120)
"""Sides of pictures that are too small to tell alone."""
NETS = 10
SHARE = 0.6
"""Of the places, that a network is fitted on."""
HIDDEN = 12
MTF = (0.03, 0.62)
SNR = (30.0, 400.0)


@dataclass(frozen=True, slots=True)
class Samples:
    """Features of degraded bands and what is known of them, one a row."""

    features: Floats
    truth: Floats
    place: NDArray[np.str_]


def main(folder: str, out: str, seconds: str = "240") -> None:
    """Fits, writes `out`, prints the errors on places that were not fitted on."""
    torch.set_num_threads(1)
    samples = draw(load_planes(Path(folder) / "train.npz"), float(seconds))
    Path(out).write_text(json.dumps(fit(samples)))
    judge(load_planes(Path(folder) / "validate.npz"))


def draw(planes: list[Plane], seconds: float, seed: int = 0) -> Samples:
    """Bands of all groups alike, cut, blurred, made noisy and rounded at random, for as long as there is time."""
    random = np.random.default_rng(seed)
    groups: dict[str, list[Plane]] = {}
    for plane in planes:
        if min(plane.values.shape) >= 2 * 88 or min(plane.values.shape) in POOLED:
            groups.setdefault(plane.group, []).append(plane)
    names, rows = list(groups), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if random.random() < DRAWN:
            rows += _drawn(random)
            continue
        members = groups[names[int(random.integers(len(names)))]]
        if min(members[0].values.shape) in POOLED:
            rows += _pooled(members, random)
            continue
        plane = _cut(members[int(random.integers(len(members)))], random)
        known = "sentinel2" in plane.file
        most = min(6, min(plane.values.shape) // 88)
        scale = int(random.integers(2 if known or "landsat" in plane.file else min(3, most), most + 1))
        mtf = None if random.random() < 0.12 else float(random.uniform(*MTF))
        snr = None if random.random() < 0.4 else float(np.exp(random.uniform(*np.log(SNR))))
        features = measure([degraded(plane, mtf, scale, snr, random)])
        if features is not None:
            rows.append((features, truth(plane, mtf, scale), plane.file))
    print(f"{len(rows)} samples")
    return Samples(*(np.array(column) for column in zip(*rows, strict=True)))


def _pooled(planes: list[Plane], random: np.random.Generator) -> list[tuple[Floats, float, str]]:
    """A sample of one band of many small pictures, as if they were windows of one scene. Those of a group fall into two
    sets, which count as places."""
    side = min(planes[0].values.shape)
    scale = int(random.integers(2, side // 32 + 1))
    part, band = int(random.integers(2)), int(random.integers(4))
    chosen = [plane for i, plane in enumerate(planes) if i // 4 % 2 == part and i % 4 == band]
    fewest = math.ceil(FEWEST_BLOCKS / ((side // scale - 32) // 16 + 1) ** 2)
    if len(chosen) < fewest:
        chosen = [plane for i, plane in enumerate(planes) if i % 4 == band]
    count = min(int(fewest * random.uniform(1.0, 1.8)), len(chosen))
    some = [chosen[i] for i in random.choice(len(chosen), count, replace=False)]
    mtf = None if random.random() < 0.12 else float(random.uniform(*MTF))
    snr = None if random.random() < 0.4 else float(np.exp(random.uniform(*np.log(SNR))))
    features = measure([degraded(plane, mtf, scale, snr, random) for plane in some])
    place = f"{planes[0].group} {part}"
    return [] if features is None else [(features, truth(some[0], mtf, scale), place)]


def _drawn(random: np.random.Generator) -> list[tuple[Floats, float, str]]:
    """A sample of a scene that was never photographed: fields with sharp borders on a rough ground."""
    side, mtf = 4 * int(random.integers(140, 260)), float(random.uniform(*MTF))
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    white = np.fft.rfft2(random.standard_normal((side, side)))
    ground = np.fft.irfft2(white / np.maximum(radius, 1 / side) ** random.uniform(1.0, 1.9))
    values = ground / ground.std() * random.uniform(0.1, 2.0)
    for size in np.exp(random.uniform(np.log(12), np.log(200), int(random.integers(200, 2000)))):
        row, col = random.integers(0, side, 2)
        height, width = (random.uniform(0.3, 1.0, 2) * size).astype(int) + 1
        values[row : row + height, col : col + width] += random.standard_normal() * random.uniform(0.2, 1.0)
    seen = observe(values[None].astype(np.float32), Response.gaussian(mtf), 4)[0].astype(np.float64)
    noise = values.std() * float(np.exp(random.uniform(np.log(0.002), np.log(0.1))))
    features = measure([seen + (random.random() < 0.6) * noise * random.standard_normal(seen.shape)])
    return [] if features is None else [(features, mtf, f"drawn {int(random.integers(1 << 30))}")]


def truth(plane: Plane, mtf: float | None, scale: int) -> float:
    """The blur that a band was given, with the one that it had."""
    own = SENTINEL_2 if "sentinel2" in plane.file else UNKNOWN
    return float((BICUBIC.mtf if mtf is None else mtf) * own ** (1 / scale**2))


def degraded(
    plane: Plane, mtf: float | None, scale: int, snr: float | None, random: np.random.Generator
) -> NDArray[np.float64]:
    """What a sensor sees of a band: blurred (by bicubic reduction where `mtf` is None), noisy, at times rounded."""
    response = None if mtf is None else Response.gaussian(mtf)
    seen = observe(plane.values[None].astype(np.float32), response, scale)[0].astype(np.float64)
    if snr is not None:
        level = abs(float(np.nanmean(seen))) if plane.snr else 2 * plane.contrast
        seen = seen + level / snr * random.standard_normal(seen.shape)
    return np.round(seen) if plane.step and random.random() < 0.5 else seen


def _cut(plane: Plane, random: np.random.Generator) -> Plane:
    """A part of a large band, of a random size."""
    size = int(random.integers(250, 640))
    starts = [int(random.integers(0, max(side - size, 0) + 1)) for side in plane.values.shape]
    return replace(plane, values=plane.values[starts[0] : starts[0] + size, starts[1] : starts[1] + size])


def fit(samples: Samples) -> dict[str, object]:
    """The constants, as plain numbers."""
    mean, scale = samples.features.mean(0), samples.features.std(0) + 1e-6
    standard = np.clip((samples.features - mean) / scale, -4, 4)
    places, place = np.unique(samples.place, return_inverse=True)
    weight = 1 / np.sqrt(np.bincount(place)[place])
    random = np.random.default_rng(0)
    nets, unseen = [], np.full((NETS, len(place)), np.nan)
    for number in range(NETS):
        kept = (random.permutation(len(places)) < SHARE * len(places))[place]
        net = _network(standard[kept], samples.truth[kept], weight[kept], number)
        with torch.no_grad():
            unseen[number, ~kept] = net(_tensor(standard[~kept])).numpy()[:, 0]
        nets.append([_plain(values) for values in net.parameters()])
    told_by = np.isfinite(unseen).sum(0) >= 3
    standard, truths, unseen = standard[told_by], samples.truth[told_by], unseen[:, told_by]
    answer = np.nanmean(unseen, 0)
    error = np.abs(answer - truths)
    doubt, likely = _doubt(standard, disagreement(unseen, answer), error / typical_error(truths))
    largest = _largest(likely, error, truths)
    answered = likely <= largest
    print(f"{len(error)} samples of {len(places)} places; unseen ones: {told(error)}")
    print(f"answered {answered.mean():.0%}: {told(error[answered])}; likely error at most {largest:.2f} of the typical")
    return {"mean": _plain(mean), "scale": _plain(scale), "nets": nets, "doubt": _plain(doubt), "largest": largest}


def _network(features: Floats, truth: Floats, weight: Floats, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    count = features.shape[1]
    layers = torch.nn.Linear(count, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, 1)
    net = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=5e-2)
    x, y, w = _tensor(features), _tensor(truth), _tensor(weight)
    steps = 800
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(len(x), (512,))
        noisy = x[some] + 0.1 * torch.randn(512, count)
        loss = (
            w[some] * torch.nn.functional.huber_loss(net(noisy)[:, 0], y[some], reduction="none", delta=0.03)
        ).mean()
        optimizer.zero_grad()
        (loss / 0.03 / w.mean()).backward()
        optimizer.step()
        schedule.step()
    return net


def _doubt(standard: Floats, apart: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Weights for the logarithm of the error, relative to the typical one, that nine in ten stay below; and that error
    of each sample.

    Only what does not depend on the blur has a weight, else a sharp scene that looks blurred would count as a blurred
    one, of which errors are small: the coarse rings, how the finest ones end (that is noise), the number of blocks, how
    edges stand out, and `apart`, how far networks that have not seen the place disagree.
    """
    count = standard.shape[1]
    nature = [13 * kind + ring for kind in range(4) for ring in range(5)] + [52, count - 3, count - 2, count - 1]
    terms = np.zeros((len(nature) + 1, count))
    terms[np.arange(len(nature)), nature] = 1.0
    terms[-1, [12, 9]] = 1.0, -1.0
    columns = np.column_stack([standard @ terms.T, apart, np.ones(len(error))])
    level = np.log(np.maximum(error, 0.1))
    ridge = np.diag([0.02 * len(error)] * len(terms) + [0.0, 0.0])
    weights = np.linalg.solve(columns.T @ columns + ridge, columns.T @ level)
    weights[-1] += np.quantile(level - columns @ weights, 0.9)
    return np.concatenate([weights[:-2] @ terms, weights[-2:]]), np.exp(columns @ weights)


def _largest(likely: Floats, error: Floats, truth: Floats) -> float:
    """The largest likely error such that nine in ten of the errors accepted with it are below the goal, among blurred
    scenes and among sharp ones."""
    found = []
    for low, high in ((0.08, 0.24), (0.24, 0.42)):
        some = (truth >= low) & (truth <= high)
        order = np.argsort(likely[some])
        good = np.cumsum(error[some][order] < GOAL) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero((good >= 0.9) & (np.arange(len(order)) > 0.02 * len(order)))
        found.append(float(likely[some][order][enough[-1]]) if len(enough) else 0.0)
        print(f"truth {low} to {high}: good up to {found[-1]:.2f}, which {np.mean(likely[some] <= found[-1]):.0%} are")
    return min(found)


def judge(planes: list[Plane]) -> None:
    """Prints the share that is answered for, and the errors, of bands reduced x2 and x4."""
    random = np.random.default_rng(1)
    rows = []
    for plane in planes:
        for scale in (2, 4):
            for mtf in (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, None):
                for snr in (None, 100.0):
                    found = estimate_mtf([degraded(plane, mtf, scale, snr, random)])
                    answer = math.nan if found.mtf is None else found.mtf
                    small = found.why.startswith("too few")
                    rows.append((scale, mtf or 0, snr or 0, answer, truth(plane, mtf, scale), small, plane.group))
    scale, mtf, snr, answer, known, small = (np.array([row[i] for row in rows], float) for i in range(6))
    group = np.array([row[6] for row in rows])
    for name, some in {
        "all": mtf > 0,
        **{
            f"x{s}, {'noise' if n else 'clean'}": (mtf > 0) & (scale == s) & (snr == n)
            for s in (2, 4)
            for n in (0, 100)
        },
        **{f"MTF {m:.2f}": mtf == m for m in np.unique(mtf[mtf > 0])},
        **{str(g): (mtf > 0) & (group == g) for g in np.unique(group)},
    }.items():
        fit_in = some & (small == 0)
        told_of = fit_in & np.isfinite(answer)
        share = told_of.sum() / max(fit_in.sum(), 1)
        print(f"{name:16} {some.sum():4} bands, large enough {fit_in.sum():4}, answered {share:4.0%}", end="")
        if told_of.any():
            given = np.abs(answer - mtf)[told_of]
            print(f": {told(np.abs(answer - known)[told_of])}; against the given blur alone: {told(given)}", end="")
        print()
    cubic = answer[(mtf == 0) & np.isfinite(answer)]
    if cubic.size:
        print("bicubic: median, 5th and 95th percentile", np.round(np.quantile(cubic, [0.5, 0.05, 0.95]), 3))


def told(error: Floats) -> str:
    """Errors in words."""
    middle, ninety, most = np.quantile(error, [0.5, 0.9, 0.95])
    below = np.mean(error < GOAL)
    return f"median {middle:.3f} p90 {ninety:.3f} p95 {most:.3f} max {error.max():.3f}, below {GOAL} {below:.0%}"


def _tensor(values: Floats) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _plain(values: Floats | torch.Tensor) -> object:
    numbers = np.asarray(values.detach() if isinstance(values, torch.Tensor) else values, np.float64)
    return json.loads(json.dumps(np.vectorize(lambda v: float(f"{v:.4g}"))(numbers).tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
