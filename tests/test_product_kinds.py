"""Products of every kind through all doors: files, arrays and worker processes have the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import geosr
from geosr.errors import InputError
from tests.eopf import make_eopf, zipped_store
from tests.landsat_products import build, level_1, packed
from tests.safe import make_safe
from tests.stac_items import make_item

pytest.importorskip("pystac")
Make = Callable[[Path], Path]


def zip_of_a_store(folder: Path) -> Path:
    return zipped_store(make_eopf(folder))


def tar_of_landsat(folder: Path) -> Path:
    return packed(build(folder, level_1()))


def pixels(path: str | Path) -> NDArray[np.generic]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


@pytest.mark.parametrize("make", [make_item, make_eopf, zip_of_a_store])
def test_a_scene_of_another_kind_of_product_has_the_pixels_of_its_safe(make: Make, tmp_path: Path) -> None:
    options = {"model": "bicubic", "scale": 2, "bounds": (600100, 4899200, 600700, 4899800)}
    results = [
        geosr.upscale(each(tmp_path / str(place)), tmp_path / f"{place}.tif", **options)
        for place, each in enumerate((make_safe, make))
    ]
    one, other = (pixels(result["path"]) for result in results)
    assert np.array_equal(one, other)
    with rasterio.open(tmp_path / "1.tif") as file:
        assert file.descriptions == ("B02", "B03", "B04", "B08")
        assert (set(file.scales), set(file.offsets), file.nodata) == ({1e-4}, {-0.1}, 0)
        assert file.tags()["platform"] == "sentinel-2a"


@pytest.mark.parametrize("make", [make_item, make_eopf, tar_of_landsat])
def test_arrays_of_a_product_have_the_pixels_of_its_files(make: Make, tmp_path: Path) -> None:
    product = make(tmp_path)
    opened = geosr.open_product(product, bands=["red", "nir08"], mask="clouds")
    datasets = opened.children.values() if make is not tar_of_landsat else [opened["30m"]]
    for dataset in datasets:
        for name, array in dataset.data_vars.items():
            path = geosr.upscale(
                product, tmp_path / f"{name}_x2.tif", bands=[name], mask="clouds", model="bicubic", scale=2
            )
            found = array.geosr.upscale(model="bicubic", scale=2)
            assert np.array_equal(pixels(path["path"])[0], found.values)


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_eopf, tar_of_landsat])
def test_worker_processes_read_stores_and_archives_too(make: Make, tmp_path: Path) -> None:
    product, options = make(tmp_path), {"bands": ["red"], "mask": "clouds", "model": "bicubic", "scale": 2}
    one = geosr.upscale(product, tmp_path / "one.tif", **options)
    other = geosr.upscale(product, tmp_path / "other.tif", **options, scheduler="processes", workers=2)
    assert np.array_equal(pixels(one["path"]), pixels(other["path"]))


def test_a_store_is_not_replaced_by_its_own_result(tmp_path: Path) -> None:
    store = make_eopf(tmp_path)
    before = sorted(path.name for path in store.rglob("*"))
    with pytest.raises(InputError):
        geosr.upscale(store, store, scale=2, overwrite=True)
    assert sorted(path.name for path in store.rglob("*")) == before
