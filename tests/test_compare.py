"""Models compared on rasters of a user's own: degraded scenes, natural pairs, real pairs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import ndimage

import geosr
from geosr.cli.evaluate import command
from geosr.errors import InputError
from geosr.evaluation.metrics import bootstrap
from geosr.io.scene import open_scene
from geosr.models.degradation import seen
from geosr.sensor_table import Origin
from geosr.trials import degraded
from tests.scenes import write

NAMES = ("B02", "B03", "B04", "B08")
MODELS: dict[str, Any] = {"model": "ibp", "against": ["bicubic", "nearest"], "workers": 1}


def ground(bands: int, side: int, seed: int = 0) -> NDArray[np.float64]:
    """Soft ground with fields, (bands, side, side), around 1500."""
    random = np.random.default_rng(seed)
    fields = random.normal(0, 300, (bands, side // 12 + 1, side // 12 + 1)).repeat(12, 1).repeat(12, 2)[:, :side, :side]
    rough = ndimage.gaussian_filter(random.normal(0, 1, (bands, side, side)), (0, 1.3, 1.3)) * 250
    return np.asarray(1500 + ndimage.gaussian_filter(fields, (0, 1, 1)) + rough)


def scene(path: Path, pixels: NDArray[np.float64], names: tuple[str, ...], gsd: float, **more: Any) -> Path:
    grid = Affine(gsd, 0, 500_000, 0, -gsd, 5_000_000)
    write(path, np.rint(pixels).astype(np.uint16), transform=grid, **more)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = names
    return path


def test_a_scene_is_degraded_as_its_sensor_sees_and_keeps_its_name_values_and_gaps(tmp_path: Path) -> None:
    pixels = ground(4, 140)
    pixels[:, 3, 5] = 0
    path = scene(tmp_path / "fine.tif", pixels, NAMES, 10, nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = (1e-4,) * 4, (-0.1,) * 4
    fine = open_scene(path)
    (tmp_path / "out").mkdir()
    coarse = open_scene(degraded(fine, 2, range(4), None, tmp_path / "out"))
    assert [band.response_from for band in coarse.sensor.bands] == [Origin.TABLE] * 4
    assert (coarse.name, coarse.nodata, coarse.scales, coarse.offsets) == ("fine.tif", 0, (1e-4,) * 4, (-0.1,) * 4)
    found = coarse.source.pixels(coarse.window).stored
    assert found.shape == (4, 70, 70)
    assert (found == 0).sum() == 4
    assert (found[:, 1, 2] == 0).all()
    pixels[:, 3, 5] = pixels[:, 3, 6]
    responses = [band.response.relative(2) for band in fine.sensor.bands]
    expected = seen(np.rint(pixels), responses, 2)
    away = np.ones((70, 70), bool)
    away[:12, :12] = False
    assert np.abs(found - expected)[:, away].max() <= 0.5 + 1e-6


def test_walds_protocol_tells_models_apart_and_how_surely(tmp_path: Path) -> None:
    path = scene(tmp_path / "fine.tif", ground(4, 330), NAMES, 10)
    report = geosr.compare(path, protocol="wald", scale=2, **MODELS)
    figures = report["figures"]
    assert list(figures) == ["ibp", "bicubic", "nearest"]
    assert figures["ibp"]["psnr"] > figures["bicubic"]["psnr"] > figures["nearest"]["psnr"]
    assert figures["ibp"]["round_trip"] < figures["bicubic"]["round_trip"]
    gain = report["gains"]["bicubic"]
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    assert gain["mean"] == pytest.approx(figures["ibp"]["psnr"] - figures["bicubic"]["psnr"], abs=0.5)
    assert gain["units"] == report["pieces"] == 36
    assert gain["worst"] <= gain["mean"]
    assert gain["where"].startswith("fine.tif, row ")
    assert report["gains"]["nearest"]["mean"] > gain["mean"]


def test_of_several_scenes_the_interval_is_over_scenes(tmp_path: Path) -> None:
    paths = [scene(tmp_path / f"{seed}.tif", ground(1, 100, seed), ("B08",), 10) for seed in range(3)]
    report = geosr.compare(*paths, protocol="wald", scale=2, mtf=0.3, **MODELS)
    assert report["gains"]["bicubic"]["units"] == 3
    assert report["pieces"] > 3


def test_bands_that_a_satellite_has_twice_are_found_and_judged(tmp_path: Path) -> None:
    nir = ground(1, 240)
    fine = scene(tmp_path / "S2A_MSIL2A_x_10m.tif", np.concatenate([ground(1, 240, 2), nir]), ("B04", "B08"), 10)
    coarse = seen(nir * 1.2 + 50, [open_scene(fine).sensor.bands[1].response.relative(2)], 2)
    other = scene(tmp_path / "S2A_MSIL2A_x_20m.tif", coarse, ("B8A",), 20)
    report = geosr.compare(fine, other, protocol="native", scale=2, **MODELS)
    assert report["pieces"] >= 1
    assert report["figures"]["bicubic"]["gain"] == pytest.approx(0, abs=0.05)
    assert report["figures"]["ibp"]["gain"] > 0.5
    assert report["gains"]["bicubic"]["mean"] == pytest.approx(report["figures"]["ibp"]["gain"], abs=0.05)
    with pytest.raises(InputError, match="no pair can be judged: bands are known by names such as B8A and B08"):
        geosr.compare(other, protocol="native", scale=2, **MODELS)


def test_a_real_pair_is_matched_in_gain_offset_and_shift(tmp_path: Path) -> None:
    truth = ground(2, 256)
    names = ("red", "nir")
    lr = scene(tmp_path / "lr.tif", truth.reshape(2, 128, 2, 128, 2).mean((2, 4)), names, 20)
    plain = scene(tmp_path / "plain.tif", truth, names, 10)
    moved = ndimage.shift(truth * 0.5 + 400, (0, 0.3, -0.2), order=5, mode="nearest")
    other = scene(tmp_path / "other.tif", moved[::-1], names[::-1], 10)
    one, two = (geosr.compare(lr, hr, protocol="paired", scale=2, **MODELS) for hr in (plain, other))
    assert one["pieces"] == two["pieces"] == 2
    assert one["figures"]["ibp"]["detail_correlation"] > 0.8
    for name, value in one["figures"]["ibp"].items():
        assert two["figures"]["ibp"][name] == pytest.approx(value, abs=0.15), name
    with pytest.raises(InputError, match="no band of one name"):
        geosr.compare(lr, scene(tmp_path / "x.tif", truth, ("a", "b"), 10), protocol="paired", **MODELS)
    with pytest.raises(InputError, match="expected the second to divide the first"):
        geosr.compare(plain, lr, protocol="paired", **MODELS)
    with pytest.raises(InputError, match="3 rasters are no pairs"):
        geosr.compare(lr, plain, lr, protocol="paired", **MODELS)
    with pytest.raises(InputError, match="ibp has no opponent"):
        geosr.compare(lr, plain, protocol="paired", model="ibp", against=["ibp"])


def test_the_command_compares_models_and_has_gates(tmp_path: Path) -> None:
    path = str(scene(tmp_path / "fine.tif", ground(1, 200), ("B08",), 10))
    options = [path, "--protocol", "wald", "--model", "ibp", "--mtf", "0.3", "--workers", "1"]
    run = CliRunner().invoke
    table = run(command, [*options, "--min", "psnr=99"], standalone_mode=False)
    assert table.return_value == 1
    assert table.stdout.splitlines()[0].split() == ["figure", "ibp", "bicubic"]
    assert "ibp: +" in table.stderr
    assert "less than 99" in table.stderr
    assert (
        run(command, [*options, "--min", "gain_low=0.1", "--max", "gain_mean=99"], standalone_mode=False).return_value
        == 0
    )
    report = json.loads(run(command, [*options, "--json", "--against", "lanczos"]).stdout)
    assert report["gains"]["lanczos"]["units"] > 3
    for wrong, told in (
        ([path], "or a --protocol"),
        ([*options, "--lr", path], "--lr is of a result"),
        ([*options, "--tile", "64"], "--tile is of a result"),
        ([*options, "--json", "--markdown"], "choose one"),
        ([path, "--lr", path, "--against", "ibp"], "--against is of models that are compared; add --protocol"),
        ([path, "--lr", path, "--scale", "2"], "--scale is of models that are compared; add --protocol"),
    ):
        refused = run(command, wrong)
        assert (refused.exit_code, told in refused.stderr) == (2, True), refused.stderr


def test_an_interval_over_many_pieces_takes_little_memory_and_few_lose_no_draw() -> None:
    values = np.random.default_rng(0).normal(1.0, 0.5, 5_000)
    found = bootstrap(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(5_000), rel=0.05)
