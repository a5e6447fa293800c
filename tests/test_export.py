"""What `geosr export` writes is the network that geosr runs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

import geosr
from geosr.cli import cli
from geosr.errors import InputError, ModelError, PlaceError
from geosr.models.card import KEY, Card
from geosr.models.foreign import find
from geosr.models.foreign.export import export
from geosr.models.networks import NETWORKS
from geosr.models.runtime import network_for
from geosr.noise import Noise
from geosr.response import Response
from geosr.sensors import Band
from tests import scenes


def save(path: Path, network: str = "fast", channels: int = 8, blocks: int = 1) -> Path:
    """A network with random weights."""
    torch.manual_seed(0)
    module = NETWORKS[network](scale=2, channels=channels, blocks=blocks)
    assert isinstance(module, nn.Module)
    for name in ("tail.weight", "gains.second.weight"):
        nn.init.normal_(module.get_parameter(name), std=0.1)
    card = Card("mine", "a test", (2,), network, channels, blocks, conditioned=True)
    save_file(module.state_dict(), path, metadata={KEY: card.to_json()})
    return path


def read(path: str | Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read()  # type: ignore[no-any-return]


def has_onnx() -> bool:
    with contextlib.suppress(ImportError):
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

        return True
    return False


ONNX = pytest.mark.skipif(not has_onnx(), reason="onnxruntime and onnxscript, extras, are not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("exports")
    save(folder / "mine.safetensors")
    return folder


@pytest.fixture(scope="module")
def mine(folder: Path) -> Path:
    path = folder / "mine.onnx"
    report = export(str(folder / "mine.safetensors"), 2, "onnx", path)
    assert float(report["difference"].split()[0]) < 1e-5
    return path


@ONNX
def test_an_export_gives_the_stored_numbers_of_the_native_network(mine: Path, tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, shape=(2, 90, 110))
    options: dict[str, Any] = {"scale": 2, "tile": 32, "mtf": [0.2, 0.35], "snr": 50, "precision": "float32"}
    native = geosr.upscale(scene, tmp_path / "a.tif", model=str(mine.with_name("mine.safetensors")), **options)
    foreign = geosr.upscale(scene, tmp_path / "b.tif", model=str(mine), **options)
    assert np.abs(read(native["path"]).astype(int) - read(foreign["path"])).max() <= 1
    card = find(str(mine)).card
    assert (card.name, card.conditioned, card.value_range, card.licence) == ("mine", True, (), "Apache-2.0")


@pytest.mark.lowest
def test_a_program_of_torch_gives_what_the_engine_gives(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt2"
    report = export(str(folder / "mine.safetensors"), 2, "pt2", path)
    assert float(report["difference"].split()[0]) < 1e-5
    extra = {KEY: ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert Card.from_json(extra[KEY]).name == "mine"
    x = torch.rand(1, 1, 90, 96) * 1000
    response, noise = Response.gaussian(0.3).relative(2), Noise(4.0, 0.01)
    found = program(x, torch.tensor([response.told]), torch.tensor([[noise.constant, noise.slope]]))
    seen = (Band(response, noise),)
    expected = network_for(str(folder / "mine.safetensors"), 2, seen, device="cpu")(x[0].numpy(), (0,))[0]
    inner = np.s_[2 * report["halo"] : -2 * report["halo"], 2 * report["halo"] : -2 * report["halo"]]
    assert np.abs(found[0, 0].detach().numpy() - expected)[inner].max() < 1e-4 * np.ptp(expected)


@pytest.mark.parametrize("network", ["span", "vdsr"])
def test_other_networks_pass_the_comparison(network: str, tmp_path: Path) -> None:
    weights = save(tmp_path / "other.safetensors", network, blocks=3)
    report = export(str(weights), 2, "pt2", tmp_path / "other.pt2")
    assert report["multiple"] == 1


def test_an_export_that_differs_is_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geosr.models.foreign.export.PARITY", 0.0)
    with pytest.raises(ModelError, match="differs from mine by"):
        export(str(folder / "mine.safetensors"), 2, "pt2", tmp_path / "mine.pt2")
    assert not list(tmp_path.iterdir())


def test_the_command_checks_what_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "there.pt2").touch()
    for arguments, error, complaint in (
        (["bicubic", "--to", "pt2", "--scale", "2"], ModelError, "nothing to export"),
        (["bicubic", "--to", "pt2"], ModelError, "nothing to export"),
        (["fast", "--to", "pt2"], ModelError, "name one with --scale 2"),
        (["fast", "--to", "pt2", "--scale", "2", "-o", "there.onnx"], InputError, "does not end in .pt2"),
        (["fast", "--to", "pt2", "--scale", "2", "-o", str(tmp_path / "there.pt2")], InputError, "is there already"),
        (
            ["fast", "--to", "pt2", "--scale", "2", "-o", str(tmp_path / "no" / "a.pt2")],
            PlaceError,
            "no does not exist",
        ),
        (["slow", "--to", "pt2", "--scale", "2"], ModelError, "no model is called 'slow'"),
    ):
        result = CliRunner().invoke(cli, ["export", *arguments])
        assert isinstance(result.exception, error)
        assert complaint in str(result.exception)


@ONNX
def test_onnx_files_that_are_no_networks_are_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def write(name: str, shape: list[Any], kind: int = TensorProto.FLOAT, opset: int = 18) -> None:
        scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
        given = helper.make_tensor_value_info("x", kind, shape)
        graph = helper.make_graph([node], "g", [given], [helper.make_tensor_value_info("y", kind, None)], [scales])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        (tmp_path / name).write_bytes(model.SerializeToString())

    write("good.onnx", [1, 3, "h", "w"])
    write("fixed.onnx", [1, 3, 48, 48])
    assert find(str(tmp_path / "good.onnx")).card.scales == find(str(tmp_path / "fixed.onnx")).card.scales == (2,)
    write("opset.onnx", [1, 3, "h", "w"], opset=99)
    write("last.onnx", [1, "h", "w", 3])
    write("batch.onnx", [8, 3, "h", "w"])
    write("whole.onnx", [1, 3, "h", "w"], TensorProto.INT32)
    (tmp_path / "short.onnx").write_bytes((tmp_path / "good.onnx").read_bytes()[:60])
    weights = onnx.load(tmp_path / "good.onnx")
    onnx.save(weights, tmp_path / "apart.onnx", save_as_external_data=True, location="apart.data", size_threshold=0)
    for name, complaint in (
        ("opset.onnx", "truncated or too new"),
        ("short.onnx", "truncated or too new"),
        ("last.onnx", "bands last"),
        ("batch.onnx", r"geosr gives \(1, bands"),
        ("whole.onnx", "geosr takes tensor"),
        ("apart.onnx", "keeps weights in another file"),
    ):
        with pytest.raises(ModelError, match=complaint) as caught:
            find(str(tmp_path / name))
        assert "\n" not in str(caught.value)
