"""What commands print: reports on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geosr.cli.streams import out

if TYPE_CHECKING:
    from geosr.run import Grid, Report, Run


@dataclass(frozen=True, slots=True)
class Talk:
    """The way that a user wants to be talked to."""

    dry_run: bool
    as_json: bool
    quiet: bool
    verbose: bool


def say(run: Run, verbose: bool, name: str = "") -> None:
    """Warnings and what was assumed, always; the plan too where more is wanted. Of several scenes each has a name."""
    plan = run.plan
    more = [f"{len(run.tiles)} tiles of {plan.core} pixels, halo {plan.halo}, {run.workers} workers"] if verbose else []
    for line in [*run.warnings, *run.notes, *more]:
        tell(f"{name}: {line}" if name else line)


def tell(line: str) -> None:
    """A line for people."""
    print(f"geosr: {line}", file=sys.stderr)


def print_plan(report: Report, as_json: bool) -> None:
    """The report of a dry run, as JSON or in words."""
    if as_json:
        out(to_json(report))
        return
    facts = {
        "path": report["path"],
        "others": report["others"],
        "model": report["model"],
        "groups": [f"{shown(each['bands'])} from {each['pixel']:g} m by {each['model']}" for each in report["groups"]],
        "grid in": _grid(report["grid_in"]),
        "grid out": _grid(report["grid_out"]),
        "bands": report["bands"],
        "dtype": report["dtype"],
        "format": report["format"],
        "warnings": report["warnings"],
        "notes": report["notes"],
        **needs_of([report]),
        "tiles": f"{report['tiles']} of {report['tile']} pixels, halo {report['halo']}",
    }
    print_report(facts, as_json=False)


def needs_of(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The needs of dry runs together, in words."""
    seconds, workers = sum(report["seconds"] for report in reports), reports[0]["workers"]
    return {
        "tiles": sum(report["tiles"] for report in reports),
        "bytes": f"about {sum(report['bytes'] for report in reports) / 1e6:.1f} MB",
        "memory": f"about {max(report['memory'] for report in reports) / 1e6:.0f} MB",
        "seconds": f"about {seconds:.0f}, with {workers} worker{'s' * (workers > 1)}",
    }


def _grid(grid: Grid) -> str:
    return f"{grid['width']} x {grid['height']} pixels of {grid['pixel_width']:.10g} x {grid['pixel_height']:.10g}"


def print_report(report: Mapping[str, Any], as_json: bool) -> None:
    """A report, as JSON or as a table."""
    if as_json:
        out(to_json(report))
        return
    width = max(map(len, report))
    for key, value in report.items():
        if value in ([], {}, None):
            continue
        out(f"{key.replace('_', ' '):{width}}  {shown(value)}")


def to_json(value: Any) -> str:
    """A report as JSON, which has no word for NaN and infinity: null."""
    return json.dumps(_finite(value), indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: Any) -> str:
    """A value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return str(value)
