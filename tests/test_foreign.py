"""Networks from elsewhere go geosr's whole way, and nothing in their files is executed."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from safetensors.torch import save_file
from torch import Tensor, nn

import geosr
from geosr.errors import GeosrError, ModelError
from geosr.evaluation.consistency import consistency
from geosr.models import registry, runtime
from geosr.models.foreign import find, runner
from geosr.models.foreign.bands import arrange, told
from geosr.models.foreign.checkpoint import _spandrel
from geosr.models.foreign.export import _quiet
from geosr.models.runtime import ModelNetwork, network_for
from geosr.response import PROBE, Response
from geosr.sensors import Band, SensorGuess
from tests import scenes


class Photo(nn.Module):
    """Three bands, x2; sees two pixels far and bends what is beyond 0 .. 1, as networks of photographs may."""

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(bands, 8, 3, padding=1)
        self.last = nn.Conv2d(8, bands * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        base = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        detail = nn.functional.pixel_shuffle(self.last(nn.functional.relu(self.first(x))), 2)
        return (base + 0.05 * detail).clamp(0, 1)


class Global(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)).repeat_interleave(2, -1).repeat_interleave(2, -2)


def save_onnx(path: Path, module: nn.Module, bands: int = 3, fixed: bool = False) -> Path:
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    dims = None if fixed else {2: torch.export.Dim("h", min=4, max=4096), 3: torch.export.Dim("w", min=4, max=4096)}
    program = torch.export.export(module.eval(), (torch.rand(1, bands, 40, 44),), dynamic_shapes=(dims,))
    with _quiet():
        made = torch.onnx.export(program, dynamo=True)
    assert made is not None
    made.save(path, external_data=False)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_onnx(tmp_path_factory.mktemp("models") / "photo.onnx", Photo())


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_onnx(tmp_path_factory.mktemp("models") / "fixed.onnx", Photo(), fixed=True)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return scenes.make_plain(tmp_path, shape=(3, 90, 110))


def read(path: str | Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read()  # type: ignore[no-any-return]


def run(scene: Path, model: Path, out: Path, **options: Any) -> NDArray[Any]:
    report = geosr.upscale(scene, out, model=str(model), scale=2, **{"tile": 32} | options)
    return read(report["path"])


def test_what_a_file_does_not_say_is_found_out(photo: Path, fixed: Path) -> None:
    card = find(str(photo)).card
    assert (card.bands, card.scales, card.multiple, card.value_range) == (3, (2,), 1, (0.0, 1.0))
    assert 2 <= card.halo <= 4
    assert 2 <= find(str(fixed)).card.halo <= 4
    assert "halo = " in find(str(photo)).found[0]


def test_tiles_give_what_the_network_gives_for_the_whole_scene(photo: Path, scene: Path, tmp_path: Path) -> None:
    result = run(scene, photo, tmp_path / "out.tif")
    stored = read(scene).astype(np.float64)
    low, high = (np.quantile(stored, each, axis=(1, 2))[:, None, None] for each in (0.001, 0.999))
    values = (stored - low) / (high - low)
    inside = values.clip(0, 1)
    with torch.inference_mode():
        network = Photo()(torch.from_numpy(inside[None]).float())[0].double().numpy()
    bicubic = network_for("bicubic", 2, (Band(PROBE),) * 3)
    expected = (network + bicubic(values - inside, (0, 1, 2))) * (high - low) + low
    limits = np.iinfo(np.uint16)
    inner = np.s_[:, 8:-8, 8:-8]
    apart = np.abs(result[inner] - np.rint(expected).clip(limits.min, limits.max)[inner])
    assert apart.max() <= 1
    assert (inside != values).any()  # what lies beyond the range was there, and was not clipped
    whole = run(scene, photo, tmp_path / "whole.tif", tile=256)
    assert np.abs(result.astype(int) - whole).max() <= 1


def test_a_network_of_one_size_gives_what_it_gives_at_any_size(
    photo: Path, fixed: Path, scene: Path, tmp_path: Path
) -> None:
    free, pieces = run(scene, photo, tmp_path / "a.tif"), run(scene, fixed, tmp_path / "b.tif")
    assert np.abs(free.astype(int) - pieces).max() <= 1


def test_front_ends_and_other_processes_agree(photo: Path, scene: Path, tmp_path: Path) -> None:
    file = run(scene, photo, tmp_path / "out.tif")
    assert np.array_equal(run(scene, photo, tmp_path / "there.tif", scheduler="processes", workers=1), file)
    lazy = geosr.open_raster(scene, chunks=50).geosr.upscale(str(photo), 2, tile=32)
    assert np.array_equal(lazy.values, file)
    with pytest.raises(ModelError, match="keep them in one chunk"):
        geosr.open_raster(scene, chunks={"band": 1}).geosr.upscale(str(photo), 2)


def test_the_accessor_finds_the_colours_that_the_file_paints(photo: Path, tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, shape=(4, 48, 48), dtype="uint8", high=250)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp[name] for name in ("blue", "green", "red", "undefined")]
    lazy = geosr.open_raster(path, chunks={"band": 4}).geosr.upscale(str(photo), 2, tile=32)
    assert np.array_equal(lazy.values, run(path, photo, tmp_path / "out.tif"))


def test_a_worker_that_finds_another_file_refuses_it(photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "photo.onnx"
    copy.write_bytes(photo.read_bytes())
    seen = tuple(Band(PROBE, levels=(0.0, 1.0), color=color) for color in ("red", "green", "blue"))
    network = pickle.loads(pickle.dumps(network_for(str(copy), 2, seen)))
    assert isinstance(network, ModelNetwork)
    copy.write_bytes(photo.read_bytes() + b" ")
    runtime._load.cache_clear()
    runner.load.cache_clear()
    with pytest.raises(ModelError, match="not those that this run began with"):
        assert network.halo


def test_bands_go_in_as_colours_or_alone() -> None:
    assert arrange("it", ("blue", "green", "red", "nir"), 3) == ((2, 1, 0), (3,))
    assert arrange("it", ("", "", ""), 3) == ((0, 1, 2),)
    assert arrange("it", ("",) * 5, 3) == ((0,), (1,), (2,), (3,), (4,))
    assert arrange("it", ("",) * 4, 2) == ((0, 1), (2, 3))
    assert told(("blue", "green", "red", "", "nir"), ((2, 1, 0), (4,))) == (
        "bands 3, 2, 1 go in as red, green and blue; band 5 goes in alone, three times, "
        "and the mean of what comes out is taken"
    )
    guess = SensorGuess(bands=(Band(PROBE),) * 3)
    bands = guess.described(("x", "Red", "red"), ("", "", "as asked"), ("gray", "undefined", "gray")).bands
    assert [(band.color, band.categorical) for band in bands] == [("", False), ("red", False), ("", True)]


def test_a_scene_of_other_bands_runs_band_by_band(photo: Path, tmp_path: Path) -> None:
    scene = scenes.make_plain(tmp_path, shape=(4, 40, 50))
    plan = geosr.prepare(scene, tmp_path / "out.tif", model=str(photo), scale=2)
    assert any("every band goes in alone" in note for note in plan.notes)
    plan.execute()
    assert np.array_equal(
        read(tmp_path / "out.tif")[2:3], run(scene, photo, tmp_path / "third.tif", bands=[3], tile=256)
    )


def test_a_card_beside_the_file_says_what_it_says(photo: Path, scene: Path, tmp_path: Path) -> None:
    copy = tmp_path / "photo.onnx"
    copy.write_bytes(photo.read_bytes())
    card = tmp_path / "photo.onnx.toml"
    card.write_text('name = "mine"\nhalo = 2\nstored_range = [0, 10000]\n')
    assert (find(str(copy)).card.name, find(str(copy)).card.stored_range) == ("mine", (0.0, 10000.0))
    assert not registry.card(str(copy)).sampled
    for text, complaint in (
        ("halo = 1", "sees farther than its halo of 1 pixels"),
        ("halo = true", "halo is True; it must be a valid integer"),
        ("value_range = [1, 0]", "it must be two numbers"),
        ("tile = 3", "unknown key tile; known are bands"),
        ("halo = ", "can't read the card"),
        ("bands = 4", "can't be run"),
    ):
        card.write_text(text)
        with pytest.raises(ModelError, match=complaint) as caught:
            find(str(copy))
        assert "\n" not in str(caught.value)


def test_a_card_that_says_another_scale_than_the_network_makes_is_found_out(
    photo: Path, scene: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "photo.onnx"
    copy.write_bytes(photo.read_bytes())
    for more in ("", "halo = 8\nexact = false"):
        (tmp_path / "photo.onnx.toml").write_text(f"scale = 3\n{more}")
        with pytest.raises(ModelError, match="card says x3, and the network makes x2"):
            geosr.upscale(scene, tmp_path / "out.tif", model=str(copy), scale=3)


def test_a_network_that_looks_at_whole_blocks_runs_only_where_its_card_admits_it(scene: Path, tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "global.onnx", Global())
    with pytest.raises(ModelError, match="looks at whole blocks, so that tiles would show"):
        find(str(path))
    (tmp_path / "global.onnx.toml").write_text("halo = 4\nexact = false")
    plan = geosr.prepare(scene, tmp_path / "out.tif", model=str(path), scale=2)
    assert any("tiles may show" in note for note in plan.notes)
    plan.execute()


class InPlace(nn.Module):
    """Changes what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5).repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_network_that_works_in_place_changes_only_its_own_copy(tmp_path: Path, dtype: str) -> None:
    scene = scenes.make_plain(tmp_path, shape=(1, 60, 70), dtype=dtype)
    network = geosr.TorchNetwork(InPlace, scale=2, halo=2)
    geosr.upscale(scene, tmp_path / "out.tif", model=network, scale=2, project=True, mtf=0.3, snr=1e6)
    with rasterio.open(scene) as src, rasterio.open(tmp_path / "out.tif") as dst:
        found = consistency(dst.read(1), src.read(1), Response.gaussian(0.3).relative(2))
    assert found.mean < 20  # half of all would be a thousand


