"""Fits the constants of `geosr.mtf`, on real imagery made into products of known response, and says how good they are.

    python scripts/fit_mtf.py PLANES_FOLDER geosr/mtf_fit.json

PLANES_FOLDER is what `scripts/prepare_planes.py` wrote. `training.sensing.Degradation` makes the products, as it does
for networks: Gaussian, reduced by bicubic, and of the family, with noise, compression and rounding. The truth of a
sample is what its chain leaves times what the imagery has of its own: of Sentinel-2 and Landsat what was fitted to
natural pairs, else `UNKNOWN`. Each of some networks is fitted on a part of the places, and what they say of those that
they have not seen tells how large an error is likely. At the end the same is made of the bands that are validated on,
and errors counted. What was drawn is kept beside the planes, in mtf_samples.npz, and taken from there where it is.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.mtf import LARGEST, SIDE, answer, estimate_mtf, limited, measure, together
from geosr.response import NYQUIST, Response
from geosr.sensor_table import LANDSAT_8, SENTINEL_2
from geosr.training.patches import Plane
from geosr.training.rasters import load_planes
from geosr.training.sensing import Degradation

Floats = NDArray[np.float64]

UNKNOWN = Response.gaussian(0.30)
"""The response of aerial imagery."""
MAKER = Degradation(mtf=(0.04, 0.60), jitter=0.0)
SNR = (30.0, 400.0)
PRODUCTS = 8000
"""That are drawn; half of them are large enough."""
DRAWN = 0.10
"""Share of the samples that are no photographs."""
WIDEST = 400
"""Side of a product, pixels, at most."""
SMALL, POOLED = 128, 0.9
"""Pictures up to this side are pooled in this share of the samples, as if they were windows of one scene."""
FEWEST = 16
"""Blocks of a product that is fitted on: there are more of small ones."""
CUT = 3
"""Rim of a product that shows what was repeated beyond the border."""
NETS = 5
SHARE = 0.7
"""Of the places, that a network is fitted on."""
HIDDEN = 24
STEPS = 3000
JITTER = 0.1
"""Standard deviations that features are shaken by in fitting."""
LEAST = 0.005
"""Error that none is said to be below."""


@dataclass(frozen=True, slots=True)
class Product:
    """Windows of a made product, and what is known of it."""

    windows: list[Floats]
    truth: Floats
    """As `Response.told`, of half Nyquist and of Nyquist, the geometric mean of both axes."""
    kind: str
    place: str


def main(folder: str, out: str) -> None:
    """Fits, writes `out`, prints the errors on places that were not fitted on."""
    torch.set_num_threads(1)
    Path(out).write_text(json.dumps(fit(*drawn(Path(folder)))))
    judge(islice(products(load_planes(Path(folder) / "validate.npz"), 1), PRODUCTS // 5))


def drawn(folder: Path) -> tuple[Floats, Floats, NDArray[np.str_]]:
    """Features and truths of products, and their places: those that are kept, else new ones."""
    kept = folder / "mtf_samples.npz"
    if not kept.exists():
        some = islice(products(load_planes(folder / "train.npz"), 0), PRODUCTS)
        rows = [(told, each.truth, each.place) for each in some if (told := measure(each.windows, FEWEST)) is not None]
        np.savez(kept, *(np.array(column) for column in zip(*rows, strict=True)))
    with np.load(kept) as archive:
        features, truth, place = (archive[name] for name in archive.files)
    return features, truth, place


def products(planes: Sequence[Plane], seed: int) -> Iterator[Product]:
    """Products of all groups, by the root of their weight, of sizes and windows as scenes have them, without end."""
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    groups: dict[str, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(plane.group, []).append(plane)
    each = [members for members in groups.values() if min(members[0].values.shape) >= 2 * (SIDE + 2 * CUT)]
    weights = np.sqrt([max(members[0].weight, 1.0) for members in each])
    while True:
        drawn = planes[0].weight > 0 and random.random() < DRAWN
        members = each[int(random.choice(len(each), p=weights / weights.sum()))]
        made = _drawn(random, generator) if drawn else _of_planes(members, random, generator)
        if made is not None:
            yield made


def _of_planes(members: list[Plane], random: np.random.Generator, generator: torch.Generator) -> Product | None:
    """A product of one plane, or of one band of many small pictures, which fall into two halves that count as
    places."""
    at = int(random.integers(len(members)))
    plane, place = members[at], members[at].file
    short = min(plane.values.shape)
    known = own(plane) is not UNKNOWN
    most = min(6, short // (SIDE + 2 * CUT))
    scale = int(random.integers(2 if known else min(4, most), most + 1))
    side = min(int(np.exp(random.uniform(np.log(64), np.log(WIDEST)))) + 2 * CUT, short // scale) * scale
    some = [plane]
    if short <= SMALL and random.random() < POOLED:
        half = at // 8 % 2
        alike = [each for i, each in enumerate(members) if i // 8 % 2 == half and (i - at) % 4 == 0]
        some += [alike[i] for i in random.permutation(len(alike))[: int(np.exp(random.uniform(1.5, 3.7)))]]
        place = f"{plane.group} {half}"
    cuts = [cut for each in some if (cut := _cut(each.values, side, random)) is not None]
    if not cuts:
        return None
    level = abs(float(np.mean(cuts))) if known else 2.0 * plane.contrast
    noise = level / float(np.exp(random.uniform(*np.log(SNR))))
    unit = plane.contrast
    made = observed([cut / unit for cut in cuts], noise / unit, plane.step / unit, own(plane), scale, generator)
    return Product(*made, place)


def _drawn(random: np.random.Generator, generator: torch.Generator) -> Product:
    """A product of a scene that was never photographed: fields with sharp borders on a rough ground."""
    side = 4 * int(random.integers(60, 240))
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    white = np.fft.rfft2(random.standard_normal((side, side)))
    ground = np.fft.irfft2(white / np.maximum(radius, 1 / side) ** random.uniform(1.0, 1.9))
    values = ground / ground.std() * random.uniform(0.1, 2.0)
    for size in np.exp(random.uniform(np.log(12), np.log(200), int(random.integers(200, 2000)))):
        row, col = random.integers(0, side, 2)
        height, width = (random.uniform(0.3, 1.0, 2) * size).astype(int) + 1
        values[row : row + height, col : col + width] += random.standard_normal() * random.uniform(0.2, 1.0)
    noise = float(values.std() * np.exp(random.uniform(np.log(0.002), np.log(0.1))))
    made = observed([values], noise, 0.0, Response((0.0, 0.0)), 4, generator)
    return Product(*made, f"drawn {int(random.integers(1 << 30))}")


def observed(
    cuts: list[Floats], noise: float, step: float, ground: Response, scale: int, generator: torch.Generator
) -> tuple[list[Floats], Floats, str]:
    """What one chain makes of squares of the same size, laid side by side: windows, truth and kind."""
    row = torch.from_numpy(np.concatenate(cuts, axis=1).astype(np.float32))[None, None]
    seen = MAKER(row, torch.tensor([noise]).float(), torch.tensor([step]).float(), scale, generator)
    pieces = seen.lr[0, 0].numpy().astype(np.float64)
    side = len(pieces)
    windows = [pieces[CUT:-CUT, i + CUT : i + side - CUT] for i in range(0, pieces.shape[1], side)]
    half, full = (float(np.sqrt(np.prod(ground.at(f / scale)))) for f in (NYQUIST / 2, NYQUIST))
    chain = seen.told[0].numpy().astype(np.float64)
    truth = np.sqrt([chain[0] * chain[1], chain[2] * chain[3]]) * (half**4, full)
    response = seen.responses[0]
    family = "bicubic" if response.interpolation == "cubic" else "Gaussian"
    return windows, truth, f"box, {response.interpolation}" if response.box else family


def own(plane: Plane) -> Response:
    """The response of the imagery itself, which a product's truth is seen through."""
    if "l1bsr" in plane.file:  # as its detectors saw it, on no grid
        return Response((0.127, 0.057), True)
    bands = (SENTINEL_2.band("B04"), "sentinel2"), (LANDSAT_8.band("B4"), "landsat")
    known = [band.response for band, folder in bands if band and band.response and folder in plane.file]
    return known[0] if known else UNKNOWN


