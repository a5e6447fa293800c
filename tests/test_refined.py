"""Trained guided networks: what they are given, the same pixels whatever the tiling, what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file

import geosr
from geosr.errors import InputError, ModelError, PlaceError, TileError
from geosr.models import devices, graphics, registry, runtime
from geosr.models.card import KEY, Card
from geosr.models.networks.guided import Guided
from geosr.models.refiner import Refiner
from geosr.xarray import lazy
from tests.test_devices import Pretended, on_a_card, pretend_one_card
from tests.test_graphics import choose_by_shape
from tests.test_guided import HEIGHT, SIZE, STEP, WIDTH, write

BANDS, GUIDES = ("B05", "B06", "B07", "B8A", "B11", "B12"), ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of drawn weights, which sees little: what holds for it holds for any."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    card = Card(
        name="small", summary="for tests", scales=(2,), network="guided", channels=8, blocks=1, slots=BANDS,
        guides=GUIDES, start="fast", conditioned=True,
    )  # fmt: skip
    save_file(drawn(Guided(6, 4, 3, 8, 1)).state_dict(), path, {KEY: card.to_json()})
    return path


def drawn(module: Guided) -> Guided:
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=random))
    return module


def coarse(folder: Path, names: tuple[str, ...] = ("B05", "B11"), **options: Any) -> Path:
    phases = tuple(0.3 + 0.4 * i for i in range(len(names)))
    return write(
        folder / "coarse.tif", (HEIGHT, WIDTH), Affine(STEP, 0, 0, 0, -STEP, 0), phases, names=names, **options
    )


def fine(folder: Path, names: tuple[str, ...] = GUIDES, **options: Any) -> Path:
    phases, shape = tuple(0.2 + 0.3 * i for i in range(len(names))), (2 * HEIGHT, 2 * WIDTH)
    return write(folder / "fine.tif", shape, Affine(SIZE, 0, 0, 0, -SIZE, 0), phases, names=names, **options)


def run(model: Path, src: Any, guide: Any, dst: Path, **options: Any) -> NDArray[Any]:
    geosr.upscale(src, dst, guide=guide, model=str(model), overwrite=True, **options)
    with rasterio.open(dst) as result:
        pixels: NDArray[Any] = result.read()
    return pixels


def test_unpadded_convolutions_make_what_the_trained_ones_make_away_from_the_border() -> None:
    module = drawn(Guided(2, 3, 3, 8, 2)).eval()
    random = torch.Generator().manual_seed(0)
    estimates, guides = (torch.randn(count, 50, 46, generator=random) for count in (6, 3))
    told = torch.rand(8, generator=random)
    refiner = Refiner(module, "cpu", torch.float32)
    made = refiner(estimates.numpy(), guides.numpy(), told.numpy())
    inner = slice(refiner.rim, -refiner.rim)
    expected = module(estimates[None], guides[None], told[None])[0, :, inner, inner].numpy()
    np.testing.assert_allclose(made, expected, atol=1e-5 * np.abs(expected).max())
    seen = estimates.clone()
    seen[:, 0, 0] = torch.nan
    assert np.isfinite(refiner(seen.numpy(), guides.numpy(), told.numpy())[:, 2:, 2:]).all(), "it sees farther"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.tuples(st.booleans(), st.booleans()),
    tile=st.sampled_from([16, 32, 48]),
    bands=st.sampled_from([("B05", "B11"), ("B12",), ("B8A", "SCL", "B06")]),
    guides=st.sampled_from([GUIDES, ("B04", "B02")]),
    offset=st.sampled_from([0.0, 10.0, -5.0]),
)
def test_tiles_change_no_pixel(
    model: Path,
    tmp_path: Path,
    gaps: tuple[bool, bool],
    tile: int,
    bands: tuple[str, ...],
    guides: tuple[str, ...],
    offset: float,
) -> None:
    hole = (slice(5, 9), slice(11, 20))
    src = coarse(tmp_path, bands, nodata=0, holes=hole if gaps[0] else None)
    with rasterio.open(src, "r+") as dataset:
        dataset.transform = Affine(STEP, 0, offset, 0, -STEP, offset)
    guide = fine(tmp_path, guides, nodata=0, holes=(slice(20, 30), slice(0, 9)) if gaps[1] else None)
    whole = run(model, src, guide, tmp_path / "whole.tif", tile=4096)
    assert np.array_equal(run(model, src, guide, tmp_path / "tiled.tif", tile=tile), whole)
    assert not np.array_equal(run(Path("glp"), src, guide, tmp_path / "glp.tif")[0], whole[0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_tiles_change_no_pixel_on_a_card_whose_kernels_are_chosen_by_shape(
    precision: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_card(monkeypatch)
    choose_by_shape(monkeypatch, 1e-3 if precision == "float32" else 2e-2)
    monkeypatch.setattr(graphics, "SIDE", 64)
    runtime._load.cache_clear()
    src, guide = coarse(tmp_path, dtype="float32"), fine(tmp_path)
    whole = run(model, src, guide, tmp_path / "whole.tif", tile=4096, precision=precision)
    assert np.array_equal(run(model, src, guide, tmp_path / "tiled.tif", tile=32, precision=precision), whole)
    monkeypatch.setattr(Refiner, "_on_card", Refiner._run)
    assert not np.array_equal(run(model, src, guide, tmp_path / "x.tif", tile=32, precision=precision), whole)
    runtime._load.cache_clear()
    runtime.choose_device.cache_clear()


def test_a_part_is_a_cut_of_the_whole(model: Path, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    whole = run(model, src, guide, tmp_path / "whole.tif")
    for row, col in ((7, 5), (6, 3), (11, 8)):
        box = (col * SIZE, -(row + 20) * SIZE, (col + 24) * SIZE, -row * SIZE)
        part = run(model, src, guide, tmp_path / "part.tif", bounds=box)
        assert np.array_equal(part, whole[:, row : row + 20, col : col + 24])


def test_gain_and_offset_of_bands_and_guides_pass(model: Path, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path, dtype="float64"), fine(tmp_path, dtype="float64")
    plain = run(model, src, guide, tmp_path / "plain.tif", snr=1e9)
    for path, gain, offset in ((src, 2.5, -700.0), (guide, 0.3, 4000.0)):
        with rasterio.open(path, "r+") as dataset:
            dataset.write(dataset.read() * gain + offset)
    other = run(model, src, guide, tmp_path / "other.tif", snr=1e9)
    np.testing.assert_allclose(other, plain * 2.5 - 700, atol=0.1)


def test_arrays_have_the_pixels_of_files(model: Path, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    expected = run(model, src, guide, tmp_path / "out.tif")
    made = geosr.open_raster(src).geosr.upscale(str(model), guide=geosr.open_raster(guide), tile=32)
    assert np.array_equal(made.values, expected)


def test_an_array_on_its_guides_grid_is_not_computed_by_cards_and_processors_together(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_array = geosr.open_raster(fine(tmp_path))
    made = geosr.open_raster(coarse(tmp_path)).geosr.upscale(str(model), guide=fine_array, tile=32)
    pretend_one_card(monkeypatch)
    with pytest.raises(TileError, match=r"this process computes on the processor, .*, and the run is of Card"):
        made.compute(scheduler="synchronous")
    assert made.compute(scheduler="synchronous").shape == made.shape


def test_who_only_plans_arrays_for_a_cluster_leaves_its_own_card_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(card: str) -> None:
        raise AssertionError(f"{card} was used")

    Pretended(monkeypatch)
    monkeypatch.setattr(devices, "_convolve", touched)
    array, guide = geosr.open_raster(coarse(tmp_path)), geosr.open_raster(fine(tmp_path))
    monkeypatch.setattr(lazy, "active_client", object)
    made = array.geosr.upscale(str(model), guide=guide, tile=32, device="cuda")
    assert pickle.loads(pickle.dumps(made.data.dask)) is not None
    runtime.choose_device.cache_clear()
    monkeypatch.setattr(lazy, "active_client", lambda: None)
    with pytest.raises(PlaceError, match="cuda:0 was used"):
        array.geosr.upscale(str(model), guide=guide, tile=32, device="cuda")
    runtime.choose_device.cache_clear()


def test_a_band_without_detail_stays_as_bicubic_has_it(model: Path, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    with rasterio.open(src, "r+") as dataset:
        dataset.write(np.full((HEIGHT, WIDTH), 1234, "uint16"), 2)
    assert (run(model, src, guide, tmp_path / "out.tif")[1] == 1234).all()


@pytest.mark.parametrize(
    ("bands", "guides", "line"),
    [
        (("B05", "B09"), GUIDES, "brings bands named B05, B06, B07, B8A, B11, B12"),
        (("B05",), ("B02", "pan"), "is guided by bands named B02, B03, B04, B08"),
        (("B05", "B5"), GUIDES, "each once, and found B05, B5"),
    ],
)
def test_bands_that_it_has_no_place_for_are_refused(
    model: Path, tmp_path: Path, bands: tuple[str, ...], guides: tuple[str, ...], line: str
) -> None:
    with pytest.raises(InputError, match=line):
        run(model, coarse(tmp_path, bands), fine(tmp_path, guides), tmp_path / "out.tif")
    assert not list(tmp_path.glob("*out*"))


def test_pixels_of_another_ratio_are_refused(model: Path, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    with rasterio.open(src, "r+") as dataset:
        dataset.transform = Affine(30, 0, 0, 0, -30, 0)
    with pytest.raises(InputError, match="2 times as fine, and here it is 3"):
        run(model, src, guide, tmp_path / "out.tif")


def test_weights_that_do_not_fit_their_card_are_refused(model: Path, tmp_path: Path) -> None:
    card = replace(registry.card(str(model)), channels=16, parameters=0)
    path = tmp_path / "other.safetensors"
    save_file(Guided(6, 4, 3, 8, 1).state_dict(), path, {KEY: card.to_json()})
    with pytest.raises(ModelError, match="don't fit its card"):
        run(path, coarse(tmp_path), fine(tmp_path), tmp_path / "out.tif")
