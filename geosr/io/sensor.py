"""The sensor that a file is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rasterio.io import DatasetReader

from geosr.identify import SEEN, SENSOR, identify
from geosr.io import categorical
from geosr.io.bands import told_of_bands
from geosr.io.grid import pixel_size
from geosr.io.identity import product_text
from geosr.io.metadata import Metadata
from geosr.sensors import SensorGuess
from geosr.window import Window


def sensor_of(dataset: DatasetReader, window: Window, real: str, asked: Sequence[int] | None) -> SensorGuess:
    """The sensor of a file, with all of its bands, so that each is known alike whichever are wanted.

    Classes beside them tell nothing. `asked` are the bands that a user calls categorical.
    """
    metadata = Metadata.of(dataset, dataset.indexes, window)
    classes = categorical.reasons(told_of_bands(dataset, metadata, dataset.indexes))
    repeated = categorical.settled_by_hand(classes, None if asked is None else [band - 1 for band in asked])
    told = metadata.tags or {}, *(band.tags for band in metadata.bands)
    tags = {key: value for spaces in told for space in spaces.values() for key, value in space.items()}
    own = {key: value for key, value in dataset.tags().items() if key == SENSOR}
    texts = [band.description or "" for band in metadata.bands]
    found = identify(
        tags=own | tags,
        descriptions=texts,
        name=real,
        pixel_size=pixel_size(metadata),
        metadata=product_text(Path(real)),
        repeated=categorical.either(classes, repeated),
        values=[(band.scale, band.offset) for band in metadata.bands],
        seen=[dataset.tags(band).get(SEEN, "") for band in dataset.indexes],
    )
    names = [text or f"band {band}" for band, text in enumerate(texts, start=1)]
    return found.described(names, repeated, [str(band.color.name) for band in metadata.bands])
