"""A block in pieces of one size that overlap, for what takes no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from geosr.models.trial import up

if TYPE_CHECKING:
    from torch import Tensor


def in_pieces(
    block: Tensor, scale: int, size: tuple[int, int], halo: int, step: tuple[int, int], run: Callable[[Tensor], Tensor]
) -> Tensor:
    """(n, h * scale, w * scale) of a block (bands, h, w): what `run` makes of pieces of `size`, one every `step`.

    Of a piece the outermost `halo` pixels are left out, but at the block's border. What `run` gives may be the same
    memory each time.
    """
    height, width = block.shape[1:]
    whole = _continued(block, (_whole(height, size[0], step[0]), _whole(width, size[1], step[1])))
    out: Tensor | None = None
    for row in range(0, whole.shape[1] - size[0] + 1, step[0]):
        for col in range(0, whole.shape[2] - size[1] + 1, step[1]):
            piece = run(whole[:, row : row + size[0], col : col + size[1]].contiguous())
            if out is None:
                out = piece.new_empty(len(piece), *(side * scale for side in whole.shape[1:]))
            # Pieces at the border of the block keep their rim there: the block's own halo covers it.
            top, left = (halo if start else 0 for start in (row, col))
            there = np.s_[:, (row + top) * scale : (row + size[0]) * scale, (col + left) * scale :]
            out[there][:, :, : (size[1] - left) * scale] = piece[:, top * scale :, left * scale :]
    assert out is not None
    return out[:, : height * scale, : width * scale]


def _whole(side: int, size: int, step: int) -> int:
    """The first length that pieces of `size`, one every `step`, fill."""
    return size + up(max(0, side - size), step)


def _continued(block: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`block` (bands, h, w) continued below and to the right, mirrored as often as needed."""
    import torch

    for axis, length in enumerate(shape, 1):
        side = block.shape[axis]
        if side != length:
            index = torch.arange(length, device=block.device) % (2 * side)
            block = block.index_select(axis, torch.minimum(index, 2 * side - 1 - index))
    return block
