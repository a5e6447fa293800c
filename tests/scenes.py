"""Functions that make awkward scenes: tiny files, each odd in one way. Used by many tests."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

UTM = "EPSG:32631"
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def pixels(
    shape: tuple[int, int, int] = (3, 40, 50),
    dtype: str = "uint16",
    seed: int = 0,
    low: float = 100,
    high: float = 4000,
) -> NDArray[Any]:
    """Something like ground: smooth hills, edges and a little noise, (bands, height, width), within [low, high]."""
    _, height, width = shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    hills = np.sin(y / 5) + np.cos(x / 7 + y / 11) + (x > width / 2) + rng.normal(0, 0.05, shape)
    spread = (hills - hills.min()) / max(1e-9, np.ptp(hills))
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        low, high = max(low, info.min), min(high, info.max)
    return (low + spread * (high - low)).astype(dtype)


@contextmanager
def quiet() -> Any:
    """No warning about a missing georeference, which some scenes lack on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write(path: Path, stored: NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF of these pixels; north-up UTM unless the profile says otherwise (None leaves a key out)."""
    count, height, width = stored.shape
    settings: dict[str, Any] = {"driver": "GTiff", "crs": UTM, "transform": NORTH_UP, "dtype": str(stored.dtype)}
    settings |= {"count": count, "height": height, "width": width} | profile
    settings = {key: value for key, value in settings.items() if value is not None}
    with quiet(), rasterio.open(path, "w", **settings) as dst:
        dst.write(stored)
    return path


def make_plain(folder: Path, name: str = "plain.tif", **options: Any) -> Path:
    """Three bands, uint16, north-up UTM. Options: shape, dtype, seed, and any of a rasterio profile."""
    keys = ("shape", "dtype", "seed", "low", "high")
    made = pixels(**{key: options.pop(key) for key in keys if key in options})
    return write(folder / name, made, **options)


def make_dtype(folder: Path, dtype: str) -> Path:
    """One of the stored types, with negative numbers where it has them."""
    low = -50 if np.dtype(dtype).kind != "u" else 0
    return make_plain(folder, f"{dtype}.tif", dtype=dtype, low=low, high=120)


def make_rotated(folder: Path, name: str = "rotated.tif", angle: float = 30) -> Path:
    """A grid turned against the axes of its CRS."""
    cos, sin = 10 * math.cos(math.radians(angle)), 10 * math.sin(math.radians(angle))
    turned = Affine(cos, sin, 500_000, sin, -cos, 5_000_000)
    return make_plain(folder, name, transform=turned)


def make_south_up(folder: Path) -> Path:
    """The first row is the southernmost."""
    return make_plain(folder, "south_up.tif", transform=Affine(10, 0, 500_000, 0, 10, 4_999_600))


def make_geographic(folder: Path, name: str = "geographic.tif", west: float = 2.0) -> Path:
    """Degrees, with pixels that are not square."""
    return make_plain(folder, name, crs="EPSG:4326", transform=Affine(0.0002, 0, west, 0, -0.0001, 45))


def make_dateline(folder: Path) -> Path:
    """Half of it beyond 180 degrees east."""
    return make_geographic(folder, "dateline.tif", west=180 - 25 * 0.0002)


def make_local_crs(folder: Path) -> Path:
    """An engineering CRS that no register knows."""
    return make_plain(folder, "local.tif", crs=CRS.from_wkt('LOCAL_CS["building site",UNIT["metre",1]]'))


def make_custom_crs(folder: Path) -> Path:
    """A projection on a sphere, known by its parameters only."""
    return make_plain(folder, "custom.tif", crs=CRS.from_proj4("+proj=laea +lat_0=10 +lon_0=20 +R=6371000 +units=m"))


def make_no_crs(folder: Path, name: str = "no_crs.tif") -> Path:
    """Pixels without any georeference."""
    return make_plain(folder, name, crs=None, transform=None)


def make_gcps(folder: Path, point: bool = False) -> Path:
    """Placed by four control points with heights."""
    path = folder / "gcps.tif"
    points = [
        GroundControlPoint(row, col, 500_000 + 10 * col, 5_000_000 - 10 * row, 100.0 + row, id=f"p{row}-{col}")
        for row, col in ((0, 0), (0, 50), (40, 0), (40.5, 49.5))
    ]
    stored = pixels()
    with (
        quiet(),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=3,
            height=40,
            width=50,
            dtype="uint16",
            gcps=points,
            crs=CRS.from_string(UTM),
        ) as dst,
    ):
        if point:
            dst.update_tags(AREA_OR_POINT="Point")
        dst.write(stored)
    return path


def rpcs() -> RPC:
    """Plausible coefficients for a scene of 40 x 50 pixels."""
    line = [0.0, 0.01, -1.0, 0.02] + [0.0] * 16
    sample = [0.0, 1.0, 0.01, 0.01] + [0.0] * 16
    one = [1.0] + [0.0] * 19
    return RPC(
        height_off=100, height_scale=500, lat_off=45.0, lat_scale=0.01, long_off=2.0, long_scale=0.01,
        line_off=20.25, line_scale=20.5, samp_off=25.75, samp_scale=25.5,
        line_num_coeff=line, line_den_coeff=one, samp_num_coeff=sample, samp_den_coeff=one, err_bias=1.0, err_rand=0.5,
    )  # fmt: skip


def make_rpcs(folder: Path) -> Path:
    """Placed by rational polynomials only."""
    path = make_no_crs(folder, "rpcs.tif")
    with quiet(), rasterio.open(path, "r+") as dst:
        dst.rpcs = rpcs()
    return path


def make_nodata(folder: Path, nodata: float = 0, dtype: str = "uint16", name: str = "nodata.tif") -> Path:
    """A wedge of no data in one corner, another number of pixels in each band."""
    stored = pixels(dtype=dtype)
    for band in range(3):
        stored[band, : 10 + band, : 12 + band] = nodata
    return write(folder / name, stored, nodata=nodata)


def make_gaps(folder: Path, masked: bool = False) -> Path:
    """Two bands with a gap, of odd sizes."""
    stored = pixels((2, 150, 170))
    stored[:, 40:60, 70:110] = 0
    return write(folder / "scene.tif", stored, nodata=0)


def make_product(folder: Path, masked: bool = True) -> Path:
    """Two bands of Sentinel-2 and one of classes, with scale and offset, perhaps with a mask."""
    stored = pixels((3, 150, 170), seed=3)
    stored[2] %= 12
    path = folder / "S2A_MSIL2A_20240621T103631_N0510_R008_T32TNT_20240621T164158.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, stored, blockxsize=64, blockysize=64, tiled=True)
        with rasterio.open(path, "r+") as dst:
            dst.descriptions = ("B04", "B8A", "SCL")
            dst.scales, dst.offsets = (1e-4, 1e-4, 1.0), (-0.1, -0.1, 0.0)
            if masked:
                dst.write_mask(np.arange(150)[:, None] + np.arange(170) > 60)
    return path


def make_nan(folder: Path) -> Path:
    """float32 with NaN where there is nothing, and no nodata number."""
    stored = pixels(dtype="float32")
    stored[:, 5:15, 20:30] = np.nan
    return write(folder / "nan.tif", stored)


def make_nodata_per_band(folder: Path) -> Path:
    """A VRT whose bands have different numbers for no data: 0, 255, and none."""
    make_plain(folder, "bands.tif", dtype="uint8", low=0, high=255)
    return make_vrt(
        folder, ["bands.tif"] * 3, dtype="Byte", nodata=[0, 255, None], name="per_band.vrt", bands=[1, 2, 3]
    )


def make_masked(folder: Path, internal: bool = True) -> Path:
    """A mask of the whole dataset, in the file or beside it."""
    path = folder / ("internal_mask.tif" if internal else "external_mask.tif")
    write(path, pixels())
    mask = np.full((40, 50), 255, "uint8")
    mask[:8, :9] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    return path


def make_alpha(folder: Path) -> Path:
    """RGB with an alpha band, uint8, transparent in one corner."""
    stored = pixels((4, 40, 50), "uint8", low=20, high=220)
    stored[3] = 255
    stored[3, :8, :9] = 0
    path = write(folder / "alpha.tif", stored, photometric="RGB", alpha="YES")
    with rasterio.open(path) as src:
        assert src.colorinterp[3] is ColorInterp.alpha
    return path


def make_palette(folder: Path) -> Path:
    """One band of entries of a colour table."""
    stored = (pixels((1, 40, 50), "uint8", low=0, high=60) // 20).astype("uint8")
    path = folder / "palette.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=40, width=50, dtype="uint8", crs=UTM, transform=NORTH_UP
    ) as dst:
        dst.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)})
        dst.write(stored)
    return path


def make_rich(folder: Path) -> Path:
    """All that has to survive: names, units, scale and offset, tags of all kinds, colours; and stale statistics."""
    path = folder / "rich.tif"
    stored = pixels((4, 40, 50))
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=40, width=50, dtype="uint16", crs=UTM, transform=NORTH_UP,
        nodata=0, photometric="RGB",
    ) as dst:  # fmt: skip
        dst.descriptions = ("B04", "B03", "B02", "B08")
        dst.units = ("reflectance",) * 4
        dst.scales, dst.offsets = (0.0001,) * 4, (-0.1,) * 4
        dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
        dst.update_tags(
            ACQUIRED="2024-06-01",
            HISTORY="cut",
            OVERVIEW_NOTE="none",
            AREA_OR_POINT="Area",
            STATISTICS_MEAN="17",
            OVR_RESAMPLING_ALG="NEAREST",
        )
        dst.update_tags(TIFFTAG_XRESOLUTION="72", TIFFTAG_YRESOLUTION="72", TIFFTAG_SOFTWARE="a camera")
        dst.update_tags(ns="IMAGERY", CLOUDCOVER="12", SATELLITEID="S9")
        dst.update_tags(ns="MISSION", ORBIT="123", NOTE="a = b; c < d")
        dst.update_tags(
            ns="xml:XMP", **{"<x:xmpmeta xmlns:x": '"adobe:ns:meta/"><note a="1">e = mc2</note></x:xmpmeta>'}
        )
        dst.update_tags(1, WAVELENGTH="665", STATISTICS_MAXIMUM="4000", STATISTICS_MINIMUM="100")
        dst.update_tags(2, ns="CALIBRATION", GAIN="1.5")
        dst.write(stored)
    return path


def make_vrt(
    folder: Path,
    sources: Sequence[str],
    *,
    name: str = "scene.vrt",
    dtype: str | Sequence[str] = "UInt16",
    nodata: Sequence[float | str | None] | None = None,
    bands: Sequence[int] | None = None,
    descriptions: Sequence[str] | None = None,
    relative: bool = True,
    size: tuple[int, int] = (40, 50),
    extra: str = "",
) -> Path:
    """A VRT with one band for each source, which is named as given."""
    height, width = size
    kinds = [dtype] * len(sources) if isinstance(dtype, str) else list(dtype)
    text = [f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">', f"<SRS>{UTM}</SRS>"]
    text.append("<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>" + extra)
    for index, source in enumerate(sources):
        gap = nodata[index] if nodata else None
        text.append(f'<VRTRasterBand dataType="{kinds[index]}" band="{index + 1}">')
        text.append(f"<Description>{descriptions[index]}</Description>" if descriptions else "")
        text.append("" if gap is None else f"<NoDataValue>{gap}</NoDataValue>")
        text.append(f'<SimpleSource><SourceFilename relativeToVRT="{int(relative)}">{source}</SourceFilename>')
        text.append(f"<SourceBand>{bands[index] if bands else 1}</SourceBand></SimpleSource></VRTRasterBand>")
    text.append("</VRTDataset>")
    path = folder / name
    path.write_text("\n".join(text))
    return path


def make_raw_vrt(folder: Path, target: str, relative: bool = False) -> Path:
    """A VRT that reads any file as raw bytes."""
    path = folder / "raw.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4">'
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="{int(relative)}">{target}</SourceFilename><ImageOffset>0</ImageOffset>'
        "<PixelOffset>1</PixelOffset><LineOffset>4</LineOffset></VRTRasterBand></VRTDataset>"
    )
    return path


def make_python_vrt(folder: Path, touched: Path) -> Path:
    """A VRT that would create the file `touched` if its Python ran."""
    make_plain(folder, "inner.tif")
    path = folder / "python.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="UInt16" band="1" '
        'subClass="VRTDerivedRasterBand"><PixelFunctionType>run</PixelFunctionType>'
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA[\n"
        f"def run(*a, **k):\n    open({str(touched)!r}, 'w')\n]]></PixelFunctionCode>"
        '<SimpleSource><SourceFilename relativeToVRT="1">inner.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def make_huge(folder: Path, side: int = 1_000_000) -> Path:
    """A sparse tiled GeoTIFF that declares a million pixels square and holds none."""
    path = folder / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype="uint8", crs=UTM, transform=NORTH_UP,
        tiled=True, blockxsize=8192, blockysize=8192, sparse_ok=True, bigtiff="YES", compress="deflate",
    ):  # fmt: skip
        pass
    return path


def make_one_block(folder: Path, side: int = 16_384) -> Path:
    """A compressed GeoTIFF whose only block, of over a gigabyte, is the whole image; it takes no room on disk."""
    path = folder / "one_block.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype="float64", crs=UTM, transform=NORTH_UP,
        tiled=True, blockxsize=side, blockysize=side, sparse_ok=True, compress="deflate",
    ):  # fmt: skip
        pass
    return path


def make_truncated(folder: Path, source: Path, share: float = 0.6, name: str | None = None) -> Path:
    """The first part of a file."""
    path = folder / (name or f"truncated{source.suffix}")
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def make_photo(folder: Path, driver: str = "PNG") -> Path:
    """Three bands, uint8, without georeference, as PNG or JPEG."""
    path = folder / f"photo.{driver.lower()}"
    stored = pixels((3, 200, 150), "uint8", low=0, high=255)
    with quiet(), rasterio.open(path, "w", driver=driver, count=3, height=200, width=150, dtype="uint8") as dst:
        dst.write(stored)
    return path


def make_geojson(folder: Path, rings: Sequence[Sequence[tuple[float, float]]], crs: str | None = None) -> Path:
    """A FeatureCollection with one polygon per ring, in WGS 84 unless a CRS is named."""
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}}
        for ring in rings
    ]
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs:
        document["crs"] = {"type": "name", "properties": {"name": crs}}
    path = folder / "area.geojson"
    path.write_text(json.dumps(document))
    return path


def make_finer(src: Path, dst: Path) -> Path:
    """The pixels of a scene repeated, on a grid twice as fine."""
    with rasterio.open(src) as dataset:
        pixels = dataset.read().repeat(2, 1).repeat(2, 2)
        profile = dataset.profile | {"transform": dataset.transform @ Affine.scale(0.5)}
    with rasterio.open(dst, "w", **profile | {"height": pixels.shape[1], "width": pixels.shape[2]}) as finer:
        finer.write(pixels)
    return dst
