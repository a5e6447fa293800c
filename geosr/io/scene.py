"""A scene: what is known of a raster file at the door, checked before a pixel is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from geosr.errors import InputError, PlaceError
from geosr.io import safety
from geosr.io.aoi import Area, read_area
from geosr.io.bands import asked_bands, chosen_bands, mask_kind
from geosr.io.environment import GdalError, current_options, is_remote, open_dataset, reading, reason
from geosr.io.formats import stranger
from geosr.io.grid import Bounds, bounds_window, geobox_of
from geosr.io.identity import identity, short_name
from geosr.io.metadata import Metadata
from geosr.io.nodata import numbers_of, possible_nodata, with_one_nodata
from geosr.io.remarks import remarks_on_bands, remarks_on_place
from geosr.io.sensor import sensor_of
from geosr.io.source import FileSource, MaskKind, SceneSource
from geosr.radiometry import Radiometry, widened
from geosr.sensors import SensorGuess
from geosr.window import Window

_NODATA_VALUES = "NODATA_VALUES"
"""The tag by which GDAL knows a number in each band that stand for 'no data' together."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A raster file, or a part of it, ready to be upscaled. Pickles; holds no open file."""

    path: str
    """What GDAL calls the file; of a product the folder or archive that it is."""
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
    mask: MaskKind
    """Where validity comes from beside nodata."""
    block: tuple[int, int]
    """Height and width of the blocks that the file is made of."""
    interleave: str
    metadata: Metadata
    """Of the scene, at its own scale; `metadata.zoom(scale)` is the result's."""
    source: SceneSource
    """Its pixels."""
    identity: dict[str, str | int]
    """What tells this input from another or a changed one."""
    sensor: SensorGuess
    """With all that is known of each band; one without a description is called 'band 3'."""
    files: tuple[str, ...] = ()
    """Files that it consists of, as GDAL names them; an output can't be one of them."""
    area: Area | None = None
    """Area of interest, in pixels of the scene."""
    warnings: tuple[str, ...] = ()
    """What a user should know, one line each."""
    marked: str = ""
    """What its source makes no data because a mask beside it says so, in words; "" where there is none."""

    @property
    def crs(self) -> CRS | None:
        """The source's own CRS object."""
        return self.metadata.crs

    @property
    def transform(self) -> Affine:
        """Pixel corners of the scene to coordinates."""
        return self.metadata.transform

    @property
    def names(self) -> tuple[str, ...]:
        """Of each band."""
        return tuple(band.name for band in self.sensor.bands)

    @property
    def categorical(self) -> tuple[bool, ...]:
        """Per band: stored numbers are repeated and never mixed."""
        return tuple(band.categorical for band in self.sensor.bands)

    @property
    def nodata(self) -> float | None:
        """The number for 'no data' in all bands, as the source reads them."""
        return self.metadata.nodata

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.window.height, self.window.width

    @property
    def scales(self) -> tuple[float, ...]:
        """Per band: value = stored number x scale + offset."""
        return tuple(band.scale for band in self.metadata.bands)

    @property
    def offsets(self) -> tuple[float, ...]:
        """Per band: value = stored number x scale + offset."""
        return tuple(band.offset for band in self.metadata.bands)

    @property
    def radiometry(self) -> Radiometry:
        """Its stored numbers, as they are."""
        numbers = () if self.nodata is None else (self.nodata,)
        return Radiometry(self.dtype, self.dtype, (numbers,) * len(self.bands))

    @property
    def writes_mask(self) -> bool:
        """True where a result needs a mask of its own, because no band and no number of it says what is valid."""
        return self.mask in ("dataset", "numbers", "bands") or (
            self.mask == "alpha" and self.source.alpha not in self.bands
        )

    @property
    def has_gaps(self) -> bool:
        """True where pixels that tiles read may hold no data."""
        return self.radiometry.may_have_gaps or self.mask != "none"

    @property
    def finer(self) -> str:
        """The times that its pixels are finer than those that were measured, in words; "" where they are the same."""
        return ""

    def called(self, scale: int) -> str:
        """The end of a result's name, after the source's own."""
        return f"x{self.finer or scale}"

    @property
    def observed(self) -> Scene:
        """The scene whose pixels tell how its bands were observed: itself."""
        return self

    def stored_as(self, dtype: str | None) -> Scene:
        """The scene whose result is of another type: its nodata is the number that pixels of this one become."""
        if dtype in (None, self.dtype) or self.nodata is None:
            return self
        return replace(self, metadata=replace(self.metadata, nodata=widened(self.nodata, self.dtype)))

    def touches(self, window: Window) -> bool:
        """True where a window meets the area of interest, or there is none."""
        return self.area is None or self.area.touches(window)


