"""A file written in one go: the same bytes with and without the system's cache, or no file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geosr.io import outflow as module
from geosr.io.outflow import outflow


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUFFER", 8192)


def write(path: Path, source: Path, pieces: list[int]) -> bytes:
    """The pieces, in turn as bytes and as a part of the file `source`; what they are comes back."""
    data = source.read_bytes()
    file = os.open(source, os.O_RDONLY)
    at = 0
    with outflow(path) as out:
        for number, size in enumerate(pieces):
            if number % 2:
                out.copy(file, at, size)
            else:
                out.put(data[at : at + size])
            at += size
        assert out.size == at
    os.close(file)
    return data[:at]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.mark.parametrize("pieces", [[], [5], [8192], [8191, 1], [4, 30_000, 4, 8192, 7], [3, 16_380, 1]])
def test_what_is_put_in_comes_out(tmp_path: Path, source: Path, pieces: list[int]) -> None:
    expected = write(tmp_path / "out", source, pieces)
    assert (tmp_path / "out").read_bytes() == expected


def refusing_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.open

    def refuse(path: Any, flags: int, *rest: Any) -> int:
        if flags & module._DIRECT:
            raise OSError(errno.EINVAL, "as a file system without direct writes")
        return plain(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)


def refusing_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = os.pwrite, []

    def refuse(file: int, data: Any, at: int) -> int:
        calls.append(at)
        if len(calls) == 2:
            raise OSError(errno.EINVAL, "as one that takes such files and can't write them")
        return plain(file, data, at)

    monkeypatch.setattr(os, "pwrite", refuse)


@pytest.mark.skipif(not module._DIRECT, reason="this system has no direct writes")
@pytest.mark.parametrize("refuse", [refusing_to_open, refusing_to_write])
def test_where_the_cache_cant_be_passed_by_the_bytes_are_the_same(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[pytest.MonkeyPatch], None]
) -> None:
    refuse(monkeypatch)
    expected = write(tmp_path / "out", source, [10, 50_000, 3])
    assert (tmp_path / "out").read_bytes() == expected


def test_no_file_is_left_where_the_disk_is_full(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write(tmp_path / "out", source, [10, 50_000, 3])
    assert not (tmp_path / "out").exists()


def test_no_file_is_left_where_the_other_one_is_too_short(tmp_path: Path, source: Path) -> None:
    with pytest.raises(EOFError, match="missing at offset"):
        write(tmp_path / "out", source, [10, 200_000])
    assert not (tmp_path / "out").exists()
