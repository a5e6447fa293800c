"""Products: which bands they have, and what scenes are made of these."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.errors import InputError
from geosr.io.environment import quietly
from geosr.io.safety import parsed_xml
from geosr.io.scene import open_scene
from geosr.products import Part, Product, read_product, scenes_of
from geosr.products.members import members_of
from geosr.sensor_table import SENTINEL_2

SCL = "scene classification"
GRID = Affine(10, 0, 600000, 0, -10, 5000040)


def band_file(path: Path, value: int, side: int = 60, grid: Affine | None = GRID) -> str:
    pixels = np.full((1, side, side), value, np.uint16)
    shape = {"count": 1, "height": side, "width": side, "dtype": "uint16"}
    place = {"crs": "EPSG:32631", "transform": grid} if grid else {}
    with quietly(), rasterio.open(path, "w", driver="GTiff", **shape, **place) as dst:
        dst.write(pixels)
    return str(path)


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """Red and near infrared of 10 m, a red edge and classes of 20 m."""
    coarse = Affine(20, 0, GRID.c, 0, -20, GRID.f)
    values = {"scale": 1e-4, "offset": -0.1, "nodata": 0.0}
    return Product(
        path=str(tmp_path),
        name="made.SAFE",
        kind="Sentinel-2 L2A",
        sensor=SENTINEL_2.name,
        parts=(
            Part("B04", band_file(tmp_path / "r.tif", 1400), 10, "red", **values),
            Part("B08", band_file(tmp_path / "n.tif", 1800), 10, "nir", **values),
            Part("B05", band_file(tmp_path / "e.tif", 1500, 30, coarse), 20, "rededge071", **values),
            Part("SCL", band_file(tmp_path / "c.tif", 8, 30, coarse), 20, classes=SCL, nodata=0),
        ),
        tags={"DATETIME": "2023-06-25T23:46:21Z"},
        notes=("scale 0.0001 and offset -0.1 as the metadata say",),
    )


def test_a_band_is_known_by_the_products_name_the_common_one_and_the_tables(product: Product) -> None:
    for name in ("B05", "B5", "b05", "rededge071", "rededge1"):
        assert [part.key for part in product.chosen([name])] == ["B05"]
    assert [part.key for part in product.chosen(["nir", "SCL"])] == ["B08", "SCL"]


def test_without_names_the_measured_bands_of_the_finest_grid_are_taken(product: Product) -> None:
    assert [part.key for part in product.chosen()] == ["B04", "B08"]


def test_a_band_that_is_not_there_is_told_with_all_that_are(product: Product) -> None:
    with pytest.raises(InputError, match=r"no band swir16; it has B04 \(red\), B08 \(nir\) of 10 m; B05 .* of 20 m"):
        product.chosen(["swir16"])


def test_bands_become_a_scene_a_grid_the_finest_first(product: Product) -> None:
    fine, coarse = scenes_of(product, ["B05", "red", "SCL", "nir"])
    assert (fine.names, coarse.names) == (("B04", "B08"), ("B05", "SCL"))
    assert (fine.shape, coarse.shape) == ((60, 60), (30, 30))
    assert fine.source.pixels(fine.window).stored[:, 0, 0].tolist() == [1400, 1800]


def test_values_sensor_and_classes_are_what_the_product_tells(product: Product) -> None:
    fine, coarse = scenes_of(product, ["B04", "B05", "SCL"])
    assert (fine.scales, fine.offsets, fine.nodata) == ((1e-4,), (-0.1,), 0)
    assert (coarse.scales, coarse.offsets, coarse.categorical) == ((1e-4, 1), (-0.1, 0), (False, True))
    assert coarse.sensor.bands[1].repeated == SCL
    assert [line for line in coarse.warnings if "classes" in line] == [
        f"holds classes, which are repeated and never mixed: SCL ({SCL}); --categorical can say otherwise"
    ]
    assert (fine.sensor.sensor, fine.sensor.bands[0].zero) == (SENTINEL_2.name, 1000)
    assert [band.table.name for band in (*fine.sensor.bands, coarse.sensor.bands[0]) if band.table] == ["B04", "B05"]
    assert "scale 0.0001 and offset -0.1 as the metadata say" in fine.warnings
    assert (fine.metadata.tags or {})[""]["DATETIME"] == "2023-06-25T23:46:21Z"


def test_options_win_over_the_product_but_leave_classes_alone(product: Product) -> None:
    (scene,) = scenes_of(product, ["B05", "SCL"], scale_offset=(2.0, 3.0), nodata=7)
    assert (scene.scales, scene.offsets) == ((2, 1), (3, 0))
    told = [line for line in scene.warnings if "scale" in line]
    assert told == ["scale and offset 2 and 3 as asked, not what the product tells; numbers stay as stored"]
    assert scenes_of(product, ["B05"], nodata=7)[0].nodata == 7
    assert scenes_of(product, ["SCL"], categorical="none")[0].categorical == (False,)


def test_scale_and_offset_that_nothing_tells_are_refused_until_an_option_settles_them(product: Product) -> None:
    unsure = replace(product, unsettled="its metadata have no offsets")
    with pytest.raises(InputError, match=r"no offsets; settle it with --scale-offset"):
        scenes_of(unsure)
    assert scenes_of(unsure, scale_offset=(1e-4, -0.1))[0].offsets == (-0.1, -0.1)
    assert scenes_of(unsure, ["SCL"])[0].names == ("SCL",)


def test_a_file_without_a_place_has_that_of_the_metadata_and_is_cut_by_it(product: Product, tmp_path: Path) -> None:
    bare = band_file(tmp_path / "bare.tif", 5, grid=None)
    part = replace(product.parts[0], path=bare, transform=GRID[:6])
    placed = replace(product, parts=(part,), crs="EPSG:32631")
    (scene,) = scenes_of(placed, bounds=(600100, 4999540, 600300, 4999940))
    assert (scene.crs.to_epsg(), scene.shape) == (32631, (40, 20))
    assert (scene.transform.c, scene.transform.f) == (600100, 4999940)
    assert not any("georeference" in line for line in scene.warnings)


def test_a_file_that_lies_elsewhere_than_its_metadata_say_is_refused(product: Product) -> None:
    part = replace(product.parts[0], transform=Affine(10, 0, GRID.c + 30, 0, -10, GRID.f)[:6])
    with pytest.raises(InputError, match=r"r\.tif lies at 600000, 5000040 .* metadata say 600030"):
        scenes_of(replace(product, parts=(part,)))


def test_a_band_that_is_listed_and_missing_stops_the_usual_choice_and_not_the_named_one(product: Product) -> None:
    half = replace(product, missing=("B03",))
    with pytest.raises(InputError, match="B03 of its bands are listed and not there"):
        scenes_of(half)
    with pytest.raises(InputError, match=r"no band B03 \(its metadata list it"):
        scenes_of(half, ["B03"])
    assert scenes_of(half, ["red"])[0].names == ("B04",)


def test_a_plain_raster_is_no_product(product: Product) -> None:
    assert read_product(product.parts[0].path) is None
    assert open_scene(product.parts[0].path).names == ("band 1",)


def packed(folder: Path, archive: Path) -> Path:
    """A folder's files in a zip or a tar beside it, without a folder on top."""
    kind = "zip" if archive.suffix == ".zip" else "tar"
    return Path(shutil.make_archive(str(archive.with_suffix("")), kind, folder))


