"""What of a scene's metadata a GeoTIFF can't hold: written to a tiny file in memory, read back and compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import rasterio
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geosr.io.environment import GdalError, quietly, reason
from geosr.io.metadata import Metadata
from geosr.radiometry import same_number
from geosr.window import Window


def losses(metadata: Metadata, dtype: str) -> tuple[str, ...]:
    """One line for each thing that a GeoTIFF of these bands and this type would lose; empty where it holds all."""
    try:
        kept = kept_by_a_file(metadata, dtype)
    except GdalError as error:
        return (f"metadata can't be checked: {reason(error)}",)
    return tuple(differences(metadata, kept))


def kept_by_a_file(metadata: Metadata, dtype: str) -> Metadata:
    """The part of the metadata that a GeoTIFF of these bands and this type holds."""
    count = len(metadata.bands)
    profile = {"driver": "GTiff", "width": 16, "height": 16, "count": count, "dtype": dtype}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), quietly(), MemoryFile() as memory:
        with memory.open(**profile, **metadata.creation_options) as dst:
            metadata.apply(dst)
        with memory.open() as src:
            return Metadata.of(src, tuple(range(1, count + 1)), Window(0, 0, 16, 16))


def differences(wanted: Metadata, kept: Metadata) -> Iterator[str]:
    """A line for each thing that is not kept."""
    if wanted.crs is not None and not wanted.gcps and wanted.crs != kept.crs:
        yield f"a GeoTIFF can't hold this CRS as it is: {wanted.crs.to_wkt()[:60]}..."
    if wanted.gcps and len(kept.gcps) != len(wanted.gcps):
        yield f"{len(wanted.gcps) - len(kept.gcps)} of {len(wanted.gcps)} control points are lost"
    if wanted.rpcs is not None and kept.rpcs is None:
        yield "the RPCs are lost"
    if not same_number(wanted.nodata, kept.nodata):
        yield f"nodata {wanted.nodata} can't be held by {len(wanted.bands)} bands of this type"
    for name in ("scale", "offset", "unit", "description", "color", "colormap"):
        old, new = ([getattr(band, name) for band in each.bands] for each in (wanted, kept))
        if _plain(old) != _plain(new):
            yield f"{name}s of bands are not kept: {_shown(old, new)}"
    yield from _lost_tags("", wanted.tags or {}, kept.tags or {})
    for number, (band, other) in enumerate(zip(wanted.bands, kept.bands, strict=True), start=1):
        yield from _lost_tags(f" of band {number}", band.tags, other.tags)


def _lost_tags(where: str, wanted: dict[str, dict[str, str]], kept: dict[str, dict[str, str]]) -> Iterator[str]:
    for space, items in wanted.items():
        lost = [key for key, value in items.items() if kept.get(space, {}).get(key) != value and not _OURS.match(key)]
        if lost:
            yield f"tags{where}{f' in {space}' if space else ''} are not kept: {', '.join(lost[:8])}"


_OURS = re.compile(r"GEOSR_|AREA_OR_POINT$|TIFFTAG_RESOLUTIONUNIT$")
"""Tags that GDAL writes in words of its own, or that are read back as ours and not the scene's."""


def _plain(values: Sequence[object]) -> list[object]:
    return [
        _NO_COLOR.get(value, value) or None if isinstance(value, ColorInterp) else value or None for value in values
    ]


_NO_COLOR = {ColorInterp.undefined: None, ColorInterp.gray: None}
"""A grey band and a band of no colour are the same to a reader; GeoTIFF makes the first of either grey."""


def _shown(wanted: Sequence[object], kept: Sequence[object]) -> str:
    pairs = zip(wanted, kept, strict=True)
    pair = next((old, new) for old, new in pairs if _plain((old,)) != _plain((new,)))
    old, new = map(str, pair)
    same = next((i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - 20)  # a palette's first entries may well be the same
    return f"{old[start : start + 40]} becomes {new[start : start + 40]}"
