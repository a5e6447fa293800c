"""Bounds and polygons on the pixel grid of a scene."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from geosr.errors import InputError
from geosr.io.aoi import Area
from geosr.io.metadata import placed
from geosr.io.scene import open_scene
from geosr.tiling import TilePlan
from geosr.window import Window
from tests import scenes


def lonlat(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """UTM to degrees."""
    xs, ys = zip(*corners, strict=True)
    return list(zip(*warp(scenes.UTM, "OGC:CRS84", xs, ys), strict=True))


def ground(*pixels: tuple[float, float]) -> list[tuple[float, float]]:
    """Columns and rows of the plain scene to UTM."""
    return [placed(scenes.NORTH_UP, col, row) for col, row in pixels]


@pytest.mark.parametrize(
    ("bounds", "window"),
    [
        ((500_100, 4_999_800, 500_200, 4_999_900), Window(10, 10, 10, 10)),
        ((500_101, 4_999_801, 500_199, 4_999_899), Window(10, 10, 10, 10)),
        ((500_100.0000001, 4_999_800, 500_200.0000001, 4_999_900), Window(10, 10, 10, 10)),
        ((499_000, 4_999_905, 500_015, 6_000_000), Window(0, 0, 10, 2)),
        ((500_101, 4_999_898, 500_102, 4_999_899), Window(10, 10, 1, 1)),
    ],
)
def test_bounds_are_snapped_outwards_to_whole_pixels(tmp_path: Path, bounds, window: Window) -> None:  # type: ignore[no-untyped-def]
    scene = open_scene(scenes.make_plain(tmp_path), bounds=bounds)
    assert scene.window == window
    assert scene.shape == (window.height, window.width)
    assert placed(scene.transform, 0, 0) == placed(scenes.NORTH_UP, window.col, window.row)
    assert scene.geobox.shape == scene.shape


@pytest.mark.parametrize("make", [scenes.make_rotated, scenes.make_south_up])
def test_bounds_hold_their_pixels_on_odd_grids(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path)
    transform = open_scene(path).transform
    corners = [placed(transform, col, row) for col in (12, 20) for row in (9, 17)]
    xs, ys = zip(*corners, strict=True)
    scene = open_scene(path, bounds=(min(xs), min(ys), max(xs), max(ys)))
    assert scene.window.clip(Window(9, 12, 8, 8)) == Window(9, 12, 8, 8)
    whole = open_scene(path).source.pixels(Window(0, 0, 40, 50)).stored
    assert np.array_equal(scene.source.pixels(Window(0, 0, *scene.shape)).stored, whole[:, *scene.window.slices])


def test_bounds_may_cross_the_date_line(tmp_path: Path) -> None:
    path = scenes.make_dateline(tmp_path)
    crossing = open_scene(path, bounds=(179.999, 44.998, -179.999, 44.999))
    assert crossing.window == Window(10, 20, 10, 10)
    assert open_scene(path, bounds=(-179.9995, 44.998, -179.999, 44.999)).window.col > 25


@pytest.mark.parametrize(
    "bounds",
    [(0, 0, 1, 1), (500_200, 4_999_800, 500_100, 4_999_900), (500_100, float("nan"), 500_200, 5e6), (1, 2, 3)],
)
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, bounds) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="--bounds"):
        open_scene(scenes.make_plain(tmp_path), bounds=bounds)


@pytest.mark.parametrize("make", [scenes.make_gcps, scenes.make_rpcs])
def test_a_scene_without_a_grid_can_not_be_cut_by_coordinates(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path)
    with pytest.raises(InputError, match="no pixel grid"):
        open_scene(path, bounds=(0, 0, 1, 1))
    with pytest.raises(InputError, match="no pixel grid"):
        open_scene(path, aoi=scenes.make_geojson(tmp_path, [[(2, 45), (3, 45), (3, 46)]]))


@pytest.mark.parametrize("named", [False, True])
def test_a_polygon_cuts_the_scene_to_its_box_and_wants_what_it_touches(tmp_path: Path, named: bool) -> None:
    path = scenes.make_plain(tmp_path)
    ring = ground((10.2, 5.2), (30.7, 5.2), (10.2, 25.6))
    area = scenes.make_geojson(tmp_path, [ring if named else lonlat(ring)], scenes.UTM if named else None)
    scene = pickle.loads(pickle.dumps(open_scene(path, aoi=area)))
    assert scene.window == Window(5, 10, 21, 21)
    pixels = scene.source.pixels(Window(0, 0, *scene.shape))
    assert pixels.wanted is not None
    assert pixels.wanted[1, 1]
    assert not pixels.wanted[-1, -1]
    triangle = shapely.Polygon([(0.2, 0.2), (20.7, 0.2), (0.2, 20.6)])
    near = [[triangle.distance(shapely.box(x, y, x + 1, y + 1)) for x in range(21)] for y in range(21)]
    assert pixels.wanted[np.array(near) == 0].mean() > 0.99
    assert not pixels.wanted[np.array(near) > 0.01].any()


@settings(deadline=None, max_examples=30)
@given(
    corners=st.lists(st.tuples(st.floats(-5, 55), st.floats(-5, 45)), min_size=3, max_size=6),
    core=st.sampled_from([7, 16, 64]),
)
def test_what_is_wanted_does_not_depend_on_the_tiling(corners: list[tuple[float, float]], core: int) -> None:
    polygon = shapely.convex_hull(shapely.MultiPoint(corners))
    if polygon.geom_type != "Polygon" or polygon.area < 1e-6:
        return
    area = Area(shapely.to_wkb(polygon))
    whole = area.inside(Window(0, 0, 40, 50))
    plan = TilePlan(40, 50, core, 2)
    kept = plan.over(area.touches)
    for tile in plan:
        part = area.inside(tile.core)
        # A corner on the very edge of a pixel may fall on either side of it; nothing else may differ.
        assert np.array_equal(part, whole[tile.core.slices])
        assert tile in kept or not whole[tile.core.slices].any()


def test_threads_may_ask_one_area_at_once() -> None:
    everywhere = [Window(row, col, 20, 20) for row in range(0, 200, 20) for col in range(0, 200, 20)]
    for shift in range(20):
        area = Area(shapely.to_wkb(shapely.Point(100 + shift, 100).buffer(90, quad_segs=64)))
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(area.inside, everywhere * 2))
        assert all(np.array_equal(one, other) for one, other in zip(found[:100], found[100:], strict=True))


def test_holes_are_not_wanted_and_several_polygons_are_one_area(tmp_path: Path) -> None:
    outer, hole = ground((5, 5), (35, 5), (35, 35), (5, 35)), ground((15, 15), (25, 15), (25, 25), (15, 25))
    document = {
        "type": "GeometryCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}},
        "geometries": [
            {"type": "Polygon", "coordinates": [[*outer, outer[0]], [*hole, hole[0]]]},
            {"type": "Polygon", "coordinates": [[*(far := ground((40, 1), (45, 1), (45, 3))), far[0]]]},
            {"type": "Point", "coordinates": [0, 0]},
        ],
    }
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(document))
    scene = open_scene(scenes.make_plain(tmp_path), aoi=path)
    assert scene.window == Window(1, 5, 34, 40)
    wanted = scene.source.pixels(Window(0, 0, *scene.shape)).wanted
    assert wanted is not None
    assert not wanted[18:22, 12:18].any()
    assert wanted[0, 37]


@pytest.mark.parametrize("crossing", ["unsplit", "split", "beyond"])
def test_a_polygon_may_cross_the_date_line(tmp_path: Path, crossing: str) -> None:
    rings = {
        "unsplit": [[(179.999, 44.9985), (-179.999, 44.9985), (-179.999, 44.999), (179.999, 44.999)]],
        "beyond": [[(179.999, 44.9985), (180.001, 44.9985), (180.001, 44.999), (179.999, 44.999)]],
        "split": [
            [(179.999, 44.9985), (180, 44.9985), (180, 44.999), (179.999, 44.999)],
            [(-180, 44.9985), (-179.999, 44.9985), (-179.999, 44.999), (-180, 44.999)],
        ],
    }[crossing]
    scene = open_scene(scenes.make_dateline(tmp_path), aoi=scenes.make_geojson(tmp_path, rings))
    assert scene.window == Window(10, 20, 5, 10)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not GeoJSON"),
        ("[1, 2]", "expected an object"),
        ('{"type": "FeatureCollection", "features": []}', "no polygon"),
        ('{"type": "Point", "coordinates": [2, 45]}', "no polygon"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1]]]}', "can't be read"),
        ('{"type": "FeatureCollection"}', "can't be read"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}', "outside plain.tif"),
        ('{"type": "Polygon", "crs": {"name": 1}, "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}', "crs"),
    ],
)
def test_what_is_no_area_of_this_scene_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        open_scene(scenes.make_plain(tmp_path), aoi=path)
    assert "\n" not in str(caught.value)


def test_an_area_that_is_missing_or_can_not_be_placed_is_refused(tmp_path: Path) -> None:
    area = scenes.make_geojson(tmp_path, [[(2, 45), (3, 45), (3, 46)]])
    with pytest.raises(InputError, match="can't be read"):
        open_scene(scenes.make_plain(tmp_path), aoi=tmp_path / "nothing.geojson")
    with pytest.raises(InputError, match="can't be brought"):
        open_scene(scenes.make_local_crs(tmp_path), aoi=area)


@pytest.mark.parametrize(("west", "east"), [(-180, 180), (0, 360), (-100, 100), (-190, 170)])
def test_a_box_as_wide_as_the_world_holds_the_scene(tmp_path: Path, west: float, east: float) -> None:
    box = [(west, -90), (east, -90), (east, 90), (west, 90)]
    path = scenes.make_geographic(tmp_path)
    assert open_scene(path, aoi=scenes.make_geojson(tmp_path, [box])).shape == open_scene(path).shape


@pytest.mark.parametrize("crs", ["EPSG:4269", "EPSG:3857"])
@pytest.mark.parametrize(
    "ring", [[(179.5, -1), (-179.5, -1), (-179.5, 1), (179.5, 1)], [(179.5, -1), (180.5, -1), (180.5, 1), (179.5, 1)]]
)
def test_the_date_line_may_be_crossed_in_any_crs(tmp_path: Path, crs: str, ring: list[tuple[float, float]]) -> None:
    step = 0.1 if crs == "EPSG:4269" else 0.1 * 20037508.342789244 / 180
    corner = Affine(step, 0, 1790 * step, 0, -step, 20 * step)
    path = scenes.make_plain(tmp_path, shape=(1, 40, 20), crs=CRS.from_user_input(crs), transform=corner)
    scene = open_scene(path, aoi=scenes.make_geojson(tmp_path, [ring]))
    east = 10 if crs == "EPSG:4269" else 5  # degrees go on beyond 180, and metres have an end
    assert scene.window.col == 5
    assert scene.window.width == east
    wanted = scene.source.pixels(Window(0, 0, *scene.shape)).wanted
    assert wanted is not None
    assert wanted.all()


def test_an_area_without_a_pixel_is_refused(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path)
    for corners in (ground((-20, 5), (1e-5, 5), (1e-5, 20), (-20, 20)), ground((5, 5), (5.00001, 5), (5, 5.00001))):
        with pytest.raises(InputError, match=r"edge of a pixel|outside"):
            open_scene(path, aoi=scenes.make_geojson(tmp_path, [corners]))


def test_a_large_window_is_looked_into_by_parts(tmp_path: Path) -> None:
    circle = Area(shapely.to_wkb(shapely.Point(150.3, 170.7).buffer(120)))
    whole = circle.inside(Window(0, 0, 300, 333))
    assert 0 < whole.mean() < 1
    for window in (Window(0, 0, 300, 1), Window(17, 100, 5, 233), Window(31, 31, 40, 40)):
        assert np.array_equal(circle.inside(window), whole[window.slices])