def _cut(values: NDArray[np.generic], side: int, random: np.random.Generator) -> Floats | None:
    """A square of a band that is all valid; None where that isn't found."""
    for _ in range(20):
        row, col = (int(random.integers(0, length - side + 1)) for length in values.shape)
        cut = values[row : row + side, col : col + side].astype(np.float64)
        if np.isfinite(cut).all():
            return cut
    return None


def fit(features: Floats, truth: Floats, place: NDArray[np.str_]) -> dict[str, object]:
    """The constants, as plain numbers."""
    mean = features.mean(0)
    _, size, axes = np.linalg.svd(features - mean, full_matrices=False)
    whiten = axes.T / size * math.sqrt(len(features))
    standard = limited((features - mean) @ whiten)
    places, number = np.unique(place, return_inverse=True)
    weight = 1 / np.sqrt(np.bincount(number)[number])
    random = np.random.default_rng(0)
    nets, unseen = [], np.full((NETS, len(place), 4), np.nan)
    for i in range(NETS):
        kept = (random.permutation(len(places)) < SHARE * len(places))[number]
        nets.append(_network(standard[kept], truth[kept], weight[kept], i))
        unseen[i, ~kept] = answer(nets[i], standard[~kept])
    some = np.isfinite(unseen[..., 0]).sum(0) >= 2
    told, spread = together(unseen[:, some])
    error = np.abs(told - truth[some])
    factor = np.quantile(error / spread, 0.9, axis=0)
    taken = (factor * spread <= LARGEST).all(1)
    print(f"{len(place)} samples of {len(places)} places; factors {factor.round(2)}; unseen ones: {_told(error)}")
    print(f"answered {taken.mean():.0%}: {_told(error[taken])}")
    return {"mean": _plain(mean), "whiten": _plain(whiten), "nets": list(map(_plain, nets)), "error": _plain(factor)}


