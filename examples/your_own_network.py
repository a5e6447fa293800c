"""A torch network of your own, with geosr's tiles, files and metadata around it.

    python examples/your_own_network.py examples/scene.tif own.tif

The network here is bicubic and a fixed sharpening; yours loads its weights: `def make(weights): ...`, given as
`TorchNetwork(make, weights="best.pt", ...)`.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import geosr


class Sharpened(nn.Module):
    """Bicubic, then a difference of neighbours added; (1, 1, h, w) to (1, 1, 2 h, 2 w)."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpen = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        kernel = torch.tensor([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype=torch.float32)
        self.sharpen.weight.data = kernel[None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Stored numbers in, stored numbers out; rounding and clipping are geosr's."""
        return self.sharpen(nn.functional.interpolate(x, scale_factor=2, mode="bicubic"))


def main(src: str, dst: str) -> str:
    """The path of the result."""
    network = geosr.TorchNetwork(Sharpened, scale=2, halo=4)  # it sees 4 pixels far; a smaller halo is refused
    report = geosr.upscale(src, dst, model=network, scale=2, overwrite=True)
    print(report["path"], report["tiles"], "tiles")
    return str(report["path"])


if __name__ == "__main__":
    main(*sys.argv[1:3])
