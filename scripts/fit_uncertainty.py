"""Learns a scale head for `fast`, calibrates it, judges it and writes it with its calibration.

    python scripts/fit_uncertainty.py SCALE DATA_ROOT PLANES OUT [--models bicubic edsr ...] [--head FILE]

See recipes/uncertainty.toml. With --head the head is taken from a file and only calibrated. Figures are printed, and
kept with the calibration in the file's metadata.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import spearmanr

from geosr.evaluation.natural import BORDER
from geosr.evaluation.natural_pairs import natural_pairs
from geosr.identify import identify
from geosr.models import registry
from geosr.models.calibration import CONTRASTS, KEY, LEVEL, SIGMAS, Calibration, Likeness, kind_of, statistics_of
from geosr.models.checkpoint import read_tensors
from geosr.models.filters import mirror, smooth_both
from geosr.models.networks import NETWORKS, BandNetwork, Edsr
from geosr.models.runtime import is_projected, network_for
from geosr.models.scale_head import ScaleHead, gradient, positive
from geosr.models.uncertain import Uncertain
from geosr.noise import Noise, fit_noise
from geosr.sensors import Band
from geosr.training.conformal import by_place, conformal_quantile, controlled, wrong_shares
from geosr.training.natural import pair_of
from geosr.training.patches import Patches, Plane
from geosr.training.rasters import load_planes
from geosr.training.samples import MARGIN, sharp_side
from geosr.training.sensing import Degradation
from geosr.training.state import save_tensors

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
Floats = NDArray[np.float32]
MODELS = ("nearest", "bilinear", "bicubic", "lanczos", "ibp", "srcnn", "vdsr", "edsr", "swin", "best", "esrgan")
FEW = 4
"""One in so many fields is what other models are measured on."""
RISKS = (*(round(0.01 * each, 2) for each in range(3, 31)), 0.35, 0.4, 0.5)
LIMITS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
"""Shares of what a field ranges over, each of which a risk is promised for."""
FACTORS = np.round(np.geomspace(0.2, 10.0, 120), 3)
"""Standard deviations that are tried."""


@dataclass(frozen=True, eq=False)
class Field:
    """A band of a place with its truth."""

    place: str
    group: str
    natural: bool
    lr: Floats
    truth: Floats
    band: Band
    block: int = 1
    """Pixels of the truth each way of which only the mean is known."""
    rounding: float = 0.0


@dataclass(frozen=True, eq=False)
class Judged:
    """The pixels of a field: absolute errors, what the head says of them, and what else may matter."""

    field: Field
    signed: Floats
    sigma: Floats
    contrast: Floats
    level: Floats
    parts: float = 1.0
    """Standard deviation of means, where only these are known, over the root mean square of their pixels'."""
    noise: float = 0.0
    """Standard deviation of the truth's own noise, which is no error of the image; 0 where it is to count as one."""

    @property
    def error(self) -> Floats:
        """Absolute."""
        return np.abs(self.signed)

    @property
    def scores(self) -> Floats:
        """Errors in standard deviations: so many of them and of the truth's noise, together, are the error."""
        beyond = np.maximum(np.square(self.error) - (SIGMAS * self.noise) ** 2, 0.0)
        return np.sqrt(beyond) / np.maximum(self.sigma * self.parts, 1e-12)


