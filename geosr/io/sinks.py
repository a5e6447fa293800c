"""The sink of a result, by its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from geosr.io import geozarr, metadata_check
from geosr.io.companions import tags_of_file
from geosr.io.destination import is_zarr
from geosr.io.encoder import Encoder
from geosr.io.geozarr import Contents
from geosr.io.layout import Layout
from geosr.io.metadata import Metadata
from geosr.io.output import Output
from geosr.io.writer import TiffSink
from geosr.io.zarr import ROOTS, check_installed
from geosr.io.zarr_place import Place
from geosr.io.zarr_sink import ZarrSink, idle_encoder, tags_of_store


def open_sink(
    outputs: Sequence[Output], bands: tuple[int, ...], fingerprint: str, overwrite: bool
) -> TiffSink | ZarrSink:
    """An open sink for the results of a file, the image first; `bands` are the file's numbers. Raises as sinks do."""
    image, *others = outputs
    path, layout, metadata = image.path, image.layout, image.metadata
    if layout.format == "Zarr":
        contents = Contents.of(metadata, bands)
        return ZarrSink(path, layout, contents=contents, fingerprint=fingerprint, overwrite=overwrite, others=others)
    return TiffSink(
        path,
        layout,
        profile=metadata.creation_options,
        template=metadata.apply,
        categories=[band.categories for band in metadata.bands],
        fingerprint=fingerprint,
        overwrite=overwrite,
        others=others,
    )


def check_format(layout: Layout) -> None:
    """Raise `InputError` where what the format needs is not installed."""
    if layout.format == "Zarr":
        check_installed()


def encoder_of(outputs: Sequence[Output], bands: tuple[int, ...]) -> Callable[..., Any]:
    """An encoder that works as the sink's does, and keeps nothing."""
    image, *others = outputs
    if image.layout.format == "Zarr":
        return idle_encoder(image.layout, Contents.of(image.metadata, bands), others)
    return Encoder(tuple(output.layout for output in outputs))


def losses(metadata: Metadata, layout: Layout) -> tuple[str, ...]:
    """One line for each thing that a result of this format would lose; empty where it holds all."""
    if layout.format == "Zarr":
        return tuple(geozarr.losses(metadata))
    return metadata_check.losses(metadata, layout.dtype)


def is_there(path: Path | str) -> bool:
    """True where something stands under the name of a result."""
    return bool(set(Place(path).whole.names()) & set(ROOTS)) if is_zarr(path) else Path(path).exists()


def tags_of(path: Path | str) -> dict[str, str]:
    """The tags of a finished result; none where they can't be read."""
    return tags_of_store(Place(path).whole) if is_zarr(path) else tags_of_file(Path(path))


def size_of(paths: Iterable[Path | str]) -> int:
    """Bytes of results."""
    return sum(Place(path).whole.size() if is_zarr(path) else Path(path).stat().st_size for path in set(paths))
