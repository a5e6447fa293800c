"""What is known of a scene's bands: how their sensor saw the ground, and how that was decided.

Where the table has no MTF the safe default stands in: assuming too sharp a sensor costs little, too blurred a one costs
much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from geosr.errors import InputError
from geosr.noise import SILENT, Noise
from geosr.response import Response
from geosr.sensor_table import Origin, SensorBand

UNKNOWN = Response((0.04, 0.04), True, "cubic")
"""The response assumed where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Band:
    """A band of a scene: what it is, the way in which its sensor saw the ground, and how that was decided."""

    response: Response
    noise: Noise = SILENT
    """In stored numbers (DN)."""
    response_from: Origin = Origin.GIVEN
    response_why: str = ""
    """The evidence, for people; "" where it was given."""
    noise_from: Origin = Origin.GIVEN
    snr: float | None = None
    """Ratio of signal to noise at the mean level, where it was given."""
    levels: tuple[float, float] | None = None
    """Stored numbers that are dark and bright in the scene; None where no model asks for them."""
    likeness: float | None = None
    """The p-value that it is like the bands that an uncertainty was calibrated on; None where that wasn't asked."""
    limit: float | None = None
    """The error, in stored numbers, under which a pixel is to be trusted; None where that wasn't asked."""
    name: str = ""
    color: str = ""
    """Common name, such as red; "" where it is unknown, and of categorical bands."""
    repeated: str = ""
    """Why stored numbers are repeated and never mixed (classes, palettes, alpha); "" where they are measured."""
    table: SensorBand | None = None
    """Its entry in the table of sensors; None where nothing says which it is."""
    zero: float = 0.0
    """The stored number that stands for no light, where product or file say so; else 0."""

    @property
    def categorical(self) -> bool:
        """True where stored numbers are repeated and never mixed."""
        return bool(self.repeated)

    @property
    def assumed(self) -> bool:
        """True where the response is a default."""
        return self.response_from is Origin.DEFAULT

    @property
    def about_response(self) -> str:
        """Where the response comes from, and why, for people."""
        return f"{self.response_from}: {self.response_why}" if self.response_why else self.response_from

    def given_as(self, other: Band) -> Band:
        """The band with what a user said of blur and noise of another."""
        band = replace(self, snr=other.snr)
        if other.response_from is not Origin.GIVEN:
            return band
        return replace(band, response=other.response, response_from=Origin.GIVEN, response_why="")

    def relative(self, scale: float, rounding: float = 0.0) -> Band:
        """The band as a network is told it: the response relative to a result with pixels `scale` times as fine.

        Noise counts as `rounding` at least, a standard deviation in stored numbers.
        """
        return replace(self, response=self.response.relative(scale), noise=self.noise.at_least(rounding))


Observation = tuple[Band, ...]
"""The way in which the source saw the ground, band by band; models that don't care ignore it."""


@dataclass(frozen=True, slots=True)
class SensorGuess:
    """Which sensor a scene comes from, as far as its own words say; nothing is concluded from the pixel size alone."""

    sensor: str | None = None
    """Name in the table; None where nothing names a sensor."""
    bands: Observation = ()
    """Each band of the scene, as far as it is known before a pixel is read."""
    why: str = "nothing in the file names a sensor"
    """What was taken as evidence."""
    pixel_size: float | None = None
    """Of the scene, metres; None where it is not known in metres."""
    notes: tuple[str, ...] = ()
    """What a user should know, one line each."""

    def part(self, indices: Sequence[int]) -> SensorGuess:
        """The same for some bands, counted from 0."""
        return replace(self, bands=tuple(self.bands[band] for band in indices))

    def described(self, names: Sequence[str], repeated: Sequence[str], painted: Sequence[str] = ()) -> SensorGuess:
        """The same with bands that have a name, a reason why they are repeated, and a common name such as red.

        That is what the file paints a band in, else what its sensor or its own name says.
        """
        rows = zip(self.bands, names, repeated, painted or ("",) * len(names), strict=True)
        return replace(self, bands=tuple(_described(*row) for row in rows))

    def given(self, mtf: float | str | Sequence[float] | None, snr: float | Sequence[float] | None) -> SensorGuess:
        """The same with what a user says of MTF and signal to noise, which wins over the table.

        Raises `InputError` for values out of range or of the wrong count.
        """
        bands = self.bands
        if mtf is not None:
            rows = zip(bands, _checked_mtf(mtf, len(bands)), strict=True)
            bands = tuple(
                replace(band, response=Response.gaussian(level), response_from=Origin.GIVEN, response_why="")
                for band, level in rows
            )
        if snr is not None:
            rows = zip(bands, _checked_snr(snr, len(bands)), strict=True)
            bands = tuple(replace(band, snr=ratio) for band, ratio in rows)
        return replace(self, bands=bands)


def _described(band: Band, name: str, repeated: str, paint: str) -> Band:
    own = name.strip().lower()
    known = band.table.color if band.table else own if own in _PRIMARY else ""
    color = paint if paint in _PRIMARY else known
    return replace(band, name=name, repeated=repeated, color="" if repeated else color)


_PRIMARY = ("red", "green", "blue")


def first_bands(bands: Observation) -> tuple[int, ...]:
    """The bands that a picture shows first, counted from 0.

    Red, green and blue where they are known, or called as those of Sentinel-2 and Landsat; else the first three, or of
    fewer the first.
    """
    colors, names = [band.color for band in bands], [band.name.upper() for band in bands]
    for known, wanted in ((colors, _PRIMARY), (names, ("B04", "B03", "B02")), (names, ("B4", "B3", "B2"))):
        if {*wanted} <= {*known}:
            return tuple(known.index(each) for each in wanted)
    return (0, 1, 2) if len(bands) > 2 else (0,)


def projection(bands: Observation) -> str:
    """Which bands a projection corrects, in words as tags have them.

    "yes"; "half", whose MTF is a default; "no", which are repeated; one word where all bands are alike.
    """
    return once(["no" if band.categorical else "half" if band.assumed else "yes" for band in bands])


def about_response(bands: Observation) -> str:
    """The line on MTF, and on how it was decided."""
    return f"MTF {listed(band.response.mtf for band in bands)} ({_joined(band.about_response for band in bands)})"


def about_noise(bands: Observation, means: Sequence[float]) -> str:
    """The line on noise, for bands of these mean levels, stored numbers; without any none was looked for."""
    if not means:
        return "no noise assumed"
    spread = listed(band.noise.sigma(mean) for band, mean in zip(bands, means, strict=True))
    ratios = [band.snr for band in bands if band.snr is not None]
    how = f"(SNR {listed(ratios)} given)" if ratios else f"at the mean ({once([band.noise_from for band in bands])})"
    return f"noise {spread} DN {how}"


def _checked_mtf(mtf: float | str | Sequence[float], count: int) -> tuple[float, ...]:
    """One MTF for each of `count` bands. Raises `InputError` for others than numbers between 0 and 1."""
    if isinstance(mtf, str):
        raise InputError(f"--mtf {mtf}: expected 'scene', or numbers between 0 and 1, such as 0.25")
    levels = _each(mtf, count, "--mtf")
    if not all(0 < level < 1 for level in levels):
        raise InputError(f"--mtf {listed(levels)}: expected numbers between 0 and 1, such as 0.25")
    return levels


def _checked_snr(snr: float | Sequence[float], count: int) -> tuple[float, ...]:
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
