"""Products as lazy Datasets, each band on its own grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from geosr.errors import InputError
from geosr.products import Part, Product, read_product
from geosr.products.scenes import check_settled, masked_scene, scene_of
from geosr.xarray.reader import Chunks, open_one


def open_product(
    path: str | Path | Sequence[str | Path],
    chunks: Chunks = "auto",
    bands: Sequence[int | str] | None = None,
    mask: Literal["clouds"] | None = None,
    masked: bool = False,
    scale_offset: tuple[float, float] | None = None,
) -> xr.DataTree:
    """A product as a DataTree of lazy Datasets: a group a size of pixels ("10m"), in it a variable (y, x) a band.

    Bands are called as the product calls them. Numbers stay as they are stored; scale, offset and the number for no
    data stand in the attributes as the product's metadata tell them, and its other metadata in those of the tree.
    `tree["10m/B04"].geosr.upscale()` gives the pixels that `geosr.upscale(path, bands=["B04"])` does.

    Parameters
    ----------
    path
        A folder, an archive or a metadata file of a product, as `geosr.upscale` takes it, or several of one pass.
    chunks, masked
        See `open_raster`.
    bands
        Names, the product's own or common ones (B8A, nir08), on any grids; all bands by default.
    mask
        "clouds": no data is made of what the product's own mask tells of clouds and their shadows, in measured bands.
    scale_offset
        Takes the place of what the product tells of measured bands.

    Raises
    ------
    geosr.errors.InputError
        It is no product or not whole, or its metadata leave open what numbers mean.
    """
    product = read_product(path)
    if product is None:
        raise InputError(f"{path}: is none of the products that geosr knows; open a plain raster with open_raster")
    if bands is None:
        product.check_whole()
    parts = product.parts if bands is None else product.chosen(bands)
    if scale_offset is None:
        check_settled(product, parts)
    options = {"chunks": chunks, "mask": mask, "masked": masked, "scale_offset": scale_offset}
    groups = {
        f"{pixel:g}m": _dataset(product, [part for part in parts if part.pixel == pixel], **options)
        for pixel in sorted({part.pixel for part in parts})
    }
    about = {"product": product.kind, "name": product.name, **product.tags}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **groups})


def _dataset(product: Product, parts: Sequence[Part], *, mask: Any, scale_offset: Any, **options: Any) -> xr.Dataset:
    """Bands of one grid."""
    found = {}
    for part in parts:
        scene = scene_of(product, part, part.classes, scale_offset=scale_offset)
        if not part.classes:
            scene = masked_scene(product, scene, mask)
        array = open_one(scene, **options).isel(band=0)
        found[part.key] = array.drop_vars([name for name in array.coords if str(name).startswith("band")])
    try:
        xr.align(*found.values(), join="exact", copy=False)
    except ValueError as error:  # xarray would fill the gaps between grids
        keys = ", ".join(found)
        raise InputError(
            f"{product.name}: {keys} have pixels of one size on several grids; open some with bands="
        ) from error
    return xr.Dataset(found)
