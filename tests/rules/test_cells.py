"""While all scores keep to their cells, a step decides what the one before did, and may be left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from guardsteer.core.policy import FlagSpec, Policy, RuleSpec, ScheduleSpec, Smoothing, SteerSpec
from guardsteer.rules import RowRules, compile_policy
from guardsteer.rules.cells import Cell
from tests.rules.random_policies import OUTPUTS, calm_policies, contexts, policies, policy_of
from tests.rules.support import NAN

NEAR = (0.0, 0.1, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 1.0, NAN)
"""The numbers that the policies compare with, scores between them, and one that is missing."""

streams = st.lists(st.tuples(*[st.sampled_from(NEAR)] * 3, st.integers(1, 9)), min_size=1, max_size=8)


def keeps(cells: Sequence[Cell], signals: Sequence[float]) -> bool:
    """Tell whether signals keep to cells."""
    return all(low < signals[index] < high for index, low, high in cells)


def scores_of(moves: Sequence[tuple[float, float, float, int]]) -> list[list[float]]:
    """Return a score list for each step: each move stays for some steps, and about where it is."""
    return [[score + 0.01 * (step % 3) for score in move[:3]] for move in moves for step in range(move[3])]


@settings(max_examples=600, deadline=None)
@given(calm_policies() | calm_policies() | policies(), streams, contexts, st.booleans(), st.booleans())
def test_a_step_within_cells_may_be_left_out(
    policy: Policy,
    moves: list[tuple[float, float, float, int]],
    context: dict[str, Any],
    probed: bool,
    explain: bool,
) -> None:
    """Plans, what changed and everything later are those of a row that was asked at every step."""
    program = compile_policy(policy, OUTPUTS, probes={"p": 2} if probed else {})
    asked = program.start(context, explain=explain)
    lazy = program.start(context, explain=explain)
    skipped = 0
    early = late = None
    for signals in scores_of(moves):
        first = asked.before(signals)
        told = list(asked.changes)
        if early is not None and keeps(early.cells, signals):
            lazy.stepped(1)
            skipped += 1
            assert first == early.plan
            assert not told
        else:
            early = late = None
            assert lazy.before(signals) == first
            assert list(lazy.changes) == told
        if program.has_within:
            last = asked.within(signals)
            told = list(asked.changes)
            if late is not None and keeps(late.cells, signals):
                skipped += 1
                assert last == late.plan
                assert not told
            else:
                assert lazy.within(signals) == last
                assert list(lazy.changes) == told
                late = lazy.calm_within(signals)
        early = early or lazy.calm(signals)
    event("skipped" if skipped else "never calm")


def flag(**fields: Any) -> FlagSpec:
    """Return a flag on the first signal."""
    given = {"name": "f0", "signal": "s.a", "enter": 0.6, "exit": 0.3, **fields}
    return FlagSpec(**given)


def row_of(when: str, *flags: FlagSpec) -> RowRules:
    """Return a row under one rule."""
    rule = RuleSpec(id="r", when=when, steer=(SteerSpec("v0", "add", 0.2),))
    return compile_policy(policy_of(flags=flags, rules=(rule,)), OUTPUTS).start()


def cells_after(row: RowRules, *scores: float) -> tuple[Cell, ...] | None:
    """Return the first signal's cells behind some scores of it."""
    signals = [0.0, 0.5, 0.5]
    for score in scores:
        signals[0] = score
        row.before(signals)
    calm = row.calm(signals)
    return None if calm is None else calm.cells


def test_a_flag_that_is_down_is_bounded_by_what_raises_it_alone() -> None:
    assert cells_after(row_of("f0", flag()), 0.4, 0.4) == ((0, -math.inf, 0.6),)


def test_a_flag_that_is_up_is_bounded_by_what_lowers_it_alone() -> None:
    assert cells_after(row_of("f0", flag()), 0.9, 0.5, 0.5) == ((0, 0.3, math.inf),)


