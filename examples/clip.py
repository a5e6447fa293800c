"""A clip of a camera that moves over the ground: each frame made finer with those beside it, at the same times.

python examples/clip.py fine.mp4
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import geosr


def draw(path: Path, frames: int = 5, height: int = 48, width: int = 64) -> None:
    """A clip of stripes and discs under a camera that drifts by a third of a pixel a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for time in range(frames):
            rows, cols = np.mgrid[:height, :width] + 0.35 * time
            ground = 120 + 40 * np.sin(0.9 * cols) * np.cos(0.6 * rows) + 40 * (np.hypot(rows - 20, cols - 30) < 9)
            frame = av.VideoFrame.from_ndarray(np.rint(ground).astype("uint8"), format="gray").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def shown(path: Path) -> list[tuple[Fraction, int, int]]:
    """When each frame is shown, and how large it is."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.width, frame.height) for frame in container.decode(video=0)]


def main(path: str) -> tuple[list[tuple[Fraction, int, int]], list[tuple[Fraction, int, int]]]:
    """The frames of the clip, and of the finer one."""
    clip = Path(path).with_name("clip.mp4")
    draw(clip)
    report = geosr.upscale(clip, path, scale=2, window=3)
    print(f"{report['path']}: {report['grid_out']['width']} x {report['grid_out']['height']} pixels")
    return shown(clip), shown(Path(path))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fine.mp4")
