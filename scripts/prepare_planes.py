"""Reads the imagery named in a data list into two archives of bands: what is trained on, and what is validated on.

    python scripts/prepare_planes.py recipes/data.toml DATA_ROOT OUT_FOLDER

writes OUT_FOLDER/train.npz and OUT_FOLDER/validate.npz: one array a band, and `index`, a JSON list that says for each
its group, file, band, weight and whether noise is relative to its mean. Invalid pixels of the first are NaN; the second
holds pixels as they are stored, its windows being chosen free of gaps. A recipe can name files itself, too: archives
spare it the reading where many trainings use the same files.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.training.rasters import Notes, find, is_degenerate, open_rasters, read_pixels
from geosr.training.reading import read_groups


def main(list_path: str, root: str, out: str) -> None:
    """Writes both archives; a file that is validated on is never in the training one."""
    listed = tomllib.loads(Path(list_path).read_text())
    groups = {part: read_groups(listed[part], f"{part} in {list_path}") for part in ("train", "validate")}
    held_out = {path for group in groups["validate"] for path in find(group, root)}
    Path(out).mkdir(parents=True, exist_ok=True)
    notes = Notes()
    for part in ("train", "validate"):
        arrays: dict[str, NDArray[Any]] = {}
        index: list[dict[str, Any]] = []
        for group in groups[part]:
            paths = [path for path in find(group, root) if part == "validate" or path not in held_out]
            if not paths:
                raise SystemExit(f"group {group.name} of {list_path} has no file under {root}")
            for raster in open_rasters(paths, group, notes):
                file = str(Path(raster.file).relative_to(Path(root).absolute()))
                pixels = (
                    read_pixels(raster, raster.part)
                    if part == "train"
                    else raster.scene.source.pixels(raster.part).stored
                )
                for band, plane in zip(raster.scene.bands, pixels, strict=True):
                    if is_degenerate(plane):
                        notes.add("left out, half of it is one value", f"{file} band {band}")
                        continue
                    arrays[str(len(index))] = plane
                    about = {"group": group.name, "file": file, "band": band}
                    index.append(about | {"weight": group.weight * (part == "train"), "snr": group.snr})
        partial = Path(out) / f"{part}.partial.npz"
        np.savez(partial, index=np.array(json.dumps(index)), **arrays)
        partial.replace(Path(out) / f"{part}.npz")
        pixels_held = sum(plane.size for plane in arrays.values()) / 1e6
        print(f"{part}: {len(index)} bands, {pixels_held:.1f} Mpx")
    print("\n".join(notes.lines()))


if __name__ == "__main__":
    main(*sys.argv[1:])
