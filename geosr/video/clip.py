"""A clip as it is read: what it holds, checked once, and its frames in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from geosr.errors import DamageError, InputError
from geosr.io.samples import spread_windows
from geosr.radiometry import Pixels
from geosr.video.library import pyav, reading
from geosr.video.planes import Plane, Planes

_SAMPLED = 4
"""Key frames, spread over the clip, that blur and noise are told from."""
_WINDOWS = 16
"""Windows of them all together."""

_TOLD = ("color_range", "color_primaries", "color_trc", "colorspace", "sample_aspect_ratio")
_COMBS = (
    "frames are marked as interlaced and taken as they are; where moving edges have combs, deinterlace first, as with "
    "ffmpeg -vf bwdif"
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
    """Frames that it holds, as its packets say."""
    unit: Fraction
    """Seconds that its times count."""
    rate: Fraction
    """Frames a second, in the mean."""
    samples: tuple[Pixels, ...]
    """Windows of a few key frames, always the same."""
    told: tuple[tuple[str, Any], ...]
    """What players are told: ranges and primaries of colours, the shape of a pixel."""
    rotation: int
    """Degrees counterclockwise by which players turn frames."""
    warnings: tuple[str, ...]

    def shots(self) -> Iterator[Shot]:
        """All frames in order. Raises `DamageError` where they can't be read, `InputError` where they have no order."""
        with opened(self.path) as container, reading(self.path):
            last = None
            for index, frame in enumerate(container.decode(picture(container))):
                self._check(index, frame, last)
                last = frame.pts
                yield Shot(index, frame.pts, frame.duration or 0, self.planes.read(frame))

    def _check(self, index: int, frame: Any, last: int | None) -> None:
        if (frame.width, frame.height) != (self.planes.width, self.planes.height):
            raise DamageError(
                f"{self.path.name}: frame {index} has {frame.width} x {frame.height} pixels and the first "
                f"{self.planes.width} x {self.planes.height}; cut the clip there"
            )
        if frame.pts is None or (last is not None and frame.pts <= last):
            raise DamageError(
                f"{self.path.name}: frame {index} has {'no time' if frame.pts is None else 'the time of one before'}; "
                "give the frames times, as with ffmpeg -fps_mode cfr"
            )


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
    """A clip, looked through once: packets are counted and a few key frames decoded. Raises `InputError`."""
    path = Path(path)
    with opened(path) as container, reading(path):
        stream = picture(container)
        context = stream.codec_context
        planes = Planes.of(context.pix_fmt, context.width, context.height, context.name)
        told = tuple((name, value) for name in _TOLD if (value := getattr(context, name)) not in (None, 0))
        look = _Look(planes)
        count = look.through(container, stream)
        if stream.frames and count < stream.frames:
            raise DamageError(f"{path.name} is cut short: {count} of {stream.frames} frames are there")
        if count < 2:
            raise InputError(f"{path.name} holds {count or 'no'} frame{'s' * (count != 1)}; upscale it as an image")
        rate = Fraction(stream.average_rate or stream.base_rate or 25)
        unit = Fraction(stream.time_base)
    lines = (_COMBS,) if look.interlaced else ()
    return Clip(path, planes, count, unit, rate, look.samples, told, look.rotation, lines)


class _Look:
    """The clip as it is seen on the way through."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes
        self.interlaced, self.rotation = False, 0
        self._kept: list[Plane] = []
        self._keys, self._step = 0, 1

    def through(self, container: Any, stream: Any) -> int:
        """The number of packets; of frames only key frames are decoded."""
        stream.codec_context.skip_frame = "NONKEY"
        count = 0
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise DamageError(f"{container.name} is damaged or cut short at frame {count}")
            count += bool(packet.size)
            for frame in packet.decode():
                self._see(frame)
        if not self._kept:
            raise DamageError(f"{container.name}: no frame can be decoded")
        return count

    def _see(self, frame: Any) -> None:
        """Look at a key frame, and keep every so manieth, so that a few are spread over all."""
        self.interlaced |= frame.interlaced_frame
        self.rotation = self.rotation or frame.rotation
        if self._keys % self._step == 0:
            self._kept.append(self.planes.stacked(self.planes.read(frame)))
        self._keys += 1
        if len(self._kept) > _SAMPLED:
            self._kept, self._step = self._kept[::2], 2 * self._step

    @property
    def samples(self) -> tuple[Pixels, ...]:
        """Windows of what was kept."""
        shape, bands = (self.planes.height, self.planes.width), len(self.planes.measured) * len(self._kept)
        windows = spread_windows(shape, bands, max(1, _WINDOWS // len(self._kept)))
        return tuple(Pixels(each[:, *at.slices].copy()) for each in self._kept for at in windows)
