"""What xarray and Dask cost, and what a cluster gains and survives, each a ratio or a figure of one run.

    python benchmarks/xarray_dask.py [graph] [overhead] [workers] [scheduler] [usual] [memory] [kills]
        [--side 1024] [--rounds 3] [--folder FOLDER]

`usual` also needs rioxarray. Wall times mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from distributed import Client, LocalCluster
from measure import cost_of, cpu_here, make_scene
from measure import geosr as command

import geosr

HERE = Path(__file__).resolve().parent
LOCAL: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.ERROR}


def graph(folder: Path, side: int, rounds: int) -> None:
    """The lazy result of an array that no machine holds."""
    pixels = da.zeros((4, 100_000, 100_000), chunks=(4, 1024, 1024), dtype="uint16")
    array = xr.DataArray(pixels, dims=("band", "y", "x"))
    geosr.open_raster  # noqa: B018  (brings the accessor)
    start, before = time.perf_counter(), peak_here()
    array.geosr.upscale("fast", 4)
    taken, grown = time.perf_counter() - start, peak_here() - before
    print(f"graph of 4 x 100,000 x 100,000 pixels: {taken * 1e3:.0f} ms, {grown:.0f} MB   (under 2 s, 500 MB)")


def overhead(folder: Path, side: int, rounds: int) -> None:
    """The accessor and a cluster of one worker over the file path, one thread each, x2."""
    scene = make_scene(folder / f"scene{side}.tif", side)
    with LocalCluster(n_workers=1, **LOCAL) as cluster, Client(cluster) as client:

        def accessor() -> None:
            with dask.config.set(scheduler="synchronous"):
                fine = geosr.open_raster(scene).geosr.upscale("fast", 2)
                fine.geosr.to_geotiff(folder / "accessor.tif", workers=1, overwrite=True)

        ways = {
            "file": lambda: upscaled(scene, folder),
            "accessor": accessor,
            "cluster of one worker": lambda: upscaled(scene, folder, client=client),
        }
        walls = in_turns(ways, rounds)
    for name, most in (("accessor", 1.10), ("cluster of one worker", 1.15)):
        print(f"{name} over the file path: {walls[name] / walls['file']:.3f}   (at most {most:.2f})")


def workers(folder: Path, side: int, rounds: int) -> None:
    """One worker of one thread over two of them, both clusters up from the start; x2."""
    scene = make_scene(folder / f"scene{side}.tif", side)
    with (
        LocalCluster(n_workers=1, **LOCAL) as small,
        Client(small, set_as_default=False) as one,
        LocalCluster(n_workers=2, **LOCAL) as large,
        Client(large, set_as_default=False) as two,
    ):
        ways = {
            "one worker": lambda: upscaled(scene, folder, client=one, tile=128),
            "two workers": lambda: upscaled(scene, folder, client=two, tile=128),
        }
        walls = in_turns(ways, rounds)
    print(f"one worker over two: {walls['one worker'] / walls['two workers']:.2f} times   (at least 1.7)")


def scheduler(folder: Path, side: int, rounds: int) -> None:
    """CPU time of the scheduler's process for each tile; small tiles of a cheap model, so that there are many."""
    scene = make_scene(folder / f"scene{side}.tif", side)
    with far_cluster(folder) as client:
        upscaled(scene, folder, client=client, model="nearest", tile=128)
        before = client.run_on_scheduler(cpu_here)
        report = upscaled(scene, folder, client=client, model="nearest", tile=32)
        spent = client.run_on_scheduler(cpu_here) - before
    tiles = report["tiles"]
    print(f"scheduler: {spent / tiles * 1e3:.2f} ms of CPU a tile, of {tiles} tiles   (under 5)")


def usual(folder: Path, side: int, rounds: int) -> None:
    """rioxarray, map_overlap and rio.to_raster with the same network over geosr, whole processes; x2."""
    scene = make_scene(folder / f"scene{side}.tif", side)
    ours, theirs = folder / "ours.tif", folder / "theirs.tif"
    options = ["--scale", "2", "--mtf", "0.3", "--snr", "100", "--no-project", "--overwrite", "--quiet"]
    ways = {
        "usual": lambda: cost_of([sys.executable, str(HERE / "parts.py"), "dask", str(scene), str(theirs)]),
        "geosr": lambda: cost_of(command("upscale", str(scene), str(ours), *options)),
    }
    walls = in_turns(ways, rounds)
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        inner = rasterio.windows.Window(64, 64, one.width - 128, one.height - 128)
        apart = np.abs(one.read(window=inner).astype(int) - other.read(window=inner))
    print(f"usual way over geosr: {walls['usual'] / walls['geosr']:.2f} times, wall   (at least 1.8)")
    print(f"  away from the border {(apart == 0).mean():.5%} of the pixels are the same, others {apart.max()} apart")


