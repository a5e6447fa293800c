"""What can be minimised, each a small function of an `Outcome`; a recipe adds them up with weights.

All are in units of a patch's contrast, so that scenes of any gain weigh alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geosr.errors import InputError
from geosr.models.degradation import degrade
from geosr.response import Response
from geosr.training.recipe import ADVERSARIAL, PERCEPTUAL

SMOOTH = 1e-4
"""Squared error below which the absolute error counts as a square, so that it has a gradient everywhere."""

SSIM_WINDOW = 11
"""Side of the windows of SSIM, pixels of the estimate."""
RIM = 2
"""Source pixels next to the border, of which the sensor saw more than an estimate shows."""
FLAT = 5e-3
"""Mean squared error from which on a patch counts in full in losses that take its logarithm."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The estimate of a batch beside its truth, without the rim where the network saw padding."""

    error: Tensor
    """(n, bands, h * scale, w * scale): estimate minus truth, taken where neither is rounded by a large mean."""
    estimate: Tensor
    """(n, bands, h * scale, w * scale)."""
    truth: Tensor
    base: Tensor
    """The bicubic estimate, the same shape."""
    lr: Tensor
    """(n, bands, h, w), what the network was given of the same ground."""
    responses: tuple[Response, ...]
    """The true ones, relative to the truth."""
    clean: tuple[bool, ...]
    """Which samples are told to have no noise; known here, since to ask a card is to wait for it."""
    scale: int
    contrast: Tensor | None = None
    """(n,) unit of each sample's numbers; None where it is the same."""
    together: int = 1
    """Samples in a row that are bands of one place."""


Loss = Callable[[Outcome], Tensor]


def absolute(o: Outcome) -> Tensor:
    """Charbonnier's smooth absolute error, mean (Charbonnier et al. 1994)."""
    return charbonnier(o.error)


def decibels(o: Outcome) -> Tensor:
    """Mean over samples of the logarithm of the squared error, which is PSNR but for a factor and an offset.

    Every scene then counts alike, whether little or much of it can be restored. The constant keeps flat patches, of
    which an image has many and whose error hardly matters to it, from counting most.
    """
    return _log_square(o.error).mean()


def below_bicubic(o: Outcome) -> Tensor:
    """By how much samples end below bicubic, in the unit of `decibels`; those above count nothing. Mean over samples.

    Where noise drowns the detail, as over water, bicubic is all that there is to have, and a mean hardly notices
    what is lost on a few such bands.
    """
    return F.relu(_log_square(o.error) - _log_square(o.base - o.truth)).mean()


def ssim(o: Outcome) -> Tensor:
    """One minus the contrast and structure terms of SSIM (Wang et al. 2004), windows of 11 pixels, mean.

    The luminance term, which compares means, is left out: a mean passes through every network here. The constant is
    (.03 range)^2, with the range that the truth has in each patch.
    """
    peak = o.truth.amax((1, 2, 3), keepdim=True) - o.truth.amin((1, 2, 3), keepdim=True)
    middle = o.truth.mean((1, 2, 3), keepdim=True)  # taken off, for squares of large numbers cancel badly
    x, y = o.estimate - middle, o.truth - middle
    x_mean, y_mean = _blurred(x), _blurred(y)
    x_power, y_power = _blurred(x * x) - x_mean**2, _blurred(y * y) - y_mean**2
    both = _blurred(x * y) - x_mean * y_mean
    small = (0.03 * peak) ** 2 + 1e-6
    return 1.0 - ((2.0 * both + small) / (x_power + y_power + small)).mean()


def gradient(o: Outcome) -> Tensor:
    """Smooth absolute error of the differences between neighbours, both ways: edges that are soft or double cost."""
    return charbonnier(o.error.diff(dim=2)) + charbonnier(o.error.diff(dim=3))


def spectral(o: Outcome) -> Tensor:
    """Mean angle in radians between the spectra of estimate and truth (Kruse et al. 1993), in stored numbers.

    A spectrum is of the bands of a sample, and of the samples that are together. Of one band the angle is always 0, so
    it raises `InputError`.
    """
    if o.truth.shape[1] * o.together < 2:
        raise InputError("the loss spectral compares bands, and there is one; leave it out of [loss]")
    apart = F.normalize(_spectra(o.estimate, o), dim=1) - F.normalize(_spectra(o.truth, o), dim=1)
    return (2.0 * torch.asin((torch.sqrt((apart * apart).sum(1) + 1e-12) / 2.0).clamp(max=1.0))).mean()


