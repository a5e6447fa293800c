"""Where coarse bands lie to their guide, as a scene shows it: parts of it vote, else the grids are believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geosr.models.glp_samples import Detail, Piece, compared, likeness, moved
from geosr.placement import Placement
from geosr.response import Response

Doubles = NDArray[np.float64]

MOST = 0.3
"""Guide pixels between what grids say and what the scene shows up to which nothing is moved: what products promise."""
SURE = 0.025
"""Standard error in coarse pixels up to which the scene shows a shift."""
FEW = 0.1
"""Share of what tells of a shift that may see none although there is one."""
_ITERATIONS = 10
_SETTLED = 0.01
"""Guide pixels; some parts of one."""
_LEAST = 32
"""Coarse pixels of a part that is heard."""
_ENOUGH = 8
"""Parts whose median decides."""
_EXPLAINED, _BETTER = 0.4, 0.1
"""Share of a part's detail that the guides explain where it shows something, and how much more of it elsewhere."""
_GROUND, _GROUND_SHARE = 3, 0.005
"""Parts that have to stay behind, and the share of them."""
_VAGUE = 0.25
"""Standard error, guide pixels, of a part that has no vote."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Guide pixels by which the coarse bands lie off what the grids say."""

    down: float = 0.0
    right: float = 0.0
    error: float = math.inf
    """Standard error along the worse axis, guide pixels; infinite where the scene doesn't show any."""
    in_place: float = 0.0
    """Share of what tells of it that lies where the grids say: ground, where what moved are clouds."""
    stays: bool = False
    """Whether parts of the scene are clearly seen to lie where the grids say."""
    agreed: bool = True
    """Whether bands taken alone tell the same: they don't see clouds and waves in one place."""

    @property
    def known(self) -> bool:
        """True where the scene shows it."""
        return math.isfinite(self.error)

    @property
    def matters(self) -> bool:
        """True where it is to be corrected."""
        return self.known and self.off and self.in_place < FEW and self.agreed and not self.stays

    @property
    def off(self) -> bool:
        """True where it is more than products promise."""
        return math.hypot(self.down, self.right) > MOST + 2.0 * self.error

    def __str__(self) -> str:
        if not self.known:
            return "the scene does not show how the guide lies to the bands: their grids are believed"
        if self.matters:
            what = f"corrected, being over {MOST} guide pixels"
        elif self.off:
            why = "parts of the scene lie where the grids say" if self.agreed else "the bands do not agree on it"
            what = f"left as it is, since {why}: clouds or waves may have moved"
        else:
            what = f"left as it is, being under {MOST} guide pixels"
        lies = f"{-self.down:+.2f} px down and {-self.right:+.2f} px right of the bands"
        return f"the guide lies {lies}; {what}"


def found(samples: Sequence[Piece], placement: Placement, responses: Sequence[Response]) -> Shift:
    """The shift by Gauss-Newton: what the guides explain of all bands is largest there."""
    shift, first = Shift(), None
    for _ in range(_ITERATIONS):
        detail = compared(samples, moved(placement, shift.down, shift.right), responses, slopes=True)
        votes = _Votes(detail, len(responses))
        if first is None:
            shift, first = Shift(in_place=votes.in_place), detail
        step, error = votes.outcome
        if not math.isfinite(error):
            return Shift()
        step *= min(1.0, 0.5 * float(min(placement.step)) / max(1e-9, float(np.hypot(*step))))
        shift = Shift(shift.down + float(step[0]), shift.right + float(step[1]), error, shift.in_place, votes.agree)
        if math.hypot(shift.down, shift.right) > 2.0 * float(max(placement.step)):
            return Shift()
        if np.hypot(*step) < _SETTLED:
            if error > SURE * float(min(placement.step)):
                return Shift()
            return replace(shift, stays=_stays(first, detail)) if shift.off else shift
    return Shift()


def _stays(first: Detail, last: Detail) -> bool:
    """True where the guides explain some parts of the scene clearly better where the grids say.

    That is the ground: clouds may tell a shift more loudly than all of it.
    """
    before, after = (_explained(detail) for detail in (first, last))
    if before.shape != after.shape:  # a shift of whole pixels leaves fewer of them comparable
        count = min(len(before), len(after))
        before, after = before[:count], after[:count]
    told = np.maximum(before, after) > _EXPLAINED
    return bool(np.sum(before[told] > after[told] + _BETTER) >= max(_GROUND, _GROUND_SHARE * np.sum(told)))


