"""Theia's products: reflectance corrected for slopes, with values, numbers for no data and masks as metadata tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.products import Product, open_source, read_product, scenes_of
from geosr.sensor_table import SENTINEL_2
from tests.safe import CORNER, reflectance, scene_classes, zipped

NAME = "SENTINEL2A_20180523-105300-000_L2A_T31TCJ_C_V2-2"
GROUPS = {"R1": (10, ("B2", "B3", "B4", "B8")), "R2": (20, ("B5", "B6", "B7", "B8A", "B11", "B12"))}
REFLECTANCES = (("Surface_Reflectance", "SRE"), ("Flat_Reflectance", "FRE"))
AIR = ("Water_Vapor_Content", "Aerosol_Optical_Thickness")
MASKS = (("Cloud", "CLM"), ("Snow", "MG2"), ("Edge", "EDG"))
CLOUD = 9
"""The class of the ground that the cloud mask marks, with the bit of shadows."""


def write(path: Path, planes: list[NDArray[np.generic]], metres: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(planes), "height": planes[0].shape[0], "width": planes[0].shape[1], "dtype": planes[0].dtype}
    grid = Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1])
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=grid, **shape) as dst:
        dst.write(np.stack(planes))


def stored(metres: int, quantification: float = 10_000) -> NDArray[np.int16]:
    numbers = np.round(reflectance(metres) * quantification).astype(np.int16)
    numbers[:6, :6] = -10_000
    return numbers


def make_theia(folder: Path, quantification: float = 10_000) -> Path:
    """A product as MUSCATE delivers it, with the structure of its metadata."""
    root = folder / NAME
    for group, (metres, bands) in GROUPS.items():
        for band in bands:
            write(root / f"{NAME}_FRE_{band}.tif", [stored(metres, quantification)], metres)
            write(root / f"{NAME}_SRE_{band}.tif", [stored(metres, quantification) - 7], metres)
        write(root / f"{NAME}_ATB_{group}.tif", [np.full((960 // metres,) * 2, n, np.uint8) for n in (30, 40)], metres)
        clouds = np.where(scene_classes(metres) == CLOUD, 0b100001, 0).astype(np.uint8)
        write(root / f"MASKS/{NAME}_CLM_{group}.tif", [clouds], metres)
        write(root / f"MASKS/{NAME}_MG2_{group}.tif", [np.zeros_like(clouds)], metres)
        write(root / f"MASKS/{NAME}_EDG_{group}.tif", [np.ones_like(clouds)], metres)  # inverted, as some are
    (root / f"{NAME}_MTD_ALL.xml").write_text(metadata(quantification), "utf-8")
    return root


def metadata(quantification: float) -> str:
    lists = {group: "".join(f"<BAND_ID>{band}</BAND_ID>" for band in names) for group, (_, names) in GROUPS.items()}
    bands = "".join(
        f'<Group group_id="{group}"><Band_List>{names}</Band_List></Group>' for group, names in lists.items()
    )
    grids = "".join(
        f'<Group_Geopositioning group_id="{group}"><ULX>{CORNER[0]}</ULX><ULY>{CORNER[1]}</ULY><XDIM>{metres}</XDIM>'
        f"<YDIM>-{metres}</YDIM></Group_Geopositioning>"
        for group, (metres, _) in GROUPS.items()
    )
    keys = [band for _, names in GROUPS.values() for band in names]
    images = "".join(
        [
            *(listed(nature, "Image", "band_id", keys, f"{NAME}_{kind}") for nature, kind in REFLECTANCES),
            *(listed(nature, "Image", "group_id", [*GROUPS], f"{NAME}_ATB") for nature in AIR),
        ]
    )
    masks = "".join(listed(nature, "Mask", "group_id", [*GROUPS], f"MASKS/{NAME}_{kind}") for nature, kind in MASKS)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Muscate_Metadata_Document>
  <Product_Characteristics>
    <PRODUCT_ID>{NAME}</PRODUCT_ID><ACQUISITION_DATE>2018-05-23T10:53:00.0</ACQUISITION_DATE>
    <PRODUCT_LEVEL>L2A</PRODUCT_LEVEL><PLATFORM>SENTINEL2A</PLATFORM><Band_Group_List>{bands}</Band_Group_List>
  </Product_Characteristics>
  <Product_Organisation><Muscate_Product>
    <Image_List>{images}</Image_List><Mask_List>{masks}</Mask_List>
  </Muscate_Product></Product_Organisation>
  <Geoposition_Informations>
    <Coordinate_Reference_System><Horizontal_Coordinate_System><HORIZONTAL_CS_CODE>32631</HORIZONTAL_CS_CODE>
    </Horizontal_Coordinate_System></Coordinate_Reference_System>
    <Geopositioning><Group_Geopositioning_List>{grids}</Group_Geopositioning_List></Geopositioning>
  </Geoposition_Informations>
  <Radiometric_Informations>
    <REFLECTANCE_QUANTIFICATION_VALUE>{quantification:g}</REFLECTANCE_QUANTIFICATION_VALUE>
    <WATER_VAPOR_CONTENT_QUANTIFICATION_VALUE>20</WATER_VAPOR_CONTENT_QUANTIFICATION_VALUE>
    <AEROSOL_OPTICAL_THICKNESS_QUANTIFICATION_VALUE>200</AEROSOL_OPTICAL_THICKNESS_QUANTIFICATION_VALUE>
    <Special_Values_List>
      <SPECIAL_VALUE name="nodata">-10000</SPECIAL_VALUE>
      <SPECIAL_VALUE name="water_vapor_content_nodata">0</SPECIAL_VALUE>
    </Special_Values_List>
  </Radiometric_Informations>
</Muscate_Metadata_Document>
"""


