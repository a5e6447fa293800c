"""Which formats are read, which are left out, and that none sends the reader elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosr.errors import InputError
from geosr.io.formats import DRIVERS, LEFT_OUT
from geosr.io.scene import open_scene
from geosr.window import Window
from tests import scenes

VECTORS = {
    "AVCBin", "AVCE00", "COG", "CPG", "ESRI Shapefile", "ESRIJSON", "GNMDatabase", "GNMFile", "GeoJSON", "GeoJSONSeq",
    "MVT", "Memory", "OSM", "SQLite", "TopoJSON",
}  # fmt: skip
"""Drivers of rasterio's build that read no raster of their own."""
WRITABLE = [
    ("PCIDSK", "scene.pix", "uint16"), ("PCIDSK", "scene.pix", "float32"), ("ISIS3", "scene.cub", "float32"),
    ("ISIS2", "scene.cub", "uint8"), ("PDS4", "scene.xml", "int16"), ("VICAR", "scene.vic", "int16"),
    ("ERS", "scene.ers", "uint16"), ("ILWIS", "scene.mpr", "float32"), ("SGI", "scene.rgb", "uint8"),
    ("LAN", "scene.lan", "int16"), ("KRO", "scene.kro", "uint8"), ("ELAS", "scene.elas", "uint8"),
    ("FIT", "scene.fit", "uint8"), ("PAux", "scene.raw", "uint16"), ("MFF", "scene.hdr", "uint8"),
    ("BT", "scene.bt", "int16"), ("GTX", "scene.gtx", "float32"), ("ISCE", "scene.isce", "float32"),
    ("FITS", "scene.fits", "int16"), ("KEA", "scene.kea", "uint16"),
]  # fmt: skip


def written(path: Path, driver: str, dtype: str, **options: str) -> np.ndarray:
    with rasterio.Env() as environment:
        if driver not in environment.drivers():
            pytest.skip(f"this GDAL has no driver for {driver}")
    stored = scenes.pixels((1, 40, 50), "uint8").clip(1, 99).astype(dtype)
    profile = {"driver": driver, "width": 50, "height": 40, "count": 1, "dtype": dtype, **options}
    with scenes.quiet(), rasterio.open(path, "w", **profile, crs=scenes.UTM, transform=scenes.NORTH_UP) as dst:
        dst.write(stored)
    return stored


@pytest.mark.parametrize(("driver", "name", "dtype"), WRITABLE)
def test_pixels_of_a_format_are_those_that_were_written(tmp_path: Path, driver: str, name: str, dtype: str) -> None:
    stored = written(tmp_path / name, driver, dtype)
    scene = open_scene(tmp_path / name)
    assert scene.driver == driver
    assert np.array_equal(scene.source.pixels(Window(0, 0, 40, 50)).stored, stored)


def test_every_raster_driver_is_either_read_or_left_out_for_a_reason() -> None:
    with rasterio.Env() as environment:
        here = set(environment.drivers())
    assert not set(DRIVERS) & set(LEFT_OUT)
    assert here - set(DRIVERS) - set(LEFT_OUT) <= VECTORS


@pytest.mark.parametrize(
    ("content", "driver", "why"),
    [
        ("<GDAL_WMS><Service name='TMS'/></GDAL_WMS>", "WMS", "server"),
        ("<MRF_META><Raster><Size x='4' y='4'/></Raster></MRF_META>", "MRF", "other files"),
        ("<GDALTileIndexDataset><IndexDataset>x.gpkg</IndexDataset></GDALTileIndexDataset>", "GTI", "other files"),
        ("<?xml version='1.0'?><Dimap_Document><Metadata_Id/></Dimap_Document>", "DIMAP", "other files"),
        ("%PDF-1.7 nothing", "PDF", "drawn"),
        ("msid-something", "MrSID", "can't read it"),
        ('{"zarr_format": 2}', "Zarr", "other files"),
    ],
)
def test_a_driver_that_is_left_out_is_named_with_the_way_out(
    tmp_path: Path, content: str, driver: str, why: str
) -> None:
    path = tmp_path / "scene.dat"
    path.write_text(content + " " * 2000)
    with pytest.raises(InputError) as caught:
        open_scene(path)
    line = str(caught.value)
    assert re.search(rf"\b{driver}\b", line)
    assert why in line
    assert "gdal_translate" in line
    assert "damaged" not in line


def test_a_header_that_names_a_file_elsewhere_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    for driver, name, ours in (("PDS4", "scene.xml", b"scene.img"), ("ERS", "scene.ers", b"DatasetHeader Begin")):
        folder = tmp_path / driver
        folder.mkdir()
        written(folder / name, driver, "uint8")
        for theirs in (b"/vsicurl/http://127.0.0.1:9/x.tif", b"../outside.img", b"/etc/passwd"):
            there = theirs if driver == "PDS4" else ours + b'\n\tDataFile = "' + theirs + b'"'
            (folder / "bad.xml").write_bytes((folder / name).read_bytes().replace(ours, there))
            with pytest.raises(InputError, match=r"bad\.xml: its header names .*which does not lie beside it"):
                open_scene(folder / "bad.xml")


def test_channels_of_pcidsk_in_files_of_their_own_are_read_beside_it_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "scene.pix"
    stored = written(path, "PCIDSK", "uint8", INTERLEAVING="FILE")
    assert np.array_equal(open_scene(path).source.pixels(Window(0, 0, 40, 50)).stored, stored)
    content = path.read_bytes()
    for elsewhere in (b"/etc/passwd", b"/vsicurl/http://127.0.0.1:9/x.tif", b"../x.001"):
        path.write_bytes(content.replace(b"scene.001".ljust(64), elsewhere.ljust(64)))
        with pytest.raises(InputError, match="does not lie beside it"):
            open_scene(path)
    scenes.make_python_vrt(tmp_path, tmp_path / "touched").rename(tmp_path / "scene.001")
    path.write_bytes(content)
    with pytest.raises(InputError, match="is a VRT"):
        open_scene(path)


def test_a_link_out_of_the_folder_is_no_file_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    written(folder / "scene.xml", "PDS4", "uint8")
    (folder / "scene.img").rename(tmp_path / "outside.img")
    (folder / "scene.img").symlink_to(tmp_path / "outside.img")
    with pytest.raises(InputError, match="does not lie beside it"):
        open_scene(folder / "scene.xml")
