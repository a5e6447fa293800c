"""Dates fused by the workers of a cluster, one of which is killed in the middle: the pixels of one machine."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import geosr
import geosr.xarray
from tests.dates import MTF, SHIFTS, Ground, written

pytest.importorskip("distributed")

from distributed import Client, LocalCluster

from tests.test_cluster import processes_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning"),
]

SHAPE = 96, 112
OPTIONS: dict[str, Any] = {"model": "ibp", "scale": 2, "mtf": MTF, "snr": 100, "tile": 32, "fuse": True}


@pytest.fixture
def dates(tmp_path: Path) -> list[Path]:
    ground = Ground.of(3)
    made = (ground.date(SHAPE, shift, seed=place) for place, shift in enumerate(SHIFTS[:3]))
    return [written(tmp_path / f"2021-0{place + 1}-05.tif", date, nodata=0) for place, date in enumerate(made)]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Two workers, each a process of one thread."""
    options: dict[str, Any] = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
    with LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster:
        yield cluster


def test_a_worker_killed_in_the_middle_changes_no_byte(dates: list[Path], cluster: LocalCluster) -> None:
    here, there = (dates[0].with_name(name) for name in ("here.tif", "there.tif"))
    geosr.upscale(dates, here, **OPTIONS)
    killed = []

    def kill(done: int, total: int, pixels: int) -> None:
        if not killed and done > total // 4:
            killed.append(processes_of(cluster, client)[0])
            os.kill(killed[0], signal.SIGKILL)

    with Client(cluster, set_as_default=False) as client:
        geosr.upscale(dates, there, client=client, progress=kill, **OPTIONS)
    assert killed
    for one, other in ((here, there), (here.with_suffix(".frames.tif"), there.with_suffix(".frames.tif"))):
        assert one.read_bytes() == other.read_bytes()


def test_an_array_computed_while_a_worker_is_killed_has_the_same_pixels(
    dates: list[Path], cluster: LocalCluster
) -> None:
    array = xr.concat([geosr.open_raster(path, chunks=64) for path in dates], "time")
    here = array.geosr.upscale(**OPTIONS).compute(scheduler="synchronous")
    with Client(cluster) as client:
        made = array.geosr.upscale(**OPTIONS).persist()
        chunks = made["data"].data.npartitions
        deadline = time.monotonic() + 60
        while _kept(client) < chunks and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(processes_of(cluster, client)[0], signal.SIGKILL)
        there = made.compute()
    assert there.equals(here)


def _kept(client: Client) -> int:
    """Results that workers hold."""
    return sum(map(len, client.has_what().values()))