def main() -> None:
    """Learns, calibrates, judges, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scale", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("planes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--models", nargs="*", default=MODELS, help="whose errors are measured beside fast's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = tomllib.loads((RECIPES / "uncertainty.toml").read_text())
    scale = options.scale
    if options.head:
        head = read_tensors(options.head)
    else:
        head = learn(scale, load_planes(options.planes / "train.npz"), recipe)
    plain = Calibration({"any": (1.0,) * len(CONTRASTS)}, {registry.SPREAD_OF: 1.0})
    fit = fields(options, recipe, "fit")
    write(options.out, head, plain)
    seen = noisy(judged(fit, registry.SPREAD_OF, scale, options.out))
    parts = share_of_means(seen)
    known = Calibration(factors(with_means(seen, parts)), {registry.SPREAD_OF: 1.0}, likeness(fit))
    write(options.out, head, known)
    seen = with_means(judged(fit, registry.SPREAD_OF, scale, options.out), parts)
    known = replace(known, risks=risks_of(seen))
    write(options.out, head, known)
    kept = with_means(judged(fields(options, recipe, "judge"), registry.SPREAD_OF, scale, options.out), parts)
    figures = report(kept) | {"trust": trusted(kept, known), "means": parts}
    some = fit[::FEW]
    unit = factor_of(with_means(judged(some, registry.SPREAD_OF, scale, options.out), parts))
    for model in options.models:
        factor = factor_of(with_means(judged(some, model, scale, options.out), parts)) / unit
        print(f"{model}: errors of {factor:.3f} times fast's, {len(some)} fields", flush=True)
        known = replace(known, models={**known.models, model: factor})
    write(options.out, head, known, measured=figures)


def noisy(some: Iterable[Judged]) -> list[Judged]:
    """The same with the truth's noise counted as an error: standard deviations are calibrated with room for it."""
    return [replace(each, noise=0.0) for each in some]


def share_of_means(some: Sequence[Judged]) -> dict[int, float]:
    """What errors of means are beside those of their pixels, in standard deviations, by pixels each way.

    Measured where pixels are known: errors of neighbours are not alike, and so their means are smaller.
    """
    own = [each for each in some if not each.field.natural]
    whole = conformal_quantile(by_place((place_of(each), each.scores) for each in own), LEVEL)
    found = {1: 1.0}
    for size in {each.field.block for each in some} - {1}:
        scores = by_place((place_of(each), of_means(each, size).scores) for each in own)
        found[size] = conformal_quantile(scores, LEVEL) / whole
        print(f"errors of means of {size} x {size} pixels are {found[size]:.3f} of theirs", flush=True)
    return found


def of_means(each: Judged, size: int) -> Judged:
    """The same of means of so many pixels each way, whose noise is less."""
    signed, sigma = means(each.signed, size), mean_of(each.sigma, size)
    return replace(each, signed=signed, sigma=sigma, noise=each.noise / size)


def with_means(some: Iterable[Judged], parts: dict[int, float]) -> list[Judged]:
    """The same, with standard deviations of means where only means are known."""
    return [replace(each, parts=parts[each.field.block]) for each in some]


def write(path: Path, head: dict[str, torch.Tensor], calibration: Calibration, **more: Any) -> None:
    """The head's file."""
    save_tensors(head, path, {KEY: calibration.to_json(**more)})


def trunk(scale: int) -> BandNetwork:
    """`fast`, frozen."""
    card, path = registry.card(registry.SPREAD_OF, scale), registry.locate(registry.SPREAD_OF, scale)
    network = NETWORKS[card.network](scale, card.channels, card.blocks)
    assert path is not None
    network.load_state_dict(read_tensors(path))
    return network.eval().requires_grad_(False)


