"""What a graphics card makes of geosr: a table for BENCHMARKS.md, ratios within one run first.

    python benchmarks/gpu.py [whole] [networks] [training] [--side 4096] [--device cuda:0] [--folder FOLDER]

What could not be run is marked so. A Sentinel-2 tile is reckoned from a scene of `--side` by the number of pixels, what
a process takes to start left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import make_scene

import geosr
from geosr.errors import one_line
from geosr.models import devices, graphics, runtime
from geosr.models.engines import OnDevice
from geosr.models.runtime import network_for
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band

NEVER = "never run"
SEEN = (Band(Response.gaussian(0.25), Noise(1.0, 0.0175)),)
SCALE = 4
TILE = 10980
"""Pixels a side of a Sentinel-2 tile."""
Rows = Iterator[tuple[str, str, str]]
"""A figure, what was asked, what was measured."""


@contextmanager
def _watched(work: Callable[[Callable[..., None]], Callable[..., None]]) -> Iterator[None]:
    """`graphics.Pieces.__call__` as `work` makes it of the usual one."""
    usual = graphics.Pieces.__call__
    graphics.Pieces.__call__ = work(usual)  # type: ignore[method-assign]
    try:
        yield
    finally:
        graphics.Pieces.__call__ = usual  # type: ignore[method-assign]


def _timed(spans: list[tuple[Any, Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Notes when the card began and ended each block."""

    def work(usual: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            usual(*args)
            ended.record()
            spans.append((began, ended))

        return call

    return work


def _left_out(usual: Callable[..., None]) -> Callable[..., None]:
    """No network: pixels are repeated."""

    def call(self: graphics.Pieces, block: torch.Tensor, bands: Any, out: torch.Tensor) -> None:
        out.copy_(block.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2))

    return call


def whole(device: str, folder: Path, side: int) -> Rows:
    """A scene of four bands at x4 as COG: the process over the larger of network and all else, and a card's share."""
    scene, small = (make_scene(folder / f"scene{each}.tif", each) for each in (side, 600))
    asked = {"fast": "15 s", "best": "30 s"}
    for model in ("fast", "best"):

        def run(scene: Path = scene, model: str = model) -> float:
            start = time.perf_counter()
            geosr.upscale(scene, folder / "out.tif", model=model, scale=SCALE, device=device, overwrite=True)
            return time.perf_counter() - start

        run(small)  # libraries and weights load
        with _watched(_left_out):
            rest = run()
        spans: list[tuple[Any, Any]] = []
        with _watched(_timed(spans)):
            seconds = run()
        torch.cuda.synchronize()
        network = sum(began.elapsed_time(ended) for began, ended in spans) / 1e3
        ratio, busy = seconds / max(network, rest), network / seconds
        yield f"`{model}`: process over the larger of network and all else", "at most 1.3", f"{ratio:.2f}"
        yield f"`{model}`: share of the time that the network is busy", "0.90 at `best`", f"{busy:.2f}"
        parts = f"{seconds:.1f} s; network {network:.1f}, all else alone {rest:.1f}"
        yield f"`{model}`: {side} x {side} pixels, four bands, x{SCALE}, COG", "", parts
        tile = seconds * (TILE / side) ** 2
        yield f"`{model}`: a Sentinel-2 tile, the same, reckoned", f"under {asked[model]}", f"{tile:.0f} s"


