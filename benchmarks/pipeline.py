"""What the whole of `geosr upscale` costs beside its parts and beside the usual ways, each a ratio within one run.

    python benchmarks/pipeline.py [overhead] [loop] [project] [bicubic] [cog] [memory] [--side 4096] [--folder FOLDER]

Needs nothing but geosr; `bicubic` also needs the command gdalwarp. CPU seconds are user and system time of whole
processes, start-up included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import Cost, cost_of, geosr, make_scene

HERE = Path(__file__).resolve().parent


TOLD = ("--format", "GTiff", "--mtf", "0.3", "--snr", "100")
BARE = (*TOLD, "--no-project")
"""Without the projection, which the ways that geosr stands beside don't have."""


def upscaled(source: Path, folder: Path, *options: str) -> Cost:
    """The cost of one `geosr upscale`; the result is thrown away."""
    target = folder / "result.tif"
    cost = cost_of(geosr("upscale", str(source), str(target), "--overwrite", "--quiet", *options))
    target.unlink()
    return cost


def part(name: str, *arguments: str) -> float:
    """CPU seconds that one of the parts in `parts.py` reports."""
    import subprocess

    command = [sys.executable, str(HERE / "parts.py"), name, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def overhead(folder: Path, side: int) -> None:
    """The whole process over its network and codec alone, and how busy it keeps the cores."""
    scene = make_scene(folder / f"scene{side}.tif", side)
    whole = upscaled(scene, folder, *BARE)
    network, codec = part("network", str(scene)), part("codec", str(scene))
    cores = len(os.sched_getaffinity(0))
    print(
        f"whole process {whole.cpu:.1f} CPU s, {whole.wall:.1f} s; network alone {network:.1f}, codec alone {codec:.1f}"
    )
    print(f"  CPU over its parts: {whole.cpu / (network + codec):.3f}   (at most 1.15)")
    print(f"  wall x cores over CPU: {whole.wall * cores / whole.cpu:.3f}   (at most 1.10 on a quiet machine)")


def loop(folder: Path, side: int) -> None:
    """A plain loop with the same network, as anyone would write it, over geosr."""
    side = min(side, 1024)
    scene = make_scene(folder / f"scene{side}.tif", side)
    ours = upscaled(scene, folder, *BARE)
    plain = cost_of([sys.executable, str(HERE / "parts.py"), "loop", str(scene), str(folder / "loop.tif")])
    print(f"plain loop {plain.cpu:.1f} CPU s, geosr {ours.cpu:.1f}: {plain.cpu / ours.cpu:.2f} times   (at least 2.5)")


def project(folder: Path, side: int) -> None:
    """What projection adds to a run of `fast`."""
    scene = make_scene(folder / f"scene{min(side, 2048)}.tif", min(side, 2048))
    bare, projected = (upscaled(scene, folder, *options) for options in (BARE, TOLD))
    print(f"projected {projected.cpu:.1f} CPU s, without {bare.cpu:.1f}: {projected.cpu / bare.cpu:.2f} times")


def bicubic(folder: Path, side: int) -> None:
    """gdalwarp -r cubic over geosr's bicubic, with the same compression."""
    side = min(side, 4096)
    if not shutil.which("gdalwarp"):
        print("bicubic: no gdalwarp here")
        return
    scene = make_scene(folder / f"scene{side}.tif", side)
    for name, options, creation in CODECS:
        alone = upscaled(scene, folder, "--model", "bicubic", "--format", "GTiff", "--workers", "1", *options)
        ours = upscaled(scene, folder, "--model", "bicubic", "--format", "GTiff", *options)
        target = folder / "warped.tif"
        size = str(side * 4)
        common = ["-q", "-overwrite", "-r", "cubic", "-ts", size, size, "-co", "TILED=YES", "-co", "BIGTIFF=IF_SAFER"]
        theirs = cost_of(["gdalwarp", *common, *creation, str(scene), str(target)])
        target.unlink()
        print(
            f"bicubic, {name}: gdalwarp {theirs.cpu:.1f} CPU s, geosr on one core as it {alone.cpu:.1f}: "
            f"{theirs.cpu / alone.cpu:.2f} times; on all {ours.cpu:.1f}: {theirs.cpu / ours.cpu:.2f}   (at least 2.5)"
        )


CODECS: tuple[tuple[str, list[str], list[str]], ...] = (
    (
        "DEFLATE level 1, predictor 2",
        ["--co", "COMPRESS=DEFLATE", "--co", "LEVEL=1"],
        [
            "-co",
            "COMPRESS=DEFLATE",
            "-co",
            "ZLEVEL=1",
            "-co",
            "PREDICTOR=2",
            "-co",
            "BLOCKXSIZE=512",
            "-co",
            "BLOCKYSIZE=512",
        ],
    ),
    (
        "ZSTD level 1, predictor 2",
        ["--co", "COMPRESS=ZSTD", "--co", "LEVEL=1"],
        [
            "-co",
            "COMPRESS=ZSTD",
            "-co",
            "ZSTD_LEVEL=1",
            "-co",
            "PREDICTOR=2",
            "-co",
            "BLOCKXSIZE=512",
            "-co",
            "BLOCKYSIZE=512",
        ],
    ),
)


def cog(folder: Path, side: int) -> None:
    """A COG with overviews over a plain tiled file, whole processes; with cheap models, so that writing shows."""
    side = min(side, 4096)
    scene = make_scene(folder / f"scene{side}.tif", side)
    for model in ("nearest", "bicubic"):
        plain = upscaled(scene, folder, "--model", model, "--format", "GTiff")
        whole = upscaled(scene, folder, "--model", model, "--format", "COG")
        print(
            f"COG {whole.cpu:.1f} CPU s, plain tiled {plain.cpu:.1f} ({model}): "
            f"{whole.cpu / plain.cpu:.2f} times   (at most 1.4)"
        )


def memory(folder: Path, side: int) -> None:
    """Peak resident memory at growing sides; bicubic so that it ends, and `fast` where it does in minutes."""
    for model, sides in (("bicubic", (2048, 4096, 8192, 10980)), ("fast", (1024, 2048))):
        peaks = []
        for side in sides:
            scene = make_scene(folder / f"scene{side}.tif", side)
            peaks.append(upscaled(scene, folder, "--model", model).peak)
            print(f"memory, {model}, {side} x {side} x 4: peak {peaks[-1]:.0f} MB   (under 1500)", flush=True)
            if side > 4096:
                scene.unlink()
        print(f"  largest over smallest: {max(peaks) / min(peaks):.3f}   (at most 1.15)")


FIGURES: dict[str, Callable[[Path, int], None]] = {
    "overhead": overhead, "loop": loop, "project": project, "bicubic": bicubic, "cog": cog, "memory": memory,
}  # fmt: skip


def main() -> None:
    """Runs the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=list(FIGURES), metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.figures:
            FIGURES[name](arguments.folder or Path(scratch), arguments.side)


if __name__ == "__main__":
    main()
