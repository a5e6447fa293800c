"""Rasters as training material: which bands of which files, read whole or in windows drawn at random."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, InputError
from geosr.io.scene import Scene, open_scene
from geosr.io.source import close
from geosr.training.ground import Ground
from geosr.training.patches import Plane, contrast_of, step_of
from geosr.training.recipe import Group
from geosr.window import Window

CHIP = 512
"""Side of the windows, pixels, that are read of a collection too large to hold."""
ARCHIVE = ".npz"


class Notes:
    """Files that were left out and why, gathered so that a thousand of them make one line."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """One more that this happened to."""
        self._names[reason].append(name)

    def lines(self) -> tuple[str, ...]:
        """A line for each reason."""
        return tuple(f"{reason}: {_some(names)}" for reason, names in self._names.items())


@dataclass(frozen=True, slots=True)
class Raster:
    """A part of some bands of a file; nothing of it is read yet."""

    scene: Scene
    """Only the bands that are wanted."""
    group: Group
    part: Window
    """Pixels of the file."""

    @property
    def file(self) -> str:
        """Its path."""
        return self.scene.path

    @property
    def ground(self) -> Ground | None:
        """The ground that it shows; None where that isn't known."""
        return Ground.of(self.scene.metadata, self.part)

    @property
    def bytes(self) -> int:
        """Of its pixels in memory, at most: where some are invalid they are held as float32."""
        gaps = self.scene.radiometry.may_have_gaps or self.scene.mask != "none"
        return self.part.size * len(self.scene.bands) * (4 if gaps else np.dtype(self.scene.dtype).itemsize)


def find(group: Group, root: str | Path) -> list[Path]:
    """The files of a group, sorted. Raises `InputError` where a group has none."""
    try:
        paths = sorted({path for pattern in group.files for path in _matches(pattern, Path(root)) if path.is_file()})
    except ValueError as error:
        raise InputError(f"{' or '.join(map(repr, group.files))} is no pattern of files: {error}") from None
    if not paths:
        raise InputError(f"no file matches {' or '.join(group.files)} (patterns count from {Path(root).absolute()})")
    return paths


def open_rasters(paths: Sequence[Path], group: Group, notes: Notes) -> list[Raster]:
    """The rasters at these paths, headers only. What can't be read, and bands of classes or palettes, are left out and
    noted."""
    found = []
    for number, path in enumerate(paths):
        try:
            scene = open_scene(path, bands=group.bands or None)
        except GeosrError as error:
            notes.add("left out, can't be read", f"{path.name} ({str(error).removeprefix(str(path)).lstrip(': ')})")
            continue
        finally:
            close()
        bands = [band for band, categorical in zip(scene.bands, scene.categorical, strict=True) if not categorical]
        alpha = scene.source.alpha
        if any(categorical and band != alpha for band, categorical in zip(scene.bands, scene.categorical, strict=True)):
            notes.add("left out, bands of classes or palette entries have no detail to learn", path.name)
        if group.thin and bands:
            bands = [bands[number % len(bands)]]
        if not bands:
            continue
        if len(bands) < len(scene.bands):
            scene = open_scene(path, bands=bands)
        whole = scene.window
        part = Window(*group.window).clip(whole) if group.window else whole
        if part.size:
            found.append(Raster(scene, group, part))
        else:
            notes.add(f"left out, the window {list(group.window)} lies outside", path.name)
    return found


def read_rasters(rasters: Sequence[Raster], *, budget: float, seed: int, notes: Notes) -> list[Plane]:
    """The bands of all rasters; of a collection of more than `budget` bytes, windows at random until it is spent.

    Every file gives windows in proportion to its size, and at least one; of very many small files, only some are read.
    The same seed gives the same windows. Invalid pixels are NaN; bands of which half is one value are left out.
    """
    total = sum(raster.bytes for raster in rasters)
    random = np.random.default_rng(seed)
    share = min(1.0, budget / max(total, 1))
    if share < 1.0:
        where = f"{total / 1e6:.0f} MB in {len(rasters)} files"
        notes.add("held in memory (memory_mb), windows drawn at random", f"{budget / 1e6:.0f} MB of {where}")
    planes: list[Plane] = []
    left = budget
    for index in random.permutation(len(rasters)) if share < 1.0 else range(len(rasters)):
        raster = rasters[index]
        windows = [raster.part] if share == 1.0 else _chips(raster.part, share, random)
        read = _planes(raster, windows, notes)
        left -= sum(plane.values.nbytes for plane in read)
        planes += read
        if share < 1.0 and left <= 0:
            break
    return [plane for plane in planes if plane.contrast > 0]


