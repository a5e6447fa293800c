"""Where the pixels of one grid lie on another."""

from __future__ import annotations

import pickle
from fractions import Fraction

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geosr.errors import InputError
from geosr.placement import Placement
from geosr.window import Window

STEPS = st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2), Fraction(5, 2), Fraction(3), Fraction(6)])
CORNERS = st.fractions(-40, 40, max_denominator=12)
PLACEMENTS = st.builds(Placement, st.tuples(STEPS, STEPS), st.tuples(CORNERS, CORNERS))
PLACES, SIDES = st.integers(-300, 300), st.integers(1, 200)
WINDOWS = st.builds(Window, PLACES, PLACES, SIDES, SIDES)
TEN = Affine(10, 0, 499980, 0, -10, 4100040)


@given(PLACEMENTS, WINDOWS)
def test_a_cover_holds_its_window_and_has_no_pixel_too_many(placement: Placement, window: Window) -> None:
    cover = placement.cover(window)
    for axis, (first, stop) in enumerate([(cover.row, cover.stop[0]), (cover.col, cover.stop[1])]):
        step, corner = float(placement.step[axis]), float(placement.corner[axis])
        start, end = (window.row, window.stop[0]) if axis == 0 else (window.col, window.stop[1])
        near = 1e-9
        assert corner + step * first <= start + near < corner + step * (first + 1) + 2 * near
        assert corner + step * (stop - 1) - 2 * near < end - near <= corner + step * stop


@given(PLACEMENTS, WINDOWS)
def test_what_own_pixels_cover_is_covered_by_them(placement: Placement, own: Window) -> None:
    assert placement.cover(placement.covered(own)).clip(own) == own


@given(PLACEMENTS)
def test_transforms_give_the_placement_back(placement: Placement) -> None:
    (down, across), (row, col) = placement.step, placement.corner
    own = TEN @ Affine.translation(float(col), float(row)) @ Affine.scale(float(across), float(down))
    assert Placement.between(own, TEN) == placement


def test_bands_of_one_product_share_their_corner() -> None:
    twenty = Affine(20, 0, 499980, 0, -20, 4100040)
    assert Placement.between(twenty, TEN) == Placement((Fraction(2),) * 2, (Fraction(0),) * 2)


def test_a_pan_grid_half_a_pixel_off_is_exact() -> None:
    coarse, pan = Affine(30, 0, 300000, 0, -30, 5000000), Affine(15, 0, 299992.5, 0, -15, 5000007.5)
    assert Placement.between(coarse, pan).corner == (Fraction(1, 2), Fraction(1, 2))


def test_degrees_written_with_few_digits_are_the_fractions_that_were_meant() -> None:
    coarse, fine = (
        Affine(0.000269494585, 0, 7.0, 0, -0.000269494585, 46.0),
        Affine(8.983152833e-5, 0, 7, 0, -8.983152833e-5, 46),
    )
    assert Placement.between(coarse, fine).step == (Fraction(3),) * 2


def test_grids_turned_alike_have_a_placement() -> None:
    turn = Affine.rotation(30.0)
    assert Placement.between(TEN @ turn @ Affine.scale(2), TEN @ turn).step == (Fraction(2),) * 2


@pytest.mark.parametrize("own", [TEN @ Affine.rotation(1.0) @ Affine.scale(2), TEN @ Affine.scale(2, -2)])
def test_a_turned_or_mirrored_grid_is_refused_in_one_line(own: Affine) -> None:
    with pytest.raises(InputError, match=r"same directions.*warp it first") as caught:
        Placement.between(own, TEN)
    assert "\n" not in str(caught.value)


def test_a_guide_with_larger_pixels_is_refused() -> None:
    with pytest.raises(InputError, match=r"measure 0\.5 x 0\.5 of its own"):
        Placement.between(TEN, TEN @ Affine.scale(2))


@given(PLACEMENTS, CORNERS, CORNERS)
def test_a_moved_placement_lies_there_and_travels(placement: Placement, rows: Fraction, cols: Fraction) -> None:
    moved = placement.moved(rows, cols)
    assert moved.corner == (placement.corner[0] + rows, placement.corner[1] + cols)
    assert pickle.loads(pickle.dumps(moved)) == moved
    assert hash(placement.moved(rows, cols)) == hash(moved)
