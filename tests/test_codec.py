from __future__ import annotations

import math
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.io import codec
from geosr.io.codec import crc32, encode_block, encode_mask, predictor
from geosr.io.layout import Layout, Options
from geosr.radiometry import DTYPES
from tests.writing import noise


def layout(dtype: str, bands: int = 1, nodata: float | None = None, co: tuple[str, ...] = ()) -> Layout:
    options = Options.parse(("INTERLEAVE=PIXEL", *co))
    return Layout(32, 32, bands, dtype, 32, 32, nodata, options=options)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if np.dtype(name).kind != "f"])
@pytest.mark.parametrize("co", [(), ("LEVEL=6",), ("PREDICTOR=NO",), ("COMPRESS=NONE",)])
def test_integer_blocks_are_interleaved_differences_along_the_row(dtype: str, co: tuple[str, ...]) -> None:
    pixels = noise((3, 32, 32), dtype)
    plan = layout(dtype, 3, co=co)
    data = encode_block(pixels, plan)
    samples = np.frombuffer(data if "COMPRESS=NONE" in co else zlib.decompress(data), dtype).reshape(32, 32, 3)
    if predictor(plan) == 2:
        samples = np.cumsum(samples, axis=1, dtype=dtype)
    np.testing.assert_array_equal(samples.transpose(2, 0, 1), pixels)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating_point_blocks_are_differences_of_bytes_most_significant_first(dtype: str) -> None:
    pixels = noise((2, 32, 32), dtype)
    rows = np.frombuffer(zlib.decompress(encode_block(pixels, layout(dtype, 2))), np.uint8).reshape(32, -1, 2)
    planes = np.cumsum(rows, axis=1, dtype=np.uint8).reshape(32, np.dtype(dtype).itemsize, 64)
    bytes_of_each = np.ascontiguousarray(planes.transpose(0, 2, 1))
    found = bytes_of_each.view(np.dtype(dtype).newbyteorder(">")).reshape(32, 32, 2)
    np.testing.assert_array_equal(found.transpose(2, 0, 1), pixels)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 32), st.integers(1, 32), st.sampled_from(("uint16", "float32")))
def test_blocks_at_the_edge_are_padded_to_their_full_size(height: int, width: int, dtype: str) -> None:
    data = encode_block(noise((1, height, width), dtype), layout(dtype))
    assert len(zlib.decompress(data)) == 32 * 32 * np.dtype(dtype).itemsize


def test_blocks_that_read_back_the_same_when_left_out_are_empty() -> None:
    assert encode_block(np.zeros((1, 32, 32), np.uint16), layout("uint16")) == b""
    assert encode_block(np.full((2, 32, 32), 7, np.uint16), layout("uint16", 2, 7)) == b""
    assert encode_block(np.full((1, 32, 32), np.nan, np.float32), layout("float32", 1, math.nan)) == b""


def test_a_block_with_one_pixel_of_data_is_not_left_out() -> None:
    pixels = np.full((1, 32, 32), 7, np.uint16)
    pixels[0, 31, 31] = 0
    assert encode_block(pixels, layout("uint16", 1, 7))
    assert encode_block(np.zeros((1, 32, 32), np.uint16), layout("uint16", 1, 7))


def test_a_block_is_not_left_out_on_account_of_nodata_that_its_dtype_cannot_hold() -> None:
    assert encode_block(np.zeros((1, 32, 32), np.uint8), layout("uint8", 1, -9999))


def test_masks_have_one_bit_a_pixel_and_nothing_where_nothing_is_valid() -> None:
    valid = noise((20, 30), "uint8") > 100
    bits = np.unpackbits(np.frombuffer(zlib.decompress(encode_mask(valid, 32)), np.uint8)).reshape(32, 32)
    np.testing.assert_array_equal(bits[:20, :30], valid)
    assert not bits[20:].any()
    assert not bits[:, 30:].any()
    assert encode_mask(np.zeros((32, 32), bool), 32) == b""
    full = np.frombuffer(zlib.decompress(encode_mask(np.ones((32, 32), bool), 32)), np.uint8)
    assert (full == 255).all()


@pytest.mark.parametrize("co", [(), ("COMPRESS=ZSTD",)])
def test_blocks_encoded_side_by_side_are_those_encoded_in_turn(co: tuple[str, ...]) -> None:
    plan = layout("uint16", 3, co=co)
    blocks = [noise((3, 32, 32), "uint16", seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda block: encode_block(block, plan), blocks))
    assert together == [encode_block(block, plan) for block in blocks]


@given(st.binary(), st.binary())
def test_the_crc_is_the_usual_one_and_can_be_continued(first: bytes, second: bytes) -> None:
    assert crc32(first + second) == zlib.crc32(first + second) == crc32(second, crc32(first))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_block_is_encoded_in_few_operations_so_that_threads_need_not_wait_for_the_interpreter(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    usual = codec._differences
    monkeypatch.setattr(codec, "_differences", lambda rows: (asked.append(rows.shape), usual(rows))[1])
    codec._predict(np.zeros((4, 512, 512), dtype), 2)
    assert asked == [(4, 512, 512)]
