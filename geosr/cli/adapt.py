"""`geosr adapt`: a model fine-tuned on the scene that it is for."""

from __future__ import annotations

from typing import Any

import click

from geosr.cli.streams import announce
from geosr.cli.talk import tell
from geosr.cli.train import watching
from geosr.cli.upscale import model_option
from geosr.cli.values import Whole, numbers


@click.command("adapt", short_help="Fine-tune a model on a scene, without a reference.")
@click.argument("src", type=click.Path())
@model_option
@click.option("--scale", type=Whole(2, 8), default=4, show_default=True, help="Output pixels per pixel.")
@click.option("-o", "--out", "dst", type=click.Path(), help="[default: SRC's name, model and scale, .safetensors]")
@click.option("--mtf", callback=numbers, help="The sensor's MTF at Nyquist, one or per band. [default: sensor table]")
@click.option("--snr", callback=numbers, help="Signal-to-noise ratio, one or per band. [default: from the scene]")
@click.option("--minutes", default=5.0, show_default=True, help="The most that the fine-tuning takes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def command(src: str, quiet: bool, **options: Any) -> None:
    """Fine-tune MODEL on SRC's own lower scale, and keep it only if held-out parts of SRC improve by more than chance.

    The model is written, and its path printed, for `geosr upscale SRC --scale N --model PATH`. Where nothing is gained
    for sure, nothing is written or printed on stdout, stderr says so with the figures, and the exit code is 0: the
    model that there is was the best one.
    """
    from geosr.training.adapt import adapt

    with watching(quiet) as watch:
        adapted = adapt(src, watch=watch, **options)
    told = f"{adapted.gain} dB over {options['model']} on {adapted.blocks} held-out blocks of the scene's lower scale"
    if adapted.path is None:
        if not quiet:
            tell(f"nothing written: {told}, which is not above chance; use {options['model']} as it is")
        return
    if not quiet:
        tell(told)
    announce(adapted.path)
