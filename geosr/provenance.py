"""What a result says of how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from geosr import __version__
from geosr.io import categorical
from geosr.io.layout import Layout
from geosr.io.scene import Scene
from geosr.models.registry import Card
from geosr.models.runtime import ModelNetwork
from geosr.radiometry import Radiometry
from geosr.sensors import once


def provenance(
    card: Card, network: ModelNetwork, scene: Scene, radiometry: Radiometry, layout: Layout
) -> dict[str, str]:
    """Tags that a result carries: version, model, how the scene was observed, and what the run is known by."""
    tags = {
        "GEOSR_VERSION": __version__,
        "GEOSR_MODEL": card.title,
        "GEOSR_SCALE": str(network.scale),
        "GEOSR_RUN": _run_name(network, scene, radiometry, layout),
    }
    if network.sha256:
        tags |= {"GEOSR_WEIGHTS_SHA256": network.sha256, "GEOSR_PRECISION": network.precision}
    if classes := categorical.listed(scene.names, scene.repeated):
        tags["GEOSR_CATEGORICAL"] = classes
    seen = network.seen
    if network.project:
        tags["GEOSR_PROJECTED"] = seen.projection(scene.categorical)
    if card.conditioned or network.project:
        tags |= {"GEOSR_MTF": listed(seen.mtf), "GEOSR_NOISE": listed(seen.noise)}
    return tags


def _run_name(network: ModelNetwork, scene: Scene, radiometry: Radiometry, layout: Layout) -> str:
    """A digest of all that decides a result: input, part, radiometry, model, format; not of where and how it ran."""
    known = sorted((key, value) for key, value in scene.identity.items() if key != "path")
    metadata = scene.scales, scene.offsets
    model = replace(network, device="cpu", notes=())
    decided = (
        known,
        scene.bands,
        scene.categorical,
        scene.window,
        scene.area,
        metadata,
        radiometry,
        model,
        layout.format,
        layout.options,
    )
    return hashlib.sha256(str((__version__, *decided)).encode()).hexdigest()[:32]


def listed(values: Sequence[float]) -> str:
    """Numbers in a row; one where all are the same."""
    return once([f"{value:.6g}" for value in values])
