"""Frames as planes of numbers: which of them the network makes finer, and where those of colour lie.

Of YUV, luma goes through the network and chroma through cubic convolution: that is what a clip holds, half as fine
already as a rule, so that grey stays grey, numbers stay in their range and a third of the work is left. RGB's three
planes go through the network alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.models.regrid import interpolated, lines, needed
from geosr.placement import Placement
from geosr.sensors import UNKNOWN
from geosr.video.library import pyav
from geosr.window import Window

Plane = NDArray[Any]
"""(height, width), unsigned."""

_PLANAR = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
    "nv24": "yuv444p", "p010le": "yuv420p10le", "p012le": "yuv420p12le", "p016le": "yuv420p16le",
    "p210le": "yuv422p10le", "rgb24": "gbrp", "bgr24": "gbrp", "0rgb": "gbrp", "rgb0": "gbrp", "0bgr": "gbrp",
    "bgr0": "gbrp", "rgb48le": "gbrp16le", "rgb48be": "gbrp16le", "bgr48le": "gbrp16le", "bgr48be": "gbrp16le",
    "gray16be": "gray16le", "gray10be": "gray10le", "gray12be": "gray12le", "monow": "gray", "monob": "gray",
}  # fmt: skip
"""Formats of the same numbers in planes."""
_CENTRED = ("mjpeg", "mpeg1video")
"""Codecs whose chroma lies amid the luma that it belongs to; of others it lies at the left pixel."""


@dataclass(frozen=True, slots=True)
class Planes:
    """The planes of a clip's frames."""

    format: str
    """As FFmpeg calls it, of whole planes."""
    width: int
    height: int
    bits: int
    measured: tuple[int, ...]
    """The planes that the network makes finer: luma, or green, blue and red."""
    step: tuple[int, int] = (1, 1)
    """Luma pixels that a pixel of chroma stands for, down and across."""
    left: bool = True
    """Whether chroma lies at the left of the pixels that it stands for, or amid them."""

    @classmethod
    def of(cls, name: str, width: int, height: int, codec: str = "") -> Planes:
        """The planes of frames in a format. Raises `InputError` for those that aren't of plain numbers."""
        name = _PLANAR.get(name, name)
        found = pyav().VideoFormat(name, width, height)
        parts, kind = found.components, name.removesuffix("le")
        plain = name == "gray" or (found.is_planar and "p" in name) or (kind.startswith("gray") and kind[4:].isdigit())
        if not plain or found.is_big_endian or any(part.is_alpha for part in parts) or "f" in kind:
            raise InputError(
                f"frames in {name} can't be upscaled; convert them, as with ffmpeg -pix_fmt yuv420p, gray16le or gbrp"
            )
        rgb, chroma = found.is_rgb, parts[-1]
        step = (1, 1) if rgb or len(parts) == 1 else (_times(height, chroma.height), _times(width, chroma.width))
        return cls(name, width, height, parts[0].bits, (0, 1, 2) if rgb else (0,), step, codec not in _CENTRED)

    @property
    def dtype(self) -> str:
        """The type of numbers."""
        return "uint8" if self.bits <= 8 else "uint16"

    @property
    def stored(self) -> str:
        """The format by its own name: that of JPEG's is YUV whose numbers have all of their range."""
        return self.format.replace("yuvj", "yuv")

    @property
    def names(self) -> tuple[str, ...]:
        """Of what the network makes finer."""
        return ("green", "blue", "red") if len(self.measured) > 1 else ("luma",)

    @property
    def most(self) -> int:
        """The largest number."""
        return int(2**self.bits - 1)

    def fine(self, scale: int) -> Planes:
        """The same, so many times as fine; chroma at the left, where every player looks for it."""
        sides = self.width * scale, self.height * scale
        return Planes(self.format, *sides, self.bits, self.measured, self.step)

    def read(self, frame: Any) -> tuple[Plane, ...]:
        """The planes (height, width) of a frame of the library, copied."""
        if frame.format.name != self.format:
            frame = frame.reformat(format=self.format)
        return tuple(_array(plane, self.dtype).copy() for plane in frame.planes)

    def write(self, planes: tuple[Plane, ...]) -> Any:
        """A frame of the library that holds these planes."""
        frame = pyav().VideoFrame(self.width, self.height, self.stored)
        for plane, values in zip(frame.planes, planes, strict=True):
            _array(plane, self.dtype)[...] = values
        return frame

    def stacked(self, planes: tuple[Plane, ...]) -> Plane:
        """(bands, height, width) of what the network makes finer."""
        return np.stack([planes[place] for place in self.measured])

    def coloured(self, sharp: NDArray[Any], planes: tuple[Plane, ...], scale: int) -> tuple[Plane, ...]:
        """All planes of a frame whose measured ones were made finer, its chroma by cubic convolution."""
        sharp = np.minimum(sharp, sharp.dtype.type(self.most))
        fine = self.fine(scale)
        sides = [-(-side // each) for side, each in zip((fine.height, fine.width), self.step, strict=True)]
        chroma = (self._finer(plane, scale, Window(0, 0, *sides)) for plane in planes[len(self.measured) :])
        return *sharp, *chroma

    def _finer(self, plane: Plane, scale: int, out: Window) -> Plane:
        """A plane of chroma on the finer one's grid, which may lie elsewhere between the pixels of luma."""
        rows = Fraction(0)
        cols = self._corner(scale)
        both = lines(Placement((Fraction(scale),) * 2, (rows, cols)), UNKNOWN)
        wide = needed(out, (both[0].cubic, both[1].cubic))
        (height, width), (bottom, right) = plane.shape, wide.stop
        around = (-min(wide.row, 0), max(0, bottom - height)), (-min(wide.col, 0), max(0, right - width))
        padded = np.pad(plane.astype(np.float32), around, mode="edge")
        at = Window(-around[0][0], -around[1][0], *padded.shape)
        values = interpolated(padded, at, out, both)
        return np.clip(np.rint(values), 0, self.most).astype(self.dtype)

    def _corner(self, scale: int) -> Fraction:
        """Where the first pixel of chroma begins on the grid of the finer ones, which lie at the left of theirs."""
        across = self.step[1]
        if across == 1:
            return Fraction(0)
        centre = Fraction(1, 2) if self.left else Fraction(across, 2)
        return (scale * centre - Fraction(1, 2)) / across + Fraction(1 - scale, 2)


def _times(luma: int, chroma: int) -> int:
    """Pixels of luma that one of chroma stands for."""
    return max(1, round(luma / chroma)) if chroma > 1 else (2 if luma > 1 else 1)


def _array(plane: Any, dtype: str) -> Plane:
    """The numbers (height, width) of a plane, in place."""
    size = np.dtype(dtype).itemsize
    rows: Plane = np.frombuffer(memoryview(plane), dtype)
    return rows.reshape(-1, plane.line_size // size)[: plane.height, : plane.width]
