"""Flags go up, hold and come down as their definition says, over whole histories."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.rules.support import NAN, program_of, step

RULES = """
  - {id: add, when: f, add: {vector: v0, strength: 1}}
  - {id: disable, when: f, disable: v1}
  - {id: always, when: "true", add: {vector: v1, strength: 1}}
"""


@dataclass(frozen=True)
class Settings:
    """A flag's settings."""

    enter: float
    exit: float
    after: int = 1
    hold: int = 0
    latch: bool = False

    def text(self) -> str:
        return (
            f"  f: {{signal: s.a, enter: {self.enter}, exit: {self.exit}, after: {self.after}, "
            f"hold: {self.hold}, latch: {str(self.latch).lower()}}}"
        )


def reference(history: list[float], flag: Settings) -> tuple[bool, bool]:
    """Return whether the flag is certainly and possibly up, from the whole history of its signal.

    Missing scores are as if the step had not been; at a step whose score is missing, only a latched
    flag that is up is certain.
    """
    known = [value for value in history if not math.isnan(value)]
    since, free = -1, 0  # up since that step (-1: down); steps from ``free`` on count for ``after``
    for i, value in enumerate(known):
        if since < 0:
            first = i - flag.after + 1
            if first >= free and all(v >= flag.enter for v in known[first : i + 1]):
                since = i
        elif not flag.latch and i - since >= flag.hold and value < flag.exit:
            since, free = -1, i
    up = since >= 0
    if history and math.isnan(history[-1]):
        return (True, True) if up and flag.latch else (False, True)
    return up, up


def observed(history: list[float], flag: Settings, *, probe: bool = False) -> list[tuple[bool, bool]]:
    """Return at each step whether the flag was certainly and possibly up, told by what rules did."""
    program = program_of(RULES, flags=flag.text(), probes={"s": 2} if probe else {})
    row = program.start()
    found = []
    for value in history:
        plan = step(row, [value, 0.0, 0.0])
        found.append((plan.strengths[0] == 1.0, plan.strengths[1] == 0.0))
    return found


values = st.sampled_from([0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, NAN])
thresholds = st.sampled_from([(0.6, 0.6), (0.6, 0.4), (0.5, 0.5)])


@given(st.lists(values, min_size=3, max_size=20), thresholds, st.integers(0, 4), st.booleans())
@example([0.6, 0.6, 0.4, 0.4, 0.6, 0.3, 0.3, 0.3], (0.6, 0.4), 3, False)
@example([0.0, NAN, 0.6, NAN, 0.0, NAN], (0.5, 0.5), 0, True)
def test_a_flag_is_what_its_whole_history_says(
    history: list[float], levels: tuple[float, float], hold: int, probe: bool
) -> None:
    for after, latch in itertools.product((1, 2, 3), (False, True)):
        flag = Settings(*levels, after=after, hold=hold, latch=latch)
        expected = [reference(history[: i + 1], flag) for i in range(len(history))]
        assert observed(history, flag, probe=probe) == expected, flag


@pytest.mark.parametrize(
    ("flag", "history", "ups"),
    [
        (Settings(0.6, 0.6), "6 5 6", "1 0 1"),
        (Settings(0.6, 0.5), "5 6 5 4 5 6", "0 1 1 0 0 1"),
        (Settings(0.6, 0.6, after=2), "6 5 6 6 6", "0 0 0 1 1"),
        (Settings(0.6, 0.6, hold=3), "6 0 0 0 0", "1 1 1 0 0"),
        (Settings(0.6, 0.6, after=2, hold=2), "6 6 0 0", "0 1 1 0"),
        (Settings(0.6, 0.6, latch=True), "5 6 0 0", "0 1 1 1"),
        (Settings(0.6, 0.6, after=2, latch=True), "6 5 6 6 0", "0 0 0 1 1"),
    ],
)
def test_examples_that_can_be_read(flag: Settings, history: str, ups: str) -> None:
    tenths = [int(digit) / 10 for digit in history.split()]
    assert [must for must, _ in observed(tenths, flag)] == [up == "1" for up in ups.split()]


def test_a_missing_score_leaves_the_flag_where_it_was() -> None:
    """While the score is missing the flag is undecided; afterwards it goes on as if nothing had been."""
    flag = Settings(0.6, 0.4, after=2)
    assert observed([0.6, NAN, 0.6, NAN, 0.5], flag) == [
        (False, False),
        (False, True),
        (True, True),
        (False, True),
        (True, True),
    ]
