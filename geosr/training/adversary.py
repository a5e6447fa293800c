"""An adversary: it learns to tell estimates from truth, and a generative network learns from it what is missing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from geosr.training.losses import Outcome
from geosr.training.recipe import ADVERSARIAL, PERCEPTUAL
from geosr.training.state import learner_state, load_learner
from geosr.training.team import Team

SLOPE = 0.2
"""Of the activation, for what is negative."""
BETAS = (0.9, 0.99)
COARSEST = 8
"""Pixels of a step of the U-Net's coarsest level."""
SMALLEST = 1e-6


class UNet(nn.Module):
    """Judges every pixel by what is around it, near and far, with bounded slopes (spectral norm, Miyato et al. 2018).

    A U-Net as of Schoenfeld et al. 2020, arXiv:2002.12655, of the size class of Real-ESRGAN's (Wang et al. 2021,
    arXiv:2107.10833). It is shown two images: the detail above the bicubic estimate, and that estimate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, 2 * channels, 4 * channels, 8 * channels]
        steps = list(itertools.pairwise(widths))
        self.head = nn.Conv2d(2, channels, 3, padding=1)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in steps)
        self.up = nn.ModuleList(spectral_norm(nn.Conv2d(b, a, 3, 1, 1, bias=False)) for a, b in reversed(steps))
        self.tail = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, h, w), the larger the likelier to be truth, of (n, 2, h, w)."""
        seen = self.features(images)
        made = seen.pop()
        for layer in self.up:
            skip = seen.pop()
            wide = F.interpolate(made, size=skip.shape[2:], mode="bilinear", align_corners=False)
            made = F.leaky_relu(layer(wide), SLOPE) + skip
        judgement: Tensor = self.tail(made)
        return judgement

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of its four levels, from fine to coarse."""
        seen = [F.leaky_relu(self.head(images), SLOPE)]
        for layer in self.down:
            seen.append(F.leaky_relu(layer(seen[-1]), SLOPE))
        return seen


class Adversary:
    """The U-Net with its optimiser, and the two losses that it stands behind."""

    def __init__(self, channels: int, rate: float, device: str, team: Team) -> None:
        self.network = UNet(channels).to(device)
        self.judge = team.wrapped(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate, betas=BETAS)
        self.generator = torch.Generator().manual_seed(team.rank)

    def loss(self, o: Outcome, weights: Mapping[str, float]) -> Tensor:
        """The weighted sum of `adversarial` and `perceptual`; gradients reach the estimate, none the adversary.

        `adversarial` is the relativistic average loss (Jolicoeur-Martineau 2018, arXiv:1807.00734): estimates are to
        look truer than the truths do on average. `perceptual` is the mean absolute difference between what estimate and
        truth look like on the levels of the U-Net, over what the truth's is (Wang et al. 2018, Perceptual Adversarial
        Networks, arXiv:1706.09138): no network that others trained is needed.
        """
        self.network.requires_grad_(False).eval()  # spectral norms follow the adversary's own steps only
        cut = self._cut()
        made, true = (shown(o, image)[cut] for image in (o.estimate, o.truth))
        terms = [o.estimate.sum() * 0.0]
        if weight := weights.get(ADVERSARIAL, 0.0):
            with torch.no_grad():
                truths = self.network(true)
            terms.append(weight * _relativistic(self.network(made), truths))
        if weight := weights.get(PERCEPTUAL, 0.0):
            with torch.no_grad():
                wanted = self.network.features(true)
            terms.append(weight * _apart(self.network.features(made), wanted))
        self.network.requires_grad_(True).train()
        return torch.stack(terms).sum()

    def learn(self, o: Outcome) -> None:
        """One step of its own on the same samples."""
        # Together: a network that several processes train is called once a step.
        images = torch.cat((shown(o, o.truth), shown(o, o.estimate.detach())))[self._cut()]
        truths, estimates = self.judge(images).chunk(2)
        loss = _relativistic(truths, estimates)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def _cut(self) -> tuple[Any, ...]:
        """All but a rim drawn anew. The U-Net's steps of two pixels weigh those two differently: if its grid lay still
        on that of the network's pixel shuffle, the network would learn to draw it as a lattice."""
        down, right = torch.randint(COARSEST, (2,), generator=self.generator).tolist()
        return ..., slice(down, down - COARSEST), slice(right, right - COARSEST)

    def state(self) -> dict[str, Tensor]:
        """All that decides how it goes on."""
        return {"random": self.generator.get_state(), **learner_state(self.network, self.optimiser)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave. Raises `RuntimeError` where that was another network's."""
        self.generator.set_state(state["random"])
        load_learner(self.network, self.optimiser, state)


def shown(o: Outcome, image: Tensor) -> Tensor:
    """The two images of one, (n, 2, h, w), for the adversary, in units of a patch's contrast, without its mean."""
    return torch.cat((image - o.base, o.base - o.base.mean((2, 3), keepdim=True)), 1)


def _relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """Small where each of the one looks truer than the other on average, and each of the other less so."""
    return (F.softplus(worse.mean() - better).mean() + F.softplus(worse - better.mean()).mean()) / 2


def _apart(made: list[Tensor], wanted: list[Tensor]) -> Tensor:
    sizes = [(true.abs().mean() + SMALLEST) for true in wanted]
    return torch.stack([F.l1_loss(a, b) / size for a, b, size in zip(made, wanted, sizes, strict=True)]).mean()
