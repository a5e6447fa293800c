"""Material to judge models by, of a user's own rasters: degraded scenes, natural pairs, real pairs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.api import upscale
from geosr.errors import InputError
from geosr.evaluation.natural import Doubles, Judge, Pair, Product, Score
from geosr.evaluation.natural_pairs import Layer, Same, band_name, layers_in, paired, pairs_of, product_of
from geosr.io.plain import write_raster
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene, open_scene
from geosr.models.degradation import seen
from geosr.models.projection import seen_from
from geosr.products import read_product, scenes_of
from geosr.radiometry import fill
from geosr.response import Response
from geosr.sensor_table import bare
from geosr.window import Window

Upscale = Callable[[Product], NDArray[Any]]
"""Makes (bands, h * scale, w * scale) of a product."""


@dataclass(frozen=True)
class Judged:
    """A pair and the scores of all models on it."""

    pair: Pair
    scores: Mapping[str, Score]


def upscaler(model: Any, scale: int, **options: Any) -> Upscale:
    """A model as a user runs it: `geosr.upscale` on the product's file, which is written first where there is none."""

    def run(product: Product) -> NDArray[Any]:
        """The result's pixels (bands, height, width)."""
        with tempfile.TemporaryDirectory() as folder:
            source = product.source or written_as_file(product, Path(folder))
            bands = product.numbers if product.source else None
            result = Path(folder) / "result.tif"
            upscale(source, result, model=model, scale=scale, bands=bands, workers=1, **options)
            scene = open_scene(result)
            return scene.source.pixels(scene.window).stored

    return run


def written_as_file(product: Product, folder: Path) -> Path:
    """A GeoTIFF with the product's numbers, band names, file name and pixel size, somewhere on the ground."""
    grid = Affine(product.gsd, 0.0, 500_000.0, 0.0, -product.gsd, 5_000_000.0)
    return write_raster(folder / product.file, product.pixels, product.bands, grid, "EPSG:32632")


def judge(pairs: Iterable[Pair], upscalers: Mapping[str, Upscale], scale: int) -> tuple[list[Judged], dict[str, str]]:
    """Scores of each model on each pair, and why others were left out; a product is upscaled once for all its pairs."""
    judged: list[Judged] = []
    left_out: dict[str, str] = {}
    last: tuple[Product, dict[str, NDArray[Any]]] | None = None
    for pair in pairs:
        try:
            one = Judge(pair, scale)
        except InputError as error:
            left_out[pair.name] = str(error).removeprefix(f"{pair.name}: ")
            continue
        if one.unfit:
            left_out[pair.name] = one.unfit
            continue
        if last is None or last[0] is not pair.product:
            last = pair.product, {model: run(pair.product) for model, run in upscalers.items()}
        judged.append(Judged(pair, {model: one.score(result) for model, result in last[1].items()}))
    return judged, left_out


def scenes_in(path: str | Path) -> list[Scene]:
    """The scene of a raster, or those of a product's measured bands."""
    product = read_product(path)
    if product is None:
        return [open_scene(path)]
    return list(scenes_of(product, [part.key for part in product.parts if not part.classes and not part.aside]))


def natural_material(paths: Sequence[str | Path], left_out: dict[str, str]) -> Iterator[Pair]:
    """Pairs of bands of a product that show the same with coarser and finer pixels, in windows spread over it.

    The paths are products, or rasters of one product. What can't be judged goes to `left_out`.
    """
    scenes = [scene for path in paths for scene in scenes_in(path)]
    for coarse in scenes:
        finer = [other for other in scenes if other.transform.a < 0.75 * coarse.transform.a and other.crs == coarse.crs]
        for window in spread_windows(coarse.shape, 1) if finer else ():
            name = _named(coarse, window)
            try:
                layers = layers_in(coarse, _names(coarse), window)
                for other in finer:
                    part = _covered(coarse, window, other)
                    layers += layers_in(other, _names(other), part) if part.size else []
            except InputError as error:
                left_out[name] = str(error)
                continue
            yield from pairs_of(layers, name, f"{Path(coarse.name).stem}.tif")


def paired_material(lr: str | Path, hr: str | Path, left_out: dict[str, str]) -> Iterator[Pair]:
    """Pairs of the bands that two rasters of the same ground both have, in windows spread over the coarser one.

    Raises `InputError` where their pixels aren't multiples, or they share no band.
    """
    coarse, fine = open_scene(lr), open_scene(hr)
    ratio = coarse.transform.a / fine.transform.a
    if ratio < 1.5 or abs(ratio - round(ratio)) > 0.05 or coarse.crs != fine.crs:
        sizes = f"pixels of {coarse.transform.a:g} and {fine.transform.a:g}"
        raise InputError(
            f"{coarse.name} and {fine.name}: {sizes}; expected the second to divide the first, and one CRS"
        )
    shared = _shared(coarse, fine)
    for window in spread_windows(coarse.shape, len(shared)):
        name, part = _named(coarse, window), _covered(coarse, window, fine)
        if not part.size:
            continue
        try:
            own, other = _chosen(coarse, window, shared), _chosen(fine, part, shared)
        except InputError as error:
            left_out[name] = str(error)
            continue
        product = product_of(list(own.values()), f"{Path(coarse.name).stem}.tif")
        for key, layer in own.items():
            same = Same((layer.name,), (other[key].name,), product.gsd)
            yield paired(product, own, other, same, name)


