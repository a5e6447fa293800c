"""The path of a frame of a clip: where those beside it lie, and its pixels made finer with them.

It is the path of several dates (`geosr.frames`), with arrays for files and the frame for the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geosr.frames import FramesUpscaler
from geosr.fusing import Other
from geosr.io.frames_source import FrameSource, FramesSource
from geosr.io.samples import spread_windows
from geosr.models.frames import FramesNetwork
from geosr.models.runtime import ModelNetwork
from geosr.pipeline import Job
from geosr.radiometry import Pixels, Radiometry
from geosr.registration.register import register
from geosr.registration.values import MARGIN, Patch, Registration
from geosr.tiling import Tile, TilePlan
from geosr.upscaler import Upscaler
from geosr.window import Window

Stack = NDArray[np.generic]
"""(bands, height, width) of stored numbers."""
_SIDE = 96
"""Pixels a side of a window that tells where a frame lies."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Pixels that are at hand: a `Raster` of an array."""

    stored: Stack

    def pixels(self, window: Window) -> Pixels:
        """Those of a window."""
        return Pixels(self.stored[:, *window.slices])

    def read(self, tile: Tile) -> Pixels:
        """Those that a tile reads."""
        return self.pixels(tile.read)


@dataclass(frozen=True, slots=True)
class Moving:
    """All that decides what becomes of the frames of a clip beside their pixels. Pure, for any thread."""

    network: ModelNetwork
    """That of several frames, which has none yet, or of one."""
    radiometry: Radiometry
    plan: TilePlan

    def place(self, reference: Stack, frame: Stack) -> Registration:
        """Where a frame lies to another; far off only where it is nowhere near."""
        near = register(_patches(reference, frame, (0, 0)))
        far = _far(reference, frame) if near.unfit else (0, 0)
        if far == (0, 0):
            return near
        found = register(_patches(reference, frame, far))
        return near if found.unfit else replace(found, down=found.down + far[0], right=found.right + far[1])

    def finer(self, reference: Stack, others: Iterable[tuple[Stack, Registration]]) -> Stack:
        """A frame on the finer grid, with what is seen of it in others that fit."""
        fitting = [(stored, at) for stored, at in others if not at.unfit]
        out: Stack = np.empty(
            (len(reference), *(side * self.plan.scale for side in reference.shape[1:])), self.radiometry.out_dtype
        )
        job = self._job(reference, fitting)
        for tile in self.plan:
            out[:, *tile.write.slices] = job(tile)
        return out

    def _job(self, reference: Stack, others: Sequence[tuple[Stack, Registration]]) -> Job:
        network, bands, ground = self.network, len(reference), self.plan.scene
        if not isinstance(network, FramesNetwork) or not others:
            single = network.single if isinstance(network, FramesNetwork) else network
            upscaler = Upscaler(single, self.radiometry, (False,) * bands)
            return Job(self.plan, Shown(reference), upscaler, _image)
        frames = tuple(_other(at).frame(index, ground) for index, (_, at) in enumerate(others))
        sources = tuple(
            FrameSource(frame, Shown(stored), ground, bands, str(stored.dtype), stored.shape[1:])
            for frame, (stored, _) in zip(frames, others, strict=True)
        )
        fused = FramesUpscaler(
            replace(network, frames=frames), self.radiometry, (self.radiometry,) * len(frames), (False,) * bands
        )
        return Job(self.plan, FramesSource(Shown(reference), sources), fused, _image)


def _image(tile: Tile, *results: Pixels) -> Stack:
    """The image of a tile's results, without the count of frames."""
    return results[0].stored


def _other(at: Registration) -> Other:
    """A frame with its whole pixels apart, since what a tile reads of it is told by those."""
    down, right = round(at.down), round(at.right)
    return Other("", -down, -right, replace(at, down=at.down - down, right=at.right - right))


def _patches(reference: Stack, frame: Stack, far: tuple[int, int]) -> list[Patch]:
    """Windows of both, always the same, NaN beyond the frame; whole pixels (down, right) taken off."""
    whole = Window(0, 0, *reference.shape[1:])
    found = []
    for at in spread_windows(reference.shape[1:], len(reference), size=_SIDE):
        around = at.shift(*far).grow(MARGIN)
        there = around.clip(whole)
        seen = np.full((len(frame), around.height, around.width), np.nan)
        if there.size:
            seen[:, *there.within(around).slices] = frame[:, *there.slices]
        found.append(Patch(reference[:, *at.slices].astype(np.float64), seen, at.row, at.col))
    return found


def _far(reference: Stack, frame: Stack) -> tuple[int, int]:
    """Whole pixels (down, right) at which whole frames agree best, by phase correlation."""
    windows = np.outer(*(np.hanning(side) for side in reference.shape[1:]))
    one, other = (np.fft.rfft2((each.mean(0) - each.mean()) * windows) for each in (reference, frame))
    cross = other * np.conj(one)
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-3 * np.abs(cross).max() + 1e-300), s=windows.shape)
    best = np.unravel_index(int(np.argmax(surface)), surface.shape)
    down, right = (int((at + side // 2) % side - side // 2) for at, side in zip(best, surface.shape, strict=True))
    return down, right
