"""What ground a raster shows, and which rasters show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.io.grid import degrees
from geosr.io.metadata import Metadata, placed
from geosr.window import Window

_TOUCHING = 0.01
"""Rasters that share less of the smaller one's area than this are neighbours, not one place."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The ground that a raster shows, as boxes around it."""

    degrees: tuple[float, float, float, float]
    """West, south, east, north."""
    crs: str
    """As text."""
    box: tuple[float, float, float, float]
    """Left, bottom, right, top in that CRS."""

    @classmethod
    def of(cls, metadata: Metadata, part: Window) -> Ground | None:
        """Of a part of a raster; None where it isn't known."""
        around = degrees(metadata, part)
        if around is None or metadata.crs is None:
            return None
        corners = [placed(metadata.transform, x, y) for x in (part.col, part.stop[1]) for y in (part.row, part.stop[0])]
        xs, ys = zip(*corners, strict=True)
        return cls(around, metadata.crs.to_wkt(), (min(xs), min(ys), max(xs), max(ys)))


def shared(grounds: Sequence[Ground | None], one: Ground | None) -> NDArray[np.bool_]:
    """Which of some grounds (n,) share more than their edges with one.

    Neighbours on a grid that is turned against north overlap in degrees: those of one CRS are compared in it.
    """
    return _shared(_boxes(grounds), grounds, one)


def _boxes(grounds: Sequence[Ground | None]) -> NDArray[np.float64]:
    """(n, 4) degrees; NaN where nothing is known."""
    nowhere = (np.nan,) * 4
    return np.array([nowhere if each is None else each.degrees for each in grounds], np.float64).reshape(-1, 4)


def _shared(boxes: NDArray[np.float64], grounds: Sequence[Ground | None], one: Ground | None) -> NDArray[np.bool_]:
    if one is None:
        return np.zeros(len(boxes), bool)
    found = _overlap(boxes, np.array(one.degrees))
    for index in np.flatnonzero(found):
        other = grounds[int(index)]
        if other is not None and other.crs == one.crs:
            found[index] = bool(_overlap(np.array([other.box]), np.array(one.box))[0])
    return found


def together(grounds: Sequence[Ground | None], labels: Sequence[str]) -> list[list[int]]:
    """Indices of things that share ground or a label, in groups."""
    boxes, place = _boxes(grounds), list(range(len(grounds)))

    def root(index: int) -> int:
        """The index that stands for a group."""
        while place[index] != index:
            place[index] = place[place[index]]
            index = place[index]
        return index

    first: dict[str, int] = {}
    for index, (ground, label) in enumerate(zip(grounds, labels, strict=True)):
        place[root(index)] = root(first.setdefault(label, index))
        for other in np.flatnonzero(_shared(boxes[:index], grounds, ground)):
            place[root(index)] = root(int(other))
    members: dict[int, list[int]] = {}
    for index in range(len(grounds)):
        members.setdefault(root(index), []).append(index)
    return list(members.values())


def _overlap(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes (n, 4) share ground with one (4,); NaN shares none."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    smaller = np.minimum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(box[2:] - box[:2]))
    result: NDArray[np.bool_] = shared > _TOUCHING * smaller
    return result
