"""Where a Zarr store lies: a folder, or a prefix of an object store; small values that travel to workers.

Folders need nothing beside Python. Object stores go through fsspec, since it knows all of them (s3://, gs://, az://)
and finds credentials where their users keep them.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr.errors import InputError, PlaceError, one_line

NOTES = ".geosr"
"""Under this key a run keeps what it needs to go on; gone when the store is whole."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Bytes under keys such as "1/data/0.3.2", in a folder of this machine or of a file system that workers share.

    Raises `PlaceError` where the place fails.
    """

    path: Path

    def put(self, key: str, data: bytes) -> None:
        """Keep an object: whole or not at all, in place of what was there."""
        with _told(self.path):
            try:
                self._put(key, data)
            except FileNotFoundError:
                # The root is never made here: a worker that comes late must not revive a store that is finished.
                if not self.path.is_dir():
                    raise
                for folder in ((self.path / key).parent, self.path / NOTES):
                    folder.mkdir(parents=True, exist_ok=True)
                self._put(key, data)

    def get(self, key: str) -> bytes | None:
        """An object, None where there is none."""
        with _told(self.path):
            try:
                return (self.path / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def names(self, folder: str = "") -> list[str]:
        """Names of what lies right under a key."""
        there = self.path / folder
        with _told(self.path):
            return [each.name for each in there.iterdir()] if there.is_dir() else []

    def clear(self, folder: str = "") -> None:
        """Remove all that lies under a key."""
        there = self.path / folder
        with _told(self.path):
            for each in list(there.iterdir()) if there.is_dir() else []:
                _remove(each)

    def size(self) -> int:
        """Bytes of all objects."""
        return sum(each.stat().st_size for each in self.path.rglob("*") if each.is_file())

    def _put(self, key: str, data: bytes) -> None:
        spare = self.path / NOTES / f"{uuid.uuid4().hex}.spare"
        try:
            spare.write_bytes(data)
            spare.replace(self.path / key)
        except BaseException:
            with suppress(OSError):
                spare.unlink(missing_ok=True)
            raise


@dataclass(frozen=True, slots=True)
class Bucket:
    """The same, under a prefix of an object store, by its address."""

    url: str

    def put(self, key: str, data: bytes) -> None:
        """As `Folder`."""
        with _told(self.url):
            system, path = self._at(key)
            system.pipe_file(path, data)

    def get(self, key: str) -> bytes | None:
        """As `Folder`."""
        with _told(self.url):
            system, path = self._at(key)
            try:
                data: bytes = system.cat_file(path)
            except FileNotFoundError:
                return None
            return data

    def names(self, folder: str = "") -> list[str]:
        """As `Folder`."""
        with _told(self.url):
            system, path = self._at(folder)
            try:
                found = [each.rstrip("/") for each in system.ls(path, detail=False)]
            except FileNotFoundError:
                return []
            return [each.rpartition("/")[2] for each in found if each != path]

    def clear(self, folder: str = "") -> None:
        """As `Folder`."""
        with _told(self.url), suppress(FileNotFoundError):
            system, path = self._at(folder)
            system.rm(path, recursive=True)

    def size(self) -> int:
        """As `Folder`."""
        with _told(self.url):
            system, path = self._at("")
            return int(system.du(path))

    def _at(self, key: str) -> tuple[Any, str]:
        """The file system, one in a process, and what it calls an object."""
        from fsspec.core import url_to_fs

        system, root = url_to_fs(self.url, use_listings_cache=False)
        return system, f"{root.rstrip('/')}/{key}".rstrip("/")


Store = Folder | Bucket


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _told(place: Path | str) -> Iterator[None]:
    """The place's own words, as one line."""
    try:
        yield
    except (InputError, PlaceError, KeyboardInterrupt, MemoryError):
        raise
    except ImportError as error:
        raise InputError(f"{place}: {one_line(error)}; geosr[s3] brings what s3:// needs") from error
    except ValueError as error:  # fsspec's word for an address of an unknown kind
        raise InputError(f"{place}: {one_line(error)}") from error
    except Exception as error:  # clients of object stores raise errors of their own
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "no space left in" if full else "can't use"
        told = "" if full else f" ({one_line(error)})"
        raise PlaceError(f"{what} {place}{told}; tiles that are done are kept, and the same command goes on") from error
