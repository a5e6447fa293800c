"""Checkpoints that spandrel knows: the architecture is told from the names and shapes of the weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from geosr.errors import ModelError, one_line
from geosr.models.checkpoint import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from geosr.noise import Noise
    from geosr.response import Response

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


class Checkpoint:
    """A network of spandrel's, called without its clamping to 0 .. 1."""

    def __init__(self, path: Path, device: str) -> None:
        found = _described(path)
        self.size: tuple[int, int] | None = None
        self.device = device
        self.kind = str(found.architecture.name)
        if getattr(found, "purpose", None) != "SR" or found.input_channels != found.output_channels:
            raise ModelError(
                f"{path} is {self.kind}, for {getattr(found, 'purpose', 'something else')} of "
                f"{found.input_channels} to {found.output_channels} bands; geosr runs networks for super-resolution"
            )
        self.module = found.model.eval().requires_grad_(False).float().to(device)
        self.told: dict[str, Any] = {
            "summary": f"{self.kind}, as spandrel runs it",
            "architecture": " ".join([self.kind, *map(str, found.tags)]),
            "scales": (int(found.scale),),
            "bands": int(found.input_channels),
            "parameters": sum(each.numel() for each in self.module.parameters()),
            "value_range": (0.0, 1.0),
        }
        if found.size_requirements.multiple_of > 1:
            self.told["multiple"] = int(found.size_requirements.multiple_of)

    def __call__(self, x: Tensor, response: Response, noise: Noise) -> Tensor:
        """See `Runner`."""
        return self.module(x)  # type: ignore[no-any-return]


def _described(path: Path) -> Any:
    weights = _weights(path)
    spandrel = _spandrel(path)
    try:
        return spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(weights))
    except spandrel.UnsupportedModelError:
        raise ModelError(
            f"{path} has no model card of geosr's, and holds weights of no architecture that spandrel knows"
        ) from None
    except Exception as error:  # whatever an architecture makes of weights that are not quite its own
        raise ModelError(f"spandrel can't load {path}: {one_line(error)}") from None


def _weights(path: Path) -> dict[str, Any]:
    """Tensors by name, and nothing else. Raises `ModelError` for a file that would have to be executed."""
    if path.suffix == ".safetensors":
        from geosr.models.checkpoint import read_tensors

        read_header(path)
        return dict(read_tensors(path))
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"can't read the weights {path}: {error.strerror or error}") from None
    except Exception as error:  # pickle's, zip's and torch's own
        raise ModelError(
            f"{path} is refused: it is damaged, or holds more than weights, which could run any code when it is read "
            f"({type(error).__name__}); ask for it as safetensors"
        ) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__} and no weights by name")
    return found


def _spandrel(path: Path) -> Any:
    try:
        with _torchvision_or_none():
            import spandrel
    except ImportError as error:
        raise ModelError(
            f"{path} has no model card of geosr's; to have it recognised by its weights, pip install 'geosr[spandrel]'"
        ) from error
    return spandrel


@contextmanager
def _torchvision_or_none() -> Iterator[None]:
    """While it lasts, the few names of torchvision that spandrel imports are there, also where torchvision isn't.

    Only architectures for inpainting and faces use them, which are refused. There is no torchvision for every torch.
    """
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    try:
        import torchvision.transforms.functional  # noqa: F401
    except Exception:  # one that was built for another torch raises RuntimeError
        for name in names:
            sys.modules[name] = ModuleType(name)
        for name in ("InterpolationMode", "rotate", "normalize"):
            setattr(sys.modules[names[-1]], name, None)
        try:
            yield
        finally:
            for name in names:
                del sys.modules[name]
        return
    yield
