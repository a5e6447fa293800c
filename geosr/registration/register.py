"""Where a frame, another date of a place, lies to the reference: told once for a scene, from fixed windows of both.

Whole pixels by phase correlation (Kuglin and Hines 1975), the rest by Gauss-Newton on what both show of middle
frequencies, where neither haze nor aliasing counts for much. The gradient is the mean of both images' (Benhimane and
Malis 2004), since a shift of noise against itself is none. Pixels that differ by more than most do, such as clouds and
harvested fields, count less and less (Tukey's biweight), and how far blocks of the scene contradict each other is the
error (Liang and Zeger 1986).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geosr.registration.brightness import brightness
from geosr.registration.normal import Normal
from geosr.registration.values import Doubles, Patch, Registration
from geosr.registration.views import View, views_of, whole_shift

SURE = 0.1
"""Standard error, pixels, beyond which a frame is not known to lie anywhere."""
_STEPS, _SETTLED = 12, 1e-3
"""Steps at most, and pixels of the last one."""
_FARTHEST = 2.0
"""Pixels from the whole-pixel shift up to which steps lead."""
_LEAST_LIKE, _LEAST_FAR = 0.25, 0.75
"""Share of the blocks that have to show the same, and where it lies farther off than `_FARTHEST`."""
_TURNED, _TURNED_SURE, _TURNED_BLOCKS = 0.05, 4.0, 32
"""Pixels across the scene beyond which a turn is corrected, the errors that it has to exceed, and blocks it takes."""
_FLAT = "what both show has no detail by which it could be placed"


def register(patches: Sequence[Patch], voices: Sequence[int] | None = None) -> Registration:
    """The registration of a frame, from patches of it and the reference; where it can't be told, `unfit` says why.

    `voices` are the bands that tell where it lies, all of them if None.
    """
    heard = range(len(patches[0].reference)) if voices is None else voices
    views = [view for patch in patches for band in heard for view in views_of(patch, band)]
    if not views:
        return Registration(unfit="it has no data where the reference has")
    if all(patch.twice for patch in patches):
        return Registration(unfit="it holds the reference's own pixels")
    views = [view for view in views if view.tells]
    if not views:
        return Registration(unfit=_FLAT)
    found, _ = _refined(views, Registration(*whole_shift(views)))
    if found.unfit:
        return found
    if len({view.place for view in views}) > 1 or max(views[0].there.shape) >= 64:
        found = _turned(views, found)
    gains, offsets = brightness(patches, found)
    return replace(found, gains=gains, offsets=offsets)


def _refined(views: Sequence[View], start: Registration, turn: bool = False) -> tuple[Registration, Normal]:
    """The registration by Gauss-Newton from a start, with a turn where that is asked for; and the equations there."""
    at = start
    for _ in range(_STEPS):
        normal = Normal(views, at, turn)
        if not normal.solvable:
            return replace(at, unfit=_FLAT), normal
        step = normal.step
        at = _stepped(at, step)
        if math.hypot(at.down - start.down, at.right - start.right) > _FARTHEST and not turn:
            return replace(at, unfit="it shows nothing that would lie in one place with the reference"), normal
        if max(np.abs(step[:2])) < _SETTLED:
            break
    normal = Normal(views, at, turn)
    if not normal.solvable:
        return replace(at, unfit=_FLAT), normal
    at = replace(at, error=normal.error, likeness=normal.likeness)
    if at.likeness < (_LEAST_LIKE if math.hypot(at.down, at.right) <= _FARTHEST else _LEAST_FAR):
        why = f"{at.likeness:.0%} of it shows what the reference shows: clouds, or another place"
    else:
        why = f"where it lies is known to {at.error:.2f} px only" if at.error > SURE else ""
    return replace(at, unfit=why), normal


def _stepped(at: Registration, step: Doubles) -> Registration:
    """The registration after a step: (down, right, [turn])."""
    turn = step[2:] if step.size > 2 else np.zeros(4)
    a, b, c, d = (old + float(new) for old, new in zip(at.turn, turn, strict=True))
    return replace(at, down=at.down + float(step[0]), right=at.right + float(step[1]), turn=(a, b, c, d))


def _turned(views: Sequence[View], found: Registration) -> Registration:
    """The registration with a turn, where the scene is sure of one; else as it was."""
    tried, normal = _refined(views, found, turn=True)
    if tried.unfit or len(normal.pulls) < _TURNED_BLOCKS:
        return found
    corners = [
        (view.place[0] + i, view.place[1] + j)
        for view in views
        for i in (0, view.there.shape[0])
        for j in (0, view.there.shape[1])
    ]
    rows, cols = (np.array(each, np.float64) for each in zip(*corners, strict=True))
    most = 0.0
    covariance = normal.covariance
    for own, start in ((tried.turn[:2], 2), (tried.turn[2:], 4)):
        away = np.stack([rows - rows.mean(), cols - cols.mean()])
        moved = np.asarray(own) @ away
        error = np.sqrt(np.einsum("in,ij,jn->n", away, covariance[start : start + 2, start : start + 2], away))
        sure = np.abs(moved) > _TURNED_SURE * error
        most = max(most, float(np.max(np.abs(moved) * sure, initial=0.0)))
    return tried if most > _TURNED else found
