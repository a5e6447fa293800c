"""Ground for `scripts/train_multiframe.py`: squares of the bands that `scripts/prepare_planes.py` read.

    python scripts/prepare_multiframe.py PLANES.npz OUT.npz [--side 136] [--megapixels 28] [--even]

Bands are cut into squares, some of them first halved in size, and kept in 8 bits from their own dark to bright, finer
than their noise. Groups have a share each.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SHARES = {
    "bigearthnet-v2": 0.27, "bigearthnet-tiny2": 0.02, "eurosat": 0.07, "l1bsr": 0.08, "antwerp": 0.01,
    "landsat": 0.12, "ucmerced": 0.25, "naip": 0.06, "orthophotos": 0.12,
}  # fmt: skip


def main() -> None:
    """Writes `pixels` (n, side, side) uint8, `low` and `step` (n,) of what they stand for, `group` (n,)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=136)
    parser.add_argument("--megapixels", type=float, default=28.0)
    parser.add_argument("--even", action="store_true", help="all groups alike, as for validation")
    given = parser.parse_args()
    random = np.random.default_rng(7)
    wanted = int(given.megapixels * 1e6 / given.side**2)
    found: dict[str, list[Any]] = defaultdict(list)
    with np.load(given.planes) as archive:
        by_group: dict[str, list[str]] = defaultdict(list)
        for number, about in enumerate(json.loads(str(archive["index"]))):
            by_group[about["group"]].append(str(number))
        shares = dict.fromkeys(by_group, 1.0) if given.even else SHARES
        for group, share in shares.items():
            count = round(wanted * share / sum(shares.values()))
            for key in random.permutation(np.resize(random.permutation(by_group[group]), count)):
                one = square(archive[key].astype(np.float32), given.side, random)
                if one is not None:
                    for name, value in zip(("pixels", "low", "step"), eight_bits(one), strict=True):
                        found[name].append(value)
                    found["group"].append(group)
            print(group, count, len(found["group"]), flush=True)
    np.savez_compressed(given.out, **{name: np.stack(values) for name, values in found.items()})  # type: ignore[arg-type]
    print(f"{len(found['low'])} squares, {given.out.stat().st_size / 1e6:.1f} MB")


def square(plane: Floats, side: int, random: np.random.Generator) -> Floats | None:
    """A square of a band; None where it has gaps or shows nothing."""
    if min(plane.shape) >= 1.8 * side and random.random() < 0.5:
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        plane = (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
    short = [max(0, side - each) for each in plane.shape]
    if max(short):
        plane = np.pad(plane, [(0, min(each, plane.shape[axis])) for axis, each in enumerate(short)], mode="symmetric")
        plane = np.pad(plane, [(0, max(0, side - each)) for each in plane.shape], mode="symmetric")
    row, col = (int(random.integers(each - side + 1)) for each in plane.shape)
    cut = plane[row : row + side, col : col + side]
    flat = not np.isfinite(cut).all() or np.ptp(cut) <= 0 or float((cut == np.median(cut)).mean()) > 0.3
    return None if flat else cut


def eight_bits(cut: Floats) -> tuple[NDArray[np.uint8], np.float32, np.float32]:
    """Pixels in 8 bits, the number that 0 stands for, and the step."""
    low, high = np.quantile(cut, (0.0002, 0.9998))
    step = max((high - low) / 255, 1e-6)
    return np.clip(np.round((cut - low) / step), 0, 255).astype(np.uint8), np.float32(low), np.float32(step)


if __name__ == "__main__":
    main()
