"""A product: bands in files of their own, and what the metadata beside them say of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from geosr.errors import InputError
from geosr.sensor_table import SENSORS, Sensor, bare


@dataclass(frozen=True, slots=True)
class Part:
    """A band of a product."""

    key: str
    """The product's own name of it: B05, SCL, ST_B10."""
    path: str
    """What GDAL opens, in an archive too."""
    pixel: float
    """Side of a pixel, metres, as the metadata say it."""
    common: str = ""
    """STAC's common name (red, nir08, rededge071); "" where there is none."""
    band: int = 1
    """Of that file, counted from 1."""
    classes: str = ""
    """Why its numbers are names of things ("scene classification"); "" where it was measured."""
    names: tuple[str, ...] = ()
    """Those names, by number from 0, where the metadata tell them."""
    scale: float = 1.0
    """A value is the stored number times this, plus the offset."""
    offset: float = 0.0
    nodata: float | None = None
    """The number for 'no data'; None where the file alone tells."""
    told: bool = True
    """False where the metadata tell no scale and offset, and those that its file tells stand."""
    aside: bool = False
    """True where it shows no ground (water vapour, view angles), and is only taken where it is named."""
    transform: tuple[float, float, float, float, float, float] | None = None
    """Of its grid, in the order of Affine, where the metadata tell it."""
    pieces: tuple[tuple[Product, Part], ...] = field(default=(), compare=False, repr=False)
    """Products of one pass that it is put together of, with their parts; else it lies in its file alone."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Numbers in a raster of classes that mark pixels to be left out."""

    part: Part
    words: str
    """What they stand for, for people."""
    values: tuple[int, ...] = ()
    """Pixels of these numbers are marked."""
    bits: int = 0
    """So are pixels that have any of these bits."""


@dataclass(frozen=True, slots=True)
class Product:
    """Bands that were delivered together, each on its own grid, and what their metadata say of them."""

    path: str
    """What the user named."""
    name: str
    kind: str
    """For people: Sentinel-2 L2A."""
    parts: tuple[Part, ...]
    """Each band once, at the pixels that it was measured with where the product has those."""
    sensor: str = ""
    """Its name in the table of sensors, "" where that has none."""
    notes: tuple[str, ...] = ()
    """What was read and where, one line each: scale, offset, number for no data."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What of the metadata a result carries: when, where, of which processing."""
    files: tuple[str, ...] = ()
    """Files that it consists of beside those of its bands; an output can't be one of them."""
    crs: str = ""
    """Of all its grids, where the metadata tell it: EPSG:32631."""
    clouds: tuple[Marks, ...] = ()
    """What its own masks mark as clouds and their shadows."""
    missing: tuple[str, ...] = ()
    """Keys of bands that the metadata list and that are not there, or cut off."""
    unsettled: str = ""
    """Why scale and offset can't be told from the metadata, in one line; "" where they can."""

    @property
    def table(self) -> Sensor | None:
        """Its sensor."""
        return next((sensor for sensor in SENSORS if sensor.name == self.sensor), None)

    def chosen(self, names: Iterable[int | str] | None = None) -> tuple[Part, ...]:
        """The parts of these names: the product's own (B05, B5), common ones (rededge071) or the table's (rededge1).

        Without names those of the finest grid that show the ground. Raises `InputError` for what isn't there.
        """
        if names is None:
            return self._finest()
        if isinstance(names, str):
            raise InputError(f"bands {names!r}: expected a list of names, such as ['red', 'B8A']")
        found = tuple(self._part(str(name)) for name in names)
        if not found or len(set(found)) < len(found):
            raise InputError(f"{self.name}: a band is chosen twice, or none; it has {self.listed()}")
        return found

    @property
    def measured(self) -> tuple[Part, ...]:
        """The parts that show the ground. Raises `InputError` where there is none."""
        shown = tuple(part for part in self.parts if not (part.classes or part.aside))
        if not shown:
            raise InputError(f"{self.name}: no band of it shows the ground; name one with --bands: {self.listed()}")
        return shown

    def _finest(self) -> tuple[Part, ...]:
        shown = self.measured
        self.check_whole()
        finest = min(part.pixel for part in shown)
        return tuple(part for part in shown if part.pixel == finest)

    def check_whole(self) -> None:
        """Raise `InputError` where bands that the metadata list are not there."""
        if self.missing:
            raise InputError(
                f"{self.name}: {_joined(self.missing)} of its bands are listed and not there or cut off, so that it "
                "seems half downloaded; fetch it again, or name the bands to take with --bands"
            )

    def _part(self, name: str) -> Part:
        wanted = bare(name.strip())
        for part in self.parts:
            number = part.key.removeprefix("SR_")  # B4 is the same band on both levels of Landsat
            known = self.table.band(number) if self.table and not part.classes else None
            if wanted in (bare(part.key), bare(number), part.common, known.color if known else ""):
                return part
        gone = (
            " (its metadata list it, and its file is not there or cut off)" if wanted in map(bare, self.missing) else ""
        )
        raise InputError(f"{self.name}: there is no band {name}{gone}; it has {self.listed()}")

    def listed(self) -> str:
        """All of its bands, by their pixels, to be read."""
        sizes = sorted({part.pixel for part in self.parts})
        rows = ((size, [_called(part) for part in self.parts if part.pixel == size]) for size in sizes)
        return "; ".join(f"{_joined(names)} of {size:g} m" for size, names in rows)


def _called(part: Part) -> str:
    return f"{part.key} ({part.common})" if part.common else part.key


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)
