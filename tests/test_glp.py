"""Coarse bands on a finer raster's grid, with its detail."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geosr.models.classical import upsample_into
from geosr.models.filters import mirrored
from geosr.models.glp import Guide, Injected, Injection
from geosr.models.glp_fit import learn
from geosr.models.glp_samples import Piece
from geosr.models.regrid import degraded, interpolated, lines, needed, retraced
from geosr.placement import Placement
from geosr.response import Response
from geosr.window import Window

Doubles = NDArray[np.float64]

PRODUCT = Response((0.12, 0.05), True, "spline")
OTHER = Response((0.07, 0.02), True, "cubic")
HALF = Fraction(1, 2)
STEPS = st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2), Fraction(7, 3), Fraction(3), Fraction(6)])
CORNERS = st.fractions(-3, 3, max_denominator=8)
PLACEMENTS = st.builds(Placement, st.tuples(STEPS, STEPS), st.tuples(CORNERS, CORNERS))
RESPONSES = st.sampled_from([PRODUCT, OTHER, Response.gaussian(0.3)])


def placed(step: Fraction | int, row: Fraction | int = 0, col: Fraction | int = 0) -> Placement:
    return Placement((Fraction(step), Fraction(step)), (Fraction(row), Fraction(col)))


def ground(bands: int, side: int, seed: int = 0) -> Doubles:
    """Smooth and rough ground, (bands, side, side), about 1000."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(bands, side, side))
    images = [100 * gaussian_filter(each, 6) * 12 + 100 * gaussian_filter(each, 0.8) for each in noise]
    return np.array(images) + 1000


def around(image: NDArray[np.floating], window: Window) -> NDArray[np.floating]:
    """A window of (bands, h, w), mirrored where it reaches beyond."""
    rim = max(abs(each) for each in (window.row, window.col, *window.stop))
    rows, cols = (mirrored(side, rim) for side in image.shape[1:])
    inner = window.shift(rim, rim)
    return image[:, rows[inner.row : inner.stop[0]]][:, :, cols[inner.col : inner.stop[1]]]


def seen(fine: Doubles, out: Window, placement: Placement, response: Response) -> Doubles:
    """What a coarse raster shows of (bands, h, w), in `out`."""
    both = lines(placement, response)
    at = needed(out, (both[0].seen, both[1].seen))
    return np.stack([degraded(image, at, out, both) for image in around(fine, at)])


def learnt(
    coarse: Doubles, guide: Doubles, placement: Placement, responses: tuple[Response, ...]
) -> tuple[Injection, tuple[str, ...]]:
    at, block = (Window(0, 0, *image.shape[1:]) for image in (coarse, guide))
    return learn([Piece(coarse, at, guide, block)], placement, responses, [f"B{i}" for i in range(len(coarse))])


def fused(
    injection: Injection,
    coarse: Doubles,
    guide: Doubles,
    core: Window,
    more: int = 0,
    holes: NDArray[np.bool_] | None = None,
) -> NDArray[np.floating]:
    """A core of the result, from windows larger by `more` than they need to be."""
    at, block = injection.coarse(core).grow(more), core.grow(injection.halo + more)
    told = None if holes is None else around(holes[None], block)[0]
    return injection(around(coarse, at), at, around(guide, block), block, core, told)


def settled(placement: Placement, bands: int, guides: int, responses: tuple[Response, ...]) -> Injection:
    """Some injection."""
    random = np.random.default_rng(3)
    gains = [tuple(random.normal(size=guides).tolist()) for _ in range(bands)]
    likeness = tuple(tuple(1.0 if i == j else 0.4 for j in range(guides)) for i in range(guides))
    told = tuple(Guide(1000.0 + i, 0.02) for i in range(guides))
    return Injection(placement, responses, told, tuple(Injected(900.0, each, 0.7) for each in gains), likeness)


def rmse(one: Doubles, other: Doubles) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


