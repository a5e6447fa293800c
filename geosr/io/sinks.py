"""The sink of a result, by its format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geosr.io import geozarr, rehearsal
from geosr.io.destination import is_zarr
from geosr.io.encoder import Encoder
from geosr.io.environment import GdalError, open_dataset, reading
from geosr.io.geozarr import Contents
from geosr.io.layout import Layout
from geosr.io.metadata import Metadata
from geosr.io.writer import TiffSink
from geosr.io.zarr import ROOTS, check_installed
from geosr.io.zarr_place import Place
from geosr.io.zarr_sink import ZarrSink, idle_encoder, tags_of_store
from geosr.radiometry import Pixels
from geosr.tiling import Tile


def open_sink(
    path: Path | str, layout: Layout, metadata: Metadata, bands: tuple[int, ...], fingerprint: str, overwrite: bool
) -> TiffSink | ZarrSink:
    """An open sink for a file's result; `bands` are the file's numbers. Raises as the sinks do."""
    if layout.format == "Zarr":
        contents = Contents.of(metadata, bands)
        return ZarrSink(path, layout, contents=contents, fingerprint=fingerprint, overwrite=overwrite)
    return TiffSink(
        path,
        layout,
        profile=metadata.creation_options,
        template=metadata.apply,
        categories=metadata.categories,
        fingerprint=fingerprint,
        overwrite=overwrite,
    )


def check_format(layout: Layout) -> None:
    """Raise `InputError` where what the format needs is not installed."""
    if layout.format == "Zarr":
        check_installed()


def encoder_of(layout: Layout, metadata: Metadata, bands: tuple[int, ...]) -> Callable[[Tile, Pixels], Any]:
    """An encoder that works as the sink's does, and keeps nothing."""
    return idle_encoder(layout, Contents.of(metadata, bands)) if layout.format == "Zarr" else Encoder(layout)


def losses(metadata: Metadata, layout: Layout) -> tuple[str, ...]:
    """One line for each thing that a result of this format would lose; empty where it holds all."""
    if layout.format == "Zarr":
        return tuple(geozarr.losses(metadata))
    return rehearsal.losses(metadata, layout.dtype)


def is_there(path: Path | str) -> bool:
    """True where something stands under the name of a result."""
    return bool(set(Place(path).whole.names()) & set(ROOTS)) if is_zarr(path) else Path(path).exists()


def tags_of(path: Path | str) -> dict[str, str]:
    """The tags of a finished result; none where they can't be read."""
    if is_zarr(path):
        return tags_of_store(Place(path).whole)
    try:
        with reading(str(path)), open_dataset(str(path)) as dataset:
            return dict(dataset.tags())
    except GdalError:
        return {}


def size_of(path: Path | str) -> int:
    """Bytes of a result."""
    if not is_zarr(path):
        return Path(path).stat().st_size
    return Place(path).whole.size()
