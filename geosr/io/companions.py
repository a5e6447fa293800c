"""Results that lie beside an image as files of their own: which belong to it, and which are in the way of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from geosr.errors import InputError
from geosr.io.destination import beside, check_name
from geosr.io.environment import GdalError, open_dataset, reading
from geosr.io.layout import Format
from geosr.io.output import RESULT, RESULTS, RUN
from geosr.io.place import check_destination, hidden

_NAME = re.compile(r"[\w-]+")


def tags_of_file(path: Path) -> dict[str, str]:
    """The tags of a file; none where they can't be read."""
    try:
        with reading(str(path)), open_dataset(str(path)) as dataset:
            return dict(dataset.tags())
    except GdalError:
        return {}


def companions(path: Path) -> list[str]:
    """The names of results that an image tells of, that lie beside it, and that say themselves that they are its."""
    image = tags_of_file(path) if path.exists() else {}
    names = (name for name in image.get(RESULTS, "").split()[1:] if _NAME.fullmatch(name))
    return [name for name in names if beside(path, name).is_file() and _belongs(beside(path, name), name, image)]


def check_companion(path: Path, name: str, overwrite: bool) -> Path:
    """The absolute path of a result of this name beside an image. Raises as `check_destination`.

    What stands there is only replaced where it belongs to the image, or where there is none and it is a result of this
    name: then it may be of a run that was killed before the image had its own, and the sink knows.
    """
    there = check_destination(beside(path, name), overwrite=True)
    image = tags_of_file(path) if path.exists() else None
    if there.exists() and not _belongs(there, name, image):
        raise InputError(f"{there} does not belong to {path.name} and is not replaced; move it, or use another name")
    return check_destination(there, overwrite or hidden(path, "journal").exists())


def check_companions(
    path: Path | str, names: Iterable[str], sources: Iterable[str], format: Format, overwrite: bool
) -> None:
    """Raise as `check_name` and `check_companion` where results can't lie beside one; in a store they can."""
    if isinstance(path, Path) and format != "Zarr":
        for name in names:
            check_name(beside(path, name), sources, format)
            check_companion(path, name, overwrite)


def _belongs(there: Path, name: str, image: Mapping[str, str] | None) -> bool:
    """True where a file says that it is the result of this name, and of the run that made the image, if any."""
    told = tags_of_file(there)
    return told.get(RESULT) == name and (image is None or told.get(RUN, "") == image.get(RUN))
