"""What geosr sees in a file, as plain values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rasterio.io import DatasetReader

from geosr.io.environment import open_dataset, reading
from geosr.io.metadata import placed
from geosr.io.metadata_check import losses
from geosr.io.scene import Scene, open_scene


def describe(path: str | Path) -> dict[str, Any]:
    """Size, grid, bands, radiometry, sensor and warnings of a raster, and what an upscaling would assume of it.

    Values are numbers, strings, lists and None, fit for JSON. No pixel is read. Raises what `open_scene` raises.
    """
    scene = open_scene(path)
    with reading(scene.path), open_dataset(scene.path) as dataset:
        file = _file(dataset) | {"interleave": scene.interleave}
    return {"path": str(path), **file, **facts_of(scene)}


def facts_of(scene: Scene) -> dict[str, Any]:
    """Facts of `describe`, of a scene that may lie in several files."""
    return {
        **_grid(scene),
        **_bands(scene),
        "sensor": scene.sensor.sensor,
        "sensor_why": scene.sensor.why,
        "upscale_would_use": _defaults(scene),
        "warnings": [*scene.warnings, *losses(scene.metadata, scene.dtype)],
    }


def _file(dataset: DatasetReader) -> dict[str, Any]:
    return {
        "driver": dataset.driver,
        "size": [dataset.width, dataset.height],
        "block": [dataset.block_shapes[0][1], dataset.block_shapes[0][0]],
        "compression": getattr(dataset.compression, "value", None),
        "overviews": dataset.overviews(1),
    }


def _grid(scene: Scene) -> dict[str, Any]:
    metadata = scene.metadata
    corners = [placed(scene.transform, x, y) for x in (0, scene.shape[1]) for y in (0, scene.shape[0])]
    xs, ys = zip(*corners, strict=True)
    columns = (
        math.hypot(metadata.transform.a, metadata.transform.d),
        math.hypot(metadata.transform.b, metadata.transform.e),
    )
    return {
        "crs": None if metadata.crs is None else metadata.crs.to_string(),
        "transform": list(metadata.transform[:6]),
        "bounds": [min(xs), min(ys), max(xs), max(ys)],
        "pixel": list(columns),
        "gsd_m": scene.sensor.pixel_size,
        "control_points": len(metadata.gcps),
        "rpcs": metadata.rpcs is not None,
        "area_or_point": (metadata.tags or {}).get("", {}).get("AREA_OR_POINT"),
    }


def _bands(scene: Scene) -> dict[str, Any]:
    metadata = scene.metadata
    return {
        "dtype": scene.dtype,
        "bands": list(scene.names),
        "colors": [band.color.name for band in metadata.bands],
        "nodata": [_plain(scene.nodata)] * len(scene.bands),
        "mask": scene.mask,
        "scales": list(scene.scales),
        "offsets": list(scene.offsets),
        "units": [band.unit for band in metadata.bands],
    }


def _defaults(scene: Scene) -> list[str]:
    """Sentences on what is assumed where no option says otherwise."""
    measured = [band for band in scene.sensor.bands if not band.categorical]
    lines = []
    if measured:
        shown = " ".join(dict.fromkeys(f"{band.response.mtf:.3g}" for band in measured))
        lines.append(f"MTF {shown} ({'; '.join(dict.fromkeys(band.about_response for band in measured))})")
        lines.append("noise estimated from the scene")
    categorical = [band.name for band in scene.sensor.bands if band.categorical]
    if categorical:
        lines.append(f"{', '.join(categorical)}: nearest neighbour")
    return lines


def _plain(value: float | None) -> float | str | None:
    """JSON knows no NaN."""
    return value if value is None or math.isfinite(value) else str(value)
