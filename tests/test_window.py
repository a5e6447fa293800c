from hypothesis import given
from hypothesis import strategies as st

from geosr.window import Window

windows = st.builds(Window, st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60))


@given(windows, st.integers(0, 20))
def test_growing_and_clipping_back_gives_the_same_window(window: Window, pixels: int) -> None:
    assert window.grow(pixels).clip(window) == window


@given(windows, windows)
def test_a_clipped_window_holds_exactly_the_common_pixels(one: Window, other: Window) -> None:
    def pixels(w: Window) -> set[tuple[int, int]]:
        return {(r, c) for r in range(w.row, w.stop[0]) for c in range(w.col, w.stop[1])}

    assert pixels(one.clip(other)) == pixels(one) & pixels(other)


@given(windows, windows, st.integers(1, 8))
def test_scaling_commutes_with_moving_the_origin(one: Window, other: Window, factor: int) -> None:
    assert one.within(other).scale(factor) == one.scale(factor).within(other.scale(factor))


def test_windows_that_do_not_meet_clip_to_no_pixels() -> None:
    assert Window(0, 0, 3, 3).clip(Window(5, 5, 3, 3)).size == 0
