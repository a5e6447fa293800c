"""GDAL as geosr runs it: a small cache, patience with networks, no code from data, no swallowed errors."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.env import getenv, hasenv, set_gdal_config, setenv
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geosr.io.formats import DRIVERS

CACHE_BYTES = 24 * 2**20
"""GDAL's block cache at its least; its default, 5 % of the machine, is most of a streaming tool's footprint."""

CACHE_BYTES_MOST = 96 * 2**20
"""And at its most, for files of which one row of blocks is that large: a Sentinel-2 JPEG2000 in four bands."""

CACHE_BYTES_TOGETHER = 4 * CACHE_BYTES_MOST
"""And for files that are read side by side."""

_SCHEMES = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "ftp": "/vsicurl/ftp://"}
_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiadls/", "oss": "/vsioss/"}
_REMOTE = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsiwebhdfs", "/vsihdfs")

_ALWAYS = {"GDAL_VRT_ENABLE_PYTHON": "NO"}
_OVER_NETWORK = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "8",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    # Without it GDAL lists the folder and asks for each sidecar; a local file needs its sidecars, so only here.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # What was once missing or read must not be believed for the rest of a long session.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
    "VSI_CACHE": "YES",
    "VSI_CACHE_SIZE": str(8 * 2**20),
}
_OF_THIS_MACHINE = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
_CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
"""Options that `rasterio.Env` takes from its session only."""


def gdal_path(path: str) -> str:
    """GDAL's name of a path: `https://`, `s3://` and the like become `/vsicurl/`, `/vsis3/`; others stay."""
    scheme, found, rest = path.partition("://")
    scheme = scheme.lower()
    if not found:
        return path
    if scheme == "file":
        return rest
    if scheme in _SCHEMES:
        return _SCHEMES[scheme] + rest
    return _STORES[scheme] + rest if scheme in _STORES else path


def is_remote(path: str) -> bool:
    """True where reading a path (as given, or as GDAL calls it) goes over a network."""
    return any(name in gdal_path(path) for name in _REMOTE)


Options = tuple[tuple[str, Any], ...]
"""GDAL's options, as a value that travels."""


def current_options() -> Options:
    """The options of the `rasterio.Env` that this thread is in, credentials included; none outside of one.

    rasterio keeps them for a thread: who reads in another, in a process or on a machine, takes them along.
    """
    given = getenv() if hasenv() else {}
    return tuple((key, value) for key, value in sorted(given.items()) if key not in _OF_THIS_MACHINE)


@contextmanager
def under(options: Options | Mapping[str, Any]) -> Iterator[None]:
    """A `rasterio.Env` with these options in this thread, inside of the one that it is in."""
    given = dict(options)
    credentials = {key: given.pop(key) for key in _CREDENTIALS & given.keys()}
    with rasterio.Env(**given):
        setenv(**credentials)
        yield


@contextmanager
def reading(path: str, options: Options = ()) -> Iterator[Complaints]:
    """GDAL set up for reading `path`, in this thread; yields what GDAL complains of meanwhile.

    `options` are those of the caller's `rasterio.Env`, where that is another thread's. They, and what the user has set
    in the process's environment, win over the network settings, never over the safe ones.
    """
    given = dict(current_options()) | dict(options)
    network = _OVER_NETWORK if is_remote(path) else {}
    defaults = {key: value for key, value in network.items() if key not in os.environ}
    with under(defaults | given | _ALWAYS), _listening(is_remote(path)) as complaints:
        _cache_at_least(CACHE_BYTES)
        yield complaints


def open_dataset(path: str) -> DatasetReader:
    """An open dataset, by one of `DRIVERS`, without a warning about a missing georeference: geosr says that itself."""
    with quietly():
        return DatasetReader(path, driver=list(DRIVERS))


def hold_a_row(dataset: DatasetReader) -> None:
    """Let GDAL's cache hold a row of a dataset's blocks, within the limits above, so that all bands take the same."""
    _cache_at_least(min(_row_of_blocks(dataset), CACHE_BYTES_MOST))


@contextmanager
def quietly() -> Iterator[None]:
    """While it lasts in any thread, no warning that a dataset has no georeference or a netCDF file is still mapped.

    Filters of warnings belong to the process: the first thread sets these and the last takes them away.
    """
    global _quiet, _filters
    with _LOCK:
        if _quiet == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            warnings.filterwarnings("ignore", "Cannot close a netcdf_file")
        _quiet += 1
    try:
        yield
    finally:
        with _LOCK:
            _quiet -= 1
            if _quiet == 0:
                _filters.__exit__(None, None, None)


class Complaints(list[str]):
    """GDAL's error messages in the order they came, whether or not rasterio raised something for them."""

    def __init__(self, remote: bool) -> None:
        super().__init__()
        self._began = time.monotonic() if remote else math.inf

    @property
    def stalled(self) -> bool:
        """True where it took so long that a server must have left GDAL waiting; GDAL itself doesn't say so."""
        return time.monotonic() - self._began >= _patience()

    @property
    def serious(self) -> str | None:
        """The first message that means wrong pixels, though the call succeeded; None where there is none."""
        return next((line for line in self if not _HARMLESS.search(line)), None)


def reason(error: BaseException, complaints: Complaints | None = None) -> str:
    """One line that says why GDAL failed: the first cause, which rasterio hides under 'Read failed'."""
    told = [line for line in complaints or () if line.strip()]
    seen: BaseException | None = error
    while seen is not None:
        if not re.search(r"see previous exception", str(seen), re.IGNORECASE):
            told.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    line = next((line for line in told if line.strip()), type(error).__name__)
    line = re.sub(r"\s+", " ", line.replace("/vsicurl/", "")).strip().rstrip(".")
    if complaints is not None and complaints.stalled:
        return f"the server stalled for {_patience():g} s or more, then: {line}; try again, or copy the file first"
    return line


