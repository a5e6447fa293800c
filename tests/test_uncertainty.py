"""`--uncertainty`: a standard deviation beside the image, what it promises, and for which scenes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

import geosr
from geosr.archive import upscale_many
from geosr.errors import ModelError
from geosr.models import registry
from geosr.models.calibration import (
    CONTRASTS,
    KEY,
    LEVEL,
    SIGMAS,
    Calibration,
    Likeness,
    kind_of,
    read_calibration,
    statistics_of,
)
from geosr.models.checkpoint import sha256
from geosr.models.runtime import network_for
from geosr.models.scale_head import ScaleHead, gradient, shortened
from geosr.models.uncertain import Beside, Uncertain, head_name
from geosr.noise import Noise
from geosr.sensors import UNKNOWN, Band
from geosr.training.conformal import by_place, conformal_quantile
from geosr.training.state import save_tensors
from tests import scenes
from tests.test_cli import geosr as command

FLAT = Calibration({"any": (1.0,) * len(CONTRASTS)}, {"fast": 1.0, "bicubic": 2.0})
OPTIONS: dict[str, Any] = {"scale": 2, "tile": 32, "workers": 2, "uncertainty": True}


def head_of(path: Path, calibration: Calibration, scale: int = 2) -> Path:
    """A scale head that wasn't trained, with a calibration."""
    torch.manual_seed(3)
    save_tensors(ScaleHead(scale).state_dict(), path, {KEY: calibration.to_json()})
    return path


def uncertain(name: str, head: Path) -> Uncertain:
    return Uncertain(registry.find(name, 2), registry.find("fast", 2), str(head))


def run(block: NDArray[Any], model: Any, noise: Noise, *, project: bool = False) -> NDArray[np.float32]:
    """Image and spread (2, h, w) of one band, mirrored as a scene is."""
    network = network_for(model, 2, (Band(UNKNOWN, noise),), project=project)
    halo = network.halo
    made = network(np.pad(block, halo, mode="symmetric")[None].astype(np.float32), (0,))
    return made[:, 2 * halo : -2 * halo, 2 * halo : -2 * halo]


@pytest.fixture
def image() -> NDArray[np.float32]:
    return scenes.pixels((1, 40, 50))[0].astype(np.float32)


# The head


def test_gain_passes_through_a_spread_and_offset_does_not_touch_it(image: NDArray[np.float32], tmp_path: Path) -> None:
    model, noise = uncertain("fast", head_of(tmp_path / "h.safetensors", FLAT)), Noise(4.0, 0.01)
    _, sigma = run(image, model, noise)
    _, moved = run(8.0 * image + 1000.0, model, noise.moved(8.0, 1000.0))
    assert sigma.min() > 0
    np.testing.assert_allclose(moved, 8.0 * sigma, rtol=2e-3)


def test_a_spread_without_contrast_is_that_of_noise_and_none_where_there_is_neither(tmp_path: Path) -> None:
    model, flat = uncertain("fast", head_of(tmp_path / "h.safetensors", FLAT)), np.full((40, 40), 7.0, np.float32)
    quiet, loud = (run(flat, model, Noise(variance, 0.0))[1] for variance in (1.0, 9.0))
    assert np.ptp(quiet.reshape(20, 4, -1), axis=0).max() == 0  # the same at each of the places in a pixel
    np.testing.assert_allclose(loud, 3.0 * quiet, rtol=0.02)
    assert run(flat, model, Noise(0.0, 0.0))[1].max() < 1e-6


def test_the_gradient_is_that_of_neighbours_within_three_pixels() -> None:
    image = torch.randn(7, 9, dtype=torch.float64)
    found = gradient(image)
    part = image[2:5, 3:6]
    expected = (part.diff(dim=0).square().sum() + part.diff(dim=1).square().sum()) / 12
    assert found.shape == (5, 7)
    torch.testing.assert_close(found[2, 3], expected)


def test_a_spread_keeps_a_few_bits_of_its_fraction_and_is_off_by_less_than_a_step() -> None:
    values = torch.rand(10_000) * torch.logspace(-6, 6, 10_000)
    kept = shortened(values.clone())
    assert ((kept / values - 1).abs() <= 2.0**-7).all()
    assert (kept.view(torch.int32) & 0x1FFFF == 0).all()


# The path


