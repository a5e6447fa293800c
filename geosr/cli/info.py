"""`geosr info`: what geosr sees in a file."""

from __future__ import annotations

from typing import Any

import click

from geosr.cli.streams import out


@click.command("info", short_help="What geosr sees in a raster.")
@click.argument("file", type=click.Path())
@click.option(
    "--mtf", is_flag=True, help="Estimate the blur of each band from the pixels, beside what would be assumed."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(file: str, mtf: bool, as_json: bool) -> None:
    """Size, grid, bands, radiometry, sensor and warnings of FILE, and what `geosr upscale` would assume."""
    from geosr.cli.talk import shown, to_json
    from geosr.products.describe import describe_source

    facts = describe_source(file) | _brought(file) | ({"mtf_at_nyquist": _blur(file)} if mtf else {})
    if as_json:
        out(to_json(facts))
        return
    for key, value in facts.items():
        if not value or (isinstance(value, list) and all(item is None for item in value)):
            continue  # nothing to say; JSON has it
        if key == "mtf_at_nyquist":
            value = "\n".ljust(19).join(_in_words(band) for band in value)
        out(f"{key.replace('_', ' '):16}  {shown(value)}")


def _brought(file: str) -> dict[str, list[str]]:
    """Of a product what --to its finest pixels does: which model brings which bands from which pixels."""
    from geosr.errors import InputError
    from geosr.products import open_on, read_product
    from geosr.sharpening import plan_of

    product = read_product(file)
    sizes = sorted({part.pixel for part in product.measured}) if product else []
    if len(sizes) < 2:
        return {}
    try:
        return {f"to_{sizes[0]:g}m": plan_of(open_on(file, sizes[0]))}
    except InputError:  # told of among the warnings
        return {}


def _blur(file: str) -> list[dict[str, Any]]:
    """Of each band whose pixels are numbers: what the scene tells of its MTF, and what is assumed."""
    from geosr.observing import blur_of
    from geosr.products import open_source

    scene = open_source(file)
    return [
        {
            "band": band.name,
            "scene": None if found.mtf is None else round(found.mtf, 3),
            "likely_error": None if found.mtf is None else round(found.error, 3),
            "scene_why": found.why,
            "assumed": round(band.response.mtf, 3),
            "assumed_why": band.about_response,
        }
        for band, found in zip(scene.sensor.bands, blur_of(scene), strict=True)
        if not band.categorical
    ]


def _in_words(band: dict[str, Any]) -> str:
    told = f"can't tell: {band['scene_why']}"
    if band["scene"] is not None:
        told = f"{band['scene']:.2f} from {band['scene_why']}"
    return f"{band['band']}: {told}; assumed {band['assumed']:g} ({band['assumed_why']})"
