"""What xarray and Dask cost over the plain file path: python benchmarks/xarray_dask.py [--side 1024] [--model fast]

Every way upscales the same scene by two into a GeoTIFF, by one thread of one process, in turns; ratios of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from distributed import Client, LocalCluster

import geosr


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        src = make_scene(folder, options.side)
        print_graph(options.model)
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            compare(ways(src, folder, options.model, client), options.rounds)


def ways(src: Path, folder: Path, model: str, client: Client) -> dict[str, Callable[[], object]]:
    def plain(**place: object) -> object:
        return geosr.upscale(src, folder / "a.tif", model=model, scale=2, workers=1, overwrite=True, **place)

    def accessor() -> object:
        with dask.config.set(scheduler="synchronous"):
            fine = geosr.open_raster(src).geosr.upscale(model, 2)
            return fine.geosr.to_geotiff(folder / "b.tif", workers=1, overwrite=True)

    return {"file": plain, "accessor": accessor, "cluster of one worker": lambda: plain(client=client)}


def compare(ways: dict[str, Callable[[], object]], rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first one loads and warms up
                taken[name].append(time.perf_counter() - start)
    base = statistics.median(taken["file"])
    for name, seconds in taken.items():
        print(f"{name:24} {statistics.median(seconds):7.2f} s   {statistics.median(seconds) / base:5.2f}")


def print_graph(model: str) -> None:
    pixels = da.zeros((4, 100_000, 100_000), chunks=(4, 1024, 1024), dtype="uint16")
    array = xr.DataArray(pixels, dims=("band", "y", "x"))
    geosr.open_raster  # noqa: B018  (brings the accessor)
    start = time.perf_counter()
    array.geosr.upscale(model, 4)
    print(f"graph of 4 x 100,000 x 100,000 pixels: {(time.perf_counter() - start) * 1e3:.0f} ms")


def make_scene(folder: Path, side: int) -> Path:
    y, x = np.mgrid[:side, :side]
    pixels = (2000 + 500 * np.sin(x / 9) + 400 * np.cos(y / 7 + x / 31)).astype("uint16")
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint16", "crs": "EPSG:32631"}
    profile |= {"transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000), "tiled": True}
    with rasterio.open(folder / "scene.tif", "w", **profile, blockxsize=256, blockysize=256) as file:
        file.write(np.stack([pixels, pixels + 50, pixels // 2]))
    return folder / "scene.tif"


if __name__ == "__main__":
    main()
