"""`geosr upscale --outdir`: many scenes as one run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.cli.progress import bar
from geosr.cli.streams import announce, out
from geosr.cli.talk import Talk, needs_of, print_report, say, tell
from geosr.errors import InputError

if TYPE_CHECKING:
    from geosr.archive import Archive, Record

SOME_FAILED = 3
"""Exit code where scenes of several failed."""


def upscale_all(paths: Sequence[str], outdir: str, scheduler: str | None, talk: Talk, options: dict[str, Any]) -> int:
    """Upscale all scenes, tell of each, and sum up; returns the exit code."""
    from geosr.archive import plan_many
    from geosr.cluster import looking_on

    made = "://" not in outdir and not Path(outdir).exists()
    start = time.perf_counter()
    with looking_on(scheduler):
        archive = plan_many(scenes_of(paths), outdir, **options)
    if not talk.quiet:
        _say(archive, talk.verbose)
    if talk.dry_run:
        _print_plan(archive.estimate(), talk)
        if made:
            with suppress(OSError):
                Path(outdir).rmdir()
        return _code([scene.status for scene in archive.scenes])
    with bar(talk.quiet) as advance:
        records = archive.execute(advance, lambda record: _tell(record, talk), scheduler)
    states = [record["status"] for record in records]
    if not talk.quiet:
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("done", "skipped", "failed"))
        tell(f"{len(states)} scenes: {counts}, in {time.perf_counter() - start:.1f} s")
    return _code(states)


def _print_plan(records: Sequence[Record], talk: Talk) -> None:
    """Prints the plan of each scene as JSON, a line each; in words only what all take together."""
    if talk.as_json:
        for record in records:
            out(json.dumps(record))
        return
    states = [record["status"] for record in records]
    failed = [f"{record['src']}: {record['error']}" for record in records if "error" in record]
    counts = {"scenes": len(states), "ready": states.count("ready"), "skipped": states.count("skipped")}
    ready = [record for record in records if record["status"] == "ready"]
    print_report(counts | {"failed": failed} | (needs_of(ready) if ready else {}), as_json=False)


def scenes_of(paths: Sequence[str]) -> list[str]:
    """The scenes that arguments name, with those of list files in their place."""
    return [name for path in paths for name in (read_list(path[1:]) if path.startswith("@") else [path])]


def read_list(path: str | Path) -> list[str]:
    """The scenes that a text file names, one a line; empty lines and those that begin with # are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as a list of scenes: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _say(archive: Archive, verbose: bool) -> None:
    for scene in archive.scenes:
        if scene.run is not None:
            say(scene.run, verbose, scene.run.scene.name)


def _tell(record: Record, talk: Talk) -> None:
    """One line for a scene: its result on stdout, or why there is none on stderr."""
    if talk.as_json:
        announce(json.dumps(record))
    elif record["status"] == "done" and not talk.quiet:
        for path in (record["path"], *record["others"].values()):
            announce(path)
    if record["status"] == "failed":
        tell(f"{record['src']} failed: {record['error']}")
    elif record["status"] == "skipped" and not talk.quiet:
        tell(f"{record['path']} is there already, of this input with these options")


def _code(states: Sequence[str]) -> int:
    return SOME_FAILED if "failed" in states else 0
