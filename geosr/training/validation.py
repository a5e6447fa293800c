"""Validation by place: the same windows of the same places every time, beside fixed references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geosr.evaluation.metrics import psnr
from geosr.evaluation.natural import BORDER
from geosr.models import registry
from geosr.models.checkpoint import read_tensors
from geosr.models.classical import upsample
from geosr.models.degradation import observe
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band, Observation
from geosr.training.pairs import Pair
from geosr.training.patches import Place, Plane
from geosr.training.places import names
from geosr.window import Window

T = TypeVar("T")
Floats = NDArray[np.float32]
Method = Callable[["Case"], Floats]

SEEN = Response((0.10, 0.05), True, "spline")
"""The response that validation places are seen with: about that of Sentinel-2's products."""
SNR = 100.0
"""And their mean over the standard deviation of the noise."""
SIDE = 96
"""Side of a validation window, input pixels; smaller where no valid one of this size is found."""
SMALLEST = 24
MOST_PLACES = 16
MOST_BANDS = 4
_TRIES = 24
SHIPPED = "fast"
"""The model that the log keeps as a reference, where it knows the scale."""


@dataclass(frozen=True, slots=True)
class Case:
    """A window of a place as the sensor saw it, and the truth."""

    place: str
    lr: Floats
    """(bands, h, w)."""
    truth: Floats
    """(bands, h * scale, w * scale)."""
    bands: Observation
    """Responses are relative to the truth."""


class Validation:
    """Places with a truth, and what the references make of them."""

    def __init__(self, cases: Sequence[Case], scale: int) -> None:
        self.cases, self.scale = tuple(cases), scale
        self.references = {name: self.figures(method) for name, method in references(scale).items()}

    @property
    def places(self) -> tuple[str, ...]:
        """By name."""
        return tuple(case.place for case in self.cases)

    def figures(self, method: Method) -> dict[str, float]:
        """PSNR in dB of every place, the mean over its bands; the protocol's peak and border."""
        return {case.place: self._figure(case, method(case)) for case in self.cases}

    def _figure(self, case: Case, estimate: Floats) -> float:
        inner = BORDER * self.scale
        cut = np.s_[:, inner:-inner, inner:-inner]
        pairs = zip(estimate[cut], case.truth[cut], case.truth, strict=True)
        return float(np.mean([psnr(made, true, peak=float(np.ptp(band))) for made, true, band in pairs]))


def references(scale: int) -> dict[str, Method]:
    """Bicubic, and the shipped default where it knows the scale: the same for every training."""
    methods: dict[str, Method] = {"bicubic": lambda case: _bicubic(case, scale)}
    if (path := (registry.locate(SHIPPED, scale) if scale in registry.card(SHIPPED).scales else None)) is not None:
        card = registry.card(SHIPPED, scale)
        network = NETWORKS[card.network](scale, card.channels, card.blocks)
        network.load_state_dict(read_tensors(path))
        methods[SHIPPED] = by_network(network.eval().requires_grad_(False))
    return methods


def by_network(network: BandNetwork, device: str = "cpu") -> Method:
    """A network as a method; windows are mirrored up to what its attention asks for."""

    def method(case: Case) -> Floats:
        """The estimate (bands, height, width) of a case."""
        lr = torch.from_numpy(case.lr)[:, None].to(device)
        return estimate(network, lr, case.bands)[:, 0].cpu().numpy()

    return method


@torch.inference_mode()
def estimate(network: BandNetwork, lr: torch.Tensor, bands: Observation) -> torch.Tensor:
    """The estimate (n, 1, h * scale, w * scale), float32, that a network makes of bands (n, 1, h, w) of any size."""
    height, width = lr.shape[2:]
    down, right = (-side % network.multiple for side in (height, width))
    padded = nn.functional.pad(lr, (0, right, 0, down), mode="replicate") if down or right else lr
    # The mean is taken off, so that float32 keeps the detail of large numbers.
    level = padded.mean((2, 3), keepdim=True)
    moved = [band.noise.moved(1.0, -mean) for band, mean in zip(bands, level.flatten().tolist(), strict=True)]
    told = torch.tensor([band.response.told for band in bands], device=lr.device)
    spread = torch.tensor([[each.constant, each.slope] for each in moved], device=lr.device)
    made: torch.Tensor = network(padded - level, told, spread) + level
    return made[..., : height * network.scale, : width * network.scale]


