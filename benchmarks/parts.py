"""The parts that `pipeline.py` holds a whole run against, each in a process of its own.

python benchmarks/parts.py network SCENE    CPU s of the network alone, on the tiles and halos of a run
python benchmarks/parts.py codec SCENE      CPU s of encoding the same pixels alone
python benchmarks/parts.py loop SCENE DST   the same network in a plain loop, as anyone would write it
python benchmarks/parts.py dask SCENE DST   the same with rioxarray, map_overlap and rio.to_raster
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
import torch
from measure import cpu_here
from rasterio.windows import Window

from geosr.api import prepare
from geosr.models.checkpoint import read_tensors
from geosr.models.networks import fast
from geosr.models.registry import locate
from geosr.models.threads import prepare_process
from geosr.run import Run
from geosr.tiling import Tile

EVERY = 8
"""Of the tiles, this many-th is measured, and the sum is multiplied: each costs the same."""

MTF = 0.3


def planned(scene: str) -> Run:
    """The run that is taken apart."""
    return prepare(scene, "never_written.tif", model="fast", format="GTiff", mtf=MTF, snr=100, project=False)


def sampled(run: Run) -> list[Tile]:
    """Some of the tiles."""
    return list(run.plan)[::EVERY]


def share(run: Run, tiles: list[Tile]) -> float:
    """By how much the cost of `tiles` is to be multiplied to stand for all, by pixels: the last are smaller."""
    return run.plan.height * run.plan.width / sum(tile.core.size for tile in tiles)


def network(scene: str) -> float:
    """CPU seconds of the network for all bands of all tiles."""
    run, spent = planned(scene), 0.0
    tiles = sampled(run)
    network = run.upscaler.network
    with prepare_process():
        for number, tile in enumerate([tiles[0], *tiles]):
            for band, stored in enumerate(run.scene.source.read(tile).stored):
                height, width = tile.block.height, tile.block.width
                block = np.resize(stored.astype(np.float32), (1, height, width))
                start = cpu_here()
                network(block, (band,))
                spent += (cpu_here() - start) * (number > 0)
    return spent * share(run, tiles)


def codec(scene: str) -> float:
    """CPU seconds of encoding all tiles of the result."""
    from geosr.io.encoder import Encoder

    run, spent = planned(scene), 0.0
    tiles = sampled(run)
    quick = prepare(scene, "never_written.tif", model="bicubic", format="GTiff")
    encoder = Encoder((run.layout,))
    for tile in tiles:
        (pixels,) = quick.upscaler(quick.scene.source.read(tile), tile)
        start = cpu_here()
        encoder(tile, pixels)
        spent += cpu_here() - start
    return spent * share(run, tiles)


def loop(scene: str, dst: str) -> None:
    """Windows with a margin through the eager float32 network into a DEFLATE file, all settings as they come."""
    side, margin, scale = 256, 32, 4
    run = prepare(scene, "never_written.tif", model="fast", scale=scale, mtf=MTF, snr=100, project=False)
    told = torch.tensor([band.response.told for band in run.network.relative])
    noise = torch.tensor([[band.noise.constant, band.noise.slope] for band in run.network.relative])
    module = fast(scale).eval()
    weights = locate("fast", scale)
    assert weights is not None
    module.load_state_dict(read_tensors(weights))
    with rasterio.open(scene) as source:
        profile = source.profile | {
            "width": source.width * scale,
            "height": source.height * scale,
            "transform": source.transform @ source.transform.scale(1 / scale),
            "compress": "deflate",
        }
        for default in ("predictor", "zlevel", "blockxsize", "blockysize"):
            profile.pop(default, None)
        with rasterio.open(dst, "w", **(profile | {"tiled": True})) as target, torch.no_grad():
            for row in range(0, source.height, side):
                for col in range(0, source.width, side):
                    height, width = min(side, source.height - row), min(side, source.width - col)
                    top, left = min(row, margin), min(col, margin)
                    window = Window(
                        col - left, row - top,
                        min(width + left + margin, source.width - col + left),
                        min(height + top + margin, source.height - row + top),
                    )  # fmt: skip
                    x = torch.from_numpy(source.read(window=window).astype(np.float32))[:, None]
                    y = module(x, told, noise)[:, 0].numpy()
                    y = y[:, top * scale : (top + height) * scale, left * scale : (left + width) * scale]
                    out = np.clip(np.round(y), 0, 65535).astype(np.uint16)
                    target.write(out, window=Window(col * scale, row * scale, width * scale, height * scale))


def map_overlap(scene: str, dst: str) -> None:
    """Overlapping chunks through the eager float32 network on Dask's threads, written under a lock, x2."""
    import threading

    import dask.array as da
    import rioxarray
    import xarray as xr

    scale = 2
    run = prepare(scene, "never_written.tif", model="fast", scale=scale, mtf=MTF, snr=100, project=False)
    bands, margin = run.network.relative, run.plan.halo
    module = fast(scale).eval()
    weights = locate("fast", scale)
    assert weights is not None
    module.load_state_dict(read_tensors(weights))

    def forward(x: torch.Tensor, band: int) -> np.ndarray:
        with torch.no_grad():
            told, noise = torch.tensor([bands[band].response.told]), bands[band].noise
            return module(x[:, None], told, torch.tensor([[noise.constant, noise.slope]]))[:, 0].numpy()

    # What the network makes of a flat scene, which geosr takes off, too.
    flat = [forward(torch.zeros(1, 65, 65), band)[:, 64:66, 64:66] for band in range(len(bands))]

    def enhance(block: np.ndarray, block_info: dict) -> np.ndarray:
        band, rim = block_info[0]["chunk-location"][0], margin * scale
        y = forward(torch.from_numpy(block.astype(np.float32)), band)[:, rim:-rim, rim:-rim]
        y = y - np.tile(flat[band], (1, y.shape[1] // scale, y.shape[2] // scale))
        return np.clip(np.round(y), 0, 65535).astype(np.uint16)

    with rioxarray.open_rasterio(scene, chunks={"band": 1, "y": 512, "x": 512}) as array:
        sizes = tuple(tuple(size * (scale if axis else 1) for size in each) for axis, each in enumerate(array.chunks))
        depth = {0: 0, 1: margin, 2: margin}
        fine = da.map_overlap(
            enhance, array.data, depth=depth, boundary="reflect", trim=False, chunks=sizes, dtype="uint16"
        )
        transform = array.rio.transform()
        result = xr.DataArray(fine, dims=("band", "y", "x")).rio.write_crs(array.rio.crs)
        result = result.rio.write_transform(transform @ transform.scale(1 / scale))
        result.rio.to_raster(dst, tiled=True, compress="deflate", lock=threading.Lock())


if __name__ == "__main__":
    name, path, *rest = sys.argv[1:]
    if name in ("loop", "dask"):
        Path(rest[0]).unlink(missing_ok=True)
        {"loop": loop, "dask": map_overlap}[name](path, rest[0])
    else:
        print({"network": network, "codec": codec}[name](path))
