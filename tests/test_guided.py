"""Coarse bands on the grid of their guide: place, gaps, tilings, files and arrays, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from scipy import ndimage

import geosr
from geosr.cli import cli
from geosr.errors import InputError, ModelError
from geosr.io import environment, source

UTM = "EPSG:32633"
SIZE, STEP = 10.0, 20.0
HEIGHT, WIDTH = 30, 34
"""Of the coarse rasters."""


def ground(y: NDArray[np.float64], x: NDArray[np.float64], phase: float) -> NDArray[np.float64]:
    """A smooth pattern with detail, by metres from the corner."""
    y, x = y[:, None], x[None]
    return 2000 + 400 * np.sin(x / 47 + phase) * np.cos(y / 61) + 150 * np.sin(x / 13 + y / 17 + 2 * phase)


def write(
    path: Path,
    shape: tuple[int, int],
    transform: Affine,
    phases: tuple[float, ...],
    *,
    nodata: float | None = None,
    holes: tuple[slice, slice] | None = None,
    dtype: str = "uint16",
    crs: str | None = UTM,
    names: tuple[str, ...] = (),
    tags: Mapping[str, str] | None = None,
) -> Path:
    y = transform.f + transform.e * (np.arange(shape[0]) + 0.5)
    x = transform.c + transform.a * (np.arange(shape[1]) + 0.5)
    bands = np.stack([ground(-y, x, phase) for phase in phases]).round().astype(dtype)
    if holes is not None:
        bands[:, *holes] = nodata
    profile: dict[str, Any] = {"crs": crs, "transform": transform, "nodata": nodata, "dtype": dtype, "driver": "GTiff"}
    with rasterio.open(path, "w", height=shape[0], width=shape[1], count=len(phases), **profile) as dst:
        dst.write(bands)
        dst.descriptions = names or tuple(f"{path.stem}_{i}" for i in range(len(phases)))
        dst.update_tags(**(tags or {}))
    return path


def coarse(folder: Path, name: str = "coarse.tif", phases: tuple[float, ...] = (0.3, 1.1), **options: Any) -> Path:
    transform = Affine(STEP, 0, 0, 0, -STEP, 0)
    return write(folder / name, (HEIGHT, WIDTH), transform, phases, **options)


def fine(folder: Path, name: str = "fine.tif", phases: tuple[float, ...] = (0.2, 0.9, 1.4), **options: Any) -> Path:
    transform = Affine(SIZE, 0, 0, 0, -SIZE, 0)
    return write(folder / name, (2 * HEIGHT, 2 * WIDTH), transform, phases, **options)


def run(src: Any, guide: Any, dst: Path, **options: Any) -> NDArray[Any]:
    geosr.upscale(src, dst, guide=guide, **{"model": "glp", **options})
    with rasterio.open(dst) as result:
        pixels: NDArray[Any] = result.read()
    return pixels


def test_the_result_lies_on_the_guides_grid_and_says_what_the_bands_said(tmp_path: Path) -> None:
    src = coarse(tmp_path, names=("B05", "B11"), tags={"SENSOR": "made up"})
    guide = fine(tmp_path)
    report = geosr.upscale(src, tmp_path / "out.tif", guide=guide, model="glp")
    with rasterio.open(tmp_path / "out.tif") as result, rasterio.open(guide) as grid:
        assert (result.shape, result.transform, result.crs) == (grid.shape, grid.transform, grid.crs)
        assert result.descriptions == ("B05", "B11")
        assert result.dtypes == ("uint16", "uint16")
        assert result.tags()["SENSOR"] == "made up"
        assert result.tags()["GEOSR_MODEL"] == "glp"
        assert result.tags()["GEOSR_SCALE"] == "2"
        assert result.tags()["GEOSR_GUIDE"] == "fine_0, fine_1, fine_2"
    assert (report["grid_in"]["width"], report["grid_out"]["width"]) == (WIDTH, 2 * WIDTH)


def test_detail_of_the_guide_comes_into_the_bands(tmp_path: Path) -> None:
    truth = np.random.default_rng(5).normal(2000, 300, (2 * HEIGHT, 2 * WIDTH))
    truth = ndimage.gaussian_filter(truth, 0.7)
    seen = truth.reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3))
    for path, values in ((coarse(tmp_path), seen), (fine(tmp_path), truth)):
        with rasterio.open(path, "r+") as dataset:
            for band in dataset.indexes:
                dataset.write(values.round().astype("uint16"), band)
    result = run(tmp_path / "coarse.tif", tmp_path / "fine.tif", tmp_path / "out.tif", mtf=0.6)
    geosr.upscale(tmp_path / "coarse.tif", tmp_path / "cubic.tif", model="bicubic", scale=2)
    with rasterio.open(tmp_path / "cubic.tif") as cubic:
        plain = cubic.read()
    inner = slice(8, -8), slice(8, -8)
    assert np.std((result[0] - truth)[inner]) < 0.3 * np.std((plain[0] - truth)[inner])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    step=st.sampled_from([(20.0, 20.0), (15.0, 15.0), (30.0, 20.0), (60.0, 60.0), (25.0, 20.0)]),
    shift=st.tuples(*[st.sampled_from([-35.0, -15.0, -5.0, -2.5, 0.0, 2.5, 7.5, 40.0])] * 2),
    gaps=st.tuples(st.booleans(), st.booleans()),
    tile=st.sampled_from([16, 32, 48]),
    grid=st.tuples(st.integers(40, 70), st.integers(40, 70)),
)
def test_tiles_change_no_pixel_whatever_the_placement_and_the_gaps(
    step: tuple[float, float],
    shift: tuple[float, float],
    gaps: tuple[bool, bool],
    tile: int,
    grid: tuple[int, int],
    tmp_path: Path,
) -> None:
    own = Affine(step[1], 0, shift[1], 0, -step[0], -shift[0])
    shape = int(grid[0] * SIZE / step[0]) + 2, int(grid[1] * SIZE / step[1]) + 1
    hole = slice(3, 6), slice(2, 5)
    src = write(tmp_path / "c.tif", shape, own, (0.3, 1.1), nodata=0, holes=hole if gaps[0] else None)
    where = slice(20, 31), slice(9, 22)
    fine_grid = Affine(SIZE, 0, 0, 0, -SIZE, 0)
    guide = write(tmp_path / "g.tif", grid, fine_grid, (0.2, 0.9), nodata=0, holes=where if gaps[1] else None)
    whole = run(src, guide, tmp_path / "whole.tif", tile=512, overwrite=True)
    assert np.array_equal(run(src, guide, tmp_path / "tiles.tif", tile=tile, overwrite=True), whole)
    centres = np.stack(np.meshgrid(*(np.arange(n) * SIZE + SIZE / 2 for n in grid), indexing="ij"))
    cells = [np.floor((centres[i] - shift[i]) / step[i]).astype(int) for i in (0, 1)]
    there = (cells[0] >= 0) & (cells[1] >= 0) & (cells[0] < shape[0]) & (cells[1] < shape[1])
    with rasterio.open(src) as dataset:
        stored = dataset.read(1)
    valid = there & (stored[cells[0].clip(0, shape[0] - 1), cells[1].clip(0, shape[1] - 1)] != 0)
    assert np.array_equal(whole[0] != 0, valid)


def test_where_the_guide_has_no_data_the_bands_are_interpolated(tmp_path: Path) -> None:
    hole = slice(20, 40), slice(20, 40)
    src, guide = coarse(tmp_path), fine(tmp_path, nodata=0, holes=hole)
    result = run(src, guide, tmp_path / "out.tif", mtf=0.6)
    geosr.upscale(src, tmp_path / "cubic.tif", model="bicubic", scale=2)
    with rasterio.open(tmp_path / "cubic.tif") as cubic:
        plain = cubic.read()
    middle = slice(27, 33), slice(27, 33)
    assert np.abs(result[0][middle].astype(float) - plain[0][middle]).max() < 60
    assert result.min() > 0


def test_off_the_coarse_footprint_a_mask_says_so_where_no_number_does(tmp_path: Path) -> None:
    part = write(tmp_path / "part.tif", (10, 12), Affine(STEP, 0, 100, 0, -STEP, -60), (0.3,))
    run(part, fine(tmp_path), tmp_path / "out.tif", tile=16)
    with rasterio.open(tmp_path / "out.tif") as result:
        inside = result.read_masks(1) > 0
    expected = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
    expected[6:26, 10:34] = True
    assert np.array_equal(inside, expected)


def test_floating_point_bands_are_nan_off_their_footprint(tmp_path: Path) -> None:
    part = write(tmp_path / "part.tif", (10, 12), Affine(STEP, 0, 100, 0, -STEP, -60), (0.3,), dtype="float32")
    result = run(part, fine(tmp_path), tmp_path / "out.tif")
    assert np.isfinite(result).sum() == 20 * 24


def test_files_of_one_band_make_the_pixels_of_one_file(tmp_path: Path) -> None:
    together = run(coarse(tmp_path), fine(tmp_path), tmp_path / "together.tif")
    bands = [coarse(tmp_path, f"b{i}.tif", (phase,)) for i, phase in enumerate((0.3, 1.1))]
    guides = [fine(tmp_path, f"g{i}.tif", (phase,)) for i, phase in enumerate((0.2, 0.9, 1.4))]
    assert np.array_equal(run(bands, guides, tmp_path / "apart.tif"), together)
    with rasterio.open(tmp_path / "apart.tif") as result:
        assert result.descriptions == ("b0_0", "b1_0")


def test_files_with_other_numbers_for_no_data_agree_on_one(tmp_path: Path) -> None:
    hole = slice(4, 8), slice(5, 9)
    bands = [
        coarse(tmp_path, "a.tif", (0.3,), nodata=0, holes=hole),
        coarse(tmp_path, "b.tif", (1.1,), nodata=65535, holes=hole),
    ]
    result = run(bands, fine(tmp_path), tmp_path / "out.tif")
    gap = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
    gap[8:16, 10:18] = True
    assert np.array_equal(result == 0, np.stack([gap, gap]))


def test_classes_are_repeated(tmp_path: Path) -> None:
    src = coarse(tmp_path, names=("B05", "SCL"))
    result = run(src, fine(tmp_path), tmp_path / "out.tif", categorical=["SCL"])
    with rasterio.open(src) as dataset:
        assert np.array_equal(result[1], dataset.read(2).repeat(2, 0).repeat(2, 1))


def test_a_part_is_a_cut_of_the_whole(tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    whole = run(src, guide, tmp_path / "whole.tif")
    part = run(src, guide, tmp_path / "part.tif", bounds=(130.0, -410.0, 470.0, -150.0), tile=16)
    assert np.array_equal(part, whole[:, 15:41, 13:47])


def test_arrays_have_the_pixels_of_files(tmp_path: Path) -> None:
    src = coarse(tmp_path, nodata=0, holes=(slice(4, 8), slice(5, 9)))
    guide = fine(tmp_path, nodata=0, holes=(slice(30, 41), slice(9, 22)))
    told = run(src, guide, tmp_path / "out.tif", tile=32)
    eager = geosr.open_raster(src, chunks=None), geosr.open_raster(guide, chunks=None)
    assert np.array_equal(eager[0].geosr.upscale("glp", guide=eager[1]).values, told)
    lazy = geosr.open_raster(src, chunks=13).geosr.upscale("glp", guide=geosr.open_raster(guide, chunks=24), tile=16)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(lazy.values, told)
    assert lazy.chunks == ((2,), (16, 16, 16, 12), (16, 16, 16, 16, 4))


def test_an_array_of_classes_alone_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    low = geosr.open_raster(coarse(tmp_path, names=("SCL", "CLD")), chunks=16)
    with pytest.raises(InputError, match="classes, to which a guide gives no detail"):
        low.geosr.upscale("glp", guide=geosr.open_raster(fine(tmp_path), chunks=32), categorical=[1, 2])


def test_a_scale_beside_a_guide_is_refused_for_arrays_too(tmp_path: Path) -> None:
    low, high = (geosr.open_raster(path, chunks=None) for path in (coarse(tmp_path), fine(tmp_path)))
    with pytest.raises(InputError, match="leave --scale out"):
        low.geosr.upscale("glp", 2, guide=high)


def test_an_array_takes_the_guides_place_and_keeps_its_own_words(tmp_path: Path) -> None:
    low = geosr.open_raster(coarse(tmp_path, names=("B05", "B11")), chunks=16).rename("reflectance")
    high = geosr.open_raster(fine(tmp_path), chunks=32)
    result = low.geosr.upscale("glp", guide=[high[0], high[1:]])
    assert result.geosr.geobox == high.geosr.geobox
    assert np.array_equal(result.x, high.x)
    assert result.name == "reflectance"
    assert list(result.band.values) == list(low.band.values)
    assert (result.attrs["GEOSR_MODEL"], result.attrs["GEOSR_SCALE"]) == ("glp", "2")
    assert np.array_equal(result.values, low.geosr.upscale("glp", guide=high).values)


def test_a_cluster_writes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    src, guide = coarse(tmp_path), fine(tmp_path)
    run(src, guide, tmp_path / "threads.tif", tile=32)
    run(src, guide, tmp_path / "cluster.tif", tile=32, scheduler="local:2")
    assert (tmp_path / "cluster.tif").read_bytes() == (tmp_path / "threads.tif").read_bytes()


def test_files_of_other_types_and_numbers_for_no_data_are_brought_together(tmp_path: Path) -> None:
    hole = slice(4, 8), slice(5, 9)
    files = [
        coarse(tmp_path, "a.tif", (0.3,), nodata=-9999, holes=hole, dtype="float32"),
        coarse(tmp_path, "b.tif", (1.1,), nodata=0, holes=hole),
    ]
    gap = np.zeros((2 * HEIGHT, 2 * WIDTH), bool)
    gap[8:16, 10:18] = True
    for bands in (files, files[::-1]):
        result = run(bands, fine(tmp_path), tmp_path / "out.tif", overwrite=True)
        with rasterio.open(tmp_path / "out.tif") as dataset:
            assert np.array_equal(result == dataset.nodata, np.stack([gap, gap]))


def test_data_that_another_files_no_data_would_hide_are_told_of(tmp_path: Path) -> None:
    plain, void = coarse(tmp_path, "a.tif", (0.3,)), coarse(tmp_path, "b.tif", (1.1,), nodata=0)
    run = geosr.prepare([plain, void], tmp_path / "out.tif", guide=fine(tmp_path), model="glp")
    assert any("more than one nodata is told (0, none)" in line for line in run.warnings)


def test_alpha_among_files_keeps_their_type(tmp_path: Path) -> None:
    alpha = coarse(tmp_path, "alpha.tif", (0.3, 0.4))
    with rasterio.open(alpha, "r+") as dataset:
        dataset.colorinterp = ColorInterp.gray, ColorInterp.alpha
    with pytest.raises(InputError, match="alpha band"):
        geosr.prepare([alpha, coarse(tmp_path)], tmp_path / "o.tif", guide=fine(tmp_path), model="glp", dtype="float32")


def test_arrays_of_guides_have_their_own_numbers_for_no_data_and_leave_classes_out(tmp_path: Path) -> None:
    src = coarse(tmp_path)
    guides = [
        fine(tmp_path, "g0.tif", (0.2,), nodata=0, holes=(slice(9, 15), slice(9, 15))),
        fine(tmp_path, "g1.tif", (0.9, 0.5), nodata=65535, holes=(slice(30, 41), slice(9, 22)), names=("B04", "SCL")),
    ]
    told = run(src, guides, tmp_path / "out.tif")
    low, *high = (geosr.open_raster(path, chunks=None) for path in (src, *guides))
    assert np.array_equal(low.geosr.upscale("glp", guide=high).values, told)


def test_an_array_that_could_not_say_what_lies_beyond_it_is_refused(tmp_path: Path) -> None:
    low = geosr.open_raster(coarse(tmp_path), chunks=None).isel(x=slice(5, 25))
    high = geosr.open_raster(fine(tmp_path), chunks=None)
    with pytest.raises(InputError, match="beyond the array"):
        low.geosr.upscale("glp", guide=high)
    assert (low.geosr.upscale("glp", guide=high, nodata=0).values == 0).any()
    assert np.isnan(low.astype("float32").geosr.upscale("glp", guide=high).values).any()


def test_sizes_of_pixels_among_attributes_follow_the_ratio_and_not_the_extent(tmp_path: Path) -> None:
    low = geosr.open_raster(coarse(tmp_path), chunks=None).assign_attrs(res=(20.0, 20.0))
    high = geosr.open_raster(fine(tmp_path), chunks=None).isel(x=slice(0, 30), y=slice(0, 30))
    assert low.geosr.upscale("glp", guide=high).attrs["res"] == (10.0, 10.0)


def test_a_guide_is_taken_by_glp_where_no_model_is_named(tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    named = geosr.upscale(src, tmp_path / "named.tif", guide=guide, model="glp")
    report = geosr.upscale(src, tmp_path / "out.tif", guide=guide)
    assert report["model"] == named["model"]
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "named.tif").read_bytes()
    done = CliRunner().invoke(cli, ["upscale", str(src), "-o", str(tmp_path / "cli.tif"), "--guide", str(guide), "-q"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cli.tif").read_bytes() == (tmp_path / "named.tif").read_bytes()
    low, high = (geosr.open_raster(path, chunks=None) for path in (src, guide))
    assert low.geosr.upscale(guide=high).equals(low.geosr.upscale("glp", guide=high))


def test_another_guide_is_another_run(tmp_path: Path) -> None:
    src = coarse(tmp_path)
    first = geosr.api.prepare(src, tmp_path / "o.tif", guide=fine(tmp_path, "g1.tif"), model="glp")
    other = geosr.api.prepare(src, tmp_path / "o.tif", guide=fine(tmp_path, "g2.tif", (0.5,)), model="glp")
    assert first.tags["GEOSR_RUN"] != other.tags["GEOSR_RUN"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model": "fast"}, "fast takes no guide; leave --model out"),
        ({"guide": None}, "glp needs a finer raster beside the bands"),
        ({"guide": []}, "at least one file"),
        ({"guide": ""}, "without a name"),
        ({"bands": [9]}, "band 9"),
        ({"categorical": [1, 2]}, "classes, to which a guide gives no detail"),
        ({"project": False}, "leave --project out"),
        ({"scale": 4}, "leave --scale out"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_one_line(options: dict[str, Any], line: str, tmp_path: Path) -> None:
    src, guide = coarse(tmp_path), fine(tmp_path)
    with pytest.raises((InputError, ModelError), match=line) as told:
        geosr.upscale(src, tmp_path / "out.tif", **{"model": "glp", "guide": guide, **options})
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("name", "transform", "crs", "line"),
    [
        ("crs.tif", Affine(10, 0, 0, 0, -10, 0), "EPSG:32634", "crs.tif in EPSG:32634; warp one"),
        ("far.tif", Affine(10, 0, 9e5, 0, -10, 0), UTM, "don't cover any ground together"),
        ("same.tif", Affine(20, 0, 0, 0, -20, 0), UTM, "a guide's are finer"),
        ("coarser.tif", Affine(40, 0, 0, 0, -40, 0), UTM, "must not be larger"),
        ("turned.tif", Affine(10, 2, 0, 2, -10, 0), UTM, "turned by"),
    ],
)
def test_grids_that_do_not_go_together_are_refused(
    name: str, transform: Affine, crs: str, line: str, tmp_path: Path
) -> None:
    guide = write(tmp_path / name, (40, 40), transform, (0.3,), crs=crs)
    with pytest.raises(InputError, match=line):
        geosr.upscale(coarse(tmp_path), tmp_path / "out.tif", guide=guide, model="glp")


def test_files_on_two_grids_are_not_stacked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not on one grid"):
        geosr.upscale([coarse(tmp_path), fine(tmp_path)], tmp_path / "out.tif", guide=fine(tmp_path), model="glp")


def test_several_files_without_a_guide_are_several_scenes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="upscale_many"):
        geosr.upscale([coarse(tmp_path), coarse(tmp_path, "b.tif")], tmp_path / "out.tif")


def test_the_shell_takes_several_bands_and_guides(tmp_path: Path) -> None:
    bands = [str(coarse(tmp_path, f"b{i}.tif", (phase,))) for i, phase in enumerate((0.3, 1.1))]
    guides = [str(fine(tmp_path, f"g{i}.tif", (phase,))) for i, phase in enumerate((0.2, 0.9))]
    out = tmp_path / "out.tif"
    told = CliRunner().invoke(
        cli, ["upscale", *bands, "--guide", guides[0], "--guide", guides[1], "--model", "glp", "-o", str(out)]
    )
    assert told.exit_code == 0, told.output
    assert np.array_equal(run(bands, guides, tmp_path / "api.tif"), run(bands, guides, out, overwrite=True))
    before = Path(bands[1]).read_bytes()
    for wrong in (["--outdir", str(tmp_path)], [], ["--overwrite"], ["-o", str(out), "--scale", "3"]):
        told = CliRunner().invoke(cli, ["upscale", *bands, "--guide", guides[0], "--model", "glp", *wrong])
        assert told.exit_code == 2 or isinstance(told.exception, InputError)
    assert Path(bands[1]).read_bytes() == before


def test_a_thread_opens_each_of_many_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bands = [coarse(tmp_path, f"b{i}.tif", (0.1 * i,)) for i in range(13)]
    run = geosr.prepare(bands, tmp_path / "out.tif", guide=fine(tmp_path), model="glp", tile=16)
    source.close()
    opened: list[str] = []

    def counted(path: str) -> Any:
        opened.append(path)
        return environment.open_dataset(path)

    monkeypatch.setattr(source, "open_dataset", counted)
    for tile in run.plan:
        run.source.read(tile)
    source.close()
    assert len(run.plan) > 4
    assert len(opened) == len(set(opened)) == 14
