"""Pairs to train on from natural pairs: a product's coarse band, and the finer one that the platform saw at once."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError
from geosr.evaluation.natural import Judge, mixed
from geosr.evaluation.natural import Pair as NaturalPair
from geosr.evaluation.natural_pairs import natural_pairs
from geosr.identify import identify
from geosr.noise import noise_of, published_noise
from geosr.sensor_table import SENTINEL_2
from geosr.training.pairs import Floats, Pair
from geosr.training.patches import contrast_of
from geosr.training.recipe import NaturalPairs

MOST = 8
"""Pairs of a place and kind of bands that are used, spread over all of them: dates of one place are much alike."""
_REFLECTANCE = 1e-4
"""Of one stored number of Sentinel-2's products."""


def load_natural(listed: NaturalPairs, scale: int, patch: int) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs of the `fit` half of a list, and a line on how many; each place has the same weight.

    Those that `natural.Judge` finds unfit are left out, and those that are smaller than a patch. Raises `InputError`
    where none is left.
    """
    by_place: dict[str, dict[str, list[NaturalPair]]] = defaultdict(lambda: defaultdict(list))
    for pair in natural_pairs(listed.root, listed.list):
        if pair.kept == "fit" and math.gcd(scale, pair.ratio) > 1 and min(pair.product.pixels.shape[1:]) >= patch:
            by_place[pair.place][pair.bands].append(pair)
    made = []
    for place, kinds in by_place.items():
        spread = [some[i] for some in kinds.values() for i in _spread(len(some))]
        own = [part for pair in spread if (part := pair_of(pair, scale)) is not None and min(part.lr.shape) >= patch]
        pixels = sum(part.lr.size for part in own)
        made += [replace(part, name=place, weight=1.0 / pixels) for part in own]
    if not made:
        raise InputError(f"{listed.list} has no natural pair to train on at x{scale} below {listed.root}")
    return made, (f"{len(made)} natural pairs of {len({pair.name for pair in made})} places",)


def pair_of(pair: NaturalPair, scale: int) -> Pair | None:
    """The pair with its finer band matched as for judging, and with what a user's run believes of the coarse one.

    None where that isn't possible, or where both bands saw something else.
    """
    try:
        judge = Judge(pair, scale)
    except InputError:
        return None
    if judge.unfit:
        return None
    coarse, fine = _shared(mixed(pair.product.pixels, pair.weights), judge)
    block = scale // judge.factor
    contrast = contrast_of(fine)
    if contrast <= 0:
        return None
    about = identify(tags={}, descriptions=pair.product.bands, name=pair.product.file, pixel_size=pair.product.gsd)
    most = int(np.argmax(pair.weights))
    band = about.bands[most].relative(scale)
    known = band.table if about.sensor == SENTINEL_2.name else None
    published = published_noise(known, scale=_REFLECTANCE) if known else None
    noise, _ = noise_of([coarse.astype(np.float64)], published=published)
    truth = np.repeat(np.repeat(fine, block, 0), block, 1)
    return Pair(pair.name, coarse, truth, band.response, noise, contrast, block=block)


def _shared(coarse: NDArray[np.float64], judge: Judge) -> tuple[Floats, Floats]:
    """The whole coarse pixels that the reference covers, and the reference there."""
    spans = []
    for side in (judge.rows, judge.cols):
        first = -(-side.start // judge.factor)
        last = side.stop // judge.factor
        spans.append((slice(first, last), slice(first * judge.factor - side.start, last * judge.factor - side.start)))
    (rows, own_rows), (cols, own_cols) = spans
    return coarse[rows, cols].astype(np.float32), judge.reference[own_rows, own_cols].astype(np.float32)


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(MOST, count), dtype=int).tolist()))
