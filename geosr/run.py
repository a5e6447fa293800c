"""One upscaling that is ready to go: what it will do, how long it takes, and doing it."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from geosr.cluster import kind_for, looking_on, pool_for, stop_where_imported
from geosr.frames import Damage, FramesUpscaler, about_damage
from geosr.guided import GuidedUpscaler
from geosr.io.fingerprint import SOURCE
from geosr.io.frames_source import FramesSource
from geosr.io.layout import Layout, estimate_size
from geosr.io.output import Output, outputs_of
from geosr.io.scene import Scene
from geosr.io.sinks import encoder_of, losses, open_sink, size_of
from geosr.io.source import close as close_files
from geosr.models.model import PROCESSOR
from geosr.models.runtime import ModelNetwork
from geosr.models.threads import prepare_process
from geosr.pipeline import Job, Sink, Source, in_flight, run
from geosr.provenance import DEVICE, INPUT, input_tag, settings
from geosr.sharpening import computing, groups_of, on_kind, working_bytes
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler

if TYPE_CHECKING:
    from geosr.io.writer import TiffSink
    from geosr.io.zarr_sink import ZarrSink

_LOOKED_AT = 1000
"""Tiles among which one to time is chosen, spread over the scene."""
_TRIED = 16
"""Tiles that are looked into for one worth timing."""
Progress = Callable[[int, int, int], None]
"""Called with tiles done, tiles in all, and source pixels times bands upscaled so far in this run."""


class Grid(TypedDict):
    """A grid of pixels."""

    width: int
    height: int
    pixel_width: float
    """In units of the CRS."""
    pixel_height: float


class Brought(TypedDict):
    """Coarser bands, and what brings them to the grid of the finer ones."""

    bands: list[str]
    pixel: float
    """Metres, as they were measured."""
    model: str


class Report(TypedDict):
    """The facts of a run; of a dry run, with the same keys and types, of what it would do."""

    path: str
    """Where the result is, a path or an address."""
    others: dict[str, str]
    """Where what the model gives beside it is, by name: a file, or an array in the same store."""
    dry_run: bool
    """Whether nothing was written: `seconds`, `megapixels_per_second` and `bytes` are estimates then."""
    model: str
    groups: list[Brought]
    """Bands that are brought to the finer grid of others first; none where all are of one."""
    grid_in: Grid
    grid_out: Grid
    bands: list[str]
    dtype: str
    format: str
    tiles: int
    """Tiles that have something to show."""
    tiles_from_an_earlier_run: int
    """Those of them that a stopped run had left; a dry run looks for none."""
    tile: int
    """Side of a tile, source pixels."""
    halo: int
    """Source pixels around a tile that are read and thrown away."""
    workers: int
    memory: int
    """Bytes, roughly, that the tiles in flight need; an estimate always."""
    seconds: float
    megapixels_per_second: float
    """Source pixels times bands, in millions."""
    bytes: int
    """Size of the results."""
    warnings: list[str]
    """What to know before trusting the result, one line each."""
    notes: list[str]
    """What was found and assumed, one line each."""


@dataclass(frozen=True, slots=True)
class Run:
    """An upscaling that is ready to go."""

    scene: Scene
    source: Source
    """What tiles read."""
    dst: Path | str
    """An absolute path, or the address of an object store."""
    plan: TilePlan
    tiles: Sequence[Tile]
    """Those of the plan that have something to show."""
    layout: Layout
    network: ModelNetwork
    upscaler: Upscaler | GuidedUpscaler | FramesUpscaler
    workers: int
    overwrite: bool
    notes: tuple[str, ...]
    """What was found and assumed, one line each, the most telling first."""
    tags: Mapping[str, str]
    """Provenance that the result carries."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines that the user should know before trusting the result."""
        metadata = self.scene.metadata.zoom(self.plan.scale, self.tags)
        lines = *self.scene.warnings, *metadata.warnings, *losses(metadata, self.layout), *self._room()
        return tuple(dict.fromkeys(lines))

    def execute(self, progress: Progress | None = None, scheduler: Any = None) -> Report:
        """Compute what is missing and give the result its name; returns the report. Raises as `upscale`.

        `scheduler` is what `upscale` takes under that name, or a `distributed.Client`.
        """
        stop_where_imported(scheduler)
        start = time.perf_counter()
        with looking_on(scheduler), prepare_process():
            run = self.on(kind_for(scheduler, self.computing))
            with run.open_sink() as sink:
                kept = sink.done()
                lost = run._lost(kept)
                done = run._compute(sink, kept, progress, scheduler, lost)
                sink.finish()
            report = self.report(len(kept), done, time.perf_counter() - start)
        report["warnings"] += about_damage(lost)
        return report

    def on(self, kind: str) -> Run:
        """The same, all of it on one kind of device (`ModelNetwork.kind`): no other process takes part or goes on."""
        scene, upscaler = on_kind(self.scene, kind), cast("Upscaler", self.upscaler)
        network = replace(self.network, kind=kind) if self.computing is self.network else self.network
        source = scene.source if self.source is self.scene.source else self.source
        return replace(self, scene=scene, source=source, network=network, upscaler=replace(upscaler, network=network))

    @property
    def computing(self) -> ModelNetwork:
        """The network whose kind of device is that of the run."""
        return computing(self.scene, self.network)

    def report(self, kept: int, pixels: int, seconds: float) -> Report:
        """The report of a run, with tiles kept of an earlier one, and source pixels times bands upscaled in this."""
        return self._report(kept, pixels, seconds, size_of(output.path for output in self.outputs()))

    def estimate(self, seconds: float | None = None) -> Report:
        """The report of a dry run; the time is measured by one tile that is thrown away, unless it is given."""
        pixels = self.plan.scene.size * self.layout.count * len(self.tiles) // len(self.plan)
        seconds = self.forecast() if seconds is None else seconds
        return self._report(0, pixels, seconds, self.size, dry_run=True)

    def forecast(self) -> float:
        """Seconds that all tiles will take, from one that as many compute and throw away as will work side by side."""
        job, middle = self.job(), self._telling()
        hands = min(self.workers, len(self.tiles))
        with prepare_process(), ThreadPoolExecutor(hands) as pool:
            job(middle)  # the first one also loads the network
            start = time.perf_counter()
            list(pool.map(job, [middle] * hands))
            a_tile = (time.perf_counter() - start) / hands
        return a_tile * len(self.tiles) * min(self.plan.core**2, self.plan.scene.size) / middle.core.size

    def _telling(self) -> Tile:
        """A tile to time: near the middle of the scene, and with something in it to compute."""
        tiles = self.tiles[:: max(1, len(self.tiles) // _LOOKED_AT)]
        row, col = self.plan.height / 2, self.plan.width / 2
        order = sorted(tiles, key=lambda tile: math.hypot(tile.core.row - row, tile.core.col - col))
        for tile in order[:_TRIED]:
            pixels: Any = self.source.read(tile)
            if self.upscaler.has_data(pixels):
                return tile
        return order[0]

    @property
    def size(self) -> int:
        """Bytes that the results will about take."""
        return sum(estimate_size(output.layout) for output in self.outputs())

    def outputs(self, tags: Mapping[str, str] | None = None) -> tuple[Output, ...]:
        """The results, the image first; they carry `tags`, or those that all results of such a run do."""
        metadata = self.scene.metadata.zoom(self.plan.scale, self.tags if tags is None else tags)
        return outputs_of(self.network.heads, self.dst, self.layout, metadata)

    def _compute(
        self,
        sink: Sink,
        kept: frozenset[int],
        progress: Progress | None,
        scheduler: Any,
        lost: set[Damage],
    ) -> int:
        """Source pixels times bands that were upscaled."""
        pixels = 0
        missing = (tile for tile in self.tiles if tile.index not in kept)
        job = self.job(sink.encoder)
        try:
            with (
                pool_for(scheduler, self.workers, job) as pool,
                closing(run(job, missing, sink, pool.executor, lambda: pool.ahead, lost)) as finished,
            ):
                for count, tile in enumerate(finished, len(kept) + 1):
                    pixels += tile.core.size * self.layout.count
                    if progress:
                        progress(count, len(self.tiles), pixels)
        except KeyboardInterrupt:
            kept = sink.done()
            raise KeyboardInterrupt(
                f"{len(kept)} of {len(self.tiles)} tiles are kept; the same command goes on"
            ) from None
        finally:
            close_files()
        return pixels

    def _lost(self, kept: frozenset[int]) -> set[Damage]:
        """The blocks of other dates that could not be read for tiles of an earlier run, which are read again for it."""
        if not isinstance(self.source, FramesSource):
            return set()
        return {each for index in kept for each in self.source.read(self.plan[index]).lost}

    def job(self, encoder: Callable[..., Any] | None = None) -> Job:
        """The work on a tile; with an encoder that keeps nothing unless one is given."""
        encoder = encoder or encoder_of(self.outputs(), self.scene.bands)
        return Job(self.plan, self.source, self.upscaler, encoder)

    def open_sink(self) -> TiffSink | ZarrSink:
        """Where tiles go, with what an earlier run left there. Raises as `upscale`."""
        kind = self.computing.kind
        device = {DEVICE: kind} if kind and not kind.startswith(PROCESSOR) else {}
        tags = {**self.tags, **device, INPUT: input_tag(self.scene)}
        fingerprint = json.dumps(self._fingerprint(tags[INPUT]))
        return open_sink(self.outputs(tags), self.scene.bands, fingerprint, self.overwrite)

    def _fingerprint(self, known: str) -> dict[str, str]:
        """The facts that must be the same for a stopped run to go on: what the input holds, and all settings."""
        decided = settings(self.network, self.scene, self.upscaler.radiometry, self.layout)
        kind = {"computed on": self.computing.kind} if self.computing.kind else {}
        return {SOURCE: known.partition(" ")[2], **kind, **decided}

    def _report(self, kept: int, pixels: int, seconds: float, size: int, *, dry_run: bool = False) -> Report:
        metadata = self.scene.metadata
        fine = metadata.zoom(self.plan.scale)
        return Report(
            path=str(self.dst),
            others={output.head.name: output.place for output in self.outputs()[1:]},
            dry_run=dry_run,
            model=self.network.card.title,
            groups=[
                Brought(bands=list(each.bands), pixel=each.pixel, model=each.model) for each in groups_of(self.scene)
            ],
            grid_in=_grid(*self.scene.observed.shape, self.scene.observed.transform),
            grid_out=_grid(self.layout.height, self.layout.width, fine.transform),
            bands=list(self.scene.names),
            dtype=self.layout.dtype,
            format=self.layout.format,
            tiles=len(self.tiles),
            tiles_from_an_earlier_run=kept,
            tile=int(self.plan.core),
            halo=self.plan.halo,
            workers=int(self.workers),
            memory=self.memory,
            seconds=round(seconds, 2),
            megapixels_per_second=round(pixels / 1e6 / max(seconds, 1e-6), 3),
            bytes=size,
            warnings=list(self.warnings),
            notes=list(self.notes),
        )

    def _room(self) -> Iterator[str]:
        if isinstance(self.dst, str):
            return
        needed, free = self.size, shutil.disk_usage(self.dst.parent).free
        if needed > free:
            yield f"the result may take {needed / 1e9:.1f} GB and {self.dst.parent} has {free / 1e9:.1f} GB free"

    @property
    def memory(self) -> int:
        """Bytes, roughly: what stands in memory before the first tile, and tiles in flight."""
        side = (self.plan.core + 2 * self.plan.halo) * self.plan.scale
        layouts = [output.layout for output in self.outputs()]
        per_pixel = self.layout.count * sum(np.dtype(layout.dtype).itemsize for layout in layouts)
        tile = (self.plan.core * self.plan.scale) ** 2 * per_pixel
        alive = 4 * self.network.alive * (side / self.plan.scale) ** 2
        floats = side**2 * 4 * 3 * len(layouts)
        reach = self.plan.core + 2 * max(self.plan.reach, self.plan.halo)
        working = max(floats + side**2 * 40, alive + floats, working_bytes(self.scene, reach))
        return int(400e6 + self.workers * working + in_flight(self.workers) * tile * 1.5)


def _grid(height: int, width: int, transform: Any) -> Grid:
    across, down = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    return Grid(width=width, height=height, pixel_width=across, pixel_height=down)
