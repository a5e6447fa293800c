"""`da.geosr`: super-resolution where analysts live."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from geosr import __version__
from geosr.errors import InputError
from geosr.io.categorical import listed
from geosr.keywords import handed_on, keywords
from geosr.models.model import Precision
from geosr.models.own import TorchNetwork
from geosr.observing import Settled
from geosr.radiometry import widened
from geosr.sensors import projection
from geosr.tiling import TilePlan
from geosr.xarray.cf import band_dim, band_names, grid_of, named
from geosr.xarray.datasets import finer_dataset, planes_of, with_mappings
from geosr.xarray.export import Progress, to_geotiff
from geosr.xarray.finer import with_grid
from geosr.xarray.frames import upscale_fused
from geosr.xarray.guided import upscale_guided
from geosr.xarray.lazy import upscale_dask, upscale_numpy
from geosr.xarray.recipe import Recipe
from geosr.xarray.results import together, with_others
from geosr.xarray.scenes import NODATA, axes_of, recipe_of
from geosr.xarray.zarr import to_zarr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from geosr.xarray.widget import Viewer


@xr.register_dataarray_accessor("geosr")
class DataArrayGeosr:
    """Super-resolution of a DataArray with rows, columns and any other dimensions, in any order."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @property
    def geobox(self) -> GeoBox:
        """The pixel grid; with an identity transform where nothing says where the pixels lie."""
        with named(self._array):
            return grid_of(self._array).geobox

    @keywords()
    def upscale(
        self,
        model: str | TorchNetwork | None = None,
        scale: int | None = None,
        *,
        guide: xr.DataArray | Sequence[xr.DataArray] | None = None,
        fuse: bool = False,
        reference: int | str | None = None,
        categorical: Sequence[int | str] | Literal["none"] | None = None,
        mtf: float | Sequence[float] | None = None,
        snr: float | Sequence[float] | None = None,
        nodata: float | None = None,
        dtype: str | None = None,
        tile: int | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        project: bool | None = None,
        uncertainty: bool = False,
        trust_mask: float | Sequence[float] | None = None,
        support: bool = False,
    ) -> xr.DataArray | xr.Dataset:
        """The array on a grid with `scale` times as many pixels each way, on the same ground.

        A Dask array gives a lazy result: nothing is read and no network is loaded until it is computed, and a crop of
        it computes the tiles that it meets. A numpy array is upscaled now. Pixels are those of `geosr.upscale`; type,
        nodata, attributes, encoding, name and other coordinates stay; `nodata`, where given, becomes `_FillValue`.
        Positions along dimensions other than bands, such as time, are scenes of their own, unless they are fused. Of
        what gives more than an image it is a Dataset of the image and the rest, such as `sigma`, which share their
        tiles.

        Raises `InputError` and `ModelError` at once, for what can't be done.

        Parameters
        ----------
        model
            A name that `geosr models` lists, a file of a network, or a `geosr.TorchNetwork`. By default "fast";
            "glp" beside a guide, "multiframe" where dates are fused at a scale that it has.
        scale
            Output pixels per source pixel each way; 4 by default.
        guide
            A finer array of the same place, or several on one grid: Sentinel-2's 10 m bands, Landsat's pan. The result
            lies on its grid, and there is no `scale` beside it.
        fuse
            The positions along the one other dimension are dates of a place: what the others know is added to the
            reference, and what changed is not. A Dataset of the image and of `frames`, the dates that each pixel drew
            on. Whether any date fits is known when a pixel is computed: raises `InputError` then.
        reference
            With `fuse` the date to show: its number from 1, or a text such as "2024-05" that is in one date alone; the
            first by default. With "each" all of them, each fused with the seven nearest in time: a series again, in
            which a date that no other fits stays as it is.
        categorical
            Bands that hold classes or flags, and are repeated instead of mixed: their names or numbers, or the name of
            the array; "none" for none of them. By default those of which the array says so, by CF's flags or a name.
            GEOSR_CATEGORICAL among the result's attributes says which bands are repeated and why.
        mtf
            The sensor's modulation transfer at the source's Nyquist frequency, in (0, 1), one or one per band; from
            the sensor table, else a safe default, if None.
        snr
            Signal-to-noise ratio, above 0, one or one per band; the noise is estimated from each scene if None.
        nodata
            The number that means "no data", in the place of what the array says.
        dtype
            Type of the result; must hold every number of the array's.
        tile
            Side of a tile, source pixels; it changes memory and speed, no pixel.
        device
            Where the network computes: "auto", "cpu", "cuda" or "cuda:1". A card's stored numbers may differ from a
            processor's by one count; its own are the same however the array is chunked.
        precision
            "bfloat16" is quicker on hardware that has it; the detail then differs by about half a percent.
        project
            Correct the result so that, degraded as the sensor does it, it gives the input back but for noise.
            Those of generative models always are; other networks are nearer to finer pixels' truth without it.
        uncertainty
            Give a Dataset with a standard deviation of each number, `sigma`, beside the image: 1.645 of it on either
            side hold nine tenths of the truth, if it is like what this was measured on, which of an array isn't tested.
        trust_mask, support
            Give `trust` and `support` too, as `geosr.upscale` does.
        """
        array, options = self._array, handed_on(recipe_of, locals())
        with named(array):
            recipe = recipe_of(array, **options)
            if guide is not None:
                guided, finer = upscale_guided(array, guide, recipe.settled, tile)
                results = [guided]
            else:
                made = upscale_fused(array, recipe, reference) if fuse else _upscaled(array, recipe)
                results, finer = made, str(recipe.scale)
        settled = recipe.settled
        for result in results:
            if dtype is not None:
                result.encoding.pop("dtype", None)
            if nodata is not None:
                _say_nodata(result, widened(nodata, str(self._array.dtype)))
            if categorical is not None:
                result.coords["band_categorical"] = _along_bands(result, list(settled.categorical))
            result.attrs |= _provenance(settled, finer)
        return results[0] if len(results) == 1 else together(results, settled.heads)

    @keywords(like=upscale)
    def plan(
        self,
        model: str | TorchNetwork | None = None,
        scale: int | None = None,
        *,
        categorical: Sequence[int | str] | Literal["none"] | None = None,
        mtf: float | Sequence[float] | None = None,
        snr: float | Sequence[float] | None = None,
        nodata: float | None = None,
        dtype: str | None = None,
        tile: int | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        project: bool | None = None,
        uncertainty: bool = False,
        trust_mask: float | Sequence[float] | None = None,
        support: bool = False,
    ) -> TilePlan:
        """The tiles that `upscale` with the same options works by; loads the network for its halo."""
        with named(array := self._array):
            return recipe_of(array, **handed_on(recipe_of, locals())).ready().plan

    def to_geotiff(
        self,
        path: str | Path,
        *,
        cog: bool = True,
        co: Mapping[str, str] | None = None,
        workers: int | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """Write the array into a GeoTIFF, computing it tile by tile; see `geosr.xarray.export.to_geotiff`."""
        return to_geotiff(self._array, path, cog=cog, co=co, workers=workers, overwrite=overwrite, progress=progress)

    def to_zarr(
        self,
        path: str | Path,
        *,
        co: Mapping[str, str] | None = None,
        workers: int | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Path | str:
        """Write the array into a Zarr store with overviews, tile by tile; see `geosr.xarray.zarr.to_zarr`."""
        return to_zarr(self._array, path, co=co, workers=workers, overwrite=overwrite, progress=progress)

    @keywords(like=upscale)
    def view(
        self,
        model: str | TorchNetwork = "fast",
        scale: int = 4,
        *,
        categorical: Sequence[int | str] | Literal["none"] | None = None,
        mtf: float | Sequence[float] | None = None,
        snr: float | Sequence[float] | None = None,
        device: str = "auto",
        project: bool | None = None,
        height: int = 560,
    ) -> Viewer:
        """A widget that shows the array beside what `upscale` makes of it, for JupyterLab, VS Code and Colab.

        What is in view is computed, and nothing else; no port is opened. Bands, model, stretch and uncertainty are
        chosen in it. Raises `InputError` where anywidget is not installed (the extra `view`), and as `upscale`.

        Parameters
        ----------
        height
            Of the widget, pixels of the screen.
        """
        try:
            from geosr.xarray.widget import Viewer
        except ImportError as error:
            raise InputError("da.geosr.view() needs anywidget; pip install 'geosr[view]'") from error
        from geosr.xarray.view import ArrayGround

        options = {"categorical": categorical, "mtf": mtf, "snr": snr, "device": device, "project": project}
        with named(self._array):
            return Viewer(ArrayGround(self._array, model, scale, **options), height)

    def compare(self, other: xr.DataArray, bands: Sequence[int] | None = None) -> Figure:
        """A figure of this array beside another of the same place, such as its upscaled one; needs matplotlib.

        Both are stretched alike, from the 2nd to the 98th percentile of this one. `bands` are three positions along
        the band dimension for red, green and blue, or one; the first three by default, or the first.
        """
        from geosr.xarray.figure import compare

        return compare(self._array, other, bands)


def _provenance(settled: Settled, finer: str) -> dict[str, str]:
    """Attributes that say how a result was made."""
    told = {"GEOSR_VERSION": __version__, "GEOSR_MODEL": settled.model.card.title, "GEOSR_SCALE": finer}
    if classes := listed(settled.bands):
        told["GEOSR_CATEGORICAL"] = classes
    if settled.projected:
        told["GEOSR_PROJECTED"] = projection(settled.bands)
    return told | settled.model.promises(settled.bands)


def _upscaled(array: xr.DataArray, recipe: Recipe) -> list[xr.DataArray]:
    """The results on the array's own ground, lazy where it is."""
    grid = grid_of(array)
    data = array.data.astype("uint8" if array.dtype == bool else array.dtype.newbyteorder("="), copy=False)
    axes = axes_of(array, grid)
    lazy = isinstance(data, da.Array)
    fine = upscale_dask(data, axes, recipe) if lazy else upscale_numpy(np.asarray(data), axes, recipe)
    image, *others = fine
    data = [image.astype(bool) if array.dtype == bool else image, *others]
    return [with_grid(array, each, grid.zoom(recipe.scale)) for each in data]


def _along_bands(array: xr.DataArray, values: list[Any]) -> Any:
    """Values of bands as a coordinate is assigned."""
    dim = band_dim(array)
    return values[0] if dim is None else (dim, values)


def _say_nodata(array: xr.DataArray, nodata: float) -> None:
    for key in NODATA:
        array.attrs.pop(key, None)
        array.encoding.pop(key, None)
    array.attrs["_FillValue"] = array.dtype.type(nodata)


@xr.register_dataset_accessor("geosr")
class DatasetGeosr:
    """Super-resolution of every variable of a Dataset that has rows and columns of numbers."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = with_mappings(dataset)

    @property
    def geobox(self) -> GeoBox:
        """The pixel grid that the variables share: that of the first with rows and columns."""
        geobox: GeoBox = next(iter(planes_of(self._dataset).values())).geosr.geobox
        return geobox

    @keywords(like=DataArrayGeosr.upscale)
    def upscale(
        self,
        model: str | TorchNetwork | None = None,
        scale: int | None = None,
        *,
        categorical: Sequence[int | str] | Literal["none"] | None = None,
        mtf: float | Sequence[float] | None = None,
        snr: float | Sequence[float] | None = None,
        nodata: float | None = None,
        dtype: str | None = None,
        tile: int | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        project: bool | None = None,
        uncertainty: bool = False,
        trust_mask: float | Sequence[float] | None = None,
        support: bool = False,
    ) -> xr.Dataset:
        """The dataset on a finer grid; see `DataArrayGeosr.upscale`.

        Variables of numbers on rows and columns are upscaled, CF bounds of rows and columns are cut for the new grid,
        and what else a row, a column or a pixel has (numbers of a row, texts, times) is repeated. Variables without
        rows and columns stay as they are. What has no value on the new grid, such as latitudes and areas of cells for
        each pixel, is left out, with a warning.
        """
        options = handed_on(DataArrayGeosr.upscale, locals())
        planes = planes_of(self._dataset)
        classes = _by_variable(categorical, planes)
        fine = {
            name: array.geosr.upscale(model, scale, **options | {"categorical": classes.get(name, categorical)})
            for name, array in planes.items()
        }
        images = {name: found if isinstance(found, xr.DataArray) else found[name] for name, found in fine.items()}
        return with_others(finer_dataset(self._dataset, images), fine)


def _by_variable(
    wanted: Sequence[int | str] | str | None, planes: Mapping[Hashable, xr.DataArray]
) -> dict[Hashable, Any]:
    """Which bands of each variable are categorical, where a user has named variables or bands of them.

    Raises `InputError` for a name that none of them has.
    """
    if wanted is None or isinstance(wanted, str):
        return {}
    known = {name: {name, *band_names(array)} for name, array in planes.items()}
    for each in wanted:
        if isinstance(each, str) and not any(each in names for names in known.values()):
            raise InputError(
                f"categorical: there is no variable or band {each!r}; variables are {', '.join(map(str, planes))}"
            )
    own = {
        name: [each for each in wanted if each in names or not isinstance(each, str)] for name, names in known.items()
    }
    return {name: bands or "none" for name, bands in own.items()}
