"""`glp` judged: 40 to 20 m with truth, a guide of noise, shifts, natively, Landsat's pan band, time.

    python benchmarks/glp.py DATA_ROOT [--kept judge] [--model glp] [--only truth noise shift native pan time]

Places are those of recipes/natural.toml. With truth (Wald's protocol): Sentinel-2's 20 m bands are degraded to 40 m and
its 10 m bands to 20 m by the sensor table's responses, and the result is compared with the 20 m bands. Natively: B05 to
B8A as they are, guided by B02 to B04 alone, are judged beside B08.
"""

from __future__ import annotations

import argparse
import math
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.evaluation.metrics import over_places, shift
from geosr.evaluation.natural import Judge, Pair, Product
from geosr.models.classical import upsample_into
from geosr.models.filters import mirrored
from geosr.models.glp import Injection
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.guided import GuidedNetwork
from geosr.models.refined import refined
from geosr.models.registry import find
from geosr.models.regrid import degraded, lines, needed, retraced
from geosr.noise import noise_of, published_noise
from geosr.placement import Placement
from geosr.radiometry import fill
from geosr.response import Response
from geosr.sensor_table import LANDSAT_8, SENTINEL_2, Sensor
from geosr.sensors import Band
from geosr.window import Window

Doubles = NDArray[np.float64]

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "natural.toml"
SETS = "BigEarthNet-MS", "BigEarthNet-tiny"
LANDSAT_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7")
COARSE, FINE = ("B05", "B06", "B07", "B8A", "B11", "B12"), ("B02", "B03", "B04", "B08")
TWICE = Placement((Fraction(2),) * 2, (Fraction(0),) * 2)
MODEL = ["glp"]
"""The one that is judged."""
RIM = 6
"""Pixels of a result along its edges that are not judged."""
PAN = {
    "Gulf coast, small clouds": ("natural/landsat8-020039/LC80200392015216LGN00", "_MS.tif", "_PAN.tif", None),
    "its south, free of clouds": (
        "natural/landsat8-020039/LC80200392015216LGN00",
        "_MS.tif",
        "_PAN.tif",
        Window(505, 0, 98, 405),
    ),
    "Elkton": ("landsat/rasterframes/L8_Elkton", "_MS_30m.tif", "_PAN_15m.tif", Window(0, 70, 169, 116)),
    "Ethiopia": ("landsat/satellite-R/L8_167055", "_MS_30m.tif", "_PAN_15m.tif", None),
}
"""Coarse and pan file, and the window of the coarse one that is used."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Bands of one product at 20 and 10 m."""

    name: str
    place: str
    coarse: Doubles
    fine: Doubles


def scenes(root: Path, kept: Sequence[str]) -> Iterator[Scene]:
    """The products of Sentinel-2 that are listed."""
    for table in tomllib.loads(RECIPE.read_text())["pairs"]:
        if table["name"] not in SETS:
            continue
        named = [(place, name) for each in kept for place, names in table.get(each, {}).items() for name in names]
        for place, name in named:
            files = [path for each in table["files"] for path in sorted(root.glob(each.replace("{}", name)))]
            bands = dict(band for path in files for band in bands_of(path))
            coarse, fine = (np.stack([bands[band] for band in wanted]) for wanted in (COARSE, FINE))
            yield Scene(name, place, coarse, fine)


def bands_of(path: Path) -> list[tuple[str, Doubles]]:
    """The bands of a file by name; a file of one band has its name."""
    with rasterio.open(path) as file:
        names = [text or path.stem.rpartition("_")[2] for text in file.descriptions]
        return list(zip(names, file.read().astype(np.float64), strict=True))


def around(image: Doubles, window: Window) -> Doubles:
    """A window of (bands, h, w), mirrored where it reaches beyond."""
    rim = max(abs(each) for each in (window.row, window.col, *window.stop))
    rows, cols = (mirrored(side, rim) for side in image.shape[1:])
    inner = window.shift(rim, rim)
    return image[:, rows[inner.row : inner.stop[0]]][:, :, cols[inner.col : inner.stop[1]]]