def cases_of(planes: Iterable[Plane], scale: int) -> list[Case]:
    """One window of each file's bands, valid throughout; `MOST_PLACES` of the files, evenly spread."""
    places: dict[Place, list[Plane]] = {}
    for plane in planes:
        places.setdefault(plane.place, []).append(plane)
    called = names(file for file, *_ in places)
    cases: dict[str, Case] = {}
    for (file, *_), bands in places.items():
        images = [band.values for band in _spread(bands, MOST_BANDS)]
        window = None if file in cases else _window(images, scale)
        if window is not None:
            truth = _cut(images, window)
            response = SEEN.relative(scale)
            lr = observe(truth, response, scale)
            spread = np.abs(lr.mean((1, 2))) / np.float32(SNR)
            lr += spread[:, None, None] * np.random.default_rng(0).standard_normal(lr.shape).astype(np.float32)
            known = tuple(Band(response, Noise(float(each) ** 2, 0.0)) for each in spread)
            cases[file] = Case(called[file], lr, truth, known)
    return _spread(list(cases.values()), MOST_PLACES)


def cases_of_pairs(pairs: Iterable[Pair], scale: int) -> list[Case]:
    """A window of each place's held-out pairs, valid throughout; the input is a sensor's own."""
    places: dict[str, list[Pair]] = {}
    for pair in pairs:
        places.setdefault(pair.name, []).append(pair)
    cases = (_case_of(_spread(bands, MOST_BANDS), scale) for bands in places.values())
    return _spread([case for case in cases if case is not None], MOST_PLACES)


def _case_of(bands: Sequence[Pair], scale: int) -> Case | None:
    bands = [band for band in bands if band.lr.shape == bands[0].lr.shape]
    seen = [np.isfinite(band.lr).repeat(scale, 0).repeat(scale, 1) for band in bands]
    sharp = [np.where(there, band.hr, np.float32(np.nan)) for band, there in zip(bands, seen, strict=True)]
    window = _window(sharp, scale, step=scale)
    if window is None:
        return None
    coarse = Window(*(side // scale for side in (window.row, window.col, window.height, window.width)))
    lr, truth = _cut([band.lr for band in bands], coarse), _cut([band.hr for band in bands], window)
    return Case(bands[0].name, lr, truth, tuple(Band(band.response, band.noise) for band in bands))


def _bicubic(case: Case, scale: int) -> Floats:
    made: Floats = upsample(torch.from_numpy(case.lr)[:, None], scale)[:, 0].numpy()
    return made


def _window(bands: Sequence[NDArray[Any]], scale: int, step: int = 1) -> Window | None:
    """The largest square, not the calmest, valid in all bands, at a multiple of `step` pixels; None without one."""
    height, width = bands[0].shape
    side = min(SIDE, height // scale, width // scale)
    random = np.random.default_rng(0)
    while side >= SMALLEST:
        size = side * scale
        found = []
        for _ in range(_TRIES):
            row, col = (step * int(random.integers(0, (length - size) // step + 1)) for length in (height, width))
            window = Window(row, col, size, size)
            cut = _cut(bands, window)
            if np.isfinite(cut).all() and (np.ptp(cut, axis=(1, 2)) > 0).all():
                found.append((float(np.abs(np.diff(cut)).mean()), window))
        if found:
            by_detail = sorted(found, key=lambda each: each[0])
            return by_detail[len(by_detail) // 2][1]
        side = side * 2 // 3
    return None


def _cut(bands: Sequence[NDArray[Any]], window: Window) -> Floats:
    return np.stack([band[window.slices].astype(np.float32) for band in bands])


def _spread(items: list[T], count: int) -> list[T]:
    """Up to `count` of the items, evenly spread over them."""
    if len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]
