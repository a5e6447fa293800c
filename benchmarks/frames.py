"""Several dates fused onto one, against the single-frame result: simulated, and natively against a finer band.

    python benchmarks/frames.py planes/validate.npz [--scale 2] [--side 160] [--every 4] [--model MODEL] [--json OUT]
    python benchmarks/frames.py --native DATA_ROOT [--every 3] [--model MODEL] [--json OUT]
    python benchmarks/frames.py --ndvi DATA_ROOT

Simulated: validation scenes (scripts/prepare_planes.py) are seen at random shifts with the response of Sentinel-2's B8A
and SNR 100; all else (registration, gains, weights) is found by `geosr.upscale(..., fuse=True)` from the files.
Natively: clear dates of series/worldcereal are fused onto one of them by their 20 m bands, without any option, and B8A
is judged against that date's B08 (geosr/evaluation/natural.py). NDVI: each clear date is fused with the seven nearest
in time; how much of what these differ by from it is in the result? Reading the series takes h5netcdf. MODEL is what
fuses, by default what `--fuse` takes; of `fast` that is back-projection. The single-frame result is always that of
`fast`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

import geosr
import geosr.xarray
from benchmarks.protocol import BORDER, Scene, load_scenes
from geosr.evaluation.metrics import psnr
from geosr.evaluation.natural import Judge, Pair, Product
from geosr.frames import Cell
from geosr.models.regrid import degraded, lines
from geosr.sensor_table import SENTINEL_2
from geosr.window import Window
from geosr.xarray import frames

Doubles = NDArray[np.float64]
SINGLE = "fast"
"""The model of one date."""
COUNTS = (2, 4, 8, 16)
SNR = 100
BAD = ("black", "duplicate", "cloudy", "shifted by a pixel", "brighter by 1.2", "a changed field")
_RIM = 24
"""Coarse pixels by which a truth is continued, mirrored."""
_SERIES = "series/worldcereal/S2_L2A_{}_00002806639B424A_32631_2017-08-01_2018-11-30.nc"
_CLEAR = 0.98
"""Share of a date's pixels that SCL calls ground, water or unclassified."""


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints, a row a scene or date and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planes", type=Path, nargs="?")
    parser.add_argument("--native", type=Path, metavar="DATA_ROOT")
    parser.add_argument("--ndvi", type=Path, metavar="DATA_ROOT")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--side", type=int, default=160, help="the middle of each scene, pixels")
    parser.add_argument("--every", type=int, default=1, help="every so manieth scene or date")
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.ndvi:
        smeared(options.ndvi, options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.native:
            rows = list(native(options.native, Path(folder), options.every, options.model))
        else:
            scenes = load_scenes(options.planes, options.side)[:: options.every]
            rows = list(simulated(scenes, Path(folder), options.scale, options.model))
    for key in rows[0]["gain"]:
        gains = [row["gain"][key] for row in rows if row["gain"].get(key) is not None]
        print(f"{key}: {np.mean(gains):+.3f} dB in the mean, {min(gains):+.3f} at least, {len(gains)} cases")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def simulated(scenes: Sequence[Scene], folder: Path, scale: int, model: str | None) -> Iterator[dict[str, Any]]:
    """Of the first band of each scene: dB over the single-frame result by number of dates, and with one gone wrong."""
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        truth = scene.bands[0].astype(np.float64)
        if truth.min() < 1 or min(truth.shape) < 96:
            continue
        unit = 4000 / truth.max()  # of whole numbers, as products are
        truth = truth[: truth.shape[0] // scale * scale, : truth.shape[1] // scale * scale] * unit
        shifts = [(0.0, 0.0), *(tuple(rng.uniform(-0.5, 0.5, 2)) for _ in range(max(COUNTS) - 1))]
        dates = [seen(truth, scale, shift, rng) for shift in shifts]  # type: ignore[arg-type]
        single = result(folder, dates[:1], scale, model=SINGLE)
        levels = {"single": _decibels(single, truth, scale)}
        for count in COUNTS:
            levels[f"{count} dates"] = _decibels(result(folder, dates[:count], scale, model=model), truth, scale)
        levels["7 dates"] = _decibels(result(folder, [*dates[:3], *dates[4:8]], scale, model=model), truth, scale)
        for kind in BAD:
            gone = [*dates[:3], spoilt(kind, dates), *dates[4:8]]
            levels[f"7 and one {kind}"] = _decibels(result(folder, gone, scale, model=model), truth, scale)
        gain = {key: level - levels["single"] for key, level in levels.items() if key != "single"}
        print(scene.name, f"{levels['single']:.2f}", {key: round(each, 2) for key, each in gain.items()}, flush=True)
        yield {"scene": scene.name, "single": levels["single"], "gain": gain}


def seen(truth: Doubles, scale: int, shift: tuple[float, float], rng: np.random.Generator) -> Doubles:
    """The truth as Sentinel-2's B8A would see it, shifted (down, right) by coarse pixels, with noise."""
    response = next(band.response for band in SENTINEL_2.bands if band.name == "B8A")
    assert response is not None
    shape = truth.shape[0] // scale, truth.shape[1] // scale
    around = np.pad(truth, _RIM * scale, mode="symmetric")
    at = Window(-_RIM * scale, -_RIM * scale, *around.shape)
    rows, cols = (_fraction(-each) for each in shift)
    both = lines(Cell(Window(0, 0, *shape), rows, cols).placement(scale), response)
    image = degraded(around, at, Window(0, 0, *shape), both)
    return np.asarray(image + rng.standard_normal(shape) * image.mean() / SNR)


def spoilt(kind: str, dates: Sequence[Doubles]) -> Doubles:
    """The fourth date, gone wrong."""
    date, (height, width) = dates[3].copy(), dates[3].shape
    rows, cols = np.mgrid[:height, :width]
    if kind == "black":
        return np.zeros_like(date)
    if kind == "duplicate":
        return dates[0]
    if kind == "cloudy":
        apart = (rows - height / 2) ** 2 + (cols - width / 2) ** 2
        return np.asarray(date + 3 * date.max() * np.exp(-apart / 2 / (height / 5) ** 2))
    if kind == "shifted by a pixel":
        return np.roll(date, 1, axis=0)
    if kind == "brighter by 1.2":
        return np.asarray(1.2 * date)
    field = np.s_[height // 4 : height // 2, width // 4 : 2 * width // 3]
    date[field] = 0.5 * date[field] + 0.2 * date.mean()
    return date


def native(root: Path, folder: Path, every: int, model: str | None) -> Iterator[dict[str, Any]]:
    """Of each reference date: dB of B8A over its single-frame result, beside its B08, by number of nearest dates."""
    fine, coarse, clear = _series(root)
    days = coarse.timestamp.values.astype("datetime64[D]")
    names = [str(name) for name in coarse if str(name).startswith("B")]
    bands = np.stack([coarse[name].values for name in names], 1)
    place = names.index("B8A")
    for date in clear[::every]:
        product = Product("S2A_MSIL2A_20m.tif", ("B8A",), bands[date, place][None], 20.0)
        judge = Judge(Pair(str(days[date]), "", product, (1.0,), fine["B08"].values[date].astype(float), 2, (1, 0)), 2)
        if judge.unfit:
            continue
        near = sorted(clear, key=lambda other: abs(int((days[other] - days[date]).astype(int))))
        row: dict[str, Any] = {"date": str(days[date]), "gain": {}, "correlation": {}, "days": {}, "used": {}}
        before = judge.score(result(folder, bands[date][None], 2, names, SINGLE)[place][None])
        for count in COUNTS:
            chosen = near[:count]
            after = judge.score(result(folder, bands[chosen], 2, names, model)[place][None])
            row["gain"][f"{count} dates"] = after.gain - before.gain
            row["correlation"][f"{count} dates"] = after.correlation - before.correlation
            row["days"][f"{count} dates"] = max(abs(int((days[each] - days[date]).astype(int))) for each in chosen)
        row["single"] = before.gain
        print(
            row["date"],
            {key: round(each, 3) for key, each in row["gain"].items()},
            {key: round(each, 4) for key, each in row["correlation"].items()},
            row["days"],
            flush=True,
        )
        yield row


def smeared(root: Path, model: str | None) -> None:
    """Prints what of the neighbours' NDVI is in that of a date that is fused with them, and how far its means move."""
    import xarray as xr

    fine, _, clear = _series(root)
    bands = fine[["B04", "B08"]].isel(timestamp=clear).rename(timestamp="time")
    stored = xr.concat([bands["B04"], bands["B08"]], "band").transpose("time", "band", "y", "x")
    stored = stored.assign_coords(band=["B04", "B08"]).assign_attrs(platform="Sentinel-2A").rename("stored")
    one = _ndvi(stored.geosr.upscale(SINGLE, 2))
    both = _ndvi(stored.geosr.upscale(model, 2, fuse=True, reference="each")["stored"])
    print(f"{len(one)} dates; their means move by {np.abs((both - one).mean((1, 2))).max():.4f} at most")
    near = [frames._others(stored, "time", date, True) for date in range(len(one))]
    for side in (1, 2, 4, 16):
        single, fused = (_averaged(each, side) for each in (one, both))
        apart = np.stack([single[list(others)].mean(0) - own for others, own in zip(near, single, strict=True)])
        moved = fused - single
        print(
            f"blocks of {5 * side} m: {(moved * apart).sum() / (apart**2).sum():.2%} of what the neighbours differ by "
            f"({np.sqrt(np.mean(apart**2)):.4f} rms); the result moves by {np.sqrt(np.mean(moved**2)):.4f} rms"
        )


def _series(root: Path) -> tuple[Any, Any, NDArray[np.intp]]:
    """The bands of 10 m and of 20 m of the series, and which dates are clear."""
    import xarray as xr

    fine, coarse = (xr.open_dataset(root / _SERIES.format(size), mask_and_scale=False) for size in ("10m", "20m"))
    return fine, coarse, np.flatnonzero(np.isin(coarse["SCL"].values, (4, 5, 6, 7)).mean((1, 2)) > _CLEAR)


def _ndvi(stored: Any) -> Doubles:
    """(dates, h, w) of numbers whose bands are red and near infrared."""
    red, near = (stored.isel(band=band).values.astype(np.float64) for band in (0, 1))
    return np.asarray((near - red) / (near + red))


def _averaged(images: Doubles, side: int) -> Doubles:
    """Images (dates, h, w), each block of so many pixels a side as one."""
    count, height, width = images.shape
    return np.asarray(images.reshape(count, height // side, side, width // side, side).mean((2, 4)))


def result(
    folder: Path,
    dates: Sequence[NDArray[Any]] | NDArray[Any],
    scale: int,
    names: Sequence[str] = ("B8A",),
    model: str | None = None,
) -> Doubles:
    """(bands, H, W) of dates (bands, h, w) or (h, w), fused onto the first; of one date its single-frame result."""
    paths = []
    for number, date in enumerate(dates):
        paths.append(folder / f"S2A_MSIL2A_{number:03d}_20m.tif")
        _write(paths[-1], np.asarray(date).reshape(len(names), *np.shape(date)[-2:]), names)
    told: dict[str, Any] = {"fuse": True} if len(paths) > 1 else {}
    source: Any = paths if len(paths) > 1 else paths[0]
    try:
        geosr.upscale(source, folder / "out.tif", scale=scale, model=model, overwrite=True, **told)
    except geosr.errors.InputError as error:
        if "none of the other dates fits" not in str(error):
            raise
        geosr.upscale(paths[0], folder / "out.tif", scale=scale, model=SINGLE, overwrite=True)
    with rasterio.open(folder / "out.tif") as dataset:
        return np.asarray(dataset.read(), np.float64)


def _write(path: Path, bands: NDArray[Any], names: Sequence[str]) -> None:
    count, height, width = bands.shape
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "uint16", "crs": "EPSG:32631", "count": count}
    transform = Affine(20, 0, 5e5, 0, -20, 5e6)
    with rasterio.open(path, "w", height=height, width=width, transform=transform, **profile) as dst:
        dst.write(np.clip(np.round(bands), 0, 65535).astype("uint16"))
        dst.descriptions = tuple(names)


def _fraction(value: float) -> Any:
    from fractions import Fraction

    return Fraction(round(value * 256), 256)


def _decibels(estimate: Doubles, truth: Doubles, scale: int) -> float:
    inner = slice(2 * BORDER * scale, -2 * BORDER * scale)
    return psnr(estimate[0, inner, inner], truth[inner, inner], peak=float(np.ptp(truth)))


if __name__ == "__main__":
    main()
