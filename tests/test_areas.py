"""Areas that lie in several products: one result, with the pixels that it has of one raster of all the ground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

import geosr
from geosr.errors import InputError
from tests.test_mosaic import LEFT, SIDE, TOP, ground, item
from tests.test_product_doors import Command, run

pytest.importorskip("pystac")
__all__ = ["run"]


def pixels(path: str | Path) -> NDArray[np.generic]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def whole(tmp_path: Path, metres: int = 10, rows: int = 14) -> Path:
    """Red of all the ground that the items cover, as a file."""
    path, stored = (
        tmp_path / "whole.tif",
        np.round(ground(metres) * 10_000 + 1000).astype(np.uint16)[: rows * 60 // metres],
    )
    grid = Affine(metres, 0, LEFT, 0, -metres, TOP)
    shape = {"count": 1, "height": stored.shape[0], "width": stored.shape[1], "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=grid, nodata=0, **shape) as dst:
        dst.write(stored, 1)
        dst.scales, dst.offsets = [1e-4], [-0.1]
        dst.set_band_description(1, "B04")
        dst.update_tags(platform="sentinel-2a")
    return path


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A triangle across the seam."""
    ring = [[LEFT + x, TOP - y] for x, y in ((200, 100), (1300, 200), (700, 800), (200, 100))]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    return path


def test_an_area_across_products_of_differing_offsets_has_the_pixels_of_one_raster(
    tmp_path: Path, area: Path, run: Command
) -> None:
    items = [item(tmp_path, 0, 0, offset=0, keys=("B04",)), item(tmp_path, 0, 10, keys=("B04",))]
    code, out, said = run("upscale", *items, "--aoi", area, "-o", tmp_path / "both.tif", "--scale", 2)
    assert (code, Path(out.strip())) == (0, tmp_path / "both.tif")
    assert "numbers of S2A_0000_20230625_0_L2A-earth-search are raised by 1000" in said
    assert "the first that has data is taken" in said
    expected = geosr.upscale(whole(tmp_path), tmp_path / "one.tif", aoi=area, scale=2)
    found = pixels(tmp_path / "both.tif")
    assert np.array_equal(found, pixels(expected["path"]))
    with rasterio.open(tmp_path / "both.tif") as file:
        assert (file.scales, file.offsets, file.descriptions) == ((1e-4,), (-0.1,), ("B04",))


def test_bands_of_several_grids_of_several_products_come_onto_the_finest(tmp_path: Path) -> None:
    items: Any = [item(tmp_path, 0, 0), item(tmp_path, 0, 10)]
    options: Any = {"to": 10, "model": "glp", "bounds": (LEFT + 300, TOP - 600, LEFT + 1200, TOP)}
    made = geosr.upscale(items, tmp_path / "ten.tif", **options)
    with rasterio.open(made["path"]) as file:
        assert file.descriptions == ("B04", "B05")
        assert (file.transform.a, file.shape) == (10, (60, 90))
        truth = np.round(ground(10) * 10_000 + 1000)[:60, 30:120]
        assert np.array_equal(file.read(1), truth)


def test_arrays_of_several_products_have_the_pixels_of_their_files(tmp_path: Path) -> None:
    items = [item(tmp_path, 0, 0, offset=0), item(tmp_path, 4, 10)]
    red = geosr.open_product(items)["10m/B04"]
    made = geosr.upscale(items, tmp_path / "made.tif", bands=["red"], scale=2, model="bicubic")
    assert np.array_equal(pixels(made["path"])[0], red.geosr.upscale(scale=2, model="bicubic").values)


@pytest.mark.slow
def test_worker_processes_read_several_products_too(tmp_path: Path) -> None:
    items, options = [item(tmp_path, 0, 0), item(tmp_path, 4, 10)], {"scale": 2, "model": "bicubic", "mask": "clouds"}
    one = geosr.upscale(items, tmp_path / "one.tif", **options)
    other = geosr.upscale(items, tmp_path / "other.tif", **options, scheduler="processes", workers=2)
    assert np.array_equal(pixels(one["path"]), pixels(other["path"]))


def test_a_vrt_of_tiles_is_one_scene_with_an_area(tmp_path: Path, area: Path) -> None:
    stored = pixels(whole(tmp_path))[0]
    sources = ""
    for name, left in (("a", 0), ("b", 72)):
        tile = stored[:, left : left + 72]
        grid = Affine(10, 0, LEFT + 10 * left, 0, -10, TOP)
        shape = {"count": 1, "height": 84, "width": 72, "dtype": "uint16"}
        place = {"crs": "EPSG:32631", "transform": grid, "nodata": 0}
        with rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", **shape, **place) as dst:
            dst.write(tile, 1)
        sources += (
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename><SourceBand>1</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="72" ySize="84"/><DstRect xOff="{left}" yOff="0" xSize="72" ySize="84"/>'
            "</SimpleSource>"
        )
    (tmp_path / "tiles.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE * 6}" rasterYSize="84"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><Description>B04</Description><NoDataValue>0</NoDataValue>'
        f"<Offset>-0.1</Offset><Scale>0.0001</Scale>{sources}</VRTRasterBand>"
        '<Metadata><MDI key="platform">sentinel-2a</MDI></Metadata></VRTDataset>'
    )
    one = geosr.upscale(tmp_path / "tiles.vrt", tmp_path / "vrt_x2.tif", aoi=area, scale=2)
    other = geosr.upscale(tmp_path / "whole.tif", tmp_path / "whole_x2.tif", aoi=area, scale=2)
    assert np.array_equal(pixels(one["path"]), pixels(other["path"]))


def test_several_plain_rasters_are_told_what_makes_one_result_of_them(tmp_path: Path, run: Command) -> None:
    first, second = whole(tmp_path), item(tmp_path, 0, 0).parent / "B04.tif"
    code, _, said = run("upscale", first, second, "-o", tmp_path / "out.tif")
    assert code == 2
    assert "several files go into one result with a guide, with --to, or as products of one pass" in said
    first_pass, next_pass = item(tmp_path / "x", 0, 0), item(tmp_path / "x", 0, 10, told={"sat:relative_orbit": 8})
    code, _, said = run("upscale", first_pass, next_pass, "-o", tmp_path / "out.tif")
    assert code == 2
    assert "one result holds one pass" in said
    assert not (tmp_path / "out.tif").exists()
    with pytest.raises(InputError, match="several files go into one result"):
        geosr.upscale([first, second], tmp_path / "out.tif")
