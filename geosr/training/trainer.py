"""A network in training: one step after another, kept and taken up again without a difference."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from geosr.errors import InputError
from geosr.models.checkpoint import read_header
from geosr.models.devices import exact_convolutions
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.training.adversary import Adversary
from geosr.training.ahead import Ahead, spare
from geosr.training.losses import UNLABELLED, Outcome, charbonnier, consistency, total
from geosr.training.recipe import Recipe
from geosr.training.samples import CROP, Sample, Source, as_known, joined
from geosr.training.soap import Soap
from geosr.training.start import adopt, starting_weights
from geosr.training.state import learner_state, load_learner, part, save_tensors
from geosr.training.team import Team

STATE = "state.safetensors"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a training in a few numbers."""

    step: int = 0
    seconds: float = 0.0
    """Time spent on it, over all runs."""
    loss: float = 1.0
    """Running mean of the absolute error over the bicubic estimate's."""
    best: float = -math.inf
    """Best validation so far, dB."""
    stale: int = 0
    """Validations since then."""

    def share(self, recipe: Recipe) -> float:
        """Part of the training that is done, 0 to 1: of the steps or of the time, whichever is further."""
        return min(1.0, max(self.step / recipe.steps, self.seconds / (60.0 * recipe.minutes)))


@dataclass(frozen=True, slots=True)
class Material:
    """Where samples come from, each kind with its share."""

    labelled: tuple[tuple[Source, float], ...]
    unlabelled: Source | None = None

    @property
    def named(self) -> dict[str, Source]:
        """All of them by their kind, in a fixed order."""
        every = [source for source, _ in self.labelled] + ([] if self.unlabelled is None else [self.unlabelled])
        return {type(source).__name__: source for source in every}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Material of one step, and where the sources stood after it."""

    labelled: Sample
    unlabelled: Sample | None
    states: tuple[bytes, ...]


class _Told:
    """Figures of a step, on their way from the device."""

    def __init__(self, step: int, figures: Tensor) -> None:
        self.step = step
        self._event = torch.cuda.Event() if figures.is_cuda else None  # type: ignore[no-untyped-call]
        self._figures = figures
        if self._event is not None:
            self._figures = torch.empty(figures.shape, pin_memory=True).copy_(figures, non_blocking=True)
            self._event.record()

    def figures(self) -> list[float]:
        """Them, waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._figures.tolist()


class _Detail(nn.Module):
    """A network's residual as a module's `forward`, which is what torch can distribute."""

    def __init__(self, network: BandNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, high: Tensor, told: Tensor, spread: Tensor) -> Tensor:
        """The residual, (n, 1, h * scale, w * scale)."""
        return self.network.residual(high, told, spread)