def learn(scale: int, planes: Sequence[Plane], recipe: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a head that makes the errors of patches likely, of Laplace's law."""
    torch.manual_seed(recipe["seed"])
    network, head, rim = trunk(scale), ScaleHead(scale), recipe["rim"]
    assert isinstance(network, Edsr)
    seen = []
    for lr, truth, told, noise, *_ in degraded(planes, recipe, recipe["patches"], recipe["seed"], scale):
        with torch.inference_mode():
            mean = lr.mean((2, 3), keepdim=True)
            moved = torch.stack((noise[:, 0] + noise[:, 1] * mean.flatten(), noise[:, 1]), 1)
            high, spread = network.parts(lr - mean, moved)
            features = network.features(high, told, spread)
            error = network.base(lr - mean) + F.pixel_shuffle(network.tail(features), scale) + mean - truth
            error = F.pixel_unshuffle(error, scale).abs()
        inner = (..., slice(rim, -rim), slice(rim, -rim))
        seen.append([features[inner].half(), error[inner], high[inner], spread[inner]])
    columns = [torch.cat(each).clone() for each in zip(*seen, strict=True)]
    optimiser = torch.optim.Adam(head.parameters(), recipe["rate"])
    random = torch.Generator().manual_seed(recipe["seed"])
    total, losses = recipe["steps"], list[float]()
    for step in range(total):
        for group in optimiser.param_groups:
            rate = 0.5 * (1 + math.cos(math.pi * step / total)) * min(1.0, (step + 1) / 50)
            group["lr"] = recipe["rate"] * rate + 1e-5
        chosen = torch.randint(len(columns[0]), (recipe["batch"],), generator=random)
        features, error, high, spread = (column[chosen] for column in columns)
        made = F.conv2d(features.float(), head.first.weight)
        given, unit, _ = head(made, high, spread[..., 1:-1, 1:-1])
        scales = unit * positive(given) + 1e-4
        loss = (scales.log() + error[..., 1:-1, 1:-1] / scales).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
        if step % 200 == 199:
            print(f"step {step + 1}: {np.mean(losses[-200:]):.4f}", flush=True)
    return head.state_dict()


def degraded(
    planes: Sequence[Plane], recipe: dict[str, Any], count: int, seed: int, scale: int, size: int = 8
) -> Iterator[tuple[Any, ...]]:
    """Coarse patches, their truth, and what is told of blur and noise, as in training."""
    patches = Patches(list(planes), sharp_side(recipe["side"], scale), seed)
    degradation, generator = Degradation(), torch.Generator().manual_seed(seed)
    for _ in range(count // size):
        batch = patches.batch(size)
        seen = degradation(batch.hr, batch.noise, batch.step, scale, generator)
        inner = (..., slice(MARGIN * scale, -MARGIN * scale), slice(MARGIN * scale, -MARGIN * scale))
        lr = seen.lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous()
        yield lr, batch.hr[inner].contiguous(), seen.told, seen.noise, seen.responses, batch.contrast


def fields(options: argparse.Namespace, recipe: dict[str, Any], kept: str) -> list[Field]:
    """Degraded and natural fields of places that nothing was trained on, to fit a calibration to or to judge it."""
    planes = load_planes(options.planes / "validate.npz")
    files = sorted({plane.file for plane in planes})
    wanted = set(files[::2] if kept == "fit" else files[1::2])
    count = recipe["calibrate" if kept == "fit" else "judge"]
    found = []
    some = sorted(wanted)
    for index, file in enumerate(some):
        own = [replace(plane, weight=1.0) for plane in planes if plane.file == file]
        n = (index + 1) * count // len(some) - index * count // len(some)
        found += simulated(own, recipe, n, recipe["seed"] + 1 + index, options.scale)
    return [*found, *natural(options.root, kept, options.scale, recipe["most"])]


def simulated(planes: Sequence[Plane], recipe: dict[str, Any], count: int, seed: int, scale: int) -> Iterator[Field]:
    """Fields of one place."""
    for lr, truth, _, noise, responses, contrast in degraded(planes, recipe, count, seed, scale, 1):
        unit = float(contrast[0])
        response = responses[0] if responses[0].finer else responses[0].towards_result
        band = Band(response, Noise(float(noise[0, 0]), float(noise[0, 1])).moved(unit, 0.0))
        yield Field(planes[0].file, planes[0].group, False, lr[0, 0].numpy() * unit, truth[0, 0].numpy() * unit, band)


def natural(root: Path, kept: str, scale: int, most: int) -> Iterator[Field]:
    """Natural pairs, in stored numbers, with what a run believes of them."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for pair in natural_pairs(root, RECIPES / "natural.toml"):
        if pair.kept != kept or math.gcd(scale, pair.ratio) < 2 or counts[pair.place, pair.bands] == most:
            continue
        counts[pair.place, pair.bands] += 1
        made = pair_of(pair, scale)
        if made is None or min(made.lr.shape) <= 3 * BORDER:
            continue
        about = identify(
            tags={}, descriptions=pair.product.bands, name=pair.product.file, pixel_size=pair.product.gsd
        ).described(pair.product.bands, [""] * len(pair.product.bands))
        color = about.bands[int(np.argmax(pair.weights))].color
        band = Band(made.response, made.noise, color=color, name=pair.bands)
        yield Field(pair.place, pair.bands, True, made.lr, made.hr, band, made.block, 12.0**-0.5)


def judged(some: Iterable[Field], model: str, scale: int, head: Path) -> list[Judged]:
    """What a model makes of fields, beside their truth, with the calibration that the head's file has."""
    found, trunk_model = registry.find(model, scale), registry.find(registry.SPREAD_OF, scale)
    uncertain = Uncertain(found, trunk_model, str(head.resolve()))
    return [one for field in some if (one := judge(field, uncertain, scale)).error.size]


def judge(field: Field, model: Uncertain, scale: int) -> Judged:
    """A field as the engine sees it, mirrored as a scene is; `BORDER` pixels along its edges don't count."""
    project = is_projected(None, model.card)
    network = network_for(model, scale, (field.band,), rounding=field.rounding, project=project)
    halo = network.halo
    lr = mirror(field.lr.astype(np.float32), halo)
    lr = np.pad(lr, [(0, -side % network.multiple) for side in lr.shape], mode="symmetric")
    made = network(lr[None].copy(), (0,))
    rim = BORDER * scale
    image, sigma = (
        each[halo * scale :, halo * scale :][: field.truth.shape[0], : field.truth.shape[1]] for each in made
    )
    error, sigma = image[rim:-rim, rim:-rim] - field.truth[rim:-rim, rim:-rim], sigma[rim:-rim, rim:-rim]
    level, contrast = (each[BORDER:-BORDER, BORDER:-BORDER].repeat(scale, 0).repeat(scale, 1) for each in around(field))
    if field.block > 1:  # only means are known; their standard deviation is at most the root mean square of the parts
        error = means(error, field.block)
        sigma, level, contrast = (
            np.sqrt(means(sigma**2, field.block)),
            means(level, field.block),
            means(contrast, field.block),
        )
    return Judged(field, error, sigma, contrast, level, noise=noise_of_truth(field))


def noise_of_truth(field: Field) -> float:
    """The standard deviation of the noise that a truth has itself, at its mean; 0 where it can't tell."""
    truth = field.truth[:: field.block, :: field.block].astype(np.float64)
    found = fit_noise([truth])
    return 0.0 if found is None else found.sigma(float(truth.mean()))


def around(field: Field) -> tuple[Floats, Floats]:
    """The local mean of a field, and the contrast that the head sees, both (h, w)."""
    taps = tuple(trunk(2).get_buffer("low_pass").double().flatten().tolist())
    image = torch.from_numpy(mirror(field.lr.astype(np.float32), len(taps) // 2 + 1))
    low = smooth_both(image, taps)
    rim = len(taps) // 2
    high = image[rim:-rim, rim:-rim] - low
    noise = field.band.noise.at_least(field.rounding).variance(low)[1:-1, 1:-1]
    contrast = gradient(high) / noise.clamp_min(1e-20)
    return low[1:-1, 1:-1].numpy(), contrast.numpy()


def mean_of(sigma: Floats, size: int) -> Floats:
    """Root mean squares of blocks."""
    return np.maximum(np.sqrt(means(sigma**2, size)), 1e-12)


def means(image: Floats, size: int) -> Floats:
    """Means of blocks."""
    rows, cols = (side // size for side in image.shape)
    return image[: rows * size, : cols * size].reshape(rows, size, cols, size).mean((1, 3))


def factors(some: Sequence[Judged]) -> dict[str, tuple[float, ...]]:
    """Factors by kind of band and contrast: first their shape over contrast, then the conformal level of each kind.

    Degraded places count for each kind of band that they show, natural ones for their own.
    """
    shape = np.array([contrast_factor(some, low, high) for low, high in stretches()])
    found = {}
    for kind in ("any", "visible", "red edge", "infrared", "atmosphere"):
        own = [each for each in some if is_of(each.field, kind)]
        scores = [(place_of(each), each.scores / np.interp(each.contrast, CONTRASTS, shape)) for each in own]
        level = conformal_quantile(by_place(scores), LEVEL) / SIGMAS
        found[kind] = tuple(float(each) for each in shape * level)
        print(f"{kind}: {[round(each, 2) for each in found[kind]]} of {len(by_place(scores))} places", flush=True)
    return found


def stretches() -> list[tuple[float, float]]:
    """Contrasts about each of `CONTRASTS`."""
    middles = [math.sqrt(low * high) for low, high in pairwise(CONTRASTS)]
    return list(zip([0.0, *middles], [*middles, np.inf], strict=True))


def contrast_factor(some: Sequence[Judged], low: float, high: float) -> float:
    """The conformal factor of all pixels of such a contrast."""
    scores = [(place_of(each), each.scores[(each.contrast >= low) & (each.contrast < high)]) for each in some]
    return conformal_quantile(by_place((place, own) for place, own in scores if own.size >= 20), LEVEL) / SIGMAS


def is_of(field: Field, kind: str) -> bool:
    """True for fields that a kind of band is calibrated on: no degraded place shows what the atmosphere's bands do."""
    degraded_counts = not field.natural and kind != "atmosphere"
    return kind == "any" or degraded_counts or kind_of(field.band.color) == kind


def place_of(each: Judged) -> str:
    """Places are apart by how they were seen."""
    return f"{each.field.natural} {each.field.place}"


def factor_of(some: Sequence[Judged]) -> float:
    """What the errors of a model are beside what the calibrated head says."""
    return conformal_quantile(by_place((place_of(each), each.scores) for each in some), LEVEL) / SIGMAS


def losses(some: Sequence[Judged]) -> NDArray[np.float64]:
    """(limits, places, factors) shares of trusted pixels that are wrong; the fields of a place count alike."""
    places: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for each in some:
        low, high = np.quantile(each.field.lr, (0.05, 0.95))
        limits = [float(share * (high - low)) for share in LIMITS]
        shares = [wrong_shares(each.error, each.sigma * each.parts, limit, FACTORS) for limit in limits]
        places[place_of(each)].append(np.array(shares))
    return np.stack([np.mean(own, axis=0) for own in places.values()], axis=1)


def risks_of(some: Sequence[Judged]) -> tuple[tuple[float, float], ...]:
    """Risks, and the standard deviations that a limit has to be away for each, whichever limit that is."""
    lost = losses(some)
    found = {risk: [controlled(own, risk) for own in lost] for risk in RISKS}
    told = {risk: max(own) for risk, own in found.items() if None not in own}  # type: ignore[type-var]
    print("risks", [(risk, FACTORS[index]) for risk, index in told.items()], flush=True)
    return tuple((risk, float(FACTORS[index])) for risk, index in told.items())


def trusted(some: Sequence[Judged], known: Calibration) -> dict[str, Any]:
    """By risk and limit: the share of trusted pixels that are wrong and that of pixels trusted, means over places."""
    lost = losses(some)
    found = {}
    for risk in (0.05, 0.1, 0.2):
        at = int(np.argmin(np.abs(FACTORS - known.sigmas_at(risk))))
        wrong = lost[:, :, at].mean(1)
        shares = [share_trusted(some, limit, FACTORS[at]) for limit in LIMITS]
        rows = zip(LIMITS, wrong, shares, strict=True)
        found[f"risk {risk}"] = {f"limit {limit}": [round(float(w), 3), round(s, 2)] for limit, w, s in rows}
        print(f"risk {risk}", found[f"risk {risk}"], flush=True)
    return found


def share_trusted(some: Sequence[Judged], limit: float, factor: float) -> float:
    """The share of pixels that are trusted, mean over places."""
    shares = []
    for each in some:
        low, high = np.quantile(each.field.lr, (0.05, 0.95))
        shares.append((place_of(each), each.sigma * each.parts * factor <= limit * (high - low)))
    return float(np.mean([own.mean() for own in by_place(shares)]))


def likeness(some: Sequence[Field]) -> Likeness:
    """Mean and spread of the statistics of every other place, and how far those of the others lie from it."""
    by: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for field in some:
        by[f"{field.natural} {field.place}"].append(statistics_of([field.lr.astype(np.float64)], field.band))
    places = [np.concatenate(each) for each in by.values()]
    places = [each[np.linspace(0, len(each) - 1, min(len(each), 40), dtype=int)] for each in places if len(each)]
    first, others = np.concatenate(places[::2]), np.concatenate(places[1::2])
    mean, covariance = first.mean(0), np.cov(first.T)
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors / np.sqrt(values)).T
    away = np.sort(np.linalg.norm((others - mean) @ whiten.T, axis=1))
    kept = away[np.linspace(0, len(away) - 1, min(len(away), 400), dtype=int)]
    mean, whiten, kept = (np.round(each, 4).tolist() for each in (mean, whiten, kept))
    return Likeness(tuple(mean), tuple(map(tuple, whiten)), tuple(kept))


def report(some: Sequence[Judged]) -> dict[str, Any]:
    """Figures of a calibrated head on places kept apart, printed and returned."""
    figures: dict[str, Any] = {}
    for name, own in (("degraded", False), ("natural", True)):
        chosen = [each for each in some if each.field.natural is own]
        figures[name] = summed(chosen)
        figures[name] |= {f"coverage, {key}": value for key, value in slabs(chosen).items()}
        figures[name] |= {f"coverage, {key}, noise counted": value for key, value in slabs(noisy(chosen)).items()}
    for name, told in figures.items():
        print(name, *(f"  {key}: {value}" for key, value in told.items()), sep="\n", flush=True)
    return figures


def summed(some: Sequence[Judged]) -> dict[str, Any]:
    """Coverage with each place counting alike, and how well standard deviations order errors."""
    cover = covered(some)
    thinned = [each for each in some if each.error.size]
    sigma = np.concatenate([each.sigma.ravel()[::7] for each in thinned])
    error = np.concatenate([each.error.ravel()[::7] for each in thinned])
    # In the unit of the truth's contrast: stored numbers of one place are not those of another.
    unit = np.concatenate([np.full(each.error.ravel()[::7].shape, each.field.truth.std() or 1.0) for each in thinned])
    order = np.argsort(sigma)
    tenth = len(order) // 10
    best, worst = order[:tenth], order[-tenth:]
    return {
        "places": len({place_of(each) for each in some}),
        "fields": len(some),
        "coverage": round(cover, 3),
        "coverage, noise of the truth counted as error": round(covered(noisy(some)), 3),
        "spearman": round(float(spearmanr(sigma, error)[0]), 3),
        "spearman, of a place's contrast": round(float(spearmanr(sigma / unit, error / unit)[0]), 3),
        "spearman, mean within a field": round(
            float(np.nanmean([spearmanr(each.sigma.ravel(), each.error.ravel())[0] for each in thinned])), 3
        ),
        "worst tenth over best, squared": round(float((error[worst] ** 2).mean() / (error[best] ** 2).mean()), 1),
        "worst tenth over best, absolute": round(float(error[worst].mean() / error[best].mean()), 1),
    }


def covered(some: Iterable[Judged]) -> float:
    """The share of the truth that lies within, mean over places."""
    places = by_place((place_of(each), each.scores <= SIGMAS) for each in some)
    return float(np.mean([each.mean() for each in places])) if places else math.nan


def slabs(some: Sequence[Judged]) -> dict[str, float]:
    """Coverage by band, by contrast, and by brightness and sharpness of a field: quarters of all."""
    found = {}
    groups = sorted({each.field.group for each in some})
    for group in groups:
        found[group] = round(covered(each for each in some if each.field.group == group), 3)
    for low, high in stretches():
        within = [replace(each, **part(each, low, high)) for each in some]
        found[f"contrast {low:.3g} to {high:.3g}"] = round(covered(each for each in within if each.error.size >= 20), 3)
    for name, value in (
        ("brightness", lambda each: each.level.mean()),
        ("sharpness", lambda each: np.median(each.contrast)),
    ):
        order = sorted(some, key=value)
        for quarter in range(4):
            own = order[quarter * len(order) // 4 : (quarter + 1) * len(order) // 4]
            found[f"{name}, quarter {quarter + 1}"] = round(covered(own), 3)
    worst = min(by_place((place_of(each), each.scores <= SIGMAS) for each in some), key=np.mean)
    return found | {"worst place": round(float(worst.mean()), 3)}


def part(each: Judged, low: float, high: float) -> dict[str, Any]:
    """The pixels of such a contrast."""
    chosen = (each.contrast >= low) & (each.contrast < high)
    return {"signed": each.signed[chosen], "sigma": each.sigma[chosen], "contrast": each.contrast[chosen]}


if __name__ == "__main__":
    main()
