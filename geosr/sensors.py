"""How scenes were observed: what a file's own words say about which sensor of the table it was.

Where the table has no MTF the safe default stands in: assuming too sharp a sensor costs little, too blurred a one costs
much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from geosr.errors import InputError
from geosr.noise import SILENT, Noise
from geosr.response import Response
from geosr.sensor_table import Band

UNKNOWN = Response((0.04, 0.04), True, "cubic")
"""The response assumed where nothing better is known."""

NATIVE = 0.10
"""A pixel that differs from the band's own by more than this share was resampled, and the table no longer holds."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The way in which the source saw the ground, band by band; models that don't care ignore it."""

    response: tuple[Response, ...]
    """Of each band."""
    noise: tuple[Noise, ...]
    """Of each band, in stored numbers (DN)."""
    known: tuple[bool, ...] = ()
    """Whether the response is the band's own, given or from the table, and no default; empty where that isn't said."""

    levels: tuple[tuple[float, float], ...] = ()
    """Stored numbers that are dark and bright in the scene, one pair per band; empty where no model asks for them."""
    colors: tuple[str, ...] = ()
    """Common name per band, such as red; "" where it is unknown, "categorical" for one that is repeated; empty where no
    model asks for them."""

    def projection(self, categorical: Sequence[bool]) -> str:
        """Which bands a projection corrects, in words as tags have them.

        "yes"; "half", whose MTF is a default; "no", which are repeated; one word where all bands are alike.
        """
        known = self.known or (True,) * len(categorical)
        return once(["no" if kept else "yes" if own else "half" for own, kept in zip(known, categorical, strict=True)])

    def at_least(self, noise: float) -> Observation:
        """The same with a band's noise raised to `noise`, stored numbers, where it is less."""
        return replace(self, noise=tuple(own.at_least(noise) for own in self.noise))

    def relative(self, scale: int) -> Observation:
        """The same with responses relative to a result with pixels `scale` times as fine."""
        return replace(self, response=tuple(each.relative(scale) for each in self.response))

    def bands(self, indices: tuple[int, ...]) -> Observation:
        """The same for some bands, counted from 0."""
        return Observation(
            tuple(self.response[i] for i in indices),
            tuple(self.noise[i] for i in indices),
            tuple(self.known[i] for i in indices) if self.known else (),
            tuple(self.levels[i] for i in indices) if self.levels else (),
            tuple(self.colors[i] for i in indices) if self.colors else (),
        )


class Origin(Enum):
    """Where what is believed of a band comes from."""

    GIVEN = "given"
    SCENE = "scene"
    TABLE = "table"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Decided:
    """The response of a band, and how it was decided."""

    response: Response
    origin: Origin
    why: str

    @property
    def known(self) -> bool:
        """True where it is the band's own."""
        return self.origin is not Origin.DEFAULT

    def __str__(self) -> str:
        return f"{self.origin.value}: {self.why}"


@dataclass(frozen=True, slots=True)
class SensorGuess:
    """Which sensor a scene comes from, as far as its own words say; nothing is concluded from the pixel size alone."""

    sensor: str | None = None
    """Name in the table; None where nothing names a sensor."""
    bands: tuple[Band | None, ...] = ()
    """What each band of the scene is; None where that is not said."""
    why: str = "nothing in the file names a sensor"
    """What was taken as evidence."""
    pixel_size: float | None = None
    """Of the scene, metres; None where it is not known in metres."""
    zero: float = 0.0
    """The stored number that stands for no light, where the product says so; else 0."""
    notes: tuple[str, ...] = ()
    """What a user should know, one line each."""

    def responses(self) -> tuple[Decided, ...]:
        """Per band: its response, and how it was decided."""
        return tuple(self._of_band(band) for band in self.bands)

    @property
    def known(self) -> tuple[bool, ...]:
        """Per band: whether its response is in the table."""
        return tuple(each.known for each in self.responses())

    def _of_band(self, band: Band | None) -> Decided:
        if band is None or self.sensor is None:
            return Decided(UNKNOWN, Origin.DEFAULT, "the sensor or band is not known")
        if band.response is None:
            bare = all(other is None or other.response is None for other in self.bands)
            return Decided(UNKNOWN, Origin.DEFAULT, f"none known for {self.sensor}{'' if bare else ' ' + band.name}")
        if self.pixel_size is None:
            why = f"the pixel size in metres is not known, so {band.name} may be resampled"
            return Decided(UNKNOWN, Origin.DEFAULT, why)
        if abs(self.pixel_size / band.gsd_m - 1) > NATIVE:
            why = f"{band.name} has {band.gsd_m:g} m pixels, these of {self.pixel_size:g} m are resampled"
            return Decided(UNKNOWN, Origin.DEFAULT, why)
        return Decided(band.response, Origin.TABLE, f"{self.sensor} {band.name}")


def colors(
    guess: SensorGuess, names: Sequence[str], categorical: Sequence[bool], interpretation: Sequence[str] = ()
) -> tuple[str, ...]:
    """The common name of each band, such as red: as the file paints it, else as its sensor or its own name says.

    It is "categorical" for bands that are repeated and never mixed.
    """
    painted = interpretation or ("",) * len(names)
    known = tuple(band.color if band else "" for band in guess.bands) or ("",) * len(names)
    told = (name.strip().lower() for name in names)
    return tuple(
        CATEGORICAL if same else paint if paint in _PRIMARY else color or (name if name in _PRIMARY else "")
        for same, paint, color, name in zip(categorical, painted, known, told, strict=True)
    )


