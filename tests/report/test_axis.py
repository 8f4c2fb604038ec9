"""The axis of a row: each step has a place of its own, in order, and so has each position of the prompt."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.report.axis import clock, step_axis


@given(st.integers(0, 3000), st.integers(1, 3000), st.booleans(), st.booleans())
def test_steps_and_positions_stand_in_order_within_the_axis(
    steps: int, prompt: int, in_prompt: bool, repeats: bool
) -> None:
    axis = step_axis(steps, prompt, in_prompt=in_prompt, repeats=repeats)
    places = [axis.position(position) for position in range(axis.prompt)]
    places += [axis.step(step) for step in range(steps + 2)]
    assert places[0] == 0
    assert abs(places[-1] - 1) < 1e-9
    assert all(one < two for one, two in pairwise(places))
    assert axis.step(0) <= 0.85
    assert all(abs(axis.step(s) + axis.step(s + 1) - 2 * axis.middle(s)) < 1e-9 for s in range(steps + 1))
    ticks = list(axis.ticks())
    assert 1 <= len(ticks) <= 11
    assert all(0 <= tick.place <= 1 for tick in ticks)


def test_ticks_name_positions_and_steps_where_positions_repeat() -> None:
    axis = step_axis(20, 36, in_prompt=False, repeats=False)
    named = {tick.text: tick.place for tick in axis.ticks()}
    assert named["40"] == axis.middle(5)
    assert axis.label == "position (step 0: 35)"
    again = step_axis(20, 36, in_prompt=False, repeats=True)
    assert {tick.text: tick.place for tick in again.ticks()}["10"] == again.middle(10)
    assert again.label == "step"


def test_a_time_that_no_calendar_has_is_shown_as_it_stands() -> None:
    assert clock(0) == "1970-01-01 00:00:00"
    assert clock(1_795_252_410_999_999_999) == "2026-11-21 09:13:30"
    assert clock(2**62 * 1000) == f"{2**62 * 1000} ns"
