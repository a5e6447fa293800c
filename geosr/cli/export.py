"""`geosr export`: a network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geosr.cli.talk import print_report
from geosr.cli.upscale import model_names
from geosr.cli.values import Whole


@click.command("export", short_help="Write a model as ONNX or torch.export.")
@click.argument("model", shell_complete=model_names)
@click.option("--to", "kind", type=click.Choice(["onnx", "pt2"]), required=True, help="The format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: MODEL_xSCALE.onnx or .pt2 here]")
@click.option("--scale", type=Whole(2, 8), help="[default: the only one that MODEL has]")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def command(model: str, kind: Any, output: Path | None, scale: int | None, overwrite: bool, as_json: bool) -> None:
    """Write MODEL, a name that `geosr models` lists or a weights file, for onnxruntime or torch without geosr.

    It takes a band of any height and width, the sensor's MTF and the noise, and is compared with geosr's own before it
    takes its name. `geosr upscale --model FILE` runs ONNX files, too.
    """
    from geosr.errors import InputError
    from geosr.models.foreign.export import default_path, export, scale_of

    scale = scale_of(model, scale)
    path = output or default_path(model, scale, kind)
    if path.suffix != f".{kind}":
        raise InputError(f"{path} does not end in .{kind}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already; choose another name with -o, or --overwrite")
    print_report(export(model, scale, kind, path), as_json)
