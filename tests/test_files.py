"""Files by offset, and the lock of a result."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest

from geosr.errors import PlaceError
from geosr.io import files
from geosr.io.files import let_go, lock, open_data, read_at, sync, unlock, write_at

LOCK = "import sys; from pathlib import Path; from geosr.io.files import lock; held = lock(Path(sys.argv[1]))"


def test_what_is_written_at_an_offset_is_read_there(tmp_path: Path) -> None:
    with open_data(tmp_path / "data") as file:
        write_at(file, b"behind", 10)
        write_at(file, memoryview(b"before"), 0)
        assert read_at(file, 6, 10) == b"behind"
        assert read_at(file, 100, 4) == b"re\0\0\0\0behind"
        assert read_at(file, 5, 100) == b""
    with open_data(tmp_path / "data") as file:  # what is there stays
        assert read_at(file, 16, 0) == b"before\0\0\0\0behind"


def test_a_write_that_the_system_takes_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hesitant(files.FileIO):
        """Takes and gives three bytes at a time."""

        def write(self, data: Any) -> int:
            return super().write(data[:3])

        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(3, size or 0)) or b""

    monkeypatch.setattr(files, "FileIO", Hesitant)
    with open_data(tmp_path / "data") as file:
        write_at(file, b"eleven byte", 2)
        assert read_at(file, 50, 0) == b"\0\0eleven byte"


def test_a_second_run_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    held = lock(tmp_path / "x.tif")
    with pytest.raises(PlaceError, match=r"another run is writing this output \(it holds \.x\.tif\.lock\)"):
        lock(tmp_path / "x.tif")
    done = subprocess.run([sys.executable, "-c", LOCK, tmp_path / "x.tif"], capture_output=True, text=True, check=False)
    assert "another run is writing" in done.stderr
    unlock(lock(tmp_path / "y.tif"))
    unlock(held)
    assert not list(tmp_path.iterdir())
    unlock(lock(tmp_path / "x.tif"))


def test_the_lock_of_a_killed_run_holds_up_nobody(tmp_path: Path) -> None:
    code = f"{LOCK}; import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.tif"], check=False)
    assert done.returncode == -signal.SIGKILL
    unlock(lock(tmp_path / "x.tif"))
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        (tmp_path / ".x.tif.lock").touch()
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    held = lock(tmp_path / "x.tif")
    assert held is None
    unlock(held)
    assert not list(tmp_path.iterdir())


def in_memory(file: int) -> int:
    """How many pages of an open file the system holds."""
    size = os.fstat(file).st_size
    held = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    with mmap.mmap(file, size, mmap.MAP_PRIVATE) as view:
        start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(view)))
        assert ctypes.CDLL(None, use_errno=True).mincore(start, ctypes.c_size_t(size), held) == 0
        del start
    return sum(page & 1 for page in held)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no such advice")
def test_what_the_disk_has_taken_does_not_stay_in_memory(tmp_path: Path) -> None:
    data = os.urandom(2**22)
    path = tmp_path / "data"
    path.write_bytes(data)
    with open_data(path) as file:
        sync(file)
        if not in_memory(file.fileno()):
            pytest.skip("this file system keeps nothing in memory")
        let_go(file, 0, len(data))
        left = in_memory(file.fileno())
    if left == len(data) // mmap.PAGESIZE:
        pytest.skip("this file system is memory")
    assert left == 0
    assert path.read_bytes() == data
