"""What a result says of how it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from geosr import __version__
from geosr.io import categorical
from geosr.io.fused import FusedScene
from geosr.io.guided import GuidedScene
from geosr.io.identity import content
from geosr.io.layout import Layout, Options
from geosr.io.output import RUN
from geosr.io.scene import Scene
from geosr.models.frames import FramesNetwork
from geosr.models.guided import GuidedNetwork
from geosr.models.runtime import ModelNetwork
from geosr.radiometry import Radiometry
from geosr.sensors import once, projection
from geosr.sharpening import Group, groups_of

PIXELS = 1
"""Raised by whoever changes, on purpose, the numbers that any model or format stores: results of before are others
then, and are not gone on with. A release that stores the same numbers keeps it."""

DEVICE = "GEOSR_DEVICE"
"""Tag of what computed a result, where that was no processor."""
INPUT = "GEOSR_INPUT"
"""The tag by which a finished result tells its input: a digest of it."""


def provenance(network: ModelNetwork, scene: Scene, radiometry: Radiometry, layout: Layout) -> dict[str, str]:
    """Tags that a result carries: version, model, how the scene was observed, and what the run is known by."""
    card, decided = network.card, settings(network, scene, radiometry, layout)
    tags = {
        "GEOSR_VERSION": __version__,
        "GEOSR_MODEL": card.title,
        "GEOSR_SCALE": scene.finer or str(network.scale),
        RUN: hashlib.sha256(json.dumps(decided).encode()).hexdigest()[:32],
    }
    if network.model.sha256:
        tags |= {"GEOSR_WEIGHTS_SHA256": network.model.sha256, "GEOSR_PRECISION": network.precision}
    if scene.marked:
        tags["GEOSR_MASK"] = scene.marked
    if isinstance(scene, FusedScene):
        tags |= {"GEOSR_TO": "; ".join(map(_brought, groups_of(scene))), "GEOSR_GUIDE": ", ".join(scene.guide.names)}
    if isinstance(network, FramesNetwork):
        tags |= {"GEOSR_REFERENCE": scene.name, "GEOSR_FRAMES": "; ".join(map(str, network.frames))}
    if isinstance(scene, GuidedScene):
        tags["GEOSR_GUIDE"] = ", ".join(scene.guide.names)
    if isinstance(network, GuidedNetwork) and network.injection.corrected:
        tags["GEOSR_GUIDE_SHIFT"] = " ".join(f"{-each:+.3f}" for each in network.injection.shift)
    if classes := categorical.listed(scene.sensor.bands):
        tags["GEOSR_CATEGORICAL"] = classes
    tags |= network.model.promises(network.observation)
    relative = network.relative
    if network.project:
        tags["GEOSR_PROJECTED"] = projection(relative)
    if card.conditioned or network.project or isinstance(network, FramesNetwork):
        tags |= {
            "GEOSR_MTF": listed([band.response.mtf for band in network.observation]),
            "GEOSR_MTF_RELATIVE": listed([band.response.mtf for band in relative]),
            "GEOSR_NOISE": once([str(band.noise) for band in relative]),
        }
    return tags


def _brought(group: Group) -> str:
    """Which bands a guided model has brought from which pixels."""
    moved = f", moved {group.moved}" if group.moved else ""
    return f"{', '.join(group.bands)} from {group.pixel:g} m by {group.model}{moved}"


def settings(network: ModelNetwork, scene: Scene, radiometry: Radiometry, layout: Layout) -> dict[str, str]:
    """All that decides a result beside the input, to the last digit; not where and how it ran, nor geosr's version."""
    bands, model, usual = network.observation, network.model, asdict(Options())
    chosen = {key: value for key, value in asdict(layout.options).items() if value != usual[key]}
    guide = {"guide": str((scene.placement, scene.guide.names))} if isinstance(scene, GuidedScene) else {}
    if isinstance(scene, FusedScene):
        guide = {"groups": str((scene.guide.names, *(group.settings for group in groups_of(scene))))}
    if isinstance(network, FramesNetwork):
        guide = {"frames": str(network.frames)}
    marked = {"mask": scene.marked} if scene.marked else {}
    return (
        guide
        | marked
        | {
            "pixels": str(PIXELS),
            "bands": str((scene.bands, scene.categorical)),
            "area": str((scene.window, scene.area)),
            "radiometry": str((radiometry.dtype, radiometry.out_dtype, (scene.nodata,) * len(scene.bands), ())),
            "scale and offset": str((scene.scales, scene.offsets)),
            "model": " ".join(filter(None, (model.card.title, model.key, model.sha256))),
            "scale": str(network.scale),
            "response": str(tuple(band.response for band in bands)),
            "noise": str((tuple(band.noise for band in bands), network.rounding)),
            "levels": str((tuple(band.levels for band in bands if band.levels), model.assign(bands))),
            "precision": network.precision,
            "projected": projection(bands) if network.project else "no",
            "format": " ".join((layout.format, *(f"{key}={value}" for key, value in sorted(chosen.items())))),
        }
    )


def input_tag(scene: Scene) -> str:
    """The tag that an input is known by: a stamp that is quickly taken, and a digest of what it holds."""
    stamp = _stamp(scene)
    return f"{stamp} {(content(scene.path, scene.files) or stamp)[:32]}"


def is_of(tags: Mapping[str, str], run: Mapping[str, str], scene: Scene) -> bool:
    """True where the tags of a result are those of a run of this scene.

    The input may have been copied, renamed or touched since: where its stamp is another, it is read.
    """
    stamp, _, held = tags.get(INPUT, "").partition(" ")
    if tags.get(RUN) != run[RUN]:
        return False
    return stamp == _stamp(scene) or held == (content(scene.path, scene.files) or "")[:32] != ""


def _stamp(scene: Scene) -> str:
    """Of the shape, and of name, size, time and both ends of all files, or what a server says of them."""
    known = f"{scene.identity['shape']} {scene.identity['digest']}"
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def listed(values: Sequence[float]) -> str:
    """Numbers in a row; one where all are the same."""
    return once([f"{value:.6g}" for value in values])
