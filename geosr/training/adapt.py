"""A network fine-tuned on the scene itself, one scale below (Wald et al. 1997), and kept only if that is seen to help.

The scene is degraded by its own sensor's blur and noise: what comes out is the input, the scene the truth. Blocks of
the scene are kept from the training: some choose among the checkpoints, the others decide. Only where they improve by
more than chance, the 95 % interval of a paired bootstrap over blocks lying above zero, is there a result. That detail
at the scale above behaves as it does at the scale below is the assumption that no scene can prove.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import InputError, ModelError
from geosr.evaluation.metrics import Interval, bootstrap
from geosr.io.place import check_parent
from geosr.io.samples import spread_windows
from geosr.io.scene import Scene, open_scene
from geosr.io.source import close
from geosr.models import registry
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import sha256
from geosr.models.degradation import observe
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.models.runtime import choose_device
from geosr.models.trial import up
from geosr.observing import samples, settle
from geosr.radiometry import fill
from geosr.response import Response
from geosr.sensors import Band, Observation
from geosr.training.loop import Silent, Watch
from geosr.training.patches import Patches, Plane, contrast_of, step_of
from geosr.training.recipe import Recipe
from geosr.training.samples import Degraded, sharp_side
from geosr.training.sensing import Degradation
from geosr.training.state import save_tensors
from geosr.training.trainer import Material, Trainer
from geosr.training.validation import estimate
from geosr.window import Window

Floats = NDArray[np.float32]

LEAST_BLOCKS = 8
"""Blocks that decide, at least: fewer leave everything to chance."""
BLOCKS = (16, 8)
"""Sides of a block, pixels of the degraded scene: the larger where that leaves `ENOUGH` of them."""
ENOUGH = 48
STRIPE = 16
"""Width of the stripes that blocks are cut from, pixels of the degraded scene..."""
PERIOD = 52
"""...and how far apart they lie, at least: training patches have to fit in between."""
PARTS, PART = 9, 768
"""Windows of a large scene that stand for it, and their side in pixels."""
PATCH, BATCH, STEPS, RATE = 20, 8, 4000, 3e-4
"""How the fine-tuning goes: Adam, small steps."""
CHECKS = 8
"""Times that the network is looked at."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """The outcome of a fine-tuning."""

    gain: Interval
    """Over the model as it was, dB at the scene's own lower scale: mean over the blocks that decide, 95 % interval."""
    blocks: int
    """How many decided."""
    path: Path | None
    """The model for this scene; None where it is not better for sure, and nothing was written."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A window of the scene, one scale apart."""

    truth: Floats
    """(bands, H, W), gaps filled."""
    valid: NDArray[np.bool_]
    lr: Floats
    """(bands, h, w), with the noise that the scene has."""
    chooses: tuple[Window, ...]
    """Blocks of `lr`."""
    decides: tuple[Window, ...]


def adapt(
    src: str | Path,
    dst: str | Path | None = None,
    *,
    model: str = "fast",
    scale: int = 4,
    mtf: float | Sequence[float] | None = None,
    snr: float | Sequence[float] | None = None,
    minutes: float = 5.0,
    device: str = "auto",
    watch: Watch | None = None,
) -> Adapted:
    """Fine-tune a model on a scene; writes a safetensors file with a card where the scene's held-out blocks improve.

    Blur and noise are found, or told, as `geosr.upscale` does it. Raises `InputError` for a scene that is too small to
    judge by, `ModelError` for a model without weights.

    Parameters
    ----------
    dst
        `scene_fast_x4.safetensors` beside `scene.tif` by default.
    minutes
        The most that the fine-tuning takes.
    """
    card, weights = _base(model, scale)
    target = _target(src, dst, model, scale)
    if not minutes > 0:
        raise InputError(f"--minutes {minutes:g}: expected a number above 0")
    scene = open_scene(src)
    if all(scene.categorical):
        raise InputError(f"{scene.name} holds only classes or palette entries, which have no detail to learn")
    scene = open_scene(src, bands=[band for band, same in zip(scene.bands, scene.categorical, strict=True) if not same])
    settled = settle(
        registry.find(model, scale), radiometry=scene.radiometry, sensor=scene.sensor, mtf=mtf, snr=snr, project=None,
        device=device, precision="float32",
    )  # fmt: skip
    observation, notes = settled.observe(samples(scene))
    watch = watch or Silent()
    for line in notes:
        watch.note(line)
    parts = _parts(scene, observation, scale)
    deciding = sum(len(part.decides) for part in parts)
    if deciding < LEAST_BLOCKS or not any(part.chooses for part in parts):
        raise InputError(
            f"{scene.name} has {deciding} whole blocks to judge by at x{scale}, and {LEAST_BLOCKS} are needed: it is "
            "too small, or has too many gaps, to adapt to"
        )
    trainer = _trainer(card, scale, weights, parts, observation, minutes, choose_device(device)[0])
    before = _errors(trainer.averaged(), parts, observation, "decides")
    best = _best(trainer, parts, observation, minutes, watch)
    after = _errors(best, parts, observation, "decides")
    gain = bootstrap(10.0 * np.log10(before / after))
    if not gain.low > 0:
        return Adapted(gain, deciding, None)
    save_tensors(best.state_dict(), target, {KEY: _card(card, scene, scale, weights, gain, deciding).to_json()})
    return Adapted(gain, deciding, target)


