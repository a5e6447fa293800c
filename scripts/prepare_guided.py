"""Samples for `scripts/train_guided.py`: coarse bands, their guides and the truth, with what simpler ways make of them.

    python scripts/prepare_guided.py MODEL DATA_ROOT OUT.npz [--kept fit] [--draws 4]

MODEL is s2-20to10, s2-60to10 or landsat-pan. What is `fit` lies apart from `judge` in recipes/natural.toml and from
what recipes/data.toml validates on. *A scale down* (Wald's protocol): real bands and their guides are degraded by drawn
responses near the sensors', with noise as products have it; the bands are the truth. *Elsewhere*: other sensors' bands,
and finer bands as if they were coarse, guided by the others. *Natively*: coarse bands as they are, guided by some of
the fine ones, beside what another shows.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.natural import Judge
from geosr.evaluation.natural_pairs import Layer, pairs_of
from geosr.identify import identify
from geosr.models.filters import mirrored
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.refine import Slots, estimates_of, guides_of
from geosr.models.regrid import degraded, lines, needed
from geosr.models.runtime import network_for
from geosr.noise import SILENT, Noise, noise_of, published_noise
from geosr.placement import Placement
from geosr.response import Response
from geosr.sensor_table import LANDSAT_8, SENTINEL_2, SensorBand
from geosr.sensors import Band
from geosr.window import Window
from scripts.guided_ground import COARSE, COARSEST, FINE, Doubles, Ground, grounds, landsat, patches

PAD = 8
"""Fine pixels that are mirrored around a sample."""
_NONE = (Fraction(0),) * 2
Bands = dict[str, Doubles]


def placed(step: int, corner: tuple[Fraction, Fraction] = _NONE) -> Placement:
    """Coarse pixels of `step` fine ones each way."""
    return Placement((Fraction(step),) * 2, corner)


@dataclass(frozen=True, eq=False)
class Case:
    """A sample before anything is computed: what is known of it by name; `truth` of some bands."""

    coarse: Mapping[str, Doubles]
    guides: Mapping[str, Doubles]
    truth: Mapping[str, Doubles]
    responses: Mapping[str, Response]
    noise: Mapping[str, Noise] = field(default_factory=dict)
    placement: Placement = field(default_factory=lambda: placed(2))


def known(band: str) -> SensorBand:
    """The entry of the table of Sentinel-2's, or else Landsat's, band."""
    found = SENTINEL_2.band(band) if len(band) == 3 else LANDSAT_8.band(band)
    assert found is not None
    return found


@cache
def table(band: str) -> Response:
    """The response that a run believes a band to have."""
    size, name = (30.0, "LC08_L1TP.tif") if len(band) == 2 else (known(band).gsd_m, "S2A_MSIL2A.tif")
    return identify(tags={}, descriptions=(band,), name=name, pixel_size=size).bands[0].response


def drawn_responses(random: np.random.Generator, bands: Sequence[str]) -> dict[str, Response]:
    """A response for each band: near the table's, or of some Gaussian."""
    if random.random() < 0.6:
        common = random.normal(0.0, 0.02, 2)
        found = {}
        for band in bands:
            own = table(band).variance + common + random.normal(0.0, 0.01, 2)
            found[band] = replace(table(band), variance=tuple(own.clip(-0.02)))
        return found
    level = random.uniform(0.2, 0.46)
    return {band: Response.gaussian(float(np.clip(level + random.normal(0, 0.03), 0.12, 0.5))) for band in bands}


