"""HLS granules, and folders of band files that no metadata go with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.errors import InputError
from geosr.products import Product, read_product, scenes_of
from geosr.sensor_table import LANDSAT_8, SENTINEL_2

L30 = "HLS.L30.T10TEL.2021001T184529.v2.0"
S30 = "HLS.S30.T10TEL.2021002T190809.v2.0"


def read(src: Path) -> Product:
    product = read_product(src)
    assert product is not None
    return product


def write(
    path: Path,
    value: int,
    *,
    tags: dict[str, str] | None = None,
    size: float = 30,
    dtype: str = "int16",
    **more: object,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid, side = Affine(size, 0, 499980, 0, -size, 4600020), int(600 / size)
    shape = {"count": 1, "height": side, "width": side, "dtype": dtype}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32610", transform=grid, **shape, **more) as dst:
        dst.write(np.full((side, side), value, dtype), 1)
        dst.update_tags(**(tags or {}))


def granule(folder: Path, name: str, bands: tuple[str, ...]) -> Path:
    """A granule with the tags that its files have, and numbers for 'no data'."""
    for band in bands:
        place = folder / name / f"{name}.{band}.tif"
        heat = name == L30 and band in ("B10", "B11")
        tags = {"scale_factor": "0.01" if heat else "0.0001", "add_offset": "0.0", "_FillValue": "-9999"}
        tags |= {"SENSING_TIME": "2021-01-01T18:45:29.1Z", "ULX": "499980"}
        if band == "Fmask":
            write(place, 8, dtype="uint8", nodata=255, tags={"_FillValue": "255"})
        else:
            write(place, 1500, nodata=-9999, tags=tags)
    return folder / name


def test_values_of_hls_are_those_of_the_tags_and_flags_are_not_scaled(tmp_path: Path) -> None:
    product = read(granule(tmp_path, L30, ("B02", "B05", "B10", "SZA", "Fmask")))
    assert (product.kind, product.name, product.sensor) == ("HLS L30", L30, LANDSAT_8.name)
    assert {part.key: (part.common, part.scale) for part in product.parts} == {
        "B02": ("blue", 1e-4), "B05": ("nir08", 1e-4), "B10": ("lwir11", 0.01), "SZA": ("", 1e-4), "Fmask": ("", 1),
    }  # fmt: skip
    (scene,) = scenes_of(product, ["blue", "Fmask"])
    assert (scene.scales, scene.nodata, scene.categorical) == ((1e-4, 1), -9999, (False, True))
    assert (scene.metadata.tags or {})[""]["SENSING_TIME"].startswith("2021-01-01")
    assert product.clouds[0].bits == 0b1110


def test_angles_are_taken_only_where_they_are_named(tmp_path: Path) -> None:
    product = read(granule(tmp_path, L30, ("B02", "B03", "SZA", "Fmask")))
    assert [part.key for part in product.chosen()] == ["B02", "B03"]
    assert [part.key for part in product.chosen(["SZA"])] == ["SZA"]


def test_bands_of_the_two_sensors_have_other_numbers(tmp_path: Path) -> None:
    product = read(granule(tmp_path, S30, ("B05", "B8A", "B11")))
    assert [part.common for part in product.parts] == ["rededge071", "nir08", "swir16"]
    assert product.sensor == SENTINEL_2.name


def test_a_file_that_tells_no_scale_or_two_is_not_guessed(tmp_path: Path) -> None:
    place = granule(tmp_path, L30, ("B02", "B03"))
    with rasterio.open(place / f"{L30}.B03.tif", "r+") as dst:
        dst.scales = [0.001]
    with pytest.raises(InputError, match="B03 tell no scale and offset, or two; settle it with --scale-offset"):
        scenes_of(read(place))
    write(place / f"{L30}.B03.tif", 1500, nodata=-9999)
    with pytest.raises(InputError, match="B03 tell no scale"):
        scenes_of(read(place))


def test_two_granules_in_a_folder_are_refused(tmp_path: Path) -> None:
    place = granule(tmp_path, L30, ("B02",))
    write(place / f"{S30}.B02.tif", 1)
    with pytest.raises(InputError, match="holds 2 granules"):
        read(place)


def folder(tmp_path: Path, **files: float) -> Path:
    place = tmp_path / "bands"
    for name, size in files.items():
        write(place / f"{name}.tif", 1200, size=size, dtype="uint16")
    return place


def test_a_folder_of_band_files_has_the_bands_of_their_names_and_the_values_of_the_files(tmp_path: Path) -> None:
    place = folder(tmp_path, T10TEL_20210102_B02_10m=10, T10TEL_20210102_B8A_20m=20, T10TEL_20210102_SCL_20m=20)
    with rasterio.open(place / "T10TEL_20210102_B02_10m.tif", "r+") as dst:
        dst.scales, dst.offsets, dst.nodata = [1e-4], [-0.1], 0
    product = read(place)
    assert (product.kind, product.sensor) == ("folder of band files", SENTINEL_2.name)
    assert [(part.key, part.common, part.pixel) for part in product.parts] == [
        ("B02", "blue", 10), ("B8A", "nir08", 20), ("SCL", "", 20),
    ]  # fmt: skip
    fine, coarse = scenes_of(product, ["blue", "nir08", "SCL"])
    assert (fine.scales, fine.offsets, fine.nodata) == ((1e-4,), (-0.1,), 0)
    assert (coarse.scales, coarse.categorical) == ((1, 1), (False, True))
    assert any("no metadata were found" in line for line in fine.warnings)


def test_files_called_by_colours_make_a_product_too(tmp_path: Path) -> None:
    product = read(folder(tmp_path, red=10, green=10, nir08=20, predicted=10))
    assert [part.key for part in product.parts] == ["green", "nir08", "red"]


def test_of_a_band_at_several_pixel_sizes_the_finest_is_taken_and_the_same_twice_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, x_B02_10m=10, x_B02_20m=20, x_B03_10m=10)
    assert [(part.key, part.pixel) for part in read(place).parts] == [("B02", 10), ("B03", 10)]
    write(place / "y_B03.tif", 1, size=10)
    with pytest.raises(InputError, match=r"x_B03_10m.tif and y_B03.tif are both band B03"):
        read(place)


def test_a_folder_without_bands_stays_no_product(tmp_path: Path) -> None:
    assert read_product(folder(tmp_path, one=10, two=10)) is None
    assert read_product(tmp_path) is None
