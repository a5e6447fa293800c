"""`geosr train`: networks from recipes, watched live and drawn afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.streams import announce
from geosr.cli.talk import tell

if TYPE_CHECKING:
    from geosr.training.log import Check
    from geosr.training.loop import Watch
    from geosr.training.trainer import Progress


@click.command("train", short_help="Train a network as a recipe says.")
@click.argument("recipes", nargs=-1, metavar="RECIPE.toml...", type=click.Path())
@click.option(
    "--plot",
    metavar="RUN",
    type=click.Path(),
    help="Draw the log of a run's folder into log.png there, and train nothing.",
)
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def command(recipes: tuple[str, ...], plot: str | None, quiet: bool) -> None:
    """Train what each RECIPE says, or go on with it where it was stopped, and print where the model is.

    \b
    The smallest recipe:
        scale = 2
        [data]
        train = "folder/**/*.tif"

    Rasters of any kind that GDAL reads will do; some places are kept apart to validate on. The model is a file that
    `geosr upscale --model` takes; runs/NAME/log.jsonl holds what was seen on the way. Ctrl-C keeps everything, and the
    same command goes on. Several graphics cards: torchrun --nproc-per-node 2 -m geosr.cli train RECIPE.toml
    """
    if plot is not None:
        from pathlib import Path

        from geosr.training.log import plot as draw

        if recipes:
            raise click.UsageError("--plot trains nothing; name either recipes or the folder of a run")
        announce(draw(Path(plot)))
    elif not recipes:
        raise click.UsageError("name a recipe, or the folder of a run with --plot")
    for path in recipes:
        _train(path, quiet)


def _train(path: str, quiet: bool) -> None:
    from geosr.training.loop import train
    from geosr.training.reading import read_recipe

    recipe = read_recipe(path)
    leads = os.environ.get("RANK", "0") == "0"
    with watching(quiet) as watch:
        trained = train(recipe, watch)
    if not quiet and leads:
        tell(f"{trained.stopped}; {_told(trained.card)}")
        announce(trained.model)


def _told(card: dict[str, Any]) -> str:
    """The figures of a model, in words."""
    validation = card.get("validation")
    if validation is None:
        return "not validated"
    names = [name.removeprefix("over_") for name in validation if name.startswith("over_")]
    gains = ", ".join("{:+.2f} [{:+.2f}, {:+.2f}] dB over {}".format(*validation[f"over_{n}"], n) for n in names)
    gap = f"; {card['gap_db']:+.2f} dB more on its training places" if "gap_db" in card else ""
    return f"on {len(validation['places'])} places kept apart {gains}{gap}"


class _Lines:
    """Lines on stderr of what matters; nothing for a step."""

    def note(self, line: str) -> None:
        """See `geosr.training.loop.Watch`."""
        tell(line)

    def step(self, progress: Progress, share: float) -> None:
        """See `geosr.training.loop.Watch`."""

    def check(self, check: Check) -> None:
        """See `geosr.training.loop.Watch`."""


class _Live(_Lines):
    """A bar that moves with every step, and a line for every check above it."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.task = bar.add_task("", total=1.0, step=0, loss=1.0)

    def note(self, line: str) -> None:
        """See `Watch`."""
        self.bar.console.print(f"geosr: {line}", markup=False, highlight=False)

    def step(self, progress: Progress, share: float) -> None:
        """See `Watch`."""
        self.bar.update(self.task, completed=share, step=progress.step, loss=progress.loss)

    def check(self, check: Check) -> None:
        """See `Watch`."""
        self.note(check.told())


@contextmanager
def watching(quiet: bool) -> Iterator[Watch | None]:
    """Nobody where `quiet`; a bar on a terminal; in a pipe only what was found and left out."""
    if quiet or not sys.stderr.isatty():
        yield None if quiet else _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("step {task.fields[step]}, error over bicubic's {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Live(bar)
