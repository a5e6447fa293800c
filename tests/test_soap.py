"""The optimiser that turns: as far as each weight goes alone, in fewer launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from geosr.training.soap import Soap, by_cholesky
from tests.test_devices import OneDevice


def test_soap_goes_down_a_narrow_valley_faster_than_adam() -> None:
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=random))[0]
    wide = turn @ torch.diag(torch.logspace(-2, 0, 12)) @ turn.T
    goal = torch.randn(8, 12, generator=random)

    def left(make: Callable[..., torch.optim.Optimizer]) -> float:
        weight = torch.nn.Parameter(torch.zeros(8, 12))
        optimiser = make([weight], lr=0.03)
        for _ in range(200):
            optimiser.zero_grad()
            (((weight - goal) @ wide) ** 2).sum().backward()
            optimiser.step()
        return float((weight.detach() - goal).norm())

    assert left(Soap) < 0.1 * left(torch.optim.Adam)


def moved(
    layers: int, steps: int = 12, shape: tuple[int, ...] = (6, 4, 3, 3)
) -> tuple[list[torch.Tensor], Counter[str]]:
    """Weights after some steps with gradients of their own, and the operations of the last step."""
    weights = [torch.nn.Parameter(torch.ones(shape)) for _ in range(layers)]
    random = [torch.Generator().manual_seed(seed) for seed in range(layers)]
    optimiser = Soap(weights, 0.01)
    for _ in range(steps):
        for weight, own in zip(weights, random, strict=True):
            weight.grad = torch.randn(shape, generator=own)
        with OneDevice() as watching:
            optimiser.step()
    return [weight.detach() for weight in weights], watching.launches


def test_weights_of_one_shape_move_together_as_each_would_alone_and_with_no_more_launches() -> None:
    (alone, *_), few = moved(1)
    together, many = moved(20)
    assert torch.allclose(together[0], alone, atol=1e-6)
    assert not torch.equal(together[1], alone)
    of_steps_counted_on_the_processor = {"fill_", "_local_scalar_dense"}
    assert set(many - few) == {"view", *of_steps_counted_on_the_processor}


@pytest.mark.parametrize("rank", [40, 7, 0])
def test_bases_are_turned_alike_by_cholesky_factors_whatever_the_rank_of_what_was_seen(rank: int) -> None:
    random = torch.Generator().manual_seed(rank)
    seen = torch.randn(3, 40, rank, generator=random)
    basis = torch.linalg.qr(torch.randn(3, 40, 40, generator=random))[0]
    matrices = seen @ seen.mT @ basis + 1e-4 * basis
    found = by_cholesky(matrices)
    assert torch.allclose(found.mT @ found, torch.eye(40).expand(3, 40, 40), atol=1e-5)
    assert torch.allclose((found * torch.linalg.qr(matrices)[0]).sum(1).abs(), torch.ones(3, 40), atol=1e-3)
