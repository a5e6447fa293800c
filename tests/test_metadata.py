"""What travels beside the pixels, and how it follows the grid."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

import geosr
from geosr.errors import InputError
from geosr.io.metadata import BandMetadata, Metadata, placed
from geosr.io.metadata_check import losses
from geosr.io.scene import open_scene
from geosr.window import Window
from tests import scenes


def written(
    path: Path, metadata: Metadata, scale: int, dtype: str = "uint16", size: tuple[int, int] = (40, 50)
) -> Path:
    """A file with this metadata, as a plain GDAL writer makes it."""
    profile = {"driver": "GTiff", "count": len(metadata.bands), "dtype": dtype}
    profile |= {"height": size[0] * scale, "width": size[1] * scale, "tiled": True, "sparse_ok": True}
    with scenes.quiet(), rasterio.open(path, "w", **profile, **metadata.creation_options) as dst:
        metadata.apply(dst)
    return path


@pytest.fixture
def rich(tmp_path: Path) -> rasterio.DatasetReader:
    scene = open_scene(scenes.make_rich(tmp_path))
    metadata = pickle.loads(pickle.dumps(scene.metadata)).zoom(4, {"GEOSR_MODEL": "fast"})
    with rasterio.open(written(tmp_path / "out.tif", metadata, 4)) as dataset:
        yield dataset


def test_names_units_scales_and_colours_survive(rich: rasterio.DatasetReader) -> None:
    assert rich.descriptions == ("B04", "B03", "B02", "B08")
    assert rich.units == ("reflectance",) * 4
    assert rich.scales == (0.0001,) * 4
    assert rich.offsets == (-0.1,) * 4
    assert rich.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
    assert rich.nodatavals == (0,) * 4


def test_tags_of_every_namespace_survive(rich: rasterio.DatasetReader) -> None:
    assert rich.tags()["ACQUIRED"] == "2024-06-01"
    assert rich.tags()["TIFFTAG_SOFTWARE"] == "a camera"
    assert (rich.tags()["HISTORY"], rich.tags()["OVERVIEW_NOTE"]) == ("cut", "none")
    assert rich.tags(ns="IMAGERY") == {"CLOUDCOVER": "12", "SATELLITEID": "S9"}
    assert rich.tags(ns="MISSION") == {"ORBIT": "123", "NOTE": "a = b; c < d"}
    assert rich.tags(1)["WAVELENGTH"] == "665"
    assert rich.tags(2, ns="CALIBRATION") == {"GAIN": "1.5"}
    expected = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><note a="1">e = mc2</note></x:xmpmeta>'
    assert rich.tags(ns="xml:XMP") == {"xml:XMP": expected}


def test_what_told_of_the_old_pixels_is_gone(rich: rasterio.DatasetReader) -> None:
    names = {*rich.tags(), *(key for band in range(1, 5) for key in rich.tags(band))}
    assert not [name for name in names if name.startswith(("STATISTICS_", "OVR_"))]


def test_provenance_and_resolution_follow_the_scale(rich: rasterio.DatasetReader) -> None:
    assert rich.tags()["GEOSR_MODEL"] == "fast"
    assert rich.tags()["TIFFTAG_XRESOLUTION"] == "288"


def test_a_document_without_an_equals_sign_survives_as_xml(tmp_path: Path) -> None:
    metadata = Metadata(
        None,
        Affine.identity(),
        bands=(BandMetadata(color=ColorInterp.gray),),
        tags={"xml:XMP": {"xml:XMP": "<a>b</a>"}},
    )
    with scenes.quiet(), rasterio.open(written(tmp_path / "out.tif", metadata, 1)) as dataset:
        assert dataset.tags(ns="xml:XMP")["xml:XMP"].startswith("<a>b</a>")


@pytest.mark.parametrize(
    "make",
    [
        scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_geographic, scenes.make_dateline,
        scenes.make_local_crs, scenes.make_custom_crs, scenes.make_no_crs, scenes.make_gcps, scenes.make_rpcs,
        scenes.make_palette, scenes.make_alpha, scenes.make_rich, scenes.make_nan, scenes.make_nodata_per_band,
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", [2, 3])
def test_a_geotiff_holds_all_of_it(tmp_path: Path, make, scale: int) -> None:  # type: ignore[no-untyped-def]
    scene = open_scene(make(tmp_path))
    metadata = scene.metadata.zoom(scale)
    assert losses(metadata, scene.dtype) == ()
    with scenes.quiet(), rasterio.open(written(tmp_path / "out.tif", metadata, scale, scene.dtype)) as dataset:
        assert dataset.crs == scene.crs or (scene.crs is None and not dataset.crs)
        assert not list(tmp_path.glob("out.tif.aux.xml"))


@pytest.mark.parametrize("make", [scenes.make_plain, scenes.make_rotated, scenes.make_south_up, scenes.make_dateline])
@pytest.mark.parametrize("area_or_point", ["Area", "Point"])
@pytest.mark.parametrize("scale", [2, 3, 7])
def test_outer_corners_stay_where_they_were(tmp_path: Path, make, area_or_point: str, scale: int) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path)
    with rasterio.open(path, "r+") as dst:
        transform = dst.transform
        dst.update_tags(AREA_OR_POINT=area_or_point)
        dst.transform = transform
    with (
        rasterio.open(path) as src,
        rasterio.open(written(tmp_path / "out.tif", open_scene(path).metadata.zoom(scale), scale)) as dst,
    ):
        assert dst.tags()["AREA_OR_POINT"] == area_or_point
        for col, row in ((0, 0), (50, 0), (0, 40), (50, 40)):
            old, new = placed(src.transform, col, row), placed(dst.transform, col * scale, row * scale)
            assert new == pytest.approx(old, rel=1e-14, abs=1e-9 * abs(src.transform.a))


@given(
    terms=st.tuples(*[st.floats(-1e4, 1e4).filter(lambda v: abs(v) > 1e-3)] * 4),
    origin=st.tuples(st.floats(-2e7, 2e7), st.floats(-2e7, 2e7)),
    scale=st.integers(2, 8),
)
def test_zooming_divides_the_terms_and_keeps_the_corner(
    terms: tuple[float, float, float, float], origin: tuple[float, float], scale: int
) -> None:
    a, b, d, e = terms
    fine = Metadata(None, Affine(a, b, origin[0], d, e, origin[1])).zoom(scale).transform
    assert (fine.a, fine.b, fine.d, fine.e) == (a / scale, b / scale, d / scale, e / scale)
    assert (fine.c, fine.f) == origin


@pytest.mark.parametrize("point", [False, True])
def test_control_points_follow_crop_and_scale_and_keep_their_heights(tmp_path: Path, point: bool) -> None:
    path = scenes.make_gcps(tmp_path, point)
    with rasterio.open(path) as src:
        before, crs = src.gcps
        metadata = Metadata.of(src, (1, 2, 3), Window(5, 7, 30, 40)).zoom(3)
    with rasterio.open(written(tmp_path / "out.tif", metadata, 3, size=(30, 40))) as dst:
        after, after_crs = dst.gcps
    assert after_crs == crs
    for old, new in zip(before, after, strict=True):
        assert (new.row, new.col) == pytest.approx(((old.row - 5) * 3, (old.col - 7) * 3), abs=1e-9)
        assert (new.x, new.y, new.z) == (old.x, old.y, old.z)
    assert bool(metadata.warnings) == point


def line_and_sample(rpcs: RPC, lon: float, lat: float, height: float) -> tuple[float, float]:
    """The pixel of a place, by the definition of rational polynomials; only the first four terms are used here."""
    x, y = (lon - rpcs.long_off) / rpcs.long_scale, (lat - rpcs.lat_off) / rpcs.lat_scale
    z = (height - rpcs.height_off) / rpcs.height_scale
    line, sample = (sum(c * t for c, t in zip(part[:4], (1, x, y, z), strict=True))
                    for part in (rpcs.line_num_coeff, rpcs.samp_num_coeff))  # fmt: skip
    return line * rpcs.line_scale + rpcs.line_off, sample * rpcs.samp_scale + rpcs.samp_off


@pytest.mark.parametrize("scale", [2, 4, 5])
def test_rational_polynomials_name_the_same_ground_after_crop_and_scale(tmp_path: Path, scale: int) -> None:
    with scenes.quiet(), rasterio.open(scenes.make_rpcs(tmp_path)) as src:
        metadata = Metadata.of(src, (1,), Window(3, 4, 30, 40)).zoom(scale)
    with scenes.quiet(), rasterio.open(written(tmp_path / "out.tif", metadata, scale, size=(30, 40))) as dst:
        fine = dst.rpcs
    for lon, lat, height in ((2.0, 45.0, 100.0), (2.004, 44.997, 300.0), (1.995, 45.006, -20.0)):
        line, sample = line_and_sample(scenes.rpcs(), lon, lat, height)
        # Lines and samples name pixel centres; half a pixel further they are corners, which scale plainly.
        expected = (line - 3 + 0.5) * scale - 0.5, (sample - 4 + 0.5) * scale - 0.5
        assert line_and_sample(fine, lon, lat, height) == pytest.approx(expected, abs=1e-9)


def test_the_colour_table_of_a_single_band_survives(tmp_path: Path) -> None:
    scene = open_scene(scenes.make_palette(tmp_path))
    with rasterio.open(written(tmp_path / "out.tif", scene.metadata.zoom(2), 2, "uint8")) as dataset:
        assert dataset.colormap(1)[2] == (0, 255, 0, 255)
        assert dataset.colorinterp == (ColorInterp.palette,)


def test_header_fields_that_raise_become_empty_with_a_warning(tmp_path: Path) -> None:
    class Odd:
        """A dataset whose RPCs can't be read."""

        def __init__(self, dataset: rasterio.DatasetReader) -> None:
            self._dataset = dataset

        @property
        def rpcs(self) -> RPC:
            raise ValueError("could not convert\nstring to float")

        def __getattr__(self, name: str) -> object:
            return getattr(self._dataset, name)

    with rasterio.open(scenes.make_plain(tmp_path)) as dataset:
        metadata = Metadata.of(Odd(dataset), (1, 2, 3), Window(0, 0, 40, 50))  # type: ignore[arg-type]
    assert metadata.rpcs is None
    assert metadata.warnings == (
        "the RPCs can't be read and will be missing from the result: could not convert string to float",
    )


