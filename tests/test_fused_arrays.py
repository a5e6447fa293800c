"""Dates of an array fused by the accessor: the pixels of files, lazily, and each date with its neighbours."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from dask.core import keys_in_tasks
from numpy.typing import NDArray

import geosr
import geosr.xarray
from geosr.errors import GeosrError, InputError, TileError
from geosr.models import devices
from geosr.xarray import frames, lazy
from tests.dates import MTF, SHIFTS, Ground, decibels, written
from tests.test_devices import Pretended, pretend_one_card

SHAPE = 100, 110
GROUND = Ground.of(3)
BANDS = np.stack(
    [[GROUND.date(SHAPE, shift, seed=place) * gain for gain in (1, 0.7)] for place, shift in enumerate(SHIFTS)]
)
DAYS = [f"2021-0{place + 1}-05" for place in range(len(SHIFTS))]
OPTIONS: dict[str, Any] = {"model": "ibp", "scale": 2, "mtf": MTF, "snr": 100, "tile": 48}


def files(folder: Path, count: int = 4) -> list[Path]:
    return [written(folder / f"{day}.tif", date, nodata=0) for day, date in zip(DAYS[:count], BANDS, strict=False)]


def cube(folder: Path, count: int = 4, chunks: Any = None) -> xr.DataArray:
    array = xr.concat([geosr.open_raster(path, chunks=None) for path in files(folder, count)], "time")
    array = array.assign_coords(time=np.array(DAYS[:count], "M8[ns]"))
    return array if chunks is None else array.chunk(chunks)


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        bands: NDArray[Any] = dataset.read()
    return bands


@pytest.fixture(scope="module")
def fused_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The result of files, made once a reference."""

    @cache
    def made(reference: Any) -> Path:
        folder = tmp_path_factory.mktemp("files")
        geosr.upscale(files(folder), folder / "out.tif", fuse=True, reference=reference, **OPTIONS)
        return folder / "out.tif"

    return made


@pytest.mark.parametrize(
    ("chunks", "reference"),
    [
        (None, None),
        ({"y": 40, "x": 110}, None),
        ({"y": 40, "x": 110}, "2021-03"),
        ({"time": 3, "band": 1, "y": 25, "x": 60}, None),
        ({"time": 3, "band": 1, "y": 25, "x": 60}, 3),
    ],
)
def test_an_array_has_the_pixels_and_counts_of_files(
    tmp_path: Path, fused_files: Callable[[Any], Path], chunks: Any, reference: Any
) -> None:
    made = cube(tmp_path, chunks=chunks).geosr.upscale(fuse=True, reference=reference, **OPTIONS).compute()
    expected = fused_files(reference)
    np.testing.assert_array_equal(made["data"], pixels(expected))
    np.testing.assert_array_equal(made["frames"], pixels(expected.with_suffix(".frames.tif")))
    assert made["frames"].mean() > 2


def test_a_series_in_gives_a_series_out_each_date_with_its_neighbours(tmp_path: Path) -> None:
    array = cube(tmp_path, 5, {"y": 60}).transpose("y", "band", "time", "x")
    made = array.geosr.upscale(fuse=True, reference="each", **OPTIONS)["data"]
    assert made.dims == array.dims
    assert (made.time == array.time).all()
    plain = array.geosr.upscale("bicubic", 2)
    assert made.isel(time=0, band=0).coords.equals(plain.isel(time=0, band=0).coords)
    for place in (0, 3):
        alone = array.geosr.upscale(fuse=True, reference=place + 1, **OPTIONS)["data"]
        assert alone.time == array.time[place]
        np.testing.assert_array_equal(made.isel(time=place), alone)


@pytest.mark.parametrize("reference", ["each", None])
def test_dates_are_not_fused_by_cards_and_processors_together(
    reference: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS | {"model": "fast", "scale": 4}
    made = cube(tmp_path, 3, {"time": 1}).geosr.upscale(fuse=True, reference=reference, **options)["data"]
    pretend_one_card(monkeypatch)
    with pytest.raises(TileError, match=r"this process computes on the processor, .*, and the run is of Card"):
        made.compute(scheduler="synchronous")
    assert made.compute(scheduler="synchronous").shape == made.shape


def test_who_only_plans_dates_for_a_cluster_leaves_its_own_card_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pretended(monkeypatch)
    touched: list[str] = []
    monkeypatch.setattr(devices, "_convolve", touched.append)
    monkeypatch.setattr(lazy, "active_client", object)
    options = OPTIONS | {"model": "fast", "scale": 4, "device": "cuda"}
    made = cube(tmp_path, 3, {"time": 1}).geosr.upscale(fuse=True, **options)["data"]
    assert pickle.loads(pickle.dumps(made.data.dask)) is not None
    assert touched == []


def test_each_date_is_fused_with_those_nearest_in_time(tmp_path: Path) -> None:
    dates = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 300, 301], "M8[D]").astype("M8[ns]")
    array = xr.DataArray(np.zeros((11, 4, 4), "uint8"), dims=("time", "y", "x"), coords={"time": dates})
    assert frames._others(array, "time", 8, True) == (1, 2, 3, 4, 5, 6, 7)
    assert frames._others(array, "time", 10, True) == (3, 4, 5, 6, 7, 8, 9)
    assert frames._others(array.drop_vars("time"), "time", 10, True) == (3, 4, 5, 6, 7, 8, 9)
    assert frames._others(array, "time", 10, False) == tuple(range(10))


