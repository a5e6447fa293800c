"""What a training starts from: weights of the same network, of another scale, or of a smaller one that is grown."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from geosr.errors import InputError
from geosr.models import registry
from geosr.models.checkpoint import read_tensors
from geosr.models.networks import BandNetwork, Edsr

_GAINS = "gains.second."
"""Of `BlurGains`: tensors whose first axis runs over places, and within them over channels."""


def starting_weights(start: str, scale: int) -> dict[str, Tensor]:
    """The tensors of a model's name, at the scale or else its largest; of `NAME_xN`, at N; or of a safetensors file.

    Raises `ModelError` where there is no such file, `InputError` where the model has no weights, or none at N.
    """
    name, _, asked = start.rpartition("_x")
    if name not in registry.names() or not asked.isdigit():
        name, asked = start, ""
    if name not in registry.names():
        return read_tensors(Path(start))
    scales = registry.card(name).scales
    if asked and int(asked) not in scales:
        raise InputError(f"start_from = {start!r}: {name} has scales {', '.join(map(str, scales))}")
    path = registry.locate(name, int(asked) if asked else scale if scale in scales else scales[-1])
    if path is None:
        raise InputError(f"start_from = {start!r}: this model has no weights to start from")
    return read_tensors(path)


def adopt(network: BandNetwork, weights: dict[str, Tensor]) -> None:
    """Takes over each tensor of `weights` that has its shape in `network`: all but another scale's last convolution.

    A smaller EDSR is grown: what the larger one makes is what the smaller one made, before it is trained. Raises
    `InputError` for weights of another network, of which little would be taken.
    """
    own = network.state_dict()
    if isinstance(network, Edsr) and _is_smaller(weights, own):
        weights = grown(weights, own)
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if missing := [name for name in own if name not in taken and not name.startswith("tail.")]:
        raise InputError(
            f"start_from: these weights are of another network, of other channels or blocks ({missing[0]} "
            f"and {len(missing) - 1} more don't fit); set network, channels and blocks as they were"
        )
    network.load_state_dict(own | taken)


def grown(small: dict[str, Tensor], large: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a larger EDSR, first those in `large`, that make what the smaller one makes.

    Chen et al. 2016, Net2Net, arXiv:1511.05641, but for how channels are added: none is a copy of another. The new ones
    see all and are seen by none of the old, and the blocks that are new add nothing; both have gradients to learn by.
    """
    made = {name: value.clone() for name, value in large.items()}
    depth = 1 + max(int(name.split(".")[1]) for name in small if name.startswith("blocks."))
    for name, target in made.items():
        if name.startswith("blocks.") and int(name.split(".")[1]) >= depth:
            if name.endswith("second.weight"):
                target.zero_()
        elif name.startswith(_GAINS):
            _grow_gains(target, small[name], depth, small["head.weight"].shape[0], large["head.weight"].shape[0])
        elif name == "tail.weight" and len(target) != len(small[name]):
            continue  # another scale's
        elif target.ndim == 4:
            _grow_convolution(target, small[name])
        else:
            target.copy_(small[name])
    return made


def _grow_convolution(target: Tensor, source: Tensor) -> None:
    outputs, inputs = source.shape[:2]
    target[:outputs, inputs:] = 0.0
    target[:outputs, :inputs] = source


def _grow_gains(target: Tensor, source: Tensor, depth: int, narrow: int, wide: int) -> None:
    """The gain that stands before the last convolution stays the last."""
    target.zero_()
    places, own = target.view(-1, wide, *target.shape[1:]), source.view(-1, narrow, *source.shape[1:])
    places[:depth, :narrow] = own[:depth]
    places[-1, :narrow] = own[-1]


def _is_smaller(weights: dict[str, Tensor], own: dict[str, Tensor]) -> bool:
    """True where these are an EDSR's, with fewer channels or blocks than `own` has, and more of neither."""
    if not (weights.keys() <= own.keys() and "head.weight" in weights):
        return False
    fewer = len(weights) < len(own)
    narrow, wide = weights["head.weight"].shape[0], own["head.weight"].shape[0]
    return narrow < wide or (narrow == wide and fewer)
