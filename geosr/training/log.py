"""The log of a run: a line of JSON for every check, in the run's folder; and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geosr.errors import InputError

NAME = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Check:
    """Figures of a step."""

    step: int
    seconds: float
    loss: float
    """Running mean of the absolute error over the bicubic estimate's: below 1 is better than bicubic."""
    rate: float
    psnr: Mapping[str, float] = field(default_factory=dict)
    """Validation in dB, by place; empty where there was none."""
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same of what the network is compared with, by name."""

    @property
    def mean(self) -> float:
        """Over places, dB."""
        return float(np.mean(list(self.psnr.values())))

    def over(self, reference: str) -> float:
        """Mean gain over a reference, dB."""
        theirs = self.references[reference]
        return float(np.mean([value - theirs[place] for place, value in self.psnr.items()]))

    def told(self) -> str:
        """In words."""
        text = f"step {self.step}, {self.seconds / 60:.1f} min, error over bicubic's {self.loss:.4f}"
        if not self.psnr:
            return text
        gains = ", ".join(f"{self.over(name):+.2f} dB over {name}" for name in self.references)
        return f"{text}; validation {self.mean:.2f} dB ({gains})"


def append(folder: Path, check: Check) -> None:
    """One more line."""
    with (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(check)) + "\n")


def read(folder: Path) -> list[Check]:
    """All lines; a last one that was cut off counts as none. Raises `InputError` where there is no log."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{folder} holds no {NAME}; name the folder of a run, such as runs/mine") from None
    checks = []
    for line in lines:
        try:
            checks.append(Check(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return checks


def cut_after(folder: Path, step: int) -> None:
    """Drop what a killed run logged after the step that it is taken up from: it will be logged again."""
    if (folder / NAME).exists():
        kept = [check for check in read(folder) if check.step <= step]
        text = "".join(json.dumps(asdict(check)) + "\n" for check in kept)
        partial = folder / f"{NAME}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / NAME)


def plot(folder: Path) -> Path:
    """Draw the log into `log.png` in the run's folder. Raises `InputError` without a log or without matplotlib."""
    checks = read(folder)
    if not checks:
        raise InputError(f"{folder / NAME} holds no check yet; train a little longer")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a picture of the log needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_loss(above, checks)
    _draw_validation(below, [check for check in checks if check.psnr])
    target = folder / "log.png"
    figure.savefig(target, dpi=120)
    return target


def _draw_loss(axes: Any, checks: list[Check]) -> None:
    steps = [check.step for check in checks]
    axes.plot(steps, [check.loss for check in checks])
    axes.set_ylabel("training error over bicubic's")
    axes.grid(alpha=0.3)


def _draw_validation(axes: Any, checks: list[Check]) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel("validation over bicubic, dB")
    axes.grid(alpha=0.3)
    if not checks:
        return
    steps = [check.step for check in checks]
    zero = checks[0].references["bicubic"]
    # A run that went on with other imagery may have other places, too.
    for place in set(zero).intersection(*(check.psnr for check in checks)):
        axes.plot(steps, [check.psnr[place] - zero[place] for check in checks], color="0.75", linewidth=0.8)
    axes.plot(steps, [check.over("bicubic") for check in checks], linewidth=2, label="mean of the places (grey)")
    for name, values in checks[0].references.items():
        level = float(np.mean([value - zero[place] for place, value in values.items()]))
        axes.axhline(level, linestyle="--", linewidth=1, color="black" if name == "bicubic" else "tab:red", label=name)
    axes.legend()
