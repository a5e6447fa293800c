"""Clips made by functions: of a known ground, in any format, with sound and other streams."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from geosr.video.planes import Planes

UNIT = Fraction(1, 12800)
SHAPE = 36, 52
STEADY, VARYING = (512,) * 40, tuple(512 * (1 + time % 3) for time in range(40))
"""Durations of frames."""


def planes_at(layout: Planes, time: int) -> tuple[NDArray[Any], ...]:
    """The planes of a frame: waves that move by fractions of a pixel, and slopes of colour."""
    frame = av.VideoFrame(layout.width, layout.height, layout.stored)
    planes = []
    for place, plane in enumerate(frame.planes):
        rows, cols = np.mgrid[: plane.height, : plane.width].astype(np.float64)
        wave = 0.45 + 0.2 * np.sin(0.7 * (rows + 0.3 * time)) * np.cos(0.5 * (cols - 0.4 * time))
        image = wave if place in layout.measured else 0.3 + 0.2 * place + 0.2 * cols / plane.width
        planes.append(np.rint(image * layout.most).astype(layout.dtype))
    return tuple(planes)


def write_clip(
    path: Path,
    count: int = 6,
    format: str = "yuv420p",
    *,
    codec: str = "",
    shape: tuple[int, int] = SHAPE,
    lasts: Sequence[int] = STEADY,
    sound: bool = False,
    klv: bool = False,
    frames: Sequence[tuple[NDArray[Any], ...]] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    start: int = 0,
    subtitle: str = "",
    chapter: str = "",
    **told: Any,
) -> Path:
    """A clip by its name's container; FFV1 in Matroska, else H.264."""
    layout = Planes.of(format, *shape[::-1])
    codec = codec or ("ffv1" if path.suffix == ".mkv" else "libx264")
    with av.open(str(path), "w", container_options=container or {}) as out:
        out.metadata["title"] = "a clip"
        stream = out.add_stream(codec, rate=25, options=options or ({"crf": "4"} if codec == "libx264" else {}))
        stored = "bgr0" if layout.stored == "gbrp" and codec == "ffv1" else layout.stored
        stream.width, stream.height, stream.pix_fmt = layout.width, layout.height, stored
        stream.codec_context.time_base = UNIT
        if rotation := told.pop("rotation", 0):
            stream.set_display_rotation(rotation)
        for name, value in told.items():
            setattr(stream.codec_context, name, value)
        audio = out.add_stream("aac", rate=44100, layout="mono") if sound else None
        data = out.add_data_stream("klv") if klv else None
        if subtitle:
            _mux_subtitle(out, subtitle)
        if chapter:
            words = {"title": chapter}
            out.set_chapters([{"id": 1, "start": 0, "end": 1, "time_base": Fraction(1, 10), "metadata": words}])
        time = start
        for index in range(count):
            frame = layout.write(planes_at(layout, index) if frames is None else frames[index])
            frame = frame.reformat(format=stored)
            frame.pts, frame.time_base = time, UNIT
            out.mux(stream.encode(frame))
            if data is not None:
                _mux_klv(out, data, index, time)
            time += lasts[index]
        out.mux(stream.encode(None))
        if audio is not None:
            mux_sound(out, audio, float((time - start) * UNIT))
    return path


def _mux_subtitle(out: Any, text: str) -> None:
    """A text, and a file beside it."""
    stream = out.add_mux_stream("subrip", time_base=Fraction(1, 1000))
    out.add_attachment("note.txt", "text/plain", b"note")
    packet = av.Packet(text.encode())
    packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, Fraction(1, 1000), 0, 0, 40
    out.mux(packet)


def _mux_klv(out: Any, data: Any, index: int, time: int) -> None:
    packet = av.Packet(b"\x06\x0e\x2b\x34" + bytes([index]) * 20)
    packet.stream, packet.time_base, packet.pts, packet.dts = data, UNIT, time, time
    out.mux(packet)


def mux_sound(out: Any, audio: Any, seconds: float) -> None:
    """A tone in a stream of its own."""
    for start in range(0, int(seconds * 44100), 1024):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.planes[0].update(np.sin(np.arange(start, start + 1024) / 20).astype("f4").tobytes())
        frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


def frames_of(path: Path) -> list[tuple[NDArray[Any], ...]]:
    """All planes of all frames, as they are stored."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        layout = Planes.of(stream.codec_context.pix_fmt, stream.width, stream.height)
        return [layout.read(frame) for frame in container.decode(stream)]


def times_of(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Times and bytes of the packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        return [(each.pts * each.time_base, bytes(each)) for each in container.demux(stream) if each.size]
