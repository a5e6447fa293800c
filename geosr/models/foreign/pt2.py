"""Files of `torch.export`, read as data and interpreted operator by operator.

torch's own reader unpickles, evaluates expressions and calls functions that the file names, so that it can be made to
run anything. Here the graph is JSON, the weights are bytes, and what is called is an operator of ATen.
"""

from __future__ import annotations

import json
import operator
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.errors import ModelError
from geosr.models.card import KEY
from geosr.models.foreign.onnx import CONDITIONED, entries
from geosr.models.foreign.runner import one_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from geosr.noise import Noise
    from geosr.response import Response

_SCHEMA = 8
"""Major version of the graphs that are understood (torch._export.serde.schema), from torch 2.8 on."""
_ARITHMETIC = {"add", "sub", "mul", "floordiv", "mod", "neg", "truediv", "eq", "ne", "lt", "le", "gt", "ge", "getitem"}
"""What is done with sizes, functions of the module `operator`."""
_WORDS = {"mode", "approximate", "rounding_mode", "padding_mode", "indexing", "reduce", "padding"}
"""Names of arguments that are words; an operator that takes other text, such as the name of a file, is refused."""
_ASSERTIONS = ("aten._assert_tensor_metadata.", "aten._assert_scalar.", "aten.sym_constrain_range")
"""What the exporter wrote to check itself by."""
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    12: "bool", 13: "bfloat16",
}  # fmt: skip
"""torch._export.serde.schema.ScalarType"""
_LAYOUTS = {7: "strided"}
_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 4: "preserve_format"}


class Pt2:
    """The network of one image to one image in a .pt2 file."""

    kind = "torch.export"

    def __init__(self, path: Path, device: str) -> None:
        import torch

        self.path, self.device = path, device
        try:
            with zipfile.ZipFile(path) as archive:
                files = _Files(path, archive)
                model = json.loads(files.read("models/model.json"))
                if model["schema_version"]["major"] != _SCHEMA:
                    raise ModelError(f"{path} has a graph of version {model['schema_version']}, expected {_SCHEMA}.x")
                self.steps, self.result = _steps(path, model["graph_module"]["graph"])
                given, self.inputs = _inputs(model["graph_module"]["signature"])
                weights = files.tensors("weights") | files.tensors("constants")
                self.given = {name: weights[where].to(device) for name, where in given.items()}
                card = files.text(f"extra/{KEY}")
        except (ModelError, MemoryError):
            raise
        except OSError as error:
            raise ModelError(f"can't read the model {path}: {error.strerror or error}") from None
        except Exception as error:  # whatever a damaged or altered file leads to
            raise ModelError(f"{path} is no whole file of torch.export: {one_line(error)}") from None
        if len(self.inputs) != 1 and self.inputs != CONDITIONED:
            raise ModelError(f"{path} has inputs {', '.join(self.inputs)}; geosr runs networks of one image to one")
        self.float = torch.float32
        self.told, self.size = _shape(path, model["graph_module"]["graph"]["tensor_values"][self.inputs[0]])
        self.told |= {} if card is None else entries(path, card)

    def __call__(self, x: Tensor, response: Response, noise: Noise) -> Tensor:
        """See `Runner`."""
        import torch

        told = response.told, (noise.constant, noise.slope)
        others = (torch.tensor([each], dtype=self.float, device=x.device) for each in told)
        values: dict[str, Any] = self.given | dict(zip(self.inputs, (x, *others), strict=False))
        for step in self.steps:
            made = step.run(values)
            for name, value in zip(step.makes, [made] if step.single else made, strict=True):
                values[name] = value
            for name in step.last:
                values.pop(name, None)
        return values[self.result]  # type: ignore[no-any-return]


class _Step:
    """One operator of the graph: what it is called with, and the names of what it makes."""

    def __init__(self, path: Path, node: dict[str, Any]) -> None:
        self.function = _function(path, node)
        self.positional = [each["arg"] for each in node["inputs"] if each.get("kind", 1) == 1]
        self.named = {each["name"]: each["arg"] for each in node["inputs"] if each.get("kind", 1) != 1}
        outputs = [_made(each) for each in node["outputs"]]
        self.single = len(outputs) == 1 and isinstance(outputs[0], str)
        self.makes: list[str] = []
        for each in outputs:
            self.makes += [each] if isinstance(each, str) else each
        self.last: list[str] = []
        """What nobody needs after it."""

    def run(self, values: dict[str, Any]) -> Any:
        """What the step makes of values by their names."""
        return self.function(
            *(_value(arg, values) for arg in self.positional),
            **{name: _value(arg, values) for name, arg in self.named.items()},
        )

    def needs(self) -> set[str]:
        """Names of the values that it takes."""
        return {name for arg in (*self.positional, *self.named.values()) for name in _names(arg)}


def _steps(path: Path, graph: dict[str, Any]) -> tuple[list[_Step], str]:
    """The operators in their order, each with what can be let go after it, and the name of the result."""
    if len(graph["outputs"]) != 1:
        raise ModelError(f"{path} has {len(graph['outputs'])} outputs; geosr runs networks of one image to one image")
    result = _made(graph["outputs"][0])
    assert isinstance(result, str)
    nodes = [node for node in graph["nodes"] if not any(word in node["target"] for word in _ASSERTIONS)]
    steps = [_Step(path, node) for node in nodes]
    needed = {result}
    for step in reversed(steps):
        step.last = sorted((step.needs() | set(step.makes)) - needed)
        needed |= step.needs()
    return steps, result


