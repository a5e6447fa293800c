"""What a run is known by, so that only the same one goes on from what is left of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from geosr.io.layout import Layout

SOURCE = "input"
"""The entry that tells the file that a run reads."""
_LONGEST = 80
"""Characters of an entry that are told."""


def fingerprint_of(run: str, layout: Layout, beside: Sequence[str] = ()) -> str:
    """A run (a JSON object), its layout and the names of results beside it as one text, the same for the same."""
    whole = {"run": json.loads(run), "layout": asdict(layout)}
    return json.dumps(whole | ({"results beside": list(beside)} if beside else {}), sort_keys=True)


def results_in(fingerprint: str) -> list[str]:
    """The names of results beside the image of a run."""
    return list(json.loads(fingerprint).get("results beside", []))


def format_in(fingerprint: str) -> str:
    """The format of the files of a run."""
    return str(json.loads(fingerprint)["layout"]["format"])


def differs(name: str, earlier: str, now: str) -> str:
    """One line that says in what an unfinished run for `name` was another one."""
    old, new = (_flat(json.loads(text)) for text in (earlier, now))
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    if names == [SOURCE]:
        return f"an unfinished run for {name} was of this input before it changed; use --overwrite to start afresh"
    told = ", ".join(
        f"{name} was {_short(old.get(name))} and is {_short(new.get(name))}" for name in names[:3] if name != SOURCE
    )
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    if SOURCE in names:
        told = f"another input, {told}"
    return f"an unfinished run for {name} had other settings ({told}{more}); go on with those, or use --overwrite"


def _short(value: str | None) -> str:
    return str(value) if len(str(value)) <= _LONGEST else f"{str(value)[:_LONGEST]}..."


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {name: str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= _flat(inner, key if name in ("", "run", "layout") else f"{name}.{key}")
    return flat
