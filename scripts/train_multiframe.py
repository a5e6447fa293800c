"""The network `multiframe`, trained on what `scripts/prepare_multiframe.py` made; by the clock, on a card or not.

    python scripts/train_multiframe.py TRAIN.npz VALIDATE.npz START.safetensors FOLDER [--seconds 330] [--scale 2]

START holds the weights of `fast`. Dates are drawn anew for each step: shifts and errors of them, responses of the
family and what is told of them, noise, and much that changes or goes wrong between dates. Writes
`weights.safetensors`, the running average that was best on the validation squares, and `figures.json`, every half
minute.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from geosr.models.networks import fast
from geosr.models.networks.multiframe import MultiFrame
from geosr.response import Response
from geosr.sensor_table import SENTINEL_2
from scripts.frames_in_torch import PHASES, Dates, Table, both_ways, low_passing

SIDES = {2: 60, 3: 44, 4: 34}
"""Sides of a block, coarse pixels, by scale."""
RIM = 12
"""Coarse pixels at its border that don't count."""
OTHERS = (1, 1, 2, 3, 4, 5, 7, 7, 7, 9, 11, 15)
"""Dates beside the reference, drawn for a step."""
TRUE = 3
"""Responses near each that is told, one of which is the true one."""


def responses(scale: int, random: np.random.Generator, count: int = 56) -> tuple[list[Response], list[Response]]:
    """Responses that are told, relative to the result, and `TRUE` near each that may be the true ones."""
    known = [band.response for band in SENTINEL_2.bands if band.response is not None]
    told: list[Response] = [each for each in known for _ in range(1 + (each.variance[0] > 0.1))]
    while len(told) < count:
        mean, off = random.uniform(-0.02, 0.24), random.uniform(-0.05, 0.05)
        kind = random.choice(["none", "linear", "cubic", "spline"], p=[0.2, 0.15, 0.25, 0.4])
        mean = mean if kind in ("cubic", "spline") else max(mean, 0.08)
        gaussian = Response.gaussian(random.uniform(0.08, 0.5)).variance[0]
        product = Response((mean + off, mean - off), True, kind)
        told.append(product if random.random() < 0.6 else Response((gaussian * (1 + off), gaussian * (1 - off))))
    near = []
    for each in told:
        for _ in range(TRUE):
            down, across = (own + random.normal(0, 0.012) for own in each.variance)
            near.append(replace(each, variance=(down, across)).relative(scale))
    return [each.relative(scale) for each in told], near


@dataclass(frozen=True, eq=False)
class Batch:
    """Blocks of many places, and their truth."""

    truth: Tensor
    """(n, 1, h, w)."""
    start: Tensor
    base: Tensor
    """What is back-projected, in few steps; both (n, 1, h, w)."""
    dates: Dates
    told: Tensor
    noise: Tensor
    """(n,) variance at the mean level."""


