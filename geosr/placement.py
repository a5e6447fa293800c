"""Where a raster's own pixels lie on a finer grid, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from geosr.errors import InputError
from geosr.window import Window

if TYPE_CHECKING:
    from affine import Affine

_NEAR = 1e-3
"""Reference pixels by which a place may be off what its transform says; geotransforms are written with fewer digits."""
_FAR = 2**15
"""Own pixels over which steps may add up to no more than that."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a raster's own pixels lie on the reference grid.

    Own pixel m covers corner + step * m to corner + step * (m + 1) along either axis, in reference pixels.
    """

    step: tuple[Fraction, Fraction]
    """Reference pixels per own pixel, along rows and columns: 2, 6, 3/2."""
    corner: tuple[Fraction, Fraction]
    """Row and column of the outer corner of own pixel (0, 0), in reference pixels."""

    @classmethod
    def between(cls, own: Affine, reference: Affine) -> Placement:
        """The placement of a grid on another, as their transforms say it, in the simplest fractions that are near.

        They are within a thousandth of a reference pixel over a scene of 32,768 own pixels. Raises `InputError` where
        the grids are turned or mirrored against each other, or the own pixels are the finer ones.
        """
        moved = ~reference @ own
        if max(abs(moved.b), abs(moved.d)) * _FAR > _NEAR or min(moved.a, moved.e) <= 0:
            angle = math.degrees(math.atan2(moved.d, moved.a))
            raise InputError(
                f"the grids must run in the same directions, and one is turned by {angle:.4g} degrees or mirrored "
                "against the other; warp it first, for example with gdalwarp"
            )
        step = tuple(_simplest(each, _NEAR / _FAR) for each in (moved.e, moved.a))
        if min(step) < 1:
            found = " x ".join(f"{float(each):.4g}" for each in step)
            raise InputError(
                f"the guide's pixels must not be larger than those of the bands it guides, which measure {found} of "
                "its own; exchange them, or take a finer guide"
            )
        return cls((step[0], step[1]), (_simplest(moved.f, _NEAR), _simplest(moved.c, _NEAR)))

    def cover(self, reference: Window) -> Window:
        """The own whole pixels that hold a window of the reference grid."""
        starts, stops = (reference.row, reference.col), reference.stop
        row, col = (math.floor((start - self.corner[axis]) / self.step[axis]) for axis, start in enumerate(starts))
        end, far = (math.ceil((stop - self.corner[axis]) / self.step[axis]) for axis, stop in enumerate(stops))
        return Window(row, col, end - row, far - col)

    def covered(self, own: Window) -> Window:
        """The reference grid's whole pixels that hold a window of own pixels."""
        starts, stops = (own.row, own.col), own.stop
        row, col = (math.floor(self.corner[axis] + self.step[axis] * start) for axis, start in enumerate(starts))
        end, far = (math.ceil(self.corner[axis] + self.step[axis] * stop) for axis, stop in enumerate(stops))
        return Window(row, col, end - row, far - col)

    def moved(self, rows: Fraction, cols: Fraction) -> Placement:
        """The same raster, moved down by `rows` and right by `cols` reference pixels."""
        return Placement(self.step, (self.corner[0] + rows, self.corner[1] + cols))


def _simplest(value: float, within: float) -> Fraction:
    """The fraction with the smallest denominator that is this near."""
    denominator = 1
    while abs(round(value * denominator) - value * denominator) > within * denominator:
        denominator += 1
    return Fraction(round(value * denominator), denominator)
