"""A plain GeoTIFF of pixels that are in memory: the input of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from numpy.typing import NDArray


def write_raster(
    path: Path, pixels: NDArray[Any], names: Sequence[str], transform: Affine, crs: Any, **more: Any
) -> Path:
    """The path of a GeoTIFF of pixels (bands, height, width) with names of bands; `more` as rasterio's profile.

    Scales, offsets and tags go by these names in `more`.
    """
    count, height, width = pixels.shape
    kind = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    scales, offsets, tags = (more.pop(name, None) for name in ("scales", "offsets", "tags"))
    with rasterio.open(path, "w", crs=crs, transform=transform, **kind, **more) as dataset:
        dataset.write(pixels)
        dataset.descriptions = tuple(names)
        if scales is not None and offsets is not None:
            dataset.scales, dataset.offsets = tuple(scales), tuple(offsets)
        for space, items in (tags or {}).items():
            if not space.startswith("xml:"):
                dataset.update_tags(ns=space or None, **items)
    return path
