"""The wiring: it chooses and checks, and computes nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from geosr.cluster import looking_on
from geosr.errors import InputError
from geosr.guiding import network_of, path_of
from geosr.io.categorical import ALPHA
from geosr.io.companions import check_companions
from geosr.io.destination import check_name, check_result, default_name, format_of
from geosr.io.frames import open_frames
from geosr.io.guided import Paths, open_guided
from geosr.io.layout import CARDS, Format, Layout, Options, choose_core
from geosr.io.scene import Scene
from geosr.io.sinks import check_format
from geosr.keywords import check_kinds, handed_on, keywords
from geosr.models.frames import HEADS
from geosr.models.model import Precision
from geosr.models.own import TorchNetwork
from geosr.models.runtime import ModelNetwork
from geosr.models.sharpening import Brought
from geosr.models.uncertain import beside
from geosr.observing import check_fused, check_guided, metres_of, scale_of, settle
from geosr.pipeline import at_once
from geosr.products import open_on, open_source
from geosr.provenance import provenance
from geosr.radiometry import Radiometry
from geosr.run import Progress, Report, Run
from geosr.sharpening import brought, core_of, model_of, sharpeners
from geosr.tiling import TilePlan
from geosr.upscaler import plan_tiles
from geosr.video.library import is_clip
from geosr.video.run import clip_run
from geosr.window import Window


@keywords()
def upscale(
    src: str | Path | Sequence[str | Path],
    dst: str | Path | None = None,
    *,
    guide: str | Path | Sequence[str | Path] | None = None,
    to: float | str | None = None,
    fuse: bool = False,
    reference: int | str | Path | None = None,
    strict: bool = False,
    model: str | TorchNetwork | None = None,
    scale: int | None = None,
    bands: Sequence[int | str] | None = None,
    mask: Literal["clouds"] | None = None,
    categorical: Sequence[int | str] | Literal["none"] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    aoi: str | Path | None = None,
    mtf: float | Sequence[float] | Literal["scene"] | None = None,
    snr: float | Sequence[float] | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
    dtype: str | None = None,
    format: Format | None = None,
    co: Mapping[str, str] | None = None,
    tile: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    project: bool | None = None,
    uncertainty: bool = False,
    trust_mask: float | Sequence[float] | None = None,
    support: bool = False,
    window: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    scheduler: str | Path | None = None,
    client: Any = None,
) -> Report:
    """Upscale a raster file into a GeoTIFF or Zarr store; returns a report of what was done, under "path" where it is.

    The result has the same outer edges, CRS, radiometry and metadata; only the pixel size is divided by the scale. It
    takes its final name only when it is whole. A run that was stopped goes on when called again with the same input and
    options.

    Parameters
    ----------
    src
        A raster file, URL (https://, s3://) or anything else that GDAL opens; a product as it was delivered, in its
        folder or archive, or several of one date and orbit, which make one result over the ground of all; with a guide
        also several files on one grid, with `to` of several grids, whose bands go into one result; with
        `fuse` several dates of a place.
    dst
        The result; `scene_x4.tif` beside `scene.tif` by default. A name in .zarr makes a Zarr store, in a folder or an
        object store (s3://bucket/scene.zarr), which the workers write themselves.
    model
        A name that `geosr models` lists, a file of a network (.safetensors, .onnx, .pth), or a `geosr.TorchNetwork`.
        By default "fast"; "glp" beside a guide, "multiframe" where dates are fused at a scale that it has, and with
        `to` the guided model that fits each grid.
    guide
        A finer raster of the same place, or several files on one grid: Sentinel-2's 10 m bands, Landsat's pan. The
        result lies on its grid, and there is no `scale` beside it.
    to
        Metres of a pixel, 10 or "10m": the bands of all files go into one result whose pixels have that size, in
        order; those of such pixels stay and guide the coarser ones, each grid with the guided model that fits it. With
        `scale` the model makes all of them finer from there.
    fuse
        Bring several dates of a place, a list or a folder of them, into one result on the grid of the reference: what
        the others know is added to the model's result of that. Where each lies is found from the pixels; dates that
        don't fit are left out, which the report says. A second result counts the dates that each pixel drew on.
    reference
        The date that the result shows: a file of `src`, its number from 1, or a date in its name; the first if None.
    strict
        Refuse dates that can't be read instead of leaving them out.
    scale
        Output pixels per source pixel each way; 4 by default, 1 with `to`.
    bands
        Numbers counted from 1, or names; all by default. Of a product names, its own or common ones (B8A, nir08), that
        share a grid; by default the measured ones of the finest.
    mask
        "clouds": no data is made of what a product's own mask tells of clouds and their shadows (of SCL 3, 8, 9, 10).
    categorical
        Bands that hold classes or flags, and are repeated instead of mixed, as numbers or names; "none" for none of
        them. By default those of which the file says so, by a palette, names of classes, CF's flags or their own name.
    bounds
        Left, bottom, right, top in the scene's CRS, snapped outwards to whole pixels.
    aoi
        GeoJSON file with polygons in any CRS; what lies outside is neither computed nor written.
    mtf
        The sensor's modulation transfer at the source's Nyquist frequency, in (0, 1), one or one per band; "scene" to
        estimate it from the pixels where they tell; from the sensor table, else a safe default, if None.
    snr
        Signal-to-noise ratio, above 0, one or one per band; the noise is estimated from the scene if None.
    nodata, scale_offset
        Take the place of what the file says; nodata may be "none".
    dtype
        Stored type of the result; must hold every number of the source's.
    format
        "COG", "GTiff" or "Zarr"; by the suffix of `dst` by default, Zarr for .zarr and else a COG.
    co
        Creation options: COMPRESS, LEVEL, PREDICTOR, BLOCKSIZE, INTERLEAVE, BIGTIFF, OVERVIEWS, RESAMPLING,
        and for Zarr ZARR_FORMAT (2 or 3).
    tile
        Side of a tile, source pixels, rounded up to what the file's blocks allow; it changes memory, speed, no pixel.
    workers
        Tiles worked on at a time; by default the processor's cores, or three for each graphics card if those are more.
    device
        Where the network computes: "auto", "cpu", "cuda" (all cards of one kind) or "cuda:1" (that one). A card's
        stored numbers may differ from a processor's by one count; its own are the same in any tiling.
    precision
        "bfloat16" is quicker on hardware that has it; the detail then differs by about half a percent.
    project
        Correct the result so that, degraded as the sensor does it, it gives the input back but for noise. Those of
        generative models always are; other networks are nearer to finer pixels' truth without it.
    uncertainty
        Write a standard deviation for each number beside the result, `scene_x4.sigma.tif`, or the array `sigma` of its
        Zarr store: 1.645 of it on either side hold nine tenths of the truth, where the scene is like those that this
        was measured on, which is tested and said.
    trust_mask
        A risk, such as 0.1: write `scene_x4.trust.tif` too, 1 where a pixel's error is to stay under a limit, 0 where
        that can't be said, 255 for no data. Of pixels that are 1 no more than that share has a larger error, in the
        mean over scenes like those that this was measured on. The limit is a tenth of what a band ranges over, or the
        second of two numbers, in stored ones: (0.1, 50).
    support
        Write `scene_x4.support.tif` too: how much of what was added to bicubic the observation determines, percent; the
        rest is what the model supposes. 255 for no data.
    window
        Of a clip (.mp4, .mov, .mkv, .ts): frames that each is made of, itself and those beside it; 7 by default, 1 for
        each alone. The result has the same frames at the same times, and its other streams. Beside it a clip takes
        scale, model, mtf, snr, tile, workers, device and precision.
    overwrite
        Replace `dst`, or what a run with other options left of it.
    progress
        Called for each finished tile with the tiles done, the tiles in all, and source pixels times bands done so far.
    scheduler
        Where tiles run: "threads" (the default), "processes", "local:N" for N Dask workers on this machine, the address
        of a Dask scheduler such as "tcp://host:8786", or a scheduler file. Nothing of the result depends on it.
    client
        A `distributed.Client`, instead of `scheduler`.

    Raises
    ------
    geosr.errors.InputError
        The input or an option is at fault; nothing was written.
    geosr.errors.GeosrError
        The place failed, or a tile; what was done is kept for the next call.
    """
    if window is not None or is_clip(src):
        return clip_run(src, dst, locals()).execute(progress)
    with looking_on(place := scheduler if client is None else client):
        return prepare(src, dst, **handed_on(prepare, locals())).execute(progress, place)


@keywords(like=upscale)
def prepare(
    src: str | Path | Sequence[str | Path],
    dst: str | Path | None = None,
    *,
    guide: str | Path | Sequence[str | Path] | None = None,
    to: float | str | None = None,
    fuse: bool = False,
    reference: int | str | Path | None = None,
    strict: bool = False,
    model: str | TorchNetwork | None = None,
    scale: int | None = None,
    bands: Sequence[int | str] | None = None,
    mask: Literal["clouds"] | None = None,
    categorical: Sequence[int | str] | Literal["none"] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    aoi: str | Path | None = None,
    mtf: float | Sequence[float] | Literal["scene"] | None = None,
    snr: float | Sequence[float] | None = None,
    nodata: float | str | None = None,
    scale_offset: tuple[float, float] | None = None,
    dtype: str | None = None,
    format: Format | None = None,
    co: Mapping[str, str] | None = None,
    tile: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    project: bool | None = None,
    uncertainty: bool = False,
    trust_mask: float | Sequence[float] | None = None,
    support: bool = False,
    overwrite: bool = False,
) -> Run:
    """Everything that `upscale` will do, checked and decided; no result is computed and nothing is written."""
    check_kinds(workers=workers, tile=tile, bounds=bounds, scale_offset=scale_offset, co=co)
    metres = metres_of(to)
    times = scale_of(scale, guided=guide is not None, to=metres)
    found, own = model_of(model, times, metres, beside(uncertainty, trust_mask, support), fuse, guide is not None)
    check_guided(found, guide is not None or times == 1, project)
    _check_observed(metres, times, mtf=mtf, snr=snr)
    check_fused(found, fuse, guide is not None or metres is not None, project, reference)
    dates = {"reference": reference, "strict": strict} if fuse else None
    scene = _scene(src, guide, metres, dates, **handed_on(open_source, locals()))
    _check_type(scene, dtype)
    scene, models = sharpeners(scene, found if found.guided and not own else None)
    scene = scene.stored_as(dtype)
    found = Brought(models) if metres is not None and times == 1 else found
    kind = format_of(dst, format)
    wish = dst if dst is not None else default_name(scene.path, scene.called(times), kind)
    check_name(wish, scene.files, kind)
    target = check_result(wish, kind, overwrite)
    check_companions(target, [head.name for head in (HEADS if fuse else found.heads)[1:]], scene.files, kind, overwrite)
    radiometry = replace(scene.radiometry, out_dtype=dtype or scene.dtype)
    settled = settle(
        found,
        radiometry=radiometry,
        sensor=scene.sensor,
        mtf=mtf,
        snr=snr,
        project=project,
        device=device,
        precision=precision,
        fused=fuse,
    )
    scene, about = brought(scene, models, settled, mtf=mtf, snr=snr)
    network, notes = network_of(settled, scene)
    layout, plan = _plan(scene, radiometry, network, kind, co or {}, tile)
    check_format(layout)
    source, upscaler = path_of(network, radiometry, scene, plan.core)
    return Run(
        scene=scene,
        source=source,
        dst=target,
        plan=plan,
        tiles=plan if scene.area is None else plan.over(scene.touches),
        layout=layout,
        network=network,
        upscaler=upscaler,
        workers=workers or at_once(network.cards),
        overwrite=overwrite,
        notes=(*about, *notes),
        tags=provenance(network, scene, radiometry, layout),
    )


def _check_observed(to: float | None, times: int, **options: Any) -> None:
    """Raise `InputError` for options on how bands were seen where that is asked twice: as measured, and on one grid."""
    given = [name for name, value in options.items() if value is not None]
    if to is not None and times > 1 and given:
        raise InputError(
            f"--{given[0]} speaks of bands as they were measured, and --scale of them at {to:g} m; run --to {to:g}m "
            "with it first, then --scale on that result"
        )


def _scene(src: Paths, guide: Paths | None, to: float | None, dates: dict[str, Any] | None, **options: Any) -> Scene:
    """The scene of a file, products or dates, of bands on their guide's grid, or of several grids on one."""
    if dates is not None:
        return open_frames(src, open_source, **dates, **options)
    if guide is not None:
        if options.pop("mask") is not None:
            raise InputError("--mask goes with a product, not with --guide; mask the bands or the result yourself")
        return open_guided(src, guide, **options)
    if to is not None:
        return open_on(src, to, **options)
    return open_source(src, **options)


def _check_type(scene: Scene, dtype: str | None) -> None:
    if dtype not in (None, scene.dtype) and any(band.repeated == ALPHA for band in scene.sensor.bands):
        raise InputError(
            f"--dtype {dtype}: {scene.name} has an alpha band in {scene.dtype}, which would mean another opacity; keep "
            "the type, or choose the other bands with --bands"
        )


def _plan(
    scene: Scene,
    radiometry: Radiometry,
    network: ModelNetwork,
    format: Format,
    co: Mapping[str, str],
    tile: int | None,
) -> tuple[Layout, TilePlan]:
    options = Options.parse([f"{key}={value}" for key, value in co.items()], format)
    scale, count, (height, width) = network.scale, len(scene.bands), scene.shape
    itemsize = np.dtype(radiometry.out_dtype).itemsize + 4 * (len(network.heads) - 1)
    beside = max(network.halo, CARDS if network.cards else 0)
    core, block = choose_core(scale, count, itemsize, beside, tile or core_of(scene, scale), options.block)
    layout = Layout(
        height=height * scale,
        width=width * scale,
        count=count,
        dtype=radiometry.out_dtype,
        block=block,
        tile=core * scale,
        nodata=scene.nodata,
        masked=scene.writes_mask or (scene.area is not None and scene.metadata.nodata is None),
        nearest=scene.categorical,
        format=format,
        options=options,
    )
    around = Window(-scene.window.row, -scene.window.col, *scene.full)
    return layout, plan_tiles(scene.shape, core, network, gaps=scene.has_gaps, around=around)
