"""How scenes were observed: what a file's own words say about which sensor of the table it was.

Where the table has no MTF the safe default stands in: assuming too sharp a sensor costs little, too blurred a one costs
much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from geosr.errors import InputError
from geosr.noise import SILENT, Noise
from geosr.response import Response
from geosr.sensor_table import AERIAL, LANDSAT_7, LANDSAT_8, PLANETSCOPE, SENTINEL_2, Band, Sensor

UNKNOWN = Response((0.04, 0.04), True, "cubic")
"""The response assumed where nothing better is known."""

_NATIVE = 0.10
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
        if abs(self.pixel_size / band.gsd_m - 1) > _NATIVE:
            why = f"{band.name} has {band.gsd_m:g} m pixels, these of {self.pixel_size:g} m are resampled"
            return Decided(UNKNOWN, Origin.DEFAULT, why)
        return Decided(band.response, Origin.TABLE, f"{self.sensor} {band.name}")


def identify(
    *,
    tags: Mapping[str, str],
    descriptions: Sequence[str],
    name: str,
    pixel_size: float | None,
    metadata: str = "",
) -> SensorGuess:
    """The sensor that tags, file name or band names tell of.

    Parameters
    ----------
    tags
        Of the dataset and its bands, all namespaces together.
    descriptions
        One per band, empty where a band has none.
    name
        The path; names of folders count where they are product names.
    pixel_size
        Metres; None where the grid is not in metres.
    metadata
        Text of a product's metadata file beside the scene, if any.
    """
    found = _from_tags(tags) or _from_path(name) or _from_bands(descriptions, pixel_size)
    if found is None:
        return SensorGuess(bands=(None,) * len(descriptions), pixel_size=pixel_size)
    sensor, why = found
    bands = tuple(_band_of(sensor, text) for text in descriptions)
    if len(bands) == 1 and bands[0] is None:
        bands = (_band_of_name(sensor, name),)
    zero, notes = _offset(tags, name, metadata) if sensor is SENTINEL_2 else (0.0, ())
    return SensorGuess(sensor.name, bands, why, pixel_size, zero, notes)


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


_WORDS = (
    (SENTINEL_2, re.compile(r"sentinel[-_ ]?2|\bS2[ABC]_MSI", re.IGNORECASE)),
    (LANDSAT_8, re.compile(r"landsat[-_ ]?[89]\b|\bL[CO]0?[89]_?(L[12]|\d{6})", re.IGNORECASE)),
    (LANDSAT_7, re.compile(r"landsat[-_ ]?7\b|\bLE0?7_?(L[12]|\d{6})", re.IGNORECASE)),
    (PLANETSCOPE, re.compile(r"planetscope|\bPS(2|B)(\.SD)?\b", re.IGNORECASE)),
    (AERIAL, re.compile(r"\bNAIP\b", re.IGNORECASE)),
)
_KEYS = re.compile(
    r"PRODUCT_URI|SPACECRAFT|SATELLITE|SENSOR|PLATFORM|CONSTELLATION|MISSION|INSTRUMENT|LANDSAT_\w*ID|PRODUCT_ID|PRODUCT_TYPE"
    r"|SCENE_ID|SYSTEM.INDEX|DATATAKE",
    re.IGNORECASE,
)
_NAMES = (
    (
        SENTINEL_2,
        re.compile(r"(?<![A-Za-z0-9])(S2[ABC]_(MSIL|USER|OPER|\d{8}|\d{2}[A-Z]{3})\w*|T\d{2}[A-Z]{3}_\d{8}T\d{6}_\w+)"),
    ),
    (LANDSAT_8, re.compile(r"(?<![A-Za-z0-9])(L[CO]0?[89]_?(L[12]|\d{6,13})\w*|L[89]_\d{6}\w*)")),
    (LANDSAT_7, re.compile(r"(?<![A-Za-z0-9])(LE0?7_?(L[12]|\d{6,13})\w*|L7_\d{6}\w*)")),
    (PLANETSCOPE, re.compile(r"(?<!\d)\d{8}_\d{6}_(\d{2}_)?\w{4}_(1B|3A|3B)_\w+")),
    (AERIAL, re.compile(r"(?<![A-Za-z0-9])m_\d{7}_(ne|nw|se|sw)_\d{1,2}_\w+")),
)

_TELLING = ((PLANETSCOPE, "green_i"), (LANDSAT_8, "SR_B6"))
"""Names that no other sensor's bands have: thermal is ST_B6 of earlier Landsats, in the same product."""


