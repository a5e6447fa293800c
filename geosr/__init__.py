"""Super-resolution for satellite rasters."""

__version__ = "0.1.0"
