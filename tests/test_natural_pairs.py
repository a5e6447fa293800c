"""Which files and bands make natural pairs, and the benchmark that judges models on them."""

from __future__ import annotations

import json
import runpy
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.natural import Judge
from geosr.evaluation.natural_pairs import flat_ground, natural_pairs
from geosr.io.scene import open_scene
from geosr.sensor_table import Origin
from geosr.trials import written_as_file
from tests.test_natural import ground, seen

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "natural.toml"
Image = NDArray[np.float64]


def write(
    path: Path, bands: dict[str, Image], gsd: float, corner: tuple[float, float] = (0.0, 0.0), **kind: Any
) -> Path:
    """A file of uint16 bands whose corner lies so many metres (down, right) of a point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack(list(bands.values())).round().astype(np.uint16)
    grid = Affine(gsd, 0, 500_000 + corner[1], 0, -gsd, 5_000_000 - corner[0])
    form = {"driver": "GTiff", "count": len(bands), "height": pixels.shape[1], "width": pixels.shape[2], **kind}
    with rasterio.open(path, "w", dtype="uint16", crs="EPSG:32632", transform=grid, **form) as dataset:
        dataset.write(pixels)
        dataset.descriptions = tuple(name or None for name in bands)
    return path


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.toml"
    path.write_text(text)
    return path


TWO = """
[[pairs]]
name = "mine"
files = ["{}_20m.tif", "{}_10m.tif"]
sensor = "S2A_MSIL2A"
[pairs.judge]
"a place" = ["scene_*"]
"nowhere" = ["absent"]
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    red, infrared = ground(96, 1), ground(96, 2)
    write(tmp_path / "scene_7_10m.tif", {"B04": red, "B08": infrared, "B02": ground(96, 3)}, 10)
    coarse = {"B05": 0.7 * red + 0.3 * infrared, "B8A": infrared, "B11": red}
    write(tmp_path / "scene_7_20m.tif", {name: seen(band, 2) for name, band in coarse.items()}, 20)
    return tmp_path


def test_pairs_are_found_by_the_names_of_bands(product: Path) -> None:
    pairs = {pair.bands: pair for pair in natural_pairs(product, listed(product, TWO))}
    assert set(pairs) == {"B8A to B08", "B05 to B04 + B08"}  # B11 has none, and "absent" is not there
    red_edge = pairs["B05 to B04 + B08"]
    assert (red_edge.place, red_edge.group, red_edge.kept, red_edge.seen) == ("a place", "mine", "judge", False)
    assert red_edge.product.bands == ("B8A", "B05")
    assert red_edge.product.file == "S2A_MSIL2A_scene_7_20m.tif"
    assert red_edge.weights == (0.0, 1.0)
    assert red_edge.product is pairs["B8A to B08"].product  # so it is upscaled once


def test_the_finer_bands_are_weighted_as_the_coarse_one_sees_them(product: Path) -> None:
    pair = next(pair for pair in natural_pairs(product, listed(product, TWO)) if pair.bands.startswith("B05"))
    fine = 0.7 * ground(96, 1) + 0.3 * ground(96, 2)
    slope = np.polyfit(fine.ravel(), pair.fine.ravel(), 1)[0]
    assert slope == pytest.approx(1, abs=0.05)
    assert np.corrcoef(fine.ravel(), pair.fine.ravel())[0, 1] > 0.999
    assert Judge(pair, 2).unfit == ""


def test_a_panchromatic_band_is_met_by_a_weighted_sum_on_its_own_grid(tmp_path: Path) -> None:
    """Landsat's panchromatic grid starts half a pixel up and left, and reaches as far beyond."""
    blue, green, red = (ground(192, seed) for seed in (1, 2, 3))
    sharp = 0.1 * blue + 0.4 * green + 0.5 * red
    shifted = np.pad((sharp[:-1, :-1] + sharp[1:, :-1] + sharp[:-1, 1:] + sharp[1:, 1:]) / 4, 1, "edge")
    write(tmp_path / "x_PAN.tif", {"": shifted}, 15, corner=(-7.5, -7.5))
    write(tmp_path / "x_MS.tif", {n: seen(b, 2) for n, b in (("B2", blue), ("B3", green), ("B4", red))}, 30)
    text = '[[pairs]]\nname = "L"\nfiles = ["{}_MS.tif", "{}_PAN.tif"]\nsensor = "LC08_L1TP"\nfit = {"a" = ["x"]}'
    (pair,) = natural_pairs(tmp_path, listed(tmp_path, text))
    assert pair.product.file == "LC08_L1TP_x_30m.tif"
    assert pair.offset == (-0.5, -0.5)
    assert pair.weights == pytest.approx((0.1, 0.4, 0.5), abs=0.03)
    assert Judge(pair, 2).moved < 0.03


