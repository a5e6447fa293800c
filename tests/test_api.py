"""The whole path from file to file, held against rasterio, the repeated input and itself."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

import geosr
from geosr.errors import InputError
from geosr.io.scene import open_scene
from geosr.models.checkpoint import read_card
from geosr.models.registry import MULTIFRAME, WEIGHTS
from geosr.pipeline import Job
from geosr.tiling import Tile
from tests import scenes


def upscale(src: Path, dst: Path, **options: Any) -> rasterio.DatasetReader:
    geosr.upscale(src, dst, **{"workers": 1, **options})
    return opened(dst)


def opened(path: Path) -> rasterio.DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("model", ["nearest", "bicubic", "lanczos", "ibp", "fast"])
def test_a_constant_scene_stays_constant(dtype: str, model: str, tmp_path: Path) -> None:
    value = 123.456789 if dtype.startswith("float") else np.iinfo(dtype).max - 3
    src = scenes.write(tmp_path / "flat.tif", np.full((1, 30, 40), value, dtype))
    with upscale(src, tmp_path / "out.tif", scale=2, model=model) as result:
        assert np.unique(result.read()).tolist() == [np.dtype(dtype).type(value)]


def test_nearest_is_the_repeated_input(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with opened(src) as before, upscale(src, tmp_path / "out.tif", scale=4, model="nearest") as after:
        assert np.array_equal(after.read(), before.read().repeat(4, 1).repeat(4, 2))


def test_bicubic_agrees_with_gdal_away_from_the_edge(tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((1, 60, 70), "float32"))
    with opened(src) as before, upscale(src, tmp_path / "out.tif", scale=2, model="bicubic") as after:
        expected = before.read(out_shape=(1, 120, 140), resampling=rasterio.enums.Resampling.cubic)
        inside = np.s_[:, 8:-8, 8:-8]
        assert np.abs(after.read()[inside] - expected[inside]).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "dtype"), [("bicubic", "float32"), ("fast", "uint16"), ("fast", "float32"), ("ibp", "uint16")]
)
def test_tiles_and_workers_change_no_pixel(model: str, dtype: str, tmp_path: Path) -> None:
    stored = scenes.pixels((2, 150, 190), dtype)
    stored[:, 40:60, 70:110] = 0
    src = scenes.write(tmp_path / "s.tif", stored, nodata=0)
    results = []
    for number, (tile, workers) in enumerate([(512, 1), (64, 1), (32, 2), (16, 3)]):
        options = {"model": model, "scale": 2, "tile": tile, "workers": workers, "mtf": 0.3}
        with upscale(src, tmp_path / f"{number}.tif", **options) as result:
            results.append(result.read())
    assert (results[0] != 0).mean() > 0.8
    for other in results[1:]:
        assert np.array_equal(results[0], other)


SHIPPED = [
    pytest.param(name, int(scale), marks=() if name in ("fast", "srcnn") else pytest.mark.slow)
    for name, scale in (
        path.stem.rsplit("_x", 1)
        for path in sorted(WEIGHTS.glob("*_x?.safetensors"))
        if not read_card(path).guides and read_card(path).network != MULTIFRAME  # those have tests of their own
    )
]


@pytest.mark.parametrize(("model", "scale"), SHIPPED)
def test_two_tilings_give_the_numbers_of_one_tile_with_every_model_that_is_shipped(
    model: str, scale: int, tmp_path: Path
) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((1, 40, 56), "float32"))
    results = []
    for tile in (64, 48, 32):
        dst = tmp_path / f"{tile}.tif"
        with upscale(src, dst, scale=scale, model=model, tile=tile, mtf=0.25, snr=100, project=True) as result:
            results.append(result.read())
    assert np.ptp(results[0]) > 1000
    for other in results[1:]:
        assert np.array_equal(other, results[0])


def test_in_bfloat16_tiles_change_at_most_one_count_in_a_hundred_pixels(tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((1, 90, 110)))
    results = []
    for tile in (512, 64, 32):
        with upscale(src, tmp_path / f"{tile}.tif", scale=2, tile=tile, precision="bfloat16", mtf=0.3) as result:
            results.append(result.read().astype(int))
    for other in results[1:]:
        differs = np.abs(results[0] - other)
        assert differs.max() <= 1
        assert (differs > 0).mean() < 0.01


@pytest.mark.parametrize("model", ["bicubic", "ibp", "fast"])
def test_what_stands_where_there_is_no_data_changes_no_valid_pixel(model: str, tmp_path: Path) -> None:
    stored = scenes.pixels((1, 80, 90), "float32")
    gap = np.zeros(stored.shape, bool)
    gap[:, 30:50, 20:70] = gap[:, 5, 5] = True
    results = []
    for number, filling in enumerate([np.nan, -9999.0, 1e6]):
        src = scenes.write(tmp_path / f"in{number}.tif", np.where(gap, np.float32(filling), stored), nodata=filling)
        with upscale(src, tmp_path / f"out{number}.tif", scale=2, model=model, tile=32, snr=100) as result:
            results.append(result.read())
    valid = ~gap.repeat(2, 1).repeat(2, 2)
    assert np.isfinite(results[0][valid]).all()
    assert np.array_equal(results[0][valid], results[1][valid])
    assert np.array_equal(results[0][valid], results[2][valid])


@pytest.mark.parametrize("model", ["bicubic", "lanczos", "ibp", "fast"])
@pytest.mark.parametrize("scale", [2, 4])
def test_there_is_no_half_pixel_shift(model: str, scale: int, tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "s.tif", scenes.pixels((1, 128, 128), "float32", seed=3))
    with opened(src) as before, upscale(src, tmp_path / "out.tif", scale=scale, model=model) as after:
        fine = after.read(1).astype(float)
        down = fine.reshape(128, scale, 128, scale).mean(axis=(1, 3))
        assert np.abs(shift(before.read(1).astype(float), down)).max() < 0.02


def shift(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far `other` lies from `one`, pixels, from the slope of the phase of the cross spectrum at low frequencies."""
    window = np.hanning(one.shape[0])[:, None] * np.hanning(one.shape[1])
    spectra = [np.fft.fft2((image - image.mean()) * window) for image in (one, other)]
    cross = spectra[0] * spectra[1].conj()
    rows, cols = (np.fft.fftfreq(side)[:, None] * np.ones(side) for side in one.shape)
    cols = cols.T
    low = (np.hypot(rows, cols) < 0.2) & (np.hypot(rows, cols) > 0)
    weight = np.abs(cross[low])
    design = 2 * np.pi * np.stack([rows[low], cols[low]], 1) * weight[:, None]
    return np.asarray(np.linalg.lstsq(design, np.angle(cross[low]) * weight, rcond=None)[0])