def open_scene(
    path: str | Path,
    *,
    bands: Sequence[int | str] | None = None,
    categorical: Sequence[int | str] | str | None = None,
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
    categorical
        Bands whose numbers are repeated, as those of `bands`, or "none"; what the file tells by default.
    bounds
        Left, bottom, right, top in the scene's CRS; snapped outwards to whole pixels.
    aoi
        A GeoJSON file; the scene is cut to the box around its polygons, and pixels off them are not wanted.
    nodata
        Takes the place of the file's number, for all bands; "none" for no such number.
    scale_offset
        Takes the place of the file's, for all bands; stored numbers are not touched by it.
    """
    real, named = safety.checked_path(path)
    name, options = short_name(str(path)), current_options()
    with reading(real) as complaints:
        try:
            with open_dataset(real) as dataset:
                safety.check_dataset(dataset, name)
                scene = _scene(dataset, real, named, name, bands, categorical)
                scene = scene if nodata is not None else _with_told_nodata(scene, dataset)
                scene = cropped(scene, bounds, aoi)
        except GdalError as error:
            if is_remote(real):
                raise PlaceError(f"{path}: can't be opened: {reason(error, complaints)}") from error
            raise InputError(f"{path}: is not a raster that geosr reads{_why(real, error)}") from error
    scene = replace(scene, source=_source(scene, options=options))
    return with_options(scene, nodata, scale_offset)


def _source(scene: Scene, **changes: Any) -> Any:
    """The source of a scene, changed."""
    source: Any = scene.source
    return replace(source, **changes)


def _why(real: str, error: BaseException) -> str:
    left_out = stranger(safety.local_file(real))
    if left_out:
        return f": {left_out}; make a GeoTIFF of it first, with gdal_translate"
    return f", or is damaged: {reason(error)}"


def _scene(
    dataset: DatasetReader,
    real: str,
    named: tuple[Path, ...],
    name: str,
    wanted: Sequence[int | str] | None,
    classes: Sequence[int | str] | str | None,
) -> Scene:
    bands = chosen_bands(dataset.descriptions, name, wanted)
    inside = safety.local_file(real)  # of an archive GDAL names what lies in it alone
    files = tuple(sorted({*dataset.files, *map(str, named), *filter(None, [inside])})) or (real,)
    dtype = safety.common_dtype([dataset.dtypes[band - 1] for band in bands], name)
    known = identity(dataset, real, files)
    window = Window(0, 0, dataset.height, dataset.width)
    metadata = Metadata.of(dataset, bands, window)
    sensor = sensor_of(dataset, window, real, asked_bands(dataset.descriptions, name, classes))
    mask, alpha = mask_kind(dataset, bands)
    scene = Scene(
        path=real,
        name=name,
        driver=dataset.driver,
        window=window,
        full=dataset.shape,
        geobox=geobox_of(metadata, window),
        dtype=dtype,
        bands=bands,
        mask=mask,
        block=dataset.block_shapes[0],
        interleave=str(getattr(dataset.interleaving, "value", dataset.interleaving) or "band").lower(),
        metadata=metadata,
        source=FileSource(real, bands, dtype, window, mask, alpha, stamp=str(known["digest"])),
        identity=known,
        files=files,
        sensor=sensor.part([band - 1 for band in bands]),
    )
    remarks = *remarks_on_place(scene), *remarks_on_bands(dataset, scene)
    return replace(scene, warnings=(*metadata.warnings, *scene.sensor.notes, *remarks))


def _with_told_nodata(scene: Scene, dataset: DatasetReader) -> Scene:
    """The scene with the numbers that the file tells, but those that no pixel can hold."""
    impossible = {
        value for value in dataset.nodatavals if value is not None and possible_nodata(value, scene.dtype) is None
    }
    if impossible:
        line = f"nodata {impossible.pop():g} can't occur in {scene.dtype} pixels and is left out"
        scene = replace(scene, warnings=(*scene.warnings, line))
    return with_one_nodata(scene, [numbers_of(dataset, band, scene.dtype) for band in scene.bands])


def cropped(scene: Scene, bounds: Bounds | None, aoi: str | Path | None) -> Scene:
    """A whole scene cut to `bounds` and to the polygons of `aoi`, as `open_scene` has them."""
    window = scene.window
    if bounds is not None:
        window = bounds_window(bounds, scene.metadata, scene.window, scene.name)
    area = None
    if aoi is not None:
        area = read_area(Path(aoi), scene.metadata, window, scene.name)
        window = window.clip(area.window)
    if window == scene.window and area is None:
        return scene
    metadata = scene.metadata.cut(window)
    local = area.shifted(window.row, window.col) if area else None
    return replace(
        scene,
        window=window,
        geobox=geobox_of(metadata, window),
        metadata=metadata,
        area=local,
        source=_source(scene, window=window, area=local),
    )


def with_options(scene: Scene, nodata: float | str | None, scale_offset: tuple[float, float] | None) -> Scene:
    """The scene with what a user says of its numbers, as `open_scene` takes it."""
    if nodata is not None:
        scene = _with_nodata(scene, nodata)
    if scale_offset is not None:
        scale, offset = scale_offset
        if not (math.isfinite(scale) and math.isfinite(offset) and scale != 0):
            raise InputError(f"--scale-offset {scale:g} {offset:g}: expected two finite numbers, the first not 0")
        bands = tuple(replace(band, scale=float(scale), offset=float(offset)) for band in scene.metadata.bands)
        scene = replace(scene, metadata=replace(scene.metadata, bands=bands))
    return scene


def _with_nodata(scene: Scene, nodata: float | str) -> Scene:
    try:
        value = None if str(nodata).lower() == "none" else float(nodata)
    except ValueError as error:
        raise InputError(f"--nodata {nodata}: expected a number, nan or none") from error
    if value is not None and (value := possible_nodata(told := value, scene.dtype)) is None:
        raise InputError(f"--nodata {told:g} can't occur in {scene.dtype} pixels of {scene.name}")
    mask, metadata = scene.mask, replace(scene.metadata, nodata=value)
    if mask == "numbers":
        mask, metadata = "none", metadata.without(_NODATA_VALUES)
    return replace(scene, mask=mask, metadata=metadata, source=_source(scene, mask=mask))