CATEGORICAL = "categorical"
_PRIMARY = ("red", "green", "blue")


def observation(
    guess: SensorGuess,
    means: Sequence[float],
    *,
    mtf: float | Sequence[float] | None = None,
    snr: float | Sequence[float] | None = None,
    noise: Sequence[tuple[Noise, str]] | None = None,
    blur: Sequence[tuple[Response | None, str]] | None = None,
) -> tuple[Observation, tuple[str, ...]]:
    """The observation of a scene, and one line each on how MTF and noise were decided.

    `means` are mean levels per band, stored numbers. What is given (`mtf`, `snr`) wins over the table and over
    `noise`, that of each band and where it comes from. `blur` is the response that the pixels of each band tell, and
    how, or None and why they don't; it wins over the table where they do. Raises `InputError` for values out of range
    or of the wrong count.
    """
    count = len(guess.bands)
    if mtf is not None:
        decided = tuple(Decided(Response.gaussian(level), Origin.GIVEN, "") for level in checked_mtf(mtf, count))
        why = "given"
    else:
        decided = guess.responses() if blur is None else tuple(map(_seen, blur, guess.responses()))
        why = _joined(map(str, decided))
    responses = tuple(each.response for each in decided)
    spread, line = _noise(guess, means, snr, noise)
    seen = Observation(responses, spread, tuple(each.known for each in decided))
    return seen, (f"MTF {listed([each.mtf for each in responses])} ({why})", line)


def _seen(told: tuple[Response | None, str], otherwise: Decided) -> Decided:
    """What the pixels tell of a band, or what is assumed where they don't."""
    response, why = told
    if response is None:
        return replace(otherwise, why=f"{otherwise.why}; the scene can't tell: {why}")
    return Decided(response, Origin.SCENE, why)


def _noise(
    guess: SensorGuess,
    means: Sequence[float],
    snr: float | Sequence[float] | None,
    noise: Sequence[tuple[Noise, str]] | None,
) -> tuple[tuple[Noise, ...], str]:
    if snr is None:
        if noise is None:
            return (SILENT,) * len(guess.bands), "no noise assumed"
        spread = [each.sigma(mean) for (each, _), mean in zip(noise, means, strict=True)]
        origins = once([origin for _, origin in noise])
        return tuple(each for each, _ in noise), f"noise {listed(spread)} DN at the mean ({origins})"
    ratios = checked_snr(snr, len(guess.bands))
    spread = [abs(mean - guess.zero) / ratio for mean, ratio in zip(means, ratios, strict=True)]
    return tuple(Noise(each**2, 0.0) for each in spread), f"noise {listed(spread)} DN (SNR {listed(ratios)} given)"


def checked_mtf(mtf: float | Sequence[float], count: int) -> tuple[float, ...]:
    """One MTF for each of `count` bands. Raises `InputError` for others than numbers between 0 and 1."""
    if isinstance(mtf, str):
        raise InputError(f"--mtf {mtf}: expected 'scene', or numbers between 0 and 1, such as 0.25")
    levels = _each(mtf, count, "--mtf")
    if not all(0 < level < 1 for level in levels):
        raise InputError(f"--mtf {listed(levels)}: expected numbers between 0 and 1, such as 0.25")
    return levels


def checked_snr(snr: float | Sequence[float], count: int) -> tuple[float, ...]:
    """One signal-to-noise ratio for each of `count` bands. Raises `InputError` for others than numbers above 0."""
    ratios = _each(snr, count, "--snr")
    if not all(ratio > 0 for ratio in ratios):
        raise InputError(f"--snr {listed(ratios)}: expected numbers above 0, such as 100")
    return ratios


def _each(value: float | Sequence[float], count: int, option: str) -> tuple[float, ...]:
    wanted = f"expected one number, or one for each of {count} bands"
    if isinstance(value, str):
        raise InputError(f"{option} {value!r}: {wanted}")
    try:
        values = (float(value),) if isinstance(value, int | float) else tuple(float(item) for item in value)
    except (TypeError, ValueError):
        raise InputError(f"{option} {value!r}: {wanted}") from None
    if any(math.isnan(item) for item in values):
        raise InputError(f"{option}: nan is no level; leave the option out where it isn't known")
    if len(values) not in (1, count):
        raise InputError(f"{option}: {wanted}; found {len(values)}")
    return values * (count if len(values) == 1 else 1)


def once(words: Sequence[str]) -> str:
    """Words in a row; one where all are the same."""
    return words[0] if len(set(words)) == 1 else " ".join(words)


def listed(values: Iterable[float]) -> str:
    """Numbers in a row; one where all are the same."""
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else " ".join(shown[:16]) + (" ..." if len(shown) > 16 else "")


def _joined(reasons: Iterable[str]) -> str:
    unique = list(dict.fromkeys(reasons))
    return "; ".join(unique[:4]) + (f"; and {len(unique) - 4} more" if len(unique) > 4 else "")
