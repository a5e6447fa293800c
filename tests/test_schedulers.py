"""Kinds of clusters: far ones, files that tell of them, and workers that can't take part, found before any tile."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import geosr
from geosr import cluster, dispatch
from geosr.api import prepare
from geosr.errors import GeosrError, InputError, PlaceError
from tests import scenes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning")

OPTIONS: dict[str, Any] = {"model": "bicubic", "scale": 2, "tile": 32, "overwrite": True}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return scenes.make_plain(tmp_path, shape=(2, 120, 130))


@contextmanager
def far(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], str, Path]]:
    """A scheduler and a worker, each a process of its own; their address and file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, file = f"tcp://127.0.0.1:{port}", folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    places = ["--no-dashboard", "--scheduler-file", str(file)]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), *places],
        [*dask, "worker", address, "--nthreads", "2", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)],
    ]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path.cwd()) for command in commands]
    try:
        yield running[0], running[1], address, file
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def until_there(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def one_line_of(error: pytest.ExceptionInfo[GeosrError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_far_scheduler_is_reached_by_its_address_and_by_its_file_and_its_end_is_told(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geosr.upscale(scene, tmp_path / "local.tif", **OPTIONS)
    dst = tmp_path / "out.tif"
    monkeypatch.setattr(cluster, "_SCHEDULER_TIMEOUT", 3)
    with far(tmp_path) as (scheduler, worker, address, file):
        until_there(file)
        for place in (address, str(file)):
            report = geosr.upscale(scene, dst, scheduler=place, **OPTIONS)
            assert report["tiles"] == 20
            assert dst.read_bytes() == (tmp_path / "local.tif").read_bytes()

        def end(done: int, total: int, pixels: int) -> None:
            if done == 5:
                scheduler.kill()
                worker.kill()

        dst.unlink()
        with pytest.raises(PlaceError, match="scheduler is gone") as caught:
            geosr.upscale(scene, dst, scheduler=address, progress=end, **OPTIONS)
        one_line_of(caught)
        with pytest.raises(PlaceError, match="no Dask scheduler answers at tcp"):
            geosr.upscale(scene, dst, scheduler=address, **OPTIONS | {"overwrite": False})
    report = geosr.upscale(scene, dst, **OPTIONS | {"overwrite": False})
    assert report["tiles_from_an_earlier_run"] >= 5
    assert dst.read_bytes() == (tmp_path / "local.tif").read_bytes()


def test_what_is_no_scheduler_is_one_line(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither threads, processes"):
        geosr.upscale(scene, tmp_path / "out.tif", scheduler="somewhere", **OPTIONS)
    (tmp_path / "scheduler.json").write_text("{}")
    with pytest.raises(InputError, match=r"scheduler\.json is not what a Dask scheduler writes") as caught:
        geosr.upscale(scene, tmp_path / "out.tif", scheduler=tmp_path / "scheduler.json", **OPTIONS)
    one_line_of(caught)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    settings = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**settings) as local, Client(local, set_as_default=False) as client:
        yield client


def test_a_cluster_without_workers_is_told_after_a_while(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_WORKER_TIMEOUT", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        Client(empty, set_as_default=False) as client,
        pytest.raises(PlaceError, match=r"has had no worker for 0\.5 s"),
    ):
        geosr.upscale(scene, tmp_path / "out.tif", client=client, **OPTIONS)
    assert not (tmp_path / "out.tif").exists()


def test_a_cluster_that_loses_its_last_worker_for_good_is_told_and_the_run_goes_on_elsewhere(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_PATIENCE", 1.2)
    settings = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**settings) as local, Client(local, set_as_default=False) as client:

        def lose(done: int, total: int, pixels: int) -> None:
            if done == 5:
                local.scale(0)
                client.sync(client.scheduler.retire_workers, workers=list(client.nthreads()), remove=True)

        with pytest.raises(PlaceError, match="no worker could take a tile: the cluster has none left") as caught:
            geosr.upscale(scene, tmp_path / "out.tif", client=client, progress=lose, **OPTIONS)
        one_line_of(caught)
    report = geosr.upscale(scene, tmp_path / "out.tif", **OPTIONS | {"overwrite": False})
    assert report["tiles_from_an_earlier_run"] >= 5


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ([{"status": "paused"}, {"status": "paused"}], "all of them are paused, near the end of their memory"),
        ([{"resources": {}}], "none has the resource GPU any more"),
        ([{"status": "paused"}, {"resources": {"GPU": 1}, "status": "running"}], ""),
    ],
)
def test_workers_that_are_there_but_take_no_tiles_are_noticed(workers: list[dict[str, Any]], told: str) -> None:
    class Scheduler:
        """A client as far as it is asked."""

        status = "closed"

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"workers": {str(number): worker for number, worker in enumerate(workers)}}

    gpu = {"GPU": 1} if any("resources" in worker for worker in workers) else None
    with dispatch.ClusterExecutor(Scheduler(), gpu) as executor:  # type: ignore[arg-type]
        assert executor._nobody().startswith(told)
        assert bool(executor._nobody()) == bool(told)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"geosr": "0.0.1"}, "it has geosr 0.0.1, and this run is of"),
        ({"torch": "1.0"}, "it has torch 1.0, and this run is of"),
        ({"geosr": None}, "it has geosr not at all"),
    ],
)
def test_a_worker_with_other_versions_is_found_before_the_first_tile(
    client: Client, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, str], told: str
) -> None:
    ours = cluster._teller()()
    answers = iter([lambda: ours, lambda: ours | theirs])
    monkeypatch.setattr(cluster, "_teller", lambda: next(answers))
    with pytest.raises(PlaceError, match=rf"worker inproc.* can't take part: {re.escape(told)}") as caught:
        geosr.upscale(scene, tmp_path / "out.tif", client=client, **OPTIONS)
    one_line_of(caught)
    assert not (tmp_path / "out.tif").exists()