def _spectra(image: Tensor, o: Outcome) -> Tensor:
    """(places, bands, h, w) in units that bands share."""
    if o.contrast is not None:
        image = image * o.contrast.view(-1, 1, 1, 1)
    return image.reshape(-1, o.together * image.shape[1], *image.shape[2:])


def consistency(o: Outcome) -> Tensor:
    """Smooth absolute difference between the degraded estimate and what the sensor saw, over samples without noise.

    Where there is noise the network is right not to give it back.
    """
    clean = [index for index, is_clean in enumerate(o.clean) if is_clean]
    if not clean:
        return o.estimate.sum() * 0.0
    places = torch.tensor(clean).to(o.lr.device, non_blocking=True)
    seen = degrade(o.estimate[places], [o.responses[index] for index in clean], o.scale)
    return charbonnier((seen - o.lr[places])[..., RIM:-RIM, RIM:-RIM])


def lattice(o: Outcome) -> Tensor:
    """Root mean square of what errors at each place within an input pixel have in common, in squares of 7 input pixels.

    An error that lies alike in every input pixel is seen as a lattice, however small: a network that draws detail by
    shuffling pixels gets it from an adversary.
    """
    n, bands, height, width = o.error.shape
    places = F.pixel_unshuffle(o.error, o.scale).view(n, bands, o.scale**2, height // o.scale, width // o.scale)
    apart = (places - places.mean(2, keepdim=True)).flatten(1, 2)
    common = F.avg_pool2d(apart, min(_SQUARE, *apart.shape[2:]))
    return torch.sqrt(common.square().mean((1, 2, 3)) + SMALL).mean()


_SQUARE = 7
SMALL = 1e-8
"""Keeps the gradient of a root finite."""


def charbonnier(error: Tensor) -> Tensor:
    """The mean of sqrt(error^2 + a little)."""
    return torch.sqrt(error * error + SMOOTH).mean()


LOSSES: dict[str, Loss] = {
    "absolute": absolute,
    "decibels": decibels,
    "below_bicubic": below_bicubic,
    "ssim": ssim,
    "gradient": gradient,
    "spectral": spectral,
    "consistency": consistency,
    "lattice": lattice,
}
"""What a recipe can ask to be minimised."""

UNLABELLED = "unlabelled"
"""The name under which a recipe weighs `consistency` on scenes that have no truth."""


def check_losses(weights: Mapping[str, float], where: str, *, unlabelled: bool) -> None:
    """Raise `InputError` for a loss that there isn't, or weights that leave nothing to minimise."""
    known = (*LOSSES, ADVERSARIAL, PERCEPTUAL, UNLABELLED)
    for name, weight in weights.items():
        if name not in known:
            raise InputError(f"{where} asks for the loss {name!r}; choose of {', '.join(known)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise InputError(f"{where}: the loss {name} has the weight {weight!r}, expected a number from 0")
    if not any(weights.get(name, 0) > 0 for name in LOSSES):
        raise InputError(f"{where}: [loss] gives no comparison with the truth a weight; such as decibels = 1")
    if (weights.get(UNLABELLED, 0) > 0) != unlabelled:
        raise InputError(
            f"{where}: unlabelled scenes and the loss {UNLABELLED} go together; name scenes in [data] unlabelled and "
            f"give [loss] {UNLABELLED} a weight such as .1, or leave both out"
        )


def total(outcome: Outcome, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the losses named."""
    terms = [weight * LOSSES[name](outcome) for name, weight in weights.items() if name in LOSSES and weight > 0]
    return torch.stack(terms).sum()


def _log_square(error: Tensor) -> Tensor:
    """(n,) logarithm of the mean square of each sample, and a little."""
    return torch.log((error * error).mean(dim=(1, 2, 3)) + FLAT)


def _blurred(x: Tensor) -> Tensor:
    """Every band filtered with SSIM's Gaussian, sigma 1.5; no pixel beyond the border is made up."""
    n, bands, height, width = x.shape
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    taps = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    taps = taps / taps.sum()
    flat = x.reshape(n * bands, 1, height, width)
    flat = F.conv2d(F.conv2d(flat, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
    return flat.view(n, bands, *flat.shape[2:])
