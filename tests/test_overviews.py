from __future__ import annotations

import gc
import math
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.env import GDALVersion

from geosr.io.layout import Layout, Options
from geosr.io.overviews import Image, build, halve
from geosr.radiometry import DTYPES
from tests.writing import PROFILE, noise


def layout(dtype: str, bands: int = 1, nodata: float | None = None, nearest: bool = False, side: int = 64) -> Layout:
    return Layout(side, side, bands, dtype, 16, 16, nodata, False, (nearest,) * bands, "COG", Options())


def slowly(stored: NDArray[Any], mask: NDArray[np.bool_], nodata: float | None) -> NDArray[Any]:
    """Averages of one band by exact fractions, half to even."""
    height, width = stored.shape
    out = np.zeros((-(-height // 2), -(-width // 2)), stored.dtype)
    for row, col in np.ndindex(*out.shape):
        there = np.s_[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        four, valid = stored[there], mask[there] & (stored[there] != nodata)
        if not valid.any():
            out[row, col] = four[0, 0] if nodata is None else nodata
            continue
        mean = round(Fraction(sum(int(value) for value in four[valid]), int(valid.sum())))
        out[row, col] = mean if mean != nodata else mean + (1 if mean < np.iinfo(stored.dtype).max else -1)
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(("uint8", "int8", "uint16", "int16", "uint32", "int32")),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from((None, 0, 3)),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_integer_averages_are_exact_means_of_valid_pixels_rounded_half_to_even(
    dtype: str, height: int, width: int, nodata: int | None, masked: bool, seed: int
) -> None:
    random_numbers = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    stored = random_numbers.integers(0, 6, (1, height, width)).astype(dtype)
    extreme = random_numbers.random(stored.shape)
    stored[extreme < 0.2] = info.max
    stored[extreme > 0.8] = info.min
    mask = random_numbers.random((height, width)) < 0.6 if masked else None
    made = halve(Image(stored, mask), layout(dtype, nodata=nodata))
    everywhere = np.ones((height, width), bool) if mask is None else mask
    np.testing.assert_array_equal(made.stored[0], slowly(stored[0], everywhere, nodata))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating_point_averages_leave_out_nan_and_nodata(dtype: str) -> None:
    stored = np.array([[[1, np.nan, 5, -9999], [2, 3, -9999, -9999]]], dtype)
    made = halve(Image(stored, None), layout(dtype, nodata=-9999.0))
    np.testing.assert_array_equal(made.stored[0], np.array([[2, 5]], dtype))


def test_a_block_without_valid_floating_point_pixels_becomes_nodata() -> None:
    stored = np.full((1, 2, 2), np.nan, np.float32)
    assert halve(Image(stored, None), layout("float32", nodata=-1.0)).stored[0, 0, 0] == -1
    assert np.isnan(halve(Image(stored, None), layout("float32", nodata=math.nan)).stored[0, 0, 0])


def test_an_average_that_would_read_as_nodata_moves_by_one_count() -> None:
    stored = np.array([[[4, 6], [4, 6]]], np.uint16)
    assert halve(Image(stored, None), layout("uint16", nodata=5)).stored[0, 0, 0] == 6
    assert halve(Image(stored.astype(np.float32), None), layout("float32", nodata=5.0)).stored[0, 0, 0] == np.nextafter(
        np.float32(5), np.float32(0)
    )


@pytest.mark.parametrize("dtype", ["float32", "uint16", "int8"])
def test_whether_other_pixels_are_missing_does_not_change_an_average(dtype: str) -> None:
    stored = noise((1, 64, 64), dtype)
    whole = halve(Image(stored, None), layout(dtype)).stored
    mask = np.ones((64, 64), bool)
    mask[60:] = False
    np.testing.assert_array_equal(halve(Image(stored, mask), layout(dtype)).stored[:, :30], whole[:, :30])


def test_classes_keep_the_upper_left_pixel_or_the_first_valid_one() -> None:
    stored = np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]], np.uint8)
    mask = np.array([[True, True, False, False], [True, True, True, False]])
    assert halve(Image(stored, None), layout("uint8", nearest=True)).stored.tolist() == [[[1, 3]]]
    assert halve(Image(stored, mask), layout("uint8", nearest=True)).stored.tolist() == [[[1, 7]]]


def test_a_pixel_is_valid_where_one_of_its_four_is() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1, 3] = True
    made = halve(Image(np.ones((1, 4, 4), np.uint8), mask), layout("uint8"))
    assert made.mask is not None
    assert made.mask.tolist() == [[False, True], [False, False]]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(1, 63), st.integers(1, 63), st.integers(1, 5), st.integers(1, 5))
