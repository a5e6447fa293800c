"""xarray and Dask: importing this gives every DataArray and Dataset the accessor `geosr`.

>>> import geosr.xarray
>>> fine = geosr.open_raster("scene.tif").geosr.upscale("fast", scale=4)  # doctest: +SKIP

`geosr.open_raster` and `geosr.open_product` import it too. Needs the extra `geosr[xarray]`.
"""

from __future__ import annotations

try:
    from geosr.xarray.accessor import DataArrayGeosr, DatasetGeosr
    from geosr.xarray.export import to_geotiff
    from geosr.xarray.products import open_product
    from geosr.xarray.reader import open_raster
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("dask", "xarray"):
        raise
    raise ModuleNotFoundError(f"arrays need {missing}; pip install 'geosr[xarray]'", name=missing) from None

__all__ = ["DataArrayGeosr", "DatasetGeosr", "open_product", "open_raster", "to_geotiff"]
