"""Things made ahead: their order, their threads, and what happens when one fails."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from geosr.training import ahead
from geosr.training.ahead import MOST, Ahead, spare

LONG = 60


class Numbers:
    """Decides 0, 1, 2, ..., and knows whether two were ever decided at once."""

    def __init__(self, make: Callable[[int], int] = int) -> None:
        self.make, self.decided, self.busy, self.overlapped = make, 0, threading.Lock(), False

    def __call__(self) -> Callable[[], int]:
        if not self.busy.acquire(blocking=False):
            self.overlapped = True
            raise AssertionError
        try:
            number, self.decided = self.decided, self.decided + 1
            return lambda: self.make(number)
        finally:
            self.busy.release()


def test_things_are_decided_one_by_one_and_come_in_that_order_however_long_each_takes_to_make() -> None:
    even = threading.Event()

    def make(number: int) -> int:
        """The first is done after the second is."""
        if number == 0:
            assert even.wait(LONG)
        if number == 1:
            even.set()
        return number

    numbers = Numbers(make)
    made = Ahead(numbers, 3)
    assert [made.next() for _ in range(40)] == list(range(40))
    assert not numbers.overlapped


def test_as_many_are_made_at_once_as_there_are_threads_and_one_more_is_waited_for() -> None:
    meeting = threading.Barrier(3)

    def make(number: int) -> int:
        if number < 3:
            meeting.wait(LONG)  # breaks where fewer than three are under way
        return number

    numbers = Numbers(make)
    made = Ahead(numbers, 3)
    assert made.next() == 0
    made.forget()
    assert numbers.decided == 4


def test_what_fails_is_raised_in_its_turn_and_holds_nothing_up() -> None:
    class Failing(Numbers):
        def __call__(self) -> Callable[[], int]:
            make = super().__call__()
            if self.decided == 2:
                raise ValueError("the second can't be decided")
            return make

    def make(number: int) -> int:
        if number == 3:
            raise ValueError("the fourth can't be made")
        return number

    made = Ahead(Failing(make), 2)
    assert made.next() == 0
    with pytest.raises(ValueError, match="second"):
        made.next()
    assert made.next() == 2
    with pytest.raises(ValueError, match="fourth"):
        made.next()
    assert made.next() == 4


def test_what_was_decided_can_be_forgotten_and_is_decided_no_more() -> None:
    numbers = Numbers()
    made = Ahead(numbers, 4)
    assert made.next() == 0
    made.forget()
    assert numbers.decided == 5
    numbers.decided = 100
    assert made.next() == 100


def test_threads_ahead_use_one_thread_of_torch_each_and_leave_all_others_theirs() -> None:
    meeting = threading.Barrier(2)

    def make(number: int) -> int:
        if number < 2:
            meeting.wait(LONG)  # both have begun
        return torch.get_num_threads()

    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("geosr-ahead"):
            thread.join(5)  # of tests before: one that only begins now would tell torch what it knew then
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = Ahead(Numbers(make), 2)
        assert [made.next() for _ in range(4)] == [1] * 4
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "allowed", "threads"), [(16, 16, MOST), (6, 16, 5), (16, 4, 3), (2, 2, 1), (1, 1, 1), (16, 1, 1)]
)
def test_threads_ahead_are_those_that_torch_may_use_and_have_a_core_less_the_one_that_steps(
    cores: int, allowed: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: allowed)
    assert spare() == threads
