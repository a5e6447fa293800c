"""The response of an image: what its family says, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geosr.response import Interpolation, Response, transfer

MTFS = st.floats(0.05, 0.60)
PRODUCTS = [Response((0.12, 0.05), True, kind) for kind in ("none", "linear", "cubic", "spline")]


@given(mtf=MTFS, scale=st.integers(2, 8))
def test_a_gaussian_has_the_mtf_that_it_is_named_after_and_relative_to_finer_pixels_less_of_it(
    mtf: float, scale: int
) -> None:
    response = Response.gaussian(mtf)
    assert response.mtf == pytest.approx(mtf)
    assert response.told == pytest.approx((mtf,) * 4)
    assert response.relative(scale).mtf == pytest.approx(mtf ** (1 - 1 / scale**2))
    assert response.relative(scale).relative(scale) == response.relative(scale)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda each: each.interpolation)
@pytest.mark.parametrize("scale", [2, 4])
def test_relative_to_finer_pixels_is_the_quotient_of_both_responses(product: Response, scale: int) -> None:
    f = np.linspace(0, 0.5, 11)
    for relative, whole, finer in zip(product.relative(scale).at(f), product.at(f), product.at(f / scale), strict=True):
        assert relative == pytest.approx(whole / finer, abs=1e-12)


@pytest.mark.parametrize("product", [*PRODUCTS, Response.gaussian(0.2)], ids=str)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_taps_are_symmetric_sum_to_one_and_have_the_transform(product: Response, scale: int) -> None:
    response = product.relative(scale)
    for taps, wanted in zip(response.taps(scale), response.at([0.1, 0.25, 0.4]), strict=True):
        values = np.array(taps)
        assert np.allclose(values, values[::-1], atol=1e-12)
        assert values.sum() == pytest.approx(1.0)
        assert (len(values) - scale) % 2 == 0
        places = (np.arange(len(values)) - (len(values) - 1) / 2) / scale
        found = np.cos(2 * np.pi * np.array([0.1, 0.25, 0.4])[:, None] * places) @ values
        assert found == pytest.approx(wanted, abs=0.02 if product.interpolation != "none" else 0.05)


@pytest.mark.parametrize(("kind", "order"), [("linear", 1), ("spline", 3)])
def test_what_an_interpolation_leaves_is_the_mean_over_all_positions(kind: Interpolation, order: int) -> None:
    """The oracle is scipy's interpolation of a wave at places that drift over the samples."""
    samples = np.arange(400.0)
    places = np.arange(20, 380, 0.97)
    for frequency in (0.1, 0.25, 0.4):
        wave = np.cos(2 * np.pi * frequency * samples)
        seen = ndimage.map_coordinates(wave, [places], order=order, mode="mirror")
        own = np.cos(2 * np.pi * frequency * places)
        assert float((seen * own).sum() / (own * own).sum()) == pytest.approx(
            float(transfer(kind, np.array(frequency))), abs=0.01
        )


def test_axes_are_told_apart_and_turned() -> None:
    product = PRODUCTS[3].relative(2)
    half_y, half_x, full_y, full_x = product.told
    assert half_y < half_x
    assert full_y < full_x
    assert product.turned.told == (half_x, half_y, full_x, full_y)
