"""`geosr upscale clip.mp4`: a clip, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geosr.cli.progress import bar
from geosr.cli.streams import announce
from geosr.cli.talk import Talk, print_plan, tell, to_json


def upscale_clip(named: Sequence[Any], options: dict[str, Any], talk: Talk) -> int:
    """Upscale a clip, perhaps to a name; returns the exit code."""
    from geosr.video.run import clip_run

    src, dst = (*named, None)[:2]
    run = clip_run(src, dst, options | {"overwrite": options["overwrite"] or talk.dry_run})
    for line in () if talk.quiet else (*run.warnings, *run.notes):
        tell(line)
    if talk.dry_run:
        print_plan(run.estimate(), talk.as_json)
        return 0
    with bar(talk.quiet, "frame") as advance:
        report = run.execute(advance)
    if talk.as_json:
        announce(to_json(report))
    elif not talk.quiet:
        announce(report["path"])
    return 0
