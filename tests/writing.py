"""Files written tile by tile, for tests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetWriter

from geosr.io.encoder import EncodedTile
from geosr.io.layout import Layout, Options, choose_core
from geosr.io.writer import TiffSink
from geosr.radiometry import Pixels
from geosr.tiling import Tile, TilePlan

PROFILE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}


def describe(file: DatasetWriter) -> None:
    """Metadata that every test file has."""
    file.update_tags(PLACE="somewhere")
    file.update_tags(1, BAND="first")
    file.descriptions = tuple(f"band {number}" for number in range(1, file.count + 1))


def layout_for(
    shape: tuple[int, int, int],
    dtype: str = "uint16",
    *,
    scale: int = 2,
    tile: int = 32,
    block: int | None = 32,
    co: Sequence[str] = (),
    nodata: float | None = None,
    **more: Any,
) -> tuple[Layout, TilePlan]:
    """Layout and plan of a result of (bands, height, width); height and width are multiples of the scale."""
    count, height, width = shape
    options = Options.parse(co)
    core, side = choose_core(scale, count, np.dtype(dtype).itemsize, 0, tile, block)
    layout = Layout(height, width, count, dtype, side, core * scale, nodata, options=options, **more)
    return layout, TilePlan(height // scale, width // scale, core, scale)


def sink_for(path: Path, layout: Layout, *, fingerprint: str = "{}", overwrite: bool = False) -> TiffSink:
    """An open sink with the metadata of `describe`."""
    return TiffSink(path, layout, profile=PROFILE, template=describe, fingerprint=fingerprint, overwrite=overwrite)


def encode(
    sink: TiffSink, tile: Tile, stored: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> tuple[EncodedTile, ...]:
    """A tile of a whole image, encoded."""
    there = tile.write.slices
    return sink.encoder(tile, Pixels(stored[:, *there], None if mask is None else mask[there]))


def write(
    path: Path,
    stored: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    seed: int = 0,
    skip: Sequence[int] = (),
    **how: Any,
) -> Layout:
    """Write a whole image (bands, height, width) tile by tile, in an order of this seed."""
    layout, plan = layout_for(stored.shape, stored.dtype.name, masked=mask is not None, **how)  # type: ignore[arg-type]
    tiles = [tile for tile in plan if tile.index not in skip]
    random.Random(seed).shuffle(tiles)
    with sink_for(path, layout) as sink:
        for tile in tiles:
            sink.append(tile, encode(sink, tile, stored, mask))
        sink.finish()
    return layout


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Numbers over the whole range of a dtype; for floating point a normal distribution."""
    random_numbers = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random_numbers.normal(0, 1000, shape).astype(dtype)
    info = np.iinfo(dtype)
    return random_numbers.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
