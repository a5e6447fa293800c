"""Models at run time: loaded once a process, one torch thread a worker; torch only for the models that need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from geosr.errors import InputError, ModelError, PlaceError, one_line
from geosr.models import registry
from geosr.models.card import Card
from geosr.models.model import Engine, Groups, Model, Precision
from geosr.models.own import TorchNetwork
from geosr.models.threads import Once, least_busy, processor_flags, tell_torch
from geosr.radiometry import Head
from geosr.sensors import Observation, listed

PROJECTED = "projected: degraded with its MTF, the result gives the input back but for noise"
"""What is said of bands whose results are."""
BY_HALF = "projected by half: the result comes halfway to giving the input back, for its MTF is a default"
"""And of bands whose MTF is not their own."""


N = TypeVar("N", bound="ModelNetwork")


@dataclass(frozen=True, slots=True)
class ModelNetwork:
    """A model that is ready for `Upscaler`: a few names and numbers; weights load on first use, once a process."""

    model: Model
    observation: Observation
    """How the scene was observed, all of its bands."""
    precision: Precision = "float32"
    """Of the network's convolutions; everything else is computed in the block's own precision."""
    device: str = "cpu"
    """Where it says "auto", each process settles that for itself: a worker may have what the caller lacks."""
    project: bool = False
    """Whether results are corrected so that degrading them gives the input back (`geosr.models.projection`)."""
    rounding: float = 0.0
    """Standard deviation of what rounding has done to stored numbers: the least noise that there is, which matters to
    dark bands whose detail is a few counts high."""
    notes: tuple[str, ...] = ()
    """What was chosen for this machine, one line each."""
    kind: str = ""
    """The one kind of device that all of a run is computed on, as `here` has it: a process of another refuses. Empty
    where that doesn't matter."""

    @property
    def scale(self) -> int:
        """Output pixels per source pixel, each way."""
        return self.model.scale

    @property
    def card(self) -> Card:
        """The model's own card."""
        return self.model.card

    @property
    def heads(self) -> tuple[Head, ...]:
        """The results that the model gives for a block, the image first."""
        return self.model.heads

    @property
    def relative(self) -> Observation:
        """The observation as the network is told it: responses relative to the result; rounding is noise, too.

        A model that makes no use of it has it as it is.
        """
        if not (self.card.conditioned or self.project):
            return self.observation
        return tuple(band.relative(self.scale, self.rounding) for band in self.observation)

    @property
    def halo(self) -> int:
        """Source pixels that an output pixel may depend on, on each side; taken from the loaded network."""
        engine = self._engine()
        return max(engine.reach(response) for response in {band.response for band in self.relative})

    @property
    def cards(self) -> int:
        """The graphics cards of this process that blocks go to; none where it is computed on a processor."""
        return len(self._places) if self.card.network and self._places != ("cpu",) else 0

    @property
    def multiple(self) -> int:
        """The side of the network's windows of attention; 1 for convolutions, which take any block."""
        return self._engine().multiple

    @property
    def alive(self) -> int:
        """Numbers a source pixel of a block that stand in memory at once, about; 0 where they are few or unknown."""
        return self._engine().alive

    def groups(self, bands: Sequence[int]) -> Groups:
        """Which of these bands, none of them repeated, the model is given together.

        One at a time where it may choose: it is the block that fills a processor, and memory grows with bands.
        """
        groups = self.model.groups([self.observation[band].color for band in bands])
        return tuple(tuple(bands[place] for place in group) for group in groups)

    def __call__(self, block: NDArray[np.floating], bands: tuple[int, ...]) -> NDArray[np.floating]:
        """See `geosr.upscaler.Network`. Values within the halo of the block's border are a simpler estimate.

        Raises `ModelError` where the weights are missing or not those that the model had.
        """
        block = np.require(block, requirements=["C", "W"])
        try:
            heads, fine = len(self.heads), tuple(side * self.scale for side in block.shape[1:])
            with self._taken() as engine:
                out: NDArray[np.floating] = engine.room((heads * len(block), *fine), block.dtype)
                for group in self.groups(bands):
                    places = [bands.index(band) for band in group]
                    if places == list(range(len(block))):
                        engine(block, self._told(group), out)
                    else:
                        made = np.empty((heads * len(group), *fine), out.dtype)
                        engine(block[places], self._told(group), made)
                        out[[head * len(block) + place for head in range(heads) for place in places]] = made
        except MemoryError as error:
            raise MemoryError(f"no memory for a block of {block.shape[1]} x {block.shape[2]} pixels") from error
        return out

    def _told(self, bands: tuple[int, ...]) -> Observation:
        """The observation of some bands, as the network is told it."""
        relative = self.relative
        return tuple(relative[band] for band in bands)

    @property
    def here(self) -> str:
        """The kind of device that this process computes on, and torch's version; empty where these don't matter."""
        if self.model.portable and self._place == "cpu":
            return ""
        from geosr.models.devices import kind

        return kind(self._plain().device)

    @contextmanager
    def _taken(self) -> Iterator[Any]:
        """The engine for a block, on whichever card has least to do; guided ones have arguments of their own."""
        with least_busy(self._places) as place:
            try:
                engine = self._engine(place)
            except MemoryError as error:
                raise PlaceError(f"{place} has no memory for {self.card.title}; name a device that has") from error
            yield engine

    def _engine(self, place: str = "") -> Engine:
        if self.kind and not _looking.get() and self.kind != self.here:
            raise PlaceError(
                f"this process computes on {self.here}, and the run is of {self.kind}; name a device for all"
            )
        engine = self._plain(place)
        if self.project:
            from geosr.models.engines import projected

            tell_torch()
            engine = projected(engine, self.scale)
        return self.model.completed(engine)

    def _plain(self, place: str = "") -> Engine:
        """The model's engine, without projection; on the first of the devices here if no other is named."""
        return _load(place or self._place)(self.model, self.precision)

    @property
    def _places(self) -> tuple[str, ...]:
        """The devices here."""
        return ("cpu",) if _looking.get() else choose_devices(self.device)[0]

    @property
    def _place(self) -> str:
        """The first of them."""
        return self._places[0]