def test_a_window_and_an_offset_count_from_the_files_corners(product: Path) -> None:
    extra = "window = [6, 10, 40, 30]\noffset = [1, 0]\n[pairs.judge]"
    pairs = natural_pairs(product, listed(product, TWO.replace("[pairs.judge]", extra)))
    assert pairs[0].product.pixels.shape == (2, 40, 30)
    assert pairs[0].offset == (1 - 12, 0 - 20)


def test_pixels_without_data_are_refused(product: Path) -> None:
    write(product / "scene_7_20m.tif", {"B8A": np.zeros((48, 48))}, 20, nodata=0)
    with pytest.raises(InputError, match=r"scene_7_20m\.tif: pixels without data can't be judged"):
        natural_pairs(product, listed(product, TWO))


def test_an_unknown_set_or_list_is_named(product: Path) -> None:
    with pytest.raises(InputError, match="no set is called 'yours'; there are mine"):
        natural_pairs(product, listed(product, TWO), ["yours"])
    with pytest.raises(InputError, match=r"absent\.toml: no list of natural pairs"):
        natural_pairs(product, product / "absent.toml")


def native() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "native.py"))


def test_a_product_of_ones_own_is_judged(product: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = product / "native.json"
    files = [str(product / "scene_7_20m.tif"), str(product / "scene_7_10m.tif")]
    native()["main"](["--pair", *files, "--model", "lanczos", "--mtf", "0.3", "--json", str(out)])
    report = json.loads(out.read_text())
    assert [entry["bands"] for entry in report["pairs"]] == ["B8A to B08", "B05 to B04 + B08"]
    scores = report["pairs"][0]["scores"]
    assert scores["bicubic"]["gain"] == pytest.approx(0, abs=0.1)  # rounded to whole numbers, as a file is
    assert scores["ibp"]["energy"] > scores["lanczos"]["energy"] > scores["bicubic"]["energy"]
    assert "below bicubic: 0 of 2 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(("told", "blur"), [("0.3", 0.3), ("scene", "scene")])
def test_the_blur_is_given_or_left_to_the_scene(told: str, blur: object) -> None:
    assert native()["_parser"]().parse_args(["--mtf", told]).mtf == blur


def test_bands_are_named_where_names_do_not_tell(product: Path) -> None:
    files = [str(product / "scene_7_20m.tif"), str(product / "scene_7_10m.tif")]
    own_pairs = native()["own_pairs"]
    (pair,) = own_pairs(*map(Path, files), ["B11", "B04"])
    assert Judge(pair, 2).bicubic.correlation > 0.8
    with pytest.raises(InputError, match=r"scene_7_20m\.tif has no band 'B99'; there are B05, B8A, B11"):
        own_pairs(*map(Path, files), ["B99", "B04"])
    unnamed = write(product / "unnamed.tif", {"": ground(48), "x": ground(48)}, 20)
    with pytest.raises(InputError, match="names don't tell which bands show the same; say --bands"):
        own_pairs(unnamed, Path(files[1]))
    with pytest.raises(InputError, match="pixels of 10 and 20; expected the second to divide the first"):
        own_pairs(Path(files[1]), Path(files[0]))


def test_a_product_is_upscaled_as_what_it_is(product: Path) -> None:
    """The file that a model is given names the sensor and the band, with the pixel of the band."""
    pair = natural_pairs(product, listed(product, TWO))[0]
    (product / "folder").mkdir()
    scene = open_scene(written_as_file(pair.product, product / "folder"))
    assert scene.sensor.sensor == "Sentinel-2 MSI"
    assert [band.table.name for band in scene.sensor.bands if band.table] == ["B8A", "B05"]
    assert [band.response_from for band in scene.sensor.bands] == [Origin.TABLE, Origin.TABLE]
    np.testing.assert_array_equal(scene.source.pixels(scene.window).stored, pair.product.pixels)


def test_of_many_dates_of_a_place_some_are_judged_spread_evenly(tmp_path: Path) -> None:
    for day in range(9):
        write(tmp_path / f"scene_{day}_10m.tif", {"B08": ground(24)}, 10)
        write(tmp_path / f"scene_{day}_20m.tif", {"B8A": ground(12)}, 20)
    pairs = native()["thinned"](natural_pairs(tmp_path, listed(tmp_path, TWO)), 3)
    assert [pair.name for pair in pairs] == [f"scene_{day} B8A to B08" for day in (0, 4, 8)]


def test_no_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none of the files that natural\.toml lists is there"):
        native()["main"]([str(tmp_path)])
    with pytest.raises(SystemExit, match="give the root of the data"):
        native()["main"]([])


def test_places_are_for_fitting_or_for_judging_and_never_both() -> None:
    for kind in tomllib.loads(RECIPE.read_text()).values():
        names = [
            name for table in kind for kept in ("fit", "judge") for own in table.get(kept, {}).values() for name in own
        ]
        assert len(names) == len(set(names))
        for table in kind:
            assert not set(table.get("fit", {})) & set(table.get("judge", {}))
            assert not (table.get("seen") and table.get("judge"))


def test_no_judged_ground_is_trained_on_and_none_that_is_fitted_to_is_validated_on(shared_data: Path) -> None:
    data = tomllib.loads((ROOT / "recipes" / "data.toml").read_text())
    files = {
        kind: {path for group in data[kind] for pattern in group["files"] for path in shared_data.glob(pattern)}
        for kind in ("train", "validate")
    }
    files["train"] -= files["validate"]
    for kind in tomllib.loads(RECIPE.read_text()).values():
        for table in kind:
            for kept, others in (("judge", "train"), ("fit", "validate")):
                names = [name for own in table.get(kept, {}).values() for name in own]
                patterns = [pattern.replace("{}", name) for pattern in table["files"] for name in names]
                own = {path for pattern in patterns for path in shared_data.glob(pattern)}
                assert bool(own) == bool(names)
                assert not own & files[others], table["name"]


@pytest.mark.slow
def test_listed_products_tell_their_sensor(shared_data: Path, tmp_path: Path) -> None:
    write_product = written_as_file
    sets = [table["name"] for table in tomllib.loads(RECIPE.read_text())["pairs"] if table["name"] != "WorldCereal"]
    products = {id(pair.product): pair.product for pair in natural_pairs(shared_data, RECIPE, sets[1:])}
    products |= {id(flat.product): flat.product for flat in flat_ground(shared_data, RECIPE)}
    assert len(products) > 30
    for product in products.values():
        scene = open_scene(write_product(product, tmp_path))
        assert scene.sensor.sensor in ("Sentinel-2 MSI", "Landsat 8/9 OLI"), product.file
        assert [band.name for band in scene.sensor.bands if band] == list(product.bands)


@pytest.mark.slow
def test_real_pairs_lie_where_their_grids_say_and_water_is_none(shared_data: Path) -> None:
    pairs = natural_pairs(shared_data, RECIPE, ["BigEarthNet-tiny", "Landsat 8, Elkton"])
    judges = {pair.name: Judge(pair, 2) for pair in pairs if "B8A" in pair.name or "B4" in pair.bands}
    assert len(judges) == 4
    for name, judge in judges.items():
        assert judge.unfit == "", name
        assert judge.moved < 0.1, name
        assert 0.7 < judge.bicubic.correlation < 0.9, name
    sea = next(pair for pair in natural_pairs(shared_data, RECIPE, ["BigEarthNet-MS"]) if pair.place == "sea, May")
    assert Judge(sea, 2).unfit