def test_versions_are_told_by_a_worker_that_has_no_geosr() -> None:
    from distributed.protocol.pickle import dumps

    code = "import sys, pickle; sys.modules['geosr'] = None; print(pickle.loads(sys.stdin.buffer.read())()['geosr'])"
    told = subprocess.run([sys.executable, "-c", code], input=dumps(cluster._teller()), capture_output=True, check=True)
    assert told.stdout.decode().strip() == "None"


def test_a_worker_that_cannot_see_the_input_is_found_before_the_first_tile(
    client: Client, scene: Path, tmp_path: Path
) -> None:
    run = prepare(scene, tmp_path / "out.tif", **OPTIONS)
    assert cluster.look(run.job()) is None
    scene.unlink()
    with pytest.raises(PlaceError, match=r"worker .* can't take part: it can't read the input") as caught:
        run.execute(None, client)
    one_line_of(caught)
    assert not (tmp_path / "out.tif").exists()


def test_a_worker_where_the_model_sees_farther_than_tiles_were_made_for_cannot_take_part(
    scene: Path, tmp_path: Path
) -> None:
    job = prepare(scene, tmp_path / "out.tif", **OPTIONS).job()
    narrow = replace(job, plan=replace(job.plan, halo=job.plan.halo - 1))
    assert f"sees {job.plan.halo} pixels far there, and tiles were made for" in str(cluster.look(narrow))


def test_a_worker_that_lacks_the_model_is_found_before_the_first_tile(
    client: Client, scene: Path, tmp_path: Path
) -> None:
    from geosr.models import registry, runtime

    weights = tmp_path / "own.safetensors"
    weights.write_bytes(Path(str(registry.locate("fast", 2))).read_bytes())
    run = prepare(scene, tmp_path / "out.tif", **OPTIONS | {"model": str(weights)})
    runtime._load.cache_clear()
    weights.unlink()
    with pytest.raises(PlaceError, match=r"worker .* can't take part: it can't load the model") as caught:
        run.execute(None, client)
    one_line_of(caught)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_adaptive_cluster_that_has_no_worker_yet_is_given_something_to_do(scene: Path, tmp_path: Path) -> None:
    geosr.upscale(scene, tmp_path / "local.tif", **OPTIONS)
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as adaptive,
        Client(adaptive, set_as_default=False) as client,
    ):
        adaptive.adapt(minimum=0, maximum=2, interval="100ms")
        geosr.upscale(scene, tmp_path / "out.tif", client=client, **OPTIONS)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "local.tif").read_bytes()


