"""A result beside a reference: sums of one square, and what those of all squares say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.alone import Figures, angles, ratio
from geosr.evaluation.alone import each as per_band
from geosr.evaluation.indices import RADIUS, guide_sums, q2n_sums, structure_sums
from geosr.evaluation.metrics import beyond, faded, rings_of
from geosr.evaluation.opensr import FIGURES, opensr
from geosr.evaluation.patches import Patch
from geosr.evaluation.sums import Doubles, Sums
from geosr.window import Window

CELL = 32
"""Side of the parts of a square that errors are told apart of, input pixels."""
RINGS = 16
"""Of a radial spectrum, up to the result's Nyquist frequency."""
CLASSES = 6
"""That a scene's reference is divided in."""
RATIOS = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir"), "nbr": ("nir", "swir22")}
"""Normalised differences, by common names of bands: (a - b) / (a + b)."""


class Cell(NamedTuple):
    """A part of a square."""

    at: tuple[int, int]
    """Row and column where it starts, input pixels."""
    pixels: int
    """Of the result, that are data."""
    squares: Doubles
    """Sums of squared errors, one a band."""


@dataclass(frozen=True, eq=False)
class Ground:
    """All that is known of a reference before anything is compared with it, from fixed windows of it."""

    peak: Doubles
    """Per band, its largest less its smallest value there."""
    level: Doubles
    """Per band, its mean."""
    spread: Doubles
    """Per band, its standard deviation, or 1 where it has none."""
    centres: Doubles
    """(classes, bands), of k-means on standardised values."""
    ratios: Mapping[str, tuple[int, int]]
    """Which bands of the result an index is made of."""

    @classmethod
    def of(cls, windows: Sequence[Doubles], ratios: Mapping[str, tuple[int, int]]) -> Ground:
        """That of windows (bands, pixels)."""
        from scipy.cluster.vq import kmeans2

        values = np.concatenate(windows, axis=1)
        spread = values.std(1)
        spread = np.where(spread > 0, spread, 1.0)
        level = values.mean(1)
        some = ((values - level[:, None]) / spread[:, None]).T
        step = max(1, len(some) // 20_000)
        centres, _ = kmeans2(some[::step], CLASSES, minit="++", seed=0, missing="warn")
        return cls(np.ptp(values, axis=1), level, spread, centres[np.argsort(centres[:, 0])], ratios)

    def classes(self, values: Doubles) -> Doubles:
        """The class of each pixel of (bands, pixels): the nearest centre."""
        some = (values - self.level[:, None]) / self.spread[:, None]
        far = [((some - centre[:, None]) ** 2).sum(0) for centre in self.centres]
        return np.asarray(np.argmin(far, axis=0))


def against(patch: Patch, ground: Ground, *, spectra: bool) -> Sums:
    """The sums of a square with a reference; `spectra` where transforms are taken of it."""
    assert patch.hr is not None
    known = patch.inner(patch.known)
    sr, hr = (patch.inner(each)[:, known] for each in (patch.sr, patch.hr))
    error = sr - hr
    x, y = (each - ground.level[:, None] for each in (sr, hr))
    sums = Sums(
        known=int(known.sum()),
        moments=np.stack([part.sum(1) for part in (error, error**2, x, y, x * x, y * y, x * y)]),
    )
    sums["cells"] = _cells(patch)
    sums["angle"], sums["angles"] = angles(sr, hr)
    sums |= _structure(patch, ground)
    sums["q2n"] = q2n_sums(patch.inner(patch.hr), patch.inner(patch.sr), known)
    sums |= _indices(sr, hr, ground)
    own, theirs = ground.classes(sr), ground.classes(hr)
    sums["agreed"] = int((own == theirs).sum())
    sums["class_errors"] = np.stack([(error[:, theirs == one] ** 2).sum(1) for one in range(CLASSES)])
    sums["class_counts"] = np.bincount(theirs, minlength=CLASSES)
    return Sums(sums | (_spectra(patch) if spectra and patch.whole else {}))


def _cells(patch: Patch) -> tuple[Cell, ...]:
    """Squared errors of the parts of a square, for intervals."""
    assert patch.hr is not None
    found, side = [], CELL * patch.scale
    known = patch.inner(patch.known)
    error = np.where(known, patch.inner(patch.sr) - patch.inner(patch.hr), 0.0) ** 2
    for row in range(0, known.shape[0], side):
        for col in range(0, known.shape[1], side):
            part = slice(row, row + side), slice(col, col + side)
            place = patch.at.row + row // patch.scale, patch.at.col + col // patch.scale
            found.append(Cell(place, int(known[part].sum()), error[:, *part].sum((1, 2))))
    return tuple(found)


def beside_guide(patch: Patch) -> Sums:
    """The sums of a square with a guide."""
    assert patch.guide is not None
    total, count = guide_sums(patch.sr, patch.guide, _inside(patch))
    return Sums(guide=total, guided=count)


def _inside(patch: Patch) -> NDArray[np.bool_]:
    """Where pixels of the square, and no others, are data."""
    inside = np.zeros(patch.known.shape, bool)
    inside[patch.fine.slices] = patch.inner(patch.known)
    return inside


def _structure(patch: Patch, ground: Ground) -> Sums:
    """SSIM and UQI, of the square's own pixels whose window lies in the scene."""
    assert patch.hr is not None
    around = patch.fine.grow(RADIUS).clip(Window(0, 0, *patch.known.shape)).slices
    rows = zip(patch.sr, patch.hr, ground.peak, strict=True)
    found = [structure_sums(sr[around], hr[around], patch.known[around], float(peak)) for sr, hr, peak in rows]
    return Sums(structure=np.array(found))


def _indices(sr: Doubles, hr: Doubles, ground: Ground) -> Sums:
    sums = Sums()
    for name, (one, other) in ground.ratios.items():
        below = [each[one] + each[other] for each in (sr, hr)]
        some = (np.abs(below[0]) > 1e-12) & (np.abs(below[1]) > 1e-12)
        own, true = ((each[one] - each[other])[some] / low[some] for each, low in zip((sr, hr), below, strict=True))
        sums[name] = np.array([float(((np.clip(own, -1, 1) - np.clip(true, -1, 1)) ** 2).sum()), float(some.sum())])
    return sums


def _spectra(patch: Patch) -> Sums:
    """Power of result and reference and what both share, by rings and beyond the input's Nyquist frequency."""
    assert patch.hr is not None
    sr, hr = patch.inner(patch.sr), patch.inner(patch.hr)
    ring = rings_of(sr.shape[1:], RINGS) + (RINGS + 1) * beyond(sr.shape[1:], patch.scale)
    found = []
    for own, true in zip(sr, hr, strict=True):
        a, b = np.fft.fft2(faded(own)), np.fft.fft2(faded(true))
        parts = np.abs(a) ** 2, np.abs(b) ** 2, (a * np.conj(b)).real
        found.append([np.bincount(ring.ravel(), part.ravel(), 2 * RINGS + 2) for part in parts])
    seven = opensr(patch.lr[:, *patch.core.slices], sr, hr)
    told = np.isfinite(seven)
    return Sums(spectrum=np.array(found), opensr=np.stack([np.where(told, seven, 0.0), told.astype(float)]))


def figures(sums: Sums, scale: int, ground: Ground) -> Figures:
    """The figures of all squares' sums: the likeness to the reference."""
    n, moments = sums["known"], sums["moments"]
    squares = moments[1] / n if n else np.full(len(ground.peak), np.nan)
    variance_x, variance_y, common = _spreads(moments, n)
    means = moments[3] / n + ground.level if n else squares
    size = np.sqrt(variance_x * variance_y)
    with np.errstate(divide="ignore", invalid="ignore"):
        psnr = 10 * np.log10(ground.peak**2 / squares)
        correlation = np.where(size > 0, common / np.where(size > 0, size, 1.0), np.nan)
        ergas = 100.0 / scale * math.sqrt(float(np.mean(squares / means**2)))
    found: Figures = {
        "rmse": np.sqrt(squares).tolist(),
        "bias": per_band(moments[0], n),
        "psnr": psnr.tolist(),
        "correlation": correlation.tolist(),
        "ssim": per_band(sums["structure"][:, 0], sums["structure"][:, 2]),
        "uqi": per_band(sums["structure"][:, 1], sums["structure"][:, 2]),
        "sam": ratio(sums["angle"], sums["angles"]),
        "ergas": ergas,
        "q2n": ratio(*sums["q2n"]),
        "classes": ratio(sums["agreed"], n),
    }
    for name in ground.ratios:
        found[f"{name}_error"] = math.sqrt(ratio(*sums[name]))
    if "spectrum" in sums:
        own, true, shared = np.moveaxis(sums["spectrum"][:, :, RINGS + 1 :].sum(2), 1, 0)
        found["detail"] = per_band(own, true)
        found["detail_correlation"] = per_band(shared, np.sqrt(own * true))
        found |= {name: ratio(*each) for name, each in zip(FIGURES, sums["opensr"].T, strict=True)}
    return found


def spectrum(sums: Sums) -> dict[str, list[float]]:
    """By frequency, cycles per pixel of the result: power over the reference's, and the share of it that agrees."""
    if "spectrum" not in sums:
        return {}
    both = sums["spectrum"].sum(0).reshape(3, 2, RINGS + 1).sum(1)[:, :RINGS]
    frequencies = (np.arange(RINGS) + 0.5) / (2 * RINGS)
    return {
        "frequency": frequencies.tolist(),
        "power": per_band(both[0], both[1]),
        "agreement": per_band(both[2], np.sqrt(both[0] * both[1])),
    }


def by_class(sums: Sums) -> dict[str, list[float]]:
    """Of each class of the reference, darkest in its first band first: its share, and the RMSE of all bands there."""
    counts = sums["class_counts"].astype(float)
    errors = sums["class_errors"].mean(1)
    return {"share": per_band(counts, int(counts.sum())), "rmse": [math.sqrt(e) for e in per_band(errors, counts)]}


def _spreads(moments: Doubles, n: int) -> tuple[Doubles, Doubles, Doubles]:
    """Variances of result and reference, and their covariance, one a band."""
    _, _, x, y, xx, yy, xy = moments / max(n, 1)
    return np.maximum(xx - x * x, 0.0), np.maximum(yy - y * y, 0.0), xy - x * y
