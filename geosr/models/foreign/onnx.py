"""ONNX files, by onnxruntime."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.errors import ModelError, one_line
from geosr.models.card import KEY, Card

if TYPE_CHECKING:
    from torch import Tensor

    from geosr.noise import Noise
    from geosr.response import Response

CONDITIONED = ("x", "response", "noise")
"""Inputs of what `geosr export` writes."""
_OUTSIDE = b"\x0a\x08location\x12"
"""How a model names another file that holds its weights (onnx.proto: external_data, "location")."""
_CUDA = "CUDAExecutionProvider"
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class Onnx:
    """A network of one image to one image, (1, bands, height, width) floats both.

    On a graphics card where onnxruntime has its provider for one, else on the processor, one thread a call.
    """

    kind = "ONNX"

    def __init__(self, path: Path, device: str) -> None:
        self.session = _session(path, device)
        on_card = _CUDA in self.session.get_providers()
        self.device = device if on_card else "cpu"
        self.one = threading.Lock() if on_card else nullcontext()
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.names = tuple(each.name for each in inputs)
        if (len(inputs) != 1 and self.names != CONDITIONED) or len(outputs) != 1:
            raise ModelError(
                f"{path} has {len(inputs)} inputs ({', '.join(self.names)}) and {len(outputs)} outputs; geosr runs "
                "networks of one image to one image"
            )
        for each in (inputs[0], outputs[0]):
            if each.type not in _TYPES:
                raise ModelError(f"{path}: {each.name} is a {each.type}; geosr takes {', '.join(_TYPES)}")
        self.dtype = _TYPES[inputs[0].type]
        self.told, self.size = _shape(path, inputs[0].shape)
        self.told |= _card(path, self.session.get_modelmeta().custom_metadata_map.get(KEY))

    def __call__(self, x: Tensor, response: Response, noise: Noise) -> Tensor:
        """See `Runner`."""
        import numpy as np
        import torch

        from geosr.models.devices import is_full

        feed = {self.names[0]: x.detach().cpu().numpy().astype(self.dtype, copy=False)}
        others = response.told, (noise.constant, noise.slope)
        feed |= {name: np.array([each], np.float32) for name, each in zip(self.names[1:], others, strict=False)}
        try:
            with self.one:
                (out,) = self.session.run(None, feed)
        except Exception as error:
            if is_full(error) or "alloc" in str(error).lower():
                raise MemoryError(str(error)) from error
            raise
        return torch.from_numpy(out).to(x.device, torch.float32)


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{path} needs onnxruntime; pip install 'geosr[onnx]'") from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read the model {path}: {error.strerror or error}") from None
    if _OUTSIDE in content:
        raise ModelError(
            f"{path} keeps weights in another file; put them into it with "
            "onnx.save(onnx.load(name), name, save_as_external_data=False)"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # workers are the parallelism
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and _CUDA in onnxruntime.get_available_providers():
        index = int(device.partition(":")[2] or 0)
        # No TF32, and one fixed algorithm: others are chosen by the clock, and round differently.
        providers.insert(0, (_CUDA, {"device_id": index, "use_tf32": 0, "cudnn_conv_algo_search": "DEFAULT"}))
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # of kinds that onnxruntime doesn't export
        raise ModelError(
            f"onnxruntime can't load {path}, which may be truncated or too new: {one_line(error)}"
        ) from None


def _shape(path: Path, shape: list[Any]) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Bands, and a size where that is fixed, by the shape of the input."""
    if len(shape) != 4 or (shape[0] not in (1, None) and not isinstance(shape[0], str)):
        raise ModelError(f"{path} takes {shape}; geosr gives (1, bands, height, width)")
    bands, height, width = (side if isinstance(side, int) else None for side in shape[1:])
    if isinstance(width, int) and width <= 4 and not bands:
        raise ModelError(f"{path} takes {shape}, bands last; geosr gives (1, bands, height, width)")
    if (height is None) != (width is None):
        raise ModelError(f"{path} takes {shape}, of which one side is fixed; geosr needs both or neither")
    return {} if bands is None else {"bands": bands}, None if height is None or width is None else (height, width)


def _card(path: Path, text: str | None) -> dict[str, Any]:
    """The card that `geosr export` put into a file, as JSON. Raises `ModelError` for anything else under its name."""
    if text is None:
        return {}
    try:
        card = Card.from_json(text)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return {each.name: getattr(card, each.name) for each in fields(card)}
