"""A network from elsewhere as an engine: bands in groups, numbers in its range, blocks of the size that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geosr.errors import ModelError, one_line
from geosr.models.card import Card
from geosr.models.classical import REACH, upsample_into
from geosr.models.foreign.runner import Runner
from geosr.models.model import Engine
from geosr.models.pieces import in_pieces
from geosr.models.trial import Run
from geosr.noise import SILENT, Noise
from geosr.response import PROBE, Response
from geosr.sensors import Observation

if TYPE_CHECKING:
    from torch import Tensor


class ForeignEngine(Engine):
    """One group of bands at a time.

    Stored numbers are moved into the network's range by a gain and an offset that belong to the whole scene, and what
    comes out is moved back. What lies beyond the range doesn't pass the network: the excess is interpolated (bicubic)
    and added to what the network makes of the ends of the range, so that nothing is clipped. A card is given blocks as
    they come, for it may have no memory for pieces of our size: tilings agree within a count only.
    """

    def __init__(self, card: Card, runner: Runner) -> None:
        self.card = card
        self.multiple = card.multiple
        self.runner = runner

    def reach(self, response: Response) -> int:
        """The halo that was told or measured, and at least that of the excess."""
        return max(self.card.halo, REACH["bicubic"] if self.card.value_range else 0)

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`; the network is told the response and the noise of the first band."""
        blocks = blocks_of(self.runner, self.card, bands[0].response, bands[0].noise)
        if not self.card.value_range:
            self._enhance(blocks, block, out)
            return
        least, most = self.card.value_range
        pairs = [self.card.stored_range] if self.card.stored_range else [band.levels for band in bands]
        low, high = block.new_tensor(pairs).T[:, :, None, None]
        gain = (high - low) / (most - least)
        self._enhance(blocks, least + (block - low) / gain, out)
        out.sub_(least).mul_(gain).add_(low)

    def _enhance(self, blocks: Run, image: Tensor, out: Tensor) -> None:
        """Write the estimate of `image`, numbers of the network's own, into `out`."""
        inside = image if not self.card.value_range else image.clamp(*self.card.value_range)
        try:
            out.copy_(self._together(blocks, inside))
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # whatever somebody else's code raises
            from geosr.models.devices import is_full

            if is_full(error):
                raise
            raise ModelError(f"{self.card.name} can't be run: {one_line(error)}") from error
        if self.card.value_range and bool((excess := image - inside).any()):
            for band, target in zip(excess, out, strict=True):
                more = target.new_empty(target.shape)
                upsample_into(more, band, self.card.scales[0])
                target.add_(more)

    def _together(self, blocks: Run, bands: Tensor) -> Tensor:
        """A band alone is given as often as the network wants bands, and the mean is taken."""
        if len(bands) == self.card.bands:
            return blocks(bands.float().clone())  # it may work in place
        return blocks(bands.float().expand(self.card.bands, -1, -1)).mean(0, keepdim=True)


def blocks_of(runner: Runner, card: Card, response: Response = PROBE, noise: Noise = SILENT) -> Run:
    """The network for blocks (bands, h, w) of any size; one of a fixed size gets them in pieces that overlap."""
    if runner.size is None:
        return lambda block: runner(block[None], response, noise)[0]
    size, halo, multiple, scale = runner.size, card.halo, card.multiple, card.scales[0]
    steps = (size[0] - 2 * halo) // multiple * multiple, (size[1] - 2 * halo) // multiple * multiple
    if min(steps) < 1:
        raise ModelError(
            f"{card.name} takes blocks of {size[0]} x {size[1]} pixels only, and its halo is {halo}: nothing is left"
        )

    def run(block: Tensor) -> Tensor:
        """The result of a block (bands, height, width), piece by piece."""
        return in_pieces(block, scale, size, halo, steps, lambda piece: runner(piece[None], response, noise)[0])

    return run