@pytest.mark.parametrize("model", ["bicubic", "ibp", "fast"])
def test_gain_and_offset_of_the_input_pass_through(model: str, tmp_path: Path) -> None:
    """Without noise: how much there is by default follows from the light, and so from where its zero is."""
    stored = scenes.pixels((1, 70, 80), "float64")
    plain = scenes.write(tmp_path / "plain.tif", stored)
    other = scenes.write(tmp_path / "other.tif", stored * 0.0001 - 0.1)
    told = {"model": model, "snr": float("inf")}
    with upscale(plain, tmp_path / "p.tif", **told) as one, upscale(other, tmp_path / "o.tif", **told) as two:
        assert np.abs(one.read() * 0.0001 - 0.1 - two.read()).max() < 1e-5 * np.ptp(two.read())


def test_an_area_of_interest_decides_what_is_written_and_nothing_else(tmp_path: Path) -> None:
    src = scenes.make_nodata(tmp_path)
    with opened(src) as before:
        left, bottom, right, top = rasterio.warp.transform_bounds(before.crs, "OGC:CRS84", *before.bounds)
    ring = [(left, bottom), (right, bottom), ((left + right) / 2, (top + bottom) / 2)]
    aoi = scenes.make_geojson(tmp_path, [ring])
    with upscale(src, tmp_path / "all.tif", model="bicubic", tile=16) as whole:
        for tile in (16, 64):
            with upscale(src, tmp_path / f"{tile}.tif", model="bicubic", tile=tile, aoi=aoi) as part:
                there = rasterio.windows.from_bounds(*part.bounds, whole.transform).round_offsets().round_lengths()
                expected, got = whole.read(window=there), part.read()
                assert got.shape == expected.shape
                assert np.array_equal(got[got != 0], expected[got != 0])
                assert 0.15 < (got != 0).sum() / (whole.read() != 0).sum() < 0.4


