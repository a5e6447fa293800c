"""A network from elsewhere by the path of its file: what is known of it, told or found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr.errors import ModelError, one_line
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_header, sha256
from geosr.models.foreign import probe, sidecar
from geosr.models.foreign.bands import arrange, told
from geosr.models.foreign.checkpoint import SUFFIXES
from geosr.models.foreign.engine import ForeignEngine, blocks_of
from geosr.models.foreign.runner import Runner, load
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.models.threads import Once
from geosr.models.trial import try_out
from geosr.sensors import Observation


@dataclass(frozen=True, slots=True)
class Foreign(Model):
    """A network from elsewhere. Pickles small: its file is read where it runs, once a process."""

    path: Path
    """Absolute."""
    sha256: str
    """Of the file; a worker that finds another refuses it."""
    card: Card
    found: tuple[str, ...] = ()
    """What was found out, one line each."""
    wide = False

    def __str__(self) -> str:
        return self.card.name

    @property
    def bands(self) -> int:
        """Bands that it is given together."""
        return self.card.bands

    @property
    def scale(self) -> int:  # type: ignore[override]  # a field of the card
        """Output pixels per source pixel, each way."""
        return self.card.scales[0]

    @property
    def halo(self) -> int:
        """Source pixels that an output pixel depends on, on each side."""
        return self.card.halo

    @property
    def multiple(self) -> int:
        """Sides of blocks, and their place in the scene, are multiples of this."""
        return self.card.multiple

    @property
    def key(self) -> str:  # type: ignore[override]
        """All that is known of it."""
        return repr(self.card)

    def groups(self, colors: Sequence[str]) -> Groups:
        """See `geosr.models.foreign.bands.arrange`."""
        return arrange(self.card.name, colors, self.bands)

    def notes(self, bands: Observation) -> tuple[str, ...]:
        """Lines on what was found out of it, and how bands are given to it."""
        return *self.found, *((told([band.color for band in bands], self.assign(bands)),) if self.bands == 3 else ())

    def engine(self, device: str, precision: Precision) -> Engine:
        """The file's network. Raises `ModelError` where the file is another than it was, or can't be read here."""
        from geosr.models.engines import OnDevice

        runner = load(self.path, self.sha256, device)
        return OnDevice(ForeignEngine(self.card, runner), runner.device)


def is_foreign(model: str) -> bool:
    """True for the path of a network from elsewhere; reads no more than a header."""
    path = Path(model)
    if path.suffix == ".safetensors":
        return path.is_file() and KEY not in read_header(path).metadata
    return path.suffix in (".onnx", *SUFFIXES)


def find(model: str) -> Foreign:
    """The network in a file, with a card as complete as a run needs.

    What the card beside the file doesn't say is taken from the file, and what that doesn't say is found out by running
    it, once a process. Raises `ModelError` for a file that can't be run, or whose tiles would show.
    """
    path = Path(model).resolve()
    return _find(path, sha256(path), tuple(sorted(sidecar.read(path).items())))


@Once
def _find(path: Path, sha: str, told_beside: tuple[tuple[str, Any], ...]) -> Foreign:
    runner = load(path, sha, "cpu")
    told = _known(runner.told) | dict(told_beside)
    found = probe.complete(path.name, runner, told)
    card = _card(path, runner, found)
    foreign = Foreign(path, sha, card, tuple(_notes(path, card, told)))
    if "halo" in told and card.exact:
        _try_out(foreign, runner)
    return foreign


def _known(told: dict[str, Any]) -> dict[str, Any]:
    """The card of a file, as it says itself; what only geosr's own engines use is left out."""
    return {key: value for key, value in told.items() if key not in ("network", "channels", "blocks")}


def _card(path: Path, runner: Runner, found: dict[str, Any]) -> Card:
    usual = {"name": path.stem, "summary": f"a network from elsewhere ({runner.kind})", "licence": "unknown"}
    try:
        card = Card(**usual | found)
    except TypeError as error:
        raise ModelError(f"{path}: {one_line(error)}") from None
    card.check()
    return card


def _try_out(foreign: Foreign, runner: Runner) -> None:
    name, (low, high) = foreign.path.name, foreign.card.value_range or (0.0, 3000.0)
    try:
        try_out(name, blocks_of(runner, foreign.card), foreign, device="cpu", ends=(low, high))
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # whatever somebody else's code raises
        raise ModelError(f"{name} can't be run: {one_line(error)}") from None


def _notes(path: Path, card: Card, told: dict[str, Any]) -> list[str]:
    said = []
    if "halo" not in told:
        size = f"scale = {card.scales[0]}, bands = {card.bands}, halo = {card.halo}, multiple = {card.multiple}"
        said.append(f"{path.name}: {size} (found out; lines like these in {sidecar.beside(path).name} save the trial)")
    if not card.exact:
        said.append(f"{card.name} looks at whole blocks, as its card says: tiles may show, and depend on --tile")
    if card.value_range and "value_range" not in told:
        said.append(f"{card.name} is taken for a network of photographs, from 0 to 1")
    return said
