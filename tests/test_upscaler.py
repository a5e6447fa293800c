from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosr.radiometry import IMAGE, Head, Passes, Pixels, Radiometry
from geosr.tiling import TilePlan
from geosr.upscaler import Upscaler


@dataclass(frozen=True)
class Box:
    """A network with a known answer: the integer sum over a square, repeated. Sums are exact, so order can't matter."""

    scale: int = 2
    halo: int = 3
    multiple: int = 1
    group: int = 2
    heads: tuple[Head, ...] = (IMAGE,)

    def groups(self, bands: Sequence[int]) -> list[tuple[int, ...]]:
        return [tuple(bands[start : start + self.group]) for start in range(0, len(bands), self.group)]

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        size = 2 * self.halo + 1
        padded = np.pad(block, ((0, 0), (self.halo, self.halo), (self.halo, self.halo)), constant_values=np.nan)
        views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        summed = views.sum(axis=(-1, -2)) / 49 + np.array(bands)[:, None, None]
        return summed.repeat(self.scale, 1).repeat(self.scale, 2)


def scene(seed: int, height: int, width: int, gaps: float) -> Pixels:
    rng = np.random.default_rng(seed)
    stored = rng.integers(1, 200, (3, height, width)).astype(np.uint16)
    stored[rng.random(stored.shape) < gaps] = 0
    return Pixels(stored)


def upscale(pixels: Pixels, upscaler: Upscaler, core: int) -> NDArray[np.generic]:
    bands, height, width = pixels.stored.shape
    net = upscaler.network
    plan = TilePlan(height, width, core, net.scale, net.halo, 3 * net.halo, net.multiple)
    out = np.zeros((bands, height * net.scale, width * net.scale), upscaler.radiometry.out_dtype)
    for tile in plan:
        out[:, *tile.write.slices] = upscaler(Pixels(pixels.stored[:, *tile.read.slices]), tile)[0].stored
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), st.integers(1, 45), st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 0.9]),
)  # fmt: skip
def test_the_result_does_not_depend_on_the_tiling(
    seed: int, height: int, width: int, core: int, multiple: int, gaps: float
) -> None:
    upscaler = Upscaler(Box(multiple=multiple), Radiometry("uint16", "uint16", ((0.0,),) * 3), (False, False, True))
    pixels = scene(seed, height, width, gaps)
    assert np.array_equal(upscale(pixels, upscaler, core), upscale(pixels, upscaler, 50))


@pytest.mark.parametrize("core", [5, 16, 50])
def test_what_stands_in_invalid_pixels_has_no_influence_and_stays(core: int) -> None:
    pixels = scene(1, 40, 30, 0.4)
    stored = pixels.stored.astype(np.float32)
    as_nan = np.where(stored == 0, np.float32(np.nan), stored)
    as_number = np.where(stored == 0, np.float32(-32768), stored)
    with_nan = upscale(Pixels(as_nan), Upscaler(Box(), Radiometry("float32", "float32", ((),) * 3), (False,) * 3), core)
    number = Radiometry("float32", "float32", ((-32768.0,),) * 3)
    with_number = upscale(Pixels(as_number), Upscaler(Box(), number, (False,) * 3), core)
    gaps = (pixels.stored == 0).repeat(2, 1).repeat(2, 2)
    assert np.isnan(with_nan[gaps]).all()
    assert (with_number[gaps] == -32768).all()
    assert np.array_equal(with_nan[~gaps], with_number[~gaps])
    assert np.isfinite(with_nan[~gaps]).all()


def test_classes_are_repeated_and_bands_know_their_number() -> None:
    upscaler = Upscaler(Box(halo=0, group=2), Radiometry("uint16", "uint16", ((),) * 3), (False, True, False))
    pixels = scene(2, 6, 7, 0)
    out = upscale(pixels, upscaler, 4)
    repeated = pixels.stored.repeat(2, 1).repeat(2, 2)
    assert np.array_equal(out[1], repeated[1])
    assert np.array_equal(out[2], np.rint(repeated[2] / 49 + 2))


def test_a_tile_without_valid_pixels_never_reaches_the_network() -> None:
    @dataclass(frozen=True)
    class Refuses(Box):
        def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
            raise AssertionError("called")

    pixels = Pixels(np.zeros((3, 8, 8), np.uint16))
    out = upscale(pixels, Upscaler(Refuses(), Radiometry("uint16", "uint16", ((0.0,),) * 3), (False,) * 3), 4)
    assert not out.any()


def test_mask_and_area_of_interest_are_repeated_exactly() -> None:
    rng = np.random.default_rng(3)
    mask, wanted = rng.random((2, 10, 10)) < 0.5
    tile = TilePlan(10, 10, 10, 2, 3, 9)[0]
    upscaler = Upscaler(Box(), Radiometry("uint16", "uint16", ((),)), (False,))
    (result,) = upscaler(Pixels(scene(4, 10, 10, 0).stored[:1], mask, wanted), tile)
    assert result.mask is not None
    assert result.wanted is not None
    assert np.array_equal(result.mask, mask.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(result.wanted, wanted.repeat(2, 0).repeat(2, 1))


@dataclass(frozen=True)
class Sure(Box):
    """Beside the image a spread: how far a square's sum lies from 100, which may be below 0."""

    heads: tuple[Head, ...] = (IMAGE, Head("sigma", Passes.SPREAD))

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        image = super().__call__(block, bands)
        return np.concatenate([image, image - 100])


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_a_spread_lies_beside_the_image_in_stored_numbers_and_is_never_negative(dtype: str) -> None:
    stored = scene(5, 30, 30, 0.2).stored.astype(dtype)
    upscaler = Upscaler(Sure(), Radiometry(dtype, dtype, ((0.0,),) * 3), (False, True, False))
    tile = TilePlan(30, 30, 30, 2, 3, 9)[0]
    image, sigma = upscaler(Pixels(stored), tile)
    (alone,) = Upscaler(Box(), upscaler.radiometry, upscaler.categorical)(Pixels(stored), tile)
    assert np.array_equal(image.stored, alone.stored)
    gaps = (stored == 0).repeat(2, 1).repeat(2, 2)
    assert sigma.stored.dtype == np.float32
    assert np.array_equal(np.isnan(sigma.stored), gaps)
    assert not sigma.stored[1][~gaps[1]].any()
    for band in (0, 2):
        known = sigma.stored[band][~gaps[band]]
        assert known.min() == 0
        exact = np.maximum(alone.stored[band][~gaps[band]].astype(float) - 100, 0)
        assert np.abs(known - exact).max() <= (0.5 if dtype == "uint16" else 1e-5)
        assert known.max() > 0


def test_all_of_a_spread_is_nothing_where_all_of_the_image_is() -> None:
    mask = np.zeros((8, 8), bool)
    upscaler = Upscaler(Sure(), Radiometry("uint16", "uint16", ((),) * 3), (False,) * 3)
    image, sigma = upscaler(Pixels(scene(6, 8, 8, 0).stored, mask), TilePlan(8, 8, 8, 2, 3, 9)[0])
    assert np.isnan(sigma.stored).all()
    assert image.stored.dtype == np.uint16


def test_a_network_that_gives_less_than_its_heads_is_no_result() -> None:
    @dataclass(frozen=True)
    class Short(Box):
        heads: tuple[Head, ...] = Sure.heads

    upscaler = Upscaler(Short(), Radiometry("uint16", "uint16", ((),) * 3), (False,) * 3)
    with pytest.raises(ValueError, match="shorter"):
        upscaler(scene(7, 8, 8, 0), TilePlan(8, 8, 8, 2, 3, 9)[0])