def read_pixels(raster: Raster, window: Window) -> NDArray[Any]:
    """(bands, height, width) as stored where all of it is valid, else float32 with NaN where it isn't.

    Many files don't declare their fill. Of those that declare neither nodata nor a mask, 0 and the largest number of
    uint16 count as fill, outside 8-bit imagery and where no number is below 0.
    """
    scene = raster.scene
    pixels = scene.source.pixels(window)
    valid = scene.radiometry.valid(pixels)
    stored = pixels.stored
    invalid = np.zeros(stored.shape, bool) if valid is None else ~valid
    silent = scene.mask == "none" and scene.nodata is None
    if silent and stored.dtype != np.uint8 and not np.less(stored, 0).any():
        invalid |= (stored == 0) | (stored == 65535 if stored.dtype == np.uint16 else False)
    if not invalid.any():
        return stored
    return np.where(invalid, np.float32(np.nan), stored.astype(np.float32))


def load_planes(path: str | Path) -> list[Plane]:
    """Bands with detail of an archive of `scripts/prepare_planes.py`. Raises `InputError` for another file."""
    try:
        with Path(path).open("rb") as file, np.load(file) as archive:
            index = json.loads(str(archive["index"]))
            planes = [_archived(archive[str(number)], about) for number, about in enumerate(index)]
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no archive of bands (scripts/prepare_planes.py): {str(error)[:100]}") from None
    return [plane for plane in planes if plane.contrast > 0]


def is_degenerate(plane: NDArray[Any]) -> bool:
    """True where half of the band is one stored value: clipped, constant or fill, and so no truth."""
    return bool(np.unique(plane[np.isfinite(plane)], return_counts=True)[1].max(initial=0) > 0.5 * plane.size)


def _planes(raster: Raster, windows: Iterable[Window], notes: Notes) -> list[Plane]:
    try:
        pieces = {(window.row, window.col): read_pixels(raster, window) for window in windows}
    except GeosrError as error:
        notes.add("left out, can't be read", str(error))
        return []
    finally:
        close()
    planes: list[Plane] = []
    for number, band in enumerate(raster.scene.bands):
        images = {corner: piece[number] for corner, piece in pieces.items() if not is_degenerate(piece[number])}
        if not images:
            notes.add("left out, half of the band is one value", f"{raster.scene.name} band {band}")
            continue
        # One contrast for all of a band: a calm window of it is calm, and its noise no detail.
        contrast = float(np.sqrt(np.mean([contrast_of(image) ** 2 for image in images.values()])))
        step = step_of(next(iter(images.values())))
        group = raster.group
        about = group.name, raster.file, group.weight, group.snr, contrast, step
        planes += [Plane(image, *about, corner=corner) for corner, image in images.items()]
    return planes


def _chips(part: Window, share: float, random: np.random.Generator) -> list[Window]:
    """Windows of a grid over `part`, as many of them as its share and at least one, drawn at random."""
    rows, cols = (max(1, side // CHIP) for side in (part.height, part.width))
    cells = rows * cols
    count = max(1, round(share * cells))
    chosen = sorted(random.choice(cells, size=min(count, cells), replace=False).tolist())
    height, width = part.height // rows, part.width // cols
    return [Window(part.row + cell // cols * height, part.col + cell % cols * width, height, width) for cell in chosen]


def _archived(values: NDArray[Any], about: dict[str, Any]) -> Plane:
    weight, snr = float(about["weight"]), bool(about["snr"])
    return Plane(values, str(about["group"]), str(about["file"]), weight, snr, contrast_of(values), step_of(values))


def _matches(pattern: str, root: Path) -> Iterator[Path]:
    """The files that a pattern stands for; one that starts at the root of the file system counts from there."""
    path = Path(pattern)
    if path.is_absolute():
        yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    else:
        yield from root.glob(pattern)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:5]))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def renamed(planes: Iterable[Plane], group: Group) -> list[Plane]:
    """Planes of an archive keep their groups, each weighed by the recipe's weight for the archive."""
    return [replace(plane, weight=plane.weight * group.weight) for plane in planes]