def _chosen(scene: Scene, window: Window, keys: Sequence[str]) -> dict[str, Layer]:
    layers = {bare(layer.name): layer for layer in layers_in(scene, _names(scene), window)}
    return {key: layers[key] for key in keys}


def _shared(coarse: Scene, fine: Scene) -> list[str]:
    """Names of the bands that both have."""
    ours, theirs = ([bare(name) for name in _names(scene)] for scene in (coarse, fine))
    if shared := [key for key in ours if key in theirs]:
        return shared
    raise InputError(f"{coarse.name} and {fine.name} have no band of one name; give those that show the same one name")


def _names(scene: Scene) -> list[str]:
    """Names of bands; of a file of one band what its name says, where the band has none."""
    return [band_name(Path(scene.name), text, len(scene.names)) for text in scene.names]


def _named(scene: Scene, window: Window) -> str:
    whole = window == Window(0, 0, *scene.shape)
    return scene.name if whole else f"{scene.name}, row {window.row}, column {window.col}"


def _covered(scene: Scene, window: Window, other: Scene) -> Window:
    """The pixels of another scene that lie over a window of this one."""
    moved = ~other.transform @ scene.transform
    left, top = moved.c + moved.a * window.col, moved.f + moved.e * window.row
    right, bottom = left + moved.a * window.width, top + moved.e * window.height
    row, col = math.floor(top), math.floor(left)
    part = Window(row, col, math.ceil(bottom) - row, math.ceil(right) - col)
    return part.clip(Window(0, 0, *other.shape))


def degraded(scene: Scene, scale: int, bands: Sequence[int], mtf: Any, folder: Path) -> Path:
    """The path of what the scene's sensor would see of it with pixels `scale` times as large.

    Its grid says that its pixels are as large as the scene's, which is true of the blur of its bands. A pixel is data
    where all that it is made of is.
    """
    height, width = (side // scale for side in scene.shape)
    known = scene.sensor.given(mtf, None).bands
    responses = [known[band].response.relative(scale) for band in bands]
    nodata = scene.nodata if scene.nodata is not None or not scene.has_gaps else math.nan
    dtype = "float32" if nodata is not None and math.isnan(nodata) else scene.dtype
    coarse = np.empty((len(bands), height, width), dtype)
    for row in range(0, height, _ROWS):
        own = Window(row, 0, min(_ROWS, height - row), width)
        coarse[:, own.slices[0]] = _stored(_strip(scene, scale, bands, responses, own), nodata, coarse.dtype)
    told = {
        "nodata": nodata,
        "tags": scene.metadata.tags,
        "scales": [scene.scales[band] for band in bands],
        "offsets": [scene.offsets[band] for band in bands],
    }
    names = [scene.names[band] for band in bands]
    return write_raster(folder / f"{Path(scene.name).stem}.tif", coarse, names, scene.transform, scene.crs, **told)


def _strip(scene: Scene, scale: int, bands: Sequence[int], responses: Sequence[Response], own: Window) -> Doubles:
    """Rows of the degraded scene, NaN where they are no data."""
    around = max(seen_from(response, scale) for response in responses)
    read = own.grow(around).clip(Window(0, 0, scene.shape[0] // scale, own.width))
    pixels = scene.source.pixels(read.scale(scale))
    stored, valid = pixels.stored[list(bands)].astype(np.float64), scene.radiometry.valid(pixels)
    known = np.ones(stored.shape, bool) if valid is None else valid[list(bands)]
    filled = stored if known.all() else fill(np.where(known, stored, 0.0), known)
    whole = known.reshape(len(bands), read.height, scale, read.width, scale).all((2, 4))
    values = np.where(whole, seen(np.asarray(filled, np.float64), responses, scale), np.nan)
    return np.asarray(values[:, *own.within(read).slices])


def _stored(values: Doubles, nodata: float | None, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values as stored numbers, `nodata` where they are NaN."""
    gaps = np.isnan(values)
    if dtype.kind != "f":
        values = np.rint(values).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.where(gaps, 0.0 if nodata is None else nodata, values).astype(dtype)


_ROWS = 256
"""Rows of the degraded scene that are made at a time."""