def _explained(detail: Detail) -> Doubles:
    """The share of a part's detail that its own regression on the guides explains, mean over bands; one per part."""
    count = int(detail.parts.max(initial=-1)) + 1
    shares = np.zeros((len(detail.bands), count))
    for band, share in enumerate(shares):
        there = detail.there(band)
        values, guides, parts = detail.bands[band, there], detail.guides[:, there], detail.parts[there]
        for part in range(count):
            own = parts == part
            if np.sum(own) >= _LEAST + len(guides):
                own_values, own_guides = values[own], guides[:, own]
                left = own_values - np.linalg.lstsq(own_guides.T, own_values, rcond=None)[0] @ own_guides
                share[part] = 1.0 - float(left @ left) / max(float(own_values @ own_values), 1e-30)
    mean: Doubles = shares.mean(0)
    return mean


class _Votes:
    """The votes of the parts of a scene on the shift that is left."""

    def __init__(self, detail: Detail, bands: int) -> None:
        every = [_pulled(detail, band) for band in range(bands)]
        self.bands = [(information.sum(0), pull.sum(0)) for information, pull in every]
        """Information (2, 2) and pull (2) of each band, of the whole scene."""
        information, pull = (np.sum([each[i] for each in every], 0) for i in (0, 1))
        errors = np.array([_error(each, bands) for each in information])
        told = errors < _VAGUE
        self.errors = errors[told]
        """Standard error of each part that has a vote, guide pixels."""
        self.steps = np.linalg.solve(information[told], pull[told][..., None])[..., 0]
        """(votes, 2), down and right."""

    @property
    def in_place(self) -> float:
        """The share that sees no shift, each part by how precisely it tells; 0 where they are few."""
        if len(self.steps) < _ENOUGH:
            return 0.0
        weights = 1.0 / np.maximum(self.errors, 1e-3) ** 2
        return float(weights @ (np.hypot(*self.steps.T) < MOST / 2) / weights.sum())

    @property
    def agree(self) -> bool:
        """True where each band that tells a shift by itself sees the same one as the others."""
        for information, pull in self.bands:
            error = _error(information, 1)
            if error < _VAGUE and math.hypot(*np.linalg.solve(information, pull)) > MOST + 2.0 * error:
                return False
        return True

    @property
    def outcome(self) -> tuple[Doubles, float]:
        """The shift that is left (down, right), and its standard error along the worse axis.

        Where there are enough votes it is their median, and the error comes from how they differ: clouds, which stand
        elsewhere for each band, are outvoted by the ground.
        """
        count = len(self.steps)
        if count >= _ENOUGH:
            middle = np.median(self.steps, 0)
            scatter = 1.4826 * np.median(np.abs(self.steps - middle), 0).max()
            return middle, 1.25 * float(scatter) / math.sqrt(count)
        return self._pooled

    @property
    def _pooled(self) -> tuple[Doubles, float]:
        """The shift by all of the scene; the error is larger where bands differ more than by chance (Birge 1932)."""
        information, pull = (np.sum([each[i] for each in self.bands], 0) for i in (0, 1))
        error = _error(information, len(self.bands))
        if not math.isfinite(error):
            return np.zeros(2), error
        step = np.linalg.solve(information, pull)
        strain = 0.0
        for own, force in self.bands:
            if math.isfinite(_error(own, 1)):
                apart = np.linalg.solve(own, force) - step
                strain += float(apart @ own @ apart) / max(1, 2 * (len(self.bands) - 1))
        return step, error * math.sqrt(max(1.0, strain))


def _error(information: Doubles, bands: int) -> float:
    """The standard error along the worse axis, as if all bands had the same error."""
    if not np.linalg.det(information) > 1e-12 * np.trace(information) ** 2:
        return math.inf
    return math.sqrt(bands * float(np.linalg.inv(information).diagonal().max()))


def _pulled(detail: Detail, band: int) -> tuple[Doubles, Doubles]:
    """The precision of one band's shift in each part (parts, 2, 2), and that times the shift."""
    values, guides = detail.of(band)
    there, count = detail.there(band), int(detail.parts.max(initial=-1)) + 1
    information, pull = np.zeros((count, 2, 2)), np.zeros((count, 2))
    if values.size <= 2 * len(guides) + 2:
        return information, pull
    known = likeness(guides)
    gains = np.linalg.solve(known, guides @ values / values.size)
    left = values - gains @ guides
    slope = np.einsum("g,agn->an", gains, detail.slopes[..., there])
    slope -= np.linalg.solve(known, guides @ slope.T / values.size).T @ guides
    parts = detail.parts[there]
    pixels, power = np.bincount(parts, minlength=count), np.bincount(parts, left**2, count)
    sure = (np.where(pixels >= _LEAST, pixels, 0) / np.maximum(power, 1e-30))[parts]
    for i in (0, 1):
        pull[:, i] = np.bincount(parts, slope[i] * left * sure, count)
        for j in (0, 1):
            information[:, i, j] = np.bincount(parts, slope[i] * slope[j] * sure, count)
    return information, pull