def test_a_latched_flag_that_is_up_is_bounded_by_nothing_but_must_have_its_score() -> None:
    row = row_of("f0", flag(latch=True))
    assert cells_after(row, 0.9, 0.1, 0.1) == ((0, -math.inf, math.inf),)


def test_a_flag_that_remembers_more_is_bounded_by_both_its_thresholds() -> None:
    for more in ({"after": 2, "of_last": 3}, {"cooldown": 3}):
        assert cells_after(row_of("f0", flag(**more)), *[0.9] * 6) == ((0, 0.6, math.inf),)
        assert cells_after(row_of("f0", flag(**more)), *[0.4] * 6) == ((0, 0.3, 0.6),)


def test_a_flag_that_counts_is_calm_once_it_has_counted() -> None:
    row = row_of("f0", flag(hold=3))
    found = [cells_after(row, score) for score in (0.9, 0.9, 0.9, 0.9, 0.9)]
    assert found == [None, None, None, ((0, 0.3, math.inf),), ((0, 0.3, math.inf),)]


def test_a_comparison_bounds_on_both_sides() -> None:
    row = row_of("s.a > 0.2 && s.a < 0.8 || s.a == 0.9")
    assert cells_after(row, 0.5, 0.5) == ((0, 0.2, 0.8),)


def test_the_nearest_of_all_numbers_bounds() -> None:
    """Whether it is a flag's or a comparison's."""
    assert cells_after(row_of("f0 && s.a > 0.5", flag()), 0.9, 0.7, 0.7) == ((0, 0.5, math.inf),)
    assert cells_after(row_of("f0 || s.a < 0.5", flag()), 0.4, 0.4) == ((0, -math.inf, 0.5),)


def test_a_score_on_a_number_is_never_calm() -> None:
    assert cells_after(row_of("s.a > 0.2"), 0.2, 0.2, 0.2) is None


def test_a_missing_score_is_never_calm() -> None:
    assert cells_after(row_of("s.a > 0.2"), NAN, NAN, NAN) is None


def test_nothing_is_calm_where_more_than_the_sides_of_scores_counts() -> None:
    smooth = flag(smooth=Smoothing("ema", 0.5))
    for row in (
        row_of("f0", smooth),
        row_of("f0", flag(per="sentence")),
        row_of("step < 4"),
        row_of("s.a > s.b"),
        row_of("s.a > request.share"),
    ):
        assert cells_after(row, 0.4, 0.4, 0.4, 0.4) is None


@pytest.mark.parametrize("probed", [False, True])
def test_a_step_at_which_something_turned_is_not_calm(probed: bool) -> None:
    """A comparison turned, and a flag has begun to count: the next score like it raises the flag."""
    counts = FlagSpec(name="f0", signal="p.c", enter=0.5, exit=0.3, after=2)
    rule = RuleSpec(id="r", when="f0 && p.c >= 0.5", steer=(SteerSpec("v0", "add", 0.2),))
    policy = policy_of(flags=(counts,), rules=(rule,))
    row = compile_policy(policy, OUTPUTS, probes={"p": 2} if probed else {}).start()
    calm = []
    for score in (0.4, 0.4, 0.55, 0.55, 0.55):
        signals = [0.0, 0.0, score]
        row.before(signals)
        if probed:
            # Not before the pass has been asked about this step.
            assert row.calm_within(signals) is None
            row.within(signals)
        calm.append((row.calm_within(signals) if probed else row.calm(signals)) is not None)
    assert calm == [False, True, False, False, True]


def test_a_schedule_in_motion_is_not_calm() -> None:
    rule = RuleSpec(id="r", when="true", steer=(SteerSpec("v0", "add", 0.2, schedule=ScheduleSpec(ramp=3)),))
    row = compile_policy(policy_of(rules=(rule,)), OUTPUTS).start()
    signals = [0.0, 0.0, 0.0]
    calm = []
    for _ in range(6):
        row.before(signals)
        calm.append(row.calm(signals) is not None)
    assert calm[:3] == [False] * 3
    assert calm[-1]
