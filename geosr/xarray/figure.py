"""Before and after, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geosr.radiometry import Pixels, Radiometry
from geosr.xarray.cf import grid_of
from geosr.xarray.scenes import all_nodata, axes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compare(before: xr.DataArray, after: xr.DataArray, bands: Sequence[int] | None = None) -> Figure:
    """A figure with both arrays over the same ground; see `DataArrayGeosr.compare`."""
    from matplotlib.figure import Figure

    images = [_image(array, bands) for array in (before, after)]
    low, high = np.nanpercentile(images[0], [2, 98], axis=(1, 2))
    span = np.where(high > low, high - low, 1)
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    height, width = images[0].shape[1:]
    for plot, image, name in zip(axes, images, ("before", "after"), strict=True):
        shown = np.clip((image - low[:, None, None]) / span[:, None, None], 0, 1)
        shown = np.nan_to_num(shown, nan=1.0).transpose(1, 2, 0)
        plot.imshow(
            shown[..., 0] if len(image) == 1 else shown,
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(0, width, height, 0),
            interpolation="nearest",
        )
        plot.set_title(f"{name}: {image.shape[2]} x {image.shape[1]}")
        plot.set_axis_off()
    return figure


def _image(array: xr.DataArray, bands: Sequence[int] | None) -> NDArray[Any]:
    """One or three bands (bands, rows, columns) in floating point, NaN for no data; of many scenes the first."""
    grid = grid_of(array)
    stored = axes_of(array, grid).to_scenes(np.asarray(array.values))[0]
    chosen = list(bands) if bands is not None else list(range(3)) if len(stored) >= 3 else [0]
    stored = stored[chosen].astype("uint8" if array.dtype == bool else array.dtype)
    values: NDArray[Any] = stored.astype(float)
    numbers = all_nodata(array)
    gaps = Radiometry(str(stored.dtype), str(stored.dtype), tuple(numbers[band] for band in chosen))
    valid = gaps.valid(Pixels(stored))
    if valid is not None:
        values[~valid] = np.nan
    return values
