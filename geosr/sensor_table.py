"""The table of sensors: their bands, and what is published of their modulation transfer function (MTF).

It is quoted at the Nyquist frequency of the band's native pixels. Each sensor says where its values come from, or why
it has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a sensor."""

    name: str
    """As the agency writes it, such as B8A."""
    color: str
    """The common name: red, nir, ..."""
    wavelength_nm: float
    """Centre."""
    gsd_m: float
    """Native pixel on the ground."""
    mtf: float | None = None
    """At Nyquist; None where no published value is known."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A kind of instrument, and its bands."""

    name: str
    bands: tuple[Band, ...]
    source: str
    """Where the MTF values come from; where there are none, what is known instead."""

    def band(self, name: str) -> Band | None:
        """The band of that name or colour, however it is zero-padded; None where there is none."""
        wanted = bare(name)
        return next((band for band in self.bands if wanted in (bare(band.name), band.color)), None)


def _bands(*rows: tuple[str, str, float, float, float | None]) -> tuple[Band, ...]:
    return tuple(Band(*row) for row in rows)


SENTINEL_2 = Sensor(
    "Sentinel-2 MSI",
    _bands(
        ("B01", "coastal", 443, 60, 0.3175),
        ("B02", "blue", 490, 10, 0.275),
        ("B03", "green", 560, 10, 0.28),
        ("B04", "red", 665, 10, 0.25),
        ("B05", "rededge1", 705, 20, 0.365),
        ("B06", "rededge2", 740, 20, 0.33),
        ("B07", "rededge3", 783, 20, 0.34),
        ("B08", "nir", 842, 10, 0.24),
        ("B8A", "nir08", 865, 20, 0.32),
        ("B09", "watervapour", 945, 60, 0.295),
        ("B10", "cirrus", 1375, 60, None),
        ("B11", "swir16", 1610, 20, 0.205),
        ("B12", "swir22", 2190, 20, 0.235),
    ),
    "Ciotola, Guarino, Mazza, Poggi, Scarpa: A Comprehensive Benchmarking Framework for Sentinel-2 Sharpening, Remote "
    "Sensing 17(12), 2025, doi 10.3390/rs17121983: the filters of its toolbox. One table for 2A, 2B and 2C, of which "
    "no separate values were found; none for B10, which holds no image of the ground",
)
LANDSAT_8 = Sensor(
    "Landsat 8/9 OLI",
    _bands(
        ("B1", "coastal", 443, 30, None),
        ("B2", "blue", 482, 30, None),
        ("B3", "green", 561, 30, None),
        ("B4", "red", 655, 30, None),
        ("B5", "nir", 865, 30, None),
        ("B6", "swir16", 1609, 30, None),
        ("B7", "swir22", 2201, 30, None),
        ("B8", "pan", 590, 15, None),
        ("B9", "cirrus", 1373, 30, None),
    ),
    "No MTF per band was found. What to look at: Knight and Kvaran, Landsat-8 Operational Land Imager Design, "
    "Characterization and Performance, Remote Sensing 6, 2014, doi 10.3390/rs61110286",
)
LANDSAT_7 = Sensor(
    "Landsat 7 ETM+",
    _bands(
        ("B1", "blue", 485, 30, None),
        ("B2", "green", 560, 30, None),
        ("B3", "red", 660, 30, None),
        ("B4", "nir", 835, 30, None),
        ("B5", "swir16", 1650, 30, None),
        ("B7", "swir22", 2220, 30, None),
        ("B8", "pan", 710, 15, None),
    ),
    "No MTF per band that holds: it was watched over a bridge and fell in orbit, most in the panchromatic band "
    "(Storey, Proc. SPIE 4540, 2001, doi 10.1117/12.450647)",
)
PLANETSCOPE = Sensor(
    "PlanetScope",
    _bands(
        ("coastal_blue", "coastal", 443, 3.7, None),
        ("blue", "blue", 490, 3.7, None),
        ("green_i", "green1", 531, 3.7, None),
        ("green", "green", 565, 3.7, None),
        ("yellow", "yellow", 610, 3.7, None),
        ("red", "red", 665, 3.7, None),
        ("rededge", "rededge1", 705, 3.7, None),
        ("nir", "nir", 865, 3.7, None),
    ),
    "No MTF per band was found that holds for the whole fleet. What to look at: the system characterization reports on "
    "Dove-R and SuperDove, USGS Open-File Reports 2021-1030-D and 2021-1030-F. Products are resampled to 3 m",
)
AERIAL = Sensor(
    "NAIP aerial camera",
    _bands(
        ("red", "red", 640, 1, None),
        ("green", "green", 560, 1, None),
        ("blue", "blue", 470, 1, None),
        ("nir", "nir", 830, 1, None),
    ),
    "None can be given: cameras, heights and processing differ by state and year",
)
SENSORS = (SENTINEL_2, LANDSAT_8, LANDSAT_7, PLANETSCOPE, AERIAL)


def bare(name: str) -> str:
    """A band's name without its padding, in small letters: b2 for B02, 2 and b2."""
    return re.sub(r"^B0?(\d{1,2}A?)$", r"b\1", name, flags=re.IGNORECASE).lower()
