"""Raster files: what they hold and say, and how results are written."""
