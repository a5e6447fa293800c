"""What is refused at the door: what is no raster, files that reach beyond themselves, sizes that can't be held."""

from __future__ import annotations

import difflib
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from geosr.errors import InputError
from geosr.io.environment import gdal_path, is_remote, quietly
from geosr.io.formats import check_files, check_named
from geosr.radiometry import DTYPES

LARGEST_BLOCK = 512 * 2**20
"""Bytes that the reader may have to decode at once for a single pixel."""

_ABSURD_SIZE, _ABSURD_RATIO = 4 * 2**30, 20_000
_TAIL = 65536
_VRT_LARGEST = 64 * 2**20
_VRT_DEEPEST = 5
_IN_ORDER = "geosr reads in any order, and again; save it to a file first"


def checked_path(path: str | Path) -> tuple[str, tuple[Path, ...]]:
    """GDAL's name of an input; and where it is a VRT every file that it names, those in further VRTs too.

    Raises `InputError` for what is missing, a folder, empty, or a VRT beyond trust.
    """
    given = str(path)
    if given.lstrip().startswith("<"):
        raise InputError("a scene is named by a path; XML in its place is not read")
    if "://" in given and gdal_path(given) == given and not given.lower().startswith("vrt://"):
        raise InputError(f"{given}: geosr reads files, https://, s3://, gs:// and az://; this address is none of them")
    if given.lower().startswith("vrt://"):
        raise InputError(f"{given}: vrt:// is not read; name the file itself and use --bands and --bounds")
    real = gdal_path(given)
    if real.startswith("/vsistdin"):
        raise InputError(f"{given}: {_IN_ORDER}")
    inner = local_file(real)
    if not _is_known_to_gdal(real, bool(inner)):
        raise InputError(
            f"{given}: GDAL takes names in UTF-8; rename the file, or set PYTHONUTF8=1 where the name is UTF-8 and the "
            "locale is not"
        )
    if not inner:
        return real, ()
    _must_be_file(Path(inner))
    check_named(inner, Path(inner).name)
    named = _checked_vrt(Path(inner)) if _is_vrt(Path(inner)) else ()
    return (str(Path(inner).absolute()) if inner == real else real), named


def check_dataset(dataset: Any, name: str) -> None:
    """Raise `InputError` where an open dataset has no bands, or would not fit in bounded memory."""
    if dataset.count == 0:
        raise InputError(_no_bands(dataset, name))
    if dataset.driver == "VRT":
        _check_open_vrt(dataset, name)
    check_files(dataset, name)
    _check_end(Path(local_file(dataset.name) or dataset.name), name)
    largest = max(_block_bytes(dataset, band) for band in range(dataset.count))
    if largest > LARGEST_BLOCK:
        raise InputError(
            f"{name}: one block of the file is {largest / 2**30:.1f} GiB, and geosr decodes at most "
            f"{LARGEST_BLOCK / 2**30:.1f} GiB at once; make it tiled first: "
            "gdal_translate -co TILED=YES -co BIGTIFF=YES"
        )
    _check_size(dataset, name)


def common_dtype(dtypes: list[str], name: str) -> str:
    """The narrowest type that holds every band exactly. Raises `InputError` for complex and 64-bit integers."""
    for dtype in dict.fromkeys(dtypes):
        if dtype not in DTYPES:
            raise InputError(f"{name}: pixels of type {dtype} can't be upscaled; geosr takes {', '.join(DTYPES)}")
    widest = str(np.result_type(*dtypes))
    if widest not in DTYPES:
        raise InputError(f"{name}: no single type holds bands of {', '.join(sorted(set(dtypes)))}; choose with --bands")
    return widest


def subdataset(name: str) -> tuple[str, str] | None:
    """The file and what is meant in it, of a GDAL name such as NETCDF:"file.nc":variable; None for other names."""
    found = re.match(r'[A-Za-z0-9_]{2,}:(?:\w+:)*"?(.+?)"?(?::([^/\\]*)|://(.*))?$', name)
    return (found[1], found[2] or found[3] or "") if found else None


def local_file(real: str) -> str:
    """The local file in a GDAL name: of a subdataset or an archive too; empty where it lies elsewhere."""
    if is_remote(real) or real.startswith("/vsimem/"):
        return ""
    if named := subdataset(real):
        return named[0] if Path(named[0]).exists() else ("" if not Path(real).exists() else real)
    if archive := re.match(r"/vsi(?:zip|tar|gzip|7z|rar)/\{?(.+?\.(?:zip|tar|tgz|tar\.gz|gz|7z|rar))\}?(?:/|$)", real):
        return archive[1]
    return "" if real.startswith("/vsi") else real