class Drawer:
    """Draws batches on a device."""

    def __init__(self, path: Path, start: Path, scale: int, device: str, seed: int, steps: int) -> None:
        self.device, self.scale, self.side, self.steps = device, scale, SIDES[scale], steps
        with np.load(path) as archive:
            self.pixels = torch.from_numpy(archive["pixels"]).to(device)
            self.low, self.step = (torch.from_numpy(archive[name]).to(device) for name in ("low", "step"))
        random = np.random.default_rng(seed)
        told, true = responses(scale, random)
        self.told, self.true = Table(told, scale, device), Table(true, scale, device)
        self.random = torch.Generator(device).manual_seed(seed)
        self.numpy = random
        single = fast(scale)
        single.load_state_dict(load_file(start))
        self.single = single.eval().requires_grad_(False).to(device)
        # What is seen beside what is told best: that of Sentinel-2's B8A, for validation.
        self.b8a = [band.response for band in SENTINEL_2.bands if band.response is not None].index(
            next(band.response for band in SENTINEL_2.bands if band.name == "B8A")
        )

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1."""
        return torch.rand(shape, generator=self.random, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of standard deviation 1."""
        return torch.randn(shape, generator=self.random, device=self.device)

    def squares(self, which: Tensor) -> Tensor:
        """(n, H, W) truth of squares, cut, turned and mirrored at random."""
        wide = self.side * self.scale
        room = self.pixels.shape[1] - wide
        rows, cols = (torch.randint(room + 1, (len(which), 1), generator=self.random, device=self.device) for _ in "yx")
        place = torch.arange(wide, device=self.device)
        flips = self.uniform(2, len(which), 1) < 0.5
        down = torch.where(flips[0], rows + place, rows + wide - 1 - place)
        across = torch.where(flips[1], cols + place, cols + wide - 1 - place)
        cut = self.pixels[which[:, None, None], down[:, :, None], across[:, None, :]].float()
        turned = torch.where(self.uniform(len(which), 1, 1) < 0.5, cut, cut.mT)
        return turned * self.step[which, None, None] + self.low[which, None, None]

    def batch(self, count: int, others: int, plain: bool = False, real: float = 0.0) -> Batch:
        """Blocks with so many other dates; `plain`: B8A's response, SNR 100, small errors, nothing changed.

        `real` is the share of these that are interpolated from a sensor's own grid.
        """
        which = torch.randint(len(self.pixels), (count,), generator=self.random, device=self.device)
        truth = self.squares(which)
        scale = truth.std((1, 2), keepdim=True).clamp_min(1e-3)
        level = truth.mean((1, 2), keepdim=True) / scale
        truth = truth / scale
        response = torch.randint(len(self.told.told), (count,), generator=self.random, device=self.device)
        response = torch.full_like(response, self.b8a) if plain else response
        true = response * TRUE + torch.randint(TRUE, (count,), generator=self.random, device=self.device)
        seen = self.told if plain else self.true
        own = response if plain else true
        snr = 30 * 15 ** self.uniform(count)
        power = (level[:, 0, 0].abs() / (torch.full_like(snr, 100.0) if plain else snr)) ** 2
        share = 0.0 if plain else self.uniform(count) * (level[:, 0, 0] > 1)
        noise = torch.stack((power * (1 - share), power * share / level[:, 0, 0].clamp_min(1)), 1)
        zeros = torch.zeros(count, 1, 2, device=self.device)
        products = (seen.kinds[own] > 0) & (self.uniform(count) < (real if plain else 0.7))
        apart = torch.where(products & (self.uniform(count) < 0.6), 0.2, 1.0)[:, None, None]
        shifts = torch.cat((zeros, (self.uniform(count, others, 2) - 0.5) * apart * self.scale), 1)
        shifts = (shifts * PHASES).round() / PHASES
        error = self._misplaced(count, others, plain)
        ground = truth[:, None].expand(-1, 1 + others, -1, -1)
        if not plain:
            ground = torch.cat((ground[:, :1], self._changed(ground[:, 1:])), 1)
        dates = self._seen(seen, own, shifts + torch.cat((zeros, error), 1), ground, noise, products)
        there = torch.ones_like(dates[:, 1:])
        if not plain:
            dates = torch.cat((dates[:, :1], self._spoilt(dates[:, 1:], dates[:, :1], noise)), 1)
            there = self._gaps(there)
            noise = noise * torch.exp(0.2 * self.normal(count, 1))
        told = self.told.told[response]
        start = self._single(dates[:, :1], told, noise)
        made = Dates(start, dates[:, 1:], there, shifts[:, 1:], response, noise, self.told)
        return Batch(truth[:, None], start[:, None], made.back_projected(self.steps)[:, None], made, told, power)

    def _misplaced(self, count: int, others: int, plain: bool) -> Tensor:
        """Errors of the places that are told, fine pixels."""
        sigma = 0.01 * 5 ** self.uniform(count, others, 1) * self.scale
        gross = (self.uniform(count, others, 1) < 0.03) * self.uniform(count, others, 1) * 0.5 * self.scale
        return self.normal(count, others, 2) * (0.02 * self.scale if plain else sigma + gross)

    def _seen(
        self, table: Table, which: Tensor, shifts: Tensor, ground: Tensor, noise: Tensor, products: Tensor
    ) -> Tensor:
        """(n, dates, h, w); of products the sensor's grid has a phase of its own on each date."""
        n, dates, _ = shifts.shape
        own, flat = which.repeat_interleave(dates), shifts.flatten(0, 1)
        see, put = [], []
        for axis in (0, 1):
            phase, pitch = self.uniform(n * dates), 1 + 0.12 * (2 * self.uniform(n).repeat_interleave(dates) - 1)
            samples, taken = table.through(own, axis, flat[:, axis], self.side, phase, pitch)
            alone, real = (
                table.seen(own, axis, flat[:, axis], self.side),
                products.repeat_interleave(dates)[:, None, None],
            )
            see.append(torch.where(real, taken @ samples, alone).view(n, dates, self.side, -1))
            taken = taken / (taken**2).sum(2).mean(1).sqrt()[:, None, None]
            put.append(torch.where(real, taken, torch.eye(self.side, taken.shape[2], device=self.device)))
        seen = both_ways(see[0], ground, see[1])
        constant, slope = noise[:, 0, None, None, None], noise[:, 1, None, None, None]
        grain = both_ways(put[0], self.normal(n * dates, *put[0].shape[2:], put[1].shape[2]), put[1])
        return seen + (constant + slope * seen).clamp_min(0).sqrt() * grain.view(seen.shape)

    def _single(self, reference: Tensor, told: Tensor, noise: Tensor) -> Tensor:
        """(n, H, W), as `Residual` makes it: less what noise adds to a flat scene."""
        single = self.single
        side = 2 * (2 + 2 * len(single.blocks)) + 1
        flat = torch.zeros(len(told), 1, side, side, device=told.device)
        rest = single.residual(flat, told, torch.ones_like(flat))
        middle = slice(side // 2 * self.scale, (side // 2 + 1) * self.scale)
        at_rest = rest[:, :, middle, middle].repeat(1, 1, self.side, self.side)
        high, spread = single.parts(reference, noise)
        detail = single.residual(high, told, spread) - at_rest * F.interpolate(spread, scale_factor=self.scale)
        made: Tensor = (single.base(reference) + detail)[:, 0]
        return made

    def _mask(self, n: int, dates: int, side: int) -> Tensor:
        """(n, dates, side, side) smooth-edged parts, of any size, from low-passed noise."""
        coarse = F.interpolate(self.normal(n * dates, 1, 9, 9), (side, side), mode="bicubic", align_corners=False)
        threshold = self.normal(n * dates, 1, 1, 1) * 0.6
        steep = 4 * 30 ** self.uniform(n * dates, 1, 1, 1)
        return torch.sigmoid((coarse - threshold) * steep).view(n, dates, side, side)

    def _changed(self, ground: Tensor) -> Tensor:
        """The ground of other dates: brightness of fields by their own, in all or in parts, clouds, other places."""
        n, dates, side, _ = ground.shape
        tall = (n, dates, 1, 1)
        mean = ground.mean((2, 3), keepdim=True)
        season = (self.uniform(n, 1, 1, 1) < 0.6).float() * self.uniform(n, 1, 1, 1) ** 2
        strength = 0.5 * season * self.normal(*tall) + 0.6 * self.normal(*tall) * (self.uniform(*tall) < 0.08)
        smooth = low_passing(side, 1.5 * self.scale, ground.device)
        ones = both_ways(smooth, torch.ones_like(ground[:1, :1]), smooth)
        fields = both_ways(smooth, ground[:, :1] - mean[:, :1], smooth) / ones
        waves = torch.sin(fields * (1 + 2 * self.uniform(*tall)) + 6.3 * self.uniform(*tall))
        lines = 1 + 0.3 * season * self.normal(*tall)
        part = torch.where(self.uniform(*tall) < 0.4, self._mask(n, dates, side), torch.ones_like(ground[:, :, :1, :1]))
        ground = ground + part * (strength * waves + (lines - 1) * (ground - mean))
        grain = both_ways(smooth, self.normal(n, dates, side, side), smooth) * (6 * self.scale)
        ground = ground + 0.25 * season * self.uniform(*tall) * (self.uniform(n, 1, 1, 1) < 0.5) * grain
        other = ground.roll(1, 0)
        swap = (self.uniform(*tall) < 0.05) * self._mask(n, dates, side)
        ground = ground + swap * (other - mean.roll(1, 0) + mean - ground)
        cloud = (self.uniform(*tall) < 0.06) * self._mask(n, dates, side) * (1 + 4 * self.uniform(*tall))
        haze = F.interpolate(self.normal(n * dates, 1, 5, 5), (side, side), mode="bicubic", align_corners=False)
        dim = (self.uniform(*tall) < 0.15) * 0.5 * self.uniform(*tall) * haze.view(n, dates, side, side)
        return ground + cloud + dim

    def _spoilt(self, dates: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
        """Gains that are a little off, now and then much; a date that is the reference again, or another place."""
        n, count, *_ = dates.shape
        tall = (n, count, 1, 1)
        mean = dates.mean((2, 3), keepdim=True)
        off = 0.01 * self.normal(*tall) + 0.15 * self.normal(*tall) * (self.uniform(*tall) < 0.03)
        dates = dates + off * (dates - mean) + 0.05 * self.normal(*tall) * (self.uniform(*tall) < 0.3)
        dates = torch.where(self.uniform(*tall) < 0.01, reference, dates)
        return torch.where(self.uniform(*tall) < 0.01, dates.roll(1, 0), dates)

    def _gaps(self, there: Tensor) -> Tensor:
        n, count, side, _ = there.shape
        gap = (self.uniform(n, count, 1, 1) < 0.1) & (self._mask(n, count, side) > 0.5)
        return there * ~gap


def inner(image: Tensor, scale: int) -> Tensor:
    """Without its border."""
    rim = RIM * scale
    return image[..., rim:-rim, rim:-rim]


def error(image: Tensor, batch: Batch, scale: int) -> Tensor:
    """(n,) mean squared error inside."""
    return inner(image - batch.truth, scale).square().mean((1, 2, 3))


def run(network: MultiFrame, batch: Batch, device: str) -> list[Tensor]:
    """The results of the stages of a network, (n, 1, h, w) each."""
    made, found = batch.base, []
    for stage in network.stages:
        says = batch.dates.evidence(made[:, 0])
        with torch.autocast(device, torch.bfloat16):
            detail = stage(says.images, says.maps, batch.told, says.voices, says.places)
        made = made + detail.float()
        found.append(made)
    return found


def judged(network: MultiFrame, batches: Sequence[tuple[str, Batch]], device: str) -> dict[str, list[float]]:
    """By case, decibels over the single-frame result: of the network, with half a step of back-projection after it, and
    of back-projection; the network's worst square, and its worst against back-projection."""
    found = {}
    with torch.inference_mode():
        for name, batch in batches:
            scale, dates = network.scale, batch.dates
            base = error(batch.start, batch, scale)
            made = run(network, batch, device)[-1]
            after = made + 0.5 * dates.evidence(made[:, 0]).images[:, 2:]
            gains = [
                10 * torch.log10(base / error(each, batch, scale))
                for each in (made, after, dates.back_projected()[:, None])
            ]
            own, _, plain = gains
            worst = own.min(), (own - plain).min()
            found[name] = [round(float(each), 3) for each in (*(gain.mean() for gain in gains), *worst)]
    return found


def main() -> None:
    """Trains until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("validate", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="of back-projection before the first stage")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--begin", type=Path, help="weights that are trained further")
    parser.add_argument("--look", type=float, default=30.0)
    parser.add_argument("--judged", type=int, default=48)
    given = parser.parse_args()
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    network = MultiFrame(given.scale, given.channels, given.blocks, given.stages).to(device)
    if given.begin:
        network.load_state_dict(load_file(given.begin))
    average = MultiFrame(given.scale, given.channels, given.blocks, given.stages).to(device).eval()
    average.load_state_dict(network.state_dict())
    apart = Drawer(given.validate, given.start, given.scale, device, 99, given.steps)
    drawer = Drawer(given.train, given.start, given.scale, device, 1, given.steps)
    with torch.no_grad():
        kept = [(f"{1 + others} dates", apart.batch(given.judged, others, plain=True)) for others in (1, 3, 7, 15)]
        kept += [(f"{1 + others} dates, changed", apart.batch(given.judged, others)) for others in (3, 7)]
        kept += [("8 dates, products", apart.batch(given.judged, 7, plain=True, real=1.0))]
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), given.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=device == "cuda"
    )
    best, log = -math.inf, []
    step, mean, shown = 0, 0.0, 0.0
    size = sum(each.numel() for each in network.parameters())
    print(f"{size} numbers on {device}, ready after {time.perf_counter() - began:.1f} s", flush=True)

    def look(spent: float) -> None:
        nonlocal best
        found = judged(average, kept, device)
        score = float(np.mean([each[0] for each in found.values()]))
        about = {"seconds": round(spent, 1), "step": step, "loss": round(mean, 4), "score": round(score, 4)}
        log.append(about | {"figures": found})
        print(json.dumps(log[-1]), flush=True)
        if score > best:
            best = score
            kept_now = {name: value.cpu().contiguous().clone() for name, value in average.state_dict().items()}
            save_file(kept_now, given.folder / "weights.safetensors")
        (given.folder / "figures.json").write_text(json.dumps(log, indent=1))

    look(0.0)
    spent = time.perf_counter() - began
    while spent < given.seconds:
        with torch.no_grad():
            batch = drawer.batch(given.batch, int(drawer.numpy.choice(OTHERS)))
        made = run(network, batch, device)
        *before, last = (torch.log(error(each, batch, given.scale) + 0.02 * batch.noise + 1e-7).mean() for each in made)
        loss = last + 0.3 * sum(before)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        share = min(1.0, spent / given.seconds)
        rate = given.rate * min(1.0, (step + 1) / 100) * (0.005 + 0.4975 * (1 + math.cos(math.pi * share)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        if step % 20 == 0:
            mean = float(last.detach()) if not mean else mean + 0.1 * (float(last.detach()) - mean)
        spent = time.perf_counter() - began
        if spent - shown > given.look:
            shown = spent
            look(spent)
    look(spent)


if __name__ == "__main__":
    main()
