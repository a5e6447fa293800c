"""The networks, one file each, and the names that cards and recipes call them by."""

from __future__ import annotations

from geosr.models.networks.band import BandNetwork
from geosr.models.networks.edsr import Edsr
from geosr.models.networks.rrdb import Rrdb
from geosr.models.networks.span import Span
from geosr.models.networks.srcnn import Srcnn
from geosr.models.networks.swin import Swin
from geosr.models.networks.vdsr import Vdsr

__all__ = ["NETWORKS", "BandNetwork", "Edsr", "Rrdb", "Span", "Srcnn", "Swin", "Vdsr", "fast"]


def fast(scale: int, channels: int = 32, blocks: int = 8) -> Edsr:
    """The network of the model `fast`."""
    return Edsr(scale, channels, blocks)


NETWORKS = {"fast": fast, "edsr": Edsr, "srcnn": Srcnn, "vdsr": Vdsr, "span": Span, "rrdb": Rrdb, "swin": Swin}
"""What makes a network of a scale, a number of channels and a number of blocks."""
