"""A torch network of the user's own goes geosr's whole way: tiles, files, arrays, other processes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import geosr
from geosr import TorchNetwork
from geosr.errors import InputError, ModelError
from tests import scenes


def make_blur() -> nn.Module:
    """Sees two pixels far."""
    conv = nn.Conv2d(1, 1, 5, padding=2, padding_mode="replicate", bias=False)
    conv.weight.data = torch.full_like(conv.weight, 1 / 25)
    return nn.Sequential(conv, nn.Upsample(scale_factor=2))


def make_mean_of_three() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1, bias=False)
    conv.weight.data = torch.full_like(conv.weight, 1 / 3)
    return nn.Sequential(conv, nn.Upsample(scale_factor=2))


def make_gain(weights: Path) -> nn.Module:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    conv.weight.data[:] = float(weights.read_text())
    return nn.Sequential(conv, nn.Upsample(scale_factor=2))


def spread_over_the_block(x: Tensor) -> Tensor:
    return (x - x.mean()).repeat_interleave(2, -1).repeat_interleave(2, -2)


def make_spread() -> Any:
    return spread_over_the_block


def make_nothing() -> Any:
    return lambda x: x


def make_trouble() -> Any:
    raise FileNotFoundError("no such file: best.pt")


def read(path: str | Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read()  # type: ignore[no-any-return]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return scenes.make_plain(tmp_path, shape=(3, 90, 110))


BLUR = TorchNetwork(make_blur, scale=2, halo=2)


def test_tiles_give_what_the_network_gives_for_the_whole_scene(scene: Path, tmp_path: Path) -> None:
    report = geosr.upscale(scene, tmp_path / "out.tif", model=BLUR, scale=2, tile=32)
    assert report["model"] == f"{__name__}.make_blur"
    with torch.inference_mode():
        whole = make_blur()(torch.from_numpy(read(scene)[:, None].astype(np.float32)))[:, 0].numpy()
    inner = np.s_[:, 6:-6, 6:-6]  # elsewhere the scene is mirrored, not continued
    assert np.abs(read(report["path"])[inner] - np.rint(whole)[inner]).max() <= 1
    with rasterio.open(report["path"]) as file:
        assert file.tags()["GEOSR_MODEL"] == f"{__name__}.make_blur"


def test_bands_are_given_together_where_it_wants_that(scene: Path, tmp_path: Path) -> None:
    network = TorchNetwork(make_mean_of_three, scale=2, halo=0, bands=3, multiple=4)
    geosr.upscale(scene, tmp_path / "out.tif", model=network, scale=2, tile=32)
    expected = read(scene).astype(float).mean(0).repeat(2, 0).repeat(2, 1)
    assert np.abs(read(tmp_path / "out.tif") - expected).max() <= 0.51
    with pytest.raises(ModelError, match="takes 3 bands together, and there are 2"):
        geosr.upscale(scene, tmp_path / "two.tif", model=network, scale=2, bands=[1, 2])
    with pytest.raises(ModelError, match="keep them in one chunk"):
        geosr.open_raster(scene, chunks={"band": 1}).geosr.upscale(network, 2)


@pytest.mark.slow
def test_arrays_and_other_processes_give_the_same(scene: Path, tmp_path: Path) -> None:
    geosr.upscale(scene, tmp_path / "out.tif", model=BLUR, scale=2, tile=32)
    geosr.upscale(scene, tmp_path / "there.tif", model=BLUR, scale=2, tile=32, scheduler="processes", workers=1)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()
    fine = geosr.open_raster(scene, chunks=50).geosr.upscale(BLUR, 2, tile=32)
    assert fine.attrs["GEOSR_MODEL"] == f"{__name__}.make_blur"
    assert np.array_equal(fine.values, read(tmp_path / "out.tif"))


def test_a_copy_in_another_process_is_the_same_and_another_instance_is_not() -> None:
    assert pickle.loads(pickle.dumps(BLUR)) == BLUR
    assert len({BLUR, pickle.loads(pickle.dumps(BLUR)), TorchNetwork(make_blur, 2, 2)}) == 2
    assert repr(BLUR) == repr(TorchNetwork(make_blur, 2, 2))


def test_a_stopped_run_goes_on_with_the_same_weights_only(scene: Path, tmp_path: Path) -> None:
    class EnoughError(Exception):
        """Stops a run."""

    def stop(done: int, total: int, pixels: int) -> None:
        if done == 5:
            raise EnoughError

    weights = tmp_path / "gain.txt"
    weights.write_text("2")

    def run(**more: Any) -> dict[str, Any]:
        network = TorchNetwork(make_gain, 2, 0, weights)
        return geosr.upscale(scene, tmp_path / "out.tif", model=network, scale=2, tile=32, **more)

    with pytest.raises(EnoughError):
        run(progress=stop)
    weights.write_text("3")
    with pytest.raises(InputError, match="overwrite"):
        run()
    weights.write_text("2")
    assert run()["tiles_from_an_earlier_run"] >= 5
    assert np.array_equal(read(tmp_path / "out.tif"), 2 * read(scene).repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (TorchNetwork(make_blur, 2, 1), "sees farther than its halo of 1 pixels"),
        (TorchNetwork(make_spread, 2, 4), "looks at whole blocks"),
        (TorchNetwork(make_nothing, 2, 1), r"gives \(1, 10, 10\) for \(1, 10, 10\), expected \(1, 20, 20\)"),
        (TorchNetwork(make_trouble, 2, 1), "can't be run: FileNotFoundError: no such file"),
        (TorchNetwork(make_blur, 2, -1), "halo is -1; it must be a whole number from 0"),
        (TorchNetwork(make_blur, 4, 1), "works at x4, not x2"),
        (TorchNetwork(make_gain, 2, 0, "nowhere.txt"), "can't read the weights"),
    ],
)
def test_a_network_that_would_not_do_is_refused_before_the_first_tile(
    network: TorchNetwork, told: str, scene: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        geosr.upscale(scene, tmp_path / "out.tif", model=network, scale=2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.tif").exists()
