"""Trained networks for one band as engines: each pixel has the same bits whatever the block around it."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from geosr.errors import ModelError
from geosr.models.classical import upsample_into
from geosr.models.filters import cut, mirror, smooth_both
from geosr.models.model import Engine
from geosr.models.networks import NETWORKS, BandNetwork, Edsr
from geosr.models.networks.band import is_exact
from geosr.models.networks.edsr import Block
from geosr.models.scale_head import Spread
from geosr.models.threads import Once
from geosr.response import PROBE, Response
from geosr.sensors import Band, Observation


class Trained(Engine):
    """A network for one band: bicubic, to which its detail is added where no border reaches."""

    rim: int
    """Source pixels that the network itself sees on each side."""
    of_one_shape = True
    padded = False
    """Whether the network is given as many pixels as the block has."""

    def __init__(self, module: BandNetwork, dtype: torch.dtype) -> None:
        self.scale = module.scale
        self.dtype = dtype
        self.low_pass = tuple(module.get_buffer("low_pass").double().flatten().tolist())

    def reach(self, response: Response) -> int:
        """Measured: what the network sees, and the low-pass before it."""
        return self.rim + len(self.low_pass) // 2

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`. The estimate within `reach` of the border is bicubic, and so is one of what is flat.

        A spread is 0 within `reach` of the border.
        """
        results = out.view(-1, *block.shape[:1], *out.shape[1:]).transpose(0, 1)
        for image, band, (fine, *others) in zip(block, bands, results, strict=True):
            self._sharpen(image, band, fine, *others)

    def _sharpen(self, image: Tensor, band: Band, out: Tensor, *others: Tensor) -> None:
        upsample_into(out, image, self.scale)
        reach = self.reach(band.response)
        for other in others:
            other.zero_()
        if min(image.shape) <= 2 * reach:
            return
        rim = len(self.low_pass) // 2
        image = mirror(image, rim) if self.padded else image
        low = smooth_both(image, self.low_pass)
        high = cut(image, rim) - low
        spread = band.noise.variance(low).sqrt_()
        inner, *rest = (cut(each, reach * self.scale) for each in (out, *others))
        if (still := _flat(cut(high, rim) if self.padded else high, self.rim)) is None:
            self._add(inner, high, spread, band, *rest)
        else:
            before = inner.clone()
            self._add(inner, high, spread, band, *rest)
            fine = still.repeat_interleave(self.scale, 0).repeat_interleave(self.scale, 1)
            inner.copy_(torch.where(fine, before, inner))

    @abstractmethod
    def _add(self, inner: Tensor, high: Tensor, spread: Tensor, band: Band, *others: Tensor) -> None:
        """Add the detail to `inner`, the result without what lies within `reach` of its border, the spread to another.

        `high` is the band without its low-pass, `spread` the noise's standard deviation there; both (h, w), less the
        low-pass's radius a side unless it is padded. What the network would add to a flat scene on account of the noise
        alone is left out.
        """


