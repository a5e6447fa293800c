"""The results of a run: where each of them goes, how it lies there, and what it carries beside its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rasterio.enums import ColorInterp

from geosr.io.destination import beside
from geosr.io.layout import Layout
from geosr.io.metadata import Metadata
from geosr.radiometry import Head, Passes

RESULT, RESULTS = "GEOSR_RESULT", "GEOSR_RESULTS"
"""Tags of a run of several results: which one this is, on all but the image, and the names of all, on each."""
RUN = "GEOSR_RUN"
"""The tag by which a finished result is known again: a digest of all settings."""


@dataclass(frozen=True, slots=True)
class Output:
    """One of the results of a run."""

    head: Head
    path: Path | str
    """Its file, an absolute path; or the Zarr store in which all results lie, as arrays."""
    layout: Layout
    metadata: Metadata

    @property
    def place(self) -> str:
        """The path by which a reader finds it: of a file, or of an array in a store."""
        return f"{self.path}/{self.head.name}" if self.layout.format == "Zarr" else str(self.path)


def outputs_of(heads: Sequence[Head], path: Path | str, layout: Layout, metadata: Metadata) -> tuple[Output, ...]:
    """The outputs of a run, the image first, whose path, layout and metadata these are.

    Another result lies beside it on the same grid of pixels, blocks and tiles: `scene_x4.sigma.tif` beside
    `scene_x4.tif`, or in the same store.
    """
    if len(heads) > 1:
        metadata = metadata.tagged({RESULTS: " ".join(head.name for head in heads)})
    return Output(heads[0], path, layout, metadata), *(_other(head, path, layout, metadata) for head in heads[1:])


def _other(head: Head, path: Path | str, layout: Layout, metadata: Metadata) -> Output:
    metadata = metadata.tagged({RESULT: head.name})
    if layout.format != "Zarr":
        path = beside(Path(path), head.name)
    if head.passes is Passes.VALUE:
        return Output(head, path, layout, metadata)
    return Output(head, path, layout_beside(head, layout), _told(head, metadata))


def layout_beside(head: Head, layout: Layout) -> Layout:
    """The layout of what stands beside an image: its nodata says what a mask or another number says there."""
    options = layout.options
    if head.passes is Passes.SPREAD and options.resampling == "average":
        options = replace(options, resampling="rms")
    return replace(layout, dtype=head.dtype, nodata=head.nodata, masked=False, options=options)


def _told(head: Head, metadata: Metadata) -> Metadata:
    """The metadata of what stands beside an image, with nothing of colours and classes.

    A spread has the image's scale without its offset, a count neither scale nor unit.
    """
    plain = {"offset": 0.0, "color": ColorInterp.undefined, "colormap": None, "categories": None}
    if head.passes is Passes.COUNT:
        plain |= {"scale": 1.0, "unit": None}
    first, *others = (replace(band, **{"scale": abs(band.scale)} | plain) for band in metadata.bands)
    return replace(metadata, bands=(replace(first, color=ColorInterp.gray), *others), nodata=head.nodata)
