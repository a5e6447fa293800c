"""On a Dask cluster: byte for byte the local result, whatever happens to workers and scheduler."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster

import geosr
from geosr import dispatch
from geosr.dispatch import ClusterExecutor
from geosr.errors import GeosrError, PlaceError, TileError
from geosr.pipeline import Job
from geosr.tiling import Tile, TilePlan
from tests import scenes
from tests.servers import serving

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of one thread in this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return scenes.make_plain(tmp_path, shape=(2, 300, 310))


def local(scene: Path, **options: Any) -> bytes:
    geosr.upscale(scene, scene.with_name("local.tif"), overwrite=True, workers=1, **OPTIONS | options)
    return scene.with_name("local.tif").read_bytes()


def test_a_cluster_writes_the_same_pixels_and_metadata_as_threads(client: Client, scene: Path) -> None:
    local(scene, model="fast")
    dst = scene.with_name("out.tif")
    report = geosr.upscale(scene, dst, client=client, **OPTIONS | {"model": "fast"})
    assert report["tiles"] == 100
    one, two = (geosr.open_raster(path, chunks=None) for path in (scene.with_name("local.tif"), dst))
    assert one.identical(two)
    assert dst.stat().st_size == scene.with_name("local.tif").stat().st_size


def test_a_cog_from_a_cluster_is_byte_for_byte_the_local_one(client: Client, scene: Path) -> None:
    dst = scene.with_name("out.tif")
    geosr.upscale(scene, dst, client=client, **OPTIONS)
    assert dst.read_bytes() == local(scene)


def test_workers_that_hold_an_input_open_read_the_one_that_took_its_place(client: Client, scene: Path) -> None:
    dst = scene.with_name("out.tif")
    geosr.upscale(scene, dst, client=client, **OPTIONS)
    scenes.make_plain(scene.parent, "other.tif", shape=(2, 300, 310), seed=5).replace(scene)
    geosr.upscale(scene, dst, client=client, overwrite=True, **OPTIONS)
    assert dst.read_bytes() == local(scene)


def test_the_accessor_uses_an_active_client(client: Client, scene: Path) -> None:
    local(scene)
    with client.as_current():
        fine = geosr.open_raster(scene, chunks=64).geosr.upscale("bicubic", 2, tile=32)
        path = fine.geosr.to_geotiff(scene.with_name("out.tif"), workers=2)
    values = [geosr.open_raster(each, chunks=None).values.tobytes() for each in (path, scene.with_name("local.tif"))]
    assert values[0] == values[1]


def test_a_run_begun_here_goes_on_there_and_the_other_way_round(client: Client, scene: Path) -> None:
    class EnoughError(Exception):
        """Stops a run."""

    def stop(done: int, total: int, pixels: int) -> None:
        if done >= 40:
            raise EnoughError

    expected = local(scene)
    for number, (first, then) in enumerate([(None, client), (client, None)]):
        dst = scene.with_name(f"{number}.tif")
        with pytest.raises(EnoughError):
            geosr.upscale(scene, dst, client=first, progress=stop, **OPTIONS)
        report = geosr.upscale(scene, dst, client=then, **OPTIONS)
        assert report["tiles_from_an_earlier_run"] >= 40
        assert dst.read_bytes() == expected


def test_processes_and_local_workers_write_the_same_bytes(scene: Path) -> None:
    expected = local(scene)
    for scheduler in ("processes", "local:1"):
        dst = scene.with_name("out.tif")
        geosr.upscale(scene, dst, scheduler=scheduler, workers=1, overwrite=True, **OPTIONS)
        assert dst.read_bytes() == expected


def test_a_tile_that_cannot_be_read_is_named_and_the_rest_is_kept(client: Client, scene: Path) -> None:
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    spoilt = scenes.make_plain(scene.parent, "deflated.tif", shape=(1, 256, 256), **tiled)
    content = bytearray(spoilt.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 4000] = bytes(4000)
    spoilt.write_bytes(content)
    with pytest.raises(GeosrError, match=r"tile \d+ .*columns") as caught:
        geosr.upscale(spoilt, scene.with_name("out.tif"), client=client, **OPTIONS)
    assert "\n" not in str(caught.value)


def test_workers_killed_during_a_run_cost_nothing_but_time(scene: Path) -> None:
    expected = local(scene)
    dst = scene.with_name("out.tif")
    dice, killed = random.Random(0), 0
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def kill_thrice(done: int, total: int, pixels: int) -> None:
            nonlocal killed
            if done >= (killed + 1) * total // 4 and killed < 3:
                time.sleep(dice.uniform(0, 0.05))
                os.kill(dice.choice(processes_of(cluster, client)), signal.SIGKILL)
                killed += 1

        report = geosr.upscale(scene, dst, client=client, progress=kill_thrice, **OPTIONS)
    assert killed == 3
    assert report["tiles"] == 100
    assert dst.read_bytes() == expected


def processes_of(cluster: LocalCluster, client: Client) -> list[int]:
    """Of the workers that are there, once there is one: a nanny gives up a worker that dies while it starts."""
    while True:
        there = client.scheduler_info(n_workers=-1)["workers"]
        nannies = [nanny for nanny in cluster.workers.values() if nanny.process and nanny.worker_address in there]
        if found := [nanny.process.pid for nanny in nannies if nanny.process.pid]:
            return found
        time.sleep(0.05)


def test_a_tile_that_no_worker_has_memory_for_is_named_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "_TRIES", 2)
    plan = TilePlan(64, 128, 32, 2)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            memory_limit=memory_of_a_worker() + 400_000_000,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        ClusterExecutor(client) as executor,
    ):
        futures = [executor.submit(take_all_memory_at_tile_5, tile) for tile in plan]
        with pytest.raises(TileError, match=r"tile 5 \(rows 32-63, columns 32-63 .* 2 times .* died on it") as caught:
            futures[5].result(timeout=120)
        assert [future.result(timeout=60) for future in futures if future is not futures[5]] == [0, 1, 2, 3, 4, 6, 7]
    assert "\n" not in str(caught.value)


def memory_of_a_worker() -> int:
    """Bytes of a process that has imported what this module's tasks need; some builds of torch need more."""
    code = f"import {__name__}, psutil; print(psutil.Process().memory_info().rss)"
    root = Path(__file__).resolve().parents[1]
    return int(subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True).stdout)


