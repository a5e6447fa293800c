"""From file to file: whatever the scene, the result lies in the same place and keeps what the scene had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosr.api import upscale
from geosr.errors import InputError
from geosr.io.metadata import placed
from tests import scenes

MAKERS = [
    scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_dateline,
    scenes.make_local_crs, scenes.make_custom_crs, scenes.make_no_crs, scenes.make_gcps, scenes.make_rpcs,
    scenes.make_nodata, scenes.make_nan, scenes.make_nodata_per_band, scenes.make_masked, scenes.make_alpha,
    scenes.make_palette, scenes.make_rich, scenes.make_photo,
]  # fmt: skip


@pytest.mark.parametrize("format", ["COG", "GTiff"])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("make_"))
def test_place_type_and_metadata_are_kept(tmp_path: Path, make: Callable[[Path], Path], format: str) -> None:
    path = make(tmp_path)
    result = upscale(path, tmp_path / "result.tif", model="bicubic", scale=2, format=format, workers=1)
    with scenes.quiet(), rasterio.open(path) as src, rasterio.open(result["path"]) as dst:
        assert dst.shape == (2 * src.shape[0], 2 * src.shape[1])
        assert dst.crs == src.crs or (src.crs is None and not dst.crs)
        assert dst.dtypes == src.dtypes
        assert (dst.descriptions, dst.scales, dst.offsets, dst.units) == (
            src.descriptions, src.scales, src.offsets, src.units,
        )  # fmt: skip
        assert (len(dst.gcps[0]), dst.rpcs is None) == (len(src.gcps[0]), src.rpcs is None)
        assert set(src.tag_namespaces()) <= set(dst.tag_namespaces()) | {"xml:VRT"}
        assert dst.transform.is_identity == src.transform.is_identity
        if not src.transform.is_identity:
            for col, row in ((0, 0), (src.width, 0), (0, src.height), (src.width, src.height)):
                old, new = placed(src.transform, col, row), placed(dst.transform, 2 * col, 2 * row)
                assert new == pytest.approx(old, rel=1e-14)


@pytest.mark.parametrize(
    "make", [scenes.make_nodata, scenes.make_nodata_per_band, scenes.make_masked, scenes.make_alpha, scenes.make_nan]
)
def test_what_was_no_data_stays_so_pixel_for_pixel_and_nothing_else_does(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    result = upscale(path, tmp_path / "result.tif", model="bicubic", scale=3, workers=1)
    with rasterio.open(path) as src, rasterio.open(result["path"]) as dst:
        before, after = src.read_masks() > 0, dst.read_masks() > 0
        if np.dtype(src.dtypes[0]).kind == "f":
            before, after = np.isfinite(src.read()), np.isfinite(dst.read())
        assert not before.all()
        assert np.array_equal(after, before.repeat(3, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_every_type_goes_in_and_out(tmp_path: Path, dtype: str) -> None:
    path = scenes.make_dtype(tmp_path, dtype)
    result = upscale(path, tmp_path / "result.tif", model="nearest", scale=2, workers=1)
    with rasterio.open(path) as src, rasterio.open(result["path"]) as dst:
        assert dst.dtypes == src.dtypes
        assert np.array_equal(dst.read(), src.read().repeat(2, axis=1).repeat(2, axis=2))


def test_another_type_does_not_change_what_an_alpha_band_means(tmp_path: Path) -> None:
    path = scenes.make_alpha(tmp_path)
    with pytest.raises(InputError, match="has an alpha band in uint8"):
        upscale(path, tmp_path / "result.tif", model="nearest", dtype="float32")
    upscale(path, tmp_path / "result.tif", model="nearest", dtype="float32", bands=[1])


def test_three_hundred_bands_work(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, shape=(300, 4, 5))
    result = upscale(path, tmp_path / "result.tif", model="bicubic", scale=2, workers=1)
    with rasterio.open(result["path"]) as dst:
        assert (dst.count, dst.height, dst.width) == (300, 8, 10)