def _function(path: Path, node: dict[str, Any]) -> Callable[..., Any]:
    """The operator that a node names. Raises `ModelError` for anything that is none of ATen's, or takes file names."""
    import torch

    library, _, rest = str(node["target"]).partition(".")
    if library == "_operator" and rest in _ARITHMETIC:
        return getattr(operator, rest)  # type: ignore[no-any-return]
    parts = rest.split(".")
    if library == "torch" and len(parts) == 4 and parts[:2] == ["ops", "aten"]:
        found = getattr(getattr(torch.ops.aten, parts[2], None), parts[3], None)
        if isinstance(found, torch._ops.OpOverload) and not _takes_text(found):
            return found
    raise ModelError(f"{path} asks for {node['target']}, which geosr does not run")


def _takes_text(found: torch._ops.OpOverload) -> bool:
    arguments = found._schema.arguments
    return any("str" in str(each.type) and each.name not in _WORDS for each in arguments)


def _value(arg: dict[str, Any], values: dict[str, Any]) -> Any:
    """An argument as the schema writes it: {"as_tensor": {"name": ...}}, {"as_ints": [...]}, and so on."""
    import torch

    ((kind, content),) = arg.items()
    if kind == "as_tensor":
        return values[content["name"]]
    if kind == "as_tensors":
        return [values[each["name"]] for each in content]
    if kind == "as_optional_tensors":
        return [None if "as_none" in each else values[each["as_tensor"]["name"]] for each in content]
    if kind == "as_name":
        return values[content]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _value(content, values)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_value(each, values) for each in content]
    if kind == "as_none":
        return None
    if kind == "as_scalar_type":
        return getattr(torch, _DTYPES[content])
    if kind == "as_layout":
        return getattr(torch, _LAYOUTS[content])
    if kind == "as_memory_format":
        return getattr(torch, _MEMORY_FORMATS[content])
    if kind == "as_device":
        return next(value.device for value in values.values() if isinstance(value, torch.Tensor))
    if kind == "as_float":  # JSON has no word for NaN and infinity, which are texts
        return float(content)
    if kind == "as_floats":
        return [float(each) for each in content]
    if kind in ("as_int", "as_ints", "as_bool", "as_bools", "as_string"):
        return content
    raise ModelError(f"an argument of the kind {kind} is none that geosr reads")


def _names(arg: Any) -> Iterator[str]:
    if isinstance(arg, dict):
        for key, value in arg.items():
            if key in ("name", "as_name") and isinstance(value, str):
                yield value
            else:
                yield from _names(value)
    elif isinstance(arg, list):
        for each in arg:
            yield from _names(each)


def _made(output: dict[str, Any]) -> str | list[str]:
    names = list(_names(output))
    return names if "as_tensors" in output else names[0]


def _inputs(signature: dict[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Where the graph's names for weights stand among the weights, and its names for what it is called with."""
    given, inputs = {}, []
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        (name,) = _names(content["arg"])
        if kind == "user_input":
            inputs.append(name)
        else:
            given[name] = content[{"tensor_constant": "tensor_constant_name"}.get(kind, f"{kind}_name")]
    return given, tuple(inputs)


def _shape(path: Path, meta: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, int] | None]:
    sizes = [size.get("as_int") for size in meta["sizes"]]
    if len(sizes) != 4 or sizes[0] not in (1, None) or _DTYPES.get(meta["dtype"]) != "float32":
        raise ModelError(f"{path} takes {sizes} of {_DTYPES.get(meta['dtype'])}; geosr gives (1, bands, height, width)")
    if (sizes[2] is None) != (sizes[3] is None):
        raise ModelError(f"{path} takes {sizes}, of which one side is fixed; geosr needs both or neither")
    told = {} if sizes[1] is None else {"bands": sizes[1]}
    return told, None if sizes[2] is None else (sizes[2], sizes[3])


class _Files:
    """The files of an archive, under the one folder that they lie in."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        root = next((name for name in archive.namelist() if name.endswith("models/model.json")), None)
        if root is None:
            raise ModelError(f"{path} holds no models/model.json; geosr reads what torch.export.save writes since 2.8")
        self.root = root.removesuffix("models/model.json")

    def read(self, name: str) -> bytes:
        """A file of the archive."""
        return self.archive.read(self.root + name)

    def text(self, name: str) -> str | None:
        """A file as text; None where there is none."""
        return self.read(name).decode() if self.root + name in self.archive.namelist() else None

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """Weights or constants by name. Raises `ModelError` for those that are pickled."""
        import torch

        found = {}
        for name, entry in json.loads(self.read(f"data/{kind}/model_{kind}_config.json"))["config"].items():
            meta = entry["tensor_meta"]
            if entry["use_pickle"] or meta is None:
                raise ModelError(f"{self.archive.filename} holds {name} as a pickle, which could run any code; refused")
            content = bytearray(self.read(f"data/{kind}/{entry['path_name']}"))
            sizes, strides = ([each["as_int"] for each in meta[which]] for which in ("sizes", "strides"))
            dtype = getattr(torch, _DTYPES[meta["dtype"]])
            flat = torch.frombuffer(content, dtype=dtype) if content else torch.zeros(0, dtype=dtype)
            found[name] = torch.as_strided(flat, sizes, strides, meta["storage_offset"]["as_int"])
        return found
