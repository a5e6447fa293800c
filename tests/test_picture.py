from __future__ import annotations

import numpy as np
import pytest
from rasterio.io import MemoryFile

from geosr.picture import Stretch, png, rgba
from geosr.radiometry import Pixels, Radiometry
from tests.scenes import quiet


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (64, 33, 4)])
def test_a_png_gives_a_reader_the_same_picture_back(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with quiet(), MemoryFile(png(picture)) as file, file.open() as dataset:
        np.testing.assert_array_equal(dataset.read().transpose(1, 2, 0), picture)


def test_a_stretch_shows_its_ends_black_and_white_and_clips_beyond() -> None:
    stored = np.array([[[0, 100, 150, 200, 65535]]], np.uint16)
    assert Stretch((100.0,), (200.0,)).shades(stored).tolist() == [[[0, 0, 128, 255, 255]]]


def test_a_stretch_of_a_scene_leaves_a_fiftieth_at_either_end_and_does_not_count_gaps() -> None:
    stored = np.concatenate([np.zeros(5000), np.arange(1000, 2000)]).astype(np.uint16).reshape(1, 60, 100)
    stretch = Stretch.of([Pixels(stored)], Radiometry("uint16", "uint16", ((0,),)))
    assert stretch.low == pytest.approx((1019.98,))
    assert stretch.high == pytest.approx((1979.02,))


def test_a_stretch_does_not_dim_the_ground_for_a_few_clouds() -> None:
    stored = np.concatenate([np.arange(1000, 2000), np.full(100, 9000)]).astype(np.uint16).reshape(1, 11, 100)
    stretch = Stretch.of([Pixels(stored)], Radiometry("uint16", "uint16", ((),)))
    assert stretch.high == pytest.approx((1824.25 + 3 * 549.5,))


def test_a_stretch_of_what_is_all_alike_or_no_data_can_still_be_shown() -> None:
    radiometry = Radiometry("uint8", "uint8", ((0,), (0,)))
    stretch = Stretch.of([Pixels(np.array([[[7, 7]], [[0, 0]]], np.uint8))], radiometry)
    assert stretch == Stretch((7.0, 0.0), (8.0, 1.0))


def test_a_picture_is_clear_where_there_is_no_data_in_any_of_its_bands() -> None:
    stored = np.array([[[5, 0]], [[5, 5]], [[5, 5]]], np.uint8)
    radiometry = Radiometry("uint8", "uint8", ((0,),) * 3)
    picture = rgba(Pixels(stored), radiometry, Stretch((0.0,) * 3, (10.0,) * 3))
    assert picture.tolist() == [[[128, 128, 128, 255], [0, 128, 128, 0]]]
    grey = rgba(Pixels(stored[:1], np.array([[False, True]])), radiometry.bands((0,)), Stretch((0.0,), (10.0,)))
    assert grey.tolist() == [[[128, 128, 128, 0], [0, 0, 0, 0]]]


def test_not_a_number_is_shown_as_nothing() -> None:
    stored = np.array([[[np.nan, 1.0]]], np.float32)
    picture = rgba(Pixels(stored), Radiometry("float32", "float32", ((),)), Stretch((0.0,), (1.0,)))
    assert picture.tolist() == [[[0, 0, 0, 0], [255, 255, 255, 255]]]
