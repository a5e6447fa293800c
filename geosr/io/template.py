"""The metadata of a result, as GDAL writes it: a TIFF of one block, of which only the directory is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rasterio
from rasterio.io import DatasetWriter

from geosr.io import tiff
from geosr.io.categories import Categories, with_categories
from geosr.io.codec import creation_profile
from geosr.io.environment import quietly
from geosr.io.layout import Layout

_SIDE = 16


@dataclass(frozen=True, slots=True)
class Template:
    """The directory that GDAL wrote for a file of this metadata."""

    directory: tiff.Directory
    sidecar: bytes | None
    """The `.aux.xml` with what GeoTIFF can't hold, such as an odd CRS; None where it holds all."""

    @staticmethod
    def make(
        layout: Layout,
        profile: Mapping[str, Any],
        apply: Callable[[DatasetWriter], None],
        categories: Sequence[Categories | None] = (),
    ) -> Template:
        """The template for a layout; `apply` fills in metadata on a dataset of one block, `categories` go beside it."""
        fixed = {"driver": "GTiff", "width": _SIDE, "height": _SIDE, "count": layout.count, "dtype": layout.dtype}
        fixed |= {"tiled": True, "blockxsize": _SIDE, "blockysize": _SIDE, "interleave": layout.interleave}
        fixed |= {"bigtiff": "NO", "sparse_ok": True} | creation_profile(layout)
        with TemporaryDirectory(prefix="geosr-") as folder:
            path = Path(folder) / "template.tif"
            settings = {"nodata": None if layout.absent is None else layout.nodata, **profile, **fixed}
            with quietly(), rasterio.open(path, "w", **settings) as file:
                apply(file)
            sidecar = path.with_name(path.name + ".aux.xml")
            directory = tiff.read_directory(path.read_bytes())
            _check_nodata(directory, layout)
            return Template(directory, with_categories(sidecar.read_bytes() if sidecar.exists() else None, categories))

    def directories(self, layout: Layout) -> list[dict[int, tiff.Tag]]:
        """One directory for each of the layout's parts, without the arrays of blocks."""
        return tiff.directories(self.directory, layout)


def _check_nodata(directory: tiff.Directory, layout: Layout) -> None:
    """Blocks that are left out must read back as they would have been written."""
    tag = directory.get(tiff.NODATA)
    declared = None if tag is None else float(tag.data.rstrip(b"\0"))
    expected = layout.nodata if layout.absent is not None else declared
    if declared != expected and not (declared != declared and expected != expected):
        raise ValueError(f"the template declares nodata {declared} and the layout {expected}")
