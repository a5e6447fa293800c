"""`--trust-mask` and `--support`: what stands beside an image with its uncertainty, and what is promised of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from scipy import ndimage

import geosr
from geosr.archive import upscale_many
from geosr.errors import InputError
from geosr.models import registry
from geosr.models.calibration import CONTRASTS, UNLIKE, Calibration
from geosr.models.classical import upsample
from geosr.models.runtime import network_for
from geosr.models.trust import supported
from geosr.models.uncertain import Beside, beside
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import UNKNOWN, Band
from geosr.training.conformal import controlled, wrong_shares
from tests import scenes
from tests.test_cli import geosr as command
from tests.test_uncertainty import textured

OPTIONS: dict[str, Any] = {"scale": 2, "tile": 32, "workers": 2}
FACTORS = np.geomspace(0.2, 10.0, 80)


def pixels_of(path: Path, name: str) -> tuple[NDArray[Any], dict[str, str]]:
    """Pixels and tags of a result that lies beside another."""
    with rasterio.open(path.with_name(f"{path.stem}.{name}.tif")) as file:
        return file.read(), file.tags()


def field(folder: Path) -> Path:
    """Two bands of textured ground with a hole, which is 0 for no data."""
    pixels = np.round(np.stack([textured(seed) for seed in (1, 2)]))
    pixels[:, 20:45, 30:50] = 0
    return scenes.write(folder / "field.tif", pixels.astype(np.uint16), nodata=0)


# The mask


def test_a_mask_marks_where_the_spread_lies_within_the_limit_so_many_times(tmp_path: Path) -> None:
    src, dst = field(tmp_path), tmp_path / "x.tif"
    report = geosr.upscale(src, dst, trust_mask=(0.1, 9.0), **OPTIONS)
    sigma, trust = pixels_of(dst, "sigma")[0], pixels_of(dst, "trust")[0]
    model = registry.find("fast", 2, Beside(0.1, 9.0))
    assert trust.dtype == np.uint8
    known = np.isfinite(sigma)
    assert np.array_equal(trust == 255, ~known)
    expected = sigma[known] * np.float32(model.calibration.sigmas_at(0.1)) <= 9.0  # type: ignore[attr-defined]
    assert np.array_equal(trust[known] == 1, expected)
    assert 0 < expected.mean() < 1
    assert set(report["others"]) == {"sigma", "trust"}


def test_a_mask_says_its_limit_and_its_risk_and_the_limit_is_a_tenth_of_a_bands_range(tmp_path: Path) -> None:
    src = scenes.write(tmp_path / "whole.tif", np.round(textured(1))[None].astype(np.uint16))
    with rasterio.open(src) as file:
        tenths = [0.1 * float(np.subtract(*np.quantile(band, (0.95, 0.05)))) for band in file.read()]
    geosr.upscale(src, tmp_path / "x.tif", trust_mask=0.2, **OPTIONS)
    told = pixels_of(tmp_path / "x.tif", "trust")[1]["GEOSR_TRUST"]
    assert f"at most 0.2 are to be off by more than 10% of a band's range and {tenths[0]:.4g}" in told
    assert (
        geosr.prepare(src, tmp_path / "y.tif", trust_mask=(0.2, 5), **OPTIONS)
        .tags["GEOSR_TRUST"]
        .startswith("of pixels that are 1 in the trust mask at most 0.2 are to be off by more than 5 DN")
    )


def test_of_a_mask_nothing_is_called_calibrated_where_the_scene_is_unlike() -> None:
    model = registry.find("fast", 2, Beside(0.1))
    near, far = (replace(Band(UNKNOWN), likeness=each, limit=4.0) for each in (0.5, UNLIKE / 4))
    assert "calibrated, on places that the scene is like" in model.promises((near,))["GEOSR_TRUST"]
    for bands in ((far,), (near, far), (replace(near, likeness=None),)):
        assert "calibrated" not in model.promises(bands)["GEOSR_TRUST"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (0.001, "a share below 1 that places tell, and these 0.03 and more"),
        (1.5, "expected a risk between 0 and 1, such as 0.1"),
        ((0.1, 0), "in stored numbers: 0.1,50"),
        ((0.1, 5, 6), "--trust-mask 0.1,5,6: expected a risk between 0 and 1"),
        ("0.1", "--trust-mask 0.1: expected a risk between 0 and 1"),
    ],
)
def test_a_risk_that_cannot_be_promised_is_refused_in_a_line(asked: Any, told: str, tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with pytest.raises(InputError, match=told):
        geosr.upscale(src, tmp_path / "x.tif", trust_mask=asked, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [src.name]


def test_nothing_is_asked_for_where_no_option_is_given() -> None:
    assert beside(False, None, False) is None
    assert beside(True, None, False) == Beside()
    assert beside(False, [0.1, 4], True) == Beside(0.1, 4.0, True)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_smaller_risk_asks_for_more_standard_deviations(scale: int) -> None:
    risks = registry.find("fast", scale, Beside()).calibration.risks  # type: ignore[attr-defined]
    assert risks[0][0] <= 0.05
    assert all(0.2 <= sigmas <= 10 for _, sigmas in risks)
    assert all(one[0] < other[0] and one[1] >= other[1] for one, other in pairwise(risks))


# The promise


def place(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors and standard deviations of a place: these are off by a factor of its own, and errors have tails."""
    sigma = np.exp(random.normal(0.0, 1.0, 400))
    return np.abs(np.exp(0.4 * random.standard_normal()) * sigma * random.laplace(size=400)), sigma


