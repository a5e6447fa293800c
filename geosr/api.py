"""The wiring: it chooses and checks, and computes nothing itself."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geosr.cluster import crew
from geosr.errors import InputError
from geosr.io.destination import check_name, check_result, default_name, format_of
from geosr.io.fingerprint import INPUT, WHOLE
from geosr.io.layout import Format, Layout, Options, choose_core, estimate_size
from geosr.io.scene import Scene, open_scene
from geosr.io.sinks import check_format, encoder_of, losses, open_sink, size_of
from geosr.io.source import close as close_files
from geosr.models.own import TorchNetwork
from geosr.models.registry import Card, Model
from geosr.models.registry import card as find_card
from geosr.models.registry import settled as find_model
from geosr.models.runtime import ModelNetwork, is_projected, network_for, prepare_process
from geosr.observing import Blur, observe, with_levels
from geosr.pipeline import Job, Sink, run
from geosr.provenance import listed, provenance
from geosr.radiometry import Pixels, Radiometry
from geosr.sensors import Observation, known_bands
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler, plan_tiles
from geosr.window import Window

if TYPE_CHECKING:
    from geosr.io.writer import TiffSink
    from geosr.io.zarr_sink import ZarrSink

_TRIED = 16
"""Tiles that are looked into for one worth timing."""
Progress = Callable[[int, int, int], None]
"""Called with tiles done, tiles in all, and source pixels times bands upscaled so far in this run."""


def upscale(
    src: str | Path,
    dst: str | Path | None = None,
    *,
    progress: Progress | None = None,
    scheduler: str | Path | None = None,
    client: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Upscale a raster file into a GeoTIFF or Zarr store; returns a report of what was done, under "path" where it is.

    The result has the same outer edges, CRS, radiometry and metadata; only the pixel size is divided by the scale. It
    takes its final name only when it is whole. A run that was stopped goes on when called again with the same input and
    options. Options are those of `prepare`.

    Parameters
    ----------
    scheduler
        Where tiles run: "threads" (the default), "processes", "local:N" for N Dask workers on this machine, the address
        of a Dask scheduler such as "tcp://host:8786", or a scheduler file. Nothing of the result depends on it.
    client
        A `distributed.Client`, instead of `scheduler`.

    Raises
    ------
    geosr.errors.InputError
        The input or an option is at fault; nothing was written.
    geosr.errors.GeosrError
        The place failed, or a tile; what was done is kept for the next call.
    """
    return prepare(src, dst, **options).execute(progress, scheduler if client is None else client)


