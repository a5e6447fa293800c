"""geosr's own networks as ONNX files and `torch.export` programs, with their cards inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.errors import ModelError, PlaceError, one_line
from geosr.models import registry, trained
from geosr.models.card import KEY, Card
from geosr.models.checkpoint import read_tensors, sha256
from geosr.models.classical import bicubic_phases
from geosr.models.foreign.runner import load
from geosr.models.model import Engine
from geosr.models.networks import NETWORKS, BandNetwork
from geosr.noise import SILENT, Noise
from geosr.response import PROBE, Response
from geosr.sensors import Band

Kind = Literal["onnx", "pt2"]

PARITY = 1e-4
"""Share of the result's range by which what is written may differ from geosr's own engine."""
_FLAT = 8
"""Side of the flat scene that is computed along with every block, source pixels; any window of attention fits."""
_TRIED = (Response.gaussian(0.15), SILENT), (Response((0.1, 0.04), True, "spline").relative(2), Noise(4.0, 0.015))


def export(model: str, scale: int, kind: Kind, path: Path) -> dict[str, Any]:
    """Write a network with weights into `path`; returns a report with the parity that was measured.

    What is written takes a band `x` (1, 1, height, width) of stored numbers, `response` (1, 4) as `Response.told` has
    it, and `noise` (1, 2), constant and slope of the noise's variance over the stored number. It gives (1, 1, height *
    scale, width * scale), all float32; sides are multiples of its card's.
    It is tried out on blocks of several sizes before it takes its name. Raises `ModelError` for a model
    without weights and for one that comes out differently, and `PlaceError` where the file can't be written.
    """
    card = registry.card(model, scale)
    where = registry.locate(model, scale)
    if not card.network or where is None:
        raise ModelError(f"{model} has no weights of geosr's own: there is nothing to export")
    settings = {"scale": scale, "channels": card.channels, "blocks": card.blocks}
    engine = trained.build(card.network, settings, read_tensors(where), "cpu", torch.float32)
    module = NETWORKS[card.network](**settings)
    module.load_state_dict(read_tensors(where))
    halo = max(engine.reach(response) for response, _ in _TRIED)
    card = replace(card, scales=(scale,), halo=halo, multiple=engine.multiple)
    if not path.absolute().parent.is_dir():
        raise PlaceError(f"folder {path.absolute().parent} does not exist; create it, or choose another output")
    partial = path.with_name(f".{path.name}.partial.{kind}")
    try:
        _write(_Exported(module).eval().requires_grad_(False), card, kind, partial)
        apart = _parity(engine, card, _reader(kind, partial))
        partial.replace(path)
    except OSError as error:
        raise PlaceError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return {"path": str(path), "model": card.title, "scale": scale, "halo": halo, "multiple": card.multiple} | {
        "difference": f"{apart:.1e} of the range", "sha256": sha256(path)
    }  # fmt: skip


class _Exported(nn.Module):
    """A network as its engine runs it, in plain operators: what it adds to a flat scene is taken off."""

    def __init__(self, module: BandNetwork) -> None:
        super().__init__()
        self.module = module
        self.scale = module.scale

    def forward(self, x: Tensor, response: Tensor, noise: Tensor) -> Tensor:
        """(1, 1, h * scale, w * scale) for (1, 1, h, w); see `BandNetwork.forward`."""
        high, spread = self.module.parts(x, noise)
        detail = self.module.residual(high, response, spread)
        with _endless(self.module):
            flat = self.module.residual(x.new_zeros(1, 1, _FLAT, _FLAT), response, x.new_ones(1, 1, _FLAT, _FLAT))
        at_rest = F.pixel_unshuffle(flat, self.scale)[:, :, :1, :1] * spread
        return F.pixel_shuffle(bicubic_phases(x, self.scale) - at_rest, self.scale) + detail


@contextmanager
def _endless(module: nn.Module) -> Iterator[None]:
    """While it lasts, convolutions see a scene that goes on where it ends, so that a flat one has no border."""
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer in convolutions:
            layer.padding_mode = "zeros"


def _write(module: _Exported, card: Card, kind: Kind, path: Path) -> None:
    multiple = card.multiple
    steps = 48 // multiple
    sides = [multiple * torch.export.Dim(name, min=2, max=8192 // multiple) for name in ("rows", "cols")]
    if multiple == 1:
        sides = [torch.export.Dim(name, min=2, max=8192) for name in ("height", "width")]
    example = torch.zeros(1, 1, steps * multiple, (steps + 1) * multiple), torch.full((1, 4), 0.25), torch.ones(1, 2)
    with _quiet(), torch.enable_grad():  # where none is trained, geosr's convolutions are oneDNN's own
        shapes = {"x": {2: sides[0], 3: sides[1]}, "response": None, "noise": None}
        program = torch.export.export(module, example, dynamic_shapes=shapes)
        if kind == "pt2":
            torch.export.save(program, path, extra_files={KEY: card.to_json()})
        else:
            _write_onnx(program, card, path)


def _write_onnx(program: torch.export.ExportedProgram, card: Card, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError("an export to ONNX needs onnx and onnxscript; pip install 'geosr[onnx]'") from error
    # Unoptimised: onnxscript's optimiser takes 1e-12 for 0, which is what keeps some networks finite.
    made = torch.onnx.export(program, dynamo=True, output_names=["y"], optimize=False)
    assert made is not None
    made.model.metadata_props[KEY] = card.to_json()
    made.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its progress on stdout and of what it hasn't found in its log; neither concerns a user."""
    import contextlib
    import io

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _reader(kind: Kind, path: Path) -> Callable[[Tensor, Response, Noise], Tensor]:
    """The network of the file that was just written, as its own library runs it."""
    if kind == "onnx":
        return load(path.resolve(), sha256(path.resolve()), "cpu")
    program = torch.export.load(path).module()
    return lambda x, response, noise: program(
        x, torch.tensor([response.told]), torch.tensor([[noise.constant, noise.slope]])
    )


