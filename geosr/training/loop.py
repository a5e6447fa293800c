"""A training from its recipe to a model: resumable, capped by steps and by time, watched by validation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from geosr.errors import InputError, PlaceError
from geosr.models.devices import device_errors, precision_trained_in
from geosr.models.runtime import choose_device, has_bfloat16
from geosr.training import log
from geosr.training.collection import Collection, collect
from geosr.training.ground import shared
from geosr.training.log import Check
from geosr.training.natural import load_natural
from geosr.training.pairs import Pair, load_pairs
from geosr.training.patches import Patches
from geosr.training.places import held_out_pairs
from geosr.training.publish import publish
from geosr.training.reading import checked
from geosr.training.recipe import Recipe
from geosr.training.samples import Degraded, Natural, Paired, Source, Unlabelled, sharp_side
from geosr.training.sensing import Degradation
from geosr.training.state import save_tensors
from geosr.training.team import Team, joined
from geosr.training.trainer import STATE, Material, Progress, Trainer, learning_rate
from geosr.training.validation import Validation, by_network, cases_of, cases_of_pairs

BEST = "best.safetensors"
MODEL = "model.safetensors"
LEAST = 0.005
"""dB by which a validation must be better to count."""


class Watch(Protocol):
    """Somebody who looks on."""

    def note(self, line: str) -> None:
        """Something that was found or decided."""

    def step(self, progress: Progress, share: float) -> None:
        """A step is done; `share` of the training is."""

    def check(self, check: Check) -> None:
        """The network was looked at."""


class Silent:
    """Nobody looks on."""

    def note(self, line: str) -> None:
        """See `Watch`."""

    def step(self, progress: Progress, share: float) -> None:
        """See `Watch`."""

    def check(self, check: Check) -> None:
        """See `Watch`."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training."""

    progress: Progress
    model: Path
    """A safetensors file with a card, which `geosr upscale --model` takes."""
    card: dict[str, Any]
    """Its figures: training, validation and the gap between both."""
    stopped: str
    """Why it ended."""


def train(recipe: Recipe, watch: Watch | None = None) -> Trained:
    """Trains to the end of the recipe, going on from the checkpoint in its folder where there is one.

    Raises `InputError` for a recipe that nothing comes of, `PlaceError` where the folder can't be written, and
    `KeyboardInterrupt`, once everything is saved, where it is interrupted.
    """
    recipe = checked(recipe)
    device, about = choose_device(recipe.device)
    quick = has_bfloat16(device) if recipe.precision == "auto" else recipe.precision == "bfloat16"
    with _folder(Path(recipe.out)), _no_memory(device, recipe), joined(device) as team, _interruptions() as interrupted:
        watch = watch if watch is not None and team.leads else Silent()
        run = _Run(recipe, device, quick, team, watch)
        for line in (*run.notes, about, f"precision {run.precision}"):
            if line:
                watch.note(line)
        return run.finish(run.steps(interrupted))


@contextmanager
def _no_memory(device: str, recipe: Recipe) -> Iterator[None]:
    """While inside, a device that is full or broken is a `PlaceError`."""
    try:
        with device_errors():
            yield
    except MemoryError as error:
        size = f"{recipe.batch} patches of {recipe.patch} pixels"
        raise PlaceError(f"{device} has no memory to train with {size}; make batch or patch smaller") from error