def test_halving_pieces_gives_the_same_as_halving_the_whole(
    dtype: str, height: int, width: int, rows: int, cols: int
) -> None:
    stored, mask = noise((2, height, width), dtype), noise((height, width), "uint8") < 200
    whole = halve(Image(stored, mask), layout(dtype, 2))
    for row in range(0, height, 2 * rows):
        for col in range(0, width, 2 * cols):
            there = np.s_[row : row + 2 * rows, col : col + 2 * cols]
            piece = halve(Image(stored[:, *there], mask[there]), layout(dtype, 2))
            here = np.s_[row // 2 : row // 2 + rows, col // 2 : col // 2 + cols]
            np.testing.assert_array_equal(piece.stored, whole.stored[:, *here])


@pytest.mark.parametrize("dtype", DTYPES)
def test_averages_are_gdals_to_one_count(tmp_path: Path, dtype: str) -> None:
    stored = noise((1, 64, 64), dtype)
    shape = {"width": 64, "height": 64, "count": 1, "dtype": dtype}
    with rasterio.open(tmp_path / "x.tif", "w", driver="GTiff", **shape, **PROFILE) as file:
        file.write(stored)
        file.build_overviews([2], Resampling.average)
    with rasterio.open(tmp_path / "x.tif", overview_level=0) as file:
        theirs = file.read().astype(np.float64)
    ours = halve(Image(stored, None), layout(dtype)).stored.astype(np.float64)
    count = 1 if np.dtype(dtype).kind != "f" else np.abs(stored).max() * np.finfo(dtype).eps
    if dtype in ("uint32", "int32") and GDALVersion.runtime() < GDALVersion.parse("3.10"):
        count = 2.0**32 * np.finfo("float32").eps  # which GDAL took averages in
    assert np.abs(ours - theirs).max() <= count


@pytest.mark.parametrize(("height", "width"), [(70, 100), (33, 130), (1, 200), (128, 128)])
def test_a_pyramid_built_block_by_block_is_the_one_of_the_whole_image(height: int, width: int) -> None:
    stored = noise((2, height, width), "uint16")
    plan = Layout(height, width, 2, "uint16", 16, 16, None, False, (), "COG", Options())
    levels = [Image(stored, None)]
    for _ in range(plan.levels):
        levels.append(halve(levels[-1], plan))
    built = [np.zeros_like(image.stored) for image in levels]

    def quarter(row: int, col: int) -> Image | None:
        part = levels[1].stored[:, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8]
        return Image(part, None) if part.size else None

    def slowly(level: int, row: int, col: int, image: Image) -> tuple[int, int, int, Image]:
        time.sleep(0.002 * ((7 * row + 3 * col) % 3))  # threads overtake each other
        return level, row, col, image

    kept: list[tuple[int, int, int]] = []

    def keep(block: tuple[int, int, int, Image]) -> None:
        level, row, col, image = block
        built[level][:, row * 16 : row * 16 + 16, col * 16 : col * 16 + 16] = image.stored
        kept.append((level, row, col))

    build(plan, 1, quarter, slowly, keep)
    assert kept == sorted(kept, key=lambda block: _walked(*block, plan.levels)), "the order is that of one thread"
    for made, expected in zip(built[1:], levels[1:], strict=True):
        np.testing.assert_array_equal(made, expected.stored)


def _walked(level: int, row: int, col: int, top: int) -> tuple[tuple[int, int], ...]:
    """Where a block comes in a walk that makes four before the one above them."""
    path = tuple((row >> away, col >> away) for away in range(top - level, -1, -1))
    return *path, *[(2**30, 0)] * (top + 1 - len(path))


def test_what_is_kept_is_held_by_nobody_else() -> None:
    plan = Layout(512, 512, 1, "uint8", 16, 16, None, False, (), "COG", Options())
    quarter = Image(np.zeros((1, 8, 8), np.uint8), None)
    alive = [0, 0]

    class Made:
        def __init__(self) -> None:
            alive[0] += 1
            alive[1] = max(alive)

        def __del__(self) -> None:
            alive[0] -= 1

    gc.collect()
    gc.disable()
    try:
        build(plan, 1, lambda row, col: quarter, lambda *_: Made(), lambda made: None)
    finally:
        gc.enable()
    assert alive[0] <= 1
    assert alive[1] < 200, "of 341"
