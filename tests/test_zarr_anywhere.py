"""Zarr stores written by processes, by a Dask cluster, into S3: the pixels of one thread, whatever dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import geosr
from geosr.api import prepare
from geosr.cluster import look
from geosr.errors import PlaceError
from geosr.io.store import Bucket, Folder
from geosr.io.zarr_sink import ZarrEncoder
from tests import scenes
from tests.servers import object_store
from tests.test_endurance import started
from tests.test_zarr import contents, until

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:distributed", "ignore::ResourceWarning", "ignore:datetime.datetime.utcnow:DeprecationWarning"
)

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32, "co": {"BLOCKSIZE": "64"}}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return scenes.make_plain(tmp_path, shape=(2, 87, 106), nodata=0)


@pytest.fixture
def expected(scene: Path) -> dict[str, bytes]:
    """The store that one thread writes, by keys."""
    geosr.upscale(scene, scene.with_name("one.zarr"), workers=1, **OPTIONS)
    return contents(scene.with_name("one.zarr"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with object_store(monkeypatch) as address:
        yield address


def test_a_cluster_writes_the_store_of_one_thread(scene: Path, expected: dict[str, bytes]) -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        geosr.upscale(scene, scene.with_name("o.zarr"), client=client, **OPTIONS)
    assert contents(scene.with_name("o.zarr")) == expected


def test_a_worker_that_does_not_see_the_result_is_found_before_the_first_tile(scene: Path) -> None:
    run = prepare(scene, scene.with_name("o.zarr"), **OPTIONS)
    with run.open_sink() as sink:
        job = run.job(sink.encoder)
        assert look(job) is None
        assert isinstance(job.encoder, ZarrEncoder)
        elsewhere = replace(job.encoder, store=Folder(scene.with_name("another machine's")))
        assert "does not see the result" in str(look(replace(job, encoder=elsewhere)))


@pytest.mark.lowest
def test_an_object_store_holds_what_a_folder_holds(scene: Path, expected: dict[str, bytes], bucket: str) -> None:
    address = f"{bucket}/deep/o.zarr"
    report = geosr.upscale(scene, address, **OPTIONS)
    assert report["path"] == address
    store = Bucket(address)
    assert {key: store.get(key) for key in expected} == expected
    assert report["bytes"] == sum(map(len, expected.values()))
    found = xr.open_zarr(address, mask_and_scale=False)["data"]
    here = xr.open_zarr(scene.with_name("one.zarr"), mask_and_scale=False)["data"]
    np.testing.assert_array_equal(found.values, here.values)


def test_a_run_into_an_object_store_that_was_killed_goes_on(
    scene: Path, expected: dict[str, bytes], bucket: str
) -> None:
    address = f"{bucket}/o.zarr"
    store = Bucket(address)
    process = started(scene, address, "--scale", "2", "--tile", "32", "--co", "BLOCKSIZE=64")
    until(lambda: len(store.names(".geosr/tiles")) > 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ".zgroup" not in store.names()
    report = geosr.upscale(scene, address, scheduler="processes", workers=2, **OPTIONS)
    assert 2 < report["tiles_from_an_earlier_run"] < report["tiles"]
    assert {key: store.get(key) for key in expected} == expected
    assert ".geosr" not in store.names()


def test_a_bucket_that_is_not_there_is_one_line(scene: Path, bucket: str) -> None:
    with pytest.raises(PlaceError, match="s3://nobody") as caught:
        geosr.upscale(scene, "s3://nobody-has-this/o.zarr", **OPTIONS)
    assert "\n" not in str(caught.value)
