"""Sentinel-2 products as SAFE: what is read of them, and that all their layouts tell the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tests.safe as made
from geosr.errors import InputError
from geosr.io.scene import Scene
from geosr.products import Product, read_product, scenes_of
from geosr.sensor_table import SENTINEL_2
from tests.safe import make_old_safe, make_pilot_safe, make_safe, reflectance, zipped


def read(path: Path) -> Product:
    found = read_product(path)
    assert found is not None
    return found


def values(scene: Scene) -> np.ndarray:
    """Reflectance as scale and offset of the scene have it, NaN for no data."""
    numbers = scene.source.pixels(scene.window).stored.astype(float)
    numbers[numbers == scene.nodata] = np.nan
    return numbers * np.reshape(scene.scales, (-1, 1, 1)) + np.reshape(scene.offsets, (-1, 1, 1))


def assert_true_reflectance(product: Product, keys: list[str]) -> None:
    """Every band within half a stored number of the ground, and without data where the product has none."""
    for scene in scenes_of(product, keys):
        metres = round(scene.transform.a)
        truth, found = reflectance(metres), values(scene)
        gone = np.zeros(truth.shape, bool)
        gone[: made.EMPTY * 60 // metres, : made.EMPTY * 60 // metres] = True
        for name, band in zip(scene.names, found, strict=True):
            assert (np.isnan(band) == gone).all(), name
            assert np.nanmax(abs(band - truth)) <= 0.5e-4 + 1e-9, name


MEASURED = [key for key in made.BANDS if key != "B10"]


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_safe(tmp_path_factory.mktemp("safe"))


@pytest.mark.parametrize(
    ("level", "baseline", "offset"),
    [
        ("L1C", "02.06", None),
        ("L1C", "03.01", None),
        ("L1C", "04.00", -1000),
        ("L2A", "02.12", None),
        ("L2A", "05.09", -1000),
        ("L2A", "05.10", -1000),
        ("L2A", "05.11", -1000),  # compared as text, or as 11 and 09, it would come before others
        ("L2A", "05.00", 0),  # an old date that was processed again, and says itself that nothing is added
        ("L2A", "02.07", -1000),  # whatever the version: the list counts
    ],
)
def test_values_are_those_of_the_metadata_whatever_the_baseline(
    tmp_path: Path, level: str, baseline: str, offset: float | None
) -> None:
    product = read(make_safe(tmp_path, level=level, baseline=baseline, offset=offset))
    keys = MEASURED + (["B10"] if level == "L1C" else [])
    assert {part.key for part in product.parts} - {"SCL", "AOT", "WVP"} == set(keys)
    assert product.kind == f"Sentinel-2 {level}"
    assert_true_reflectance(product, keys)
    told = f"baseline {baseline}: quantification 10000, offset {offset:+g}" if offset is not None else "offset none"
    assert told in product.notes[0]


def test_quantification_is_read_and_not_assumed(tmp_path: Path) -> None:
    product = read(make_safe(tmp_path, quantification=2_000, offset=-200, only=["B04", "B8A"]))
    (fine,) = scenes_of(product, ["red"])
    assert (fine.scales, fine.offsets) == ((1 / 2_000,), (-0.1,))


def test_each_band_is_the_one_of_its_own_pixels(safe: Path) -> None:
    pixels = {part.key: part.pixel for part in read(safe).parts}
    assert pixels == {key: size for key, size in made.NATIVE.items() if key != "B10"} | dict.fromkeys(
        ("SCL", "AOT", "WVP"), 20
    )


def test_classes_are_never_scaled_and_quantities_of_the_air_have_their_own_scale(safe: Path) -> None:
    (scene,) = scenes_of(read(safe), ["SCL", "AOT", "B05"])
    assert (scene.scales, scene.offsets) == ((1, 1e-3, 1e-4), (0, 0, -0.1))
    assert scene.categorical == (True, False, False)
    assert (scene.source.pixels(scene.window).stored[0] == made.scene_classes(20)).all()


def test_without_names_the_four_bands_of_10_metres_are_taken(safe: Path) -> None:
    (scene,) = scenes_of(read(safe))
    assert scene.names == ("B02", "B03", "B04", "B08")
    assert scene.sensor.sensor == SENTINEL_2.name
    assert [band.response_why for band in scene.sensor.bands] == [f"Sentinel-2 MSI {key}" for key in scene.names]
    assert (scene.metadata.tags or {})[""]["PROCESSING_BASELINE"] == "05.09"


@pytest.mark.parametrize("way", ["folder", "metadata", "outer", "granule", "zip", "bare zip", "SAFE.zip"])
def test_a_folder_its_parts_and_zips_of_it_are_the_same_product(tmp_path: Path, safe: Path, way: str) -> None:
    path = {
        "folder": lambda: safe,
        "metadata": lambda: safe / "MTD_MSIL2A.xml",
        "outer": lambda: safe.parent,
        "granule": lambda: next(safe.glob("GRANULE/*")),
        "zip": lambda: zipped(safe, tmp_path / "S2A.zip"),
        "bare zip": lambda: zipped(safe, tmp_path / "no_folder_on_top.zip", top=False),
        "SAFE.zip": lambda: zipped(safe, tmp_path / "S2A.SAFE.zip"),
    }[way]()
    before = sorted(tmp_path.rglob("*")), sorted(safe.rglob("*"))
    product = read(path)
    assert [(part.key, part.pixel) for part in product.parts] == [(part.key, part.pixel) for part in read(safe).parts]
    assert_true_reflectance(product, ["B02", "B05", "B8A", "B09"])
    assert (sorted(tmp_path.rglob("*")), sorted(safe.rglob("*"))) == before


def test_products_of_before_the_compact_format_are_read(tmp_path: Path) -> None:
    product = read(make_old_safe(tmp_path))
    assert len(product.parts) == 13
    assert_true_reflectance(product, list(made.BANDS))
    assert_true_reflectance(read(make_pilot_safe(tmp_path)), MEASURED)


def test_of_several_tiles_the_folder_of_one_has_to_be_named(tmp_path: Path) -> None:
    root = make_old_safe(tmp_path, tiles=["T31TDJ", "T31TEJ"])
    with pytest.raises(InputError, match=r"holds 2 tiles; name the folder of one, such as .*GRANULE/.*T31TDJ"):
        read(root)
    granule = next(root.glob("GRANULE/*T31TEJ*"))
    assert all("T31TEJ" in part.path for part in read(granule).parts)


@pytest.mark.parametrize(("baseline", "words"), [("05.09", "baseline 05.09"), ("", "tells no"), ("99.99", "99.99")])
def test_a_missing_list_of_offsets_is_refused_where_there_could_be_one(
    tmp_path: Path, baseline: str, words: str
) -> None:
    product = read(make_safe(tmp_path, baseline=baseline, offset=None, only=["B02", "B03", "B04", "B08"]))
    with pytest.raises(InputError, match=f"{words}.* has no list of offsets.*--scale-offset"):
        scenes_of(product)
    assert scenes_of(product, scale_offset=(1e-4, -0.1))[0].offsets == (-0.1,) * 4


def test_a_list_of_offsets_that_leaves_out_a_band_is_refused(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04", "B08"])
    main = root / "MTD_MSIL2A.xml"
    main.write_text(main.read_text().replace('<BOA_ADD_OFFSET band_id="7">-1000</BOA_ADD_OFFSET>', ""))
    with pytest.raises(InputError, match=r"the offsets in MTD_MSIL2A\.xml leave out B08"):
        scenes_of(read(root))


def test_a_product_without_the_metadata_of_its_tile_or_its_manifest_is_whole_enough(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04", "B8A"])
    for gone in (root / "manifest.safe", *root.glob("GRANULE/*/MTD_TL.xml")):
        gone.unlink()
    assert_true_reflectance(read(root), ["B04", "B8A"])


def test_a_product_without_its_metadata_is_refused(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04"])
    (root / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(InputError, match=r"SAFE: its metadata .* are not there, so that it seems half downloaded"):
        read(root)


def test_a_zip_that_is_cut_off_is_refused(tmp_path: Path, safe: Path) -> None:
    archive = zipped(safe, tmp_path / "S2A_MSIL2A.zip")
    archive.write_bytes(archive.read_bytes()[:-2_000])
    with pytest.raises(InputError, match="no whole archive, so that it seems half downloaded"):
        read(archive)


@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_an_image_that_is_gone_or_cut_off_is_told(tmp_path: Path, harm: str) -> None:
    root = make_safe(tmp_path)
    image = next(root.glob("GRANULE/*/IMG_DATA/R10m/*B03_10m.jp2"))
    if harm == "gone":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:-300])
    product = read(root)
    with pytest.raises(InputError, match="B03 of its bands are listed and not there or cut off"):
        scenes_of(product)
    with pytest.raises(InputError, match="no band green"):
        scenes_of(product, ["green"])
    assert scenes_of(product, ["red"])[0].names == ("B04",)


def test_an_image_of_another_tile_is_refused(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04", "B08"], manifest=False)
    image = next(root.glob("GRANULE/*/IMG_DATA/R10m/*B08_10m.jp2"))
    made.write_jp2(image, made.stored(10, -1000), 10, corner=(600_000, 5_000_040))
    with pytest.raises(InputError, match=r"B08_10m.jp2 lies at 600000, 5000040 .* metadata say 600000, 4900020"):
        scenes_of(read(root))


def test_numbers_that_are_none_in_metadata_are_told(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04"])
    main = root / "MTD_MSIL2A.xml"
    main.write_text(main.read_text().replace(">10000<", ">ten thousand<"))
    with pytest.raises(InputError, match="BOA_QUANTIFICATION_VALUE 'ten thousand', which is no number"):
        read(root)


JUNK = ("", "x", "0", "nan")


def test_metadata_that_hold_anything_else_are_one_line_or_do_no_harm(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04"])
    files = [root / "MTD_MSIL2A.xml", next(root.glob("GRANULE/*/MTD_TL.xml")), root / "manifest.safe"]
    lines = []
    for file in files:
        text = file.read_text("utf-8")
        spots = list(re.finditer(r"(?<=>)[^<>\s][^<>]*(?=<)|(?<==\")[^\"]*(?=\")", text))
        for spot in spots[:: max(1, len(spots) // 12)]:
            for junk in JUNK:
                file.write_text(text[: spot.start()] + junk + text[spot.end() :], "utf-8")
                try:
                    scenes_of(read(root))
                except InputError as error:
                    lines.append(str(error))
        file.write_text(text, "utf-8")
    assert len(lines) > 5
    assert all(len(line.splitlines()) == 1 for line in lines)


@pytest.mark.parametrize("src", ["<VRTDataset>" + "x" * 5000, "a\0b", "s3://bucket/S2A.SAFE", "", "."])
def test_what_can_not_be_looked_at_is_no_product(src: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_product(src) is None
