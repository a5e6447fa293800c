"""What a network is given of coarse bands and their guide, on the guide's grid.

Everything is in units of the contrast that a band, or a guide, has in the scene (`glp_fit.learn`): gain and offset
pass. A pixel has the same bits in any block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.models.filters import gaussian, smooth_both
from geosr.models.glp import Injection
from geosr.models.regrid import Line, interpolated, lines
from geosr.sensor_table import bare
from geosr.sensors import Observation
from geosr.window import Window

if TYPE_CHECKING:
    from geosr.models.runtime import ModelNetwork

Floating = NDArray[np.floating]

LOW_PASS_SIGMA, LOW_PASS_RADIUS = 4.0, 12
"""Of what is taken off bicubic and guides, fine pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Images of coarse bands over a core that simpler ways make, (bands, h, w) each."""

    bicubic: Floating
    high: Floating
    """Bicubic less its low-pass, in units of contrast, as the others are."""
    others: tuple[Floating, ...]
    """By how much they differ from bicubic."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The places that a network has for coarse bands and for guides, by name."""

    bands: tuple[str, ...]
    guides: tuple[str, ...]

    def found(self, bands: Sequence[str], guides: Sequence[str], title: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The places of bands and guides by name. Raises `InputError` for one that has none, or for two alike."""
        return _found(self.bands, bands, title, "brings"), _found(self.guides, guides, title, "is guided by")

    def placed(self, names: Sequence[str], images: Estimates) -> NDArray[np.float32]:
        """(estimates * bands, h, w): each band in its place, zeros elsewhere."""
        every = images.high, *images.others
        out = np.zeros((len(every), len(self.bands), *images.bicubic.shape[1:]), np.float32)
        for index, band in enumerate(names):
            for target, source in zip(out, every, strict=True):
                target[self.bands.index(band)] = source[index]
        return out.reshape(-1, *out.shape[2:])

    def guided(self, names: Sequence[str], images: Floating) -> NDArray[np.float32]:
        """(guides, h, w): each guide in its place, zeros elsewhere."""
        out = np.zeros((len(self.guides), *images.shape[1:]), np.float32)
        for name, image in zip(names, images, strict=True):
            out[self.guides.index(name)] = image
        return out

    def told(self, names: Sequence[str], observation: Observation, finer: float) -> NDArray[np.float32]:
        """(4 * bands) numbers that tell the network of each band's response, zeros for those that aren't there."""
        out = np.zeros((len(self.bands), 4), np.float32)
        for name, band in zip(names, observation, strict=True):
            out[self.bands.index(name)] = band.response.relative(finer).told
        return out.ravel()


def estimates_of(
    coarse: Floating,
    at: Window,
    guide: Floating,
    block: Window,
    core: Window,
    injection: Injection,
    single: ModelNetwork | None,
    holes: NDArray[np.bool_] | None = None,
) -> Estimates:
    """A core as bicubic, a network for single bands and regression GLP make it; arguments as `Injection` takes them.

    `at` holds what bicubic takes `LOW_PASS_RADIUS` around the core, and the reach of `single`, which makes pixels half
    as large.
    """
    both = lines(injection.placement, injection.responses[0])
    wide = core.grow(LOW_PASS_RADIUS)
    images = [interpolated(image, at, wide, both) for image in coarse]
    bicubic = np.stack([image[core.within(wide).slices] for image in images])
    others = [] if single is None else [_halved(coarse, at, core, both, single)]
    others.append(injection(coarse, at, guide, block, core, holes))
    scales = np.array([band.scale for band in injection.bands], coarse.dtype)[:, None, None]
    high = (bicubic - np.stack([_smooth(image) for image in images])) * scales
    return Estimates(bicubic, high, tuple((each - bicubic) * scales for each in others))


def _halved(coarse: Floating, at: Window, core: Window, both: tuple[Line, Line], single: ModelNetwork) -> Floating:
    """A core of what a network for single bands makes of the bands over `at`."""
    down, across = (Line(line.step / 2, line.corner, line.response, line.axis) for line in both)
    made = single(coarse, tuple(range(len(coarse))))
    return np.stack([interpolated(image, at.scale(2), core, (down, across)) for image in made])


def guides_of(guide: Floating, block: Window, core: Window, injection: Injection) -> Floating:
    """The guides over a core less their low-pass, in units of contrast."""
    rows, cols = core.grow(LOW_PASS_RADIUS).within(block).slices
    inner = core.within(core.grow(LOW_PASS_RADIUS)).slices
    out = []
    for image, each in zip(guide, injection.guides, strict=True):
        part = np.ascontiguousarray(image[rows, cols])
        out.append((part[inner] - _smooth(part)) * part.dtype.type(each.scale))
    return np.stack(out)


def _found(slots: Sequence[str], names: Sequence[str], title: str, verb: str) -> tuple[str, ...]:
    known = {bare(slot): slot for slot in slots}
    other = [name for name in names if bare(name) not in known]
    if other or len({bare(name) for name in names}) < len(names):
        raise InputError(
            f"{title} {verb} bands named {', '.join(slots)}, each once, and found {', '.join(names)}; name the bands "
            "so, or choose --model glp, which takes any"
        )
    return tuple(known[bare(name)] for name in names)


def _smooth(image: Floating) -> Floating:
    """Less the radius of the low-pass a side."""
    return smooth_both(torch.from_numpy(image), _TAPS).numpy()


_TAPS = gaussian(LOW_PASS_SIGMA, LOW_PASS_RADIUS)
