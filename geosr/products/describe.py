"""What geosr sees in a product or a raster file, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.io.describe import describe, facts_of
from geosr.products.product import Product
from geosr.products.read import read_product
from geosr.products.scenes import scenes_of


def describe_source(path: str | Path) -> dict[str, Any]:
    """Facts of a raster file, as `describe` has them; of a product what it holds, and the same of what is upscaled.

    Values are numbers, strings, lists and None, fit for JSON. No pixel is read. Raises as both.
    """
    product = read_product(path)
    return describe(path) if product is None else _facts(product)


def _facts(product: Product) -> dict[str, Any]:
    told = {
        "path": product.path,
        "product": product.kind,
        "holds": product.listed(),
        "missing": list(product.missing),
        "mask_clouds": "; ".join(marks.words for marks in product.clouds),
        "tags": dict(product.tags),
    }
    try:
        (scene,) = scenes_of(product)
    except InputError as error:
        return told | {"sensor": product.sensor, "warnings": [*product.notes, str(error)]}
    size = {"size": [scene.shape[1], scene.shape[0]], "block": [scene.block[1], scene.block[0]]}
    return told | size | facts_of(scene)
