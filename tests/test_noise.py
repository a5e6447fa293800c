from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from geosr.blocks import blocks_of
from geosr.noise import Noise, _least, _none_below_0, default_noise, fit_noise, noise_of, published_noise
from geosr.sensor_table import LANDSAT_8, SENSORS, SENTINEL_2, Origin
from tests.products import INTERPOLATIONS, Product, product

Floats = NDArray[np.float64]


def test_gaps_constants_and_clipped_pixels_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    clean = 100 + 4 * rng.standard_normal((256, 256))
    holed = clean.copy()
    holed[40:90, 30:200] = np.nan
    clipped = np.full((256, 256), 255.0)
    clipped[:, :100] = 100 + 4 * rng.standard_normal((256, 100))
    found = fit_noise([holed, clipped, np.full((256, 256), 17.0), np.full((64, 64), np.nan)])
    assert found is not None
    assert found.sigma(100.0) == pytest.approx(4, rel=0.15)


def test_rounding_counts_as_the_noise_that_it_is() -> None:
    rng = np.random.default_rng(3)
    found = fit_noise([np.round(100 + 2 * rng.standard_normal((512, 512)))])
    assert found is not None
    assert found.sigma(100.0) == pytest.approx(np.sqrt(2**2 + 1 / 12), rel=0.1)


def test_noise_is_no_less_than_it_is_told_to_be_and_moves_with_gain_and_offset() -> None:
    noise = Noise(4.0, 0.01).at_least(3.0)
    assert [noise.sigma(level) for level in (0.0, 1200.0)] == [3.0, 4.0]
    assert noise.variance(np.array([0.0, 1200.0])).tolist() == [9.0, 16.0]
    assert (str(noise), str(Noise(4.0, 0.0))) == ("sqrt(4+0.01x), at least 3", "2")
    moved = noise.moved(0.5, -100.0)
    assert [moved.sigma(0.5 * level - 100.0) for level in (0.0, 1200.0)] == pytest.approx([1.5, 2.0])


@lru_cache
def ground(kind: str, seed: int, side: int = 800) -> Floats:
    """Sharp ground: fields with edges and roughness of their own, some of it smooth; water; or rough everywhere."""
    rng = np.random.default_rng(seed)

    def smooth(width: float) -> Floats:
        field = ndimage.gaussian_filter(rng.standard_normal((side, side)), width)
        return np.asarray(field / field.std())

    if kind == "flat":
        return 900 + 60 * smooth(120) + 400 * (smooth(100) > 0.8)
    fields = 1200 + 250 * np.digitize(smooth(25), [-1.0, -0.4, 0.0, 0.4, 1.0])
    rough = 0.05 * fields * (smooth(1.5) + smooth(5))
    if kind == "rough":
        return fields + 2 * rough
    fields = fields + np.where(smooth(60) > 0, rough, 0)
    return np.where(smooth(80) > 0.5, 600.0, fields) if kind == "water" else fields


@lru_cache
def seen(kind: str, interpolation: str, snr: float, seed: int = 1) -> Product:
    """A band of that ground; a third of the variance at its mean is there without light."""
    fine = ground(kind, seed)
    mean = float(fine.mean())
    variance = (mean / snr) ** 2
    return product(
        fine, constant=variance / 3, slope=variance / 1.5 / mean, interpolation=interpolation, seed=seed + int(snr)
    )


def ratios(found: Noise, band: Product) -> Floats:
    """What was found over what there is, for dark, middle and bright pixels."""
    return np.array([found.sigma(float(x)) / band.sigma(float(x)) for x in np.quantile(band.clean, [0.1, 0.5, 0.9])])


_LOWEST = {"bilinear": 0.65}
"""Bilinear interpolation leaves half the noise where grids are half a pixel apart; quiet blocks are found first."""


