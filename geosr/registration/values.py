"""Patches of two dates, and where one lies to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

MARGIN = 16
"""Pixels around a window that are read of a frame, and up to which it is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A window of the reference and what a frame shows around it, NaN where there is no data."""

    reference: Doubles
    """(bands, height, width)."""
    frame: Doubles
    """(bands, height + 2 MARGIN, width + 2 MARGIN), where the frame's own grid says that the window lies."""
    row: int
    """Of the window's first pixel in the whole reference."""
    col: int

    @property
    def twice(self) -> bool:
        """True where both are the same, pixel by pixel."""
        inner = self.frame[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return np.array_equal(inner, self.reference, equal_nan=True)


@dataclass(frozen=True, slots=True)
class Registration:
    """The place of a frame to the reference, and its brightness.

    What lies at (row, col) of the reference, pixel centres being whole numbers, is seen in the frame at
    (row + down + turn[0] row + turn[1] col, col + right + turn[2] row + turn[3] col).
    """

    down: float = 0.0
    right: float = 0.0
    error: float = 0.0
    """Standard error, pixels, along the worse axis."""
    turn: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Pixels per pixel: rotation, scale and shear."""
    gains: tuple[float, ...] = ()
    """Per band: the frame's stored numbers are gain x the reference's + offset."""
    offsets: tuple[float, ...] = ()
    likeness: float = 1.0
    """Share of the blocks that show the same as the reference."""
    unfit: str = ""
    """Why the frame can't be used; empty where it can."""

    @property
    def turned(self) -> bool:
        """True where a shift alone doesn't do."""
        return any(self.turn)

    def shift_at(self, row: float, col: float) -> tuple[float, float]:
        """Pixels (down, right) by which what lies here in the reference is seen elsewhere in the frame."""
        a, b, c, d = self.turn
        return self.down + a * row + b * col, self.right + c * row + d * col

    @property
    def inverse(self) -> Registration:
        """The place of the reference to the frame."""
        back = np.linalg.inv(np.eye(2) + np.reshape(self.turn, (2, 2)))
        down, right = (float(each) for each in -back @ (self.down, self.right))
        a, b, c, d = (float(each) for each in (back - np.eye(2)).flat)
        gains = tuple(1.0 / gain for gain in self.gains)
        offsets = tuple(-offset / gain for gain, offset in zip(self.gains, self.offsets, strict=True))
        return replace(self, down=down, right=right, turn=(a, b, c, d), gains=gains, offsets=offsets)

    def __str__(self) -> str:
        if self.unfit:
            return f"left out: {self.unfit}"
        turn = f", turned by {math.degrees((self.turn[2] - self.turn[1]) / 2):+.4f} degrees" if self.turned else ""
        gain = ", ".join(dict.fromkeys(f"{gain:.3f}" for gain in self.gains[:4]))
        return f"{self.down:+.3f} px down, {self.right:+.3f} px right (+- {self.error:.3f}){turn}; gain {gain}"
