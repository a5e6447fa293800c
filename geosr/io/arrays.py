"""Metadata of a GeoTIFF whose pixels come from an array and not from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from geosr.io.metadata import BandMetadata, Metadata, identity_transform


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
    band_tags: Sequence[Mapping[str, str]] = (),
    gcps: Sequence[GroundControlPoint] = (),
) -> Metadata:
    """Metadata for `count` bands; names, units, scales, offsets, colours (rasterio's names) and tags are one per band.

    The CRS is that of the control points where there are any.
    """
    crs = None if wkt is None else CRS.from_wkt(wkt)
    grey = ("gray", *("undefined",) * (count - 1))
    told = zip(names, units, scales, offsets, colors or grey, band_tags or ({},) * count, strict=True)
    return Metadata(
        crs=None if gcps else crs,
        transform=transform or identity_transform(),
        gcps=tuple(gcps),
        gcp_crs=crs if gcps else None,
        bands=tuple(
            BandMetadata(
                name or None, unit or None, scale, offset, ColorInterp[color], tags={"": dict(own)} if own else {}
            )
            for name, unit, scale, offset, color, own in told
        ),
        nodata=nodata,
        tags={"": dict(tags)},
    )
