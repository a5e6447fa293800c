"""Products as agencies deliver them: which files hold which bands, and what their numbers mean."""

from geosr.products.product import Marks, Part, Product
from geosr.products.read import Reader, read_product
from geosr.products.scenes import open_on, open_source, scenes_of

__all__ = ["Marks", "Part", "Product", "Reader", "open_on", "open_source", "read_product", "scenes_of"]
