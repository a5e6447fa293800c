"""A scene cut into tiles by integers.

    scene's edge
┌───────────────────────────
│   ┌ block ─────────────┐      block  what the network sees: core + halo, mirrored beyond the scene
│ ┌ read ────────────────┼─┐    read   what is read: wide enough to fill gaps, cut at the scene's edge
│ │ │    ┌ core ───┐     │ │    core   what the tile answers for; cores partition the scene
│ │ │halo│         │halo │ │
│ │ │    └─────────┘     │ │
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from geosr.window import Window


@dataclass(frozen=True, slots=True)
class Tile:
    """One piece of work. `core`, `read` and `block` are source pixels; `crop` and `write` are output pixels."""

    index: int
    """Position in the plan, row by row; the tile's name in a journal."""
    core: Window
    """What the tile answers for."""
    read: Window
    """What is read from the source; outside the scene only where it was cut from more."""
    block: Window
    """What the network is given; may reach outside the scene, where the scene is mirrored."""
    crop: Window
    """Where the core lies in the network's output."""
    write: Window
    """Where the core lies in the result."""


@dataclass(frozen=True, slots=True)
class TilePlan(Sequence[Tile]):
    """Tiles of a scene, row by row; a value, a few integers whatever the size of the scene."""

    height: int
    """Rows of the scene, source pixels."""
    width: int
    core: int
    """Side of a full core, source pixels; the last row and column of tiles may be smaller."""
    scale: int
    halo: int = 0
    """Context that the network needs on each side, source pixels."""
    reach: int = 0
    """What is read on each side, source pixels; more than the halo where gaps must be filled alike in all tilings."""
    multiple: int = 1
    """The network takes blocks whose sides are multiples of this."""
    around: Window | None = None
    """All that can be read, counted from the scene's corner, where the scene is a part cut from more; else None."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.height // self.core), -(-self.width // self.core)

    @property
    def scene(self) -> Window:
        """The whole scene."""
        return Window(0, 0, self.height, self.width)

    def __len__(self) -> int:
        return math.prod(self.shape)

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return [self._tile(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of a plan with {len(self)} tiles")
        return self._tile(index % len(self))

    def __iter__(self) -> Iterator[Tile]:
        return (self._tile(index) for index in range(len(self)))

    def over(self, touches: Callable[[Window], bool]) -> Chosen:
        """The tiles whose core meets some ground; `touches` says whether a window does, a part of it only if it does.

        Rectangles of tiles are looked at first, then their halves: of a vast scene most lies far from a small area.
        """

        def meeting(part: Window) -> Iterator[int]:
            """The indices of tiles of a part, by halves."""
            if not touches(part.scale(self.core).clip(self.scene)):
                return
            if part.size == 1:
                yield part.row * self.shape[1] + part.col
            else:
                for half in part.halves():
                    yield from meeting(half)

        return Chosen(self, array("q", sorted(meeting(Window(0, 0, *self.shape)))))

    def block(self, core: Window) -> Window:
        """A core with its halo, grown until its edges lie on multiples from the corner of all that can be read."""
        corner = self.around or self.scene
        wanted, step = core.grow(self.halo).shift(-corner.row, -corner.col), self.multiple
        row, col = (start // step * step for start in (wanted.row, wanted.col))
        height, width = (-(-stop // step) * step - start for stop, start in zip(wanted.stop, (row, col), strict=True))
        return Window(row, col, height, width).shift(corner.row, corner.col)

    def _tile(self, index: int) -> Tile:
        row, col = divmod(index, self.shape[1])
        return self.of(Window(row * self.core, col * self.core, self.core, self.core).clip(self.scene), index)

    def of(self, core: Window, index: int = 0) -> Tile:
        """The tile that has this core, any window of what can be read."""
        block = self.block(core)
        return Tile(
            index=index,
            core=core,
            read=core.grow(max(self.reach, self.halo + self.multiple - 1)).clip(self.around or self.scene),
            block=block,
            crop=core.within(block).scale(self.scale),
            write=core.scale(self.scale),
        )


@dataclass(frozen=True, slots=True)
class Chosen(Sequence[Tile]):
    """Some tiles of a plan, in its order; small numbers whatever the size of the scene."""

    plan: TilePlan
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return [self.plan[i] for i in self.indices[index]]
        return self.plan[self.indices[index]]


def split(tile: Tile, plan: TilePlan) -> list[Tile]:
    """Up to four tiles that partition `tile`, with the same pixels, for when it doesn't fit in memory."""
    half = -(-max(tile.core.height, tile.core.width) // 2)
    parts = []
    for row in range(0, tile.core.height, half):
        for col in range(0, tile.core.width, half):
            core = Window(tile.core.row + row, tile.core.col + col, half, half).clip(tile.core)
            block = plan.block(core)
            parts.append(
                Tile(tile.index, core, tile.read, block, core.within(block).scale(plan.scale), core.scale(plan.scale))
            )
    return parts