@pytest.mark.parametrize("model", ["nearest", "bicubic", "fast"])
def test_bounds_cut_whole_pixels_and_change_none(model: str, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with upscale(src, tmp_path / "all.tif", model=model, scale=2) as whole:
        left, bottom, right, top = whole.bounds
        box = (left + 33, bottom + 41, right - 52, top - 18)
        with upscale(src, tmp_path / "part.tif", model=model, scale=2, bounds=box) as part:
            there = rasterio.windows.from_bounds(*part.bounds, whole.transform)
            assert (part.bounds.left, part.bounds.top) == (left + 30, top - 10)
            assert np.array_equal(part.read(), whole.read(window=there))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5000), (40, 9, 7), (2, 700, 1)])
@pytest.mark.parametrize("model", ["bicubic", "fast"])
def test_odd_shapes_work(shape: tuple[int, int, int], model: str, tmp_path: Path) -> None:
    if model == "fast" and shape[0] > 2:
        pytest.skip("bands are alike to a network of one band")
    src = scenes.write(tmp_path / "s.tif", scenes.pixels(shape))
    with upscale(src, tmp_path / "out.tif", model=model, scale=2) as result:
        assert (result.count, *result.shape) == (shape[0], shape[1] * 2, shape[2] * 2)
        assert abs(result.read().mean() - scenes.pixels(shape).mean()) < 30


def test_provenance_is_written_and_input_tags_stay(tmp_path: Path) -> None:
    src = scenes.make_rich(tmp_path)
    with opened(src) as before, upscale(src, tmp_path / "out.tif", model="fast", mtf=0.25, snr=80) as after:
        tags = after.tags()
        assert (tags["GEOSR_MODEL"], tags["GEOSR_SCALE"], tags["GEOSR_MTF"]) == ("fast", "4", "0.25")
        assert len(tags["GEOSR_WEIGHTS_SHA256"]) == 64
        assert after.descriptions == before.descriptions
        assert (after.scales, after.offsets, after.units) == (before.scales, before.offsets, before.units)
        assert after.colorinterp == before.colorinterp


