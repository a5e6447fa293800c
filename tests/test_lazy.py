"""Tiles as Dask tasks: the same pixels as numpy whatever the chunks, a small graph, crops that compute only theirs."""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import geosr.xarray
from geosr.errors import ModelError
from geosr.models import runtime
from geosr.models.registry import WEIGHTS
from tests import scenes

PIXELS = scenes.pixels((3, 70, 90), "uint16")


def named(data: Any, dims: tuple[str, ...] = ("band", "y", "x")) -> xr.DataArray:
    return xr.DataArray(data, dims=dims, attrs={"_FillValue": 0})


@pytest.mark.parametrize("chunks", [(3, 70, 90), (1, 32, 32), (2, 17, 90), (3, 7, 11), (1, (30, 1, 39), (2, 88))])
@pytest.mark.parametrize("model", ["bicubic", "fast"])
def test_chunks_change_no_pixel(chunks: Any, model: str) -> None:
    stored = PIXELS.copy()
    stored[:, 20:40, 30:50] = 0
    expected = named(stored).geosr.upscale(model, 2)
    result = named(da.from_array(stored, chunks)).geosr.upscale(model, 2, tile=32)
    assert result.data.chunks[1] == (64, 64, 12)
    assert np.array_equal(result.compute().values, expected.values)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dims", [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y"), ("time", "y", "x"), ("x", "y", "time")]
)
def test_the_order_of_dimensions_changes_no_pixel(dims: tuple[str, ...]) -> None:
    first = "time" if "time" in dims else "band"
    source = named(PIXELS, (first, "y", "x"))
    expected = source.geosr.upscale("fast", 2, mtf=0.3)
    turned = source.transpose(*dims)
    for array in (turned, turned.chunk(24)):
        result = array.geosr.upscale("fast", 2, mtf=0.3, tile=32)
        assert result.dims == dims
        assert np.array_equal(result.transpose(first, "y", "x").values, expected.values)


def test_several_results_are_computed_together() -> None:
    one = named(da.from_array(PIXELS, (3, 30, 30)))
    fine = [array.geosr.upscale("fast", 2) for array in (one, one * 2, one[:, 3:])]
    for array, together in zip(fine, dask.compute(*fine, scheduler="synchronous"), strict=True):
        assert np.array_equal(together.values, array.values)


def test_each_time_is_a_scene_of_its_own() -> None:
    quiet, noisy = PIXELS, PIXELS + np.random.default_rng(0).integers(0, 400, PIXELS.shape).astype("uint16")
    cube = xr.DataArray(np.stack([quiet, noisy]), dims=("time", "band", "y", "x"))
    result = cube.chunk(time=2, band=1, y=30).geosr.upscale("fast", 2).compute()
    for index, single in enumerate((quiet, noisy)):
        alone = xr.DataArray(single, dims=("band", "y", "x")).geosr.upscale("fast", 2)
        assert np.array_equal(result[index].values, alone.values)


def test_a_graph_of_a_continent_is_built_without_one_of_its_tasks() -> None:
    pixels = da.zeros((4, 100_000, 100_000), chunks=(4, 1024, 1024), dtype="uint16")
    array = xr.DataArray(pixels, dims=("band", "y", "x"))
    tracemalloc.start()
    result = array.geosr.upscale("fast", 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.shape == (4, 400_000, 400_000)
    assert peak < 50e6


def test_building_reads_nothing_and_a_crop_reads_only_what_its_tiles_meet() -> None:
    read: list[tuple[int, int]] = []

    def load(block_info: Any = None) -> Any:
        read.append(tuple(block_info[None]["chunk-location"]))
        return np.full((64, 64), 100, "uint16")

    pixels = da.map_blocks(load, chunks=((64,) * 10, (64,) * 10), dtype="uint16", meta=np.empty((0, 0), "uint16"))
    result = xr.DataArray(pixels, dims=("y", "x")).geosr.upscale("bicubic", 2, tile=64)
    assert read == []
    with dask.config.set(scheduler="synchronous"):
        crop = result[300:310, 400:410].compute()
    assert set(read) == {(r, c) for r in (1, 2, 3) for c in (2, 3, 4)}
    assert (crop == 100).all()


def test_a_result_is_one_thing_with_one_name_and_pickles() -> None:
    array = named(da.from_array(PIXELS, 32, name="pixels"))
    one, two = (array.geosr.upscale("fast", 2) for _ in range(2))
    assert one.data.name == two.data.name
    assert one.data.name != array.geosr.upscale("fast", 2, mtf=0.2).data.name
    copy = pickle.loads(pickle.dumps(one))
    assert np.array_equal(copy.compute().values, one.compute().values)
    assert len(one.data.dask) == len(dict(one.data.dask))


def test_masked_values_stay_masked_and_change_nothing_else() -> None:
    values = PIXELS.astype("float32")
    values[:, 20:40, 30:50] = np.nan
    array = xr.DataArray(values, dims=("band", "y", "x"))
    result = array.chunk(25).geosr.upscale("fast", 2).compute()
    assert np.array_equal(np.isnan(result.values), np.isnan(values).repeat(2, 1).repeat(2, 2))
    whole = xr.DataArray(PIXELS.astype("float32"), dims=("band", "y", "x")).geosr.upscale("fast", 2)
    far = np.s_[:, :, 140:]
    assert np.allclose(result.values[far], whole.values[far], rtol=0.01)


def test_classes_and_truths_are_repeated() -> None:
    classes = xr.DataArray(PIXELS[0] % 5, dims=("y", "x"), attrs={"flag_values": [0, 1, 2, 3, 4]})
    truths = classes > 2
    for array in (classes, truths, truths.chunk(30)):
        result = array.geosr.upscale("fast", 2)
        assert result.dtype == array.dtype
        assert np.array_equal(result.values, array.values.repeat(2, 0).repeat(2, 1))


def test_options_are_checked_before_anything_is_computed() -> None:
    array = named(da.from_array(PIXELS, 32))
    with pytest.raises(ModelError, match="did you mean fast"):
        array.geosr.upscale("fasst")
    with pytest.raises(ModelError, match="x2"):
        array.geosr.upscale("fast", 7)
    with pytest.raises(geosr.errors.InputError, match="between 0 and 1"):
        array.geosr.upscale("fast", 2, mtf=2)


def test_the_same_name_in_other_chunks_gives_another_name() -> None:
    fine = [named(da.from_array(PIXELS, chunks, name="pixels")).geosr.upscale("nearest", 2) for chunks in (32, 40)]
    assert fine[0].data.name != fine[1].data.name
    assert fine[0].data.name.startswith("geosr-upscale-")


def test_weights_that_change_under_their_name_are_another_model(tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    array = named(da.from_array(PIXELS, 64, name="pixels"))

    def upscale(name: str) -> xr.DataArray:
        shutil.copy(WEIGHTS / f"{name}_x2.safetensors", mine)
        return array.geosr.upscale(str(mine), 2)

    one = upscale("srcnn")
    first = one.values
    two = upscale("fast")
    assert one.data.name != two.data.name
    assert np.array_equal(two.values, array.geosr.upscale("fast", 2).values)
    assert (two.values != first).any()
    late = array.geosr.upscale(str(mine), 2, mtf=0.2)
    upscale("srcnn")
    runtime._load.cache_clear()
    with pytest.raises(ModelError, match="not those that this run began with"):
        late.compute()