@pytest.mark.parametrize("name", ["fast", "bicubic"])
def test_projection_corrects_the_image_alone(name: str, image: NDArray[np.float32], tmp_path: Path) -> None:
    model, noise = uncertain(name, head_of(tmp_path / "h.safetensors", FLAT)), Noise(4.0, 0.0)
    found, sigma = run(image, model, noise, project=True)
    plain, same = run(image, model, noise)
    assert np.array_equal(sigma, same)
    assert np.array_equal(found, run(image, registry.find(name, 2), noise, project=True)[0])
    assert not np.array_equal(found, plain)


@pytest.mark.parametrize("name", ["fast", "bicubic", "srcnn"])
def test_the_image_is_the_same_with_and_without_its_uncertainty(
    name: str, image: NDArray[np.float32], tmp_path: Path
) -> None:
    model = uncertain(name, head_of(tmp_path / "h.safetensors", FLAT))
    found, sigma = run(image, model, Noise(4.0, 0.0))
    assert np.array_equal(found, run(image, registry.find(name, 2), Noise(4.0, 0.0))[0])
    own = run(image, uncertain("fast", tmp_path / "h.safetensors"), Noise(4.0, 0.0))[1]
    np.testing.assert_allclose(sigma, own * {"bicubic": 2.0}.get(name, 1.0), rtol=1e-3)


def test_tilings_threads_and_arrays_give_the_same_bits(tmp_path: Path) -> None:
    src = scenes.make_gaps(tmp_path)
    geosr.upscale(src, tmp_path / "a.tif", **OPTIONS)
    geosr.upscale(src, tmp_path / "b.tif", **OPTIONS | {"tile": 112, "workers": 1})
    lazy = geosr.open_raster(src, chunks=40).geosr.upscale("fast", 2, uncertainty=True, tile=48)
    now = geosr.open_raster(src, chunks=None).geosr.upscale("fast", 2, uncertainty=True)
    with rasterio.open(tmp_path / "a.sigma.tif") as one, rasterio.open(tmp_path / "b.sigma.tif") as other:
        sigma = one.read()
        assert sigma.tobytes() == other.read().tobytes()
        assert "GEOSR_UNCERTAINTY" in one.tags()
    for found in (lazy, now):
        assert np.asarray(found["sigma"]).tobytes() == sigma.tobytes()
        assert "not tested" in found["sigma"].attrs["GEOSR_UNCERTAINTY"]
    known = np.isfinite(sigma)
    assert (sigma[known] > 0).all()
    assert 0 < known.mean() < 1


@pytest.mark.slow
def test_processes_give_the_same_spread(tmp_path: Path) -> None:
    src = scenes.make_gaps(tmp_path)
    for name, scheduler in (("here", "threads"), ("there", "processes")):
        geosr.upscale(src, tmp_path / f"{name}.tif", scheduler=scheduler, **OPTIONS)
    assert (tmp_path / "here.sigma.tif").read_bytes() == (tmp_path / "there.sigma.tif").read_bytes()


def test_a_command_writes_and_names_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, out = scenes.make_plain(tmp_path), tmp_path / "out"
    code, said, told = command(capsys, monkeypatch, "upscale", src, "--scale", "2", "--uncertainty")
    assert code == 0
    assert said.splitlines() == [str(src.with_name(f"{src.stem}_x2{end}")) for end in (".tif", ".sigma.tif")]
    assert "1.645 sigma on either side" in told
    (record,) = upscale_many(src, out, **OPTIONS)
    assert record["others"] == {"sigma": str(out / f"{src.stem}_x2.sigma.tif")}
    assert upscale_many(src, out, **OPTIONS)[0]["status"] == "skipped"
    assert upscale_many(src, out, **OPTIONS | {"uncertainty": False})[0]["status"] == "failed"


