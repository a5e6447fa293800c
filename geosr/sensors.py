"""What is known of how a scene was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """How the source saw the ground, band by band; models that don't care ignore it."""

    mtf: tuple[float, ...]
    """The sensor's modulation transfer at the source's Nyquist frequency, one per band, in (0, 1)."""
    noise: tuple[float, ...]
    """Standard deviation of the noise, one per band, in stored numbers (DN); 0 where there is none."""

    def bands(self, indices: tuple[int, ...]) -> Observation:
        """The same for some bands, counted from 0."""
        return Observation(tuple(self.mtf[i] for i in indices), tuple(self.noise[i] for i in indices))


@dataclass(frozen=True, slots=True)
class SensorGuess:
    """Which sensor a scene comes from, as far as its own words say."""

    sensor: str | None = None
    why: str = "nothing in the file names a sensor"


def identify(
    *,
    tags: Mapping[str, str],
    descriptions: Sequence[str],
    name: str,
    pixel_size: float | None,
    dtype: str,
) -> SensorGuess:
    """The sensor that tags, file name or band names tell of; pixel size alone never decides."""
    return SensorGuess()
