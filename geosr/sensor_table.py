"""The table of sensors: their bands, and what is published of their modulation transfer function (MTF) and noise.

The MTF is quoted at the Nyquist frequency of the band's native pixels, the ratio of signal to noise at a reference
radiance. Each sensor says where its values come from, or why it has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from geosr.response import Response

NATIVE = 0.10
"""A pixel that differs from the band's own by more than this share was resampled, and the table no longer holds."""


class Origin(StrEnum):
    """Where what is believed of a band comes from."""

    GIVEN = "given"
    SCENE = "scene"
    TABLE = "table"
    PUBLISHED = "published"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SensorBand:
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
    """Of the sensor at Nyquist, before its images were put on a grid; None where no published value is known."""
    snr: float | None = None
    """Ratio of signal to noise at the reference radiance; None where no published value is known."""
    radiance: float | None = None
    """That reference, W / (m2 sr um)."""
    irradiance: float | None = None
    """Of the sun in this band at one astronomical unit, W / (m2 um)."""
    response: Response | None = None
    """Of its products, as fitted to natural pairs; None where that was not possible."""

    def is_native(self, pixel_size: float | None) -> bool:
        """True for products of this pixel size, metres, that were not resampled; None is one that isn't known."""
        return pixel_size is not None and abs(pixel_size / self.gsd_m - 1) <= NATIVE


@dataclass(frozen=True, slots=True)
class Sensor:
    """A kind of instrument, and its bands."""

    name: str
    bands: tuple[SensorBand, ...]
    source: str
    """Where the MTF values come from; where there are none, what is known instead."""
    noise: str = "No ratio of signal to noise is known"
    """Where those values come from."""

    def band(self, name: str) -> SensorBand | None:
        """The band of that name or colour, however it is zero-padded; None where there is none."""
        wanted = bare(name)
        return next((band for band in self.bands if wanted in (bare(band.name), band.color)), None)


def _bands(
    *rows: tuple[str, str, float, float, *tuple[float | None, ...]],
    fitted: Mapping[str, Response] = MappingProxyType({}),
) -> tuple[SensorBand, ...]:
    return tuple(replace(SensorBand(*row), response=fitted.get(row[0])) for row in rows)


def _spline(down: float, across: float) -> Response:
    """A product of Sentinel-2, whose images are put on their grid by B-splines.

    B05 to B8A are fitted to finer bands at 15 places (`scripts/fit_response.py`; 95 % intervals of either variance
    +-.02, of B05's +-.04; the spline leaves .004 to .03 rms, the next best of the family .01 to .03). No finer band
    shows what the others do: of the published MTF of B02, B03, B04 and B08, as a Gaussian behind the box, half the
    variance is taken, which is what the fits to B8A come to, likewise of B11 and B12; and the difference between axes,
    which the spectra of 10 m bands show too.
    """
    return Response((down, across), True, "spline")


SENTINEL_2 = Sensor(
    "Sentinel-2 MSI",
    _bands(
        ("B01", "coastal", 443, 60, 0.3175, 129, 129.11, 1884.69),
        ("B02", "blue", 490, 10, 0.275, 154, 128, 1959.66),
        ("B03", "green", 560, 10, 0.28, 168, 128, 1823.24),
        ("B04", "red", 665, 10, 0.25, 142, 108, 1512.06),
        ("B05", "rededge1", 705, 20, 0.365, 117, 74.6, 1424.64),
        ("B06", "rededge2", 740, 20, 0.33, 89, 68.23, 1287.61),
        ("B07", "rededge3", 783, 20, 0.34, 105, 66.7, 1162.08),
        ("B08", "nir", 842, 10, 0.24, 174, 103, 1041.63),
        ("B8A", "nir08", 865, 20, 0.32, 72, 52.39, 955.32),
        ("B09", "watervapour", 945, 60, 0.295, 114, 8.77, 812.92),
        ("B10", "cirrus", 1375, 60, None, 50, 6, 367.15),
        ("B11", "swir16", 1610, 20, 0.205, 100, 4, 245.59),
        ("B12", "swir22", 2190, 20, 0.235, 100, 1.7, 85.25),
        fitted={
            "B02": _spline(0.122, 0.052),
            "B03": _spline(0.119, 0.049),
            "B04": _spline(0.130, 0.060),
            "B08": _spline(0.136, 0.066),
            "B05": _spline(0.127, 0.027),
            "B06": _spline(0.073, -0.013),
            "B07": _spline(0.079, -0.006),
            "B8A": _spline(0.092, 0.025),
            "B11": _spline(0.132, 0.082),
            "B12": _spline(0.118, 0.068),
        },
    ),
    "Ciotola, Guarino, Mazza, Poggi, Scarpa: A Comprehensive Benchmarking Framework for Sentinel-2 Sharpening, Remote "
    "Sensing 17(12), 2025, doi 10.3390/rs17121983: the filters of its toolbox. One table for 2A, 2B and 2C, of which "
    "no separate values were found; none for B10, which holds no image of the ground",
    "What the mission requires, at its reference radiances, second-hand: Copernicus SentiWiki, S2 Mission, table 3, as "
    "others quote it. In orbit it is higher, in B01 and B10 by far. Irradiance: SOLAR_IRRADIANCE in the metadata of "
    "Sentinel-2A's products",
)
# Landsat's products are put on their grid by cubic convolution. Fitted to one scene of B2 to B4 beside its pan band
# (rms .028 along y, .044 along x), and taken for the infrared bands too, which come from detectors of the same pitch.
LANDSAT_8 = Sensor(
    "Landsat 8/9 OLI",
    _bands(
        ("B1", "coastal", 443, 30, None, 130, 40, 1972.3),
        ("B2", "blue", 482, 30, None, 130, 40, 2019.6),
        ("B3", "green", 561, 30, None, 100, 30, 1861.1),
        ("B4", "red", 655, 30, None, 90, 22, 1569.3),
        ("B5", "nir", 865, 30, None, 90, 14, 960.4),
        ("B6", "swir16", 1609, 30, None, 100, 4, 238.8),
        ("B7", "swir22", 2201, 30, None, 100, 1.7, 80.5),
        ("B8", "pan", 590, 15, None, 80, 23, 1776.1),
        ("B9", "cirrus", 1373, 30, None, 50, 6, 375.3),
        fitted=dict.fromkeys(("B2", "B3", "B4", "B5", "B6", "B7"), Response((0.068, 0.008), True, "cubic")),
    ),
    "No MTF per band was found. What to look at: Knight and Kvaran, Landsat-8 Operational Land Imager Design, "
    "Characterization and Performance, Remote Sensing 6, 2014, doi 10.3390/rs61110286",
    "What the mission requires, at its typical radiances, taken second-hand: Irons, Dwyer, Barsi, Remote Sensing of "
    "Environment 122, 2012, doi 10.1016/j.rse.2011.08.026, as others quote it. In orbit it is higher: Morfitt et al., "
    "Remote Sensing 7, 2015, doi 10.3390/rs70202208. Irradiance: pi d2 RADIANCE_MAXIMUM / REFLECTANCE_MAXIMUM of its "
    "products",
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
