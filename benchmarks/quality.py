"""Quality of `fast` against bicubic and back-projection on the validation places: the tables of MODELS.md.

python scripts/prepare_planes.py recipes/data.toml DATA_ROOT planes
python benchmarks/quality.py planes/validate.npz --scale 4 [--weights FILE] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from geosr.evaluation.protocol import Case, Comparison, Method, Observation, Scores, compare, load_scenes, score
from geosr.models.backprojection import backproject
from geosr.models.classical import upsample
from geosr.models.networks import fast
from geosr.sensors import DEFAULT_MTF

HALO = 26
"""Source pixels around the input: what the network sees is within it."""
MTFS = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40)
CASES = [
    *(Case(f"MTF {mtf:.2f}", mtf) for mtf in MTFS),
    Case("bicubic LR", None),
    *(Case(f"MTF {mtf:.2f}, SNR 100", mtf, snr=100) for mtf in (0.10, 0.25, 0.40)),
    Case("bicubic LR, SNR 100", None, snr=100),
    *(Case(f"MTF {mtf:.2f}, told nothing", mtf, told_mtf=DEFAULT_MTF) for mtf in MTFS),
    Case("bicubic LR, told nothing", None, told_mtf=DEFAULT_MTF),
    Case("MTF 0.25, SNR 100, told no noise", 0.25, snr=100, told_snr=float("inf")),
    Case("MTF 0.25, no noise, told SNR 100", 0.25, told_snr=100),
]
"""What is measured; the first twelve tell the methods the truth, "told nothing" the default of an unknown sensor."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("planes", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--weights", type=Path, help="default: the package's own")
    parser.add_argument("--json", type=Path, help="write every band's figures too")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases by name, such as 'MTF 0.25'; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = load_scenes(options.planes)
    weights = options.weights or Path(f"geosr/models/weights/fast_x{options.scale}.safetensors")
    methods = {"bicubic": bicubic, "ibp": back_projection, "fast": network(weights, options.scale)}
    cases = [case for case in CASES if not options.only or case.name in options.only]
    print(f"{len(scenes)} scenes, {sum(len(scene.bands) for scene in scenes)} bands, x{options.scale}, {weights}")
    print(header())
    report = []
    for case in cases:
        scores = [(scene.name, score(scene, case, methods, options.scale)) for scene in scenes]
        print(row(case, scores), flush=True)
        report.append(record(case, scores))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def bicubic(seen: Observation) -> NDArray[np.float32]:
    return _on_tensors(seen, lambda x: upsample(x, seen.scale))


def back_projection(seen: Observation) -> NDArray[np.float32]:
    """Bicubic and ten steps of back-projection (Irani and Peleg 1991) with the true blur; told it, for bicubic LR."""
    mtf = seen.mtf if seen.true_mtf is None else seen.true_mtf
    return _on_tensors(seen, lambda x: backproject(x, upsample(x, seen.scale), mtf, seen.scale))


def network(weights: Path, scale: int) -> Method:
    """`fast` with a mirrored halo, as the scene's edge is treated in use."""
    net = fast(scale)
    net.load_state_dict(load_file(weights))

    def band(values: Tensor, mtf: float, noise: Tensor) -> Tensor:
        result: Tensor = net(values[None, None], torch.tensor([mtf]), noise[None])
        return result[0, 0]

    def run(seen: Observation) -> NDArray[np.float32]:
        padded = np.pad(seen.bands, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="symmetric")
        rim = HALO * scale
        with torch.inference_mode():
            pairs = zip(torch.from_numpy(padded), torch.from_numpy(seen.noise), strict=True)
            return np.stack([band(values, seen.mtf, noise)[rim:-rim, rim:-rim].numpy() for values, noise in pairs])

    return run


def _on_tensors(seen: Observation, run: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return run(torch.from_numpy(seen.bands)[:, None])[:, 0].numpy()


def header() -> str:
    columns = ("case", "bicubic dB", "IBP dB", "fast dB", "fast - bicubic", "fast - IBP", "worst band against bicubic")
    return "| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns)


def row(case: Case, scores: list[tuple[str, Scores]]) -> str:
    means = [np.mean([each[name].mean() for _, each in scores]) for name in ("bicubic", "ibp", "fast")]
    over_bicubic, over_ibp = compare(scores, "fast", "bicubic"), compare(scores, "fast", "ibp")
    worst = f"{over_bicubic.worst:+.2f} ({over_bicubic.where})"
    cells = [case.name, *(f"{mean:.2f}" for mean in means), str(over_bicubic.gain), str(over_ibp.gain), worst]
    return "| " + " | ".join(cells) + " |"


def record(case: Case, scores: list[tuple[str, Scores]]) -> dict[str, object]:
    def values(comparison: Comparison) -> dict[str, object]:
        return asdict(comparison)

    bands = {scene: {name: figures.round(3).tolist() for name, figures in each.items()} for scene, each in scores}
    gains = {against: values(compare(scores, "fast", against)) for against in ("bicubic", "ibp")}
    return {"case": asdict(case), "gain": gains, "bands": bands}


if __name__ == "__main__":
    main()
