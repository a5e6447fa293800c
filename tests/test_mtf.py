"""The blur of a scene, told from its pixels."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geosr
from geosr.cli import cli
from geosr.errors import InputError
from geosr.models.degradation import observe
from geosr.mtf import estimate_mtf, nearest
from geosr.response import Interpolation, Response
from geosr.sensors import UNKNOWN
from tests import scenes

Floats = NDArray[np.float32]


@lru_cache
def town(seed: int, side: int = 800) -> Floats:
    """Fields, streets and houses with sharp borders on a rough ground, four times as fine as a sensor sees them."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    ground = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / np.maximum(radius, 1 / side) ** 1.4)
    values = 100 * ground / ground.std() + 2000
    for size in (160, 60, 20):
        for _ in range(40_000 // size):
            row, col = rng.integers(0, side, 2)
            height, width = rng.integers(size // 3, size, 2)
            values[row : row + height, col : col + width] += 100 * rng.standard_normal()
    return values.astype(np.float32)


@lru_cache
def through(response: Response, seed: int = 0) -> NDArray[np.float64]:
    return observe(town(seed)[None], response, 4)[0].astype(np.float64)


def seen(mtf: float, seed: int = 0) -> NDArray[np.float64]:
    return through(Response.gaussian(mtf), seed)


@pytest.mark.parametrize("mtf", [0.10, 0.20, 0.30])
def test_the_blur_that_a_scene_was_given_is_found(mtf: float) -> None:
    found = estimate_mtf([seen(mtf, 0), seen(mtf, 1)])
    assert found.response is not None, found.why
    assert found.response.told == pytest.approx((mtf,) * 4, abs=0.08)
    assert 0 < found.error <= 0.1


def test_interpolation_that_leaves_more_at_half_nyquist_is_told_from_a_gaussian() -> None:
    """All have about the same MTF at Nyquist."""
    family = (Response.gaussian(0.15), Response((0.15, 0.15), True, "cubic"), Response((0.15, 0.15), True, "spline"))
    found = [estimate_mtf([through(each, 0), through(each, 1)]).response for each in family]
    shape = [each.told[1] / each.told[3] for each in found if each is not None]
    assert shape == sorted(shape)
    assert shape[0] < 1.3 < 1.5 < shape[2]


@pytest.mark.parametrize("kind", ["none", "linear", "cubic", "spline"])
@pytest.mark.parametrize("variance", [0.03, 0.2])
def test_what_is_told_of_a_response_of_the_family_is_that_response(kind: Interpolation, variance: float) -> None:
    response = Response((variance, variance), True, kind)
    assert nearest(np.array(response.told[1::2])) == response
    assert nearest(np.array(Response.gaussian(0.2).told[1::2])).told == pytest.approx((0.2,) * 4, abs=0.005)


@pytest.mark.parametrize("mtf", [0.10, 0.40])
def test_nothing_is_told_of_a_blur_that_noise_hides(mtf: float) -> None:
    noise = 20 * np.random.default_rng(0).standard_normal((200, 200))
    found = estimate_mtf([seen(mtf, 0) + noise, seen(mtf, 1) + noise])
    assert found.mtf is None
    assert "too uncertain" in found.why


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e4, 1e4))
@settings(max_examples=5, deadline=None)
def test_gain_and_offset_do_not_matter(gain: float, offset: float) -> None:
    scene = seen(0.2)
    found = estimate_mtf([gain * scene + offset * gain])
    assert found.mtf == pytest.approx(estimate_mtf([scene]).mtf, abs=1e-6)


def test_what_is_no_data_does_not_matter() -> None:
    holed = seen(0.2).copy()
    holed[40:60, 30:120] = np.nan
    kept = np.where(np.isnan(holed), 0.0, holed)
    assert estimate_mtf([holed]).mtf == pytest.approx(estimate_mtf([seen(0.2)]).mtf, abs=0.03)
    assert estimate_mtf([holed, np.full((64, 64), np.nan)]).mtf == estimate_mtf([holed]).mtf
    assert estimate_mtf([kept[:, :200]]).mtf != estimate_mtf([holed]).mtf  # a fill value that nobody told of is seen


