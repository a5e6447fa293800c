"""Super-resolution for satellite rasters.

>>> import geosr
>>> geosr.upscale("scene.tif", model="fast", scale=4)["path"]  # doctest: +SKIP
'scene_x4.tif'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geosr.api import prepare, upscale
    from geosr.archive import upscale_many
    from geosr.comparing import Comparison, compare
    from geosr.judging import Evaluation, Validation, evaluate, validate
    from geosr.models.own import TorchNetwork
    from geosr.run import Report
    from geosr.xarray import open_product, open_raster

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Evaluation",
    "Report",
    "TorchNetwork",
    "Validation",
    "__version__",
    "compare",
    "evaluate",
    "open_product",
    "open_raster",
    "prepare",
    "upscale",
    "upscale_many",
    "validate",
]

_HOMES = {
    "Comparison": "geosr.comparing",
    "Evaluation": "geosr.judging",
    "Report": "geosr.run",
    "TorchNetwork": "geosr.models.own",
    "Validation": "geosr.judging",
    "compare": "geosr.comparing",
    "evaluate": "geosr.judging",
    "open_product": "geosr.xarray",
    "open_raster": "geosr.xarray",
    "prepare": "geosr.api",
    "upscale": "geosr.api",
    "upscale_many": "geosr.archive",
    "validate": "geosr.judging",
}


def __getattr__(name: str) -> Any:
    """A public name; what needs torch, GDAL or xarray is imported when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'geosr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
