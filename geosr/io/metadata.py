"""Everything of a raster file but its pixels: what is read, how it follows the grid, and what a GeoTIFF can keep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.rpc import RPC

from geosr.io.categories import Categories, categories_of, flags_of
from geosr.io.environment import GdalError
from geosr.window import Window

Tags = dict[str, dict[str, str]]
"""Tags by namespace; the default one is ''."""

_DERIVED = re.compile(
    r"STATISTICS_|HISTO(GRAM|MIN|MAX|NUMBINS|BINVALUES|BINFUNCTION)$|OVR_RESAMPLING_ALG$"
    r"|OVERVIEWS?(_ALGORITHM|_RESAMPLING)?$|TIFFTAG_(MIN|MAX)SAMPLEVALUE$|EXIF_Pixel[XY]Dimension$"
)
"""Names of tags that told of the old pixels."""

_OLD_GRID = re.compile(
    r"(.*#)?(GeoTransform|i2m|actual_range|multiscales|(proj|spatial):(transform|shape)|tile_matrix\w*|spatial_resolution"
    r"|geospatial_(lat|lon|x|y)_resolution)$|(x|y|lat|lon|latitude|longitude)#(scale_factor|add_offset|valid_\w+)$|(min|max)_?zoom$|ZOOM_LEVEL$"
    r"|GRIB_(N[xy]|numberOfPoints|[ij]DirectionIncrement|(lat|long)itudeOf(First|Last)|D[xy]In)"
)
"""Names of tags that told of the old grid; GDAL puts the variable and "#" before those of netCDF."""

_OLD_FILE = {
    "": re.compile(r"METADATATYPE$"),
    "ENVI": re.compile(r"(lines|samples|bands|map.info|pixel.size|[xy].start|geo.points|header.offset|byte.order)$"),
}
"""By namespace, names of tags that told how the old file was laid out."""

_NOT_TAGS = re.compile(
    r"(IMAGE_STRUCTURE|TILING_SCHEME|DERIVED_SUBDATASETS|SUBDATASETS|RPC|TIFF|LocationInfo|(new_)?vrt_sources|Pixels"
    r"|xml:(VRT|ESRI|gml.*|BOX.*|.*GMLJP2.*))$",
    re.IGNORECASE,
)
"""Namespaces that describe the file and not the scene, or that are carried in another way."""

_NOT_CARRIED = {"GEOLOCATION": "geolocation arrays", "COLOR_PROFILE": "the colour profile (ICC)"}
_FALLBACK = ColorInterp.undefined


@dataclass(frozen=True, slots=True)
class BandMetadata:
    """All that travels with one band."""

    description: str | None = None
    unit: str | None = None
    scale: float = 1.0
    """A value is the stored number times this, plus the offset."""
    offset: float = 0.0
    color: ColorInterp = _FALLBACK
    colormap: dict[int, tuple[int, int, int, int]] | None = None
    categories: Categories | None = None
    """Names of classes."""
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metadata:
    """All that travels from a scene to its result beside the pixels."""

    crs: CRS | None
    """The source's own object, never rebuilt from a number."""
    transform: Affine
    """Pixel corners to coordinates; the identity where the scene is not georeferenced this way."""
    gcps: tuple[GroundControlPoint, ...] = ()
    gcp_crs: CRS | None = None
    rpcs: RPC | None = None
    bands: tuple[BandMetadata, ...] = ()
    """The chosen ones, in order."""
    nodata: float | None = None
    """The number for 'no data' of the whole file: GeoTIFF holds one."""
    tags: Tags | None = None
    warnings: tuple[str, ...] = ()
    """What of the source can't be carried, one line each."""

    @classmethod
    def of(cls, dataset: DatasetReader, bands: tuple[int, ...], window: Window) -> Metadata:
        """The metadata of a part of an open dataset, for the chosen bands (counted from 1).

        Header fields that an odd file makes unreadable become empty, with a warning.
        """
        trouble: list[str] = []
        pick = _Reader(dataset, trouble)
        nothing: tuple[list[GroundControlPoint], CRS | None] = ([], None)
        gcps, gcp_crs = pick("control points", lambda: dataset.gcps, nothing)
        rpcs = pick("RPCs", lambda: dataset.rpcs, None)
        colors = pick("colour interpretation", lambda: dataset.colorinterp, (_FALLBACK,) * dataset.count)
        crs = pick("CRS", lambda: dataset.crs, None) or None
        columns = dataset.descriptions, dataset.units, dataset.scales, dataset.offsets, colors, categories_of(dataset)
        told = list(zip(*columns, strict=True))
        tags = _tags(pick, 0, trouble)
        whole = cls(
            crs=crs,
            transform=dataset.transform,
            gcps=tuple(gcps),
            gcp_crs=gcp_crs,
            rpcs=rpcs,
            bands=tuple(_band(pick, band, told[band - 1], trouble) for band in bands),
            nodata=dataset.nodatavals[bands[0] - 1],
            tags=tags,
            warnings=tuple(dict.fromkeys(trouble)),
        )
        return whole.cut(window)

    def cut(self, window: Window) -> Metadata:
        """The same for a part of the grid."""
        return replace(
            self,
            transform=_cut(self.transform, window),
            gcps=carried_points(self.gcps, Affine.translation(-window.col, -window.row)),
            rpcs=None if self.rpcs is None else _cut_rpcs(self.rpcs, window),
        )

    def zoom(self, scale: int, provenance: Mapping[str, str] | None = None) -> Metadata:
        """The same for a grid with `scale` times as many pixels each way on the same ground.

        Transform terms are divided (but for the identity: pixels without coordinates get none), control points
        multiplied (their heights stay), RPC offsets and scales follow, resolution tags are multiplied. `provenance`
        joins the default namespace.
        """
        tags = {space: dict(items) for space, items in (self.tags or {}).items()}
        default = {key: _finer(key, value, scale) for key, value in tags.get("", {}).items()}
        trouble = []
        if self.gcps and default.get("AREA_OR_POINT") == "Point":
            default["AREA_OR_POINT"] = "Area"
            trouble.append("AREA_OR_POINT is written as Area: beside control points, Point would move them by a pixel")
        tags[""] = default | {key: str(value) for key, value in (provenance or {}).items()}
        return replace(
            self,
            transform=self.transform if self.transform.is_identity else finer_transform(self.transform, scale),
            gcps=carried_points(self.gcps, Affine.scale(scale)),
            rpcs=None if self.rpcs is None else _finer_rpcs(self.rpcs, scale),
            tags=tags,
            warnings=(*self.warnings, *trouble),
        )

    def tagged(self, more: Mapping[str, str]) -> Metadata:
        """The same with more tags of the file."""
        tags = self.tags or {}
        return replace(self, tags={**tags, "": {**tags.get("", {}), **more}})

    def without(self, tag: str) -> Metadata:
        """The same but for one of the tags of the file."""
        tags = self.tags or {}
        default = {key: value for key, value in tags.get("", {}).items() if key != tag}
        return replace(self, tags={**tags, "": default})

    @property
    def flags(self) -> dict[str, Any]:
        """Names of the classes of a single band as attributes of CF, which speak of all bands at once."""
        if len(self.bands) != 1:
            return {}
        (band,) = self.bands
        tags = (self.tags or {}).get("", {}) | band.tags.get("", {})
        return flags_of(tags) or (band.categories.flags if band.categories else {})

    @property
    def creation_options(self) -> dict[str, str]:
        """Options that a GeoTIFF wants when it is created, since they can't be set later."""
        colors = [band.color for band in self.bands]
        rgb = colors[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        options = {"photometric": "RGB" if rgb else "MINISBLACK"}
        if ColorInterp.alpha in colors:
            options["alpha"] = "YES"
        return options

    def apply(self, dst: DatasetWriter) -> None:
        """Write all of it to a new GeoTIFF, before its first pixel; the file's size is the caller's."""
        self._place(dst)
        for space, items in (self.tags or {}).items():
            _write_tags(dst, 0, space, items)
        for number, band in enumerate(self.bands, start=1):
            for space, items in band.tags.items():
                _write_tags(dst, number, space, items)
        self._describe(dst)

    def _place(self, dst: DatasetWriter) -> None:
        if self.gcps:
            dst.gcps = (list(self.gcps), self.gcp_crs or CRS())  # None is what rasterio reads and can't write
        else:
            if self.crs is not None:
                dst.crs = self.crs
            if self.transform != Affine.identity():
                dst.transform = self.transform
        if self.rpcs is not None:
            dst.rpcs = self.rpcs

    def _describe(self, dst: DatasetWriter) -> None:
        if self.nodata is not None:
            dst.nodata = self.nodata
        if any(band.scale != 1 or band.offset for band in self.bands):
            dst.scales = [band.scale for band in self.bands]
            dst.offsets = [band.offset for band in self.bands]
        for number, band in enumerate(self.bands, start=1):
            if band.description:
                dst.set_band_description(number, band.description)
            if band.unit:
                dst.set_band_unit(number, band.unit)
        dst.colorinterp = [band.color for band in self.bands]
        if len(self.bands) == 1 and self.bands[0].colormap:
            dst.write_colormap(1, self.bands[0].colormap)


T = TypeVar("T")


class _Reader:
    """Reads header fields that raise on odd files; notes what could not be read."""

    def __init__(self, dataset: DatasetReader, trouble: list[str]) -> None:
        self.dataset = dataset
        self.trouble = trouble

    def __call__(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (*GdalError, IndexError) as error:
            line = re.sub(r"\s+", " ", str(error))
            self.trouble.append(f"the {name} can't be read and will be missing from the result: {line}")
            return otherwise


def _cut(transform: Affine, window: Window) -> Affine:
    if transform.is_identity or not (window.row or window.col):
        return transform
    a, b, _, d, e, _ = transform[:6]
    x, y = placed(transform, window.col, window.row)
    return Affine(a, b, x, d, e, y)


def identity_transform() -> Affine:
    """The transform of pixels that have no coordinates."""
    return Affine(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def placed(transform: Affine, x: float, y: float) -> tuple[float, float]:
    """A point carried through a transform. (Operators of Affine differ between its versions.)"""
    a, b, c, d, e, f = transform[:6]
    return a * x + b * y + c, d * x + e * y + f


def finer_transform(transform: Affine, scale: int) -> Affine:
    """The transform of pixels that are `scale` times smaller; terms are divided, so that outer edges stay."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a / scale, b / scale, c, d / scale, e / scale, f)


def carried_points(points: Iterable[GroundControlPoint], transform: Affine) -> tuple[GroundControlPoint, ...]:
    """Control points whose columns and rows are carried through a transform of pixels to pixels."""
    found = ((point, placed(transform, point.col, point.row)) for point in points)
    return tuple(
        GroundControlPoint(row, col, point.x, point.y, point.z, point.id, point.info) for point, (col, row) in found
    )


def _cut_rpcs(rpcs: RPC, window: Window) -> RPC:
    fields = rpcs.to_dict()
    return RPC(**fields | {"line_off": rpcs.line_off - window.row, "samp_off": rpcs.samp_off - window.col})


def _finer_rpcs(rpcs: RPC, scale: int) -> RPC:
    """Offsets count from the centre of the first pixel, so the half pixel is taken along."""
    fields = rpcs.to_dict()
    for axis in ("line", "samp"):
        fields[f"{axis}_off"] = (fields[f"{axis}_off"] + 0.5) * scale - 0.5
        fields[f"{axis}_scale"] = fields[f"{axis}_scale"] * scale
    return RPC(**fields)


def _band(pick: _Reader, band: int, told: tuple[Any, ...], trouble: list[str]) -> BandMetadata:
    name, unit, scale, offset, color, classes = told
    colormap, tags = _colormap(pick.dataset, band, color), _tags(pick, band, trouble)
    return BandMetadata(name, unit, scale, offset, color, colormap, classes, tags)


def _colormap(dataset: DatasetReader, band: int, color: ColorInterp) -> dict[int, tuple[int, int, int, int]] | None:
    if color != ColorInterp.palette:  # the shades of grey of a file whose 0 is white
        return None
    try:
        return dataset.colormap(band)  # type: ignore[no-any-return]
    except GdalError:
        return None


def _tags(pick: _Reader, band: int, trouble: list[str]) -> Tags:
    """Tags of the dataset (band 0) or a band, less what the new pixels make untrue."""
    none: list[str] = []
    spaces = pick("tag namespaces", lambda: pick.dataset.tag_namespaces(band), none)
    tags: Tags = {}
    for space in ("", *(name for name in spaces if name and not _NOT_TAGS.match(name))):
        if space in _NOT_CARRIED:
            trouble.append(f"{_NOT_CARRIED[space]} can't be carried to the result")
            continue
        items = _items(pick, band, space)
        kept = {
            key: value
            for key, value in items.items()
            if not (tells_of_old_pixels(key, space) or key.startswith("GEOSR_"))
        }
        if kept:
            tags[space] = kept
    return tags


def tells_of_old_pixels(key: str, space: str = "") -> bool:
    """True where a tag of this name is untrue of new pixels: statistics, and what belongs to the old grid or file."""
    patterns = (_DERIVED, _OLD_GRID, *([_OLD_FILE[space]] if space in _OLD_FILE else []))
    return any(pattern.match(key) for pattern in patterns)


def _items(pick: _Reader, band: int, space: str) -> dict[str, str]:
    none: dict[str, str] = {}
    return pick(f"tags in {space or 'the default namespace'}", lambda: pick.dataset.tags(band, ns=space or None), none)


def _finer(key: str, value: str, scale: int) -> str:
    """Resolution tags count pixels per unit of length."""
    if key not in ("TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION"):
        return value
    try:
        return f"{float(value) * scale:.12g}"
    except ValueError:
        return value


def _write_tags(dst: Any, band: int, space: str, items: Mapping[str, str]) -> None:
    if space.startswith("xml:"):
        items = _as_pair(next(iter(items.values())))
    dst.update_tags(band, ns=space or None, **items)


def _as_pair(document: str) -> dict[str, str]:
    """An XML document as a key and a value, which are joined by '=' again when they are written."""
    if "=" not in document:
        document += "<!--=-->"
    key, _, value = document.partition("=")
    return {key: value}
