"""Graphics cards: which one, the state of torch while a block is on it, and what its errors mean."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F

from geosr.errors import ModelError, PlaceError, one_line
from geosr.models.model import PROCESSOR
from geosr.models.threads import Once

_EXACT: Mapping[str, object] = {
    "float32_matmul_precision": "highest",
    "cudnn.enabled": True,
    "cudnn.deterministic": True,
    "cudnn.benchmark": False,
    "cudnn.allow_tf32": False,
    "cudnn.conv.fp32_precision": "ieee",
    "cudnn.rnn.fp32_precision": "ieee",
    "cuda.matmul.fp32_precision": "ieee",
}
"""Flags of `torch.backends`, and one of torch's own; what torch 2.9 brought comes last, so that it holds."""
_DRAGGED = "mkldnn.matmul.fp32_precision"
"""What setting the first of them changes, too."""

_lock = threading.Lock()
_inside = 0
"""How many callers are in `exact_convolutions`."""
_usual: dict[str, object] = {}
"""Flags as they were before the first of them came."""


@contextmanager
def exact_convolutions(device: str) -> Iterator[None]:
    """While any caller is inside, cuDNN is on and takes the same algorithm every time, and float32 isn't cut to TF32.

    The flags are the process's, whichever thread sets them: what was usual comes back when the last caller leaves. On a
    processor nothing is done.
    """
    global _inside
    if device == "cpu":
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            _usual.update(_flags())
            _set({name: value for name, value in _EXACT.items() if name in _usual})
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(_usual)
                _usual.clear()


def _flags() -> dict[str, object]:
    """The flags as they are, but those that this torch hasn't, or won't tell because newer ones contradict them."""
    found: dict[str, object] = {}
    for name in (*_EXACT, _DRAGGED):
        with suppress(AttributeError, RuntimeError):
            own = name == "float32_matmul_precision"
            found[name] = torch.get_float32_matmul_precision() if own else attrgetter(name)(torch.backends)
    return found


def _set(flags: Mapping[str, object]) -> None:
    for name, value in flags.items():
        owner, _, flag = name.rpartition(".")
        if owner:
            setattr(attrgetter(owner)(torch.backends), flag, value)
        else:
            torch.set_float32_matmul_precision(str(value))


def precision_trained_in(device: str, bfloat16: bool) -> str:
    """The precision of convolutions in training, where torch's flags are the caller's: a card may cut float32 short."""
    flags = _flags() if device != "cpu" else {}
    short = flags.get("cudnn.conv.fp32_precision") == "tf32" or flags.get("cudnn.allow_tf32") is True
    return "bfloat16" if bfloat16 else "float32, cut to TF32" if short else "float32"


_FULL = (
    "out of memory", "allocate memory", "not enough memory", "alloc_failed", "allocation_failed",
    "cublas_status_not_initialized", "cudnn_status_not_initialized", "nvml_success == r",
    "unable to find an engine", "unable to find a valid cudnn algorithm", "no valid execution plans",
)  # fmt: skip
"""What torch, cuDNN, cuBLAS and onnxruntime say where there is no memory, the last two lines where none is left to
begin with or for any of their algorithms."""
_BROKEN = "cuda error", "cuda driver error", "cudnn error", "cublas", "cudnn_status", "no kernel image", "nvrtc"


