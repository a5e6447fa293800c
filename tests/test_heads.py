"""A model with a second result beside the image: both whole or neither, in files, stores and arrays, on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geosr
from geosr.models.card import Card
from geosr.models.classical import upsample_into
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.models.runtime import network_for
from geosr.radiometry import IMAGE, Head, Passes
from geosr.response import Response
from geosr.sensors import UNKNOWN, Band, Observation
from tests import scenes

SIGMA = Head("sigma", Passes.SPREAD)
CARD = Card(name="doubt", summary="bicubic, and how far it lies from nearest", scales=(2, 4))


@dataclass(frozen=True)
class Doubt(Model):
    """Bicubic, and as its spread how far it lies from nearest."""

    scale: int = 2
    heads: tuple[Head, ...] = (IMAGE, SIGMA)
    pairs: bool = False
    """Whether bands are given together that do not follow each other."""
    sha256: str | None = None
    card: Card = field(default=CARD, compare=False)
    memory_bound = True

    def groups(self, colors: Any) -> Groups:
        return ((0, 2), (1,)) if self.pairs else super().groups(colors)

    def engine(self, device: str, precision: Precision) -> Engine:
        return DoubtEngine(self)


class DoubtEngine(Engine):
    """Counts how often it is called."""

    calls = 0

    def __init__(self, model: Doubt) -> None:
        self.model = model

    def reach(self, response: Response) -> int:
        return 2

    def __call__(self, block: NDArray[Any], seen: Observation, out: NDArray[Any]) -> None:
        DoubtEngine.calls += 1
        scale, count = self.model.scale, len(block)
        assert len(out) == len(self.model.heads) * count
        for band, values in enumerate(block):
            upsample_into(out[band], values, scale)
            if len(self.model.heads) > 1:
                out[count + band] = np.abs(out[band] - values.repeat(scale, 0).repeat(scale, 1))


def expected_spread(stored: NDArray[Any], scale: int = 2) -> NDArray[np.float32]:
    """The spread of a scene (bands, height, width) at once."""
    out = np.empty((len(stored), *(side * scale for side in stored.shape[1:])), np.float32)
    for band, values in zip(out, stored.astype(np.float32), strict=True):
        upsample_into(band, values, scale)
        band -= values.repeat(scale, 0).repeat(scale, 1)
    return np.abs(out)


# Pixels


@pytest.mark.parametrize("pairs", [False, True])
def test_an_engine_gives_all_its_results_for_a_block_and_is_asked_once(pairs: bool) -> None:
    block = scenes.pixels((3, 20, 24)).astype(np.float32)
    observation = (Band(UNKNOWN),) * 3
    network = network_for(Doubt(pairs=pairs), 2, observation)
    before = DoubtEngine.calls
    found = network(block.copy(), (0, 1, 2))
    assert DoubtEngine.calls == before + (2 if pairs else 3)
    assert np.array_equal(found[:3], network_for("bicubic", 2, observation)(block.copy(), (0, 1, 2)))
    assert np.array_equal(found[3:], expected_spread(block))


def test_projection_corrects_the_image_and_leaves_the_spread() -> None:
    block = scenes.pixels((2, 60, 60)).astype(np.float32)
    observation = (Band(UNKNOWN),) * 2
    found = network_for(Doubt(), 2, observation, project=True)(block.copy(), (0, 1))
    assert np.array_equal(found[:2], network_for("bicubic", 2, observation, project=True)(block.copy(), (0, 1)))
    assert np.array_equal(found[2:], expected_spread(block))


def test_an_array_becomes_the_image_of_a_model_with_several_results(tmp_path: Path) -> None:
    array = geosr.open_raster(scenes.make_gaps(tmp_path), chunks=32)
    for each in (array, array.compute()):
        image, alone = each.geosr.upscale(Doubt(), 2, tile=32), each.geosr.upscale("bicubic", 2, tile=32)
        assert np.array_equal(image.values, alone.values)
        assert image.attrs["GEOSR_MODEL"] == "doubt"
