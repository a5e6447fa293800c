"""The bytes that results had are the bytes that they have: whoever changes them does so on purpose, and says so.

`GEOSR_GOLDEN=write pytest tests/test_golden.py` puts what is written today into `golden.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from safetensors.torch import save_file

import geosr
from geosr.models.card import KEY, Card
from geosr.models.networks.edsr import Edsr
from tests import scenes

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

KEPT = Path(__file__).with_name("golden.json")
WRITING = os.environ.get("GEOSR_GOLDEN") == "write"
CASES: dict[str, dict[str, Any]] = {
    "nearest": {"model": "nearest"},
    "bilinear": {"model": "bilinear"},
    "bicubic": {"model": "bicubic"},
    "lanczos": {"model": "lanczos"},
    "ibp": {"model": "ibp", "mtf": 0.2},
    "network": {"model": "NETWORK"},
    "projected": {"model": "NETWORK", "project": True, "snr": 80},
}
SCENES = {"gaps": scenes.make_gaps, "product": scenes.make_product}
SUFFIXES = {"COG": "cog.tif", "GTiff": "gtiff.tif", "Zarr": "zarr"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network whose weights are sixty-fourths, the same for ever."""
    random = np.random.default_rng(14)
    module = Edsr(2, channels=8, blocks=2)
    weights = {
        name: torch.from_numpy(random.integers(-16, 17, tuple(tensor.shape)).astype(np.float32) / 64)
        for name, tensor in sorted(module.state_dict().items())
    }
    card = Card(name="fixed", summary="a test", scales=(2,), network="fast", channels=8, blocks=2, conditioned=True)
    path = tmp_path_factory.mktemp("weights") / "fixed.safetensors"
    save_file(weights, path, metadata={KEY: card.to_json()})
    return path


@pytest.mark.parametrize("format", list(SUFFIXES))
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("scene", list(SCENES))
def test_a_result_has_the_bytes_that_it_had(
    scene: str, case: str, format: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosr.provenance.__version__", "0")
    monkeypatch.setattr("geosr.cluster.Pool.ahead", 1)  # a GTiff's blocks lie as they were finished
    options = CASES[case] | ({"model": str(network)} if CASES[case]["model"] == "NETWORK" else {})
    src, dst = SCENES[scene](tmp_path), tmp_path / f"fine.{SUFFIXES[format]}"
    geosr.upscale(src, dst, **{"scale": 2, "tile": 48, "format": format, "workers": 1, **options})
    check(f"{scene} {case} {format}", Seen(bytes_of(dst), pixels_of(dst)), exact=case not in ("network", "projected"))


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("scene", list(SCENES))
def test_an_array_has_the_pixels_that_the_file_has(scene: str, case: str, network: Path, tmp_path: Path) -> None:
    options = CASES[case] | ({"model": str(network)} if CASES[case]["model"] == "NETWORK" else {})
    src = SCENES[scene](tmp_path, masked=False)
    geosr.upscale(src, tmp_path / "fine.tif", **{"scale": 2, "tile": 48, **options})
    expected = geosr.open_raster(tmp_path / "fine.tif", chunks=None)
    found = geosr.open_raster(src, chunks=64).geosr.upscale(**{"scale": 2, "tile": 48, **options})
    assert np.array_equal(found.values, expected.values)


@dataclass(frozen=True)
class Seen:
    """What is known of a result, as digests."""

    bytes: str
    pixels: str


def check(name: str, seen: Seen, *, exact: bool) -> None:
    """Hold a result to what is kept of it: its bytes where the libraries that pack them are the same, else its pixels.

    A network's convolutions (not `exact`) depend on processor and torch, too.
    """
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if WRITING:
        results = kept.get("results", {}) | {name: [seen.bytes, seen.pixels]}
        KEPT.write_text(json.dumps({**surroundings(), "results": results}, indent=1) + "\n")
        return
    expected, here = Seen(*kept["results"][name]), surroundings()
    if not exact and here["arithmetic"] != kept["arithmetic"]:
        pytest.skip(f"kept from {kept['arithmetic']}, and this is {here['arithmetic']}")
    assert seen.pixels == expected.pixels
    if here["packing"] == kept["packing"]:
        assert seen.bytes == expected.bytes


@cache
def surroundings() -> dict[str, Any]:
    """What bytes depend on beside geosr."""
    libraries = {"gdal": rasterio.__gdal_version__, **{name: version(name) for name in ("numcodecs", "isal", "zarr")}}
    arithmetic = {"torch": torch.__version__, "processor": torch.backends.cpu.get_cpu_capability()}
    return {"packing": libraries, "arithmetic": arithmetic}


def bytes_of(path: Path) -> str:
    """A digest of all objects of a result, without what differs between runs; JSON in whatever order."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    whole = hashlib.sha256()
    for file in files:
        held = _VARIES.sub(rb"\1", file.read_bytes())
        if file.name.endswith(".json") or file.name.startswith(".z"):
            held = json.dumps(json.loads(held), sort_keys=True).encode()
        whole.update(f"{file.relative_to(path.parent)} {len(held)}\n".encode() + held)
    return whole.hexdigest()[:32]


_VARIES = re.compile(rb'(GEOSR_(?:RUN|INPUT)(?:">|": ?"))[0-9a-f ]+')


def pixels_of(path: Path) -> str:
    """A digest of the full resolution, and of its type and shape."""
    if path.is_dir():
        with xr.open_zarr(path, mask_and_scale=False) as data:
            arrays = [np.asarray(data[name]) for name in sorted(map(str, data.data_vars))]
    else:
        with rasterio.open(path) as data:
            arrays = [data.read(), data.dataset_mask()]
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return whole.hexdigest()[:32]
