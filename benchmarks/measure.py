"""What all benchmarks share: a scene of any size made from the example, and the cost of a process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "scene.tif"


@dataclass(frozen=True)
class Cost:
    """What a process took, children included."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    """Seconds."""
    peak: float
    """Largest resident memory, MB."""


def cost_of(command: list[str], **environment: str) -> Cost:
    """Run a command to its end and return what it took. Raises `RuntimeError` with its output if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{output}")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / unit)


def cpu_here() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make_scene(path: Path, side: int, bands: int = 4) -> Path:
    """A square uint16 scene of real pixels: the example mirrored from edge to edge, with a little noise of its own."""
    if path.exists():
        return path
    with rasterio.open(EXAMPLE) as example:
        unit = example.read()
        crs = example.crs
    unit = np.concatenate([unit, unit[:1]])[:bands]
    pair = np.concatenate([unit, unit[:, :, ::-1]], 2)
    quad = np.concatenate([pair, pair[:, ::-1]], 1)
    random = np.random.default_rng(0)
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": bands, "width": side, "height": side, "crs": crs,
        "transform": from_origin(700000, 7300000, 30, 30), "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "predictor": 2, "zlevel": 1, "interleave": "pixel", "num_threads": "all_cpus",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        for row in range(0, side, quad.shape[1]):
            for col in range(0, side, quad.shape[2]):
                height, width = min(quad.shape[1], side - row), min(quad.shape[2], side - col)
                noise = random.integers(-4, 5, (bands, height, width))
                pixels = (quad[:, :height, :width] + noise).clip(1, 65535).astype(np.uint16)
                target.write(pixels, window=Window(col, row, width, height))
    return path


def geosr(*arguments: str) -> list[str]:
    """The command that runs geosr in this environment."""
    return [sys.executable, "-c", "from geosr.cli import main; main()", *arguments]
