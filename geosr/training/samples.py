"""What a step is taken on: coarse patches, what is known of them, and the truth where there is one."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from geosr.errors import InputError
from geosr.models.classical import upsample
from geosr.models.degradation import Degradation
from geosr.training.pairs import Pair
from geosr.training.patches import ATTEMPTS, PATIENCE, Patches

MARGIN = 3
"""Source pixels around a training patch that only the blur sees."""
CROP = 2
"""Source pixels at the rim of a training patch that the loss leaves out: their context is padding."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Patches of one band, each in units of its contrast."""

    lr: Tensor
    """(n, 1, h, w) float32."""
    base: Tensor
    """(n, 1, H, W): its bicubic estimate less the rim of `CROP` source pixels."""
    truth: Tensor | None
    """(n, 1, H, W), the same ground as `base`; None where it isn't known."""
    mtf: Tensor
    """(n,) what the network is told of the blur at Nyquist."""
    noise: Tensor
    """(n,) standard deviation of the noise that it is told."""
    contrast: Tensor
    """(n,) unit of its numbers, in stored ones."""

    def to(self, device: str) -> Sample:
        """The same on a device."""
        parts = (self.lr, self.base, self.truth, self.mtf, self.noise, self.contrast)
        return Sample(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


class Source(Protocol):
    """Draws samples. What it will draw next is told by its state, and by nothing else."""

    def sample(self, n: int) -> Sample:
        """The next `n`."""

    def get_state(self) -> bytes:
        """Where its random numbers stand."""

    def set_state(self, state: bytes) -> None:
        """Goes on from where `get_state` was called."""


class Degraded:
    """Sharp imagery, and what a coarser sensor would have seen of it."""

    def __init__(self, patches: Patches, degradation: Degradation, scale: int, seed: int) -> None:
        """`patches` are of `sharp_side` pixels."""
        self.patches, self.degradation, self.scale = patches, degradation, scale
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self, n: int) -> Sample:
        """See `Source`."""
        batch = self.patches.batch(n)
        lr, mtf, noise = self.degradation(batch.hr, batch.noise, batch.step, self.scale, self.generator)
        lr = lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous()
        inner = (MARGIN + CROP) * self.scale
        return _sample(lr, batch.hr[..., inner:-inner, inner:-inner], mtf, noise, batch.contrast, self.scale)

    def get_state(self) -> bytes:
        """See `Source`."""
        degrading = base64.b64encode(self.generator.get_state().numpy().tobytes()).decode()
        return json.dumps([self.patches.get_state().decode(), degrading]).encode()

    def set_state(self, state: bytes) -> None:
        """See `Source`."""
        cutting, degrading = json.loads(state)
        self.patches.set_state(cutting.encode())
        self.generator.set_state(torch.frombuffer(bytearray(base64.b64decode(degrading)), dtype=torch.uint8))


class Unlabelled:
    """Scenes at their own scale: there is no truth, but degrading the estimate must give the scene back."""

    def __init__(self, patches: Patches, degradation: Degradation, scale: int, seed: int) -> None:
        self.patches, self.mtf, self.scale = patches, degradation.mtf, scale
        self.random = np.random.default_rng(seed)

    def sample(self, n: int) -> Sample:
        """See `Source`. Whatever blur a network is told, its estimate has to agree with it: so any is told."""
        batch = self.patches.batch(n)
        mtf = torch.tensor(self.random.uniform(*self.mtf, n), dtype=torch.float32)
        return _sample(batch.hr, None, mtf, torch.zeros(n), batch.contrast, self.scale)

    def get_state(self) -> bytes:
        """See `Source`."""
        return json.dumps([self.patches.get_state().decode(), self.random.bit_generator.state]).encode()

    def set_state(self, state: bytes) -> None:
        """See `Source`."""
        cutting, self.random.bit_generator.state = json.loads(state)
        self.patches.set_state(cutting.encode())


class Paired:
    """The same ground as two sensors saw it."""

    def __init__(self, pairs: list[Pair], patch: int, scale: int, seed: int) -> None:
        """`patch` is the side of an input patch."""
        self.pairs, self.patch, self.scale = pairs, patch, scale
        self.random = np.random.default_rng(seed)
        self.edges = np.cumsum([pair.lr.size for pair in pairs]) / sum(pair.lr.size for pair in pairs)

    def sample(self, n: int) -> Sample:
        """See `Source`."""
        drawn = [self._draw() for _ in range(n)]
        lr, truth = (torch.from_numpy(np.stack([each[i] for each in drawn]))[:, None] for i in (0, 1))
        mtf, noise, contrast = (torch.tensor([each[i] for each in drawn], dtype=torch.float32) for i in (2, 3, 4))
        rim = CROP * self.scale
        return _sample(lr, truth[..., rim:-rim, rim:-rim], mtf, noise, contrast, self.scale)

    def get_state(self) -> bytes:
        """See `Source`."""
        return json.dumps(self.random.bit_generator.state).encode()

    def set_state(self, state: bytes) -> None:
        """See `Source`."""
        self.random.bit_generator.state = json.loads(state)

    def _draw(self) -> tuple[Any, Any, float, float, float]:
        for _ in range(PATIENCE * ATTEMPTS):
            place = int(np.searchsorted(self.edges, self.random.random(), side="right"))
            pair = self.pairs[min(place, len(self.pairs) - 1)]
            row, col = (int(self.random.integers(0, side - self.patch + 1)) for side in pair.lr.shape)
            lr = pair.lr[row : row + self.patch, col : col + self.patch]
            first, last = (np.array([row, col]) * self.scale), (np.array([row, col]) + self.patch) * self.scale
            hr = pair.hr[first[0] : last[0], first[1] : last[1]]
            if np.isfinite(lr).all() and np.isfinite(hr).all() and np.ptp(hr) > 0:
                turns, flip = int(self.random.integers(4)), self.random.random() < 0.5
                coarse, sharp = (_turned(image / pair.contrast, turns, flip) for image in (lr, hr))
                return coarse, sharp, pair.mtf, pair.noise / pair.contrast, pair.contrast
        raise InputError(f"no square of {self.patch} x {self.patch} pixels is valid in both scenes of a pair")


def sharp_side(patch: int, scale: int) -> int:
    """Side of the sharp patches that input patches of `patch` pixels are made of."""
    return (patch + 2 * MARGIN) * scale


def _sample(lr: Tensor, truth: Tensor | None, mtf: Tensor, noise: Tensor, contrast: Tensor, scale: int) -> Sample:
    rim = CROP * scale
    return Sample(lr, upsample(lr, scale)[..., rim:-rim, rim:-rim], truth, mtf, noise, contrast)


def joined(samples: list[Sample]) -> Sample:
    """Samples that all have a truth, as one."""
    columns = zip(*((s.lr, s.base, s.truth, s.mtf, s.noise, s.contrast) for s in samples), strict=True)
    return Sample(*(torch.cat(column) for column in columns))


def _turned(image: Any, turns: int, flip: bool) -> Any:
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[::-1] if flip else turned, dtype=np.float32)
