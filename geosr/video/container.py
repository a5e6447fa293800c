"""The container of a result: new pictures, and every other stream of the clip as it was."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geosr.errors import InputError
from geosr.video.clip import Clip, opened, picture
from geosr.video.encoder import Encoding
from geosr.video.library import pyav, reading

_OPTIONS = {
    "mp4": {"movflags": "use_metadata_tags"},
    "mov": {"movflags": "use_metadata_tags"},
    "mpegts": {"mpegts_copyts": "1"},
    "matroska": {"avoid_negative_ts": "disabled"},
}
_OF_CONTAINERS = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""What a container says of itself."""

_OF_TRANSPORT = ("klv", "timed_id3", "scte_35", "dvbsub", "dvb_teletext")
"""What a transport stream holds as what it is; it takes anything, and tells readers nothing of it."""


def left_out(clip: Clip, encoding: Encoding) -> tuple[str, ...]:
    """A line for each stream of a clip that the result's container can't hold, and for times that it rounds.

    Raises `InputError` where it can't even be begun.
    """
    lines = []
    with opened(clip.path) as source:
        pictures = picture(source)
        for stream in source.streams:
            if stream is not pictures and not _holds(encoding, stream):
                kind = f"stream {stream.index} ({stream.type}, {stream.name or 'unknown'})"
                lines.append(f"{kind} can't be kept: {encoding.container} doesn't hold it")
        if encoding.container == "mpegts" and (source.chapters() or _words(source)):
            lines.append("titles and chapters can't be kept: mpegts doesn't hold them")
        try:
            out = pyav().open(io.BytesIO(), "w", format=encoding.container)
            _begun(out, clip, source, encoding)
            out.start_encoding()
            out.close()
        except (pyav().error.FFmpegError, ValueError) as error:
            size = f"{encoding.planes.width} x {encoding.planes.height}"
            what = f"{encoding.codec} can't be begun with frames of {size} for {encoding.container}"
            raise InputError(f"{what}: {getattr(error, 'strerror', error)}; try another container") from error
    if encoding.container == "matroska" and (encoding.unit * 1000).denominator != 1:
        lines.append("Matroska counts milliseconds, to which the times of frames are rounded; .mp4 keeps them exactly")
    return tuple(lines)


def put_together(clip: Clip, whole: Path, encoding: Encoding, segments: Iterable[bytes], tags: dict[str, str]) -> None:
    """Write a container with the pictures of segments and all else that a clip holds. Raises `OSError`."""
    with opened(clip.path) as source:
        try:
            out = pyav().open(str(whole), "w", format=encoding.container, container_options=_options(encoding))
            made, kept = _begun(out, clip, source, encoding)
            out.metadata.update(tags)
            own = ((made, each) for segment in segments for each in encoding.packets(segment))
            others = _copied(clip.path, source, kept)
            for stream, packet in heapq.merge(own, others, key=lambda each: each[1].dts * each[1].time_base):
                packet.stream = stream
                out.mux(packet)
            out.close()
        except pyav().error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error


def _begun(out: Any, clip: Clip, source: Any, encoding: Encoding) -> tuple[Any, dict[int, Any]]:
    """The new stream of pictures in a container, and those of the streams that are kept, by their index in the clip."""
    pictures = picture(source)
    made = out.add_stream(encoding.codec, rate=encoding.rate)
    encoding.start(made.codec_context)
    made.metadata.update(pictures.metadata)
    made.time_base = encoding.unit
    if clip.rotation:
        made.set_display_rotation(clip.rotation)
    others = (stream for stream in source.streams if stream is not pictures and _holds(encoding, stream))
    kept = {stream.index: _added(out, stream) for stream in others}
    out.metadata.update(_words(source))
    out.set_chapters(source.chapters())
    return made, kept


def _words(source: Any) -> dict[str, str]:
    """The words that a clip carries, without what its container says of itself."""
    return {name: text for name, text in source.metadata.items() if name.lower() not in _OF_CONTAINERS}


def _options(encoding: Encoding) -> dict[str, str]:
    options = {**_OPTIONS[encoding.container], "fflags": "+bitexact"}  # no random numbers, no versions
    if encoding.container in ("mp4", "mov") and encoding.unit.numerator == 1:
        options["video_track_timescale"] = str(encoding.unit.denominator)
    return options


def _copied(path: Path, source: Any, kept: dict[int, Any]) -> Iterator[tuple[Any, Any]]:
    """The packets of streams that are kept, and the new stream of each."""
    streams = [stream for stream in source.streams if stream.index in kept and stream.type != "attachment"]
    with reading(path):
        for packet in source.demux(*streams) if streams else ():
            if packet.dts is not None and packet.size:
                yield kept[packet.stream.index], packet


def _added(out: Any, stream: Any) -> Any:
    """A new stream like another."""
    made = out.add_stream_from_template(stream, opaque=True)
    made.metadata.update(stream.metadata)
    made.disposition = stream.disposition
    return made


def _holds(encoding: Encoding, stream: Any) -> bool:
    """True where a container takes a stream as it is: an empty one is begun with it."""
    known = stream.type == "audio" or stream.name in _OF_TRANSPORT
    if stream.type == "video" or (encoding.container == "mpegts" and not known):
        return False
    try:
        out = pyav().open(io.BytesIO(), "w", format=encoding.container)
        _added(out, stream)
        out.start_encoding()
        out.close()
    except (pyav().error.FFmpegError, ValueError, TypeError):
        return False
    return True
