"""Several dates of one place as a scene on the grid of one of them, the reference."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geosr.errors import GeosrError, InputError
from geosr.frames import MOST, Frame
from geosr.io.frames_source import FrameSource, FramesSource
from geosr.io.grid import Bounds
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene, open_scene
from geosr.radiometry import values_of
from geosr.registration.values import MARGIN, Doubles, Patch
from geosr.window import Window

_DATES = (".tif", ".tiff", ".jp2", ".zip", ".tar")
"""Of a folder, the files that are dates; folders in it are products."""
_NEAR = 0.05
"""Pixels by which far corners may lie otherwise on a grid that is said to be the same."""
_SIDE, _NUMBERS = 128, 2**20
"""Pixels a side of a window that tells where a frame lies, and numbers of a frame that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesScene(Scene):
    """The reference as a scene, and the other dates: what a tile reads of it is of all frames."""

    others: tuple[Scene, ...]
    """All of their files, in the order of their names."""
    strict: bool = False
    """Whether a date that can't be read is refused, and not left out."""

    @property
    def ground(self) -> Window:
        """All that can be read of the reference, counted from the scene's corner."""
        return Window(-self.window.row, -self.window.col, *self.full)

    def corner(self, other: Scene) -> tuple[int, int]:
        """Row and column of the reference file at which another date's grid begins, to the next pixel."""
        lies = ~self._transform @ other.transform
        return round(lies.f), round(lies.c)

    @property
    def _transform(self) -> Affine:
        """Of the whole reference file."""
        return self.transform @ Affine.translation(-self.window.col, -self.window.row)

    def patches(self, other: Scene) -> list[Patch]:
        """Pixels of both dates in a few windows, always the same. Raises as reading does."""
        return [self._patch(other, window) for window in patch_windows(self.full, len(self.bands))]

    def _patch(self, other: Scene, window: Window) -> Patch:
        row, col = self.corner(other)
        around = window.shift(-row, -col).grow(MARGIN)
        there = around.clip(Window(0, 0, *other.full))
        frame: Doubles = np.full((len(other.bands), around.height, around.width), np.nan)
        if there.size:
            frame[:, *there.within(around).slices] = values_of(other.source.pixels(there), other.radiometry)
        seen = self.source.pixels(window.shift(-self.window.row, -self.window.col))
        return Patch(values_of(seen, self.radiometry), frame, window.row, window.col)

    def feed(self, frames: Iterable[Frame]) -> FramesSource:
        """The source of tiles: the reference, and those of the other dates that are used."""
        others = [
            FrameSource(
                frame,
                scene.source,
                Window(0, 0, *scene.full),
                len(scene.bands),
                scene.dtype,
                scene.block,
                self.strict,
            )
            for frame in frames
            for scene in (self.others[frame.index],)
        ]
        return FramesSource(self.source, tuple(others))


def patch_windows(shape: tuple[int, int], bands: int) -> list[Window]:
    """The windows of a reference of this shape and number of bands that tell where other dates lie."""
    return spread_windows(shape, bands, size=max(32, min(_SIDE, int((_NUMBERS / 16 / bands) ** 0.5))))


def open_frames(
    paths: str | Path | Sequence[str | Path],
    opener: Callable[..., Scene] = open_scene,
    *,
    reference: int | str | Path | None = None,
    strict: bool = False,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    **alike: Any,
) -> FramesScene:
    """Several dates of a place as a scene on the grid of one of them, checked; no pixel is read.

    A single path may be a folder, in which they lie. One that can't be read is left out, which the scene's warnings
    say, or with `strict` refused. Other options are those of `opener`; `bounds` and `aoi` cut the reference's grid.
    Raises as `opener` does, and `InputError` where grids or bands differ, or no other date is left.
    """
    names = _listed(paths)
    first = names[chosen(names, reference)]
    anchor = opener(first, bounds=bounds, aoi=aoi, **alike)
    others, lines = [], []
    for name in sorted(set(names) - {first}):
        try:
            other = opener(name, **alike)
        except GeosrError as error:
            if strict:
                raise
            lines.append(f"{Path(name).name}: left out: {str(error).removeprefix(f'{Path(name).name}: ')}")
            continue
        _check_alike(anchor, other)
        others.append(other)
    if not others:
        raise InputError(f"no other date is left beside {anchor.name}: {'; '.join(lines[:3])}")
    inherited: dict[str, Any] = {name: getattr(anchor, name) for name in Scene.__dataclass_fields__}
    digests = " ".join(str(scene.identity["digest"]) for scene in (anchor, *others))
    notes = (*anchor.warnings, *(line for scene in others for line in scene.warnings), *lines)
    return FramesScene(
        **inherited
        | {
            "identity": anchor.identity | {"digest": hashlib.sha256(digests.encode()).hexdigest()},
            "files": tuple(file for scene in (anchor, *others) for file in scene.files),
            "warnings": tuple(dict.fromkeys(notes)),
        },
        others=tuple(others),
        strict=strict,
    )


