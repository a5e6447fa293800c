"""The path of a tile of several dates of one place: frames, of which one is the reference.

The reference's grid is the scene's: tiles are cut of it, and grid, mask and metadata of the result are its own. What a
tile takes of the other frames follows from where they lie (`Frame`), and goes with the reference's block into one call
of the model: all else is the path of any scene (`Upscaler`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.noise import Noise
from geosr.placement import Placement
from geosr.radiometry import Head, Passes, Pixels, Radiometry
from geosr.registration.values import Registration
from geosr.response import Response
from geosr.tiling import Tile
from geosr.upscaler import Network, Upscaler
from geosr.window import Window

COUNT = Head("frames", Passes.COUNT)
"""How many frames each pixel drew on, the reference counting as 1 and others as much as they were believed."""
MOST = 100
"""Frames that are taken of one place at most."""
_PARTS = 256
"""Of a pixel, in which a frame is placed."""
_APART = 0.05
"""Pixels by which a turned frame's own shifts may differ within a cell that is taken for shifted alone."""
_SMALLEST = 8
"""Pixels a side of a cell at least."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of a frame that is shifted against the reference, and not turned."""

    own: Window
    """In the frame's own pixels."""
    down: Fraction
    right: Fraction
    """Own pixel m has its centre at m + shift of the reference's pixel centres."""

    def placement(self, scale: int) -> Placement:
        """Of the frame's pixels on a grid `scale` times as fine as the reference's."""
        return Placement((Fraction(scale),) * 2, (self.down * scale, self.right * scale))


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a frame lies to the reference, and how bright it is to it."""

    index: int
    """Its place among the other dates of the scene."""
    name: str
    registration: Registration
    row: int
    """Of the reference, counted from the scene's corner, where the frame's own grid says that its pixel (0, 0) lies."""
    col: int
    ground: Window
    """All that can be read of the reference, counted from the scene's corner: a turn is told from there."""
    responses: tuple[Response, ...] = ()
    """Per band; none where they are the reference's."""
    noises: tuple[Noise, ...] = ()
    """Per band, in the frame's own numbers; none where they are as the reference's."""

    def cells(self, own: Window) -> Iterator[Cell]:
        """The parts of a window of own pixels, always cut alike."""
        side = self._side
        if side is None:
            yield self._cell(own, own)
            return
        for row in range(own.row // side, -(-own.stop[0] // side)):
            for col in range(own.col // side, -(-own.stop[1] // side)):
                whole = Window(row, col, 1, 1).scale(side)
                yield self._cell(whole, whole.clip(own))

    def taken(self, reference: Window) -> Window:
        """The own pixels that show a window of the reference, and some around them."""
        row, col = (reference.row - self.row, reference.col - self.col)
        down, right = self.registration.shift_at(*self._middle(reference))
        whole = Window(row + math.floor(down), col + math.floor(right), reference.height, reference.width)
        steepest = max(map(abs, self.registration.turn))
        return whole.grow(2 + math.ceil(steepest * (reference.height + reference.width)))

    def noise(self, noise: Noise, band: int) -> Noise:
        """The noise of a band in the reference's numbers, where it is this in the frame's own."""
        gain, offset = self.registration.gains[band], self.registration.offsets[band]
        return noise.moved(1.0 / gain, -offset / gain)

    def __str__(self) -> str:
        """Its name, and how it lies."""
        at = self.registration
        return f"{self.name} {at.down:+.3f} {at.right:+.3f} px (+- {at.error:.3f})"

    @property
    def _side(self) -> int | None:
        """Of a cell, own pixels; None where all of the frame is one."""
        steepest = max(map(abs, self.registration.turn))
        return max(_SMALLEST, int(_APART / steepest / 2)) if steepest else None

    def _middle(self, reference: Window) -> tuple[float, float]:
        """The middle of a window of the scene, counted from the reference's corner."""
        row, col = reference.row - self.ground.row, reference.col - self.ground.col
        return row + (reference.height - 1) / 2, col + (reference.width - 1) / 2

    def _cell(self, whole: Window, part: Window) -> Cell:
        down, right = self.registration.shift_at(*self._middle(whole.shift(self.row, self.col)))
        rows, cols = (Fraction(round(each * _PARTS), _PARTS) for each in (down, right))
        return Cell(part, self.row - rows, self.col - cols)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Pixels that a tile takes of a frame, in the reference's numbers."""

    values: NDArray[np.floating]
    """(bands, at.height, at.width)."""
    there: NDArray[np.bool_]
    """The same shape: where there is data."""
    at: Window
    """Of the frame's own pixels."""


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """A block of a frame that can't be read, and counts as no data."""

    name: str
    """Of the frame."""
    block: tuple[int, int]
    """Row and column among the frame's blocks."""
    why: str


def about_damage(lost: Iterable[Damage]) -> list[str]:
    """A line for each frame of which blocks are lost."""
    by_name: dict[str, list[Damage]] = {}
    for each in sorted(lost):
        by_name.setdefault(each.name, []).append(each)
    return [
        f"{name}: {len(blocks)} block{'s' * (len(blocks) > 1)} of it can't be read and count{'s' * (len(blocks) == 1)} "
        f"as no data: {blocks[0].why}"
        for name, blocks in by_name.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class FramePixels:
    """Pixels of all frames that a tile takes, as stored."""

    reference: Pixels
    """Of the tile's read window."""
    others: tuple[tuple[Pixels, Window], ...]
    """Of the other frames, and where they lie in own pixels."""
    lost: tuple[Damage, ...] = ()
    """Blocks of other frames that can't be read."""


class Fuser(Network, Protocol):
    """A network that takes frames beside the reference's block. Pickles small."""

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All but the reference."""

    def fuse(
        self,
        block: NDArray[np.floating],
        bands: tuple[int, ...],
        at: Window,
        valid: NDArray[np.bool_] | None,
        seen: Sequence[Seen],
    ) -> NDArray[np.floating]:
        """The results of `Network` for a block that lies at a window of the scene, from what is seen of each frame.

        `valid` (bands of the scene, at.height, at.width) says where the reference has data.
        """


@dataclass(frozen=True, slots=True)
class FramesUpscaler:
    """`FramePixels` of a tile in, pixels of its write window out."""

    network: Fuser
    radiometry: Radiometry
    """Of the reference, which is the result's."""
    others: tuple[Radiometry, ...]
    categorical: tuple[bool, ...]

    def __call__(self, pixels: FramePixels, tile: Tile) -> tuple[Pixels, ...]:
        """The results of a tile as `Upscaler` gives them."""
        working = self.radiometry.working
        pairs = zip(self.network.frames, self.others, pixels.others, strict=True)
        seen = tuple(_seen(frame, radiometry, *each, working) for frame, radiometry, each in pairs)
        valid = self.radiometry.valid(pixels.reference)
        network = _Tile(self.network, tile, None if valid is None else _around(valid, tile), seen)
        return Upscaler(network, self.radiometry, self.categorical)(pixels.reference, tile)

    def has_data(self, pixels: FramePixels) -> bool:
        """True where some pixel of a tile has to be computed."""
        return Upscaler(self.network, self.radiometry, self.categorical).has_data(pixels.reference)


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """The network of one tile, which has its frames at hand."""

    network: Fuser
    tile: Tile
    valid: NDArray[np.bool_] | None
    seen: tuple[Seen, ...]

    @property
    def scale(self) -> int:
        """The network's."""
        return self.network.scale

    @property
    def halo(self) -> int:
        """The network's."""
        return self.network.halo

    @property
    def multiple(self) -> int:
        """The network's."""
        return self.network.multiple

    @property
    def heads(self) -> tuple[Head, ...]:
        """The network's."""
        return self.network.heads

    def groups(self, bands: Sequence[int]) -> Sequence[tuple[int, ...]]:
        """The network's."""
        return self.network.groups(bands)

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        return self.network.fuse(block, bands, self.tile.block, self.valid, self.seen)


def _around(valid: NDArray[np.bool_], tile: Tile) -> NDArray[np.bool_]:
    """Validity over a tile's block: nothing is there beyond what was read."""
    out = np.zeros((len(valid), tile.block.height, tile.block.width), bool)
    there = tile.block.clip(tile.read)
    out[:, *there.within(tile.block).slices] = valid[:, *there.within(tile.read).slices]
    return out


def _seen(frame: Frame, radiometry: Radiometry, pixels: Pixels, at: Window, working: np.dtype[np.floating]) -> Seen:
    """A frame's pixels in the reference's numbers; 0 where there is no data."""
    valid = radiometry.valid(pixels)
    there = np.ones(pixels.stored.shape, bool) if valid is None else valid
    gains, offsets = (
        np.asarray(each)[:, None, None] for each in (frame.registration.gains, frame.registration.offsets)
    )
    values = (np.where(there, pixels.stored, 0).astype(np.float64) - offsets) / gains
    return Seen(np.where(there, values, 0.0).astype(working), there, at)
