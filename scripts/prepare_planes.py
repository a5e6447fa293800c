"""Reads the imagery named in a data list into two archives of bands: what is trained on, and what is validated on.

    python scripts/prepare_planes.py recipes/data.toml DATA_ROOT OUT_FOLDER

writes OUT_FOLDER/train.npz and OUT_FOLDER/validate.npz: one array a band, and `index`, a JSON list that says for each
its group, file, band, weight and whether noise is relative to its mean. Invalid pixels are NaN.
"""

from __future__ import annotations

import json
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window


def main(list_path: str, root: str, out: str) -> None:
    """Writes both archives; a file that is validated on is never in the training one."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    listed = tomllib.loads(Path(list_path).read_text())
    held_out = {path for group in listed["validate"] for path in _files(group, Path(root))}
    Path(out).mkdir(parents=True, exist_ok=True)
    for part in ("train", "validate"):
        arrays: dict[str, NDArray[Any]] = {}
        index: list[dict[str, Any]] = []
        for group in listed[part]:
            paths = [p for p in _files(group, Path(root)) if part == "validate" or p not in held_out]
            if not paths:
                raise SystemExit(f"group {group['name']} of {list_path} has no file under {root}")
            for number, path in enumerate(paths):
                for band, plane in _planes(path, group, number):
                    if _is_degenerate(plane):
                        print(f"left out, half of it is one value: {path.relative_to(root)} band {band}")
                        continue
                    arrays[str(len(index))] = plane
                    about = {"group": group["name"], "file": str(path.relative_to(root)), "band": band}
                    index.append(about | {"weight": group.get("weight", 0), "snr": group.get("snr", False)})
        np.savez(Path(out) / f"{part}.npz", index=np.array(json.dumps(index)), **arrays)
        pixels = sum(plane.size for plane in arrays.values()) / 1e6
        print(f"{part}: {len(index)} bands, {pixels:.1f} Mpx")


def _files(group: dict[str, Any], root: Path) -> list[Path]:
    return sorted({path for pattern in group["files"] for path in root.glob(pattern)})


def _planes(path: Path, group: dict[str, Any], number: int) -> list[tuple[int, NDArray[Any]]]:
    """The bands wanted. Fill values become NaN for training; validation windows are chosen free of them."""
    with rasterio.open(path) as source:
        bands = list(group.get("bands", range(1, source.count + 1)))
        if group.get("thin"):
            bands = [bands[number % len(bands)]]
        window = Window(*(group["window"][i] for i in (1, 0, 3, 2))) if "window" in group else None
        planes = [source.read(band, window=window) for band in bands]
        if "weight" in group:
            planes = [_valid(plane, source.nodatavals[band - 1]) for plane, band in zip(planes, bands, strict=True)]
        return list(zip(bands, planes, strict=True))


def _is_degenerate(plane: NDArray[Any]) -> bool:
    """Whether half of the band is one stored value: clipped, constant or fill, and so no truth."""
    return bool(np.unique(plane[np.isfinite(plane)], return_counts=True)[1].max(initial=0) > 0.5 * plane.size)


def _valid(plane: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    invalid = np.zeros(plane.shape, bool) if nodata is None else plane == nodata
    if plane.dtype != np.uint8:
        invalid |= (plane == 0) | (plane == 65535) | ~np.isfinite(plane)
    if not invalid.any():
        return plane
    return np.where(invalid, np.float32(np.nan), plane.astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