def seen(image: Doubles, response: Response, placement: Placement) -> Doubles:
    """What a band of this response shows of one with finer pixels."""
    step, both = int(placement.step[0]), lines(placement, response)
    out = Window(0, 0, image.shape[0] // step, image.shape[1] // step)
    at = needed(out, (both[0].seen, both[1].seen))
    return degraded(around(image, at), at, out, both)


def around(image: Doubles, window: Window) -> Doubles:
    """A window of an image, mirrored where it reaches beyond."""
    rim = max(abs(each) for each in (window.row, window.col, *window.stop))
    rows, cols = (mirrored(side, rim) for side in image.shape)
    inner = window.shift(rim, rim)
    return image[rows[inner.row : inner.stop[0]]][:, cols[inner.col : inner.stop[1]]]


def whole(image: Doubles, factor: int) -> Doubles:
    """The image without what is over."""
    return image[: image.shape[0] // factor * factor, : image.shape[1] // factor * factor]


def chosen_guides(random: np.random.Generator, names: Sequence[str]) -> list[str]:
    """All of them mostly, else without the infrared, or some."""
    pick = random.random()
    if pick < 0.7 or len(names) == 1:
        return list(names)
    if pick < 0.88 and "B08" in names:
        return [name for name in names if name != "B08"]
    return [name for name in names if random.random() < 0.6] or [names[0]]


def degraded_case(
    truth: Mapping[str, Doubles],
    guides: Mapping[str, Doubles],
    placement: Placement,
    random: np.random.Generator,
    finest: Mapping[str, Doubles],
) -> Case:
    """The case of known bands, degraded; guides get noise as those of `finest` have it, which they were made of."""
    responses = drawn_responses(random, list(truth))
    share = random.uniform(0.4, 1.2) if random.random() < 0.6 else 0.0
    coarse, noise = {}, {}
    for band, image in truth.items():
        level = noise_of([image])[0].sigma(float(image.mean()))
        spread = share * min(level, 0.15 * float(image.std()))
        low = seen(image, responses[band], placement)
        coarse[band] = low + random.normal(0.0, 1.0, low.shape) * spread
        noise[band] = Noise((spread**2 + (0.3 * level) ** 2), 0.0)
    dirty = {}
    for band in chosen_guides(random, list(guides)):
        image = guides[band]
        level = noise_of([finest[band]])[0].sigma(float(image.mean())) if band in finest else 0.0
        dirty[band] = image + random.normal(0.0, 1.0, image.shape) * share * min(level, 0.1 * float(image.std()))
    return Case(coarse, dirty, truth, responses, noise, placement)


def natively(ground: Ground, ratio: int, wanted: Mapping[str, tuple[str, ...]]) -> Iterator[Case]:
    """Coarse bands as they are beside what finer bands show of them; by band the guides that say nothing of that."""
    coarse, gsd = (ground.coarse, 20.0) if ratio == 2 else (ground.coarsest, 60.0)
    layers = [Layer(b, image, gsd, (0.0, 0.0)) for b, image in coarse.items()]
    layers += [Layer(b, image, 10.0, (0.0, 0.0)) for b, image in ground.fine.items()]
    for pair in pairs_of(layers, ground.name, "S2A_MSIL2A_{gsd}m.tif"):
        band = pair.bands.split()[0]
        if band not in wanted:
            continue
        try:
            judge, unfit = Judge(pair, ratio), Judge(pair, 2).unfit  # of six times finer detail bicubic shows nothing
        except InputError:
            continue
        if unfit:
            continue
        truth = np.full([side * ratio for side in pair.product.pixels.shape[1:]], np.nan)
        truth[judge.rows, judge.cols] = judge.reference
        edge, rim = truth.copy(), 4 * ratio
        edge[rim:-rim, rim:-rim] = np.nan
        truth[np.isfinite(edge)] = np.nan
        noise = {b: noise_of([i], published=published_noise(known(b), scale=1e-4))[0] for b, i in coarse.items()}
        guides = {b: ground.fine[b] for b in wanted[band]}
        yield Case(coarse, guides, {band: truth}, {b: table(b) for b in coarse}, noise, placed(ratio))


def twenty_to_ten(root: Path, kept: str, draws: int, random: np.random.Generator) -> Iterator[tuple[str, str, Case]]:
    """Cases of Sentinel-2's 20 m bands."""
    apart = {"B8A": FINE[:3], "B07": FINE[:2], "B06": FINE[:2]}
    for ground in grounds(root, kept):
        bands = {band: whole(image, 2) for band, image in ground.coarse.items()}
        height, width = (2 * side for side in bands["B05"].shape)
        fine = {b: seen(image[:height, :width], table(b), placed(2)) for b, image in ground.fine.items()}
        for _ in range(draws):
            yield "down", ground.name, degraded_case(bands, fine, placed(2), random, ground.fine)
        if ground.natural:
            for case in natively(ground, 2, apart):
                yield "native", ground.name, case
    for ground in (*landsat(root, kept), *patches(root, kept)) if kept == "fit" else ():
        for _ in range(max(1, draws // 2)):
            truth, guides = _elsewhere(ground.fine, random)
            yield "elsewhere", ground.name, degraded_case(truth, guides, placed(2), random, {})


def _elsewhere(bands: Mapping[str, Doubles], random: np.random.Generator) -> tuple[Bands, Bands]:
    """Some bands of one grid as if they were coarse, and those that guide them."""
    fine = {band: whole(image, 2) for band, image in bands.items()}
    if "B5" in fine:
        truth = {"B11": fine["B6"], "B12": fine["B7"]} | ({"B8A": fine["B5"]} if random.random() < 0.4 else {})
        guides = {"B02": fine["B2"], "B03": fine["B3"], "B04": fine["B4"]}
        return truth, guides | ({} if "B8A" in truth else {"B08": fine["B5"]})
    if random.random() < 0.6:
        return {str(random.choice(["B06", "B07", "B8A"])): fine["B08"]}, {b: fine[b] for b in FINE[:3]}
    return {"B05": fine["B04"]}, {b: fine[b] for b in FINE if b != "B04"}


def sixty_to_ten(root: Path, kept: str, draws: int, random: np.random.Generator) -> Iterator[tuple[str, str, Case]]:
    """Cases of Sentinel-2's 60 m bands: of too few pixels by themselves, so mostly of other bands in their place."""
    apart = {"B01": FINE[1:], "B09": FINE[:3]}
    for ground in grounds(root, kept):
        if ground.coarsest and ground.natural:
            for case in natively(ground, 6, apart):
                yield "native", ground.name, case
        if min(ground.coarse["B8A"].shape) >= 48:
            fine = {b: seen(image, table(b), placed(2)) for b, image in ground.fine.items()}
            side = [min(a, b) for a, b in zip(fine["B02"].shape, ground.coarse["B8A"].shape, strict=True)]
            fine = {b: whole(image[: side[0], : side[1]], 6) for b, image in fine.items()}
            for _ in range(draws):
                other = str(random.choice(["B8A", "B8A", "B07", "B11"]))
                truth = {"B09": whole(ground.coarse[other][: side[0], : side[1]], 6)}
                yield "down", ground.name, degraded_case(truth, fine, placed(6), random, ground.fine)
        yield from _in_place(ground.name, ground.fine, draws, random)
    for ground in (*landsat(root, kept), *patches(root, kept)):
        bands = ground.fine
        if "B5" in bands:
            bands = {"B02": bands["B2"], "B03": bands["B3"], "B04": bands["B4"], "B08": bands["B5"]}
        yield from _in_place(ground.name, bands, max(1, draws // 2), random)


def _in_place(
    name: str, bands: Mapping[str, Doubles], draws: int, random: np.random.Generator
) -> Iterator[tuple[str, str, Case]]:
    """A blue or green band in the place of B01, and the infrared one in that of B09, guided by the others."""
    fine = {b: whole(image, 6) for b, image in bands.items()}
    for _ in range(draws):
        band = str(random.choice(["B02", "B02", "B03", "B08"]))
        truth = {"B09" if band == "B08" else "B01": fine[band]}
        guides = {b: image for b, image in fine.items() if b != band}
        yield "elsewhere", name, degraded_case(truth, guides, placed(6), random, {})


def pan(root: Path, kept: str, draws: int, random: np.random.Generator) -> Iterator[tuple[str, str, Case]]:
    """Cases of Landsat's bands, guided by its panchromatic band, or a mixture of those that this sees."""
    half = (Fraction(1, 2),) * 2
    for ground in landsat(root, kept):
        bands = {band: whole(image, 2) for band, image in ground.fine.items()}
        for band, sharp in ground.pan.items():
            guide = {band: seen(sharp[:-1, :-1], table(band), placed(2, half))}
            for _ in range(draws):
                yield "native", ground.name, degraded_case(bands, guide, placed(2), random, ground.pan)
        for _ in range(draws):
            shares = random.dirichlet([2.0, 4.0, 4.0])
            mixed = sum(share * bands[band] for share, band in zip(shares, ("B2", "B3", "B4"), strict=True))
            corner = Fraction(int(random.integers(-1, 2)), 2)
            placement = placed(2, (corner, corner))
            yield "down", ground.name, degraded_case(bands, {"B8": mixed}, placement, random, {"B8": bands["B3"]})


MODELS = {
    "s2-20to10": (Slots(COARSE, FINE), twenty_to_ten, "fast"),
    "s2-60to10": (Slots(COARSEST, FINE), sixty_to_ten, ""),
    "landsat-pan": (Slots(("B2", "B3", "B4", "B5", "B6", "B7"), ("B8",)), pan, ""),
}
"""Places for bands, where cases come from, and the network that is started from."""


def sample(case: Case, slots: Slots, start: str) -> dict[str, NDArray[np.floating]] | None:
    """What the network is given, and the truth less bicubic, both in units of each band's contrast."""
    names, step = list(case.coarse), int(case.placement.step[0])
    coarse = np.stack([case.coarse[band] for band in names])
    guide = np.stack(list(case.guides.values()))
    at, block = (Window(0, 0, *image.shape[1:]) for image in (coarse, guide))
    responses = tuple(case.responses[band] for band in names)
    injection, _ = learn([Piece(coarse, at, guide, block)], case.placement, responses, names)
    if not all(band.scale for band in injection.bands):
        return None
    core = block.grow(PAD).shift(*(math.floor(corner) for corner in case.placement.corner))
    fine = core.grow(max(injection.halo, 12))
    wide = np.stack([around(image, fine) for image in guide]).astype(np.float32)
    observation = tuple(
        Band(response, case.noise.get(band, SILENT), name=band) for band, response in zip(names, responses, strict=True)
    )
    single = network_for(start, step, observation, device="cpu") if start else None
    need = injection.coarse(core.grow(12)).grow(0 if single is None else single.halo + 8)
    many = np.stack([around(image, need) for image in coarse]).astype(np.float32)
    images = estimates_of(many, need, wide, fine, core, injection, single)
    x = slots.placed(names, images)
    g = slots.guided(list(case.guides), guides_of(wide, fine, core, injection))
    y = np.full((len(slots.bands), core.height, core.width), np.nan)
    for index, (band, one) in enumerate(zip(names, injection.bands, strict=True)):
        if band in case.truth:
            padded = np.full((core.height, core.width), np.nan)
            there = block.clip(core)
            padded[there.within(core).slices] = case.truth[band][there.slices]
            y[slots.bands.index(band)] = (padded - images.bicubic[index]) * one.scale
    if not np.isfinite(x).all() or not np.isfinite(g).all():
        return None
    told = slots.told(names, observation, float(step))
    return {"x": x.astype(np.float16), "g": g.astype(np.float16), "y": y.astype(np.float16), "told": told}


def main() -> None:
    """Write the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kept", default="fit", choices=("fit", "judge"))
    parser.add_argument("--draws", type=int, default=4)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    torch.set_num_threads(1)
    slots, cases, start = MODELS[given.model]
    arrays: dict[str, NDArray[np.floating]] = {}
    counts: dict[str, int] = defaultdict(int)
    for kind, name, case in cases(given.root, given.kept, given.draws, random):
        made = sample(case, slots, start)
        for key, value in (made or {}).items():
            arrays[f"{kind}|{name}|{counts[kind]}|{key}"] = value
        counts[kind] += made is not None
    print(dict(counts), file=sys.stderr)
    np.savez(given.out, **arrays)


if __name__ == "__main__":
    main()