def memory(folder: Path, side: int, rounds: int) -> None:
    """Peak resident memory of client, scheduler and two workers, each a process, from small scenes to large; x2."""
    peaks: dict[str, list[float]] = {"client": [], "scheduler": [], "worker": []}
    for each in (2048, 4096, 10980):
        scene = make_scene(folder / f"scene{each}.tif", each)
        with far_cluster(folder) as client:
            options = [
                "--model",
                "bicubic",
                "--scale",
                "2",
                "--scheduler",
                client.scheduler.address,
                "--overwrite",
                "--quiet",
            ]
            cost = cost_of(command("upscale", str(scene), str(folder / "result.tif"), *options))
            peaks["client"].append(cost.peak)
            peaks["scheduler"].append(client.run_on_scheduler(peak_here))
            peaks["worker"].append(max(client.run(peak_here).values()))
        (folder / "result.tif").unlink()
        shown = ", ".join(f"{name} {values[-1]:.0f} MB" for name, values in peaks.items())
        print(f"memory, {each} x {each} x 4: {shown}   (each under 1500)", flush=True)
    print(f"  client, largest over smallest: {max(peaks['client']) / min(peaks['client']):.3f}")


def kills(folder: Path, side: int, rounds: int) -> None:
    """Two workers, one of which is killed ten times at random moments of one run; x2."""
    scene, dst = make_scene(folder / f"scene{side}.tif", side), folder / "result.tif"
    tiles = upscaled(scene, folder, tile=64)["tiles"]
    expected, dice = dst.read_bytes(), random.Random()
    left = sorted(dice.sample(range(1, tiles), 10))
    with LocalCluster(n_workers=2, **LOCAL) as cluster, Client(cluster, set_as_default=False) as client:

        def kill(done: int, total: int, pixels: int) -> None:
            while left and done >= left[0]:
                left.pop(0)
                time.sleep(dice.uniform(0, 0.5))
                os.kill(dice.choice(alive(cluster, client)), signal.SIGKILL)

        report = upscaled(scene, folder, client=client, tile=64, progress=kill)
    same = "the same bytes as" if dst.read_bytes() == expected else "OTHER BYTES THAN"
    print(f"{10 - len(left)} kills in {report['tiles']} tiles and {report['seconds']:.0f} s: {same} an undisturbed run")


def upscaled(scene: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """The report of a run by one thread, or by a client's workers."""
    settings: dict[str, Any] = {"model": "fast", "scale": 2, "workers": 1, "overwrite": True}
    return geosr.upscale(scene, folder / "result.tif", **settings | options)


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, the median of some rounds after one that loads and warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                taken[name].append(time.perf_counter() - start)
    for name, seconds in taken.items():
        print(f"{name}: {', '.join(f'{each:.2f}' for each in seconds)} s")
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


@contextmanager
def far_cluster(folder: Path) -> Iterator[Client]:
    """A scheduler and two workers of one thread, each a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    run = [sys.executable, "-m", "dask"]
    common = ["--no-dashboard"]
    workers = ["--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    commands = [
        [*run, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], *common],
        [*run, "worker", address, *workers, *common],
    ]
    running = [subprocess.Popen(each, env=there, **quiet) for each in commands]
    try:
        with Client(address, set_as_default=False, timeout=60) as client:
            client.wait_for_workers(2, timeout=120)
            yield client
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()


def alive(cluster: LocalCluster, client: Client) -> list[int]:
    """The processes of workers that are there; one that is killed while it starts is given up by its nanny."""
    while True:
        there = client.scheduler_info(n_workers=-1)["workers"]
        nannies = [nanny for nanny in cluster.workers.values() if nanny.process and nanny.worker_address in there]
        if found := [nanny.process.pid for nanny in nannies if nanny.process.pid]:
            return found
        time.sleep(0.05)


def peak_here() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


FIGURES: dict[str, Callable[[Path, int, int], None]] = {
    "graph": graph, "overhead": overhead, "workers": workers, "scheduler": scheduler, "usual": usual,
    "memory": memory, "kills": kills,
}  # fmt: skip


def main() -> None:
    """Runs the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=list(FIGURES), metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.figures:
            FIGURES[name](arguments.folder or Path(scratch), arguments.side, arguments.rounds)


if __name__ == "__main__":
    main()
