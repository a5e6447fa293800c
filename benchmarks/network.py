"""CPU time of the models per pixel of the source, one band: the runtime against the network in a plain loop.

    python benchmarks/network.py [--sides 304 560] [--repeats 3]

Every row of `fast` is checked against the network as it was trained, run by torch as it comes ("plain"): dB is the
signal-to-error ratio of the detail that it adds. The least of the repeats counts, CPU time and not wall time, so that
a busy machine matters little; one thread throughout. "plain" runs before memory is kept for reuse, as anyone's loop
would.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import load_file

from geosr.models.networks import fast
from geosr.models.registry import locate
from geosr.models.runtime import network_for
from geosr.models.threads import prepare_process
from geosr.noise import SILENT
from geosr.response import PROBE
from geosr.sensors import Band

RESPONSE, NOISE, SCALE = PROBE.towards_result, SILENT, 4


def main() -> None:
    """Prints a table, a line for each way of running the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[304, 560], help="block sides, source pixels")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'side':>5} {'model':24} {'ns per source pixel':>20} {'dB':>7}")
    for side in options.sides:
        block = (1000 * np.random.default_rng(0).random((1, side, side))).astype(np.float32)
        exact = plain()(block)
        report(side, "fast, plain loop", cost(plain(), block, options.repeats))
        with prepare_process():
            report(side, "fast, plain, memory kept", cost(plain(), block, options.repeats))
            for model in ("fast", "nearest", "bilinear", "bicubic", "lanczos", "ibp"):
                network = network_for(model, SCALE, (Band(RESPONSE, NOISE),), device="cpu", precision="float32")
                decibels = agreement(network(block, (0,)), exact, block, network.halo) if model == "fast" else None
                report(side, model, cost(lambda b, n=network: n(b, (0,)), block, options.repeats), decibels)


def plain() -> Callable[[np.ndarray], np.ndarray]:
    """The trained network as torch runs it when nothing is done about it."""
    path = locate("fast", SCALE)
    assert path is not None
    module = fast(SCALE).eval()
    module.load_state_dict(load_file(path))

    def run(block: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            result = module(torch.from_numpy(block)[None], torch.tensor([RESPONSE.told]), torch.zeros(1, 2))
        return result[0].numpy()

    return run


def cost(run: Callable[[np.ndarray], np.ndarray], block: np.ndarray, repeats: int) -> float:
    """Nanoseconds of CPU per source pixel; the first call, which loads and warms up, doesn't count."""
    run(block)
    least = np.inf
    for _ in range(repeats):
        start = time.process_time()
        run(block)
        least = min(least, time.process_time() - start)
    return least / block.size * 1e9


def agreement(result: np.ndarray, exact: np.ndarray, block: np.ndarray, halo: int) -> float:
    """Power of the detail over that of the difference, dB, away from the border."""
    rim = halo * SCALE
    inner = (slice(None), slice(rim, -rim), slice(rim, -rim))
    base = network_for("bicubic", SCALE, (Band(RESPONSE, NOISE),))(block, (0,))
    detail = np.mean((exact[inner].astype(np.float64) - base[inner]) ** 2)
    return float(10 * np.log10(detail / np.mean((result[inner].astype(np.float64) - exact[inner]) ** 2)))


def report(side: int, name: str, nanoseconds: float, decibels: float | None = None) -> None:
    """Prints a line: nanoseconds a source pixel, and how far the result is from float64's, dB."""
    print(f"{side:5} {name:24} {nanoseconds:20.0f} {'' if decibels is None else format(decibels, '7.0f')}", flush=True)


if __name__ == "__main__":
    main()
