"""CPU time of geosr's writer against GDAL's, on the same pixels in the same order.

    python benchmarks/writer.py [--side 4096] [--bands 4] [--scene FILE] [--rounds 3]

The pixels are a real scene (by default examples/scene.tif) enlarged by cubic splines to a mosaic, so that they compress
as a result of geosr does. Each figure is the least CPU time of the rounds, taken in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy
from rasterio.windows import Window as FileWindow
from scipy import ndimage

from geosr.io.codec import encode_block
from geosr.io.layout import Layout, Options, choose_core
from geosr.io.writer import TiffSink
from geosr.radiometry import Pixels
from geosr.tiling import TilePlan

_SCALE = 4
_PROFILE = {"crs": "EPSG:32633", "transform": Affine(2.5, 0, 5e5, 0, -2.5, 5e6)}


def enlarged(scene: Path, bands: int, side: int) -> NDArray[np.generic]:
    """(bands, side, side), the dtype of the scene: a piece of it enlarged four times, mirrored to fill the square."""
    with rasterio.open(scene) as file:
        band_list = [1 + band % file.count for band in range(bands)]
        piece = file.read(band_list)[:, :512, :512]
    info = np.iinfo(piece.dtype)
    large = np.stack([ndimage.zoom(band.astype(np.float32), _SCALE, order=3, mode="mirror") for band in piece])
    stored = np.clip(np.rint(large), info.min, info.max).astype(piece.dtype)
    missing = [(0, 0), (0, max(0, side - stored.shape[1])), (0, max(0, side - stored.shape[2]))]
    return np.pad(stored, missing, mode="symmetric")[:, :side, :side].copy()


def by_geosr(path: Path, pixels: NDArray[np.generic], layout: Layout) -> None:
    """Pixels into a file by our writer."""
    plan = TilePlan(layout.height // _SCALE, layout.width // _SCALE, layout.tile // _SCALE, _SCALE)
    with TiffSink(path, layout, profile=_PROFILE, template=lambda file: None, fingerprint="{}", overwrite=True) as sink:
        for tile in plan:
            sink.append(tile, sink.encoder(tile, Pixels(pixels[:, *tile.write.slices])))
        sink.finish()


def by_gdal(path: Path, pixels: NDArray[np.generic], layout: Layout) -> None:
    """Pixels into a file by GDAL, tile by tile."""
    plan = TilePlan(layout.height // _SCALE, layout.width // _SCALE, layout.tile // _SCALE, _SCALE)
    shape = {"count": layout.count, "height": layout.height, "width": layout.width, "dtype": layout.dtype}
    tiles = {"tiled": True, "blockxsize": layout.block, "blockysize": layout.block, "interleave": layout.interleave}
    codec = {"compress": layout.options.compress, "predictor": 2, "zlevel": 1, "zstd_level": 1}
    with rasterio.open(path, "w", driver="GTiff", **shape, **tiles, **codec, **_PROFILE) as file:
        for tile in plan:
            write = tile.write
            file.write(pixels[:, *write.slices], window=FileWindow(write.col, write.row, write.width, write.height))


def codec_alone(pixels: NDArray[np.generic], layout: Layout) -> Callable[[], None]:
    """What predictor and codec do with the blocks, and nothing else."""
    blocks = [
        np.ascontiguousarray(pixels[:, row : row + layout.block, col : col + layout.block])
        for row in range(0, layout.height, layout.block)
        for col in range(0, layout.width, layout.block)
    ]

    def work() -> None:
        for block in blocks:
            for plane in range(0, layout.count, layout.samples):
                encode_block(block[plane : plane + layout.samples], layout)

    return work


def least(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of each task, the tasks taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(time.process_time() - start)
    return {name: min(measured) for name, measured in times.items()}


def main() -> None:
    """Times each way of writing, and prints how they compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, default=Path(__file__).parents[1] / "examples" / "scene.tif")
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--co", action="append", default=[])
    chosen = parser.parse_args()
    pixels = enlarged(chosen.scene, chosen.bands, chosen.side)
    options = Options.parse(chosen.co)
    core, block = choose_core(_SCALE, chosen.bands, pixels.dtype.itemsize)

    def layout(kind: str) -> Layout:
        side = chosen.side
        return Layout(side, side, chosen.bands, pixels.dtype.name, block, core * _SCALE, None, False, (), kind, options)  # type: ignore[arg-type]

    plain, cog = layout("GTiff"), layout("COG")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        by_gdal(there / "gdal.tif", pixels, plain)
        driver = {"compress": options.compress, "level": 1, "predictor": "YES", "num_threads": 1}
        times = least(
            {
                "codec": codec_alone(pixels, plain),
                "plain": lambda: by_geosr(there / "plain.tif", pixels, plain),
                "cog": lambda: by_geosr(there / "cog.tif", pixels, cog),
                "gdal": lambda: by_gdal(there / "gdal.tif", pixels, plain),
                "driver": lambda: copy(there / "gdal.tif", there / "driver.tif", driver="COG", **driver),
            },
            chosen.rounds,
        )
        sizes = {path.stem: path.stat().st_size for path in there.glob("*.tif")}
    report(times, sizes, pixels)


def report(times: dict[str, float], sizes: dict[str, int], pixels: NDArray[np.generic]) -> None:
    """Prints how long each took, and how they compare."""
    print(f"{pixels.shape} {pixels.dtype}, {pixels.nbytes / 1e6:.0f} MB")
    names = {
        "codec": "predictor and codec alone",
        "plain": "geosr, plain GTiff",
        "cog": "geosr, COG with overviews",
        "gdal": "GDAL, plain GTiff by windows",
        "driver": "GDAL's COG driver, from GDAL's plain GTiff",
    }
    for key, name in names.items():
        size = f"{sizes[key] / 1e6:8.1f} MB" if key in sizes else " " * 11
        speed = pixels.nbytes / times[key] / 1e6
        print(f"{name:45s}{times[key]:7.2f} s {speed:5.0f} MB/s {size}")
    print(f"geosr beside the codec, ns per sample   {(times['plain'] - times['codec']) / pixels.size * 1e9:6.2f}")
    print(f"geosr COG / geosr plain                 {times['cog'] / times['plain']:6.2f}")
    print(f"geosr COG / GDAL plain                  {times['cog'] / times['gdal']:6.2f}")
    print(f"geosr plain / GDAL plain                {times['plain'] / times['gdal']:6.2f}")
    print(f"GDAL plain + COG driver / GDAL plain    {1 + times['driver'] / times['gdal']:6.2f}")


if __name__ == "__main__":
    main()