def _parity(engine: Engine, card: Card, runner: Callable[[Tensor, Response, Noise], Tensor]) -> float:
    """The largest difference from geosr's own engine, as a share of the result's range. Raises `ModelError` beyond."""
    worst = 0.0
    random = torch.Generator().manual_seed(0)
    halo, scale = engine.reach(PROBE), card.scales[0]
    for extra, (response, noise) in zip((24, 33), _TRIED, strict=True):
        height, width = (
            (2 * halo + more) // card.multiple * card.multiple + card.multiple for more in (extra, 2 * extra)
        )
        x = 2000 + 300 * torch.rand(height, width, generator=random).cumsum(1).sin()
        ours = torch.empty(height * scale, width * scale)
        with torch.inference_mode():
            engine(x[None], (Band(response, noise),), ours[None])
            try:
                theirs = runner(x[None, None], response, noise)[0, 0]
            except Exception as error:
                raise ModelError(f"what was exported can't be run: {one_line(error)}") from error
        rim = halo * scale
        inner = (slice(rim, -rim), slice(rim, -rim))
        apart = float((ours - theirs)[inner].abs().max() / (ours.max() - ours.min()))
        if not apart <= PARITY:  # nor if it is NaN
            raise ModelError(f"what was exported differs from {card.name} by {apart:.1e} of the range, over {PARITY}")
        worst = max(worst, apart)
    return worst


def default_path(model: str, scale: int, kind: Kind) -> Path:
    """Where an export goes where nothing is said: NAME_xSCALE.KIND in the current folder."""
    stem = Path(model).stem if model.endswith(".safetensors") else f"{model}_x{scale}"
    return Path(f"{stem}.{kind}")


def scale_of(model: str, scale: int | None) -> int:
    """The scale to export at: the one asked for, or the only one there is. Raises `ModelError` where it is not told."""
    card = registry.card(model)
    scales = card.scales
    if scale is None and card.network and len(scales) > 1:
        listed = " or ".join(map(str, scales))
        raise ModelError(f"{model} has weights for several scales; name one with --scale {listed}")
    return scales[0] if scale is None else scale