def test_losses_name_what_a_geotiff_can_not_hold(tmp_path: Path) -> None:
    metadata = open_scene(scenes.make_plain(tmp_path, dtype="uint8")).metadata
    assert losses(replace(metadata, nodata=-9999.0), "uint8") != ()


def test_a_crs_without_a_transform_gets_no_place(tmp_path: Path) -> None:
    scene = open_scene(scenes.make_plain(tmp_path, transform=None))
    assert [line for line in scene.warnings if "no transform" in line]
    path = written(tmp_path / "a.tif", scene.metadata.zoom(4), 4)
    with pytest.warns(NotGeoreferencedWarning):
        file = rasterio.open(path)
    with file:
        assert file.transform.is_identity
        assert file.crs == scene.crs


@pytest.mark.parametrize("option", ["bounds", "aoi"])
def test_what_has_no_place_in_its_crs_is_not_cut_by_coordinates(tmp_path: Path, option: str) -> None:
    path = scenes.make_plain(tmp_path, transform=None)
    area = scenes.make_geojson(tmp_path, [[(2, 40), (3, 40), (3, 41)]])
    with pytest.raises(InputError, match="has no"):
        open_scene(path, **{"bounds": (5, 5, 20, 20)} if option == "bounds" else {"aoi": area})  # type: ignore[arg-type]