class Residual(Trained):
    """An EDSR, arranged for speed; equal to `BandNetwork.forward` within float error away from the border.

    Convolutions are not padded, so that a block's rim is not computed in vain; the response's gains are multiplied into
    the weights. With a scale head it gives the spread of its errors, too, from the features that the detail is made of.
    """

    recordable = True
    spread: Spread | None = None
    """Makes the standard deviations, where they are asked for; set before the first block."""

    def __init__(self, module: Edsr, dtype: torch.dtype) -> None:
        super().__init__(module, dtype)
        self.module = module
        self.weights = Once(self._weights, 64)
        self.at_rest = Once(self._at_rest, 64)
        self.rim = self._rim()
        self.weights.cache_clear()  # they were made on the processor

    def _add(self, inner: Tensor, high: Tensor, spread: Tensor, band: Band, *others: Tensor) -> None:
        response = band.response
        features = self._features(high.to(self.dtype), spread.to(self.dtype), response)
        _, _, tail, last = self.weights(response)
        detail = convolved(features, tail)
        _add_phases(inner, detail - self.at_rest(response, _shape_of(high)) * cut(spread, self.rim), self.scale)
        if others and self.spread is not None:
            around = cut(high, self.rim - self.spread.rim)
            sigma = self.spread(convolved(features, last), around, cut(spread, self.rim), band)
            phases = sigma[0].permute(1, 2, 0)
            _phases_of(others[0], self.scale).copy_(phases.reshape(*phases.shape[:2], self.scale, self.scale))

    def _detail(self, high: Tensor, spread: Tensor, response: Response) -> Tensor:
        """(1, scale**2, h - 2 * rim, w - 2 * rim) for a band without its low-pass and its noise, both (h, w)."""
        return convolved(self._features(high, spread, response), self.weights(response)[2])

    def _features(self, high: Tensor, spread: Tensor, response: Response) -> Tensor:
        """(1, channels, h, w) that the last convolution makes the detail of; the gains before it are in its weights."""
        head, blocks, *_ = self.weights(response)
        start = features = convolved(_laid_out(torch.stack((high, spread))[None]), head)
        for first, second in blocks:
            inner = convolved(features, first).relu_()
            features = convolved(inner, second).add_(cut(features, 2))
        return features.add_(cut(start, 2 * len(blocks)))

    def _weights(self, response: Response) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor, Tensor]:
        """Weights for a blur. ReLU lets positive factors through, and the gains stand between it and a convolution.

        The last are those of the scale head, those of the detail again where there is none.
        """
        module = self.module
        gains = module.gains(torch.tensor([response.told], device=module.head.weight.device))[0]

        def gained(weight: Tensor, index: int) -> Tensor:
            """Weights times the gains of a block of layers."""
            return _laid_out((weight * gains[index].view(1, -1, 1, 1)).to(self.dtype))

        blocks = [
            (_laid_out(block.first.weight.to(self.dtype)), gained(block.second.weight, index))
            for index, block in enumerate(module.blocks)
            if isinstance(block, Block)
        ]
        last = module.tail.weight if self.spread is None else self.spread.first
        start = _laid_out(module.head.weight.to(self.dtype))
        return start, blocks, gained(module.tail.weight, -1), gained(last, -1)

    def _at_rest(self, response: Response, shape: tuple[int, ...]) -> Tensor:
        """The network's addition to a flat scene with noise of standard deviation 1, (1, scale**2, 1, 1).

        As it does it to a block of this shape, where that matters.
        """
        side = 2 * self.rim + 1
        flat = torch.zeros(shape or (side, side), dtype=self.dtype, device=self.module.head.weight.device)
        detail = self._detail(flat, torch.ones_like(flat), response)
        row, col = (size // 2 for size in detail.shape[2:])
        return detail[:, :, row : row + 1, col : col + 1].clone()

    def _rim(self) -> int:
        side = 64
        while True:
            with torch.inference_mode():
                probe = torch.zeros(side, side, dtype=self.dtype, device=self.module.head.weight.device)
                try:
                    return (side - self._detail(probe, probe, PROBE).shape[2]) // 2
                except RuntimeError:
                    side *= 2
                    if side > 4096:
                        raise


class Padded(Trained):
    """Any other network for one band, as it was trained: convolutions padded, and the rim that this spoils cut off."""

    padded = True

    def __init__(self, module: BandNetwork, dtype: torch.dtype, reach: int = 0) -> None:
        """`reach` is what was measured of the same network before, 0 to measure it now: a minute for large ones."""
        super().__init__(module, dtype)
        self.module = module
        self.multiple = module.multiple
        self.alive = module.alive
        self.told = Once(self._told, 64)
        self.at_rest = Once(self._at_rest, 64)
        self.rim = reach - len(self.low_pass) // 2 if reach else self._rim()
        module.to(dtype)

    def _add(self, inner: Tensor, high: Tensor, spread: Tensor, band: Band, *others: Tensor) -> None:
        detail = self._phases(self._detail(high.to(self.dtype), spread.to(self.dtype), band.response))
        detail = detail - self.at_rest(band.response, _shape_of(high)) * spread[:, None, :, None]
        inner.add_(cut(detail.reshape(high.shape[0] * self.scale, -1), self.reach(band.response) * self.scale))

    def _detail(self, high: Tensor, spread: Tensor, response: Response) -> Tensor:
        """(h * scale, w * scale) for a band without its low-pass and its noise, both (h, w)."""
        return self.module.residual(high[None, None], self.told(response, high.dtype, high.device), spread[None, None])[
            0, 0
        ]

    def _told(self, response: Response, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.tensor([response.told], dtype=dtype, device=device)

    def _at_rest(self, response: Response, shape: tuple[int, ...]) -> Tensor:
        """The network's addition to a flat scene with noise of standard deviation 1, (1, scale, 1, scale).

        As it does it to a block of this shape, where that matters.
        """
        side = self._smallest()
        flat = torch.zeros(shape or (side, side), dtype=self.dtype, device=self.module.get_buffer("low_pass").device)
        detail = self._phases(self._detail(flat, torch.ones_like(flat), response))
        row, col = (size // 2 for size in flat.shape)
        return detail[row, :, col][None, :, None].clone()

    def _phases(self, detail: Tensor) -> Tensor:
        """(h * scale, w * scale) as (h, scale, w, scale)."""
        return detail.view(detail.shape[0] // self.scale, self.scale, -1, self.scale)

    def _smallest(self) -> int:
        """Side of a block whose middle no border reaches, source pixels."""
        return -(-(2 * self.rim + 2) // 16) * 16

    def _rim(self) -> int:
        side = 48
        while (rim := self._spread(side)) is None:
            side *= 2
            if side > _LARGEST_PROBE:
                raise ModelError(f"an output pixel of {type(self.module).__name__} depends on more than {side} pixels")
        return rim

    def _spread(self, side: int) -> int | None:
        """The reach of a pixel that is no number, source pixels; None where it comes to the border of the probe.

        Tried at every place that a pixel can have in a window of the network's.
        """
        middle, farthest = side // 2, 0
        for place in range(middle, middle + self.multiple):
            probe = torch.zeros(side, side)
            probe[place, place] = torch.nan
            with torch.inference_mode():
                detail = self._detail(probe, torch.zeros_like(probe), PROBE)
                hit = self._phases(detail).isnan().any(3).any(1).any(0).nonzero()
            first, last = int(hit.min()), int(hit.max())
            if first == 0 or last == side - 1:
                return None
            farthest = max(farthest, place - first, last - place)
        return farthest


_LARGEST_PROBE = 768
"""Side of the largest block that a network's reach is looked for in, source pixels."""


def build(
    network: str,
    settings: dict[str, int],
    tensors: dict[str, Tensor],
    device: str,
    dtype: torch.dtype,
    reach: int = 0,
) -> Engine:
    """An engine with trained weights; `reach` as `Padded` takes it.

    Raises `ModelError` where the weights don't fit the network.
    """
    if network not in NETWORKS:
        raise ModelError(f"the model card asks for the network {network!r}; this geosr has {', '.join(NETWORKS)}")
    with torch.device("meta"):
        expected = NETWORKS[network](**settings).state_dict()
    wrong = {name for name in expected.keys() | tensors.keys() if _shape(expected, name) != _shape(tensors, name)}
    if wrong:
        raise ModelError(
            f"the weights don't fit the network {network} with {settings}: {min(wrong)!r} is "
            f"{_shape(tensors, min(wrong))}, expected {_shape(expected, min(wrong))}"
        )
    module = NETWORKS[network](**settings)
    module.load_state_dict(tensors)
    module = module.eval().requires_grad_(False)
    # On the processor: a kernel that works on patches of pixels, as cards have, lets a NaN spread farther than sums do.
    engine = Residual(module, dtype) if isinstance(module, Edsr) else Padded(module, dtype, reach)
    if device != "cpu" and dtype == torch.bfloat16:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.to(device)
    return engine


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _shape_of(high: Tensor) -> tuple[int, ...]:
    """The shape of a block, where the kernel that it is computed by depends on it."""
    return () if high.device.type == "cpu" else tuple(high.shape)


def _laid_out(x: Tensor) -> Tensor:
    """Channels last, but where that was found slower: cuDNN turns float32 round."""
    on_card = x.is_cuda and x.dtype == torch.float32
    return x.contiguous(memory_format=torch.contiguous_format if on_card else torch.channels_last)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution without padding, of the same bits whatever the size of `x` (`networks.band.Conv`)."""
    if is_exact(x):
        return torch.mkldnn_convolution(x, weight, bias, [0, 0], [1, 1], [1, 1], 1)
    return F.conv2d(x, weight, bias)


def _flat(high: Tensor, rim: int) -> Tensor | None:
    """Where nothing within `rim` pixels is anything but flat, less `rim` a side; None where that is nowhere.

    A graphics card isn't asked, since whoever asks one waits for it.
    """
    detailed, asked = high != 0, high.device.type == "cpu"
    if asked and bool(detailed.all()):
        return None
    total = F.pad(detailed.int().cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    side = 2 * rim + 1
    count = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    flat = count == 0
    return flat if not asked or bool(flat.any()) else None


def _add_phases(out: Tensor, detail: Tensor, scale: int) -> None:
    """Add (1, scale**2, h, w), as a pixel shuffle lays it out, to `out` (h * scale, w * scale)."""
    height, width = detail.shape[2:]
    _phases_of(out, scale).add_(detail[0].permute(1, 2, 0).reshape(height, width, scale, scale))


def _phases_of(out: Tensor, scale: int) -> Tensor:
    """A view (h, w, scale, scale) of (h * scale, w * scale)."""
    height, width = (side // scale for side in out.shape)
    phases = out.as_strided((height, scale, width, scale), (scale * out.stride(0), out.stride(0), scale, 1))
    return phases.permute(0, 2, 1, 3)
