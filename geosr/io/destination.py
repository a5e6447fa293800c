"""The name of a result: chosen where none is given, and never that of its input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from geosr.errors import InputError
from geosr.io.environment import is_remote

_SUFFIXES = (".tif", ".tiff")


def default_name(src: str, scale: int) -> Path:
    """`scene_x4.tif` beside `scene.tif`; in the current folder where the source is not a file here."""
    path = Path(re.split(r"[?#]", src)[0]) if is_remote(src) else Path(src)
    return (path.parent if path.is_file() else Path()) / f"{path.stem}_x{scale}.tif"


def check_name(dst: Path, sources: Iterable[str]) -> None:
    """Raise `InputError` unless `dst` is called like a GeoTIFF and is none of the sources, however it is spelled."""
    if any(_same_file(dst, source) for source in sources):
        raise InputError(f"{dst} is the input itself; name another result")
    if dst.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{dst}: results are GeoTIFFs; name it {dst.with_suffix('.tif').name}")


def _same_file(dst: Path, source: str) -> bool:
    try:
        return dst.samefile(source)
    except OSError:
        return False
