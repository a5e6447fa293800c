from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.io import tiff
from geosr.io.layout import Layout, Options
from geosr.io.template import Template
from tests.writing import PROFILE, describe

_TAGS = st.dictionaries(
    st.integers(1, 65000),
    st.builds(
        lambda kind, count: tiff.Tag(kind, bytes(range(1, 1 + 8 * count))[: _size(kind) * count]),
        st.sampled_from((1, 2, 3, 4, 12, 16)),
        st.integers(1, 20),
    ),
    min_size=1,
    max_size=12,
)


def integers(tag: tiff.Tag) -> list[int]:
    """The values of a tag that holds whole numbers."""
    return [int(value) for value in np.frombuffer(tag.data, f"<u{len(tag.data) // tag.count}")]


def _size(kind: int) -> int:
    return {1: 1, 2: 1, 3: 2, 4: 4, 12: 8, 16: 8}[kind]


@settings(max_examples=40, deadline=None)
@given(_TAGS, st.lists(_TAGS, max_size=2), st.integers(0, 50))
def test_a_directory_reads_back_as_it_was_packed(
    first: dict[int, tiff.Tag], others: list[dict[int, tiff.Tag]], before: int
) -> None:
    at = tiff.header_size(False) + 2 * before
    packed = tiff.pack([first, *others], at, False)
    assert len(packed) == tiff.directories_size([first, *others], False)
    assert tiff.read_directory(tiff.header(False, at).ljust(at, b"\0") + packed) == first


@settings(max_examples=40, deadline=None)
@given(_TAGS, _TAGS)
def test_a_bigtiff_chain_has_the_size_that_was_reckoned_and_links_to_the_next(
    first: dict[int, tiff.Tag], second: dict[int, tiff.Tag]
) -> None:
    packed = tiff.pack([first, second], 16, True)
    assert len(packed) == tiff.directories_size([first, second], True)
    follows = struct.unpack_from("<Q", packed, 8 + 20 * len(first))[0]
    assert follows == 16 + tiff.directories_size([first], True)
    assert struct.unpack_from("<Q", packed, follows - 16)[0] == len(second)


def test_something_else_than_a_classic_tiff_is_refused() -> None:
    with pytest.raises(ValueError, match="classic"):
        tiff.read_directory(b"MM\0*" + bytes(20))


def test_arrays_of_blocks_are_as_wide_as_the_kind_of_file_needs() -> None:
    offsets, counts = np.array([2**33, 5], np.uint64), np.array([7, 9], np.uint64)
    big = tiff.with_arrays({}, offsets, counts, True)
    assert integers(big[tiff.OFFSETS]) == [2**33, 5]
    assert len(tiff.with_arrays({}, offsets, counts, False)[tiff.OFFSETS].data) == 8
    assert integers(big[tiff.COUNTS]) == [7, 9]


def test_each_part_of_the_layout_has_a_directory_of_its_own_size() -> None:
    layout = Layout(100, 70, 3, "uint16", 32, 32, 0.0, True, (), "COG", Options())
    template = Template.make(layout, PROFILE, describe)
    chain = tiff.directories(template.directory, layout)
    sides = [(integers(tags[257])[0], integers(tags[256])[0]) for tags in chain]
    assert sides == [(100, 70), (100, 70), (50, 35), (50, 35), (25, 18), (25, 18)]
    assert [integers(tags[254])[0] if 254 in tags else 0 for tags in chain] == [0, 4, 1, 5, 1, 5]


@pytest.mark.parametrize(("nodata", "declared"), [(None, 0), (0.0, None), (5.0, 6), (math.nan, 0)])
def test_a_template_that_declares_another_nodata_than_the_layout_is_noticed(
    nodata: float | None, declared: float | None
) -> None:
    layout = Layout(16, 16, 1, "float32", 16, 16, nodata)
    with pytest.raises(ValueError, match="nodata"):
        Template.make(layout, {**PROFILE, "nodata": declared}, describe)
