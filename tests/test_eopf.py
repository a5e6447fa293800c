"""Sentinel-2 products as EOPF Zarr: their attributes tell values and place, and tiles read windows of their arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from fsspec.core import url_to_fs

from geosr.errors import DamageError, InputError
from geosr.io.scene import Scene
from geosr.products import Product, read_product, scenes_of
from geosr.window import Window
from tests.eopf import make_eopf, zipped_store
from tests.safe import BANDS, stored
from tests.servers import object_store
from tests.test_sentinel2 import assert_true_reflectance

MEASURED = [key for key in BANDS if key != "B10"]


def read(src: Path | str) -> Product:
    product = read_product(src)
    assert product is not None
    return product


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_eopf(tmp_path_factory.mktemp("eopf"))


def test_the_offset_of_the_attributes_is_in_values_once(store: Path) -> None:
    product = read(store)
    assert_true_reflectance(product, MEASURED)
    assert {(part.scale, part.offset) for part in product.parts if not part.classes} == {(1e-4, -0.1)}
    (scene, *_) = scenes_of(product, ["red"])
    assert np.array_equal(scene.source.pixels(scene.window).stored[0], stored(10, -1000))


def test_a_store_without_an_offset_has_none(tmp_path: Path) -> None:
    assert_true_reflectance(read(make_eopf(tmp_path, offset=0)), ["B04", "B05"])


def test_bands_come_once_at_the_pixels_that_they_were_measured_with(store: Path) -> None:
    sizes = {part.key: part.pixel for part in read(store).parts}
    assert [*sizes] == [*MEASURED, "SCL"]
    assert {key: sizes[key] for key in ("B01", "B02", "B05", "B8A", "B09", "SCL")} == {
        "B01": 60, "B02": 10, "B05": 20, "B8A": 20, "B09": 60, "SCL": 20,
    }  # fmt: skip


def test_level_1c_has_its_cirrus_band_and_a_mask_of_clouds(tmp_path: Path) -> None:
    product = read(make_eopf(tmp_path, level="L1C"))
    assert [part.key for part in product.parts] == [*BANDS]
    (marks,) = product.clouds
    assert marks.bits == 3
    assert product.kind == "Sentinel-2 L1C EOPF Zarr"


def test_classes_are_never_scaled(store: Path) -> None:
    product = read(store)
    (scene,) = scenes_of(product, ["SCL", "B05"], scale_offset=(2, 1))
    assert scene.categorical == (True, False)
    assert (scene.scales, scene.offsets) == ((1, 2), (0, 1))
    assert product.clouds[0].values == (3, 8, 9, 10)


@pytest.mark.parametrize("top", [False, True])
def test_a_zip_is_read_as_it_is_and_nothing_is_written_beside_it(tmp_path: Path, top: bool) -> None:
    archive = zipped_store(make_eopf(tmp_path / "made"), top)
    moved = archive.rename(tmp_path / archive.name)
    assert_true_reflectance(read(moved), ["B02", "B11"])
    assert {path.name for path in tmp_path.iterdir()} == {"made", moved.name}


def test_windows_are_those_of_the_array_and_sources_travel(store: Path) -> None:
    scene: Scene = scenes_of(read(store), ["red"], bounds=(600100, 4899300, 600500, 4899700))[0]
    again = pickle.loads(pickle.dumps(scene))
    whole = stored(10, -1000)
    assert np.array_equal(again.source.pixels(Window(3, 5, 20, 30)).stored[0], whole[35:55, 15:45])
    assert (scene.transform.c, scene.transform.f, scene.crs.to_epsg()) == (600100, 4899700, 32631)


def test_a_chunk_is_decoded_once_for_all_tiles_that_lie_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scene,) = scenes_of(read(make_eopf(tmp_path)), ["blue"])
    met: list[object] = []
    decode = zarr.Array.get_block_selection
    monkeypatch.setattr(zarr.Array, "get_block_selection", lambda array, at: met.append(at) or decode(array, at))
    for row in range(0, 96, 16):
        scene.source.pixels(Window(row, 0, 16, 96))
    assert met == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_coarser_look_takes_pixels_that_are_spread_evenly(store: Path) -> None:
    (scene,) = scenes_of(read(store), ["blue"])
    coarse = scene.source.reduced(scene.window, (32, 32), nearest=True)
    assert np.array_equal(coarse.stored[0], stored(10, -1000)[1::3, 1::3])


def test_a_place_that_arrays_do_not_tell_is_that_of_the_store(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    _change(place, lambda told: told.pop("proj:epsg"))
    assert scenes_of(read(place), ["red"])[0].crs.to_epsg() == 32631
    _change(place, lambda told: told.pop("proj:transform"))
    (scene,) = scenes_of(read(place), ["red"])
    assert scene.transform[:6] == (10, 0, 600000, 0, -10, 4900020)


def test_a_missing_scale_is_not_guessed(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    _change(place, lambda told: told.pop("add_offset", None))
    with pytest.raises(InputError, match=r"no scale_factor and add_offset for B01, .*settle it with --scale-offset"):
        scenes_of(read(place))
    assert scenes_of(read(place), scale_offset=(1e-4, -0.1))[0].offsets == (-0.1,) * 4


def test_a_band_that_is_not_there_is_told(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    del zarr.open_group(place, mode="r+", use_consolidated=False)["measurements/reflectance/r10m/b03"]
    for metres in (20, 60):
        del zarr.open_group(place, mode="r+", use_consolidated=False)[f"measurements/reflectance/r{metres}m/b03"]
    zarr.consolidate_metadata(place, zarr_format=2)
    with pytest.raises(InputError, match="B03 of its bands are listed"):
        scenes_of(read(place))


def test_a_damaged_chunk_is_told_in_one_line(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    (place / "measurements/reflectance/r10m/b04/0.0").write_bytes(b"\x02\x01\x21\x02" + bytes(40))
    (scene,) = scenes_of(read(place), ["red"])
    with pytest.raises(DamageError, match=r"b04: rows 0-95, columns 0-95: can't be read"):
        scene.source.pixels(scene.window)


def test_chunks_that_are_not_there_are_told(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    assert not any("chunks" in line for line in scenes_of(read(place), ["red"])[0].warnings)
    (place / "measurements/reflectance/r10m/b04/1.0").unlink()
    (scene,) = scenes_of(read(place), ["red", "blue"])
    assert any("1 of 4 chunks of" in line and "b04 are not there" in line for line in scene.warnings)
    assert (scene.source.pixels(Window(64, 0, 32, 64)).stored[0] == 0).all()


def test_another_content_is_another_identity(tmp_path: Path) -> None:
    place = make_eopf(tmp_path)
    first = scenes_of(read(place), ["red"])[0].identity["digest"]
    assert scenes_of(read(place), ["red"])[0].identity["digest"] == first
    zarr.open_group(place, mode="r+")["measurements/reflectance/r10m/b04"][0, 0] = 5
    assert scenes_of(read(place), ["red"])[0].identity["digest"] != first


def test_a_store_of_something_else_is_no_product(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "x.zarr", mode="w").create_array("data", shape=(4, 4), dtype="u2")
    assert read_product(tmp_path / "x.zarr") is None


def _change(store: Path, how: object) -> None:
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    for metres in (10, 20, 60):
        for _, array in root[f"measurements/reflectance/r{metres}m"].arrays():
            told = dict(array.attrs)
            how(told)  # type: ignore[operator]
            array.attrs.put(told)
    zarr.consolidate_metadata(store, zarr_format=2)


def test_a_coarser_view_is_of_pixels_of_the_array(store: Path) -> None:
    (scene, *_) = scenes_of(read(store), ["red"])
    rows, cols = (side // 4 * 4 for side in scene.shape)
    whole = scene.source.pixels(Window(0, 0, rows, cols)).stored
    seen = scene.source.reduced(Window(0, 0, rows, cols), (rows // 4, cols // 4), nearest=False).stored
    assert np.array_equal(seen, whole[:, 2::4, 2::4])


@pytest.mark.slow
def test_a_store_in_an_object_store_is_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_eopf(tmp_path)
    with object_store(monkeypatch) as address:
        system, root = url_to_fs(address)
        system.put(str(store), f"{root}/{store.name}", recursive=True)
        product = read(f"{address}/{store.name}")
        assert_true_reflectance(product, ["B04", "B05"])
        assert product.files == ()
