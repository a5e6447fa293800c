"""Graphics cards: the state of torch while a block is on one, who may use it, and what its errors mean."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import attrgetter

import torch

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
