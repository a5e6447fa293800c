"""Sentinel-2 products as EOPF Zarr, small ones: groups, arrays and attributes as real ones have them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import zarr
from numcodecs import Blosc

from tests.safe import CORNER, NATIVE, SIDE, pixels_of

WKT = 'PROJCS["WGS 84 / UTM zone 31N",...]'


def attributes(metres: int, side: int, **more: Any) -> dict[str, Any]:
    """The attributes of an array of rows and columns."""
    count = side * 60 // metres
    x, y = CORNER
    return {
        "_ARRAY_DIMENSIONS": ["y", "x"],
        "_eopf_attrs": {"coordinates": ["x", "y"], "dimensions": ["y", "x"]} | more,
        "proj:bbox": [x, y - 60 * side, x + 60 * side, y],
        "proj:epsg": 32631,
        "proj:shape": [count, count],
        "proj:transform": [metres, 0.0, x, 0.0, -metres, y, 0.0, 0.0, 1.0],
        **more,
    }


def make_eopf(folder: Path, *, level: str = "L2A", offset: float = -1000, side: int = SIDE, chunk: int = 64) -> Path:
    """A product in version 2 of Zarr, with consolidated metadata."""
    store = folder / f"S2A_MSI{level}_20230625T104621_N0509_R051_T31TDJ_20230625T124911.zarr"
    root = zarr.open_group(store, mode="w", zarr_format=2)
    root.attrs.update(about(level))
    told = {"add_offset": offset / 10_000, "scale_factor": 1e-4, "dtype": "<u2", "fill_value": 0, "valid_min": 1}
    told |= {"valid_max": 65535, "units": "digital_counts"}
    for key, native in NATIVE.items():
        for metres in (10, 20, 60):
            coarser = level == "L2A" and metres > native and key != "B08"
            if (metres == native or coarser or (key == "B01" and metres == 20)) and not (
                level == "L2A" and key == "B10"
            ):
                pixels = pixels_of(key, metres, offset, 10_000, side)
                place = f"measurements/reflectance/r{metres}m/{key.lower()}"
                _array(root, place, pixels, attributes(metres, side, **told), chunk, fill=0)
    classes = (20, 60) if level == "L2A" else ()
    for metres in classes:
        place = f"conditions/mask/l2a_classification/r{metres}m/scl"
        _array(root, place, pixels_of("SCL", metres, 0, 1, side), attributes(metres, side), chunk)
    if level == "L1C":
        flags = {"flag_masks": [1, 2, 4], "flag_meanings": ["OPAQUE", "CIRRUS", "SNOW_ICE"]}
        marks = (pixels_of("SCL", 60, 0, 1, side) == 9).astype("u1")
        _array(root, "conditions/mask/l1c_classification/r60m/b00", marks, attributes(60, side, **flags), chunk)
    zarr.consolidate_metadata(store, zarr_format=2)
    return store


def about(level: str) -> dict[str, Any]:
    """The attributes of the root: an item of STAC, and what else the product told."""
    return {
        "other_metadata": {"horizontal_CRS_code": "EPSG:32631", "horizontal_CRS_name": "WGS84 / UTM zone 31N"},
        "stac_discovery": {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"S2A_MSI{level}_20230625T104621_N0509_R051_T31TDJ_20230625T124911.SAFE",
            "properties": {
                "datetime": None,
                "start_datetime": "2023-06-25T10:46:21.024000+00:00",
                "platform": "sentinel-2a",
                "eopf:baseline": "05.09",
                "processing:level": level,
                "processing:version": "",
                "product:type": f"S02MSI{level}",
                "proj:epsg": 32631,
                "sat:relative_orbit": 51,
            },
        },
    }


def zipped_store(store: Path, top: bool = False) -> Path:
    """The store in a zip, with or without its folder on top."""
    base = (store.parent, store.name) if top else (store, None)
    return Path(shutil.make_archive(str(store), "zip", *base))


def _array(
    root: zarr.Group, place: str, pixels: Any, told: dict[str, Any], chunk: int, fill: int | None = None
) -> None:
    array = root.create_array(
        place,
        shape=pixels.shape,
        chunks=(chunk, chunk),
        dtype=pixels.dtype,
        fill_value=fill,
        compressors=Blosc("zstd", 3, 2),
        chunk_key_encoding={"name": "v2", "separator": "."},
        attributes=told,
    )
    array[:] = pixels
