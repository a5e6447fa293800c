"""A scene upscaled by all graphics cards of this machine, by dask-cuda: a process and one tile at a time for each.

python examples/graphics_cards.py examples/scene.tif fine.tif
"""

from __future__ import annotations

import sys

from distributed import Client
from distributed.deploy import SpecCluster

import geosr


def cards() -> SpecCluster:
    """A worker for each card. The resource is what keeps it to one tile at a time; with 2, the next one is read and
    the last one encoded meanwhile."""
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        raise SystemExit("this example needs dask-cuda and an NVIDIA card: pip install dask-cuda") from None
    return LocalCUDACluster(threads_per_worker=2, resources={"GPU": 1})


def main(src: str, dst: str, cluster: SpecCluster | None = None) -> str:
    """The path of the result."""
    with cluster or cards() as workers, Client(workers) as client:
        report = geosr.upscale(src, dst, scale=2, client=client, device="auto")  # each worker finds its card
    print(report["path"], report["tiles"], "tiles")
    return str(report["path"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
