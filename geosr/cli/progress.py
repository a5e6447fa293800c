"""A live bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Called for each finished tile."""

    def __call__(self, done: int, total: int, pixels: int) -> None:
        """Tiles done of all, and the source pixels times bands that this run has upscaled so far."""


@contextmanager
def bar(quiet: bool, piece: str = "tile") -> Iterator[Advance]:
    """A bar with tiles or other pieces, Mpx/s and time left on stderr, if that is a terminal and `quiet` isn't set."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, pixels: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TextColumn("{task.fields[speed]:.2f} Mpx/s"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, told=f"the first {piece}", speed=0.0)

        def advance(done: int, total: int, pixels: int) -> None:
            """Moves the bar."""
            speed = pixels / 1e6 / max(time.monotonic() - start, 1e-6)
            progress.update(task, completed=done, total=total, told=f"{done}/{total} {piece}s", speed=speed)

        yield advance
