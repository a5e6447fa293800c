"""Bands of several grids brought to one of them, and on from there: one command for two, place, gaps, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geosr
from geosr.cli import cli
from geosr.errors import GeosrError, InputError, ModelError
from geosr.models.model import PROCESSOR
from geosr.models.sharpening import sharpeners_for
from geosr.sensor_table import SENTINEL_2
from tests.landsat_products import build, level_1
from tests.safe import BANDS, SIDE, make_safe, scene_classes
from tests.scenes import make_geojson
from tests.test_guided import UTM, write

SHAPE = 48, 54
"""Of the 10 m grid."""
S2 = {"SENSOR": "Sentinel-2 MSI"}
TEN = "B02", "B03", "B04", "B08"


def grid(
    folder: Path,
    name: str,
    metres: float,
    phases: Sequence[float] = (0.3,),
    shift: tuple[float, float] = (0, 0),
    **options: Any,
) -> Path:
    """A file of so many metres a pixel, that covers the 10 m grid but for its shift (down, right)."""
    shape = int(SHAPE[0] * 10 / metres), int(SHAPE[1] * 10 / metres)
    return write(folder / name, shape, Affine(metres, 0, shift[1], 0, -metres, -shift[0]), tuple(phases), **options)


def files(folder: Path, **options: Any) -> list[Path]:
    """Bands of 60, 10, 20 and 10 m, in an order that mixes them."""
    rows = ("B01.tif", 60), ("B02.tif", 10), ("B05.tif", 20), ("B08.tif", 10)
    return [
        grid(folder, name, metres, (0.3 * i,), names=(name[:3],), **options) for i, (name, metres) in enumerate(rows)
    ]


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        pixels: NDArray[Any] = dataset.read()
    return pixels


def run(src: Any, dst: Path, **options: Any) -> NDArray[Any]:
    geosr.upscale(src, dst, **{"overwrite": True, **options})
    return read(dst)


def test_bands_of_that_size_stay_and_coarser_ones_are_as_their_guide_makes_them(tmp_path: Path) -> None:
    b01, b02, b05, b08 = files(tmp_path, tags=S2)
    report = geosr.upscale([b01, b02, b05, b08], tmp_path / "out.tif", to="10m")
    whole = read(tmp_path / "out.tif")
    assert report["bands"] == ["B01", "B02", "B05", "B08"]
    assert np.array_equal(whole[[1, 3]], np.concatenate([read(b02), read(b08)]))
    for place, coarse, model in ((0, b01, "s2-60to10"), (2, b05, "s2-20to10")):
        alone = run(coarse, tmp_path / "alone.tif", guide=[b02, b08], model=model)
        assert np.array_equal(whole[place], alone[0])
    with rasterio.open(tmp_path / "out.tif") as result, rasterio.open(b02) as fine:
        assert (result.transform, result.crs, result.shape) == (fine.transform, fine.crs, fine.shape)
        assert result.tags()["GEOSR_TO"] == "B05 from 20 m by s2-20to10; B01 from 60 m by s2-60to10"
        assert result.tags()["GEOSR_GUIDE"] == "B02, B08"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shift=st.tuples(*[st.sampled_from([-35.0, -15.0, 0.0, 7.5, 40.0])] * 2),
    gaps=st.tuples(*[st.booleans()] * 3),
    nodata=st.sampled_from([None, 0]),
    tiles=st.tuples(*[st.sampled_from([16, 32, 512])] * 3),
    model=st.sampled_from(["bicubic", "ibp", "fast"]),
    dtype=st.sampled_from(["uint16", "float32"]),
)
def test_one_command_equals_two_bit_for_bit(
    shift: tuple[float, float],
    gaps: tuple[bool, bool, bool],
    nodata: int | None,
    tiles: tuple[int, int, int],
    model: str,
    dtype: str,
    tmp_path: Path,
) -> None:
    holes = [(slice(3, 6), slice(2, 5)) if gap and nodata is not None else None for gap in gaps]
    options: dict[str, Any] = {"nodata": nodata, "dtype": dtype}
    src = [
        grid(tmp_path, "B05.tif", 20, (0.3, 1.1), shift, holes=holes[0], **options),
        grid(tmp_path, "B02.tif", 10, (0.2, 0.9), holes=holes[1], **options),
        grid(tmp_path, "B01.tif", 60, (0.7,), shift[::-1], holes=holes[2], **options),
    ]
    first = run(src, tmp_path / "first.tif", to=10, tile=tiles[0])
    assert np.array_equal(run(src, tmp_path / "again.tif", to=10, tile=tiles[1]), first, equal_nan=True)
    second = run(tmp_path / "first.tif", tmp_path / "second.tif", scale=2, model=model, tile=tiles[1])
    once = run(src, tmp_path / "once.tif", to=10, scale=2, model=model, tile=tiles[2])
    assert np.array_equal(once, second, equal_nan=True)
    with rasterio.open(tmp_path / "once.tif") as one, rasterio.open(tmp_path / "second.tif") as two:
        assert np.array_equal(one.dataset_mask(), two.dataset_mask())
        assert (one.transform, one.nodata, one.descriptions) == (two.transform, two.nodata, two.descriptions)


def test_sensors_are_known_by_the_names_of_all_bands_together_and_read_back(tmp_path: Path) -> None:
    rows = ("B02", 10), ("B05", 20), ("B11", 20), ("B12", 20), ("B09", 60)
    src = [grid(tmp_path, f"{name}.tif", metres, (0.3 * i,), names=(name,)) for i, (name, metres) in enumerate(rows)]
    run = geosr.prepare(src, tmp_path / "out.tif", to=10, scale=2)
    assert any("Sentinel-2 MSI B05" in line for line in run.notes)
    assert run.scene.sensor.sensor == "Sentinel-2 MSI"
    geosr.upscale(src, tmp_path / "out.tif", to=10)
    found = geosr.prepare(tmp_path / "out.tif", tmp_path / "x.tif", scale=2)
    assert found.network.observation == run.network.observation
    kinds = [band.response for band in found.network.observation]
    assert kinds[1] == SENTINEL_2.band("B05").response != kinds[0]


def test_bands_that_tell_no_sensor_are_of_that_which_the_others_tell(tmp_path: Path) -> None:
    src = [
        grid(tmp_path, "ten.tif", 10, (0.1, 0.4), names=("B02", "B08")),
        grid(tmp_path, "twenty.tif", 20, (0.2,), names=("B8A",)),
        grid(tmp_path, "sixty.tif", 60, (0.3, 0.6), names=("B01", "B09")),
    ]
    notes = geosr.upscale(src, tmp_path / "out.tif", to=10)["notes"]
    assert any(note.startswith("B01, B09: from 60 m by s2-60to10") for note in notes)
    other = grid(tmp_path, "other.tif", 60, (0.3,), names=("haze",))
    notes = geosr.upscale([*src[:2], other], tmp_path / "other_out.tif", to=10)["notes"]
    assert any(note.startswith("haze: from 60 m by glp") for note in notes)


def test_what_was_given_of_the_sensor_is_read_back_too(tmp_path: Path) -> None:
    src = files(tmp_path)
    geosr.upscale(src, tmp_path / "out.tif", to=10, mtf=[0.1, 0.2, 0.3, 0.4])
    found = geosr.prepare(tmp_path / "out.tif", tmp_path / "x.tif", scale=2)
    assert [round(band.response.mtf, 6) for band in found.network.observation] == [0.1, 0.2, 0.3, 0.4]
    moved = tmp_path / "moved.tif"
    with rasterio.open(tmp_path / "out.tif") as dataset:
        profile = dataset.profile | {"transform": Affine(20, 0, 0, 0, -20, 0)}
        with rasterio.open(moved, "w", **profile) as resampled:
            resampled.write(dataset.read())
            resampled.update_tags(2, **dataset.tags(2))
    other = geosr.prepare(moved, tmp_path / "x.tif", scale=2).network.observation[1]
    assert other.assumed


def test_metadata_of_each_band_stay_its_own(tmp_path: Path) -> None:
    src = files(tmp_path)
    for i, path in enumerate(src):
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (0.1 * (i + 1),), (-float(i),)
            dataset.update_tags(1, WAVELENGTH=str(400 + i))
            dataset.update_tags(SHARED="yes", OWN=str(i))
    geosr.upscale(src, tmp_path / "out.tif", to=10, scale=2)
    with rasterio.open(tmp_path / "out.tif") as result:
        assert result.descriptions == ("B01", "B02", "B05", "B08")
        assert result.scales == pytest.approx((0.1, 0.2, 0.3, 0.4))
        assert result.offsets == (0.0, -1.0, -2.0, -3.0)
        assert [result.tags(i)["WAVELENGTH"] for i in result.indexes] == ["400", "401", "402", "403"]
        assert (result.tags()["SHARED"], result.tags().get("OWN")) == ("yes", None)
        assert result.transform == Affine(5, 0, 0, 0, -5, 0)


def test_classes_are_repeated_also_where_their_grid_has_nothing_else(tmp_path: Path) -> None:
    src = [*files(tmp_path), grid(tmp_path, "SCL.tif", 40, dtype="uint8")]
    whole = run(src, tmp_path / "out.tif", to=10)
    assert np.array_equal(whole[4, :, :52], read(src[4])[0].repeat(4, 0).repeat(4, 1))


def test_a_part_is_a_cut_of_the_whole(tmp_path: Path) -> None:
    src, bounds = files(tmp_path), (130.0, -370.0, 410.0, -150.0)
    whole = run(src, tmp_path / "whole.tif", to=10, scale=2, model="ibp")
    part = run(src, tmp_path / "part.tif", to=10, scale=2, model="ibp", bounds=bounds, tile=16)
    assert np.array_equal(part, whole[:, 30:74, 26:82])


def test_nothing_off_an_area_of_interest_is_computed(tmp_path: Path) -> None:
    src, ring = files(tmp_path), [(130.0, -150.0), (410.0, -150.0), (130.0, -370.0), (130.0, -150.0)]
    area = make_geojson(tmp_path, [ring], UTM)
    whole = run(src, tmp_path / "whole.tif", to=10, scale=2, model="ibp")
    part = run(src, tmp_path / "part.tif", to=10, scale=2, model="ibp", aoi=area, tile=16)
    with rasterio.open(tmp_path / "part.tif") as result:
        inside = result.read_masks(1) > 0
    assert np.array_equal(part[:, inside], whole[:, 30:74, 26:82][:, inside])
    assert 0.4 < inside.mean() < 0.7


def test_a_zarr_store_has_the_pixels_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    src = files(tmp_path)
    geosr.upscale(src, tmp_path / "out.zarr", to=10)
    stored = xr.open_zarr(tmp_path / "out.zarr", mask_and_scale=False)["data"].values
    assert np.array_equal(stored, run(src, tmp_path / "out.tif", to=10))


def test_off_a_coarse_footprint_its_bands_hold_no_data(tmp_path: Path) -> None:
    part = write(tmp_path / "B05.tif", (10, 12), Affine(20, 0, 100, 0, -20, -60), (0.3,), nodata=0)
    whole = run([grid(tmp_path, "B02.tif", 10, nodata=0), part], tmp_path / "out.tif", to=10)
    inside = np.zeros(SHAPE, bool)
    inside[6:26, 10:34] = True
    assert np.array_equal(whole[1] != 0, inside)
    assert (whole[0] != 0).all()


def test_another_type_is_not_rounded_before_it_is_stored(tmp_path: Path) -> None:
    _, b02, b05, b08 = files(tmp_path, tags=S2)
    whole = run([b05, b02, b08], tmp_path / "out.tif", to=10, dtype="float32")
    alone = run(b05, tmp_path / "alone.tif", guide=[b02, b08], model="s2-20to10", dtype="float32")
    assert np.array_equal(whole[0], alone[0])
    assert (whole[0] != np.round(whole[0])).any()
    with pytest.raises(InputError, match="can't hold every"):
        geosr.upscale([b05, b02], tmp_path / "no.tif", to=10, dtype="uint8")


def test_bands_that_are_finer_are_left_out_and_told(tmp_path: Path) -> None:
    made = geosr.prepare(files(tmp_path), tmp_path / "out.tif", to=20)
    assert made.scene.names == ("B01", "B05")
    assert any("B02, B08: finer than 20 m, and left out" in line for line in made.warnings)


def test_a_killed_run_goes_on_and_other_groups_are_another_run(tmp_path: Path) -> None:
    src, out = files(tmp_path), tmp_path / "out.tif"
    whole = run(src, tmp_path / "whole.tif", to=10, tile=16)

    def stop(done: int, of: int, pixels: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geosr.upscale(src, out, to=10, tile=16, workers=1, progress=stop)
    with pytest.raises(InputError, match="another input"):
        geosr.upscale([src[0], src[1], src[3]], out, to=10, tile=16)
    report = geosr.upscale(src, out, to=10, tile=16)
    assert report["tiles_from_an_earlier_run"] >= 3
    assert np.array_equal(read(out), whole)


def test_processes_and_a_cluster_write_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    src = files(tmp_path)
    run(src, tmp_path / "threads.tif", to=10, scale=2, tile=32)
    run(src, tmp_path / "cluster.tif", to=10, scale=2, tile=32, scheduler="local:2")
    assert (tmp_path / "cluster.tif").read_bytes() == (tmp_path / "threads.tif").read_bytes()


@pytest.mark.parametrize(
    ("sensor", "bands", "guides", "step", "models"),
    [
        (SENTINEL_2.name, ("B05", "B11"), TEN, 2, {"s2-20to10": (0, 1)}),
        (SENTINEL_2.name, ("B05", "B11"), TEN[:3], 2, {"s2-20to10": (0, 1)}),
        (SENTINEL_2.name, ("B10", "B05", "AOT"), TEN, 2, {"s2-20to10": (1,), "glp": (0, 2)}),
        (SENTINEL_2.name, ("B05", "B05"), TEN, 2, {"glp": (0, 1)}),
        (SENTINEL_2.name, ("B05",), TEN, 3, {"glp": (0,)}),
        (None, ("B05", "B11"), TEN, 2, {"glp": (0, 1)}),
    ],
)
def test_a_trained_model_takes_the_bands_that_it_was_trained_for_where_guides_and_pixels_are_too(
    sensor: str | None, bands: Sequence[str], guides: Sequence[str], step: int, models: dict[str, tuple[int, ...]]
) -> None:
    found = sharpeners_for(sensor, bands, guides, (Fraction(step), Fraction(step)))
    assert {model.card.title: places for model, places in found} == models


def test_a_process_of_another_kind_of_device_refuses_bands_of_a_trained_model(tmp_path: Path) -> None:
    fine = [grid(tmp_path, f"{name}.tif", 10, (0.2 * i,), names=(name,), tags=S2) for i, name in enumerate(TEN)]
    made = geosr.prepare([*fine, grid(tmp_path, "B05.tif", 20, names=("B05",), tags=S2)], tmp_path / "o.tif", to=10)
    assert made.computing.here.startswith(PROCESSOR)
    with pytest.raises(GeosrError, match="name a device for all"):
        made.on("another card").job()(made.plan[0])
    made.on(made.computing.here).job()(made.plan[0])


def test_bands_that_a_trained_model_has_no_place_for_take_nothing_from_the_others(tmp_path: Path) -> None:
    fine = [grid(tmp_path, f"{name}.tif", 10, (0.2 * i,), names=(name,), tags=S2) for i, name in enumerate(TEN)]
    b05, other = (grid(tmp_path, f"{name}.tif", 20, names=(name,), tags=S2) for name in ("B05", "AOT"))
    made = geosr.prepare([other, *fine, b05], tmp_path / "both.tif", to=10)
    assert made.tags["GEOSR_TO"] == "B05 from 20 m by s2-20to10; AOT from 20 m by glp"
    both, alone = (run(src, tmp_path / "out.tif", to=10) for src in ([other, *fine, b05], [*fine, b05]))
    assert np.array_equal(both[1:], alone)
    assert np.array_equal(both[0], run([other, *fine], tmp_path / "out.tif", to=10)[0])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"to": 15}, "no measured band has pixels of 15 m, to guide the others; they have 10 m and 20 m and 60 m"),
        ({"to": "ten"}, "expected the metres of a pixel, such as 10m"),
        ({"to": -10}, "expected the metres of a pixel"),
        ({"to": 10, "guide": "B02.tif"}, "leave --to out"),
        ({"to": 60}, "all bands have such pixels already"),
        ({"to": 10, "model": "swin"}, "makes no pixel finer than that, as swin does; leave --model out"),
        ({"to": 10, "model": "fast"}, "as fast does; leave --model out, or add --scale"),
        ({"to": 10, "scale": 2, "model": "glp"}, "glp needs a finer raster"),
        ({"to": 10, "scale": 2, "mtf": 0.3}, "--mtf speaks of bands as they were measured"),
        ({"to": 10, "bands": [1]}, "name the files to take alone"),
        ({"to": 10, "project": True}, "leave --project out"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_one_line(options: dict[str, Any], line: str, tmp_path: Path) -> None:
    src = files(tmp_path)
    with pytest.raises((InputError, ModelError), match=line) as told:
        geosr.upscale(src, tmp_path / "out.tif", **options)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("*out*"))


def test_another_crs_is_refused(tmp_path: Path) -> None:
    far = grid(tmp_path, "B05.tif", 20, crs="EPSG:32634")
    with pytest.raises(InputError, match=r"B05\.tif is in EPSG:32634"):
        geosr.upscale([grid(tmp_path, "B02.tif", 10), far], tmp_path / "out.tif", to=10)


def test_the_shell_tells_groups_and_models(tmp_path: Path) -> None:
    src, out = [str(path) for path in files(tmp_path)], tmp_path / "out.tif"
    told = CliRunner().invoke(cli, ["upscale", *src, "--to", "10m", "-o", str(out), "--dry-run", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["groups"] == [
        {"bands": ["B05"], "pixel": 20.0, "model": "s2-20to10"},
        {"bands": ["B01"], "pixel": 60.0, "model": "s2-60to10"},
    ]
    assert not out.exists()
    done = CliRunner().invoke(cli, ["upscale", *src, "--to", "10m", "--scale", "2", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert np.array_equal(read(out), run(src, tmp_path / "api.tif", to=10, scale=2))
    assert CliRunner().invoke(cli, ["upscale", *src, "--to", "10m"]).exit_code == 2


def test_many_scenes_are_brought_to_one_grid_each(tmp_path: Path) -> None:
    stack = grid(tmp_path, "a.tif", 10)
    records = geosr.upscale_many([stack], tmp_path / "out", to=10)
    assert "all bands have such pixels already" in records[0]["error"]
    assert records[0]["path"].endswith("a_10m.tif")


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_safe(tmp_path_factory.mktemp("safe"))


def test_a_product_becomes_one_stack_of_all_that_it_measured_in_its_own_order(safe: Path, tmp_path: Path) -> None:
    report = geosr.upscale(safe, tmp_path / "ten.tif", to=10)
    assert report["bands"] == [name for name in BANDS if name != "B10"]
    with rasterio.open(tmp_path / "ten.tif") as result:
        assert result.shape == (SIDE * 6, SIDE * 6)
        assert result.nodata == 0
        assert set(result.scales) == {1e-4}
        assert set(result.offsets) == {-0.1}
        whole = result.read()
    fine = run(safe, tmp_path / "fine.tif", bands=["B02"], model="nearest", scale=2)
    assert np.array_equal(whole[1], fine[0, ::2, ::2])
    once = run(safe, tmp_path / "once.tif", to=10, scale=2, model="ibp", tile=32)
    assert np.array_equal(run(tmp_path / "ten.tif", tmp_path / "two.tif", scale=2, model="ibp"), once)


def test_bands_of_a_product_are_chosen_by_name_and_guided_by_all_of_the_finest(safe: Path, tmp_path: Path) -> None:
    alone = run(safe, tmp_path / "alone.tif", to=10, bands=["B11"])
    some = geosr.prepare(safe, tmp_path / "some.tif", to=10, bands=["swir16", "SCL", "B02"])
    assert some.scene.names == ("B11", "SCL", "B02")
    assert some.tags["GEOSR_GUIDE"] == "B02, B03, B04, B08"
    assert some.tags["GEOSR_TO"] == "B11 from 20 m by s2-20to10; SCL from 20 m by nearest"
    assert not [line for line in some.notes if "SCL:" in line]  # no word of blur, noise or detail of classes
    some.execute()
    pixels = read(tmp_path / "some.tif")
    assert np.array_equal(pixels[0], alone[0])
    assert np.array_equal(pixels[1], scene_classes(10))


def test_info_tells_what_brings_which_bands_of_a_product(safe: Path) -> None:
    told = CliRunner().invoke(cli, ["info", str(safe), "--json"])
    brought = json.loads(told.stdout)["to_10m"]
    assert brought[0] == "B05, B06, B07, B8A, B11, B12 from 20 m by s2-20to10"
    assert brought[1].startswith("B01, B09 from 60 m by ")


def test_clouds_of_a_product_are_masked_in_the_bands_of_each_grid(safe: Path, tmp_path: Path) -> None:
    clear = run(safe, tmp_path / "clear.tif", to=10, bands=["B02", "B05", "B01"])
    made = run(safe, tmp_path / "masked.tif", to=10, bands=["B02", "B05", "B01"], mask="clouds")
    clouds = np.isin(scene_classes(10), (3, 8, 9, 10))
    assert (made[:, clouds] == 0).all()
    assert np.array_equal(made != 0, (clear != 0) & ~clouds)


def test_a_band_that_a_product_lacks_is_told_and_not_invented(tmp_path: Path) -> None:
    part = make_safe(tmp_path, only=("B02", "B03", "B04", "B08", "B05"))
    with pytest.raises(InputError, match="there is no band B11"):
        geosr.upscale(part, tmp_path / "out.tif", to=10, bands=["B02", "B11"])
    assert not (tmp_path / "out.tif").exists()


def test_a_guide_that_a_product_lacks_is_told(tmp_path: Path) -> None:
    product = make_safe(tmp_path)
    next(product.rglob("*_B04_10m.jp2")).unlink()
    made = geosr.prepare(product, tmp_path / "out.tif", to=10, bands=["B02", "B05"])
    assert "B04: listed by the metadata and not there, or cut off" in made.warnings
    assert made.tags["GEOSR_GUIDE"] == "B02, B03, B08"


def test_a_crs_that_metadata_and_files_disagree_on_is_refused(tmp_path: Path) -> None:
    product = make_safe(tmp_path)
    tile = next(product.rglob("MTD_TL.xml"))
    tile.write_text(tile.read_text().replace("EPSG:32631", "EPSG:32632"))
    with pytest.raises(InputError, match="is in EPSG:32631 and the metadata say EPSG:32632"):
        geosr.prepare(product, tmp_path / "out.tif", to=10)


def test_a_landsat_product_is_brought_onto_its_pan_band(tmp_path: Path) -> None:
    product = build(tmp_path, level_1())
    made = geosr.prepare(product, tmp_path / "out.tif", to="15m")
    assert made.scene.names == tuple(f"B{n}" for n in range(1, 12))
    assert made.tags["GEOSR_GUIDE"] == "B8"
    assert {name for group in made.scene.groups for name in group.names} == {*made.scene.names} - {"B8"}
    made.execute()
    with rasterio.open(next(product.glob("*_B8.TIF"))) as pan, rasterio.open(tmp_path / "out.tif") as result:
        assert (result.shape, result.transform, result.crs) == (pan.shape, pan.transform, pan.crs)
        assert np.array_equal(result.read(8), pan.read(1))
        assert result.scales[0] == 2e-5
        assert result.scales[9] == 3.8e-4
        gap = result.read(1) == 0
    assert gap[:5, :5].all()
    assert gap.sum() == 25


def test_tiles_are_as_large_as_halos_ask_for_and_memory_allows(tmp_path: Path) -> None:
    src = [grid(tmp_path, f"{name}.tif", 10 if name in TEN else 20, names=(name,), tags=S2) for name in (*TEN, "B05")]
    guided = geosr.prepare(src, tmp_path / "out.tif", to=10, model="glp")
    trained = geosr.prepare(src, tmp_path / "out.tif", to=10)
    assert (guided.plan.core, trained.plan.core) == (512, 768)
    assert trained.memory > guided.memory
    assert geosr.prepare(src, tmp_path / "out.tif", to=10, tile=64).plan.core == 64
