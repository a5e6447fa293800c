"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

LARGEST = 1024
"""A side longer than this keeps its own basis: a turn of it would cost more than it brings."""
SMALLEST = 1e-8
_NOTHING = 1e-6, 1e-30
"""An eigenvalue that is smaller, as a share of the largest, or at all, is rounding: its eigenvector stays."""
_LEAST = 1e-11
"""Added to products of columns of length 1, whose rounding may be as large, before they are factored."""

State = dict[str, Tensor]


class Soap(Optimizer):
    """Super-resolution is a badly conditioned regression, the detail that is missing having little power: turned bases
    took `fast` farther in the same steps than Adam did, at a tenth more time a step.

    A convolution's weight counts as a matrix (outputs, inputs * taps); a vector is left to Adam. Weights of one shape
    move together, since a card takes longer to begin than to compute. The first step only takes the measure of the
    gradients.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        turn_every: int = 10,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "turn_every": turn_every})
        self._stacks: dict[tuple[int, ...], State] = {}
        """By what parameters are known by: states that are one, of those that move together."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._stacks = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step against the gradients; a closure is not called."""
        for group in self.param_groups:
            for alike in self._alike(group["params"]):
                self._move(alike, group)

    def _alike(self, parameters: Iterable[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Those that have gradients, by shape and by how often they have moved."""
        found: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            if parameter.grad is not None:
                taken = self.state[parameter].get("step")
                found[parameter.shape, parameter.device, None if taken is None else int(taken)].append(parameter)
        yield from map(tuple, found.values())

    def _move(self, alike: tuple[Tensor, ...], group: dict[str, Any]) -> None:
        gradient = torch.stack([_matrix(parameter) for parameter in alike])
        if not self.state[alike[0]]:
            self._keep(alike, _start(gradient))
            return
        first, second = group["betas"]
        state = self._together(alike)
        count = int(self.state[alike[0]]["step"]) + 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(_turned(gradient, state) ** 2, 1 - second)
        size = (state["square"] / (1 - second**count)).sqrt_().add_(SMALLEST)
        move = _turned_back(_turned(state["mean"] / (1 - first**count), state) / size, state)
        torch._foreach_add_(
            alike, [each.view_as(one) for each, one in zip(move, alike, strict=True)], alpha=-group["lr"]
        )
        for side, seen in _sides(gradient, state):
            state[f"{side}_seen"].lerp_(seen, 1 - second)
        if (count - 1) % group["turn_every"] == 0:
            _turn(state)
        for parameter in alike:
            self.state[parameter]["step"].fill_(count)

    def _together(self, alike: tuple[Tensor, ...]) -> State:
        """The state of parameters that move together, on a common first axis; their own are views of it."""
        if (key := tuple(map(id, alike))) not in self._stacks:
            own = [self.state[parameter] for parameter in alike]
            stacked = {name: torch.stack([each[name] for each in own]) for name in own[0] if name != "step"}
            self._keep(alike, stacked, int(own[0]["step"]))
        return self._stacks[key]

    def _keep(self, alike: tuple[Tensor, ...], stacked: State, step: int = 0) -> None:
        key = tuple(map(id, alike))
        self._stacks = {other: kept for other, kept in self._stacks.items() if set(key).isdisjoint(other)}
        self._stacks[key] = stacked
        for place, parameter in enumerate(alike):
            own = {name: each[place] for name, each in stacked.items()}
            # The number of steps stays on the processor, which reads it at every step.
            self.state[parameter].update(own, step=torch.tensor(float(step)))


def _matrix(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    return gradient.reshape(len(gradient), -1) if gradient.ndim > 1 else gradient[None]


def _start(gradient: Tensor) -> State:
    state = {name: torch.zeros_like(gradient) for name in ("mean", "square")}
    if gradient.shape[1] > 1:
        for axis, (side, seen) in enumerate((("rows", gradient @ gradient.mT), ("columns", gradient.mT @ gradient)), 1):
            if gradient.shape[axis] <= LARGEST:
                state[f"{side}_seen"] = seen
                # Eigenvalues come in rising order; `_turn` wants them falling.
                state[f"{side}_basis"] = torch.linalg.eigh(seen)[1].flip(2).contiguous()
    return state


def _sides(gradient: Tensor, state: State) -> Iterable[tuple[str, Tensor]]:
    if "rows_basis" in state:
        yield "rows", gradient @ gradient.mT
    if "columns_basis" in state:
        yield "columns", gradient.mT @ gradient


def _turned(matrix: Tensor, state: State) -> Tensor:
    matrix = state["rows_basis"].mT @ matrix if "rows_basis" in state else matrix
    return matrix @ state["columns_basis"] if "columns_basis" in state else matrix


def _turned_back(matrix: Tensor, state: State) -> Tensor:
    matrix = state["rows_basis"] @ matrix if "rows_basis" in state else matrix
    return matrix @ state["columns_basis"].mT if "columns_basis" in state else matrix


def _turn(state: State) -> None:
    """One step of orthogonal iteration towards the eigenvectors, the largest first; the squares go along.

    All in place, since the parameters' own states are views.
    """
    for axis, side in enumerate(("rows", "columns"), 1):
        if f"{side}_basis" not in state:
            continue
        basis = state[f"{side}_basis"]
        product = state[f"{side}_seen"] @ basis
        values = (basis * product).sum(1)
        share, least = _NOTHING
        product += basis * (share * values.amax(1)).clamp_min(least)[:, None, None]
        order = values.argsort(descending=True, dim=1)
        square, along = state["square"], order[:, :, None] if axis == 1 else order[:, None, :]
        square.copy_(square.gather(axis, along.expand_as(square)))
        basis.copy_(orthonormal(product.gather(2, order[:, None, :].expand_as(product))))


def orthonormal(matrices: Tensor) -> Tensor:
    """The first factors of the QR decompositions of (n, d, d), up to their columns' signs.

    Off the processor by products and Cholesky factors of the whole batch, in float64, since there a decomposition is
    one matrix after the other (Fukaya et al. 2020, "Shifted Cholesky QR for computing the QR factorization of
    ill-conditioned matrices").
    """
    if matrices.device.type == "cpu":
        basis: Tensor = torch.linalg.qr(matrices)[0]
        return basis
    return by_cholesky(matrices)


def by_cholesky(matrices: Tensor) -> Tensor:
    """`orthonormal` in three rounds, of which the first two bring matrices that are nearly singular nearer."""
    found: Tensor = matrices.double()
    found = found / found.norm(dim=1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)
    for least in (_LEAST, _LEAST, 0.0):
        product = found.mT @ found
        product.diagonal(dim1=1, dim2=2).add_(least)
        factor = torch.linalg.cholesky_ex(product)[0]
        found = torch.linalg.solve_triangular(factor.mT, found, upper=True, left=False)
    return found.to(matrices.dtype)