def networks(device: str) -> Rows:
    """Source pixels a second of each network, and what recording its work gains."""
    for model in ("fast", "best", "swin", "edsr", "vdsr", "srcnn"):
        for precision in ("float32", "bfloat16"):
            network = network_for(model, SCALE, SEEN, device=device, precision=precision)
            ready = network._plain()
            assert isinstance(ready, OnDevice)
            side = graphics.SIDE + 2 * -(-network.halo // network.multiple) * network.multiple
            block = torch.rand(1, side, side, device=device) * 3000
            out = torch.empty(1, SCALE * side, SCALE * side, device=device)
            given = block, network.relative, out

            def work(ready: OnDevice = ready, given: Any = given) -> None:
                with torch.inference_mode(), devices.exact_convolutions(device):
                    ready._pieces(*given)

            ready._pieces._can_record = False
            plain = _milliseconds(work)
            ready._pieces._can_record = True
            recorded = _milliseconds(work)
            speed = f"{graphics.SIDE**2 / recorded / 1e3:.1f} Mpx/s, {plain / recorded:.2f} times that unrecorded"
            yield f"`{model}` x{SCALE}, {precision}", "", speed + ("" if ready._pieces._records else " (none made)")
            runtime._load.cache_clear()


def _milliseconds(work: Callable[[], None]) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def training(device: str) -> Rows:
    """Milliseconds of a training step, and of what it is made of."""
    from geosr.training.patches import Patches, Plane, contrast_of
    from geosr.training.recipe import Recipe
    from geosr.training.samples import Degraded, sharp_side
    from geosr.training.sensing import Degradation
    from geosr.training.trainer import Material, Trainer

    image = (2000 + 300 * np.random.default_rng(0).standard_normal((1400, 1400)).cumsum(0) / 20).astype(np.float32)
    plane = Plane(image, "g", "f", 1.0, False, contrast_of(image), 1.0)
    for network, channels, blocks in (("edsr", 64, 16), ("rrdb", 64, 10)):
        recipe = Recipe(
            SCALE, out="x", name="x", network=network, channels=channels, blocks=blocks, patch=48, batch=32,
            rate=1e-4, steps=10**6, minutes=1e6,
        )  # fmt: skip
        source = Degraded(Patches([plane], sharp_side(48, SCALE), 0), Degradation(), SCALE, 0)
        trainer = Trainer(recipe, Material(((source, 1.0),)), device=device, bfloat16=True)
        step, waited = _paced(trainer)
        optimise = _milliseconds(trainer.optimiser.step)
        assert trainer._ahead is not None
        trainer._ahead.forget()
        start = time.perf_counter()
        trainer._draw()()
        drawn = 1e3 * (time.perf_counter() - start)
        figures = (
            f"{step:.1f} ms, of which {waited:.1f} wait for samples; SOAP {optimise:.1f}, drawing a batch, meanwhile, "
            f"in {trainer._ahead.threads} threads, {drawn:.0f}"
        )
        yield f"a step of `{network}` {channels} x {blocks}, 32 patches of 48 pixels, bfloat16", "", figures


def _paced(trainer: Any, steps: int = 40) -> tuple[float, float]:
    """Milliseconds of a step among others, and of what it waits for its samples, once those made before are used up."""
    usual, waits = trainer._next, []

    def timed() -> Any:
        """The material of the next step."""
        start = time.perf_counter()
        drawn = usual()
        waits.append(1e3 * (time.perf_counter() - start))
        return drawn

    trainer._next = timed
    for _ in range(20):
        trainer.step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / steps, statistics.mean(waits[-steps:])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["whole", "networks", "training"])
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    there = torch.cuda.is_available()
    place = f"{torch.cuda.get_device_name(given.device)}, {len(os.sched_getaffinity(0))} cores" if there else "no card"
    print(f"{place}, torch {torch.__version__}, geosr {geosr.__version__}")
    print()
    print("| figure | asked | measured |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        makers: dict[str, Callable[[], Rows]] = {
            "whole": lambda: whole(given.device, folder, given.side),
            "networks": lambda: networks(given.device),
            "training": lambda: training(given.device),
        }
        for part in given.parts:
            if not there:
                print(f"| {part} | | {NEVER} here: torch finds no graphics card |")
                continue
            try:
                for figure, asked, measured in makers[part]():
                    print(f"| {figure} | {asked} | {measured} |", flush=True)
            except Exception as error:  # what else there is to measure is measured
                print(f"| {part} | | {NEVER} to its end: {type(error).__name__}: {one_line(error)[:120]} |")


if __name__ == "__main__":
    main()
