"""Real imagery that guided networks are trained on: places by their bands, at the pixels that these really have.

EuroSAT's chips have their 20 m bands on the 10 m grid, by a cubic B-spline. That can be undone: what is left over is
what rounding leaves.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parents[1]
Doubles = NDArray[np.float64]
COARSE, FINE = ("B05", "B06", "B07", "B8A", "B11", "B12"), ("B02", "B03", "B04", "B08")
COARSEST = ("B01", "B09")
MOST_DATES = 12
"""Of one place."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Bands of one place by name: coarse ones, and those with pixels half as large."""

    name: str
    coarse: Mapping[str, Doubles]
    fine: Mapping[str, Doubles]
    coarsest: Mapping[str, Doubles] = field(default_factory=dict)
    """Bands with pixels six times as large as those of `fine`."""
    pan: Mapping[str, Doubles] = field(default_factory=dict)
    """Landsat's panchromatic band, if it is there."""
    natural: bool = True
    """Whether the bands are known to be in place, so that they may be judged natively."""


def grounds(root: Path, kept: str) -> Iterator[Ground]:
    """Sentinel-2's bands of 10 and 20 m, of the places listed and of EuroSAT."""
    for table in tomllib.loads((HERE / "recipes" / "natural.toml").read_text())["pairs"]:
        if not table["name"].startswith(("BigEarthNet", "WorldCereal")):
            continue
        for names in table.get(kept, {}).values():
            found = sorted({path for name in names for path in root.glob(table["files"][0].replace("{}", name))})
            files = found[:: max(1, len(found) // MOST_DATES)] if "*" in names[0] else found
            stems = [path.name for path in files] if "*" in names[0] else names
            for stem in stems:
                name = stem.replace("_10m.tif", "")
                paths = [path for each in table["files"] for path in sorted(root.glob(each.replace("{}", name)))]
                bands = dict(band for path in paths for band in bands_of(path))
                if not all(band in bands for band in (*COARSE, *FINE)):
                    continue
                fine = {band: bands[band] for band in FINE}
                if table.get("offset"):  # the 20 m grid lies a fine pixel higher
                    fine = {band: image[1:-1] for band, image in fine.items()}
                    bands = {band: bands[band][1:] for band in COARSE}
                    yield Ground(f"{table['name']} {name}", {b: bands[b] for b in COARSE}, fine, natural=False)
                else:
                    coarsest = {b: bands[b] for b in COARSEST if b in bands}
                    yield Ground(f"{table['name']} {name}", {b: bands[b] for b in COARSE}, fine, coarsest)
    validated = {
        Path(path).name
        for group in tomllib.loads((HERE / "recipes" / "data.toml").read_text())["validate"]
        if group["name"] == "eurosat"
        for path in group["files"]
    }
    for path in sorted(root.glob("sentinel2/eurosat-ms/*/*.tif")):
        if (path.name in validated) == (kept == "judge") and (ground := eurosat(path)) is not None:
            yield ground


def bands_of(path: Path) -> list[tuple[str, Doubles]]:
    """The bands of a file by name; a file of one band has its name."""
    with rasterio.open(path) as file:
        names = [text or path.stem.rpartition("_")[2] for text in file.descriptions]
        return list(zip(names, file.read().astype(np.float64), strict=True))


def eurosat(path: Path) -> Ground | None:
    """A chip with its 20 m bands as they were before they were interpolated; None where that can't be found again."""
    bands = dict(bands_of(path))
    tried = {}
    for down in (0, 1):
        for right in (0, 1):
            rows, cols = _spline(64, down), _spline(64, right)
            back = [np.linalg.pinv(each) for each in (rows, cols)]
            found = {band: back[0] @ bands[band] @ back[1].T for band in COARSE}
            left = [np.std((rows @ found[band] @ cols.T - bands[band])[8:-8, 8:-8]) for band in COARSE]
            tried[float(max(left))] = (found, down, right)
    least = min(tried)
    if least > 0.4:
        return None
    found, down, right = tried[least]
    count = 30  # whole coarse pixels, without those at the edges, of which little is known
    coarse = {band: image[4 : 4 + count - 2, 4 : 4 + count - 2] for band, image in found.items()}
    # coarse pixel i of `found` lies at fine pixels 2 (i - 3) - phase and the next
    top, side = 2 - down, 2 - right
    fine = {band: bands[band][top : top + 2 * (count - 2), side : side + 2 * (count - 2)] for band in FINE}
    return Ground(f"EuroSAT {path.stem}", coarse, fine)


def _spline(fine: int, phase: int) -> Doubles:
    """Weights of coarse pixels, from three before the first, of which B-splines make the fine ones."""
    at = (np.arange(fine) + 0.5 + phase) / 2 - 0.5
    d = np.abs(at[:, None] - np.arange(-3, fine // 2 + 4))
    near, far = 2 / 3 - d**2 + d**3 / 2, (2 - np.minimum(d, 2)) ** 3 / 6
    return np.asarray(np.where(d < 1, near, far))


LANDSAT = {
    "fit": {
        "landsat/xlandsat/*_227074_*_MS.tif": "",
        "landsat/xlandsat/*_017051_*_MS.tif": "",
        "landsat/xlandsat/*_218074_*_MS.tif": "",
        "landsat/xlandsat/*_231062_*_MS.tif": "",
        "natural/landsat8-020039/*_MS.tif": "natural/landsat8-020039/*_PAN.tif",
    },
    "judge": {
        "landsat/xlandsat/LC08_L2SP_204023_*_MS.tif": "landsat/xlandsat/LC08_L1TP_204023_*_PAN.tif",
        "landsat/rasterframes/L8_Elkton_MS_30m.tif": "",
    },
}
"""Scenes of Landsat 8 and 9, and their panchromatic band, whose grid begins half a pixel of its own before theirs."""
SIDE = 160
"""Of the windows of a scene, pixels."""
BANDS = tuple(f"B{i}" for i in range(2, 8))


def landsat(root: Path, kept: str) -> Iterator[Ground]:
    """Windows without gaps of Landsat's six bands of 30 m, as `fine`; with the panchromatic band if it is there."""
    for pattern, panchromatic in LANDSAT[kept].items():
        for path in sorted(root.glob(pattern)):
            bands = {name: image for name, image in bands_of(path) if name in BANDS}
            sharp = [bands_of(found)[0][1] for found in root.glob(panchromatic)] if panchromatic else []
            height, width = bands["B2"].shape
            for row in range(0, height - SIDE + 1, SIDE):
                for col in range(0, width - SIDE + 1, SIDE):
                    part = {k: image[row : row + SIDE, col : col + SIDE] for k, image in bands.items()}
                    if min(float(image.min()) for image in part.values()) <= 0:
                        continue
                    there = slice(2 * row, 2 * (row + SIDE) + 1), slice(2 * col, 2 * (col + SIDE) + 1)
                    pan = {"B8": sharp[0][there]} if sharp else {}
                    yield Ground(f"Landsat {path.stem} {row} {col}", {}, part, pan=pan)


VALIDATED = ("patch_15", "patch_16", "patch_17", "patch_34", "patch_35", "patch_36")


def patches(root: Path, kept: str) -> Iterator[Ground]:
    """Chips of Sentinel-2's 10 m bands; those that networks are validated on are `judge`."""
    for path in sorted(root.glob("sentinel2/bigearthnet-v2/*.tif")):
        if path.name.startswith(VALIDATED) == (kept == "judge"):
            bands = [image for _, image in bands_of(path)]
            yield Ground(f"BigEarthNet-v2 {path.stem}", {}, dict(zip(FINE, bands, strict=True)))
