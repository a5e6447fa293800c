"""Places of a result that are worth looking at, chosen from the facts of its squares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geosr.evaluation.measuring import Fact
from geosr.window import Window

_JOIN = 512
"""Input pixels in which tiles of every default side meet."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place to look at."""

    why: str
    at: Window
    """Input pixels of the part that was measured."""


def sites_of(
    facts: Sequence[Fact], shape: tuple[int, int], side: int, unsure: Sequence[float] | None = None
) -> list[Site]:
    """Places of `side` input pixels in a scene of this shape; those that overlap by half are one, with all reasons.

    `unsure` says how uncertain the result is in each of the facts' squares, NaN for no data.
    """
    found: list[Site] = []
    middles = list(_middles(facts, shape))
    if unsure is not None and np.isfinite(unsure).any():
        middles.insert(2, ("most uncertain", _middle(facts[int(np.nanargmax(unsure))])))
    for why, (row, col) in middles:
        at = _around(row, col, side, shape)
        near = next((place for place, site in enumerate(found) if at.clip(site.at).size >= at.size / 2), None)
        if near is None:
            found.append(Site(why, at))
        else:
            found[near] = Site(f"{found[near].why}; {why}", found[near].at)
    return found


def _middles(facts: Sequence[Fact], shape: tuple[int, int]) -> Iterator[tuple[str, tuple[float, float]]]:
    whole = [fact for fact in facts if fact.valid == 1.0] or [fact for fact in facts if fact.valid > 0.0]
    if not whole:
        return
    added, residual = (_relative([getattr(fact, name) for fact in whole]) for name in ("added", "residual"))
    yield "most added", _middle(whole[int(np.argmax(added))])
    yield "farthest from its input once degraded", _middle(whole[int(np.argmax(residual))])
    yield "a usual place", _middle(whole[int(np.argsort(added)[len(whole) // 2])])
    joins = [(row, col) for row in range(_JOIN, shape[0], _JOIN) for col in range(_JOIN, shape[1], _JOIN)]
    by_place = dict(zip([fact.at for fact in whole], added, strict=True))
    telling = max(joins, key=_near(by_place), default=None)
    if telling is not None and _near(by_place)(telling) > 0:
        yield "where four tiles meet, as geosr cuts them by default", telling
    edges = [fact for fact in facts if 0.0 < fact.valid < 1.0]
    if edges:
        yield "an edge of no data", _middle(min(edges, key=lambda fact: abs(fact.valid - 0.5)))


def _relative(values: Sequence[Sequence[float]]) -> list[float]:
    """One number for each place: its bands', each as a share of what is usual in that band."""
    table = np.asarray(values)
    usual = np.where(table.mean(0) > 0, table.mean(0), 1.0)
    return [float(each) for each in (table / usual).mean(1)]


def _near(by_place: dict[Window, float]) -> Callable[[tuple[int, int]], float]:
    """The amount that is added in the square that begins at a join; 0 where not all of that is data."""
    corners = {(at.row, at.col): value for at, value in by_place.items()}
    return lambda join: corners.get(join, 0.0)


def _middle(fact: Fact) -> tuple[float, float]:
    return fact.at.row + fact.at.height / 2, fact.at.col + fact.at.width / 2


def _around(row: float, col: float, side: int, shape: tuple[int, int]) -> Window:
    """The window of a side around a place, moved into the scene."""
    height, width = (min(side, length) for length in shape)
    first = max(0, min(int(row - height / 2), shape[0] - height))
    return Window(first, max(0, min(int(col - width / 2), shape[1] - width)), height, width)
