"""Products as lazy Datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

import geosr
import tests.safe as made
from geosr.errors import InputError
from tests.safe import make_safe, zipped
from tests.test_product_doors import cloudy


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_safe(tmp_path_factory.mktemp("safe"))


def test_each_band_is_on_its_own_grid_with_the_values_that_the_product_tells(safe: Path) -> None:
    tree = geosr.open_product(safe)
    assert {name: sorted(map(str, group.data_vars)) for name, group in tree.children.items()} == {
        "10m": ["B02", "B03", "B04", "B08"],
        "20m": ["AOT", "B05", "B06", "B07", "B11", "B12", "B8A", "SCL", "WVP"],
        "60m": ["B01", "B09"],
    }
    red, classes = tree["10m/B04"], tree["20m/SCL"]
    assert (red.dims, red.shape, red.chunks is not None) == (("y", "x"), (96, 96), True)
    assert (red.attrs["scale_factor"], red.attrs["add_offset"], red.attrs["_FillValue"]) == (1e-4, -0.1, 0)
    assert (red.values == made.stored(10, -1000)).all()
    assert (float(red.x[0]), float(red.y[0])) == (made.CORNER[0] + 5, made.CORNER[1] - 5)
    assert (classes.attrs["scale_factor"], classes.attrs["add_offset"]) == (1, 0)
    assert (classes.values == made.scene_classes(20)).all()
    assert classes.attrs["flag_values"].tolist() == list(range(12))
    assert classes.attrs["flag_meanings"].split()[8] == "cloud_medium_proba"
    assert (tree.attrs["product"], tree.attrs["PROCESSING_BASELINE"]) == ("Sentinel-2 L2A", "05.09")


@pytest.mark.parametrize("archive", [False, True])
def test_a_band_is_upscaled_to_the_pixels_of_the_file_path(tmp_path: Path, safe: Path, archive: bool) -> None:
    src = zipped(safe, tmp_path / "S2.zip") if archive else safe
    for place, name, options in (("20m/B8A", "nir08", {"mask": "clouds"}), ("20m/SCL", "SCL", {})):
        array = geosr.open_product(src, bands=[name], **options)[place]  # type: ignore[arg-type]
        fine = array.geosr.upscale("fast", scale=2)
        out = geosr.upscale(src, tmp_path / f"{name}.tif", scale=2, bands=[name], **options)  # type: ignore[arg-type]
        with rasterio.open(out["path"]) as file:
            assert (file.read(1) == fine.values).all()
            assert (file.scales[0], file.offsets[0]) == (fine.attrs["scale_factor"], fine.attrs["add_offset"])


def test_a_dataset_of_one_grid_is_upscaled_with_classes_repeated(safe: Path) -> None:
    fine = geosr.open_product(safe, bands=["B05", "SCL"])["20m"].to_dataset().geosr.upscale("bilinear", scale=2)
    assert (fine["SCL"].values == made.scene_classes(10)).all()
    assert fine["B05"].shape == (96, 96)


def test_clouds_are_left_out_of_measured_bands_alone_and_become_nan_where_asked(safe: Path) -> None:
    tree = geosr.open_product(safe, bands=["B09", "SCL"], mask="clouds", masked=True)
    assert (np.isnan(tree["60m/B09"].values) == (cloudy(60) | (made.stored(60, -1000) == 0))).all()
    plain = geosr.open_product(safe, bands=["SCL"], mask="clouds")["20m/SCL"]
    assert (plain.values == made.scene_classes(20)).all()


def test_what_is_no_product_or_not_whole_or_says_too_little_is_one_line(tmp_path: Path, safe: Path) -> None:
    with pytest.raises(InputError, match="open a plain raster with open_raster"):
        geosr.open_product(next(safe.glob("GRANULE/*/IMG_DATA/R10m/*B04_10m.jp2")))
    for product in (safe, zipped(safe, tmp_path / "S2.zip")):
        with pytest.raises(InputError, match="open it with open_product"):
            geosr.open_raster(product)
    unsure = make_safe(tmp_path, offset=None, only=["B04", "SCL"])
    with pytest.raises(InputError, match="no list of offsets"):
        geosr.open_product(unsure)
    assert "SCL" in geosr.open_product(unsure, bands=["SCL"])["20m"]
    tree = geosr.open_product(unsure, scale_offset=(1e-4, -0.1))
    assert (tree["10m/B04"].attrs["add_offset"], tree["20m/SCL"].attrs["add_offset"]) == (-0.1, 0)


def test_bands_of_one_size_on_several_grids_are_never_aligned_by_filling(tmp_path: Path) -> None:
    root = make_safe(tmp_path, only=["B04", "B08"], manifest=False)
    next(root.glob("GRANULE/*/MTD_TL.xml")).unlink()
    image = next(root.glob("GRANULE/*/IMG_DATA/R10m/*B08_10m.jp2"))
    made.write_jp2(image, made.stored(10, -1000), 10, corner=(made.CORNER[0] + 10, made.CORNER[1]))
    with pytest.raises(InputError, match=r"B04, B08 have pixels of one size on several grids"):
        geosr.open_product(root)
    assert geosr.open_product(root, bands=["B08"])["10m/B08"].shape == (96, 96)
