"""Which bands of a scene a network from elsewhere is given together."""

from __future__ import annotations

from collections.abc import Sequence

from geosr.models.model import Groups, in_order

RGB = ("red", "green", "blue")


def arrange(name: str, colors: Sequence[str], together: int) -> Groups:
    """Groups of bands, counted from 0, for a network of `together` bands; one alone is repeated to make up a group.

    `colors` has the common name of each band, "" where it is unknown. A network of three bands gets the scene's red,
    green and blue, or three bands in their own order where there are no others; every other band is alone. Of any
    other network groups follow each other. Raises `ModelError` where they are no whole number.
    """
    if together != 3:
        return in_order(name, len(colors), together)
    singles = in_order(name, len(colors), 1)
    if all(color in colors for color in RGB):
        triplet = tuple(list(colors).index(color) for color in RGB)
        return triplet, *(single for single in singles if single[0] not in triplet)
    return ((0, 1, 2),) if len(colors) == 3 else singles


def told(colors: Sequence[str], groups: Groups) -> str:
    """The line on how a network of three bands is given the bands."""
    triplets = [group for group in groups if len(group) == 3]
    alone = [band + 1 for group in groups if len(group) == 1 for band in group]
    lines = []
    if triplets:
        why = "" if all(color in colors for color in RGB) else ", in their order, since nothing says which they are"
        lines.append(f"bands {', '.join(str(band + 1) for band in triplets[0])} go in as red, green and blue{why}")
    if alone:
        which = f"band{'s' * (len(alone) > 1)} {', '.join(map(str, alone))}" if triplets else "every band"
        lines.append(f"{which} goes in alone, three times, and the mean of what comes out is taken")
    return "; ".join(lines)
