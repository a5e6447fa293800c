"""Natural pairs of real products: which bands show the same, and the lists of places of `recipes/natural.toml`."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.natural import Doubles, Pair, Product, means, mixed
from geosr.io.scene import Scene, open_scene
from geosr.sensor_table import bare
from geosr.window import Window

Box = tuple[int, int, int, int]
"""Row, column, height and width, pixels."""


@dataclass(frozen=True, slots=True)
class Same:
    """Bands that show the same: a weighted sum of the coarse ones is compared with such a sum of the finer ones.

    Weights are found by least squares for each product, and are never below 0; that of a single band is 1.
    """

    coarse: tuple[str, ...]
    fine: tuple[str, ...]
    gsd: float
    """Pixel size of the coarse ones, metres."""


SAME = (
    Same(("B8A",), ("B08",), 20.0),
    Same(("B05",), ("B04", "B08"), 20.0),
    Same(("B06",), ("B04", "B08"), 20.0),
    Same(("B07",), ("B04", "B08"), 20.0),
    Same(("B01",), ("B02",), 60.0),
    Same(("B09",), ("B08",), 60.0),
    Same(("B2", "B3", "B4"), ("B8",), 30.0),
)
"""Sentinel-2's, whose red edge lies between red and infrared, and Landsat's, whose panchromatic band gathers three."""
_NATIVE = 0.1
"""Share by which a pixel may differ from the band's own."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A band as its file has it."""

    name: str
    pixels: NDArray[np.generic]
    """(height, width), stored numbers, all of them data."""
    gsd: float
    """Pixel size, metres."""
    corner: tuple[float, float]
    """Northing and easting of the file's upper left corner, metres."""
    number: int = 1
    """Of the band in its file, counted from 1."""
    at: tuple[int, int] = (0, 0)
    """Row and column of the file where these pixels start."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Bands of ground without detail, such as water."""

    product: Product
    place: str
    group: str
    kept: str
    seen: bool


def natural_pairs(root: str | Path, recipe: str | Path, sets: Sequence[str] = ()) -> list[Pair]:
    """The pairs of a list such as `recipes/natural.toml`, of some of its sets or of all.

    Sets whose files are absent are left out. Raises `InputError` for a list that can't be read, or an unknown set.
    """
    listed = _tables(recipe, "pairs", sets)
    return [pair for table in listed for product in _products(table, Path(root)) for pair in _pairs(table, *product)]


def flat_ground(root: str | Path, recipe: str | Path, sets: Sequence[str] = ()) -> list[Flat]:
    """The flat ground of such a list. Raises as `natural_pairs`."""
    found = []
    for table in _tables(recipe, "flat", sets):
        for kept, place, name, files in _products(table, Path(root)):
            layers = [layer for file in files for layer in layers_of(file, table.get("window"))]
            wanted = [layer for layer in layers if layer.name in table["bands"]]
            product = product_of(wanted, _file_name(table, name, wanted[0].gsd))
            found.append(Flat(product, place, table["name"], kept, table.get("seen", False)))
    return found


def pairs_of(
    layers: Sequence[Layer],
    name: str,
    file: str,
    *,
    offset: tuple[float, float] | None = None,
    source: Path | None = None,
) -> list[Pair]:
    """The pairs among the bands of a product: those of `SAME`, by their names.

    Parameters
    ----------
    layers
        Its bands, of any pixel sizes.
    name, file
        What to call the product, and the name of its file, in which {gsd} stands for the pixel size.
    offset
        (down, right), where the corner of finer files lies from that of the coarse one, fine pixels; by their
        georeference if None.
    source
        The file that all coarse bands are whole bands of, if there is one.
    """
    by_size: dict[float, dict[str, Layer]] = defaultdict(dict)
    for layer in layers:
        by_size[layer.gsd][bare(layer.name)] = layer
    every = {key: layer for group in by_size.values() for key, layer in group.items()}
    found = []
    for gsd, group in by_size.items():
        same = [each for each in SAME if abs(gsd / each.gsd - 1) < _NATIVE and _holds(each.coarse, group)]
        same = [each for each in same if _holds(each.fine, every) and every[bare(each.fine[0])].gsd < 0.75 * gsd]
        if same:
            names = dict.fromkeys(bare(band) for each in same for band in each.coarse)
            product = product_of([group[band] for band in names], file.replace("{gsd}", f"{gsd:.0f}"), source)
            found += [paired(product, group, every, each, name, offset) for each in same]
    return found


def paired(
    product: Product,
    coarse: Mapping[str, Layer],
    fine: Mapping[str, Layer],
    same: Same,
    name: str,
    offset: tuple[float, float] | None = None,
) -> Pair:
    """The pair of one kind; layers are named as `sensor_table.bare` does it. Parameters as of `pairs_of`."""
    first, other = coarse[bare(same.coarse[0])], fine[bare(same.fine[0])]
    ratio = round(first.gsd / other.gsd)
    if offset is None:
        offset = ((first.corner[0] - other.corner[0]) / other.gsd, (other.corner[1] - first.corner[1]) / other.gsd)
    offset = (offset[0] + other.at[0] - ratio * first.at[0], offset[1] + other.at[1] - ratio * first.at[1])
    finer = np.stack([np.asarray(fine[bare(band)].pixels, np.float64) for band in same.fine])
    weights = tuple(1.0 if band == first.name else 0.0 for band in product.bands)
    mix: tuple[float, ...] = (1.0,)
    if len(same.fine) > 1:
        target = np.asarray(first.pixels, np.float64)
        mix = _weights(np.stack([means(band, ratio) for band in finer]), target, _whole(offset, ratio))
    elif len(same.coarse) > 1:
        bands = np.asarray(product.pixels, np.float64)
        weights = _weights(bands, means(finer[0], ratio), tuple(-each for each in _whole(offset, ratio)))
    told = f"{' + '.join(same.coarse)} to {' + '.join(same.fine)}"
    return Pair(f"{name} {told}", name, product, weights, mixed(finer, mix), ratio, offset, told)


