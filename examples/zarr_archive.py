"""An archive of scenes as Zarr stores, and a look at one of them through its overviews.

    python examples/zarr_archive.py archive examples/scene.tif more.tif

What is there already is skipped; a scene that fails stops no other. The folder may be `s3://bucket/prefix`, too.
"""

from __future__ import annotations

import sys

import xarray as xr

import geosr


def main(archive: str, *scenes: str) -> list[xr.DataArray]:
    """The stores' coarsest overviews, which are read in no time whatever the size of the scene."""
    records = geosr.upscale_many(scenes, archive, format="Zarr", scale=2)
    for record in records:
        print(record["src"], record["status"], record.get("error", record["path"]))
    return [quick_look(record["path"]) for record in records if record["status"] != "failed"]


def quick_look(store: str) -> xr.DataArray:
    """The coarsest overview of a store, if it is large enough to have any; `xr.open_zarr(store).data` is all of it."""
    with xr.open_zarr(store) as whole:
        levels = whole.attrs.get("multiscales", {"layout": [{"asset": "data"}]})["layout"]
    group, _, name = levels[-1]["asset"].rpartition("/")  # such as "2/data"
    return xr.open_zarr(store, group=group or None)[name]


if __name__ == "__main__":
    for look in main(*sys.argv[1:]):
        print(look.sizes, look.mean(("y", "x")).values)