@pytest.mark.parametrize("snr", [30, 100, 300])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("kind", ["flat", "water"])
def test_noise_that_grows_with_light_is_found_however_the_product_was_interpolated(
    kind: str, interpolation: str, snr: int
) -> None:
    band = seen(kind, interpolation, snr)
    found = fit_noise([band.pixels])
    assert found is not None
    assert _LOWEST.get(interpolation, 0.8) < ratios(found, band).min()
    assert ratios(found, band).max() < 1.2


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_smooth_fields_between_rough_ones_tell_the_noise(interpolation: str) -> None:
    band = seen("fields", interpolation, 100)
    found = fit_noise([band.pixels])
    assert found is not None
    assert _LOWEST.get(interpolation, 0.8) < ratios(found, band).min()
    assert ratios(found, band).max() < 1.2


@pytest.mark.parametrize("snr", [30, 300])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_where_all_is_rough_no_noise_is_found_or_no_more_than_there_is(interpolation: str, snr: int) -> None:
    band = seen("rough", interpolation, snr)
    found = fit_noise([band.pixels])
    assert found is None or ratios(found, band).max() < 1.2


@pytest.mark.parametrize(("gain", "offset"), [(1e-4, 0.0), (1e-4, -0.1), (3.0, 1000.0)])
def test_what_is_found_goes_with_gain_and_offset(gain: float, offset: float) -> None:
    pixels = seen("water", "spline", 100).pixels
    found, moved = fit_noise([pixels]), fit_noise([gain * pixels + offset], zero=offset)
    assert found is not None
    assert moved is not None
    levels = np.array([600.0, 1500.0, 2500.0])
    assert moved.sigma(gain * levels + offset) == pytest.approx(gain * found.sigma(levels), rel=0.02)
    assert found.moved(gain, offset).sigma(gain * levels + offset) == pytest.approx(gain * found.sigma(levels))


def test_gaps_and_clipped_pixels_hardly_change_what_is_found() -> None:
    band = seen("water", "cubic", 100)
    holed = band.pixels.copy()
    holed[40:90, 30:200] = np.nan
    holed[:, 220:] = holed[np.isfinite(holed)].max()
    found = fit_noise([holed, np.full((64, 64), np.nan)])
    assert found is not None
    assert ratios(found, band) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "patches", [[], [np.zeros((300, 300))], [np.full((50, 50), np.nan)], [np.ones((1, 5000))], [np.eye(30)]]
)
def test_where_there_is_nothing_to_tell_noise_from_there_is_no_answer(patches: list[Floats]) -> None:
    assert fit_noise(patches) is None


def test_one_level_leaves_the_slope_to_photons() -> None:
    band = product(np.full((500, 500), 1000.0), constant=100.0, seed=4)
    found = fit_noise([band.pixels])
    assert found is not None
    assert found.sigma(1000.0) == pytest.approx(10, rel=0.1)
    assert 1.1 < found.sigma(2000.0) / found.sigma(1000.0) < np.sqrt(2)


def test_the_deviation_is_never_below_zero() -> None:
    assert Noise(-400.0, 0.5).sigma(100.0) == 0.0
    assert Noise(-400.0, 0.5).sigma(np.array([100.0, 1000.0])).tolist() == [0.0, 10.0]


def test_published_noise_has_the_published_ratio_at_the_reference_radiance() -> None:
    blue = SENTINEL_2.band("blue")
    assert blue is not None
    light = np.pi * 128 / 1959.66 * 10_000
    found, offset = published_noise(blue, scale=1e-4), published_noise(blue, scale=1e-4, zero=1000)
    assert found is not None
    assert offset is not None
    assert light / found.sigma(light) == pytest.approx(154)
    assert offset.sigma(light + 1000) == pytest.approx(found.sigma(light))
    assert found.sigma(light / 3) < found.sigma(light) / 1.6


def test_every_published_ratio_has_its_reference_and_source() -> None:
    for sensor in SENSORS:
        for band in sensor.bands:
            assert (band.snr is None) == (band.radiance is None) == (band.irradiance is None)
            assert band.snr is None or "2012" in sensor.noise or "SentiWiki" in sensor.noise
    nir = LANDSAT_8.band("nir")
    assert nir is not None
    assert published_noise(nir, scale=2e-5, zero=5000) is not None
    assert published_noise(SENSORS[-1].bands[0], scale=1) is None


