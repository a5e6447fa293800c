"""Stored numbers of a scene in a network's range and back, by one gain and one offset a band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.models.card import Card
from geosr.models.foreign.bands import arrange
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Observation

Engine = Callable[[Any, Response, Noise, Any], None]


def enhance(
    engine: Engine, card: Card, block: NDArray[np.floating], seen: Observation, out: NDArray[np.floating]
) -> None:
    """Write what a network makes of `block` (bands, h, w), stored numbers, into `out` (bands, h * scale, w * scale).

    `seen` says how these bands were observed, and which of their numbers are dark and bright.
    """
    for group in arrange(seen.colors or ("",) * len(block), card.bands):
        bands = list(group)
        values = block[bands]
        made = np.empty((len(bands), *out.shape[1:]), out.dtype)
        if card.value_range:
            least, most = card.value_range
            low, high = _ends(card, [seen.levels[band] for band in bands] if seen.levels else [], block.dtype)
            gain = (high - low) / (most - least)
            engine(least + (values - low) / gain, seen.response[bands[0]], seen.noise[bands[0]], made)
            made -= least
            made *= gain
            made += low
        else:
            engine(values, seen.response[bands[0]], seen.noise[bands[0]], made)
        out[bands] = made


def _ends(
    card: Card, levels: Sequence[tuple[float, float]], dtype: np.dtype[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Per band (bands, 1, 1), the stored numbers that become the ends of the range."""
    pairs = [card.stored_range] if card.stored_range else levels
    low, high = np.array(pairs, dtype).T
    return low[:, None, None], high[:, None, None]
