"""The files of a product, in a folder or still in its archive: nothing is unpacked, and nothing written beside it."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from geosr.errors import InputError
from geosr.io.safety import parsed_xml

_LARGEST_TEXT = 64 * 2**20
_DEEPEST = 6
"""Folders within folders that are looked into."""
_MOST = 20_000
"""Files that are listed of a folder: a product has some hundred."""
_ZIP, _TAR = (".zip",), (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Members:
    """The files of a folder, a zip or a tar, by their names in it, with / between folders."""

    root: str
    """Its absolute path."""
    sizes: dict[str, int]
    """Bytes of each, by name."""

    @property
    def is_archive(self) -> bool:
        """True for a zip or a tar."""
        return is_archive(self.root)

    def path(self, name: str) -> str:
        """GDAL's name of one of them."""
        if not self.is_archive:
            return str(Path(self.root, name))
        return f"/vsi{'zip' if self.root.lower().endswith(_ZIP) else 'tar'}/{{{self.root}}}/{name}"

    def text(self, name: str) -> bytes:
        """The bytes of one of them. Raises `InputError` where it is too long for a text, or damaged."""
        if self.sizes[name] > _LARGEST_TEXT:
            raise InputError(f"{name}: metadata of over {_LARGEST_TEXT >> 20} MiB are not read")
        try:
            return _read(self.root, name)
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{self.root}: {name} can't be read: {error}; fetch the product again") from error

    def xml(self, name: str) -> Element:
        """The root of an XML document among them. Raises `InputError` for one with entities, or not well-formed."""
        return parsed_xml(self.text(name), name)


def is_archive(path: str) -> bool:
    """True for the name of a zip or a tar."""
    return path.lower().endswith((*_ZIP, *_TAR))


def members_of(path: str | Path) -> Members:
    """The files of a local folder or archive. Raises `InputError` for an archive that is cut off or damaged."""
    root = str(Path(path).absolute())
    if not is_archive(root):
        return Members(root, dict(_in_folder(Path(root))))
    try:
        return Members(root, dict(_in_archive(root)))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        why = f"{Path(root).name}: is no whole archive, so that it seems half downloaded or damaged ({error})"
        raise InputError(f"{why}; fetch it again") from error


def _in_folder(root: Path) -> Iterator[tuple[str, int]]:
    count = 0
    for folder, inner, files in os.walk(root):
        here = Path(folder).relative_to(root)
        if len(here.parts) >= _DEEPEST:
            inner.clear()
        inner.sort()
        for name in sorted(files):
            yield (here / name).as_posix(), (Path(folder) / name).stat().st_size
            count += 1
            if count >= _MOST:
                return


def _in_archive(path: str) -> Iterator[tuple[str, int]]:
    if path.lower().endswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            yield from ((item.filename, item.file_size) for item in archive.infolist() if not item.is_dir())
    else:
        with tarfile.open(path) as tape:
            yield from ((item.name.removeprefix("./"), item.size) for item in tape if item.isfile())


def _read(root: str, name: str) -> bytes:
    if not is_archive(root):
        return Path(root, name).read_bytes()
    if root.lower().endswith(_ZIP):
        with zipfile.ZipFile(root) as archive:
            return archive.read(name)
    with tarfile.open(root) as tape:
        inside = next((item for item in tape if item.name.removeprefix("./") == name), None)
        stream = None if inside is None else tape.extractfile(inside)
        if stream is None:
            raise FileNotFoundError(name)
        with stream:
            return stream.read()