@pytest.mark.parametrize("suffix", ["", ".zip", ".tar"])
def test_files_of_a_folder_and_of_an_archive_are_named_and_read_alike(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "with {braces} and spaces"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "text.xml").write_text("<a><b>ü</b></a>", "utf-8")
    raster = band_file(folder / "inner" / "band.tif", 7)
    members = members_of(packed(folder, tmp_path / f"whole{suffix}") if suffix else folder)
    assert {"inner/text.xml", "inner/band.tif"} == {name for name in members.sizes if "." in name}
    assert members.sizes["inner/band.tif"] == Path(raster).stat().st_size
    assert members.xml("inner/text.xml").findtext("b") == "ü"
    scene = open_scene(members.path("inner/band.tif"))
    assert scene.source.pixels(scene.window).stored[0, 5, 5] == 7
    assert bool(suffix) == (str(members.root) in scene.files)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_that_is_cut_off_is_told_so(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "noise.bin").write_bytes(np.random.default_rng(1).bytes(20_000))
    archive = packed(tmp_path / "folder", tmp_path / f"whole{suffix}")
    archive.write_bytes(archive.read_bytes()[:9_000])
    with pytest.raises(InputError, match="no whole archive, so that it seems half downloaded"):
        members_of(archive)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_that_declares_entities_is_refused_in_any_encoding(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "{"a" * 9}">]><x>&a;</x>'
    with pytest.raises(InputError, match="entities"):
        parsed_xml(text.encode(encoding), "MTD.xml")
