"""Where a Zarr store grows, and how it gets its name: by renaming a folder, or by its last object in a bucket."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import BaseFileLock

from geosr.errors import InputError
from geosr.io.files import lock, unlock
from geosr.io.place import check_parent, place_errors
from geosr.io.store import NOTES, Bucket, Folder, Store
from geosr.io.zarr import ROOTS


class Place(Protocol):
    """The place of one store."""

    @property
    def store(self) -> Store:
        """The store that workers write to."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    def enter(self) -> None:
        """Begin to use it. Raises `PlaceError` where another run does."""

    def begin(self) -> None:
        """Make it empty."""

    def finish(self) -> Path | str:
        """Give the store its name, which comes back; its documents are there already."""

    def leave(self) -> None:
        """Let others use it."""


@dataclass(slots=True)
class FolderPlace:
    """A folder beside the final one, under another name until it is whole."""

    path: Path
    _lock: BaseFileLock | None = field(default=None, init=False)
    _inside: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """As `Place`."""
        return self.path.name

    @property
    def store(self) -> Folder:
        """As `Place`."""
        return Folder(self._beside("partial"))

    def enter(self) -> None:
        """As `Place`."""
        with place_errors(self.path, 0):
            self._lock, self._inside = lock(self.path), True
            self.store.path.mkdir(exist_ok=True)

    def begin(self) -> None:
        """As `Place`."""
        self.store.clear()

    def finish(self) -> Path:
        """As `Place`."""
        old = self._beside("old")
        with place_errors(self.path, 0):
            shutil.rmtree(old, ignore_errors=True)
            if self.path.exists():
                self.path.rename(old)
            self.store.path.rename(self.path)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(self.path / NOTES, ignore_errors=True)
        return self.path

    def leave(self) -> None:
        """As `Place`."""
        if not self._inside:
            return
        with contextlib.suppress(OSError):
            self.store.path.rmdir()  # where nothing is kept
        unlock(self._lock)
        self._inside = False

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{what}")


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A prefix of an object store. It is no Zarr store to a reader before its last document is there."""

    url: str

    @property
    def name(self) -> str:
        """As `Place`."""
        return self.url

    @property
    def store(self) -> Bucket:
        """As `Place`."""
        return Bucket(self.url)

    def enter(self) -> None:
        """As `Place`. Two runs of the same write the same objects; of others, the later is refused."""

    def begin(self) -> None:
        """As `Place`."""
        self.store.clear()

    def finish(self) -> str:
        """As `Place`."""
        self.store.clear(NOTES)
        return self.url

    def leave(self) -> None:
        """As `Place`."""


def place_of(path: str | Path) -> FolderPlace | BucketPlace:
    """The place that a path or address names."""
    text = str(path)
    if text.startswith("file://"):
        return FolderPlace(Path(text.removeprefix("file://")).resolve())
    return BucketPlace(text.rstrip("/")) if "://" in text else FolderPlace(Path(path).resolve())


def check_zarr_destination(path: str | Path, overwrite: bool) -> Path | str:
    """The absolute path, or address, of a result. Raises `InputError` or `PlaceError` where it can't go there."""
    if str(path).startswith("/vsi"):
        raise InputError(f"{path}: Zarr stores are named by addresses such as s3://bucket/name.zarr")
    place = place_of(path)
    if isinstance(place, BucketPlace):
        _check_contents(place.store, place.url, overwrite)
        return place.url
    if place.path.exists() and not place.path.is_dir():
        raise InputError(f"{path} is a file; name another result")
    check_parent(place.path)
    _check_contents(Folder(place.path), str(path), overwrite)
    return place.path


def _check_contents(store: Store, name: str, overwrite: bool) -> None:
    there = set(store.names())
    if there & set(ROOTS):
        if not overwrite:
            raise InputError(f"{name} exists; use --overwrite to replace it, or another name")
    elif there and NOTES not in there:
        raise InputError(f"{name} holds something else than a Zarr store, which geosr won't replace; use another name")
