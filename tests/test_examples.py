"""Every example runs, and shows what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio

import geosr
from tests import scenes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ndvi_keeps_its_mean() -> None:
    before, after = example("ndvi_before_and_after").main(str(EXAMPLES / "scene.tif"))
    assert after == pytest.approx(before, abs=0.005)


def test_a_cube_comes_back_from_zarr_as_it_was_upscaled(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    module = example("time_cube")
    kept = module.main(str(tmp_path / "cube.zarr"))
    fine = module.cube().geosr.upscale("fast", scale=2)
    assert np.array_equal(kept.red.values, fine.red.values)
    assert np.array_equal(kept.scl.values, module.cube().scl.values.repeat(2, 1).repeat(2, 2))
    assert kept.odc.geobox == module.cube().odc.geobox.zoom_out(0.5)


def test_a_cluster_writes_what_one_machine_writes(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    path = example("on_a_cluster").main(str(src), str(tmp_path / "cluster.tif"))
    geosr.upscale(src, tmp_path / "here.tif", scale=2)
    with rasterio.open(path) as one, rasterio.open(tmp_path / "here.tif") as two:
        assert np.array_equal(one.read(), two.read())
