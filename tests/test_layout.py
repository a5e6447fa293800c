from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.errors import InputError
from geosr.io.layout import Layout, Options, choose_core, estimate_size
from geosr.window import Window


@given(
    st.integers(1, 8), st.integers(1, 300), st.sampled_from((1, 2, 4, 8)), st.integers(0, 100),
    st.none() | st.integers(1, 3000),
)  # fmt: skip
def test_a_tile_is_a_power_of_two_blocks_wide(
    scale: int, bands: int, itemsize: int, halo: int, tile: int | None
) -> None:
    core, block = choose_core(scale, bands, itemsize, halo, tile)
    times, rest = divmod(core * scale, block)
    assert rest == 0
    assert times & (times - 1) == 0
    assert block % 16 == 0
    assert block <= 512
    assert tile is None or core >= min(tile, 16)


@given(st.integers(1, 8), st.sampled_from((64, 128, 256, 512, 240, 336)), st.none() | st.integers(1, 1000))
def test_a_block_that_was_asked_for_is_kept_or_refused(scale: int, block: int, tile: int | None) -> None:
    if block * 8 % scale:
        with pytest.raises(InputError, match="multiple of"):
            choose_core(scale, 3, 2, 0, tile, block)
        return
    core, kept = choose_core(scale, 3, 2, 0, tile, block)
    assert kept == block
    assert core * scale % block == 0
    assert tile is None or core >= tile


@pytest.mark.parametrize(
    ("scale", "expected"), [(2, (512, 512)), (3, (256, 384)), (4, (256, 512)), (5, (256, 320)), (6, (256, 384)),
                            (7, (256, 448)), (8, (256, 512))],
)  # fmt: skip
def test_usual_scenes_have_usual_tiles(scale: int, expected: tuple[int, int]) -> None:
    assert choose_core(scale, 4, 2, 26) == expected


def test_a_tile_of_many_bands_stays_small() -> None:
    core, _ = choose_core(4, 300, 2, 26)
    assert (core * 4) ** 2 * 300 * 2 < 100 * 2**20


def test_options_are_read_in_any_case() -> None:
    pairs = ["compress=zstd", "LEVEL=9", "BlockSize=256", "interleave=BAND", "RESAMPLING=nearest"]
    assert Options.parse([*pairs, "BIGTIFF=YES", "OVERVIEWS=NONE", "PREDICTOR=NO"]) == Options(
        "zstd", 9, False, 256, "band", "YES", False, "nearest"
    )
    assert Options.parse([]) == Options()


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["COMPRES=LZW"], "unknown creation option COMPRES; geosr knows COMPRESS, LEVEL"),
        (["COMPRESS=JPEG"], "COMPRESS=JPEG is not one of DEFLATE, ZSTD, NONE"),
        (["COMPRESS=LZW"], "COMPRESS=LZW is not one of DEFLATE, ZSTD, NONE"),
        (["ZLEVEL=9"], "unknown creation option ZLEVEL; geosr knows COMPRESS, LEVEL"),
        (["COMPRESS"], "no value"),
        (["LEVEL=high"], "LEVEL=HIGH is not a whole number"),
        (["LEVEL=10"], "outside 1 to 9 for deflate"),
        (["BLOCKSIZE=100"], "multiple of 16"),
        (["BLOCKSIZE=256", "blocksize=512"], "given twice, as 256 and 512"),
        (["BIGTIFF=MAYBE"], "BIGTIFF=MAYBE is not one of"),
    ],
)
def test_a_bad_option_is_told_in_one_line(pairs: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as told:
        Options.parse(pairs)
    assert "\n" not in str(told.value)


def test_a_result_too_large_for_bigtiff_no_is_refused_at_the_door() -> None:
    with pytest.raises(InputError, match="BIGTIFF=NO"):
        Layout(50_000, 50_000, 4, "uint16", 512, 1024, None, options=Options(bigtiff="NO"))


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from((64, 512)))
def test_overviews_go_on_until_one_block_holds_the_scene(height: int, width: int, block: int) -> None:
    layout = Layout(height, width, 1, "uint8", block, block, None)
    top = layout.part(layout.levels)
    assert top.blocks == 1
    assert layout.levels == 0 or layout.part(layout.levels - 1).blocks > 1


def test_a_gtiff_has_overviews_only_when_asked() -> None:
    plain = Layout(3000, 3000, 1, "uint8", 512, 512, None, format="GTiff")
    assert plain.levels == 0
    asked = Layout(3000, 3000, 1, "uint8", 512, 512, None, format="GTiff", options=Options(overviews=True))
    assert asked.levels == 3


def test_the_size_on_disk_of_an_uncompressed_result_is_known() -> None:
    layout = Layout(1024, 1024, 3, "uint16", 512, 512, None, format="GTiff", options=Options("none"))
    assert layout.raw_size <= estimate_size(layout) <= layout.raw_size + 10_000


def test_a_window_that_is_no_tile_has_no_place() -> None:
    layout = Layout(256, 256, 1, "uint8", 64, 128, None)
    assert layout.place(Window(128, 0, 128, 128)) == (1, 0)
    with pytest.raises(ValueError, match="not where a tile"):
        layout.place(Window(64, 0, 128, 128))
