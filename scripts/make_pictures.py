"""Draws the pictures of README and docs/ from a scene that may be shown: `python -m scripts.make_pictures SCENE`.

SCENE is a Sentinel-2 L1C of the Campine, Belgium, which no network was trained on: `icor_S2_L1C_7band.tif` of the tests
of Open-EO/openeo-geotrellis-extensions (Apache-2.0; contains modified Copernicus Sentinel data). The report and the
viewer are as Chromium shows them.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

import geosr
from geosr.models.classical import upsample_into
from geosr.picture import Stretch
from geosr.radiometry import Pixels, Radiometry
from geosr.report.report import report
from tests.browser import Browser, browsing
from tests.test_viewer import served

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
BANDS = ["B04", "B03", "B02"]
PLACES = {"town": (840, 410), "industry": (680, 256), "fields": (552, 210), "water": (752, 196), "glint": (842, 462)}
"""Row and column where a place starts."""
FIRST = 838, 396
"""The place of README's picture."""
SIDE, FIRST_SIDE, SCALE, GAP = 50, 80, 4, 8
PART = Window(112, 640, 400, 384)
"""What the report and the viewer show: a town, industry, lakes and some cloud."""
LARGEST = 300_000
"""Bytes of a picture."""
Picture = NDArray[np.uint8]


def main(scene: str) -> None:
    """Writes all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        fine = Path(geosr.upscale(scene, f"{folder}/fine.tif", bands=BANDS)["path"])
        with rasterio.open(scene) as source, rasterio.open(fine) as result:
            indexes = [source.descriptions.index(band) + 1 for band in BANDS]
            shades = stretch_of(source.read(indexes)).shades

            def panels(row: int, col: int, side: int) -> list[Picture]:
                """A place as the input has it, interpolated, and made finer."""
                coarse = source.read(indexes, window=Window(col, row, side, side))
                sharp = result.read(window=Window(*(SCALE * each for each in (col, row, side, side))))
                return [shades(each) for each in (coarse.repeat(SCALE, 1).repeat(SCALE, 2), bicubic(coarse), sharp)]

            for name, corner in PLACES.items():
                write(name, beside(panels(*corner, SIDE)))
            write("before_after", beside(panels(*FIRST, FIRST_SIDE)[::2]))
        with browsing(Path(folder, "profile")) as browser:
            part = cut(scene, Path(folder, "S2A_MSIL1C_Campine.tif"))
            write("report", seen_report(browser, part))
            write("viewer", seen_viewer(browser, part))


def stretch_of(stored: NDArray[Any]) -> Stretch:
    """One stretch for all that is made of these pixels (bands, height, width)."""
    dtype = str(stored.dtype)
    return Stretch.of([Pixels(stored)], Radiometry(dtype, dtype, ((),) * len(stored)))


def bicubic(coarse: NDArray[Any]) -> NDArray[np.float32]:
    """The pixels (bands, height, width) interpolated."""
    fine = np.empty((len(coarse), coarse.shape[1] * SCALE, coarse.shape[2] * SCALE), np.float32)
    for band, target in zip(coarse.astype(np.float32), fine, strict=True):
        upsample_into(target, band, SCALE, "bicubic")
    return fine


def beside(panels: list[Picture]) -> Picture:
    """Pictures (bands, height, width) as one (height, width, bands), with a white gap between them."""
    gap = np.full((3, panels[0].shape[1], GAP), 255, np.uint8)
    row = [piece for panel in panels for piece in (panel, gap)][:-1]
    return np.concatenate(row, axis=2).transpose(1, 2, 0)


def cut(scene: str, part: Path) -> Path:
    """A part of the scene as a file of its own."""
    with rasterio.open(scene) as source:
        indexes = [source.descriptions.index(band) + 1 for band in BANDS]
        profile = source.profile | {"count": len(BANDS), "width": PART.width, "height": PART.height}
        with rasterio.open(part, "w", **profile | {"transform": source.window_transform(PART)}) as target:
            target.write(source.read(indexes, window=PART))
            target.descriptions = BANDS
    return part


def seen_report(browser: Browser, part: Path) -> Picture:
    """The top of a report in the browser."""
    fine = geosr.upscale(part, part.with_name("Campine_x4.tif"), uncertainty=True)["path"]
    page = report(fine, part.with_name("report.html"), lr=part)
    browser.size(1000, 1060)
    browser.open(page.as_uri())
    browser.until("document.readyState === 'complete' && document.images.length > 0")
    return shot(browser)


def seen_viewer(browser: Browser, part: Path) -> Picture:
    """The viewer in the browser, at one pixel of the screen for one of the result."""
    browser.size(900, 560)
    with served(part, part.parent, model="fast") as server:
        browser.open(f"{server.url}#1100,900,0")
        browser.until("document.getElementById('geosr')?.dataset.missing === '0'")
        return shot(browser)


def shot(browser: Browser) -> Picture:
    """What the browser shows."""
    return np.asarray(Image.open(io.BytesIO(browser.picture())).convert("RGB"))


def write(name: str, picture: Picture) -> None:
    """A PNG, of 256 colours where more would make it too large."""
    path, image = PICTURES / f"{name}.png", Image.fromarray(picture)
    image.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.name, picture.shape, path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