def test_a_date_that_no_other_fits_stays_as_it_is_in_a_series_and_is_an_error_by_itself(tmp_path: Path) -> None:
    array = cube(tmp_path, 3)
    array[1] = Ground.of(50).date(SHAPE)
    made = array.geosr.upscale(fuse=True, reference="each", **OPTIONS)
    np.testing.assert_array_equal(made["data"][1], array[1].geosr.upscale(**OPTIONS))
    assert (made["frames"][1] == 1).all()
    assert made["frames"][0].max() <= 2
    with pytest.raises(InputError, match=r"none of the other dates fits 2021-02-05: 2021-01-05: left out: "):
        array.geosr.upscale(fuse=True, reference=2, **OPTIONS)


def test_nothing_is_read_until_it_is_asked_for_and_a_crop_computes_its_own_tiles(tmp_path: Path) -> None:
    read = []

    def seen(values: NDArray[Any], block_info: Any = None) -> NDArray[Any]:
        read.extend([block_info] if block_info else [])
        return values

    array = cube(tmp_path, chunks={"y": 40})
    array = array.copy(data=array.data.map_blocks(seen, dtype=array.dtype, meta=np.empty((0,) * 4, array.dtype)))
    crop = array.geosr.upscale(fuse=True, **OPTIONS).isel(y=slice(0, 90), x=slice(100, 180))
    graph = crop["data"].data.dask.cull(crop["data"].__dask_keys__())
    assert not read
    name = next(key[0] for key in graph.to_dict() if str(key[0]).endswith("-learnt")).removesuffix("-learnt")
    assert [key for key in graph.to_dict() if key[0] == name] == [(name, 0, 0, 0, 1)]
    whole = cube(tmp_path).geosr.upscale(fuse=True, **OPTIONS)
    assert crop.compute(scheduler="synchronous").equals(whole.isel(y=slice(0, 90), x=slice(100, 180)))
    assert read


def test_a_tile_holds_windows_of_dates_and_no_chunks(tmp_path: Path) -> None:
    made = cube(tmp_path, chunks={"time": -1}).geosr.upscale(fuse=True, **OPTIONS)["data"]
    graph = made.data.dask.to_dict()
    name = next(key[0] for key in graph if str(key[0]).endswith("-learnt")).removesuffix("-learnt")
    needs = {other for key in graph if key[0] == name for other in keys_in_tasks(graph.keys(), [graph[key]])}
    assert {other[0] for other in needs} == {f"{name}-window", f"{name}-learnt"}


def test_an_image_that_was_fused_is_written_as_any_other(tmp_path: Path) -> None:
    array = cube(tmp_path, 2, {"y": 60})
    array.geosr.upscale(fuse=True, **OPTIONS)["data"].geosr.to_geotiff(tmp_path / "out.tif")
    geosr.upscale(files(tmp_path, 2), tmp_path / "files.tif", fuse=True, **OPTIONS)
    np.testing.assert_array_equal(pixels(tmp_path / "out.tif"), pixels(tmp_path / "files.tif"))


def test_classes_are_repeated_and_gaps_of_the_reference_stay_gaps(tmp_path: Path) -> None:
    array = cube(tmp_path)
    array[0, 0, 30:40, 20:50] = 0
    made = array.chunk({"y": 50}).geosr.upscale(fuse=True, categorical=[2], **OPTIONS)
    np.testing.assert_array_equal(made["data"][1], array[0, 1].values.repeat(2, 0).repeat(2, 1))
    assert (made["data"][0] == 0).sum() == 10 * 30 * 4
    assert np.isnan(made["frames"][0]).sum() == 10 * 30 * 4


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda array: array.isel(time=0), {}, "expected one dimension of dates, such as time; it has none"),
        (lambda array: array.isel(time=[0]), {}, "time has one date, and several are fused"),
        (lambda array: array.isel(time=[0] * 101), {}, "time has 101 dates, and 100 at most are fused onto one"),
        (lambda array: array.expand_dims(orbit=2), {}, "it has orbit, time beside rows"),
        (lambda array: array, {"reference": "2019"}, "is none of the dates"),
        (lambda array: array, {"reference": 9}, "is none of the dates"),
        (lambda array: array, {"categorical": [1, 2]}, "all bands hold classes"),
        (lambda array: array, {"project": True}, "leave --project out"),
        (lambda array: array, {"uncertainty": True, "model": "fast"}, "is that of one date"),
        (lambda array: array, {"guide": 3, "scale": None, "model": "glp"}, "without a guide"),
        (lambda array: array, {"fuse": False, "reference": 2}, "speaks of dates that are fused"),
    ],
)
def test_what_cant_be_fused_is_refused_before_a_pixel_is_read(
    tmp_path: Path, change: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeosrError, match=message) as told:
        change(cube(tmp_path, chunks={})).geosr.upscale(**{"fuse": True} | OPTIONS | options)
    assert "\n" not in str(told.value)


def test_a_series_of_hundreds_of_dates_becomes_a_series_which_costs_nothing_before_it_is_computed(
    tmp_path: Path,
) -> None:
    array = cube(tmp_path, chunks={}).isel(time=[0, 1, 2, 3] * 50)
    made = array.geosr.upscale(fuse=True, reference="each", **OPTIONS)
    assert dict(made.sizes) == {"time": 200, "band": 2, "y": 200, "x": 220}


def test_dates_add_to_what_one_shows_in_an_array_too(tmp_path: Path) -> None:
    array, truth = cube(tmp_path, 8), GROUND.truth(SHAPE)
    one, many = array[0].geosr.upscale(**OPTIONS), array.geosr.upscale(fuse=True, **OPTIONS)["data"]
    assert decibels(many[0].values, truth) > decibels(one[0].values, truth) + 1
