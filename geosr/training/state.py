"""What is kept of a network in training, so that it goes on without a difference."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from geosr.errors import PlaceError


def learner_state(network: nn.Module, optimiser: Optimizer) -> dict[str, Tensor]:
    """A network's tensors, and its optimiser's by the names of their parameters."""
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        state |= {f"optimiser.{name}.{key}": value for key, value in optimiser.state[parameter].items()}
    return state


def load_learner(network: nn.Module, optimiser: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Goes on from what `learner_state` gave. Raises `RuntimeError` where that was another network's."""
    network.load_state_dict(part(state, "network."))
    kept = optimiser.state_dict()
    names = [name for name, _ in network.named_parameters()]
    kept["state"] = {i: known for i, name in enumerate(names) if (known := part(state, f"optimiser.{name}."))}
    optimiser.load_state_dict(kept)


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors that have a prefix, without it. Copies: tensors in a file's buffer are aligned otherwise, and products
    of those are rounded otherwise."""
    return {name.removeprefix(prefix): value.clone() for name, value in state.items() if name.startswith(prefix)}


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, under a partial name first: a kill leaves the former. Raises `PlaceError`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, partial, metadata)
        partial.chmod(0o644)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise PlaceError(f"can't write {path}: {why}") from error
