"""Questions about the bands of an open dataset: which are meant, what they hold, and where they are valid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geosr.errors import InputError
from geosr.io.categorical import ALPHA, Told
from geosr.io.environment import GdalError
from geosr.io.metadata import BandMetadata, Metadata
from geosr.io.safety import subdataset
from geosr.io.source import MaskKind


def chosen_bands(texts: Sequence[str | None], name: str, wanted: Sequence[int | str] | None) -> tuple[int, ...]:
    """Bands counted from 1, from numbers and names; all of them for None. Raises `InputError` for others.

    `texts` are what the bands of `name` are called. A text is a name where a band is called so, or is called so up to a
    comma, and else a number.
    """
    if wanted is None:
        return tuple(range(1, len(texts) + 1))
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise InputError(f"bands {wanted!r}: expected a list of numbers and names, such as [4, 3] or ['B04', 'B03']")
    bands = [_band(texts, name, band) for band in _rejoined(texts, list(wanted))]
    if not bands:
        raise InputError(f"{name}: no band is chosen; name at least one of 1 to {len(texts)}")
    if len(set(bands)) < len(bands):
        raise InputError(f"{name}: a band is chosen twice in {', '.join(map(str, wanted))}")
    return tuple(bands)


def asked_bands(
    texts: Sequence[str | None], name: str, wanted: Sequence[int | str] | str | None
) -> tuple[int, ...] | None:
    """The bands that a user has called categorical, counted from 1, none for "none"; None where nothing was said."""
    if wanted is None:
        return None
    if isinstance(wanted, str) and wanted.lower() != "none":
        raise InputError(f"categorical {wanted!r}: expected a list of numbers and names, such as ['SCL'], or 'none'")
    return () if isinstance(wanted, str) or not wanted else chosen_bands(texts, name, wanted)


def _rejoined(texts: Sequence[str | None], wanted: list[int | str]) -> Iterator[int | str]:
    """The names wanted, where such with commas, such as "B4, central wavelength 665 nm", may be split at them."""
    known = {_even(text) for text in texts if text and "," in text}
    while wanted:
        ends = (end for end in range(len(wanted), 1, -1) if _even(",".join(map(str, wanted[:end]))) in known)
        end = next(ends, 1)
        yield ", ".join(map(str, wanted[:end])) if end > 1 else wanted[0]
        wanted = wanted[end:]


def _even(text: str) -> str:
    """A name in small letters, with one space after each comma."""
    return re.sub(r"\s*,\s*", ", ", text).strip().lower()


def _band(texts: Sequence[str | None], name: str, wanted: int | str) -> int:
    names = _by_name(texts)
    if isinstance(wanted, str) and wanted and (number := names.get(_even(wanted))):
        return number
    if str(wanted).lstrip("+-").isdecimal():
        if 1 <= int(wanted) <= len(texts):
            return int(wanted)
        raise InputError(f"{name}: there is no band {wanted}; it has bands 1 to {len(texts)}")
    if (number := names.get(_zeroed(str(wanted)).lower()) or names.get(_unzeroed(str(wanted)).lower())) and str(wanted):
        return number
    known = [text for text in texts if text]
    close = difflib.get_close_matches(str(wanted), known, 3) or known[:12]
    hint = f"names are {'; '.join(close)}" if close else f"its bands have no names; use numbers, 1 to {len(texts)}"
    raise InputError(f"{name}: there is no band {wanted!r}; {hint}")


def _by_name(texts: Sequence[str | None]) -> dict[str, int]:
    """Numbers of bands by their names, and by what stands before a comma where no other band begins so."""
    names = {_even(text or ""): number for number, text in enumerate(texts, start=1)}
    starts = [each.partition(",")[0] for each in names if "," in each]
    alone = {each.partition(",")[0]: number for each, number in names.items() if "," in each}
    return {start: number for start, number in alone.items() if starts.count(start) == 1} | names


def _zeroed(name: str) -> str:
    return re.sub(r"^([A-Za-z]+)(\d)(?!\d)", r"\g<1>0\2", name)


def _unzeroed(name: str) -> str:
    return re.sub(r"^([A-Za-z]+)0+(\d)", r"\1\2", name)


def told_of_bands(dataset: DatasetReader, metadata: Metadata, bands: tuple[int, ...]) -> list[Told]:
    """All that the dataset tells of each band that may say that it is categorical."""
    file, variable = subdataset(dataset.name) or (dataset.name, "")
    variable = re.split(r"[/\\:]", variable)[-1].strip('"')
    # Of a variable among others its own attributes: drivers put its name before each.
    own = f"^(?:.*[/_#])?{re.escape(variable)}[#_]" if variable else "^$"
    shared = {re.sub(own, "", key): value for key, value in dataset.tags().items()}
    told = [shared | dataset.tags(band) for band in bands]
    return [
        Told(
            names=(dataset.descriptions[band - 1] or "",),
            whole=(variable, *(tags.get(key, "") for key in ("NETCDF_VARNAME", "long_name", "standard_name"))),
            file=Path(file).stem if dataset.count == 1 and not variable else "",
            attributes=tags.keys(),
            marks=tuple(_marks(dataset, band, own)),
            dtype=dataset.dtypes[band - 1],
        )
        for band, tags, own in zip(bands, told, metadata.bands, strict=True)
    ]


def _marks(dataset: DatasetReader, band: int, metadata: BandMetadata) -> Iterator[str]:
    """The marks by which the format tells classes."""
    if metadata.color is ColorInterp.alpha:
        yield ALPHA
    if metadata.color is ColorInterp.palette:
        yield "a palette"
    if metadata.categories is not None:
        yield "class names" if metadata.categories.names else "a table of classes"
    if dataset.tags(band).get("LAYER_TYPE", "").lower() == "thematic":
        yield "a thematic layer"
    if dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
        yield "one bit a pixel"


def mask_kind(dataset: DatasetReader, bands: tuple[int, ...]) -> tuple[MaskKind, int]:
    """Where validity comes from beside nodata, and the alpha band where it is that."""
    try:
        colors = dataset.colorinterp
    except GdalError:
        colors = ()
    known = dataset.mask_flag_enums
    flags = [known[band - 1] for band in bands]
    # A mask of the file goes before an alpha band, which is carried as one then.
    if any({*flag} == {MaskFlags.per_dataset} for flag in flags):
        return "dataset", 0
    if ColorInterp.alpha in colors:
        return "alpha", colors.index(ColorInterp.alpha) + 1
    if any(MaskFlags.per_dataset in flag for flag in flags):
        return "numbers", 0
    return ("bands", 0) if any(not flag for flag in flags) else ("none", 0)
