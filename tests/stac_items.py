"""STAC items of Sentinel-2 as catalogues write them, beside small GeoTIFFs of their bands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.io.environment import quietly
from geosr.products.bands import MSI, NATIVE
from tests.safe import CORNER, SIDE, pixels_of

EARTH_SEARCH = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
KEYS = [*EARTH_SEARCH]


def write_cog(
    path: Path,
    pixels: NDArray[np.generic],
    metres: int,
    *,
    placed: bool = True,
    nodata: int | None = 0,
    corner: tuple[float, float] = CORNER,
) -> None:
    """A GeoTIFF, without a place or a number for 'no data' where a catalogue forgot them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place: dict[str, Any] = {}
    if placed:
        place = {"crs": "EPSG:32631", "transform": Affine(metres, 0, corner[0], 0, -metres, corner[1])}
    shape = {"count": 1, "height": pixels.shape[0], "width": pixels.shape[1], "dtype": pixels.dtype}
    with quietly(), rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape, **place) as dst:
        dst.write(pixels, 1)


def make_item(
    folder: Path,
    catalogue: str = "earth-search",
    *,
    baseline: str = "05.09",
    stored_offset: float = -1000,
    stated: float | None = -0.1,
    applied: bool | None = None,
    keys: Sequence[str] = (*KEYS, "SCL"),
    side: int = SIDE,
    corner: tuple[float, float] = CORNER,
    lies_at: tuple[float, float] | None = None,
    ground: Callable[[str, int], NDArray[np.generic]] | None = None,
    name: str = "S2A_31TDJ_20230625_0_L2A",
    told: Mapping[str, Any] | None = None,
    **files: Any,
) -> Path:
    """An item of a catalogue beside its files; `stored_offset` is in the files, `stated` in the item.

    `ground` makes the numbers of a band of so many metres, not of `tests.safe`; `told` are more properties.
    """
    assets = {}
    for key in keys:
        metres = NATIVE[key]
        file = f"T31TDJ_20230625T104621_{key}_{metres}m.tif" if catalogue == "cdse" else f"{key}.tif"
        pixels = ground(key, metres) if ground else pixels_of(key, metres, stored_offset, 10_000, side)
        write_cog(folder / file, pixels, metres, corner=lies_at or corner, **files)
        grid = {"proj:shape": [*pixels.shape], "proj:transform": [metres, 0, corner[0], 0, -metres, corner[1]]}
        assets |= LAYOUTS[catalogue](key, metres, file, grid, stated)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0" if catalogue == "cdse" else "1.0.0",
        "stac_extensions": [],
        "id": f"{name}-{catalogue}",
        "geometry": None,
        "properties": properties(catalogue, baseline, applied) | dict(told or {}),
        "links": [],
        "assets": assets,
    }
    path = folder / f"{item['id']}.json"
    path.write_text(json.dumps(item), "utf-8")
    return path


def properties(catalogue: str, baseline: str, applied: bool | None) -> dict[str, Any]:
    """What an item tells of its scene, with the names of the catalogue."""
    told: dict[str, Any] = {
        "datetime": "2023-06-25T10:46:21.024Z", "platform": "sentinel-2a", "constellation": "sentinel-2",
        "instruments": ["msi"], "sat:relative_orbit": 51,
    }  # fmt: skip
    if catalogue == "cdse":
        return told | {"processing:version": baseline, "processing:level": "L2", "product:type": "S2MSI2A"}
    told |= {"s2:processing_baseline": baseline, "proj:epsg": 32631}
    return told if applied is None else told | {"earthsearch:boa_offset_applied": applied}


def _earth_search(key: str, metres: int, name: str, grid: dict[str, Any], stated: float | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"nodata": 0, "data_type": "uint16", "spatial_resolution": metres}
    if key == "SCL":
        return {
            "scl": {
                "href": f"./{name}",
                "type": COG,
                "roles": ["data", "reflectance"],
                **grid,
                "raster:bands": [numbers],
            }
        }
    if stated is not None:
        numbers |= {"scale": 0.0001, "offset": stated}
    common = EARTH_SEARCH[key]
    told = {"title": f"{common} - {metres}m", "eo:bands": [{"name": common, "common_name": common}], "gsd": metres}
    jp2 = {"href": f"s3://sentinel-s2-l2a/tiles/31/T/DJ/2023/6/25/0/{key}.jp2", "type": "image/jp2", "roles": ["data"]}
    cog = {"href": f"./{name}", "type": COG, "roles": ["data", "reflectance"]}
    return {common: cog | told | grid | {"raster:bands": [numbers]}, f"{common}-jp2": jp2 | told | grid}


def _planetary_computer(key: str, metres: int, name: str, grid: dict[str, Any], stated: float | None) -> dict[str, Any]:
    asset = {"href": name, "type": COG, "roles": ["data"], "gsd": metres, **grid}
    return {key: asset if key == "SCL" else asset | {"eo:bands": [{"name": key, "common_name": "rededge"}]}}


def _cdse(key: str, metres: int, name: str, grid: dict[str, Any], stated: float | None) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"s3://eodata/Sentinel-2/MSI/L2A/{name}", "type": COG, "auth:refs": ["s3"], "gsd": metres,
        "proj:code": "EPSG:32631", "nodata": 0, "data_type": "uint16", "file:local_path": name, **grid,
        "alternate": {"https": {"href": "https://download.example/x/$value", "auth:refs": ["oidc"]}},
        "roles": ["data", "reflectance", "sampling:original", f"gsd:{metres}m"],
    }  # fmt: skip
    if key == "SCL":
        asset["classification:classes"] = [{"name": "no_data", "value": 0}, {"name": "vegetation", "value": 4}]
        return {f"SCL_{metres}m": asset}
    asset["bands"] = [{"name": key, "eo:common_name": MSI[key]}]
    grid = {"proj:transform": [60, 0, CORNER[0], 0, -60, CORNER[1]]}
    coarser = asset | grid | {"gsd": 60, "roles": ["data", "sampling:downsampled"], "file:local_path": "none"}
    numbers = {} if stated is None else {"raster:scale": 0.0001, "raster:offset": stated}
    found = {f"{key}_{metres}m": asset | numbers}
    return found if metres == 60 else found | {f"{key}_60m": coarser | numbers}


COG = "image/tiff; application=geotiff; profile=cloud-optimized"
LAYOUTS = {"earth-search": _earth_search, "planetary-computer": _planetary_computer, "cdse": _cdse}
