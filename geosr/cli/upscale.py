"""`geosr upscale`: each option is a keyword of `geosr.upscale` under the same name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from geosr.cli.archive import upscale_all
from geosr.cli.clip import upscale_clip
from geosr.cli.headings import Grouped
from geosr.cli.progress import bar
from geosr.cli.streams import announce
from geosr.cli.talk import Talk, print_plan, say, tell, to_json
from geosr.cli.values import Whole, band_numbers, blur, bounds, classes, creation, numbers, scale_offset, tile_side
from geosr.video.library import is_clip

if TYPE_CHECKING:
    from geosr.run import Run


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Completions for a shell: the names of models that begin so, else files."""
    from geosr.models import registry

    names = [name for name in registry.names() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


_NAMED = "A name that `geosr models` lists, or a weights file."
model_option = click.option("--model", default="fast", show_default=True, shell_complete=model_names, help=_NAMED)

HEADINGS = {
    "Options": ("out", "output", "outdir", "to", "scale", "model", "bands", "aoi", "dry_run", "overwrite"),
    "What is read": ("mask", "guide", "fuse", "reference", "strict", "bounds", "nodata", "scale_offset", "categorical"),
    "Where and how it is written": ("format", "dtype", "co"),
    "How sharp, and how sure": ("window", "mtf", "snr", "project", "uncertainty", "trust_mask", "support"),
    "How fast": ("workers", "tile", "device", "precision", "scheduler"),
    "What is said": ("page", "as_json", "quiet", "verbose"),
}
"""What a newcomer needs, then what, where, how sharp, how fast."""


@click.command("upscale", cls=Grouped, headings=HEADINGS, short_help="Upscale a raster into a GeoTIFF or Zarr.")
@click.argument("paths", nargs=-1, required=True, metavar="SRC... [DST]", type=click.Path())
@click.option("-o", "--out", type=click.Path(), help="The result, as DST. [default: SRC's name and scale, beside it]")
@click.option(
    "--outdir",
    type=click.Path(),
    help="Upscale every SRC, and those that @LIST.txt names, into this folder as one run.",
)
@click.option(
    "--model",
    shell_complete=model_names,
    help=f"{_NAMED} [default: fast; of dates and clips multiframe at x2 and x3; with --guide glp; with --to what fits "
    "each grid]",
)
@click.option(
    "--guide",
    multiple=True,
    type=click.Path(),
    help="A finer raster, repeatable; SRCs are brought onto its grid together.",
)
@click.option(
    "--to",
    metavar="METRES",
    help="The pixels that bands of all SRCs are brought to, 10m; those that have them guide the others.",
)
@click.option(
    "--fuse",
    is_flag=True,
    help="SRCs are dates of one place, or SRC a folder of them, and become one result: name it, -o.",
)
@click.option("--reference", help="Of --fuse: the date to show, a file, its number or a date. [default: the first]")
@click.option("--strict", is_flag=True, help="Of --fuse: refuse dates that can't be read, instead of leaving them out.")
@click.option("--scale", type=Whole(2, 8), help="Output pixels per pixel. [default: 4; 1 with --to]")
@click.option("--window", type=int, help="Frames that one of a clip, or of many with --outdir, is made of.")
@click.option(
    "--bands",
    callback=band_numbers,
    help="Numbers from 1, ranges or names: 4,3,2 or 1-4 or B04,nir08. [default: all; of a product its finest]",
)
@click.option(
    "--mask",
    type=click.Choice(["clouds"]),
    help="No data where a product's own mask tells of clouds: of SCL cloud shadow, medium and high probability, and "
    "cirrus (3, 8, 9, 10); of others all clouds, their shadows and cirrus.",
)
@click.option(
    "--categorical",
    callback=classes,
    metavar="BANDS|none",
    help="Bands of classes, which are repeated, as for --bands. [default: as the file tells]",
)
@click.option("--bounds", callback=bounds, help="left,bottom,right,top in the scene's CRS. [default: all of it]")
@click.option("--aoi", type=click.Path(), help="GeoJSON polygon in any CRS; nothing outside it is computed.")
@click.option(
    "--mtf",
    callback=blur,
    help="The sensor's MTF at Nyquist, one or per band, or 'scene' to estimate it. [default: sensor table]",
)
@click.option("--snr", callback=numbers, help="Signal-to-noise ratio, one or per band. [default: from the scene]")
@click.option("--nodata", metavar="NUMBER", help="The number that means 'no data', nan or none. [default: the file's]")
@click.option("--scale-offset", callback=scale_offset, help="scale,offset of stored numbers. [default: the file's]")
@click.option("--dtype", help="Stored type of the result; must hold every input number. [default: the file's]")
@click.option(
    "--format",
    type=click.Choice(["COG", "GTiff", "Zarr"], case_sensitive=False),
    help="[default: Zarr where DST ends in .zarr, else COG]",
)
@click.option("--co", multiple=True, metavar="KEY=VALUE", callback=creation, help="Creation option, repeatable.")
@click.option("--tile", default="auto", callback=tile_side, show_default=True, help="Side of a tile in source pixels.")
@click.option("--workers", type=Whole(min=1), help="Tiles worked on at a time. [default: the cores]")
@click.option(
    "--scheduler", help="threads, processes, local:N, a Dask scheduler's address or its file. [default: threads]"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option(
    "--project/--no-project",
    default=None,
    help="Make the result, degraded as the sensor does it, give the input back. [default: generative models]",
)
@click.option(
    "--uncertainty", is_flag=True, help="Write a standard deviation of each number beside DST (NAME.sigma.tif)."
)
@click.option(
    "--trust-mask",
    metavar="RISK[,LIMIT]",
    callback=numbers,
    help="Write where errors stay under LIMIT, in stored numbers, but for a share RISK of those pixels, too "
    "(NAME.trust.tif). [default limit: a tenth of a band's range]",
)
@click.option(
    "--support", is_flag=True, help="Write how much of what is added the input determines (NAME.support.tif)."
)
@click.option("--dry-run", is_flag=True, help="Check everything, time one tile, print the plan, write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace DST, or what an earlier run left of it.")
@click.option("--report", "page", type=click.Path(), help="Write a page on the result, too: out.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what was found and assumed.")
def command(
    paths: tuple[str, ...],
    out: str | None,
    outdir: str | None,
    guide: tuple[str, ...],
    scheduler: str | None,
    dry_run: bool,
    page: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Upscale SRC, a raster of any size, type and number of bands, into DST.

    DST is a Cloud-Optimised GeoTIFF in the same place with the same numbers and metadata, or a Zarr store where its
    name ends in .zarr (s3://bucket/scene.zarr too). Without DST it lies beside SRC with the scale in its name:
    scene.tif becomes scene_x4.tif. A run that was stopped goes on when called again.

    With --guide several SRCs on one grid are one result, on the grid of the finer raster: Sentinel-2's 20 m bands on
    that of the 10 m bands, Landsat's on that of pan.

    With --to bands of several grids are one result: --to 10m brings those of 20 and 60 m onto the grid of the 10 m
    bands, which guide them; with --scale all of them go on from there.

    With -o alone several SRCs are products of one date and orbit, such as tiles that --aoi lies in: one result over the
    ground of all. Where they overlap the first that has data is taken.

    With --fuse SRCs are several dates of one place: what the others know is added to the result of the reference, on
    its grid; what changed since is not. OUT.frames.tif beside OUT.tif counts the dates that each pixel drew on.

    A clip (.mp4, .mov, .mkv, .ts) becomes a clip, each frame made with those around it (--window).

    With --outdir all arguments are scenes, or text files that name one a line (@LIST.txt): they are one run, in which a
    scene that fails stops no other, and one that is done already is skipped. Exit code 3 says that some failed.
    """
    if page is not None and (outdir is not None or guide or options["to"] is not None):
        raise click.UsageError("--report is of one scene and its result, without --outdir, --guide and --to")
    if outdir is not None:
        if out is not None:
            raise click.UsageError(f"-o {out} names one result, --outdir {outdir} the folder of all; leave one out")
        if guide:
            raise click.UsageError("--guide makes one result of all SRCs; name it with -o, and leave --outdir out")
        dates = [options.pop(name) for name in ("fuse", "reference", "strict")]
        if any(dates):
            raise click.UsageError("--fuse makes one result of all SRCs; name it with -o, and leave --outdir out")
        return upscale_all(paths, outdir, scheduler, Talk(dry_run, as_json, quiet, verbose), options)
    from geosr.api import prepare
    from geosr.cluster import looking_on

    overwrite = options.pop("overwrite")
    if (options["reference"] is not None or options["strict"]) and not options["fuse"]:
        raise click.UsageError("--reference and --strict speak of the dates of --fuse; add it, or leave them out")
    window = options.pop("window")
    several = guide or options["to"] is not None or options["fuse"]
    named = _sources_and_result(paths, out) if several else _source_and_result(paths, out)
    if window is not None or is_clip(named[0]):
        told = {"window": window, "scheduler": scheduler, "report": page, "overwrite": overwrite, "guide": guide}
        return upscale_clip(named, options | told, Talk(dry_run, as_json, quiet, verbose))
    with looking_on(scheduler):
        run = prepare(*named, guide=guide or None, overwrite=overwrite or dry_run, **options)
    _check_page(page, run)
    if not quiet:
        say(run, verbose)
    if dry_run:
        if not quiet:
            _say_what_stands_there(run, overwrite)
            if page is not None:
                tell(f"{page} is not written: a dry run writes nothing, no report either")
        print_plan(run.estimate(), as_json)
        return 0
    with bar(quiet) as advance:
        report = run.execute(advance, scheduler)
    for line in () if quiet else [line for line in report["warnings"] if line not in run.warnings]:
        tell(line)
    made = () if quiet else (report["path"], *report["others"].values())
    for line in (to_json(report),) if as_json else made:
        announce(line)
    if page is not None:
        _write_page(page, run, options["mtf"], quiet or as_json)
    return 0


def _check_page(page: str | None, run: Run) -> None:
    """Raise `InputError` or `PlaceError` where a report can't be written, before anything is computed."""
    if page is None:
        return
    from geosr.errors import InputError
    from geosr.report.report import check_report

    check_report(page)
    if run.layout.format == "Zarr":
        raise InputError("--report reads a GeoTIFF; leave it out for a Zarr store, or write a .tif")


def _write_page(page: str, run: Run, mtf: Any, quiet: bool) -> None:
    from geosr.report.report import command_of, report

    with bar(quiet) as advance:
        path = report(
            run.dst,
            page,
            lr=run.scene,
            mtf=None if mtf == "scene" else mtf,
            notes=run.notes,
            warnings=run.warnings,
            made=command_of([Path(sys.argv[0]).name, *sys.argv[1:]]),
            workers=run.workers,
            progress=advance,
        )
    if not quiet:
        announce(path)


def _source_and_result(paths: tuple[str, ...], out: str | None) -> tuple[Any, ...]:
    """The scene, and where its result goes, if that is said: products of one pass are one."""
    if out is not None and len(paths) > 1 and all("://" in path or Path(path).exists() for path in paths):
        return paths, out
    if len(paths) > 2 or any(path.startswith("@") for path in paths):
        raise click.UsageError("several scenes need --outdir, the folder that their results go to")
    if out is None:
        return paths
    if len(paths) == 2:
        raise click.UsageError(f"{paths[1]} and -o {out} both name the result; several scenes need --outdir")
    return paths[0], out


def _sources_and_result(paths: tuple[str, ...], out: str | None) -> tuple[Any, ...]:
    """The files whose bands are brought onto one grid, and where to, if that is said."""
    if out is None and len(paths) > 1:
        raise click.UsageError("--guide, --to and --fuse bring all arguments together: name the result with -o")
    return paths[0] if len(paths) == 1 else paths, out


def _say_what_stands_there(run: Run, overwrite: bool) -> None:
    """A dry run replaces nothing, so that it isn't refused; the run itself will be."""
    from geosr.io.sinks import is_there

    for path in dict.fromkeys(output.path for output in run.outputs()):
        if not overwrite and is_there(path):
            tell(f"{path} exists: without --dry-run this needs --overwrite, or another name")
