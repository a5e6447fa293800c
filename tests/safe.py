"""Sentinel-2 products as SAFE, small ones: real layouts, the structure of real metadata, lossless JPEG 2000."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geosr.sensor_table import SENTINEL_2

BANDS = tuple(band.name for band in SENTINEL_2.bands)
NATIVE = {band.name: int(band.gsd_m) for band in SENTINEL_2.bands}
CORNER = 600_000, 4_900_020
SIDE = 16
"""Pixels of 60 m along a side."""
EMPTY = 2
"""Pixels of 60 m along a side that hold no data, in a corner."""
CLASSES = (
    "NODATA", "SATURATED_DEFECTIVE", "DARK_FEATURE_SHADOW", "CLOUD_SHADOW", "VEGETATION", "NOT_VEGETATED", "WATER",
    "UNCLASSIFIED", "CLOUD_MEDIUM_PROBA", "CLOUD_HIGH_PROBA", "THIN_CIRRUS", "SNOW_ICE",
)  # fmt: skip
WHEN, TILE = "20230625T104621", "T31TDJ"


def reflectance(metres: int, side: int = SIDE) -> NDArray[np.float64]:
    """The ground of a product in pixels of so many metres: the mean of the finest ones, .02 to .4."""
    rng = np.random.default_rng(7)
    fine = rng.uniform(0.02, 0.4, (side * 3, side * 3)).repeat(2, 0).repeat(2, 1)
    step = metres // 10
    return np.asarray(fine.reshape(side * 6 // step, step, side * 6 // step, step).mean((1, 3)))


def stored(metres: int, offset: float, quantification: float = 10_000, side: int = SIDE) -> NDArray[np.uint16]:
    """Numbers of a band, 0 where there is no data."""
    numbers = np.round(reflectance(metres, side) * quantification - offset)
    numbers[: EMPTY * 60 // metres, : EMPTY * 60 // metres] = 0
    return numbers.astype(np.uint16)


def scene_classes(metres: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Vegetation, with a square of each class along the diagonal, in pixels of 60 m; no data in the corner."""
    classes = np.full((side, side), 4, np.uint8)
    np.fill_diagonal(classes[EMPTY:, EMPTY:], np.arange(1, side - EMPTY + 1) % 12)
    classes[:EMPTY, :EMPTY] = 0
    return classes.repeat(60 // metres, 0).repeat(60 // metres, 1)


def write_jp2(path: Path, pixels: NDArray[np.generic], metres: int, corner: tuple[float, float] = CORNER) -> None:
    """A lossless JPEG 2000 with its place, as products have them."""
    planes = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Affine(metres, 0, corner[0], 0, -metres, corner[1])
    shape = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", crs="EPSG:32631", transform=grid, **shape, **lossless) as dst:
        dst.write(planes)


def images_of(level: str, baseline: str) -> list[tuple[str, int]]:
    """Bands and pixels that a product of this level and baseline has images of, previews left out."""
    if level == "L1C":
        return list(NATIVE.items())
    beside = [("AOT", 10), ("WVP", 10), ("AOT", 20), ("WVP", 20), ("SCL", 20), ("AOT", 60), ("WVP", 60), ("SCL", 60)]
    finer = [("B01", 20)] if baseline >= "04.00" else []
    own = [(key, size) for key, size in NATIVE.items() if key != "B10"]
    coarser = [(key, size) for key, own_size in own for size in (20, 60) if size > own_size and key != "B08"]
    return [*own, *finer, *coarser, *beside]


def make_safe(
    folder: Path,
    *,
    level: str = "L2A",
    baseline: str = "05.09",
    offset: float | None = -1000,
    quantification: float = 10_000,
    only: Sequence[str] = (),
    side: int = SIDE,
    manifest: bool = True,
) -> Path:
    """A product in the compact format; without an offset its metadata list none. `only` leaves out other bands."""
    name = f"S2A_MSI{level}_{WHEN}_N{baseline.replace('.', '')}_R051_{TILE}_20230625T124911"
    root, granule = folder / f"{name}.SAFE", f"GRANULE/{level}_{TILE}_A041826_20230625T104624"
    files = {}
    for key, size in images_of(level, baseline):
        if not only or key in only:
            inner = f"IMG_DATA/R{size}m" if level == "L2A" else "IMG_DATA"
            stem = f"{granule}/{inner}/{TILE}_{WHEN}_{key}" + (f"_{size}m" if level == "L2A" else "")
            files[stem] = pixels_of(key, size, offset or 0, quantification, side), size
    for stem, (pixels, size) in files.items():
        write_jp2(root / f"{stem}.jp2", pixels, size)
    if level == "L1C" and baseline >= "04.00":
        marks = np.stack([scene_classes(60, side) == kind for kind in (9, 10, 11)]).astype(np.uint8)
        write_jp2(root / f"{granule}/QI_DATA/MSK_CLASSI_B00.jp2", marks, 60)
    (root / f"MTD_MSI{level}.xml").write_text(
        product_xml(level, baseline, offset, quantification, list(files), f"{name}.SAFE"), "utf-8"
    )
    (root / granule / "MTD_TL.xml").write_text(tile_xml(level, side), "utf-8")
    if manifest:
        (root / "manifest.safe").write_text(manifest_xml(root), "utf-8")
    return root


def make_old_safe(folder: Path, tiles: Sequence[str] = (TILE,), side: int = SIDE) -> Path:
    """A product of 2016, which has long names, may hold several tiles, and lists no offset."""
    root = folder / f"S2A_OPER_PRD_MSIL1C_PDMC_20160929T185902_R065_V{WHEN}_{WHEN}.SAFE"
    stems = []
    for tile in tiles:
        granule = f"GRANULE/S2A_OPER_MSI_L1C_TL_SGS__20160929T154211_A006640_{tile}_N02.04"
        own = f"S2A_OPER_MSI_L1C_TL_SGS__20160929T154211_A006640_{tile}"
        for key, size in NATIVE.items():
            stems.append(f"{own}_{key}")
            write_jp2(root / granule / f"IMG_DATA/{own}_{key}.jp2", stored(size, 0, side=side), size)
        (root / granule / f"{own.replace('_MSI_', '_MTD_')}.xml").write_text(tile_xml("L1C", side), "utf-8")
    text = product_xml("L1C", "02.04", None, 10_000, stems, root.name)
    text = (
        text.replace("IMAGE_FILE>", "IMAGE_ID>").replace("<Granule ", "<Granules ").replace("</Granule>", "</Granules>")
    )
    (root / f"S2A_OPER_MTD_SAFL1C_PDMC_20160929T185902_R065_V{WHEN}_{WHEN}.xml").write_text(text, "utf-8")
    return root


def make_pilot_safe(folder: Path, side: int = SIDE) -> Path:
    """An L2A of 2017, of which names of files and of elements have a prefix."""
    root = make_safe(folder, baseline="02.05", offset=None, side=side, manifest=False)
    for image in root.glob("GRANULE/*/IMG_DATA/*/*.jp2"):
        image.rename(image.with_name(f"L2A_{image.name}"))
    main = root / "MTD_MSIL2A.xml"
    text = main.read_text("utf-8").replace(f"/{TILE}_", f"/L2A_{TILE}_").replace("IMAGE_FILE>", "IMAGE_FILE_2A>")
    for tag in ("BOA", "AOT", "WVP"):
        text = text.replace(f"{tag}_QUANTIFICATION_VALUE", f"L2A_{tag}_QUANTIFICATION_VALUE")
    lists = "L1C_L2A_Quantification_Values_List"
    text = text.replace("PRODUCT_URI>", "PRODUCT_URI_2A>").replace("QUANTIFICATION_VALUES_LIST", lists)
    main.write_text(text, "utf-8")
    return root


def zipped(root: Path, archive: Path, top: bool = True) -> Path:
    """A product's zip, with or without its folder on top."""
    base = archive.with_suffix("")
    if top:
        return Path(shutil.make_archive(str(base), "zip", root.parent, root.name))
    return Path(shutil.make_archive(str(base), "zip", root))


def pixels_of(key: str, size: int, offset: float, quantification: float, side: int) -> NDArray[np.generic]:
    """The numbers of an image of a product."""
    if key == "SCL":
        return scene_classes(size, side)
    return stored(size, 0, 1000, side) if key in ("AOT", "WVP") else stored(size, offset, quantification, side)


def product_xml(
    level: str,
    baseline: str,
    offset: float | Mapping[int, float] | None,
    quantification: float,
    stems: list[str],
    name: str,
) -> str:
    """MTD_MSIL1C.xml or MTD_MSIL2A.xml, without what no reader of values looks at."""
    kind, one = ("BOA", "BOA_QUANTIFICATION_VALUE") if level == "L2A" else ("RADIO", "QUANTIFICATION_VALUE")
    by_band = offset if isinstance(offset, Mapping) else {} if offset is None else dict.fromkeys(range(13), offset)
    added = "".join(
        f'<{kind}_ADD_OFFSET band_id="{band}">{number:g}</{kind}_ADD_OFFSET>' for band, number in by_band.items()
    )
    lists = {"BOA": "BOA_ADD_OFFSET_VALUES_LIST", "RADIO": "Radiometric_Offset_List"}[kind]
    quantified = f'<{one} unit="none">{quantification:g}</{one}>'
    if level == "L2A":
        air = "".join(
            f'<{key}_QUANTIFICATION_VALUE unit="none">1000.0</{key}_QUANTIFICATION_VALUE>' for key in ("AOT", "WVP")
        )
        quantified = f"<QUANTIFICATION_VALUES_LIST>{quantified}{air}</QUANTIFICATION_VALUES_LIST>"
    images = "".join(f"<IMAGE_FILE>{stem}</IMAGE_FILE>" for stem in stems)
    special = "".join(
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{number}</SPECIAL_VALUE_INDEX></Special_Values>"
        for text, number in (("NODATA", 0), ("SATURATED", 65535))
    )
    legend = "".join(
        f"<Scene_Classification_ID><SCENE_CLASSIFICATION_TEXT>SC_{text}</SCENE_CLASSIFICATION_TEXT>"
        f"<SCENE_CLASSIFICATION_INDEX>{number}</SCENE_CLASSIFICATION_INDEX></Scene_Classification_ID>"
        for number, text in enumerate(CLASSES)
    )
    space = f"https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level[1:]}.xsd"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_User_Product xmlns:n1="{space}">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2023-06-25T10:46:21.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PRODUCT_TYPE>S2MSI{level[1:]}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="GS2A_{WHEN}_041826_N{baseline}">
        <SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
        <SENSING_ORBIT_NUMBER>51</SENSING_ORBIT_NUMBER>
      </Datatake>
      <Product_Organisation><Granule_List>
        <Granule granuleIdentifier="S2A_OPER_MSI_{level}_TL_2APS_{TILE}" imageFormat="JPEG2000">{images}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>{special}{quantified}{legend if level == "L2A" else ""}
      {f"<{lists}>{added}</{lists}>" if added else ""}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level[1:]}_User_Product>
