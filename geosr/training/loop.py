"""The training loop: resumable, capped by steps and by time, saving often."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from geosr.models.degradation import Degradation
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.training.patches import Batch, Patches, load_planes
from geosr.training.recipe import Recipe
from geosr.training.soap import Soap

log = logging.getLogger(__name__)

MARGIN = 3
"""Source pixels around a training patch that only the blur sees."""
CROP = 2
"""Source pixels at the rim of a training patch that the loss leaves out: their context is padding."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come."""

    step: int
    seconds: float
    """Time spent in steps, over all runs."""
    loss: float
    """Running mean of the absolute error over the bicubic estimate's."""

    def share(self, recipe: Recipe) -> float:
        """Part of the training that is done, 0 to 1: of the steps or of the time, whichever is further."""
        return min(1.0, max(self.step / recipe.steps, self.seconds / (60.0 * recipe.minutes)))


class Trainer:
    """A network, its running average and its optimiser, one step at a time."""

    def __init__(self, recipe: Recipe, patches: Patches) -> None:
        self.recipe = recipe
        self.patches = patches
        torch.manual_seed(recipe.seed)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.network = NETWORKS[recipe.network](recipe.scale, recipe.channels, recipe.blocks)
        self.degradation = Degradation(bicubic=recipe.bicubic, noisy=recipe.noisy)
        self.progress = Progress(0, 0.0, 1.0)
        if recipe.start_from:
            adopt(self.network, load_file(recipe.start_from))
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimiser = OPTIMISERS[recipe.optimiser](self.network.parameters(), recipe.rate)

    def step(self) -> Progress:
        """One step on the next batch; returns and keeps how far the training has come."""
        began = time.perf_counter()
        loss, ratio = self._losses(self.patches.batch(self.recipe.batch))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.progress)
        self.optimiser.step()
        self._follow()
        before = self.progress
        mean = before.loss + (ratio - before.loss) * max(0.01, 1 / (before.step + 1))
        self.progress = Progress(before.step + 1, before.seconds + time.perf_counter() - began, mean)
        return self.progress

    def save(self, folder: Path) -> None:
        """Writes the averaged weights, `weights.safetensors`, and what a resumed run needs, `state.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        _save(self.average, folder / "weights.safetensors")
        _save(self._state(), folder / "state.safetensors")

    def load(self, folder: Path) -> None:
        """Goes on from what `save` wrote into `folder`."""
        state = load_file(folder / "state.safetensors")
        step, seconds, loss = state.pop("progress").tolist()
        self.progress = Progress(int(step), seconds, loss)
        self.network.load_state_dict(_part(state, "network."))
        self.average = _part(state, "average.")
        kept = self.optimiser.state_dict()
        names = [name for name, _ in self.network.named_parameters()]
        kept["state"] = {i: _part(state, f"optimiser.{name}.") for i, name in enumerate(names)}
        self.optimiser.load_state_dict(kept)
        self.generator.set_state(state["random.degradation"])
        self.patches.set_state(state["random.patches"].numpy().tobytes())

    def _losses(self, batch: Batch) -> tuple[Tensor, float]:
        """The loss of the network, and its absolute error over the bicubic estimate's."""
        scale, margin, crop = self.recipe.scale, MARGIN, CROP
        with torch.no_grad():
            lr, mtf, noise = self.degradation(batch.hr, batch.noise, batch.step, scale, self.generator)
            lr = lr[..., margin:-margin, margin:-margin].contiguous()
            inner = (margin + crop) * scale
            truth = batch.hr[..., inner:-inner, inner:-inner]
            rim = crop * scale
            missing = truth - self.network.base(lr)[..., rim:-rim, rim:-rim]
        detail = self.network.residual(self.network.high_pass(lr), mtf, noise)[..., rim:-rim, rim:-rim]
        error = detail - missing
        ratio = absolute(error.detach()) / absolute(missing)
        return LOSSES[self.recipe.loss](error), float(ratio)

    def _follow(self) -> None:
        """Moves the running average towards the weights; faster in the beginning."""
        decay = min(self.recipe.average, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    def _state(self) -> dict[str, Tensor]:
        now = self.progress
        state = {"progress": torch.tensor([now.step, now.seconds, now.loss], dtype=torch.float64)}
        state |= {f"network.{name}": value for name, value in self.network.state_dict().items()}
        state |= {f"average.{name}": value for name, value in self.average.items()}
        for name, parameter in self.network.named_parameters():
            state |= {f"optimiser.{name}.{key}": value for key, value in self.optimiser.state[parameter].items()}
        state["random.degradation"] = self.generator.get_state()
        state["random.patches"] = torch.frombuffer(bytearray(self.patches.get_state()), dtype=torch.uint8)
        return state


def train(recipe: Recipe) -> Progress:
    """Trains to the end of the recipe, going on from the checkpoint in `recipe.out` where there is one."""
    size = (recipe.patch + 2 * MARGIN) * recipe.scale
    trainer = Trainer(recipe, Patches(load_planes(recipe.planes), size, recipe.seed))
    folder = Path(recipe.out)
    if (folder / "state.safetensors").exists():
        trainer.load(folder)
    while trainer.progress.share(recipe) < 1.0:
        now = trainer.step()
        if now.step % recipe.save_every == 0:
            trainer.save(folder)
            log.info("step %d, %.1f min, error over bicubic's %.4f", now.step, now.seconds / 60, now.loss)
    trainer.save(folder)
    return trainer.progress


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """A linear rise over the first steps, then half a cosine down to a hundredth of the highest rate."""
    rise = min(1.0, (progress.step + 1) / recipe.warm_up)
    return recipe.rate * rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress.share(recipe))))


def absolute(error: Tensor) -> Tensor:
    """Charbonnier's smooth absolute error, mean."""
    return torch.sqrt(error * error + 1e-4).mean()


def decibels(error: Tensor) -> Tensor:
    """Mean over samples of the logarithm of the squared error, which is PSNR but for a factor and an offset.

    Every scene then counts alike, whether little or much of it can be restored. The constant keeps flat patches, of
    which an image has many and whose error hardly matters to it, from counting most.
    """
    return torch.log((error * error).mean(dim=(1, 2, 3)) + 5e-3).mean()


def _adam(parameters: Iterable[Parameter], rate: float) -> Optimizer:
    return torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))


OPTIMISERS: dict[str, Callable[[Iterable[Parameter], float], Optimizer]] = {"adam": _adam, "soap": Soap}
"""What a recipe can ask to be minimised with."""
LOSSES = {"absolute": absolute, "decibels": decibels}
"""What a recipe can ask to be minimised."""


def adopt(network: BandNetwork, weights: dict[str, Tensor]) -> None:
    """Takes over each tensor of `weights` that has its shape in `network`: all but another scale's last convolution."""
    own = network.state_dict()
    network.load_state_dict(own | {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape})


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Under a partial name first, so that a killed run leaves the former checkpoint whole."""
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial)
    partial.replace(path)
