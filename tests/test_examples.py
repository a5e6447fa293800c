"""Every example runs, and shows what it says."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from distributed import LocalCluster

import geosr
from tests import scenes
from tests.dates import SHIFTS, Ground
from tests.safe import make_safe
from tests.stac_items import make_item

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


def test_indices_of_a_product_are_the_same_at_ten_metres_and_finer(tmp_path: Path) -> None:
    fine, ten = tmp_path / "fine.tif", tmp_path / "ten.tif"
    found = example("sentinel2_to_fine").main(str(make_safe(tmp_path)), str(fine), str(ten))
    for before, after in found.values():
        assert after == pytest.approx(before, abs=0.02)
    with rasterio.open(fine) as made, rasterio.open(ten) as coarse:
        assert (made.count, made.res, coarse.res) == (12, (2.5, 2.5), (10, 10))
        assert made.bounds == coarse.bounds
        assert set(made.offsets) == {-0.1}


def test_a_cube_comes_back_from_zarr_as_it_was_upscaled(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    module = example("time_cube")
    kept = module.main(str(tmp_path / "cube.zarr"))
    fine = module.cube().geosr.upscale("fast", scale=2)
    assert np.array_equal(kept.red.values, fine.red.values)
    assert np.array_equal(kept.scl.values, module.cube().scl.values.repeat(2, 1).repeat(2, 2))
    assert kept.odc.geobox == module.cube().odc.geobox.zoom_out(0.5)


def test_a_clip_is_shown_at_the_same_times_with_twice_the_pixels(tmp_path: Path) -> None:
    before, after = example("clip").main(str(tmp_path / "fine.mp4"))
    assert [(time, 2 * width, 2 * height) for time, width, height in before] == after


def test_an_archive_of_stores_can_be_looked_at_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("zarr")
    src = scenes.make_plain(tmp_path)
    module = example("zarr_archive")
    looks = module.main(str(tmp_path / "archive"), str(EXAMPLES / "scene.tif"), str(src))
    assert len(looks) == 2
    with rasterio.open(EXAMPLES / "scene.tif") as scene:
        assert looks[0].mean(("y", "x")).values == pytest.approx(scene.read().mean((1, 2)), rel=0.01)
    module.main(str(tmp_path / "archive"), str(EXAMPLES / "scene.tif"), str(src))
    assert capsys.readouterr().out.count(" skipped ") == 2


def test_a_cluster_writes_what_one_machine_writes(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    path = example("on_a_cluster").main(str(src), str(tmp_path / "cluster.tif"))
    geosr.upscale(src, tmp_path / "here.tif", scale=2)
    with rasterio.open(path) as one, rasterio.open(tmp_path / "here.tif") as two:
        assert np.array_equal(one.read(), two.read())


@pytest.mark.parametrize("name", ["slurm", "graphics_cards"])
def test_clusters_of_other_kinds_are_stood_in_for_by_a_local_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = scenes.make_plain(tmp_path), tmp_path / "there.tif"
    with LocalCluster(n_workers=1, processes=False, resources={"GPU": 1}, dashboard_address="127.0.0.1:0") as cluster:
        example(name).main(str(src), str(dst), cluster)
    geosr.upscale(src, tmp_path / "here.tif", scale=2)
    with rasterio.open(dst) as one, rasterio.open(tmp_path / "here.tif") as two:
        assert np.array_equal(one.read(), two.read())
    for package in ("dask_jobqueue", "dask_cuda"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match="pip install dask-"):
        example(name).main(str(src), str(dst))


def test_slurm_is_asked_for_processes_of_one_core() -> None:
    pytest.importorskip("dask_jobqueue")
    with example("slurm").slurm(jobs=0) as cluster:
        script = cluster.job_script()
    assert "--nthreads 1" in script
    assert "--nworkers 4" in script
    assert "--cpus-per-task=4" in script


def test_a_network_of_ones_own_sharpens(tmp_path: Path) -> None:
    path = example("your_own_network").main(str(EXAMPLES / "scene.tif"), str(tmp_path / "own.tif"))
    geosr.upscale(EXAMPLES / "scene.tif", tmp_path / "bicubic.tif", model="bicubic", scale=2)
    with rasterio.open(path) as sharp, rasterio.open(tmp_path / "bicubic.tif") as soft:
        assert sharp.bounds == soft.bounds
        assert sharp.tags()["GEOSR_MODEL"] == "your_own_network.Sharpened"
        one, two = sharp.read().astype(float), soft.read().astype(float)
    assert np.abs(one.mean() - two.mean()) < 1
    assert np.abs(np.diff(one)).mean() > 1.2 * np.abs(np.diff(two)).mean()


def test_ten_lines_keep_a_field_and_a_picture(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "scene.tif", tmp_path / "examples" / "scene.tif")
    there = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, str(EXAMPLES / "ten_lines.py")], cwd=tmp_path, env=there, check=True)
    assert len((EXAMPLES / "ten_lines.py").read_text().split('"""')[2].strip().splitlines()) <= 10
    with rasterio.open(tmp_path / "field.tif") as field:
        assert field.shape == (126, 126)
        assert field.res == (15, 15)
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_dates_of_a_catalogue_are_fused_with_the_pixels_of_files_and_each_keeps_its_own_index(tmp_path: Path) -> None:
    module, ground, items = example("fused_dates"), Ground.of(3), []
    for place, shift in enumerate(SHIFTS[:3]):
        date = ground.date((60, 64), shift, seed=place)
        bands = {"B04": date / 2, "B08": date * (1 + place / 5)}
        day = f"2023-06-{5 * place + 1:02d}"
        item = make_item(
            tmp_path / day,
            keys=[*bands],
            ground=lambda key, metres, bands=bands: (bands[key] + 1000).astype("uint16"),  # type: ignore[misc]
            name=day,
            told={"datetime": f"{day}T10:46:21.024Z"},
        )
        items.append(str(item))
    before, after = module.main(items)
    assert after.shape == (3, 120, 128)
    for place in range(3):
        assert float(after[place].mean()) == pytest.approx(float(before[place].mean()), abs=0.002)
        blocks = after[place].values.reshape(60, 2, 64, 2).mean((1, 3))
        apart = [np.abs(blocks - other.values)[8:-8, 8:-8].mean() for other in before]
        assert np.argmin(apart) == place
    fine = module.cube(items).geosr.upscale(scale=2, fuse=True)
    geosr.upscale(items, tmp_path / "out.tif", fuse=True, scale=2, bands=["B04", "B08"])
    with rasterio.open(tmp_path / "out.tif") as made, rasterio.open(tmp_path / "out.frames.tif") as counts:
        assert np.array_equal(made.read(), fine["numbers"])
        assert np.array_equal(counts.read(), fine["frames"])
        assert made.tags()["GEOSR_MTF"]