_HARMLESS = re.compile(
    r"not recognized as|TIFFReadDirectory|TIFFFetch|ICC profile|PROJ|proj_|GeoTIFF|EXIF|XMP", re.IGNORECASE
)
_SPOILT = re.compile(r"premature end|corrupt|truncat|bad (huffman|zip|data)|crc error|IDAT|not enough", re.IGNORECASE)
_LOCK = threading.Lock()
_quiet = 0
"""Threads that are in `quietly`."""
_filters = warnings.catch_warnings()
"""What the filters were before the first of them."""
_LOGGER = "rasterio._env"
_listeners = 0
"""Threads that are in `_garbled_too`."""
_hooks: tuple[Any, Any] = (None, None)
_hooks_before: tuple[Any, Any] = (None, None)
"""What was called, before the first of them, for exceptions that nobody catches."""
_heard = threading.local()


class _Ear(logging.Handler):
    """Keeps GDAL's errors, and warnings that mean spoilt pixels, for the thread that caused them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what matters, for the thread that GDAL speaks in."""
        message = record.getMessage()
        if record.levelno >= logging.ERROR or (record.levelno == logging.WARNING and _SPOILT.search(message)):
            for complaints in getattr(_heard, "stack", ()):
                complaints.append(re.sub(r"^CPLE_\w+ in ", "", message))


@contextmanager
def _listening(remote: bool) -> Iterator[Complaints]:
    logger = logging.getLogger(_LOGGER)
    if not any(isinstance(handler, _Ear) for handler in logger.handlers):
        logger.addHandler(_Ear())
    stack = _heard.__dict__.setdefault("stack", [])
    complaints = Complaints(remote)
    stack.append(complaints)
    try:
        with _garbled_too():
            yield complaints
    finally:
        stack.pop()


@contextmanager
def _garbled_too() -> Iterator[None]:
    """While it lasts in any thread, messages that are no UTF-8 are logged; rasterio would print a traceback of each.

    They quote the bytes of damaged files. Hooks belong to the process: the first thread sets them, the last one takes
    them away. rasterio's Cython prints such an exception by the one, without a trace, and drops it by the other.
    """
    global _listeners, _hooks, _hooks_before
    with _LOCK:
        if _listeners == 0:
            shown, lost = _hooks_before = sys.excepthook, sys.unraisablehook
            _hooks = (
                lambda kind, error, trace: None if _is_garbled(error, trace) else shown(kind, error, trace),
                lambda unraisable: None if _was_garbled(unraisable) else lost(unraisable),
            )
            sys.excepthook, sys.unraisablehook = _hooks
        _listeners += 1
    try:
        yield
    finally:
        with _LOCK:
            _listeners -= 1
            if _listeners == 0 and (sys.excepthook, sys.unraisablehook) == _hooks:
                sys.excepthook, sys.unraisablehook = _hooks_before


def _is_garbled(error: BaseException | None, trace: Any) -> bool:
    return isinstance(error, UnicodeDecodeError) and trace is None


def _was_garbled(lost: Any) -> bool:
    """Log what rasterio couldn't decode; False for anything else that went wrong where nobody can catch it."""
    error = lost.exc_value
    if not (isinstance(error, UnicodeDecodeError) and str(lost.object).startswith("rasterio.")):
        return False
    logging.getLogger(_LOGGER).warning("%s", error.object.decode("utf-8", "replace"))
    return True


def _patience() -> float:
    """Seconds without a byte after which GDAL gives up on a server."""
    given = str(_set_by_user("GDAL_HTTP_LOW_SPEED_TIME") or _OVER_NETWORK["GDAL_HTTP_LOW_SPEED_TIME"])
    return float(given) if given.isdigit() and given != "0" else math.inf


def _set_by_user(key: str) -> Any:
    """The value in the `rasterio.Env` of this thread, or else in the process's environment; None where in neither."""
    return (getenv() if hasenv() else {}).get(key, os.environ.get(key))


def _row_of_blocks(dataset: DatasetReader) -> int:
    """Bytes of the blocks side by side over all bands; a mosaic's own blocks say nothing of those of its files."""
    if dataset.driver in ("VRT", "SENTINEL2"):
        return CACHE_BYTES_MOST
    height = max((rows for rows, _ in dataset.block_shapes), default=0)
    return int(height) * int(dataset.width) * sum(_bytes_a_pixel(dtype) for dtype in dataset.dtypes)


def _bytes_a_pixel(dtype: str) -> int:
    # GDAL's complex_int16 is no dtype of numpy's; such a band is refused later, in one line.
    return np.dtype(dtype).itemsize if dtype in np.sctypeDict else 4


_cache: dict[int, int] = {}
"""Bytes that GDAL's cache has, by process; a fork starts anew."""


def _cache_at_least(size: int) -> None:
    """GDAL's cache grows to `size` bytes and never shrinks; a limit that the user has set stays."""
    process = os.getpid()
    if _set_by_user("GDAL_CACHEMAX") is None and _cache.get(process, 0) < size:
        set_gdal_config("GDAL_CACHEMAX", size)
        _cache[process] = size


GdalError = (RasterioError, CPLE_BaseError, OSError, ValueError, TypeError, AttributeError, KeyError)
"""What reading a header or pixels of an odd file can raise."""