def test_the_scene_decides_then_the_published_then_a_default() -> None:
    band, rough = seen("water", "cubic", 100), seen("rough", "cubic", 300)
    published = Noise(0.0, 0.2)
    found, why = noise_of([band.pixels], published=published)
    assert (found, why) == (fit_noise([band.pixels]), "scene")
    assert noise_of([rough.pixels], published=published) == (published, Origin.PUBLISHED)
    level = float(rough.pixels.mean())
    assert noise_of([rough.pixels]) == (default_noise(level), Origin.DEFAULT)
    assert level / default_noise(level).sigma(level) == pytest.approx(150)


def test_what_varies_more_than_the_sensor_can_is_taken_for_detail() -> None:
    band = seen("flat", "none", 30)
    published = Noise(0.0, 0.01)
    assert noise_of([band.pixels], published=published) == (published, Origin.PUBLISHED)


@pytest.mark.parametrize(("band", "low", "high"), [(2, 7.0, 8.0), (3, 5.0, 6.0), (4, 4.5, 5.5)])
def test_open_water_of_sentinel_2_shows_its_noise(shared_data: Path, band: int, low: float, high: float) -> None:
    rasterio = pytest.importorskip("rasterio")
    found = []
    for number in (1, 12, 9):
        with rasterio.open(shared_data / "sentinel2" / "eurosat-ms" / "SeaLake" / f"SeaLake_{number}.tif") as source:
            pixels = source.read(band).astype(np.float64)
        fitted = fit_noise([pixels])
        assert fitted is not None
        found.append(fitted.sigma(float(np.median(pixels))))
    assert low <= float(np.median(found)) <= high


@pytest.mark.parametrize("rank", [1, 2])
def test_coefficients_of_which_none_is_below_0_are_those_that_scipy_finds(rank: int) -> None:
    from scipy.optimize import nnls

    rng, signs = np.random.default_rng(rank), set()
    for _ in range(200):
        rows = np.abs(rng.standard_normal((5, 2))) if rank == 2 else np.outer(rng.random(5) + 0.1, [1.0, -1.0])
        values = rows @ rng.standard_normal(2) + 0.1 * rng.standard_normal(5)
        found, expected = _none_below_0(rows, values), nnls(rows, values)[0]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
        signs.add(tuple(found > 0))
    assert len(signs) >= 3 - (rank == 1)


@pytest.mark.parametrize("side", [8, 24])
def test_blocks_of_a_window_are_those_that_are_found_by_looking_at_each(side: int) -> None:
    rng = np.random.default_rng(8)
    window = np.clip(np.round(100 + 9 * rng.standard_normal((101, 130))), 88, 112)
    window[30:60, 40:70], window[5, 9], window[90, 3], window[:30, 90:] = 100, np.nan, np.inf, 88
    finite = np.where(np.isinf(window), np.nan, window)
    found = list(blocks_of([window, finite, window[:7]], side))
    ends = np.nanmin(window), np.nanmax(window)
    for whole, blocks in zip((window, finite), found, strict=True):
        starts = [(row, col) for row in range(0, 102 - side, side // 2) for col in range(0, 131 - side, side // 2)]
        each = [whole[row : row + side, col : col + side] for row, col in starts]
        wanted = [
            one for one in each if np.isfinite(one).all() and np.ptp(one) > 0 and np.isin(one, ends).mean() <= 0.1
        ]
        assert 0 < len(wanted) < len(each)
        np.testing.assert_array_equal(blocks, wanted)


def test_of_equal_values_the_first_are_least() -> None:
    values = np.random.default_rng(2).integers(0, 9, 200).astype(np.float64)
    for start, stop in ((0, 10), (10, 150), (150, 200)):
        assert _least(values, start, stop).tolist() == np.argsort(values, kind="stable")[start:stop].tolist()
