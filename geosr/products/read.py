"""The reader of a product: the first that knows its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from geosr.errors import InputError, one_line
from geosr.products import eopf, folder, hls, landsat, sentinel2, stac, theia
from geosr.products.mosaic import together
from geosr.products.product import Product


class Reader(Protocol):
    """Products of one kind. A module with these two functions is one."""

    def claims(self, src: str) -> bool:
        """True where this is a product of its kind, by its name or what lies in it; quick, and never raises."""

    def read(self, src: str) -> Product:
        """The product, from its metadata alone. Raises `InputError` in one line where it isn't whole."""


READERS: tuple[Reader, ...] = (eopf, stac, landsat, hls, sentinel2, theia, folder)
"""In the order in which they are asked: those that go by names first, folders of any kind last."""


def read_product(src: str | Path | Sequence[str | Path]) -> Product | None:
    """The product at a path, from its metadata alone, or several of one pass as one; None for plain rasters.

    Raises `InputError` in one line for a product that is damaged, half there or of an unknown layout, and for several
    that don't go together.
    """
    if not isinstance(src, str | Path):
        found = [read_product(each) for each in src]
        products = [product for product in found if product is not None]
        if products and len(products) < len(found):
            raise InputError(f"{src[found.index(None)]} is a plain raster, and others are products; name them apart")
        return together(products) if products else None
    reader = next((reader for reader in READERS if _claims(reader, str(src))), None)
    try:
        return None if reader is None else reader.read(str(src))
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{src}: its metadata are damaged, or of an unknown layout: {one_line(error)}") from error


def _claims(reader: Reader, src: str) -> bool:
    """True where a product is of a reader's kind; what can't even be looked at is left to who reads rasters."""
    try:
        return reader.claims(src)
    except (OSError, ValueError):
        return False
