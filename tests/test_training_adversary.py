"""The adversary: it tells estimates from truth, and what it says leads estimates towards the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geosr.models.classical import upsample
from geosr.models.degradation import degrade
from geosr.response import PROBE
from geosr.training.adversary import COARSEST, Adversary, UNet, shown
from geosr.training.losses import Outcome
from geosr.training.team import Team

BOTH = {"adversarial": 1.0, "perceptual": 1.0}


def blurred(seed: int = 0, side: int = 48) -> Outcome:
    """Bicubic estimates of stripes with sharp edges."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 2, (6, 1, side // 4, side), generator=random).float().repeat_interleave(4, 2)
    lr = degrade(truth, PROBE, 2)
    base = upsample(lr, 2)
    return Outcome(base - truth, base, truth, base, lr, (PROBE,) * 6, (True,) * 6, 2)


@pytest.fixture
def adversary() -> Adversary:
    torch.manual_seed(0)
    return Adversary(8, 2e-3, "cpu", Team())


def test_it_learns_to_tell_estimates_from_truth(adversary: Adversary) -> None:
    for seed in range(30):
        adversary.learn(blurred(seed))
    o = blurred(99)
    truths, estimates = (adversary.network(shown(o, image)).mean((1, 2, 3)) for image in (o.truth, o.estimate))
    assert bool((truths.min() > estimates.max()).all())


def test_what_it_says_leads_towards_the_truth(adversary: Adversary) -> None:
    for seed in range(30):
        adversary.learn(blurred(seed))
    o = blurred(99)
    for weights in ({"adversarial": 1.0}, {"perceptual": 1.0}):
        estimate = o.estimate.clone().requires_grad_()
        adversary.loss(replace(o, estimate=estimate), weights).backward()
        assert estimate.grad is not None
        assert float((estimate.grad * (o.truth - o.base)).sum()) < 0, weights


def test_likeness_is_nothing_at_the_truth_and_grows_with_the_error(adversary: Adversary) -> None:
    o = blurred()
    between = [o.truth + share * (o.base - o.truth) for share in (0.0, 0.3, 1.0)]
    found = [float(adversary.loss(replace(o, estimate=each), {"perceptual": 1.0})) for each in between]
    assert found[0] == 0.0
    assert found == sorted(found)


def test_what_it_says_is_the_same_for_any_offset_and_leaves_it_as_it_was(adversary: Adversary) -> None:
    o = blurred()
    before = {name: value.clone() for name, value in adversary.network.state_dict().items()}
    raised = replace(o, estimate=o.estimate + 64, truth=o.truth + 64, base=o.base + 64)
    state = adversary.state()["random"]
    there = float(adversary.loss(o, BOTH))
    adversary.generator.set_state(state)  # the same rim is cut off
    assert float(adversary.loss(raised, BOTH)) == pytest.approx(there, rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in adversary.network.state_dict().items())
    assert all(value.grad is None for value in adversary.network.parameters())


def test_its_grid_lies_anywhere_on_the_estimates(adversary: Adversary) -> None:
    """What an estimate is told on the mean of many steps is no lattice of the steps of its levels."""
    power = torch.zeros(())
    for seed in range(60):
        o = blurred(seed)
        estimate = o.estimate.clone().requires_grad_()
        adversary.loss(replace(o, estimate=estimate), {"adversarial": 1.0}).backward()
        assert estimate.grad is not None
        power = power + estimate.grad.square().mean((0, 1))[COARSEST:-COARSEST, COARSEST:-COARSEST]
    phases = [float(power[i::4, j::4].mean()) for i in range(4) for j in range(4)]
    assert max(phases) / min(phases) < 2  # 5 where the grid lies still


def test_it_judges_every_pixel_of_any_size() -> None:
    assert UNet(4)(torch.randn(2, 2, 45, 50)).shape == (2, 1, 45, 50)
