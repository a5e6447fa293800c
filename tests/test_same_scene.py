"""One scene as each kind of product has the same reflectance, whatever offset its numbers carry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geosr.products import Product, read_product, scenes_of
from tests.eopf import make_eopf, zipped_store
from tests.safe import BANDS, make_safe, reflectance, zipped
from tests.stac_items import make_item
from tests.test_sentinel2 import values

pytest.importorskip("pystac")
KEYS = [key for key in BANDS if key != "B10"]


def as_safe(folder: Path) -> Path:
    return make_safe(folder)


def as_reprocessed_safe(folder: Path) -> Path:
    return make_safe(folder, baseline="05.11", offset=-1000)


def as_old_safe(folder: Path) -> Path:
    return make_safe(folder, baseline="02.12", offset=None)


def as_zip(folder: Path) -> Path:
    return zipped(make_safe(folder / "unpacked"), folder / "product.zip", top=False)


def as_stac(folder: Path) -> Path:
    return make_item(folder)


def as_stac_with_the_offset_taken_off(folder: Path) -> Path:
    return make_item(folder, stored_offset=0, stated=0, applied=True)


def as_cdse(folder: Path) -> Path:
    return make_item(folder, "cdse", nodata=None)


def as_eopf(folder: Path) -> Path:
    return make_eopf(folder)


def as_eopf_zip(folder: Path) -> Path:
    return zipped_store(make_eopf(folder), top=True)


MAKERS = [
    as_safe, as_reprocessed_safe, as_old_safe, as_zip, as_stac, as_stac_with_the_offset_taken_off, as_cdse, as_eopf,
    as_eopf_zip,
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_kind_of_product_has_the_reflectance_of_the_ground_to_half_a_number(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    product = read_product(make(tmp_path))
    assert isinstance(product, Product)
    scenes = scenes_of(product, KEYS)
    assert [round(scene.transform.a) for scene in scenes] == [10, 20, 60]
    assert sorted(name for scene in scenes for name in scene.names) == sorted(KEYS)
    for scene in scenes:
        metres, found = round(scene.transform.a), values(scene)
        assert (scene.transform.c, scene.transform.f, scene.crs.to_epsg()) == (600000, 4900020, 32631)
        assert np.nanmax(abs(found - reflectance(metres))) <= 0.5e-4 + 1e-9
        assert np.isnan(found).sum() == len(found) * (2 * 60 // metres) ** 2


@pytest.mark.parametrize("make", [as_safe, as_zip, as_stac, as_cdse, as_eopf], ids=lambda make: make.__name__)
def test_every_kind_of_product_says_the_same_of_sensor_bands_and_clouds(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    first, product = (read_product(each(tmp_path / each.__name__)) for each in (as_safe, make))
    assert isinstance(first, Product)
    assert isinstance(product, Product)
    for mine, other in zip(scenes_of(product, KEYS), scenes_of(first, KEYS), strict=True):
        assert mine.sensor.bands == other.sensor.bands
        assert (mine.sensor.sensor, mine.nodata) == (other.sensor.sensor, 0)
    assert [(marks.values, marks.part.key) for marks in product.clouds] == [((3, 8, 9, 10), "SCL")]
