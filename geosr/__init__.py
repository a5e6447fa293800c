"""Super-resolution for satellite rasters.

>>> import geosr
>>> geosr.upscale("scene.tif", model="fast", scale=4)["path"]  # doctest: +SKIP
'scene_x4.tif'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geosr.api import prepare, upscale
    from geosr.archive import upscale_many
    from geosr.models.own import TorchNetwork
    from geosr.xarray import open_raster

__version__ = "0.1.0"
__all__ = ["TorchNetwork", "__version__", "open_raster", "prepare", "upscale", "upscale_many"]


def __getattr__(name: str) -> Any:
    """What needs torch, GDAL or xarray is imported when it is first asked for."""
    if name in ("prepare", "upscale"):
        from geosr import api

        return getattr(api, name)
    if name == "upscale_many":
        from geosr import archive

        return archive.upscale_many
    if name == "TorchNetwork":
        from geosr.models import own

        return own.TorchNetwork
    if name == "open_raster":
        from geosr import xarray

        return xarray.open_raster
    raise AttributeError(f"module 'geosr' has no attribute {name!r}")