"""


def tile_xml(level: str, side: int) -> str:
    """MTD_TL.xml, as far as it tells the place."""
    sizes = "".join(
        f'<Size resolution="{size}"><NROWS>{side * 60 // size}</NROWS><NCOLS>{side * 60 // size}</NCOLS></Size>'
        f'<Geoposition resolution="{size}"><ULX>{CORNER[0]}</ULX><ULY>{CORNER[1]}</ULY><XDIM>{size}</XDIM>'
        f"<YDIM>-{size}</YDIM></Geoposition>"
        for size in (10, 20, 60)
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{level[1:]}_Tile_Metadata.xsd">
  <n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
    <HORIZONTAL_CS_NAME>WGS84 / UTM zone 31N</HORIZONTAL_CS_NAME>
    <HORIZONTAL_CS_CODE>EPSG:32631</HORIZONTAL_CS_CODE>{sizes}
  </Tile_Geocoding></n1:Geometric_Info>
</n1:Level-{level[1:]}_Tile_ID>
"""


def manifest_xml(root: Path) -> str:
    """manifest.safe, with the bytes of each image."""
    objects = "".join(
        f'<dataObject ID="D{place}"><byteStream mimeType="application/octet-stream" size="{path.stat().st_size}">'
        f'<fileLocation locatorType="URL" href="./{path.relative_to(root).as_posix()}"/></byteStream></dataObject>'
        for place, path in enumerate(sorted(root.glob("GRANULE/**/*.jp2")))
    )
    return (
        f'<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"><dataObjectSection>{objects}</dataObjectSection></xfdu:XFDU>'
    )
