"""What a step is taken on: coarse patches, what is known of them, and the truth where there is one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geosr.errors import InputError
from geosr.models.classical import upsample
from geosr.response import Response
from geosr.training.pairs import Pair
from geosr.training.patches import ATTEMPTS, PATIENCE, Batch, Patches
from geosr.training.sensing import Degradation, Sensing

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
    told: Tensor
    """(n, 4) what the network is told of the response."""
    noise: Tensor
    """(n, 2) what it is told of the noise."""
    contrast: Tensor
    """(n,) unit of its numbers, in stored ones."""
    responses: tuple[Response, ...]
    """The true ones, relative to the truth."""
    clean: tuple[bool, ...]
    """Which are told to have no noise."""
    block: tuple[int, ...]
    """Pixels of the truth each way of which only the mean is known, of each."""

    def to(self, device: str) -> Sample:
        """The same on a device."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def ready_for(self, device: str) -> Sample:
        """The same; for a card in pinned memory, which `to` doesn't wait for."""
        if torch.device(device).type != "cuda":
            return self
        return self._with(lambda part: torch.empty(part.shape, dtype=part.dtype, pin_memory=True).copy_(part))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Sample:
        names = "lr", "base", "truth", "told", "noise", "contrast"
        parts: dict[str, Any] = {name: change(part) for name in names if (part := getattr(self, name)) is not None}
        return replace(self, **parts)


class Source(Protocol):
    """Draws samples. What it will draw next is told by its state, and by nothing else."""

    def draw(self, n: int) -> Callable[[], Sample]:
        """A function that makes the next `n`, in whatever thread: all that is random of them is settled here."""

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

    def draw(self, n: int) -> Callable[[], Sample]:
        """See `Source`."""
        batch = self.patches.batch(n)
        sensing = self.degradation.drawn(n, (batch.hr.shape[2], batch.hr.shape[3]), self.scale, self.generator)
        return lambda: self._made(batch, sensing)

    def _made(self, batch: Batch, sensing: Sensing) -> Sample:
        seen = sensing(batch.hr, batch.noise, batch.step)
        lr = seen.lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous()
        inner = (MARGIN + CROP) * self.scale
        truth = batch.hr[..., inner:-inner, inner:-inner]
        return _sample(lr, truth, seen.told, seen.noise, batch.contrast, seen.responses, self.scale)

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

    def draw(self, n: int) -> Callable[[], Sample]:
        """See `Source`. Whatever blur a network is told, its estimate has to agree with it: so any is told."""
        batch = self.patches.batch(n)
        responses = tuple(Response.gaussian(mtf) for mtf in self.random.uniform(*self.mtf, n))
        told = torch.tensor([response.told for response in responses])
        return lambda: _sample(batch.hr, None, told, torch.zeros(n, 2), batch.contrast, responses, self.scale)

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
        shares = np.cumsum([pair.lr.size * pair.weight for pair in pairs])
        self.edges = shares / shares[-1]

    def draw(self, n: int) -> Callable[[], Sample]:
        """See `Source`."""
        drawn = [self._draw() for _ in range(n)]
        return lambda: self._made(drawn)

    def _made(self, drawn: list[_Patches]) -> Sample:
        coarse, sharp, responses, spread, units, blocks = zip(*drawn, strict=True)
        lr, truth = (torch.from_numpy(np.stack(each))[:, None] for each in (coarse, sharp))
        told = torch.tensor([response.told for response in responses])
        noise, contrast = torch.tensor(spread), torch.tensor(units)
        rim = CROP * self.scale
        sample = _sample(lr, truth[..., rim:-rim, rim:-rim], told, noise, contrast, responses, self.scale)
        return replace(sample, block=blocks)

    def get_state(self) -> bytes:
        """See `Source`."""
        return json.dumps(self.random.bit_generator.state).encode()

    def set_state(self, state: bytes) -> None:
        """See `Source`."""
        self.random.bit_generator.state = json.loads(state)

    def _draw(self) -> _Patches:
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
                response = pair.response if turns % 2 == 0 else pair.response.turned
                noise = pair.noise.constant / pair.contrast**2, pair.noise.slope / pair.contrast
                return coarse, sharp, response, noise, pair.contrast, pair.block
        raise InputError(f"no square of {self.patch} x {self.patch} pixels is valid in both scenes of a pair")


_Patches = tuple[Any, Any, Response, tuple[float, float], float, int]
"""Coarse and sharp pixels in units of the contrast, response, noise, contrast and block."""


class Natural(Paired):
    """Natural pairs, which stand beside pairs of two sensors."""


def sharp_side(patch: int, scale: int) -> int:
    """Side of the sharp patches that input patches of `patch` pixels are made of."""
    return (patch + 2 * MARGIN) * scale


def _sample(
    lr: Tensor,
    truth: Tensor | None,
    told: Tensor,
    noise: Tensor,
    contrast: Tensor,
    responses: tuple[Response, ...],
    scale: int,
) -> Sample:
    rim = CROP * scale
    base = upsample(lr, scale)[..., rim:-rim, rim:-rim]
    clean = tuple((noise == 0).all(1).tolist())
    return Sample(lr, base, truth, told, noise, contrast, responses, clean, (1,) * len(lr))


def joined(samples: list[Sample]) -> Sample:
    """Samples that all have a truth, as one."""
    if len(samples) == 1:
        return samples[0]
    columns = zip(*((s.lr, s.base, s.truth, s.told, s.noise, s.contrast) for s in samples), strict=True)
    lr, base, truth, told, noise, contrast = map(torch.cat, columns)
    known = zip(*((s.responses, s.clean, s.block) for s in samples), strict=True)
    responses, clean, block = (tuple(chain.from_iterable(each)) for each in known)
    return Sample(lr, base, truth, told, noise, contrast, responses, clean, block)


def as_known(image: Tensor, block: Sequence[int]) -> Tensor:
    """The image (n, 1, H, W) with each pixel the mean of its block of so many pixels each way, `n` of them."""
    parts, first = [], 0
    for size, alike in groupby(block):  # slices: which samples are chosen is nothing that a card has to be asked
        part = image[first : (first := first + len(list(alike)))]
        if size > 1:
            part = F.avg_pool2d(part, size).repeat_interleave(size, 2).repeat_interleave(size, 3)
        parts.append(part)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _turned(image: Any, turns: int, flip: bool) -> Any:
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[::-1] if flip else turned, dtype=np.float32)
