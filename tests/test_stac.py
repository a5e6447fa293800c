"""STAC items: assets are bands with the values and the place that the item states, unless it contradicts itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import geosr
from geosr.errors import InputError, PlaceError
from geosr.products import Product, read_product, scenes_of
from geosr.sensor_table import LANDSAT_8, SENTINEL_2
from tests.landsat_products import build, level_1
from tests.safe import stored
from tests.servers import serving
from tests.stac_items import COG, KEYS, make_item
from tests.test_sentinel2 import assert_true_reflectance

pytest.importorskip("pystac")
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "products" / "stac"


def read(src: Path | str) -> Product:
    product = read_product(src)
    assert product is not None
    return product


def changed(path: Path, how: Callable[[dict[str, Any]], object]) -> Path:
    item = json.loads(path.read_text())
    how(item)
    path.write_text(json.dumps(item))
    return path


@pytest.mark.parametrize("catalogue", ["earth-search", "cdse"])
def test_scale_and_offset_that_an_item_states_make_true_reflectance(tmp_path: Path, catalogue: str) -> None:
    product = read(make_item(tmp_path, catalogue))
    assert product.sensor == SENTINEL_2.name
    assert [part.key for part in product.parts] == [*KEYS, "SCL"]
    assert_true_reflectance(product, KEYS)


def test_an_offset_that_was_taken_off_and_is_not_stated_is_none(tmp_path: Path) -> None:
    item = make_item(tmp_path, stored_offset=0, stated=0, applied=True)
    assert_true_reflectance(read(item), ["B04", "B11"])


def test_an_offset_that_was_taken_off_and_is_stated_is_refused_until_an_option_settles_it(tmp_path: Path) -> None:
    product = read(make_item(tmp_path, stored_offset=0, stated=-0.1, applied=True))
    with pytest.raises(InputError, match=r"boa_offset_applied\) and states one of -0.1; 0.0001,0 .* --scale-offset"):
        scenes_of(product)
    assert scenes_of(product, scale_offset=(1e-4, 0))[0].offsets == (0,) * 4
    assert scenes_of(product, ["SCL"])[0].categorical == (True,)


@pytest.mark.parametrize(("catalogue", "stated"), [("planetary-computer", None), ("cdse", None), ("earth-search", 0.0)])
def test_an_offset_that_the_baseline_has_and_the_item_lacks_is_refused(
    tmp_path: Path, catalogue: str, stated: float | None
) -> None:
    product = read(make_item(tmp_path, catalogue, stated=stated, baseline="05.11"))
    with pytest.raises(InputError, match=r"processing baseline 05.11 .* it states none"):
        scenes_of(product)
    assert_true = scenes_of(product, ["red"], scale_offset=(1e-4, -0.1))[0]
    assert np.array_equal(assert_true.source.pixels(assert_true.window).stored[0], stored(10, -1000))


def test_an_older_baseline_without_values_stays_as_its_files_are(tmp_path: Path) -> None:
    product = read(make_item(tmp_path, "planetary-computer", stated=None, baseline="02.12", stored_offset=0))
    (scene, *_) = scenes_of(product)
    assert (scene.scales, scene.offsets) == ((1,) * 4, (0,) * 4)
    assert any("states no scale and offset" in line for line in scene.warnings)


def test_an_offset_in_stored_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="states an offset of -1000, which reflectance can't have"):
        scenes_of(read(make_item(tmp_path, stated=-1000)))


def test_a_file_without_place_and_number_for_no_data_has_those_of_the_item(tmp_path: Path) -> None:
    product = read(make_item(tmp_path, placed=False, nodata=None))
    (scene,) = scenes_of(product, ["red"])
    assert (scene.crs.to_epsg(), scene.nodata) == (32631, 0)
    assert scene.transform[:6] == (10, 0, 600000, 0, -10, 4900020)
    assert_true_reflectance(product, ["B04", "B05"])


def test_zero_is_no_data_where_neither_item_nor_file_says_so(tmp_path: Path) -> None:
    product = read(
        make_item(tmp_path, "planetary-computer", stated=None, baseline="02.12", stored_offset=0, nodata=None)
    )
    assert scenes_of(product, ["red"])[0].nodata == 0


def test_a_file_that_lies_elsewhere_than_the_item_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"B04.tif lies at 600000, 4900020 .* metadata say 600060"):
        scenes_of(read(make_item(tmp_path, corner=(600060, 4900020), lies_at=(600000, 4900020))), ["red"])


def test_classes_are_never_scaled(tmp_path: Path) -> None:
    def scaled(item: dict[str, Any]) -> None:
        item["assets"]["scl"]["raster:bands"][0] |= {"scale": 0.0001, "offset": -0.1}

    product = read(changed(make_item(tmp_path), scaled))
    (scene,) = scenes_of(product, ["SCL"], scale_offset=(3, 4))
    assert (scene.scales, scene.offsets, scene.categorical) == ((1,), (0,), (True,))
    assert product.clouds[0].values == (3, 8, 9, 10)


def test_the_geotiff_is_taken_before_the_jpeg_2000_and_a_band_at_its_own_pixels(tmp_path: Path) -> None:
    assert {Path(part.path).suffix for part in read(make_item(tmp_path)).parts} == {".tif"}
    sizes = {part.key: part.pixel for part in read(make_item(tmp_path / "cdse", "cdse")).parts}
    assert (sizes["B02"], sizes["B05"], sizes["B09"]) == (10, 20, 60)


def test_an_asset_that_needs_a_login_is_taken_from_where_it_lies_here(tmp_path: Path) -> None:
    item = make_item(tmp_path, "cdse")
    assert read(item).parts[3].path == str(tmp_path / "T31TDJ_20230625T104621_B04_10m.tif")
    for file in tmp_path.glob("*_B04_*.tif"):
        file.unlink()
    assert read(item).chosen(["red"])[0].path.startswith("s3://eodata/")


def test_an_address_of_a_file_here_is_that_file(tmp_path: Path) -> None:
    def whole(item: dict[str, Any]) -> None:
        item["assets"]["red"]["href"] = (tmp_path / "B04.tif").as_uri()

    assert read(changed(make_item(tmp_path), whole)).chosen(["red"])[0].path == str(tmp_path / "B04.tif")


def test_an_alternate_address_without_a_login_is_preferred(tmp_path: Path) -> None:
    def alternate(item: dict[str, Any]) -> None:
        item["assets"]["red"] |= {
            "href": "s3://bucket/B04.tif",
            "alternate": {"https": {"href": "https://x.example/B04.tif"}},
        }

    item = changed(make_item(tmp_path), alternate)
    assert read(item).chosen(["red"])[0].path == "https://x.example/B04.tif"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    item = changed(make_item(tmp_path), lambda item: item["assets"].pop("red-jp2"))
    (tmp_path / "B04.tif").unlink()
    with pytest.raises(InputError, match="B04 of its bands are listed"):
        scenes_of(read(item))
    assert scenes_of(read(item), ["blue"])[0].names == ("B02",)


def test_an_asset_of_several_bands_gives_each(tmp_path: Path) -> None:
    def joined(item: dict[str, Any]) -> None:
        names = [{"name": name, "common_name": name} for name in ("red", "green")]
        item["properties"] |= {"platform": "plane", "constellation": None, "proj:epsg": 26910}
        item["assets"] = {"image": {"href": "./a.tif", "type": COG, "eo:bands": names, "gsd": 0.6}}

    path = changed(make_item(tmp_path, keys=()), joined)
    (tmp_path / "a.tif").write_bytes(b"x")
    assert [(part.key, part.common, part.band, part.pixel) for part in read(path).parts] == [
        ("green", "green", 2, 0.6), ("red", "red", 1, 0.6),
    ]  # fmt: skip


def test_a_landsat_item_has_scale_and_offset_of_each_band_and_its_own_names(tmp_path: Path) -> None:
    place = build(tmp_path, level_1())

    def landsat(item: dict[str, Any]) -> None:
        item["properties"] = {"datetime": "2022-02-09T02:05:18Z", "platform": "landsat-9", "proj:epsg": 32650,
                              "proj:transform": [30, 0, 384585, 0, -30, -3236385]}  # fmt: skip
        item["assets"] = {}
        for key, name, size in (("red", "B4", 30), ("pan", "B8", 15), ("qa_pixel", "QA_PIXEL", 30)):
            item["assets"][key] = {"href": str(next(place.glob(f"*_{name}.TIF"))), "type": COG}
            if key != "qa_pixel":
                item["assets"][key]["eo:bands"] = [{"name": name, "common_name": key, "gsd": size}]
                item["assets"][key]["raster:bands"] = [{"scale": 2e-5, "offset": -0.1, "nodata": 0}]

    product = read(changed(make_item(tmp_path, keys=()), landsat))
    assert [(part.key, part.pixel) for part in product.parts] == [("B4", 30), ("B8", 15), ("QA_PIXEL", 30)]
    assert product.sensor == LANDSAT_8.name
    pan, rest = scenes_of(product, ["red", "pan", "QA_PIXEL"])
    assert (pan.scales, rest.scales, rest.offsets) == ((2e-5,), (2e-5, 1), (-0.1, 0))


def test_an_item_at_an_address_is_read_with_the_files_that_lie_beside_it_there(tmp_path: Path) -> None:
    item = make_item(tmp_path, placed=False, keys=("B04", "B05", "SCL"))
    with serving(tmp_path) as server:
        product = read(server.url(item.name))
        assert_true_reflectance(product, ["B04", "B05"])
        assert product.chosen(["red"])[0].path == server.url("B04.tif")
        made = geosr.upscale(server.url(item.name), tmp_path / "out.tif", bands=["red"], scale=2, model="bicubic")
        server.failing = 99
        with pytest.raises(PlaceError, match=r"S2A_31TDJ.*can't be read: .*503"):
            read(server.url(item.name))
    with rasterio.open(made["path"]) as file:
        assert (file.crs.to_epsg(), file.transform.a, file.offsets) == (32631, 5, (-0.1,))
    with pytest.raises(PlaceError, match="can't be read"):
        read(server.url(item.name))


def test_an_item_at_an_address_names_no_file_of_this_machine(tmp_path: Path) -> None:
    def here(item: dict[str, Any]) -> None:
        item["assets"]["red"]["href"] = str(tmp_path / "B04.tif")

    item = changed(make_item(tmp_path, keys=("B04",)), here)
    with serving(tmp_path) as server:
        (part,) = read(server.url(item.name)).parts
        assert part.path == server.url(f"{tmp_path}/B04.tif".lstrip("/"))


def test_what_is_no_whole_item_is_refused_in_one_line(tmp_path: Path) -> None:
    path = make_item(tmp_path)
    text = path.read_text()
    path.write_text(text[:-20])
    with pytest.raises(InputError, match="is cut off or no JSON"):
        read(path)
    path.write_text(text.replace('"assets"', '"essets"'))
    with pytest.raises(InputError, match=r"no whole STAC item|none of the item's assets"):
        read(path)
    (tmp_path / "place.json").write_text('{"type": "FeatureCollection", "features": []}')
    assert read_product(tmp_path / "place.json") is None


@pytest.mark.parametrize(
    "file", sorted(REAL.glob("*/*.json")) or [None], ids=lambda path: path.stem if path else "none"
)
def test_real_items_have_their_bands_and_only_contradictory_ones_are_unsettled(
    file: Path | None, tmp_path: Path
) -> None:
    if file is None:
        pytest.skip("no real STAC items here")
    document = json.loads(file.read_text())
    for place, item in enumerate(document.get("features", [document])):
        path = tmp_path / f"{place}.json"
        path.write_text(json.dumps(item))
        product = read(path)
        keys = {part.key for part in product.parts} | {*product.missing}
        assert keys >= {"B02", "B11"} or keys >= {"B2", "B8"} or "SR_B2" in keys
        assert product.crs.startswith("EPSG:")
        contradictory = item["properties"].get("earthsearch:boa_offset_applied") is True
        assert bool(product.unsettled) == contradictory, re.sub(r"\s+", " ", product.unsettled)
