"""How many source pixels a second a model upscales."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from geosr.models.runtime import network_for
from geosr.models.threads import prepare_process
from geosr.response import PROBE
from geosr.sensors import Band

CORE = 256
"""Side of the tile that is timed, source pixels; its halo is computed too, and not counted."""
_LEAST_S = 3.0


def against_bicubic(model: str, scale: int, hardware: str, device: str = "cpu") -> dict[str, Any]:
    """The entry of a card's `speed`: Mpx of the source a second, one band in float32, and of bicubic in the same run.

    On a processor CPU time of one thread counts, so that a busy machine matters little; elsewhere wall time.
    """
    with prepare_process():
        ours, bicubic = (_mpx_per_s(name, scale, place) for name, place in ((model, device), ("bicubic", "cpu")))
    return {"hardware": hardware, "mpx_per_s": ours, "bicubic_mpx_per_s": bicubic}


def _mpx_per_s(model: str, scale: int, device: str) -> float:
    network = network_for(model, scale, (Band(PROBE),), device=device, precision="float32")
    side = -(-(CORE + 2 * network.halo) // network.multiple) * network.multiple
    block = (1000 * np.random.default_rng(0).random((1, side, side))).astype(np.float32)
    clock = time.process_time if device == "cpu" else time.perf_counter
    network(block[:, : side // 2 // network.multiple * network.multiple], (0,))  # warms up
    seconds: list[float] = []
    while sum(seconds) < _LEAST_S:
        start = clock()
        network(block, (0,))
        seconds.append(clock() - start)
    return float(f"{CORE**2 / min(seconds) / 1e6:.3g}")
