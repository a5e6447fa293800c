"""Which of GDAL's drivers are let near a file: those for pixels, not those that a file can send elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geosr.errors import InputError

_SINGLE = (
    "GTiff", "VRT", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JPEGXL", "PNG", "JPEG", "WEBP", "GIF", "BIGGIF",
    "BMP", "PNM", "SENTINEL2", "HFA", "ENVI", "EHdr", "NITF", "netCDF", "HDF5", "HDF5Image", "HDF4", "HDF4Image",
    "GRIB", "AAIGrid", "AIG", "GSAG", "GSBG", "GS7BG", "SRTMHGT", "USGSDEM", "DTED", "XYZ", "RST", "SAGA", "RMF",
    "BAG", "GPKG", "MBTiles", "RRASTER", "DOQ1", "DOQ2", "SNAP_TIFF", "MEM",
)  # fmt: skip
_MORE = (
    "PCIDSK", "KEA", "ISIS3", "ISIS2", "PDS4", "PDS", "VICAR", "FITS", "ERS", "ILWIS", "LCP", "ACE2", "AirSAR", "BLX",
    "BSB", "BT", "BYN", "CALS", "CEOS", "COSAR", "CTG", "CTable2", "DIPEx", "EIR", "ELAS", "ESAT", "FIT", "GFF",
    "GRASSASCIIGrid", "GSC", "GTX", "GXF", "HF2", "IRIS", "ISCE", "ISG", "JAXAPALSAR", "JDEM", "JPEGLS", "KRO", "L1B",
    "LAN", "Leveller", "LOSLAS", "MFF", "MSGN", "NDF", "NGSGEOID", "NOAA_B", "NSIDCbin", "NTv2", "NWT_GRC", "NWT_GRD",
    "PAux", "PCRaster", "R", "RIK", "ROI_PAC", "S102", "S104", "S111", "SAR_CEOS", "SGI", "SIGDEM", "SRP", "Terragen",
    "TGA", "XPM", "ZMap",
)  # fmt: skip
DRIVERS = (*_SINGLE, *_MORE)
"""GDAL drivers for files that hold their own pixels; not those whose small text names a server or any other file."""

_NAMES_A_SERVER = "its pixels lie on a server that the file names"
_NAMES_FILES = "it names other files, which may lie anywhere"
_DRAWN = "it is drawn, not measured"
_NOT_HERE = "this build of GDAL can't read it"
LEFT_OUT = {
    **dict.fromkeys(("WMS", "WMTS", "WCS", "EEDA", "EEDAI", "PLMOSAIC", "DAAS", "HTTP", "STACIT", "STACTA", "OGCAPI"),
                    _NAMES_A_SERVER),
    **dict.fromkeys(("GTI", "MRF", "DIMAP", "TIL", "TSX", "SAFE", "RS2", "MAP", "OZI", "PRF", "RPFTOC", "ECRGTOC",
                     "ADRG", "SNODAS", "COASP", "FAST", "GenBin", "SDTS", "MFF2", "DERIVED", "Zarr"), _NAMES_FILES),
    **dict.fromkeys(("PDF", "KMLSUPEROVERLAY", "Rasterlite", "ESRIC"), _DRAWN),
}  # fmt: skip
"""GDAL's other drivers for rasters, and why each is left out."""

_HEAD = 65536
_SIGNS = {
    "WMS": rb"<GDAL_WMS|<GDAL_TWMS", "WMTS": rb"<GDAL_WMTS|<Capabilities[^>]*opengis\.net/wmts", "WCS": rb"<WCS_GDAL",
    "STACTA": rb'"stac_extensions"', "GTI": rb"<GDALTileIndexDataset", "MRF": rb"<MRF_META",
    "DIMAP": rb"<Dimap_Document", "TIL": rb"BEGIN_GROUP\s*=\s*TILE_", "TSX": rb"<level1Product",
    "RS2": rb"<product[^>]*rs2prod", "SAFE": rb"<xfdu:XFDU", "MAP": rb"^OziExplorer Map Data",
    "RPFTOC": rb"A\.TOC", "PDF": rb"^%PDF", "KMLSUPEROVERLAY": rb"<kml", "Zarr": rb'"zarr_format"',
    "FITS": rb"^SIMPLE  =", "HDF4": rb"^\x0e\x03\x13\x01", "MrSID": rb"^msid", "ECW": rb"^e\x02\x00",
    "JPEGXL": rb"^\xff\x0a|^\x00\x00\x00\x0cJXL ", "JPEGLS": rb"^\xff\xd8\xff\xf7",
}  # fmt: skip
"""How a file of a driver that is left out, or that many builds of GDAL lack, begins or what it says early on."""


def stranger(path: str) -> str:
    """The kind of a local file that `DRIVERS` don't open, and why it is left out; empty where it isn't known."""
    head = _head(Path(path))
    driver = next((name for name, sign in _SIGNS.items() if head and re.search(sign, head)), None)
    if driver is None:
        return ""
    why = LEFT_OUT.get(driver, _NOT_HERE)
    return f"GDAL's driver for it, {driver}, is left out, since {why}" if why is not _NOT_HERE else f"{driver}: {why}"


def check_named(path: str, name: str) -> None:
    """Raise `InputError` where the header of a local file sends GDAL elsewhere for its pixels, before it is opened."""
    file = Path(path)
    for named in _named(file, _head(file)):
        if re.search(r"[/\\:<>]", named):
            raise InputError(f"{name}: its header names {named[:120]}, which does not lie beside it; {_WAY_OUT}")
        if b"<VRTDataset" in _head(file.parent / named):
            raise InputError(f"{name}: its header names {named[:120]}, which is a VRT; name that file itself")


def check_files(dataset: Any, name: str) -> None:
    """Raise `InputError` where an open dataset is made of files that don't lie beside or below it."""
    if dataset.driver not in _MORE or not Path(dataset.name).is_file():
        return
    folder = Path(dataset.name).resolve().parent
    for file in dataset.files:
        if not Path(file).resolve().is_relative_to(folder):
            raise InputError(f"{name}: its header names {file[:120]}, which does not lie beside it; {_WAY_OUT}")


_WAY_OUT = "move the files together, or make one file of them yourself with gdal_translate"
_LABELS = rb"Object\s*=\s*IsisCube|PDS_VERSION_ID|CCSD3Z|<Product_\w+|DatasetHeader\s+Begin|^\s*\[Ilwis\]"
"""What texts say that describe pixels in another file: of ISIS, PDS, PDS4, ER Mapper and ILWIS."""
_NAMING = (
    rb"(?im)^\s*(?:\^\w+|DataFile|Data|Map\d+|BaseMap)\s*=\s*\(?\s*[\"']?([^\"'\r\n,)]+)"
    rb"|<file_name>\s*([^<]*?)\s*</file_name>"
)


def _named(path: Path, head: bytes) -> Iterator[str]:
    """The files that a header says hold the pixels."""
    if re.search(_LABELS, head):
        for found in re.finditer(_NAMING, head):
            yield (found[1] or found[2] or b"").decode("utf-8", "replace").strip()
    if head.startswith(b"PCIDSK  ") and head[336:352].strip().isdigit() and head[376:384].strip().isdigit():
        start, count = (int(head[336:352]) - 1) * 512, int(head[376:384])
        with path.open("rb") as file:
            for channel in range(min(count, 65536)):
                file.seek(max(0, start) + channel * 1024 + 64)
                if named := file.read(64).decode("latin-1").strip(" \0"):
                    yield named


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
