"""A scene upscaled by the nodes of a SLURM cluster, by dask-jobqueue: run it where `sbatch` works.

    python examples/slurm.py examples/scene.tif fine.tif

Jobs that end, or are taken away, cost nothing but time; if all of them do, the same command goes on where it stopped.
"""

from __future__ import annotations

import sys

from distributed import Client
from distributed.deploy import SpecCluster

import geosr


def slurm(jobs: int = 4) -> SpecCluster:
    """Jobs of four cores, one process a core; adapt the queue, the memory and the time to your site."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise SystemExit("this example needs dask-jobqueue: pip install dask-jobqueue") from None
    cluster = SLURMCluster(queue="normal", cores=4, processes=4, memory="16GB", walltime="01:00:00")
    cluster.scale(jobs=jobs)
    return cluster


def main(src: str, dst: str, cluster: SpecCluster | None = None) -> str:
    """The path of the result."""
    with cluster or slurm() as nodes, Client(nodes) as client:
        client.wait_for_workers(1)  # however long the queue is
        report = geosr.upscale(src, dst, scale=2, client=client)
    print(report["path"], report["tiles"], "tiles")
    return str(report["path"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
