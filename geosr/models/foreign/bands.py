"""Which bands of a scene a network from elsewhere is given together."""

from __future__ import annotations

from collections.abc import Sequence

from geosr.errors import ModelError

RGB = ("red", "green", "blue")


def arrange(colors: Sequence[str], together: int) -> tuple[tuple[int, ...], ...]:
    """Groups of bands, counted from 0, for a network of `together` bands; one alone is repeated to make up a group.

    `colors` has the common name of each band, "" where it is unknown. A network of three bands gets the scene's red,
    green and blue, or three bands in their own order where there are no others; every other band is alone. Of any
    other network groups follow each other, and their number is checked before (`Foreign.check_bands`).
    """
    count = len(colors)
    singles = tuple((band,) for band in range(count))
    if together == 1:
        return singles
    if together != 3:
        return tuple(tuple(range(start, start + together)) for start in range(0, count, together))
    if all(color in colors for color in RGB):
        triplet = tuple(list(colors).index(color) for color in RGB)
        return triplet, *(single for single in singles if single[0] not in triplet)
    return ((0, 1, 2),) if count == 3 else singles


def check_chunks(chunks: Sequence[Sequence[str]], together: int) -> None:
    """Raise `ModelError` where bands in chunks, by their colours, would be given in other groups than all of them.

    Chunks name only bands that are not repeated.
    """
    apart: list[tuple[int, ...]] = []
    start = 0
    for chunk in chunks:
        apart += [tuple(start + band for band in group) for group in arrange(chunk, together)]
        start += len(chunk)
    if set(apart) != set(arrange([color for chunk in chunks for color in chunk], together)):
        raise ModelError("bands that go together lie in several chunks; keep them in one chunk")


def told(colors: Sequence[str], together: int) -> str:
    """How `arrange` gives out the bands, in a line; empty where there is nothing to say."""
    if together != 3:
        return ""
    places = [band for band, color in enumerate(colors) if color != "categorical"]
    groups = [tuple(places[band] for band in group) for group in arrange([colors[band] for band in places], together)]
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