def is_full(error: BaseException) -> bool:
    """True where an error says that there is no memory."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _FULL)


@contextmanager
def device_errors(smallest: str = "") -> Iterator[None]:
    """Errors of torch as they are meant: `MemoryError` where there is no memory, `PlaceError` for a broken card.

    And for a card that has been given the `smallest` block that there is for it, and has no memory for that.
    """
    try:
        yield
    except RuntimeError as error:
        if is_full(error) and smallest:
            raise PlaceError(
                f"{smallest} has no memory for a piece of the scene, and is given no smaller ones: {one_line(error)}; "
                "end what else uses it, or name another device, or cpu"
            ) from error
        if is_full(error):
            raise MemoryError(str(error)) from error
        if any(words in str(error).lower() for words in _BROKEN):
            raise PlaceError(f"the graphics card doesn't work: {one_line(error)}") from error
        raise


def index_of(device: str) -> str:
    """The index that a device is named by, "" where by none. Raises `ModelError` for a name that is none."""
    kind, _, index = ("cuda" if device == "auto" else str(device)).partition(":")
    if kind != "cuda":
        raise ModelError(f"device {device!r} is none that geosr knows; choose auto, cpu, cuda or cuda:0 ...")
    return index


def _is_worker_with_a_card() -> bool:
    """True in a worker of dask-cuda, to which its own card is the first, and those of its neighbours come after."""
    return "dask_cuda" in sys.modules and bool(_workers())


def find(device: str) -> tuple[str, str]:
    """The card that "auto", "cuda" or "cuda:1" stands for, with its index, and a line on it.

    "auto" is the processor where there is no card, or none that works. Raises as `runtime.choose_device`.
    """
    index = index_of(device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto" and not count:
        return "cpu", ""
    if not (index or "0").isdigit() or int(index or 0) >= count:
        raise PlaceError(f"device {device!r} isn't there: torch finds {count} CUDA devices; use cpu")
    if int(index or 0) and _is_worker_with_a_card():
        raise PlaceError(f"device {device!r} is another worker's: of dask-cuda each has its own card; use cuda")
    card, trouble = _tried(index, count)
    if not trouble:
        return card, f"computed on {torch.cuda.get_device_name(card)}"
    if device == "auto":
        return "cpu", f"computed on the processor, since {card} can't be used: {trouble}"
    raise PlaceError(f"device {device!r} can't be used: {trouble}; use another, or cpu")


@Once
def shared(device: str, first: str, about: str) -> tuple[tuple[str, ...], str]:
    """All cards that tiles go to where a device stands for `first`, see `find`, and a line on them.

    One alone where it is named. Others are taken that work and are of the same kind: another's pixels would differ.
    """
    own = _own(torch.cuda.device_count()) if first.startswith("cuda") and not index_of(device) else ()
    why = {card: _unlike(first, card) or _trouble(card) for card in (f"cuda:{index}" for index in own[1:])}
    cards = (first, *(card for card, reason in why.items() if not reason))
    left = (f"; {card} is left out: {reason}" for card, reason in why.items() if reason)
    together = f"computed on {len(cards)} x {torch.cuda.get_device_name(first)}" if len(cards) > 1 else about
    return cards, "".join((together, *left))


def _unlike(first: str, card: str) -> str:
    """The words that say which other kind a card is of; empty where it is alike."""
    of_both = ((torch.cuda.get_device_name(each), torch.cuda.get_device_capability(each)) for each in (first, card))
    if len({*of_both}) == 1:
        return ""
    return f"it is {torch.cuda.get_device_name(card)}, of another kind"


@lru_cache
def kind(device: str) -> str:
    """All of a device that decides bits: its kind, and torch's version; of a card torch's build, too."""
    if device == "cpu":
        return f"{PROCESSOR}, torch {torch.__version__.partition('+')[0]}"
    return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"


def _own(count: int) -> tuple[int, ...]:
    """The indices of this process's own cards, whatever a thread's is: all, from the first.

    Of processes that were started together each has one, and so has a process that chose another than the first.
    """
    rank = os.environ.get("LOCAL_RANK", "") or _place_among_workers()
    if rank.isdigit():
        return (int(rank) % count,)
    current = torch.cuda.current_device()
    return (current,) if current or _workers() else tuple(range(count))


def _place_among_workers() -> str:
    """The number of a worker that Dask started on this machine with others; "" elsewhere, and of dask-cuda."""
    workers = _workers()
    return "" if "dask_cuda" in sys.modules or not workers else str(workers[0].name)


def _workers() -> list[Any]:
    """The Dask worker that this process was started to be; none where it is more than that."""
    dask = sys.modules.get("distributed.worker")
    return [] if dask is None else [worker for worker in dask.Worker._instances if worker.nanny]


def _tried(index: str, count: int) -> tuple[str, str]:
    """A card by its index, this process's own where none is named, and the reason why it doesn't compute, if so."""
    try:
        card = f"cuda:{int(index) if index else _own(count)[0]}"
    except RuntimeError as error:  # whatever torch raises as it looks for a card first: in a process that was forked
        return "cuda", one_line(error)
    return card, _trouble(card)


def _trouble(card: str) -> str:
    """The reason why a card doesn't compute, as one line; empty where it does."""
    try:
        _convolve(card)
    except Exception as error:  # whatever drivers and builds without this card's kernels raise
        return one_line(error)
    return ""


def _convolve(card: str) -> None:
    with exact_convolutions(card):
        image = torch.ones(1, 1, 8, 8, device=card)
        F.conv2d(image, image[..., :3, :3]).sum().item()
