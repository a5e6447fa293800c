"""Products through the command line and `geosr.upscale`: the one path, with the values and masks that they tell."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

import geosr
import tests.safe as made
from geosr.cli import main
from geosr.errors import InputError
from geosr.io.categories import Categories, categories_of
from geosr.products import open_source
from tests.safe import make_safe, zipped

CLOUDS = (3, 8, 9, 10)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_safe(tmp_path_factory.mktemp("safe"))


def stack_of(path: Path, bands: NDArray[np.generic], metres: int, names: tuple[str, ...] = ()) -> Path:
    """A GeoTIFF of the bands, with the values that the product tells."""
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    grid = Affine(metres, 0, made.CORNER[0], 0, -metres, made.CORNER[1])
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=grid, nodata=0, **shape) as dst:
        dst.write(bands)
        dst.scales, dst.offsets = [1e-4] * len(bands), [-0.1] * len(bands)
        dst.update_tags(SPACECRAFT_NAME="Sentinel-2A")
        for number, name in enumerate(names, start=1):
            dst.set_band_description(number, name)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Exit code, stdout and stderr of a command."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["geosr", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return command


def pixels(path: str | Path) -> NDArray[np.generic]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def test_a_product_is_upscaled_as_a_file_of_its_bands_and_keeps_what_its_numbers_mean(
    tmp_path: Path, safe: Path, run: Command
) -> None:
    code, _, said = run("upscale", safe, "-o", tmp_path / "out.tif", "--scale", 2)
    assert code == 0
    assert "quantification 10000, offset -1000, no data 0" in said
    assert "B02, B03, B04, B08 are taken, its measured bands of the finest grid" in said
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.descriptions == ("B02", "B03", "B04", "B08")
        assert (set(file.scales), set(file.offsets), file.nodata) == ({1e-4}, {-0.1}, 0)
        assert (file.crs.to_epsg(), file.transform.a, file.tags()["PROCESSING_BASELINE"]) == (32631, 5, "05.09")
        found = file.read()
    bands = np.stack([made.stored(10, -1000)] * 4)
    stack = stack_of(tmp_path / "same.tif", bands, 10, ("B02", "B03", "B04", "B08"))
    same = geosr.upscale(stack, tmp_path / "same_x2.tif", scale=2)
    assert (pixels(same["path"]) == found).all()
    assert (found[:, :24, :24] == 0).all()
    assert (found[:, 24:] > 0).all()


def test_bands_are_chosen_by_common_names_where_they_share_a_grid(tmp_path: Path, safe: Path, run: Command) -> None:
    out = tmp_path / "out.tif"
    assert run("upscale", safe, "-o", out, "--bands", "nir08,SCL", "--model", "bicubic")[0] == 0
    with rasterio.open(out) as file:
        assert (file.descriptions, file.scales, file.offsets) == (("B8A", "SCL"), (1e-4, 1), (-0.1, 0))
        assert set(np.unique(file.read(2))) == set(np.unique(made.scene_classes(20)))
        assert (categories_of(file)[1] or Categories()).names[3] == "cloud_shadow"
    code, _, line = run("upscale", safe, "-o", tmp_path / "no.tif", "--bands", "red,nir08")
    assert (code, len(line.strip().splitlines())) == (2, 1)
    assert "B04 have 10 m; B8A have 20 m" in line
    assert "--to" in line
    assert not (tmp_path / "no.tif").exists()


def test_a_result_has_its_name_beside_the_product_and_nothing_else_comes_there(tmp_path: Path, safe: Path) -> None:
    archive = zipped(safe, tmp_path / "scene.SAFE.zip")
    assert geosr.upscale(archive, model="nearest", scale=2)["path"] == str(tmp_path / "scene_x2.tif")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["scene.SAFE.zip", "scene_x2.tif"]
    with pytest.raises(InputError, match="is the input itself"):
        geosr.upscale(archive, archive, format="GTiff")


def test_many_products_are_one_run_and_are_known_again(tmp_path: Path, safe: Path) -> None:
    sources = [safe, zipped(safe, tmp_path / "zipped.zip")]
    runs = [geosr.upscale_many(sources, tmp_path / "out", model="nearest", scale=2, bands=["red"]) for _ in range(2)]
    assert [[record["status"] for record in run] for run in runs] == [["done"] * 2, ["skipped"] * 2]
    assert Path(runs[0][0]["path"]).name == f"{safe.stem}_x2.tif"
    (again,) = geosr.upscale_many(safe, tmp_path / "out", model="nearest", scale=2, bands=["red"], mask="clouds")
    assert "not of this input with these options" in again["error"]


def cloudy(metres: int) -> NDArray[np.bool_]:
    """Where a pixel meets one that SCL marks."""
    marked = np.isin(made.scene_classes(20), CLOUDS)
    if metres < 20:
        return marked.repeat(20 // metres, 0).repeat(20 // metres, 1)
    step = metres // 20
    side = len(marked) // step
    return np.asarray(marked.reshape(side, step, side, step).any((1, 3)))


@pytest.mark.parametrize(("band", "metres"), [("B04", 10), ("B05", 20), ("B09", 60)])
def test_clouds_are_no_data_on_the_grid_of_any_band(tmp_path: Path, safe: Path, band: str, metres: int) -> None:
    scene = open_source(safe, bands=[band], mask="clouds")
    expected = np.where(cloudy(metres), 0, made.stored(metres, -1000))
    assert (scene.source.pixels(scene.window).stored[0] == expected).all()
    made_so = stack_of(tmp_path / "masked.tif", expected[None], metres)
    asked = {"model": "lanczos", "scale": 2}
    fine = [
        geosr.upscale(safe, tmp_path / "a.tif", bands=[band], mask="clouds", tile=32, **asked)["path"],
        geosr.upscale(made_so, tmp_path / "b.tif", **asked)["path"],
    ]
    assert (pixels(fine[0]) == pixels(fine[1])).all()
    with rasterio.open(fine[0]) as file:
        assert "cloud shadow" in file.tags()["GEOSR_MASK"]
        assert file.nodata == 0


def test_a_part_without_clouds_is_cut_from_the_whole_and_classes_beside_stay(tmp_path: Path, safe: Path) -> None:
    left, top = made.CORNER
    options = {"bands": ["B05", "SCL"], "mask": "clouds", "model": "bilinear", "scale": 2}
    whole = geosr.upscale(safe, tmp_path / "whole.tif", **options)
    bounds = (left + 120, top - 700, left + 600, top - 100)
    part = geosr.upscale(safe, tmp_path / "part.tif", bounds=bounds, **options)
    assert (pixels(part["path"]) == pixels(whole["path"])[:, 10:70, 12:60]).all()
    assert (pixels(whole["path"])[1] == made.scene_classes(10)).all()


def test_workers_of_a_pool_mask_alike(tmp_path: Path, safe: Path) -> None:
    options = {"bands": ["B04"], "mask": "clouds", "model": "bilinear", "scale": 2, "tile": 32, "workers": 2}
    paths = [
        geosr.upscale(safe, tmp_path / f"{kind}.tif", scheduler=kind, **options)["path"]
        for kind in ("threads", "processes")
    ]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()


def test_level_1_has_its_own_mask_since_it_is_a_raster_and_none_before(tmp_path: Path) -> None:
    new = make_safe(tmp_path, level="L1C", baseline="05.10", only=["B04"])
    scene = open_source(new, mask="clouds")
    marked = np.isin(made.scene_classes(60), (9, 10)).repeat(6, 0).repeat(6, 1)
    assert (scene.source.pixels(scene.window).stored[0] == np.where(marked, 0, made.stored(10, -1000))).all()
    old = make_safe(tmp_path, level="L1C", baseline="02.06", offset=None, only=["B04"])
    with pytest.raises(InputError, match="has no raster that marks clouds"):
        open_source(old, mask="clouds")


def test_a_mask_is_refused_where_there_is_none_or_no_number_for_no_data(tmp_path: Path, safe: Path) -> None:
    plain = stack_of(tmp_path / "plain.tif", made.stored(10, 0)[None], 10)
    for options, line in (
        ({"src": plain}, "plain raster"),
        ({"src": safe, "nodata": "none"}, "name one with --nodata"),
    ):
        with pytest.raises(InputError, match=line):
            geosr.upscale(**options, dst=tmp_path / "out.tif", mask="clouds")  # type: ignore[arg-type]


def test_info_tells_of_a_product_what_it_has_and_what_numbers_mean(safe: Path, run: Command) -> None:
    code, said, _ = run("info", safe)
    assert code == 0
    assert "Sentinel-2 L2A" in said
    assert "B02, B03, B04, B08" in said
    assert "B05 (rededge071)" in said
    assert "quantification 10000, offset -1000" in said
    assert "SCL 3, 8, 9, 10" in said


def test_a_damaged_product_is_one_line_and_exit_code_2(tmp_path: Path, safe: Path, run: Command) -> None:
    archive = zipped(safe, tmp_path / "S2A_MSIL2A.zip")
    archive.write_bytes(archive.read_bytes()[:-2_000])
    for command in ("upscale", "info"):
        code, _, said = run(command, archive)
        assert (code, len(said.strip().splitlines())) == (2, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["S2A_MSIL2A.zip"]


def test_a_coarser_look_shows_no_clouds_either(safe: Path) -> None:
    scene = open_source(safe, bands=["B04"], mask="clouds")
    look = scene.source.reduced(scene.window, (48, 48), nearest=True).stored[0]
    assert ((look == 0) == (cloudy(20) | (made.stored(20, -1000) == 0))).all()


@pytest.mark.parametrize("footprint", ["none", "empty", "inverted"])
def test_zeros_inside_the_footprint_are_no_data_before_any_filter_whatever_footprints_say(
    tmp_path: Path, footprint: str
) -> None:
    root = make_safe(tmp_path, only=["B04"], manifest=False)
    stripe = np.full((96, 96), 3000, np.uint16)
    stripe[:, 40:42] = 0
    image = next(root.glob("GRANULE/*/IMG_DATA/R10m/*B04_10m.jp2"))
    made.write_jp2(image, stripe, 10)
    if footprint != "none":
        seen = np.zeros((96, 96), np.uint8) if footprint == "empty" else (stripe == 0).astype(np.uint8)
        made.write_jp2(image.parents[2] / "QI_DATA/MSK_DETFOO_B04.jp2", seen, 10)
    for model in ("lanczos", "fast"):
        fine = pixels(geosr.upscale(root, tmp_path / f"{model}.tif", model=model, scale=2)["path"])[0]
        assert (fine == stripe.repeat(2, 0).repeat(2, 1)).all()


def test_the_pixels_of_a_masked_product_travel_to_workers_by_name(tmp_path: Path, safe: Path) -> None:
    scene = open_source(zipped(safe, tmp_path / "S2.zip"), bands=["B05", "B8A"], mask="clouds")
    parcel = pickle.dumps(scene.source)
    assert len(parcel) < 4000
    assert (pickle.loads(parcel).pixels(scene.window).stored == scene.source.pixels(scene.window).stored).all()