def responses(sensor: Sensor, bands: Sequence[str]) -> tuple[Response, ...]:
    """Those of the table."""
    return tuple(band.response for band in map(sensor.band, bands) if band is not None and band.response is not None)


def seen(fine: Doubles, placement: Placement, every: Sequence[Response]) -> Doubles:
    """What coarse bands of these responses show of bands (bands, h, w), twice as fine."""
    out = Window(0, 0, fine.shape[1] // 2, fine.shape[2] // 2)
    images = []
    for image, response in zip(fine, every, strict=True):
        both = lines(placement, response)
        at = needed(out, (both[0].seen, both[1].seen))
        images.append(degraded(around(image[None], at)[0], at, out, both))
    return np.stack(images)


def learnt(coarse: Doubles, guide: Doubles, placement: Placement, every: tuple[Response, ...]) -> Injection:
    """What is learnt of a whole scene."""
    at, block = (Window(0, 0, *image.shape[1:]) for image in (coarse, guide))
    return learn([Piece(coarse, at, guide, block)], placement, every, [""] * len(coarse))[0]


def network(injection: Injection, coarse: Doubles, bands: Sequence[str], guides: Sequence[str]) -> GuidedNetwork:
    """The model that is judged, with what was learnt."""
    model = find(MODEL[0], 2)
    table = [SENTINEL_2.band(band) for band in bands]
    every = zip(injection.responses, coarse, bands, table, strict=True)
    observation = tuple(
        Band(response, noise_of([image], published=known and published_noise(known, scale=1e-4))[0], name=name)
        for response, image, name, known in every
    )
    if not model.card.guides:
        return GuidedNetwork(model=model, observation=observation, injection=injection)
    return refined(model, observation, injection, guides, device="cpu", precision="float32", rounding=0.29)


def fused(made: GuidedNetwork, coarse: Doubles, guide: Doubles, core: Window, lies: Window | None = None) -> Doubles:
    """A core of the result; `lies` is where the coarse bands lie on their grid."""
    at, block = made.coarse(core), core.grow(made.halo)
    told = at.within(lies) if lies else at
    low, high = (image.astype(np.float32) for image in (around(coarse, told), around(guide, block)))
    return np.asarray(made.sharpen(low, at, high, block, core), np.float64)


def sharpened(coarse: Doubles, guide: Doubles, every: tuple[Response, ...], guides: Sequence[str] = FINE) -> Doubles:
    """The whole result of Sentinel-2's bands."""
    made = network(learnt(coarse, guide, TWICE, every), coarse, COARSE, guides)
    return fused(made, coarse, guide, Window(0, 0, *guide.shape[1:]))


def bicubic(coarse: Doubles) -> Doubles:
    """Twice as many pixels."""
    out = np.empty((len(coarse), coarse.shape[1] * 2, coarse.shape[2] * 2))
    for image, target in zip(coarse, out, strict=True):
        upsample_into(target, image, 2)
    return out


def errors(result: Doubles, truth: Doubles) -> Doubles:
    """RMSE of each band."""
    inner = (result - truth)[:, RIM:-RIM, RIM:-RIM]
    return np.asarray(np.sqrt((inner**2).mean((1, 2))))


def degraded_pair(scene: Scene) -> tuple[Doubles, Doubles, Doubles]:
    """The 20 m bands at 40 m, the 10 m bands at 20 m, and the 20 m bands, on the ground that all have."""
    height, width = (
        min(one // 2, other) // 2 * 2 for one, other in zip(scene.fine.shape[1:], scene.coarse.shape[1:], strict=True)
    )
    truth, fine = scene.coarse[:, :height, :width], scene.fine[:, : 2 * height, : 2 * width]
    return seen(truth, TWICE, responses(SENTINEL_2, COARSE)), seen(fine, TWICE, responses(SENTINEL_2, FINE)), truth


def against_truth(every: list[Scene], guide_of: Callable[[Doubles], Doubles], title: str) -> None:
    """RMSE over bicubic's, and how far the result, degraded, lies from the coarse band."""
    told = responses(SENTINEL_2, COARSE)
    ratios: list[tuple[str, Doubles]] = []
    left: list[tuple[str, float]] = []
    sums = np.zeros(2)
    for scene in every:
        coarse, guide, truth = degraded_pair(scene)
        result, plain = sharpened(coarse, guide_of(guide), told), bicubic(coarse)
        both = [errors(each, truth) for each in (result, plain)]
        ratios.append((scene.place, both[0] / both[1]))
        sums += [each.mean() for each in both]
        lacking, before = (errors(seen(each, TWICE, told), coarse).mean() for each in (result, plain))
        left.append((scene.place, float(lacking / before)))
    print(f"{title}: RMSE over bicubic's, mean over places with its 95 % interval")
    for index, band in enumerate((*COARSE, "mean")):
        figures = [(place, float(each[index] if index < len(COARSE) else each.mean())) for place, each in ratios]
        print(f"  {band:5}{over_places(figures)}, worst {max(figure for _, figure in figures):.3f}")
    print(f"  mean RMSE of all scenes and bands over that of bicubic's: {sums[0] / sums[1]:.3f}")
    print(f"  degraded again, it lacks {over_places(left)} of what bicubic's lacks of the coarse band")


def shifts(every: list[Scene]) -> None:
    """What is found of shifts that were made, in guide pixels."""
    print("shift made (down, right): scenes in which it was corrected, mean and worst distance from it there")
    told = responses(SENTINEL_2, COARSE)
    for down, right in ((0.0, 0.0), (0.3, 0.3), (-0.3, 0.3), (1.2, 1.2), (-1.2, 0.6)):
        there = TWICE.moved(Fraction(str(down)), Fraction(str(right)))
        off = []
        for scene in every:
            _, guide, truth = degraded_pair(scene)
            injection = learnt(seen(truth, there, told), guide, TWICE, told)
            if injection.corrected:
                off.append(math.hypot(injection.shift[0] - down, injection.shift[1] - right))
        distance = f", {np.mean(off):.3f} and {max(off):.3f}" if off else ""
        print(f"  {down:+.1f} {right:+.1f}: {len(off)} of {len(every)}{distance}")


def natively(every: list[Scene]) -> None:
    """B07 and B8A as they are, guided by B02 to B04, beside B08."""
    told = responses(SENTINEL_2, COARSE)
    for band in ("B07", "B8A"):
        figures: dict[str, list[tuple[str, float]]] = {"gain": [], "correlation": [], "energy": []}
        index = COARSE.index(band)
        weights = tuple(float(each == band) for each in COARSE)
        for scene in every:
            judge = Judge(
                Pair(
                    scene.name, scene.place, Product(scene.name, COARSE, scene.coarse, 20.0), weights, scene.fine[3], 2
                ),
                2,
            )
            if judge.unfit:
                continue
            result = sharpened(scene.coarse, scene.fine[:3], told, FINE[:3])
            score = judge.score(result)
            for name, values in figures.items():
                values.append((scene.place, getattr(score, name)))
        said = ", ".join(f"{name} {over_places(values)}" for name, values in figures.items())
        print(f"natively, {COARSE[index]} guided by B02 to B04, beside B08: {said}")


def pan(root: Path) -> None:
    """Landsat's bands on its pan band's grid: where they lie to it before and after, in pan pixels."""
    for place, (name, coarse_end, fine_end, part) in PAN.items():
        (coarse, own), (fine, grid) = (raster(root / (name + end)) for end in (coarse_end, fine_end))
        placement = Placement.between(own, grid)
        at, block = (Window(0, 0, *image.shape[1:]) for image in (coarse, fine))
        if part is not None:
            coarse, at = coarse[:, *part.slices], part
        every = responses(LANDSAT_8, ("B3",)) * len(coarse)
        injection, said = learn(
            [Piece(coarse, at, fine, block)], placement, every, [str(i) for i in range(len(coarse))]
        )
        filled, guide = (np.nan_to_num(fill(each, np.isfinite(each))) for each in (coarse, fine))
        inside = placement.covered(at.grow(-8)).clip(block.grow(-16))
        made = network(injection, filled, LANDSAT_BANDS[: len(filled)], ("B8",))
        result = fused(made, filled, guide, inside, at)
        lies = [shift(image, guide[0][inside.slices]) for image in result]
        both = lines(injection.placement, every[0])
        out = injection.placement.cover(inside).grow(-10)
        again = degraded(result[0], inside, out, both) - filled[0][out.within(at).slices]
        plain = retraced(filled[0], at, out, both) - filled[0][out.within(at).slices]
        found = ", ".join(f"({down:+.2f}, {right:+.2f})" for down, right in lies)
        print(f"pan, {place}: corner {' '.join(map(str, placement.corner))}; {said[0]}; {said[1]}")
        print(
            f"  the result's bands lie (down, right) of pan: {found}; "
            f"degraded, it lacks {again.std() / plain.std():.2f} of what bicubic's lacks"
        )


def raster(path: Path) -> tuple[Doubles, Affine]:
    """Numbers of the six bands, or of all where none is named so, with NaN for no data, and the grid."""
    with rasterio.open(path) as file:
        known = [band for band, name in enumerate(file.descriptions, 1) if name in LANDSAT_BANDS]
        values = file.read(known or None).astype(np.float64)
        values[(values == 0) | (values == file.nodata)] = np.nan
        return values, file.transform


def timed() -> None:
    """Processor seconds per megapixel of result, of six bands with four guides."""
    injection = learnt(
        *(np.random.default_rng(0).normal(1000, 9, (n, s, s)) for n, s in ((6, 64), (4, 128))),
        TWICE,
        responses(SENTINEL_2, COARSE),
    )
    core = Window(0, 0, 512, 512)
    made = network(injection, np.zeros((6, 4, 4)), COARSE, FINE)
    at, block = made.coarse(core), core.grow(made.halo)
    coarse, guide = (
        np.random.default_rng(1).normal(1000, 9, (n, w.height, w.width)).astype(np.float32)
        for n, w in ((6, at), (4, block))
    )
    out = np.empty((512, 512), np.float32)
    pieces = [np.ascontiguousarray(image[:256, :256]) for image in coarse]
    took = []
    for run in (
        lambda: made.sharpen(coarse, at, guide, block, core),
        lambda: [upsample_into(out, each, 2) for each in pieces],
    ):
        run()
        start = time.process_time()
        run()
        took.append((time.process_time() - start) / core.size * 1e6)
    print(f"time: {took[0]:.2f} s a megapixel of six bands with four guides, bicubic {took[1]:.3f} s; halo {made.halo}")


def main() -> None:
    """Print all figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--kept", nargs="+", default=["fit", "judge"])
    parser.add_argument("--only", nargs="+", default=["truth", "noise", "shift", "native", "pan", "time"])
    parser.add_argument("--model", default="glp")
    given = parser.parse_args()
    MODEL[0] = given.model
    every = list(scenes(given.root, given.kept))
    random = np.random.default_rng(0)
    runs: dict[str, Callable[[], None]] = {
        "truth": lambda: against_truth(every, lambda guide: guide, "40 to 20 m"),
        "noise": lambda: against_truth(every, lambda guide: random.normal(0.0, 1e4, guide.shape), "a guide of noise"),
        "shift": lambda: shifts(every),
        "native": lambda: natively(every),
        "pan": lambda: pan(given.root),
        "time": timed,
    }
    for name in given.only:
        runs[name]()


if __name__ == "__main__":
    main()
