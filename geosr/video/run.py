"""A clip that is ready to be upscaled: what will be done, and doing it, as `geosr.run.Run` does it for rasters."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from geosr import __version__
from geosr.cluster import POOL, left_behind_on_interrupt
from geosr.errors import InputError
from geosr.fusing import fused
from geosr.io.destination import default_name
from geosr.io.identity import content
from geosr.io.layout import choose_core
from geosr.io.place import check_destination
from geosr.models import registry
from geosr.models.model import Precision
from geosr.models.own import TorchNetwork
from geosr.models.threads import prepare_process
from geosr.observing import Blur, check_fused, settle
from geosr.pipeline import at_once
from geosr.provenance import PIXELS
from geosr.radiometry import Radiometry
from geosr.registration.values import Registration
from geosr.run import Grid, Progress, Report
from geosr.sensor_table import Origin
from geosr.sensors import UNKNOWN, Band, SensorGuess
from geosr.upscaler import plan_tiles
from geosr.video.clip import Clip, Shot, open_clip
from geosr.video.container import left_out
from geosr.video.encoder import CONTAINERS, Encoding
from geosr.video.library import is_clip
from geosr.video.moving import Moving
from geosr.video.planes import Plane
from geosr.video.sink import ClipSink
from geosr.window import Window

_USUAL, _WIDEST = 7, 31
"""Frames that one is made of, itself and those beside it, and how many at most."""
_SEGMENT = 48
"""Frames of a segment, which are computed again where a run is killed."""


@dataclass(frozen=True, slots=True)
class ClipRun:
    """A clip that is ready to be upscaled."""

    clip: Clip
    dst: Path
    encoding: Encoding
    moving: Moving
    window: int
    workers: int
    overwrite: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def execute(self, progress: Progress | None = None) -> Report:
        """Compute what is missing and give the result its name. Raises as `geosr.upscale`."""
        start = time.perf_counter()
        with prepare_process(), ClipSink(self.dst, self._fingerprint(), self.overwrite) as sink:
            kept = sink.done * _SEGMENT
            try:
                with left_behind_on_interrupt(ThreadPoolExecutor(self.workers, POOL)) as pool:
                    self._compute(pool, sink, progress)
            except KeyboardInterrupt:
                known = f"{sink.done * _SEGMENT} of {self.clip.count} frames are kept; the same command goes on"
                raise KeyboardInterrupt(known) from None
            sink.finish(self.clip, self.encoding, self._tags())
        seconds = time.perf_counter() - start
        return self._report(kept, seconds, self.dst.stat().st_size)

    def estimate(self) -> Report:
        """The report of a dry run; the time is measured by two frames that are thrown away."""
        with prepare_process(), ThreadPoolExecutor(self.workers, POOL) as pool:
            start = time.perf_counter()
            first = list(islice(self._sharp(pool, islice(self.clip.shots(), self.window), 0), self.workers))
            each = (time.perf_counter() - start) / max(1, len(first))
        size = sum(plane.nbytes for plane in first[0][1]) * self.clip.count // 4
        return self._report(0, each * self.clip.count, size, dry_run=True)

    def _compute(self, pool: Executor, sink: ClipSink, progress: Progress | None) -> None:
        first = done = sink.done * _SEGMENT
        pixels = 0
        frames = self._sharp(pool, self.clip.shots(), first)

        def told() -> Iterator[tuple[int, int, tuple[Plane, ...]]]:
            """The frames of the next segment."""
            nonlocal done, pixels
            for shot, planes in islice(frames, _SEGMENT):
                yield shot.time, shot.lasts, planes
                done += 1
                pixels += self.moving.plan.scene.size * len(self.clip.planes.measured)
                if progress:
                    progress(done, max(done, self.clip.count), pixels)

        while segment := self.encoding.segment(told()):
            sink.append(segment)

    def _sharp(self, pool: Executor, shots: Iterable[Shot], first: int) -> Iterator[tuple[Shot, tuple[Plane, ...]]]:
        """Frames from `first` on with their finer planes, in order; as many in flight as there are workers."""
        stacked, placed = self.clip.planes.stacked, dict[tuple[int, int], Future[Registration]]()
        flying: deque[tuple[Shot, Future[tuple[Plane, ...]]]] = deque()
        for shot, beside in windows(shots, self.window // 2):
            if shot.index < first:
                continue
            for one, other in ((min(shot.index, each.index), max(shot.index, each.index)) for each in beside):
                if (one, other) not in placed:
                    pair = [next(each for each in (shot, *beside) if each.index == index) for index in (one, other)]
                    placed[one, other] = pool.submit(self.moving.place, *(stacked(each.planes) for each in pair))
            placed = {pair: found for pair, found in placed.items() if pair[1] >= shot.index}
            # Where frames lie is found by work that was handed out before, so that nobody waits for who can't begin.
            found = [_lies(placed, shot.index, each.index) for each in beside]
            flying.append((shot, pool.submit(self._finer, shot, beside, found)))
            while len(flying) > self.workers:
                done, future = flying.popleft()
                yield done, future.result()
        for done, future in flying:
            yield done, future.result()

    def _finer(
        self, shot: Shot, beside: list[Shot], found: list[tuple[Future[Registration], bool]]
    ) -> tuple[Plane, ...]:
        planes = self.clip.planes
        lies = [future.result().inverse if turned else future.result() for future, turned in found]
        others = ((planes.stacked(each.planes), at) for each, at in zip(beside, lies, strict=True))
        sharp = self.moving.finer(planes.stacked(shot.planes), others)
        return planes.coloured(sharp, shot.planes, self.moving.plan.scale)

    def _fingerprint(self) -> dict[str, str]:
        network, path = self.moving.network, self.clip.path
        status = path.stat()
        return {
            "input": content(str(path), [str(path)]) or f"{path.name} {status.st_size} {status.st_mtime_ns}",
            "pixels": str(PIXELS),
            "model": " ".join(filter(None, (network.model.card.title, network.model.key, network.model.sha256))),
            "scale": str(network.scale),
            "window": str(self.window),
            "response": str(tuple(band.response for band in network.observation)),
            "noise": str(tuple(band.noise for band in network.observation)),
            "precision": network.precision,
            "computed on": network.here,
            "encoding": self.encoding.settings,
        }

    def _tags(self) -> dict[str, str]:
        title = self.moving.network.card.title
        return {
            "GEOSR_VERSION": __version__,
            "GEOSR_MODEL": title,
            "GEOSR_SCALE": str(self.moving.network.scale),
            "GEOSR_WINDOW": str(self.window),
        }

    def _report(self, kept: int, seconds: float, size: int, *, dry_run: bool = False) -> Report:
        planes, plan, fine = self.clip.planes, self.moving.plan, self.encoding.planes
        pixels = plan.scene.size * len(planes.measured) * max(0, self.clip.count - kept)
        return Report(
            path=str(self.dst),
            others={},
            dry_run=dry_run,
            model=self.moving.network.card.title,
            groups=[],
            grid_in=Grid(width=planes.width, height=planes.height, pixel_width=1.0, pixel_height=1.0),
            grid_out=Grid(
                width=fine.width, height=fine.height, pixel_width=1 / plan.scale, pixel_height=1 / plan.scale
            ),
            bands=list(planes.names),
            dtype=planes.dtype,
            format=self.encoding.container,
            tiles=len(plan) * self.clip.count,
            tiles_from_an_earlier_run=len(plan) * min(kept, self.clip.count),
            tile=plan.core,
            halo=plan.halo,
            workers=self.workers,
            memory=self._memory,
            seconds=round(seconds, 2),
            megapixels_per_second=round(pixels / 1e6 / max(seconds, 1e-6), 3),
            bytes=size,
            warnings=list(self.warnings),
            notes=list(self.notes),
        )

    @property
    def _memory(self) -> int:
        """Bytes, roughly: frames that are at hand, those made of them, and a tile for each worker."""
        plan, network = self.moving.plan, self.moving.network
        frame = plan.scene.size * 4 * (self.window + self.workers + plan.scale**2 * (self.workers + 2))
        side = plan.core + 2 * plan.halo
        block = 4 * side**2 * (network.alive + 8 * plan.scale**2)
        return int(400e6 + frame + self.workers * block)


def windows(shots: Iterable[Shot], half: int) -> Iterator[tuple[Shot, list[Shot]]]:
    """Each frame, and up to `half` on either side of it."""
    near: deque[Shot | None] = deque(maxlen=2 * half + 1)
    for shot in chain(shots, repeat(None, half)):
        near.append(shot)
        middle = near[-1 - half] if len(near) > half else None
        if middle is not None:
            yield middle, [each for each in near if each is not None and each is not middle]


def _lies(
    placed: dict[tuple[int, int], Future[Registration]], shot: int, other: int
) -> tuple[Future[Registration], bool]:
    """The place of a frame to another, and whether that is told the other way round."""
    return (placed[shot, other], False) if shot < other else (placed[other, shot], True)


def clip_run(src: Any, dst: str | Path | None, options: Mapping[str, Any]) -> ClipRun:
    """The clip of `geosr.upscale` with all of its options. Raises as that, and `InputError` for those of rasters."""
    if not is_clip(src):
        raise InputError(
            "--window is of a clip such as clip.mp4, and with --outdir of frames; leave it out for rasters"
        )
    takes = [one.name for one in signature(prepare_clip).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]
    scheduler, theirs = options.get("scheduler"), {"src", "dst", "progress", "scheduler", *takes}
    if given := [name for name, value in options.items() if value not in (None, False, {}, ()) and name not in theirs]:
        raise InputError(f"--{given[0].replace('_', '-')} is of rasters; a clip takes --{', --'.join(takes)}")
    if scheduler not in (None, "threads"):
        raise InputError(f"--scheduler {scheduler}: the frames of a clip are worked on by threads; leave it out")
    return prepare_clip(src, dst, **{name: options[name] for name in takes})


def prepare_clip(
    src: str | Path,
    dst: str | Path | None = None,
    *,
    window: int | None = None,
    model: str | TorchNetwork | None = None,
    scale: int | None = None,
    mtf: Blur = None,
    snr: float | None = None,
    tile: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    overwrite: bool = False,
) -> ClipRun:
    """Everything that upscaling a clip will do, checked and decided; nothing is written. Raises as `geosr.upscale`."""
    frames, times = check_window(window), scale or 4
    found = registry.find(model, times, fused=frames > 1)
    if found.guided:
        raise InputError(f"{found.card.title} needs a finer raster, which a clip has not; choose another --model")
    if found.adds and frames == 1:
        raise InputError(f"{found.card.title} adds the frames beside each; choose another --model, or a wider --window")
    check_fused(found, frames > 1, False, None)
    if dst is not None and Path(dst).exists() and Path(src).exists() and Path(dst).samefile(src):
        raise InputError(f"{dst} is the input itself; name another result")
    target = check_destination(dst if dst is not None else _default(Path(src), times), overwrite)
    clip = open_clip(src)
    encoding = Encoding.of(target, clip.planes.fine(times), clip)
    dtype = clip.planes.dtype
    radiometry = Radiometry(dtype, dtype, ((),) * len(clip.planes.measured))
    told = settle(
        found,
        radiometry=radiometry,
        sensor=SensorGuess(bands=tuple(_band(name) for name in clip.planes.names)),
        mtf="scene" if mtf is None else mtf,
        snr=snr,
        project=None,
        device=device,
        precision=precision,
        fused=frames > 1,
    )
    observation, lines = told.observe(clip.samples)
    shape = clip.planes.height, clip.planes.width
    network = fused(told, observation, Window(0, 0, *shape), ()) if frames > 1 else told.network(observation)
    core = choose_core(times, len(observation), 1, network.halo, tile)[0]
    plan = plan_tiles(shape, core, network, gaps=False)
    how = f"each frame is made of up to {frames}, itself and those beside it that show the same" if frames > 1 else ""
    notes = (*found.card.notes, *filter(None, (how,)), encoding.about, *lines, *network.notes)
    warnings = (*clip.warnings, *left_out(clip, encoding))
    moving = Moving(network, radiometry, plan)
    hands = workers or at_once(network.cards)
    return ClipRun(clip, target, encoding, moving, frames, hands, overwrite, notes, warnings)


def _band(name: str) -> Band:
    return Band(UNKNOWN, response_from=Origin.DEFAULT, response_why="cameras differ", name=name)


def check_window(window: int | None) -> int:
    """The frames that one is made of, 5 by default. Raises `InputError` for numbers that can't be."""
    if window is None:
        return _USUAL
    if window not in range(1, _WIDEST + 1, 2):
        raise InputError(f"--window {window}: expected an odd number of frames from 1 to {_WIDEST}, such as {_USUAL}")
    return window


def _default(src: Path, scale: int) -> Path:
    """`clip_x4.mp4` beside `clip.mp4`; in Matroska what comes in a container that isn't written."""
    suffix = src.suffix.lower() if src.suffix.lower() in CONTAINERS else ".mkv"
    return default_name(str(src), f"x{scale}").with_suffix(suffix)
