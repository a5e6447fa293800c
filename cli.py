"""Launcher for a checkout: `python cli.py upscale scene.tif`. An installed geosr has the command `geosr` instead."""

from geosr.cli import main

if __name__ == "__main__":
    main()