@settings(max_examples=25)
@given(PLACEMENTS, RESPONSES, st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 9), st.integers(1, 9))
def test_halo_and_coarse_window_are_enough_for_any_core(
    placement: Placement, response: Response, row: int, col: int, height: int, width: int
) -> None:
    injection = settled(placement, 1, 1, (response,))
    core = Window(row, col, height, width)
    coarse, guide = ground(1, 12), ground(1, 30, 1)
    result = fused(injection, coarse, guide, core)
    assert result.shape == (1, height, width)
    assert np.isfinite(result).all()


@settings(max_examples=15)
@given(PLACEMENTS, RESPONSES, st.integers(0, 20), st.integers(0, 20), st.integers(1, 12), st.integers(0, 5))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pixel_has_the_same_bits_in_any_block(
    dtype: type[np.floating], placement: Placement, response: Response, row: int, col: int, side: int, more: int
) -> None:
    injection = settled(placement, 2, 3, (response, OTHER))
    coarse, guide = ground(2, 16).astype(dtype), ground(3, 33, 1).astype(dtype)
    holes = np.zeros((33, 33), bool)
    holes[10:13, 20:22] = True
    whole = Window(0, 0, 33, 33)
    core = Window(row, col, side, side + 1)
    at_once = fused(injection, coarse, guide, whole, 0, holes)
    part = fused(injection, coarse, guide, core, more, holes)
    assert at_once.dtype == dtype
    np.testing.assert_array_equal(part, at_once[:, row : row + side, col : col + side + 1])


def test_no_holes_are_the_same_as_none_told() -> None:
    injection = settled(placed(2, HALF, HALF), 1, 2, (PRODUCT,))
    coarse, guide, core = ground(1, 20), ground(2, 40, 1), Window(3, 5, 20, 22)
    without = fused(injection, coarse, guide, core)
    np.testing.assert_array_equal(fused(injection, coarse, guide, core, 0, np.zeros((40, 40), bool)), without)


@settings(max_examples=10)
@given(PLACEMENTS, st.floats(0.01, 40.0), st.floats(-5000.0, 5000.0))
def test_gain_and_offset_pass_through_and_those_of_the_guide_have_no_influence(
    placement: Placement, gain: float, offset: float
) -> None:
    guide = ground(2, 90)
    out = placement.cover(Window(6, 6, 78, 78))
    coarse = seen(guide[:1] * 0.7 + guide[1:] * 0.4, out, placement, PRODUCT)
    core = Window(30, 30, 12, 12)

    def result(a: float, b: float, of_guide: float, more: float) -> Doubles:
        piece = Piece(coarse * a + b, out, guide * of_guide + more, Window(0, 0, 90, 90))
        injection, _ = learn([piece], placement, (PRODUCT,), ("B1",))
        at, block = injection.coarse(core), core.grow(injection.halo)
        values = around(piece.coarse, at.shift(-out.row, -out.col))
        return injection(values, at, around(piece.guide, block), block, core)

    plain = result(1.0, 0.0, 1.0, 0.0)
    np.testing.assert_allclose(result(gain, offset, 1.0, 0.0), gain * plain + offset, rtol=1e-7, atol=1e-4 * gain)
    np.testing.assert_allclose(result(1.0, 0.0, gain, offset), plain, rtol=1e-7)


def test_a_constant_stays_the_same_number_whatever_the_guide_shows() -> None:
    coarse, guide = np.full((1, 30, 30), 1234.56, np.float32), ground(2, 60).astype(np.float32)
    injection, _ = learnt(coarse, guide, placed(2), (PRODUCT,))
    np.testing.assert_array_equal(fused(injection, coarse, guide, Window(0, 0, 60, 60)), coarse[0, 0, 0])