def take_all_memory_at_tile_5(tile: Tile) -> int:
    """Runs on a worker, whose nanny puts an end to it."""
    taken = []
    while tile.index == 5:
        taken.append(np.ones(5_000_000))
        time.sleep(0.02)
    return tile.index


def test_one_tile_at_a_time_where_workers_offer_a_gpu_and_the_device_is_settled_there(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = local(scene, model="ibp", tile=64)
    at_work: list[int] = []
    most: list[int] = []

    def watched(job: Job, tile: Tile) -> Any:
        at_work.append(tile.index)
        most.append(len(at_work))
        time.sleep(0.01)
        try:
            assert torch.get_num_threads() == 1
            return usual(job, tile)
        finally:
            at_work.remove(tile.index)

    usual = Job.__call__
    monkeypatch.setattr(Job, "__call__", watched)
    settings = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "dashboard_address": "127.0.0.1:0"}
    for resources, device, wanted in (({"GPU": 1}, "auto", 1), ({"GPU": 2}, "auto", 2), ({"GPU": 1}, "cpu", 4)):
        most.clear()
        with (
            LocalCluster(**settings, resources=resources) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            dst = scene.with_name("out.tif")
            geosr.upscale(
                scene, dst, client=client, device=device, overwrite=True, **OPTIONS | {"model": "ibp", "tile": 64}
            )
        assert dst.read_bytes() == expected
        assert max(most) <= wanted
        assert len(most) == 25


def test_an_upscaled_array_is_written_by_the_workers_that_offer_gpus(scene: Path) -> None:
    local(scene, model="ibp")
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        idle, busy = cluster.workers.values()
        cluster.sync(busy.set_resources, GPU=1)
        fine = geosr.open_raster(scene, chunks=64).geosr.upscale("ibp", 2, tile=128)
        path = fine.geosr.to_geotiff(scene.with_name("out.tif"), workers=2)
        done = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert not done[idle.address]
    assert done[busy.address]
    values = [geosr.open_raster(each, chunks=None).values.tobytes() for each in (path, scene.with_name("local.tif"))]
    assert values[0] == values[1]


def test_a_read_that_fails_on_a_worker_is_tried_again_and_a_stalled_one_names_tile_and_window(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_TRIES", 2)
    for key, value in (("LOW_SPEED_TIME", "1"), ("MAX_RETRY", "0"), ("RETRY_DELAY", "0.05")):
        monkeypatch.setenv(f"GDAL_HTTP_{key}", value)
    for name in ("failing.tif", "far.tif"):
        scenes.make_plain(tmp_path, name, shape=(2, 400, 600), tiled=True, blockxsize=64, blockysize=64)
    dst = tmp_path / "out.tif"
    with serving(tmp_path) as server:

        def fail_for_a_while(done: int, total: int, pixels: int) -> None:
            server.failing = 3 if done == 20 else server.failing

        def stall(done: int, total: int, pixels: int) -> None:
            if done == 20:
                server.stalling.set()

        geosr.upscale(server.url("failing.tif"), dst, client=client, progress=fail_for_a_while, **OPTIONS)
        assert server.failing == 0
        with pytest.raises(TileError, match=r"tile \d+ \(rows .*far\.tif: rows .*columns .*stalled") as caught:
            geosr.upscale(server.url("far.tif"), dst, client=client, progress=stall, overwrite=True, **OPTIONS)
    assert "\n" not in str(caught.value)


def test_a_scheduler_that_goes_away_is_told_and_the_run_goes_on_elsewhere(scene: Path) -> None:
    dst = scene.with_name("out.tif")
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0")
    client = Client(cluster, set_as_default=False, timeout=2)

    def close(done: int, total: int, pixels: int) -> None:
        if done == 30:
            client.close()
            cluster.close()

    with pytest.raises(PlaceError, match="scheduler is gone"):
        geosr.upscale(scene, dst, client=client, progress=close, **OPTIONS)
    report = geosr.upscale(scene, dst, **OPTIONS)
    assert report["tiles_from_an_earlier_run"] >= 30
    assert dst.read_bytes() == local(scene)