def _from_tags(tags: Mapping[str, str]) -> tuple[Sensor, str] | None:
    for key, value in tags.items():
        if _KEYS.search(key):
            for sensor, word in _WORDS:
                if word.search(value):
                    return sensor, f"tag {key}={value[:80]}"
    return None


def _from_path(path: str) -> tuple[Sensor, str] | None:
    parts = [part for part in re.split(r"[/\\]", path) if part][-5:]
    for depth, part in enumerate(reversed(parts)):
        for sensor, pattern in _NAMES:
            if pattern.search(part):
                return sensor, f"{'file' if depth == 0 else 'folder'} name {part[:80]}"
    return None


def _from_bands(descriptions: Sequence[str], pixel_size: float | None) -> tuple[Sensor, str] | None:
    """Band names that only one sensor has; or names that Sentinel-2 shares, with a pixel that others don't have."""
    for sensor, name in _TELLING:
        if name in descriptions:
            return sensor, f"band name {name}"
    names = {match[1].upper() for text in descriptions if (match := re.match(r"(B\d{1,2}A?)\b", text, re.IGNORECASE))}
    if len(names) < len(descriptions) or not names or any(SENTINEL_2.band(name) is None for name in names):
        return None
    listed = f"band names {', '.join(sorted(names)[:6])}"
    if "B8A" in names or ("B12" in names and "B11" in names):
        return SENTINEL_2, listed
    if len(names) >= 3 and pixel_size is not None and abs(pixel_size / 10 - 1) <= _NATIVE:
        return SENTINEL_2, f"{listed} with {pixel_size:g} m pixels"
    return None


def _band_of(sensor: Sensor, text: str) -> Band | None:
    """'B4', 'B04', 'SR_B4', 'red', 'B4, central wavelength 665 nm' are the same band."""
    match = re.match(r"(?:SR_|sur_refl_)?(B\d{1,2}A?)\b", text.strip(), re.IGNORECASE)
    return sensor.band(match[1] if match else text.strip().lower())


def _band_of_name(sensor: Sensor, path: str) -> Band | None:
    name = re.split(r"[/\\]", path)[-1]
    found = re.findall(r"(?<![A-Za-z0-9])(B\d{1,2}A?)(?![A-Za-z0-9])", name.replace("_", " "), re.IGNORECASE)
    return sensor.band(found[-1]) if found else None


_ADD_OFFSET = re.compile(r"(?:BOA|RADIO)_ADD_OFFSET", re.IGNORECASE)


def _offset(tags: Mapping[str, str], path: str, metadata: str) -> tuple[float, tuple[str, ...]]:
    """The stored number for no light, and what to say: products since baseline 04.00 (2022) carry +1000."""
    told = {value for key, value in tags.items() if _ADD_OFFSET.search(key)}
    told |= set(re.findall(r"<(?:BOA|RADIO)_ADD_OFFSET[^>]*>\s*(-?[\d.]+)", metadata))
    numbers = {float(value) for value in told if re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value)}
    if len(numbers) == 1:
        zero = -numbers.pop()
        if zero == 0:
            return 0.0, ()
        return zero, (f"the product says that stored numbers carry {zero:+g}; they are kept as they are",)
    baseline = _baseline(tags, path, metadata)
    if baseline is not None and baseline >= 4:
        return 0.0, (
            f"processing baseline {baseline:05.2f}: stored numbers may carry +1000, but nothing beside them says so; "
            "they are kept as they are",
        )
    return 0.0, ()


def _baseline(tags: Mapping[str, str], path: str, metadata: str) -> float | None:
    told = next((value for key, value in tags.items() if "PROCESSING_BASELINE" in key.upper()), "")
    if not told:
        in_file = re.search(r"<PROCESSING_BASELINE>\s*([\d.]+)", metadata)
        in_name = re.search(r"_N(\d{2})(\d{2})_R\d{3}", " ".join([path, *tags.values()]))
        told = in_file[1] if in_file else f"{in_name[1]}.{in_name[2]}" if in_name else ""
    return float(told) if re.fullmatch(r"\d+(\.\d+)?", told.strip()) else None