@pytest.mark.parametrize(
    ("placement", "near"),
    [
        (placed(2), 0.02),
        (placed(2, HALF, HALF), 0.02),
        (placed(Fraction(3, 2), Fraction(1, 4)), 0.02),
        (placed(6), 0.05),
    ],
    ids=str,
)
def test_a_mixture_of_the_guides_bands_is_recovered(placement: Placement, near: float) -> None:
    guide = ground(3, 180)
    truth = 0.5 * guide[:1] - 0.2 * guide[1:2] + 2.0 * guide[2:] + 300.0
    coarse = seen(truth, Window(0, 0, int(180 / placement.step[0]), int(180 / placement.step[0])), placement, PRODUCT)
    injection, said = learnt(coarse, guide, placement, (PRODUCT,))
    core = Window(60, 60, 50, 50)
    flat = settled(placement, 1, 3, (PRODUCT,))
    smooth = Injection(placement, (PRODUCT,), flat.guides, (Injected(1000.0, (0.0, 0.0, 0.0), 0.0),), flat.likeness)
    wanted = truth[:, 60:110, 60:110]
    error, without = (rmse(fused(each, coarse, guide, core), wanted) for each in (injection, smooth))
    assert error < near * without
    assert said[1] == "the guide explains of the bands' detail: B0 100%"


@pytest.mark.parametrize("power", [1.0, 1e4])
@pytest.mark.parametrize("step", [2, 3, 6])
def test_a_guide_of_noise_does_no_harm(step: int, power: float) -> None:
    side = 40 * step
    truth = ground(2, side)
    coarse = seen(truth, Window(0, 0, 40, 40), placed(step), PRODUCT)
    bicubic = np.empty_like(truth)
    for image, target in zip(coarse, bicubic, strict=True):
        upsample_into(target, image, step)
    noise = np.random.default_rng(5).normal(0.0, power, (4, side, side))
    injection, _ = learnt(coarse, noise, placed(step), (PRODUCT, PRODUCT))
    assert not injection.corrected
    result = fused(injection, coarse, noise, Window(0, 0, side, side))
    for one, other, true in zip(result, bicubic, truth, strict=True):
        assert rmse(one, true) < 1.02 * rmse(other, true)


@pytest.mark.parametrize(
    "placement", [placed(2), placed(2, HALF, HALF), placed(3, Fraction(1, 3)), placed(Fraction(3, 2))], ids=str
)
def test_a_result_degraded_is_much_nearer_to_the_coarse_band_than_a_bicubic_one(placement: Placement) -> None:
    guide = ground(2, 120)
    count = int(120 / placement.step[0])
    coarse = seen(ground(1, 120, 7) + guide[:1], Window(0, 0, count, count), placement, PRODUCT)
    injection, _ = learnt(coarse, guide, placement, (PRODUCT,))
    out = Window(15, 15, 16, 16)
    both = lines(placement, PRODUCT)
    core = needed(out, (both[0].seen, both[1].seen))
    again = degraded(fused(injection, coarse, guide, core)[0], core, out, both)
    interpolation = retraced(coarse[0], Window(0, 0, count, count), out, both)
    lacks, interpolated_lacks = (rmse(each, coarse[0, 15:31, 15:31]) for each in (again, interpolation))
    assert lacks < 0.4 * interpolated_lacks
    assert lacks < 0.04 * coarse.std()
    assert np.mean(again) == pytest.approx(np.mean(coarse[0, 15:31, 15:31]), abs=0.01 * coarse.std())


