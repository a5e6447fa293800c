"""Clips of a moving satellite camera, simulated: each frame made finer alone, and with those beside it.

    python benchmarks/video.py planes/validate.npz [--scale 4] [--sigma 1.2 1.6 2.0] [--every 4] [--json OUT]

A drawn pan and vibrations move a camera over a validation scene (scripts/prepare_planes.py). Frames are blurred by a
Gaussian of `sigma` pixels of the truth, taken every `scale` pixels, have SNR 100 and 8 bits, and are a clip in FFV1,
which is upscaled as `geosr.upscale` does it, told that blur (`--estimated`: told nothing). Pairs of frames lie whole
pixels of the truth apart: there each result is compared with the truth, and its flicker is the mean change between them
on the same ground.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.protocol import BORDER, load_scenes
from geosr.evaluation.metrics import psnr
from geosr.video.planes import Planes
from geosr.video.run import prepare_clip

Doubles = NDArray[np.float64]
FRAMES, JUDGED = 9, (3, 4, 5)
"""Frames of a clip, and those that are judged, whole pixels of the truth from each other."""
SNR = 100
_AROUND = 12
"""Coarse pixels around what a frame shows, over which the camera moves."""


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints, a row a clip and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planes", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--sigma", type=float, nargs="+", default=[1.2, 1.6, 2.0])
    parser.add_argument("--every", type=int, default=1, help="every so manieth scene")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--estimated", action="store_true", help="blur and noise are told by the clip")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    methods = {
        "bicubic": {"model": "bicubic", "window": 1},
        "alone": {"model": options.model, "window": 1},
        "moving": {"model": options.model, "window": options.window},
    }
    rows = []
    for sigma in options.sigma:
        found = list(measured(options, sigma, methods))
        rows += found
        print(f"sigma {sigma}: {_summary(found)}", flush=True)
    print(f"all: {_summary(rows)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def measured(options: Any, sigma: float, methods: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of the first band of each scene: PSNR and flicker by method."""
    for number, scene in enumerate(load_scenes(options.planes)[:: options.every]):
        image = scene.bands[0].astype(np.float64)
        scale, rim = options.scale, _AROUND * options.scale
        side = (min(image.shape) - 2 * rim) // scale * scale
        if side < 96 or image.min() <= 0:
            continue
        image *= 200 / np.quantile(image, 0.999)
        rng = np.random.default_rng(number)
        path = camera(rng, scale)
        frames = [_seen(image, sigma, scale, at, side, rng) for at in path]
        told = {} if options.estimated else {"mtf": told_mtf(sigma, scale), "snr": SNR}
        row: dict[str, Any] = {"scene": scene.name, "sigma": sigma, "psnr": {}, "flicker": {}}
        for name, method in methods.items():
            made = upscaled(frames, scale, **told, **method)
            row["psnr"][name], row["flicker"][name] = judged(made, image, path, scale, side)
        print(f"{scene.name[:40]:40} {sigma}", _told(row["psnr"], 2), "flicker", _told(row["flicker"], 3), flush=True)
        yield row


def camera(rng: np.random.Generator, scale: int) -> list[Doubles]:
    """Where the corner of each frame lies, truth's pixels: a pan, and vibrations of about a coarse pixel."""
    speed, angle = rng.uniform(0.2, 1.6) * scale, rng.uniform(0, 2 * np.pi)
    pan = np.array([math.sin(angle), math.cos(angle)]) * speed
    shake = [(rng.uniform(0.1, 0.6) * scale, rng.uniform(0.1, 0.5), rng.uniform(0, 6.3)) for _ in range(4)]
    path = []
    for time in range(FRAMES):
        waves = [size * math.sin(2 * math.pi * rate * time + phase) for size, rate, phase in shake]
        at = _AROUND * scale + pan * (time - FRAMES // 2) + np.array([waves[0] + waves[1], waves[2] + waves[3]]) / 2
        path.append(np.round(at) if time in JUDGED else at)
    return path


def told_mtf(sigma: float, scale: int) -> float:
    """The MTF whose response relative to the result is a Gaussian of `sigma` pixels of it."""
    variance = (sigma / scale) ** 2 / (1 - 1 / scale**2)
    return math.exp(-(math.pi**2) / 2 * variance)


def upscaled(frames: list[NDArray[np.uint8]], scale: int, **options: Any) -> dict[int, Doubles]:
    """Results of the judged frames of a clip."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder) / "clip.mkv", frames)
        run = prepare_clip(Path(folder) / "clip.mkv", Path(folder) / "out.mkv", scale=scale, **options)
    made = {}
    for time in JUDGED:
        around = range(time - run.window // 2, time + run.window // 2 + 1)
        one, others = frames[time][None], [frames[other][None] for other in around if other != time]
        placed = [(other, run.moving.place(one, other)) for other in others]
        made[time] = run.moving.finer(one, placed)[0].astype(np.float64)
    return made


def judged(made: dict[int, Doubles], image: Doubles, path: list[Doubles], scale: int, side: int) -> tuple[float, float]:
    """PSNR of the judged frames, and how much they change on the same ground."""
    inner = 2 * BORDER * scale
    levels, found = [], []
    for time in JUDGED:
        row, col = (int(each) for each in path[time])
        truth = image[row : row + side, col : col + side]
        cut = np.s_[inner : side - inner, inner : side - inner]
        levels.append(psnr(made[time][cut], truth[cut], peak=float(np.ptp(image))))
        whole = np.full(image.shape, np.nan)
        whole[row : row + side, col : col + side][cut] = made[time][cut]
        found.append(whole)
    flicker = [float(np.nanmean(np.abs(one - other))) for one, other in pairwise(found)]
    return float(np.mean(levels)), float(np.mean(flicker))


def _seen(
    image: Doubles, sigma: float, scale: int, at: Doubles, side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A frame whose corner lies at a place of the truth."""
    blurred = ndimage.gaussian_filter(image, sigma, truncate=6)
    centres = [start + (np.arange(side // scale) + 0.5) * scale - 0.5 for start in at]
    seen = ndimage.map_coordinates(blurred, np.meshgrid(*centres, indexing="ij"), order=5, mode="mirror")
    seen += rng.standard_normal(seen.shape) * seen.mean() / SNR
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def _write(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    planes = Planes.of("gray", *frames[0].shape[::-1])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = planes.width, planes.height, planes.format
        for time, image in enumerate(frames):
            frame = planes.write((image,))
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _told(figures: dict[str, float], digits: int) -> str:
    return " ".join(f"{name} {figure:.{digits}f}" for name, figure in figures.items())


def _summary(rows: list[dict[str, Any]]) -> str:
    """Means and the worst of all clips."""
    over = {name: [row["psnr"]["moving"] - row["psnr"][name] for row in rows] for name in ("bicubic", "alone")}
    alone = [row["psnr"]["alone"] - row["psnr"]["bicubic"] for row in rows]
    flicker = {name: np.mean([row["flicker"][name] / row["flicker"]["bicubic"] for row in rows]) for name in over}
    flicker["moving"] = np.mean([row["flicker"]["moving"] / row["flicker"]["bicubic"] for row in rows])
    least = ", ".join(f"{np.mean(each):+.2f} over {name} ({min(each):+.2f} at least)" for name, each in over.items())
    return f"{len(rows)} clips: {least}; alone {np.mean(alone):+.2f}; flicker over bicubic's {_told(flicker, 2)}"


if __name__ == "__main__":
    main()
