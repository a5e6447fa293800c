"""Which bands are categorical: their numbers are names of things (classes, flags, alpha), repeated and never mixed.

One decision for files, arrays and variables. Whoever opens a source says what is told of each band (`Told`); anything
that says so counts, in every type, since classes are often decoded into floating point.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from geosr.sensors import Observation

ALPHA = "alpha"
ASKED = "as asked"

FLAGS = ("flag_values", "flag_masks", "flag_meanings")
"""Attributes by which CF says what numbers of a band mean."""
_WORDS = re.compile(
    r"(?<!\S)(?:scl|b?qa\d*|dqf|qf\d*|udms?\d*|[a-z]*flags?|(?!unmask|damask)[a-z]*masks?|bit ?(?:mask|field)s?"
    r"|class(?:es|ed|if|ified|ifications?)?|classi|categor(?:y|ies|ical)|labels?|confidence|reliability"
    r"|land ?(?:cover|use)|lu ?lc|lccs|corine|clc\d*|nlcd\d*|cdl|igbp|wbm|clm|mg2|detfoo\w*|qualit"
    r"|(?:lc|land|cover|crop|soil|forest|surface|vegetation|cloud|rock|tree|habitat|biome|area) ?types?"
    r"|lc ?(?:class|code|map|prop))\d*(?!\S)"
)
"""Words of classes and flags that hold wherever they stand."""
_LAST_IN_FILES = re.compile(r"(?<!\S)(?:quality|qc|status|states?)(?!\S)")
"""The same, but in a file's name only as the last word: new_york_state_dem.tif holds no states."""
_WHOLE = re.compile(r"lc\d?|bits?")
"""And these where nothing else is said."""
_SKY = re.compile(r"(?:light |heavy )?(?:clear|snow|(?:cloud )?shadows?|haze|clouds?|cirrus|unusable|usable)(?: mask)?")
"""Whole names of bands that say yes or no of the sky, as PlanetScope's UDM2 has them, but may be amounts elsewhere."""
_MEASURED = re.compile(
    r"(?<!\S)(?:prob(?:a|ability|abilities)?|likelihood|fractions?|percent(?:age)?s?|pct|factor|score|density|ratio"
    r"|count)(?!\S)"
)
"""Words of quantities: the probability of a class is a number."""
_NO_NAME = re.compile(r"(?:band|layer|channel)?\s*\d*")


@dataclass(frozen=True, slots=True)
class Told:
    """All that a source tells of one band."""

    names: Sequence[str] = ()
    """Its own names; empty ones count for nothing."""
    whole: Sequence[str] = ()
    """Names of the variable that it is a band of, which count where it has none of its own."""
    file: str = ""
    """Name of the file where it is the file's only band."""
    attributes: Collection[str] = ()
    """Names of the attributes that CF gives a meaning."""
    marks: Sequence[str] = ()
    """What the format itself says of classes, in words: a palette, class names."""
    dtype: str = ""
    """Of its pixels, by numpy's name."""


def reasons(bands: Sequence[Told]) -> tuple[str, ...]:
    """Per band: why it is categorical, in a few words; "" for one that is measured.

    Marks of the format and CF's flag attributes are believed first. Then names: a word of `_WORDS` anywhere in them
    (as a whole word: "red", "statement" and "sclera" have none), in floating point too. Where a name is doubtful
    ("confidence") the band is repeated, which loses nothing but detail; mixed classes would be wrong. A name that says
    a quantity ("cloud_mask_probability", "quality_factor") is of a measurement. "snow", "cloud" and the like are
    classes in 8 bits and beside bands of their kind, and else amounts.
    """
    sky = sum(bool(_SKY.fullmatch(_plain(name))) for band in bands for name in band.names[:1])
    return tuple(_reason(band, sky >= 3) for band in bands)


def _reason(band: Told, among_its_kind: bool) -> str:
    if band.marks:
        return band.marks[0]
    if band.dtype == "bool":
        return "true or false"
    if flag := next((flag for flag in FLAGS if flag in band.attributes), None):
        return flag
    own = [name for name in band.names if not _NO_NAME.fullmatch(name.lower())]
    for name in own or band.whole:
        small = band.dtype in ("uint8", "int8") or among_its_kind
        if names_classes(name) or (small and _SKY.fullmatch(_plain(name))):
            return f"by the name {name}"
    return f"by the file's name {band.file}" if not own and names_classes(band.file, file=True) else ""


def names_classes(text: str, *, file: bool = False) -> bool:
    """True where a name says that a band (or a file of one band) holds classes or flags, such as SCL or cloud_mask."""
    words = _plain(text)
    if _MEASURED.search(words):
        return False
    # After it come the date, the tile or the pixel: state_1km_1, QC_Day_doy2020001_aid0001.
    last = re.sub(r"( \S*\d\S*| day| night)+$", "", words).rpartition(" ")[2] if file else words
    return bool(_WORDS.search(words) or _LAST_IN_FILES.search(last) or _WHOLE.fullmatch(words))


def _plain(text: str) -> str:
    """Words in small letters, one space between: of land-cover, land_cover, LandCover and QAPixel too."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", text)
    return " ".join(re.findall(r"[^\W_]+", apart)).lower()


def settled_by_hand(why: Sequence[str], wanted: Collection[int] | None) -> tuple[str, ...]:
    """The reasons where a user has named bands (from 0), others being measured; alpha stays, None changes nothing."""
    if wanted is None:
        return tuple(why)
    return tuple(each if each == ALPHA else ASKED if band in wanted else "" for band, each in enumerate(why))


def either(why: Sequence[str], settled: Sequence[str]) -> tuple[str, ...]:
    """Per band a reason to think that it is categorical, of the source or of a user; "" where neither gives one."""
    return tuple(one or other for one, other in zip(why, settled, strict=True))


def listed(bands: Observation) -> str:
    """Categorical bands and why: "SCL, QA60 (by name); lccs (flag_values)". Empty where there are none."""
    groups: dict[str, list[str]] = {}
    for band in bands:
        if band.categorical and band.repeated != ALPHA:
            why = "by name" if band.repeated == f"by the name {band.name}" else band.repeated
            groups.setdefault(why, []).append(band.name)
    return "; ".join(f"{', '.join(names)} ({each})" for each, names in groups.items())
