"""One process writes the result: encoded tiles are appended as they come, and directories are written at the end.

While a run goes on, files stand beside the destination: `.NAME.partial` for each file of the result, with the blocks in
the order in which they came, and one `.NAME.journal` that says which tiles they are. A run that was killed leaves them;
the next one with the same fingerprint goes on from there. A GTiff is the partial file with directories behind its
blocks; a COG is one copy of it in the order that a COG asks.

A result of several files, an image and what lies beside it, is there when the image has its name, which it takes last:

    tile         blocks of every file, then one record of all in the journal
    end          every file is put together and on the disk, then a record says so
    names        what stood under the image's name goes, the others take their names, the image takes its own

So there never is an image without what belongs to it, nor with what belongs to another. A run that was killed before
that record puts the files together again, and one that was killed behind it only goes on giving names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rasterio.io import DatasetWriter

from geosr.errors import DamageError, InputError
from geosr.io.categories import Categories
from geosr.io.destination import beside
from geosr.io.encoder import EncodedTile, Encoder
from geosr.io.files import lock, sync_folder, unlock
from geosr.io.fingerprint import differs, fingerprint_of, results_in
from geosr.io.growing import Growing, index_of, length_of
from geosr.io.journal import Journal, Record
from geosr.io.layout import Layout
from geosr.io.output import Output
from geosr.io.place import check_destination, hidden, place_errors, remove_result
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
        The results beside it; the encoder takes pixels of each.
    stale
        Names of results beside what is overwritten, which go with it.

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
        stale: Sequence[str] = (),
    ) -> None:
        self.path = check_destination(path, overwrite)
        self.layout = layout
        self.started: Literal["fresh", "resumed", "restarted"] = "fresh"
        """How it began: with nothing, with tiles of an earlier run, or instead of one that had other settings."""
        self._files = [Growing(self.path, layout, Template.make(layout, profile, template, categories))]
        for each in others:
            told = Template.make(each.layout, each.metadata.creation_options, each.metadata.apply)
            there = check_destination(each.path, overwrite or hidden(self.path, "journal").exists())
            self._files.append(Growing(there, each.layout, told))
        self._names = [each.head.name for each in others]
        self._stale = [name for name in stale if name not in self._names]
        self._done: set[int] = set()
        self._together = False
        """Whether an earlier run has put everything together, and only names are left to give."""
        self._opened, self._locks = ExitStack(), ExitStack()
        self._open = True
        try:
            with place_errors(self.path, 0):
                for file in self._files:
                    self._locks.callback(unlock, lock(file.path))
                self._begin(fingerprint_of(fingerprint, layout, self._names), overwrite)
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
            several = len(self._files) > 1 or bool(self._stale)
            if not self._together:
                for file in self._files:
                    file.put_together(self._journal)
                if several:
                    self._say_together()
            self._opened.close()  # not every system renames or removes what is open
            if several:
                self._clear_names()
            for file in (*self._files[1:], self._files[0]):
                if file.path == self.path or file.whole.exists():
                    file.take_name()
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
            if earlier is not None and fresh:
                if not overwrite:
                    raise InputError(differs(self.path.name, earlier, header))
                self.started = "restarted"
                self._forget(earlier)
            last = {} if fresh else self._last_records()
            self._together = _PUT_TOGETHER in last and self._are_together()
            if self._together:
                self._stale = json.loads(last[_PUT_TOGETHER].payload)
            else:
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

    def _are_together(self) -> bool:
        """True where each file is put together still, or has its name: then nothing stands under the image's."""
        main, *others = self._files
        named = [file.path.exists() and not main.path.exists() for file in others]
        return main.whole.exists() and all(file.whole.exists() or n for file, n in zip(others, named, strict=True))

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

    def _say_together(self) -> None:
        sync_folder(self.path.parent)
        self._journal.add(_PUT_TOGETHER, json.dumps(self._stale).encode())
        self._journal.sync()

    def _clear_names(self) -> None:
        """Take away what the result replaces, the image first."""
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        for name in self._stale:
            remove_result(beside(self.path, name))

    def _forget(self, earlier: str) -> None:
        """Remove what another run has left beside: of one that was giving names, those that it gave, too."""
        naming = any(record.kind == _PUT_TOGETHER for record in self._journal.records())
        for name in results_in(earlier):
            path = beside(self.path, name)
            if naming and not self.path.exists():
                remove_result(path)
            for what in ("partial", "whole"):
                hidden(path, what).unlink(missing_ok=True)

    def _remove(self) -> None:
        for file in self._files:
            file.remove()
        self._journal.path.unlink(missing_ok=True)

    def _leave(self) -> None:
        self._open = False
        self._locks.close()
