"""Many scenes as one run: one plan, one pool of workers, one bar; a scene that fails stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from geosr.api import prepare, upscale
from geosr.cluster import Pool, kind_for, looking_on, pool_for, stop_where_imported
from geosr.errors import GeosrError, InputError
from geosr.io.destination import format_of, make_folder, names_in
from geosr.io.environment import Options, current_options, under
from geosr.io.fused import called
from geosr.io.layout import Format
from geosr.io.sinks import is_there, tags_of
from geosr.io.source import close as close_files
from geosr.keywords import handed_on, keywords
from geosr.models.model import Precision
from geosr.models.own import TorchNetwork
from geosr.models.threads import prepare_process
from geosr.models.uncertain import asked
from geosr.observing import metres_of, scale_of
from geosr.pipeline import finishing
from geosr.provenance import is_of
from geosr.run import Progress, Run
from geosr.sequence import in_time, prepare_frame
from geosr.sharpening import model_of
from geosr.tiling import Tile

Record = dict[str, Any]
"""What became of a scene: "src", "path", "status", and the report of `geosr.upscale` or an "error"."""
Tell = Callable[[Record], None]
Status = Literal["ready", "skipped", "failed"]

_OPENED_AT_ONCE = 8
"""Headers and samples are read this many at a time; over a network it is the waiting that takes long."""


@keywords(like=upscale)
def upscale_many(
    sources: str | Path | Iterable[str | Path],
    outdir: str | Path,
    *,
    to: float | str | None = None,
    model: str | TorchNetwork | None = None,
    scale: int | None = None,
    bands: Sequence[int | str] | None = None,
    mask: Literal["clouds"] | None = None,
    categorical: Sequence[int | str] | Literal["none"] | None = None,
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
    precision: Precision = "float32",
    project: bool | None = None,
    uncertainty: bool = False,
    trust_mask: float | Sequence[float] | None = None,
    support: bool = False,
    window: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    told: Tell | None = None,
    scheduler: str | Path | None = None,
    client: Any = None,
) -> list[Record]:
    """Upscale many raster files into a folder as one run; returns a record for each, in their order.

    A scene that is named twice is done once. A result is called as `geosr.upscale` calls it without a name. A scene
    whose result is there already, from the same input and options, is skipped; one that fails is told of and the others
    go on. A run that was stopped goes on when called again.

    Parameters
    ----------
    sources
        Raster files, as `geosr.upscale` takes them; one, or any number.
    outdir
        A folder, made where there is none, or a place in an object store.
    format
        "COG" (the default), "GTiff" or "Zarr".
    window
        Sources, or the files of one folder, are frames in time: each is fused with so many, itself and those around it.
    overwrite
        Replace results that are there, and what runs with other options left of them.
    told
        Called with each record as it comes.

    Raises
    ------
    geosr.errors.InputError
        Two results would have one name, or an option can't be used; nothing was written.
    geosr.errors.PlaceError
        `outdir` can't be used, or a cluster fails.
    """
    with looking_on(place := scheduler if client is None else client):
        archive = plan_many(sources, outdir, window=window, **handed_on(prepare, locals()))
        return archive.execute(progress, told, place)


@dataclass(frozen=True, slots=True)
class Planned:
    """One scene of an archive."""

    src: str
    dst: str
    status: Status
    run: Run | None = None
    """What is to be done, where it is ready."""
    error: GeosrError | None = None

    @property
    def record(self) -> Record:
        """The record as far as it is known before it is done."""
        error = {"error": str(self.error)} if self.error else {}
        return {"src": self.src, "path": self.dst, "status": self.status} | error


def plan_many(
    sources: str | Path | Iterable[str | Path],
    outdir: str | Path,
    *,
    to: float | str | None = None,
    model: str | TorchNetwork | None = None,
    scale: int | None = None,
    format: Format | None = None,
    window: int | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Archive:
    """Everything that `upscale_many` will do, with `options` of `prepare`; no pixel is computed, `outdir` is made."""
    names = list(frames := in_time([sources] if isinstance(sources, str | Path) else sources, window))
    if not names:
        raise InputError("there is no scene in the list")
    metres, kind = metres_of(to), format_of(None, format)
    times = scale_of(scale, to=metres)
    heads = model_of(model, times, metres, asked(options))[0].heads
    results = names_in(str(outdir), names, called(times, metres), kind, [head.name for head in heads[1:]])
    make_folder(str(outdir))
    told = options | {"to": to, "model": model, "scale": scale, "format": kind}
    plan = partial(_plan, current_options(), frames, overwrite, told)
    pairs = list(zip(names, results, strict=True))
    first = plan(*pairs[0])  # it loads the network, once
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        others = [pool.submit(copy_context().run, plan, *pair) for pair in pairs[1:]]  # looking, too, if this thread is
        scenes = (first, *(other.result() for other in others))
    if len(scenes) > 1 and first.error is not None and {str(scene.error) for scene in scenes} == {str(first.error)}:
        raise first.error  # it speaks of an option, and not of a scene
    return Archive(scenes)


@dataclass(frozen=True, slots=True)
class Archive:
    """Many scenes that are ready to go."""

    scenes: tuple[Planned, ...]

    @property
    def ready(self) -> list[Run]:
        """Those that are still to be done."""
        return [scene.run for scene in self.scenes if scene.run is not None]

    def execute(
        self, progress: Progress | None = None, told: Tell | None = None, scheduler: Any = None
    ) -> list[Record]:
        """Compute what is missing; returns a record for each scene, in order. Raises as `upscale_many`."""
        stop_where_imported(scheduler)
        tell = told or (lambda record: None)
        for scene in (each for each in self.scenes if each.run is None):
            tell(scene.record)
        flow = _Flow([scene for scene in self.scenes if scene.run is not None], tell, progress)
        with looking_on(scheduler), prepare_process():
            flow.execute(scheduler)
        return [flow.records.get(scene.src, scene.record) for scene in self.scenes]

    def estimate(self) -> list[Record]:
        """The records of a dry run of `execute`; the time is measured by one tile of the first scene."""
        records = [scene.record for scene in self.scenes]
        rate = self.ready[0].forecast() / self.ready[0].layout.raw_size if self.ready else 0.0
        for scene, record in zip(self.scenes, records, strict=True):
            if scene.run is not None:
                record |= scene.run.estimate(rate * scene.run.layout.raw_size)
        return records


class _Open:
    """A scene that is being done."""

    def __init__(self, planned: Planned, kind: str) -> None:
        assert planned.run is not None
        self.planned, self.run = planned, planned.run.on(kind)
        self.start = time.perf_counter()
        self.sink = self.run.open_sink()
        self.job = self.run.job(self.sink.encoder)
        self.kept = self.sink.done()
        self.missing: Iterator[Tile] = (tile for tile in self.run.tiles if tile.index not in self.kept)
        self.flying = self.pixels = 0
        self.fed = False
        """Whether all its tiles have been handed out."""
        self.error: GeosrError | None = None

    def fail(self, error: GeosrError) -> None:
        """Note the first thing that went wrong; no more of its tiles are handed out."""
        self.error, self.missing = self.error or error, iter(())

    def finish(self) -> Record:
        """Its record, when no tile is left."""
        record = self.planned.record
        try:
            with self.sink:
                if self.error is not None:
                    raise self.error
                self.sink.finish()
            report = self.run.report(len(self.kept), self.pixels, time.perf_counter() - self.start)
        except GeosrError as error:
            return record | {"status": "failed", "error": str(error)}
        return record | report | {"status": "done"}


class _Flow:
    """Tiles of one scene after the other, handed to one pool without a break between scenes."""

    def __init__(self, scenes: Sequence[Planned], tell: Tell, progress: Progress | None) -> None:
        self.records: dict[str, Record] = {}
        self._scenes = scenes
        self._tell, self._progress = tell, progress
        self._waiting = iter(scenes)
        self._open: list[_Open] = []
        self._flying: dict[Future[Any], tuple[_Open, Tile]] = {}
        self._total = sum(len(scene.run.tiles) for scene in scenes if scene.run)
        self._done = self._pixels = 0

    def execute(self, scheduler: Any) -> None:
        """Do all of them."""
        first = next((scene.run for scene in self._scenes if scene.run), None)
        self._kind = kind_for(scheduler, first.computing) if first else ""
        self._current = self._next_scene()
        if self._current is None:
            return
        try:
            with pool_for(scheduler, self._current.run.workers, self._current.job) as pool:
                try:
                    self._run(pool)
                except BaseException as error:
                    self._keep_what_finishes(error)
                    raise
        except KeyboardInterrupt:
            done = sum(record["status"] == "done" for record in self.records.values())
            raise KeyboardInterrupt(
                f"{done} of {len(self._scenes)} scenes are done; the same command goes on"
            ) from None
        finally:
            for scene in self._open:
                scene.sink.close()
            close_files()

    def _run(self, pool: Pool) -> None:
        while True:
            while len(self._flying) < pool.ahead and (work := self._next_tile()) is not None:
                scene, tile = work
                self._flying[pool.executor.submit(scene.job, tile)] = work
                scene.flying += 1
            if not self._flying:
                return
            for future in wait(self._flying, return_when=FIRST_COMPLETED).done:
                self._take(future)

    def _next_tile(self) -> tuple[_Open, Tile] | None:
        while self._current is not None:
            scene = self._current
            if (tile := next(scene.missing, None)) is not None:
                return scene, tile
            scene.fed = True
            self._settle(scene)
            self._current = self._next_scene()
        return None

    def _next_scene(self) -> _Open | None:
        for planned in self._waiting:
            try:
                scene = _Open(planned, self._kind)
            except GeosrError as error:
                self._note(planned.record | {"status": "failed", "error": str(error)})
                continue
            self._open.append(scene)
            self._done += len(scene.kept)
            return scene
        return None

    def _take(self, future: Future[Any]) -> None:
        scene, tile = self._flying.pop(future)
        scene.flying -= 1
        try:
            scene.sink.append(tile, future.result())
            pixels = tile.core.size * scene.run.layout.count
            scene.pixels += pixels
            self._pixels += pixels
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total, self._pixels)
        except GeosrError as error:
            scene.fail(error)
        self._settle(scene)

    def _settle(self, scene: _Open) -> None:
        """Finish a scene of which no tile is left."""
        if scene.fed and not scene.flying:
            self._open.remove(scene)
            self._note(scene.finish())

    def _note(self, record: Record) -> None:
        self.records[record["src"]] = record
        self._tell(record)

    def _keep_what_finishes(self, error: BaseException) -> None:
        for future in finishing(self._flying, error):
            scene, tile = self._flying[future]
            with suppress(GeosrError):
                scene.sink.append(tile, future.result())


def _plan(
    gdal: Options, frames: Mapping[str, Sequence[str]], overwrite: bool, options: dict[str, Any], src: str, dst: str
) -> Planned:
    with under(gdal):
        try:
            there = is_there(dst) and not overwrite
            run = prepare_frame(src, frames[src], dst, overwrite=overwrite or there, **options)
            if not there:
                return Planned(src, dst, "ready", run)
            paths = {output.path for output in run.outputs()}
            found = {path for path in paths if is_there(path)}
            if all(is_of(tags_of(path), run.tags, run.scene) for path in found):
                return Planned(src, dst, "skipped") if found == paths else Planned(src, dst, "ready", run)
            raise InputError(f"{dst} exists and is not of this input with these options; use --overwrite to replace it")
        except GeosrError as error:
            return Planned(src, dst, "failed", error=error)