class Trainer:
    """A network, its running average and its optimiser, one step at a time."""

    def __init__(
        self,
        recipe: Recipe,
        material: Material,
        *,
        device: str = "cpu",
        bfloat16: bool = False,
        team: Team | None = None,
    ) -> None:
        self.recipe, self.material, self.device, self.bfloat16 = recipe, material, device, bfloat16
        self.team = team or Team()
        torch.manual_seed(recipe.seed)
        self.network = NETWORKS[recipe.network](recipe.scale, recipe.channels, recipe.blocks)
        if recipe.start_from:
            adopt(self.network, starting_weights(recipe.start_from, recipe.scale))
        self.network.to(device)
        self.detail = self.team.wrapped(_Detail(self.network))
        self.progress = Progress()
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimiser = OPTIMISERS[recipe.optimiser](self.network.parameters(), recipe.rate)
        critic = recipe.adversary
        self.adversary = Adversary(critic.channels, critic.rate, device, self.team) if recipe.generative else None
        self._states = tuple(source.get_state() for source in material.named.values())
        # A card would wait for its samples, if the processor did not make them meanwhile.
        self._ahead = Ahead(self._draw, spare()) if device != "cpu" else None
        self._told: _Told | None = None
        """Figures of a step that a card has still to tell: who waits for them keeps it waiting for the next step."""

    def step(self) -> Progress:
        """One step on the next samples; returns and keeps how far the training has come."""
        began = time.perf_counter()
        drawn = self._next()
        outcome, missing = self._outcome(drawn.labelled.to(self.device))
        loss = total(outcome, self.recipe.loss)
        if drawn.unlabelled is not None:
            guess, _ = self._outcome(drawn.unlabelled.to(self.device))
            loss = loss + self.recipe.loss[UNLABELLED] * consistency(guess)
        if self.adversary is not None:
            loss = loss + self.adversary.loss(outcome, self.recipe.loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        ratio = charbonnier(outcome.error.detach()) / charbonnier(missing)
        told = _Told(self.progress.step + 1, torch.stack((loss.detach() + norm, ratio)))
        self.settle()  # the step before
        self._told = told
        if self.device == "cpu":
            self.settle()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.progress)
        self.optimiser.step()
        if self.adversary is not None:
            self.adversary.learn(outcome)
        self._follow()
        before = self.progress
        # Rates follow the time, and so the leader's clock counts for all.
        [seconds] = self.team.agreed([before.seconds + time.perf_counter() - began])
        self.progress = replace(before, step=before.step + 1, seconds=seconds)
        return self.progress

    def settle(self) -> None:
        """Take the last step's figures into the progress, once they are there.

        Raises `InputError` for a training that ran away, in whichever process, before anything of it is kept.
        """
        if self._told is None:
            return
        told, self._told = self._told, None
        size, ratio = told.figures()
        if self.team.anyone(not math.isfinite(size)):
            raise InputError(
                f"the loss is no number any more at step {told.step}; lower the rate "
                f"({self.recipe.rate:g}). {self.recipe.out} keeps what was saved last"
            )
        before = self.progress.loss
        self.progress = replace(self.progress, loss=before + (ratio - before) * max(0.01, 1 / told.step))

    def averaged(self) -> BandNetwork:
        """The network with the averaged weights, which is what is judged and kept."""
        self.settle()
        recipe = self.recipe
        network = NETWORKS[recipe.network](recipe.scale, recipe.channels, recipe.blocks)
        network.load_state_dict(self.average)
        return network.to(self.device).eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Writes the averaged weights, `weights.safetensors`, and what a resumed run needs, `state.safetensors`."""
        self.settle()
        states = self.team.gathered(dict(zip(self.material.named, self._states, strict=True)))
        if self.team.leads:
            folder.mkdir(parents=True, exist_ok=True)
            save_tensors(self.average, folder / WEIGHTS)
            save_tensors(self._state(states), folder / STATE, {"optimiser": self.recipe.optimiser})

    def load(self, folder: Path) -> None:
        """Goes on from what `save` wrote into `folder`. Raises `InputError` where that was another network."""
        try:
            state = load_file(folder / STATE)
            wanted = self.recipe.optimiser
            if (used := read_header(folder / STATE).metadata.get("optimiser", wanted)) != wanted:
                raise ValueError(f"its optimiser is {used}")
            step, seconds, loss, best, stale = state.pop("progress").tolist()
            load_learner(self.network, self.optimiser, state)
            if self.adversary is not None:
                self.adversary.load(part(state, "adversary."))
            if self._ahead is not None:
                self._ahead.forget()
            for name, source in self.material.named.items():
                source.set_state(state[f"random.{self.team.rank}.{name}"].numpy().tobytes())
        except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
            line = " ".join(str(error).split())[:120]
            raise InputError(
                f"{folder} holds a run that this recipe can't go on with ({line}); name another out, or remove it"
            ) from None
        self.progress = Progress(int(step), seconds, loss, best, int(stale))
        self.average = {name: value.to(self.device) for name, value in part(state, "average.").items()}
        self._told = None
        self._states = tuple(source.get_state() for source in self.material.named.values())

    def _outcome(self, sample: Sample) -> tuple[Outcome, Tensor]:
        """The network's estimate of a sample, and what the bicubic one lacks; of the estimate where there is no
        truth."""
        rim = CROP * self.recipe.scale
        with torch.no_grad(), exact_convolutions(self.device):
            high, spread = self.network.parts(sample.lr, sample.noise)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.bfloat16):
            detail = self.detail(high, sample.told, spread)
        detail = as_known(detail.float()[..., rim:-rim, rim:-rim], sample.block)
        truth = sample.base if sample.truth is None else sample.truth
        missing = as_known(truth - sample.base, sample.block)
        seen = sample.lr[..., CROP:-CROP, CROP:-CROP]
        outcome = Outcome(
            detail - missing,
            sample.base + detail,
            sample.base + missing,
            sample.base,
            seen,
            sample.responses,
            sample.clean,
            self.recipe.scale,
            sample.contrast,
            self.recipe.together,
        )
        return outcome, missing

    def _next(self) -> _Drawn:
        drawn = self._draw()() if self._ahead is None else self._ahead.next()
        self._states = drawn.states
        return drawn

    def _draw(self) -> Callable[[], _Drawn]:
        """A function that makes the material of the next step, in whatever thread; the sources have gone on already."""
        material, left = self.material, self.recipe.batch
        makes = []
        for number, (source, share) in enumerate(material.labelled, 1):
            count = (
                left if number == len(material.labelled) else min(left - 1, max(1, round(share * self.recipe.batch)))
            )
            makes.append(source.draw(count))
            left -= count
        loose = None if material.unlabelled is None else material.unlabelled.draw(max(1, self.recipe.batch // 2))
        states = tuple(source.get_state() for source in material.named.values())

        def make() -> _Drawn:
            """All but what is random of it."""
            labelled, unlabelled = joined([each() for each in makes]), None if loose is None else loose()
            there = None if unlabelled is None else unlabelled.ready_for(self.device)
            return _Drawn(labelled.ready_for(self.device), there, states)

        return make

    def _follow(self) -> None:
        """Moves the running average towards the weights; faster in the beginning."""
        decay = min(self.recipe.average, (1 + self.progress.step) / (10 + self.progress.step))
        weights = self.network.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_([self.average[name] for name in weights], list(weights.values()), 1 - decay)

    def _state(self, sources: list[dict[str, bytes]]) -> dict[str, Tensor]:
        now = self.progress
        figures = [now.step, now.seconds, now.loss, now.best, now.stale]
        state = {"progress": torch.tensor(figures, dtype=torch.float64)}
        state |= learner_state(self.network, self.optimiser)
        state |= {f"average.{name}": value for name, value in self.average.items()}
        if self.adversary is not None:
            state |= {f"adversary.{name}": value for name, value in self.adversary.state().items()}
        for rank, states in enumerate(sources):
            for name, text in states.items():
                state[f"random.{rank}.{name}"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return state


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """A linear rise over the first steps, then half a cosine down to a hundredth of the highest rate."""
    rise = min(1.0, (progress.step + 1) / max(recipe.warm_up, 1))
    return recipe.rate * rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress.share(recipe))))


def _adam(parameters: Iterable[Parameter], rate: float) -> Optimizer:
    return torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))


OPTIMISERS: dict[str, Callable[[Iterable[Parameter], float], Optimizer]] = {"adam": _adam, "soap": Soap}
"""What a recipe can ask to be minimised with."""
