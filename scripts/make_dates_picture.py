"""Draws one, four and sixteen dates beside the truth at full zoom: `python -m scripts.make_dates_picture IMAGE`.

IMAGE is `parkinglot98.png` of UC Merced Land Use (Yang and Newsam 2010), which no network was trained on: imagery of
the USGS National Map, in the public domain. Its pixels are the truth: dates are what Sentinel-2's B8A would make of it
with pixels twice as large, at random shifts, SNR 100 (benchmarks/frames.py).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.frames import result, seen
from geosr.evaluation.metrics import psnr
from scripts.make_pictures import beside, write

SCALE, ZOOM, MOST = 2, 3, 16
PART = np.s_[84:180, 56:152]
"""What is shown, pixels of the truth."""
Doubles = NDArray[np.float64]


def main(path: str) -> None:
    """Writes the picture, and prints how near each is to the truth."""
    truth = np.asarray(Image.open(path).convert("RGB"), np.float64).transpose(2, 0, 1) * 20
    rng = np.random.default_rng(0)
    shifts = [(0.0, 0.0), *(tuple(rng.uniform(-0.5, 0.5, 2)) for _ in range(MOST - 1))]
    dates = [np.stack([seen(band, SCALE, shift, rng) for band in truth]) for shift in shifts]  # type: ignore[arg-type]
    shown = [dates[0].repeat(SCALE, 1).repeat(SCALE, 2)]
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 4, MOST):
            bands = [result(Path(folder), [date[band] for date in dates[:count]], SCALE)[0] for band in range(3)]
            shown.append(np.stack(bands))
            print(f"{count} dates: {psnr(shown[-1], truth, peak=float(np.ptp(truth))):.2f} dB")
    write("dates", beside([_zoomed(each) for each in (*shown, truth)]))


def _zoomed(bands: Doubles) -> NDArray[np.uint8]:
    """The part that is shown (bands, height, width), each pixel as a square."""
    part = np.round(bands[:, *PART] / 20).clip(0, 255).astype(np.uint8)
    return part.repeat(ZOOM, 1).repeat(ZOOM, 2)


if __name__ == "__main__":
    main(sys.argv[1])