def test_workers_that_a_batch_system_has_not_started_yet_are_waited_for(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_WORKER_TIMEOUT", 0.3)
    asked = iter([True, True, True])
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as slow,
        Client(slow, set_as_default=False) as client,
    ):

        def in_the_queue(_: Client) -> bool:
            still = next(asked, False)
            if not still:
                slow.scale(1)
            return True

        monkeypatch.setattr(cluster, "workers_are_coming", in_the_queue)
        geosr.upscale(scene, tmp_path / "out.tif", client=client, **OPTIONS)
    assert next(asked, None) is None
    assert (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(("resources", "few", "many"), [(None, 3, 17), ({"GPU": 1}, 3, 5)])
def test_tiles_in_flight_follow_a_cluster_that_grows(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, int] | None, few: int, many: int
) -> None:
    workers = [{"nthreads": 1, "resources": {"GPU": 1}, "status": "running"}]

    class Scheduler:
        status = "closed"

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            return {"workers": dict(enumerate(workers))}

    monkeypatch.setattr(dispatch, "_PATIENCE", 0.12)
    with dispatch.ClusterExecutor(Scheduler(), resources) as executor:  # type: ignore[arg-type]
        pool = cluster.Pool(executor)
        assert pool.ahead == few
        workers.append({"nthreads": 7, "resources": {"GPU": 1}, "status": "running"})
        deadline = time.monotonic() + 30
        while pool.ahead == few and time.monotonic() < deadline:
            time.sleep(0.01)
        assert pool.ahead == many


UNGUARDED = """
import sys, geosr
print("read", flush=True)
{call}
"""
CALLS = {
    "upscale": "geosr.upscale(sys.argv[1], sys.argv[2], model='bicubic', scale=2, scheduler=sys.argv[3])",
    "many": "geosr.upscale_many([sys.argv[1]], sys.argv[2], model='bicubic', scale=2, scheduler=sys.argv[3])",
}


@pytest.mark.parametrize("scheduler", ["processes", "local:2"])
@pytest.mark.parametrize("call", list(CALLS))
def test_a_script_that_calls_geosr_as_it_is_imported_is_told_of_the_guard(
    scene: Path, tmp_path: Path, scheduler: str, call: str
) -> None:
    script, dst = tmp_path / "script.py", tmp_path / ("out.tif" if call == "upscale" else "out")
    script.write_text(UNGUARDED.format(call=CALLS[call]))
    done = subprocess.run(
        [sys.executable, script, scene, dst, scheduler], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["read", "read"]  # by the script and by the one process that was tried
    assert done.stderr.count("Traceback") == 1  # Python's own, of the error that nobody caught
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"geosr.errors.InputError: scheduler '{scheduler}' starts processes")
    assert 'script.py, and that calls geosr as it is imported; put the call under `if __name__ == "__main__":`' in last
    assert {path.name for path in tmp_path.rglob("*")} <= {"script.py", scene.name, "out"}


def test_a_script_with_a_guard_or_with_threads_runs(scene: Path, tmp_path: Path) -> None:
    guarded = UNGUARDED.format(call=f"if __name__ == '__main__': {CALLS['upscale']}")
    for scheduler, text in (("processes", guarded), ("threads", UNGUARDED.format(call=CALLS["upscale"]))):
        script = tmp_path / "script.py"
        script.write_text(text)
        subprocess.run([sys.executable, script, scene, tmp_path / f"{scheduler}.tif", scheduler], check=True)
    assert (tmp_path / "processes.tif").read_bytes() == (tmp_path / "threads.tif").read_bytes()


def test_a_script_that_ends_in_a_process_of_its_own_is_told(scene: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nif __name__ != '__main__': sys.exit(5)\nimport geosr\n{CALLS['upscale']}")
    done = subprocess.run(
        [sys.executable, script, scene, tmp_path / "out.tif", "processes"], capture_output=True, text=True, check=False
    )
    assert "a process can't start: importing script.py in it ended with exit code 5" in done.stderr.splitlines()[-1]


def test_workers_of_this_machine_start_beside_another_cluster_without_a_word() -> None:
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as other,
        Client(other, set_as_default=False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", UserWarning)
        with cluster._client("local:1") as client:
            assert client.submit(int, 7, pure=False).result() == 7
