"""`python -m geosr.training RECIPE.toml`: trains what the recipe says, or goes on with it."""

from __future__ import annotations

import logging
import sys

from geosr.training.loop import train
from geosr.training.recipe import read_recipe


def main(arguments: list[str]) -> None:
    """Trains every recipe named, in turn."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for path in arguments:
        train(read_recipe(path))


if __name__ == "__main__":
    main(sys.argv[1:])