class Nothing(nn.Module):
    """Gives NaN."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, scale_factor=2.0) * float("nan")


def test_a_network_that_gives_nan_is_said_to(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "nothing.onnx", Nothing())
    (tmp_path / "nothing.onnx.toml").write_text("halo = 4\nscale = 2")
    with pytest.raises(ModelError, match="gives NaN or infinity for numbers of"):
        find(str(path))


class Code:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return exec, ("import pathlib; pathlib.Path('ran').write_text('')",)


def test_a_pickle_with_code_is_refused_and_not_run(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("code.pth", "code.ckpt", "code.pt"):
        torch.save({"conv.weight": torch.zeros(1), "more": Code()}, name)
        with pytest.raises(ModelError, match="could run any code") as caught:
            geosr.upscale(scene, tmp_path / "out.tif", model=name, scale=2)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_networks_are_refused_in_a_line(scene: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "short.onnx").write_bytes(photo.read_bytes()[:3000])
    (tmp_path / "text.pth").write_text("no weights")
    save_onnx(tmp_path / "four.onnx", Photo(4), bands=4)
    for name, complaint in (
        ("nowhere.onnx", "can't read the weights"),
        ("short.onnx", "truncated or too new"),
        ("photo.pt2", r"no model is called .*, \.onnx or \.pth file"),
        ("text.pth", "is refused: it is damaged"),
        ("four.onnx", "takes 4 bands together, and there are 3"),
    ):
        with pytest.raises(GeosrError, match=complaint) as caught:
            geosr.upscale(scene, tmp_path / "out.tif", model=str(tmp_path / name), scale=2)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
    with pytest.raises(ModelError, match="works at x2, not x4"):
        geosr.upscale(scene, tmp_path / "out.tif", model=str(photo), scale=4)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(("name", "missing"), [("some.onnx", "onnxruntime"), ("some.safetensors", "spandrel")])
def test_a_missing_extra_is_named(name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / name)
    extra = {"onnxruntime": "onnx"}.get(missing, missing)
    with pytest.raises(ModelError, match=rf"pip install 'geosr\[{extra}\]'"):
        find(str(tmp_path / name))


# What spandrel knows


@pytest.fixture(scope="module")
def esrgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        _spandrel(Path("x.pth"))
    except ModelError:
        pytest.skip("spandrel, an extra, is not installed")
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "esrgan.pth"
    torch.save({"params_ema": RRDBNet(num_filters=8, num_blocks=1, scale=2).state_dict()}, path)
    return path


def test_a_checkpoint_that_spandrel_knows_runs(esrgan: Path, scene: Path, tmp_path: Path) -> None:
    card = find(str(esrgan)).card
    assert (card.bands, card.scales, card.value_range) == (3, (2,), (0.0, 1.0))
    assert "ESRGAN" in card.summary
    small, large = (run(scene, esrgan, tmp_path / f"{tile}.tif", tile=tile) for tile in (32, 256))
    assert np.abs(small.astype(int) - large).max() <= 1
    weights = tmp_path / "esrgan.safetensors"
    save_file(torch.load(esrgan, weights_only=True)["params_ema"], weights)
    assert np.array_equal(run(scene, weights, tmp_path / "safe.tif", tile=32), small)


def test_weights_of_no_known_architecture_are_refused(esrgan: Path, tmp_path: Path) -> None:
    save_file({"strange.weight": torch.zeros(3)}, tmp_path / "strange.safetensors")
    with pytest.raises(ModelError, match="no architecture that spandrel knows"):
        find(str(tmp_path / "strange.safetensors"))
