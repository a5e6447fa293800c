"""Lines on a scene that its user should know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rasterio.io import DatasetReader

from geosr.io import categorical

if TYPE_CHECKING:
    from geosr.io.scene import Scene


def remarks_on_place(scene: Scene) -> list[str]:
    """Lines on where the pixels of a scene lie."""
    metadata = scene.metadata
    if metadata.gcps:
        return [] if metadata.gcp_crs else ["control points have no CRS; they are carried as they are"]
    if metadata.crs is None and metadata.rpcs is None:
        where = "stays without georeference" if metadata.transform.is_identity else "keeps its transform"
        return [f"no CRS: pixels are upscaled and the result {where}"]
    if metadata.transform.is_identity and metadata.rpcs is None:
        return ["a CRS but no transform: nothing says where in it the pixels lie, and the result has none either"]
    if metadata.crs is not None and scene.geobox.crs is None:
        return ["the CRS is carried as it is, though pyproj does not know it"]
    return []


def remarks_on_classes(scene: Scene) -> list[str]:
    """A line on the bands of a scene that hold classes, and why they are taken to."""
    classes = categorical.listed(scene.sensor.bands)
    told = f"holds classes, which are repeated and never mixed: {classes}; --categorical can say otherwise"
    return [told] if classes else []


def remarks_on_bands(dataset: DatasetReader, scene: Scene) -> list[str]:
    """Lines on the bands of a scene."""
    lines = []
    kinds = sorted({dataset.dtypes[band - 1] for band in scene.bands})
    if len(kinds) > 1:
        lines.append(f"bands are of {', '.join(kinds)}; all are widened to {scene.dtype}")
    lines += remarks_on_classes(scene)
    if scene.mask == "bands":
        lines.append("bands have masks of their own: a pixel that is masked in one band counts as no data in all")
    if dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
        lines.append("0 is white in this file (MINISWHITE): the result has the same numbers and shows them from black")
    elif len(scene.bands) > 1 and any(band.colormap for band in scene.metadata.bands):
        lines.append("a GeoTIFF holds a colour table only for a single band: it is left out")
    return lines
