"""Frames in time as rasters: each is made finer with those beside it, as dates are fused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from geosr.api import prepare
from geosr.errors import AloneError, InputError
from geosr.run import Run
from geosr.video.library import is_clip
from geosr.video.run import check_window

_FRAMES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".bmp")
"""Of a folder, the files that are frames."""


def in_time(sources: Iterable[str | Path], window: int | None) -> dict[str, Sequence[str]]:
    """Each of the sources, once, with itself and those beside it, `window` together; alone where there is no window.

    With one, a single folder stands for the files in it, by the numbers in their names. Raises `InputError`.
    """
    names = list(dict.fromkeys(map(str, sources)))
    half = 0 if window is None else check_window(window) // 2
    if window is not None and len(names) == 1 and Path(names[0]).is_dir():
        inside = (path for path in Path(names[0]).iterdir() if path.suffix.lower() in _FRAMES and path.name[0] != ".")
        names = sorted(map(str, inside), key=_numbered)
    return {name: names[max(0, place - half) : place + half + 1] for place, name in enumerate(names)}


def prepare_frame(name: str, frames: Sequence[str], dst: str, **options: Any) -> Run:
    """The run of a raster, fused with the frames beside it where one of those fits, else alone. Raises as `prepare`."""
    if is_clip(name):
        raise InputError(f"{name} is a clip; upscale it alone, with -o")
    if len(frames) < 2:
        return prepare(name, dst, **options)
    try:
        return prepare(frames, dst, fuse=True, reference=name, **options)
    except AloneError:
        return prepare(name, dst, **options)


def _numbered(path: str) -> list[str | tuple[int, str]]:
    return [(int(part), part) if part.isdigit() else part for part in re.split(r"(\d+)", Path(path).name)]