def test_what_has_no_uncertainty_is_refused_in_a_line(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    with pytest.raises(ModelError, match=r"there is uncertainty at x2 and x4, not x5; leave it out"):
        geosr.upscale(src, tmp_path / "x.tif", model="bicubic", scale=5, uncertainty=True)
    with pytest.raises(ModelError, match="glp has no uncertainty"):
        geosr.upscale(src, tmp_path / "x.tif", model="glp", guide=src, uncertainty=True)
    assert [path.name for path in tmp_path.iterdir()] == [src.name]


def test_a_model_with_its_uncertainty_travels_small_and_equal() -> None:
    model = registry.find("fast", 2, Beside())
    sent = pickle.dumps(model)
    assert len(sent) < 4000
    assert pickle.loads(sent) == model
    assert hash(pickle.loads(sent)) == hash(model)
    assert registry.find(model, 2, Beside()) is model


def test_a_damaged_head_or_another_than_before_is_refused(tmp_path: Path) -> None:
    head = head_of(tmp_path / "h.safetensors", FLAT)
    model = uncertain("fast", head)
    head_of(head, replace(FLAT, models={"fast": 3.0}))
    with pytest.raises(ModelError, match="not those that this run began with"):
        model.engine("cpu", "float32")
    save_tensors(ScaleHead(2).state_dict(), head, {KEY: "{}"})
    with pytest.raises(ModelError, match="no readable calibration"):
        uncertain("fast", head).promises(())
    head_of(head, FLAT, scale=4)
    with pytest.raises(ModelError, match="holds no scale head for x2"):
        uncertain("fast", head).engine("cpu", "float32")


# The promise


def test_intervals_cover_what_they_promise_of_places_that_were_not_calibrated_on() -> None:
    """Errors with a tail and a size of each place's own; the head knows their size up to a factor and a law."""
    random = np.random.default_rng(1)

    def place(count: int) -> NDArray[np.float64]:
        size = np.exp(0.3 * random.standard_normal())
        return np.abs(size * random.laplace(size=count))  # in units of what the head says

    covered, places = [], 30
    for _ in range(200):
        calibration = [place(int(random.integers(20, 400))) for _ in range(places)]
        factor = conformal_quantile(calibration, LEVEL)
        covered.append(np.mean([np.mean(place(400) <= factor) for _ in range(20)]))
    assert np.mean(covered) == pytest.approx(LEVEL, abs=0.01)
    assert np.std(covered) < 0.03


def test_each_place_counts_alike_however_many_pixels_it_has() -> None:
    small, large = np.full(10, 1.0), np.full(10_000, 5.0)
    assert conformal_quantile([small, large], 0.5) == 1.0
    assert conformal_quantile([small, large], 0.51) == 5.0
    joined = by_place([("a", np.ones(3)), ("b", np.ones(2)), ("a", np.ones(4))])
    assert sorted(map(len, joined)) == [2, 7]
    with pytest.raises(ValueError, match="no place"):
        conformal_quantile([], 0.9)


def test_factors_stand_at_their_contrasts_and_are_linear_between(tmp_path: Path) -> None:
    at = (3.0, 2.0, 1.5, 1.25, 1.0)
    calibration = Calibration({"any": (1.0,) * 5, "infrared": at}, {"fast": 1.0, "ibp": 2.0}).of("ibp")
    first, *stretches = calibration.factors(Band(UNKNOWN, color="nir08"))
    for contrast, expected in ((0.0, 3.0), (1.0, 3.0), (2.5, 2.5), (4.0, 2.0), (64.0, 1.25), (1e6, 1.0)):
        found = first + sum((np.clip(contrast, start, stop) - start) * slope for start, stop, slope in stretches)
        assert found == pytest.approx(2.0 * expected)
    assert calibration.factors(Band(UNKNOWN, color="red"))[0] == 2.0
    assert [kind_of(color) for color in ("rededge2", "swir16", "watervapour", "pan", "")] == [
        "red edge", "infrared", "atmosphere", "visible", "any",
    ]  # fmt: skip
    path = head_of(tmp_path / "h.safetensors", calibration)
    assert read_calibration(path, sha256(path)).of("ibp") == calibration


# For which scenes


def textured(seed: int, side: int = 96, power: float = 2.0) -> NDArray[np.float64]:
    """A field whose spectrum falls with a power of the frequency, and noise of variance 1."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = np.fft.fft2(random.standard_normal((side, side))) / np.maximum(frequency, 1 / side) ** power
    image = np.fft.ifft2(waves).real
    return np.asarray(1000 + 20 * image / image.std() + random.standard_normal((side, side)))


@pytest.fixture(scope="module")
def like() -> Likeness:
    """What fields of `textured` are like."""
    band = Band(UNKNOWN, Noise(1.0, 0.0))
    first, others = (
        np.concatenate([statistics_of([textured(seed)], band) for seed in range(start, start + 20)])
        for start in (0, 20)
    )
    values, vectors = np.linalg.eigh(np.cov(first.T))
    whiten, mean = (vectors / np.sqrt(values)).T, first.mean(0)
    away = np.sort(np.linalg.norm((others - mean) @ whiten.T, axis=1))
    return Likeness(tuple(mean), tuple(map(tuple, whiten)), tuple(away))


def test_scenes_like_the_calibrations_are_seldom_called_unlike(like: Likeness) -> None:
    band = Band(UNKNOWN, Noise(1.0, 0.0))
    found = np.array([like.p_value([textured(seed)], band) for seed in range(100, 140)])
    assert (found < 0.05).mean() <= 0.1
    assert np.isnan(like.p_value([np.zeros((50, 50))], band))


def blocks(random: np.random.Generator) -> NDArray[np.float64]:
    """A scene of squares that are 0 or 1."""
    return np.kron(random.integers(0, 2, (12, 12)), np.ones((8, 8)))


def test_other_scenes_are_and_gain_and_offset_do_not_matter(like: Likeness) -> None:
    random, band = np.random.default_rng(5), Band(UNKNOWN, Noise(1.0, 0.0))
    assert like.p_value([random.standard_normal((96, 96))], band) < 0.05
    assert like.p_value([1000.0 * blocks(random) + random.standard_normal((96, 96))], band) < 0.05
    moved = Band(UNKNOWN, Noise(1.0, 0.0).moved(3.0, 500.0))
    same = like.p_value([3.0 * textured(101) + 500.0], moved)
    assert same == pytest.approx(like.p_value([textured(101)], band), abs=0.02)


def test_the_word_calibrated_is_used_only_where_it_holds(like: Likeness) -> None:
    known = replace(FLAT, like=like).of("fast")
    near, far, untold = (replace(Band(UNKNOWN), likeness=each) for each in (0.4, 0.001, None))
    assert "calibrated, on places that the scene is like (p = 0.4)" in known.about((near,))
    assert "p = 0.8" in known.about((near, replace(near, likeness=0.6)))  # the least of two, twice
    for bands, model in (((near, far), "fast"), ((untold,), "fast"), ((near, untold), "fast"), ((near,), "mine.onnx")):
        line = replace(known, model=model).about(bands)
        assert "calibrated" not in line
        assert line.startswith(f"{SIGMAS} sigma on either side are to hold 90% of the truth")
    assert "unlike" in known.about((near, far))
    assert "the errors of mine.onnx were not measured" in replace(known, model="mine.onnx").about((near,))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_heads_of_the_package_know_fast_and_each_kind_of_band(scale: int) -> None:
    found = registry.find("fast", scale, Beside())
    assert isinstance(found, Uncertain)
    assert found.head == head_name(scale)
    assert found.calibration.known
    assert set(found.calibration.kinds) == {"any", "visible", "red edge", "infrared", "atmosphere"}
    assert all(0.5 < factor < 5 for factors in found.calibration.kinds.values() for factor in factors)


def test_a_scene_is_tested_and_told(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    stored = 1000 + 5 * random.standard_normal((160, 160)) + 50_000 * (random.random((160, 160)) < 0.003)
    strange = scenes.write(tmp_path / "strange.tif", stored[None].astype("uint16"))
    told = geosr.prepare(strange, tmp_path / "x.tif", **OPTIONS).notes
    assert any("unlike" in line and "calibrated" not in line for line in told)


def test_a_network_of_ones_own_has_the_spread_of_fast_and_is_told_that_it_was_not_measured(tmp_path: Path) -> None:
    network = geosr.TorchNetwork(Twice, scale=2, halo=1)
    src = scenes.make_plain(tmp_path)
    report = geosr.upscale(src, tmp_path / "x.tif", model=network, **OPTIONS)
    assert any("were not measured" in line for line in report["notes"])
    geosr.upscale(src, tmp_path / "y.tif", **OPTIONS)
    with rasterio.open(tmp_path / "x.sigma.tif") as one, rasterio.open(tmp_path / "y.sigma.tif") as other:
        assert np.array_equal(one.read(), other.read())


class Twice(torch.nn.Module):
    """Each pixel repeated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
