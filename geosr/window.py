"""Rectangles of whole pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels."""

    row: int
    """Row of the top edge; negative when above the grid."""
    col: int
    """Column of the left edge; negative when left of the grid."""
    height: int
    width: int

    @property
    def stop(self) -> tuple[int, int]:
        """Row and column just past the far corner."""
        return self.row + self.height, self.col + self.width

    @property
    def size(self) -> int:
        """The number of its pixels."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices; only for a window that lies inside its array."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def grow(self, pixels: int) -> Window:
        """A window larger by `pixels` on each of its four sides."""
        return Window(self.row - pixels, self.col - pixels, self.height + 2 * pixels, self.width + 2 * pixels)

    def clip(self, to: Window) -> Window:
        """The part that also lies in `to`; of zero height or width where they don't meet."""
        row, col = max(self.row, to.row), max(self.col, to.col)
        stop_row, stop_col = min(self.stop[0], to.stop[0]), min(self.stop[1], to.stop[1])
        return Window(row, col, max(0, stop_row - row), max(0, stop_col - col))

    def scale(self, factor: int) -> Window:
        """The same ground on a grid with `factor` times as many pixels each way."""
        return Window(self.row * factor, self.col * factor, self.height * factor, self.width * factor)

    def within(self, outer: Window) -> Window:
        """The same pixels, counted from the corner of `outer`."""
        return Window(self.row - outer.row, self.col - outer.col, self.height, self.width)

    def shift(self, rows: int, cols: int) -> Window:
        """The same size, moved down by `rows` and right by `cols`."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def halves(self) -> tuple[Window, Window]:
        """Two parts, cut across the longer side."""
        high = self.height >= self.width
        rows, cols = (self.height // 2, 0) if high else (0, self.width // 2)
        first = Window(self.row, self.col, rows or self.height, cols or self.width)
        return first, Window(self.row + rows, self.col + cols, self.height - rows, self.width - cols)


def hull(first: Window, *others: Window) -> Window:
    """The smallest window that holds all of these."""
    row = min(first.row, *(each.row for each in others))
    col = min(first.col, *(each.col for each in others))
    bottom, right = (max(first.stop[axis], *(each.stop[axis] for each in others)) for axis in (0, 1))
    return Window(row, col, bottom - row, right - col)
