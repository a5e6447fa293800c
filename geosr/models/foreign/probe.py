"""What a file doesn't say of its network is found out by running it: scale, bands, multiple, halo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import ModelError, one_line
from geosr.models.foreign.runner import Runner
from geosr.models.trial import up
from geosr.noise import SILENT
from geosr.response import PROBE

if TYPE_CHECKING:
    from torch import Tensor

_SIDES = (64, 128, 256)
"""Sides of the blocks that a halo is looked for in, source pixels."""
_MULTIPLES = (1, 2, 4, 8, 16, 32)
_ALIKE = 1e-5
"""Share of the range of values up to which results count as the same."""
_STORED = (0.0, 3000.0)
"""Numbers as a scene has, for a network that takes stored numbers."""


def complete(name: str, runner: Runner, told: dict[str, Any]) -> dict[str, Any]:
    """Entries of a card: those told, the others measured. Raises `ModelError` where tiles would show.

    With a halo in `told` but no multiple, that is 1.
    """
    found = {"value_range": (0.0, 1.0)} | told
    ends = tuple(found["value_range"] or _STORED)
    shape = _shape(name, runner, found, ends)
    if shape["scales"] != tuple(found.get("scales", shape["scales"])):
        raise ModelError(f"{name}'s card says x{found['scales'][0]}, and the network makes x{shape['scales'][0]}")
    found |= shape
    if "halo" in found:
        return {"multiple": 1} | found
    return found | _measured(name, runner, found, ends)


def _shape(name: str, runner: Runner, told: dict[str, Any], ends: tuple[float, ...]) -> dict[str, Any]:
    """Bands and scale, from the first number of bands that the network takes."""
    height, width = runner.size or (64, 64)
    tries = (told["bands"],) if "bands" in told else (3, 1, 4)
    trouble = ""
    for bands in tries:
        try:
            out = _run(runner, _noise((bands, height, width), ends, seed=0))
        except Exception as error:  # whatever somebody else's code raises
            trouble = trouble or one_line(error)
            continue
        scale = out.shape[1] // height
        if tuple(out.shape) != (bands, height * scale, width * scale) or scale < 1:
            raise ModelError(f"{name} gives {tuple(out.shape)} for {(bands, height, width)}, which is no finer grid")
        return {"bands": bands, "scales": (scale,)}
    raise ModelError(f"{name} can't be run: {trouble}")


def _measured(name: str, runner: Runner, told: dict[str, Any], ends: tuple[float, ...]) -> dict[str, Any]:
    """Multiple and halo: the smallest of the first pair of blocks, one cut beside the other, that agree inside."""
    for size, multiple in _tries(runner, told.get("multiple", 0)):
        try:
            halo = _halo(runner, told["bands"], told["scales"][0], size, multiple, ends)
        except (MemoryError, ModelError):
            raise
        except Exception:  # a size that the network doesn't take
            continue
        if halo is not None:
            return {"multiple": multiple, "halo": halo}
    side = runner.size[0] if runner.size else _SIDES[-1]
    raise ModelError(
        f"{name} sees farther than {side // 3} pixels or looks at whole blocks, so that tiles would show; a file "
        f"{name}.toml beside it with 'halo = {side // 4}' and 'exact = false' runs it all the same, with a warning"
    )


def _tries(runner: Runner, told: int) -> Iterator[tuple[tuple[int, int], int]]:
    """Sizes of blocks, and multiples that cut them from the scene."""
    multiples = (told,) if told else _MULTIPLES
    if runner.size is not None:
        yield from ((runner.size, multiple) for multiple in multiples)
        return
    for side in _SIDES:
        for multiple in multiples:
            # An odd number of multiples, so that no larger multiple fits by chance.
            length = up(side, multiple) // multiple
            whole = multiple * (length + 1 - length % 2)
            yield (whole, whole), multiple


def _halo(
    runner: Runner, bands: int, scale: int, size: tuple[int, int], multiple: int, ends: tuple[float, ...]
) -> int | None:
    """The distance from a block's border from where on two blocks agree that overlap; None where they never do.

    Tried with fine noise, then with coarse. Raises `ModelError` for results that are no numbers.
    """
    shift = multiple * max(1, (min(size) // (5 * multiple)) | 1)
    if shift * 2 > min(size):
        return None
    halo = 0
    for coarse in (1, 9):
        shape = bands, (size[0] + shift) // coarse + 1, (size[1] + shift) // coarse + 1
        scene = _noise(shape, ends, seed=coarse).repeat_interleave(coarse, 1).repeat_interleave(coarse, 2)
        found = _halo_in(scene, runner, scale, size, shift, ends)
        if found is None:
            return None
        halo = max(halo, found)
    return halo


def _halo_in(
    scene: Tensor, runner: Runner, scale: int, size: tuple[int, int], shift: int, ends: tuple[float, ...]
) -> int | None:
    """`_halo` in a scene (bands, h, w), of which the second block lies `shift` lower and to the right.

    What they don't share differs in level and contrast, so that a network that looks at whole blocks is found out.
    """
    (height, width), (low, high) = size, ends
    scene[:, :shift] = low + 0.1 * (scene[:, :shift] - low)
    scene[:, height:] = high - 0.3 * (scene[:, height:] - low)
    first, second = (_run(runner, scene[:, at : at + height, at : at + width]) for at in (0, shift))
    if tuple(first.shape) != (len(scene), height * scale, width * scale):
        raise ValueError(first.shape)
    cut = shift * scale
    apart = (first[:, cut:, cut:] - second[:, :-cut, :-cut]).abs().amax(0)
    if not bool(apart.isfinite().all()):
        raise ModelError(f"{runner.kind}: the network gives NaN or infinity")
    rows, cols = (side // scale for side in apart.shape)
    worst = apart.reshape(rows, scale, cols, scale).amax((1, 3)).cpu().numpy()
    away = np.minimum.outer(_from_ends(rows), _from_ends(cols))
    differ = away[worst > _ALIKE * (high - low)]
    halo = int(differ.max()) + 1 if differ.size else 0
    return halo + 1 if halo + 4 <= int(away.max()) else None


def _from_ends(count: int) -> NDArray[np.intp]:
    index = np.arange(count)
    return np.minimum(index, index[::-1])


def _run(runner: Runner, block: Tensor) -> Tensor:
    import torch

    with torch.inference_mode():
        out = runner(block[None].contiguous(), PROBE, SILENT)
    if not isinstance(out, torch.Tensor) or out.is_complex() or out.ndim != 4 or out.shape[0] != 1:
        what = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise ModelError(f"the network gives {what}; geosr needs real numbers (1, bands, height, width)")
    return out[0].float()


def _noise(shape: tuple[int, ...], ends: tuple[float, ...], seed: int) -> Tensor:
    import torch

    low, high = ends
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