def _listed(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """The files or products that paths name, each once; of a single folder those that lie in it."""
    given = [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]
    if len(given) == 1 and Path(given[0]).is_dir():
        inside = (path for path in sorted(Path(given[0]).iterdir()) if not path.name.startswith("."))
        given = [str(path) for path in inside if path.is_dir() or path.suffix.lower() in _DATES]
    names = list(dict.fromkeys(given))
    if len(names) < 2:
        found = f"{names[0]} alone" if names else "none"
        raise InputError(f"several dates are fused, and there is {found}; name more files, or leave --fuse out")
    if len(names) > MOST:
        raise InputError(f"{len(names)} dates are given, and {MOST} at most are fused; name those nearest in time")
    return names


def chosen(names: Sequence[str], reference: int | str | Path | None) -> int:
    """The place of the reference: the first, or by its number, its name, or a date that its name tells."""
    if reference is None:
        return 0
    wish = str(reference)
    if wish.isdecimal() and 1 <= int(wish) <= len(names):
        return int(wish) - 1
    digits = re.sub(r"\D", "", wish)
    for match in (
        [place for place, name in enumerate(names) if name == wish],
        [place for place, name in enumerate(names) if Path(name).name == Path(wish).name],
        [
            place
            for place, name in enumerate(names)
            if len(digits) >= 6 and digits in re.sub(r"\D", "", Path(name).name)
        ],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise InputError(f"--reference {wish} may be {names[match[0]]} or {names[match[1]]}; name the file")
    raise InputError(f"--reference {wish} is none of the dates; give a file of them, its number from 1, or a date")


def _check_alike(anchor: Scene, other: Scene) -> None:
    """Raise `InputError` where another date has other pixels or other bands."""
    if anchor.metadata.gcps or other.metadata.gcps:
        raise InputError(
            f"{other.name} or {anchor.name} has control points and no pixel grid; warp both, with gdalwarp"
        )
    if anchor.crs != other.crs:
        crs = f"{other.name} is in {other.crs or 'no CRS'} and {anchor.name} in {anchor.crs or 'none'}"
        bare = next((scene.path for scene in (anchor, other) if scene.crs is None), None)
        told = f"rio edit-info {shlex.quote(bare)} --crs EPSG:..." if bare else _warping(other, anchor)
        raise InputError(f"{crs}; leave it out, or {'tell it' if bare else 'warp it'}: {told}")
    lies, side = ~anchor.transform @ other.transform, max(*anchor.full, *other.full)
    if max(abs(lies.a - 1), abs(lies.e - 1), abs(lies.b), abs(lies.d)) * side > _NEAR:
        raise InputError(
            f"{other.name} has pixels of {_size(other)} and {anchor.name} of {_size(anchor)}; dates share pixel "
            f"size and direction; leave it out, or warp it: {_warping(other, anchor)}"
        )
    if len(other.bands) != len(anchor.bands) or other.categorical != anchor.categorical:
        raise InputError(
            f"{other.name} has {len(other.bands)} bands ({', '.join(other.names[:4])}) and {anchor.name} "
            f"{len(anchor.bands)} ({', '.join(anchor.names[:4])}); frames have the same: pick them with --bands"
        )


def _size(scene: Scene) -> str:
    return f"{abs(scene.transform.a):g} x {abs(scene.transform.e):g}"


def _warping(other: Scene, like: Scene) -> str:
    """The command, for a shell, that warps a date onto the grid of the reference; of a product each of its files."""
    file = Path(other.path)
    paths = [other.path, str(file.with_name(f"{file.stem}_warped.tif"))]
    paths = paths if file.suffix.lower() in _DATES[:3] else ["IN.jp2", "OUT.tif"]
    code, grid = like.crs.to_epsg() if like.crs else None, like.transform
    if code is None or (grid.b, grid.d) != (0, 0) or grid.e > 0:
        return shlex.join(["rio", "warp", *paths, "--like", like.path, "--resampling", "cubic"])
    row, col = -like.window.row, -like.window.col
    (left, top), (right, bottom) = grid @ (col, row), grid @ (col + like.full[1], row + like.full[0])
    numbers = [f"{number:.12g}" for number in (grid.a, -grid.e, left, bottom, right, top)]
    to = ["-t_srs", f"EPSG:{code}", "-tr", *numbers[:2], "-te", *numbers[2:]]
    return shlex.join(["gdalwarp", *to, "-r", "cubic", *paths])
