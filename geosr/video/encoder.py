"""How frames are encoded: near lossless, or without loss in Matroska, in segments that stand alone.

H.264 for 8 bits and HEVC for more, at a quality (CRF 10) whose errors are below a count or so; FFV1 in Matroska loses
nothing and takes any depth. No frame is shown later than it is stored, so that times are those of the frames, and an
encoder is begun anew for every segment: what a segment becomes depends on its frames alone, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any

from geosr.errors import InputError
from geosr.video.clip import Clip
from geosr.video.library import pyav
from geosr.video.planes import Plane, Planes

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".ts": "mpegts", ".mkv": "matroska"}
"""FFmpeg's names for containers that clips are written in."""
_QUALITY = "10"
_THREADS = "4"
"""The same on any machine, since they have an influence on what an encoder decides."""
_H264 = {
    "crf": _QUALITY, "preset": "fast", "threads": _THREADS, "bf": "0",
    "x264-params": "rc-lookahead=10:sync-lookahead=0:log-level=-1",
}  # fmt: skip
_HEVC = {
    "crf": _QUALITY, "preset": "fast",
    "x265-params": f"bframes=0:rc-lookahead=10:frame-threads=2:pools={_THREADS}:log-level=none",
}  # fmt: skip
_FFV1 = {"level": "3", "g": "1", "slices": "4", "slicecrc": "1", "threads": _THREADS}
_HEAD = Struct("<qqBI")
"""Of a packet in a segment: time, duration, whether it is a key frame, bytes."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The codec of a result, and all that it is told."""

    container: str
    codec: str
    options: tuple[tuple[str, str], ...]
    planes: Planes
    """Of the finer frames."""
    unit: Fraction
    rate: Fraction
    told: tuple[tuple[str, Any], ...]
    """What players are told (`Clip.told`)."""

    @classmethod
    def of(cls, path: Path, planes: Planes, clip: Clip) -> Encoding:
        """The encoding of a clip's result by its name and finer frames. Raises `InputError` where none takes them."""
        container = CONTAINERS.get(path.suffix.lower())
        if container is None:
            raise InputError(f"{path.name}: a clip becomes {', '.join(CONTAINERS)}; name it {path.stem}.mkv")
        codec, options = _codec(container, planes)
        if codec not in pyav().codecs_available or _format(codec, planes) not in _formats(codec):
            other = "" if container == "matroska" else f"; name it {path.stem}.mkv, which takes any"
            raise InputError(f"{path.name}: no codec here takes frames in {planes.stored} for it ({codec}){other}")
        odd = [side for side, step in zip((planes.height, planes.width), planes.step, strict=True) if side % step]
        if codec != "ffv1" and odd:
            raise InputError(f"{path.name}: {codec} takes even sides, and one is {odd[0]}; name it {path.stem}.mkv")
        return cls(container, codec, tuple(options.items()), planes, clip.unit, clip.rate, clip.told)

    @property
    def about(self) -> str:
        """The line that says what encoding loses."""
        if self.codec == "ffv1":
            return f"FFV1, {self.planes.stored}: nothing is lost"
        name = "H.264" if self.codec == "libx264" else "HEVC"
        return f"{name}, {self.planes.stored}, CRF {_QUALITY}: near lossless; a name in .mkv loses nothing"

    @property
    def settings(self) -> str:
        """All of it in words, and the library's version: the same words make the same bytes."""
        return str((self, pyav().library_versions.get("libavcodec")))

    def start(self, context: Any) -> Any:
        """An encoder, told everything, before it is opened."""
        context.width, context.height = self.planes.width, self.planes.height
        context.pix_fmt = _format(self.codec, self.planes)
        context.time_base, context.framerate = self.unit, self.rate
        for name, value in self.told:
            setattr(context, name, value)
        if self.container != "mpegts":
            context.flags |= pyav().codec.context.Flags.global_header
        context.options = dict(self.options)
        return context

    def segment(self, frames: Iterable[tuple[int, int, tuple[Plane, ...]]]) -> bytes:
        """Frames (time, duration, planes) as packets, one behind the other."""
        context = self.start(pyav().CodecContext.create(self.codec, "w"))
        durations: dict[int, int] = {}
        packets = []
        for time, lasts, planes in frames:
            frame = self.planes.write(planes).reformat(format=context.pix_fmt)
            frame.pts, frame.time_base, durations[time] = time, self.unit, lasts
            packets += context.encode(frame)
        packets += context.encode(None)
        return b"".join(
            _HEAD.pack(each.pts, durations[each.pts], each.is_keyframe, each.size) + bytes(each) for each in packets
        )

    def packets(self, segment: bytes) -> Iterable[Any]:
        """The packets of a segment again."""
        at = 0
        while at < len(segment):
            time, lasts, key, size = _HEAD.unpack_from(segment, at)
            at += _HEAD.size
            packet = pyav().Packet(segment[at : at + size])
            packet.pts = packet.dts = time
            packet.duration, packet.is_keyframe, packet.time_base = lasts, bool(key), self.unit
            at += size
            yield packet


def _codec(container: str, planes: Planes) -> tuple[str, dict[str, str]]:
    if container == "matroska":
        return "ffv1", _FFV1
    return ("libx264", _H264) if planes.bits <= 8 and len(planes.measured) == 1 else ("libx265", _HEVC)


def _format(codec: str, planes: Planes) -> str:
    """The format that an encoder is given; FFV1 has RGB of 8 bits in one piece."""
    return "bgr0" if codec == "ffv1" and planes.stored == "gbrp" else planes.stored


def _formats(codec: str) -> list[str]:
    return [each.name for each in pyav().codec.Codec(codec, "w").video_formats or ()]
