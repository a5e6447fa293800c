"""What a file holds of a network, ready to run: one class a kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from geosr.models.checkpoint import check_weights
from geosr.models.threads import Once

if TYPE_CHECKING:
    from torch import Tensor

    from geosr.noise import Noise
    from geosr.response import Response


class Runner(Protocol):
    """A network from elsewhere on its device; made once a process and shared by its threads."""

    kind: str
    """What to call it, such as "ONNX" or an architecture."""
    told: dict[str, Any]
    """What the file says of itself, by the names of `Card`'s fields."""
    device: str
    """Where it computes, which is the processor where its library knows no other place."""
    size: tuple[int, int] | None
    """Height and width of the only blocks that it takes; None where it takes others, too."""

    def __call__(self, x: Tensor, response: Response, noise: Noise) -> Tensor:
        """(1, bands, height * scale, width * scale) for (1, bands, height, width), float32."""


@Once
def load(path: Path, sha: str, device: str) -> Runner:
    """The network in a file. Raises `ModelError` for a file that is damaged, unsafe, or changed since `sha`."""
    check_weights(path, sha)
    if path.suffix == ".onnx":
        from geosr.models.foreign.onnx import Onnx

        return Onnx(path, device)
    from geosr.models.foreign.checkpoint import Checkpoint

    return Checkpoint(path, device)