@pytest.mark.parametrize(
    "patches",
    [
        [],
        [np.zeros((300, 300))],
        [np.full((300, 300), np.nan)],
        [np.random.default_rng(0).standard_normal((60, 60))],
        [np.ones((1, 5000))],
    ],
)
def test_where_there_is_too_little_to_see_it_says_so(patches: list[NDArray[np.float64]]) -> None:
    found = estimate_mtf(patches)
    assert found.mtf is None
    assert "too few blocks" in found.why


def test_noise_alone_and_detail_drowned_in_noise_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    assert estimate_mtf([rng.standard_normal((300, 300))]).mtf is None
    scene = seen(0.2)
    assert estimate_mtf([scene + 3 * scene.std() * rng.standard_normal(scene.shape)]).mtf is None


def test_smooth_ground_tells_nothing() -> None:
    rows, cols = np.mgrid[0:300, 0:300] / 300
    assert estimate_mtf([np.sin(5 * rows) * np.cos(7 * cols) + rows]).mtf is None


def test_real_imagery_made_into_a_product_of_known_response(shared_data: Path) -> None:
    """A place that the fit has not seen."""
    with rasterio.open(shared_data / "sentinel2" / "arosics" / "ref_S2A_20160608T153121_T33UUU_sub.jp2") as source:
        native = source.read(1, window=((0, 1024), (0, 1024))).astype(np.float32)
    own = [float(np.sqrt(np.prod(Response((0.122, 0.052), True, "spline").at(f)))) for f in (0.125, 0.25)]
    cubic = Response((0.15, 0.15), True, "cubic").relative(2)
    for response in (Response.gaussian(0.15), Response.gaussian(0.3), cubic):
        found = estimate_mtf([observe(native[None], response, 2)[0]])
        assert found.response is not None, found.why
        half, full = response.told[1::2]
        assert found.response.told[1::2] == pytest.approx((half * own[0] ** 4, full * own[1]), abs=0.1)


def test_the_command_line_and_the_file_agree_with_the_pixels(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, "scene.tif", shape=(1, 200, 200))
    with rasterio.open(path, "r+") as file:
        stored = np.round(seen(0.2)).astype(file.dtypes[0])
        file.write(stored, 1)
    response = estimate_mtf([stored]).response
    assert response is not None
    expected = response.mtf
    told = json.loads(CliRunner().invoke(cli, ["info", str(path), "--mtf", "--json"]).stdout)["mtf_at_nyquist"]
    assert told[0]["scene"] == pytest.approx(expected, abs=5e-4)
    assert told[0]["assumed"] == pytest.approx(UNKNOWN.mtf, abs=1e-3)
    assert f"{expected:.2f} from" in CliRunner().invoke(cli, ["info", str(path), "--mtf"]).stdout
    out = geosr.upscale(path, tmp_path / "out.tif", scale=2, mtf="scene")
    with rasterio.open(out["path"]) as file:
        assert float(file.tags()["GEOSR_MTF"]) == pytest.approx(expected, abs=1e-4)
        assert float(file.tags()["GEOSR_MTF_RELATIVE"]) == pytest.approx(response.relative(2).mtf, abs=1e-4)
    assert any("scene: spectrum, within" in line for line in out["notes"])


def test_where_the_scene_cannot_tell_what_would_be_assumed_is_and_is_said(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, "small.tif", shape=(1, 40, 40))
    out = geosr.upscale(path, tmp_path / "out.tif", scale=2, mtf="scene")
    with rasterio.open(out["path"]) as file:
        assert float(file.tags()["GEOSR_MTF"]) == pytest.approx(UNKNOWN.mtf, abs=1e-4)
    assert any("the scene can't tell: too few blocks" in line for line in out["notes"])
    with pytest.raises(InputError, match="expected 'scene'"):
        geosr.upscale(path, tmp_path / "other.tif", scale=2, mtf="edges")


def test_an_array_is_planned_before_its_pixels_are_known() -> None:
    xr = pytest.importorskip("xarray", reason="xarray is not installed")
    import geosr.xarray  # noqa: F401  the accessor

    with pytest.raises(InputError, match="planned before a pixel"):
        xr.DataArray(np.zeros((1, 64, 64), np.float32), dims=("band", "y", "x")).geosr.upscale("fast", mtf="scene")