_looking: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def looking() -> Iterator[None]:
    """While inside other processes compute: this thread looks at networks on its processor, and leaves cards alone."""
    before = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(before)


def network_for(
    model: str | TorchNetwork | Model,
    scale: int,
    observation: Observation,
    *,
    device: str = "auto",
    precision: Precision = "float32",
    project: bool = False,
    rounding: float = 0.0,
) -> ModelNetwork:
    """The network for a scene; a device "auto" is chosen where it runs.

    `project` and `rounding` are those of `ModelNetwork`.

    Raises `ModelError` for an unknown model, a scale that it can't do or weights that don't fit, and `PlaceError` for
    a device that isn't there.
    """
    model = registry.find(model, scale)
    device = "cpu" if device == "auto" and model.memory_bound else device
    about = about_precision(precision, _chosen(device)[0]) if model.card.network else ""
    network = ModelNetwork(
        model=model,
        observation=observation,
        precision=precision if model.card.network else "float32",
        device=device,
        project=project,
        rounding=rounding,
    )
    network, about_device = held(network)
    network = replace(network, model=model.measured(network._plain()))
    lines = about_device, about, *model.notes(observation), *_about_noise(network), *_about_projection(network)
    return replace(network, notes=tuple(line for line in lines if line))


def held(network: N) -> tuple[N, str]:
    """A network on the device that it was to be computed on, or that holds it, and a line on that.

    Raises `PlaceError` where a device that was named can't hold it.
    """
    chosen, about = _chosen(network.device)
    try:
        engine = network._engine()
    except (MemoryError, PlaceError) as error:
        if chosen == "cpu":
            raise
        trouble = f"{chosen} can't be used: {one_line(error)}"
        if network.device != "auto":
            raise PlaceError(f"{trouble}; use another device, or cpu") from error
        network, about = replace(network, device="cpu"), f"computed on the processor, since {trouble}"
        network._engine()
    else:
        if engine.device != chosen:
            about = f"computed on the processor: {network.card.title} can't be run on {chosen} here"
    return network, about


