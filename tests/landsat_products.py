"""Products of Landsat, with the layout and the metadata that USGS's have, and a few pixels."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

Groups = dict[str, dict[str, object]]
SCENE = "112081_20220209_20220209_02_T1"
LEFT, TOP = 384600 - 15, -3236400 + 15
"""Corner of the 30 m grid; metadata and files count from centres and corners."""


def level_1(spacecraft: str = "LANDSAT_9", sensor: str = "OLI_TIRS") -> Groups:
    """The groups of an MTL file of OLI and TIRS, or with "TM" of the thematic mapper."""
    name = f"{'LC09' if sensor == 'OLI_TIRS' else 'LT05'}_L1TP_{SCENE}"
    bands = [str(n) for n in (range(1, 12) if sensor == "OLI_TIRS" else range(1, 8))]
    thermal = ["10", "11"] if sensor == "OLI_TIRS" else ["6"]
    reflective = [band for band in bands if band not in thermal]
    return {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": name,
            "PROCESSING_LEVEL": "L1TP",
            "COLLECTION_NUMBER": "02",
            **{f"FILE_NAME_BAND_{band}": f"{name}_B{band}.TIF" for band in bands},
            "FILE_NAME_QUALITY_L1_PIXEL": f"{name}_QA_PIXEL.TIF",
            "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION": f"{name}_QA_RADSAT.TIF",
            "FILE_NAME_ANGLE_SENSOR_AZIMUTH_BAND_4": f"{name}_VAA.TIF",
            "FILE_NAME_METADATA_ODL": f"{name}_MTL.txt",
        },
        "IMAGE_ATTRIBUTES": {
            "SPACECRAFT_ID": spacecraft, "SENSOR_ID": sensor, "WRS_PATH": 112, "WRS_ROW": 81,
            "DATE_ACQUIRED": "2022-02-09", "SCENE_CENTER_TIME": "02:05:18.7360330Z", "SUN_ELEVATION": 54.14346217,
        },
        "PROJECTION_ATTRIBUTES": {
            "GRID_CELL_SIZE_PANCHROMATIC": "15.00", "GRID_CELL_SIZE_REFLECTIVE": "30.00",
            "GRID_CELL_SIZE_THERMAL": "30.00",
        },
        "LEVEL1_MIN_MAX_PIXEL_VALUE": {f"QUANTIZE_CAL_MIN_BAND_{band}": 1 for band in bands},
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"RADIANCE_MULT_BAND_{band}": "1.2885E-02" for band in reflective},
            **{f"RADIANCE_MULT_BAND_{band}": "3.8000E-04" for band in thermal},
            **{f"RADIANCE_ADD_BAND_{band}": "-64.42253" for band in reflective},
            **{f"RADIANCE_ADD_BAND_{band}": "0.10000" for band in thermal},
            **{f"REFLECTANCE_MULT_BAND_{band}": "2.0000E-05" for band in reflective},
            **{f"REFLECTANCE_ADD_BAND_{band}": "-0.100000" for band in reflective},
        },
    }  # fmt: skip


def level_2(spacecraft: str = "LANDSAT_9", sensor: str = "OLI_TIRS") -> Groups:
    """Those of level 2, which repeat the groups of level 1 with its own files and numbers, but not the pan band."""
    below = level_1(spacecraft, sensor)
    first = str(below["PRODUCT_CONTENTS"]["LANDSAT_PRODUCT_ID"])
    name = first.replace("L1TP", "L2SP")
    thermal = "ST_B10" if sensor == "OLI_TIRS" else "ST_B6"
    bands = [str(n) for n in range(1, 8) if sensor == "OLI_TIRS" or n != 6]
    return {
        "PRODUCT_CONTENTS": {
            "LANDSAT_PRODUCT_ID": name,
            "PROCESSING_LEVEL": "L2SP",
            "COLLECTION_NUMBER": "02",
            **{f"FILE_NAME_BAND_{band}": f"{name}_SR_B{band}.TIF" for band in bands},
            f"FILE_NAME_BAND_{thermal}": f"{name}_{thermal}.TIF",
            "FILE_NAME_EMISSIVITY": f"{name}_ST_EMIS.TIF",
            "FILE_NAME_QUALITY_L2_AEROSOL": f"{name}_SR_QA_AEROSOL.TIF",
            "FILE_NAME_QUALITY_L1_PIXEL": f"{name}_QA_PIXEL.TIF",
        },
        "IMAGE_ATTRIBUTES": below["IMAGE_ATTRIBUTES"],
        "PROJECTION_ATTRIBUTES": {"GRID_CELL_SIZE_REFLECTIVE": "30.00", "GRID_CELL_SIZE_THERMAL": "30.00"},
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"QUANTIZE_CAL_MIN_BAND_{band}": 1 for band in bands},
            **{f"REFLECTANCE_MULT_BAND_{band}": "2.75e-05" for band in bands},
            **{f"REFLECTANCE_ADD_BAND_{band}": "-0.2" for band in bands},
        },
        "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": {
            f"QUANTIZE_CAL_MINIMUM_BAND_{thermal}": "1",
            f"TEMPERATURE_MULT_BAND_{thermal}": "0.00341802",
            f"TEMPERATURE_ADD_BAND_{thermal}": "149.0",
        },
        "LEVEL1_PROCESSING_RECORD": below["PRODUCT_CONTENTS"],
        "LEVEL1_RADIOMETRIC_RESCALING": below["LEVEL1_RADIOMETRIC_RESCALING"],
    }


def text_of(groups: Groups, kind: str = "txt") -> str:
    """An MTL file, as one of the three kinds that USGS delivers."""
    if kind == "json":
        texts = {group: {key: str(value) for key, value in items.items()} for group, items in groups.items()}
        return json.dumps({"LANDSAT_METADATA_FILE": texts})
    if kind == "xml":
        inside = "".join(
            f"<{group}>" + "".join(f"<{key}>{value}</{key}>" for key, value in items.items()) + f"</{group}>"
            for group, items in groups.items()
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<LANDSAT_METADATA_FILE>{inside}</LANDSAT_METADATA_FILE>'
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, items in groups.items():
        quoted = [
            f'    {key} = "{value}"' if isinstance(value, str) else f"    {key} = {value}"
            for key, value in items.items()
        ]
        lines += [f"  GROUP = {group}", *quoted, f"  END_GROUP = {group}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])


def pixels_of(name: str, side: int) -> NDArray[np.uint16]:
    """Pixels of a file: numbers that tell its band, with a corner without data; flags have a cloud in another."""
    if "QA" in name:
        pixels = np.full((side, side), 21824, np.uint16)
        pixels[-4:, -4:] = 22280
        return pixels
    seed = sum(map(ord, name.rpartition("_")[2]))
    pixels = np.random.default_rng(seed).integers(7000, 9000, (side, side)).astype(np.uint16)
    pixels[:3, :3] = 0
    return pixels


def build(folder: Path, groups: Groups, side: int = 40, kinds: tuple[str, ...] = ("txt",)) -> Path:
    """A folder with the files of a product; the pan band has 2 N - 1 pixels and starts 7.5 m further in."""
    name = str(groups["PRODUCT_CONTENTS"]["LANDSAT_PRODUCT_ID"])
    place = folder / name
    place.mkdir(parents=True)
    for kind in kinds:
        (place / f"{name}_MTL.{kind}").write_text(text_of(groups, kind))
    for key, file in groups["PRODUCT_CONTENTS"].items():
        if str(file).endswith(".TIF"):
            pan = key == "FILE_NAME_BAND_8"
            size, count = (15, 2 * side - 1) if pan else (30, side)
            shift = 7.5 if pan else 0
            grid = Affine(size, 0, LEFT + shift, 0, -size, TOP - shift)
            shape = {"count": 1, "height": count, "width": count, "dtype": "uint16"}
            with rasterio.open(
                place / str(file), "w", driver="GTiff", crs="EPSG:32650", transform=grid, **shape
            ) as dst:
                dst.write(pixels_of(str(file), count), 1)
    return place


def packed(place: Path) -> Path:
    """The product as the tar archive that USGS delivers."""
    archive = place.with_suffix(".tar")
    with tarfile.open(archive, "w") as tape:
        for file in sorted(place.iterdir()):
            tape.add(file, file.name)
    return archive
