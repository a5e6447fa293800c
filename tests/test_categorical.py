"""Bands that hold classes are repeated, through every door, in every type, whatever says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from numpy.typing import NDArray
from rasterio import shutil

import geosr
import geosr.xarray
from geosr.cli import cli
from geosr.errors import InputError
from geosr.io.categorical import Told, listed, names_classes, reasons, settled_by_hand
from geosr.io.categories import Categories, with_categories
from geosr.io.scene import open_scene
from geosr.response import PROBE
from geosr.sensors import Band
from tests import scenes

CLASSES = np.kron(np.random.default_rng(1).choice([10, 50, 130, 190, 210], (8, 10)), np.ones((5, 5))).astype("uint8")
FLAGS = {"flag_values": np.array([10, 50, 130, 190, 210], "uint8"), "flag_meanings": "crop tree grass urban water"}
NAMES = ("", "urban", "open water", "crops & trees", "bare")
TABLE = (
    '<GDALRasterAttributeTable tableType="thematic">'
    '<FieldDefn index="0"><Name>Value</Name><Type>0</Type><Usage>5</Usage></FieldDefn>'
    '<FieldDefn index="1"><Name>Count</Name><Type>0</Type><Usage>1</Usage></FieldDefn>'
    '<FieldDefn index="2"><Name>cover</Name><Type>2</Type><Usage>2</Usage></FieldDefn>'
    '<Row index="0"><F>10</F><F>75</F><F>crop</F></Row><Row index="1"><F>210</F><F>25</F><F>water</F></Row>'
    "</GDALRasterAttributeTable>"
)


def repeated(stored: NDArray[Any], scale: int = 2) -> NDArray[Any]:
    return stored.repeat(scale, -2).repeat(scale, -1)


def upscaled(path: Path | str, folder: Path, **options: Any) -> tuple[NDArray[Any], list[str]]:
    report = geosr.upscale(path, folder / "fine.tif", model="bicubic", scale=2, overwrite=True, workers=1, **options)
    with scenes.quiet(), rasterio.open(report["path"]) as dst:
        return dst.read(), report["warnings"]


def with_sidecar(folder: Path, content: str, name: str = "raster.tif") -> Path:
    path = scenes.write(folder / name, CLASSES[None] % 5)
    pam = f'<PAMDataset><PAMRasterBand band="1">{content}</PAMRasterBand></PAMDataset>'
    path.with_name(path.name + ".aux.xml").write_text(pam)
    return path


def category_names() -> str:
    names = "".join(f"<Category>{name.replace('&', '&amp;')}</Category>" for name in NAMES)
    return f"<CategoryNames>{names}</CategoryNames>"


def as_vrt(path: Path) -> str:
    """What GDAL sees of classes in a file and beside it."""
    shutil.copy(path, path.with_suffix(".vrt"), driver="VRT")
    return path.with_suffix(".vrt").read_text()


def test_a_word_of_classes_is_one_wherever_it_stands_in_a_name() -> None:
    names = """QA60, QA_PIXEL, BQA, pixel_qa, QAPixel, SR_QA_AEROSOL, SCL_20m, scl, Fmask, cloud_mask, CloudMask,
        LC_Type1, LandCover, land-cover, land use, lccs_class, LULC, crop_type, QC_Day, VIQuality, lc, labels,
        250m 16 days VI Quality, sur_refl_state_500m, confidence, udm1, UDM2, dynamic_world_label, DQF,
        quality_flags, MSK_CLASSI_B00, water mask,
        Scene classification map (SCL), Pixel Quality Assessment Band"""
    assert [name for name in re.split(r",\s+", names) if not names_classes(name)] == []


def test_letters_within_a_word_and_words_of_quantities_make_no_classes() -> None:
    names = """red, B04, statement, estate, interstate, sclera, glass, classic, first_glass, qatar, unmask, masked,
        labelle, cloud_probability, MSK_CLDPRB_20m, quality_factor, discrete_classification-proba, AOT, LC08,
        land_cover_fraction"""
    assert [name for name in re.split(r",\s+", names) if names_classes(name)] == []


@pytest.mark.parametrize(
    ("name", "classes"),
    [("LC08_L2SP_224078_QA_PIXEL", True), ("MOD11A1.061_QC_Day_doy2020001_aid0001", True), ("mask_2020", True),
     ("MOD09GA_state_1km_1", True), ("20200101_123456_1234_3B_udm2", True), ("nlcd_2019_land_cover_l48", True),
     ("new_york_state_dem", False), ("quality_assured_dem", False), ("montreal_qc_dem", False), ("LC08_B4", False)],
)  # fmt: skip
def test_a_files_name_tells_of_states_and_quality_only_at_its_end(name: str, classes: bool) -> None:
    assert names_classes(name, file=True) == classes


def test_bands_of_the_sky_are_classes_in_eight_bits_or_among_their_kind() -> None:
    names = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")
    assert all(reasons([Told((name,), dtype="uint8") for name in names]))
    assert all(reasons([Told((name,), dtype="float32") for name in names]))
    assert reasons([Told(("snow",), dtype="float32"), Told(("rain",), dtype="float32")]) == ("", "")


def test_a_bands_own_name_goes_before_that_of_its_variable_or_file() -> None:
    told = [Told(("red",), whole=("quality_mosaic",)), Told(("Band 2",), whole=("qa",)), Told(file="scl")]
    assert reasons(told) == ("", "by the name qa", "by the file's name scl")


def test_what_a_user_says_decides_but_for_alpha() -> None:
    why = ("alpha", "by the name SCL", "")
    assert settled_by_hand(why, None) == why
    assert settled_by_hand(why, [2]) == ("alpha", "", "as asked")
    assert settled_by_hand(why, []) == ("alpha", "", "")


def test_bands_are_listed_by_what_says_so() -> None:
    why = {"SCL": "by the name SCL", "B04": "", "QA60": "by the name QA60", "lccs": "flag_values", "a": "alpha"}
    bands = tuple(Band(PROBE, name=name, repeated=each) for name, each in why.items())
    assert listed(bands) == "SCL, QA60 (by name); lccs (flag_values)"
    assert listed(bands[1:2]) == ""


def test_names_of_classes_beside_a_file_make_it_one_of_classes_and_are_carried(tmp_path: Path) -> None:
    path = with_sidecar(tmp_path, category_names())
    result, warnings = upscaled(path, tmp_path)
    assert np.array_equal(result[0], repeated(CLASSES % 5))
    assert any("band 1 (class names)" in line for line in warnings)
    assert "<Category>crops &amp; trees</Category>" in as_vrt(tmp_path / "fine.tif")
    assert np.array_equal(upscaled(tmp_path / "fine.tif", tmp_path / "..")[0][0], repeated(CLASSES % 5, 4))


def test_a_thematic_table_is_carried_without_counts_of_old_pixels(tmp_path: Path) -> None:
    path = with_sidecar(tmp_path, TABLE)
    result, warnings = upscaled(path, tmp_path)
    assert np.array_equal(result[0], repeated(CLASSES % 5))
    assert any("band 1 (a table of classes)" in line for line in warnings)
    found = as_vrt(tmp_path / "fine.tif")
    assert "<F>water</F>" in found
    assert "<Usage>1</Usage>" not in found
    assert "<F>25</F>" not in found


def test_a_table_inside_an_erdas_file_counts_as_one_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "inside.img"
    shutil.copy(with_sidecar(tmp_path, TABLE), path, driver="HFA")
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    result, _ = upscaled(path, tmp_path)
    assert np.array_equal(result[0], repeated(CLASSES % 5))
    assert "<F>water</F>" in as_vrt(tmp_path / "fine.tif")


def test_bins_of_a_histogram_make_no_classes(tmp_path: Path) -> None:
    bins = TABLE.replace("thematic", "athematic").replace("<Usage>2</Usage>", "<Usage>0</Usage>")
    assert open_scene(with_sidecar(tmp_path, bins)).categorical == (False,)


def test_a_store_and_an_array_have_names_of_classes_as_flags(tmp_path: Path) -> None:
    path = with_sidecar(tmp_path, category_names())
    geosr.upscale(path, tmp_path / "fine.zarr", model="bicubic", scale=2)
    store = xr.open_zarr(tmp_path / "fine.zarr", consolidated=False)["data"]
    array = geosr.open_raster(path)
    for attributes in (store.attrs, array.attrs, array.geosr.upscale("bicubic", 2).attrs):
        assert list(attributes["flag_values"]) == [1, 2, 3, 4]
        assert attributes["flag_meanings"] == "urban open_water crops_&_trees bare"
    assert np.array_equal(store.squeeze(), repeated(CLASSES % 5))


def test_an_array_keeps_its_flags_in_a_geotiff(tmp_path: Path) -> None:
    array = xr.DataArray(CLASSES, dims=("y", "x"), attrs=FLAGS, name="lccs")
    path = array.geosr.upscale("bicubic", 2).geosr.to_geotiff(tmp_path / "lccs.tif")
    with scenes.quiet(), rasterio.open(path) as file:
        assert file.tags()["flag_values"] == "{10,50,130,190,210}"
        assert file.tags()["flag_meanings"] == FLAGS["flag_meanings"]
    assert list(geosr.open_raster(path).attrs["flag_values"]) == [10, 50, 130, 190, 210]
    assert np.array_equal(upscaled(path, tmp_path)[0][0], repeated(CLASSES, 4))


def test_what_a_store_or_array_has_no_place_for_is_told(tmp_path: Path) -> None:
    path = with_sidecar(tmp_path, TABLE.replace("<Usage>1</Usage>", "<Usage>0</Usage>"))
    report = geosr.upscale(path, tmp_path / "fine.zarr", model="bicubic", scale=2)
    assert any("no place for a table of classes" in line for line in report["warnings"])
    with pytest.warns(UserWarning, match="a table of classes"):
        geosr.open_raster(path)


def test_names_of_classes_join_what_stands_in_a_sidecar() -> None:
    old = b'<PAMDataset><SRS>odd</SRS><PAMRasterBand band="2"><Description>b</Description></PAMRasterBand></PAMDataset>'
    text = (with_categories(old, (None, Categories(("", "one")))) or b"").decode()
    assert "<SRS>odd</SRS>" in text
    assert text.count("<PAMRasterBand") == 1
    assert "<Category>one</Category>" in text
    assert with_categories(None, (None, None)) is None


def netcdf(folder: Path) -> Path:
    """A file of classes as CCI writes them, in one byte beside a measured variable."""
    side = {"units": "degrees_north"}, {"units": "degrees_east"}
    values = (CLASSES // 3).astype("int8")  # NetCDF 3 knows signed bytes only
    attributes = {"flag_values": np.unique(values), "flag_meanings": "a b c d e", "_FillValue": np.int8(-1)}
    xr.Dataset(
        {"lccs_class": (("lat", "lon"), values, attributes), "elevation": (("lat", "lon"), values)},
        {"lat": ("lat", 46 - 0.003 * np.arange(40), side[0]), "lon": ("lon", 11 + 0.003 * np.arange(50), side[1])},
    ).to_netcdf(folder / "cci.nc", engine="scipy")
    return folder / "cci.nc"


def test_flags_of_cf_hold_for_files_arrays_and_decoded_variables(tmp_path: Path) -> None:
    path = netcdf(tmp_path)
    expected = repeated((CLASSES // 3).astype("int8"))
    for variable, classes in (("lccs_class", True), ("elevation", False)):
        name = f"NETCDF:{path}:{variable}"
        assert np.array_equal(upscaled(name, tmp_path)[0][0], expected) == classes
        assert np.array_equal(geosr.open_raster(name).geosr.upscale("bicubic", 2)[0], expected) == classes
        for decoded in (True, False):
            with xr.open_dataset(path, mask_and_scale=decoded, engine="scipy") as dataset:
                fine = dataset[variable].geosr.upscale("bicubic", 2)
                assert np.array_equal(fine, expected) == classes
                assert np.array_equal(dataset.geosr.upscale("bicubic", 2)[variable], expected) == classes


def test_an_array_is_of_classes_by_any_coordinate_that_names_its_bands() -> None:
    cube = xr.DataArray(np.stack([CLASSES] * 2)[None].astype("float64"), dims=("time", "band", "y", "x"))
    for named in (
        {"band": ["B04", "SCL"]},
        {"band": ["a", "b"], "title": ("band", ["Red", "Scene classification map (SCL)"])},
        {"band": [1, 2], "common_name": ("band", ["red", "qa"])},
        {"classification:classes": ("band", np.array([None, {"value": 1}], object))},
    ):
        fine = cube.assign_coords(named).geosr.upscale("bicubic", 2)
        assert np.array_equal(fine[0, 1], repeated(CLASSES)), named
        assert not np.array_equal(fine[0, 0], repeated(CLASSES)), named
        assert "GEOSR_CATEGORICAL" in fine.attrs
    stacked = cube[0].assign_coords(band=["B04", "SCL"]).rename(band="variable")
    assert np.array_equal(stacked.geosr.upscale("bicubic", 2)[1], repeated(CLASSES))
    assert np.array_equal(stacked.sel(variable="SCL").geosr.upscale("bicubic", 2), repeated(CLASSES))


def test_a_user_settles_which_bands_of_an_array_are_repeated(tmp_path: Path) -> None:
    array = xr.DataArray(np.stack([CLASSES] * 2), dims=("band", "y", "x"), coords={"band": ["SCL", "crops"]})
    for wanted in (["crops"], [2]):
        fine = array.geosr.upscale("bicubic", 2, categorical=wanted)
        assert np.array_equal(fine[1], repeated(CLASSES))
        assert not np.array_equal(fine[0], repeated(CLASSES))
        assert fine.attrs["GEOSR_CATEGORICAL"] == "crops (as asked)"
        again = fine.geosr.upscale("bicubic", 2)
        assert np.array_equal(again[1], repeated(CLASSES, 4))
        assert not np.array_equal(again[0], repeated(fine[0].values))
    none = array.geosr.upscale("bicubic", 2, categorical="none")
    assert not np.array_equal(none[0], repeated(CLASSES))
    for wrong in (["cloud"], "SCL", [3]):
        with pytest.raises(InputError):
            array.geosr.upscale("bicubic", 2, categorical=wrong)


def test_a_user_settles_which_variables_of_a_dataset_are_repeated() -> None:
    dataset = xr.Dataset({"crops": (("y", "x"), CLASSES), "SCL": (("y", "x"), CLASSES)})
    fine = dataset.geosr.upscale("bicubic", 2, categorical=["crops"])
    assert np.array_equal(fine.crops, repeated(CLASSES))
    assert not np.array_equal(fine.SCL, repeated(CLASSES))
    with pytest.raises(InputError, match="'corn'; variables are crops, SCL"):
        dataset.geosr.upscale("bicubic", 2, categorical=["corn"])


def test_a_user_settles_which_bands_of_a_file_are_repeated(tmp_path: Path) -> None:
    path = scenes.write(tmp_path / "two.tif", np.stack([CLASSES] * 2))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("SCL", "crops")
    runner = CliRunner()
    for told, kept in (("crops", [False, True]), ("none", [False, False]), ("1-2", [True, True])):
        command = [
            "upscale",
            str(path),
            str(tmp_path / "fine.tif"),
            "--model",
            "bicubic",
            "--scale",
            "2",
            "--overwrite",
        ]
        assert runner.invoke(cli, [*command, "--categorical", told]).exit_code == 0
        with rasterio.open(tmp_path / "fine.tif") as file:
            assert [np.array_equal(band, repeated(CLASSES)) for band in file.read()] == kept
    result, warnings = upscaled(path, tmp_path, bands=["crops"], categorical=["SCL", "crops"])
    assert np.array_equal(result[0], repeated(CLASSES))
    assert any("crops (as asked)" in line for line in warnings)
    with pytest.raises(InputError, match="there is no band 'corn'"):
        upscaled(path, tmp_path, categorical=["corn"])


def test_alpha_stays_repeated_whatever_is_asked(tmp_path: Path) -> None:
    assert open_scene(scenes.make_alpha(tmp_path), categorical="none").categorical == (False, False, False, True)


def test_other_classes_are_another_run(tmp_path: Path) -> None:
    path = scenes.write(tmp_path / "one.tif", CLASSES[None])
    runs = [
        geosr.prepare(path, tmp_path / "x.tif", model="bicubic", categorical=wanted).tags["GEOSR_RUN"]
        for wanted in (None, "none", [1])
    ]
    assert runs[0] == runs[1] != runs[2]