def listed(nature: str, kind: str, attribute: str, keys: list[str], stem: str) -> str:
    tag = f"{kind.upper()}_FILE"
    files = "".join(f'<{tag} {attribute}="{key}">{stem}_{key}.tif</{tag}>' for key in keys)
    return (
        f"<{kind}><{kind}_Properties><NATURE>{nature}</NATURE></{kind}_Properties>"
        f"<{kind}_File_List>{files}</{kind}_File_List></{kind}>"
    )


@pytest.fixture(scope="module")
def theia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_theia(tmp_path_factory.mktemp("theia"))


def read(path: Path) -> Product:
    found = read_product(path)
    assert found is not None
    return found


@pytest.mark.parametrize("way", ["folder", "metadata", "zip", "bare zip"])
def test_reflectance_corrected_for_slopes_is_taken_with_the_values_of_the_metadata(
    tmp_path: Path, theia: Path, way: str
) -> None:
    path = {
        "folder": lambda: theia,
        "metadata": lambda: theia / f"{NAME}_MTD_ALL.xml",
        "zip": lambda: zipped(theia, tmp_path / "theia.zip"),
        "bare zip": lambda: zipped(theia, tmp_path / "theia.zip", top=False),
    }[way]()
    product = read(path)
    fine, coarse = scenes_of(product, ["B2", "red", "nir08", "B11"])
    assert (product.kind, fine.names, coarse.names) == ("Theia SENTINEL2A L2A", ("B2", "B4"), ("B8A", "B11"))
    for scene in (fine, coarse):
        assert (set(scene.scales), set(scene.offsets), scene.nodata) == ({1e-4}, {0}, -10_000)
        assert (scene.source.pixels(scene.window).stored == stored(round(scene.transform.a))).all()
        assert [band.table.name for band in scene.sensor.bands if band.table] == [
            {"B2": "B02", "B4": "B04"}.get(name, name) for name in scene.names
        ]
    assert fine.sensor.sensor == SENTINEL_2.name
    assert open_source(path).names == ("B2", "B3", "B4", "B8")


def test_quantification_and_what_is_beside_the_bands_are_read_by_name(tmp_path: Path) -> None:
    product = read(make_theia(tmp_path, quantification=1_000))
    slopes, plain, air, masks = (
        scenes_of(product, names)[0] for names in (["B4"], ["SRE_B4"], ["WVC", "AOT"], ["CLM_R2", "MG2_R2"])
    )
    assert slopes.scales == plain.scales == (1e-3,)
    assert (plain.source.pixels(plain.window).stored == stored(10, 1_000) - 7).all()
    assert plain.sensor.bands[0].response == slopes.sensor.bands[0].response
    assert (air.scales, air.source.pixels(air.window).stored[:, 9, 9].tolist()) == ((1 / 20, 1 / 200), [30, 40])
    assert (masks.categorical, masks.scales) == ((True, True), (1, 1))


@pytest.mark.parametrize(("band", "metres"), [("B4", 10), ("B8A", 20)])
def test_clouds_are_what_any_bit_of_its_mask_marks_and_edges_tell_nothing(theia: Path, band: str, metres: int) -> None:
    scene = open_source(theia, bands=[band], mask="clouds")
    expected = np.where(scene_classes(metres) == CLOUD, -10_000, stored(metres))
    assert (scene.source.pixels(scene.window).stored[0] == expected).all()


def test_a_product_that_is_not_whole_is_told(tmp_path: Path) -> None:
    root = make_theia(tmp_path)
    (root / f"{NAME}_FRE_B3.tif").unlink()
    with pytest.raises(InputError, match="B3 of its bands are listed and not there"):
        open_source(root)
    main = root / f"{NAME}_MTD_ALL.xml"
    main.write_text(main.read_text("utf-8").replace(">10000</REFLECTANCE", "></REFLECTANCE"), "utf-8")
    with pytest.raises(InputError, match=r"has no quantification value; settle it with --scale-offset"):
        open_source(root, bands=["B4"])
