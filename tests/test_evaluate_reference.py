"""Figures of a result beside a reference: known answers, and other libraries as oracles where they are there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

import geosr
from geosr.evaluation.indices import q2n_sums, structure_sums
from geosr.evaluation.opensr import opensr
from geosr.models.degradation import observe
from geosr.response import Response
from tests.opensr_parity import PARITY, theirs, values_of
from tests.scenes import NORTH_UP, write

Doubles = NDArray[np.float64]


def ground(bands: int = 4, side: int = 256, seed: int = 0) -> Doubles:
    """Reflectance of fields that differ in their spectra, (bands, side, side), around .2."""
    random = np.random.default_rng(seed)
    kinds = random.uniform(0.05, 0.4, (7, bands))
    fields = random.integers(0, 7, (side // 16 + 1, side // 16 + 1)).repeat(16, 0).repeat(16, 1)[:side, :side]
    rough = ndimage.gaussian_filter(random.normal(0, 1, (bands, side, side)), (0, 1, 1)) * 0.02
    return np.asarray(ndimage.gaussian_filter(np.moveaxis(kinds[fields], 2, 0), (0, 0.8, 0.8)) + rough)


def judged(folder: Path, sr: Doubles, hr: Doubles, scale: int = 4, **options: Any) -> geosr.Evaluation:
    lr = observe(hr.astype(np.float32), Response.gaussian(0.3).relative(scale), scale)
    names = ("blue", "green", "red", "nir")[: len(hr)]
    fine = NORTH_UP @ Affine.scale(1 / scale)
    paths = [
        write(folder / f"{name}.tif", each.astype(np.float32), transform=transform)
        for name, each, transform in (("sr", sr, fine), ("hr", hr, fine), ("lr", lr, NORTH_UP))
    ]
    for path in paths:
        named(path, names)
    return geosr.evaluate(paths[0], paths[1], lr=paths[2], mtf=0.3, workers=1, **options)


def named(path: Path, names: tuple[str, ...]) -> None:
    import rasterio

    with rasterio.open(path, "r+") as dst:
        dst.descriptions = names


def test_the_truth_itself_has_every_figure_at_its_best(tmp_path: Path) -> None:
    report = judged(tmp_path, ground(), ground())
    found = {name: figure["all"] for name, figure in report["figures"].items()}
    best = dict.fromkeys(("correlation", "ssim", "uqi", "q2n", "classes", "detail", "detail_correlation"), 1.0)
    best |= dict.fromkeys(("rmse", "bias", "sam", "ergas", "ndvi_error", "ndwi_error", "spatial"), 0.0)
    for name, value in best.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert found["psnr"] == float("inf")
    assert found["improvement"] > 0.95
    assert "nbr_error" not in found
    assert report["spectrum"]["power"] == pytest.approx([1.0] * 16)
    assert report["spectrum"]["agreement"] == pytest.approx([1.0] * 16)


def test_errors_that_were_put_in_come_out(tmp_path: Path) -> None:
    hr = ground()
    off = np.array([0.01, -0.02, 0.03, 0.04])
    report = judged(tmp_path, hr + off[:, None, None], hr)
    found = report["figures"]
    assert found["rmse"]["bands"] == pytest.approx(np.abs(off), rel=1e-4)
    assert found["rmse"]["all"] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-4)
    assert found["bias"]["bands"] == pytest.approx(off, rel=1e-4)
    assert found["bias"]["all"] == pytest.approx(0.04, rel=1e-4)
    assert found["psnr"]["bands"] == pytest.approx(20 * np.log10(np.ptp(hr, axis=(1, 2)) / np.abs(off)), abs=0.01)
    assert found["ergas"]["all"] == pytest.approx(25 * np.sqrt(np.mean((off / hr.mean((1, 2))) ** 2)), rel=1e-3)
    x, y = hr + off[:, None, None], hr
    ndvi = [(each[3] - each[2]) / (each[3] + each[2]) for each in (x, y)]
    assert found["ndvi_error"]["all"] == pytest.approx(np.sqrt(np.mean((ndvi[0] - ndvi[1]) ** 2)), rel=1e-4)
    assert sum(report["classes"]["share"]) == pytest.approx(1.0)


def test_detail_that_is_not_there_is_told_from_detail_that_is(tmp_path: Path) -> None:
    hr = ground()
    low = ndimage.gaussian_filter(hr, (0, 3, 3))
    made_up = low + (hr - low)[:, ::-1, ::-1]
    true, false, soft = (judged(tmp_path, sr, hr)["figures"] for sr in (hr + 1e-4, made_up, low))
    assert true["detail_correlation"]["all"] > 0.95
    assert abs(false["detail_correlation"]["all"]) < 0.2
    assert false["detail"]["all"] == pytest.approx(1.0, abs=0.2)
    assert soft["detail"]["all"] < 0.1
    for name, best in (("improvement", true), ("hallucination", false), ("omission", soft)):
        assert best[name]["all"] == max(each[name]["all"] for each in (true, false, soft))
    assert true["classes"]["all"] > soft["classes"]["all"] > false["classes"]["all"]


def test_the_indices_of_a_guide_tell_detail_that_goes_with_it(tmp_path: Path) -> None:
    hr = ground()
    guide = write(tmp_path / "guide.tif", hr[:2].astype(np.float32) * 3, transform=NORTH_UP @ Affine.scale(0.25))
    soft = ndimage.gaussian_filter(hr, (0, 3, 3))
    true, false = (judged(tmp_path, sr, hr, guide=guide)["figures"] for sr in (hr, soft))
    assert true["d_rho"]["bands"][:2] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert false["d_rho"]["all"] > true["d_rho"]["all"] + 0.1
    expected = (1 - true["d_lambda"]["all"]) * (1 - true["d_rho"]["all"])
    assert true["qnr"]["all"] == pytest.approx(expected)
    assert true["qnr"]["all"] > false["qnr"]["all"]


def test_q2n_of_two_bands_is_that_of_complex_numbers() -> None:
    random = np.random.default_rng(0)
    x = random.normal(5, 1, (2, 32, 32))
    y = 0.8 * x + random.normal(0.2, 0.5, x.shape)
    level, spread = x.mean((1, 2), keepdims=True), x.std((1, 2), ddof=1, keepdims=True)
    a, b = ((each - level) / spread + 1 for each in (x, y))
    p, q = a[0] + 1j * a[1], b[0] + 1j * b[1]
    n = p.size
    common = abs(((p - p.mean()) * np.conj(q - q.mean())).sum() / (n - 1))
    spreads = [(np.abs(each - each.mean()) ** 2).sum() / (n - 1) for each in (p, q)]
    sizes = abs(p.mean()), abs(q.mean())
    expected = common * 2 / sum(spreads) * 2 * sizes[0] * sizes[1] / (sizes[0] ** 2 + sizes[1] ** 2)
    total, count = q2n_sums(x, y, np.ones((32, 32), bool))
    assert (total, count) == (pytest.approx(expected, rel=1e-9), 1)


def test_q2n_is_one_for_the_same_and_falls_with_colour_and_leaves_gaps_out() -> None:
    x = np.random.default_rng(0).normal(5, 1, (5, 64, 70))
    known = np.ones((64, 70), bool)
    assert q2n_sums(x, x, known).tolist() == pytest.approx([4.0, 4.0])
    assert q2n_sums(x, x[[1, 0, 2, 3, 4]], known)[0] < 3.5
    known[40, 40] = False
    assert q2n_sums(x, x, known)[1] == 3


def test_ssim_and_uqi_leave_windows_with_gaps_out() -> None:
    random = np.random.default_rng(0)
    x = random.normal(5, 1, (40, 40))
    y, inside = x.copy(), np.ones((40, 40), bool)
    y[0, 0], inside[0, 0] = 1e6, False
    ssim, uqi, pixels = structure_sums(y, x, inside, 6.0)
    assert (ssim / pixels, uqi / pixels) == pytest.approx((1.0, 1.0))
    assert pixels == 30 * 30 - 1


def test_other_libraries_agree(tmp_path: Path) -> None:
    image = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    import torch

    hr = ground()
    sr = ndimage.gaussian_filter(hr, (0, 1, 1)) + np.random.default_rng(1).normal(0, 0.01, hr.shape)
    found = {name: figure["all"] for name, figure in judged(tmp_path, sr, hr)["figures"].items()}
    x, y = (torch.from_numpy(each.astype(np.float32).astype(np.float64))[None] for each in (sr, hr))
    peaks = np.ptp(hr, axis=(1, 2))
    bands = [(x[:, b : b + 1], y[:, b : b + 1], float(peak)) for b, peak in enumerate(peaks)]
    measure = image.structural_similarity_index_measure
    maps = [measure(*pair, data_range=peak, return_full_image=True)[1] for *pair, peak in bands]
    ssim = np.mean([each[..., 5:-5, 5:-5].numpy() for each in maps])  # what it mirrors at the border is not the scene's
    assert found["ssim"] == pytest.approx(ssim, abs=1e-5)
    assert found["uqi"] == pytest.approx(float(image.universal_image_quality_index(x, y)), abs=1e-3)
    assert found["sam"] == pytest.approx(np.degrees(float(image.spectral_angle_mapper(x, y))), rel=1e-5)
    ergas = image.error_relative_global_dimensionless_synthesis(x, y, ratio=4)
    assert found["ergas"] == pytest.approx(float(ergas), rel=1e-5)


def test_the_seven_figures_are_those_of_opensr_test() -> None:
    """Of small arrays, see `tests.opensr_parity`; of the package itself too, where it is installed."""
    kept = np.load(PARITY)
    names = [name.removesuffix(" figures") for name in kept if name.endswith(" figures")]
    assert len(names) == 6
    assert str(kept["version"]).startswith("1.3.")
    for name in names:
        stored = [kept[key] for key in (f"{name} lr", f"{name} sr", "hr")]
        assert opensr(*map(values_of, stored)) == pytest.approx(kept[f"{name} figures"], abs=1e-3), name
        if importlib.util.find_spec("opensr_test"):
            assert theirs(*stored) == pytest.approx(kept[f"{name} figures"], abs=1e-6), name
