"""Quality of a model against bicubic and back-projection on the validation places: the figures of cards and MODELS.md.

    python scripts/prepare_planes.py recipes/data.toml DATA_ROOT planes
    python benchmarks/quality.py planes/validate.npz --scale 4 [--model NAME_OR_FILE] [--cases CASE ...] [--json OUT]

A model is anything that `geosr upscale --model` takes; new weights get a card by `scripts/publish_weights.py` first.
Slow models: fewer cases (three of them make the table at the top of MODELS.md: --cases main), the middle of each scene
(--side), or a GPU.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.methods import back_projection, bicubic, of_model
from benchmarks.protocol import Case, Floats, decibels, fine_detail, load_scenes, measured
from benchmarks.report import KINDS, OPPONENTS, kind_of, record, typical
from geosr.errors import GeosrError
from geosr.models.threads import prepare_process
from geosr.pipeline import cores
from geosr.sensors import UNKNOWN

MTFS = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40)
CASES = [
    *(Case(f"MTF {mtf:.2f}", mtf) for mtf in MTFS),
    Case("bicubic LR", None),
    *(Case(f"MTF {mtf:.2f}, SNR 100", mtf, snr=100) for mtf in (0.10, 0.25, 0.40)),
    Case("bicubic LR, SNR 100", None, snr=100),
    *(Case(f"MTF {mtf:.2f}, told nothing", mtf, told=UNKNOWN) for mtf in MTFS),
    Case("bicubic LR, told nothing", None, told=UNKNOWN),
    Case("MTF 0.25, SNR 100, told no noise", 0.25, snr=100, told_snr=float("inf")),
    Case("MTF 0.25, no noise, told SNR 100", 0.25, told_snr=100),
    *(Case(f"MTF {mtf:.2f}, rounded", mtf, rounded=True) for mtf in (0.10, 0.25)),
    Case("bicubic LR, rounded", None, rounded=True),
]
"""What is measured; the first twelve tell the methods the truth, "told nothing" the default of an unknown sensor."""
MAIN = ("MTF 0.25", "bicubic LR", "MTF 0.25, SNR 100")
"""Those that aims were set for."""
JUDGED = "MTF 0.25"
"""The one in which fine detail is measured, too."""


def main(arguments: list[str] | None = None) -> None:
    """Measures a model, prints a row a case, and writes the figures of every band."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planes", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--model", "--weights", default="fast", help="a model's name, or a file with a card")
    parser.add_argument("--json", type=Path, help="write every band's figures too")
    parser.add_argument(
        "--cases", "--only", nargs="+", metavar="CASE", default=["all"], help="all, main, or names such as 'MTF 0.25'"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=cores(), help="scenes at a time")
    parser.add_argument("--side", type=int, help="only the middle of each scene, pixels: for slow models")
    options = parser.parse_args(arguments)
    scenes = load_scenes(options.planes, options.side)
    kinds = {scene.name: kind_of(scene) for scene in scenes}
    try:
        model = of_model(options.model, options.scale, options.device)
    except GeosrError as error:
        raise SystemExit(f"{error}; scripts/publish_weights.py makes a model of trained weights") from None
    methods = {"bicubic": bicubic, "ibp": back_projection, "model": model}
    cases = chosen(options.cases)
    print(f"{len(scenes)} scenes, {sum(len(each.bands) for each in scenes)} bands, x{options.scale}, {options.model}")
    print(header())
    report = []
    with prepare_process(), ThreadPoolExecutor(options.workers) as pool:
        for case in cases:
            measures = (decibels, partial(detail, scale=options.scale)) if case.name == JUDGED else (decibels,)
            judge = partial(measured, case=case, methods=methods, scale=options.scale, measures=measures)
            results = list(pool.map(judge, scenes))
            scores = [(scene.name, each[0]) for scene, each in zip(scenes, results, strict=True)]
            report.append(record(case, scores, kinds) | ({"side": options.side} if options.side else {}))
            print(row(report[-1]), flush=True)
            if case.name == JUDGED:
                report[-1]["fine_detail"] = sharp = typical(each[1] for each in results)
                print(f"power beyond the input's Nyquist frequency over the truth's, median: {figures_of(sharp)}")
            if options.json:  # after each case: a long run that is cut off leaves what it has
                options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def detail(estimate: Floats, truth: Floats, peak: float, *, scale: int) -> float:
    """How much fine detail there is, true or not."""
    return fine_detail(estimate, truth, scale)


def figures_of(values: dict[str, float]) -> str:
    """Each with its name."""
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def chosen(names: list[str]) -> list[Case]:
    """The cases of these names, in their usual order. Ends the program for a name that is none."""
    if unknown := sorted(set(names) - {case.name for case in CASES} - {"all", "main"}):
        raise SystemExit(f"no case is called {unknown[0]!r}; there are main, {', '.join(case.name for case in CASES)}")
    wanted = {*names, *(MAIN if "main" in names else ())}
    return [case for case in CASES if "all" in wanted or case.name in wanted]


def header() -> str:
    """The head of the table."""
    kind = next(iter(KINDS))
    columns = ["case", "bicubic dB", "IBP dB", "model dB", "over bicubic", "over IBP", "worst band against bicubic"]
    columns += [f"{kind}: over bicubic", "over IBP"]
    return "| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns)


def row(entry: dict[str, Any]) -> str:
    """A line of it, of one case."""
    worst = entry["gain"]["bicubic"]
    few = entry["kinds"].get(next(iter(KINDS)))
    cells = [
        entry["case"]["name"],
        *(f"{entry['psnr'][name]:.2f}" for name in (*OPPONENTS, "model")),
        *(interval(entry, name) for name in OPPONENTS),
        f"{worst['worst']:+.2f} ({worst['where']})",
        *(interval(few, name) if few else "" for name in OPPONENTS),
    ]
    return "| " + " | ".join(cells) + " |"


def interval(entry: dict[str, Any], name: str) -> str:
    """A gain over an opponent with its interval, dB."""
    gain = entry["gain"][name]["gain"]
    return f"{gain['mean']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"


if __name__ == "__main__":
    main()