def _must_be_file(path: Path) -> None:
    if path.suffix.lower() == ".zarr" and path.is_dir():
        raise InputError(f"{path}: is a Zarr store, which is read in Python: xr.open_zarr({str(path)!r})['data'].geosr")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a raster file in it{_nearby(path)}")
    if not path.exists():
        raise InputError(f"{path}: no such file{_similar(path)}")
    _must_be_seekable(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{path}: can't be opened: {error.strerror}") from error
    if empty:
        raise InputError(f"{path}: is empty (0 bytes)")


def _is_known_to_gdal(name: str, local: bool) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no text in this locale
        return False
    return not local or name.isascii() or sys.getfilesystemencoding().lower() == "utf-8"


def _must_be_seekable(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is a pipe or a device; {_IN_ORDER}")


def _similar(path: Path) -> str:
    try:
        names = [entry.name for entry in path.absolute().parent.iterdir()]
    except OSError:
        return f"; there is no folder {path.parent} either"
    close = difflib.get_close_matches(path.name, names, 3, 0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _nearby(folder: Path) -> str:
    try:
        names = sorted(
            entry.name for entry in folder.iterdir() if entry.suffix.lower() in (".tif", ".tiff", ".jp2", ".vrt")
        )
    except OSError:
        return ""
    return f", such as {names[0]}" if names else ""


def _is_vrt(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<VRTDataset" in file.read(4096)


def _checked_vrt(path: Path, depth: int = 0, seen: frozenset[Path] = frozenset()) -> tuple[Path, ...]:
    """Files that a VRT, and VRTs among them, name. Raises `InputError` for Python in it, or files not in its folder."""
    here = path.resolve()
    if here in seen or depth > _VRT_DEEPEST:
        raise InputError(f"{path.name}: VRT files that name each other, or are nested over {_VRT_DEEPEST} deep")
    if path.stat().st_size > _VRT_LARGEST:
        raise InputError(f"{path.name}: a VRT of over {_VRT_LARGEST >> 20} MiB is not read")
    files: list[Path] = []
    for source in _vrt_sources(path.read_bytes(), path.name):
        files.append(_in_folder(source, here.parent, path.name))
        _must_be_seekable(files[-1])
        if files[-1].is_file() and _is_vrt(files[-1]):
            files.extend(_checked_vrt(files[-1], depth + 1, seen | {here}))
    return tuple(dict.fromkeys(files))


class _Plain(ElementTree.TreeBuilder):
    """Builds a tree of a document without a type of its own: entities are declared nowhere else."""

    def doctype(self, name: str, *_: str | None) -> None:
        """Refuse it, in whatever encoding."""
        raise InputError("XML with a document type or entities of its own is not read")


def parsed_xml(text: bytes, name: str) -> ElementTree.Element:
    """The root of an XML document. Raises `InputError` for one with entities of its own, or not well-formed."""
    try:
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_Plain()))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{name}: is not well-formed XML: {error}") from error


def _vrt_sources(text: bytes, name: str) -> list[tuple[str, bool]]:
    """Names of files in a VRT, and whether each is relative to it."""
    sources = []
    for element in parsed_xml(text, name).iter():
        tag, content = element.tag.lower(), (element.text or "").strip()
        if tag == "pixelfunctioncode" or (tag == "pixelfunctionlanguage" and content.lower() != "c"):
            raise InputError(f"{name}: the VRT carries Python code, which is never run")
        if _names_file(tag, element.attrib, content):
            relative = {key.lower(): value for key, value in element.attrib.items()}.get("relativetovrt", "0")
            sources.append((content, relative.strip().lower() in ("1", "yes", "true", "on")))
    return sources


def _names_file(tag: str, attributes: dict[str, str], content: str) -> bool:
    if tag in ("sourcefilename", "sourcedataset", "sourcefile", "filename"):
        return True
    if tag in ("mdi", "argument", "option", "ooi"):
        key = next((value for name, value in attributes.items() if name.lower() in ("key", "name")), "").lower()
        return bool(content) and ("filename" in key or key in ("x_dataset", "y_dataset", "dem", "rpc_dem"))
    prose = ("description", "srs", "metadata", "gcplist", "sourcewkt", "targetwkt", "cutline")
    return tag not in prose and bool(re.match(r"/vsi|\w+://|<VRT", content))


def _in_folder(source: tuple[str, bool], folder: Path, name: str) -> Path:
    """The file that a VRT names. Raises `InputError` where it lies outside of the VRT's folder."""
    text, relative = source
    subdataset = re.match(
        r'(?:NETCDF|HDF5|HDF4|GTIFF_DIR|SENTINEL2_\w+|GPKG):(?:\d+:)?"?(.+?)"?(?::[^/\\]*|://.*)?$', text
    )
    plain = subdataset[1] if subdataset else text
    odd = not plain or "\0" in plain or re.match(r"/vsi|[A-Za-z0-9_]{2,}:|<", plain)
    if not odd:
        place = (folder / plain).resolve() if relative else Path(plain).resolve()
        if place.is_relative_to(folder):
            return place
    raise InputError(
        f"{name}: the VRT names {text[:120] or 'no file'}, which is not in the VRT's own folder; move the files "
        "together (relative names), or make one file of it yourself with gdal_translate"
    )


def _check_open_vrt(dataset: Any, name: str) -> None:
    """A VRT that was not read as a local text: from a network or an archive. Its sources must be relative."""
    if local_file(dataset.name) and not dataset.name.startswith("/vsi"):
        return
    text = "".join(dataset.tags(ns="xml:VRT").values())
    for source, relative in _vrt_sources(text.encode(), name):
        if not relative or ".." in source or re.match(r"/|\w+:", source):
            raise InputError(
                f"{name}: the VRT names {source[:120]}, which does not lie beside it; name that file itself"
            )


def _no_bands(dataset: Any, name: str) -> str:
    inner = list(dataset.subdatasets)
    if not inner:
        return f"{name}: holds no raster bands"
    shown = ", ".join(inner[:4]) + (f" and {len(inner) - 4} more" if len(inner) > 4 else "")
    return f"{name}: holds {len(inner)} rasters and no band of its own; name one of them as the scene, such as {shown}"


def _check_end(file: Path, name: str) -> None:
    """GDAL reads what is missing at the end of a PNG or a classic netCDF as zeros, without an error."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        kind = stream.read(4)
        stream.seek(max(0, file.stat().st_size - _TAIL))
        tail = stream.read(_TAIL)
    if kind == b"\x89PNG" and b"IEND" not in tail:
        raise InputError(f"{name}: the file is cut off: a PNG ends with IEND")
    if kind in (b"CDF\x01", b"CDF\x02"):
        _check_classic_netcdf(file, name)


def _check_classic_netcdf(file: Path, name: str) -> None:
    """Its header says where each variable lies; mapping them fails where the file is too short."""
    from scipy.io import netcdf_file  # slow to import, and few files are netCDF

    try:
        with quietly():
            netcdf_file(str(file), mmap=True).close()
    except (ValueError, TypeError, OSError, IndexError) as error:
        raise InputError(f"{name}: the file is cut off or damaged: {re.sub(chr(10), ' ', str(error))}") from error


def _block_bytes(dataset: Any, band: int) -> int:
    height, width = dataset.block_shapes[band]
    itemsize = np.dtype(dataset.dtypes[band].replace("complex_int16", "complex64")).itemsize
    together = dataset.count if str(dataset.interleaving or "").lower().endswith("pixel") else 1
    return int(height * width * itemsize * together)


def _check_size(dataset: Any, name: str) -> None:
    """A small file that declares a huge image without saying that it is sparse is damaged or a trap."""
    file = Path(dataset.name)
    declared = sum(
        dataset.height * dataset.width * np.dtype(kind).itemsize for kind in dataset.dtypes if kind in DTYPES
    )
    if dataset.driver in ("VRT", "MEM") or declared < _ABSURD_SIZE or not file.is_file():
        return
    if declared > _ABSURD_RATIO * file.stat().st_size and not _is_sparse(dataset):
        raise InputError(
            f"{name}: {file.stat().st_size} bytes declare an image of {dataset.width} x {dataset.height} pixels "
            f"({declared / 2**30:.0f} GiB); the file is damaged or a trap"
        )


def _is_sparse(dataset: Any) -> bool:
    """True where a GeoTIFF leaves its last block, or one in the middle, unwritten."""
    if dataset.driver != "GTiff":
        return False
    height, width = dataset.block_shapes[0]
    rows, cols = -(-dataset.height // height), -(-dataset.width // width)
    places = ((cols - 1, rows - 1), (cols // 2, rows // 2))
    return any(dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1) is None for x, y in places)