def test_words_of_the_old_grid_and_the_old_file_are_gone(tmp_path: Path) -> None:
    path = scenes.make_plain(tmp_path, tiled=True)
    stale = {
        "crs#GeoTransform": "1 2 0 3 0 -2",
        "lat#actual_range": "{45,46}",
        "x#scale_factor": "5.6e-05",
        "ZOOM_LEVEL": "9",
        "proj:transform": "x",
    }
    stale |= {
        "NC_GLOBAL#geospatial_lat_resolution": "0.01",
        "NC_GLOBAL#spatial_resolution": "300m",
        "multiscales": "[]",
    }
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(**stale, **{"time_resolution": "P1D", "crs#grid_mapping_name": "latitude_longitude"})
        dst.update_tags(ns="TILING_SCHEME", NAME="GoogleMapsCompatible", ZOOM_LEVEL="9")
        dst.update_tags(ns="ENVI", lines="40", samples="50", map_info="{UTM, 1, 1}", sensor_type="AVIRIS")
    tags = open_scene(path).metadata.tags
    assert tags is not None
    assert not set(stale) & set(tags[""])
    assert {"time_resolution", "crs#grid_mapping_name"} <= set(tags[""])
    assert "TILING_SCHEME" not in tags
    assert tags["ENVI"] == {"sensor_type": "AVIRIS"}


def test_control_points_without_a_crs_are_carried_as_they_are(tmp_path: Path) -> None:
    src = scenes.make_gcps(tmp_path)
    with rasterio.open(src, "r+") as dataset:
        points, _ = dataset.gcps
        dataset.gcps = points, CRS()
    with rasterio.open(src) as dataset:
        assert dataset.gcps[1] is None
    report = geosr.upscale(src, tmp_path / "out.tif", model="nearest", scale=2)
    assert not any("can't be checked" in line for line in report["warnings"])
    with rasterio.open(tmp_path / "out.tif") as result:
        carried, crs = result.gcps
    assert crs is None
    assert [(p.x, p.y, p.row, p.col) for p in carried] == [(p.x, p.y, 2 * p.row, 2 * p.col) for p in points]
