"""On a Dask cluster: byte for byte the local result, whatever happens to workers and scheduler."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import geosr
from geosr.api import prepare
from geosr.cluster import look
from geosr.errors import GeosrError, InputError, PlaceError
from tests import scenes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of one thread in this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
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


def test_a_worker_that_cannot_take_part_is_found_before_the_first_tile(client: Client, scene: Path) -> None:
    job = prepare(scene, scene.with_name("out.tif"), **OPTIONS).job()
    assert look(job, geosr.__version__) is None
    assert "geosr 0.0.1" in str(look(job, "0.0.1")) or "of 0.0.1" in str(look(job, "0.0.1"))
    run = prepare(scene, scene.with_name("out.tif"), **OPTIONS)
    scene.unlink()
    with pytest.raises(PlaceError, match=r"worker .* can't read the input") as caught:
        run.execute(None, client)
    assert "\n" not in str(caught.value)
    assert not scene.with_name("out.tif").exists()


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


def test_a_scheduler_that_is_not_there_is_one_line(scene: Path) -> None:
    with pytest.raises(InputError, match="neither threads, processes"):
        geosr.upscale(scene, scene.with_name("out.tif"), scheduler="somewhere", **OPTIONS)


def test_workers_killed_during_a_run_cost_nothing_but_time(scene: Path) -> None:
    expected = local(scene)
    dst = scene.with_name("out.tif")
    over = threading.Event()
    killed = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def kill() -> None:
            dice = random.Random(0)
            while not over.wait(0.7) and len(killed) < 10:
                pids = [nanny.process.pid for nanny in cluster.workers.values() if nanny.process and nanny.process.pid]
                if pids:
                    killed.append(dice.choice(pids))
                    try:
                        os.kill(killed[-1], signal.SIGKILL)
                    except ProcessLookupError:
                        killed.pop()

        def slowly(done: int, total: int, pixels: int) -> None:
            time.sleep(0.05)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            report = geosr.upscale(scene, dst, client=client, progress=slowly, **OPTIONS)
        finally:
            over.set()
            thread.join()
    assert killed
    assert report["tiles"] == 100
    assert dst.read_bytes() == expected


def test_a_scheduler_that_goes_away_is_told_and_the_run_goes_on_elsewhere(scene: Path) -> None:
    dst = scene.with_name("out.tif")
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
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