def test_pixels_that_are_trusted_are_wrong_as_seldom_as_promised_in_places_not_seen() -> None:
    random, limit = np.random.default_rng(7), 1.0
    for risk in (0.1, 0.2):
        wrong, shares = [], []
        for _ in range(60):
            losses = np.array([wrong_shares(*place(random), limit, FACTORS) for _ in range(30)])
            index = controlled(losses, risk)
            assert index is not None
            for error, sigma in (place(random) for _ in range(10)):
                trusted = sigma * FACTORS[index] <= limit
                wrong.append((error[trusted] > limit).sum() / max(trusted.sum(), 1))
                shares.append(trusted.mean())
        assert np.mean(wrong) <= risk
        assert np.mean(wrong) > risk / 4  # nor is it all caution
        assert np.mean(shares) > 0.1


def test_few_places_promise_no_small_risk() -> None:
    assert controlled(np.zeros((20, 5)), 0.05) == 0
    assert controlled(np.zeros((18, 5)), 0.05) is None
    assert controlled(np.ones((100, 5)), 0.5) is None


def test_a_loss_that_rises_again_counts_as_it_is_at_its_worst_behind() -> None:
    losses = np.tile([0.5, 0.0, 0.3, 0.0], (999, 1))
    assert controlled(losses, 0.31) == 1
    assert controlled(losses, 0.2) == 3


def test_a_share_is_of_the_pixels_that_are_trusted_but_of_a_twentieth_at_least() -> None:
    error, sigma = np.array([0.0, 2.0, 0.0, 2.0] * 10), np.array([0.1, 0.1, 1.0, 1.0] * 10)
    np.testing.assert_allclose(wrong_shares(error, sigma, 1.0, np.array([0.5, 5.0, 50.0])), [0.5, 0.5, 0.0])
    alone = np.array([0.1] + [10.0] * 99)
    assert wrong_shares(np.full(100, 2.0), alone, 1.0, np.array([1.0]))[0] == pytest.approx(1 / 5)


# The map of support