class _Run:
    """One recipe in its folder."""

    def __init__(self, recipe: Recipe, device: str, bfloat16: bool, team: Team, watch: Watch) -> None:
        self.recipe, self.device, self.team, self.watch = recipe, device, team, watch
        self.precision = precision_trained_in(device, bfloat16)
        self.folder = Path(recipe.out)
        train, kept, lines = _pairs(recipe)
        grounds = [pair.ground for pair in kept if pair.ground is not None]
        collection = collect(recipe.data, recipe.scale, recipe.seed, grounds)
        apart = [pair for pair in train if not shared(collection.grounds, pair.ground).any()]
        if len(apart) < len(train):
            lines = (*lines, f"{len(train) - len(apart)} bands of pairs left out, for they show validated ground")
        train = apart
        natural: list[Pair] = []
        if recipe.natural is not None:
            natural, said = load_natural(recipe.natural, recipe.scale, recipe.patch)
            lines = (*lines, *said)
        if not (train or natural or collection.train):
            raise InputError(f"nothing is left to train on; {'; '.join(lines)}")
        self.notes = (*collection.notes, *lines)
        material = _material(recipe, collection, train, natural, team)
        self.trainer = Trainer(recipe, material, device=device, bfloat16=bfloat16, team=team)
        cases = [*cases_of(collection.validate, recipe.scale), *cases_of_pairs(kept, recipe.scale)]
        if recipe.check_every and not cases:
            self.notes += ("nothing to validate on: no part of the held-out places is whole and has detail",)
        if not team.leads:
            cases = []
        self.validation = Validation(cases, recipe.scale) if recipe.check_every and cases else None
        own = [*cases_of(collection.train, recipe.scale), *cases_of_pairs(train, recipe.scale)]
        self.own = own if team.leads else []
        self.files = tuple(pattern for group in recipe.data.train for pattern in group.files)
        if (self.folder / STATE).exists():
            self.trainer.load(self.folder)
            self.notes += (f"goes on from step {self.trainer.progress.step} in {self.folder}",)
        if team.leads:
            log.cut_after(self.folder, self.trainer.progress.step)

    def steps(self, interrupted: threading.Event) -> str:
        """Step by step to the end; returns why that is the end."""
        recipe, trainer = self.recipe, self.trainer
        while trainer.progress.share(recipe) < 1.0:
            if self._is_stale():
                return f"no better validation in {recipe.patience} checks"
            now = trainer.step()
            self.watch.step(now, now.share(recipe))
            checks = bool(recipe.check_every) and now.step % recipe.check_every == 0
            if checks or now.share(recipe) >= 1.0:
                self._check()
            if checks or now.step % recipe.save_every == 0:
                trainer.save(self.folder)
            if self.team.agreed([float(interrupted.is_set())])[0]:
                trainer.save(self.folder)
                raise KeyboardInterrupt(f"step {now.step} is kept in {self.folder}; the same command goes on")
        trainer.save(self.folder)
        return "all steps done" if trainer.progress.step >= recipe.steps else "the time is up"

    def finish(self, stopped: str) -> Trained:
        """The best weights under their final name, with their card."""
        best = self.folder / BEST
        network = self.trainer.averaged()
        if self.validation is not None and best.exists():
            from safetensors.torch import load_file

            network.load_state_dict(load_file(best, device=self.device))
        path = self.folder / MODEL
        card: dict[str, Any] = {}
        if self.team.leads:
            method = by_network(network, self.device)
            progress = self.trainer.progress
            card = publish(path, network, self.recipe, progress, self.precision, self.validation, self.own, method)
        return Trained(self.trainer.progress, path, card, stopped)

    def _is_stale(self) -> bool:
        patience = self.recipe.patience
        return patience > 0 and self.trainer.progress.stale >= patience

    def _check(self) -> None:
        """Look at the averaged network, log it, and keep it where it is the best so far."""
        began = time.perf_counter()
        self.trainer.settle()
        recipe, now = self.recipe, self.trainer.progress
        check = Check(now.step, round(now.seconds, 2), round(now.loss, 6), learning_rate(recipe, now))
        best, stale = now.best, now.stale
        if self.validation is not None:
            figures = self.validation.figures(by_network(self.trainer.averaged(), self.device))
            check = replace(check, psnr=figures, references=self.validation.references)
            # PSNR can't tell how well a generative network does its work: its last weights count.
            better = check.mean > best + LEAST or recipe.generative
            best, stale = (check.mean, 0) if better else (best, stale + 1)
            if better:
                save_tensors(self.trainer.average, self.folder / BEST)
        if self.team.leads:
            log.append(self.folder, check)
            self.watch.check(check)
        spent = time.perf_counter() - began
        seconds, best, stale_ = self.team.agreed([now.seconds + spent, best, stale])
        self.trainer.progress = replace(now, seconds=seconds, best=best, stale=int(stale_))


def _material(recipe: Recipe, collection: Collection, pairs: list[Pair], natural: list[Pair], team: Team) -> Material:
    """Every process of a team draws samples of its own."""
    degradation = Degradation(bicubic=recipe.bicubic, noisy=recipe.noisy)
    seed = recipe.seed + 1000 * team.rank
    labelled: list[tuple[Source, float]] = []
    if natural:
        share = recipe.natural.share if recipe.natural and (pairs or collection.train) else 1.0
        labelled.append((Natural(natural, recipe.patch, recipe.scale, seed), share))
    if pairs:
        share = recipe.pairs.share if recipe.pairs and collection.train else 1.0
        labelled.append((Paired(pairs, recipe.patch, recipe.scale, seed), share))
    if collection.train:
        patches = Patches(list(collection.train), sharp_side(recipe.patch, recipe.scale), seed, recipe.together)
        labelled.append((Degraded(patches, degradation, recipe.scale, seed), 1.0))
    unlabelled = None
    if collection.unlabelled:
        patches = Patches(list(collection.unlabelled), recipe.patch, seed + 1)
        unlabelled = Unlabelled(patches, degradation, recipe.scale, seed + 1)
    return Material(tuple(labelled), unlabelled)


def _pairs(recipe: Recipe) -> tuple[list[Pair], list[Pair], tuple[str, ...]]:
    """Pairs to train on, pairs to validate on, and what is to be said of them."""
    if recipe.pairs is None:
        return [], [], ()
    pairs, lines = load_pairs(recipe.pairs, recipe.data.root, recipe.scale)
    small = {pair.name for pair in pairs if min(pair.lr.shape) < recipe.patch}
    if small:
        raise InputError(f"pair {min(small)} is smaller than patch = {recipe.patch} input pixels; lower patch")
    kept = held_out_pairs([pair.name for pair in pairs], [pair.ground for pair in pairs])
    line = f"pairs kept for validation: {', '.join(sorted(kept)) or 'none, for there is only one'}"
    return [p for p in pairs if p.name not in kept], [p for p in pairs if p.name in kept], (*lines, line)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """While inside, the folder is there; where that ends in an error and nothing lies in it, it goes again."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(f"can't make the run's folder {folder}: {error.strerror}") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for each in new:
                each.rmdir()
        raise


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that it is obeyed between two steps; a second one is obeyed at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        """Asks for an end; a second time ends at once."""
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
