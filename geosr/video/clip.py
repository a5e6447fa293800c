"""A clip as it is read: what it holds, checked once, and its frames in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from geosr.errors import DamageError, InputError
from geosr.io.samples import spread_windows
from geosr.radiometry import Pixels
from geosr.video.library import pyav, reading
from geosr.video.planes import Plane, Planes

_SAMPLED = 4
"""Frames, spread over the clip, that blur and noise are told from."""
_WINDOWS = 16
"""Windows of them all together."""

_TOLD = ("color_range", "color_primaries", "color_trc", "colorspace", "sample_aspect_ratio")
_COMBED = "frames are marked as interlaced: whole ones are made of their fields first, by FFmpeg's bwdif"
_SOME = (
    "some frames are marked as interlaced, the first is not: they are taken as they are, with combs where things move"
)


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame."""

    index: int
    time: int
    """In units of the clip's time base."""
    lasts: int
    """The same; 0 where the clip doesn't say."""
    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that was looked through."""

    path: Path
    planes: Planes
    count: int
    """Frames that it holds."""
    unit: Fraction
    """Seconds that its times count."""
    rate: Fraction
    """Frames a second, in the mean."""
    samples: tuple[Pixels, ...]
    """Windows of a few frames, always the same."""
    told: tuple[tuple[str, Any], ...]
    """What players are told: ranges and primaries of colours, the shape of a pixel."""
    rotation: int
    """Degrees counterclockwise by which players turn frames."""
    combed: bool
    """Whether frames are of two fields, from which whole ones are made first."""
    warnings: tuple[str, ...]

    def shots(self) -> Iterator[Shot]:
        """All frames in order. Raises `DamageError` where they can't be read."""
        with opened(self.path) as container:
            for index, frame in enumerate(_frames(self.path, container, self.combed)):
                yield Shot(index, frame.pts, frame.duration or 0, self.planes.read(frame))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The container of a clip, which is closed behind."""
    with reading(path):
        container = pyav().open(str(path), options={"fflags": "+genpts"})
    try:
        yield container
    finally:
        container.close()


def picture(container: Any) -> Any:
    """The stream of pictures in a container. Raises `InputError` where there is none."""
    found = [each for each in container.streams.video if not each.disposition & 0x400]  # covers are no pictures
    if not found or found[0].codec_context is None or not found[0].codec_context.pix_fmt:
        raise InputError(f"{container.name} holds no pictures that FFmpeg decodes")
    found[0].thread_type = "AUTO"
    return found[0]


def open_clip(path: str | Path) -> Clip:
    """A clip, looked through whole, so that what can't be read is refused at the door. Raises `InputError`."""
    path = Path(path)
    with opened(path) as container:
        stream = picture(container)
        context = stream.codec_context
        planes = Planes.of(context.pix_fmt, context.width, context.height, context.name)
        told = tuple((name, value) for name in _TOLD if (value := getattr(context, name)) not in (None, 0))
        count, step, kept = 0, 1, list[Plane]()
        combed, some, spoilt, rotation = _combed(path), False, 0, 0
        for frame in _frames(path, container, combed):
            some, spoilt, rotation = some | frame.interlaced_frame, spoilt + frame.is_corrupt, frame.rotation
            if count % step == 0:
                kept.append(planes.stacked(planes.read(frame)))
            if len(kept) > _SAMPLED:
                kept, step = kept[::2], 2 * step
            count += 1
        if count < stream.frames:
            raise DamageError(f"{path.name} is cut short: {count} of {stream.frames} frames are there")
        rate, unit = Fraction(stream.average_rate or stream.base_rate or 25), Fraction(stream.time_base)
    if count < 2:
        raise InputError(f"{path.name} holds {count or 'no'} frame{'s' * (count != 1)}; upscale it as an image")
    marked = (_COMBED,) * combed + (_SOME,) * some
    lines = (*marked, *(f"{spoilt} frames are damaged, and shown as far as they can be",) * bool(spoilt))
    return Clip(path, planes, count, unit, rate, _samples(planes, kept), told, rotation, combed, lines)


def _combed(path: Path) -> bool:
    """True where the first frame is marked as one of two fields."""
    with opened(path) as container, reading(path):
        first = next(iter(container.decode(picture(container))), None)
    return first is not None and bool(first.interlaced_frame)


def _frames(path: Path, container: Any, combed: bool) -> Iterator[Any]:
    """The frames of a clip in order. Raises `DamageError` where they can't be read, or not be put in another clip."""
    frames = _checked(path, container)
    return _whole(picture(container), frames) if combed else frames


def _whole(stream: Any, frames: Iterator[Any]) -> Iterator[Any]:
    """Frames made whole of their fields, each at its own time."""
    av, unit = pyav(), Fraction(stream.time_base)
    graph = av.filter.Graph()
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(graph.add_buffer(template=stream), bwdif, graph.add("buffersink")).configure()
    for frame in chain(frames, [None]):
        graph.push(frame)
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                made = graph.pull()
                longer = made.time_base / unit
                made.pts, made.duration = (int(each * longer) for each in (made.pts, made.duration))
                made.time_base = unit
                yield made


def _checked(path: Path, container: Any) -> Iterator[Any]:
    """The frames of a clip as they are decoded. Raises as `_frames`."""
    with reading(path):
        size, last = None, None
        for index, frame in enumerate(container.decode(picture(container))):
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                now = f"{frame.width} x {frame.height} pixels and those before {size[0]} x {size[1]}"
                raise DamageError(f"{path.name}: frame {index} has {now}; cut the clip there")
            if frame.pts is None or (last is not None and frame.pts <= last):
                now = "no time" if frame.pts is None else "the time of one before"
                raise DamageError(f"{path.name}: frame {index} has {now}; give it times, as with ffmpeg -fps_mode cfr")
            last = frame.pts
            yield frame


def _samples(planes: Planes, frames: list[Plane]) -> tuple[Pixels, ...]:
    """Windows of a few frames."""
    bands = len(planes.measured) * max(1, len(frames))
    windows = spread_windows((planes.height, planes.width), bands, max(1, _WINDOWS // max(1, len(frames))))
    return tuple(Pixels(each[:, *at.slices].copy()) for each in frames for at in windows)