def base_of(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Bicubic, of (h, w)."""
    return upsample(image[None, None], scale)[0, 0]


def test_support_is_the_squared_correlation_that_what_was_added_is_to_have_with_the_ground() -> None:
    random, scale = np.random.default_rng(2), 2
    image = torch.from_numpy(random.normal(100, 10, (24, 30)))
    added, told = random.normal(0, 3, (2, 48, 60)) + random.normal(0, 2, (48, 60))
    sigma = np.exp(random.normal(0, 1, (48, 60)))
    taps = np.array([1, 2, 3, 4, 3, 2, 1]) / 16

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.convolve1d(ndimage.convolve1d(values, taps, 0), taps, 1))

    base = base_of(image, scale)
    fine, mean = (base + torch.from_numpy(each) for each in (added, told))
    found = supported(image, fine, mean, torch.from_numpy(sigma), scale).numpy()
    common = around(added * told).clip(0)
    expected = 100 * common**2 / around(added**2) / around(told**2 + sigma**2)
    inner = slice(8, -8), slice(8, -8)
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.51)
    assert np.ptp(found[inner]) > 20


def test_what_the_estimate_itself_adds_has_its_share_of_the_variance_and_what_is_drawn_has_none() -> None:
    random = np.random.default_rng(3)
    image, drawn = torch.zeros(20, 20, dtype=torch.float64), torch.from_numpy(random.normal(0, 5, (80, 80)))
    told = torch.from_numpy(random.normal(0, 2, (80, 80)))
    sigma, inner = torch.full_like(told, 2.0), (slice(16, -16), slice(16, -16))
    own, other, mixed = (supported(image, fine, told, sigma, 4)[inner] for fine in (told, drawn, told + drawn))
    assert own.mean() == pytest.approx(50, abs=3)
    assert other.mean() < 5
    assert other.mean() < mixed.mean() < own.mean() / 2


def test_gain_and_offset_change_no_support_and_detail_that_is_known_exactly_has_all_of_it() -> None:
    random = np.random.default_rng(4)
    image, added = torch.from_numpy(random.normal(0, 10, (20, 20))), torch.from_numpy(random.normal(0, 3, (80, 80)))
    sigma = torch.from_numpy(np.exp(random.normal(0, 1, (80, 80))))
    fine = base_of(image, 4) + added
    plain, moved = (
        supported(image, fine, fine, sigma, 4),
        supported(*(8 * each + 500 for each in (image, fine, fine)), 8 * sigma, 4),
    )
    assert (plain - moved).abs().max() <= 1
    sure = supported(image, fine, fine, 0 * sigma, 4)[16:-16, 16:-16]
    assert (sure == 100).all()


def test_support_is_of_the_image_as_it_is_stored() -> None:
    """A projected image has other detail than one that is not, beside the same spread."""
    model, band = registry.find("bicubic", 2, Beside(support=True)), Band(Response.gaussian(0.1), Noise(0.01, 0.0))
    found = {}
    for project in (False, True):
        network = network_for(model, 2, (band,), project=project)
        rim = network.halo
        padded = np.pad(textured(1, 40).astype(np.float32), rim, mode="symmetric")[None]
        found[project] = network(padded, (0,))[:, 2 * rim : -2 * rim, 2 * rim : -2 * rim]
    assert found[False][2].max() == 0  # bicubic adds nothing to bicubic
    assert found[True][2].mean() > 5
    assert np.array_equal(found[False][1], found[True][1])


def test_support_of_another_model_is_judged_by_the_estimate_that_the_spread_is_of() -> None:
    """Nearest neighbours add squares: little of that is what `fast` makes of the same input."""
    block, found = textured(2, 64).astype(np.float32)[None], {}
    for name in ("fast", "nearest"):
        network = network_for(registry.find(name, 2, Beside(support=True)), 2, (Band(UNKNOWN, Noise(1.0, 0.0)),))
        found[name] = network(block, (0,))[2, 40:-40, 40:-40]
    assert found["nearest"].mean() < found["fast"].mean() / 2


# The path


def test_tilings_and_arrays_give_the_same_masks_and_maps(tmp_path: Path) -> None:
    src = field(tmp_path)
    options = OPTIONS | {"trust_mask": 0.1, "support": True}
    geosr.upscale(src, tmp_path / "a.tif", **options)
    geosr.upscale(src, tmp_path / "b.tif", **options | {"tile": 112, "workers": 1})
    lazy = geosr.open_raster(src, chunks=40).geosr.upscale("fast", 2, trust_mask=0.1, support=True, tile=48)
    assert set(lazy) == {"data", "sigma", "trust", "support"}
    for name in ("trust", "support"):
        found = pixels_of(tmp_path / "a.tif", name)[0]
        assert found.tobytes() == pixels_of(tmp_path / "b.tif", name)[0].tobytes()
        assert lazy[name].dtype == np.uint8
        assert np.asarray(lazy[name]).tobytes() == found.tobytes()
        assert lazy[name].attrs["_FillValue"] == 255
        assert len(np.unique(found[found != 255])) > 1


def test_a_store_has_them_as_arrays_without_scale_and_an_image_that_is_the_same(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    src = field(tmp_path)
    geosr.upscale(src, tmp_path / "plain.tif", **OPTIONS)
    geosr.upscale(src, tmp_path / "x.zarr", trust_mask=0.1, support=True, **OPTIONS)
    store = xr.open_zarr(tmp_path / "x.zarr", mask_and_scale=False)
    assert store["data"].attrs["ancillary_variables"].split() == ["sigma", "trust", "support"]
    for name in ("trust", "support"):
        assert store[name].dtype == np.uint8
        assert store[name].attrs["_FillValue"] == 255
        assert "scale_factor" not in store[name].attrs
    with rasterio.open(tmp_path / "plain.tif") as file:
        assert np.array_equal(file.read(), store["data"].values)


def test_classes_are_said_nothing_of(tmp_path: Path) -> None:
    src = field(tmp_path)
    geosr.upscale(src, tmp_path / "x.tif", trust_mask=0.1, support=True, categorical=[1], **OPTIONS)
    for name in ("trust", "support"):
        found = pixels_of(tmp_path / "x.tif", name)[0]
        assert (found[0] == 255).all()
        assert (found[1] != 255).any()


def test_commands_and_archives_write_and_name_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    src = scenes.make_plain(tmp_path)
    code, said, told = command(
        capsys, monkeypatch, "upscale", src, "--scale", "2", "--trust-mask", "0.1,40", "--support"
    )
    assert code == 0
    ends = (".tif", ".sigma.tif", ".trust.tif", ".support.tif")
    assert said.splitlines() == [str(src.with_name(f"{src.stem}_x2{end}")) for end in ends]
    assert "at most 0.1 are to be off by more than 40 DN" in told
    (record,) = upscale_many(src, tmp_path / "out", trust_mask=0.1, **OPTIONS)
    assert set(record["others"]) == {"sigma", "trust"}
    assert upscale_many(src, tmp_path / "out", trust_mask=0.1, **OPTIONS)[0]["status"] == "skipped"
    assert upscale_many(src, tmp_path / "out", trust_mask=0.2, **OPTIONS)[0]["status"] == "failed"


def test_a_calibration_keeps_its_risks_and_one_without_promises_none(tmp_path: Path) -> None:
    known = Calibration({"any": (1.0,) * len(CONTRASTS)}, {"fast": 1.0}, risks=((0.1, 2.0), (0.2, 1.0)))
    assert [known.sigmas_at(risk) for risk in (0.1, 0.15, 0.2, 0.9)] == [2.0, 2.0, 1.0, 1.0]
    with pytest.raises(InputError, match=r"these 0\.1 and more"):
        known.sigmas_at(0.09)
    with pytest.raises(InputError, match=r"a share below 1 that places tell$"):
        replace(known, risks=()).sigmas_at(0.1)
