"""One process writes the result: encoded tiles are appended as they come, and directories are written at the end.

While a run goes on, files stand beside the destination: `.NAME.partial` for each file of the result, with the blocks in
the order in which they came, and one `.NAME.journal` that says which tiles they are. A run that was killed leaves them;
the next one with the same fingerprint goes on from there. A GTiff is the partial file with directories behind its
blocks; a COG is one copy of it in the order that a COG asks.

A result of several files, an image and what lies beside it, is there when the image has its name, which it takes last:

    tile         blocks of every file, then one record of all in the journal
    end          every file is put together and on the disk, then a record says so
    names        what they replace is set aside as `.NAME.old`, the image first; the others take their names, then the
                 image its own; what was set aside is removed

So there never is an image without what belongs to it, nor with what belongs to another. A run that was killed before
that record puts the files together again. Of one that was killed behind it, or could not give a name, what was set
aside has its names again before anything else happens, and the files are still put together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rasterio.io import DatasetWriter

from geosr.errors import DamageError, InputError
from geosr.io.categories import Categories
from geosr.io.companions import check_companion, companions
from geosr.io.destination import beside
from geosr.io.encoder import EncodedTile, Encoder
from geosr.io.files import lock, sync_folder, unlock
from geosr.io.fingerprint import differs, fingerprint_of, format_in, results_in
from geosr.io.growing import Growing, index_of, length_of, whole_of
from geosr.io.journal import Journal, Record
from geosr.io.layout import Layout
from geosr.io.output import Output
from geosr.io.place import OLD, bring_back, check_destination, hidden, place_errors, remove_result, set_aside
from geosr.io.template import Template
from geosr.tiling import Tile

_TILE, _SYNCED, _PUT_TOGETHER = 1, 2, 3
_SYNC_BYTES = 256 * 2**20
"""So often the disk is waited for: a power cut costs at most this much, a killed process nothing."""


class TiffSink:
    """A `pipeline.Sink` that writes a GeoTIFF or a COG, and others beside it.

    Use it as a context manager; `finish()` gives the result its name. Left without `finish()`, it keeps what is done
    for the next run, or removes its files where nothing is done yet or the input turned out to be damaged.

    Parameters
    ----------
    path
        The result. Must not exist, unless `overwrite`; then it is replaced when the new one is whole.
    profile
        What else GDAL is told on creation: `crs`, `transform`, `nodata` and such.
    template
        Writes all other metadata to a small dataset of the same bands and dtype that is given to it.
    categories
        What the classes of each band are called; they go into a file beside it, as GDAL has it.
    fingerprint
        JSON object that says what determines the pixels: input, model, options. A run is only resumed with the same.
    overwrite
        Also start afresh where an unfinished run with another fingerprint is in the way.
    others
        The results beside it; the encoder takes pixels of each. Those beside what is overwritten go with it.

    Raises `InputError` where the result exists or another run is unfinished, `PlaceError` where the place can't be
    written or a second run holds it.
    """

    def __init__(
        self,
        path: str | Path,
        layout: Layout,
        *,
        profile: Mapping[str, Any],
        template: Callable[[DatasetWriter], None],
        categories: Sequence[Categories | None] = (),
        fingerprint: str,
        overwrite: bool = False,
        others: Sequence[Output] = (),
    ) -> None:
        self.path = check_destination(path, overwrite)
        self.layout = layout
        self.started: Literal["fresh", "resumed", "restarted"] = "fresh"
        """How it began: with nothing, with tiles of an earlier run, or instead of one that had other settings."""
        self._files = [Growing(self.path, layout, Template.make(layout, profile, template, categories))]
        for each in others:
            told = Template.make(each.layout, each.metadata.creation_options, each.metadata.apply)
            there = check_companion(self.path, each.head.name, overwrite)
            self._files.append(Growing(there, each.layout, told))
        self._names = [each.head.name for each in others]
        self._done: set[int] = set()
        self._together = False
        """Whether an earlier run has put everything together, and only names are left to give."""
        self._opened, self._locks = ExitStack(), ExitStack()
        self._open = True
        try:
            with place_errors(self.path, 0):
                for file in self._files:
                    self._locks.callback(unlock, lock(file.path))
                self._known = fingerprint_of(fingerprint, layout, self._names)
                self._begin(self._known, overwrite)
        except BaseException:
            self._leave()
            raise

    @property
    def encoder(self) -> Encoder:
        """The encoder that workers call; pickles small."""
        return Encoder(tuple(file.layout for file in self._files))

    def done(self) -> frozenset[int]:
        """Indices of the tiles that are kept, by this run or an earlier one."""
        return frozenset(self._done)

    def append(self, tile: Tile, encoded: tuple[EncodedTile, ...]) -> None:
        """Keep a tile: from now on it survives a killed process. Raises `PlaceError`; those before it are kept."""
        with place_errors(self.path, len(self._done)):
            entries = [file.write(tile.index, each) for file, each in zip(self._files, encoded, strict=True)]
            payload = b"".join(entries)
            self._remember(payload, self._journal.add(_TILE, payload))
            for file in self._files:
                file.let_go()
            if sum(file.unsynced for file in self._files) > _SYNC_BYTES:
                self._sync()

    def finish(self) -> Path:
        """Make the overviews that are missing, write the directories, and give the result its name, which comes back.

        Tiles that were never appended read as nodata, or 0. Raises `PlaceError`; all tiles are kept then.
        """
        with place_errors(self.path, len(self._done)):
            stale = [name for name in companions(self.path) if name not in self._names]
            several = len(self._files) > 1 or bool(stale)
            if not self._together:
                for file in self._files:
                    file.put_together(self._journal)
            if several:
                self._say_together(stale)
            self._opened.close()  # not every system renames or removes what is open
            if several:
                self._exchange(stale)
            else:
                self._files[0].take_name()
            self._remove()
        self._leave()
        return self.path

    def close(self, keep: bool = True) -> None:
        """Give files and lock back; what is done stays for the next run, unless `keep` is False."""
        if not self._open:
            return
        self._opened.close()
        if not (self._done and keep):
            self._remove()
        self._leave()

    def __enter__(self) -> TiffSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keep=not isinstance(error, DamageError))

    def _begin(self, header: str, overwrite: bool) -> None:
        with ExitStack() as opened:
            self._journal = opened.enter_context(closing(Journal(hidden(self.path, "journal"))))
            earlier = self._journal.header()
            fresh = earlier != header
            last = self._last_records() if earlier is not None else {}
            if earlier is not None and _PUT_TOGETHER in last:
                self._undo(earlier, json.loads(last[_PUT_TOGETHER].payload))
            if earlier is not None and fresh:
                if not overwrite:
                    raise InputError(differs(self.path.name, earlier, header))
                self.started = "restarted"
                self._forget(earlier)
            self._together = not fresh and _PUT_TOGETHER in last and all(file.whole.exists() for file in self._files)
            if not self._together:
                self._open_files(opened, header if fresh else None, overwrite)
            if not fresh:
                self._replay(trusted=last[_SYNCED].start if _SYNCED in last else -1)
            self._opened = opened.pop_all()

    def _open_files(self, opened: ExitStack, begin: str | None, overwrite: bool) -> None:
        for file in self._files:
            check_destination(file.path, overwrite)
        if begin is not None:
            self._journal.begin(begin)
        for file in self._files:
            file.open(opened, fresh=begin is not None)

    def _last_records(self) -> dict[int, Record]:
        """The last record of each kind."""
        begin = self._journal.end
        last = {record.kind: record for record in self._journal.records()}
        self._journal.end = begin
        return last

    def _replay(self, trusted: int) -> None:
        for record in self._journal.records():
            if record.kind == _TILE:
                if not (self._together or self._holds(record.payload, check=record.start > trusted)):
                    break
                self._remember(record.payload, record.start)
            elif record.kind == _PUT_TOGETHER:
                break
        if not self._together:
            self._journal.trim()
            for file in self._files:
                file.cut()
        if self._done:
            self.started = "resumed"

    def _holds(self, payload: bytes, check: bool) -> bool:
        return all(file.holds(payload, at, check) for file, at in self._entries(payload))

    def _remember(self, payload: bytes, record: int) -> None:
        for file, at in self._entries(payload):
            file.remember(payload, at, record)
        self._done.add(index_of(payload))

    def _entries(self, payload: bytes) -> Iterator[tuple[Growing, int]]:
        """Each file, and where its entry begins in a record's payload."""
        at = 0
        for file in self._files:
            yield file, at
            at += length_of(payload, at)

    def _sync(self) -> None:
        for file in self._files:
            file.sync()
        self._journal.add(_SYNCED, b"")
        self._journal.sync()

    def _say_together(self, stale: Sequence[str]) -> None:
        sync_folder(self.path.parent)
        self._journal.add(_PUT_TOGETHER, json.dumps(stale).encode())
        self._journal.sync()

    def _exchange(self, stale: Sequence[str]) -> None:
        """Give all files their names, the image last, in place of what is there and of `stale` results beside it."""
        for name in self._names:
            check_companion(self.path, name, overwrite=True)
        replaced = self.path, *(self._beside(name) for name in (*self._names, *stale))
        try:
            for path in replaced:
                set_aside(path)
            sync_folder(self.path.parent)
            for file in (*self._files[1:], self._files[0]):
                file.take_name()
        except BaseException:
            with suppress(OSError):
                self._undo(self._known, stale)
            raise
        for path in replaced:
            remove_result(hidden(path, OLD))

    def _undo(self, earlier: str, stale: Sequence[str]) -> None:
        """Take back what a run did that was giving names, unless all have them: then what it replaced goes.

        Its files are put together still, under hidden names; what they were to replace has its own again.
        """
        format, named = format_in(earlier), [self._beside(name) for name in results_in(earlier)]
        replaced = *named, *map(self._beside, stale), self.path
        together = whole_of(self.path, format).exists()
        if self.path.exists() and not together:
            for path in replaced:
                remove_result(hidden(path, OLD))
            return
        for path in named:
            if together and path.exists() and not whole_of(path, format).exists():
                path.replace(whole_of(path, format))
        for path in replaced:
            bring_back(path)

    def _beside(self, name: str) -> Path:
        return beside(self.path, name).resolve()

    def _forget(self, earlier: str) -> None:
        """Remove what another run has left beside."""
        for name in results_in(earlier):
            for what in ("partial", "whole"):
                hidden(self._beside(name), what).unlink(missing_ok=True)

    def _remove(self) -> None:
        for file in self._files:
            file.remove()
        self._journal.path.unlink(missing_ok=True)

    def _leave(self) -> None:
        self._open = False
        self._locks.close()
