"""Bands of a product as scenes: their values, names and sensor are what the product tells, not what a file does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from affine import Affine

from geosr.errors import InputError
from geosr.identify import known
from geosr.io.categorical import ASKED
from geosr.io.categories import Categories
from geosr.io.fused import FusedScene, fused, is_size, open_fused
from geosr.io.grid import Bounds, crs_of, geobox_of, same_grid
from geosr.io.guided import Paths
from geosr.io.marked import without_marked
from geosr.io.metadata import Metadata
from geosr.io.mosaic import mosaic
from geosr.io.remarks import remarks_on_classes, remarks_on_place
from geosr.io.scene import Scene, cropped, open_scene
from geosr.io.stack import by_grid, stacked
from geosr.io.zarr_source import is_array, open_array
from geosr.products.product import Part, Product
from geosr.products.read import read_product


def open_source(
    src: Paths,
    *,
    bands: Sequence[int | str] | None = None,
    mask: str | None = None,
    categorical: Sequence[int | str] | str | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> Scene:
    """The scene of a raster file, or of bands on one grid of a product or of several of one pass; no pixel is read.

    Options are those of `open_scene` and `scenes_of`. Raises as both do, and `InputError` for a mask of a raster that
    has none, and for bands on several grids.
    """
    options: Any = {"bounds": bounds, "aoi": aoi, "nodata": nodata, "scale_offset": scale_offset}
    product = read_product(src)
    if product is None:
        if not isinstance(src, str | Path):
            raise InputError(
                "several files go into one result with a guide, with --to, or as products of one pass; --outdir "
                "(upscale_many) makes a result of each"
            )
        if mask is not None:
            raise InputError(f"--mask {mask}: {src} is a plain raster; a product with a mask of its own is needed")
        return open_scene(src, bands=bands, categorical=categorical, **options)
    scenes = scenes_of(product, bands, mask=mask, categorical=categorical, **options)
    if len(scenes) > 1:
        apart = "; ".join(f"{', '.join(scene.names)} have {scene.transform.a:g} m" for scene in scenes)
        raise InputError(
            f"{product.name}: bands of several grids make no raster ({apart}); choose those of one with --bands, or "
            "bring all onto the finest with --to"
        )
    if bands is None and len(product.parts) > len(scenes[0].bands):
        line = f"{', '.join(scenes[0].names)} are taken, its measured bands of the finest grid; --bands names others"
        return replace(scenes[0], warnings=(*scenes[0].warnings, line))
    return scenes[0]


def open_on(src: Paths, to: float, *, mask: str | None = None, **options: Any) -> FusedScene:
    """The bands of a product, or of files, as one scene with pixels of `to` metres; options as `open_source` has them.

    Of a product all that were measured, where none are named. Raises as `open_source` and `fused`.
    """
    product = read_product(src)
    if product is not None:
        return _product_on(product, to, mask=mask, **options)
    if mask is not None:
        raise InputError(f"--mask {mask}: these are plain rasters; a product with a mask of its own is needed")
    return open_fused(src, to, **options)


def _product_on(
    product: Product,
    to: float,
    *,
    mask: str | None,
    bands: Sequence[int | str] | None = None,
    categorical: Sequence[int | str] | str | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    **values: Any,
) -> FusedScene:
    if bands is None:
        product.check_whole()
        bands = [part.key for part in product.measured]
    wanted = bands_of(product, bands, categorical, **values)
    finest = [part.key for part in product.measured if is_size(part.pixel, to)]
    guides = bands_of(product, finest, "none", **values) if finest else []
    marked = partial(masked_scene, product, mask=mask)
    made = fused(wanted, guides, to, bounds=bounds, aoi=aoi, marked=marked)
    gone = (
        [f"{', '.join(product.missing)}: listed by the metadata and not there, or cut off"] if product.missing else []
    )
    lines = dict.fromkeys((*_notes(product, values.get("scale_offset")), *gone, *made.warnings))
    return replace(made, path=product.path, name=product.name, warnings=tuple(lines))


def scenes_of(
    product: Product,
    bands: Sequence[int | str] | None = None,
    *,
    mask: str | None = None,
    categorical: Sequence[int | str] | str | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> tuple[Scene, ...]:
    """Bands of a product as one scene a grid, the finest first; no pixel is read.

    Options are those of `open_scene`; names of bands those that `Product.chosen` takes, which also says what is taken
    where none are named. `nodata` and `scale_offset` take the place of what the product tells, of its measured bands.
    With `mask` "clouds" these hold no data where the product's own mask tells of clouds and their shadows.
    Raises `InputError` as both do, and where the product doesn't tell scale and offset, or files are not as it says.
    """
    given: Any = {"bounds": bounds, "aoi": aoi, "nodata": nodata, "scale_offset": scale_offset}
    scenes = bands_of(product, bands, categorical, **given)
    notes = _notes(product, scale_offset)
    return tuple(masked_scene(product, _joined(product, group, notes), mask) for group in by_grid(scenes))


def bands_of(
    product: Product,
    bands: Sequence[int | str] | None,
    categorical: Sequence[int | str] | str | None,
    *,
    scale_offset: tuple[float, float] | None = None,
    **options: Any,
) -> list[Scene]:
    """Bands of a product as a scene each; arguments as those of `scenes_of`, which raises alike."""
    parts = product.chosen(bands)
    if scale_offset is None:
        check_settled(product, parts)
    repeated = _repeated(product, parts, categorical)
    rows = zip(parts, repeated, strict=True)
    return [scene_of(product, part, why, scale_offset=scale_offset, **options) for part, why in rows]


def check_settled(product: Product, parts: Iterable[Part]) -> None:
    """Raise `InputError` where the metadata leave open what numbers of measured bands mean."""
    if product.unsettled and not all(part.classes for part in parts):
        raise InputError(f"{product.name}: {product.unsettled}; settle it with --scale-offset SCALE,OFFSET")


def masked_scene(product: Product, scene: Scene, mask: str | None) -> Scene:
    """A scene of a product without what its masks mark. Raises `InputError` where it has none, or no such."""
    if mask is None:
        return scene
    if mask != "clouds":
        raise InputError(f"--mask {mask}: expected clouds")
    if not product.clouds:
        raise InputError(f"{product.name}: has no raster that marks clouds; leave --mask out")
    rasters = [(scene_of(product, each.part, each.part.classes), each.values, each.bits) for each in product.clouds]
    words = "; ".join(each.words for each in product.clouds)
    scene = without_marked(scene, rasters, words)
    return replace(scene, warnings=(*scene.warnings, f"no data is made of {words}"))


def _repeated(product: Product, parts: Sequence[Part], asked: Sequence[int | str] | str | None) -> list[str]:
    """Per part why its numbers are repeated: as the product tells, or as a user asks."""
    if asked is None:
        return [part.classes for part in parts]
    named = () if isinstance(asked, str) and asked.lower() == "none" else product.chosen(asked)
    return [(part.classes or ASKED) if part in named else "" for part in parts]


def scene_of(
    product: Product,
    part: Part,
    repeated: str = "",
    *,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> Scene:
    """One band as a scene; `repeated` says why its numbers are never mixed, "" where they were measured."""
    if part.pieces:
        options: Any = {"nodata": nodata, "scale_offset": scale_offset}
        pieces = [(scene_of(owner, piece, repeated, **options), owner.name) for owner, piece in part.pieces]
        return cropped(mosaic([replace(scene, name=name) for scene, name in pieces]), bounds, aoi)
    if repeated:  # options speak of what was measured
        nodata = scale_offset = None
    values = scale_offset or ((part.scale, part.offset) if part.told else None)
    told: Any = {"nodata": part.nodata if nodata is None else nodata, "scale_offset": values}
    if is_array(part.path):
        scene = open_array(part.path, **told)
    else:
        scene = open_scene(part.path, bands=[part.band], categorical=[part.band] if repeated else "none", **told)
    own = {*scene.sensor.notes, *_remarks(scene)}  # of the file alone, which the product knows better
    guess = known(product.table, part.key, f"{product.kind} metadata", part.pixel, (scene.scales[0], scene.offsets[0]))
    metadata = _placed(product, part, scene, _described(product, part, scene.metadata))
    scene = replace(
        scene,
        metadata=metadata,
        geobox=geobox_of(metadata, scene.window),
        sensor=guess.described([part.key], [repeated], [part.common]),
        files=(*scene.files, *product.files),
        warnings=tuple(line for line in scene.warnings if line not in own),
    )
    return cropped(replace(scene, warnings=(*scene.warnings, *_remarks(scene))), bounds, aoi)


def _remarks(scene: Scene) -> list[str]:
    return [*remarks_on_place(scene), *remarks_on_classes(scene)]


def _described(product: Product, part: Part, metadata: Metadata) -> Metadata:
    classes = Categories(part.names) if part.names else None
    bands = tuple(replace(band, description=part.key, categories=classes or band.categories) for band in metadata.bands)
    return replace(metadata, bands=bands).tagged(product.tags)


def _placed(product: Product, part: Part, scene: Scene, metadata: Metadata) -> Metadata:
    """The metadata with the place that the product tells where the file tells none; both have to agree."""
    if product.crs and not metadata.gcps:
        crs = crs_of(product.crs, product.name)
        codes = [None if each is None else each.to_epsg() for each in (metadata.crs, crs)]
        if None not in codes and codes[0] != codes[1]:
            raise InputError(
                f"{product.name}: {scene.name} is in EPSG:{codes[0]} and the metadata say EPSG:{codes[1]}; the product "
                "is damaged, or its files are of several"
            )
        metadata = metadata if metadata.crs is not None else replace(metadata, crs=crs)
    if part.transform is None:
        return metadata
    told = Affine(*part.transform)
    if metadata.transform.is_identity:
        return replace(metadata, transform=told)
    if not same_grid(metadata.transform, told, scene.full):
        raise InputError(
            f"{product.name}: {scene.name} lies at {_corner(metadata.transform)} and the metadata say {_corner(told)}; "
            "the product is damaged, or its files are of several"
        )
    return metadata


def _corner(transform: Affine) -> str:
    return f"{transform.c:.10g}, {transform.f:.10g} with pixels of {abs(transform.a):g}"


def _notes(product: Product, scale_offset: tuple[float, float] | None) -> tuple[str, ...]:
    """Lines on a product's values: what its metadata say, or what a user says in their place."""
    if scale_offset is None:
        return product.notes
    scale, offset = scale_offset
    return (f"scale and offset {scale:g} and {offset:g} as asked, not what the product tells; numbers stay as stored",)


def _joined(product: Product, scenes: Sequence[Scene], notes: Sequence[str]) -> Scene:
    """Bands on one grid as a scene that is called as the product is."""
    lines = dict.fromkeys((*notes, *(line for scene in scenes for line in scene.warnings)))
    return replace(stacked(scenes), path=product.path, name=product.name, warnings=tuple(lines))