def _network(features: Floats, truth: Floats, weight: Floats, seed: int) -> list[Floats]:
    """Layers of a network that says both levels and the logarithms of their mean errors (Laplace's law)."""
    torch.manual_seed(seed)
    count = features.shape[1]
    layers = torch.nn.Linear(count, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, 4)
    net = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=STEPS)
    x, y, w = (torch.from_numpy(values).float() for values in (features, truth, weight / weight.mean()))
    for _ in range(STEPS):
        some = torch.randint(len(x), (512,))
        level, size = net(x[some] + JITTER * torch.randn(512, count)).split(2, 1)
        loss = (w[some, None] * ((level - y[some]).abs() / size.exp().clamp_min(LEAST) + size)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return [values.detach().double().numpy() for values in net.parameters()]


def judge(made: Iterator[Product]) -> None:
    """Prints the share of products that are told of, and the errors, by kind and size."""
    rows = [(estimate_mtf(each.windows), each) for each in made]
    known = np.array([each.truth for _, each in rows])
    told = np.array([found.response.told[1::2] if found.response else (math.nan,) * 2 for found, _ in rows])
    too_small = np.array([found.why.startswith("too few") for found, _ in rows])
    kinds = np.array([each.kind for _, each in rows])
    for name, some in {"all": kinds != "", **{kind: kinds == kind for kind in np.unique(kinds)}}.items():
        some &= ~too_small
        taken = some & np.isfinite(told[:, 0])
        print(f"{name:12} {some.sum():4} products, told of {taken.sum() / max(some.sum(), 1):4.0%}", end="")
        error = (told ** (0.25, 1) - known ** (0.25, 1))[taken]
        bias, rms = error.mean(0), np.sqrt((error**2).mean(0))
        print(*(f"; {at}: bias {bias[i]:+.3f} rms {rms[i]:.3f}" for i, at in enumerate(("half Nyquist", "Nyquist"))))


def _told(error: Floats) -> str:
    """Errors of both levels in words."""
    rms, ninety = np.sqrt((error**2).mean(0)), np.quantile(error, 0.9, axis=0)
    return f"rms {rms.round(3)}, nine in ten below {ninety.round(3)}"


def _plain(values: Floats | list[Floats]) -> object:
    if isinstance(values, list):
        return [_plain(each) for each in values]
    return json.loads(json.dumps(np.vectorize(lambda v: float(f"{v:.5g}"))(values).tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
