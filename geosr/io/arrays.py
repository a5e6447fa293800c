"""Metadata of a GeoTIFF whose pixels come from an array and not from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from geosr.io.metadata import Metadata, identity_transform


def metadata_of(
    count: int,
    *,
    wkt: str | None,
    transform: Affine | None,
    nodata: float | None,
    names: Sequence[str],
    units: Sequence[str],
    scales: Sequence[float],
    offsets: Sequence[float],
    tags: Mapping[str, str],
    colors: Sequence[str] = (),
) -> Metadata:
    """Metadata for `count` bands; names, units, scales, offsets and colours (rasterio's names) are one per band."""
    grey = ("gray", *("undefined",) * (count - 1))
    return Metadata(
        crs=None if wkt is None else CRS.from_wkt(wkt),
        transform=transform or identity_transform(),
        descriptions=tuple(name or None for name in names),
        units=tuple(unit or None for unit in units),
        scales=tuple(scales),
        offsets=tuple(offsets),
        colors=tuple(ColorInterp[color] for color in colors or grey),
        colormaps=(None,) * count,
        nodata=nodata,
        tags={"": dict(tags)},
        band_tags=({},) * count,
    )