def layers_of(path: Path, window: Box | None = None) -> list[Layer]:
    """The bands of a file, or of a window of it. Raises `InputError` where pixels of it are no data."""
    scene = open_scene(path)
    names = [band_name(path, text, len(scene.names)) for text in scene.names]
    return layers_in(scene, names, Window(*window) if window else Window(0, 0, *scene.shape))


def layers_in(scene: Scene, names: Sequence[str], box: Window) -> list[Layer]:
    """The bands of a window of a scene, under these names. Raises as `layers_of`."""
    pixels = scene.source.pixels(box)
    valid = scene.radiometry.valid(pixels)
    if valid is not None and not valid.all():
        raise InputError(f"{scene.name}: pixels without data can't be judged; cut out a part that has none")
    grid, at = scene.transform, (box.row, box.col)
    bands = zip(names, pixels.stored, scene.bands, strict=True)
    return [Layer(name, own, grid.a, (grid.f, grid.c), number, at) for name, own, number in bands]


def product_of(layers: Sequence[Layer], file: str, source: Path | None = None) -> Product:
    """Bands of one size as a product; `source` is the file that all of them are whole bands of, if there is one."""
    pixels = np.stack([layer.pixels for layer in layers])
    names, numbers = (tuple(layer.name for layer in layers), tuple(layer.number for layer in layers))
    return Product(file, names, pixels, layers[0].gsd, source, numbers)


def _tables(recipe: str | Path, kind: str, sets: Sequence[str]) -> list[dict[str, Any]]:
    try:
        listed = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{recipe}: no list of natural pairs: {error}") from None
    names = [table["name"] for each in listed.values() for table in each]
    if unknown := sorted(set(sets) - set(names)):
        raise InputError(f"no set is called {unknown[0]!r}; there are {', '.join(names)}")
    return [table for table in listed.get(kind, []) if not sets or table["name"] in sets]


def _products(table: Mapping[str, Any], root: Path) -> Iterator[tuple[str, str, str, list[Path]]]:
    """Kept, place, name and files of each product of a set that is there."""
    for kept in ("fit", "judge"):
        for place, names in table.get(kept, {}).items():
            for wanted in names:
                for name in _matching(root, table["files"][0], wanted):
                    files = [path for each in table["files"] for path in sorted(root.glob(each.replace("{}", name)))]
                    if files:
                        yield kept, place, name, files


def _matching(root: Path, pattern: str, name: str) -> list[str]:
    """The names that a name with a wildcard stands for."""
    if "*" not in name:
        return [name]
    before, after = pattern.split("{}")
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob(before + name + after))
    return [path.removeprefix(before).removesuffix(after) for path in paths]


def _pairs(table: Mapping[str, Any], kept: str, place: str, name: str, files: Sequence[Path]) -> Iterator[Pair]:
    layers = [layer for file in files for layer in layers_of(file, table.get("window") if file == files[0] else None)]
    offset = tuple(table["offset"]) if "offset" in table else None
    for pair in pairs_of(layers, name, _file_name(table, name), offset=offset):
        yield replace(pair, place=place, group=table["name"], kept=kept, seen=table.get("seen", False))


def _file_name(table: Mapping[str, Any], name: str, gsd: float | None = None) -> str:
    """A name that says which sensor it was."""
    sensor = str(table["sensor"])
    whole = name if name.startswith(sensor[:2]) else f"{sensor}_{name}"
    return f"{whole}_{'{gsd}' if gsd is None else f'{gsd:.0f}'}m.tif"


def band_name(path: Path, text: str, count: int) -> str:
    """A band's own name, or what the name of a file of one band says."""
    found = re.findall(r"(?<![A-Za-z0-9])(B\d{1,2}A?)(?![A-Za-z0-9])", path.stem.replace("_", " "))
    if count > 1 or re.fullmatch(r"B\d{1,2}A?", text):
        return text
    return str(found[-1]) if found else "B8" if "PAN" in path.stem else text


def _holds(bands: Sequence[str], layers: Mapping[str, Layer]) -> bool:
    return all(bare(band) in layers for band in bands)


def _whole(offset: tuple[float, float], ratio: int) -> tuple[int, int]:
    return round(offset[0] / ratio), round(offset[1] / ratio)


def _weights(bands: Doubles, target: Doubles, lies: tuple[int, ...]) -> tuple[float, ...]:
    """Weights, at least 0, of bands (bands, h, w) whose sum comes closest to the target behind a low-pass.

    The bands' corner lies `lies` (down, right) pixels from the target's.
    """
    from scipy import ndimage, optimize  # slow to import

    down, right = lies
    height = min(target.shape[0] - max(down, 0), bands.shape[1] - max(-down, 0))
    width = min(target.shape[1] - max(right, 0), bands.shape[2] - max(-right, 0))
    cut = np.concatenate(
        [
            bands[:, max(-down, 0) :][:, :height, max(-right, 0) :][:, :, :width],
            target[None, max(down, 0) :][:, :height, max(right, 0) :][:, :, :width],
        ]
    )
    low = np.stack([ndimage.gaussian_filter(each, 1.5, mode="mirror") for each in cut]).reshape(len(cut), -1)
    low -= low.mean(1, keepdims=True)
    return tuple(map(float, optimize.nnls(low[:-1].T, low[-1])[0]))
