"""Products of one pass as one scene: the ground of all, without a seam, whatever offset their numbers carry."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.io.scene import Scene
from geosr.products import Product, read_product, scenes_of
from geosr.products.mosaic import together
from geosr.window import Window
from tests.eopf import make_eopf
from tests.safe import make_safe, zipped
from tests.stac_items import make_item
from tests.test_sentinel2 import values

pytest.importorskip("pystac")
LEFT, TOP = 600_000, 4_900_020
SIDE = 24
"""Pixels of 60 m along a side of the whole ground."""


def ground(metres: int) -> NDArray[np.float64]:
    """Reflectance of all the ground, in pixels of so many metres."""
    fine = np.random.default_rng(3).uniform(0.001, 0.4, (SIDE * 3, SIDE * 3)).repeat(2, 0).repeat(2, 1)
    step = metres // 10
    return np.asarray(fine.reshape(SIDE * 6 // step, step, SIDE * 6 // step, step).mean((1, 3)))


def cut(row: int, col: int, side: int, offset: float, hole: int = 0) -> Callable[[str, int], NDArray[np.generic]]:
    """Numbers of a part of the ground by pixels of 60 m, with a hole in its lower right corner."""

    def numbers(key: str, metres: int) -> NDArray[np.generic]:
        step = 60 // metres
        place = slice(row * step, (row + side) * step), slice(col * step, (col + side) * step)
        stored = np.round(ground(metres) * 10_000 - offset).astype(np.uint16)
        stored = np.full_like(stored, 4) if key == "SCL" else stored
        found = stored[place].copy()
        if hole:
            found[-hole * step :, -hole * step :] = 0
        return found.astype(np.uint8) if key == "SCL" else found

    return numbers


def item(
    folder: Path, row: int, col: int, *, side: int = 14, offset: float = -1000, hole: int = 0, **more: Any
) -> Path:
    name = more.pop("name", f"S2A_{row:02}{col:02}_20230625_0_L2A")
    baseline = more.pop("baseline", "05.09" if offset else "02.12")
    keys = more.pop("keys", ("B04", "B05", "SCL"))
    corner = LEFT + 60 * col, TOP - 60 * row
    made = cut(row, col, side, offset, hole)
    stated = more.pop("stated", offset / 10_000)
    return make_item(
        folder / name, corner=corner, ground=made, name=name, stated=stated, baseline=baseline, keys=keys, **more
    )


def read(*src: Path) -> Product:
    product = read_product(src)
    assert product is not None
    return product


def red(product: Product, **options: Any) -> Scene:
    return scenes_of(product, ["red"], **options)[0]


def test_overlapping_items_are_one_scene_with_the_ground_of_all(tmp_path: Path) -> None:
    fine, coarse = scenes_of(read(item(tmp_path, 0, 0), item(tmp_path, 4, 10)), ["red", "B05", "SCL"])
    assert (fine.shape, coarse.shape) == ((18 * 6, 24 * 6), (18 * 3, 24 * 3))
    assert (fine.transform.c, fine.transform.f) == (LEFT, TOP)
    (found,), truth = values(fine), ground(10)[: 18 * 6]
    covered = np.zeros(truth.shape, bool)
    covered[: 14 * 6, : 14 * 6] = covered[4 * 6 :, 10 * 6 :] = True
    assert (np.isnan(found) == ~covered).all()
    assert np.nanmax(abs(found - truth)) <= 0.5e-4 + 1e-9
    assert coarse.categorical == (False, True)


def test_differing_offsets_leave_no_seam_and_what_was_done_is_told(tmp_path: Path) -> None:
    for order in (1, -1):
        items = [item(tmp_path / f"{order}", 0, 0, offset=0), item(tmp_path / f"{order}", 0, 10, offset=-1000)][::order]
        scene = red(read(*items))
        assert np.nanmax(abs(values(scene)[0] - ground(10)[: 14 * 6])) <= 0.5e-4 + 1e-9
        assert (scene.scales, scene.offsets) == ((1e-4,), (-0.1,))
        assert any("S2A_0000" in line and "raised by 1000" in line for line in scene.warnings)


def test_where_items_overlap_the_first_that_has_data_is_taken(tmp_path: Path) -> None:
    def flat(number: int, hole: bool) -> Callable[[str, int], NDArray[np.generic]]:
        pixels = np.full((12, 12), number, np.uint16)
        pixels[:6, 6:] = 0 if hole else number
        return lambda key, metres: pixels

    paths = [
        make_item(tmp_path / name, ground=flat(number, hole), name=name, keys=("B04",), corner=(LEFT + shift, TOP))
        for name, number, hole, shift in (("a", 2000, True, 0), ("b", 3000, False, 60))
    ]
    for order, middle in ((1, 2000), (-1, 3000)):
        scene = red(read(*paths[::order]))
        (stored,) = scene.source.pixels(scene.window).stored
        assert (stored[6:, :6] == 2000).all()
        assert (stored[6:, 6:12] == middle).all()
        assert (stored[:, 12:] == 3000).all()
        assert (stored[:6, 6:12] == 3000).all()


def test_windows_and_areas_are_those_of_the_whole_and_sources_travel(tmp_path: Path) -> None:
    product = read(item(tmp_path, 0, 0, hole=3), item(tmp_path, 2, 10))
    scene = red(product)
    (whole,) = scene.source.pixels(scene.window).stored
    part = pickle.loads(pickle.dumps(red(product, bounds=(LEFT + 600, TOP - 900, LEFT + 1200, TOP - 300))))
    assert np.array_equal(part.source.pixels(Window(3, 5, 20, 30)).stored[0], whole[33:53, 65:95])
    area = tmp_path / "area.geojson"
    ring = [[LEFT + x, TOP - y] for x, y in ((300, 300), (1300, 300), (800, 1000), (300, 300))]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    cut_out = red(product, aoi=area)
    assert cut_out.shape == (66, 100)
    pixels = cut_out.source.pixels(Window(0, 0, 66, 100))
    assert np.array_equal(pixels.stored[0], whole[30:96, 30:130])
    assert pixels.wanted is not None
    assert 0.4 < pixels.wanted.mean() < 0.6


def test_a_coarser_look_at_a_mosaic_shows_the_ground_of_all(tmp_path: Path) -> None:
    scene = red(read(item(tmp_path, 0, 0, hole=2), item(tmp_path, 4, 10)))
    whole = scene.source.pixels(scene.window).stored
    assert np.array_equal(scene.source.reduced(scene.window, scene.shape, nearest=True).stored, whole)
    coarse = scene.source.reduced(scene.window, (18, 24), nearest=False).stored[0]
    means = whole[0].reshape(18, 6, 24, 6).mean((1, 3))
    assert np.array_equal(coarse == 0, means == 0)
    assert abs(coarse[:12, :12] - means[:12, :12]).max() <= 1


def test_a_collection_of_items_is_read_as_their_list_is(tmp_path: Path) -> None:
    paths = [item(tmp_path, 0, 0), item(tmp_path, 4, 10)]
    documents = [json.loads(path.read_text()) for path in paths]
    for path, document in zip(paths, documents, strict=True):
        for asset in document["assets"].values():
            asset["href"] = str(path.parent / Path(asset["href"]).name) if "://" not in asset["href"] else asset["href"]
    collection = tmp_path / "search.json"
    collection.write_text(json.dumps({"type": "FeatureCollection", "features": documents}))
    one, other = red(read(collection)), red(read(*paths))
    assert np.array_equal(one.source.pixels(one.window).stored, other.source.pixels(other.window).stored)


def test_clouds_of_all_are_marked(tmp_path: Path) -> None:
    product = read(item(tmp_path, 0, 0), item(tmp_path, 4, 10))
    (marks,) = product.clouds
    assert len(marks.part.pieces) == 2
    assert not read(item(tmp_path / "x", 0, 0), item(tmp_path / "x", 4, 10, keys=("B04",))).clouds


def test_a_band_that_one_lacks_is_left_out_and_told(tmp_path: Path) -> None:
    product = read(item(tmp_path, 0, 0), item(tmp_path, 4, 10, keys=("B04", "SCL")))
    assert [part.key for part in product.parts] == ["B04", "SCL"]
    assert product.missing == ("B05",)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"datetime": "2023-06-26T10:46:21Z"}, "of 2023-06-25 and .* of 2023-06-26: one result holds one pass"),
        ({"sat:relative_orbit": 8}, "of orbit 51 and .* of orbit 8"),
        ({"proj:epsg": 32632}, "is in EPSG:32631 and .* in EPSG:32632|don't fit|CRS"),
        ({"platform": "landsat-9", "constellation": None}, "STAC item of Sentinel-2 MSI and .* Landsat"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    first, second = item(tmp_path, 0, 0), item(tmp_path, 4, 10, told=told, placed="proj:epsg" not in told)
    with pytest.raises(InputError, match=words):
        red(read(first, second))


def test_pixels_that_do_not_fall_together_and_values_that_no_whole_number_makes_alike_are_refused(
    tmp_path: Path,
) -> None:
    first = item(tmp_path, 0, 0)
    moved = make_item(tmp_path / "m", name="m", ground=cut(0, 10, 14, -1000), keys=("B04",), corner=(LEFT + 605, TOP))
    with pytest.raises(InputError, match="don't fall together"):
        red(read(first, moved))
    odd = item(tmp_path / "odd", 0, 10, stated=-0.09995)
    with pytest.raises(InputError, match="no whole number makes alike"):
        red(read(first, odd))


def test_products_and_plain_rasters_do_not_mix(tmp_path: Path) -> None:
    path = item(tmp_path, 0, 0)
    with pytest.raises(InputError, match=r"B04.tif is a plain raster, and others are products"):
        read(path, path.parent / "B04.tif")
    with pytest.raises(InputError, match="one pass of one kind"):
        read(path, make_safe(tmp_path))


@pytest.mark.parametrize("make", [make_eopf, make_safe, lambda folder: zipped(make_safe(folder), folder / "a.zip")])
def test_stores_folders_and_zips_go_together_too(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    product = read_product(make(tmp_path))
    assert product is not None
    alone, twice = (
        scenes_of(product, ["B04", "B05", "SCL"]),
        scenes_of(together([product, product]), ["B04", "B05", "SCL"]),
    )
    for one, other in zip(alone, twice, strict=True):
        assert np.array_equal(one.source.pixels(one.window).stored, other.source.pixels(other.window).stored)
        assert one.sensor == other.sensor
        assert one.metadata.bands == other.metadata.bands
