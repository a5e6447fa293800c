"""The place where a result goes: looked at before the first tile, explained when it fails, changed in one step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geosr.errors import InputError, PlaceError
from geosr.io.files import sync_folder

_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""Files that GDAL reads beside a TIFF, and believes more than the TIFF."""

OLD = "old"
"""What is `hidden` under this is to be replaced."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_destination(path: str | Path, overwrite: bool) -> Path:
    """The absolute path of a result, links followed. Raises `InputError` or `PlaceError` where it can't go there."""
    text = str(path)
    if "://" in text or text.startswith("/vsi"):
        raise InputError(f"results are written to local files, not to {text}; write it here and copy it")
    there = Path(path).resolve()
    if there.is_dir():
        raise InputError(f"{path} is a folder; name the file to write in it")
    if there.exists() and not there.is_file():
        raise InputError(f"{path} is no file that can be replaced; use another name")
    if there.exists() and not overwrite:
        raise InputError(f"{path} exists; use --overwrite to replace it, or another name")
    check_parent(there)
    return there


def check_parent(path: Path) -> None:
    """Raise `PlaceError` where there is no folder for a result, or it can't be written."""
    if not path.parent.is_dir():
        raise PlaceError(f"folder {path.parent} does not exist; create it, or choose another output")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PlaceError(f"folder {path.parent} can't be written; choose another output")


@contextmanager
def place_errors(path: Path, kept: int) -> Iterator[None]:
    """Turns what the system says into one line that says what is kept and how to go on."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise PlaceError(_explain(path, kept, error)) from error


def hidden(path: Path, what: str) -> Path:
    """The path beside a result at which a run keeps something of it: `.NAME.what`."""
    return path.with_name(f".{path.name}.{what}")


def remove_result(path: Path) -> None:
    """Remove a file and its sidecars, where there are any."""
    for suffix in ("", *_SIDECARS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Rename a file and its sidecars, where there are any, to what no reader takes for a result; the file goes last."""
    aside = hidden(path, OLD)
    for suffix in (*_SIDECARS, ""):
        _rename(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))


def bring_back(path: Path) -> None:
    """Give a file that was set aside its name again, then its sidecars theirs; what is there now without it goes."""
    aside = hidden(path, OLD)
    if not path.exists():
        remove_result(path)
    for suffix in ("", *_SIDECARS):
        _rename(aside.with_name(aside.name + suffix), path.with_name(path.name + suffix))


def _rename(path: Path, to: Path) -> None:
    if path.exists():
        path.replace(to)


def put_in_place(whole: Path, path: Path, sidecar: bytes | None) -> None:
    """Give a whole file its name, with its sidecar or none; what stood there before is replaced in one step.

    Sidecars of what stood there go first: they would override the metadata of the new file.
    """
    for suffix in _SIDECARS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if sidecar is not None:
        path.with_name(path.name + ".aux.xml").write_bytes(sidecar)
    whole.replace(path)
    sync_folder(path.parent)


def _explain(path: Path, kept: int, error: OSError | EOFError) -> str:
    on = f"; {kept} finished tiles are kept in .{path.name}.partial, run the same command to go on" if kept else ""
    if isinstance(error, EOFError):
        return f"{path.parent / f'.{path.name}.partial'} was cut short by something else ({error}); run again"
    if error.errno in _FULL:
        return f"no space left in {path.parent}{on or '; free some, or choose another output'}"
    if error.errno in _CLOSED:
        return f"folder {path.parent} can't be written ({error.strerror}){on or '; choose another output'}"
    return f"can't write {path}: {error.strerror or error}{on}"
