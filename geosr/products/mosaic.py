"""Products of one pass as one: the tiles that an area lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from geosr.errors import InputError
from geosr.products.product import Marks, Part, Product

_DATES = ("datetime", "start_datetime", "PRODUCT_START_TIME", "DATE_ACQUIRED", "SENSING_TIME")
_ORBITS = ("sat_relative_orbit", "SENSING_ORBIT_NUMBER", "landsat_wrs_path", "WRS_PATH")


def together(products: Sequence[Product]) -> Product:
    """Products of one sensor, level, date and orbit as one; where they overlap the first that has data is taken.

    It has the bands that all of them have. Raises `InputError` in one line for products that don't go together.
    """
    first = products[0]
    if len(products) == 1:
        return first
    for other in products[1:]:
        _check(first, other)
    kept = tuple(_joined(products, part) for part in first.parts if all(_of(each, part) for each in products))
    without = [part.key for each in products for part in each.parts if part.key not in {known.key for known in kept}]
    names = ", ".join(product.name for product in products[1:])
    return replace(
        first,
        name=f"{first.name} and {len(products) - 1} more",
        parts=kept,
        notes=(*_notes(products), f"where products overlap the first that has data is taken: {first.name}, {names}"),
        tags={key: value for key, value in first.tags.items() if all(each.tags.get(key) == value for each in products)},
        files=tuple(file for product in products for file in product.files),
        clouds=tuple(_clouds(products)),
        missing=tuple(dict.fromkeys((*(key for each in products for key in each.missing), *without))),
        unsettled=next((each.unsettled for each in products if each.unsettled), ""),
    )


def _check(first: Product, other: Product) -> None:
    for what, mine, others in (
        ("", first.kind, other.kind),
        ("of ", _told(first, _DATES)[:10], _told(other, _DATES)[:10]),
        ("of orbit ", _told(first, _ORBITS).lstrip("0"), _told(other, _ORBITS).lstrip("0")),
    ):
        if mine != others:
            is_, are = (f"{what}{text}" if text else f"{what}unknown" for text in (mine, others))
            raise InputError(
                f"{first.name} is {is_} and {other.name} {are}: one result holds one pass of one kind of product; "
                "upscale each alone"
            )


def _told(product: Product, names: Sequence[str]) -> str:
    return next((product.tags[name] for name in names if name in product.tags), "")


def _of(product: Product, part: Part) -> Part | None:
    return next((each for each in product.parts if (each.key, each.pixel) == (part.key, part.pixel)), None)


def _joined(products: Sequence[Product], part: Part) -> Part:
    pieces = tuple((product, found) for product in products if (found := _of(product, part)))
    return replace(part, pieces=pieces)


def _clouds(products: Sequence[Product]) -> Iterator[Marks]:
    """The mask that all of them have alike; none where one has no mask."""
    for marks in products[0].clouds:
        others = [next((each for each in product.clouds if _alike(each, marks)), None) for product in products]
        if all(others):
            pieces = tuple((product, each.part) for product, each in zip(products, others, strict=True) if each)
            yield replace(marks, part=replace(marks.part, pieces=pieces))


def _alike(one: Marks, other: Marks) -> bool:
    return (one.part.key, one.part.band, one.values, one.bits) == (
        other.part.key, other.part.band, other.values, other.bits,
    )  # fmt: skip


def _notes(products: Sequence[Product]) -> Iterator[str]:
    """Those of all products, with the name of its product before one that not all have."""
    for note in dict.fromkeys(note for product in products for note in product.notes):
        owners = [product.name for product in products if note in product.notes]
        yield note if len(owners) == len(products) else f"{', '.join(owners)}: {note}"
