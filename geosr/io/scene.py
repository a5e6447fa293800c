"""A scene: what is known of a raster file at the door, checked before a pixel is computed."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geosr.errors import InputError, PlaceError
from geosr.io import safety
from geosr.io.aoi import Area, read_area
from geosr.io.environment import GdalError, is_remote, open_dataset, reading, reason
from geosr.io.metadata import Metadata, placed
from geosr.io.source import FileSource, MaskKind
from geosr.sensors import SensorGuess, identify
from geosr.window import Window

Bounds = tuple[float, float, float, float]

_SNAP = 1e-4
"""Bounds this close to a pixel's edge, in pixels, are taken to mean that edge."""
_LARGEST_TEXT = 4 * 2**20
_CLASSES = re.compile(
    r"(^|[_\W])(scl|qa\w*|fmask|cfmask|s?cloud_?mask|class(es|ification)?|labels?|(bit)?mask|flags?|land_?cover)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A raster file, or a part of it, ready to be upscaled. Pickles; holds no open file."""

    path: str
    """What GDAL calls the file."""
    name: str
    """What people call it: the last part of the path."""
    driver: str
    window: Window
    """The part of the file that is the scene."""
    full: tuple[int, int]
    """Height and width of the whole file."""
    geobox: GeoBox
    """The pixel grid of the scene; without CRS where there is none, or where control points take its place."""
    dtype: str
    bands: tuple[int, ...]
    """Bands of the file, counted from 1, in the order wanted."""
    names: tuple[str, ...]
    """What to call each band: its description, else 'band 3'."""
    nodata: tuple[float | None, ...]
    """The number for 'no data' per band, as the source reads it."""
    mask: MaskKind
    """Where validity comes from beside nodata."""
    exact: tuple[bool, ...]
    """Per band: stored numbers are repeated and never mixed (classes, palettes, alpha)."""
    block: tuple[int, int]
    """Height and width of the blocks that the file is made of."""
    interleave: str
    metadata: Metadata
    """Of the scene, at its own scale; `metadata.zoom(scale)` is the result's."""
    source: FileSource
    """Its pixels."""
    identity: dict[str, str | int]
    """What tells this input from another or a changed one."""
    sensor: SensorGuess
    files: tuple[str, ...] = ()
    """Files that it consists of, as GDAL names them; an output can't be one of them."""
    area: Area | None = None
    """Area of interest, in pixels of the scene."""
    warnings: tuple[str, ...] = ()
    """What a user should know, one line each."""

    @property
    def crs(self) -> CRS | None:
        """The source's own CRS object."""
        return self.metadata.crs

    @property
    def transform(self) -> Affine:
        """Pixel corners of the scene to coordinates."""
        return self.metadata.transform

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.window.height, self.window.width

    @property
    def scales(self) -> tuple[float, ...]:
        """Per band: value = stored number x scale + offset."""
        return self.metadata.scales

    @property
    def offsets(self) -> tuple[float, ...]:
        """Per band: value = stored number x scale + offset."""
        return self.metadata.offsets

    @property
    def writes_mask(self) -> bool:
        """Whether a result needs a mask of its own, because no band and no number of it says what is valid."""
        return self.mask in ("dataset", "bands") or (self.mask == "alpha" and self.source.alpha not in self.bands)

    def touches(self, window: Window) -> bool:
        """Whether a window meets the area of interest; True where there is none."""
        return self.area is None or self.area.touches(window)


def open_scene(
    path: str | Path,
    *,
    bands: Sequence[int | str] | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
) -> Scene:
    """Everything known of a raster file, checked; no pixel is read.

    Raises `InputError` for what can't be upscaled or asked for, `PlaceError` where a network fails.

    Parameters
    ----------
    bands
        Numbers counted from 1, or names (descriptions); all of them by default.
    bounds
        Left, bottom, right, top in the scene's CRS; snapped outwards to whole pixels.
    aoi
        A GeoJSON file; the scene is cut to the box around its polygons, and pixels off them are not wanted.
    nodata
        Takes the place of the file's number, for all bands; "none" for no such number.
    scale_offset
        Takes the place of the file's, for all bands; stored numbers are not touched by it.
    """
    real = safety.checked_path(path)
    name = _short(str(path))
    with reading(real) as complaints:
        try:
            with open_dataset(real) as dataset:
                safety.check_dataset(dataset, name)
                scene = _scene(dataset, real, name, bands)
                scene = _cropped(scene, dataset, bounds, aoi)
        except GdalError as error:
            if is_remote(real):
                raise PlaceError(f"{path}: can't be opened: {reason(error, complaints)}") from error
            raise InputError(f"{path}: is not a raster that geosr reads, or is damaged: {reason(error)}") from error
    return _with_options(scene, nodata, scale_offset)


def _scene(dataset: DatasetReader, real: str, name: str, wanted: Sequence[int | str] | None) -> Scene:
    bands = _bands(dataset, name, wanted)
    dtype = safety.common_dtype([dataset.dtypes[band - 1] for band in bands], name)
    window = Window(0, 0, dataset.height, dataset.width)
    metadata = Metadata.of(dataset, bands, window)
    names = tuple(dataset.descriptions[band - 1] or f"band {band}" for band in bands)
    exact = tuple(_is_exact(dataset, band, metadata.colors[i]) for i, band in enumerate(bands))
    mask, alpha = _mask(dataset, bands)
    nodata = tuple(_possible(dataset.nodatavals[band - 1], dtype) for band in bands)
    scene = Scene(
        path=real,
        name=name,
        driver=dataset.driver,
        window=window,
        full=dataset.shape,
        geobox=_geobox(metadata, window),
        dtype=dtype,
        bands=bands,
        names=names,
        nodata=nodata,
        mask=mask,
        exact=exact,
        block=dataset.block_shapes[0],
        interleave=str(getattr(dataset.interleaving, "value", dataset.interleaving) or "band").lower(),
        metadata=metadata,
        source=FileSource(real, bands, dtype, window, mask, alpha),
        identity=_identity(dataset, real),
        files=tuple(dataset.files) or (real,),
        sensor=_sensor(metadata, real),
    )
    scene = replace(scene, warnings=(*metadata.warnings, *scene.sensor.notes, *_remarks(dataset, scene)))
    return _one_nodata(scene)


def _sensor(metadata: Metadata, real: str) -> SensorGuess:
    spaces = [space for tags in (metadata.tags or {}, *metadata.band_tags) for space in tags.values()]
    tags = {key: value for space in spaces for key, value in space.items()}
    texts = [text or "" for text in metadata.descriptions]
    return identify(
        tags=tags, descriptions=texts, name=real, pixel_size=_pixel_size(metadata), metadata=_product_text(Path(real))
    )


def _pixel_size(metadata: Metadata) -> float | None:
    """Metres; a grid in degrees was resampled, and counts as unknown."""
    if metadata.gcps or metadata.transform.is_identity:
        return None
    factor = 1.0
    if metadata.crs is not None:
        if not metadata.crs.is_projected:
            return None
        factor = metadata.crs.linear_units_factor[1]
    return math.sqrt(abs(metadata.transform.determinant)) * factor


def _product_text(path: Path) -> str:
    """The metadata file of the Sentinel-2 product that a local file lies in, if any."""
    folders = [path.parent, *(folder for folder in list(path.parents)[1:6] if ".SAFE" in str(folder))]
    for folder in folders:
        for name in ("MTD_MSIL1C.xml", "MTD_MSIL2A.xml"):
            file = folder / name
            if file.is_file() and file.stat().st_size < _LARGEST_TEXT:
                return file.read_text(errors="replace")
    return ""


def _bands(dataset: DatasetReader, name: str, wanted: Sequence[int | str] | None) -> tuple[int, ...]:
    if wanted is None:
        return tuple(range(1, dataset.count + 1))
    bands = [_band(dataset, name, band) for band in wanted]
    if not bands:
        raise InputError(f"{name}: no band is chosen; name at least one of 1 to {dataset.count}")
    if len(set(bands)) < len(bands):
        raise InputError(f"{name}: a band is chosen twice in {', '.join(map(str, wanted))}")
    return tuple(bands)


def _band(dataset: DatasetReader, name: str, wanted: int | str) -> int:
    names = {(text or "").lower(): number for number, text in enumerate(dataset.descriptions, start=1)}
    if (number := names.get(str(wanted).lower())) and str(wanted):
        return number
    if str(wanted).lstrip("+-").isdigit():
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


def _is_exact(dataset: DatasetReader, band: int, color: ColorInterp) -> bool:
    if color in (ColorInterp.palette, ColorInterp.alpha):
        return True
    if dataset.dtypes[band - 1].startswith("float"):
        return False
    if _CLASSES.search(dataset.descriptions[band - 1] or ""):
        return True
    thematic = dataset.tags(band).get("LAYER_TYPE", "").lower() == "thematic"
    return bool(thematic or dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") == "1")


def _mask(dataset: DatasetReader, bands: tuple[int, ...]) -> tuple[MaskKind, int]:
    """Where validity comes from beside nodata, and the alpha band where it is that."""
    try:
        colors = dataset.colorinterp
    except GdalError:
        colors = ()
    if ColorInterp.alpha in colors:
        return "alpha", colors.index(ColorInterp.alpha) + 1
    flags = [dataset.mask_flag_enums[band - 1] for band in bands]
    if any(MaskFlags.per_dataset in flag for flag in flags):
        return "dataset", 0
    return ("bands", 0) if any(not flag for flag in flags) else ("none", 0)


def _possible(nodata: float | None, dtype: str) -> float | None:
    """A nodata number that pixels of this type can hold; None where none of them can equal it."""
    if nodata is None or np.dtype(dtype).kind == "f":
        return nodata
    info = np.iinfo(dtype)
    return nodata if math.isfinite(nodata) and nodata == int(nodata) and info.min <= nodata <= info.max else None


def _one_nodata(scene: Scene) -> Scene:
    """A GeoTIFF holds one nodata number: where bands differ, the source brings them to one while reading."""
    known = [value for value in scene.nodata if value is not None]
    if not known or all(_same(value, known[0]) for value in scene.nodata):
        return replace(scene, metadata=replace(scene.metadata, nodata=scene.nodata[0]))
    common = next((value for value in known if not math.isnan(value)), known[0])
    shown = ", ".join("none" if value is None else f"{value:g}" for value in dict.fromkeys(scene.nodata))
    return replace(
        scene,
        nodata=(common,) * len(scene.bands),
        metadata=replace(scene.metadata, nodata=common),
        source=replace(scene.source, nodata=scene.nodata, common=common),
        warnings=(
            *scene.warnings,
            f"bands differ in nodata ({shown}) and a GeoTIFF holds one number: the result uses {common:g} in all bands",
        ),
    )


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def _geobox(metadata: Metadata, window: Window) -> GeoBox:
    shape = window.height, window.width
    if metadata.gcps:
        return GeoBox(shape, Affine.identity(), None)
    try:
        return GeoBox(shape, metadata.transform, metadata.crs)
    except Exception:  # pyproj refuses some CRS that GDAL carries; the grid is the same without it
        return GeoBox(shape, metadata.transform, None)


def _remarks(dataset: DatasetReader, scene: Scene) -> list[str]:
    lines = [*_remarks_on_place(scene), *_remarks_on_bands(dataset, scene)]
    impossible = {value for value in dataset.nodatavals if value is not None and _possible(value, scene.dtype) is None}
    if impossible:
        lines.append(f"nodata {impossible.pop():g} can't occur in {scene.dtype} pixels and is left out")
    return lines


def _remarks_on_place(scene: Scene) -> list[str]:
    metadata = scene.metadata
    if metadata.gcps:
        return [] if metadata.gcp_crs else ["control points have no CRS; they are carried as they are"]
    if metadata.crs is None and metadata.rpcs is None:
        where = "stays without georeference" if metadata.transform.is_identity else "keeps its transform"
        return [f"no CRS: pixels are upscaled and the result {where}"]
    if metadata.crs is not None and scene.geobox.crs is None:
        return ["the CRS is carried as it is, though pyproj does not know it"]
    return []


def _remarks_on_bands(dataset: DatasetReader, scene: Scene) -> list[str]:
    lines = []
    kinds = sorted({dataset.dtypes[band - 1] for band in scene.bands})
    if len(kinds) > 1:
        lines.append(f"bands are of {', '.join(kinds)}; all are widened to {scene.dtype}")
    alpha = scene.source.alpha
    exact = [
        name for name, band, same in zip(scene.names, scene.bands, scene.exact, strict=True) if same and band != alpha
    ]
    if exact:
        lines.append(f"{', '.join(exact)}: holds classes or palette entries, which are repeated and never mixed")
    if scene.mask == "bands":
        lines.append("bands have masks of their own: a pixel that is masked in one band counts as no data in all")
    if len(scene.bands) > 1 and any(scene.metadata.colormaps):
        lines.append("a GeoTIFF holds a colour table only for a single band: it is left out")
    return lines


def _cropped(scene: Scene, dataset: DatasetReader, bounds: Bounds | None, aoi: str | Path | None) -> Scene:
    window = scene.window
    if bounds is not None:
        window = _bounds_window(scene, bounds)
    area = None
    if aoi is not None:
        area = read_area(Path(aoi), scene.crs if not scene.metadata.gcps else None, scene.transform, scene.name)
        window = window.clip(area.window)
        if not window.size:
            raise InputError(f"{Path(aoi).name}: its polygons lie outside {scene.name}{_extent(scene)}")
    if window == scene.window and area is None:
        return scene
    metadata = replace(
        Metadata.of(dataset, scene.bands, window), nodata=scene.metadata.nodata, warnings=scene.metadata.warnings
    )
    local = area.shifted(-window.row, -window.col) if area else None
    return replace(
        scene,
        window=window,
        geobox=_geobox(metadata, window),
        metadata=metadata,
        area=local,
        source=replace(scene.source, window=window, area=local),
    )


def _bounds_window(scene: Scene, bounds: Bounds) -> Window:
    left, bottom, right, top = bounds
    if not all(math.isfinite(value) for value in bounds):
        raise InputError(f"--bounds {_listed(bounds)}: four finite numbers are expected: left bottom right top")
    if scene.metadata.gcps:
        raise InputError(f"{scene.name} is placed by control points, so --bounds has no grid to cut; cut it beforehand")
    if left > right and scene.crs is not None and scene.crs.is_geographic:
        right += 360
    if left >= right or bottom >= top:
        raise InputError(
            f"--bounds {_listed(bounds)}: expected left bottom right top, with left < right and bottom < top"
        )
    window = _around(~scene.transform, [(x, y) for x in (left, right) for y in (bottom, top)]).clip(scene.window)
    if not window.size:
        raise InputError(f"--bounds {_listed(bounds)} lies outside {scene.name}{_extent(scene)}")
    return window


def _around(inverse: Affine, corners: list[tuple[float, float]]) -> Window:
    """The smallest window that holds all corners, in whole pixels."""
    cols, rows = zip(*(placed(inverse, x, y) for x, y in corners), strict=True)
    row, col = (math.floor(min(values) + _SNAP) for values in (rows, cols))
    stop_row, stop_col = (math.ceil(max(values) - _SNAP) for values in (rows, cols))
    return Window(row, col, max(1, stop_row - row), max(1, stop_col - col))


def _extent(scene: Scene) -> str:
    corners = [placed(scene.transform, x, y) for x in (0, scene.window.width) for y in (0, scene.window.height)]
    xs, ys = zip(*corners, strict=True)
    return f", which covers {_listed((min(xs), min(ys), max(xs), max(ys)))}"


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.10g}" for value in values)


def _with_options(scene: Scene, nodata: float | str | None, scale_offset: tuple[float, float] | None) -> Scene:
    if nodata is not None:
        scene = _with_nodata(scene, nodata)
    if scale_offset is not None:
        count = len(scene.bands)
        scale, offset = scale_offset
        if not (math.isfinite(scale) and math.isfinite(offset) and scale != 0):
            raise InputError(f"--scale-offset {scale:g} {offset:g}: expected two finite numbers, the first not 0")
        scene = replace(
            scene, metadata=replace(scene.metadata, scales=(float(scale),) * count, offsets=(float(offset),) * count)
        )
    return scene


def _with_nodata(scene: Scene, nodata: float | str) -> Scene:
    try:
        value = None if str(nodata).lower() == "none" else float(nodata)
    except ValueError as error:
        raise InputError(f"--nodata {nodata}: expected a number, nan or none") from error
    if value is not None and _possible(value, scene.dtype) is None:
        raise InputError(f"--nodata {value:g} can't occur in {scene.dtype} pixels of {scene.name}")
    return replace(
        scene,
        nodata=(value,) * len(scene.bands),
        metadata=replace(scene.metadata, nodata=value),
        source=replace(scene.source, nodata=(), common=None),
        warnings=tuple(line for line in scene.warnings if "nodata" not in line),
    )


def _short(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1].partition("?")[0] or path


def _identity(dataset: DatasetReader, real: str) -> dict[str, str | int]:
    """Names, sizes, times of change and a digest of both ends of every file that the dataset consists of."""
    identity: dict[str, str | int] = {"path": real, "shape": f"{dataset.count} x {dataset.height} x {dataset.width}"}
    digest = hashlib.sha256()
    for name in sorted(dataset.files)[:1000]:
        file = Path(name)
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode() + _ends(file, status.st_size))
    identity["digest"] = digest.hexdigest()
    if Path(real).is_file():
        status = Path(real).stat()
        identity |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return identity


def _ends(file: Path, size: int, length: int = 65536) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(length)
        stream.seek(max(0, size - length))
        return head + stream.read(length)
