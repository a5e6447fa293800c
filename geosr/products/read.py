"""The reader of a product: the first that knows its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from geosr.products import eopf, folder, hls, landsat, sentinel2, stac
from geosr.products.product import Product


class Reader(Protocol):
    """Products of one kind. A module with these two functions is one."""

    def claims(self, src: str) -> bool:
        """True where this is a product of its kind, by its name or what lies in it; quick, and never raises."""

    def read(self, src: str) -> Product:
        """The product, from its metadata alone. Raises `InputError` in one line where it isn't whole."""


READERS: tuple[Reader, ...] = (eopf, stac, landsat, hls, sentinel2, folder)
"""In the order in which they are asked: those that go by names first, folders of any kind last."""


def read_product(src: str | Path) -> Product | None:
    """The product at a path, from its metadata alone; None where that is a plain raster.

    Raises `InputError` in one line for a product that is damaged, half there or of an unknown layout.
    """
    reader = next((reader for reader in READERS if reader.claims(str(src))), None)
    return None if reader is None else reader.read(str(src))
