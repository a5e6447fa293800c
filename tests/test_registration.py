"""Where a date lies to the reference, how bright it is, and whether it can be used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.registration.register import register
from geosr.registration.values import MARGIN, Doubles, Patch, Registration
from tests.dates import LEVEL, Ground

SHAPE = 96, 96
GROUND = Ground.of(1)
REFERENCE = GROUND.date(SHAPE, seed=1)


def around(shift: tuple[float, float], *, seed: int = 2, turn: float = 0.0, ground: Ground = GROUND) -> Doubles:
    """A frame with its margin."""
    shape = SHAPE[0] + 2 * MARGIN, SHAPE[1] + 2 * MARGIN
    return ground.date(shape, shift, seed=seed, turn=turn, corner=(-MARGIN, -MARGIN))


def found(frame: Doubles, reference: Doubles = REFERENCE) -> Registration:
    return register([Patch(reference[None], frame[None], 0, 0)])


@settings(max_examples=12, deadline=None)
@given(st.floats(-7, 7), st.floats(-7, 7), st.integers(0, 1000))
def test_a_shift_is_found_to_a_fiftieth_of_a_pixel(down: float, right: float, seed: int) -> None:
    at = found(around((down, right), seed=seed))
    assert not at.unfit
    assert (at.down, at.right) == pytest.approx((down, right), abs=0.02)
    assert at.error < 0.02
    assert not at.turned


def test_what_lies_lower_in_the_frame_has_a_shift_down() -> None:
    rows = np.mgrid[:128, :128][0]
    step = np.where(rows > 64, 100.0, 0.0) + GROUND.date((128, 128)) / 50
    lower = np.roll(step, 3, axis=0)
    at = register([Patch(step[None, 16:-16, 16:-16], lower[None], 0, 0)])
    assert at.down == pytest.approx(3, abs=0.05)


def test_gain_and_offset_of_a_date_are_found_band_by_band() -> None:
    other = Ground.of(7)
    reference = np.stack([REFERENCE, other.date(SHAPE, seed=3)])
    frame = np.stack([1.3 * around((0.3, -0.4)) - 250, 0.7 * around((0.3, -0.4), ground=other) + 90])
    at = register([Patch(reference, frame, 0, 0)])
    assert at.gains == pytest.approx((1.3, 0.7), rel=0.02)
    levels = [gain * LEVEL + offset for gain, offset in zip(at.gains, at.offsets, strict=True)]
    assert levels == pytest.approx([1.3 * LEVEL - 250, 0.7 * LEVEL + 90], rel=0.005)


def test_clouds_that_nothing_masks_dont_move_a_date() -> None:
    frame = around((0.4, -0.2))
    rows, cols = np.mgrid[: frame.shape[0], : frame.shape[1]]
    frame += 3000 * np.exp(-((rows - 50) ** 2 + (cols - 70) ** 2) / 2 / 12**2)
    at = found(frame)
    assert (at.down, at.right) == pytest.approx((0.4, -0.2), abs=0.03)
    assert at.gains[0] == pytest.approx(1.0, abs=0.05)


def test_gaps_of_both_dates_are_left_out() -> None:
    frame, reference = around((0.4, -0.2)), REFERENCE.copy()
    frame[:60], reference[:, 70:] = np.nan, np.nan
    at = found(frame, reference)
    assert (at.down, at.right) == pytest.approx((0.4, -0.2), abs=0.04)


def test_fields_that_turned_from_dark_to_bright_dont_move_a_date() -> None:
    frame = around((-0.3, 0.25))
    frame[: frame.shape[0] // 2] = 2 * LEVEL - frame[: frame.shape[0] // 2]
    at = found(frame)
    assert (at.down, at.right) == pytest.approx((-0.3, 0.25), abs=0.03)


def test_a_turn_is_found_and_a_shift_alone_has_none() -> None:
    at = found(around((0.2, 0.1), turn=0.002))
    assert at.turned
    for row, col in ((5, 5), (90, 8), (48, 48), (80, 88)):
        down, right = at.shift_at(row, col)
        seen = row + down - 0.2, col + right - 0.1
        assert (seen[0] - 0.002 * seen[1], seen[1] + 0.002 * seen[0]) == pytest.approx((row, col), abs=0.05)


def test_the_error_that_is_told_is_the_one_that_is_made() -> None:
    made = [found(around((0.3, 0.1), seed=seed)) for seed in range(8)]
    errors = np.array([(at.down - 0.3, at.right - 0.1) for at in made])
    told = np.mean([at.error for at in made])
    assert np.sqrt((errors**2).mean()) < 3 * told


def test_another_place_is_left_out() -> None:
    at = found(around((0, 0), ground=Ground.of(9)))
    assert at.unfit
    assert str(at).startswith("left out: ")


@pytest.mark.parametrize(
    ("frame", "why"),
    [(np.nan, "it has no data where the reference has"), (0.0, "no detail")],
)
def test_a_date_without_data_or_detail_is_left_out(frame: float, why: str) -> None:
    assert why in found(np.full((SHAPE[0] + 2 * MARGIN, SHAPE[1] + 2 * MARGIN), frame)).unfit
