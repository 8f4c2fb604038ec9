"""A clock that was set back is found, and threads that are a little out of order are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.clock import Clock

SECOND = 10**9


def test_an_event_may_have_waited_but_a_stamp_of_the_writer_comes_after_all() -> None:
    clock = Clock()
    assert clock.stamp(100 * SECOND) == 0
    assert clock.event(40 * SECOND) == 0
    assert clock.event(31 * SECOND) == 0
    assert clock.event(200 * SECOND) == 0
    assert clock.stamp(200 * SECOND) == 0
    assert clock.stamp(150 * SECOND) == 50


def test_events_that_go_back_by_more_than_ten_seconds_are_told_once() -> None:
    clock = Clock()
    assert [clock.event(at * SECOND) for at in (100, 91, 89, 90)] == [0, 0, 11, 0]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=12),
    st.integers(0, 12),
)
def test_two_stretches_join_as_if_they_had_been_read_as_one(times: list[tuple[bool, int]], cut: int) -> None:
    def read(clock: Clock, part: list[tuple[bool, int]]) -> bool:
        back_s = [(clock.stamp if own else clock.event)(at * SECOND) for own, at in part]
        return not any(back_s)

    whole, first, second = Clock(), Clock(), Clock()
    in_order = read(whole, times)
    apart = read(first, times[:cut]) and read(second, times[cut:])
    if apart:
        assert first.joins(second) == in_order
