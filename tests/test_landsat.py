"""Products of Landsat: what their metadata say of each band is what a scene of it has."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from geosr.errors import InputError
from geosr.io.scene import Scene
from geosr.placement import Placement
from geosr.products import Product, read_product, scenes_of
from geosr.sensor_table import LANDSAT_7, LANDSAT_8
from tests.landsat_products import build, level_1, level_2, packed, pixels_of, text_of

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "products" / "landsat"


def read(src: Path) -> Product:
    product = read_product(src)
    assert product is not None
    return product


def values(scene: Scene, band: int = 0) -> np.ndarray:
    stored = scene.source.pixels(scene.window).stored[band].astype(float)
    return stored * scene.scales[band] + scene.offsets[band]


@pytest.mark.parametrize("kind", ["txt", "xml", "json"])
def test_level_1_is_reflectance_at_the_top_of_the_atmosphere_and_radiance(tmp_path: Path, kind: str) -> None:
    place = build(tmp_path, level_1(), kinds=(kind,))
    product = read(place)
    assert (product.kind, product.sensor) == ("Landsat 9 L1", LANDSAT_8.name)
    (scene,) = scenes_of(product, ["red", "B10"])
    assert scene.scales == (2e-5, 3.8e-4)
    assert scene.offsets == (-0.1, 0.1)
    assert scene.nodata == 0
    stored = pixels_of("B4.TIF", 40)
    assert np.array_equal(values(scene), stored.astype(float) * 2e-5 - 0.1)
    assert any(
        "without correction for the sun's angle: scale and offset 2e-05 and -0.1" in line for line in scene.warnings
    )


def test_level_2_has_its_own_numbers_and_not_those_of_the_level_below_which_its_metadata_repeat(tmp_path: Path) -> None:
    (scene,) = scenes_of(read(build(tmp_path, level_2())), ["SR_B4", "ST_B10"])
    assert scene.scales == (2.75e-5, 0.00341802)
    assert scene.offsets == (-0.2, 149)
    groups = level_2()
    del groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]["REFLECTANCE_MULT_BAND_4"]
    lacking = read(build(tmp_path / "lacking", groups))
    with pytest.raises(InputError, match="no scale and offset of BAND_4; settle it with --scale-offset"):
        scenes_of(lacking, ["red"])


def test_bands_of_30_m_and_the_pan_band_are_two_scenes_and_the_pan_grid_lies_where_its_file_says(
    tmp_path: Path,
) -> None:
    pan, rest = scenes_of(read(build(tmp_path, level_1())), ["B2", "B3", "B4", "B8"])
    assert (pan.names, rest.names) == (("B8",), ("B2", "B3", "B4"))
    assert (pan.shape, rest.shape) == ((79, 79), (40, 40))
    placement = Placement.between(rest.transform, pan.transform)
    assert placement.step == (2, 2)
    assert [float(corner) for corner in placement.corner] == [-0.5, -0.5]
    assert pan.sensor.bands[0].table is LANDSAT_8.band("B8")


def test_without_names_the_pan_band_is_the_finest_grid(tmp_path: Path) -> None:
    assert [part.key for part in read(build(tmp_path, level_1())).chosen()] == ["B8"]


def test_flags_are_classes_and_say_which_pixels_are_cloud(tmp_path: Path) -> None:
    product = read(build(tmp_path, level_2()))
    (scene,) = scenes_of(product, ["QA_PIXEL", "SR_QA_AEROSOL"], scale_offset=(2, 1))
    assert scene.categorical == (True, True)
    assert (scene.scales, scene.offsets) == ((1, 1), (0, 0))
    (marks,) = product.clouds
    stored = scene.source.pixels(scene.window).stored[0]
    assert np.array_equal(stored & marks.bits > 0, np.pad(np.ones((4, 4), bool), ((36, 0), (36, 0))))


def test_a_thematic_mapper_has_other_numbers_for_its_colours(tmp_path: Path) -> None:
    product = read(build(tmp_path, level_2("LANDSAT_5", "TM")))
    told = {part.key: part.common for part in product.parts if not part.classes}
    assert told == {
        "SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir08", "SR_B5": "swir16", "SR_B7": "swir22",
        "ST_B6": "lwir",
    }  # fmt: skip
    assert product.sensor == ""
    assert read(build(tmp_path / "7", level_1("LANDSAT_7", "ETM"))).sensor == LANDSAT_7.name


def test_a_band_is_called_by_its_number_on_both_levels(tmp_path: Path) -> None:
    for product in (read(build(tmp_path, level_1())), read(build(tmp_path, level_2()))):
        (red, near) = product.chosen(["B4", "nir"])
        assert (red.common, near.common) == ("red", "nir08")
    assert [part.key for part in product.chosen(["SR_B4"])] == ["SR_B4"]


def test_a_tar_archive_holds_the_pixels_of_its_folder_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    place = build(tmp_path, level_1())
    (unpacked,) = scenes_of(read(place), ["red", "nir08"])
    expected = unpacked.source.pixels(unpacked.window).stored
    archive = packed(place)
    shutil.rmtree(place)
    (scene,) = scenes_of(read(archive), ["red", "nir08"])
    assert np.array_equal(scene.source.pixels(scene.window).stored, expected)
    assert str(archive) in scene.files
    assert list(tmp_path.iterdir()) == [archive]


def test_an_archive_that_is_cut_off_or_compressed_is_refused_in_one_line(tmp_path: Path) -> None:
    archive = packed(build(tmp_path, level_1()))
    archive.write_bytes(archive.read_bytes()[:-30000])
    with pytest.raises(InputError, match="no whole archive"):
        read(archive)
    squeezed = tmp_path / "LC08_L1TP_112081_20220209_20220209_01_T1.tar.gz"
    squeezed.write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match="compressed as a whole"):
        read(squeezed)


@pytest.mark.parametrize("kind", ["txt", "xml", "json"])
def test_metadata_that_are_cut_off_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    place = build(tmp_path, level_1(), kinds=(kind,))
    (file,) = place.glob("*_MTL.*")
    file.write_text(text_of(level_1(), kind)[:-40])
    with pytest.raises(InputError, match=r"_MTL\.\w+: .*(cut off|well-formed)"):
        read(place)


def test_xml_that_brings_entities_is_not_read(tmp_path: Path) -> None:
    place = build(tmp_path, level_1(), kinds=("xml",))
    (file,) = place.glob("*_MTL.xml")
    file.write_text(file.read_text().replace("<LANDSAT", '<!DOCTYPE x [<!ENTITY a "b">]><LANDSAT', 1))
    with pytest.raises(InputError, match="entities"):
        read(place)


def test_a_band_that_is_listed_and_not_there_is_told(tmp_path: Path) -> None:
    place = build(tmp_path, level_1())
    next(place.glob("*_B8.TIF")).unlink()
    product = read(place)
    assert product.missing == ("B8",)
    with pytest.raises(InputError, match="B8 of its bands are listed"):
        scenes_of(product)
    assert scenes_of(product, ["red"])[0].names == ("B4",)


def test_the_metadata_file_names_the_product_as_its_folder_does(tmp_path: Path) -> None:
    place = build(tmp_path, level_1())
    (file,) = place.glob("*_MTL.txt")
    assert read(file).parts == read(place).parts


@pytest.mark.parametrize("folder", sorted(REAL.glob("L*")) or [None], ids=lambda path: path.name if path else "none")
def test_real_metadata_of_landsat_5_to_9_tell_every_band(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("no real metadata of Landsat products here")
    product = read(folder)
    assert product.unsettled == ""
    assert product.parts == ()
    assert {"B4", "SR_B4"} & {*product.missing}