def test_a_wider_type_holds_the_same_numbers(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, dtype="uint8")
    same = upscale(src, tmp_path / "a.tif", model="bicubic")
    with same, upscale(src, tmp_path / "b.tif", model="bicubic", dtype="float32") as wide:
        assert wide.dtypes[0] == "float32"
        assert np.abs(wide.read().clip(0, 255) - same.read()).max() <= 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "fasst"}, "did you mean fast"),
        ({"scale": 7, "model": "fast"}, "x2"),
        ({"bands": [9]}, "bands 1 to 3"),
        ({"mtf": 1.5}, "between 0 and 1"),
        ({"snr": -3}, "above 0"),
        ({"mtf": [0.2, 0.3]}, "3 bands"),
        ({"bounds": (0, 0, 1, 1)}, "outside"),
        ({"nodata": -1}, "can't occur"),
        ({"nodata": "nought"}, "a number, nan or none"),
        ({"dtype": "uint8"}, "uint16, uint32"),
        ({"co": {"COMPRES": "ZSTD"}}, "COMPRES"),
        ({"co": {"COMPRESS": "JPEG"}}, "JPEG"),
        ({"co": ["COMPRESS=ZSTD"]}, "a mapping"),
        ({"bands": "13"}, "a list of numbers and names"),
        ({"bands": 2}, "a list of numbers and names"),
        ({"bounds": "1,2,3,4"}, "expected 4 numbers"),
        ({"scale_offset": (1,)}, "expected 2 numbers"),
        ({"scale": 2.0}, "a whole number"),
        ({"workers": -1}, "above 0"),
        ({"tile": -5}, "above 0"),
        ({"format": "JP2"}, "expected one of GTiff, COG, Zarr"),
    ],
    ids=str,
)
def test_a_bad_option_is_one_line_and_writes_nothing(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as caught:
        geosr.upscale(src, tmp_path / "out.tif", **options)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_plan_counts_the_memory_of_its_network(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 300, 300))
    small, large = (
        geosr.prepare(src, tmp_path / "out.tif", model=name, tile=256, workers=2).memory for name in ("fast", "srcnn")
    )
    assert large - small > 2 * 0.4e9  # measured: 455 MB for a block of 192 pixels


def test_the_tile_that_is_timed_has_something_in_it(tmp_path: Path) -> None:
    stored = scenes.pixels((1, 96, 96), "float32")
    stored[:, 32:64, 32:64] = np.nan
    src = scenes.write(tmp_path / "hole.tif", stored)
    run = geosr.prepare(src, tmp_path / "out.tif", model="bicubic", scale=8, tile=16)
    tile = run._telling()
    assert np.isfinite(run.scene.source.read(tile).stored).any()
    assert run.forecast() > 0


def test_a_forecast_times_as_many_tiles_as_will_work_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 64, 64))
    run = geosr.prepare(src, tmp_path / "out.tif", model="bicubic", scale=8, tile=16, workers=3)
    together = threading.Barrier(3)
    usual, calls = Job.__call__, []

    def work(job: Job, tile: Tile) -> object:
        calls.append(tile)
        if len(calls) > 1:  # the first one only loads
            together.wait(30)
        return usual(job, tile)

    monkeypatch.setattr(Job, "__call__", work)
    assert run.forecast() > 0
    assert len(calls) == 1 + 3


def test_formats_are_known_in_any_case(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 300, 300))
    for format, layout in (("cog", "COG"), ("gtiff", None)):
        report = geosr.upscale(src, tmp_path / f"{format}.tif", model="nearest", scale=2, format=format)
        with rasterio.open(report["path"]) as dst:
            assert dst.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == layout


def test_a_number_is_a_band_and_a_text_first_a_name(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with rasterio.open(src, "r+") as file:
        file.descriptions = ("3", "2", "04")
    for bands, names in (
        ([1], ["3"]),
        (["3"], ["3"]),
        (["1"], ["3"]),
        (["04", "2"], ["04", "2"]),
        ([3, 1], ["04", "3"]),
    ):
        assert open_scene(src, bands=bands).names == tuple(names)


def test_the_input_is_never_overwritten_however_it_is_spelled(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    link = tmp_path / "link.tif"
    link.symlink_to(src)
    content = src.read_bytes()
    for name in (src, link, tmp_path / "." / ".." / tmp_path.name / src.name):
        with pytest.raises(InputError, match="input itself"):
            geosr.upscale(src, name, model="nearest", overwrite=True)
    assert src.read_bytes() == content


def test_an_existing_result_is_kept_without_overwrite(tmp_path: Path) -> None:
    src, dst = scenes.make_plain(tmp_path), tmp_path / "out.tif"
    dst.write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        geosr.upscale(src, dst, model="nearest")
    assert dst.read_text() == "mine"
    upscale(src, dst, model="nearest", overwrite=True).close()
