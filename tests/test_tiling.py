import pickle
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geosr.tiling import TilePlan, split
from geosr.window import Window

plans = st.builds(
    TilePlan,
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    core=st.integers(3, 40),
    scale=st.integers(1, 8),
    halo=st.integers(0, 25),
    reach=st.integers(0, 60),
    multiple=st.integers(1, 9),
)


@given(plans)
def test_writes_cover_each_pixel_of_the_result_once(plan: TilePlan) -> None:
    seen = np.zeros((plan.height * plan.scale, plan.width * plan.scale), int)
    for tile in plan:
        seen[tile.write.slices] += 1
    assert (seen == 1).all()


@given(plans)
def test_blocks_hold_core_and_halo_in_whole_multiples(plan: TilePlan) -> None:
    for tile in plan:
        assert tile.core.grow(plan.halo).clip(tile.block) == tile.core.grow(plan.halo)
        assert tile.block.height % plan.multiple == 0
        assert tile.block.width % plan.multiple == 0


@given(plans)
def test_reads_stay_in_the_scene_and_hold_what_the_block_needs(plan: TilePlan) -> None:
    for tile in plan:
        assert tile.read.clip(plan.scene) == tile.read
        assert tile.block.clip(plan.scene).clip(tile.read) == tile.block.clip(plan.scene)


@given(plans)
def test_the_crop_of_a_tile_is_as_large_as_its_write(plan: TilePlan) -> None:
    for tile in plan:
        assert (tile.crop.height, tile.crop.width) == (tile.write.height, tile.write.width)
        assert tile.crop.clip(tile.block.within(tile.block).scale(plan.scale)) == tile.crop


@given(plans)
def test_every_pixel_of_the_scene_is_in_the_core_of_one_tile(plan: TilePlan) -> None:
    seen = np.zeros((plan.height, plan.width), int)
    for tile in plan:
        seen[tile.core.slices] += 1
    assert (seen == 1).all()


@given(plans)
def test_the_parts_of_a_split_tile_cover_it_once(plan: TilePlan) -> None:
    tile = plan[len(plan) // 2]
    seen = np.zeros((plan.height * plan.scale, plan.width * plan.scale), int)
    for part in split(tile, plan):
        seen[part.write.slices] += 1
        assert part.block.clip(plan.scene).clip(tile.read) == part.block.clip(plan.scene)
    whole = np.zeros_like(seen)
    whole[tile.write.slices] = 1
    assert (seen == whole).all()


def test_a_plan_is_a_small_value_whatever_the_scene() -> None:
    plan = TilePlan(10**6, 10**6, 256, 4, 26)
    assert len(plan) == 3907**2
    assert len(pickle.dumps(plan)) < 500
    assert plan[-1].core.stop == (10**6, 10**6)


def test_over_keeps_the_tiles_that_touch() -> None:
    plan = TilePlan(100, 95, 10, 2)
    for ground in (Window(52, 53, 1, 1), Window(0, 0, 11, 95), Window(35, 80, 30, 20), Window(200, 0, 5, 5)):
        chosen = plan.over(lambda window, ground=ground: window.clip(ground).size > 0)
        expected = [tile for tile in plan if tile.core.clip(ground).size]
        assert list(chosen) == expected
        assert len(chosen) == len(expected)
        assert chosen[1:3] == expected[1:3]


def test_over_looks_at_a_few_windows_of_a_vast_scene() -> None:
    looked: list[Window] = []
    plan = TilePlan(10**6, 10**6, 256, 4)
    chosen = plan.over(lambda window: looked.append(window) or window.clip(Window(700_000, 300_000, 9, 9)).size > 0)
    assert [tile.core for tile in chosen] == [plan[2734 * 3907 + 1171].core]
    assert len(looked) < 100


@given(plans, st.integers(0, 30), st.integers(0, 30))
def test_a_part_cut_from_more_reads_what_lies_around_it(plan: TilePlan, above: int, left: int) -> None:
    around = Window(-above, -left, plan.height + above + 7, plan.width + left + 3)
    part = replace(plan, around=around)
    for tile, alone in zip(part, plan, strict=True):
        assert tile.read.clip(around) == tile.read
        assert tile.read == tile.core.grow(max(plan.reach, plan.halo + plan.multiple - 1)).clip(around)
        assert (tile.core, tile.write) == (alone.core, alone.write)


@given(plans, st.integers(0, 30), st.integers(0, 30))
def test_blocks_begin_on_multiples_from_the_corner_of_what_can_be_read(plan: TilePlan, above: int, left: int) -> None:
    around = Window(-above, -left, plan.height + above, plan.width + left)
    for tile in plan:
        assert tile.block.row % plan.multiple == tile.block.col % plan.multiple == 0
    for tile in replace(plan, around=around):
        assert (tile.block.row + above) % plan.multiple == (tile.block.col + left) % plan.multiple == 0
