"""Samples for `scripts/train_guided.py`: coarse bands, their guides and the truth, with what simpler ways make of them.

    python scripts/prepare_guided.py DATA_ROOT OUT.npz [--kept fit] [--draws 4]

Four kinds of ground, apart from `judge` in recipes/natural.toml and from what recipes/data.toml validates on. *A scale
down* (Wald's protocol): Sentinel-2's 20 m bands are degraded to 40 m and its 10 m bands to 20 m, by drawn responses
near the sensors', with noise as products have it; the 20 m bands are the truth. *Elsewhere*: Landsat's infrared bands
the same way, and one of Sentinel-2's 10 m bands as if it were coarse, guided by the others. *Natively*: the 20 m bands
as they are, guided by visible bands, beside what B08 shows.

EuroSAT's chips have their 20 m bands on the 10 m grid, by a cubic B-spline. That can be undone: the residual is what
rounding leaves.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.natural import Judge
from geosr.evaluation.natural_pairs import Layer, pairs_of
from geosr.models.filters import mirrored
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.refine import Slots, estimates_of, guides_of
from geosr.models.regrid import degraded, lines, needed
from geosr.models.runtime import network_for
from geosr.noise import Noise, noise_of, published_noise
from geosr.placement import Placement
from geosr.response import Response
from geosr.sensor_table import SENTINEL_2, SensorBand
from geosr.sensors import Band
from geosr.window import Window

HERE = Path(__file__).resolve().parents[1]
Doubles = NDArray[np.float64]
COARSE, FINE = ("B05", "B06", "B07", "B8A", "B11", "B12"), ("B02", "B03", "B04", "B08")
SLOTS = Slots(COARSE, FINE)
PAD = 8
"""Fine pixels that are mirrored around a sample."""
TWICE = Placement((Fraction(2),) * 2, (Fraction(0),) * 2)
MOST_DATES = 12


@dataclass(frozen=True, eq=False)
class Ground:
    """Bands of one place by name: coarse ones, and those with pixels half as large."""

    name: str
    coarse: Mapping[str, Doubles]
    fine: Mapping[str, Doubles]
    kind: str = "sentinel-2"
    natural: bool = True
    """Whether the bands are known to be in place, so that they may be judged natively."""


@dataclass(frozen=True, eq=False)
class Case:
    """A sample before anything is computed: what is known of it by name; `truth` of some bands."""

    coarse: Mapping[str, Doubles]
    guides: Mapping[str, Doubles]
    truth: Mapping[str, Doubles]
    responses: Mapping[str, Response]
    noise: Mapping[str, Noise] = field(default_factory=dict)


def grounds(root: Path, kept: str) -> Iterator[Ground]:
    """Sentinel-2's bands of 10 and 20 m, of the places listed and of EuroSAT."""
    for table in tomllib.loads((HERE / "recipes" / "natural.toml").read_text())["pairs"]:
        if not table["name"].startswith(("BigEarthNet", "WorldCereal")):
            continue
        for names in table.get(kept, {}).values():
            found = sorted({path for name in names for path in root.glob(table["files"][0].replace("{}", name))})
            files = found[:: max(1, len(found) // MOST_DATES)] if "*" in names[0] else found
            stems = [path.name for path in files] if "*" in names[0] else names
            for stem in stems:
                name = stem.replace("_10m.tif", "")
                paths = [path for each in table["files"] for path in sorted(root.glob(each.replace("{}", name)))]
                bands = dict(band for path in paths for band in bands_of(path))
                if not all(band in bands for band in (*COARSE, *FINE)):
                    continue
                fine = {band: bands[band] for band in FINE}
                if table.get("offset"):  # the 20 m grid lies a fine pixel higher
                    fine = {band: image[1:-1] for band, image in fine.items()}
                    bands = {band: bands[band][1:] for band in COARSE}
                    yield Ground(f"{table['name']} {name}", {b: bands[b] for b in COARSE}, fine, natural=False)
                else:
                    yield Ground(f"{table['name']} {name}", {b: bands[b] for b in COARSE}, fine)
    validated = {
        Path(path).name
        for group in tomllib.loads((HERE / "recipes" / "data.toml").read_text())["validate"]
        if group["name"] == "eurosat"
        for path in group["files"]
    }
    for path in sorted(root.glob("sentinel2/eurosat-ms/*/*.tif")):
        if (path.name in validated) == (kept == "judge") and (ground := eurosat(path)) is not None:
            yield ground


def bands_of(path: Path) -> list[tuple[str, Doubles]]:
    """The bands of a file by name; a file of one band has its name."""
    with rasterio.open(path) as file:
        names = [text or path.stem.rpartition("_")[2] for text in file.descriptions]
        return list(zip(names, file.read().astype(np.float64), strict=True))


def eurosat(path: Path) -> Ground | None:
    """A chip with its 20 m bands as they were before they were interpolated; None where that can't be found again."""
    bands = dict(bands_of(path))
    tried = {}
    for down in (0, 1):
        for right in (0, 1):
            rows, cols = _spline(64, down), _spline(64, right)
            back = [np.linalg.pinv(each) for each in (rows, cols)]
            found = {band: back[0] @ bands[band] @ back[1].T for band in COARSE}
            left = [np.std((rows @ found[band] @ cols.T - bands[band])[8:-8, 8:-8]) for band in COARSE]
            tried[float(max(left))] = (found, down, right)
    least = min(tried)
    if least > 0.4:
        return None
    found, down, right = tried[least]
    count = 30  # whole coarse pixels, without those at the edges, of which little is known
    coarse = {band: image[4 : 4 + count - 2, 4 : 4 + count - 2] for band, image in found.items()}
    # coarse pixel i of `found` lies at fine pixels 2 (i - 3) - phase and the next
    top, side = 2 - down, 2 - right
    fine = {band: bands[band][top : top + 2 * (count - 2), side : side + 2 * (count - 2)] for band in FINE}
    return Ground(f"EuroSAT {path.stem}", coarse, fine)


def _spline(fine: int, phase: int) -> Doubles:
    """Weights of coarse pixels, from three before the first, of which B-splines make the fine ones."""
    at = (np.arange(fine) + 0.5 + phase) / 2 - 0.5
    d = np.abs(at[:, None] - np.arange(-3, fine // 2 + 4))
    near, far = 2 / 3 - d**2 + d**3 / 2, (2 - np.minimum(d, 2)) ** 3 / 6
    return np.asarray(np.where(d < 1, near, far))


def landsat(root: Path) -> Iterator[Ground]:
    """Landsat's infrared bands as if they were Sentinel-2's 20 m bands, and its others as the 10 m bands."""
    for pattern in ("227074", "017051", "218074", "232056", "231062"):
        for path in sorted(root.glob(f"landsat/xlandsat/*_{pattern}_*_MS.tif")):
            bands = {name.upper(): image for name, image in bands_of(path)}
            named = {f"B{i}": bands.get(f"B{i}") for i in range(2, 8)}
            if any(image is None for image in named.values()):
                continue
            rows, cols = (min(512, side) for side in named["B2"].shape)
            part = {k: image[:rows, :cols] for k, image in named.items()}
            if min(float((image > 0).mean()) for image in part.values()) < 1:
                continue
            yield Ground(
                f"Landsat {path.stem}",
                {},
                {"B02": part["B2"], "B03": part["B3"], "B04": part["B4"], "B08": part["B5"],
                 "B11": part["B6"], "B12": part["B7"]},
                "landsat",
            )  # fmt: skip


def patches(root: Path) -> Iterator[Ground]:
    """Chips of 10 m bands that nothing is validated on."""
    validated = ("patch_15", "patch_16", "patch_17", "patch_34", "patch_35", "patch_36")
    for path in sorted(root.glob("sentinel2/bigearthnet-v2/*.tif")):
        if not path.name.startswith(validated):
            bands = [image for _, image in bands_of(path)]
            yield Ground(f"BigEarthNet-v2 {path.stem}", {}, dict(zip(FINE, bands, strict=True)), "four")


def drawn_responses(random: np.random.Generator, bands: Sequence[str]) -> dict[str, Response]:
    """A response for each band: near the table's, or of some Gaussian."""
    if random.random() < 0.6:
        common = random.normal(0.0, 0.02, 2)
        found = {}
        for band in bands:
            own = _table(band).variance + common + random.normal(0.0, 0.01, 2)
            found[band] = replace(_table(band), variance=tuple(own.clip(-0.02)))
        return found
    level = random.uniform(0.2, 0.46)
    return {band: Response.gaussian(float(np.clip(level + random.normal(0, 0.03), 0.12, 0.5))) for band in bands}


def seen(image: Doubles, response: Response) -> Doubles:
    """What a band of this response shows of one with pixels half as large."""
    out, both = Window(0, 0, image.shape[0] // 2, image.shape[1] // 2), lines(TWICE, response)
    at = needed(out, (both[0].seen, both[1].seen))
    return degraded(around(image, at), at, out, both)


def around(image: Doubles, window: Window) -> Doubles:
    """A window of an image, mirrored where it reaches beyond."""
    rim = max(abs(each) for each in (window.row, window.col, *window.stop))
    rows, cols = (mirrored(side, rim) for side in image.shape)
    inner = window.shift(rim, rim)
    return image[rows[inner.row : inner.stop[0]]][:, cols[inner.col : inner.stop[1]]]


def even(image: Doubles, factor: int = 2) -> Doubles:
    """The image without what is over."""
    return image[: image.shape[0] // factor * factor, : image.shape[1] // factor * factor]


def chosen_guides(random: np.random.Generator, names: Sequence[str]) -> list[str]:
    """All of them mostly, else without the infrared, or some."""
    pick = random.random()
    if pick < 0.7:
        return list(names)
    if pick < 0.88 and "B08" in names:
        return [name for name in names if name != "B08"]
    return [name for name in names if random.random() < 0.6] or [names[0]]


def a_scale_down(ground: Ground, random: np.random.Generator) -> Case:
    """Wald's protocol on real bands."""
    coarse = {band: even(image) for band, image in ground.coarse.items()}
    height, width = next(iter(coarse.values())).shape
    fine = {band: seen(image[: 2 * height, : 2 * width], _table(band)) for band, image in ground.fine.items()}
    responses = drawn_responses(random, list(coarse))
    return _noisy(coarse, coarse, fine, responses, random, ground.fine)


def _known(band: str) -> SensorBand:
    found = SENTINEL_2.band(band)
    assert found is not None
    return found


def _table(band: str) -> Response:
    found = _known(band).response
    assert found is not None
    return found


def elsewhere(ground: Ground, random: np.random.Generator) -> Case:
    """Bands on one grid, of which some are taken for coarse ones."""
    fine = {band: even(image) for band, image in ground.fine.items()}
    if ground.kind == "landsat":
        truth = {"B11": fine["B11"], "B12": fine["B12"]}
        if random.random() < 0.4:
            truth["B8A"] = fine["B08"]
        guides = {b: fine[b] for b in FINE if not (b == "B08" and "B8A" in truth)}
    elif random.random() < 0.6:
        truth = {str(random.choice(["B06", "B07", "B8A"])): fine["B08"]}
        guides = {b: fine[b] for b in FINE[:3]}
    else:
        truth = {"B05": fine["B04"]}
        guides = {b: fine[b] for b in FINE if b != "B04"}
    return _noisy(truth, truth, guides, drawn_responses(random, list(truth)), random, {})


def _noisy(
    bands: Mapping[str, Doubles],
    truth: Mapping[str, Doubles],
    guides: Mapping[str, Doubles],
    responses: Mapping[str, Response],
    random: np.random.Generator,
    finest: Mapping[str, Doubles],
) -> Case:
    share = random.uniform(0.4, 1.2) if random.random() < 0.6 else 0.0
    coarse, noise = {}, {}
    for band, image in bands.items():
        level = noise_of([image])[0].sigma(float(image.mean()))
        spread = share * min(level, 0.15 * float(image.std()))
        low = seen(image, responses[band])
        coarse[band] = low + random.normal(0.0, 1.0, low.shape) * spread
        noise[band] = Noise((spread**2 + (0.3 * level) ** 2), 0.0)
    names = chosen_guides(random, list(guides))
    dirty = {}
    for band in names:
        image = guides[band]
        level = noise_of([finest.get(band, image)])[0].sigma(float(image.mean())) if band in finest else 0.0
        dirty[band] = image + random.normal(0.0, 1.0, image.shape) * share * min(level, 0.1 * float(image.std()))
    return Case(coarse, dirty, truth, responses, noise)


def natively(ground: Ground) -> Iterator[Case]:
    """Coarse bands as they are, guided by visible ones, beside what finer bands show of them."""
    layers = [Layer(b, image, 20.0, (0.0, 0.0)) for b, image in ground.coarse.items()]
    layers += [Layer(b, image, 10.0, (0.0, 0.0)) for b, image in ground.fine.items()]
    for pair in pairs_of(layers, ground.name, "S2A_MSIL2A_{gsd}m.tif"):
        if not pair.bands.startswith(("B8A", "B07", "B06")):
            continue
        try:
            judge = Judge(pair, 2)
        except InputError:
            continue
        if judge.unfit:
            continue
        band = pair.bands.split()[0]
        truth = np.full((pair.product.pixels.shape[1] * 2, pair.product.pixels.shape[2] * 2), np.nan)
        truth[judge.rows, judge.cols] = judge.reference
        edge = truth.copy()
        edge[8:-8, 8:-8] = np.nan
        truth[np.isfinite(edge)] = np.nan
        noise = {
            b: noise_of([image], published=published_noise(_known(b), scale=1e-4))[0]
            for b, image in ground.coarse.items()
        }
        guides = {b: ground.fine[b] for b in (FINE[:3] if band == "B8A" else FINE[:2])}
        yield Case(ground.coarse, guides, {band: truth}, {b: _table(b) for b in ground.coarse}, noise)


def sample(case: Case) -> dict[str, NDArray[np.float32]] | None:
    """What the network is given, and the truth less bicubic, both in units of each band's contrast."""
    names = list(case.coarse)
    coarse = np.stack([case.coarse[band] for band in names])
    guide = np.stack(list(case.guides.values()))
    at, block = (Window(0, 0, *image.shape[1:]) for image in (coarse, guide))
    responses = tuple(case.responses[band] for band in names)
    injection, _ = learn([Piece(coarse, at, guide, block)], TWICE, responses, names)
    rim = 64
    wide = np.stack([around(image, block.grow(rim)) for image in guide]).astype(np.float32)
    core = block.grow(PAD)
    low = injection.coarse(core)
    observation = tuple(
        Band(response, case.noise.get(band, Noise(0.0, 0.0)), name=band)
        for band, response in zip(names, responses, strict=True)
    )
    fast = network_for("fast", 2, observation, device="cpu")
    need = low.grow(40)
    many = np.stack([around(image, need) for image in coarse]).astype(np.float32)
    images = estimates_of(many, need, wide, block.grow(rim), core, injection, fast)
    guides = guides_of(wide, block.grow(rim), core, injection)
    scales = [band.scale for band in injection.bands]
    if not any(scales):
        return None
    bicubic = images.bicubic
    unknown = np.full((block.height, block.width), np.nan)
    truth = np.stack([np.pad(case.truth.get(band, unknown), PAD, constant_values=np.nan) for band in names])
    target = (truth - bicubic) * np.array(scales)[:, None, None]
    x, y = SLOTS.placed(names, images), np.full((len(COARSE), *target.shape[1:]), np.nan)
    for band, image in zip(names, target, strict=True):
        y[COARSE.index(band)] = image
    g = SLOTS.guided(list(case.guides), guides)
    told = SLOTS.told(names, observation, 2.0)
    if not np.isfinite(x).all() or not np.isfinite(g).all():
        return None
    return {"x": x.astype(np.float16), "g": g.astype(np.float16), "y": y.astype(np.float16), "told": told}


def main() -> None:
    """Write the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kept", default="fit")
    parser.add_argument("--draws", type=int, default=4)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    torch.set_num_threads(1)
    arrays: dict[str, NDArray[np.float32]] = {}
    counts: dict[str, int] = defaultdict(int)

    def keep(kind: str, name: str, case: Case) -> None:
        made = sample(case)
        if made is not None:
            for key, value in made.items():
                arrays[f"{kind}|{name}|{counts[kind]}|{key}"] = value
            counts[kind] += 1

    for ground in grounds(given.root, given.kept):
        for _ in range(given.draws):
            keep("down", ground.name, a_scale_down(ground, random))
        if ground.natural:
            for case in natively(ground):
                keep("native", ground.name, case)
    print(dict(counts), file=sys.stderr)
    if given.kept == "fit":
        for ground in (*landsat(given.root), *patches(given.root)):
            for _ in range(max(1, given.draws // 2)):
                keep("elsewhere", ground.name, elsewhere(ground, random))
    print(dict(counts), file=sys.stderr)
    np.savez(given.out, **arrays)


if __name__ == "__main__":
    main()
