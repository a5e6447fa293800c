"""The caller's `rasterio.Env` holds wherever geosr reads: in threads, processes, on clusters, and from any thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client, LocalCluster
from rasterio.env import getenv, setenv

import geosr
from geosr.errors import PlaceError
from geosr.io.environment import current_options, reading, under
from geosr.io.scene import open_scene
from tests import scenes
from tests.servers import Server, serving

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32, "workers": 2, "overwrite": True}
ENV = {"GDAL_HTTP_HEADERS": "Password: open sesame", "GDAL_HTTP_MAX_RETRY": "0"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that asks for a password."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "far").mkdir()
    for name in ("a.tif", "b.tif"):
        scenes.make_plain(tmp_path / "far", name, shape=(1, 90, 100), tiled=True, blockxsize=32, blockysize=32)
    with serving(tmp_path / "far") as server:
        server.password = "open sesame"
        yield server


def main_thread(do: Callable[[], Any]) -> Any:
    return do()


def other_thread(do: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()
    thread.join()
    return found[0]


anywhere = pytest.mark.parametrize("called_from", [main_thread, other_thread])


@anywhere
@pytest.mark.parametrize("scheduler", ["threads", "processes", "client"])
def test_credentials_of_the_caller_open_the_input_wherever_tiles_run(
    server: Server, tmp_path: Path, called_from: Callable[..., Any], scheduler: str
) -> None:
    geosr.upscale(tmp_path / "far" / "a.tif", tmp_path / "here.tif", **OPTIONS)

    def work() -> Any:
        with rasterio.Env(**ENV):
            where: dict[str, Any] = {"scheduler": scheduler}
            if scheduler != "client":
                return geosr.upscale(server.url("a.tif"), tmp_path / "out.tif", **OPTIONS | {"workers": 1}, **where)
            settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
            with LocalCluster(**settings) as cluster, Client(cluster, set_as_default=False) as client:
                return geosr.upscale(server.url("a.tif"), tmp_path / "out.tif", **OPTIONS, client=client)

    called_from(work)
    here, there = (geosr.open_raster(tmp_path / name, chunks=None) for name in ("here.tif", "out.tif"))
    assert np.array_equal(here, there)


@anywhere
def test_a_lazy_array_is_read_as_it_was_opened_after_the_environment_has_ended(
    server: Server, tmp_path: Path, called_from: Callable[..., Any]
) -> None:
    def work() -> Any:
        with rasterio.Env(**ENV):
            lazy = geosr.open_raster(server.url("a.tif"), chunks=32)
        return lazy.geosr.upscale("bicubic", 2).compute(scheduler="threads")

    local = geosr.open_raster(tmp_path / "far" / "a.tif").geosr.upscale("bicubic", 2)
    assert np.array_equal(called_from(work), local)


@anywhere
def test_an_archive_is_planned_and_done_with_the_callers_credentials(
    server: Server, tmp_path: Path, called_from: Callable[..., Any]
) -> None:
    def work() -> list[str]:
        with rasterio.Env(**ENV):
            records = geosr.upscale_many([server.url("a.tif"), server.url("b.tif")], tmp_path / "out", **OPTIONS)
        return [record["status"] for record in records]

    assert called_from(work) == ["done", "done"]


def test_without_credentials_the_server_is_quoted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="401"):
        geosr.upscale(server.url("a.tif"), tmp_path / "out.tif", **OPTIONS)


def test_options_of_the_caller_win_over_those_for_networks_and_never_over_the_safe_ones() -> None:
    with rasterio.Env(GDAL_HTTP_MAX_RETRY="9", GDAL_VRT_ENABLE_PYTHON="YES"):
        with reading("https://host/a.tif"):
            held = getenv()
        assert getenv()["GDAL_VRT_ENABLE_PYTHON"] == "YES"
        given = current_options()
    assert (held["GDAL_HTTP_MAX_RETRY"], held["GDAL_HTTP_RETRY_DELAY"]) == ("9", "0.5")
    assert held["GDAL_VRT_ENABLE_PYTHON"] == "NO"
    assert current_options() == ()
    with reading("https://host/a.tif", given):
        assert getenv()["GDAL_HTTP_MAX_RETRY"] == "9"
        assert getenv()["GDAL_VRT_ENABLE_PYTHON"] == "NO"


def test_credentials_of_a_session_travel_and_are_not_shown(tmp_path: Path) -> None:
    with rasterio.Env():
        setenv(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="very secret")
        source = open_scene(scenes.make_plain(tmp_path)).source
    assert "very secret" not in repr(source)
    with under(source.options):
        assert {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very secret"}.items() <= getenv().items()
    assert "GDAL_DATA" not in dict(source.options)


def test_the_cache_is_as_large_as_the_callers_environment_has_it(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path)
    code = (
        "import sys, rasterio; from rasterio.env import get_gdal_config; from geosr.io.scene import open_scene\n"
        "with rasterio.Env(GDAL_CACHEMAX=12_000_000):\n"
        "    open_scene(sys.argv[1]); print(get_gdal_config('GDAL_CACHEMAX'))"
    )
    done = subprocess.run([sys.executable, "-c", code, src], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12000000"