@pytest.mark.parametrize(("down", "right"), [(0.3, 0.3), (-1.2, 1.2), (0.0, 0.7), (1.2, 0.0), (-0.3, -1.2)])
@pytest.mark.parametrize("step", [2, 3])
def test_a_shift_of_the_guide_is_found_and_corrected(step: int, down: float, right: float) -> None:
    rng = np.random.default_rng(1)
    guide = ground(3, 240)
    truth = guide[:1] * 0.5 + guide[1:2] * 0.8
    there = placed(step, Fraction(down).limit_denominator(), Fraction(right).limit_denominator())
    coarse = seen(truth, Window(0, 0, 240 // step, 240 // step), there, PRODUCT)
    coarse += rng.normal(0.0, 2.0, coarse.shape)
    injection, said = learnt(coarse, guide, placed(step), (PRODUCT,))
    assert injection.shift == pytest.approx((down, right), abs=0.05)
    assert injection.corrected
    assert tuple(map(float, injection.placement.corner)) == pytest.approx((down, right), abs=0.05)
    assert said[0].startswith(f"the guide lies {-injection.shift[0]:+.2f} px down")


@pytest.mark.parametrize("down", [0.0, 0.15])
def test_a_shift_that_products_may_have_is_told_and_left(down: float) -> None:
    guide = ground(2, 160)
    coarse = seen(guide[:1], Window(0, 0, 80, 80), placed(2, Fraction(down).limit_denominator()), PRODUCT)
    injection, said = learnt(coarse, guide, placed(2), (PRODUCT,))
    assert injection.shift == pytest.approx((down, 0.0), abs=0.05)
    assert injection.placement == placed(2)
    assert "left as it is" in said[0]


def test_clouds_that_lie_elsewhere_do_not_move_the_ground() -> None:
    guide = ground(1, 320)
    clouds = np.zeros_like(guide)
    clouds[:, :, 120:] = 40 * ground(1, 320, 4)[:, :, 120:] - 40000
    apart = placed(2, Fraction(3, 2), Fraction(-1))
    coarse = seen(guide, Window(0, 0, 160, 160), placed(2), PRODUCT)
    coarse += seen(clouds, Window(0, 0, 160, 160), apart, PRODUCT)
    injection, said = learnt(coarse, guide + clouds, placed(2), (PRODUCT,))
    assert injection.shift == pytest.approx((1.5, -1.0), abs=0.1)
    assert not injection.corrected
    assert injection.placement == placed(2)
    assert "clouds or waves may have moved" in said[0]


def test_ground_that_is_seen_to_stay_outweighs_all_clouds() -> None:
    guide = ground(1, 320)
    clouds = np.zeros_like(guide)
    clouds[:, 80:] = 40 * ground(1, 320, 4)[:, 80:] - 40000  # three quarters of the scene
    coarse = seen(guide, Window(0, 0, 160, 160), placed(2), PRODUCT)
    coarse += seen(clouds, Window(0, 0, 160, 160), placed(2, Fraction(3, 2), Fraction(-1)), PRODUCT)
    injection, said = learnt(coarse, guide + clouds, placed(2), (PRODUCT,))
    assert not injection.corrected
    assert "parts of the scene lie where the grids say" in said[0]


def test_a_small_scene_whose_bands_disagree_is_left_as_it_is() -> None:
    guide = ground(1, 80)
    out = Window(0, 0, 40, 40)
    bands = [seen(guide, out, placed(2, Fraction(down), 1), PRODUCT) for down in (HALF, Fraction(1), Fraction(3, 2))]
    noise = np.random.default_rng(6).normal(0.0, 3.0, (3, 40, 40))
    alike, _ = learnt(bands[1] + noise, guide, placed(2), (PRODUCT,) * 3)
    apart, said = learnt(np.concatenate(bands) + noise, guide, placed(2), (PRODUCT,) * 3)
    assert alike.corrected
    assert not apart.corrected
    assert said[0].endswith("their grids are believed")


def test_gaps_have_no_influence_on_what_is_learnt() -> None:
    guide = ground(2, 160)
    coarse = seen(guide[:1], Window(0, 0, 80, 80), placed(2), PRODUCT)
    whole, _ = learnt(coarse, guide, placed(2), (PRODUCT,))
    broken, holed = coarse.copy(), guide.copy()
    broken[:, 10:14, 20:30], holed[:, 100:105, 50:60] = np.nan, np.nan
    gappy, said = learnt(broken, holed, placed(2), (PRODUCT,))
    assert gappy.bands[0].trust == pytest.approx(whole.bands[0].trust, abs=1e-3)
    scaled = [
        [gain * guide.scale for gain, guide in zip(each.bands[0].gains, each.guides, strict=True)]
        for each in (whole, gappy)
    ]
    np.testing.assert_allclose(scaled[1], scaled[0], atol=0.01)
    assert "left as it is" in said[0]


def test_a_scene_without_data_gets_no_detail() -> None:
    coarse, guide = np.full((1, 20, 20), np.nan), np.full((2, 40, 40), np.nan)
    injection, said = learnt(coarse, guide, placed(2), (PRODUCT,))
    assert injection.bands[0].gains == (0.0, 0.0)
    assert said[0].startswith("the scene does not show how the guide lies")


def test_no_detail_is_injected_where_the_guide_has_holes() -> None:
    guide = ground(1, 80)
    coarse = seen(guide, Window(0, 0, 40, 40), placed(2), PRODUCT)
    injection, _ = learnt(coarse, guide, placed(2), (PRODUCT,))
    holes = np.zeros((80, 80), bool)
    holes[30:50, 30:50] = True
    spoilt = guide.copy()
    spoilt[:, 30:50, 30:50] += 500 * np.random.default_rng(2).normal(size=(1, 20, 20))
    core = Window(0, 0, 80, 80)
    result = fused(injection, coarse, spoilt, core, 0, holes)
    bicubic = np.empty((80, 80))
    upsample_into(bicubic, coarse[0], 2)
    inner = (slice(36, 44), slice(36, 44))
    assert rmse(result[0][inner], guide[0][inner]) < rmse(bicubic[inner], guide[0][inner])
    far = (slice(0, 80), slice(66, 80))
    assert rmse(result[0][far], guide[0][far]) < 0.1 * rmse(bicubic[far], guide[0][far])


def test_an_even_guide_and_one_given_twice_do_no_harm() -> None:
    guide = ground(1, 80)
    coarse = seen(guide, Window(0, 0, 40, 40), placed(2), PRODUCT)
    core = Window(20, 20, 30, 30)
    results = []
    for more in (guide, np.concatenate([guide, np.full_like(guide, 7.0)]), np.concatenate([guide, guide])):
        injection, _ = learnt(coarse, more, placed(2), (PRODUCT,))
        results.append(fused(injection, coarse, more, core))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1.0)


def test_an_injection_travels_and_compares() -> None:
    guide = ground(2, 80)
    coarse = seen(guide[:1], Window(0, 0, 40, 40), placed(2), PRODUCT)
    injection, _ = learnt(coarse, guide, placed(2), (PRODUCT,))
    sent = pickle.dumps(injection)
    assert len(sent) < 2000
    assert pickle.loads(sent) == injection
    assert hash(pickle.loads(sent)) == hash(injection)


@settings(max_examples=20)
@given(PLACEMENTS, RESPONSES)
def test_a_round_trip_is_interpolation_and_degradation(placement: Placement, response: Response) -> None:
    both = lines(placement, response)
    coarse = np.random.default_rng(0).normal(size=(60, 60))
    at, out = Window(-30, -30, 60, 60), Window(-4, -5, 9, 8)
    fine = needed(out, (both[0].seen, both[1].seen))
    again = degraded(interpolated(coarse, at, fine, both), fine, out, both)
    np.testing.assert_allclose(retraced(coarse, at, out, both), again, atol=1e-9)


@given(st.integers(-9, 9), RESPONSES)
def test_a_raster_on_the_guides_own_grid_is_seen_and_interpolated_as_it_is(index: int, response: Response) -> None:
    line = lines(placed(1), response)[0]
    for places in (line.seen, line.cubic, line.linear):
        first, weights = places.at(index)
        np.testing.assert_allclose(
            weights, [float(pixel == index) for pixel in range(first, first + len(weights))], atol=1e-9
        )


@pytest.mark.parametrize("scale", [2, 3, 6])
def test_interpolation_at_a_whole_scale_is_bicubic(scale: int) -> None:
    coarse = ground(1, 20)[0]
    both = lines(placed(scale), PRODUCT)
    wanted = np.empty((20 * scale, 20 * scale))
    upsample_into(wanted, coarse, scale)
    out = Window(4 * scale, 4 * scale, 8 * scale, 8 * scale)
    found = interpolated(coarse, Window(0, 0, 20, 20), out, both)
    np.testing.assert_allclose(found, wanted[out.slices], rtol=1e-10)