def _base(model: str, scale: int) -> tuple[Card, Path]:
    card = registry.card(model, scale)
    path = registry.locate(model, scale)
    if path is None or card.network not in NETWORKS:
        raise ModelError(f"{model} has no weights to fine-tune; choose one with, such as fast")
    return card, path


def _target(src: str | Path, dst: str | Path | None, model: str, scale: int) -> Path:
    beside = Path(src).with_name(f"{Path(src).stem}_{Path(model).stem}_x{scale}.safetensors")
    target = beside if dst is None else Path(dst)
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: a model's name ends in .safetensors")
    check_parent(target.absolute())
    if target.exists():
        raise InputError(f"{target} is there already; remove it, or name another with -o")
    return target


def _parts(scene: Scene, observation: Observation, scale: int) -> list[_Part]:
    """The scene, or windows spread over a large one, with their blocks."""
    height, width = scene.shape
    whole = height * width <= PARTS * PART**2
    windows = [scene.window.shift(-scene.window.row, -scene.window.col)] if whole else []
    windows = windows or spread_windows(scene.shape, 1, PARTS, PART)
    random = np.random.default_rng(0)
    blocks = [sum(len(_blocks(w.height // scale, w.width // scale, side)) for w in windows) for side in BLOCKS]
    if not any(blocks):
        return []
    side = BLOCKS[0] if blocks[0] >= ENOUGH else BLOCKS[1]
    try:
        parts = [_part(scene, window, observation, scale, side, random) for window in windows]
    finally:
        close()
    return parts


def _blocks(height: int, width: int, side: int) -> list[Window]:
    """Blocks in stripes across the longer side of a degraded scene, evenly spread; what is between is trained on."""
    if height > width:
        return [Window(b.col, b.row, side, side) for b in _blocks(width, height, side)]
    count = max(1, width // PERIOD)
    ends = [width * (number + 1) // count for number in range(count)]
    return [
        Window(row, col, side, side)
        for end in ends
        for row in range(0, height - side + 1, side)
        for col in range(max(end - STRIPE, 0), end - side + 1, side)
    ]


def _part(
    scene: Scene,
    window: Window,
    observation: Observation,
    scale: int,
    side: int,
    random: np.random.Generator,
) -> _Part:
    height, width = (length // scale * scale for length in (window.height, window.width))
    pixels = scene.source.pixels(replace(window, height=height, width=width))
    known = scene.radiometry.valid(pixels)
    valid = np.ones(pixels.stored.shape, bool) if known is None else known
    values = pixels.stored.astype(np.float32)
    truth = fill(values, valid).astype(np.float32) if not valid.all() else values
    responses = _responses(observation, scale)
    lr = np.concatenate([observe(truth[i : i + 1], each, scale) for i, each in enumerate(responses)])
    # The blur takes the scene's noise away, and the network is to meet what it will meet at the scale above.
    spread = np.stack([np.sqrt(band.noise.variance(image)) for band, image in zip(observation, lr, strict=True)])
    lr += random.standard_normal(lr.shape).astype(np.float32) * spread
    blocks = _blocks(height // scale, width // scale, side)
    blocks = [block for block in blocks if valid[:, *block.scale(scale).slices].all()]
    return _Part(truth, valid, lr, tuple(blocks[::3]), tuple(block for i, block in enumerate(blocks) if i % 3))


def _responses(observation: Observation, scale: int) -> tuple[Response, ...]:
    """Of each band, relative to a result."""
    return tuple(band.relative(scale).response for band in observation)


def _planes(parts: Sequence[_Part], observation: Observation, scale: int) -> list[Plane]:
    """The planes that may be trained on: the parts without the blocks that choose or decide."""
    planes = []
    for number, part in enumerate(parts):
        allowed = part.valid.copy()
        for block in (*part.chooses, *part.decides):
            allowed[:, *block.scale(scale).slices] = False
        for values, valid, free, band in zip(part.truth, part.valid, allowed, observation, strict=True):
            contrast = contrast_of(np.where(valid, values, np.nan))
            if contrast > 0:
                known = np.where(free, values, np.float32(np.nan))
                spread = band.noise.sigma(float(values.mean()))
                planes.append(Plane(known, "scene", str(number), 1.0, False, contrast, step_of(known), spread))
    if not planes:
        raise InputError("the scene has no detail to learn from")
    return planes


def _trainer(
    card: Card,
    scale: int,
    weights: Path,
    parts: Sequence[_Part],
    observation: Observation,
    minutes: float,
    device: str,
) -> Trainer:
    patch = up(PATCH, getattr(NETWORKS[card.network], "multiple", 1))
    recipe = Recipe(
        scale, network=card.network, channels=card.channels, blocks=card.blocks, patch=patch, batch=BATCH, steps=STEPS,
        minutes=minutes, rate=RATE, optimiser="adam", warm_up=50, average=0.99, start_from=str(weights),
    )  # fmt: skip
    degradation = Degradation(noisy=1.0, jitter=0.0, compressed=0.0, given=_responses(observation, scale), shot=0.0)
    patches = Patches(_planes(parts, observation, scale), sharp_side(patch, scale), 0)
    return Trainer(recipe, Material(((Degraded(patches, degradation, scale, 0), 1.0),)), device=device)


def _best(
    trainer: Trainer, parts: Sequence[_Part], observation: Observation, minutes: float, watch: Watch
) -> BandNetwork:
    """The checkpoint that the blocks that choose like best; the first is the model as it was."""
    best = trainer.averaged()
    least = float(np.log(_errors(best, parts, observation, "chooses")).mean())
    began, seen = time.perf_counter(), 0
    while (share := trainer.progress.share(trainer.recipe)) < 1.0 and time.perf_counter() - began < 60 * minutes:
        now = trainer.step()
        watch.step(now, now.share(trainer.recipe))
        if int(share * CHECKS) > seen or now.share(trainer.recipe) >= 1.0:
            seen = int(share * CHECKS)
            network = trainer.averaged()
            found = float(np.log(_errors(network, parts, observation, "chooses")).mean())
            if found < least:
                best, least = network, found
    return best


def _errors(network: BandNetwork, parts: Sequence[_Part], observation: Observation, which: str) -> NDArray[np.float64]:
    """Mean squared error of every block, in units of each band's contrast, mean over bands: (blocks,)."""
    errors = []
    device = next(network.parameters()).device
    for part in parts:
        blocks: tuple[Window, ...] = getattr(part, which)
        if not blocks:
            continue
        images = zip(part.truth, part.lr, observation, strict=True)
        squares = np.mean([_squares(network, *each, device) for each in images], axis=0)
        errors += [float(squares[block.scale(network.scale).slices].mean()) for block in blocks]
    return np.array(errors) + 1e-9


def _squares(network: BandNetwork, truth: Floats, lr: Floats, band: Band, device: torch.device) -> Floats:
    contrast, told = max(contrast_of(truth), 1e-12), (band.relative(network.scale),)
    made: Tensor = estimate(network, torch.from_numpy(lr)[None, None].to(device), told)
    squares: Floats = ((made[0, 0].cpu().numpy() - truth) / np.float32(contrast)) ** 2
    return squares


def _card(card: Card, scene: Scene, scale: int, weights: Path, gain: Interval, blocks: int) -> Card:
    figures = [round(value, 2) for value in (gain.mean, gain.low, gain.high)]
    return replace(
        card,
        name=f"{card.name}@{Path(scene.name).stem}",
        summary=f"{card.name}, fine-tuned on {scene.name} at its own lower scale",
        scales=(scale,),
        measured="gain over the model it was made of, on held-out blocks of the scene at its own lower scale",
        training=f"fine-tuned on {scene.name} alone; before that: {card.training or 'not said'}",
        training_gap="",
        metrics={"adapted": {"over_base": figures, "blocks": blocks, "base_sha256": sha256(weights)}},
        training_data=(*card.training_data, f"{scene.name}, without a reference"),
        limits=(f"Made for {scene.name}: nothing is known of how it does on other scenes.", *card.limits),
    )
