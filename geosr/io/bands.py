"""Questions about the bands of an open dataset: which are meant, what they hold, and where they are valid."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geosr.errors import InputError
from geosr.io.environment import GdalError
from geosr.io.source import MaskKind

_CLASSES = re.compile(
    r"(^|[_\W])(scl|b?qa\d*(_\w+)?|fmask|cfmask|s?cloud_?mask|class(es|ification)?|labels?|(bit)?mask|flags?"
    r"|land[_ ]?cover|lulc|msk_classi\w*)(_\d+m)?$",
    re.IGNORECASE,
)


def chosen_bands(dataset: DatasetReader, name: str, wanted: Sequence[int | str] | None) -> tuple[int, ...]:
    """Bands counted from 1, from numbers and names; all of them for None. Raises `InputError` for others.

    A text is a name where a band is called so, and else a number.
    """
    if wanted is None:
        return tuple(range(1, dataset.count + 1))
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise InputError(f"bands {wanted!r}: expected a list of numbers and names, such as [4, 3] or ['B04', 'B03']")
    bands = [_band(dataset, name, band) for band in wanted]
    if not bands:
        raise InputError(f"{name}: no band is chosen; name at least one of 1 to {dataset.count}")
    if len(set(bands)) < len(bands):
        raise InputError(f"{name}: a band is chosen twice in {', '.join(map(str, wanted))}")
    return tuple(bands)


def _band(dataset: DatasetReader, name: str, wanted: int | str) -> int:
    names = {(text or "").lower(): number for number, text in enumerate(dataset.descriptions, start=1)}
    if isinstance(wanted, str) and wanted and (number := names.get(wanted.lower())):
        return number
    if str(wanted).lstrip("+-").isdecimal():
        if 1 <= int(wanted) <= dataset.count:
            return int(wanted)
        raise InputError(f"{name}: there is no band {wanted}; it has bands 1 to {dataset.count}")
    if (number := names.get(_zeroed(str(wanted)).lower()) or names.get(_unzeroed(str(wanted)).lower())) and str(wanted):
        return number
    known = [text for text in dataset.descriptions if text]
    close = difflib.get_close_matches(str(wanted), known, 3) or known[:12]
    hint = f"names are {', '.join(close)}" if close else f"its bands have no names; use numbers, 1 to {dataset.count}"
    raise InputError(f"{name}: there is no band {wanted!r}; {hint}")


def _zeroed(name: str) -> str:
    return re.sub(r"^([A-Za-z]+)(\d)(?!\d)", r"\g<1>0\2", name)


def _unzeroed(name: str) -> str:
    return re.sub(r"^([A-Za-z]+)0+(\d)", r"\1\2", name)


def is_categorical(dataset: DatasetReader, band: int, color: ColorInterp) -> bool:
    """Whether numbers of a band are names of things (classes, palettes, alpha), which must not be mixed."""
    if color in (ColorInterp.palette, ColorInterp.alpha):
        return True
    if dataset.dtypes[band - 1].startswith("float"):
        return False
    alone = Path(dataset.name).stem if dataset.count == 1 else ""
    if names_classes(dataset.descriptions[band - 1] or alone):
        return True
    thematic = dataset.tags(band).get("LAYER_TYPE", "").lower() == "thematic"
    return bool(thematic or dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") == "1")


def names_classes(text: str) -> bool:
    """Whether a band of this name holds classes or flags, such as SCL, QA_PIXEL or cloud_mask."""
    return bool(_CLASSES.search(text))


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


def tells_of_all_bands(dataset: DatasetReader, band: int) -> bool:
    """Whether a band's nodata is a part of one for all bands: pixels are void where every band has its number."""
    flags = dataset.mask_flag_enums[band - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.nodata in flags


def possible_nodata(nodata: float | None, dtype: str) -> float | None:
    """A nodata number that pixels of this type can hold; None where none of them can equal it."""
    if nodata is None or np.dtype(dtype).kind == "f":
        beyond = nodata is not None and math.isfinite(nodata) and abs(nodata) > float(np.finfo(dtype).max)
        return None if beyond else nodata
    info = np.iinfo(dtype)
    return nodata if math.isfinite(nodata) and nodata == int(nodata) and info.min <= nodata <= info.max else None
