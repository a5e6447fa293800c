"""The figures of a protocol run: all of them for a JSON file, and those that a model's card carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.protocol import Case, Scene, Scores, compare

OPPONENTS = ("bicubic", "ibp")
KINDS = {
    "Sentinel-2 L1C, Parana, Shinyanga, Jutland": ("terramind",),
    "other Sentinel-2 scenes": ("campine", "spyndex", "dsen2", "arosics", "ukis"),
    "BigEarthNet-v2 patches": ("bigearthnet-v2",),
    "EuroSAT patches": ("eurosat",),
    "Landsat 8": ("landsat", "landsat-elkton"),
    "aerial": ("aerial",),
}
"""Kinds of scenes, by the groups of `recipes/data.toml`. The aims were set on scenes of the first kind."""


def kind_of(scene: Scene) -> str:
    """The kind of scene that a card tells figures of; empty for a group that is none's."""
    return next((kind for kind, groups in KINDS.items() if scene.group in groups), "")


def record(case: Case, scores: Sequence[tuple[str, Scores]], kinds: Mapping[str, str]) -> dict[str, Any]:
    """All figures of a case: gains of "model" over each opponent, over all scenes and by kind, and every band's PSNR.

    `kinds` has the kind of each scene.
    """
    by_kind = {kind: [item for item in scores if kinds.get(item[0]) == kind] for kind in KINDS}
    return {
        "case": asdict(case),
        **_gains(scores),
        "kinds": {kind: _gains(some) for kind, some in by_kind.items() if some},
        "bands": {scene: {name: psnr.round(3).tolist() for name, psnr in each.items()} for scene, each in scores},
    }


def figures(report: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a card tells, by case, in dB: mean PSNR (`psnr`), gains (`over_bicubic`, `over_ibp`: mean, low and high of
    the 95 % interval), the worst band's gain over bicubic and where, the number of bands below bicubic and of all, the
    number of scenes; gains by kind of scene. `fine_detail` as `protocol` has it, the median over bands, where told.
    """
    return {entry["case"]["name"]: _told(entry) | {"kinds": _of_kinds(entry)} for entry in report}


def typical(scores: Iterable[Scores]) -> dict[str, float]:
    """The median over all bands of a figure other than PSNR, by method; bands without one are left out."""
    every = list(scores)
    return {name: float(np.nanmedian(np.concatenate([each[name] for each in every]))) for name in every[0]}


def described(report: Sequence[Mapping[str, Any]], scale: int) -> str:
    """What the figures of a report are of, for a card."""
    scenes = report[0]["bands"].values()
    side = report[0].get("side")
    part = f", the middle {side} x {side} pixels of each" if side else ""
    bands = sum(len(each["model"]) for each in scenes)
    return (
        f"PSNR against the native band, {len(scenes)} scenes ({bands} bands) of places never trained on{part}, made "
        f"coarser x{scale}; means over a scene's bands, then over scenes, intervals by bootstrap over scenes "
        "(benchmarks/protocol.py)"
    )


def cost(full: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> float:
    """By how many dB, in the worst case of those that both reports have, the mean PSNR of the other is lower.

    Raises `ValueError` where they share no case.
    """
    means = [{entry["case"]["name"]: entry["psnr"]["model"] for entry in report} for report in (full, other)]
    shared = means[0].keys() & means[1].keys()
    if not shared:
        raise ValueError("the reports have no case in common")
    return max(float(means[0][name] - means[1][name]) for name in shared)


def _gains(scores: Sequence[tuple[str, Scores]]) -> dict[str, Any]:
    gains = [each["model"] - each["bicubic"] for _, each in scores]
    return {
        "scenes": len(scores),
        "psnr": {name: float(np.mean([each[name].mean() for _, each in scores])) for name in ("model", *OPPONENTS)},
        "gain": {name: asdict(compare(scores, "model", name)) for name in OPPONENTS},
        "bands_below_bicubic": int(sum((gain < 0).sum() for gain in gains)),
        "bands_in_all": int(sum(len(gain) for gain in gains)),
    }


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    worst = entry["gain"]["bicubic"]
    return {
        "scenes": entry["scenes"],
        "psnr": {name: round(mean, 2) for name, mean in entry["psnr"].items()},
        **(
            {"fine_detail": {n: round(v, 2) for n, v in entry["fine_detail"].items()}} if "fine_detail" in entry else {}
        ),
        **_over(entry),
        "worst_band": round(worst["worst"], 2),
        "worst_where": worst["where"],
        "bands_below_bicubic": entry["bands_below_bicubic"],
        "bands_in_all": entry["bands_in_all"],
    }


def _of_kinds(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: {"scenes": each["scenes"], **_over(each)} for kind, each in entry["kinds"].items()}


def _over(entry: Mapping[str, Any]) -> dict[str, list[float]]:
    gains = {name: entry["gain"][name]["gain"] for name in OPPONENTS}
    return {f"over_{name}": [round(gain[key], 2) for key in ("mean", "low", "high")] for name, gain in gains.items()}
