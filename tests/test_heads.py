"""A model with a second result beside the image: both whole or neither, in files, stores and arrays, on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rio_cogeo import cog_validate

import geosr
from geosr.archive import upscale_many
from geosr.errors import InputError
from geosr.models import registry
from geosr.models.card import Card
from geosr.models.classical import upsample_into
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.models.runtime import network_for
from geosr.radiometry import IMAGE, Head, Passes, fill
from geosr.response import Response
from geosr.sensors import UNKNOWN, Band, Observation
from tests import scenes
from tests.test_cli import geosr as command

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:distributed", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

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

    def __call__(self, block: NDArray[Any], bands: Observation, out: NDArray[Any]) -> None:
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


def test_an_array_becomes_a_dataset_of_all_results(scene: Path) -> None:
    geosr.upscale(scene, scene.with_name("x.tif"), **OPTIONS)
    for chunks in (48, None):
        array = geosr.open_raster(scene, chunks=chunks)
        found = array.geosr.upscale(Doubt(), 2, tile=32)
        assert list(found) == ["data", "sigma"]
        alone = array.geosr.upscale("bicubic", 2, tile=32)
        assert np.array_equal(found["data"], alone)
        assert np.array_equal(found["sigma"], spread_of(scene), equal_nan=True)
        assert found["sigma"].dtype == np.float32
        assert found["data"].attrs["ancillary_variables"] == "sigma"
        assert found["data"].attrs["GEOSR_MODEL"] == found["sigma"].attrs["GEOSR_MODEL"] == "doubt"
        assert found["sigma"].attrs["GEOSR_RESULT"] == "sigma"
        assert (found["sigma"].attrs["scale_factor"], found["sigma"].attrs["add_offset"]) == (0.1, 0.0)
        assert (found["data"].attrs["scale_factor"], found["data"].attrs["add_offset"]) == (-0.1, -1.0)
        path = found["sigma"].geosr.to_geotiff(scene.with_name(f"sigma_{chunks}.tif"))
        with rasterio.open(path) as file, rasterio.open(scene.with_name("x.sigma.tif")) as own:
            assert np.array_equal(file.read(), own.read(), equal_nan=True)
            assert (file.dtypes, file.scales, file.offsets) == (own.dtypes, own.scales, own.offsets)
            assert np.isnan(file.nodata)


def test_bands_with_offsets_of_their_own_keep_them_beside_a_spread_that_has_none(scene: Path) -> None:
    with rasterio.open(scene, "r+") as file:
        file.scales, file.offsets = (-0.1, 0.2, 0.3), (-1.0, 0.0, 5.0)
    found = geosr.open_raster(scene, chunks=48).geosr.upscale(Doubt(), 2, tile=32)
    for name, scales, offsets in (("data", (-0.1, 0.2, 0.3), (-1.0, 0.0, 5.0)), ("sigma", (0.1, 0.2, 0.3), (0.0,) * 3)):
        with rasterio.open(found[name].geosr.to_geotiff(scene.with_name(f"{name}.tif"))) as file:
            assert (file.scales, file.offsets) == (scales, offsets)


def test_what_lazy_results_share_is_computed_once(scene: Path) -> None:
    found = geosr.open_raster(scene, chunks=48).geosr.upscale(Doubt(), 2, tile=64)
    before = DoubtEngine.calls
    together = found.compute()
    tiles = DoubtEngine.calls - before
    assert tiles == 2 * 2 * 3  # tiles of 64 pixels over 100 x 130, two bands that are mixed
    part = found["sigma"][:1, :64, :64]
    assert np.array_equal(part.compute(), together["sigma"][:1, :64, :64], equal_nan=True)
    assert DoubtEngine.calls - before == tiles + 2


def test_each_variable_of_a_dataset_gets_its_spread(scene: Path) -> None:
    array = geosr.open_raster(scene, chunks=48)
    beside = ["band", "band_name"]
    dataset = xr.Dataset({name: array[band].drop_vars(beside) for name, band in (("B02", 0), ("B04", 2))})
    found = dataset.geosr.upscale(Doubt(), 2, tile=32)
    assert set(found) == {"B02", "B04", "B02_sigma", "B04_sigma"}
    assert found["B04"].attrs["ancillary_variables"] == "B04_sigma"
    for name, band in (("B02", 0), ("B04", 2)):
        assert np.array_equal(found[f"{name}_sigma"], spread_of(scene)[band], equal_nan=True)


# Files and stores

OPTIONS: dict[str, Any] = {"model": Doubt(), "scale": 2, "tile": 32, "workers": 1}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three bands with gaps, an offset and a falling scale, of which the second holds classes."""
    stored = scenes.pixels((3, 100, 130))
    stored[0, 20:50, 30:60] = 0
    stored[:, 70:75] = 0
    path = scenes.write(tmp_path / "scene.tif", stored, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.descriptions = (-0.1,) * 3, (-1.0,) * 3, ("B02", "SCL", "B04")
    return path


def read(path: Path, level: int | None = None) -> NDArray[Any]:
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as file:
        return file.read()  # type: ignore[no-any-return]


def spread_of(scene: Path) -> NDArray[np.float32]:
    """The spread that is to come of the scene: of classes 0, and NaN where there is no data."""
    stored = read(scene)
    known = stored != 0
    found = expected_spread(fill(stored.astype(np.float32), known))
    found[1] = 0
    found[~known.repeat(2, 1).repeat(2, 2)] = np.nan
    return found


@pytest.mark.parametrize("format", ["COG", "GTiff", "Zarr"])
def test_a_spread_lies_beside_its_image(scene: Path, format: str) -> None:
    dst = scene.with_name("x.zarr" if format == "Zarr" else "x.tif")
    alone = scene.with_name("alone.zarr" if format == "Zarr" else "alone.tif")
    co = {"OVERVIEWS": "AUTO", "BLOCKSIZE": "32"}
    report = geosr.upscale(scene, dst, format=format, co=co, **OPTIONS)
    plain = geosr.upscale(scene, alone, format=format, co=co, **OPTIONS | {"model": "bicubic"})
    assert plain["others"] == {}
    assert report["bytes"] > plain["bytes"]
    if format == "Zarr":
        assert report["others"] == {"sigma": f"{dst}/sigma"}
        with xr.open_zarr(dst) as data, xr.open_zarr(dst, mask_and_scale=False) as stored:
            assert np.array_equal(stored["data"], xr.open_zarr(alone, mask_and_scale=False)["data"])
            assert np.array_equal(stored["sigma"], spread_of(scene), equal_nan=True)
            assert stored["data"].attrs["ancillary_variables"] == "sigma"
            assert stored["sigma"].dtype == np.float32
            assert (stored["sigma"].attrs["scale_factor"], stored["sigma"].attrs["add_offset"]) == (0.1, 0.0)
            assert np.isnan(stored["sigma"].attrs["_FillValue"])
            assert stored["sigma"].attrs["GEOSR_RESULT"] == "sigma"
            assert data["sigma"].dims == data["data"].dims
            np.testing.assert_allclose(data["sigma"], 0.1 * spread_of(scene), rtol=1e-6)
        return
    sigma = scene.with_name("x.sigma.tif")
    assert report["others"] == {"sigma": str(sigma)}
    assert np.array_equal(read(dst), read(alone))
    assert np.array_equal(read(sigma), spread_of(scene), equal_nan=True)
    with rasterio.open(dst) as image, rasterio.open(sigma) as spread:
        assert (spread.dtypes[0], spread.scales, spread.offsets) == ("float32", (0.1,) * 3, (0.0,) * 3)
        assert np.isnan(spread.nodata)
        assert (spread.crs, spread.transform, spread.shape) == (image.crs, image.transform, image.shape)
        assert (spread.descriptions, spread.block_shapes) == (image.descriptions, image.block_shapes)
        assert spread.overviews(1) == image.overviews(1) != []
        assert image.tags() | {"GEOSR_RESULT": "sigma"} == spread.tags()
        assert image.tags()["GEOSR_RESULTS"] == "sr sigma"
    if format == "COG":
        assert cog_validate(sigma, strict=True, quiet=True) == (True, [], [])


def test_a_second_image_is_stored_and_described_as_the_first(scene: Path) -> None:
    two = Doubt(heads=(IMAGE, Head("detail", Passes.VALUE)))
    geosr.upscale(scene, scene.with_name("x.tif"), **OPTIONS | {"model": two})
    stored, found = read(scene), read(scene.with_name("x.detail.tif"))
    known = (stored != 0).repeat(2, 1).repeat(2, 2)
    # A spread of less than half a count would read as no data, and moves off it.
    assert np.array_equal(found[::2], np.where(known, np.maximum(np.rint(spread_of(scene)), 1), 0)[::2])
    assert np.array_equal(found[1], stored[1].repeat(2, 0).repeat(2, 1))
    with rasterio.open(scene.with_name("x.detail.tif")) as file:
        assert (file.dtypes[0], file.nodata, file.scales, file.offsets) == ("uint16", 0, (-0.1,) * 3, (-1.0,) * 3)


@pytest.mark.parametrize("name", ["x.tif", "x.zarr"])
def test_overviews_of_a_spread_are_root_mean_squares_of_what_is_known(scene: Path, name: str) -> None:
    geosr.upscale(scene, scene.with_name(name), co={"BLOCKSIZE": "32"}, **OPTIONS)
    finer = spread_of(scene)
    for level in range(3):
        tall, wide = (side % 2 for side in finer.shape[1:])
        padded = np.pad(finer, ((0, 0), (0, tall), (0, wide)), mode="edge").astype(float)
        four = np.stack([padded[:, row::2, col::2] for row in (0, 1) for col in (0, 1)])
        known = np.isfinite(four)
        count = known.sum(0)
        mean = (np.where(known, four, 0) ** 2).sum(0) / np.maximum(count, 1)
        classes = finer[1, ::2, ::2]
        finer = np.where(count, np.sqrt(mean), np.nan).astype(np.float32)
        finer[1] = classes
        if name == "x.zarr":
            with xr.open_zarr(scene.with_name(name), group=str(level + 1), mask_and_scale=False) as data:
                found = data["sigma"].values
        else:
            found = read(scene.with_name("x.sigma.tif"), level)
        np.testing.assert_allclose(found, finer, rtol=1e-6)


def test_a_mask_and_an_area_of_interest_are_nan_in_a_spread(tmp_path: Path) -> None:
    src = scenes.make_masked(tmp_path)
    with rasterio.open(src) as file:
        west, south, east, north = file.bounds
        valid = file.dataset_mask() > 0
    triangle = [(west, south), (east, south), (west, north), (west, south)]
    aoi = scenes.make_geojson(tmp_path, [triangle], crs=scenes.UTM)
    geosr.upscale(src, tmp_path / "x.tif", aoi=aoi, **OPTIONS)
    with rasterio.open(tmp_path / "x.tif") as image, rasterio.open(tmp_path / "x.sigma.tif") as spread:
        known = image.dataset_mask() > 0
        assert np.array_equal(spread.dataset_mask() > 0, known)
        assert np.array_equal(np.isfinite(spread.read()), np.broadcast_to(known, (spread.count, *known.shape)))
    assert 0 < known.sum() < valid.sum() * 4


def test_colours_and_alpha_of_an_image_are_none_of_its_spread(tmp_path: Path) -> None:
    src = scenes.make_alpha(tmp_path)
    geosr.upscale(src, tmp_path / "x.tif", **OPTIONS)
    with rasterio.open(tmp_path / "x.sigma.tif") as spread, rasterio.open(tmp_path / "x.tif") as image:
        assert image.colorinterp[-1] == ColorInterp.alpha
        assert set(spread.colorinterp) <= {ColorInterp.gray, ColorInterp.undefined}
        assert spread.count == image.count


# Where tiles run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.tif", "x.zarr"])
@pytest.mark.parametrize("scheduler", ["processes", "client"])
def test_processes_and_a_cluster_write_the_same_bytes(scene: Path, name: str, scheduler: str) -> None:
    def held(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    here, there = scene.parent / "here", scene.parent / "there"
    for folder in (here, there):
        folder.mkdir()
    geosr.upscale(scene, here / name, **OPTIONS)
    if scheduler == "processes":
        geosr.upscale(scene, there / name, scheduler=scheduler, **OPTIONS)
    else:
        settings = {"threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
        with LocalCluster(n_workers=2, **settings) as cluster, Client(cluster, set_as_default=False) as client:
            geosr.upscale(scene, there / name, client=client, **OPTIONS)
    assert held(here) == held(there)


@pytest.mark.parametrize("format", ["COG", "Zarr"])
def test_a_run_that_is_stopped_goes_on_with_both_results(scene: Path, format: str) -> None:
    class EnoughError(Exception):
        """Stops a run."""

    def stop(done: int, total: int, pixels: int) -> None:
        if done == 5:
            raise EnoughError

    suffix = "zarr" if format == "Zarr" else "tif"
    dst = scene.with_name(f"x.{suffix}")
    with pytest.raises(EnoughError):
        geosr.upscale(scene, dst, format=format, progress=stop, **OPTIONS)
    assert not [path for path in scene.parent.iterdir() if path.name.startswith("x.")]
    with pytest.raises(InputError, match=r"results beside was \['sigma'\] and is None"):
        geosr.upscale(scene, dst, format=format, **OPTIONS | {"model": Doubt(heads=(IMAGE,))})
    report = geosr.upscale(scene, dst, format=format, **OPTIONS)
    assert 5 <= report["tiles_from_an_earlier_run"] < report["tiles"]
    if format == "COG":
        assert np.array_equal(read(scene.with_name("x.sigma.tif")), spread_of(scene), equal_nan=True)
    else:
        with xr.open_zarr(dst, mask_and_scale=False) as data:
            assert np.array_equal(data["sigma"], spread_of(scene), equal_nan=True)


# What knows of several results


def test_a_spread_is_never_written_over_the_input_or_over_what_is_there(scene: Path) -> None:
    src = scene.rename(scene.with_name("x.sigma.tif"))
    before = src.read_bytes()
    with pytest.raises(InputError, match="is the input itself"):
        geosr.upscale(src, scene.with_name("x.tif"), overwrite=True, **OPTIONS)
    (scene.with_name("y.sigma.tif")).write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"y\.sigma\.tif does not belong to y\.tif and is not replaced"):
            geosr.prepare(src, scene.with_name("y.tif"), overwrite=overwrite, **OPTIONS)
    both = [scenes.make_plain(scene.parent, name) for name in ("x.tif", "x_x2.sigma.tif")]
    with pytest.raises(InputError, match=r"would become .*x_x2\.sigma\.tif, which is an input too"):
        upscale_many(both, scene.parent, overwrite=True, **OPTIONS)
    assert src.read_bytes() == before
    assert scene.with_name("y.sigma.tif").read_bytes() == b"mine"


def test_an_image_that_replaces_one_with_a_spread_takes_that_away(scene: Path) -> None:
    dst = scene.with_name("x.tif")
    geosr.upscale(scene, dst, **OPTIONS)
    geosr.upscale(scene, dst, overwrite=True, **OPTIONS)
    assert scene.with_name("x.sigma.tif").exists()
    geosr.upscale(scene, dst, overwrite=True, **OPTIONS | {"model": "bicubic"})
    assert sorted(path.name for path in scene.parent.iterdir()) == ["scene.tif", "x.tif"]


def test_a_dry_run_counts_all_results(scene: Path) -> None:
    both, one = (
        geosr.prepare(scene, scene.with_name("x.tif"), **OPTIONS | {"model": model}).estimate(1.0)
        for model in (Doubt(), Doubt(heads=(IMAGE,)))
    )
    assert both["others"] == {"sigma": str(scene.with_name("x.sigma.tif"))}
    assert both["bytes"] > 2.5 * one["bytes"]  # 4 bytes a pixel beside 2
    assert both["memory"] > one["memory"]


@pytest.mark.parametrize("format", ["COG", "Zarr"])
def test_an_archive_skips_a_scene_only_where_all_its_results_are_there(scene: Path, format: str) -> None:
    out, options = scene.parent / "out", OPTIONS | {"format": format}
    (done,) = upscale_many(scene, out, **options)
    assert done["status"] == "done"
    assert list(done["others"]) == ["sigma"]
    assert [record["status"] for record in upscale_many(scene, out, **options)] == ["skipped"]
    if format == "Zarr":
        return
    image, sigma = out / "scene_x2.tif", out / "scene_x2.sigma.tif"
    kept = {path: path.read_bytes() for path in (image, sigma)}
    sigma.unlink()
    assert [record["status"] for record in upscale_many(scene, out, **options)] == ["done"]
    assert {path: path.read_bytes() for path in kept} == kept
    image.unlink()
    (record,) = upscale_many(scene, out, **options)
    assert record["status"] == "failed"
    assert "sigma.tif exists; use --overwrite" in record["error"]


def test_commands_name_all_results(
    scene: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find", lambda *_, **__: Doubt())
    image, sigma = scene.with_name("x.tif"), scene.with_name("x.sigma.tif")
    code, said, _ = command(capsys, monkeypatch, "upscale", scene, image, "--scale", "2")
    assert (code, said.splitlines()) == (0, [str(image), str(sigma)])
    image.unlink()
    code, said, told = command(capsys, monkeypatch, "upscale", scene, image, "--scale", "2", "--dry-run")
    assert code == 0
    assert f"sigma {sigma}" in said
    assert f"{sigma} exists: without --dry-run this needs --overwrite" in told
    out = scene.parent / "out"
    code, said, _ = command(capsys, monkeypatch, "upscale", scene, "--outdir", out, "--scale", "2")
    assert (code, said.splitlines()) == (0, [str(out / "scene_x2.tif"), str(out / "scene_x2.sigma.tif")])
