"""What `glp` learns of a scene from a few windows of it: where the rasters lie, and what goes with what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from geosr.models.glp import Guide, Injected, Injection
from geosr.models.glp_samples import Detail, Piece, compared, likeness, moved, scales_of
from geosr.models.glp_shift import Shift, found
from geosr.placement import Placement
from geosr.response import Response

_DOUBT = 2.0
"""Times as much as chance explains that is not believed."""


def learn(
    pieces: Iterable[Piece], placement: Placement, responses: Sequence[Response], names: Sequence[str]
) -> tuple[Injection, tuple[str, ...]]:
    """The injection for a scene, and what to say of it in lines.

    Parameters
    ----------
    pieces
        Samples of the scene, at least one. Where they hold too little to compare, no detail is injected.
    placement
        Of the coarse raster on the guide's grid, as both grids say.
    responses
        Of each coarse band, absolute.
    names
        Of the coarse bands.
    """
    samples = list(pieces)
    shift = found(samples, placement, responses)
    if shift.matters:
        placement = moved(placement, shift.down, shift.right)
    injection = _fitted(samples, placement, tuple(responses), shift)
    shares = ", ".join(f"{name} {band.trust:.0%}" for name, band in zip(names, injection.bands, strict=True))
    return injection, (str(shift), f"the guide explains of the bands' detail: {shares}")


def _fitted(samples: Sequence[Piece], placement: Placement, responses: tuple[Response, ...], shift: Shift) -> Injection:
    detail = compared(samples, placement, responses, slopes=False)
    guides = tuple(
        Guide(_level(each.guide[i] for each in samples), float(scale)) for i, scale in enumerate(detail.scales)
    )
    bands = tuple(
        Injected(_level(each.coarse[i] for each in samples), *_regressed(detail, i), _contrast(detail, i, samples))
        for i in range(len(responses))
    )
    there = np.isfinite(detail.guides).all(0)
    alike = likeness(detail.guides[:, there]) if there.any() else np.eye(len(guides))
    rows = tuple(tuple(float(each) for each in row) for row in alike)
    return Injection(placement, responses, guides, bands, rows, (shift.down, shift.right), shift.matters)


def _regressed(detail: Detail, band: int) -> tuple[tuple[float, ...], float]:
    """Gains, and the share of the band's detail that they explain, less what chance would (Stein 1956)."""
    values, guides = detail.of(band)
    count, given = values.size, len(guides)
    power = float(values @ values)
    if count <= 2 * given + 2 or power == 0.0:
        return (0.0,) * given, 0.0
    gains = np.linalg.solve(likeness(guides), guides @ values / count)
    left = float(np.sum((values - gains @ guides) ** 2))
    chance, explained = given * left / (count - given), power - left
    sure = max(0.0, 1.0 - _DOUBT * chance / explained) if explained > 0.0 else 0.0
    return tuple(float(each) * sure for each in gains), max(0.0, sure * explained / power)


def _contrast(detail: Detail, band: int, samples: Sequence[Piece]) -> float:
    """The factor that makes the detail of a band of variance 1; 0 where it has none."""
    return float(scales_of(detail.bands[band : band + 1], [each.coarse[band : band + 1] for each in samples])[0])


def _level(images: Iterable[NDArray[np.floating]]) -> float:
    """The mean of what is there."""
    there = [image[np.isfinite(image)].astype(np.float64) for image in images]
    count = sum(each.size for each in there)
    return sum(float(each.sum()) for each in there) / count if count else 0.0
