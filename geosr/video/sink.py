"""Where segments of a clip's result are kept until it is whole: a journal, and what it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

from geosr.errors import DamageError, InputError
from geosr.io.files import lock, unlock
from geosr.io.fingerprint import differs
from geosr.io.journal import Journal
from geosr.io.place import hidden, place_errors, put_in_place
from geosr.video.clip import Clip
from geosr.video.container import put_together
from geosr.video.encoder import Encoding

_SEGMENT = 1


class ClipSink:
    """A result that grows by segments in `.NAME.journal`; `finish` writes the container and gives it its name.

    Left without, it keeps what is done for a run of the same fingerprint, but where the input is damaged, or nothing is
    done. Raises `InputError` where another run is unfinished, `PlaceError` where the place can't be written.
    """

    def __init__(self, path: Path, fingerprint: dict[str, str], overwrite: bool) -> None:
        self.path = path
        self.done = 0
        """Segments that are kept."""
        self._header = json.dumps(fingerprint, sort_keys=True)
        self._opened = ExitStack()
        try:
            with place_errors(path, 0):
                self._opened.callback(unlock, lock(path))
                self._journal = self._opened.enter_context(closing(Journal(hidden(path, "journal"))))
                self._begin(overwrite)
        except BaseException:
            self._opened.close()
            raise

    def append(self, segment: bytes) -> None:
        """Keep a segment: from now on it survives a killed process."""
        with place_errors(self.path, self.done):
            self._journal.add(_SEGMENT, segment)
            self._journal.sync()
            self.done += 1

    def finish(self, clip: Clip, encoding: Encoding, tags: dict[str, str]) -> None:
        """Write the result, and give it its name."""
        whole = hidden(self.path, "partial")
        with place_errors(self.path, self.done):
            self._first()
            put_together(clip, whole, encoding, self._segments(), tags)
            put_in_place(whole, self.path, None)
            self._journal.close()
            hidden(self.path, "journal").unlink()

    def __enter__(self) -> ClipSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hidden(self.path, "partial").unlink(missing_ok=True)
        if error is not None and (isinstance(error, DamageError) or not self.done):
            self._journal.close()
            hidden(self.path, "journal").unlink(missing_ok=True)
        self._opened.close()

    def _begin(self, overwrite: bool) -> None:
        earlier = self._journal.header()
        if earlier not in (None, self._header) and not overwrite:
            assert earlier is not None
            raise InputError(differs(self.path.name, earlier, self._header))
        if earlier != self._header:
            self._journal.begin(self._header)
        self.done = sum(1 for _ in self._journal.records())
        self._journal.trim()

    def _first(self) -> None:
        self._journal.end = 0
        assert self._journal.header() == self._header

    def _segments(self) -> Iterator[bytes]:
        for record in self._journal.records():
            yield record.payload
