"""What commands print: reports on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geosr.run import Run


@dataclass(frozen=True, slots=True)
class Talk:
    """How a user wants to be talked to."""

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


def print_report(report: dict[str, Any], as_json: bool) -> None:
    """A report, as JSON or as a table."""
    if as_json:
        print(to_json(report))
        return
    width = max(map(len, report))
    for key, value in report.items():
        if value in ([], {}, None):
            continue
        print(f"{key.replace('_', ' '):{width}}  {shown(value)}")


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
