"""Where a Zarr store grows, and how it gets its name: by renaming a folder, or by its last object in a bucket."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from geosr.errors import InputError
from geosr.io.files import lock, unlock
from geosr.io.place import check_parent, hidden, place_errors
from geosr.io.store import NOTES, Bucket, Folder, Store
from geosr.io.zarr import ROOTS


class Place:
    """The place of one store: a folder beside the final one until it is whole, or a prefix of an object store.

    Of two runs into one prefix that differ, the later is refused; two of the same write the same objects.
    """

    def __init__(self, path: str | Path) -> None:
        text = str(path).removeprefix("file://")
        self.path = None if "://" in text else Path(text).resolve()
        self.url = text.rstrip("/")
        self.store: Store = Bucket(self.url) if self.path is None else Folder(hidden(self.path, "partial"))
        """The store that workers write to."""
        self.name = self.url if self.path is None else self.path.name
        self._leave = contextlib.ExitStack()

    @property
    def whole(self) -> Store:
        """The store under its final name."""
        return self.store if self.path is None else Folder(self.path)

    def enter(self) -> None:
        """Begin to use it. Raises `PlaceError` where another run does."""
        if self.path is None:
            return
        growing = hidden(self.path, "partial")
        with place_errors(self.path, 0):
            self._leave.callback(unlock, lock(self.path))
            self._leave.callback(_remove_empty, growing)
            growing.mkdir(exist_ok=True)

    def finish(self) -> Path | str:
        """The final name, which the store gets; its documents are there already."""
        if self.path is None:
            self.store.clear(NOTES)
            return self.url
        old = hidden(self.path, "old")
        with place_errors(self.path, 0):
            shutil.rmtree(old, ignore_errors=True)
            if self.path.exists():
                self.path.rename(old)
            hidden(self.path, "partial").rename(self.path)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(self.path / NOTES, ignore_errors=True)
        return self.path

    def leave(self) -> None:
        """Let others use it."""
        self._leave.close()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()  # where nothing is kept


def check_zarr_destination(path: str | Path, overwrite: bool) -> Path | str:
    """The absolute path, or address, of a result. Raises `InputError` or `PlaceError` where it can't go there."""
    if str(path).startswith("/vsi"):
        raise InputError(f"{path}: Zarr stores are named by addresses such as s3://bucket/name.zarr")
    place = Place(path)
    if place.path is None:
        _check_contents(place.store, place.url, overwrite)
        return place.url
    if place.path.exists() and not place.path.is_dir():
        raise InputError(f"{path} is a file; name another result")
    check_parent(place.path)
    _check_contents(place.whole, str(path), overwrite)
    return place.path


def _check_contents(store: Store, name: str, overwrite: bool) -> None:
    there = set(store.names())
    if there & set(ROOTS):
        if not overwrite:
            raise InputError(f"{name} exists; use --overwrite to replace it, or another name")
    elif there and NOTES not in there:
        raise InputError(f"{name} holds something else than a Zarr store, which geosr won't replace; use another name")
