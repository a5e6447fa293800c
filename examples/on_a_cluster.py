"""A scene upscaled by the workers of a Dask cluster; the client writes the file as encoded tiles come in.

    python examples/on_a_cluster.py examples/scene.tif fine.tif

Here the cluster is two processes of this machine; `slurm.py` and `graphics_cards.py` have others. Workers need the same
geosr and see the input under the same name.
"""

from __future__ import annotations

import sys

from distributed import Client, LocalCluster

import geosr


def main(src: str, dst: str, scale: int = 2) -> str:
    """The path of the result."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        report = geosr.upscale(src, dst, scale=scale, client=client, overwrite=True)
    print(report["path"], report["tiles"], "tiles")
    return str(report["path"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