def prepare(
    src: str | Path,
    dst: str | Path | None = None,
    *,
    model: str | TorchNetwork = "fast",
    scale: int = 4,
    bands: Sequence[int | str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    aoi: str | Path | None = None,
    mtf: float | Sequence[float] | Literal["scene"] | None = None,
    snr: float | Sequence[float] | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
    dtype: str | None = None,
    format: Format | None = None,
    co: Mapping[str, str] | None = None,
    tile: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    project: bool | None = None,
    overwrite: bool = False,
) -> Run:
    """Everything that `upscale` will do, checked and decided; no result is computed and nothing is written.

    Parameters
    ----------
    src
        A raster file, URL (https://, s3://) or anything else that GDAL opens.
    dst
        The result; `scene_x4.tif` beside `scene.tif` by default. A name in .zarr makes a Zarr store, in a folder or an
        object store (s3://bucket/scene.zarr), which the workers write themselves.
    model
        A name that `geosr models` lists, a file of a network (.safetensors, .onnx, .pt2, .pth), or a
        `geosr.TorchNetwork`.
    scale
        Output pixels per source pixel each way.
    bands
        Numbers counted from 1, or names; all by default.
    bounds
        Left, bottom, right, top in the scene's CRS, snapped outwards to whole pixels.
    aoi
        GeoJSON file with polygons in any CRS; what lies outside is neither computed nor written.
    mtf
        The sensor's modulation transfer at the source's Nyquist frequency, in (0, 1), one or one per band; "scene" to
        estimate it from the pixels where they tell; from the sensor table, else a safe default, if None.
    snr
        Signal-to-noise ratio, above 0, one or one per band; the noise is estimated from the scene if None.
    nodata, scale_offset
        Take the place of what the file says; nodata may be "none".
    dtype
        Stored type of the result; must hold every number of the source's.
    format
        "COG", "GTiff" or "Zarr"; by the suffix of `dst` by default, Zarr for .zarr and else a COG.
    co
        Creation options: COMPRESS, LEVEL, PREDICTOR, BLOCKSIZE, INTERLEAVE, BIGTIFF, OVERVIEWS, RESAMPLING,
        and for Zarr ZARR_FORMAT (2 or 3).
    tile
        Side of a tile, source pixels, rounded up to what the file's blocks allow; it changes memory, speed, no pixel.
    workers
        Tiles worked on at a time; the processor's cores by default.
    device, precision
        Where and how the network computes; chosen for this machine by default.
    project
        Correct the result so that, degraded as the sensor does it, it gives the input back but for noise. By default
        where a network's result has a known sensor behind it, by the table or by `mtf`.
    overwrite
        Replace `dst`, or what a run with other options left of it.
    """
    _check(workers=workers, tile=tile, bounds=bounds, scale_offset=scale_offset, co=co)
    settled = find_model(model)
    card = find_card(settled, scale)
    scene = open_scene(src, bands=bands, bounds=bounds, aoi=aoi, nodata=nodata, scale_offset=scale_offset)
    scene = scene.stored_as(dtype)
    if not isinstance(settled, str):
        settled.check_bands(scene.exact)
    kind = format_of(dst, format)
    wish = dst if dst is not None else default_name(str(src), scale, kind)
    check_name(wish, scene.files, kind)
    target = check_result(wish, kind, overwrite)
    radiometry = _radiometry(scene, dtype)
    observation, notes, projected = _observed(scene, settled, card, mtf, snr, project)
    network = network_for(
        settled, scale, observation, device=device, precision=precision, project=projected, rounding=radiometry.rounding
    )
    layout, plan = _plan(scene, radiometry, network, kind, co or {}, tile)
    check_format(layout)
    return Run(
        scene=scene,
        card=card,
        dst=target,
        plan=plan,
        layout=layout,
        upscaler=Upscaler(network, radiometry, scene.exact),
        workers=workers or _cores(),
        overwrite=overwrite,
        notes=(*card.notes, *notes, *network.notes),
        tags=provenance(card, network, scene, radiometry, layout),
    )


def _check(*, workers: Any, tile: Any, bounds: Any, scale_offset: Any, co: Any) -> None:
    """Raise `InputError` for options of another kind than `prepare` says, before they are met in the middle of it."""
    for name, value in (("workers", workers), ("tile", tile)):
        if value is not None and not (isinstance(value, Integral) and int(value) > 0):
            raise InputError(f"{name} {value!r}: expected a whole number above 0")
    for name, numbers, count in (("bounds", bounds, 4), ("scale_offset", scale_offset, 2)):
        if numbers is not None and not _are_numbers(numbers, count):
            raise InputError(f"{name} {numbers!r}: expected {count} numbers")
    if co is not None and not isinstance(co, Mapping):
        raise InputError(f"co {co!r}: expected a mapping such as {{'COMPRESS': 'ZSTD'}}")


def _are_numbers(values: Any, count: int) -> bool:
    try:
        return len(values) == count and all(isinstance(value, Real) for value in values)
    except TypeError:
        return False


def _radiometry(scene: Scene, dtype: str | None) -> Radiometry:
    if dtype not in (None, scene.dtype) and scene.source.alpha in scene.bands:
        raise InputError(
            f"--dtype {dtype}: {scene.name} has an alpha band in {scene.dtype}, which would mean another opacity; keep "
            "the type, or choose the other bands with --bands"
        )
    return Radiometry(scene.dtype, dtype or scene.dtype, scene.nodata)


def _observed(
    scene: Scene, model: Model, card: Card, mtf: Blur, snr: float | Sequence[float] | None, project: bool | None
) -> tuple[Observation, tuple[str, ...], bool]:
    """How the scene was observed, a line each on what the model makes use of, and whether its results are projected."""
    told = card.conditioned or is_projected(project, model, card, known_bands(scene.sensor, mtf, scene.exact))
    seen, notes = observe(scene, mtf, snr, sample=told)
    seen, about = with_levels(seen, scene, card)
    if not isinstance(model, str) and Radiometry(scene.dtype, scene.dtype, scene.nodata).working.itemsize > 4:
        about = (*about, f"{card.title} computes in float32, which keeps 7 digits of {scene.dtype}")
    return seen, (*(notes if told else ()), *about), is_projected(project, model, card, seen.blurred(scene.exact))


@dataclass(frozen=True, slots=True)
class Run:
    """An upscaling that is ready to go."""

    scene: Scene
    card: Card
    dst: Path | str
    """An absolute path, or the address of an object store."""
    plan: TilePlan
    layout: Layout
    upscaler: Upscaler
    workers: int
    overwrite: bool
    notes: tuple[str, ...]
    """What was found and assumed, one line each, the most telling first."""
    tags: Mapping[str, str]
    """Provenance that the result carries."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before trusting the result, one line each."""
        metadata = self.scene.metadata.zoom(self.plan.scale, self.tags)
        lines = *self.scene.warnings, *metadata.warnings, *losses(metadata, self.layout), *self._room()
        return tuple(dict.fromkeys(lines))

    @property
    def tiles(self) -> Sequence[Tile]:
        """The tiles that have something to show."""
        return self.plan if self.scene.area is None else self.plan.over(self.scene.touches)

    def execute(self, progress: Progress | None = None, scheduler: Any = None) -> dict[str, Any]:
        """Compute what is missing and give the result its name; returns the report. Raises as `upscale`.

        `scheduler` is what `upscale` takes under that name, or a `distributed.Client`.
        """
        start = time.perf_counter()
        tiles = self.tiles
        with prepare_process(threads=1), self.open_sink() as sink:
            kept = sink.done()
            done = self._compute(sink, kept, tiles, progress, scheduler)
            sink.finish()
        return self.report(len(kept), done, time.perf_counter() - start)

    def report(self, kept: int, pixels: int, seconds: float) -> dict[str, Any]:
        """What was done, with tiles kept of an earlier run, and source pixels times bands upscaled in this one."""
        return {
            **self._facts(),
            "tiles": len(self.tiles),
            "tiles_from_an_earlier_run": kept,
            "seconds": round(seconds, 2),
            "megapixels_per_second": round(pixels / 1e6 / max(seconds, 1e-6), 3),
            "bytes": size_of(self.dst),
        }

    def estimate(self) -> dict[str, Any]:
        """What `execute` would do, with the time taken from one tile that is computed and thrown away."""
        return {
            **self._facts(),
            "tiles": f"{len(self.tiles)} of {self.plan.core} pixels, halo {self.plan.halo}",
            "bytes": f"about {self.size / 1e6:.1f} MB",
            "memory": f"about {self.memory / 1e6:.0f} MB",
            "seconds": f"about {self.forecast():.0f}, with {self.workers} worker{'s' * (self.workers > 1)}",
        }

    def forecast(self) -> float:
        """Seconds that all tiles will take, from one that is computed and thrown away."""
        tiles, job = self.tiles, self.job()
        middle = self._telling(tiles)
        with prepare_process(threads=1):
            job(middle)  # the first one also loads the network
            start = time.perf_counter()
            job(middle)
            a_tile = time.perf_counter() - start
        return a_tile * len(tiles) * min(self.plan.core**2, self.plan.scene.size) / middle.core.size / self.workers

    def _telling(self, tiles: Sequence[Tile]) -> Tile:
        """A tile to time: near the middle of the scene, and with something in it to compute."""
        row, col = self.plan.height / 2, self.plan.width / 2
        order = sorted(tiles, key=lambda tile: math.hypot(tile.core.row - row, tile.core.col - col))
        for tile in order[:_TRIED]:
            valid = self.upscaler.radiometry.valid(self.scene.source.read(tile))
            if valid is None or valid.any():
                return tile
        return order[0]

    @property
    def size(self) -> int:
        """Bytes that the result will about take."""
        return estimate_size(self.layout)

    def _compute(
        self,
        sink: Sink,
        kept: frozenset[int],
        tiles: Sequence[Tile],
        progress: Progress | None,
        scheduler: Any,
    ) -> int:
        """Source pixels times bands that were upscaled."""
        pixels = 0
        missing = (tile for tile in tiles if tile.index not in kept)
        job = self.job(sink.encoder)
        try:
            with (
                crew(scheduler, self.workers, job) as hands,
                closing(run(job, missing, sink, hands.executor, hands.ahead)) as finished,
            ):
                for count, tile in enumerate(finished, len(kept) + 1):
                    pixels += tile.core.size * self.layout.count
                    if progress:
                        progress(count, len(tiles), pixels)
        except KeyboardInterrupt:
            kept = sink.done()
            raise KeyboardInterrupt(f"{len(kept)} of {len(tiles)} tiles are kept; the same command goes on") from None
        finally:
            close_files()
        return pixels

    def job(self, encoder: Callable[[Tile, Pixels], Any] | None = None) -> Job:
        """What is done with a tile; with an encoder that keeps nothing unless one is given."""
        encoder = encoder or encoder_of(self.layout, self.scene.metadata, self.scene.bands)
        return Job(self.plan, self.scene.source, self.upscaler, encoder)

    def open_sink(self) -> TiffSink | ZarrSink:
        """Where tiles go, with what an earlier run left there. Raises as `upscale`."""
        metadata = self.scene.metadata.zoom(self.plan.scale, self.tags)
        fingerprint = json.dumps(self._fingerprint())
        return open_sink(self.dst, self.layout, metadata, self.scene.bands, fingerprint, self.overwrite)

    def _fingerprint(self) -> dict[str, str]:
        """What must be the same for a stopped run to go on: all that can change a byte of the result."""
        network = self.upscaler.network
        assert isinstance(network, ModelNetwork)
        return {
            INPUT: str(sorted(self.scene.identity.items())),
            "bands": str(self.scene.bands),
            "area": str((self.scene.window, self.scene.area)),
            "radiometry": str(self.upscaler.radiometry),
            "scale and offset": str((self.scene.scales, self.scene.offsets)),
            "model": self.card.title,
            "scale": str(self.plan.scale),
            "mtf": listed(network.seen.mtf),
            "noise": listed(network.seen.noise),
            "precision": network.precision,
            "projected": network.seen.projection(self.scene.exact) if network.project else "no",
            # All of it to the last digit, but not the device: a run may go on elsewhere.
            WHOLE: self.tags["GEOSR_RUN"],
        }

    def _facts(self) -> dict[str, Any]:
        metadata = self.scene.metadata
        fine = metadata.zoom(self.plan.scale)
        return {
            "path": str(self.dst),
            "model": self.card.title,
            "grid_in": _grid(self.plan.height, self.plan.width, metadata.transform),
            "grid_out": _grid(self.layout.height, self.layout.width, fine.transform),
            "bands": list(self.scene.names),
            "dtype": self.layout.dtype,
            "format": self.layout.format,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def _room(self) -> Iterator[str]:
        if isinstance(self.dst, str):
            return
        needed, free = estimate_size(self.layout), shutil.disk_usage(self.dst.parent).free
        if needed > free:
            yield f"the result may take {needed / 1e9:.1f} GB and {self.dst.parent} has {free / 1e9:.1f} GB free"

    @property
    def memory(self) -> int:
        """Bytes, roughly: what stands in memory before the first tile, and tiles in flight."""
        side = (self.plan.core + 2 * self.plan.halo) * self.plan.scale
        tile = (self.plan.core * self.plan.scale) ** 2 * self.layout.count * _size(self.layout.dtype)
        network = self.upscaler.network
        alive = 4 * network.alive * (side / self.plan.scale) ** 2 if isinstance(network, ModelNetwork) else 0
        working = max(side**2 * (4 * 3 + 40), alive + side**2 * 4 * 3)
        return int(400e6 + self.workers * working + (self.workers + 1) * tile * 1.5)


def _plan(
    scene: Scene,
    radiometry: Radiometry,
    network: ModelNetwork,
    format: Format,
    co: Mapping[str, str],
    tile: int | None,
) -> tuple[Layout, TilePlan]:
    options = Options.parse([f"{key}={value}" for key, value in co.items()], format)
    scale, (height, width) = network.scale, scene.shape
    count = len(scene.bands)
    core, block = choose_core(scale, count, _size(radiometry.out_dtype), network.halo, tile, options.block)
    gaps = radiometry.may_have_gaps or scene.mask != "none"
    layout = Layout(
        height=height * scale,
        width=width * scale,
        count=count,
        dtype=radiometry.out_dtype,
        block=block,
        tile=core * scale,
        nodata=scene.nodata,
        masked=scene.writes_mask or (scene.area is not None and scene.metadata.nodata is None),
        nearest=scene.exact,
        format=format,
        options=options,
    )
    around = Window(-scene.window.row, -scene.window.col, *scene.full)
    return layout, plan_tiles(scene.shape, core, network, gaps=gaps, around=around)


def _grid(height: int, width: int, transform: Any) -> str:
    across = math.hypot(transform.a, transform.d)
    down = math.hypot(transform.b, transform.e)
    return f"{width} x {height} pixels of {across:.10g} x {down:.10g}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(dtype: str) -> int:
    return int("".join(filter(str.isdigit, dtype))) // 8
