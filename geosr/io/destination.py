"""The name of a result: chosen where none is given, telling its format, and never that of its input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from geosr.errors import InputError, PlaceError
from geosr.io.environment import is_remote
from geosr.io.layout import Format
from geosr.io.place import check_destination
from geosr.io.safety import subdataset
from geosr.io.zarr_place import check_zarr_destination

_TIFF = (".tif", ".tiff")
_ZARR = ".zarr"


def is_zarr(path: str | Path) -> bool:
    """True for the name of a Zarr store."""
    return str(path).rstrip("/").lower().endswith(_ZARR)


def format_of(path: str | Path | None, wish: str | None) -> Format:
    """The format of a result: as wished, in any case, else as its name says, else a COG. Raises `InputError`."""
    if wish is None:
        return "Zarr" if path is not None and is_zarr(path) else "COG"
    formats: dict[str, Format] = {name.lower(): name for name in get_args(Format)}
    if str(wish).lower() not in formats:
        raise InputError(f"format {wish!r}: expected one of {', '.join(get_args(Format))}")
    return formats[str(wish).lower()]


def default_name(src: str, called: str, format: Format = "COG") -> Path:
    """`scene_x4.tif` beside `scene.tif`, or beside the folder `scene.SAFE`; in the current one where neither is here.

    `cube_red_x4.tif` for `NETCDF:"cube.nc":red`, one of the rasters in a file.
    """
    path, part = Path(re.split(r"[?#]", src)[0]) if is_remote(src) else Path(src), ""
    if not path.is_file() and (named := subdataset(src)) and Path(named[0]).exists():
        path, part = Path(named[0]), re.sub(r"\W+", "_", f"_{named[1]}").rstrip("_")
    suffix = _ZARR if format == "Zarr" else ".tif"
    path = path.absolute() if path.is_dir() else path
    stem = path.stem.removesuffix(".SAFE")
    return (path.parent if path.exists() else Path()) / f"{stem}{part}_{called}{suffix}"


def names_in(outdir: str, sources: Sequence[str], called: str, format: Format, others: Sequence[str] = ()) -> list[str]:
    """The results of sources in a folder or bucket, and `others` beside them, which are not told.

    Raises `InputError` where two meet, or one is an input's place.
    """
    results = [_under(outdir, default_name(source, called, format).name) for source in sources]
    first: dict[str, str] = {}
    inputs = {str(Path(source).resolve()) for source in sources}
    for source, result in zip(sources, results, strict=True):
        if result in first:
            raise InputError(f"{first[result]} and {source} would both become {result}; rename one, or run them apart")
        files = [result, *(str(beside(Path(result), name)) for name in others if format != "Zarr")]
        if taken := inputs & set(files):
            raise InputError(f"{source} would become {taken.pop()}, which is an input too; use another --outdir")
        first[result] = source
    return results


def _under(outdir: str, name: str) -> str:
    return f"{outdir.rstrip('/')}/{name}" if "://" in outdir else str(Path(outdir).resolve() / name)


def make_folder(outdir: str) -> None:
    """Make the folder of results where there is none; an object store needs none. Raises `InputError`, `PlaceError`."""
    if "://" in outdir:
        return
    try:
        Path(outdir).mkdir(exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{outdir} is a file; --outdir is a folder") from error
    except OSError as error:
        raise PlaceError(f"folder {outdir} can't be made: {error.strerror}; choose another --outdir") from error


def check_name(dst: str | Path, sources: Iterable[str], format: Format = "COG") -> None:
    """Raise `InputError` unless `dst` is called as its format is and is none of the sources, however it is spelled."""
    path = Path(dst)
    if any(_same_file(path, source) for source in sources):
        raise InputError(f"{dst} is the input itself; name another result")
    if format == "Zarr" and not is_zarr(dst):
        raise InputError(f"{dst}: a Zarr store ends in .zarr; name it {path.with_suffix(_ZARR).name}")
    if format != "Zarr" and path.suffix.lower() not in _TIFF:
        raise InputError(f"{dst}: results are GeoTIFFs, or Zarr by the suffix; name it {path.with_suffix('.tif').name}")


def beside(path: Path, name: str) -> Path:
    """The path of another result of the same run: `scene_x4.sigma.tif` beside `scene_x4.tif`."""
    return path.with_name(f"{path.stem}.{name}{path.suffix}")


def check_result(dst: str | Path, format: Format, overwrite: bool) -> Path | str:
    """The absolute path of a result, or its address. Raises `InputError` or `PlaceError` where it can't go there."""
    return check_zarr_destination(dst, overwrite) if format == "Zarr" else check_destination(dst, overwrite)


def _same_file(dst: Path, source: str) -> bool:
    try:
        return dst.samefile(source)
    except OSError:
        return False