def _chosen(device: str) -> tuple[str, str]:
    """The first of `choose_devices`; where this process only looks, its processor, whatever others have."""
    if not _looking.get() or device == "cpu":
        places, about = choose_devices(device)
        return places[0], about
    from geosr.models.devices import index_of

    index_of(device)
    return "cpu", ""


def is_projected(project: bool | None, card: Card) -> bool:
    """True where results are projected: where that is asked for, and those of generative models always.

    Measured on natural pairs, a network's result is nearer to what finer pixels show without it: by .07 dB on
    Sentinel-2's B8A, by .8 dB on Landsat. Raises `InputError` where a generative model is asked to leave it.
    """
    if card.generative and project is False:
        raise InputError(
            f"{card.title} is always projected, so that it draws nothing that the input contradicts; "
            "ask for another model, or leave the projection on"
        )
    return card.generative or bool(project)


def _about_noise(network: ModelNetwork) -> Iterator[str]:
    """Lines on the response that is undone, and on bands whose noise is less than what rounding does."""
    if not (network.card.conditioned or network.project):
        return
    yield f"relative to a result at x{network.scale}: MTF {listed(band.response.mtf for band in network.relative)}"
    if network.rounding > 0 and any(band.noise.constant < network.rounding**2 for band in network.observation):
        yield f"noise counts as {network.rounding:.3g} DN at least, which is what rounding to whole numbers does"


def _about_projection(network: ModelNetwork) -> Iterator[str]:
    """Lines on projected bands, those with an MTF of their own and the others."""
    if network.project:
        assumed = {band.assumed for band in network.observation if not band.categorical}
        yield from (line for line, by_half in ((PROJECTED, False), (BY_HALF, True)) if by_half in assumed)


@Once
def choose_device(device: str = "auto") -> tuple[str, str]:
    """The device to compute on, settled once a process, and a line that says why; none for the only choice there is.

    Raises `ModelError` for a name that is none, and `PlaceError` for a device that isn't there or doesn't work.
    """
    if device == "cpu":
        return "cpu", ""
    from geosr.models import devices

    return devices.find(device)


def choose_devices(device: str = "auto") -> tuple[tuple[str, ...], str]:
    """The devices that blocks go to: that of `choose_device`, and all cards like it where none is named; and a line."""
    first, about = choose_device(device)
    if first == "cpu":
        return (first,), about
    from geosr.models import devices

    return devices.shared(device, first, about)


def about_precision(precision: Precision, device: str) -> str:
    """A line on the precision of a network's convolutions, where it is not float32. Raises `ModelError` for others.

    In bfloat16 the result is another one, though not by much: so it is asked for, and never chosen for a machine.
    """
    if precision not in get_args(Precision):
        raise ModelError(f"precision {precision!r} is none that geosr knows; choose {' or '.join(get_args(Precision))}")
    if precision == "float32":
        return ""
    slow = "" if _looking.get() or has_bfloat16(device) else ", and this hardware only emulates it"
    return f"precision bfloat16, as asked: the detail differs from float32's by about half a percent{slow}"


def has_bfloat16(device: str) -> bool:
    """True where a device, as `choose_device` names it, has bfloat16 arithmetic; else that is slower than float32."""
    if device == "cpu":
        return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 0)


def _loaded(device: str, model: Model, precision: Precision) -> Engine:
    if model.memory_bound and device == "cpu":
        return model.engine(device, precision)
    from geosr.models.devices import device_errors, exact_convolutions

    tell_torch()  # torch is imported by now
    with exact_convolutions(device), device_errors():
        return model.engine(device, precision)


_load = Once(lambda device: Once(partial(_loaded, device)), 64)
"""What makes a model's engine on a device; each remembers a few."""
