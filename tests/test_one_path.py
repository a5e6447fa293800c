"""Whoever drives the path, the pixels are the same: file, accessor, threads, processes, Dask."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest

import geosr
from geosr.errors import InputError
from tests import scenes

TILE = 48


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bands with gaps."""
    return scenes.make_gaps(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def expected(scene: Path) -> bytes:
    """What one thread writes."""
    return run(scene, scene.with_name("one.tif"), workers=1)


def run(scene: Path, dst: Path, **options: object) -> bytes:
    geosr.upscale(scene, dst, **{"scale": 2, "tile": TILE, "model": "fast", **options})  # type: ignore[arg-type]
    return dst.read_bytes()


@pytest.mark.parametrize("options", [{"workers": 2}, {"tile": 16, "workers": 3}], ids=str)
def test_threads_and_tiles_change_no_pixel(options: dict[str, object], scene: Path, expected: bytes) -> None:
    run(scene, scene.with_name("again.tif"), overwrite=True, **options)
    assert pixels(scene.with_name("again.tif")) == pixels(scene.with_name("one.tif"))


def test_two_threads_write_the_same_pixels_as_the_accessor(scene: Path, expected: bytes) -> None:
    told = pixels(scene.with_name("one.tif"))
    assert geosr.open_raster(scene, chunks=None).geosr.upscale("fast", 2).values.tobytes() == told
    lazy = geosr.open_raster(scene, chunks=40).geosr.upscale("fast", 2, tile=TILE)
    for scheduler in ("threads", "synchronous"):
        with dask.config.set(scheduler=scheduler):
            assert lazy.values.tobytes() == told


def test_what_the_accessor_writes_is_what_the_file_path_writes(scene: Path, expected: bytes) -> None:
    path = geosr.open_raster(scene, chunks=64).geosr.upscale("fast", 2, tile=TILE).geosr.to_geotiff(
        scene.with_name("accessor.tif")
    )  # fmt: skip
    assert pixels(path) == pixels(scene.with_name("one.tif"))


def test_one_band_alone_is_as_in_company(scene: Path) -> None:
    whole = geosr.open_raster(scene, chunks=64).geosr.upscale("fast", 2).compute()
    alone = geosr.open_raster(scene, bands=[2], chunks=64).geosr.upscale("fast", 2).compute()
    assert np.array_equal(whole.values[1], alone.values[0])


def pixels(path: Path) -> bytes:
    return bytes(geosr.open_raster(path, chunks=None).values.tobytes())


@pytest.mark.parametrize(
    "option", [{"mtf": 2.0}, {"mtf": (0.2, 0.3, 0.4)}, {"snr": -1.0}, {"snr": (9.0, 9.0, 9.0)}], ids=str
)
@pytest.mark.parametrize("model", ["bicubic", "ibp"])
def test_files_and_arrays_refuse_the_same_in_the_same_words(model: str, option: dict[str, object], scene: Path) -> None:
    with pytest.raises(InputError) as of_file:
        geosr.prepare(scene, scene.with_name("no.tif"), model=model, scale=2, **option)  # type: ignore[arg-type]
    with pytest.raises(InputError) as of_array:
        geosr.open_raster(scene, chunks=64).geosr.upscale(model, 2, **option)
    assert str(of_array.value) == str(of_file.value)
