"""What a graphics card makes of geosr: a table for BENCHMARKS.md, ratios within one run first.

    python benchmarks/gpu.py [whole] [networks] [training] [--side 10980] [--device cuda:0] [--folder FOLDER]

What could not be run is marked so. A scene of 10980 pixels a side is a Sentinel-2 tile, whose result takes 13 GB of
`--folder`, twice while it is put together.
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
from geosr.models.model import Precision
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
    """No network: pixels are interpolated, and as hard to compress as its own."""

    def call(self: graphics.Pieces, block: torch.Tensor, bands: Any, out: torch.Tensor) -> None:
        out.copy_(torch.nn.functional.interpolate(block[None], scale_factor=SCALE, mode="bicubic")[0])

    return call


def whole(device: str, folder: Path, side: int) -> Rows:
    """Scenes of four bands at x4 as COG: the process over the larger of network and all else, and a card's share."""
    small = make_scene(folder / "scene600.tif", 600)
    rest: dict[int, float] = {}
    for model, precision, size in (
        ("fast", "float32", side),
        ("best", "bfloat16", side),
        ("best", "float32", min(side, 4096)),
    ):
        scene = make_scene(folder / f"scene{size}.tif", size)

        def run(scene: Path, model: str = model, precision: Precision = precision) -> float:
            start = time.perf_counter()
            told: dict[str, Any] = {"model": model, "precision": precision, "scale": SCALE, "device": device}
            geosr.upscale(scene, folder / "out.tif", overwrite=True, **told)
            return time.perf_counter() - start

        run(small)  # libraries and weights load
        if size not in rest:
            with _watched(_left_out):
                rest[size] = run(scene)
        spans: list[tuple[Any, Any]] = []
        with _watched(_timed(spans)):
            seconds = run(scene)
        torch.cuda.synchronize()
        network = sum(began.elapsed_time(ended) for began, ended in spans) / 1e3
        name = f"`{model}` {precision}, {size} x {size} pixels, four bands, x{SCALE}, COG"
        asked = {"fast": "15 s", "best": "30 s"}[model] if size == TILE else ""
        yield name, asked, f"{seconds:.1f} s; network {network:.1f}, all else alone {rest[size]:.1f}"
        yield f"{name}: over the larger of both", "at most 1.3", f"{seconds / max(network, rest[size]):.2f}"
        yield f"{name}: share that the network is busy", "0.90 at `best`", f"{network / seconds:.2f}"
        (folder / "out.tif").unlink()


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

            records, ready._pieces._can_record = ready._pieces._can_record, False
            plain = _milliseconds(work)
            ready._pieces._can_record = records
            done = _milliseconds(work) if records else plain
            gain = f", {plain / done:.2f} times that unrecorded" if ready._pieces._records else ""
            yield f"`{model}` x{SCALE}, {precision}", "", f"{graphics.SIDE**2 / done / 1e3:.1f} Mpx/s{gain}"
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
    parser.add_argument("--side", type=int, default=TILE)
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
