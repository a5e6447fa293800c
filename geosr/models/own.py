"""A torch network of the caller's own, run tile by tile as geosr's are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from geosr.errors import ModelError
from geosr.models.card import Card
from geosr.models.checkpoint import check_weights, sha256
from geosr.models.model import Engine, Groups, Model, Precision, in_order
from geosr.models.trial import try_out

if TYPE_CHECKING:
    from torch import Tensor

    from geosr.response import Response
    from geosr.sensors import Observation


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A network that geosr doesn't know, for `model=`. Pickles small: it is made where it runs, once a process.

    It is called with stored numbers (1, bands, height, width), float32, whatever gain and offset stand behind them, and
    gives (1, bands, height * scale, width * scale). Tiles are joined without a seam where `halo` is as far as it sees,
    which is tried out before the first tile; stored numbers may then differ by one count between tilings, since torch
    rounds differently for blocks of other sizes. Each instance is a network of its own: what `make` gave an earlier one
    is not used for it.
    """

    make: Callable[..., Any]
    """Makes the network, a `torch.nn.Module` or anything else that is called so: `make(weights)`, or `make()` where
    there are none. Other processes import it by its name, so that it stands in a module that they have, too."""
    scale: int
    """Output pixels per source pixel, each way."""
    halo: int
    """Source pixels that an output pixel depends on, on each side."""
    weights: str | Path | None = None
    """A file for `make`. Its digest is tagged on the result, and a worker that finds another refuses it."""
    bands: int = 1
    """Bands that it is given together; a scene has a multiple of that."""
    multiple: int = 1
    """Blocks that it is given have sides that are multiples of this."""
    token: str = field(default_factory=lambda: uuid4().hex)
    """What copies in other processes have in common."""

    def __repr__(self) -> str:
        """The name that a stopped run knows it by: nothing of this process."""
        weights = None if self.weights is None else str(self.weights)
        return f"TorchNetwork({self.name}, {self.scale}, {self.halo}, {weights!r}, {self.bands}, {self.multiple})"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchNetwork) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __dask_tokenize__(self) -> tuple[str, str | None]:
        """Dask's name for it, the same in another session."""
        return repr(self), None if self.file is None else sha256(self.file)

    @property
    def name(self) -> str:
        """Where `make` is found."""
        made = getattr(self.make, "func", self.make)  # of a functools.partial
        return f"{made.__module__}.{getattr(made, '__qualname__', type(made).__name__)}"

    @property
    def card(self) -> Card:
        """As far as it is known. Raises `ModelError` for a scale, halo or number of bands that can't be."""
        for what, least in (("scale", 1), ("halo", 0), ("bands", 1), ("multiple", 1)):
            value = getattr(self, what)
            if type(value) is not int or value < least:
                raise ModelError(f"{self.name}: {what} is {value!r}; it must be a whole number from {least}")
        return Card(name=self.name, summary="a network of the caller's own", scales=(self.scale,))

    @property
    def file(self) -> Path | None:
        """The weights."""
        return None if self.weights is None else Path(self.weights).resolve()


@dataclass(frozen=True, slots=True)
class Own(Model):
    """A `TorchNetwork` with the digest of its weights."""

    network: TorchNetwork
    sha256: str | None
    wide = False

    def __str__(self) -> str:
        return self.network.name

    @property
    def scale(self) -> int:  # type: ignore[override]  # a field of the network
        """Output pixels per source pixel, each way."""
        return self.network.scale

    @property
    def card(self) -> Card:  # type: ignore[override]
        """As far as it is known."""
        return self.network.card

    @property
    def key(self) -> str:  # type: ignore[override]
        """Nothing of this process."""
        return repr(self.network)

    def groups(self, colors: Sequence[str]) -> Groups:
        """Bands in groups that follow each other. Raises `ModelError` where they are no whole number of groups."""
        return in_order(self.network.name, len(colors), self.network.bands)

    def engine(self, device: str, precision: Precision) -> Engine:
        """The network, made and tried out. Raises `ModelError` where it doesn't do what `TorchNetwork` says."""
        from geosr.models.engines import OnDevice

        if self.network.file is not None:
            check_weights(self.network.file, self.sha256)
        return OnDevice(OwnEngine(self.network, device), device)


class OwnEngine(Engine):
    """A `TorchNetwork` on its device.

    It is given blocks as they come, on a card too, for which a piece of our size may be too large: its tilings agree
    within a count only.
    """

    def __init__(self, network: TorchNetwork, device: str) -> None:
        """Makes it and tries it out. Raises `ModelError` where it doesn't do what `TorchNetwork` says."""
        self.network = network
        self.multiple = network.multiple
        try:
            made = network.make() if network.file is None else network.make(network.file)
            made = made.eval().requires_grad_(False) if hasattr(made, "eval") else made
            self.module = made.to(device) if hasattr(made, "to") else made
            try_out(network.name, self._run, network, device=device)
        except ModelError:
            raise
        except Exception as error:  # whatever somebody else's code raises
            from geosr.models.devices import is_full

            if is_full(error):
                raise
            line = " ".join(str(error).split())[:200]
            raise ModelError(f"{network.name} can't be run: {type(error).__name__}: {line}") from error

    def reach(self, response: Response) -> int:
        """The halo, as told."""
        return self.network.halo

    def __call__(self, block: Tensor, bands: Observation, out: Tensor) -> None:
        """See `Engine`."""
        out.copy_(self._run(block))

    def _run(self, image: Tensor) -> Tensor:
        return self.module(image[None].float().clone())[0]  # type: ignore[no-any-return]  # it may work in place
