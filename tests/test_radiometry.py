import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosr.errors import GeosrError, InputError
from geosr.radiometry import DTYPES, Pixels, Radiometry, fill


def radiometry(dtype: str, nodata: float | None = None, out: str | None = None) -> Radiometry:
    return Radiometry(dtype, out or dtype, (() if nodata is None else (nodata,),))


def encoded(values: list[float], dtype: str, nodata: float | None = None) -> NDArray[np.generic]:
    out = np.zeros((1, len(values)), dtype)
    working = radiometry(dtype).working
    radiometry(dtype, nodata).encode(np.array([values], working), out, 0)
    return out[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_stored_number_survives_the_way_there_and_back(dtype: str) -> None:
    if np.dtype(dtype).kind == "f":
        numbers = np.array([0, -1.5, 1e-30, 3e30, np.finfo(dtype).max], dtype)
    else:
        info = np.iinfo(dtype)
        numbers = np.linspace(float(info.min), float(info.max), 999).clip(info.min, info.max).astype(dtype)
        numbers = np.append(numbers, np.array([info.min, info.max], dtype))
    kind = radiometry(dtype)
    out = np.zeros((1, numbers.size), dtype)
    kind.encode(numbers.astype(kind.working)[None], out, 0)
    assert np.array_equal(out[0], numbers)


def test_values_round_half_to_even_and_clip_to_the_type() -> None:
    assert encoded([0.5, 1.5, 2.5, -7, 254.6, 300], "uint8").tolist() == [0, 2, 2, 0, 255, 255]


@given(st.integers(0, 255), st.lists(st.floats(-50, 300), min_size=1, max_size=80))
def test_no_valid_pixel_becomes_nodata_and_none_moves_by_more_than_one(nodata: int, values: list[float]) -> None:
    plain, kept = encoded(values, "uint8"), encoded(values, "uint8", nodata)
    assert not (kept == nodata).any()
    assert np.abs(plain.astype(int) - kept.astype(int)).max() <= 1


def test_a_float_value_that_equals_nodata_moves_to_the_next_number() -> None:
    out = encoded([-9999.0, 0.0], "float32", -9999.0)
    assert out[0] != -9999.0
    assert out[0] == pytest.approx(-9999.0, rel=1e-6)


def test_nan_from_a_model_is_an_error_not_a_pixel() -> None:
    with pytest.raises(GeosrError, match="NaN"):
        encoded([1.0, float("nan")], "uint16")


def test_validity_joins_nodata_nan_and_mask() -> None:
    stored = np.array([[[1.0, np.nan, -9999.0, np.inf, 5.0]]], np.float32)
    mask = np.array([[True, True, True, True, False]])
    valid = radiometry("float32", -9999.0).valid(Pixels(stored, mask))
    assert valid is not None
    assert valid.tolist() == [[[True, False, False, False, False]]]


@pytest.mark.parametrize("fill", [-3.4028235e38, 1e37])
def test_a_fill_that_is_not_declared_is_named(fill: float) -> None:
    stored = np.full((1, 3, 3), 7e18, np.float32)  # ozone, in molecules a square centimetre
    assert Radiometry("float32", "float32", ((),)).valid(Pixels(stored)) is None
    stored[0, 1, 1] = fill
    with pytest.raises(InputError, match=f"--nodata={stored[0, 1, 1]!s}".replace("+", r"\+")):
        Radiometry("float32", "float32", ((),)).valid(Pixels(stored))
    valid = Radiometry("float32", "float32", ((float(stored[0, 1, 1]),),)).valid(Pixels(stored))
    assert valid is not None
    assert valid.sum() == 8


def test_nodata_that_the_type_cannot_hold_marks_nothing() -> None:
    assert radiometry("uint8", -9999.0).valid(Pixels(np.zeros((1, 2, 2), np.uint8))) is None


def test_float32_nodata_written_with_float64_digits_is_found() -> None:
    stored = np.full((1, 1, 2), np.finfo(np.float32).min, np.float32)
    stored[0, 0, 1] = 1
    valid = radiometry("float32", -3.4028234663852886e38).valid(Pixels(stored))
    assert valid is not None
    assert valid.tolist() == [[[False, True]]]


@pytest.mark.parametrize("dtype", ["complex64", "int64", "uint64", "bool"])
def test_types_that_cannot_be_carried_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=dtype):
        radiometry(dtype)


def test_a_result_type_that_cannot_hold_the_input_is_refused_with_the_ones_that_can() -> None:
    with pytest.raises(InputError, match="uint16, uint32, int32, float32, float64"):
        radiometry("uint16", out="uint8")


@given(st.integers(0, 2**32 - 1))
def test_filling_has_the_nearest_valid_value_and_forgets_what_stood_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 9, 11)).astype(np.float32)
    valid = rng.random((2, 9, 11)) < 0.3
    valid[:, 4, 5] = True
    other = np.where(valid, values, np.float32(1e9))
    filled = fill(values, valid)
    assert np.array_equal(filled, fill(other, valid))
    assert np.array_equal(filled[valid], values[valid])
    for band, row, col in zip(*np.nonzero(~valid), strict=True):
        rows, cols = np.nonzero(valid[band])
        distance = (rows - row) ** 2 + (cols - col) ** 2
        nearest = values[band, rows[distance == distance.min()], cols[distance == distance.min()]]
        assert filled[band, row, col] in nearest


def test_filling_does_not_depend_on_where_a_window_was_cut() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(1, 120, 120)).astype(np.float32)
    valid = rng.random((1, 120, 120)) < 0.05
    whole = fill(values, valid)
    for row, col in [(0, 0), (3, 17), (31, 22), (40, 40)]:
        cut = np.s_[:, row : row + 80, col : col + 80]
        inner = np.s_[:, 25:55, 25:55]
        assert np.array_equal(fill(values[cut], valid[cut])[inner], whole[cut][inner])
